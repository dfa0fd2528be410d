//! Many nodes as one: what users of a cluster are promised, whatever happens to its nodes, their links and the store.

mod answers;
mod clocks;
mod failover;
mod hot;
mod inbox;
mod links;
mod long;
mod moves;
mod numbers;
mod people;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use crate::harness::{
    Node,
    cluster::{Cluster, Seat},
    history::Clients,
    reply, until_in,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What is promised is a third of it.
const REJOINS_WITHIN: Duration = Duration::from_secs(15);
const IS_UP: &str = "select count(*) from node where node = 'b' and status = 'up'";

async fn breathe() {
    after(Duration::from_millis(20)).await;
}

async fn after(wait: Duration) {
    sleep_until(Instant::now() + wait).await;
}

/// Runs clients against the nodes while something is done to them, and judges what came of it; answers that clients
/// got although there was somebody to ask, and that were neither what was asked for nor a refusal of it.
async fn under_load(
    cluster: &mut Cluster,
    run: &str,
    act: impl AsyncFnOnce(&mut [Seat], &Clients, &[AtomicBool]),
) -> Vec<String> {
    let clients = Clients::new(cluster.seats[0].node(), run).await;
    let is_open: Vec<_> = cluster.seats.iter().map(|_| AtomicBool::new(true)).collect();
    let urls = cluster.seats.iter().map(|seat| seat.node().url().to_owned());
    let doors: Vec<_> = is_open.iter().zip(urls).collect();
    let acts = async {
        clients.goes_on(50).await;
        act(&mut cluster.seats, &clients, &is_open).await;
        clients.goes_on(50).await;
        clients.end();
    };
    tokio::join!(clients.run(&doors), acts);
    clients.are_right(cluster).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_answers_any_request_and_shows_the_whole_cluster() {
    let cluster = Cluster::of(&NAMES, &[]).await;
    let [a, b, c] = [0, 1, 2].map(|at| cluster.seats[at].node());

    let id = a.tenant("acme").await;

    for node in [a, b, c] {
        let path = format!("/v1/tenants/{id}");
        assert_eq!(node.get(&path).await.ok()["slug"], "acme");
        node.post("/v1/tenants", json!({ "name": "Again", "slug": "acme" }))
            .await
            .problem(409, "tenant/slug-taken");
        node.eventually("/v1/tenants", |page| page["data"][0]["id"].as_str() == Some(&*id)).await;
        let nodes = node.get("/v1/system/nodes").await.ok();
        let rows = nodes["data"].as_array().unwrap();
        let of = |key: &str| rows.iter().map(|row| row[key].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((of("name"), of("status")), (NAMES.to_vec(), vec!["up"; 3]));
        assert_eq!(rows.iter().filter(|row| row["is_self"] == true).count(), 1);
        assert_eq!(rows.iter().filter(|row| row["is_linked"] == true).count(), 2);
        let shards = node.get("/v1/system/shards?service=tenancy").await.ok();
        let owners = shards["data"].as_array().unwrap();
        assert_eq!(owners.len(), 256);
        for name in NAMES {
            assert!(owners.iter().filter(|row| row["owner"] == name).count() > 40, "{name}");
        }
    }
    // What crosses nodes and changes nothing leaves nothing behind, unless its sender may come back for the answer.
    let replies = || cluster.query("select count(*) from record where kind = 6").parse::<usize>().unwrap();
    let before = replies();
    let name = a.get(&format!("/v1/tenants/{id}")).await.ok()["name"].clone();
    let same = |node: &Node| {
        node.request(Method::PATCH, &format!("/v1/tenants/{id}")).json(&json!({ "name": name }))
    };
    for node in [a, b, c] {
        reply(same(node)).await.unwrap().ok();
    }
    assert_eq!(replies(), before);
    for node in [a, b, c] {
        reply(same(node).header("Idempotency-Key", "again")).await.unwrap().ok();
    }
    assert_eq!(replies(), before + 1);
    for path in ["/v1/system/nodes", "/v1/system/shards"] {
        reply(a.stranger(Method::GET, path)).await.unwrap().problem(401, "auth/token");
    }
    a.post("/v1/system/nodes/nobody/drain", json!({})).await.problem(404, "request/not-found");
}

/// Loopback: a refused connection proves that a process is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_are_taken_over_and_nothing_acknowledged_is_lost_or_doubled() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    under_load(&mut cluster, "kill", async |seats, clients, is_open| {
        for victim in [1, 2, 0] {
            is_open[victim].store(false, Ordering::Relaxed);
            seats[victim].kill();
            clients.goes_on(150).await;
            seats[victim].start().await;
            is_open[victim].store(true, Ordering::Relaxed);
            clients.goes_on(20).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_goes_on_alone_when_all_others_are_killed_at_once() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    under_load(&mut cluster, "two", async |seats, clients, is_open| {
        is_open[1..].iter().for_each(|is_open| is_open.store(false, Ordering::Relaxed));
        seats[1..].iter_mut().for_each(Seat::kill);
        clients.goes_on(150).await;
        futures_util::future::join_all(seats[1..].iter_mut().map(Seat::start)).await;
        is_open[1..].iter().for_each(|is_open| is_open.store(true, Ordering::Relaxed));
    })
    .await;
    cluster.is_even().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_nodes_were_all_killed_starts_again_by_itself() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    under_load(&mut cluster, "all", async |seats, _, is_open| {
        is_open.iter().for_each(|is_open| is_open.store(false, Ordering::Relaxed));
        seats.iter_mut().for_each(Seat::kill);
        futures_util::future::join_all(seats.iter_mut().map(Seat::start)).await;
        is_open.iter().for_each(|is_open| is_open.store(true, Ordering::Relaxed));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_shows_no_client_an_error() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let errors = under_load(&mut cluster, "roll", async |seats, clients, is_open| {
        for (seat, is_open) in seats.iter_mut().zip(is_open) {
            // As whoever balances load does before a node is stopped.
            is_open.store(false, Ordering::Relaxed);
            assert_eq!(seat.leave().await, Some(0));
            seat.start().await;
            is_open.store(true, Ordering::Relaxed);
            clients.goes_on(30).await;
        }
    })
    .await;
    assert_eq!(errors, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_gives_everything_away_and_ends() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let errors = under_load(&mut cluster, "drain", async |seats, clients, is_open| {
        is_open[2].store(false, Ordering::Relaxed);
        let drained = seats[0].node().post("/v1/system/nodes/c/drain", json!({})).await;
        assert_eq!(drained.status, 202, "{drained:?}");
        assert_eq!(seats[2].ended().await, Some(0));
        clients.goes_on(30).await;
    })
    .await;
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(cluster.owners().iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_for_a_moment_keeps_what_it_owns() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let before = cluster.map();
    under_load(&mut cluster, "still", async |seats, _, is_open| {
        is_open[1].store(false, Ordering::Relaxed);
        seats[1].signal(Signal::STOP);
        after(Duration::from_secs(2)).await;
        seats[1].signal(Signal::CONT);
        is_open[1].store(true, Ordering::Relaxed);
    })
    .await;
    assert_eq!(cluster.map(), before);
}

/// It believes that it still owns its shards when it comes back; its clients ask it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_that_comes_back_writes_nothing_and_shows_nothing_old() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let query = cluster.asker();
    under_load(&mut cluster, "freeze", async |seats, clients, is_open| {
        is_open[1].store(false, Ordering::Relaxed);
        seats[1].signal(Signal::STOP);
        after(Duration::from_secs(30)).await;
        clients.goes_on(150).await;
        let newest: Vec<_> = {
            let mut newest = Vec::new();
            for tenant in clients.tenants() {
                let tenant = seats[0].node().get(&format!("/v1/tenants/{tenant}")).await.ok();
                newest.push(tenant["version"].as_u64().unwrap());
            }
            newest
        };
        assert_eq!(query(IS_UP), "0");
        seats[1].signal(Signal::CONT);
        let awake = Instant::now();
        is_open[1].store(true, Ordering::Relaxed);
        for (tenant, newest) in clients.tenants().iter().zip(newest) {
            let seen = seats[1].node().get(&format!("/v1/tenants/{tenant}")).await;
            if seen.status.is_success() {
                assert!(seen.body["version"].as_u64().unwrap() >= newest, "{seen:?}");
            } else {
                assert_eq!(seen.status, 503, "{seen:?}");
            }
        }
        // It is here again, as another run of itself.
        let patience = REJOINS_WITHIN.saturating_sub(awake.elapsed());
        until_in(patience, || query(IS_UP) == "1").await;
        for number in ["prognet_cluster_fences_total", "prognet_cluster_evictions_total"] {
            assert!(seats[1].node().metric(number).await > 0, "{number}");
        }
    })
    .await;
    cluster.is_even().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_do_not_reach_each_other_are_relayed_and_none_is_evicted() {
    let mut cluster = Cluster::behind_proxies(&NAMES).await;
    let before = cluster.map();
    under_load(&mut cluster, "links", async |seats, clients, _| {
        for (way, is_cut) in [(0, true), (1, true), (0, false), (1, false)] {
            // First one way, then both; then it heals.
            let (door, other) = if way == 0 { (&seats[1].door, "a") } else { (&seats[0].door, "b") };
            door.set(|rules| {
                if is_cut {
                    rules.cut_off.insert(other.to_owned());
                } else {
                    rules.cut_off.remove(other);
                }
            });
            clients.goes_on(60).await;
        }
    })
    .await;
    assert_eq!(cluster.map(), before, "one owner per shard, the same as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_store_fences_itself_and_still_leads_to_the_others() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    under_load(&mut cluster, "fence", async |seats, clients, is_open| {
        is_open[2].store(false, Ordering::Relaxed);
        seats[2].store.set(|rules| rules.is_cut = true);
        // Its lease ends, and others take its shards over.
        clients.goes_on(100).await;
        let served = async {
            loop {
                let tenant = format!("/v1/tenants/{}", clients.tenants()[0]);
                if seats[2].node().get(&tenant).await.status.is_success() {
                    return;
                }
                breathe().await;
            }
        };
        timeout(Duration::from_secs(30), served).await.expect("it leads to the others");
        seats[2].store.set(|rules| rules.is_cut = false);
        is_open[2].store(true, Ordering::Relaxed);
    })
    .await;
    cluster.is_even().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_slow_stopped_and_restarted_loses_nothing_and_moves_nothing() {
    let mut cluster = Cluster::on_a_server(&NAMES).await;
    let before = cluster.map();
    let server = std::sync::Arc::clone(cluster.server());
    under_load(&mut cluster, "store", async |seats, clients, _| {
        for seat in seats.iter() {
            seat.store.set(|rules| rules.delay = Duration::from_millis(100));
        }
        clients.goes_on(20).await;
        for seat in seats.iter() {
            seat.store.set(|rules| rules.delay = Duration::ZERO);
        }
        clients.goes_on(20).await;
        for seat in seats.iter() {
            seat.store.set(|rules| rules.is_stalled = true);
        }
        after(Duration::from_secs(20)).await;
        for seat in seats.iter() {
            seat.store.set(|rules| rules.is_stalled = false);
        }
        clients.goes_on(20).await;
        let stopped = std::sync::Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            stopped.stop();
            stopped.resume();
        })
        .await
        .unwrap();
        clients.goes_on(20).await;
    })
    .await;
    assert_eq!(cluster.map(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_nobody_hosts_is_named() {
    let mut cluster = Cluster::empty(&["a", "b"], &[("PROGNET_CLUSTER_ALLOW_PARTIAL", "true")]).await;
    cluster.seats[0].set("PROGNET_CLUSTER_ROLES", "gateway, auth, users, communication, events");
    cluster.seats[0].start().await;
    let a = cluster.seats[0].node();

    let refused = a.post("/v1/tenants", json!({ "name": "Acme", "slug": "acme" })).await;

    assert!(refused.headers.contains_key("retry-after"));
    let problem = refused.problem(503, "node/no-host");
    assert!(problem["detail"].as_str().unwrap().contains("`tenancy`"), "{problem}");

    cluster.seats[1].set("PROGNET_CLUSTER_ROLES", "tenancy");
    cluster.seats[1].start().await;
    let (a, b) = (cluster.seats[0].node(), cluster.seats[1].node());
    let id = a.tenant("acme").await;
    assert_eq!(b.get(&format!("/v1/tenants/{id}")).await.ok()["slug"], "acme");
    let services = |owner| {
        cluster.query(&format!("select distinct service from shard where owner = '{owner}' order by 1"))
    };
    assert_eq!(services("b"), "tenancy");
    assert_eq!(services("a"), "auth\ncommunication\nevents\nusers");
}
