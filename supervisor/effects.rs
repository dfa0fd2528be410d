//! What entities asked for beyond themselves: timers that fall due, commands to others.
//!
//! Both are journal records, so this is a reader like any other: it keeps a row for each timer that is set
//! and each command under way, and works through the rows. Order is kept per (source shard, target); a
//! target that does not answer holds up its own lane only. Everything is done at least once, and the
//! receiving entity makes that once.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use prognet_storage::{
    EntityRef, Name, Seq, ShardId,
    codec::{decode_compact, decode_event},
    journal::{Cause, RecordKind, Stored},
    keyring::OpenError,
    snapshots::TierError,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    Rows, Timestamp,
    aggregate::{Answer, Outgoing},
    entity::{AnyRefused, TimerRecord, open_body},
    parcel::Errand,
    readers::projections::ProjectionHost,
    router::Doors,
    runtime::Runtime,
};

/// The projection's name.
pub(crate) const NAME: Name = Name::new("effects");

/// Timers fired at once.
const FIRED_AT_ONCE: usize = 100;
/// The first and the longest pause before a refused effect is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// A timer that is set.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TimerRow {
    service: Name,
    entity: EntityRef,
    name: Name,
    set_by: Seq,
    due: Timestamp,
    command: Vec<u8>,
}

/// A command under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OutgoingRow {
    source: Cause,
    entity: EntityRef,
    seq: Seq,
    by: u128,
    trace: u128,
    outgoing: Outgoing,
}

type Lane = (ShardId, EntityRef);

/// Commands by lane, oldest first, each lane worked off by a task of its own.
#[derive(Default)]
struct Lanes {
    /// Raised when this node ceases to run them: who works for an earlier life stops.
    life: u64,
    queues: HashMap<Lane, VecDeque<OutgoingRow>>,
}

/// See the module.
pub(crate) struct Effects {
    /// Commands whose rows are being committed.
    fresh: Mutex<Vec<OutgoingRow>>,
    lanes: Mutex<Lanes>,
    changed: Notify,
    doors: Weak<Doors>,
    me: Weak<Self>,
}

impl fmt::Debug for Effects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Effects").finish_non_exhaustive()
    }
}

