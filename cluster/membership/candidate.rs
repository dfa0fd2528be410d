//! Who may join, and why not.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use prognet_supervisor::Name;

use crate::{
    tables::{NodeId, NodeRow, Profile, Status, Wire},
    view::View,
};

/// Who wants to join, as its settings say.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its name.
    pub node: NodeId,
    /// What it says of itself.
    pub profile: Arc<Profile>,
    /// The cluster it belongs to.
    pub generation: u128,
    /// The shards per service it is set to.
    pub shards: u16,
    /// Every service there is: somebody must host each.
    pub services: BTreeSet<Name>,
    /// `cluster.allow_partial`: it may be the only node without hosting every service.
    pub allow_partial: bool,
    /// Whether it holds the lock of its state directory.
    pub holds_lock: bool,
    /// `cluster.trust_refused`: on this network a refused connection proves that nothing listens there any more.
    pub trust_refused: bool,
}

/// Why a node may not join. Each names the setting to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store holds another cluster, or one that was restored since.
    #[error(
        "the database of `storage.url` holds cluster {theirs:032x}, this node started in {ours:032x}: it was replaced \
         or restored meanwhile; start the node again"
    )]
    Generation {
        /// The store's.
        theirs: u128,
        /// What it was when this node started.
        ours: u128,
    },
    /// The data was created with another count of shards.
    #[error(
        "the database of `storage.url` counts {theirs} shards a service, this build {ours}: start the build that made \
         it, or name another database"
    )]
    Shards {
        /// The data's.
        theirs: u16,
        /// This build's.
        ours: u16,
    },
    /// A node here speaks no version this build speaks.
    #[error(
        "node `{node}` of the database of `storage.url` speaks wire versions {}-{}, this build {}-{}: upgrade one \
         version at a time",
        theirs.min, theirs.max, ours.min, ours.max
    )]
    Wire {
        /// Which node.
        node: NodeId,
        /// What it speaks.
        theirs: Wire,
        /// What this build speaks.
        ours: Wire,
    },
    /// The way back to this build has ended, or it skips a version.
    #[error(
        "the cluster is finalized at version {finalized}, this build speaks versions {}-{}: {}",
        ours.min, ours.max, way_to(*finalized, *ours)
    )]
    Finalized {
        /// What may be written there.
        finalized: u16,
        /// What this build speaks.
        ours: Wire,
    },
    /// Another process renews a lease under this name.
    #[error("another node named `{node}` runs at {address}: give one of them another `cluster.node`")]
    NameTaken {
        /// The name.
        node: NodeId,
        /// Where the other says it is.
        address: String,
    },
    /// Nobody else is here, and this node does not host everything.
    #[error(
        "`cluster.roles` leaves out {services:?} and no other node is here; `cluster.allow_partial` allows it"
    )]
    RolesMissing {
        /// What nobody would host.
        services: Vec<Name>,
    },
    /// A peer would not link to it.
    #[error("node `{node}` and this one do not link: {why}")]
    TurnedAway {
        /// Which.
        node: NodeId,
        /// Why, with the setting to look at.
        why: String,
    },
    /// No peer could be reached both ways within [`crate::Limits::join`].
    #[error(
        "none of the nodes {peers:?} can be reached: check `cluster.listen`, `cluster.address`, `cluster.ca_file` and \
         the network"
    )]
    Unreached {
        /// Who is here.
        peers: Vec<NodeId>,
    },
}

/// What to do when a build cannot read what may be written.
const fn way_to(finalized: u16, ours: Wire) -> &'static str {
    if ours.max < finalized {
        "run a newer build"
    } else {
        "run the builds between first, and `prognet cluster finalize` with each"
    }
}

/// How it is known that a process is gone, without waiting for its lease to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Its address refused a connection: its listener is gone, which lives as long as the process.
    Refused(SocketAddr),
    /// This process holds the lock of the state directory that it ran on.
    Lock,
}

/// What a candidate should do about what it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// Insert its row.
    Join,
    /// Wait for an earlier incarnation of its name.
    Blocked(NodeRow),
}

impl Candidate {
    /// Whether a proof about a node is one here.
    pub(super) fn trusts(&self, proof: Proof, about: &NodeRow) -> bool {
        match proof {
            Proof::Refused(address) => self.trust_refused || address.ip().is_loopback(),
            Proof::Lock => self.holds_lock && about.profile.directory == self.profile.directory,
        }
    }

    pub(super) fn admit(&self, view: &View) -> Result<Option<Admission>, Refusal> {
        let Some(meta) = view.meta() else { return Ok(None) };
        if meta.generation != self.generation {
            return Err(Refusal::Generation { theirs: meta.generation, ours: self.generation });
        }
        if meta.shards != self.shards {
            return Err(Refusal::Shards { theirs: meta.shards, ours: self.shards });
        }
        if !self.profile.wire.reads(meta.finalized) {
            return Err(Refusal::Finalized { finalized: meta.finalized, ours: self.profile.wire });
        }
        let stranger = view.live().find(|row| !row.profile.wire.overlaps(self.profile.wire));
        if let Some(row) = stranger {
            let (node, theirs) = (row.incarnation.node, row.profile.wire);
            return Err(Refusal::Wire { node, theirs, ours: self.profile.wire });
        }
        let is_earlier = |row: &&NodeRow| row.incarnation.node == self.node && row.status != Status::Down;
        if let Some(earlier) = view.nodes().iter().find(is_earlier) {
            return Ok(Some(Admission::Blocked(earlier.clone())));
        }
        let missing: Vec<_> = self.services.difference(&self.profile.roles).copied().collect();
        if !missing.is_empty() && !self.allow_partial && view.live().next().is_none() {
            return Err(Refusal::RolesMissing { services: missing });
        }
        Ok(Some(Admission::Join))
    }
}
