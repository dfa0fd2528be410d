//! Admission: the actor library's mailboxes are unbounded, so a command needs a permit before it is sent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::Unavailable;

/// A count of commands waiting somewhere.
pub(crate) type Queue = Arc<AtomicUsize>;

/// Room in every queue a command passes; given back when dropped, which is when it is answered.
#[derive(Debug)]
pub(crate) struct Permit {
    taken: [Queue; 3],
}

impl Permit {
    /// Room on the node, in the shard and at the entity, or which of them is full.
    pub(crate) fn take(queues: [(&Queue, usize, &'static str); 3]) -> Result<Self, Unavailable> {
        for (taken, (queue, limit, name)) in queues.iter().enumerate() {
            if queue.fetch_add(1, Ordering::Relaxed) >= *limit {
                queue.fetch_sub(1, Ordering::Relaxed);
                for (queue, _, _) in queues.iter().take(taken) {
                    queue.fetch_sub(1, Ordering::Relaxed);
                }
                return Err(Unavailable::Busy { limit: name });
            }
        }
        Ok(Self { taken: queues.map(|(queue, _, _)| Arc::clone(queue)) })
    }
}

impl Drop for Permit {
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
        let (node, shard, entity) = (Queue::default(), Queue::default(), Queue::default());
        let take = || Permit::take([(&node, 9, "node"), (&shard, 9, "shard"), (&entity, 1, "entity")]);
        let first = take().unwrap();

        assert_eq!(take().unwrap_err(), Unavailable::Busy { limit: "entity" });
        assert_eq!(node.load(Ordering::Relaxed), 1);

        drop(first);
        assert!(take().is_ok());
    }
}