impl Effects {
    pub(crate) fn new(doors: Weak<Doors>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            fresh: Mutex::default(),
            lanes: Mutex::default(),
            changed: Notify::new(),
            doors,
            me: me.clone(),
        })
    }

    /// Commands that wait for their targets.
    pub(crate) fn under_way(&self) -> usize {
        lock(&self.lanes).queues.values().map(VecDeque::len).sum()
    }

    /// Fires timers, for ever.
    async fn fire_timers(&self, runtime: &Runtime) {
        let mut pause = PAUSES.0;
        loop {
            let changed = self.changed.notified();
            let (next, all_done) = self.fire_due(runtime).await;
            pause = if all_done { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            let wake = match next {
                // Fired, but the row is still there: its record is on the way, or it was refused.
                Some(due) if due <= runtime.clock.now() => runtime.clock.now().after(pause),
                Some(due) => due,
                None => Timestamp::from_millis(i64::MAX),
            };
            tokio::select! {
                () = changed => {}
                () = runtime.clock.sleep_until(wake) => {}
            }
            if self.doors.strong_count() == 0 {
                return;
            }
        }
    }

    /// Takes up the commands that were under way, before the walk adds younger ones: a target takes a source's
    /// commands in order, and a later one before an earlier would hide it. Rows of another shape go: the walk
    /// makes them again.
    async fn take_up(&self, runtime: &Runtime) -> Result<(), TierError> {
        let (mut after, mut under_way) = (None, Vec::new());
        let timers = runtime.read_model.scan(NAME, b"t".to_vec(), None, 1).await?;
        let mut is_readable = timers.iter().all(|row| decode_compact::<TimerRow>(&row.value).is_ok());
        while is_readable {
            let page = runtime.read_model.scan(NAME, b"o".to_vec(), after.take(), 1_000).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let rows = page
                .iter()
                .map(|row| decode_compact::<OutgoingRow>(&row.value))
                .collect::<Result<Vec<_>, _>>();
            is_readable = rows.is_ok();
            under_way.extend(rows.into_iter().flatten());
        }
        if !is_readable {
            tracing::warn!(
                "reading timers and outgoing commands from the journal again: their rows have another shape"
            );
            return runtime.read_model.clear(NAME).await;
        }
        for row in under_way {
            self.enqueue(row);
        }
        Ok(())
    }

    /// Fires what is due; says when the next is, and whether all that was due is done.
    async fn fire_due(&self, runtime: &Runtime) -> (Option<Timestamp>, bool) {
        let page =
            runtime.read_model.scan(NAME, b"t".to_vec(), None, FIRED_AT_ONCE).await.unwrap_or_default();
        let rows =
            page.iter().filter_map(|row| decode_compact::<TimerRow>(&row.value).ok()).collect::<Vec<_>>();
        let now = runtime.clock.now();
        let due: Vec<_> = rows.iter().filter(|row| row.due <= now).collect();
        let done = join_all(due.iter().map(|row| self.fire(row))).await;
        let next = if due.is_empty() { rows.first().map(|row| row.due) } else { Some(now) };
        (next, done.into_iter().all(|is_done| is_done))
    }

    async fn fire(&self, row: &TimerRow) -> bool {
        let Some(doors) = self.doors.upgrade() else {
            return true;
        };
        let fire =
            Errand::Fire { name: row.name, set_by: row.set_by, due: row.due, command: row.command.clone() };
        doors.run(row.service, row.entity, fire).await.is_ok()
    }

    fn enqueue(&self, row: OutgoingRow) {
        let lane = (row.source.shard, row.outgoing.target);
        let mut lanes = lock(&self.lanes);
        if let Some(queue) = lanes.queues.get_mut(&lane) {
            // Taken up at start and met again on the walk.
            if !queue.iter().any(|waiting| waiting.source == row.source) {
                queue.push_back(row);
            }
            return;
        }
        lanes.queues.insert(lane, VecDeque::from([row]));
        let life = lanes.life;
        drop(lanes);
        if let (Some(me), Some(doors)) = (self.me.upgrade(), self.doors.upgrade()) {
            doors.runtime().tasks.spawn(async move { me.work(lane, life).await });
        }
    }

    fn is_over(&self, life: u64) -> bool {
        lock(&self.lanes).life != life
    }

    /// Works a lane off, oldest first.
    async fn work(&self, lane: Lane, life: u64) {
        loop {
            let row = lock(&self.lanes).queues.get(&lane).and_then(|queue| queue.front().cloned());
            if let Some(row) = row
                && !self.deliver(row, life).await
            {
                return;
            }
            let mut lanes = lock(&self.lanes);
            if lanes.life != life {
                return;
            }
            let Some(queue) = lanes.queues.get_mut(&lane) else { return };
            queue.pop_front();
            if queue.is_empty() {
                lanes.queues.remove(&lane);
                return;
            }
        }
    }

    /// Brings a command to its target and the answer back; false when the node stops, or another one does it.
    async fn deliver(&self, row: OutgoingRow, life: u64) -> bool {
        let target = row.outgoing.target;
        let outcome = self
            .insist(target, life, |doors| {
                let row = row.clone();
                async move {
                    let delivery = Errand::Delivery {
                        source: row.source,
                        by: row.by,
                        trace: row.trace,
                        command: row.outgoing.command,
                    };
                    doors.run(row.outgoing.service, target, delivery).await?.ok_or(AnyRefused::Fault)
                }
            })
            .await;
        let Some(outcome) = outcome else { return false };
        let answer = Answer { step: row.outgoing.step, outcome };
        self.insist(row.entity, life, |doors| {
            let (answer, row) = (answer.clone(), row.clone());
            async move {
                let heard = Errand::Heard { outgoing: row.seq, cause: row.source, answer, trace: row.trace };
                doors.run(row.source.shard.service, row.entity, heard).await
            }
        })
        .await
        .is_some()
    }

    /// Tries until it is taken; a fault or a quarantine holds the lane, never skips it.
    async fn insist<T, F>(
        &self,
        whom: EntityRef,
        life: u64,
        mut attempt: impl FnMut(Arc<Doors>) -> F,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, AnyRefused>>,
    {
        let mut pause = PAUSES.0;
        loop {
            let doors = self.doors.upgrade().filter(|_| !self.is_over(life))?;
            let clock = doors.runtime().clock.clone();
            match attempt(doors).await {
                Ok(taken) => return Some(taken),
                Err(_) => {
                    tracing::debug!(entity = %whom, pause_ms = pause.as_millis(), "an effect waits");
                    clock.sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

impl ProjectionHost for Effects {
    fn name(&self) -> Name {
        NAME
    }

    fn version(&self) -> u32 {
        1
    }

    fn take_in<'a>(
        &'a self,
        page: &'a [Arc<Stored>],
        runtime: &'a Runtime,
        rows: &'a mut Rows<'_>,
    ) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            lock(&self.fresh).clear();
            for stored in page {
                let taken = self.note(stored, runtime, rows).await;
                rows.noted(taken)?;
            }
            Ok(())
        })
    }

    fn begins<'a>(&'a self, runtime: &'a Runtime) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(self.take_up(runtime))
    }

    fn works<'a>(&'a self, runtime: &'a Runtime) -> BoxFuture<'a, ()> {
        Box::pin(self.fire_timers(runtime))
    }

    fn ends(&self) {
        let mut lanes = lock(&self.lanes);
        lanes.life += 1;
        lanes.queues.clear();
    }

    /// Sagas wait for their steps.
    fn may_gather(&self) -> bool {
        false
    }

    fn committed(&self) {
        for row in std::mem::take(&mut *lock(&self.fresh)) {
            self.enqueue(row);
        }
        self.changed.notify_waiters();
    }
}

impl Effects {
    async fn note(&self, stored: &Stored, runtime: &Runtime, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let record = &stored.record;
        let home = record.entity.home;
        match record.kind {
            RecordKind::TimerSet => {
                forget_timer(record.entity, record.name, rows).await?;
                let Some(body) = opened::<TimerRecord>(runtime, stored)? else {
                    return Ok(());
                };
                let row = TimerRow {
                    service: stored.shard.service,
                    entity: record.entity,
                    name: record.name,
                    set_by: record.seq,
                    due: body.due,
                    command: body.command,
                };
                rows.put(&due_key(body.due, record.entity, record.name), home, &row)?;
                rows.put(&name_key(record.entity, record.name), home, &body.due)?;
            }
            RecordKind::TimerCleared => forget_timer(record.entity, record.name, rows).await?,
            RecordKind::Outgoing => {
                let Some(outgoing) = opened::<Outgoing>(runtime, stored)? else {
                    return Ok(());
                };
                let source = Cause { shard: stored.shard, offset: stored.offset };
                let row = OutgoingRow {
                    source,
                    entity: record.entity,
                    seq: record.seq,
                    by: record.by,
                    trace: record.trace,
                    outgoing,
                };
                rows.put(&outgoing_key(source), home, &row)?;
                lock(&self.fresh).push(row);
            }
            RecordKind::OutgoingDone => {
                if let Some(source) = record.caused_by {
                    rows.delete(&outgoing_key(source));
                    lock(&self.fresh).retain(|row| row.source != source);
                }
            }
            RecordKind::Event
            | RecordKind::Reply
            | RecordKind::Inbox
            | RecordKind::Cursor
            | RecordKind::Fence => {}
        }
        Ok(())
    }
}

async fn forget_timer(entity: EntityRef, name: Name, rows: &mut Rows<'_>) -> Result<(), TierError> {
    let key = name_key(entity, name);
    if let Some(due) = rows.get::<Timestamp>(&key).await? {
        rows.delete(&due_key(due, entity, name));
        rows.delete(&key);
    }
    Ok(())
}

/// A record's body, decoded; `None` if its home was erased.
fn opened<T: for<'de> Deserialize<'de>>(runtime: &Runtime, stored: &Stored) -> Result<Option<T>, TierError> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| TierError { operation: "open an effect", source };
    match open_body(runtime, &stored.record) {
        Ok(body) => decode_event(&body).map(Some).map_err(|error| failed(Box::new(error))),
        Err(OpenError::Erased) => Ok(None),
        Err(error) => Err(failed(Box::new(error))),
    }
}

fn entity_bytes(entity: EntityRef, name: Name) -> Vec<u8> {
    let mut bytes = entity.home.canonical().to_vec();
    bytes.extend_from_slice(entity.kind.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&entity.id.to_be_bytes());
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes
}

fn due_key(due: Timestamp, entity: EntityRef, name: Name) -> Vec<u8> {
    let mut key = b"t".to_vec();
    key.extend_from_slice(&due.as_millis().to_be_bytes());
    key.extend_from_slice(&entity_bytes(entity, name));
    key
}

fn name_key(entity: EntityRef, name: Name) -> Vec<u8> {
    let mut key = b"n".to_vec();
    key.extend_from_slice(&entity_bytes(entity, name));
    key
}

fn outgoing_key(source: Cause) -> Vec<u8> {
    let mut key = b"o".to_vec();
    key.extend_from_slice(source.shard.service.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&source.shard.number.to_be_bytes());
    key.extend_from_slice(&source.offset.0.to_be_bytes());
    key
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
