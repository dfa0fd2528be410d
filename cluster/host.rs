//! What a cluster needs of the node it runs on.

use futures_util::future::BoxFuture;
use prognet_supervisor::{Epoch, Lsn, ShardId};
use tokio::sync::watch;

/// A node, as its cluster sees it.
pub trait Host: Send + Sync + 'static {
    /// Lets the node append to shards under these epochs; says for which of them the store agrees.
    ///
    /// # Errors
    /// Why the store did not tell.
    fn grant(&self, shards: Vec<(ShardId, Epoch)>) -> BoxFuture<'_, Result<Vec<ShardId>, String>>;

    /// Begins nothing more in a shard; returns once what had begun is answered.
    fn drain(&self, shard: ShardId) -> BoxFuture<'_, ()>;

    /// Ends a shard here: nothing of it is served or appended any more.
    fn close(&self, shard: ShardId) -> BoxFuture<'_, ()>;

    /// Does what another node asks for; the answer is for that node.
    fn receive(&self, parcel: Vec<u8>) -> BoxFuture<'_, Vec<u8>>;

    /// How far the log is known here.
    fn durable(&self) -> watch::Receiver<Lsn>;

    /// Another node has written up to here.
    fn heard_of(&self, lsn: Lsn);

    /// Takes in which keys other nodes destroyed.
    fn refresh(&self) -> BoxFuture<'_, ()>;
}
