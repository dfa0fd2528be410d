//! Projections at work: rows and position are committed together, so every event counts once.

use std::{
    collections::BTreeMap, fmt, marker::PhantomData, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use prognet_storage::{
    Home, HomeKind, Lsn, Name, codec,
    journal::Stored,
    read_model::{Position, RowChange},
    snapshots::TierError,
};

use super::{
    anchor::{self, Anchors},
    progress::Progress,
    recorded,
};
use crate::{Projection, Rows, runtime::Runtime};

/// A reader that keeps rows, its type erased.
pub(crate) trait ProjectionHost: fmt::Debug + Send + Sync {
    fn name(&self) -> Name;
    /// Of its rows.
    fn version(&self) -> u32;
    /// Takes a page in, giving [`Rows::noted`] what came of each record; again as long as rows are missing. `rows` and
    /// the position are committed together afterwards.
    fn take_in<'a>(
        &'a self,
        page: &'a [Arc<Stored>],
        runtime: &'a Runtime,
        rows: &'a mut Rows<'_>,
    ) -> BoxFuture<'a, Result<(), TierError>>;
    /// It begins (again) to run on this node: its rows say where it was.
    fn begins<'a>(&'a self, runtime: &'a Runtime) -> BoxFuture<'a, Result<(), TierError>> {
        let _ = runtime;
        Box::pin(std::future::ready(Ok(())))
    }
    /// What it does beside taking records in, for as long as it runs on this node.
    fn works<'a>(&'a self, runtime: &'a Runtime) -> BoxFuture<'a, ()> {
        let _ = runtime;
        Box::pin(std::future::pending())
    }
    /// It runs elsewhere from now on.
    fn ends(&self) {}
    /// The page is committed.
    fn committed(&self) {}
    /// Whether records may gather for a moment before they are taken in.
    fn may_gather(&self) -> bool {
        true
    }
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

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn take_in<'a>(
        &'a self,
        page: &'a [Arc<Stored>],
        runtime: &'a Runtime,
        rows: &'a mut Rows<'_>,
    ) -> BoxFuture<'a, Result<(), TierError>> {
        Box::pin(async move {
            for (count, stored) in page.iter().enumerate() {
                breathe(count).await;
                let taken = take_in_one::<P>(stored, runtime, rows).await;
                rows.noted(taken)?;
            }
            Ok(())
        })
    }
}

async fn take_in_one<P: Projection>(
    stored: &Stored,
    runtime: &Runtime,
    rows: &mut Rows<'_>,
) -> Result<(), TierError> {
    P::witness(stored, rows).await?;
    match recorded(runtime, stored)? {
        Some(event) => P::project(&event, rows).await,
        None => Ok(()),
    }
}

/// Records taken in without a pause: well under a millisecond's work.
const BREATH: usize = 16;

/// Nothing a reader does waits while there is more to read, e.g. all of it: others want its thread too.
async fn breathe(count: usize) {
    if count.is_multiple_of(BREATH) {
        tokio::task::yield_now().await;
    }
}

/// Runs a projection whenever this node is its home.
pub(crate) async fn run(
    host: Arc<dyn ProjectionHost>,
    runtime: Arc<Runtime>,
    progress: Arc<Progress>,
    anchors: Anchors,
) {
    // On a node that owns everything it was prepared before anything was served.
    let is_prepared = runtime.placement.is_none();
    let read = || async {
        let _running = progress.running();
        let _ends = Ends(&*host);
        while !is_prepared && let Err(error) = prepare(&*host, &runtime).await {
            tracing::error!(projection = %host.name(), error = &error as &dyn std::error::Error, "a projection does not begin");
            progress.set_error(&error);
            runtime.clock.sleep(Duration::from_secs(1)).await;
        }
        tokio::select! {
            () = follow(&*host, &runtime, &progress) => {}
            () = host.works(&runtime) => {}
        }
    };
    anchor::at_home(&runtime, &anchors, read).await;
}

/// Tells a projection that it runs here no longer, however it ends.
struct Ends<'a>(&'a dyn ProjectionHost);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// Rows of this build's version, and what was under way taken up.
pub(crate) async fn prepare(host: &dyn ProjectionHost, runtime: &Runtime) -> Result<(), TierError> {
    renew(host, runtime).await?;
    host.begins(runtime).await
}

/// Where the versions of the stored rows are kept.
const VERSIONS: Name = Name::new("versions");

