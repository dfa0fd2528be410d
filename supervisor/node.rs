//! A node: what the edge and the binary hold in hand.

mod inspection;
mod owning;
mod receiving;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use prognet_storage::{
    AddressMap, Home, Journal, Lsn, Name, ReadModel, Snapshots, codec,
    keyring::{self, Keyring},
    snapshots::TierError,
};
use ractor::Actor;
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use crate::{
    Aggregate, Clock, Entity, Projection, Refused, Service, Timestamp, Unavailable,
    effects::{self, Effects},
    entity::{AnyRefused, Outcome},
    limits::Limits,
    permits::Queue,
    placement::Placement,
    readers::{
        anchor::Anchors,
        outward,
        progress::Progress,
        projections::{self, ProjectionHost, is_of_another_shape},
    },
    region::RegionStart,
    router::{Asking, Door, Doors, Written, abroad::Said, attempts::Attempts, here::Question},
    runtime::Runtime,
    topics::{Hub, Position, Published, Subscription, Topic, history, latest, position_at},
    tree::Root,
};
pub use inspection::{EntityView, KindCount, ReaderView};

/// What a node is made of.
#[derive(Clone)]
pub struct Parts {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Snapshots.
    pub snapshots: Arc<dyn Snapshots>,
    /// Read models.
    pub read_model: Arc<dyn ReadModel>,
    /// Keys.
    pub keyring: Arc<Keyring>,
    /// Time.
    pub clock: Clock,
    /// Limits.
    pub limits: Limits,
    /// Where shards are; none if all are here.
    pub placement: Option<Arc<dyn Placement>>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Parts").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The supervision tree did not stand.
    #[error("failed to start the supervision tree")]
    Tree(#[from] ractor::SpawnErr),
    /// What was under way could not be read.
    #[error("failed to take up what was under way")]
    Effects(#[from] TierError),
}

/// A reply, and the last record it depends on.
#[derive(Debug, Clone)]
pub struct Answered<R> {
    /// The reply.
    pub reply: R,
    /// For lists that must show it; none if the entity has no history.
    pub written: Option<Written>,
}

/// A running node; clones are the same node.
#[derive(Debug, Clone)]
pub struct Node(Arc<Running>);

/// A node that may be gone: for what it runs itself.
#[derive(Debug, Clone)]
pub(crate) struct WeakNode(Weak<Running>);

impl WeakNode {
    pub(crate) fn upgrade(&self) -> Option<Node> {
        self.0.upgrade().map(Node)
    }
}

#[derive(Debug)]
struct Running {
    doors: Arc<Doors>,
    projections: HashMap<Name, Follower>,
    /// Readers with effects outside.
    outward: HashMap<Name, Follower>,
    effects: Arc<Effects>,
    hub: Arc<Hub>,
}

/// A reader, here or elsewhere.
#[derive(Debug, Clone)]
struct Follower {
    /// How far it has come here.
    progress: Arc<Progress>,
    anchors: Anchors,
}

impl Follower {
    fn new(anchors: Anchors) -> Self {
        Self { progress: Arc::default(), anchors }
    }
}

impl Node {
    /// Starts the tree, the readers and what was under way.
    ///
    /// # Errors
    /// When the tree does not stand or the read models do not answer.
    pub async fn start(parts: Parts, services: Vec<Service>) -> Result<Self, StartError> {
        let runtime = Arc::new(Runtime::of(parts));
        let (mut doors, mut starts) = (AddressMap::default(), Vec::new());
        let (mut projections, mut readers) = (Vec::new(), Vec::new());
        for service in services {
            let kinds: Arc<HashMap<_, _>> =
                Arc::new(service.kinds.into_iter().map(|host| (host.kind().name, host)).collect());
            let shards = crate::region::Shards::default();
            starts.push(RegionStart {
                runtime: Arc::clone(&runtime),
                service: service.name,
                kinds: Arc::clone(&kinds),
                shards: Arc::clone(&shards),
            });
            doors.insert(service.name, Door { shards, kinds });
            let anchors = |reader| Anchors::of(reader, [service.name], runtime.limits.shards);
            projections.extend(service.projections.into_iter().map(|host| {
                let follower = Follower::new(anchors(host.name()));
                (host, follower)
            }));
            readers.extend(service.readers.into_iter().map(|host| {
                let follower = Follower::new(anchors(host.name()));
                (host, follower)
            }));
        }
        let (root, _) = Root::spawn(None, Root, starts).await?;
        let doors = Arc::new(Doors {
            runtime: Arc::clone(&runtime),
            services: doors,
            root,
            waiting: Queue::default(),
            is_stopping: AtomicBool::new(false),
            attempts: Attempts::default(),
        });
        let effects = Effects::new(Arc::downgrade(&doors));
        // Timers and commands of all services: they wait for nobody who is not hosted.
        let mut services: Vec<_> = doors.services.keys().copied().collect();
        services.sort();
        let anchors = Anchors::of(effects::NAME, services, runtime.limits.shards);
        projections.push((Arc::clone(&effects) as Arc<dyn ProjectionHost>, Follower::new(anchors)));
        if runtime.placement.is_none() {
            for (host, _) in &projections {
                projections::prepare(&**host, &runtime).await?;
            }
        }
        let hub = Arc::new(Hub::default());
        runtime.tasks.spawn(Arc::clone(&hub).run(Arc::downgrade(&doors)));
        let node = Self(Arc::new(Running {
            doors,
            projections: projections.iter().map(|(host, far)| (host.name(), far.clone())).collect(),
            outward: readers.iter().map(|(host, far)| (host.name(), far.clone())).collect(),
            effects,
            hub,
        }));
        for (host, Follower { progress, anchors }) in projections {
            runtime.tasks.spawn(projections::run(host, Arc::clone(&runtime), progress, anchors));
        }
        for (host, Follower { progress, anchors }) in readers {
            let weak = WeakNode(Arc::downgrade(&node.0));
            runtime.tasks.spawn(outward::run(host, weak, Arc::clone(&runtime), progress, anchors));
        }
        Ok(node)
    }

    pub(crate) fn doors(&self) -> &Doors {
        &self.0.doors
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        self.0.doors.runtime()
    }

    /// Gives an entity a command and waits for its durable reply.
    ///
    /// # Errors
    /// The domain's no, a reason to try again, or a fault.
    pub async fn ask<A: Aggregate>(
        &self,
        asking: &Asking,
        entity: Entity<A>,
        command: A::Command,
    ) -> Result<Answered<A::Reply>, Refused<A::Rejection>> {
        self.send(asking, entity, Said::Command(command)).await
    }

    /// What an entity shows of itself now.
    ///
    /// # Errors
    /// A reason to try again, or a fault.
    pub async fn read<A: Aggregate>(
        &self,
        asking: &Asking,
        entity: Entity<A>,
    ) -> Result<A::Reply, Refused<Infallible>> {
        match self.send(asking, entity, Said::Read).await {
            Ok(answered) => Ok(answered.reply),
            Err(refused) => Err(refused.of_a_read()),
        }
    }

    /// Gives a saga a command and waits until it has ended; the same key attaches again after the deadline.
    ///
    /// # Errors
    /// As [`Node::ask`]; [`Unavailable::StillRunning`] once the deadline has passed.
    pub async fn ask_to_end<A: Aggregate>(
        &self,
        asking: &Asking,
        entity: Entity<A>,
        command: A::Command,
    ) -> Result<Answered<A::Reply>, Refused<A::Rejection>> {
        self.ask(asking, entity, command).await?;
        match self.send(asking, entity, Said::End).await {
            Err(Refused::Unavailable(Unavailable::Deadline | Unavailable::Restarting)) => {
                Err(Refused::Unavailable(Unavailable::StillRunning))
            }
            ended => ended,
        }
    }

    async fn send<A: Aggregate>(
        &self,
        asking: &Asking,
        entity: Entity<A>,
        said: Said<A::Command>,
    ) -> Result<Answered<A::Reply>, Refused<A::Rejection>> {
        let doors = &self.0.doors;
        if let Some(placement) = doors.placement() {
            return doors.ask_anywhere::<A>(placement, asking, entity.reference(), said).await;
        }
        let question = match said {
            Said::Read => Question::Read,
            Said::Command(command) => Question::Command(Box::new(command), None),
            Said::End => Question::End,
        };
        typed::<A>(doors.ask_here(A::KIND.service, entity.reference(), asking, question, None).await)
    }

    /// One row of a projection.
    ///
    /// # Errors
    /// When the read model does not answer.
    pub async fn row<P: Projection, T: Serialize + DeserializeOwned>(
        &self,
        key: &[u8],
    ) -> Result<Option<T>, Unavailable> {
        let row = self.runtime().read_model.get(Name::new(P::NAME), key.to_vec()).await;
        let row = row.map_err(|error| self.unread::<P>(error))?;
        row.map(|row| self.decoded::<P, T>(&row.value)).transpose()
    }

    /// Rows of a projection by key order.
    ///
    /// # Errors
    /// When the read model does not answer.
    pub async fn rows<P: Projection, T: Serialize + DeserializeOwned>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, Unavailable> {
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        let rows = self
            .runtime()
            .read_model
            .scan(Name::new(P::NAME), prefix, after, limit)
            .await
            .map_err(|error| self.unread::<P>(error))?;
        rows.into_iter().map(|row| Ok((row.key, self.decoded::<P, T>(&row.value)?))).collect()
    }

    /// What to answer when rows were not read; damaged ones have their projection rebuilt.
    fn unread<P: Projection>(&self, error: TierError) -> Unavailable {
        if is_of_another_shape(&error) { self.rebuilding::<P>() } else { unreadable(error) }
    }

    fn rebuilding<P: Projection>(&self) -> Unavailable {
        if let Some(follower) = self.0.projections.get(&Name::new(P::NAME)) {
            follower.progress.foreign.notify_one();
        }
        Unavailable::Behind
    }

    /// A row's value; one of another shape has its projection rebuilt.
    fn decoded<P: Projection, T: Serialize + DeserializeOwned>(
        &self,
        value: &[u8],
    ) -> Result<T, Unavailable> {
        codec::decode_compact(value).map_err(|_shape| self.rebuilding::<P>())
    }

    /// Returns once a projection has taken `written` in.
    ///
    /// # Errors
    /// [`Unavailable::Behind`] once the deadline has passed.
    pub async fn caught_up<P: Projection>(
        &self,
        written: Written,
        deadline: Timestamp,
    ) -> Result<(), Unavailable> {
        let Some(follower) = self.0.projections.get(&Name::new(P::NAME)) else {
            return Err(Unavailable::Behind);
        };
        let Some(placement) = self.doors().placement() else {
            return follower.progress.reach(written, self.runtime(), deadline).await;
        };
        self.reached(follower, &**placement, Name::new(P::NAME), written, deadline).await
    }

    /// Public events of a topic after a position, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the journal does not answer.
    pub async fn history(
        &self,
        topic: Topic,
        after: Position,
        limit: usize,
    ) -> Result<Vec<Published>, Unavailable> {
        let (mut events, mut position) = (Vec::new(), after);
        while events.len() < limit {
            let page = history(&self.0.doors, topic, &position).await?;
            if page.is_at_end {
                break;
            }
            position = page.read_to;
            events.extend(page.events);
        }
        events.truncate(limit);
        Ok(events)
    }

    /// The last public events of a topic, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the journal does not answer.
    pub async fn latest(&self, topic: Topic, limit: usize) -> Result<Vec<Published>, Unavailable> {
        latest(&self.0.doors, topic, limit).await
    }

    /// The position behind everything that is durable in a topic now.
    ///
    /// # Errors
    /// When the journal does not answer.
    pub async fn end_of(&self, topic: Topic) -> Result<Position, Unavailable> {
        position_at(&self.0.doors, topic, Lsn(u64::MAX)).await
    }

    /// Live events of a topic after a position, or from now on.
    #[must_use]
    pub fn watch(&self, topic: Topic, after: Option<Position>) -> Subscription {
        Subscription::new(Arc::clone(&self.0.doors), Arc::clone(&self.0.hub), topic, after)
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.runtime().clock
    }

    /// A named secret, made once and kept in the keyring.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn secret(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, Unavailable> {
        let secret = self.runtime().keyring.secret(name, make).await.map_err(no_secret)?;
        Ok(secret.to_vec())
    }

    /// A named secret, if it was made.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn known_secret(&self, name: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let secret = self.runtime().keyring.known_secret(name).await.map_err(no_secret)?;
        Ok(secret.map(|secret| secret.to_vec()))
    }

