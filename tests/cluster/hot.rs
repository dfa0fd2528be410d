//! One tenant that asks for far more than its share.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{Cluster, NAMES, breathe, under_load};
use crate::harness::reply;

/// Those of the hot tenant at once: the others have a handful.
const HOT: usize = 50;
/// Operations of the others meanwhile.
const MEANWHILE: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_fifty_times_hotter_takes_nothing_from_the_others() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let hot = cluster.seats[0].node().tenant("hot").await;
    let asked = AtomicUsize::new(0);
    let errors = under_load(&mut cluster, "hot", async |seats, clients, _| {
        let path = format!("/v1/tenants/{hot}");
        let hammer = async |number: usize| {
            let node = seats[number % seats.len()].node();
            loop {
                let body = json!({ "name": format!("Hot {number}") });
                // Whatever it is answered: it may well be told to wait.
                match reply(node.request(Method::PATCH, &path).json(&body)).await {
                    Ok(answer) if answer.status.is_success() => {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) | Err(_) => breathe().await,
                }
            }
        };
        tokio::select! {
            _ = join_all((0..HOT).map(hammer)) => {}
            () = clients.goes_on(MEANWHILE) => {}
        }
    })
    .await;
    assert!(asked.load(Ordering::Relaxed) > MEANWHILE, "it was hardly hotter than the others");
    assert_eq!(errors, Vec::<String>::new());
}
