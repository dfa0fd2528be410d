//! Embedded storage, the default: a segment log for what must never lie, sled for what can be rebuilt.

mod disk;
mod frozen;
mod index;
mod lock;
mod log;
mod moved;
mod segment;
mod survey;
#[cfg(test)]
mod tests;
mod tier;
mod walk;

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, mpsc},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{oneshot, watch};

use self::{
    disk::{Disk, RealDisk},
    index::Place,
    lock::DirectoryLock,
    log::{Beforehand, Job, Log, Shared},
};
use crate::{
    EntityRef, Home, Journal, Lsn, Name, Offset, ShardId,
    journal::{AppendError, Claim, Done, Group, Health, Limit, ReadError, Stored},
    keyring::Keyring,
};

pub(crate) use self::{
    disk::{make_private, sync_directory},
    frozen::{Frozen, Records},
    moved::{mark_moved, moved_to},
};
pub use self::{
    log::{OpenError, Opened},
    moved::not_moved,
    survey::{Segment, Survey, read_records, survey},
    tier::{Error as TierOpenError, SledTier},
};

/// Groups that may wait for the writer; the router's permits keep it far from full.
const QUEUE: usize = 64 * 1024;

/// The journal of one node: one log for all its shards.
pub struct EmbeddedJournal {
    jobs: mpsc::SyncSender<Job>,
    shared: Arc<Shared>,
    _lock: Option<DirectoryLock>,
}

impl fmt::Debug for EmbeddedJournal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EmbeddedJournal").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl EmbeddedJournal {
    /// Opens the journal in a directory, made if it is not there.
    ///
    /// # Errors
    /// When another process has it, it was moved away, the disk fails, or acknowledged batches lie behind a damaged one.
    pub fn open(directory: &Path, segment_bytes: u64) -> Result<(Self, Opened), OpenError> {
        make_private(directory)?;
        let lock = DirectoryLock::take(directory)?;
        // Under the lock, which whoever moves it away holds until it is marked.
        not_moved(directory)?;
        Self::on(Arc::new(RealDisk(directory.to_owned())), segment_bytes, Some(lock))
    }

    fn on(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        lock: Option<DirectoryLock>,
    ) -> Result<(Self, Opened), OpenError> {
        let (log, shared, opened) = Log::open(disk, segment_bytes)?;
        let (jobs, waiting) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || log.run(&waiting))?;
        Ok((Self { jobs, shared, _lock: lock }, opened))
    }

    /// From now on the keyring is synced before a batch is written, so that entities seal with
    /// [`Keyring::seal_ahead`] and new homes share a sync.
    pub fn sync_first(&self, keyring: Arc<Keyring>) {
        self.before_writing(Box::new(move || {
            let synced = keyring.sync().now_or_never();
            Ok(synced.ok_or("this journal waits for no keys but those in a file")??)
        }));
    }

    fn before_writing(&self, beforehand: Beforehand) {
        if self.shared.beforehand.set(beforehand).is_err() {
            tracing::warn!("the journal syncs another keyring already");
        }
    }

    fn ask(&self, job: Job) {
        // A closed journal answers what it can no longer take.
        if let Err(mpsc::SendError(Job::Append(_, done))) = self.jobs.send(job) {
            done(Err(AppendError::Closed));
        }
    }

    fn page(&self, places: &[Place], limit: Limit) -> Result<Vec<Arc<Stored>>, ReadError> {
        let (mut page, mut bytes) = (Vec::with_capacity(places.len()), 0);
        for place in places {
            let stored = self.load(*place)?;
            bytes += stored.record.body.len();
            if !page.is_empty() && bytes > limit.bytes {
                break;
            }
            page.push(stored);
        }
        Ok(page)
    }

    /// One record, from the newest ones or from the disk.
    fn load(&self, place: Place) -> Result<Arc<Stored>, ReadError> {
        let before = Lsn(place.lsn.0.saturating_sub(1));
        let recent = self
            .shared
            .recent
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .after(before, Limit { records: 1, bytes: 0 });
        if let Some(stored) = recent.and_then(|mut recent| recent.pop()) {
            return Ok(stored);
        }
        let bytes = self.read_at(place, 4)?;
        let length = bytes.try_into().map_or(0, u32::from_le_bytes);
        let bytes = self.read_at(place, 4 + usize::try_from(length).unwrap_or(0))?;
        let stored = segment::read_record(&bytes, place.lsn);
        stored.map(Arc::new).ok_or_else(|| damaged(place))
    }

    fn read_at(&self, place: Place, length: usize) -> Result<Vec<u8>, ReadError> {
        let file = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let file = usize::try_from(place.segment).ok().and_then(|number| file.get(number)).cloned();
        let file = file.ok_or_else(|| damaged(place))?;
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, u64::from(place.position));
        read.map_err(|source| ReadError::Engine { position: format!("{place:?}"), source })?;
        Ok(bytes)
    }

    fn walk_from_disk(&self, after: Lsn, limit: Limit) -> Result<Vec<Arc<Stored>>, ReadError> {
        let (mut page, mut bytes, mut after) = (Vec::new(), 0, after);
        loop {
            let frame =
                self.shared.index.read().unwrap_or_else(PoisonError::into_inner).frame_of(after.next());
            let Some(place) = frame.filter(|_| after < *self.shared.durable.borrow()) else {
                return Ok(page);
            };
            for stored in self.load_frame(place)? {
                if stored.lsn <= after {
                    continue;
                }
                bytes += stored.record.body.len();
                if page.len() >= limit.records || (!page.is_empty() && bytes > limit.bytes) {
                    return Ok(page);
                }
                after = stored.lsn;
                page.push(Arc::new(stored));
            }
        }
    }

    fn load_frame(&self, place: Place) -> Result<Vec<Stored>, ReadError> {
        let head = self.read_at(place, segment::HEADER)?;
        let length = head.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        let bytes = self.read_at(place, segment::HEADER + usize::try_from(length).unwrap_or(0))?;
        let (frame, body) = segment::parse(&bytes).ok_or_else(|| damaged(place))?;
        let records = segment::read_records(body, frame.count, frame.first).ok_or_else(|| damaged(place))?;
        Ok(records.into_iter().map(|(_, stored)| stored).collect())
    }
}