    /// Destroys a home's key: whatever was written about it, in whatever copy, is readable no more.
    ///
    /// Nothing is written about it again. It takes as long as the keyring is large, and is never undone.
    ///
    /// # Errors
    /// When the keyring could not be written.
    pub async fn erase(&self, home: Home) -> Result<(), Unavailable> {
        let (keyring, runtime) = (Arc::clone(&self.runtime().keyring), Handle::current());
        // Writing a file again blocks.
        let erase = move || {
            if keyring.is_erased(&home) { Ok(()) } else { runtime.block_on(keyring.erase(&home)) }
        };
        let erased = tokio::task::spawn_blocking(erase);
        erased.await.map_err(|_panicked| Unavailable::NotWritten)?.map_err(no_secret)
    }

    /// Whether a home's key was destroyed.
    #[must_use]
    pub fn is_erased(&self, home: &Home) -> bool {
        self.runtime().keyring.is_erased(home)
    }

    /// A keyed hash, for the ids of reservations and the keys of rows.
    #[must_use]
    pub fn hash(&self, purpose: &str, bytes: &[u8]) -> u128 {
        self.runtime().keyring.hash(purpose, bytes)
    }

    /// Ends everything at once, as a crash would: nothing is finished, nobody is answered.
    pub(crate) fn kill(&self) {
        self.0.doors.is_stopping.store(true, Ordering::Relaxed);
        self.0.doors.root.kill();
    }

