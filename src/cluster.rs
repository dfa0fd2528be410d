//! This node among others: made of the settings, and what the cluster has it do.

mod identity;
mod seeds;

use std::{collections::BTreeSet, fs::File, sync::Arc};

use anyhow::Context;
use futures_util::future::BoxFuture;
use prognet_cluster::{
    Cluster, Ended, Host, Limits,
    link::{Alone, Hello, Link, LinkEvent, LinkSettings, RactorLink, TlsFiles},
    membership::Candidate,
    tables::{Build, NodeId, Profile, Wire},
};
use prognet_config::Settings;
use prognet_storage::{
    Epoch, Journal, Lsn, Name, ShardId,
    keyring::Keyring,
    leases::Leases,
    postgres::{self, PostgresJournal, PostgresLeases},
};
use prognet_supervisor::Node;
use tokio::sync::{mpsc, watch};

/// The versions of envelopes and of what is written that this build speaks: its own, and the one before.
const WIRE: Wire = Wire { min: 1, max: 1 };

/// [`WIRE`]. A build with debug assertions, which nobody installs, pretends to be a later one if the tests say so:
/// `TEST_OF_PROGNET_LATER_BY=1` speaks that much more and the version before it.
pub(crate) fn wire() -> Wire {
    #[cfg(debug_assertions)]
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
    if let Some(by) = std::env::var("TEST_OF_PROGNET_LATER_BY").ok().and_then(|by| by.parse::<u16>().ok()) {
        let max = WIRE.max.saturating_add(by);
        return Wire { min: max.saturating_sub(1).max(WIRE.min), max };
    }
    WIRE
}

/// The role of a node that hosts no service.
const GATEWAY: &str = "gateway";

/// A node's part in a cluster.
pub(crate) struct Member {
    pub(crate) cluster: Arc<Cluster>,
    /// Which restoring of the database its data goes on from.
    pub(crate) restored: u64,
    journal: Arc<PostgresJournal>,
    keyring: Arc<Keyring>,
    /// Held for as long as the process lives: nobody else is this node.
    _lock: File,
}

impl Member {
    /// A candidate for the cluster of a database.
    pub(crate) async fn new(
        settings: &Settings,
        database: &postgres::Store,
        journal: Arc<PostgresJournal>,
        keyring: Arc<Keyring>,
        shards: u16,
    ) -> anyhow::Result<Self> {
        let (lock, directory) = identity::of(&settings.storage.data)?;
        let services: BTreeSet<_> = prognet_actors::services().iter().map(|service| service.name()).collect();
        let all: Vec<_> = services.iter().copied().collect();
        let limits = limits(settings, shards);
        let leases = PostgresLeases::open(database, limits.lease).await?;
        let meta = leases.found(shards, &all, wire().max).await.context(
            "failed to found the cluster: the user of `storage.url` must be able to read and write the tables of its \
             database",
        )?;
        let node = NodeId(name(settings)?);
        let site = site(settings);
        let hello = Hello { generation: meta.generation, shards, wire: wire(), build: build(), node, site };
        let (link, address, events) = link(settings, hello).await?;
        let profile = Profile {
            address,
            directory,
            roles: roles(settings, &services)?,
            weight: 1,
            build: build(),
            wire: wire(),
        };
        let candidate = Candidate {
            node,
            profile: Arc::new(profile),
            generation: meta.generation,
            shards,
            services,
            allow_partial: settings.cluster.allow_partial,
            holds_lock: true,
            trust_refused: settings.cluster.trust_refused,
        };
        let cluster = Cluster::new(candidate, limits, Arc::new(leases), link, events);
        Ok(Self { cluster, restored: meta.restored, journal, keyring, _lock: lock })
    }

    /// Joins with a node that runs; returns once every shard is served by somebody.
    pub(crate) async fn join(&self, node: &Node) -> anyhow::Result<()> {
        let (journal, keyring) = (Arc::clone(&self.journal), Arc::clone(&self.keyring));
        self.cluster.run(Arc::new(Hosting { node: node.clone(), journal, keyring }))?;
        self.cluster.settled().await.map_err(why)
    }
}

/// Why a membership ended, as an error.
pub(crate) fn why(ended: Ended) -> anyhow::Error {
    match ended {
        Ended::Refused(refusal) => anyhow::Error::new(refusal).context("the cluster does not take this node"),
        Ended::Left => anyhow::anyhow!("told to leave before it had joined"),
    }
}

/// The link. A build with debug assertions, which nobody installs, sends everything twice if the tests say so with
/// `TEST_OF_PROGNET_SENDS_TWICE`.
fn doubled_if_told(link: Arc<dyn Link>) -> Arc<dyn Link> {
    #[cfg(debug_assertions)]
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
    if std::env::var_os("TEST_OF_PROGNET_SENDS_TWICE").is_some() {
        return Arc::new(prognet_cluster::link::Doubled::of(link));
    }
    link
}

type Linked = (Arc<dyn Link>, String, mpsc::Receiver<LinkEvent>);

