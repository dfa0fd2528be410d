//! A region: this node's shards of one service, started on first use, started again after a crash.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use prognet_storage::{AddressMap, Name, ShardId, journal::AppendError};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::{
    Timestamp,
    entity::EntityHost,
    permits::{Homes, Queue},
    runtime::Runtime,
    shard::{REOPEN, Shard, ShardHandle, ShardMessage, ShardStart},
};

/// How long a shard that was started afresh is not again: starting it more often would heal nothing.
const REOPEN_AGAIN: Duration = Duration::from_secs(3_600);

/// Why a shard stops that this node owns no longer.
const CLOSED: &str = "another node owns it";

/// What a region's mailbox takes.
pub(crate) enum RegionMessage {
    /// Start this shard, unless it runs.
    Start(u16, oneshot::Sender<Result<ShardHandle, AppendError>>),
    /// Let this shard begin nothing and finish what it has begun; answered when it has.
    Drain(u16, oneshot::Sender<()>),
    /// End this shard with all that is in it; answered when it has.
    Close(u16, oneshot::Sender<()>),
}

impl ractor::Message for RegionMessage {}

/// The running shards of a region, as routers see them.
pub(crate) type Shards = Arc<RwLock<AddressMap<u16, ShardHandle>>>;

/// What a region is started with.
#[derive(Clone)]
pub(crate) struct RegionStart {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) service: Name,
    pub(crate) kinds: Arc<HashMap<Name, Arc<dyn EntityHost>>>,
    pub(crate) shards: Shards,
}

pub(crate) struct Region;

pub(crate) struct Running {
    start: RegionStart,
    by_actor: HashMap<ActorId, u16>,
    /// Shards that were started afresh because of crashes, and when.
    reopened: HashMap<u16, Timestamp>,
}

impl Actor for Region {
    type Msg = RegionMessage;
    type State = Running;
    type Arguments = RegionStart;

    async fn pre_start(
        &self,
        _: ActorRef<RegionMessage>,
        start: RegionStart,
    ) -> Result<Running, ActorProcessingErr> {
        Ok(Running { start, by_actor: HashMap::new(), reopened: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<RegionMessage>,
        message: RegionMessage,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegionMessage::Start(number, started) => {
                let handle = match running.known(number) {
                    Some(handle) => Ok(handle),
                    None => running.start(number, &myself).await?,
                };
                drop(started.send(handle));
            }
            RegionMessage::Drain(number, drained) => {
                if let Some(shard) = running.known(number) {
                    // If it is gone the channel closes, which says the same.
                    drop(shard.actor.cast(ShardMessage::Drain(drained)));
                }
            }
            RegionMessage::Close(number, closed) => {
                if let Some(shard) = running.forget(number) {
                    let ended = shard.actor.stop_and_wait(Some(CLOSED.to_owned()), None).await;
                    if ended.is_err() {
                        tracing::debug!(shard = number, "a shard that is closed was gone already");
                    }
                }
                // Nobody may wait for it.
                closed.send(()).unwrap_or_default();
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RegionMessage>,
        event: SupervisionEvent,
        running: &mut Running,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, _, why) => {
                let number = running.ended(actor.get_id());
                if let (Some(number), Some(REOPEN)) = (number, why.as_deref()) {
                    running.reopened.insert(number, running.start.runtime.clock.now());
                }
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                tracing::error!(service = %running.start.service, error = %error, "a shard crashed; its next use starts it again");
                running.ended(actor.get_id());
            }
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => {}
        }
        Ok(())
    }
}

impl Running {
    fn known(&self, number: u16) -> Option<ShardHandle> {
        self.start.shards.read().ok().and_then(|shards| shards.get(&number).cloned())
    }

    /// Routers find it no longer.
    fn forget(&mut self, number: u16) -> Option<ShardHandle> {
        let shard = self.start.shards.write().ok()?.remove(&number)?;
        self.by_actor.remove(&shard.actor.get_id());
        Some(shard)
    }

    /// Takes the shard over and starts its actor.
    async fn start(
        &mut self,
        number: u16,
        myself: &ActorRef<RegionMessage>,
    ) -> Result<Result<ShardHandle, AppendError>, ActorProcessingErr> {
        let RegionStart { runtime, service, kinds, shards } = &self.start;
        let shard = ShardId { service: *service, number };
        let epoch = match runtime.journal.claim(shard).await {
            Ok(claim) => claim.epoch,
            Err(error) => return Ok(Err(error)),
        };
        let reopened = self.reopened.get(&number);
        let may_reopen = reopened.is_none_or(|at| runtime.clock.now().since(*at) >= REOPEN_AGAIN);
        let hot = Arc::default();
        let start = ShardStart {
            runtime: Arc::clone(runtime),
            shard,
            epoch,
            kinds: Arc::clone(kinds),
            hot: Arc::clone(&hot),
            may_reopen,
        };
        let (actor, _) = Shard::spawn_linked(None, Shard, start, myself.get_cell()).await?;
        self.by_actor.insert(actor.get_id(), number);
        let handle = ShardHandle { actor, hot, waiting: Queue::default(), homes: Homes::default(), epoch };
        if let Ok(mut shards) = shards.write() {
            shards.insert(number, handle.clone());
        }
        Ok(Ok(handle))
    }

    /// A shard has ended: its next use starts it.
    fn ended(&mut self, actor: ActorId) -> Option<u16> {
        let number = self.by_actor.remove(&actor)?;
        if let Ok(mut shards) = self.start.shards.write() {
            shards.remove(&number);
        }
        Some(number)
    }
}
