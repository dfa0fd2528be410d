//! A shard: finds, starts, passivates and restarts its entities, one at a time.
//!
//! ```text
//!            first command                 idle, or over the cap
//!   (cold) ───────────────▶ Hot ─────────────────────────────▶ Leaving(stash) ──stopped──▶ (cold)
//!                            │ crash                                     stash not empty: Hot again
//!                            ▼
//!                        Backoff(until) ──next command──▶ Hot        past the intensity: Quarantined
//! ```
//!
//! The shard's actor is the only one that changes this, so an entity is never started twice.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use prognet_storage::{AddressMap, EntityRef, Epoch, Name, ShardId, journal::ReadError};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, MessagingErr, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;

use crate::{
    Timestamp, Unavailable,
    entity::{EntityHost, Message, Shell},
    permits::{Homes, Queue},
    restart::{Crashes, ShardCrashes, Verdict},
    runtime::Runtime,
};

/// What a shard's mailbox takes.
pub(crate) enum ShardMessage {
    /// For an entity that the sender did not find hot.
    Deliver(EntityRef, Message),
    /// From an entity that is leaving: for its next life.
    Returned(ActorId, EntityRef, Message),
    /// An entity's load failed, so its actor never was; without a reason if the journal just does not answer.
    NotStarted(ActorId, Option<String>),
    /// Somebody newer owns the shard.
    Fenced,
    /// Make an entity leave: the node needs its room.
    Passivate(EntityRef),
    /// Look for entities that idle.
    Tick,
    /// Let an entity out of quarantine; says whether it was in.
    Release(EntityRef, oneshot::Sender<bool>),
    /// How an entity stands.
    Status(EntityRef, oneshot::Sender<Status>),
    /// Begin nothing more, finish what has begun; the sender goes when that is done.
    Drain(oneshot::Sender<()>),
}

impl ractor::Message for ShardMessage {}

/// How an entity stands, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) word: &'static str,
    /// Crashes that still count.
    pub(crate) restarts: usize,
    pub(crate) error: Option<String>,
}

/// A shard as routers see it.
#[derive(Debug, Clone)]
pub(crate) struct ShardHandle {
    pub(crate) actor: ActorRef<ShardMessage>,
    pub(crate) hot: Arc<RwLock<AddressMap<EntityRef, HotEntity>>>,
    pub(crate) waiting: Queue,
    pub(crate) homes: Homes,
    /// What it appends under.
    pub(crate) epoch: Epoch,
}

/// An entity that takes commands.
#[derive(Debug, Clone)]
pub(crate) struct HotEntity {
    pub(crate) actor: ActorRef<Message>,
    pub(crate) waiting: Queue,
}

/// What a shard is started with.
pub(crate) struct ShardStart {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) kinds: Arc<HashMap<Name, Arc<dyn EntityHost>>>,
    pub(crate) hot: Arc<RwLock<AddressMap<EntityRef, HotEntity>>>,
    /// Whether many crashes at once may make it start afresh: only once in a while.
    pub(crate) may_reopen: bool,
}

/// Why a shard stops that is to start afresh.
pub(crate) const REOPEN: &str = "too many entities crash";

pub(crate) struct Shard;

pub(crate) struct Slots {
    start: ShardStart,
    slots: AddressMap<EntityRef, Slot>,
    by_actor: HashMap<ActorId, EntityRef>,
    crashes: HashMap<EntityRef, Crashes>,
    shard_crashes: ShardCrashes,
    /// Who waits for it to be empty, once it is drained.
    draining: Option<Vec<oneshot::Sender<()>>>,
}

enum Slot {
    Hot {
        actor: ActorRef<Message>,
        used: Arc<AtomicI64>,
    },
    /// Kept for the tier of decoded states without a task; nothing goes there yet.
    #[expect(dead_code, reason = "the warm tier is named before it is filled")]
    Warm,
    Leaving {
        stash: Vec<Message>,
    },
    Backoff {
        until: Timestamp,
    },
    Quarantined {
        error: String,
    },
}

