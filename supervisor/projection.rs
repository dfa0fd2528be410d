//! The contract of projections: events in, rows out; exactly once, since rows and position move together.

use std::{collections::BTreeMap, sync::Arc};

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
pub struct Rows<'a> {
    pub(crate) model: &'a dyn ReadModel,
    pub(crate) projection: Name,
    pub(crate) changes: BTreeMap<Vec<u8>, Option<(Home, Vec<u8>)>>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rows").field("projection", &self.projection).finish_non_exhaustive()
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn new(model: &'a dyn ReadModel, projection: Name) -> Self {
        Self { model, projection, changes: BTreeMap::new() }
    }

    /// The row as it is after the events so far.
    ///
    /// # Errors
    /// When the tier does not answer, or the row has another shape: the projection is rebuilt then.
    pub async fn get<T: Serialize + DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, TierError> {
        let value = match self.changes.get(key) {
            Some(change) => change.as_ref().map(|(_, value)| value.clone()),
            None => self.model.get(self.projection, key.to_vec()).await?.map(|row| row.value),
        };
        value.map(|value| codec::decode_compact(&value)).transpose().map_err(foreign)
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
