//! A kind of entity, its type erased, so that shards, topics and operators can treat all alike.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, atomic::AtomicU64},
};

use prognet_storage::codec;
use ractor::{ActorCell, ActorRef};

use super::{AnyBox, Live, Message, Shell};
use crate::{
    Aggregate, Kind,
    projection::{Recorded, Unreadable},
};

/// What a kind of entity costs and suffers, counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hot: AtomicU64,
    pub(crate) activations: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) quarantined: AtomicU64,
}

/// Ends when the entity is loaded, or has failed to.
pub(crate) type Starting = tokio::task::JoinHandle<Result<tokio::task::JoinHandle<()>, ractor::SpawnErr>>;

/// A kind of entity, its type erased, so that a shard can host any.
pub(crate) trait EntityHost: fmt::Debug + Send + Sync {
    fn kind(&self) -> Kind;
    fn counters(&self) -> &Counters;
    /// Starts one; its mailbox takes commands at once, they wait for the load, whose end the handle tells.
    fn spawn(
        &self,
        shell: Shell,
        supervisor: ActorCell,
    ) -> Result<(ActorRef<Message>, Starting), ractor::SpawnErr>;
    /// The event as the public sees it, if it does.
    fn publish(&self, event: &Recorded) -> Result<Option<serde_json::Value>, Unreadable>;
    /// A command that came from another node.
    fn decode_command(&self, bytes: &[u8]) -> Result<AnyBox, codec::Error>;
    /// A reply for another node; none if it is not of this kind.
    fn encode_reply(&self, reply: &AnyBox) -> Option<Vec<u8>>;
    /// A rejection for another node; none if it is not of this kind.
    fn encode_rejection(&self, rejection: &AnyBox) -> Option<Vec<u8>>;
}

/// See [`EntityHost`].
pub(crate) struct Host<A> {
    counters: Arc<Counters>,
    kind: PhantomData<fn() -> A>,
}

impl<A> Default for Host<A> {
    fn default() -> Self {
        Self { counters: Arc::default(), kind: PhantomData }
    }
}

impl<A> fmt::Debug for Host<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Host").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<A: Aggregate> EntityHost for Host<A> {
    fn kind(&self) -> Kind {
        A::KIND
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn spawn(
        &self,
        shell: Shell,
        supervisor: ActorCell,
    ) -> Result<(ActorRef<Message>, Starting), ractor::SpawnErr> {
        ractor::ActorRuntime::spawn_linked_instant(None, Live::<A>(PhantomData), shell, supervisor)
    }

    fn publish(&self, event: &Recorded) -> Result<Option<serde_json::Value>, Unreadable> {
        Ok(event.of::<A>()?.and_then(|event| A::publish(&event)))
    }

    fn decode_command(&self, bytes: &[u8]) -> Result<AnyBox, codec::Error> {
        Ok(Box::new(codec::decode_event::<A::Command>(bytes)?))
    }

    fn encode_reply(&self, reply: &AnyBox) -> Option<Vec<u8>> {
        codec::encode_event(reply.downcast_ref::<A::Reply>()?).ok()
    }

    fn encode_rejection(&self, rejection: &AnyBox) -> Option<Vec<u8>> {
        codec::encode_event(rejection.downcast_ref::<A::Rejection>()?).ok()
    }
}
