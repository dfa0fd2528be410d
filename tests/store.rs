//! A node that keeps everything in a PostgreSQL database: what holds in a data directory holds there.

use std::{path::Path, process::Output};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    durability,
    harness::{
        self, Node,
        command::{self, text},
        postgres::Server,
        reply,
    },
};

const ROUNDS: u64 = 10;

/// A node on a database.
fn on(database: &str, data: &Path) -> Node {
    Node::with(data, &[("PROGNET_STORAGE_URL", database)])
}

/// Why a node does not start on a database.
fn refused(database: &str, more: &[(&str, &str)]) -> String {
    let data = tempfile::tempdir().unwrap();
    let served = serve(database, data.path(), more);
    assert_eq!(served.status.code(), Some(1));
    String::from_utf8(served.stderr).unwrap()
}

fn serve(database: &str, data: &Path, more: &[(&str, &str)]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_prognet"))
        .args(["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("PROGNET_STORAGE_URL", database)
        .envs(more.iter().copied())
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_over_kills_of_a_node_on_a_database() {
    let data = tempfile::tempdir().unwrap();
    durability::over_kills(on(&Server::shared().fresh(), data.path()), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_for_a_while_refuses_writes_meanwhile_and_loses_nothing() {
    let (data, server) = (tempfile::tempdir().unwrap(), Server::start());
    let node = on(&server.fresh(), data.path());
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let before = node.get(&path).await.ok();
    let rename = async |name: &str, key: &str| {
        let request = node.request(Method::PATCH, &path).header("Idempotency-Key", key);
        reply(request.json(&json!({ "name": name }))).await.unwrap()
    };

    server.stop();

    let refused = rename("while it is gone", "1").await;
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(node.get(&path).await.ok(), before, "who is in memory is read all the same");
    while node.managed("/readyz").await.0 == 200 {
        node.a_moment_later().await;
    }

    server.resume();

    let renamed = loop {
        let renamed = rename("back again", "2").await;
        if renamed.status.is_success() {
            break renamed.body;
        }
        assert_eq!(renamed.status, 503, "{renamed:?}");
        node.a_moment_later().await;
    };
    assert_eq!(node.managed("/readyz").await.0, 200);
    let node = node.kill_and_restart();
    assert_eq!(node.get(&path).await.ok(), renamed);
    let page = node.get(&format!("{path}/events?limit=200")).await.ok();
    let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|event| &event["data"]["name"]).collect();
    assert_eq!(names.iter().filter(|name| **name == "back again").count(), 1, "{names:?}");
}

#[tokio::test]
async fn a_second_node_on_a_database_ends_the_first_and_has_everything() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (database, key) = (Server::shared().fresh(), "ab".repeat(32));
    let settings = [("PROGNET_STORAGE_URL", database.as_str()), ("PROGNET_STORAGE_MASTER_KEY", key.as_str())];
    let mut overtaken = Node::with(first.path(), &settings);
    let id = overtaken.tenant("acme").await;

    let node = Node::with(second.path(), &settings);

    assert_eq!(overtaken.ended().await, Some(1));
    let said = std::fs::read_to_string(first.path().join("log")).unwrap();
    assert!(said.contains("another process writes to it"), "{said}");
    assert_eq!(node.get(&format!("/v1/tenants/{id}")).await.ok()["slug"], "acme");
    node.post("/v1/tenants", json!({ "name": "Again", "slug": "acme" }))
        .await
        .problem(409, "tenant/slug-taken");
    node.eventually("/v1/tenants", |page| page["data"][0]["id"] == Value::from(id.as_str())).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_told_before_anything_starts() {
    let server = Server::shared();
    let database = server.fresh();
    let data = tempfile::tempdir().unwrap();
    drop(on(&database, data.path()));
    for (url, more, told) in [
        ("mysql://somewhere", None, "`storage.url` is no address of a PostgreSQL database"),
        ("postgres://ada:secret@127.0.0.1:1/prognet", None, "failed to reach PostgreSQL at 127.0.0.1:1"),
        (&server.url("postgres", "nowhere"), None, "has no database `nowhere`"),
        (&database, Some("cd"), "the master key is another than the one that wrapped the keyring"),
    ] {
        let key = more.map(|digits: &str| ("PROGNET_STORAGE_MASTER_KEY", digits.repeat(32)));
        let more: Vec<_> = key.iter().map(|(name, key)| (*name, key.as_str())).collect();
        let said = refused(url, &more);
        assert!(said.contains(told), "{told} in {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_restored_dump_does_not_bring_back_what_was_erased_since() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (server, key) = (Server::shared(), "ab".repeat(32));
    let (before, after) = (server.fresh(), server.fresh());
    let settings = |database| [("PROGNET_STORAGE_URL", database), ("PROGNET_STORAGE_MASTER_KEY", key.as_str())];
    let node = Node::with(place.path(), &settings(before.as_str()));
    let [grace, heidi] = [node.person("grace@example.org").await, node.person("heidi@example.org").await];
    server.dump(&before, &at("dump"));
    harness::erased(&node, &grace).await;
    let keyring = |verb, flag, file: &Path, database: &str| {
        let set = format!("storage.url={database}");
        let key = format!("storage.master_key={key}");
        command::told(&["keyring", verb, flag, text(file), "--set", &set, "--set", &key]);
    };
    keyring("export", "--to", &at("keys"), &before);
    drop(node);
    server.restore(&at("dump"), &after);

    keyring("restore", "--from", &at("keys"), &after);

    let node = Node::with(place.path(), &settings(after.as_str()));
    heidi.signs_in(&node).await;
    grace.is_unknown_to(&node).await;
}
