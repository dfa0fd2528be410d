//! Nodes that die while shards move: the one that gives, and the one that takes.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{Cluster, NAMES, under_load};
use crate::harness::{cluster::Seat, until};

/// At a time, so that a node may die when it has given some of its shards away.
const FEW: [(&str, &str); 1] = [("PROGNET_CLUSTER_MOVES_MAX", "64")];

/// How many shards a node owns.
fn owned(query: &impl Fn(&str) -> String, name: &str) -> usize {
    query(&format!("select count(*) from shard where owner = '{name}'")).parse().unwrap()
}

/// Begins to drain `c`, and returns when it has given some of its shards away, but not all.
async fn half_drained(seats: &[Seat], owned: impl Fn(&str) -> usize) {
    let before = owned("c");
    let drained = seats[0].node().post("/v1/system/nodes/c/drain", json!({})).await;
    assert_eq!(drained.status, 202, "{drained:?}");
    until(|| owned("c") < before).await;
    assert!(owned("c") > 0, "it gave all of them away at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_while_it_gives_its_shards_away_loses_none() {
    let mut cluster = Cluster::of(&NAMES, &FEW).await;
    let query = cluster.asker();
    let owned = |name: &str| owned(&query, name);
    under_load(&mut cluster, "giver", async |seats, clients, is_open| {
        is_open[2].store(false, Ordering::Relaxed);
        half_drained(seats, &owned).await;
        seats[2].kill();
        clients.goes_on(100).await;
        until(|| owned("c") == 0).await;
        seats[2].start().await;
        is_open[2].store(true, Ordering::Relaxed);
    })
    .await;
    cluster.is_even().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_while_it_takes_shards_loses_none() {
    let mut cluster = Cluster::of(&NAMES, &FEW).await;
    let query = cluster.asker();
    let owned = |name: &str| owned(&query, name);
    under_load(&mut cluster, "taker", async |seats, clients, is_open| {
        for is_open in &is_open[1..] {
            is_open.store(false, Ordering::Relaxed);
        }
        half_drained(seats, &owned).await;
        seats[1].kill();
        // The rest goes to the one that is left.
        assert_eq!(seats[2].ended().await, Some(0));
        clients.goes_on(50).await;
        seats[1].start().await;
        is_open[1].store(true, Ordering::Relaxed);
    })
    .await;
    cluster.is_even().await;
}
