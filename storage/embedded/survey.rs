//! A look at a whole journal from outside: read only, without the lock, while a node may be writing it.
//!
//! Frames are appended and chained, so whatever whole frames a look finds are a prefix of the log, and stay one.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::{
    log::OpenError,
    walk::{Ending, Seen, Walked, walk},
};
use crate::{Epoch, Home, Lsn, journal::Stored};

/// A segment, up to its last whole batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its file.
    pub name: String,
    /// How long it is, without what was zero-filled ahead.
    pub bytes: u64,
}

/// A journal, up to its last whole batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its segments, oldest first.
    pub segments: Vec<Segment>,
    /// How many records they hold.
    pub records: u64,
    /// The last one.
    pub last: Lsn,
    /// The highest epoch that anything in it was written under.
    pub epoch: Epoch,
    /// SHA-256 over the segments' bytes, in hex.
    pub sha256: String,
    /// Bytes of a batch that is not whole: being written, or torn by a crash. Never acknowledged.
    pub unfinished_bytes: u64,
    /// Whose data is sealed in it.
    pub homes: BTreeSet<Home>,
}

/// Reads and checks every frame in a journal's directory; `take` gets each segment's name and bytes.
///
/// # Errors
/// When a frame is damaged, a segment is missing, or the file layer or `take` fails.
pub fn survey(
    directory: &Path,
    mut take: impl FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<Survey, OpenError> {
    let mut digest = Context::new(&SHA256);
    let (mut walked, mut homes, mut segments) = (Walked::default(), BTreeSet::new(), Vec::new());
    let mut unfinished_bytes = 0;
    let paths = segments_in(directory)?;
    for (number, (name, path)) in paths.iter().enumerate() {
        let (bytes, ending) = look(path, number, number + 1 == paths.len(), &mut walked, &mut homes)?;
        let (whole, rest) = bytes.split_at(bytes.len() - walked.rest(&bytes).len());
        match ending {
            Ending::Clean => {}
            Ending::Torn => {
                unfinished_bytes = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            }
            Ending::Damaged => {
                return Err(OpenError::Damaged { segment: name.clone(), position: walked.end });
            }
        }
        digest.update(whole);
        take(name, whole)?;
        segments.push(Segment { name: name.clone(), bytes: walked.end });
    }
    let sha256 = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let last = Lsn(walked.next.0 - 1);
    Ok(Survey { segments, records: last.0, last, epoch: walked.highest, sha256, unfinished_bytes, homes })
}

/// Reads and checks every frame in a journal's directory; `see` gets every record, in the node's order.
///
/// # Errors
/// As [`survey`].
pub fn read_records(directory: &Path, mut see: impl FnMut(&Stored)) -> Result<Survey, OpenError> {
    let (mut walked, mut number) = (Walked::default(), 0);
    survey(directory, |_, whole| {
        walk(whole, number, &mut walked, |seen| {
            if let Seen::Record(stored, _) = seen {
                see(&stored);
            }
        });
        number += 1;
        Ok(())
    })
}

pub(super) fn segments_in(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(".seg")
        {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// One segment, walked. What looks damaged may be a batch written under our eyes, its end read before its
/// beginning was there: only what is found at the same place again is damage.
fn look(
    path: &Path,
    number: usize,
    is_newest: bool,
    walked: &mut Walked,
    homes: &mut BTreeSet<Home>,
) -> io::Result<(Vec<u8>, Ending)> {
    let before = walked.clone();
    let mut suspect = None;
    loop {
        let bytes = std::fs::read(path)?;
        walked.clone_from(&before);
        walk(&bytes, number, walked, |seen| {
            if let Seen::Record(stored, _) = seen
                && !stored.record.body.is_empty()
            {
                homes.insert(stored.record.entity.home);
            }
        });
        let ending = Ending::of(walked.rest(&bytes), is_newest);
        if ending != Ending::Damaged || suspect == Some(walked.end) {
            return Ok((bytes, ending));
        }
        suspect = Some(walked.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Journal,
        conformance::{SHARD, append, record},
        embedded::EmbeddedJournal,
    };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[expect(clippy::disallowed_methods, reason = "a task stands for an entity, and is awaited")]
    async fn a_look_at_a_journal_being_written_finds_all_that_was_durable_when_it_began() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, _) = EmbeddedJournal::open(directory.path(), 16 * 1024).unwrap();
        let epoch = journal.claim(SHARD).await.unwrap().epoch;
        let durable = journal.durable();
        let writing = tokio::spawn(async move {
            for seq in 1..=1_000 {
                append(&journal, epoch, vec![record(1, seq, 300)]).await.unwrap();
            }
            journal
        });
        let mut looks = Vec::new();
        while !writing.is_finished() {
            let before = *durable.borrow();
            let found = survey(directory.path(), |_, _| Ok(())).unwrap();
            assert!(found.last >= before, "{:?} of {before:?}", found.last);
            looks.push(found);
        }

        drop(writing.await.unwrap());

        let whole = survey(directory.path(), |_, _| Ok(())).unwrap();
        assert_eq!((whole.last, whole.unfinished_bytes), (Lsn(1_000), 0));
        for look in looks {
            let older = &look.segments[..look.segments.len() - 1];
            assert_eq!(older, &whole.segments[..older.len()], "what was closed stays as it is");
        }
    }
}
