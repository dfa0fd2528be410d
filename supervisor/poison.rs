//! Commands that keep panicking: refused for a while, so that a retry loop does not burn the shard.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use prognet_storage::EntityRef;

use crate::{Timestamp, limits::Limits};

/// Commands remembered at once; the one that panicked longest ago is forgotten first.
const SUSPECTS_MAX: usize = 1_000;

/// Commands that panicked lately, by entity and digest. It outlives the entities, not the node.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    suspects: Mutex<HashMap<(EntityRef, u128), Suspect>>,
    /// How many there are, so that a node without any asks no lock.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Suspect {
    panics: usize,
    last: Timestamp,
}

impl Poison {
    fn lock(&self) -> MutexGuard<'_, HashMap<(EntityRef, u128), Suspect>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the command is refused now.
    pub(crate) fn is_poison(&self, entity: EntityRef, digest: u128, now: Timestamp, limits: &Limits) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let suspects = self.lock();
        let suspect = suspects.get(&(entity, digest)).filter(|suspect| suspect.counts(now, limits));
        suspect.is_some_and(|suspect| suspect.panics >= limits.poison_panics)
    }

    /// The command has panicked.
    pub(crate) fn panicked(&self, entity: EntityRef, digest: u128, now: Timestamp, limits: &Limits) {
        let mut suspects = self.lock();
        suspects.retain(|_, suspect| suspect.counts(now, limits));
        if suspects.len() >= SUSPECTS_MAX {
            let oldest = suspects.iter().min_by_key(|(_, suspect)| suspect.last).map(|(key, _)| *key);
            oldest.and_then(|oldest| suspects.remove(&oldest));
        }
        let suspect = suspects.entry((entity, digest)).or_insert(Suspect { panics: 0, last: now });
        suspect.panics += 1;
        suspect.last = now;
        self.count.store(suspects.len(), Ordering::Relaxed);
    }
}

impl Suspect {
    fn counts(&self, now: Timestamp, limits: &Limits) -> bool {
        now.since(self.last) < limits.poison_for
    }
}

#[cfg(test)]
mod tests {
    use prognet_storage::{Home, HomeKind, Name};

    use super::*;
    use crate::testing::NOON;

    fn entity(id: u128) -> EntityRef {
        EntityRef { home: Home { kind: HomeKind::Tenant, id: 1 }, kind: Name::new("tenant"), id }
    }

    #[test]
    fn the_third_panic_makes_a_command_poison_for_this_entity_and_for_an_hour() {
        let (poison, limits) = (Poison::default(), Limits::default());
        for panics in 1..=3 {
            poison.panicked(entity(1), 7, NOON, &limits);
            assert_eq!(poison.is_poison(entity(1), 7, NOON, &limits), panics == 3);
        }
        assert!(!poison.is_poison(entity(1), 8, NOON, &limits));
        assert!(!poison.is_poison(entity(2), 7, NOON, &limits));
        assert!(!poison.is_poison(entity(1), 7, NOON.after(limits.poison_for), &limits));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (poison, limits) = (Poison::default(), Limits::default());
        for id in 0..=SUSPECTS_MAX as u128 {
            poison.panicked(entity(id), 7, NOON, &limits);
        }
        assert_eq!(poison.lock().len(), SUSPECTS_MAX);
    }
}