fn damaged(place: Place) -> ReadError {
    ReadError::Damaged { position: format!("{place:?}"), what: "not a record".to_owned() }
}

impl Journal for EmbeddedJournal {
    fn claim(&self, shard: ShardId) -> BoxFuture<'_, Result<Claim, AppendError>> {
        let (reply, claimed) = oneshot::channel();
        self.ask(Job::Claim(shard, reply));
        Box::pin(async move { claimed.await.unwrap_or(Err(AppendError::Closed)) })
    }

    fn append(&self, group: Group, done: Done) {
        self.ask(Job::Append(group, done));
    }

    fn read(
        &self,
        shard: ShardId,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        let places = self.shared.index.read().unwrap_or_else(PoisonError::into_inner).of_shard(
            shard,
            after,
            limit.records,
        );
        Box::pin(async move { self.page(&places, limit) })
    }

    fn read_home(
        &self,
        service: Name,
        home: Home,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let places = index.of_home(service, home, None, after, limit.records);
        drop(index);
        Box::pin(async move { self.page(&places, limit) })
    }

    fn read_entity(
        &self,
        service: Name,
        entity: EntityRef,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        Box::pin(async move {
            let mut after = after;
            loop {
                let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
                let places = index.of_home(service, entity.home, Some(&entity), after, limit.records);
                drop(index);
                let mut page = self.page(&places, limit)?;
                let Some(last) = page.last().map(|stored| stored.offset) else {
                    return Ok(page);
                };
                // The index tells entities apart by a digest: two may share it.
                page.retain(|stored| stored.record.entity == entity);
                if !page.is_empty() {
                    return Ok(page);
                }
                after = last;
            }
        })
    }

    fn walk(&self, after: Lsn, limit: Limit) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner).after(after, limit);
        Box::pin(async move {
            match recent {
                Some(page) => Ok(page),
                None => self.walk_from_disk(after, limit),
            }
        })
    }

    fn durable(&self) -> watch::Receiver<Lsn> {
        self.shared.durable.subscribe()
    }

    fn health(&self) -> Health {
        self.shared.health.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (reply, closed) = oneshot::channel();
        self.ask(Job::Close(reply));
        Box::pin(async move { drop(closed.await) })
    }
}
