//! The only actors of a node that other nodes see: they take in letters, and their mirrors on other nodes send them.

use std::sync::{Arc, Weak};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SpawnErr, pg};
use ractor_cluster::RactorClusterMessage;

use super::ractor::Inner;
use crate::tables::Incarnation;

/// Gateways of a node: one for words about the link itself and the cluster, the others for everything else, so that a
/// large frame does not hold all others up.
pub(super) const LANES: usize = 5;

/// The only message that crosses nodes: an envelope's bytes.
#[derive(RactorClusterMessage)]
pub(super) enum Letter {
    Envelope(Vec<u8>),
}

struct Gateway;

impl Actor for Gateway {
    type Msg = Letter;
    type State = Weak<Inner>;
    type Arguments = Weak<Inner>;

    async fn pre_start(
        &self,
        _: ActorRef<Letter>,
        link: Weak<Inner>,
    ) -> Result<Weak<Inner>, ActorProcessingErr> {
        Ok(link)
    }

    async fn handle(
        &self,
        myself: ActorRef<Letter>,
        Letter::Envelope(bytes): Letter,
        link: &mut Weak<Inner>,
    ) -> Result<(), ActorProcessingErr> {
        match link.upgrade() {
            Some(link) => link.take_in(bytes),
            None => myself.stop(None),
        }
        Ok(())
    }
}

/// The group in which a gateway and its mirrors are found.
fn group(of: Incarnation, lane: usize) -> String {
    format!("prognet/link/{}/{}/{lane}", of.node, of.number)
}

/// Starts the gateways of this node.
pub(super) async fn start(me: Incarnation, link: &Arc<Inner>) -> Result<Vec<ActorRef<Letter>>, SpawnErr> {
    let mut gateways = Vec::with_capacity(LANES);
    for lane in 0..LANES {
        let (gateway, _) = Actor::spawn(None, Gateway, Arc::downgrade(link)).await?;
        pg::join(group(me, lane), vec![gateway.get_cell()]);
        gateways.push(gateway);
    }
    Ok(gateways)
}

/// The mirrors of another node's gateways over one session, if all of them are there.
pub(super) fn mirrors(of: Incarnation, session: u64) -> Option<Arc<[ActorRef<Letter>]>> {
    let mirror = |lane| {
        let members = pg::get_members(&group(of, lane));
        // Those of a session that has just ended may still be there.
        let is_of_session = |id| matches!(id, ActorId::Remote { node_id, .. } if node_id == session);
        let mirror = members.into_iter().find(|cell| is_of_session(cell.get_id()));
        mirror.map(ActorRef::from)
    };
    (0..LANES).map(mirror).collect::<Option<Vec<_>>>().map(Arc::from)
}
