//! Bringing an entity back: its newest readable snapshot, then every record after it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use prognet_storage::{
    Offset,
    codec::{decode_compact, decode_event},
    journal::{ReadError, Record, RecordKind},
    snapshots::Recalled,
};
use ractor::ActorProcessingErr;

use super::{
    Shell,
    kept::{DoneBody, InboxBody, Kept, KeptReply},
    records::open_body,
};
use crate::{Aggregate, aggregate::event_of, runtime::Runtime};

/// An entity as the store has it.
pub(super) struct Loaded<A> {
    pub(super) kept: Kept<A>,
    /// Records after the snapshot.
    pub(super) replayed: u64,
    /// What it weighs, by estimate: the snapshot, and the bodies after it.
    pub(super) bytes: usize,
}

impl<A: Aggregate> Loaded<A> {
    /// Before anything happened, or of an entity whose home was erased: there is nothing to be read, and nothing will be
    /// written.
    fn nothing() -> Self {
        Self { kept: Kept::default(), replayed: 0, bytes: 0 }
    }

    /// With the next record, unless it is known already.
    fn with(mut self, offset: Offset, record: &Record, shell: &Shell) -> Result<Self, ActorProcessingErr> {
        let Shell { runtime, entity, .. } = shell;
        self.kept.offset = offset;
        if record.seq <= self.kept.seq {
            return Ok(self);
        }
        // The journal gives an entity's records without a gap; a hole here is lost history.
        if record.seq != self.kept.seq.next() {
            return Err(format!("{entity} misses the record after seq {}", self.kept.seq).into());
        }
        self.kept = catch_unwind(AssertUnwindSafe(|| apply(self.kept, record, runtime)))
            .map_err(|_why| format!("replaying seq {} of {entity} panicked", record.seq))??;
        self.replayed += 1;
        self.bytes += record.body.len();
        Ok(self)
    }
}

/// An entity as it was left, or nothing of it.
pub(super) async fn load<A: Aggregate>(shell: &Shell) -> Result<Loaded<A>, ActorProcessingErr> {
    // Another node may have made its key, or destroyed it: what is sealed with a second one nobody reads.
    let learned = shell.runtime.keyring.learn([shell.entity.home]).await;
    learned.map_err(|error| ReadError::Engine {
        position: format!("the key of {}", shell.entity),
        source: std::io::Error::other(error),
    })?;
    let is_erased = || shell.runtime.keyring.is_erased(&shell.entity.home);
    if is_erased() {
        return Ok(Loaded::nothing());
    }
    match replay(shell).await {
        // Its key was destroyed under our hands.
        Err(_) if is_erased() => Ok(Loaded::nothing()),
        loaded => loaded,
    }
}

/// Snapshot and tail.
async fn replay<A: Aggregate>(shell: &Shell) -> Result<Loaded<A>, ActorProcessingErr> {
    let Shell { runtime, entity, shard, .. } = shell;
    let recalled = runtime.snapshots.recall(shard.service, *entity).await.unwrap_or_else(|error| {
        tracing::warn!(entity = %entity, error = &error as &dyn std::error::Error, "loading without a snapshot");
        Recalled::default()
    });
    let mut loaded = Loaded::<A>::nothing();
    let kept = recalled.snapshot.as_ref().map(|snapshot| decode_compact(&snapshot.bytes)).transpose();
    // What is behind a snapshot of another shape does not follow from nothing.
    if let Ok(kept) = kept {
        loaded.kept = kept.unwrap_or_default();
        loaded.bytes = recalled.snapshot.map_or(0, |snapshot| snapshot.bytes.len());
        for (offset, record) in &recalled.records {
            loaded = loaded.with(*offset, record, shell)?;
        }
        if recalled.is_all {
            return Ok(loaded);
        }
    }
    loop {
        let after = loaded.kept.offset;
        let page = runtime.journal.read_entity(shard.service, *entity, after, runtime.page).await?;
        if page.is_empty() {
            return Ok(loaded);
        }
        for stored in &page {
            loaded = loaded.with(stored.offset, &stored.record, shell)?;
        }
    }
}

/// One stored record, taken into the state.
fn apply<A: Aggregate>(
    mut kept: Kept<A>,
    record: &Record,
    runtime: &Runtime,
) -> Result<Kept<A>, ActorProcessingErr> {
    match record.kind {
        RecordKind::Event => {
            let event = event_of::<A>(record.name, record.version, &open_body(runtime, record)?)?;
            kept.state.evolve(&event);
        }
        RecordKind::TimerSet => {
            kept.timers.insert(record.name, record.seq);
        }
        RecordKind::TimerCleared => {
            kept.timers.remove(&record.name);
        }
        RecordKind::Outgoing => {
            kept.under_way.insert(record.seq, record.name);
        }
        RecordKind::OutgoingDone => {
            let body: DoneBody = decode_event(&open_body(runtime, record)?)?;
            kept.under_way.remove(&body.outgoing);
        }
        RecordKind::Reply => {
            let body: KeptReply = decode_event(&open_body(runtime, record)?)?;
            kept.keep_reply(body, &runtime.limits);
        }
        RecordKind::Inbox => kept.take(decode_event::<InboxBody>(&open_body(runtime, record)?)?),
        RecordKind::Cursor | RecordKind::Fence => {}
    }
    kept.seq = record.seq;
    Ok(kept)
}