impl Actor for Shard {
    type Msg = ShardMessage;
    type State = Slots;
    type Arguments = ShardStart;

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage>,
        start: ShardStart,
    ) -> Result<Slots, ActorProcessingErr> {
        // A tick four times per idle time keeps an entity at most a quarter longer than promised.
        let every = (start.runtime.limits.idle / 4).max(Duration::from_millis(50));
        let (clock, shard) = (start.runtime.clock.clone(), myself.clone());
        start.runtime.tasks.spawn(async move {
            loop {
                clock.sleep(every).await;
                if shard.cast(ShardMessage::Tick).is_err() {
                    break;
                }
            }
        });
        Ok(Slots {
            start,
            slots: AddressMap::default(),
            by_actor: HashMap::new(),
            crashes: HashMap::new(),
            shard_crashes: ShardCrashes::default(),
            draining: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        slots: &mut Slots,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMessage::Deliver(entity, message) => slots.deliver(entity, message, &myself),
            ShardMessage::Returned(actor, entity, message) => slots.returned(actor, entity, message, &myself),
            ShardMessage::NotStarted(actor, error) => slots.stopped(actor, error, &myself),
            ShardMessage::Fenced => {
                let (shard, epoch) = (slots.start.shard, slots.start.epoch);
                tracing::warn!(shard = %shard, "fenced: stepping down from shard {shard}");
                if let Some(placement) = &slots.start.runtime.placement {
                    placement.fenced(shard, epoch);
                }
                myself.stop(Some("fenced".to_owned()));
            }
            ShardMessage::Passivate(entity) => slots.passivate(entity),
            ShardMessage::Tick => slots.passivate_idle(),
            ShardMessage::Release(entity, released) => drop(released.send(slots.release(entity))),
            ShardMessage::Status(entity, status) => drop(status.send(slots.status(entity))),
            ShardMessage::Drain(drained) => slots.drain(drained),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        slots: &mut Slots,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, _, _) => slots.stopped(actor.get_id(), None, &myself),
            SupervisionEvent::ActorFailed(actor, error) => {
                slots.stopped(actor.get_id(), Some(error.to_string()), &myself);
            }
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => {}
        }
        Ok(())
    }
}

impl Slots {
    fn deliver(&mut self, entity: EntityRef, message: Message, myself: &ActorRef<ShardMessage>) {
        if self.draining.is_some() {
            return message.refuse(Unavailable::Moving);
        }
        let now = self.start.runtime.clock.now();
        match self.slots.get_mut(&entity) {
            Some(Slot::Hot { actor, .. }) => {
                let actor = actor.clone();
                if let Err(MessagingErr::SendErr(message)) = actor.cast(message) {
                    // It stops; its end is on the way to this mailbox.
                    self.slots.insert(entity, Slot::Leaving { stash: vec![message] });
                }
            }
            Some(Slot::Leaving { stash, .. }) if stash.len() >= self.start.runtime.limits.entity_queue => {
                message.refuse(Unavailable::Busy { limit: Name::new("entity") });
            }
            Some(Slot::Leaving { stash, .. }) => stash.push(message),
            Some(Slot::Backoff { until }) if now < *until => message.refuse(Unavailable::Restarting),
            Some(Slot::Quarantined { .. }) => message.refuse(Unavailable::Quarantined),
            Some(Slot::Backoff { .. } | Slot::Warm) | None => self.activate(entity, message, myself),
        }
    }

    /// Starts the entity; the message waits in its mailbox until it is loaded.
    fn activate(&mut self, entity: EntityRef, message: Message, myself: &ActorRef<ShardMessage>) {
        let Some(host) = self.start.kinds.get(&entity.kind).map(Arc::clone) else {
            return message.refuse(Unavailable::NoHost { service: self.start.shard.service });
        };
        let runtime = &self.start.runtime;
        let used = Arc::new(AtomicI64::new(runtime.clock.now().as_millis()));
        let shell = Shell {
            runtime: Arc::clone(runtime),
            entity,
            shard: self.start.shard,
            epoch: self.start.epoch,
            home: myself.clone(),
            used: Arc::clone(&used),
        };
        match host.spawn(shell, myself.get_cell()) {
            Ok((actor, starting)) => {
                let (shard, id) = (myself.clone(), actor.get_id());
                runtime.tasks.spawn(async move {
                    if let Ok(Err(error)) = starting.await {
                        drop(shard.cast(ShardMessage::NotStarted(id, fault_of(&error))));
                    }
                });
                host.counters().activations.fetch_add(1, Ordering::Relaxed);
                host.counters().hot.fetch_add(1, Ordering::Relaxed);
                self.by_actor.insert(actor.get_id(), entity);
                runtime.residency.enter(
                    actor.get_id(),
                    entity,
                    myself.clone(),
                    Arc::clone(&used),
                    &runtime.limits,
                );
                if let Err(MessagingErr::SendErr(message)) = actor.cast(message) {
                    message.refuse(Unavailable::Restarting);
                }
                let hot = HotEntity { actor: actor.clone(), waiting: Queue::default() };
                if let Ok(mut table) = self.start.hot.write() {
                    table.insert(entity, hot);
                }
                self.slots.insert(entity, Slot::Hot { actor, used });
            }
            Err(error) => {
                tracing::error!(entity = %entity, error = &error as &dyn std::error::Error, "failed to start an entity");
                message.refuse(Unavailable::Restarting);
            }
        }
    }

