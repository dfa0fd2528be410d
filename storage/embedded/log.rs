//! The segment log: opening it without believing it, and the one thread that writes it.
//!
//! ```text
//! 00000000000000000001.seg  00000000000000048213.seg   next.tmp (zero-filled ahead, renamed in)
//! [frame][frame]...[frame]  [frame][frame][zeros.....]  [zeros..........................]
//! ```
//!
//! **Opening.** Frames are read from the first byte of the first segment. Where one does not follow its
//! predecessor, the log either ends there or is damaged there, and the difference is everything: a *torn
//! tail* is the last batch, half written when the power went, never acknowledged, so it is cut; *damage* has
//! an acknowledged batch behind it, so cutting would lose it, and the log refuses to open. Hence the search
//! for a later valid frame. The last accepted frame is then written again and synced: it may so far only
//! have been in the page cache of a process that was killed before its sync.
//!
//! **Writing.** What waits is drained into one frame, written once, synced once, and only then answered. A
//! failed sync is never tried again: the kernel may have dropped the pages and say "fine" the next time.
//! New keys that the frame is sealed with are synced before it is written, so that no frame outlives its keys.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock, mpsc::Receiver},
};

use tokio::sync::{oneshot, watch};

use super::{
    disk::{Disk, DiskFile},
    index::{Index, Place},
    segment::{self, HEADER},
    walk::{Ending, Seen, Walked, walk},
};
use crate::{
    AddressMap, EntityRef, Epoch, HomeKind, Lsn, Name, Offset, Seq, ShardId,
    journal::{AppendError, Appended, Claim, Done, Group, Health, Record, RecordKind, Stored},
    recent::Recent,
};

/// A drained queue makes one frame; more would only make its callers wait for each other's bytes.
const FRAME_RECORDS: usize = 1024;
const FRAME_BYTES: usize = 1024 * 1024;
const NEXT: &str = "next.tmp";

/// Why the log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file layer failed.
    #[error("failed to open the journal")]
    Disk(#[from] io::Error),
    /// A batch is unreadable and acknowledged ones lie behind it.
    #[error("the journal is damaged in segment `{segment}` at byte {position}, before valid batches")]
    Damaged {
        /// The segment's file.
        segment: String,
        /// The first byte that is not what was written.
        position: u64,
    },
    /// Another process has it open.
    #[error("the data directory is in use by process {pid}")]
    Held {
        /// The holder's process id.
        pid: String,
    },
    /// Everything in it was moved to a database, which may have gone on since.
    #[error(
        "`{mark}` says that everything here was moved to {to}: start with `storage.url` of that database; what is \
         here takes nothing more",
        mark = mark.display()
    )]
    Moved {
        /// The file that says so.
        mark: PathBuf,
        /// Where to.
        to: String,
    },
}

/// What was found, for the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of a torn tail that were cut.
    pub cut_bytes: u64,
    /// The last durable record.
    pub last: Lsn,
    /// The epoch of this start.
    pub epoch: Epoch,
}

/// What must be durable before a frame is written.
pub(crate) type Beforehand = Box<dyn Fn() -> Result<(), Box<dyn std::error::Error>> + Send + Sync>;

/// What writer and readers share.
pub(crate) struct Shared {
    pub(crate) beforehand: OnceLock<Beforehand>,
    pub(crate) index: RwLock<Index>,
    pub(crate) segments: RwLock<Vec<Arc<dyn DiskFile>>>,
    pub(crate) recent: RwLock<Recent>,
    pub(crate) health: RwLock<Health>,
    pub(crate) durable: watch::Sender<Lsn>,
}

/// What the writer is asked.
pub(crate) enum Job {
    Append(Group, Done),
    Claim(ShardId, oneshot::Sender<Result<Claim, AppendError>>),
    Close(oneshot::Sender<Closed>),
}

/// The journal takes nothing more.
#[derive(Debug)]
pub(crate) struct Closed;

/// The writing end.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    segment_bytes: u64,
    file: Arc<dyn DiskFile>,
    /// The durable end in `file`; nothing before it is ever written again.
    end: u64,
    crc: u32,
    next: Lsn,
    epoch: Epoch,
    /// Shards claimed by this process, and under which epoch.
    epochs: AddressMap<ShardId, Epoch>,
    tails: AddressMap<ShardId, Offset>,
    /// The last seq of entities written lately, so that what follows a failed append is refused.
    seqs: AddressMap<EntityRef, Seq>,
    preparing: Option<std::thread::JoinHandle<io::Result<()>>>,
}

/// What the segments hold.
struct Found {
    files: Vec<Arc<dyn DiskFile>>,
    index: Index,
    recent: Recent,
    walked: Walked,
    cut_bytes: u64,
}

