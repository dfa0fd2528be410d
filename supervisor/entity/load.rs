//! Bringing an entity back: its newest readable snapshot, then every record after it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use prognet_storage::{
    codec::decode_event,
    journal::{ReadError, Record, RecordKind},
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
    /// Of an entity whose home was erased: there is nothing to be read, and nothing will be written.
    fn nothing() -> Self {
        Self { kept: Kept::default(), replayed: 0, bytes: 0 }
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
    let mut bytes = 0;
    let mut kept = match runtime.snapshots.load(shard.service, *entity).await {
        Ok(Some(snapshot)) => {
            bytes += snapshot.bytes.len();
            prognet_storage::codec::decode_compact::<Kept<A>>(&snapshot.bytes).unwrap_or_default()
        }
        Ok(None) => Kept::default(),
        Err(error) => {
            tracing::warn!(entity = %entity, error = &error as &dyn std::error::Error, "loading without a snapshot");
            Kept::default()
        }
    };
    let mut replayed = 0;
    loop {
        let page = runtime.journal.read_entity(shard.service, *entity, kept.offset, runtime.page).await?;
        let Some(last) = page.last() else { break };
        let tail = last.offset;
        for stored in &page {
            if stored.record.seq <= kept.seq {
                continue;
            }
            // The journal gives an entity's records without a gap; a hole here is lost history.
            if stored.record.seq != kept.seq.next() {
                return Err(format!("{entity} misses the record after seq {}", kept.seq).into());
            }
            kept = catch_unwind(AssertUnwindSafe(|| apply(kept, &stored.record, runtime)))
                .map_err(|_why| format!("replaying seq {} of {entity} panicked", stored.record.seq))??;
            replayed += 1;
            bytes += stored.record.body.len();
        }
        kept.offset = tail;
    }
    Ok(Loaded { kept, replayed, bytes })
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
