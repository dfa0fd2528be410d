//! What outlives a node in memory: its journal, its keys and the tier that may be lost.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prognet_storage::{
    EntityRef, Epoch, Home, Lsn, Name, Seq, ShardId,
    journal::{AppendError, Appended, Done, Group, Stored},
    keyring::{Keyring, MasterKey},
    read_model::Position,
    snapshots::Snapshot,
};
use tokio::sync::watch;

use super::{journal::MemoryJournal, tier::MemoryTier};
use crate::Clock;

/// What happens to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: nothing is written.
    Full,
    /// The entity's history has another end than the batch supposes: nothing is written.
    OutOfOrder,
    /// The sync fails: this batch and all later ones are refused until the node starts again.
    Poisoned,
    /// It is written, but nobody is told: what a crash between append and reply looks like.
    Unanswered,
}

/// A disk that tests break on purpose; clones are the same disk.
#[derive(Clone)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
    keyring: Arc<Keyring>,
    _directory: Arc<Temporary>,
}

/// A directory that goes with its last user.
struct Temporary(std::path::PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Memory").field("records", &self.records()).finish_non_exhaustive()
    }
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) log: Vec<Arc<Stored>>,
    pub(super) epochs: HashMap<ShardId, Epoch>,
    /// The epoch of shards that were not claimed since the start.
    pub(super) epoch: Epoch,
    seqs: HashMap<EntityRef, Seq>,
    pub(super) durable: watch::Sender<Lsn>,
    /// Which start has the disk: what an earlier one still tries is lost.
    pub(super) start: u64,
    faults: VecDeque<Fault>,
    held: Option<Vec<(Group, Done)>>,
    /// How long the log may get before appends wait.
    held_after: Option<usize>,
    pub(super) is_poisoned: bool,
    /// The next entity that is read is erased meanwhile.
    erases_next: bool,
    /// Readings of entities that fail from now on.
    failing_reads: usize,
    pub(super) tier: Tier,
}

/// Rows, positions and snapshots.
#[derive(Default)]
pub(super) struct Tier {
    pub(super) rows: BTreeMap<(Name, Vec<u8>), (Home, Vec<u8>)>,
    pub(super) positions: HashMap<Name, Position>,
    pub(super) snapshots: HashMap<(Name, EntityRef), Snapshot>,
    /// Commits that fail from now on.
    pub(super) failing: usize,
    /// How often rows were looked up.
    pub(super) look_ups: usize,
    /// Projections whose rows do not open.
    pub(super) damaged: HashSet<Name>,
}

