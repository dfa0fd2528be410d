//! Admission: the actor library's mailboxes are unbounded, so a command needs a permit before it is sent.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use prognet_storage::{AddressMap, Home, Name};

use crate::Unavailable;

/// Homes counted in a shard before those without a command are forgotten. More than a shard's queue would sweep
/// in vain: each that is held has a command there.
const HOMES_MAX: usize = 4_096;

/// A count of commands waiting somewhere.
pub(crate) type Queue = Arc<AtomicUsize>;

/// What waits in a shard, by home: one home's crowd leaves room for the others.
#[derive(Debug, Clone, Default)]
pub(crate) struct Homes(Arc<Mutex<AddressMap<Home, Queue>>>);

impl Homes {
    /// The queue of a home.
    pub(crate) fn of(&self, home: Home) -> Queue {
        let mut homes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if homes.len() >= HOMES_MAX && !homes.contains_key(&home) {
            // Nobody holds the others: a permit is a clone.
            homes.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        Arc::clone(homes.entry(home).or_default())
    }
}

/// Room in every queue a command passes; given back when dropped, which is when it is answered.
#[derive(Debug)]
pub(crate) struct Permit<const QUEUES: usize = 4> {
    taken: [Queue; QUEUES],
}

impl<const QUEUES: usize> Permit<QUEUES> {
    /// Room on the node, in the shard, for the home and at the entity, or which of them is full.
    pub(crate) fn take(queues: [(&Queue, usize, &'static str); QUEUES]) -> Result<Self, Unavailable> {
        for (taken, (queue, limit, name)) in queues.iter().enumerate() {
            if queue.fetch_add(1, Ordering::Relaxed) >= *limit {
                queue.fetch_sub(1, Ordering::Relaxed);
                for (queue, _, _) in queues.iter().take(taken) {
                    queue.fetch_sub(1, Ordering::Relaxed);
                }
                return Err(Unavailable::Busy { limit: Name::new(name) });
            }
        }
        Ok(Self { taken: queues.map(|(queue, _, _)| Arc::clone(queue)) })
    }
}

impl<const QUEUES: usize> Drop for Permit<QUEUES> {
    fn drop(&mut self) {
        for queue in &self.taken {
            queue.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_by_name_and_a_dropped_permit_makes_room() {
        let [node, shard, home, entity] = [(); 4].map(|()| Queue::default());
        let take = || {
            Permit::<4>::take([
                (&node, 9, "node"),
                (&shard, 9, "shard"),
                (&home, 9, "home"),
                (&entity, 1, "entity"),
            ])
        };
        let first = take().unwrap();

        assert_eq!(take().unwrap_err(), Unavailable::Busy { limit: Name::new("entity") });
        assert_eq!(node.load(Ordering::Relaxed), 1);

        drop(first);
        assert!(take().is_ok());
    }

    #[test]
    fn homes_without_a_command_are_forgotten() {
        let homes = Homes::default();
        let home = |id| Home { kind: prognet_storage::HomeKind::Tenant, id };
        let held = homes.of(home(0));
        held.fetch_add(1, Ordering::Relaxed);
        for id in 1..=HOMES_MAX as u128 {
            drop(homes.of(home(id)));
        }
        assert_eq!(homes.0.lock().unwrap().len(), 2);
        assert_eq!(homes.of(home(0)).load(Ordering::Relaxed), 1);
    }
}
