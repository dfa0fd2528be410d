//! What an operator does to a whole cluster: restores its database by the database's own tools, and takes it from one
//! version to the next while it serves.

use std::{
    process::{Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use prognet_sdk::{LiveFrame, LiveRequest};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{
        Node, PASSWORD,
        cluster::{Cluster, Seat},
        command::text,
        history::Clients,
        until_in,
    },
    live::Socket,
    people::{person, with},
};

const HEIDI: &str = "heidi@example.org";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// What a restoring raises epochs by.
const RAISED_BY: u64 = 1 << 20;

/// What a command that must succeed found.
#[track_caller]
fn found(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Why a command that must fail does.
#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// What `pg_dump` makes of the database.
fn dump(cluster: &Cluster) -> Vec<u8> {
    let mut dump = cluster.server().program("pg_dump");
    dump.args(["-U", "postgres", "-h"]).arg(&cluster.server().directory).arg(cluster.database());
    let output = dump.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Puts a dump in the place of what is there.
fn put_back(cluster: &Cluster, dump: &[u8]) {
    cluster.query("drop schema public cascade");
    let mut psql = cluster.server().program("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", cluster.database(), "-h"]);
    psql.arg(&cluster.server().directory).stdin(Stdio::piped()).stdout(Stdio::null());
    cluster.query("create schema public");
    let mut psql = psql.spawn().unwrap();
    let mut into = psql.stdin.take().unwrap();
    std::io::Write::write_all(&mut into, dump).unwrap();
    drop(into);
    assert!(psql.wait().unwrap().success());
}

/// Cursors that a client may have kept: of a list, and of a tenant's events.
async fn cursors(node: &Node, tenant: &str) -> (String, String) {
    let page = node.eventually("/v1/tenants?limit=1", |page| page["next"].is_string()).await;
    let events = node.get(&format!("/v1/tenants/{tenant}/events?limit=1")).await.ok();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&page["next"]), text(&events["data"][0]["cursor"]))
}

