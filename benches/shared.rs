//! A node of a cluster inside the bench's own process.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use futures_util::future::BoxFuture;
use prognet_cluster::{
    Cluster, Host, Limits as ClusterLimits,
    link::{Hello, LinkSettings, RactorLink},
    membership::Candidate,
    tables::{Build, NodeId, Profile, Wire},
};
use prognet_storage::{
    Epoch, Journal, Lsn, Name, ShardId,
    keyring::{Keyring, MasterKey},
    leases::Leases,
    postgres::{self, PostgresJournal, PostgresLeases, PostgresTier},
};
use prognet_supervisor::{Clock, Limits, Node, Parts, Service};
use tokio::sync::watch;

/// This build, and what it speaks: the same for all here.
const BUILD: Build = Build { major: 0, minor: 0, patch: 0 };
const WIRE: Wire = Wire { min: 1, max: 1 };
/// What seals the data keys in the database.
const MASTER_KEY: [u8; 32] = [7; 32];

/// Starts a node that hosts some of the services; returns once every shard that has a host is served.
///
/// # Errors
/// When the storage does not open, or the cluster does not take it.
pub async fn start(
    name: &str,
    roles: &[&str],
    url: &str,
    data: &Path,
    services: Vec<Service>,
    limits: Limits,
) -> anyhow::Result<Node> {
    std::fs::create_dir_all(data)?;
    let settings = postgres::Settings { url: url.to_owned(), roots: None, pool_max: 8 };
    let database = postgres::Store::open(&settings).await?;
    let keyring = Arc::new(Keyring::open_in(database.clone(), &MasterKey::new(MASTER_KEY)).await?);
    let journal = Arc::new(PostgresJournal::open(&database).await?);
    journal.sync_first(Arc::clone(&keyring));
    let tier = Arc::new(PostgresTier::new(database.clone(), Arc::clone(&keyring)));

    let cluster_limits = ClusterLimits::default();
    let leases = PostgresLeases::open(&database, cluster_limits.lease).await?;
    let all: Vec<_> = services.iter().map(Service::name).collect();
    let meta = leases.found(limits.shards, &all, WIRE.max).await?;
    let node = NodeId(Name::parse(name).context("a node's name")?);
    let hello = Hello {
        generation: meta.generation,
        shards: limits.shards,
        wire: WIRE,
        build: BUILD,
        node,
        site: String::new(),
    };
    let link_settings = LinkSettings {
        listen: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
        secret: b"known to all of them".to_vec(),
        tls: None,
    };
    let (link, events) = RactorLink::start(&link_settings, hello).await?;
    let roles = roles.iter().map(|role| Name::parse(role).context("a role's name"));
    let profile = Profile {
        address: link.address().map(|address| address.to_string()).unwrap_or_default(),
        directory: u128::from(std::process::id()),
        roles: roles.collect::<anyhow::Result<_>>()?,
        weight: 1,
        build: BUILD,
        wire: WIRE,
    };
    let candidate = Candidate {
        node,
        profile: Arc::new(profile),
        generation: meta.generation,
        shards: limits.shards,
        services: all.into_iter().collect(),
        allow_partial: true,
        holds_lock: false,
        trust_refused: false,
    };
    let cluster = Cluster::new(candidate, cluster_limits, Arc::new(leases), Arc::new(link), events);
    let parts = Parts {
        journal: Arc::<PostgresJournal>::clone(&journal),
        snapshots: Arc::<PostgresTier>::clone(&tier),
        read_model: tier,
        keyring,
        clock: Clock::default(),
        limits,
        placement: Some(Arc::<Cluster>::clone(&cluster)),
    };
    let node = Node::start(parts, services).await?;
    cluster.run(Arc::new(Hosting { node: node.clone(), journal }))?;
    cluster.settled().await.map_err(|ended| anyhow::anyhow!("{ended:?}"))?;
    Ok(node)
}

/// A node, as its cluster sees it.
struct Hosting {
    node: Node,
    journal: Arc<PostgresJournal>,
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
        // No key is ever destroyed here.
        Box::pin(std::future::ready(()))
    }
}
