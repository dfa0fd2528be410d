//! The door to every entity: finds the owner of a home's shard, takes permits, sends.

pub(crate) mod abroad;
pub(crate) mod attempts;
pub(crate) mod here;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prognet_storage::{AddressMap, EntityRef, Epoch, Name, Offset, ShardId, journal::AppendError};
use ractor::{ActorRef, MessagingErr};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::attempts::Attempts;
use crate::{
    Timestamp, Unavailable,
    entity::{EntityHost, Message},
    permits::{Permit, Queue},
    placement::Placement,
    region::{RegionMessage, Shards},
    runtime::Runtime,
    shard::{HotEntity, ShardHandle, ShardMessage, send_or_refuse},
    tree::RootMessage,
};

/// What every command carries beside itself.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// The account that asks, or 0 for the platform itself.
    pub asker: u128,
    /// The idempotency key, hashed with the caller and the route.
    pub key: Option<u128>,
    /// The trace.
    pub trace: u128,
    /// After this moment the command is dropped, unless it was decided.
    pub deadline: Timestamp,
}

/// A place in a shard that somebody wants to see reflected: the content of a consistency token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The shard.
    pub shard: ShardId,
    /// The record in it.
    pub offset: Offset,
}

/// The running shards of a service, and the kinds they host.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) shards: Shards,
    pub(crate) kinds: Arc<HashMap<Name, Arc<dyn EntityHost>>>,
}

/// All the doors of a node.
pub(crate) struct Doors {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) services: AddressMap<Name, Door>,
    pub(crate) root: ActorRef<RootMessage>,
    pub(crate) waiting: Queue,
    pub(crate) is_stopping: AtomicBool,
    pub(crate) attempts: Attempts,
}

impl fmt::Debug for Doors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    pub(crate) fn placement(&self) -> Option<&Arc<dyn Placement>> {
        self.runtime.placement.as_ref()
    }

    /// The shard of an entity's home.
    pub(crate) fn shard_of(&self, service: Name, entity: EntityRef) -> ShardId {
        ShardId { service, number: entity.home.shard_number(self.runtime.limits.shards) }
    }

    /// Sends a command from the edge, if every queue on its way has room.
    pub(crate) async fn admit(
        &self,
        service: Name,
        entity: EntityRef,
        epoch: Option<Epoch>,
        message: impl FnOnce(Permit) -> Message,
    ) -> Result<(), Unavailable> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Unavailable::Stopping);
        }
        let limits = &self.runtime.limits;
        let shard = self.shard(service, entity, epoch).await?;
        let hot = hot(&shard, entity);
        let cold = Queue::default();
        let waiting = hot.as_ref().map_or(&cold, |hot| &hot.waiting);
        let permit = Permit::take([
            (&self.waiting, limits.node_queue, "node"),
            (&shard.waiting, limits.shard_queue, "shard"),
            (&shard.homes.of(entity.home), limits.home_queue, "home"),
            (waiting, limits.entity_queue, "entity"),
        ])?;
        pass_on(&shard, hot, entity, message(permit));
        Ok(())
    }

    /// Sends what the node owes an entity (timers, outgoing commands, answers): it needs no permit, since the
    /// effects that send it are bounded themselves.
    pub(crate) async fn send(
        &self,
        service: Name,
        entity: EntityRef,
        epoch: Option<Epoch>,
        message: Message,
    ) {
        match self.shard(service, entity, epoch).await {
            Ok(shard) => pass_on(&shard, hot(&shard, entity), entity, message),
            Err(why) => message.refuse(why),
        }
    }

    /// The shard of an entity's home, started if need be; under an epoch, only the one that is owned under it.
    pub(crate) async fn shard(
        &self,
        service: Name,
        entity: EntityRef,
        epoch: Option<Epoch>,
    ) -> Result<ShardHandle, Unavailable> {
        let door = self.services.get(&service).ok_or(Unavailable::NoHost { service })?;
        let number = self.shard_of(service, entity).number;
        let running = door.shards.read().ok().and_then(|shards| shards.get(&number).cloned());
        let shard = match running {
            Some(shard) => shard,
            None => self.start(service, number).await?,
        };
        if epoch.is_some_and(|epoch| shard.epoch != epoch) {
            return Err(Unavailable::Moving);
        }
        Ok(shard)
    }

    async fn start(&self, service: Name, number: u16) -> Result<ShardHandle, Unavailable> {
        let region = self.region(service).await.ok_or(Unavailable::Restarting)?;
        let (reply, started) = oneshot::channel();
        drop(region.cast(RegionMessage::Start(number, reply)));
        started.await.map_err(|_closed| Unavailable::Restarting)?.map_err(|error| {
            if let AppendError::Fenced { .. } = error {
                return Unavailable::Moving;
            }
            tracing::warn!(service = %service, shard = number, error = &error as &dyn std::error::Error, "failed to take a shard over");
            Unavailable::NotWritten
        })
    }

    /// The region of a service, as it runs now.
    pub(crate) async fn region(&self, service: Name) -> Option<ActorRef<RegionMessage>> {
        let (reply, region) = oneshot::channel();
        drop(self.root.cast(RootMessage::Region(service, reply)));
        region.await.ok().flatten()
    }
}

fn hot(shard: &ShardHandle, entity: EntityRef) -> Option<HotEntity> {
    shard.hot.read().ok().and_then(|hot| hot.get(&entity).cloned())
}

/// Straight to a hot entity; by way of its shard otherwise.
fn pass_on(shard: &ShardHandle, hot: Option<HotEntity>, entity: EntityRef, message: Message) {
    let undelivered = match hot {
        Some(hot) => match hot.actor.cast(message) {
            Ok(()) => return,
            Err(MessagingErr::SendErr(message)) => message,
            Err(_) => return,
        },
        None => message,
    };
    send_or_refuse(&shard.actor, ShardMessage::Deliver(entity, undelivered));
}
