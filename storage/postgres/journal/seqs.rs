//! The last seqs of entities written lately: what the next group of an entity is compared with.

use crate::{AddressMap, EntityRef, Name, Seq};

/// An entity of a service.
pub(super) type Key = (Name, EntityRef);

/// Entities that are remembered, at about 100 bytes each, before the half that was not met again is forgotten.
const REMEMBERED: usize = 128 * 1024;

/// Bounded; what it has forgotten, the store is asked.
#[derive(Debug, Default)]
pub(super) struct Seqs {
    fresh: AddressMap<Key, Seq>,
    stale: AddressMap<Key, Seq>,
}

impl Seqs {
    pub(super) fn of(&self, key: &Key) -> Option<Seq> {
        self.fresh.get(key).or_else(|| self.stale.get(key)).copied()
    }

    pub(super) fn set(&mut self, key: Key, seq: Seq) {
        if self.fresh.len() >= REMEMBERED / 2 {
            self.stale = std::mem::take(&mut self.fresh);
        }
        self.fresh.insert(key, seq);
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.fresh.remove(key);
        self.stale.remove(key);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
