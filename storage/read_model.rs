//! The contract of read models: a projection's rows and its position, changed together.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

use crate::{Home, Lsn, Name, Offset, ShardId, snapshots::TierError};

/// A change of one row. Keys are ids or keyed hashes, never personal data; values are sealed by the store
/// with the key of the home they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// Writes the row.
    Put {
        /// The row's key.
        key: Vec<u8>,
        /// Whose data it is.
        home: Home,
        /// Its value, by [`crate::codec::encode_compact`].
        value: Vec<u8>,
    },
    /// Removes the row, if there.
    Delete {
        /// The row's key.
        key: Vec<u8>,
    },
}

/// How far a projection has come: the last offset it took in, per shard, and where to walk on from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// This node's place; only a hint where to go on walking.
    pub lsn: Lsn,
    /// The last offset taken in, per shard.
    pub offsets: BTreeMap<ShardId, Offset>,
}

/// One row as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value, opened.
    pub value: Vec<u8>,
}

/// Rows of projections, by key order.
pub trait ReadModel: Send + Sync + 'static {
    /// Applies the changes and moves the position, all or nothing. `from` is where the reader left it: an engine that
    /// several nodes share refuses when it is elsewhere, since another reader keeps the same rows then. `moved.offsets`
    /// names only the shards that moved.
    fn commit(
        &self,
        projection: Name,
        changes: Vec<RowChange>,
        from: Lsn,
        moved: Position,
    ) -> BoxFuture<'_, Result<(), TierError>>;

    /// How far the projection has come.
    fn position(&self, projection: Name) -> BoxFuture<'_, Result<Position, TierError>>;

    /// Those of the rows with these keys that are there, in any order; a row whose home was erased is gone.
    fn get_all(&self, projection: Name, keys: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Row>, TierError>>;

    /// One row; a row whose home was erased is gone.
    fn get(&self, projection: Name, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Row>, TierError>> {
        Box::pin(async move { Ok(self.get_all(projection, vec![key]).await?.pop()) })
    }

    /// Whether one row costs about as much to look up as a hundred do: the engine is not in this process.
    fn is_far(&self) -> bool {
        false
    }

    /// Rows whose key starts with `prefix` and is greater than `after`, in key order, at most `limit`.
    fn scan(
        &self,
        projection: Name,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, TierError>>;

    /// Forgets rows and position: the projection is rebuilt from zero.
    fn clear(&self, projection: Name) -> BoxFuture<'_, Result<(), TierError>>;

    /// Has what is committed outlive the process, so that the next one has less to rebuild.
    fn flush(&self) -> BoxFuture<'_, Result<(), TierError>>;

    /// A digest of all rows in key order, opened: equal rows, equal digest, whatever the keys that seal them.
    fn digest(&self, projection: Name) -> BoxFuture<'_, Result<u64, TierError>>;
}
