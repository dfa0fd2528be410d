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
    let settings = Settings::new(listen, management);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let node =
            Node::start(parts, prognet_actors::services()).await.context("failed to start the node")?;
        let serving = prognet_http::bind(&settings, &node).await?;
        keep_setup_link(data, serving.setup_link.as_deref())?;
        tracing::info!("ready on http://{} (management http://{})", serving.listen, serving.management);
        announce(&serving);
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

/// The setup link, in a file only its owner reads; none once the platform has an admin.
fn keep_setup_link(data: &Path, link: Option<&str>) -> anyhow::Result<()> {
    let path = data.join("setup.link");
    let failed = || format!("failed to write `{}`", path.display());
    // An old link is worth nothing, and its file may be somebody else's by now.
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(failed),
    }
    let Some(link) = link else { return Ok(()) };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(failed)?;
    writeln!(file, "{link}").with_context(failed)
}

/// Tells people and scripts where the doors are, one line each on standard output, which no log collects.
fn announce(serving: &prognet_http::Serving) {
    let mut text = format!("listening http://{}\nmanagement http://{}\n", serving.listen, serving.management);
    if let Some(link) = &serving.setup_link {
        text.push_str(&format!(
            "setup {link}\n  (makes the first admin; good once, for 15 minutes; also in setup.link beside the data)\n"
        ));
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever started it has gone away; it serves all the same.
        tracing::warn!(%error, "failed to say on standard output where the doors are");
    }
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    }
}
