//! The contract of snapshots: an entity's state at a seq, only ever an optimisation.

use futures_util::future::BoxFuture;

use crate::{EntityRef, Name, Offset, Seq, journal::Record};

/// An entity's encoded state, and up to where it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record it includes, by the entity's count.
    pub seq: Seq,
    /// The same record, by the shard's.
    pub offset: Offset,
    /// The state, by [`crate::codec::encode_compact`]; the store seals it with the home's key.
    pub bytes: Vec<u8>,
}

/// What brings an entity back, as far as one look finds it.
#[derive(Debug, Default)]
pub struct Recalled {
    /// Its snapshot, if there is a readable one.
    pub snapshot: Option<Snapshot>,
    /// The first records behind the snapshot, or of the entity if there is none, in order.
    pub records: Vec<(Offset, Record)>,
    /// Whether there were no more.
    pub is_all: bool,
}

/// A failure of the tier that may be thrown away; whoever meets it rebuilds from the journal.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} in the rebuildable tier")]
pub struct TierError {
    /// What was tried.
    pub operation: &'static str,
    /// Why it failed.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Keeps at most one snapshot an entity. Only durable records may be in one.
pub trait Snapshots: Send + Sync + 'static {
    /// Replaces the entity's snapshot, unless the kept one is newer.
    fn save(
        &self,
        service: Name,
        entity: EntityRef,
        snapshot: Snapshot,
    ) -> BoxFuture<'_, Result<(), TierError>>;

    /// The snapshot, if there is a readable one: an unreadable, erased or missing one is `None`.
    fn load(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Option<Snapshot>, TierError>>;

    /// The same, and what a store that keeps the journal too finds behind it in the same look.
    fn recall(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Recalled, TierError>> {
        Box::pin(async move {
            let snapshot = self.load(service, entity).await?;
            Ok(Recalled { snapshot, ..Recalled::default() })
        })
    }
}
