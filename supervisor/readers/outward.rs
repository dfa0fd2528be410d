//! Readers with effects outside at work: events first, then a checkpoint in the journal.
//!
//! ```text
//!  walk ──▶ take event ──▶ ... ──▶ (100 ms after the first) cursor record per shard ──▶ hint in the tier
//! ```
//! The cursor records of all shards lie in the one shard that the reader is anchored at, each in a history of its
//! own, and are appended under that shard's epoch: its owner alone, which runs the reader, moves them. The tier only
//! remembers where to go on walking, and where the newest cursor records lie.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, try_join_all},
};
use prognet_storage::{
    EntityRef, Home, HomeKind, Lsn, Name, Offset, Seq, ShardId,
    journal::{Cause, Group, Record, RecordKind, Stored},
    read_model::Position,
};
use tokio::sync::{oneshot, watch};

use super::{
    anchor::{self, Anchors},
    progress::Progress,
    recorded,
};
use crate::{
    Node, Reader, ReaderError, Recorded, Timestamp, node::WeakNode, router::Doors, runtime::Runtime,
};

/// How long what was taken may stay without a checkpoint: what comes again after a crash.
const CHECKPOINT_AFTER: Duration = Duration::from_millis(100);
/// Records of no concern after which the walk's place is noted all the same.
const HINT_EVERY: u64 = 10_000;
/// The first and the longest pause before a refused event is given again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A reader, its type erased.
pub(crate) trait ReaderHost: fmt::Debug + Send + Sync {
    fn name(&self) -> Name;
    fn concerns(&self, kind: Name) -> bool;
    fn take<'a>(&'a self, event: &'a Recorded, node: &'a Node) -> BoxFuture<'a, Result<(), ReaderError>>;
}

/// See [`ReaderHost`].
pub(crate) struct Outward<R>(pub(crate) R);

impl<R: Reader> fmt::Debug for Outward<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Outward").field(&R::NAME).finish()
    }
}

impl<R: Reader> ReaderHost for Outward<R> {
    fn name(&self) -> Name {
        Name::new(R::NAME)
    }

    fn concerns(&self, kind: Name) -> bool {
        self.0.concerns(kind)
    }

    fn take<'a>(&'a self, event: &'a Recorded, node: &'a Node) -> BoxFuture<'a, Result<(), ReaderError>> {
        Box::pin(self.0.take(event, node))
    }
}

/// Runs a reader whenever this node is its home.
pub(crate) async fn run(
    host: Arc<dyn ReaderHost>,
    node: WeakNode,
    runtime: Arc<Runtime>,
    progress: Arc<Progress>,
    anchors: Anchors,
) {
    let Some(anchor) = anchors.first() else { return };
    let read = || async {
        let _running = progress.running();
        let (host, node) = (Arc::clone(&host), node.clone());
        read(host, node, Arc::clone(&runtime), Arc::clone(&progress), anchor).await;
    };
    anchor::at_home(&runtime, &anchors, read).await;
}

/// Reads for as long as the node lives; a failure is shown, and tried again.
async fn read(
    host: Arc<dyn ReaderHost>,
    node: WeakNode,
    runtime: Arc<Runtime>,
    progress: Arc<Progress>,
    anchor: ShardId,
) {
    let mut reading = Reading {
        host,
        node,
        runtime,
        progress,
        anchor,
        hint: None,
        lsn: Lsn::default(),
        cursors: HashMap::new(),
        dirty_since: None,
    };
    let mut pause = PAUSES.0;
    loop {
        let before = reading.lsn;
        let walked = AssertUnwindSafe(reading.walk()).catch_unwind().await;
        let Err(error) = walked.unwrap_or_else(|_panic| Err("it panicked".into())) else {
            return;
        };
        pause = if reading.lsn > before { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        tracing::error!(reader = %reading.host.name(), error = &*error, "a reader is stuck");
        reading.progress.set_error(&*error);
        if let Err(error) = reading.checkpoint().await {
            tracing::warn!(reader = %reading.host.name(), error = &*error, "failed to checkpoint");
            // Another process may have moved it: it is to be asked for again.
            reading.hint = None;
        }
        reading.runtime.clock.sleep(pause).await;
    }
}

struct Reading {
    host: Arc<dyn ReaderHost>,
    node: WeakNode,
    runtime: Arc<Runtime>,
    progress: Arc<Progress>,
    /// Where its cursor records lie.
    anchor: ShardId,
    /// What the tier remembers; none before it was asked.
    hint: Option<Position>,
    /// The last record passed.
    lsn: Lsn,
    /// Shards with an event of concern.
    cursors: HashMap<ShardId, Cursor>,
    dirty_since: Option<Timestamp>,
}

/// The place in one shard.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// The last event taken.
    taken: Offset,
    /// The last cursor record.
    seq: Seq,
    /// Where that lies in the anchor's shard.
    place: Offset,
    is_dirty: bool,
}

