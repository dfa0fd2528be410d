//! The contract of projections: events in, rows out; exactly once, since rows and position move together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prognet_storage::{
    Home, Name, Offset, ReadModel, ShardId, codec,
    journal::{Cause, Stored},
    read_model::RowChange,
    snapshots::TierError,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Aggregate, Timestamp, aggregate::event_of};

/// A reader of all shards that keeps a read model. Pure but for the rows it asks for.
pub trait Projection: Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// The version of what it keeps: raised when the same events are to give other rows, which are then rebuilt.
    /// A row that changed its shape is noticed without it.
    const VERSION: u32 = 1;

    /// Takes in one event.
    fn project(event: &Recorded, rows: &mut Rows<'_>) -> impl Future<Output = Result<(), TierError>> + Send;

    /// Sees one record as it lies in the journal, whatever it says and whether or not it still opens, before
    /// [`Projection::project`] gets the event in it. Few have a use for that.
    fn witness(stored: &Stored, rows: &mut Rows<'_>) -> impl Future<Output = Result<(), TierError>> + Send {
        let _ = (stored, rows);
        std::future::ready(Ok(()))
    }
}

/// An event as readers see it: decoded on demand, opened already.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The aggregate's kind.
    pub kind: Name,
    /// The event's type.
    pub name: Name,
    /// The version it was written in.
    pub version: u16,
    /// The home it happened in.
    pub home: Home,
    /// The entity it happened to.
    pub id: u128,
    /// Its shard.
    pub shard: ShardId,
    /// Its place there.
    pub offset: Offset,
    /// When it was decided.
    pub at: Timestamp,
    /// The account that asked, or 0.
    pub by: u128,
    /// The trace, or 0.
    pub trace: u128,
    /// What led to it.
    pub caused_by: Option<Cause>,
    /// The event, MessagePack with field names.
    pub body: Arc<Vec<u8>>,
}

impl Recorded {
    /// The same for the same event, whenever and to whomever it is given: what receivers deduplicate by.
    #[must_use]
    pub fn event_id(&self) -> String {
        format!("{}/{}", self.shard, self.offset)
    }

    /// The event, if it is one of this aggregate.
    ///
    /// # Errors
    /// When this build does not know its type or version. Whoever reads stops there until a build does: an event
    /// that is skipped is lost to its reader for ever.
    pub fn of<A: Aggregate>(&self) -> Result<Option<A::Event>, Unreadable> {
        if self.kind != A::KIND.name {
            return Ok(None);
        }
        let unreadable = |_what_may_quote_it| Unreadable {
            event: format!("{}.{}", self.kind, self.name),
            version: self.version,
            id: self.event_id(),
        };
        event_of::<A>(self.name, self.version, &self.body).map(Some).map_err(unreadable)
    }
}

/// An event that this build cannot read. It says which, and not how decoding failed: that may quote the event.
#[derive(Debug, thiserror::Error)]
#[error("the event {id}, `{event}` in version {version}, is unknown to this build")]
pub struct Unreadable {
    event: String,
    version: u16,
    id: String,
}

impl From<Unreadable> for TierError {
    fn from(unreadable: Unreadable) -> Self {
        Self { operation: "project an event", source: Box::new(unreadable) }
    }
}

/// A projection's rows: what is stored, under the changes of this page.
///
/// If the engine is far away, rows are looked up together: what is not known yet is noted, and the events are taken in
/// again once it is (speculation, as in Haxl). Few projections ask for a row by what another row says, so that this is
/// over soon; those that do it many times in a row ask for each by itself in the end.
pub struct Rows<'a> {
    pub(crate) model: &'a dyn ReadModel,
    pub(crate) projection: Name,
    pub(crate) changes: BTreeMap<Vec<u8>, Option<(Home, Vec<u8>)>>,
    /// What was looked up together; none is there of what is `None`.
    known: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// What was asked for and is not known.
    missing: Mutex<BTreeSet<Vec<u8>>>,
    /// How often rows may still be looked up together.
    look_ups: usize,
}

/// Looked up together at most so often for a page.
const LOOK_UPS: usize = 4;

/// The row was noted, and is looked up together with others.
#[derive(Debug, thiserror::Error)]
#[error("not looked up yet")]
struct NotYet;

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rows").field("projection", &self.projection).finish_non_exhaustive()
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn new(model: &'a dyn ReadModel, projection: Name) -> Self {
        let look_ups = if model.is_far() { LOOK_UPS } else { 0 };
        let (known, missing) = (BTreeMap::new(), Mutex::default());
        Self { model, projection, changes: BTreeMap::new(), known, missing, look_ups }
    }

    /// The row as it is after the events so far.
    ///
    /// # Errors
    /// When the tier does not answer, or the row has another shape: the projection is rebuilt then. Also when it is
    /// looked up later; it is to be passed on, like any other.
    pub async fn get<T: Serialize + DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, TierError> {
        let value = match (self.changes.get(key), self.known.get(key)) {
            (Some(change), _) => change.as_ref().map(|(_, value)| value.clone()),
            (None, Some(known)) => known.clone(),
            (None, None) if self.look_ups > 0 => {
                self.missing().insert(key.to_vec());
                return Err(TierError { operation: "look up a row", source: Box::new(NotYet) });
            }
            (None, None) => self.model.get(self.projection, key.to_vec()).await?.map(|row| row.value),
        };
        value.map(|value| codec::decode_compact(&value)).transpose().map_err(foreign)
    }

    fn missing(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of an event. None that fails once rows are missing keeps the others from saying what they ask for:
    /// all are taken in again.
    pub(crate) fn noted(&self, taken: Result<(), TierError>) -> Result<(), TierError> {
        if self.missing().is_empty() { taken } else { Ok(()) }
    }

    /// Looks up what is missing; says whether anything was, so that the page is to be taken in again.
    pub(crate) async fn look_up(&mut self) -> Result<bool, TierError> {
        let missing = std::mem::take(&mut *self.missing());
        if missing.is_empty() {
            return Ok(false);
        }
        self.look_ups -= 1;
        let found = self.model.get_all(self.projection, missing.iter().cloned().collect()).await?;
        self.known.extend(missing.into_iter().map(|key| (key, None)));
        self.known.extend(found.into_iter().map(|row| (row.key, Some(row.value))));
        self.changes.clear();
        Ok(true)
    }

    /// Writes the row; `home` says whose data it is.
    ///
    /// # Errors
    /// When the row does not encode.
    pub fn put<T: Serialize>(&mut self, key: &[u8], home: Home, row: &T) -> Result<(), TierError> {
        let value = codec::encode_compact(row)
            .map_err(|source| TierError { operation: "encode a row", source: Box::new(source) })?;
        self.changes.insert(key.to_vec(), Some((home, value)));
        Ok(())
    }

    /// Removes the row, if there.
    pub fn delete(&mut self, key: &[u8]) {
        self.changes.insert(key.to_vec(), None);
    }

    pub(crate) fn into_changes(self) -> Vec<RowChange> {
        self.changes
            .into_iter()
            .map(|(key, change)| match change {
                Some((home, value)) => RowChange::Put { key, home, value },
                None => RowChange::Delete { key },
            })
            .collect()
    }
}

/// A stored row does not decode.
pub(crate) fn foreign(source: codec::Error) -> TierError {
    TierError { operation: "read a row of another shape", source: Box::new(source) }
}
