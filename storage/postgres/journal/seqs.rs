//! The last seqs of entities written lately: what the next group of an entity is compared with.
//!
//! Each counts under the epoch it was met under alone: under another one somebody else may have written.

use crate::{AddressMap, EntityRef, Epoch, Name, Seq};

/// An entity of a service.
pub(super) type Key = (Name, EntityRef);

/// Entities that are remembered, at about 100 bytes each, before the half that was not met again is forgotten.
const REMEMBERED: usize = 128 * 1024;

/// Bounded; what it has forgotten, the store is asked.
#[derive(Debug, Default)]
pub(super) struct Seqs {
    fresh: AddressMap<Key, (Epoch, Seq)>,
    stale: AddressMap<Key, (Epoch, Seq)>,
}

impl Seqs {
    pub(super) fn of(&self, key: &Key, epoch: Epoch) -> Option<Seq> {
        let (met_under, seq) = self.fresh.get(key).or_else(|| self.stale.get(key))?;
        (*met_under == epoch).then_some(*seq)
    }

    pub(super) fn set(&mut self, key: Key, epoch: Epoch, seq: Seq) {
        if self.fresh.len() >= REMEMBERED / 2 {
            self.stale = std::mem::take(&mut self.fresh);
        }
        self.fresh.insert(key, (epoch, seq));
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.fresh.remove(key);
        self.stale.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{SERVICE, entity};

    #[test]
    fn what_was_met_under_an_epoch_is_not_known_under_another() {
        let mut seqs = Seqs::default();
        let key = (SERVICE, entity(1));

        seqs.set(key, Epoch(1), Seq(3));

        assert_eq!(seqs.of(&key, Epoch(1)), Some(Seq(3)));
        assert_eq!(seqs.of(&key, Epoch(2)), None);
    }
}
