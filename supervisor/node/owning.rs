//! What a cluster tells a node to do with its shards, and tells people about itself.

use std::fmt;

use prognet_storage::{Name, ShardId};
use tokio::sync::oneshot;

use super::Node;
use crate::{NodeView, ShardView, Unavailable, region::RegionMessage};

impl Node {
    /// Lets a shard begin nothing more; returns once what it has begun is answered, and whoever is hot has left.
    pub async fn drain_shard(&self, shard: ShardId) {
        self.tell_region(shard.service, |told| RegionMessage::Drain(shard.number, told)).await;
    }

    /// Ends a shard with all that is in it: it is not this node's any more.
    pub async fn close_shard(&self, shard: ShardId) {
        self.tell_region(shard.service, |told| RegionMessage::Close(shard.number, told)).await;
    }

    async fn tell_region(&self, service: Name, message: impl FnOnce(oneshot::Sender<()>) -> RegionMessage) {
        let Some(region) = self.doors().region(service).await else { return };
        let (told, done) = oneshot::channel();
        drop(region.cast(message(told)));
        // That the sender is gone means the same as its word.
        drop(done.await);
    }

    /// The numbers of this node's part in its cluster, as Prometheus text; nothing on a node that is alone by its settings.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_cluster_numbers(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.doors().placement().map_or(Ok(()), |placement| placement.write_numbers(out))
    }

    /// The nodes of the cluster; none on a node that is alone by its settings.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, Unavailable> {
        match self.doors().placement() {
            Some(placement) => placement.nodes().await,
            None => Ok(Vec::new()),
        }
    }

    /// The shards of the cluster; none on a node that is alone by its settings.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn shards(&self) -> Result<Vec<ShardView>, Unavailable> {
        match self.doors().placement() {
            Some(placement) => placement.shards().await,
            None => Ok(Vec::new()),
        }
    }

    /// Lets a node of the cluster give its shards away and leave; says whether there is such a node.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn drain(&self, node: Name) -> Result<bool, Unavailable> {
        match self.doors().placement() {
            Some(placement) => placement.drain(node).await,
            None => Ok(false),
        }
    }
}
