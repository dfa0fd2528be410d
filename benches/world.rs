//! A node inside the bench's own process, for what HTTP would drown.

use std::{path::Path, sync::Arc, time::Duration};

use prognet_storage::{
    embedded::{EmbeddedJournal, SledTier},
    keyring::{Keyring, MasterKey},
};
use prognet_supervisor::{Asking, Clock, Limits, Node, Parts, Service};

/// As the binary opens it.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const TIER_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Starts a node on a data directory, laid out as the binary does.
///
/// # Errors
/// When the storage does not open or the node does not start.
pub async fn start(
    data: &Path,
    services: Vec<Service>,
    clock: Clock,
    limits: Limits,
) -> anyhow::Result<Node> {
    let (journal, opened) = EmbeddedJournal::open(&data.join("journal"), SEGMENT_BYTES)?;
    let keys = data.join("keyring");
    let keyring = Arc::new(Keyring::open(&keys, &MasterKey::in_directory(&keys)?)?);
    journal.sync_first(Arc::clone(&keyring));
    let (tier, _) = SledTier::open(&data.join("tier"), TIER_CACHE_BYTES, Arc::clone(&keyring), opened.last)?;
    let tier = Arc::new(tier);
    let parts = Parts {
        journal: Arc::new(journal),
        snapshots: Arc::<SledTier>::clone(&tier),
        read_model: tier,
        keyring,
        clock,
        limits,
    };
    Ok(Node::start(parts, services).await?)
}

/// What goes with a command that has a minute.
#[must_use]
pub fn asking(clock: &Clock) -> Asking {
    Asking { asker: 1, key: None, trace: 0, deadline: clock.now().after(Duration::from_secs(60)) }
}
