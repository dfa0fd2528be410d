//! What the nodes of a cluster share in the store: its rows, and the statements that change them.
//!
//! Each [`Statement`] is one transaction. Two numbers tell what a node has not read yet: `view` is raised by
//! whatever changes who is here, `map` by whatever changes who owns a shard (appends raise neither); both are
//! raised last in the transaction, under the lock of the one `cluster_meta` row, so they are in commit order.

use std::{collections::BTreeSet, fmt, sync::Arc};

use prognet_supervisor::{Name, ShardId};

use crate::{BootTime, Epoch, Offset, StoreTime, allocation::Move};

/// A node's name, unique in its cluster: at most 24 bytes of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub Name);

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// One run of a node: its name, and a number that no other run in this cluster has or will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The node.
    pub node: NodeId,
    /// The view that began with its joining.
    pub number: u64,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}#{}", self.node, self.number)
    }
}

/// The program a node runs, by its version; later is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build {
    /// Breaks.
    pub major: u16,
    /// Adds.
    pub minor: u16,
    /// Mends.
    pub patch: u16,
}

/// The versions of envelopes that a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wire {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Wire {
    /// Whether the two have a version in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// What a node says of itself when it joins; fixed for an incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Where its peers reach it.
    pub address: String,
    /// The id of its state directory: only one process at a time holds the lock of it.
    pub directory: u128,
    /// What it hosts; a service's role has the service's name.
    pub roles: BTreeSet<Name>,
    /// Its size beside others, 1 to 16: twice the weight, twice the shards.
    pub weight: u8,
    /// What it runs.
    pub build: Build,
    /// What it speaks.
    pub wire: Wire,
}

/// Where a node stands.
///
/// ```text
/// Joining ──proven──▶ Up ◀──▶ Draining ──▶ Down      each but Down ──lease over, or proven gone──▶ Down
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has a row and a lease, and still has to prove that it can reach a peer.
    Joining,
    /// It takes shards.
    Up,
    /// It keeps what it has until others take it, and claims nothing.
    Draining,
    /// This incarnation is over for ever; what it owned may be claimed.
    Down,
}

/// A row of the table `node`; its key is the incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Whose row it is.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub status: Status,
    /// When its lease ends.
    pub lease_until: StoreTime,
    /// What it said of itself.
    pub profile: Arc<Profile>,
}

/// Where a shard stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShardState {
    /// Its owner serves it (if it lives).
    Owned,
    /// Its owner takes no new commands and finishes what it has begun.
    Releasing,
    /// Nobody serves it; its epoch is still that of its last owner, whose late appends may land until the claim.
    Free,
}

/// A row of the table `shard`; its key is the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRow {
    /// The shard.
    pub shard: ShardId,
    /// The epoch of its last owner; 0 before the first.
    pub epoch: Epoch,
    /// Who owns it; nobody exactly when it is free.
    pub owner: Option<Incarnation>,
    /// Where it stands.
    pub state: ShardState,
    /// The node it is to move to.
    pub target: Option<NodeId>,
    /// Its last offset when the row was read; exact only in the answer to a claim.
    pub tail: Offset,
    /// The map number of the last change of this row.
    pub changed: u64,
}

/// The one row of the table `cluster_meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Which cluster this is; a restored backup gets a new one.
    pub generation: u128,
    /// Shards per service, fixed when the data was created.
    pub shards: u16,
    /// Raised whenever a node joins or changes its status.
    pub view: u64,
    /// When the view was last raised.
    pub view_at: StoreTime,
    /// Raised whenever a shard's row changes but for its tail.
    pub map: u64,
}

/// What one transaction read: all nodes, and the shards changed after the map number asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The cluster.
    pub meta: Meta,
    /// The store's time.
    pub now: StoreTime,
    /// Every node.
    pub nodes: Vec<NodeRow>,
    /// The shards that changed.
    pub shards: Vec<ShardRow>,
}

/// What a renewal brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The store's time.
    pub now: StoreTime,
    /// The view there is to read.
    pub view: u64,
    /// The map there is to read.
    pub map: u64,
    /// Who is not down although its lease is over.
    pub expired: Vec<Incarnation>,
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
    /// `state = releasing` where `by` owns it under this epoch; raises the map.
    MarkReleasing {
        /// The owner.
        by: Incarnation,
        /// The shard.
        shard: ShardId,
        /// The owner's epoch.
        epoch: Epoch,
    },
    /// `state = free`, no owner, where `by` owns it under this epoch; raises the map.
    Free {
        /// The owner.
        by: Incarnation,
        /// The shard.
        shard: ShardId,
        /// The owner's epoch.
        epoch: Epoch,
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
    MarkedReleasing(Result<bool, Lost>),
    /// To [`Statement::Free`]: any answer means that the shard is no longer owned under this epoch.
    Freed {
        /// The owner.
        by: Incarnation,
        /// The shard.
        shard: ShardId,
        /// The owner's epoch.
        epoch: Epoch,
        /// What came back.
        result: Result<(), Lost>,
    },
    /// To [`Statement::Propose`]: the map's new number, or none if view or map had moved on.
    Proposed(Result<Option<u64>, Lost>),
}
