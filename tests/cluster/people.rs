//! People in their browsers, who do not notice that nodes are restarted.

use reqwest::Method;

use super::{Cluster, NAMES, breathe};
use crate::{
    browser,
    harness::{balancer::Balancer, cluster::Seat, reply},
};

/// Restarts a node as an operator does: the next one is not before this one is ready again.
async fn restart(seat: &mut Seat) {
    assert_eq!(seat.leave().await, Some(0));
    seat.start_as_it_is().await;
    while seat.node().managed("/readyz").await.0 != 200 {
        breathe().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_meet_while_nodes_behind_one_address_are_restarted_in_turn() {
    let balancer = Balancer::start();
    let mut cluster = Cluster::empty(&NAMES, &[("PROGNET_HTTP_PUBLIC_URL", &balancer.url())]).await;
    balancer.lead_to(cluster.seats.iter().map(Seat::listens_at));
    for seat in &mut cluster.seats {
        seat.start_as_it_is().await;
    }
    cluster.is_even().await;
    let link = std::fs::read_to_string(cluster.seats[0].data.path().join("setup.link")).unwrap();
    for node in cluster.seats.iter().map(Seat::node) {
        let path = link.trim().strip_prefix(&balancer.url()).unwrap();
        let page = reply(node.stranger(Method::GET, path)).await.unwrap().ok();
        assert!(page.as_str().unwrap().contains("<form"), "the link of one is good at each: {page}");
    }
    let url = balancer.url();
    let journey = tokio::task::spawn_blocking(move || browser::drive("people.mjs", &url, &link));

    let mut restarts = 0;
    while !journey.is_finished() {
        restart(&mut cluster.seats[restarts % NAMES.len()]).await;
        restarts += 1;
    }

    journey.await.unwrap();
    assert!(restarts > NAMES.len(), "the journey was over before each node was restarted");
}