    /// Takes no more commands, lets what is under way become durable, closes the journal and flushes the read models.
    pub async fn stop(&self) {
        self.0.doors.is_stopping.store(true, Ordering::Relaxed);
        self.runtime().journal.close().await;
        if let Err(error) = self.runtime().read_model.flush().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "failed to flush the read models: the next start reads more of the journal"
            );
        }
        self.0.doors.root.stop(Some("the node stops".to_owned()));
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn no_secret(error: keyring::Error) -> Unavailable {
    tracing::error!(error = &error as &dyn std::error::Error, "the keyring does not give a secret");
    Unavailable::NotWritten
}

pub(crate) fn typed<A: Aggregate>(outcome: Outcome) -> Result<Answered<A::Reply>, Refused<A::Rejection>> {
    match outcome {
        Ok((reply, written)) => match reply.downcast() {
            Ok(reply) => Ok(Answered { reply: *reply, written }),
            Err(_) => Err(Refused::Fault),
        },
        Err(AnyRefused::Rejected(rejection)) => match rejection.downcast() {
            Ok(rejection) => Err(Refused::Rejected(*rejection)),
            Err(_) => Err(Refused::Fault),
        },
        Err(AnyRefused::KeyReused) => Err(Refused::KeyReused),
        Err(AnyRefused::Poison) => Err(Refused::Poison),
        Err(AnyRefused::Erased) => Err(Refused::Erased),
        Err(AnyRefused::Unavailable(why)) => Err(Refused::Unavailable(why)),
        Err(AnyRefused::Fault) => Err(Refused::Fault),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn unreadable(error: TierError) -> Unavailable {
    tracing::error!(error = &error as &dyn std::error::Error, "failed to read a projection");
    Unavailable::NotWritten
}