impl Memory {
    /// An empty disk.
    ///
    /// # Panics
    /// When the keys find no place among temporary files.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test must fail here")]
    pub fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("prognet-{:032x}", Clock::default().fresh_id()));
        let keyring = Keyring::open(&directory, &MasterKey::new([3; 32])).expect("a keyring");
        Self { kept: Arc::default(), keyring: Arc::new(keyring), _directory: Arc::new(Temporary(directory)) }
    }

    /// Appends meet these fates from now on, one each, in order; later ones none.
    pub fn fail_appends(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// Fates that no append has met yet.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.lock().faults.len()
    }

    /// Fates that no append has met yet are none's any more.
    pub fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// Appends wait from now on.
    pub fn hold_appends(&self) {
        self.lock().held.get_or_insert_default();
    }

    /// Appends wait as soon as the log would have more than so many records.
    pub fn hold_appends_after(&self, records: usize) {
        self.lock().held_after = Some(records);
    }

    /// Appends that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().held.as_ref().map_or(0, Vec::len)
    }

    /// What waits is appended, in order.
    pub fn release_appends(&self) {
        let held = self.lock().held.take();
        for (group, done) in held.into_iter().flatten() {
            self.append(group, done);
        }
    }

    /// So many commits of projections fail from now on.
    pub fn fail_commits(&self, count: usize) {
        self.lock().tier.failing = count;
    }

    /// So many readings of entities fail from now on.
    pub fn fail_reads(&self, count: usize) {
        self.lock().failing_reads = count;
    }

    /// Readings that fail from now on.
    #[must_use]
    pub fn failing_reads(&self) -> usize {
        self.lock().failing_reads
    }

    /// Whether this reading fails.
    pub(super) fn fails_to_read(&self) -> bool {
        let mut kept = self.lock();
        let fails = kept.failing_reads > 0;
        kept.failing_reads = kept.failing_reads.saturating_sub(1);
        fails
    }

    /// Destroys the key of the next entity that is read, behind the reading.
    pub fn erase_next_read(&self) {
        self.lock().erases_next = true;
    }

    /// See [`Memory::erase_next_read`].
    #[expect(clippy::expect_used, reason = "a test must fail here")]
    pub(super) async fn was_read(&self, home: &Home) {
        let is_asked = std::mem::take(&mut self.lock().erases_next);
        if is_asked {
            self.keyring.erase(home).await.expect("a keyring");
        }
    }

    /// The rows of a projection do not open any more, until they are cleared.
    pub fn damage_rows(&self, projection: &'static str) {
        self.lock().tier.damaged.insert(Name::new(projection));
    }

    /// Forgets rows, positions and snapshots, as if their folder were deleted.
    pub fn lose_tier(&self) {
        self.lock().tier = Tier::default();
    }

    /// Forgets snapshots alone.
    pub fn lose_snapshots(&self) {
        self.lock().tier.snapshots.clear();
    }

    /// Snapshots that are kept.
    #[must_use]
    pub fn snapshots(&self) -> usize {
        self.lock().tier.snapshots.len()
    }

    /// How often rows were looked up since the tier is there.
    #[must_use]
    pub fn look_ups(&self) -> usize {
        self.lock().tier.look_ups
    }

    /// Durable records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.lock().log.len()
    }

    /// All durable records.
    #[must_use]
    pub fn log(&self) -> Vec<Arc<Stored>> {
        self.lock().log.clone()
    }

    /// The rows of a projection.
    #[must_use]
    pub fn rows(&self, projection: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let kept = self.lock();
        let own = kept.tier.rows.iter().filter(|((name, _), _)| name.as_str() == projection);
        own.map(|((_, key), (_, value))| (key.clone(), value.clone())).collect()
    }

    /// The disk as a starting node gets it; whoever had it before has lost it.
    pub(super) fn open(&self) -> (MemoryJournal, MemoryTier, Arc<Keyring>) {
        let mut kept = self.lock();
        kept.start += 1;
        kept.epoch = kept.epochs.values().copied().max().unwrap_or(kept.epoch).next();
        kept.epochs.clear();
        kept.held = None;
        kept.held_after = None;
        kept.is_poisoned = false;
        // The old sender goes, and with it the readers of the node that was.
        kept.durable = watch::Sender::new(Lsn(kept.log.len() as u64));
        let start = kept.start;
        drop(kept);
        (
            MemoryJournal { memory: self.clone(), start },
            MemoryTier { memory: self.clone(), start },
            Arc::clone(&self.keyring),
        )
    }

    /// The node that has the disk is dead: nothing it still tries has an effect.
    pub(super) fn cut_off(&self) {
        let mut kept = self.lock();
        kept.start += 1;
        kept.held = None;
        kept.durable = watch::Sender::default();
    }

    /// Whether nothing of a home is readable any more.
    pub(super) fn is_erased(&self, home: &Home) -> bool {
        self.keyring.is_erased(home)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(&self, group: Group, done: Done) {
        let mut kept = self.lock();
        let is_too_long = |records| kept.log.len() + group.records.len() > records;
        if kept.held_after.is_some_and(is_too_long) {
            kept.held.get_or_insert_default();
        }
        if let Some(held) = &mut kept.held {
            held.push((group, done));
            return;
        }
        let fault = kept.faults.pop_front();
        let fate = kept.append(group, fault);
        drop(kept);
        if fault != Some(Fault::Unanswered) {
            done(fate);
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    fn append(&mut self, group: Group, fault: Option<Fault>) -> Result<Appended, AppendError> {
        let poisoned = AppendError::Poisoned { reason: "told to".to_owned() };
        match fault {
            Some(Fault::Full) => return Err(AppendError::Full),
            Some(Fault::Poisoned) => self.is_poisoned = true,
            Some(Fault::OutOfOrder) => {
                return Err(self.out_of_order(&group));
            }
            Some(Fault::Unanswered) | None => {}
        }
        if self.is_poisoned {
            return Err(poisoned);
        }
        let Group { shard, epoch: claimed, .. } = group;
        let current = self.epochs.get(&shard).copied().unwrap_or(self.epoch);
        if claimed != current {
            return Err(AppendError::Fenced { shard, current, claimed });
        }
        let mut seqs = self.seqs.clone();
        for record in &group.records {
            let last = seqs.insert(record.entity, record.seq).unwrap_or_default();
            if record.seq != last.next() {
                return Err(self.out_of_order(&group));
            }
        }
        self.seqs = seqs;
        let first = self.tail(shard).next();
        for (offset, record) in (first.0..).zip(group.records) {
            let lsn = Lsn(self.log.len() as u64 + 1);
            let offset = prognet_storage::Offset(offset);
            self.log.push(Arc::new(Stored { lsn, shard, epoch: claimed, offset, record }));
        }
        let last_lsn = Lsn(self.log.len() as u64);
        self.durable.send_replace(last_lsn);
        Ok(Appended { first, last_lsn })
    }

    fn out_of_order(&self, group: &Group) -> AppendError {
        let entity = group.records.first().map(|record| record.entity);
        let entity = entity.unwrap_or(EntityRef {
            home: Home { kind: prognet_storage::HomeKind::Platform, id: 0 },
            kind: Name::default(),
            id: 0,
        });
        let expected = self.seqs.get(&entity).copied().unwrap_or_default();
        AppendError::OutOfOrder { entity, expected }
    }

    pub(super) fn tail(&self, shard: ShardId) -> prognet_storage::Offset {
        let last = self.log.iter().rev().find(|stored| stored.shard == shard);
        last.map_or_else(prognet_storage::Offset::default, |stored| stored.offset)
    }
}