impl Found {
    /// Reads all segments; cuts a torn tail, refuses damage.
    fn on(disk: &dyn Disk) -> Result<Self, OpenError> {
        let names: Vec<_> = disk.list()?.into_iter().filter(|name| name.ends_with(".seg")).collect();
        let mut files = Vec::with_capacity(names.len() + 1);
        for name in &names {
            files.push(disk.open(name)?);
        }
        let (mut index, mut recent) = (Index::default(), Recent::default());
        let (mut walked, mut cut_bytes) = (Walked::default(), 0);
        for (number, (name, file)) in names.iter().zip(&files).enumerate() {
            let bytes = read_all(&**file)?;
            walk(&bytes, number, &mut walked, |seen| match seen {
                Seen::Frame(place) => index.add_frame(place),
                Seen::Record(stored, place) => {
                    index.add(&stored, place);
                    recent.push(Arc::from(stored));
                }
            });
            let rest = walked.rest(&bytes);
            match Ending::of(rest, number + 1 == names.len()) {
                Ending::Clean => {}
                Ending::Torn => {
                    cut_bytes += rest.len() as u64;
                    file.write_at(&vec![0; rest.len()], walked.end)?;
                    file.sync()?;
                }
                Ending::Damaged => {
                    return Err(OpenError::Damaged { segment: name.clone(), position: walked.end });
                }
            }
        }
        if let Some((number, position, length)) = walked.last_frame {
            rewrite(&files, number, position, length)?;
        }
        Ok(Self { files, index, recent, walked, cut_bytes })
    }
}