/// Clears the rows of another version: they are rebuilt from the journal.
async fn renew(host: &dyn ProjectionHost, runtime: &Runtime) -> Result<(), TierError> {
    let (name, version) = (host.name(), host.version());
    let key = name.as_str().as_bytes().to_vec();
    let kept = runtime.read_model.get(VERSIONS, key.clone()).await?;
    // Rows without a noted version are of the first.
    let kept = kept.and_then(|row| codec::decode_compact(&row.value).ok()).unwrap_or(1_u32);
    if kept == version {
        return Ok(());
    }
    // Nothing has been taken in yet on a new node, nor behind a tier that was lost.
    if runtime.read_model.position(name).await? != Position::default() {
        tracing::warn!(projection = %name, kept, version, "rebuilding {name} from the journal: its rows are of another version");
    }
    runtime.read_model.clear(name).await?;
    let value = codec::encode_compact(&version)
        .map_err(|source| TierError { operation: "encode a version", source: Box::new(source) })?;
    let note = RowChange::Put { key, home: Home { kind: HomeKind::Platform, id: 0 }, value };
    runtime.read_model.commit(VERSIONS, vec![note], Lsn(0), Position::default()).await
}

/// Walks the log for ever; a failure is shown, and tried again. Rows of another shape are cleared and rebuilt,
/// once: if that does not help, the failure is the projection's own.
async fn follow(host: &dyn ProjectionHost, runtime: &Runtime, progress: &Progress) {
    let mut was_rebuilt = false;
    loop {
        let walked = AssertUnwindSafe(walk(host, runtime, progress)).catch_unwind().await;
        let error = match walked.unwrap_or_else(|_panic| Err("it panicked".into())) {
            Ok(()) => return,
            Err(error) => error,
        };
        if is_of_another_shape(&*error) && !was_rebuilt {
            let name = host.name();
            tracing::warn!(projection = %name, "rebuilding {name} from the journal: its rows have another shape");
            was_rebuilt = runtime.read_model.clear(name).await.is_ok();
            continue;
        }
        tracing::error!(projection = %host.name(), error = &*error, "a projection is stuck");
        progress.set_error(&*error);
        runtime.clock.sleep(Duration::from_secs(1)).await;
    }
}

pub(crate) fn is_of_another_shape(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let tier = error.downcast_ref::<TierError>();
    let source = tier.and_then(|tier| tier.source.downcast_ref::<codec::Error>());
    matches!(source, Some(codec::Error::Shape))
}

/// A commit costs about the same for one record as for hundreds, so that under load records gather between two.
/// Whoever waits for the projection ends the pause.
const GATHERING: Duration = Duration::from_millis(5);
/// The same where a commit takes several round trips.
const GATHERING_FAR: Duration = Duration::from_millis(25);
/// Records without a row after which the position is noted all the same: what is read again after a restart.
const NOTED_EVERY: u64 = 10_000;

async fn walk(
    host: &dyn ProjectionHost,
    runtime: &Runtime,
    progress: &Progress,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let gathering = if runtime.read_model.is_far() { GATHERING_FAR } else { GATHERING };
    let mut durable = runtime.journal.durable();
    let mut position = runtime.read_model.position(host.name()).await?;
    progress.begins(position.lsn, position.offsets.clone());
    // What was taken in since the last commit.
    let mut unnoted = Position { lsn: position.lsn, ..Position::default() };
    loop {
        let page = runtime.journal.walk(position.lsn, runtime.page).await?;
        let Some(last) = page.last() else {
            progress.clear_error();
            let from = position.lsn;
            tokio::select! {
                moved = durable.wait_for(|lsn| *lsn > from) => if moved.is_err() {
                    return Ok(());
                },
                () = progress.foreign.notified() => return Err(crate::projection::foreign(codec::Error::Shape).into()),
            }
            continue;
        };
        let (lsn, is_last) = (last.lsn, page.len() < runtime.page.records);
        // The place on this node is a hint; the offsets say what was taken in.
        let fresh: Vec<_> = page
            .into_iter()
            .filter(|stored| position.offsets.get(&stored.shard).is_none_or(|offset| stored.offset > *offset))
            .collect();
        let mut rows = Rows::new(&*runtime.read_model, host.name());
        loop {
            host.take_in(&fresh, runtime, &mut rows).await?;
            if !rows.look_up().await? {
                break;
            }
        }
        let offsets: BTreeMap<_, _> = fresh.iter().map(|stored| (stored.shard, stored.offset)).collect();
        unnoted.offsets.extend(offsets.clone());
        let changes = rows.into_changes();
        // Records that change no row may be read again: they change none the next time either.
        let is_noted = !changes.is_empty() || lsn.0 - unnoted.lsn.0 >= NOTED_EVERY;
        if is_noted {
            let offsets = std::mem::take(&mut unnoted.offsets);
            let from = std::mem::replace(&mut unnoted.lsn, lsn);
            runtime.read_model.commit(host.name(), changes, from, Position { lsn, offsets }).await?;
        }
        position.lsn = lsn;
        position.offsets.extend(offsets.clone());
        progress.moved(lsn, offsets);
        if is_noted {
            host.committed();
        }
        if is_noted && is_last && host.may_gather() {
            tokio::select! {
                () = tokio::time::sleep(gathering) => {}
                () = progress.hurry.notified() => {}
            }
        }
    }
}
