//! The nodes of a cluster and the shards they own.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use prognet_sdk::{NodeList, NodeView, ShardList};

use super::Options;

/// Between two looks whether a node is gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What can be asked about nodes.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lets a node give its shards away and leave; its process then ends.
    #[command(after_help = "Example:\n  prognet nodes drain node-2 --wait")]
    Drain {
        /// Its name.
        node: String,
        /// Until it is gone.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        options: Options,
    },
}

/// Which shards are shown.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  prognet shards\n  prognet shards --service users --owner node-2 --all")]
pub(crate) struct Shards {
    /// Those of one service.
    #[arg(long)]
    service: Option<String>,
    /// Those of one node.
    #[arg(long)]
    owner: Option<String>,
    /// A line each, instead of their numbers by service and owner.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    options: Options,
}

impl Nodes {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Some(Command::Drain { node, wait, options }) = self.command else {
            return self.options.print(&self.options.client()?.nodes().await?, table);
        };
        let client = options.client()?;
        client.drain_node(&node).await?;
        let is_here = |list: &NodeList| list.data.iter().any(|row| row.name == node && row.status != "down");
        while wait && is_here(&client.nodes().await?) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        options.done(&if wait { format!("{node} has left") } else { format!("{node} drains") })
    }
}

impl Shards {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (service, owner) = (self.service.as_deref(), self.owner.as_deref());
        let shards = self.options.client()?.shards(service, owner).await?;
        self.options.print(&shards, if self.all { each } else { summary })
    }
}

/// A line a node; one that answers is marked.
fn table(list: &NodeList) -> String {
    if list.data.is_empty() {
        return "this node keeps everything itself\n".to_owned();
    }
    let line = |node: &NodeView| {
        let lease = if node.status == "down" { "-".to_owned() } else { format!("{}ms", node.lease_ms) };
        let linked = match (node.is_self, node.is_linked) {
            (true, _) => "self",
            (false, true) => "linked",
            (false, false) => "-",
        };
        format!(
            "{:24}  {:>6}  {:8}  {:>6}  {:>7}  {:6}  {:8}  {:21}  {}\n",
            node.name,
            node.incarnation,
            node.status,
            node.shards,
            lease,
            linked,
            node.build,
            node.address,
            node.roles.join(",")
        )
    };
    let head = format!(
        "{:24}  {:>6}  {:8}  {:>6}  {:>7}  {:6}  {:8}  {:21}  roles\n",
        "node", "run", "status", "shards", "lease", "link", "build", "address"
    );
    std::iter::once(head).chain(list.data.iter().map(line)).collect()
}

/// How many shards of each service each node has, and how many of them move.
fn summary(list: &ShardList) -> String {
    if list.data.is_empty() {
        return "none: a node that keeps everything itself owns all\n".to_owned();
    }
    let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for shard in &list.data {
        let owner = shard.owner.as_deref().unwrap_or("-");
        let (all, moving) = counts.entry((&shard.service, owner)).or_default();
        *all += 1;
        *moving += usize::from(shard.target.is_some() || shard.state != "owned");
    }
    let line = |((service, owner), (all, moving)): ((&str, &str), (usize, usize))| {
        format!("{service:16}  {owner:24}  {all:>6}  {moving:>6}\n")
    };
    let head = format!("{:16}  {:24}  {:>6}  {:>6}\n", "service", "owner", "shards", "moving");
    std::iter::once(head).chain(counts.into_iter().map(line)).collect()
}

fn each(list: &ShardList) -> String {
    let lines = list.data.iter().map(|shard| {
        let (owner, target) = (shard.owner.as_deref().unwrap_or("-"), shard.target.as_deref().unwrap_or("-"));
        format!(
            "{:16}  {:>5}  {:>8}  {:9}  {owner:24}  {target}\n",
            shard.service, shard.number, shard.epoch, shard.state
        )
    });
    lines.collect()
}
