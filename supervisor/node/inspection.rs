//! A node as operators see it: counts, readers, single entities, health.

use std::{sync::atomic::Ordering, time::Duration};

use prognet_storage::{EntityRef, Name, journal::Health};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Follower, Node};
use crate::{
    entity::Message,
    parcel::{Content, Reply},
    placement::{Place, Uncarried},
    shard::ShardMessage,
};

/// How long a look at another node's entity may take.
const LOOK: Duration = Duration::from_secs(5);

/// A kind of entity in numbers.
#[derive(Debug, Clone, Serialize)]
pub struct KindCount {
    /// Its service.
    pub service: Name,
    /// The kind.
    pub kind: Name,
    /// Running actors.
    pub hot: u64,
    /// Starts since the node started.
    pub activations: u64,
    /// Crashes since the node started.
    pub restarts: u64,
    /// Entities that wait for an operator.
    pub quarantined: u64,
}

/// A reader of the journal, for those who look after it.
#[derive(Debug, Clone, Serialize)]
pub struct ReaderView {
    /// Its name.
    pub name: Name,
    /// Durable records it has yet to take in.
    pub lag: u64,
    /// Why it is stuck, if it is.
    pub error: Option<String>,
}

/// One entity as an operator sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntityView {
    /// `hot`, `cold`, `leaving`, `restarting` or `quarantined`.
    pub status: String,
    /// Its last record.
    pub seq: u64,
    /// Commands that wait for it.
    pub mailbox: u64,
    /// Crashes that still count towards its quarantine.
    pub restarts: u64,
    /// Timers that are set.
    pub timers: u64,
    /// Outgoing commands without an answer.
    pub under_way: u64,
    /// Why it is quarantined, if it is.
    pub error: Option<String>,
    /// Its state, redacted.
    pub state: serde_json::Value,
}

impl Node {
    /// Kinds in numbers.
    #[must_use]
    pub fn counts(&self) -> Vec<KindCount> {
        let hosts = self.0.doors.services.iter().flat_map(|(service, door)| {
            door.kinds.values().map(move |host| {
                let counters = host.counters();
                KindCount {
                    service: *service,
                    kind: host.kind().name,
                    hot: counters.hot.load(Ordering::Relaxed),
                    activations: counters.activations.load(Ordering::Relaxed),
                    restarts: counters.restarts.load(Ordering::Relaxed),
                    quarantined: counters.quarantined.load(Ordering::Relaxed),
                }
            })
        });
        let mut counts: Vec<_> = hosts.collect();
        counts.sort_by_key(|count| (count.service, count.kind));
        counts
    }

    /// Projections and other readers that run on this node, by name.
    #[must_use]
    pub fn readers(&self) -> Vec<ReaderView> {
        let durable = *self.runtime().journal.durable().borrow();
        let readers = self.0.projections.iter().chain(&self.0.outward);
        let owns_all = self.doors().placement().is_none();
        let running = readers.filter(|(_, follower)| owns_all || follower.progress.is_running());
        let views = running.map(|(name, Follower { progress, .. })| ReaderView {
            name: *name,
            lag: progress.lag(durable),
            error: progress.error(),
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|view| view.name);
        views
    }

    /// One entity, as it is, wherever it is; looking at it does not start it.
    pub async fn inspect(&self, service: Name, entity: EntityRef) -> Option<EntityView> {
        match self.abroad(service, entity, Content::Inspect { service, entity }).await {
            None => self.inspect_here(service, entity).await,
            Some(Ok(Reply::Inspected(view))) => view,
            Some(_) => None,
        }
    }

    /// Lets an entity out of quarantine, wherever it is; says whether it was in.
    pub async fn release(&self, service: Name, entity: EntityRef) -> bool {
        match self.abroad(service, entity, Content::Release { service, entity }).await {
            None => self.release_here(service, entity).await,
            Some(Ok(Reply::Released(was_in))) => was_in,
            Some(_) => false,
        }
    }

    /// Asks the node that owns an entity's shard, if it is another one.
    async fn abroad(
        &self,
        service: Name,
        entity: EntityRef,
        content: Content,
    ) -> Option<Result<Reply, Uncarried>> {
        let placement = self.doors().placement()?;
        match placement.place(self.doors().shard_of(service, entity)) {
            Ok(Place::There(node, _)) => {
                Some(self.doors().exchange(&**placement, node, entity, content, LOOK).await)
            }
            Ok(Place::Here(_)) | Err(_) => None,
        }
    }

    pub(super) async fn inspect_here(&self, service: Name, entity: EntityRef) -> Option<EntityView> {
        let shard = self.0.doors.shard(service, entity, None).await.ok()?;
        let (reply, status) = oneshot::channel();
        shard.actor.cast(ShardMessage::Status(entity, reply)).ok()?;
        let status = status.await.ok()?;
        let mut view = EntityView {
            status: status.word.to_owned(),
            seq: 0,
            mailbox: 0,
            restarts: status.restarts as u64,
            timers: 0,
            under_way: 0,
            error: status.error,
            state: serde_json::Value::Null,
        };
        let hot = shard.hot.read().ok().and_then(|hot| hot.get(&entity).cloned());
        if let Some(hot) = hot {
            view.mailbox = hot.waiting.load(Ordering::Relaxed) as u64;
            let (reply, seen) = oneshot::channel();
            hot.actor.cast(Message::Inspect(reply)).ok()?;
            if let Ok(seen) = seen.await {
                view.seq = seen.seq;
                view.timers = seen.timers as u64;
                view.under_way = seen.under_way as u64;
                view.state = seen.state;
            }
        }
        Some(view)
    }

    pub(super) async fn release_here(&self, service: Name, entity: EntityRef) -> bool {
        let Ok(shard) = self.0.doors.shard(service, entity, None).await else {
            return false;
        };
        let (reply, released) = oneshot::channel();
        drop(shard.actor.cast(ShardMessage::Release(entity, reply)));
        released.await.unwrap_or(false)
    }

    /// What the running actors weigh, in bytes, by estimate.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.runtime().residency.bytes()
    }

    /// Commands on their way to other entities, and those parked for one that is quarantined.
    #[must_use]
    pub fn effects_under_way(&self) -> usize {
        self.0.effects.under_way()
    }

    /// The checks of readiness, by name.
    #[must_use]
    pub fn health(&self) -> Vec<(&'static str, Result<(), String>)> {
        let journal = match self.runtime().journal.health() {
            Health::Writable => Ok(()),
            Health::Full => Err("the disk is full".to_owned()),
            Health::Poisoned(reason) => Err(format!("poisoned: {reason}")),
            Health::Unreachable(reason) => Err(format!("the store is out of reach: {reason}")),
        };
        let stuck: Vec<_> =
            self.0.projections.iter().filter(|(_, far)| far.progress.error().is_some()).collect();
        let projections = match stuck.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("{name} is stuck")),
        };
        let stopping = if self.0.doors.is_stopping.load(Ordering::Relaxed) {
            Err("stopping".to_owned())
        } else {
            Ok(())
        };
        let cluster = self.doors().placement().map(|placement| ("cluster", placement.health()));
        let checks = [("journal", journal), ("projections", projections), ("running", stopping)];
        checks.into_iter().chain(cluster).collect()
    }
}