impl Reading {
    async fn walk(&mut self) -> Result<(), ReaderError> {
        let mut durable = self.runtime.journal.durable();
        if self.hint.is_none() {
            let hint = self.runtime.read_model.position(self.host.name()).await?;
            self.lsn = hint.lsn;
            self.hint = Some(hint);
        }
        loop {
            let page = self.runtime.journal.walk(self.lsn, self.runtime.page).await?;
            if page.is_empty() {
                self.progress.clear_error();
                if self.rest(&mut durable).await?.is_break() {
                    return Ok(());
                }
            }
            for stored in page {
                let Some(node) = self.node.upgrade() else {
                    return Ok(());
                };
                self.take(&stored, &node).await?;
                self.lsn = stored.lsn;
                self.progress.moved(self.lsn, BTreeMap::new());
                if self.is_checkpoint_due() {
                    self.checkpoint().await?;
                }
            }
        }
    }

    /// Waits for more, and checkpoints meanwhile; a break if there will be no more.
    async fn rest(
        &mut self,
        durable: &mut watch::Receiver<Lsn>,
    ) -> Result<std::ops::ControlFlow<()>, ReaderError> {
        let from = self.lsn;
        let due =
            self.dirty_since.map_or(Timestamp::from_millis(i64::MAX), |since| since.after(CHECKPOINT_AFTER));
        let is_over = tokio::select! {
            moved = durable.wait_for(|lsn| *lsn > from) => moved.is_err(),
            () = self.runtime.clock.sleep_until(due) => false,
        };
        if is_over {
            return Ok(std::ops::ControlFlow::Break(()));
        }
        if self.is_checkpoint_due() {
            self.checkpoint().await?;
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    async fn take(&mut self, stored: &Stored, node: &Node) -> Result<(), ReaderError> {
        let record = &stored.record;
        if record.kind != RecordKind::Event || !self.host.concerns(record.entity.kind) {
            return Ok(());
        }
        let cursor = match self.cursors.remove(&stored.shard) {
            Some(cursor) => cursor,
            None => self.load(stored.shard).await?,
        };
        let cursor = self.cursors.entry(stored.shard).or_insert(cursor);
        if stored.offset <= cursor.taken {
            return Ok(());
        }
        if let Some(event) = recorded(&self.runtime, stored)? {
            self.host.take(&event, node).await?;
        }
        cursor.taken = stored.offset;
        cursor.is_dirty = true;
        self.dirty_since.get_or_insert(self.runtime.clock.now());
        Ok(())
    }

    /// The newest cursor record of a shard.
    async fn load(&self, shard: ShardId) -> Result<Cursor, ReaderError> {
        let (service, entity) = (self.anchor.service, self.entity(shard));
        let hinted = self.hint.as_ref().and_then(|hint| hint.offsets.get(&shard).copied());
        // That record itself, and those behind it.
        let mut after = Offset(hinted.unwrap_or_default().0.saturating_sub(1));
        let mut cursor = Cursor { taken: Offset(0), seq: Seq(0), place: Offset(0), is_dirty: false };
        loop {
            let page = self.runtime.journal.read_entity(service, entity, after, self.runtime.page).await?;
            let Some(last) = page.last() else {
                return Ok(cursor);
            };
            after = last.offset;
            cursor.place = last.offset;
            cursor.seq = last.record.seq;
            cursor.taken = last.record.caused_by.map_or(cursor.taken, |cause| cause.offset);
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        let is_old =
            self.dirty_since.is_some_and(|since| self.runtime.clock.now().since(since) >= CHECKPOINT_AFTER);
        let hinted = self.hint.as_ref().map_or(0, |hint| hint.lsn.0);
        is_old || self.lsn.0.saturating_sub(hinted) >= HINT_EVERY
    }

    /// Makes what was taken durable; what fails stays to be done.
    async fn checkpoint(&mut self) -> Result<(), ReaderError> {
        let Some(node) = self.node.upgrade() else {
            return Ok(());
        };
        let dirty: Vec<_> = self.cursors.iter().filter(|(_, cursor)| cursor.is_dirty).collect();
        let dirty: Vec<_> = dirty.into_iter().map(|(shard, cursor)| (*shard, *cursor)).collect();
        let appended =
            try_join_all(dirty.iter().map(|(shard, cursor)| self.append(node.doors(), *shard, cursor)));
        let places = match appended.await {
            Ok(places) => places,
            Err(error) => {
                // Some may be there: their records say so.
                for (shard, _) in dirty {
                    let Cursor { seq, place, .. } = self.load(shard).await?;
                    if let Some(cursor) = self.cursors.get_mut(&shard) {
                        (cursor.seq, cursor.place) = (seq, place);
                    }
                }
                return Err(error);
            }
        };
        for ((shard, _), place) in dirty.iter().zip(&places) {
            if let Some(cursor) = self.cursors.get_mut(shard) {
                (cursor.seq, cursor.place, cursor.is_dirty) = (cursor.seq.next(), *place, false);
            }
        }
        self.dirty_since = None;
        let offsets = dirty.iter().map(|(shard, _)| *shard).zip(places).collect();
        let moved = Position { lsn: self.lsn, offsets };
        let hint = self.hint.get_or_insert_default();
        self.runtime.read_model.commit(self.host.name(), Vec::new(), hint.lsn, moved.clone()).await?;
        hint.lsn = moved.lsn;
        hint.offsets.extend(moved.offsets);
        Ok(())
    }

    /// Writes a cursor record; says where it lies.
    async fn append(&self, doors: &Doors, shard: ShardId, cursor: &Cursor) -> Result<Offset, ReaderError> {
        let (anchor, entity) = (self.anchor, self.entity(shard));
        let epoch = doors.shard(anchor.service, entity, None).await?.epoch;
        let record = Record {
            kind: RecordKind::Cursor,
            entity,
            seq: cursor.seq.next(),
            name: self.host.name(),
            version: 1,
            at_ms: self.runtime.clock.now().as_millis(),
            by: 0,
            trace: 0,
            caused_by: Some(Cause { shard, offset: cursor.taken }),
            body: Vec::new(),
        };
        let (done, fate) = oneshot::channel();
        let group = Group { shard: anchor, epoch, records: vec![record] };
        self.runtime.journal.append(group, Box::new(move |appended| drop(done.send(appended))));
        Ok(fate.await??.first)
    }

    /// Whose history the cursor records about a shard are: an entity whose home lies in the anchor's shard.
    fn entity(&self, shard: ShardId) -> EntityRef {
        let subject = format!("{}/{shard}", self.host.name());
        let id = self.runtime.keyring.hash("reader", subject.as_bytes());
        let homes = (0..).map(|turn| Home { kind: HomeKind::Platform, id: id.wrapping_add(turn) });
        let shards = self.runtime.limits.shards;
        let home = homes.into_iter().find(|home| home.shard_number(shards) == self.anchor.number);
        let home = home.unwrap_or(Home { kind: HomeKind::Platform, id });
        EntityRef { home, kind: Name::new("reader"), id }
    }
}
