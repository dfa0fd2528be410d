//! Projections at work: one task a projection walks the durable log and commits rows with its position.

use std::{
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use prognet_storage::{
    Lsn, Name, Offset, ShardId,
    journal::{RecordKind, Stored},
    keyring::OpenError,
    read_model::Position,
    snapshots::TierError,
};
use tokio::sync::watch;

use crate::{
    Projection, Recorded, Rows, Timestamp, Unavailable, entity::open_body, router::Written, runtime::Runtime,
};

/// A reader that keeps rows, its type erased.
pub(crate) trait ProjectionHost: fmt::Debug + Send + Sync {
    fn name(&self) -> Name;
    /// Takes a page in; `rows` and the position are committed together afterwards.
    fn take_in<'a>(
        &'a self,
        page: &'a [Arc<Stored>],
        runtime: &'a Runtime,
        rows: &'a mut Rows<'_>,
    ) -> BoxFuture<'a, Result<(), TierError>>;
    /// The page is committed.
    fn committed(&self) {}
}

/// See [`ProjectionHost`].
pub(crate) struct Projector<P>(PhantomData<fn() -> P>);

impl<P> Default for Projector<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<P: Projection> fmt::Debug for Projector<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Projector").field(&P::NAME).finish()
    }
}

impl<P: Projection> ProjectionHost for Projector<P> {
    fn name(&self) -> Name {
        Name::new(P::NAME)
    }

    fn take_in<'a>(
        &'a self,
        page: &'a [Arc<Stored>],
        runtime: &'a Runtime,
        rows: &'a mut Rows<'_>,
    ) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            for stored in page {
                if let Some(event) = recorded(runtime, stored)? {
                    P::project(&event, rows).await?;
                }
            }
            Ok(())
        })
    }
}

/// The event in a stored record, opened; `None` for other records and for erased homes.
pub(crate) fn recorded(runtime: &Runtime, stored: &Stored) -> Result<Option<Recorded>, TierError> {
    let record = &stored.record;
    if record.kind != RecordKind::Event {
        return Ok(None);
    }
    let body = match open_body(runtime, record) {
        Ok(body) => body,
        Err(OpenError::Erased) => return Ok(None),
        Err(error) => {
            return Err(TierError { operation: "open an event", source: Box::new(error) });
        }
    };
    Ok(Some(Recorded {
        kind: record.entity.kind,
        name: record.name,
        version: record.version,
        home: record.entity.home,
        id: record.entity.id,
        shard: stored.shard,
        offset: stored.offset,
        at: Timestamp::from_millis(record.at_ms),
        by: record.by,
        trace: record.trace,
        caused_by: record.caused_by,
        body: Arc::new(body),
    }))
}

/// How far a projection has come, for those who wait for it and those who look after it.
#[derive(Debug)]
pub(crate) struct Progress {
    offsets: Mutex<BTreeMap<ShardId, Offset>>,
    /// The last record of the node it has seen.
    lsn: AtomicU64,
    error: Mutex<Option<String>>,
    moved: watch::Sender<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            offsets: Mutex::default(),
            lsn: AtomicU64::new(0),
            error: Mutex::default(),
            moved: watch::Sender::new(0),
        }
    }
}

impl Progress {
    fn has_taken_in(&self, written: Written) -> bool {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.get(&written.shard).is_some_and(|offset| *offset >= written.offset)
    }

    /// Returns once the projection has taken `written` in.
    pub(crate) async fn reach(
        &self,
        written: Written,
        runtime: &Runtime,
        deadline: Timestamp,
    ) -> Result<(), Unavailable> {
        let mut moved = self.moved.subscribe();
        let reached = moved.wait_for(|_| self.has_taken_in(written));
        tokio::select! {
            _ = reached => Ok(()),
            () = runtime.clock.sleep_until(deadline) => Err(Unavailable::Behind),
        }
    }

    /// Why it does not move, if it does not.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Durable records it has yet to see.
    pub(crate) fn lag(&self, durable: Lsn) -> u64 {
        durable.0.saturating_sub(self.lsn.load(Ordering::Relaxed))
    }

    fn moved(&self, lsn: Lsn, offsets: BTreeMap<ShardId, Offset>) {
        self.lsn.store(lsn.0, Ordering::Relaxed);
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).extend(offsets);
        self.moved.send_modify(|times| *times += 1);
    }
}

/// Walks the log for ever; a failure is shown, and tried again.
pub(crate) async fn follow(host: Arc<dyn ProjectionHost>, runtime: Arc<Runtime>, progress: Arc<Progress>) {
    loop {
        let walked = AssertUnwindSafe(walk(&*host, &runtime, &progress)).catch_unwind().await;
        match walked.unwrap_or_else(|_panic| Err("it panicked".into())) {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(projection = %host.name(), error = &*error, "a projection is stuck");
                progress.set_error(Some(error.to_string()));
                runtime.clock.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn walk(
    host: &dyn ProjectionHost,
    runtime: &Runtime,
    progress: &Progress,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut durable = runtime.journal.durable();
    let mut position = runtime.read_model.position(host.name()).await?;
    progress.moved(position.lsn, position.offsets.clone());
    loop {
        let page = runtime.journal.walk(position.lsn, runtime.page).await?;
        let Some(last) = page.last() else {
            progress.set_error(None);
            let from = position.lsn;
            if durable.wait_for(|lsn| *lsn > from).await.is_err() {
                return Ok(());
            }
            continue;
        };
        let lsn = last.lsn;
        // The place on this node is a hint; the offsets say what was taken in.
        let fresh: Vec<_> = page
            .into_iter()
            .filter(|stored| position.offsets.get(&stored.shard).is_none_or(|offset| stored.offset > *offset))
            .collect();
        let mut rows = Rows::new(&*runtime.read_model, host.name());
        host.take_in(&fresh, runtime, &mut rows).await?;
        let offsets: BTreeMap<_, _> = fresh.iter().map(|stored| (stored.shard, stored.offset)).collect();
        let changes = rows.into_changes();
        runtime.read_model.commit(host.name(), changes, Position { lsn, offsets: offsets.clone() }).await?;
        position.lsn = lsn;
        position.offsets.extend(offsets.clone());
        progress.moved(lsn, offsets);
        host.committed();
    }
}
