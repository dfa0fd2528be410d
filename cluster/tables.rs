//! What a member asks of the tables (`prognet_supervisor::leases`), as data: a statement goes out, its one answer comes
//! back in.

use std::sync::Arc;

pub use prognet_supervisor::leases::{
    Build, Incarnation, Meta, Move, NodeId, NodeRow, Profile, Renewal, ShardRow, ShardState, Snapshot,
    Status, StoreTime, Wire,
};
use prognet_supervisor::{Epoch, ShardId};

use crate::BootTime;

/// Where a node stands, as people read it.
pub(crate) const fn word_of(status: Status) -> &'static str {
    match status {
        Status::Joining => "joining",
        Status::Up => "up",
        Status::Draining => "draining",
        Status::Down => "down",
    }
}

/// One transaction to run in the store. Every statement is answered exactly once, by the input named after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Reads `cluster_meta`, every node, and the shards with `changed > after`, in one snapshot.
    Read {
        /// The map number already read.
        after: u64,
    },
    /// If the view is still `view`: raises it and inserts a row `Joining` with that number and a fresh lease.
    Join {
        /// The view that the decision to join rests on.
        view: u64,
        /// Who joins.
        node: NodeId,
        /// What it says of itself.
        profile: Arc<Profile>,
    },
    /// `lease_until = now + lease` where the row is there and not down. It locks that row, as
    /// [`Statement::DeclareDown`] does: after a declaration there is no renewal.
    Renew {
        /// Whose lease.
        by: Incarnation,
    },
    /// `status = to` where it is `from`; raises the view.
    ChangeStatus {
        /// Whose row.
        of: Incarnation,
        /// What it must be.
        from: Status,
        /// What it becomes.
        to: Status,
    },
    /// `status = down` where it is not yet, and its lease is over on the store's clock or it is proven gone;
    /// raises the view.
    DeclareDown {
        /// Who.
        of: Incarnation,
        /// Whether the lease need not be waited for.
        is_proven: bool,
    },
    /// Deletes the row of a node that is down and that no shard's row names; raises the view.
    Forget {
        /// Who.
        of: Incarnation,
    },
    /// For each shard that is still at the epoch and is free or whose owner is down, if `by` itself is not down
    /// (its row locked for share): `epoch + 1`, owned by `by`, no target; the rows in key order. Raises the map
    /// and returns the rows it changed.
    Claim {
        /// The new owner.
        by: Incarnation,
        /// Shards and the epochs they were seen at.
        shards: Vec<(ShardId, Epoch)>,
    },
    /// `state = releasing` where `by` owns them under these epochs; raises the map.
    MarkReleasing {
        /// The owner.
        by: Incarnation,
        /// Shards and the owner's epochs.
        shards: Vec<(ShardId, Epoch)>,
    },
    /// `state = free`, no owner, where `by` owns them under these epochs; raises the map.
    Free {
        /// The owner.
        by: Incarnation,
        /// Shards and the owner's epochs.
        shards: Vec<(ShardId, Epoch)>,
    },
    /// If view and map are still these: sets the targets of shards that are owned under the epochs given.
    /// Raises the map and returns it.
    Propose {
        /// The view that the plan rests on.
        view: u64,
        /// The map that the plan rests on.
        map: u64,
        /// The plan.
        moves: Vec<Move>,
    },
}

impl Statement {
    /// What it does, for whoever reads that it did not.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Read { .. } => "tell who is here",
            Self::Join { .. } => "let this node join",
            Self::Renew { .. } => "renew the lease",
            Self::ChangeStatus { .. } => "change a node's status",
            Self::DeclareDown { .. } => "declare a node down",
            Self::Forget { .. } => "forget a node",
            Self::Claim { .. } => "take shards over",
            Self::MarkReleasing { .. } => "mark shards as releasing",
            Self::Free { .. } => "free shards",
            Self::Propose { .. } => "take in moves",
        }
    }
}

/// No answer came: the statement may have happened, may happen yet, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store did not answer")]
pub struct Lost;

/// What became of a statement of this node, with what is needed of the statement itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Statement::Read`].
    Read(Result<Snapshot, Lost>),
    /// To [`Statement::Join`]: the incarnation, or none if the view had moved on.
    Joined {
        /// This node's clock before the statement was sent.
        asked_at: BootTime,
        /// What came back.
        result: Result<Option<Incarnation>, Lost>,
    },
    /// To [`Statement::Renew`]: none if the row is down or gone.
    Renewed {
        /// Whose lease.
        by: Incarnation,
        /// This node's clock before the statement was sent.
        asked_at: BootTime,
        /// What came back.
        result: Result<Option<Renewal>, Lost>,
    },
    /// To [`Statement::ChangeStatus`]: whether it changed.
    StatusChanged {
        /// Whose row.
        of: Incarnation,
        /// What it was to become.
        to: Status,
        /// What came back.
        result: Result<bool, Lost>,
    },
    /// To [`Statement::DeclareDown`]: whether it changed.
    DeclaredDown {
        /// Who.
        of: Incarnation,
        /// What came back.
        result: Result<bool, Lost>,
    },
    /// To [`Statement::Forget`].
    Forgotten(Result<bool, Lost>),
    /// To [`Statement::Claim`]: the rows that are now `by`'s, with their tails.
    Claimed {
        /// The new owner.
        by: Incarnation,
        /// What came back.
        result: Result<Vec<ShardRow>, Lost>,
    },
    /// To [`Statement::MarkReleasing`].
    MarkedReleasing(Result<(), Lost>),
    /// To [`Statement::Free`]: any answer means that the shards are no longer owned under these epochs.
    Freed {
        /// The owner.
        by: Incarnation,
        /// Shards and the owner's epochs.
        shards: Vec<(ShardId, Epoch)>,
        /// What came back.
        result: Result<(), Lost>,
    },
    /// To [`Statement::Propose`]: the map's new number, or none if view or map had moved on.
    Proposed(Result<Option<u64>, Lost>),
}
