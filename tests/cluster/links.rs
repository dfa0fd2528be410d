//! Links between nodes that are slow, break or stand still.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Cluster, NAMES, after, under_load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_slow_or_break_double_nothing_and_move_nothing() {
    let mut cluster = Cluster::behind_proxies(&NAMES).await;
    let before = cluster.map();
    under_load(&mut cluster, "slow", async |seats, clients, _| {
        let all = |delay| seats.iter().for_each(|seat| seat.door.set(|rules| rules.delay = delay));
        all(Duration::from_millis(40));
        clients.goes_on(60).await;
        for _ in 0..6 {
            for seat in seats.iter() {
                seat.door.set(|rules| rules.is_cut = true);
                seat.door.set(|rules| rules.is_cut = false);
                clients.goes_on(5).await;
            }
        }
        all(Duration::ZERO);
    })
    .await;
    assert_eq!(cluster.map(), before);
}

/// Each frame between the nodes comes a second time, up to 40 ms later: questions, answers, and words of moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_come_twice_and_out_of_order_have_effects_once() {
    let mut cluster = Cluster::of(&NAMES, &[("TEST_OF_PROGNET_SENDS_TWICE", "1")]).await;
    let errors = under_load(&mut cluster, "twice", async |seats, clients, is_open| {
        clients.goes_on(100).await;
        is_open[1].store(false, Ordering::Relaxed);
        assert_eq!(seats[1].leave().await, Some(0));
        clients.goes_on(50).await;
        seats[1].start().await;
        is_open[1].store(true, Ordering::Relaxed);
        clients.goes_on(50).await;
    })
    .await;
    assert_eq!(errors, Vec::<String>::new());
}

/// Its connections stay open, and whatever is sent to it is never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_reading_keeps_nobody_from_the_others() {
    let mut cluster = Cluster::behind_proxies(&NAMES).await;
    let before = cluster.map();
    under_load(&mut cluster, "stall", async |seats, clients, _| {
        for _ in 0..2 {
            seats[1].door.set(|rules| rules.is_stalled = true);
            after(Duration::from_secs(4)).await;
            clients.goes_on(30).await;
            seats[1].door.set(|rules| rules.is_stalled = false);
            clients.goes_on(30).await;
        }
    })
    .await;
    assert_eq!(cluster.map(), before);
}
