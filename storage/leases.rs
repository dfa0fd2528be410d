//! Who is here and who owns what: the tables that the nodes of a cluster share in their store.
//!
//! Each method of [`Leases`] is one transaction. Two numbers tell what a node has not read yet: `view` is raised by
//! whatever changes who is here, `map` by whatever changes who owns a shard (appends raise neither); both are raised
//! last in the transaction, under the lock of the one `cluster_meta` row, so they are in commit order.
//!
//! Locks are taken in one order everywhere: nodes, then shards by key, then `cluster_meta`.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{Epoch, Name, Offset, ShardId};

/// A moment on the store's clock, in milliseconds since 1970: a lease is granted on it. The wall clocks of nodes
/// decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreTime(u64);

impl StoreTime {
    /// A moment from its milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Its milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A node's name, unique in its cluster: at most 24 bytes of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub Name);

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

/// One run of a node: its name, and a number that no other run in this cluster has or will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Build {
    /// Breaks.
    pub major: u16,
    /// Adds.
    pub minor: u16,
    /// Mends.
    pub patch: u16,
}

/// The versions of envelopes that a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wire {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl fmt::Display for Build {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Wire {
    /// Whether the two have a version in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// Whether a build that speaks these may use data in which everything up to a version may be written.
    #[must_use]
    pub const fn reads(self, finalized: u16) -> bool {
        self.min <= finalized && finalized <= self.max
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
    /// The version that everybody may write; raised by `prognet cluster finalize` alone.
    pub finalized: u16,
    /// Which restoring by the store's own tools the data goes on from; 0 for none.
    pub restored: u64,
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

/// A proposal: the row's new target, if it is still owned under this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its new target; none takes an old one back.
    pub to: Option<NodeId>,
}

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store was not reached, or did not answer in time: the statement may have happened, may happen yet, or not
    /// at all.
    #[error("the store did not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store refused it: nothing happened.
    #[error("the store refused: {what}")]
    Refused {
        /// In the store's own words.
        what: String,
    },
}

/// The tables. Every method may be tried again after an error.
pub trait Leases: Send + Sync + 'static {
    /// Makes the cluster's row, if there is none, and the rows of shards that are missing: free, under epoch 0. A new
    /// cluster may write what version `speaks` reads.
    fn found<'a>(
        &'a self,
        shards: u16,
        services: &'a [Name],
        speaks: u16,
    ) -> BoxFuture<'a, Result<Meta, Error>>;

    /// Reads `cluster_meta`, every node, and the shards with `changed > after`, in one snapshot.
    fn read(&self, after: u64) -> BoxFuture<'_, Result<Snapshot, Error>>;

    /// If the view is still `view`: raises it and inserts a row `Joining` with that number and a fresh lease. None if
    /// the view had moved on.
    fn join<'a>(
        &'a self,
        view: u64,
        node: NodeId,
        profile: &'a Profile,
    ) -> BoxFuture<'a, Result<Option<Incarnation>, Error>>;

    /// `lease_until = now + lease` where the row is there and not down; none if it is not. It locks that row, as
    /// [`Leases::declare_down`] does: after a declaration there is no renewal.
    fn renew(&self, by: Incarnation) -> BoxFuture<'_, Result<Option<Renewal>, Error>>;

    /// `status = to` where it is `from`; raises the view. Says whether it changed.
    fn change_status(&self, of: Incarnation, from: Status, to: Status) -> BoxFuture<'_, Result<bool, Error>>;

    /// `status = down` where it is not yet, and its lease is over on the store's clock or it is proven gone; raises
    /// the view. Says whether it changed.
    fn declare_down(&self, of: Incarnation, is_proven: bool) -> BoxFuture<'_, Result<bool, Error>>;

    /// Deletes the row of a node that is down and that no shard's row names; raises the view.
    fn forget(&self, of: Incarnation) -> BoxFuture<'_, Result<bool, Error>>;

    /// For each shard that is still at the epoch and is free or whose owner is down, if `by` itself is not down:
    /// `epoch + 1`, owned by `by`, no target. Raises the map; answers the rows it changed, with their tails.
    fn claim<'a>(
        &'a self,
        by: Incarnation,
        shards: &'a [(ShardId, Epoch)],
    ) -> BoxFuture<'a, Result<Vec<ShardRow>, Error>>;

    /// `state = releasing` where `by` owns them under these epochs; raises the map. Says how many changed.
    fn mark_releasing<'a>(
        &'a self,
        by: Incarnation,
        shards: &'a [(ShardId, Epoch)],
    ) -> BoxFuture<'a, Result<u64, Error>>;

    /// `state = free`, no owner, where `by` owns them under these epochs; raises the map. Says how many changed: the
    /// others are no longer owned under these epochs.
    fn free<'a>(
        &'a self,
        by: Incarnation,
        shards: &'a [(ShardId, Epoch)],
    ) -> BoxFuture<'a, Result<u64, Error>>;

    /// If view and map are still these: sets the targets of shards that are owned under the epochs given, and raises
    /// the map. Answers its new number, or none if view or map had moved on.
    fn propose<'a>(
        &'a self,
        view: u64,
        map: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<Option<u64>, Error>>;
}
