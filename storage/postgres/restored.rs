//! After a database was restored by its own tools: it goes on as another one, so that nothing of the time that was
//! undone reaches it. Nodes that still run belong to a cluster that is not there any more, what they append is of an
//! epoch that was never given out here, and cursors lead to places that hold something else.

#[cfg(test)]
mod tests;

use aws_lc_rs::rand;
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{
    Store, StoreError,
    numbers::{large, unsigned},
    schema,
    versions::NODES_SINCE,
};

/// How far epochs, runs of nodes and maps are raised: nothing of the time that was undone can have come so far.
const RAISED_BY: i64 = 1 << 20;

const META: &str = "select generation from cluster_meta";
const NODES: &str = "select node, address, status <> 'down' and lease_until > clock_timestamp() from node
    order by node, incarnation for update";
const SHARDS: &str = "select count(*), coalesce(max(epoch), 0) from shard";
/// Rows of `shard` before the one of `cluster_meta`, as everywhere; that nobody joined meanwhile is looked at last.
const FREE: &str = "
    with held as (select service, number from shard order by service, number for update)
    update shard
    set epoch = shard.epoch + $1, state = 'free', owner = null, owner_incarnation = null, target = null,
        changed = (select map + $1 from cluster_meta)
    from held
    where shard.service = held.service and shard.number = held.number";
const RENEW: &str = "update cluster_meta
    set generation = $1, restored = $2, view = view + $3, view_at = clock_timestamp(), map = map + $3";
const JOINED: &str = "select node, address from node order by node limit 1";

/// What the database goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Which cluster it was.
    pub before: u128,
    /// Which it is now; the same if nothing was changed.
    pub generation: u128,
    /// Runs of nodes that it knew.
    pub nodes: usize,
    /// Its shards.
    pub shards: u64,
    /// The highest epoch of them now.
    pub epoch: u64,
}

/// Why it was not done; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// Somebody works with it.
    #[error(
        "node `{node}` at {address} runs on this database: stop all nodes first, and wait until its lease is over"
    )]
    Running {
        /// Which node.
        node: String,
        /// Where.
        address: String,
    },
    /// Nothing was ever kept here.
    #[error("no node has ever run on this database: is `storage.url` that of the restored one?")]
    Nothing,
    /// No randomness.
    #[error("the system gives no randomness")]
    Random,
    /// The store did not answer.
    #[error("the database did not answer; run it again")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for NotRestored {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<tokio_postgres::Error> for NotRestored {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

impl Store {
    /// Makes another cluster of what is here, in one transaction: a new generation, no nodes, all shards free and far
    /// above the epochs that were given out. May be run again. Without `is_meant` it only says what there is.
    ///
    /// # Errors
    /// When a node runs, there is nothing, or the store does not answer.
    pub async fn restored(&self, is_meant: bool) -> Result<Restored, NotRestored> {
        let mut client = self.client().await?;
        if schema::look(&client).await?.0 < NODES_SINCE {
            return Err(NotRestored::Nothing);
        }
        let transaction = client.transaction().await?;
        let found = transaction.query_opt(META, &[]).await?.ok_or(NotRestored::Nothing)?;
        let before = found.try_get::<_, Uuid>(0)?.as_u128();
        let nodes = transaction.query(NODES, &[]).await?;
        for node in &nodes {
            if node.try_get(2)? {
                return Err(NotRestored::Running { node: node.try_get(0)?, address: node.try_get(1)? });
            }
        }
        let generation = if is_meant { begin_anew(&transaction).await? } else { before };
        let row = transaction.query_one(SHARDS, &[]).await?;
        let (shards, epoch) = (unsigned(row.try_get(0)?), unsigned(row.try_get(1)?));
        transaction.commit().await?;
        Ok(Restored { before, generation, nodes: nodes.len(), shards, epoch })
    }
}

/// The new generation.
async fn begin_anew(transaction: &Transaction<'_>) -> Result<u128, NotRestored> {
    let (mut generation, mut restored) = ([0; 16], [0; 8]);
    rand::fill(&mut generation).map_err(|_why| NotRestored::Random)?;
    rand::fill(&mut restored).map_err(|_why| NotRestored::Random)?;
    // Positive, and never the number of what was not restored.
    let restored = large((u64::from_be_bytes(restored) >> 1).max(1));
    let generation = Uuid::from_bytes(generation);
    transaction.execute("delete from node", &[]).await?;
    transaction.execute(FREE, &[&RAISED_BY]).await?;
    transaction.execute(RENEW, &[&generation, &restored, &RAISED_BY]).await?;
    // From here on nobody can join without seeing the new view; whoever did just before is seen now.
    if let Some(row) = transaction.query_opt(JOINED, &[]).await? {
        return Err(NotRestored::Running { node: row.try_get(0)?, address: row.try_get(1)? });
    }
    Ok(generation.as_u128())
}
