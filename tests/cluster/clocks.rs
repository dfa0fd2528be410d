//! Nodes whose clocks are wrong.

use prognet_actors::ids::TenantId;

use super::{Cluster, NAMES, under_load};
use crate::harness::{Node, clock};

const TEN_MINUTES_S: i64 = 600;
/// What the test may take between two looks at clocks.
const SLACK_S: i64 = 60;

/// What a node takes the time to be: ids of what it makes begin with it.
async fn time_s(node: &Node, slug: &str) -> i64 {
    let id: TenantId = node.tenant(slug).await.parse().unwrap();
    i64::try_from(id.number() >> 80).unwrap() / 1_000
}

/// Leases are the store's: whoever keeps one need not know what time it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_are_ten_minutes_off_move_nothing() {
    let libraries = tempfile::tempdir().unwrap();
    // Longer than clocks differ: a token that has ended by a node's clock is good for nothing there.
    let mut cluster = Cluster::empty(&NAMES, &[("PROGNET_AUTH_ACCESS_TOKEN_LIFE", "1h")]).await;
    // The first one is behind: it makes the first key, with which nobody signs before it was made.
    for (seat, off_by_s) in [(0, -TEN_MINUTES_S), (2, TEN_MINUTES_S)] {
        let library = clock::off_by(off_by_s, libraries.path());
        cluster.seats[seat].set("LD_PRELOAD", library.to_str().unwrap());
    }
    cluster.start().await;
    let before = cluster.map();

    under_load(&mut cluster, "clocks", async |seats, clients, _| {
        let right = time_s(seats[1].node(), "right").await;
        for (seat, slug, off_by_s) in [(0, "behind", -TEN_MINUTES_S), (2, "ahead", TEN_MINUTES_S)] {
            let off = time_s(seats[seat].node(), slug).await - right;
            assert!((off - off_by_s).abs() < SLACK_S, "its clock is not wrong: {off} s");
        }
        clients.goes_on(300).await;
    })
    .await;

    assert_eq!(cluster.map(), before);
}
