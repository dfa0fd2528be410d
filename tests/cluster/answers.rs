//! Appends of which nobody hears whether they were done.

use super::{Cluster, NAMES, under_load};
use crate::harness::{cluster::Seat, until_in};

/// In all; more than a round needs to meet each moment of an append.
const CUTS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_whose_answers_never_come_are_done_once_or_not_at_all() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    under_load(&mut cluster, "append", async |seats, clients, _| {
        // Not all of them have much to append.
        seats.iter().for_each(|seat| seat.store.cut_appends(CUTS));
        let cut = || seats.iter().map(|seat| seat.store.appends_cut()).sum::<usize>();
        until_in(std::time::Duration::from_secs(60), || cut() >= CUTS).await;
        seats.iter().for_each(|seat: &Seat| seat.store.cut_appends(0));
        clients.goes_on(20).await;
    })
    .await;
}
