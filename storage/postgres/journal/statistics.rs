//! What the server's planner knows of tables that have just begun to grow.
//!
//! Sessions keep the plans of what they have prepared. To a table that is empty all ways are equally short, so a plan
//! made then may go through whatever a service has, for each row that it looks for; it is kept until the server has
//! looked at the table, which it does by itself once a minute. Whoever's batch passes one of a few sizes has it look.

use std::{convert::Infallible, sync::Arc};

use super::Shared;
use crate::{
    journal::Stored,
    postgres::{connect::Connector, in_full},
};

/// Records in the stream, from tables of some pages to such as grow too slowly to be caught unawares.
const SIZES: [u64; 3] = [1_000, 10_000, 100_000];
const TABLES: [&str; 7] = ["record", "stream", "shard", "snapshot", "model_row", "model_offset", "key"];

/// Whether records of this process, in their order, pass one of the sizes.
pub(super) fn are_due(stored: &[Arc<Stored>]) -> bool {
    let (Some(first), Some(last)) = (stored.first(), stored.last()) else { return false };
    SIZES.iter().any(|size| (first.lsn.0..=last.lsn.0).contains(size))
}

/// Has the server look at the tables whenever they have grown, for ever; what fails is left to the server's own look.
pub(super) async fn keep(connector: Connector, shared: Arc<Shared>) -> Infallible {
    loop {
        shared.grown.notified().await;
        if let Err(error) = look_at_all(&connector).await {
            tracing::warn!(reason = in_full(&error), "failed to have the tables looked at");
        }
    }
}

/// `analyze` is YugabyteDB's, too; to CockroachDB it means `create statistics`. Whoever does not own a table is warned,
/// not refused.
async fn look_at_all(connector: &Connector) -> Result<(), tokio_postgres::Error> {
    let session = connector.connect().await?;
    for table in TABLES {
        session.client.batch_execute(&format!("analyze {table}")).await?;
    }
    Ok(())
}
