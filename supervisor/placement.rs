//! Where shards are: what a node asks, and a cluster answers. A node without a cluster owns them all.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use prognet_storage::{Epoch, Name, ShardId, leases::Incarnation};
use serde::Serialize;
use tokio::sync::watch;

use crate::Unavailable;

/// Who serves a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This node, under this epoch.
    Here(Epoch),
    /// Another node, under this epoch.
    There(Incarnation, Epoch),
}

/// Why a parcel brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Uncarried {
    /// It never left: nothing happened.
    #[error("the node is not reached")]
    NotTaken,
    /// It is larger than anything nodes send each other: nothing happened.
    #[error("the parcel is too large")]
    Large,
    /// It left and no answer came: nobody knows what happened.
    #[error("the node did not answer")]
    Lost,
}

/// A node of the cluster, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its name.
    pub name: Name,
    /// Which of its runs this is.
    pub incarnation: u64,
    /// `joining`, `up`, `draining` or `down`.
    pub status: &'static str,
    /// Where its peers reach it.
    pub address: String,
    /// What it hosts.
    pub roles: Vec<Name>,
    /// What it runs, e.g. `0.1.0`.
    pub build: String,
    /// Shards it owns.
    pub shards: usize,
    /// How long its lease lasts, in milliseconds on the store's clock; negative once it is over.
    pub lease_ms: i64,
    /// Whether it is the node that was asked.
    pub is_self: bool,
    /// Whether the node that was asked is linked to it.
    pub is_linked: bool,
}

/// A shard, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardView {
    /// Its service.
    pub service: Name,
    /// Its number.
    pub number: u16,
    /// Its ownership number.
    pub epoch: u64,
    /// The node that owns it.
    pub owner: Option<Name>,
    /// `owned`, `releasing` or `free`.
    pub state: &'static str,
    /// The node it moves to.
    pub target: Option<Name>,
}

/// What a cluster tells the nodes it is made of. What it says may be old: safety is the epoch inside the append.
pub trait Placement: fmt::Debug + Send + Sync + 'static {
    /// Who serves a shard, as far as is known.
    ///
    /// # Errors
    /// [`Unavailable::Moving`] while nobody does, [`Unavailable::NoHost`] when nobody could.
    fn place(&self, shard: ShardId) -> Result<Place, Unavailable>;

    /// Waits for somebody to serve a shard, at most so long. After `refused`, which did not: for another place, or a
    /// moment later for the same.
    ///
    /// # Errors
    /// As [`Placement::place`], once the time is over; at once when too many wait already.
    fn settled(
        &self,
        shard: ShardId,
        refused: Option<Place>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Place, Unavailable>>;

    /// Whether what a shard's state shows may leave this node now: it still owns it under this epoch, and its lease
    /// holds. To be asked just before an answer leaves.
    fn may_show(&self, shard: ShardId, epoch: Epoch) -> bool;

    /// Brings a parcel to a node and its answer back. Parcels of one lane leave in order.
    fn carry(
        &self,
        to: Incarnation,
        lane: u64,
        parcel: Vec<u8>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, Uncarried>>;

    /// Changes whenever [`Placement::place`] may answer otherwise.
    fn changes(&self) -> watch::Receiver<u64>;

    /// An append under this epoch was refused: somebody newer owns the shard.
    fn fenced(&self, shard: ShardId, epoch: Epoch);

    /// Whether this node may answer, or why not.
    ///
    /// # Errors
    /// Why not.
    fn health(&self) -> Result<(), String>;

    /// The numbers of this node's part in the cluster, as Prometheus text.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_numbers(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// The nodes of the cluster, by name.
    ///
    /// # Errors
    /// When the store does not answer.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeView>, Unavailable>>;

    /// All shards, by service and number.
    ///
    /// # Errors
    /// When the store does not answer.
    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardView>, Unavailable>>;

    /// Lets a node give its shards away and leave; says whether there is such a node.
    ///
    /// # Errors
    /// When the store does not answer.
    fn drain(&self, node: Name) -> BoxFuture<'_, Result<bool, Unavailable>>;
}