impl Log {
    /// Reads, judges and mends what is there, then raises the epoch.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
    ) -> Result<(Self, Arc<Shared>, Opened), OpenError> {
        let Found { mut files, index, recent, walked, cut_bytes } = Found::on(&*disk)?;
        let file = match files.last() {
            Some(file) => Arc::clone(file),
            None => {
                let file = disk.open(&segment_name(Lsn(1)))?;
                disk.sync_names()?;
                files.push(Arc::clone(&file));
                file
            }
        };
        let shared = Arc::new(Shared {
            beforehand: OnceLock::new(),
            index: RwLock::new(index),
            segments: RwLock::new(files),
            recent: RwLock::new(recent),
            health: RwLock::new(Health::Writable),
            durable: watch::Sender::new(Lsn(walked.next.0 - 1)),
        });
        let mut log = Self {
            disk,
            shared: Arc::clone(&shared),
            segment_bytes,
            file,
            end: walked.end,
            crc: walked.crc,
            next: walked.next,
            epoch: walked.highest.next(),
            epochs: AddressMap::default(),
            tails: AddressMap::default(),
            seqs: AddressMap::default(),
            preparing: None,
        };
        log.fence()?;
        log.prepare_next();
        let opened = Opened { cut_bytes, last: Lsn(log.next.0 - 1), epoch: log.epoch };
        Ok((log, shared, opened))
    }

    /// Raises the node's epoch, durably: whoever wrote before this start writes no more.
    fn fence(&mut self) -> io::Result<()> {
        let mut bytes = [0; HEADER];
        let crc = segment::seal(&mut bytes, 0, self.next, self.epoch, self.crc);
        self.file.write_at(&bytes, self.end)?;
        self.file.sync()?;
        (self.end, self.crc) = (self.end + bytes.len() as u64, crc);
        Ok(())
    }

    /// Works until it is closed or nobody is left to ask.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let (mut batch, mut closing) = (Batch::new(), None);
            let mut next = Some(job);
            while let Some(job) = next.take() {
                match job {
                    Job::Append(group, done) => self.take_in(group, done, &mut batch),
                    Job::Claim(shard, reply) => self.claim(shard, reply, &mut batch),
                    Job::Close(reply) => closing = Some(reply),
                }
                if closing.is_none() && batch.stored.len() < FRAME_RECORDS && batch.frame.len() < FRAME_BYTES
                {
                    next = jobs.try_recv().ok();
                }
            }
            self.commit(batch);
            if let Some(reply) = closing {
                // Nothing of this journal may write once the next one has the directory.
                drop(self.preparing.take().map(std::thread::JoinHandle::join));
                drop(reply.send(Closed));
                break;
            }
        }
        // Until nobody can ask any more, so that no question is left without an answer.
        for job in jobs {
            match job {
                Job::Append(_, done) => done(Err(AppendError::Closed)),
                Job::Claim(_, reply) => drop(reply.send(Err(AppendError::Closed))),
                Job::Close(reply) => drop(reply.send(Closed)),
            }
        }
    }

    fn claim(
        &mut self,
        shard: ShardId,
        reply: oneshot::Sender<Result<Claim, AppendError>>,
        batch: &mut Batch,
    ) {
        let Some(held) = self.epochs.get(&shard).copied() else {
            // The fence of this start has raised the epoch of every shard already.
            self.epochs.insert(shard, self.epoch);
            drop(reply.send(Ok(Claim { epoch: self.epoch, tail: self.tail(shard) })));
            return;
        };
        let epoch = held.next();
        let platform = crate::Home { kind: HomeKind::Platform, id: 0 };
        let record = Record {
            kind: RecordKind::Fence,
            entity: EntityRef { home: platform, kind: Name::new("fence"), id: u128::from(epoch.0) },
            seq: Seq(1),
            name: Name::new("fence"),
            version: 1,
            at_ms: 0,
            by: 0,
            trace: 0,
            caused_by: None,
            body: Vec::new(),
        };
        self.epochs.insert(shard, epoch);
        let group = Group { shard, epoch, records: vec![record] };
        let done: Done = Box::new(move |fate| {
            drop(reply.send(fate.map(|appended| Claim { epoch, tail: appended.first })));
        });
        self.take_in(group, done, batch);
    }

    fn tail(&self, shard: ShardId) -> Offset {
        let known = self.tails.get(&shard).copied();
        known.unwrap_or_else(|| self.shared.index.read().unwrap_or_else(PoisonError::into_inner).tail(shard))
    }

    /// Numbers a group on and adds it to the batch, or refuses it.
    fn take_in(&mut self, group: Group, done: Done, batch: &mut Batch) {
        if let Err(error) = self.check(&group) {
            return done(Err(error));
        }
        let Group { shard, epoch, records } = group;
        let tail = self.tail(shard);
        batch.tails.push((shard, tail));
        let mut offset = tail;
        for record in records {
            offset = offset.next();
            batch.seqs.push((record.entity, Seq(record.seq.0 - 1)));
            self.seqs.insert(record.entity, record.seq);
            let place = batch.frame.len();
            segment::write_record(&mut batch.frame, shard, epoch, offset, &record);
            let lsn = Lsn(self.next.0 + batch.stored.len() as u64);
            batch.stored.push((place, Arc::new(Stored { lsn, shard, epoch, offset, record })));
        }
        self.tails.insert(shard, offset);
        let last_lsn = Lsn(self.next.0 + batch.stored.len() as u64 - 1);
        batch.waiting.push((done, Appended { first: tail.next(), last_lsn }));
    }

    fn check(&self, group: &Group) -> Result<(), AppendError> {
        if let Health::Poisoned(reason) = &*self.shared.health.read().unwrap_or_else(PoisonError::into_inner)
        {
            return Err(AppendError::Poisoned { reason: reason.clone() });
        }
        let bytes = group.records.iter().map(|record| record.body.len()).sum();
        if bytes > Group::MAX_BYTES || group.records.is_empty() {
            return Err(AppendError::Size { bytes, records: group.records.len() });
        }
        let current = self.epochs.get(&group.shard).copied().unwrap_or(self.epoch);
        if group.epoch != current {
            return Err(AppendError::Fenced { shard: group.shard, current, claimed: group.epoch });
        }
        for (at, record) in group.records.iter().enumerate() {
            // Nearly always the neighbour.
            let before = group.records.iter().take(at).rev().find(|before| before.entity == record.entity);
            let last = before.map(|before| before.seq).or_else(|| self.seqs.get(&record.entity).copied());
            let follows = record.seq.0 > 0 && last.is_none_or(|last| record.seq == last.next());
            if !follows {
                return Err(AppendError::OutOfOrder {
                    entity: record.entity,
                    expected: Seq(record.seq.0.saturating_sub(1)),
                });
            }
        }
        Ok(())
    }

    /// One write, one sync, then the answers.
    fn commit(&mut self, mut batch: Batch) {
        if batch.stored.is_empty() {
            return;
        }
        let count = u32::try_from(batch.stored.len()).unwrap_or(u32::MAX);
        if let Err(error) = self.make_room(batch.frame.len() as u64) {
            return self.not_written(batch, &error);
        }
        if let Some(Err(error)) = self.shared.beforehand.get().map(|sync| sync()) {
            let reason = format!("the keys of a batch are not durable: {error}");
            self.poison(&reason);
            return batch.refuse(&AppendError::Poisoned { reason });
        }
        let crc = segment::seal(&mut batch.frame, count, self.next, self.epoch, self.crc);
        if let Err(error) = self.file.write_at(&batch.frame, self.end) {
            return self.not_written(batch, &error);
        }
        if let Err(error) = self.file.sync() {
            self.poison(&format!("a sync failed: {error}"));
            return batch.refuse(&AppendError::Poisoned { reason: error.to_string() });
        }
        let frame_at = self.end;
        (self.end, self.crc, self.next) =
            (self.end + batch.frame.len() as u64, crc, Lsn(self.next.0 + u64::from(count)));
        self.show(&batch, frame_at);
        *self.shared.health.write().unwrap_or_else(PoisonError::into_inner) = Health::Writable;
        // Readers may see it from now on, but are woken behind those who wait for an answer.
        let last = Lsn(self.next.0 - 1);
        self.shared.durable.send_if_modified(|durable| {
            *durable = last;
            false
        });
        for (done, appended) in batch.waiting {
            done(Ok(appended));
        }
        self.shared.durable.send_modify(|_| {});
    }

    /// What is durable now can be read.
    fn show(&self, batch: &Batch, frame_at: u64) {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner).len();
        let segment = u32::try_from(segments - 1).unwrap_or(u32::MAX);
        let at = |position: u64, lsn| Place {
            segment,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            lsn,
        };
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, first)) = batch.stored.first() {
            index.add_frame(at(frame_at, first.lsn));
        }
        for (place, stored) in &batch.stored {
            index.add(stored, at(frame_at + *place as u64, stored.lsn));
            recent.push(Arc::clone(stored));
        }
    }

    /// Nothing of the batch reached the log: cut back to the durable end, and go on when there is room.
    fn not_written(&mut self, batch: Batch, error: &io::Error) {
        // Backwards: what was first in the batch has the last word.
        self.tails.extend(batch.tails.iter().rev().copied());
        self.seqs.extend(batch.seqs.iter().rev().copied());
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded
        );
        let cut = self.file.set_len(self.end).and_then(|()| self.file.sync());
        let refusal = match (is_full, cut) {
            (true, Ok(())) => {
                *self.shared.health.write().unwrap_or_else(PoisonError::into_inner) = Health::Full;
                AppendError::Full
            }
            (_, cut) => {
                let reason =
                    cut.err().map_or_else(|| error.to_string(), |cut| format!("{error}; then {cut}"));
                self.poison(&reason);
                AppendError::Poisoned { reason }
            }
        };
        batch.refuse(&refusal);
    }

    fn poison(&self, reason: &str) {
        tracing::error!(reason, "the journal is poisoned: it takes nothing until the node restarts");
        *self.shared.health.write().unwrap_or_else(PoisonError::into_inner) =
            Health::Poisoned(reason.to_owned());
    }

    /// Goes to the next segment when this one cannot hold the frame.
    fn make_room(&mut self, length: u64) -> io::Result<()> {
        if self.end == 0 || self.end + length <= self.segment_bytes {
            return Ok(());
        }
        // What is ready ahead is taken; else the new segment simply grows.
        let is_ready = self.preparing.take().is_some_and(|thread| matches!(thread.join(), Ok(Ok(()))));
        let name = segment_name(self.next);
        if is_ready {
            self.disk.rename(NEXT, &name)?;
        }
        self.file = self.disk.open(&name)?;
        self.disk.sync_names()?;
        self.end = 0;
        self.seqs.clear();
        self.shared.segments.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.file));
        self.prepare_next();
        Ok(())
    }

    /// Zero-fills the next segment beside the writer: a sync then has no new blocks to allocate.
    fn prepare_next(&mut self) {
        let (disk, bytes) = (Arc::clone(&self.disk), self.segment_bytes);
        let prepare = move || {
            let file = disk.open(NEXT)?;
            file.set_len(0)?;
            let zeros = vec![0; 1024 * 1024];
            let mut filled = 0;
            while filled < bytes {
                let step = usize::try_from(bytes - filled).unwrap_or(zeros.len()).min(zeros.len());
                file.write_at(zeros.get(..step).unwrap_or_default(), filled)?;
                filled += step as u64;
            }
            file.sync()
        };
        self.preparing = std::thread::Builder::new().name("journal-next".to_owned()).spawn(prepare).ok();
    }
}

/// Groups drained from the queue, about to become one frame.
struct Batch {
    /// Room for the header, then the records.
    frame: Vec<u8>,
    /// Each with its place in the frame.
    stored: Vec<(usize, Arc<Stored>)>,
    waiting: Vec<(Done, Appended)>,
    /// What shards and entities were at before the batch, to go back to.
    tails: Vec<(ShardId, Offset)>,
    seqs: Vec<(EntityRef, Seq)>,
}

impl Batch {
    fn new() -> Self {
        Self {
            frame: vec![0; HEADER],
            stored: Vec::new(),
            waiting: Vec::new(),
            tails: Vec::new(),
            seqs: Vec::new(),
        }
    }

    fn refuse(self, error: &AppendError) {
        for (done, _) in self.waiting {
            done(Err(error.clone()));
        }
    }
}

/// Writes the last accepted frame once more and syncs it.
fn rewrite(files: &[Arc<dyn DiskFile>], number: usize, position: u64, length: usize) -> io::Result<()> {
    let Some(file) = files.get(number) else {
        return Ok(());
    };
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, position)?;
    file.write_at(&bytes, position)?;
    file.sync()
}

fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn segment_name(first: Lsn) -> String {
    format!("{:020}.seg", first.0)
}
