//! What operators watch of a cluster: numbers that add up, at the management door of every node.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::{Cluster, NAMES, breathe};
use crate::harness::Node;

/// Each of the five services has this many.
const SHARDS: u64 = 5 * 256;
/// What numbers may take to be so: far more than nodes take to see what happened.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a node tells of its cluster, by name and labels.
struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    async fn of(node: &Node) -> Self {
        let (status, text) = node.managed("/metrics").await;
        assert_eq!(status, 200);
        let lines = text.lines().filter_map(|line| line.strip_prefix("prognet_cluster_"));
        let number = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        Self(lines.map(number).collect())
    }

    /// Those of a name, whatever their labels, added up.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they are counts")]
    fn all(&self, name: &str) -> u64 {
        let is_it = |known: &str| {
            known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let found: Vec<_> = self.0.iter().filter(|(known, _)| is_it(known)).map(|(_, value)| value).collect();
        assert!(!found.is_empty(), "there is no {name}: {:?}", self.0);
        found.into_iter().sum::<f64>() as u64
    }

    /// Nodes up, nodes down, links.
    fn seen(&self) -> [u64; 3] {
        ["nodes{status=\"up\"}", "nodes{status=\"down\"}", "links"].map(|name| self.all(name))
    }

    /// Shards that came here, less those that were given away, since these numbers were told.
    fn gained(&self, before: &Self) -> u64 {
        let more = |name: &str| self.all(name) - before.all(name);
        more(IN) + more("take_overs_total") - more("hand_offs_finished_total{direction=\"out\"}")
    }
}

const IN: &str = "hand_offs_finished_total{direction=\"in\"}";

/// Asks nodes until what they tell is so.
async fn until<const N: usize>(nodes: [&Node; N], is_so: impl Fn(&[Numbers; N]) -> bool) -> [Numbers; N] {
    let asked = async {
        loop {
            let told = futures_util::future::join_all(nodes.map(Numbers::of)).await;
            let told = told.try_into().unwrap_or_else(|_| unreachable!("one of each"));
            if is_so(&told) {
                return told;
            }
            breathe().await;
        }
    };
    timeout(PATIENCE, asked).await.expect("the numbers never were so")
}

fn sum(told: &[Numbers], name: &str) -> u64 {
    told.iter().map(|numbers| numbers.all(name)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_in_numbers_who_is_here_who_owns_what_and_what_moved() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let [a, b, c] = [0, 1, 2].map(|at| cluster.seats[at].node());
    for slug in ["one", "two", "three", "four"] {
        a.tenant(slug).await;
    }

    let even = until([a, b, c], |told| {
        sum(told, "shards_owned") == SHARDS
            && sum(told, "shards_unserved") == 0
            && told.iter().all(|numbers| numbers.seen() == [3, 0, 2])
    })
    .await;
    for ((_, owns), told) in cluster.owners().into_iter().zip(&even) {
        assert_eq!(told.all("shards_owned"), owns as u64);
        assert!(told.0["lease_seconds"] > 0.0 && told.0["lease_seconds"] <= 4.5, "{:?}", told.0);
        assert!(told.all("sent_bytes_total") > 0 && told.all("received_bytes_total") > 0);
        assert_eq!(told.all("fences_total") + told.all("evictions_total"), 0);
    }
    // Of four tenants' many entities some are elsewhere.
    assert!(even[0].all("asks_total") > 0);
    assert_eq!(sum(&even, "take_overs_total"), 0);

    let [at_a, at_b, _] = &even;
    let lost = at_b.all("shards_owned");
    cluster.seats[1].kill();
    let [a, c] = [0, 2].map(|at| cluster.seats[at].node());
    let taken = until([a, c], |told| {
        sum(told, "shards_owned") == SHARDS && told.iter().all(|numbers| numbers.seen() == [2, 1, 1])
    })
    .await;
    assert_eq!(sum(&taken, "take_overs_total"), lost);
    assert_eq!(sum(&taken, "nodes_declared_down_total"), 1);
    assert!(taken.iter().all(|told| told.all("links_lost_total") > 0));

    cluster.is_even().await;
    let drained = cluster.seats[0].node().post("/v1/system/nodes/c/drain", json!({})).await;
    assert_eq!(drained.status, 202, "{drained:?}");
    assert_eq!(cluster.seats[2].ended().await, Some(0));
    let [alone] = until([cluster.seats[0].node()], |[told]| {
        told.all("shards_owned") == SHARDS && told.seen() == [1, 2, 0]
    })
    .await;
    assert_eq!(alone.gained(at_a), SHARDS - at_a.all("shards_owned"));
    assert_eq!(alone.all("take_overs_total"), taken[0].all("take_overs_total"), "they were given");
    assert!(alone.all(IN) > 0);
    assert_eq!(alone.all("hand_off_duration_seconds_count"), alone.all(IN));
}

#[tokio::test]
async fn a_node_that_is_alone_by_its_settings_tells_nothing_of_a_cluster() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());

    assert!(Numbers::of(&node).await.0.is_empty());
}
