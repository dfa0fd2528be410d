//! The root of the supervision tree: root ▸ region per service ▸ shard ▸ entity.

use std::collections::HashMap;

use prognet_storage::Name;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::region::{Region, RegionMessage, RegionStart};

/// What the root's mailbox takes.
pub(crate) enum RootMessage {
    /// The region of a service, as it runs now.
    Region(Name, oneshot::Sender<Option<ActorRef<RegionMessage>>>),
}

impl ractor::Message for RootMessage {}

pub(crate) struct Root;

pub(crate) struct Regions {
    starts: HashMap<Name, RegionStart>,
    running: HashMap<Name, ActorRef<RegionMessage>>,
    by_actor: HashMap<ActorId, Name>,
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = Regions;
    type Arguments = Vec<RegionStart>;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMessage>,
        starts: Vec<RegionStart>,
    ) -> Result<Regions, ActorProcessingErr> {
        let starts = starts.into_iter().map(|start| (start.service, start)).collect::<HashMap<_, _>>();
        let mut regions = Regions { starts, running: HashMap::new(), by_actor: HashMap::new() };
        for service in regions.starts.keys().copied().collect::<Vec<_>>() {
            regions.start(service, &myself).await?;
        }
        Ok(regions)
    }

    async fn handle(
        &self,
        _: ActorRef<RootMessage>,
        message: RootMessage,
        regions: &mut Regions,
    ) -> Result<(), ActorProcessingErr> {
        let RootMessage::Region(service, reply) = message;
        drop(reply.send(regions.running.get(&service).cloned()));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMessage>,
        event: SupervisionEvent,
        regions: &mut Regions,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, _, _) | SupervisionEvent::ActorFailed(actor, _) => {
                if let Some(service) = regions.by_actor.remove(&actor.get_id()) {
                    tracing::error!(service = %service, "the region of {service} ended; starting it again");
                    regions.start(service, &myself).await?;
                }
            }
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => {}
        }
        Ok(())
    }
}

impl Regions {
    async fn start(
        &mut self,
        service: Name,
        myself: &ActorRef<RootMessage>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(start) = self.starts.get(&service).cloned() else {
            return Ok(());
        };
        if let Ok(mut shards) = start.shards.write() {
            shards.clear();
        }
        let (region, _) = Region::spawn_linked(None, Region, start, myself.get_cell()).await?;
        self.by_actor.insert(region.get_id(), service);
        self.running.insert(service, region);
        Ok(())
    }
}
