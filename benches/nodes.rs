//! Several nodes of one cluster, on one database.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    client::{self, Request},
    node::{self, Node, stored_in},
    pairs::Stopwatch,
};

/// Their names.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// How long a cluster may take to spread its shards.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks at a map that stays as it is, until nothing is about to move: plans are made every second.
const CALM: usize = 20;

/// A cluster; its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Nodes {
    binary: PathBuf,
    directory: PathBuf,
    url: String,
    seats: Vec<Seat>,
    token: String,
}

#[derive(Debug)]
struct Seat {
    name: &'static str,
    /// What others dial.
    link: String,
    node: Option<Node>,
}

impl Nodes {
    /// Starts so many on a database; returns when each owns about as much.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(directory: &Path, url: &str, count: usize) -> anyhow::Result<Self> {
        let mut seats = Vec::new();
        for name in NAMES.into_iter().take(count) {
            let link = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
            seats.push(Seat { name, link, node: None });
        }
        let (binary, directory) = (node::binary()?, directory.to_owned());
        let mut nodes = Self { binary, directory, url: url.to_owned(), seats, token: String::new() };
        for place in 0..count {
            nodes.resume(place)?;
        }
        let first = nodes.seats.first().and_then(|seat| seat.node.as_ref()).context("no node")?;
        nodes.token = first.sign_in(&nodes.directory.join("a"))?;
        nodes.until_even()?;
        Ok(nodes)
    }

    /// An access token of the first administrator.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The doors of those that run.
    #[must_use]
    pub fn doors(&self) -> Vec<SocketAddr> {
        self.seats.iter().filter_map(|seat| Some(seat.node.as_ref()?.address)).collect()
    }

    /// Their processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.seats.iter().filter_map(|seat| Some(seat.node.as_ref()?.pid())).collect()
    }

    /// The name of one.
    #[must_use]
    pub fn name(&self, place: usize) -> &'static str {
        self.seats.get(place).map_or("", |seat| seat.name)
    }

    /// Founds tenants; returns their ids.
    ///
    /// # Errors
    /// When one is refused.
    pub fn found_tenants(&self, count: u64) -> anyhow::Result<Vec<String>> {
        let first = self.seats.first().and_then(|seat| seat.node.as_ref()).context("no node")?;
        first.found_tenants(&self.token, count)
    }

    /// Takes a node out, for its process to be killed or waited for.
    ///
    /// # Errors
    /// When none runs there.
    pub fn take(&mut self, place: usize) -> anyhow::Result<Node> {
        self.seats.get_mut(place).and_then(|seat| seat.node.take()).context("no node runs there")
    }

    /// Starts a node where none runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self, place: usize) -> anyhow::Result<()> {
        let seat = self.seats.get_mut(place).context("no such place")?;
        let own = [
            ("PROGNET_CLUSTER_NODE", seat.name),
            ("PROGNET_CLUSTER_LISTEN", &seat.link),
            ("PROGNET_CLUSTER_SECRET", "known to all of them"),
            ("PROGNET_CLUSTER_REBALANCE_AFTER", "100ms"),
            // To be even soon, and below what leaves a node at a time by default, a tenth of a service.
            ("PROGNET_CLUSTER_MOVES_MAX", "24"),
        ];
        let settings = [stored_in(&self.url).as_slice(), &own].concat();
        seat.node = Some(Node::start_with(&self.binary, &self.directory.join(seat.name), &settings)?);
        Ok(())
    }

    /// What is asked of a cluster about itself.
    #[must_use]
    pub fn asking(&self, method: &str, path: &str) -> Request {
        client::request(method, path, &self.token, "", "")
    }

    /// The numbers of the shards of a service that a node owns.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn owned(&self, service: &str, name: &str) -> anyhow::Result<Vec<u64>> {
        let shards = self.shards(&format!("?service={service}&owner={name}"))?;
        Ok(shards.iter().filter_map(|shard| shard.get("number")?.as_u64()).collect())
    }

    fn shards(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let door = self.doors().first().copied().context("no node runs")?;
        let asked = self.asking("GET", &format!("/v1/system/shards{query}"));
        let mut answer = client::send_all(door, 1, &[asked])?.pop().context("no answer")?;
        match answer.get_mut("data").map(Value::take) {
            Some(Value::Array(shards)) => Ok(shards),
            _ => bail!("an answer without shards"),
        }
    }

    /// Waits until all own about as much, and nothing moves or is about to.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn until_even(&self) -> anyhow::Result<()> {
        let (watch, running) = (Stopwatch::start(), self.doors().len());
        let pause = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (mut calm, mut last) = (0, Vec::new());
        while watch.elapsed() < PATIENCE {
            let shards = self.shards("")?;
            let owned_by = |seat: &Seat| {
                let owner = |shard: &&Value| shard.get("owner").and_then(Value::as_str) == Some(seat.name);
                shards.iter().filter(owner).count()
            };
            let running_seats = self.seats.iter().filter(|seat| seat.node.is_some());
            let is_even = running_seats.map(owned_by).all(|count| count * running * 10 >= shards.len() * 8);
            calm = if is_even && shards == last { calm + 1 } else { 0 };
            if calm > CALM {
                return Ok(());
            }
            last = shards;
            pause.block_on(async {
                tokio::time::sleep(LOOK_EVERY).await;
            });
        }
        bail!("the shards are not spread after {PATIENCE:?}")
    }
}
