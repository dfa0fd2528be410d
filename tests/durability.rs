//! kill -9 at random moments: what was acknowledged is there, nothing twice, and it goes on.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use prognet_storage::{
    Lsn, Name, ReadModel,
    embedded::SledTier,
    keyring::{Keyring, MasterKey},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{Node, reply};

/// Kills; `KILL_ROUNDS=1000` makes a long run of it.
fn rounds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
    let rounds = std::env::var("KILL_ROUNDS");
    rounds.ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20)
}

const CLIENTS: usize = 8;

/// What one client was told about its tenant.
#[derive(Debug, Default, Clone)]
struct Told {
    id: Option<String>,
    /// Names in the order they were acknowledged.
    acknowledged: Vec<String>,
    /// The one whose answer never came: it may be there or not.
    unanswered: Option<String>,
    sent: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_over_twenty_kills() {
    let data = tempfile::tempdir().unwrap();
    let node = over_kills(Node::start(data.path()), rounds()).await;
    let node = rebuilt_lists_are_the_same(node, data.path()).await;
    lists_agree(&node).await;
}

/// Kills a node under load so often, and starts it again: what clients were told is there, once, in order.
pub(crate) async fn over_kills(mut node: Node, rounds: u64) -> Node {
    let told: Vec<_> = (0..CLIENTS).map(|_| Arc::new(Mutex::new(Told::default()))).collect();
    for round in 0..rounds {
        let clients = told.iter().enumerate().map(|(client, told)| work(&node, client, round, told));
        let work = futures_util::future::join_all(clients);
        // The moment of the kill differs from round to round, and lies anywhere in the work.
        let moment = tokio::time::sleep_until(
            tokio::time::Instant::now() + std::time::Duration::from_millis(30 + (round * 37) % 170),
        );
        tokio::select! {
            _ = work => {}
            () = moment => {}
        }
        node.kill();
        node = node.kill_and_restart();
        for told in &told {
            check(&node, &mut *told.lock().await).await;
        }
    }
    let total: usize = futures_util::future::join_all(
        told.iter().map(|told| async { told.lock().await.acknowledged.len() }),
    )
    .await
    .into_iter()
    .sum();
    assert!(total > 100, "the rounds were too short to prove anything: {total} acknowledged");
    let ids: Vec<_> =
        futures_util::future::join_all(told.iter().map(|told| async { told.lock().await.id.clone() })).await;
    timers_have_fired(&node, ids.iter().flatten()).await;
    lists_agree(&node).await;
    node
}

/// Every client's tenant was suspended for a moment before each kill; none stays so.
async fn timers_have_fired(node: &Node, ids: impl Iterator<Item = &String>) {
    for id in ids {
        let path = format!("/v1/tenants/{id}");
        node.eventually(&path, |tenant| tenant["status"] == "active").await;
        let kinds = kinds(node, id).await;
        let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
        assert_eq!(count("tenant.suspended"), count("tenant.resumed"), "each timer fired once: {kinds:?}");
        assert_eq!(count("tenant.created"), 1, "its founding's commands arrived once");
    }
}

/// Thrown away and built again from the journal, lists and trails are what they were.
async fn rebuilt_lists_are_the_same(node: Node, data: &Path) -> Node {
    let list = "/v1/tenants?limit=200";
    let before = node.get(list).await.ok();
    let trails = before["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
    let mut expected = Vec::new();
    for trail in trails.map(|id| format!("/v1/tenants/{id}/audit?limit=200")) {
        let entries = node.get(&trail).await.ok();
        expected.push((trail, entries));
    }
    let mut node = node;
    node.kill();
    std::fs::remove_dir_all(data.join("tier")).unwrap();
    let node = node.kill_and_restart();
    node.eventually(list, |page| *page == before).await;
    for (trail, entries) in expected {
        node.eventually(&trail, |page| page["data"] == entries["data"]).await;
    }
    node
}

/// Founds a tenant once, then renames it for as long as the node answers.
async fn work(node: &Node, client: usize, round: u64, told: &Mutex<Told>) {
    loop {
        let mut told = told.lock().await;
        told.sent += 1;
        let name = format!("client {client} name {}", told.sent);
        let Some(id) = told.id.clone() else {
            let request = node
                .request(Method::POST, "/v1/tenants")
                .header("Idempotency-Key", format!("found-{client}"));
            let founded =
                reply(request.json(&json!({ "name": "first", "slug": format!("client-{client}") }))).await;
            match founded {
                Ok(founded) => told.id = Some(founded.ok()["id"].as_str().unwrap().to_owned()),
                Err(_) => return,
            }
            continue;
        };
        if told.sent.is_multiple_of(7) {
            suspend_for_a_moment(node, &id).await;
        }
        // Noted before it is sent: from here on it may be in the journal.
        told.unanswered = Some(name.clone());
        let request = node.request(Method::PATCH, &format!("/v1/tenants/{id}"));
        let request = request.header("Idempotency-Key", format!("{client}-{round}-{}", told.sent));
        match reply(request.json(&json!({ "name": name }))).await {
            Ok(renamed) => {
                assert_eq!(renamed.ok()["name"], name.as_str());
                told.acknowledged.push(name);
                told.unanswered = None;
            }
            Err(_) => return,
        }
    }
}

/// Sets a timer that falls due about when the node is killed; whether it is taken, the history tells.
async fn suspend_for_a_moment(node: &Node, id: &str) {
    let until = prognet_supervisor::Clock::default().now().after(std::time::Duration::from_millis(60));
    let body = json!({ "reason": "other", "until": until.to_string() });
    let request = node.request(Method::POST, &format!("/v1/tenants/{id}/suspend")).json(&body);
    drop(reply(request).await);
}

/// Compares what a client was told with the tenant's history.
async fn check(node: &Node, told: &mut Told) {
    let Some(id) = &told.id else { return };
    let names = renames(node, id).await;
    let mut expected = told.acknowledged.clone();
    if names.len() > expected.len() {
        expected.extend(told.unanswered.take());
    }
    verdict(&names, &expected).unwrap();
    told.acknowledged = expected;
    told.unanswered = None;
    let now = node.get(&format!("/v1/tenants/{id}")).await.ok();
    assert_eq!(now["name"].as_str(), Some(names.last().map_or("first", String::as_str)));
}

/// Every acknowledged name once, in the order it was acknowledged, and nothing else.
fn verdict(found: &[String], expected: &[String]) -> Result<(), String> {
    let mut counts = BTreeMap::<_, usize>::new();
    for name in found {
        *counts.entry(name).or_default() += 1;
    }
    if let Some((name, _)) = counts.iter().find(|(_, count)| **count > 1) {
        return Err(format!("twice: {name}"));
    }
    if let Some(name) = expected.iter().find(|name| !counts.contains_key(name)) {
        return Err(format!("lost: {name}"));
    }
    if found == expected { Ok(()) } else { Err(format!("another order: {found:?} instead of {expected:?}")) }
}

#[test]
fn the_checker_finds_planted_faults() {
    let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(verdict(&names("a b c"), &names("a b c")), Ok(()));
    assert_eq!(verdict(&names("a c"), &names("a b c")), Err("lost: b".to_owned()));
    assert_eq!(verdict(&names("a b b c"), &names("a b c")), Err("twice: b".to_owned()));
    assert!(verdict(&names("b a c"), &names("a b c")).unwrap_err().starts_with("another order"));
    assert!(verdict(&names("a b x"), &names("a b")).unwrap_err().starts_with("another order"));
}

async fn renames(node: &Node, id: &str) -> Vec<String> {
    let events = history(node, id).await.into_iter().filter(|event| event["type"] == "tenant.renamed");
    events.map(|event| event["data"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn kinds(node: &Node, id: &str) -> Vec<String> {
    history(node, id).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// All events of a tenant, page by page.
async fn history(node: &Node, id: &str) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let page = node.get(&format!("/v1/tenants/{id}/events?limit=200{after}")).await.ok();
        events.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return events,
        }
    }
}

/// The list is what the entities say, and stays so when it is built again from nothing.
async fn lists_agree(node: &Node) {
    let listed = node
        .eventually("/v1/tenants?limit=200", |page| {
            page["data"].as_array().is_some_and(|rows| rows.len() >= CLIENTS - 1)
        })
        .await;
    for row in listed["data"].as_array().unwrap() {
        let path = format!("/v1/tenants/{}", row["id"].as_str().unwrap());
        let entity = node.get(&path).await.ok();
        node.eventually("/v1/tenants?limit=200", |page| has(page, &entity)).await;
    }
}

fn has(page: &Value, tenant: &Value) -> bool {
    page["data"].as_array().is_some_and(|rows| rows.contains(tenant))
}

#[tokio::test]
async fn read_models_thrown_away_or_damaged_are_built_again_the_same() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    for slug in ["one", "two", "three"] {
        node.tenant(slug).await;
    }
    let is_whole = |page: &Value| page["data"].as_array().is_some_and(|rows| rows.len() == 3);
    let before = node.eventually("/v1/tenants", is_whole).await;
    let tier = data.path().join("tier");

    for damage in [0, 1, 2] {
        node.kill();
        match damage {
            0 => std::fs::remove_dir_all(&tier).unwrap(),
            1 => std::fs::write(tier.join("db"), b"").unwrap(),
            _ => {
                let length = std::fs::metadata(tier.join("db")).unwrap().len();
                std::fs::write(tier.join("db"), vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
            }
        }
        node = node.kill_and_restart();
        assert_eq!(node.eventually("/v1/tenants", is_whole).await, before);
    }
}

/// What readers keep is a function of the journal, whatever moments, restarts and order it was made in.
#[tokio::test]
async fn every_projection_has_the_same_digest_after_it_was_rebuilt_from_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let until = prognet_supervisor::Clock::default().now().after(std::time::Duration::from_secs(86_400));
    let mut ids = Vec::new();
    for slug in ["one", "two", "three"] {
        ids.push(node.tenant(slug).await);
    }
    let invite = json!({ "email": "grace@example.org", "role": "member" });
    node.post(&format!("/v1/tenants/{}/invitations", ids[2]), invite).await.ok();
    // Half of the history is taken in by one process, half by the next.
    let node = node.kill_and_restart();
    let suspend = json!({ "reason": "other", "until": until.to_string() });
    node.post(&format!("/v1/tenants/{}/suspend", ids[0]), suspend).await.ok();
    node.post(&format!("/v1/tenants/{}/suspend", ids[1]), json!({ "reason": "abuse" })).await.ok();
    node.post(&format!("/v1/tenants/{}/resume", ids[1]), json!({})).await.ok();
    node.post("/v1/tenants", json!({ "name": "Again", "slug": "one" }))
        .await
        .problem(409, "tenant/slug-taken");
    let readers = readers_caught_up(&node).await;
    assert_eq!(node.terminate(), Some(0));
    let before = digests(data.path(), &readers).await;

    std::fs::remove_dir_all(data.path().join("tier")).unwrap();
    let nothing = digests(data.path(), &readers).await;
    let node = Node::empty(data.path());
    assert_eq!(readers_caught_up(&node).await, readers);
    assert_eq!(node.terminate(), Some(0));

    assert_eq!(digests(data.path(), &readers).await, before);
    // Readers with effects outside keep no rows.
    for (reader, digest) in before.into_iter().filter(|(reader, _)| !OUTWARD.contains(&reader.as_str())) {
        assert_ne!(Some(&digest), nothing.get(&reader), "{reader} keeps nothing, so this proves nothing");
    }
}

/// Readers that are no projections.
const OUTWARD: [&str; 3] = ["eraser", "mail", "ties"];

/// The readers of a node, once each has seen everything: also what another one wrote while they were looked at one by
/// one, so they are looked at again.
pub(crate) async fn readers_caught_up(node: &Node) -> Vec<String> {
    let mut looks = 0;
    for _ in 0..600 {
        let (_, numbers) = node.managed("/metrics").await;
        let lines =
            numbers.lines().filter_map(|line| line.strip_prefix("prognet_reader_lag_records{reader=\""));
        let lags: Vec<_> = lines.filter_map(|line| line.split_once("\"} ")).collect();
        looks = if lags.iter().all(|(_, lag)| *lag == "0") { looks + 1 } else { 0 };
        if looks == 3 {
            return lags.into_iter().map(|(reader, _)| reader.to_owned()).collect();
        }
        node.a_moment_later().await;
    }
    panic!("some reader never caught up")
}

/// The digest of what each reader keeps, on a data directory that no node uses.
async fn digests(data: &Path, readers: &[String]) -> BTreeMap<String, u64> {
    let directory = data.join("keyring");
    let keyring = Keyring::open(&directory, &MasterKey::in_directory(&directory).unwrap()).unwrap();
    let tier = SledTier::open(&data.join("tier"), 1 << 23, Arc::new(keyring), Lsn(u64::MAX));
    let (tier, set_aside) = tier.unwrap();
    assert_eq!(set_aside, None);
    let mut digests = BTreeMap::new();
    for reader in readers {
        digests.insert(reader.clone(), tier.digest(Name::parse(reader).unwrap()).await.unwrap());
    }
    digests
}

#[tokio::test]
async fn a_terminated_node_exits_with_zero_and_goes_on_where_it_was() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = node.tenant("acme").await;
    assert_eq!(node.managed("/readyz").await.0, 200);

    assert_eq!(node.terminate(), Some(0));

    let node = Node::start(data.path());
    assert_eq!(node.get(&format!("/v1/tenants/{id}")).await.ok()["slug"], "acme");
    let (status, metrics) = node.managed("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("prognet_entities_hot{kind=\"tenant\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_second_node_on_the_same_data_is_refused_with_the_holders_pid() {
    let data = tempfile::tempdir().unwrap();
    let _node = Node::start(data.path());
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_prognet"))
        .args(["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use by process"), "{said}");
}
