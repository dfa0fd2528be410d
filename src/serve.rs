//! A node from start to stop: built bottom-up, drained top-down.

use std::{
    fs::OpenOptions, io::Write, net::SocketAddr, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc,
    time::Duration,
};

use anyhow::Context;
use prognet_http::Settings;
use prognet_storage::{
    embedded::{EmbeddedJournal, SledTier},
    keyring::{Keyring, MasterKey},
};
use prognet_supervisor::{Clock, Limits, Node, Parts};
use tokio::signal::unix::{SignalKind, signal};

const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const TIER_CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Runs a node until it is told to stop.
pub(crate) fn run(
    data: &Path,
    listen: SocketAddr,
    management: SocketAddr,
    grace: Duration,
) -> anyhow::Result<()> {
    let parts = open(data)?;
    let settings = Settings {
        listen,
        management,
        body_bytes_max: 256 * 1024,
        deadline: Duration::from_secs(5),
        page_items_max: 200,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let node =
            Node::start(parts, prognet_actors::services()).await.context("failed to start the node")?;
        let serving = prognet_http::bind(&settings, &node).context("failed to listen")?;
        write_operator_token(data, &node)?;
        tracing::info!("ready on http://{} (management http://{})", serving.listen, serving.management);
        announce(&serving)?;
        stop_signal().await?;
        tracing::info!("stopping: finishing what was taken");
        let stopping = async {
            for handle in &serving.handles {
                handle.stop(true).await;
            }
        };
        if tokio::time::timeout(grace, stopping).await.is_err() {
            tracing::warn!("the grace is over with requests still open");
        }
        node.stop().await;
        Ok(())
    })
}

/// Storage, from the lock of the directory up.
fn open(data: &Path) -> anyhow::Result<Parts> {
    let (journal, opened) = EmbeddedJournal::open(&data.join("journal"), SEGMENT_BYTES)?;
    if opened.cut_bytes > 0 {
        tracing::warn!(
            cut_bytes = opened.cut_bytes,
            "cut a torn tail off the journal: it was never acknowledged"
        );
    }
    let directory = data.join("keyring");
    let keyring = Arc::new(Keyring::open(&directory, &MasterKey::in_directory(&directory)?)?);
    let (tier, set_aside) =
        SledTier::open(&data.join("tier"), TIER_CACHE_BYTES, Arc::clone(&keyring), opened.last)?;
    if let Some(why) = set_aside {
        tracing::warn!(
            why,
            "set the damaged read models and snapshots aside; rebuilding them from the journal"
        );
    }
    let tier = Arc::new(tier);
    Ok(Parts {
        journal: Arc::new(journal),
        snapshots: Arc::<SledTier>::clone(&tier),
        read_model: tier,
        keyring,
        clock: Clock::default(),
        limits: Limits::default(),
    })
}

/// The operator's token, in a file only its owner reads.
fn write_operator_token(data: &Path, node: &Node) -> anyhow::Result<()> {
    let path = data.join("operator.token");
    let token = prognet_http::operator_token(node)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{token}").with_context(|| format!("failed to write `{}`", path.display()))
}

/// Tells scripts where the doors are, one line each on standard output.
fn announce(serving: &prognet_http::Serving) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening http://{}", serving.listen)?;
    writeln!(out, "management http://{}", serving.management)?;
    Ok(out.flush()?)
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    }
}