async fn are_of_another_time(node: &Node, tenant: &str, (list, events): &(String, String)) {
    for path in [format!("/v1/tenants?after={list}"), format!("/v1/tenants/{tenant}/events?after={events}")] {
        node.get(&path).await.problem(410, "request/restored");
    }
    let stream = node.request(Method::GET, &format!("/v1/live/sse?topic=tenant:{tenant}"));
    let stream = stream.header("last-event-id", events);
    assert_eq!(stream.send().await.unwrap().status(), 410);
    let mut socket = Socket::admin(node).await;
    let topic = format!("tenant:{tenant}");
    socket.send(&LiveRequest::Subscribe { topic, after: Some(events.clone()) }).await;
    match socket.frame().await {
        LiveFrame::Refused { problem } => assert_eq!(problem.status, 410),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_goes_on_as_another_cluster_and_old_cursors_are_told_so() {
    let mut cluster = Cluster::of(&["a", "b"], &[("PROGNET_AUTH_LEAVING_GRACE", "1s")]).await;
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys");
    let restored = |seat: &Seat, more: &[&str]| {
        seat.command(&[&["data", "restored", "-o", "json", "--keyring", text(&keys)][..], more].concat())
    };
    let node = cluster.seats[0].node();
    let (acme, heidi) = (node.tenant("acme").await, person(node, HEIDI).await);
    node.tenant("second").await;
    let kept = cursors(node, &acme).await;
    let dumped = dump(&cluster);
    // What the dump knows nothing of, and of this the keys alone.
    node.tenant("later").await;
    with(node, Method::DELETE, "/v1/me", &heidi.access_token, json!({ "password": PASSWORD })).await.ok();
    node.until_refused(&format!("/v1/accounts/{}", heidi.account)).await.problem(404, "account/unknown");
    found(&cluster.seats[0].command(&["keyring", "export", "-o", "json", "--to", text(&keys)]));
    let before = cluster.map();
    let said = refused(&restored(&cluster.seats[0], &["--confirm"]));
    assert!(said.contains("runs on this database"), "{said}");
    assert_eq!(cluster.map(), before);
    for seat in &mut cluster.seats {
        seat.kill();
    }
    put_back(&cluster, &dumped);
    // The leases of the day of the dump may not be over yet.
    until_in(PATIENCE, || restored(&cluster.seats[0], &[]).status.success()).await;
    let (before, epoch) =
        (cluster.map(), cluster.query("select max(epoch) from shard").parse::<u64>().unwrap());

    assert_eq!(found(&restored(&cluster.seats[0], &[]))["is_done"], false);
    assert_eq!(cluster.map(), before, "without --confirm nothing changes");
    let done = found(&restored(&cluster.seats[0], &["--confirm"]));

    assert_eq!((&done["erased"], &done["epoch"]), (&json!(1), &json!(epoch + RAISED_BY)));
    assert_ne!(done["before"], done["generation"]);
    assert_eq!(cluster.query("select count(*) from shard where state <> 'free'"), "0");
    assert_eq!(cluster.query(&format!("select count(*) from shard where epoch < {RAISED_BY}")), "0");
    cluster.start().await;
    for seat in &cluster.seats {
        let node = seat.node();
        are_of_another_time(node, &acme, &kept).await;
        assert_eq!(node.get(&format!("/v1/tenants/{acme}")).await.ok()["slug"], "acme");
        node.get(&format!("/v1/accounts/{}", heidi.account)).await.problem(404, "account/unknown");
    }
    // What the dump did not have may happen again, and new cursors are good.
    let node = cluster.seats[0].node();
    let later = node.tenant("later").await;
    let (list, events) = cursors(node, &later).await;
    node.get(&format!("/v1/tenants?after={list}")).await.ok();
    node.get(&format!("/v1/tenants/{later}/events?after={events}")).await.ok();
}

/// From the next start on, a place's node speaks versions that much later, and the one before.
fn is_later(seat: &mut Seat, by: &str) {
    seat.set("TEST_OF_PROGNET_LATER_BY", by);
}

/// Lets the node of a place leave, and another build start there.
async fn replaced(seat: &mut Seat, is_open: &AtomicBool, by: &str) {
    is_open.store(false, Ordering::Relaxed);
    assert_eq!(seat.leave().await, Some(0));
    is_later(seat, by);
    seat.start().await;
    is_open.store(true, Ordering::Relaxed);
}

fn finalized(seat: &Seat) -> Output {
    seat.command(&["cluster", "finalize", "-o", "json"])
}

fn checked(seat: &Seat) -> Output {
    seat.command(&["upgrade", "check", "-o", "json"])
}

/// Everything that comes before the end of the way back.
async fn goes_forth_and_back(seats: &mut [Seat], is_open: &[AtomicBool], query: &impl Fn(&str) -> String) {
    is_later(&mut seats[0], "2");
    let said = refused(&checked(&seats[0]));
    assert!(said.contains("version 1 is finalized"), "{said}");
    is_later(&mut seats[0], "1");
    assert_eq!(found(&checked(&seats[0]))["is_safe"], true);
    replaced(&mut seats[0], &is_open[0], "1").await;
    replaced(&mut seats[1], &is_open[1], "1").await;
    // What a later version does to the schema while the one before runs: it only adds.
    query("insert into migration (number, name, expands) values (1000, 'of a later version', true)");
    let said = refused(&finalized(&seats[0]));
    assert!(said.contains("node `c`") && said.contains("up to 1"), "{said}");
    assert_eq!(query("select finalized from cluster_meta"), "1");
    replaced(&mut seats[1], &is_open[1], "0").await;
    for at in [1, 2] {
        replaced(&mut seats[at], &is_open[at], "1").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_versions_serve_side_by_side_until_the_way_back_is_ended() {
    let mut cluster = Cluster::of(&["a", "b", "c"], &[]).await;
    let query = cluster.asker();
    let clients = Clients::new(cluster.seats[0].node(), "versions").await;
    let is_open = [true, true, true].map(AtomicBool::new);
    let urls = cluster.seats.iter().map(|seat| seat.node().url().to_owned());
    let doors: Vec<_> = is_open.iter().zip(urls).collect();
    let seats = &mut cluster.seats;
    let acts = async {
        clients.goes_on(50).await;
        goes_forth_and_back(seats, &is_open, &query).await;
        let now = found(&finalized(&seats[0]));
        assert_eq!(now, json!({ "before": 1, "finalized": 2 }));
        clients.goes_on(50).await;
        clients.end();
    };
    tokio::join!(clients.run(&doors), acts);
    assert_eq!(clients.are_right(&cluster).await, Vec::<String>::new());

    let seat = &mut cluster.seats[2];
    assert_eq!(seat.leave().await, Some(0));
    is_later(seat, "0");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"];
    let said = refused(&seat.command(&serve));
    assert!(said.contains("finalized at version 2") && said.contains("newer build"), "{said}");
    assert!(refused(&checked(seat)).contains("version 2 is finalized"));
    assert_eq!(query("select count(*) from node where node = 'c' and status <> 'down'"), "0");
}
