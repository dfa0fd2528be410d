//! A node inside the bench's own process, for what HTTP would drown.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use anyhow::bail;
use prognet_storage::{
    embedded::{EmbeddedJournal, SledTier},
    keyring::{Keyring, MasterKey},
};
use prognet_supervisor::{Asking, Clock, Limits, Node, Parts, Service};
use tokio::{sync::Semaphore, task::JoinSet};

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
        placement: None,
    };
    Ok(Node::start(parts, services).await?)
}

/// What goes with a command that has a minute.
#[must_use]
pub fn asking(clock: &Clock) -> Asking {
    Asking { asker: 1, key: None, trace: 0, deadline: clock.now().after(Duration::from_secs(60)) }
}

/// Does something for every number below `count`, at most `at_once` at a time.
///
/// # Errors
/// As the first that fails.
pub async fn each<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    count: u64,
    at_once: usize,
    work: impl Fn(u64) -> F,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(at_once));
    let mut loops = JoinSet::new();
    for number in 0..count {
        let (place, work) = (Arc::clone(&places).acquire_owned().await?, work(number));
        loops.spawn(async move {
            let _place = place;
            work.await
        });
        while let Some(ended) = loops.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}

/// Returns once every reader of the journal has taken in all there is, and stops the node.
///
/// # Errors
/// When a reader is stuck.
pub async fn settle_and_stop(node: Node) -> anyhow::Result<()> {
    loop {
        let readers = node.readers();
        if let Some(stuck) = readers.iter().find(|reader| reader.error.is_some()) {
            bail!("{} is stuck: {:?}", stuck.name, stuck.error);
        }
        if readers.iter().all(|reader| reader.lag == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.stop().await;
    Ok(())
}

/// The words after `--load`, by which [`fill`] tells this program that it is to fill a data directory.
#[must_use]
pub fn told_to_load() -> Option<Vec<String>> {
    let words: Vec<_> = std::env::args().skip_while(|word| word != "--load").skip(1).collect();
    (!words.is_empty()).then_some(words)
}

/// Runs this program again to fill a data directory, so that nothing of it stays in the memory of this process.
///
/// # Errors
/// When it fails.
pub fn fill(words: &[&str]) -> anyhow::Result<()> {
    let filled = Command::new(std::env::current_exe()?).arg("--load").args(words).status()?;
    if !filled.success() {
        bail!("filling a data directory failed");
    }
    Ok(())
}
