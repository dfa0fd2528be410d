//! Which entities are actors on this node, what they weigh by estimate, and who goes when it is too much.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use prognet_storage::EntityRef;
use ractor::{ActorId, ActorRef};

use crate::{limits::Limits, shard::ShardMessage};

/// What an actor weighs before its state: measured with the `cluster` feature of the actor library.
const ACTOR_BYTES: usize = 11 * 1024;

/// The entities that are actors.
#[derive(Default)]
pub(crate) struct Residency(Mutex<Residents>);

#[derive(Default)]
struct Residents {
    by_actor: HashMap<ActorId, Resident>,
    /// Those that were not told to leave, and what they weigh.
    staying: usize,
    bytes: usize,
    entered: u64,
}

struct Resident {
    entity: EntityRef,
    shard: ActorRef<ShardMessage>,
    used: Arc<AtomicI64>,
    /// Breaks ties: who came first goes first.
    entered: u64,
    bytes: usize,
    is_leaving: bool,
}

impl fmt::Debug for Residency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let residents = self.lock();
        out.debug_struct("Residency")
            .field("staying", &residents.staying)
            .field("bytes", &residents.bytes)
            .finish_non_exhaustive()
    }
}

impl Residency {
    fn lock(&self) -> MutexGuard<'_, Residents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entity has become an actor; who was not used for longest makes room.
    pub(crate) fn enter(
        &self,
        actor: ActorId,
        entity: EntityRef,
        shard: ActorRef<ShardMessage>,
        used: Arc<AtomicI64>,
        limits: &Limits,
    ) {
        let mut residents = self.lock();
        residents.entered += 1;
        let entered = residents.entered;
        let resident = Resident { entity, shard, used, entered, bytes: ACTOR_BYTES, is_leaving: false };
        residents.by_actor.insert(actor, resident);
        residents.staying += 1;
        residents.bytes += ACTOR_BYTES;
        residents.make_room(limits);
    }

    /// An entity's state has come to weigh this much.
    pub(crate) fn weigh(&self, actor: ActorId, state_bytes: usize, limits: &Limits) {
        let mut residents = self.lock();
        let Some(resident) = residents.by_actor.get_mut(&actor).filter(|resident| !resident.is_leaving)
        else {
            return;
        };
        let before = std::mem::replace(&mut resident.bytes, ACTOR_BYTES + state_bytes);
        residents.bytes = residents.bytes - before + ACTOR_BYTES + state_bytes;
        residents.make_room(limits);
    }

    /// An entity's actor is gone.
    pub(crate) fn leave(&self, actor: ActorId) {
        let mut residents = self.lock();
        if let Some(resident) = residents.by_actor.remove(&actor)
            && !resident.is_leaving
        {
            residents.staying -= 1;
            residents.bytes -= resident.bytes;
        }
    }

    /// What the actors that stay weigh.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

impl Residents {
    /// Once over a limit, sends away a sixteenth more than it must: the search looks at all, so it is made rarely.
    fn make_room(&mut self, limits: &Limits) {
        if self.staying <= limits.resident && self.bytes <= limits.resident_bytes {
            return;
        }
        let wanted = |limit: usize| limit - limit / 16;
        let mut staying: Vec<_> =
            self.by_actor.values_mut().filter(|resident| !resident.is_leaving).collect();
        staying.sort_by_key(|resident| (resident.used.load(Ordering::Relaxed), resident.entered));
        for resident in staying {
            if self.staying <= wanted(limits.resident) && self.bytes <= wanted(limits.resident_bytes) {
                return;
            }
            resident.is_leaving = true;
            self.staying -= 1;
            self.bytes -= resident.bytes;
            // A shard that is gone has taken its entities along.
            drop(resident.shard.cast(ShardMessage::Passivate(resident.entity)));
        }
    }
}