    /// A leaving entity hands back what came too late for it.
    ///
    /// Its end overtakes what it hands back: by then the next one may run, which is not leaving.
    fn returned(
        &mut self,
        by: ActorId,
        entity: EntityRef,
        message: Message,
        myself: &ActorRef<ShardMessage>,
    ) {
        let is_running = |slot: &Slot| matches!(slot, Slot::Hot { actor, .. } if actor.get_id() == by);
        if self.slots.get(&entity).is_some_and(is_running) {
            self.forget_hot(entity);
            self.slots.insert(entity, Slot::Leaving { stash: Vec::new() });
        }
        self.deliver(entity, message, myself);
    }

    /// Routers find it no longer; what they send from now on comes to the shard.
    fn forget_hot(&self, entity: EntityRef) {
        if let Ok(mut table) = self.start.hot.write() {
            table.remove(&entity);
        }
    }

    /// Whoever is hot leaves; what comes from now on is for the next owner.
    fn drain(&mut self, drained: oneshot::Sender<()>) {
        self.draining.get_or_insert_default().push(drained);
        let hot = self.slots.iter().filter(|(_, slot)| matches!(slot, Slot::Hot { .. }));
        for entity in hot.map(|(entity, _)| *entity).collect::<Vec<_>>() {
            self.passivate(entity);
        }
        self.tell_if_drained();
    }

    fn tell_if_drained(&mut self) {
        if self.by_actor.is_empty()
            && let Some(waiting) = &mut self.draining
        {
            waiting.clear();
        }
    }

    fn passivate(&mut self, entity: EntityRef) {
        if let Some(Slot::Hot { actor, .. }) = self.slots.get(&entity) {
            // If it is gone already its end is on the way to this mailbox.
            drop(actor.cast(Message::Passivate));
            self.forget_hot(entity);
            self.slots.insert(entity, Slot::Leaving { stash: Vec::new() });
        }
    }

