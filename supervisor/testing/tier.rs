//! The contracts of snapshots and read models over [`Memory`].

use futures_util::future::{BoxFuture, ready};
use prognet_storage::{
    EntityRef, Lsn, Name, ReadModel, Snapshots, codec,
    read_model::{Position, Row, RowChange},
    snapshots::{Snapshot, TierError},
};

use super::memory::{Memory, Tier};

/// One start's hold on the tier.
pub(crate) struct MemoryTier {
    pub(super) memory: Memory,
    pub(super) start: u64,
}

fn failed(operation: &'static str) -> TierError {
    TierError { operation, source: "told to".into() }
}

impl Tier {
    /// As an engine says that what it keeps of a projection is not what it wrote.
    fn open(&self, projection: Name) -> Result<(), TierError> {
        let source = Box::new(codec::Error::Shape);
        let damaged = TierError { operation: "open a row", source };
        if self.damaged.contains(&projection) { Err(damaged) } else { Ok(()) }
    }
}

impl MemoryTier {
    fn on<T: Send + 'static>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut Tier) -> Result<T, TierError>,
    ) -> BoxFuture<'static, Result<T, TierError>> {
        let mut kept = self.memory.lock();
        let done = if kept.start == self.start { act(&mut kept.tier) } else { Err(failed(operation)) };
        Box::pin(ready(done))
    }
}

impl Snapshots for MemoryTier {
    fn save(
        &self,
        service: Name,
        entity: EntityRef,
        snapshot: Snapshot,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        self.on("save a snapshot", |tier| {
            let kept = tier.snapshots.entry((service, entity)).or_insert_with(|| snapshot.clone());
            if kept.seq < snapshot.seq {
                *kept = snapshot;
            }
            Ok(())
        })
    }

    fn load(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Option<Snapshot>, TierError>> {
        let is_erased = self.memory.is_erased(&entity.home);
        self.on("load a snapshot", move |tier| {
            Ok(tier.snapshots.get(&(service, entity)).filter(|_| !is_erased).cloned())
        })
    }
}

impl ReadModel for MemoryTier {
    fn commit(
        &self,
        projection: Name,
        changes: Vec<RowChange>,
        from: Lsn,
        moved: Position,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        self.on("commit rows", |tier| {
            if tier.failing > 0 {
                tier.failing -= 1;
                return Err(failed("commit rows"));
            }
            // As an engine does that several nodes share.
            if tier.positions.get(&projection).map_or(Lsn(0), |position| position.lsn) != from {
                let source = "another reader has taken in more".into();
                return Err(TierError { operation: "commit rows", source });
            }
            for change in changes {
                match change {
                    RowChange::Put { key, home, value } => {
                        tier.rows.insert((projection, key), (home, value));
                    }
                    RowChange::Delete { key } => drop(tier.rows.remove(&(projection, key))),
                }
            }
            let position = tier.positions.entry(projection).or_default();
            position.lsn = moved.lsn;
            position.offsets.extend(moved.offsets);
            Ok(())
        })
    }

    fn position(&self, projection: Name) -> BoxFuture<'_, Result<Position, TierError>> {
        self.on("read a position", |tier| Ok(tier.positions.get(&projection).cloned().unwrap_or_default()))
    }

    fn get_all(&self, projection: Name, keys: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        let memory = self.memory.clone();
        self.on("read rows", move |tier| {
            tier.open(projection)?;
            tier.look_ups += 1;
            let row = |key| {
                let kept = tier.rows.get(&(projection, key)).filter(|(home, _)| !memory.is_erased(home));
                kept.map(|(_, value)| value.clone())
            };
            let rows = keys.into_iter().filter_map(|key| Some(Row { value: row(key.clone())?, key }));
            Ok(rows.collect())
        })
    }

    fn is_far(&self) -> bool {
        true
    }

    fn scan(
        &self,
        projection: Name,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        let memory = self.memory.clone();
        self.on("scan rows", move |tier| {
            tier.open(projection)?;
            let from = tier.rows.range((projection, prefix.clone())..);
            let own = from.take_while(|((name, key), _)| *name == projection && key.starts_with(&prefix));
            let fresh = own.filter(|((_, key), _)| after.as_ref().is_none_or(|after| key > after));
            let known = fresh.filter(|(_, (home, _))| !memory.is_erased(home));
            let rows = known.map(|((_, key), (_, value))| Row { key: key.clone(), value: value.clone() });
            Ok(rows.take(limit).collect())
        })
    }

    fn clear(&self, projection: Name) -> BoxFuture<'_, Result<(), TierError>> {
        self.on("clear rows", |tier| {
            tier.rows.retain(|(name, _), _| *name != projection);
            tier.positions.remove(&projection);
            tier.damaged.remove(&projection);
            Ok(())
        })
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), TierError>> {
        self.on("flush", |_| Ok(()))
    }

    fn digest(&self, projection: Name) -> BoxFuture<'_, Result<u64, TierError>> {
        self.on("digest rows", |tier| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            for ((_, key), (_, value)) in tier.rows.iter().filter(|((name, _), _)| *name == projection) {
                (key, value).hash(&mut hasher);
            }
            Ok(hasher.finish())
        })
    }
}