/// The link to others, and where they reach it.
async fn link(settings: &Settings, hello: Hello) -> anyhow::Result<Linked> {
    let cluster = &settings.cluster;
    if cluster.listen.is_none() && cluster.secret.is_none() {
        let (_, events) = mpsc::channel(1);
        return Ok((Arc::new(Alone), String::new(), events));
    }
    let tls = match (&cluster.ca_file, &cluster.certificate_file, &cluster.key_file) {
        (Some(ca), Some(certificate), Some(key)) => {
            Some(TlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() })
        }
        (None, None, None) => None,
        _ => anyhow::bail!(
            "`cluster.ca_file`, `cluster.certificate_file` and `cluster.key_file` are given together or not at all"
        ),
    };
    let secret =
        cluster.secret.as_ref().map(|secret| secret.expose().as_bytes().to_vec()).unwrap_or_default();
    let link_settings = LinkSettings { listen: cluster.listen, secret, tls };
    if cluster.address.is_none() && cluster.listen.is_some_and(|address| address.ip().is_unspecified()) {
        let valid = "the address by which other nodes reach this one: `cluster.listen` names no host";
        return Err(settings.refuse("cluster.address", valid).into());
    }
    let (link, events) = RactorLink::start(&link_settings, hello).await?;
    let listens = link.address().map(|address| address.to_string());
    let address = cluster.address.clone().or(listens).unwrap_or_default();
    seeds::look(settings, &link, &address).await?;
    Ok((doubled_if_told(Arc::new(link)), address, events))
}

/// How clients reach the cluster: what one node signs under it, another must know.
fn site(settings: &Settings) -> String {
    let http = &settings.http;
    let public = http.public_url.as_ref().map(|url| url.as_str().to_owned());
    public.unwrap_or_else(|| format!("http://{}", http.listen))
}

fn name(settings: &Settings) -> anyhow::Result<Name> {
    let given = settings.cluster.node.clone();
    let text = given.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    // A host's name may be longer, or have a domain.
    let text =
        if settings.cluster.node.is_none() { text.split('.').next().unwrap_or_default() } else { &text };
    let name =
        Name::parse(text).filter(|name| !text.is_empty() && name.as_bytes().iter().copied().all(is_plain));
    name.ok_or_else(|| {
        settings.refuse("cluster.node", "at most 24 letters, digits, `-` and `_`, such as node-1").into()
    })
}

fn roles(settings: &Settings, services: &BTreeSet<Name>) -> anyhow::Result<BTreeSet<Name>> {
    let Some(list) = &settings.cluster.roles else { return Ok(services.clone()) };
    let mut roles = BTreeSet::new();
    for role in list.split(',').map(str::trim).filter(|role| !role.is_empty()) {
        match services.iter().find(|service| service.as_str() == role) {
            Some(service) => drop(roles.insert(*service)),
            None if role == GATEWAY => {}
            None => {
                let services: Vec<_> = services.iter().map(Name::as_str).collect();
                anyhow::bail!(
                    "`cluster.roles` has `{role}`, which is none: there are `{GATEWAY}`, `{}`",
                    services.join("`, `")
                );
            }
        }
    }
    Ok(roles)
}

fn limits(settings: &Settings, shards: u16) -> Limits {
    let cluster = &settings.cluster;
    let defaults = Limits::default();
    // Whoever is linked to nobody need not wait long for others: just until those are over that were killed.
    let is_linked = cluster.listen.is_some() || cluster.secret.is_some();
    let join = if is_linked { defaults.join } else { defaults.lease * 2 };
    let moves_per_node = cluster.moves_max;
    let drains_per_node = defaults.drains_per_node.max(moves_per_node);
    // As many shards of a service may move as may touch a node.
    let of_service = moves_per_node.saturating_mul(100) / usize::from(shards.max(1));
    let moving_percent = of_service.clamp(defaults.moving_percent, 100);
    let quiet = cluster.rebalance_after;
    Limits { join, quiet, moves_per_node, drains_per_node, moving_percent, ..defaults }
}

/// This build, as its package says.
pub(crate) fn build() -> Build {
    let number = |text: &str| text.parse().unwrap_or(0);
    Build {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    }
}

/// A node, as its cluster sees it.
struct Hosting {
    node: Node,
    journal: Arc<PostgresJournal>,
    keyring: Arc<Keyring>,
}

impl Host for Hosting {
    fn grant(&self, shards: Vec<(ShardId, Epoch)>) -> BoxFuture<'_, Result<Vec<ShardId>, String>> {
        Box::pin(async move {
            let granted = self.journal.grant(shards).await.map_err(|error| error.to_string())?;
            Ok(granted.into_iter().map(|(shard, _)| shard).collect())
        })
    }

    fn drain(&self, shard: ShardId) -> BoxFuture<'_, ()> {
        Box::pin(self.node.drain_shard(shard))
    }

    fn close(&self, shard: ShardId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.node.close_shard(shard).await;
            self.journal.revoke(&[shard]).await;
        })
    }

    fn receive(&self, parcel: Vec<u8>) -> BoxFuture<'_, Vec<u8>> {
        Box::pin(async move { self.node.receive(&parcel).await })
    }

    fn durable(&self) -> watch::Receiver<Lsn> {
        self.journal.durable()
    }

    fn heard_of(&self, lsn: Lsn) {
        self.journal.heard_of(lsn);
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.keyring.refresh().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to learn which keys were destroyed"
                );
            }
        })
    }
}