    fn passivate_idle(&mut self) {
        let (now, idle) = (self.start.runtime.clock.now(), self.start.runtime.limits.idle);
        let idle: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(entity, slot)| match slot {
                Slot::Hot { used, .. } => {
                    let used = Timestamp::from_millis(used.load(Ordering::Relaxed));
                    (now.since(used) >= idle).then_some(*entity)
                }
                Slot::Warm | Slot::Leaving { .. } | Slot::Backoff { .. } | Slot::Quarantined { .. } => None,
            })
            .collect();
        for entity in idle {
            self.passivate(entity);
        }
    }

    /// An entity's actor has ended, by itself or by a crash.
    fn stopped(&mut self, actor: ActorId, error: Option<String>, myself: &ActorRef<ShardMessage>) {
        let Some(entity) = self.by_actor.remove(&actor) else {
            return;
        };
        self.start.runtime.residency.leave(actor);
        self.forget_hot(entity);
        let host = self.start.kinds.get(&entity.kind).map(Arc::clone);
        if let Some(host) = &host {
            host.counters().hot.fetch_sub(1, Ordering::Relaxed);
        }
        let stash = match self.slots.remove(&entity) {
            Some(Slot::Leaving { stash, .. }) => stash,
            Some(Slot::Hot { .. } | Slot::Warm | Slot::Backoff { .. } | Slot::Quarantined { .. }) | None => {
                Vec::new()
            }
        };
        if let Some(error) = error {
            let verdict = self.crashed(entity, &error);
            tracing::error!(entity = %entity, error, ?verdict, "entity {entity} crashed");
            self.count_crash(entity, myself);
            if let Some(host) = &host {
                host.counters().restarts.fetch_add(1, Ordering::Relaxed);
                if verdict == Verdict::Quarantine {
                    host.counters().quarantined.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        for message in stash {
            self.deliver(entity, message, myself);
        }
        self.tell_if_drained();
    }

    fn crashed(&mut self, entity: EntityRef, error: &str) -> Verdict {
        let runtime = &self.start.runtime;
        let verdict = self.crashes.entry(entity).or_default().crashed(runtime.clock.now(), &runtime.limits);
        let slot = match verdict {
            Verdict::Restart(until) => Slot::Backoff { until },
            Verdict::Quarantine => Slot::Quarantined { error: error.to_owned() },
        };
        self.slots.insert(entity, slot);
        verdict
    }

    /// Past its own intensity the shard starts afresh, once; after that its entities fail each for itself.
    fn count_crash(&mut self, entity: EntityRef, myself: &ActorRef<ShardMessage>) {
        let runtime = &self.start.runtime;
        if !self.shard_crashes.crashed(entity, runtime.clock.now(), &runtime.limits) {
            return;
        }
        let shard = self.start.shard;
        if self.start.may_reopen {
            tracing::error!(shard = %shard, "many entities of shard {shard} crash: starting it afresh");
            myself.stop(Some(REOPEN.to_owned()));
        } else {
            tracing::error!(shard = %shard, "many entities of shard {shard} crash again: suspect the build");
        }
    }

    fn release(&mut self, entity: EntityRef) -> bool {
        let is_quarantined = matches!(self.slots.get(&entity), Some(Slot::Quarantined { .. }));
        if is_quarantined {
            self.slots.remove(&entity);
            self.crashes.remove(&entity);
            if let Some(host) = self.start.kinds.get(&entity.kind) {
                host.counters().quarantined.fetch_sub(1, Ordering::Relaxed);
            }
        }
        is_quarantined
    }

    fn status(&self, entity: EntityRef) -> Status {
        let (word, error) = match self.slots.get(&entity) {
            Some(Slot::Hot { .. }) => ("hot", None),
            Some(Slot::Warm) => ("warm", None),
            Some(Slot::Leaving { .. }) => ("leaving", None),
            Some(Slot::Backoff { .. }) => ("restarting", None),
            Some(Slot::Quarantined { error }) => ("quarantined", Some(error.clone())),
            None => ("cold", None),
        };
        let runtime = &self.start.runtime;
        let crashes = self.crashes.get(&entity);
        let restarts = crashes.map_or(0, |crashes| crashes.count(runtime.clock.now(), &runtime.limits));
        Status { word, restarts, error }
    }
}

/// A shard that ends takes its entities along: they count no longer.
impl Drop for Slots {
    fn drop(&mut self) {
        for (actor, entity) in &self.by_actor {
            self.start.runtime.residency.leave(*actor);
            if let Some(host) = self.start.kinds.get(&entity.kind) {
                host.counters().hot.fetch_sub(1, Ordering::Relaxed);
            }
        }
        for (entity, slot) in &self.slots {
            if let (Slot::Quarantined { .. }, Some(host)) = (slot, self.start.kinds.get(&entity.kind)) {
                host.counters().quarantined.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// What is wrong with an entity that did not start: nothing, while the journal is out of reach.
fn fault_of(error: &SpawnErr) -> Option<String> {
    if let SpawnErr::StartupFailed(why) = error
        && let Some(why @ ReadError::Engine { .. }) = why.downcast_ref()
    {
        tracing::warn!(error = why as &dyn std::error::Error, "failed to bring an entity back");
        return None;
    }
    Some(error.to_string())
}

/// Sends, or answers whoever waits that nobody is there.
pub(crate) fn send_or_refuse(shard: &ActorRef<ShardMessage>, message: ShardMessage) {
    if let Err(MessagingErr::SendErr(
        ShardMessage::Deliver(_, message) | ShardMessage::Returned(_, _, message),
    )) = shard.cast(message)
    {
        message.refuse(Unavailable::Restarting);
    }
}
