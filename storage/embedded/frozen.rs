//! A journal that nobody writes: its directory is locked, and it is read from the first record to the last. Nothing in
//! it changes but the name in the lock; so a journal that was moved away can be read as well.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    lock::DirectoryLock,
    log::OpenError,
    survey::{Survey, read_records, segments_in},
    walk::{Ending, Seen, Walked, walk},
};
use crate::journal::{Limit, Stored};

/// See the module.
#[derive(Debug)]
pub(crate) struct Frozen {
    directory: PathBuf,
    _lock: DirectoryLock,
}

impl Frozen {
    /// Takes the lock, and has everything on the device that a process which was killed may have left in memory.
    ///
    /// # Errors
    /// When another process has it, or there is none.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        if !directory.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        }
        let lock = DirectoryLock::take(directory)?;
        for (_, path) in segments_in(directory)? {
            File::open(path)?.sync_all()?;
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// Reads and checks all of it; `see` gets every record, in the node's order.
    ///
    /// # Errors
    /// When a batch is damaged, or the file layer fails.
    pub(crate) fn survey(&self, see: impl FnMut(&Stored)) -> Result<Survey, OpenError> {
        read_records(&self.directory, see)
    }

    /// Its records from the first on.
    ///
    /// # Errors
    /// When the file layer fails.
    pub(crate) fn records(&self) -> Result<Records, OpenError> {
        let segments = segments_in(&self.directory)?;
        Ok(Records { segments, next: 0, walked: Walked::default(), read: VecDeque::new() })
    }
}

/// Records, read a segment at a time.
#[derive(Debug)]
pub(crate) struct Records {
    segments: Vec<(String, PathBuf)>,
    next: usize,
    walked: Walked,
    read: VecDeque<Stored>,
}

impl Records {
    /// The next record.
    ///
    /// # Errors
    /// As [`Frozen::survey`].
    pub(crate) fn next_record(&mut self) -> Result<Option<Stored>, OpenError> {
        while self.read.is_empty() {
            let Some((name, path)) = self.segments.get(self.next) else {
                return Ok(None);
            };
            let (number, is_newest) = (self.next, self.next + 1 == self.segments.len());
            let (bytes, read) = (std::fs::read(path)?, &mut self.read);
            walk(&bytes, number, &mut self.walked, |seen| {
                if let Seen::Record(stored, _) = seen {
                    read.push_back(*stored);
                }
            });
            if Ending::of(self.walked.rest(&bytes), is_newest) == Ending::Damaged {
                return Err(OpenError::Damaged { segment: name.clone(), position: self.walked.end });
            }
            self.next += 1;
        }
        Ok(self.read.pop_front())
    }

    /// The next ones, up to a limit; none behind the last.
    ///
    /// # Errors
    /// As [`Frozen::survey`].
    pub(crate) fn page(&mut self, limit: Limit) -> Result<Vec<Stored>, OpenError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < limit.records && bytes < limit.bytes {
            let Some(stored) = self.next_record()? else { break };
            bytes += stored.record.body.len();
            page.push(stored);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Epoch, Journal, Lsn,
        conformance::{SHARD, append, record},
        embedded::EmbeddedJournal,
    };

    /// A journal of some small segments, and how many records it has.
    async fn written(directory: &Path) -> u64 {
        let (journal, _) = EmbeddedJournal::open(directory, 4096).unwrap();
        let epoch = journal.claim(SHARD).await.unwrap().epoch;
        for seq in 1..=60 {
            append(&journal, epoch, vec![record(1, seq, 200)]).await.unwrap();
        }
        journal.close().await;
        60
    }

    #[tokio::test]
    async fn what_was_written_is_read_in_its_order_and_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let count = written(directory.path()).await;
        let frozen = Frozen::take(directory.path()).unwrap();
        let before = frozen.survey(|_| {}).unwrap();
        assert!(before.segments.len() > 2);

        let (mut records, mut lsns) = (frozen.records().unwrap(), Vec::new());
        loop {
            let page = records.page(Limit { records: 7, bytes: 1024 }).unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 7 && (page.len() - 1) * 200 < 1024);
            lsns.extend(page.iter().map(|stored| stored.lsn));
        }

        assert_eq!(lsns, (1..=count).map(Lsn).collect::<Vec<_>>());
        assert_eq!(frozen.survey(|_| {}).unwrap(), before);
        assert_eq!(before.epoch, Epoch(1), "no start, no epoch");
    }

    #[tokio::test]
    async fn a_journal_that_is_open_is_not_taken_and_one_that_is_taken_does_not_open() {
        let directory = tempfile::tempdir().unwrap();
        let open = EmbeddedJournal::open(directory.path(), 4096).unwrap();
        assert!(matches!(Frozen::take(directory.path()), Err(OpenError::Held { .. })));
        drop(open);

        let frozen = Frozen::take(directory.path()).unwrap();

        let refused = EmbeddedJournal::open(directory.path(), 4096).map(|_| ());
        assert!(matches!(refused, Err(OpenError::Held { .. })), "{refused:?}");
        drop(frozen);
        EmbeddedJournal::open(directory.path(), 4096).unwrap();
        assert!(Frozen::take(&directory.path().join("none")).is_err());
    }

    #[tokio::test]
    async fn damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path()).await;
        let segment = directory.path().join(format!("{:020}.seg", 1));
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        let frozen = Frozen::take(directory.path()).unwrap();

        let read = frozen.records().unwrap().next_record();

        assert!(matches!(read, Err(OpenError::Damaged { .. })), "{read:?}");
    }
}
