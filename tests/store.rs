//! A node that keeps everything in a PostgreSQL database: what holds in a data directory holds there.

use std::{path::Path, process::Output};

use reqwest::Method;
use serde_json::json;

use crate::{
    durability,
    guesses::sign_in,
    harness::{
        Node, PASSWORD,
        command::{self, text},
        postgres::{Server, run},
        reply,
    },
    people::{person, with},
};

const ROUNDS: u64 = 10;

/// A node on a database.
fn on(database: &str, data: &Path) -> Node {
    Node::with(data, &[("PROGNET_STORAGE_URL", database)])
}

/// The address of a database with nothing in it.
fn fresh(server: &Server) -> String {
    server.url("postgres", &server.create())
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
    durability::over_kills(on(&fresh(Server::shared()), data.path()), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_for_a_while_refuses_writes_meanwhile_and_loses_nothing() {
    let (data, server) = (tempfile::tempdir().unwrap(), Server::start());
    let node = on(&fresh(&server), data.path());
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let untouched = format!("/v1/tenants/{}", node.tenant("untouched").await);
    let before = node.get(&untouched).await.ok();
    let rename = async |name: &str, key: &str| {
        let request = node.request(Method::PATCH, &path).header("Idempotency-Key", key);
        reply(request.json(&json!({ "name": name }))).await.unwrap()
    };

    server.stop();

    // For as long as the lease holds.
    assert_eq!(node.get(&untouched).await.ok(), before, "who is in memory is read all the same");
    // Oftener than an entity may crash.
    for attempt in 0..10 {
        let refused = rename("while it is gone", &format!("gone-{attempt}")).await;
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        assert_eq!(refused.status, 503, "{refused:?}");
    }
    while node.managed("/readyz").await.0 == 200 {
        node.a_moment_later().await;
    }

    server.resume();

    let renamed = loop {
        let renamed = rename("back again", "back").await;
        if renamed.status.is_success() {
            break renamed.body;
        }
        assert_eq!(renamed.status, 503, "{renamed:?}");
        node.a_moment_later().await;
    };
    while node.managed("/readyz").await.0 != 200 {
        node.a_moment_later().await;
    }
    let node = node.kill_and_restart();
    assert_eq!(node.get(&path).await.ok(), renamed);
    let page = node.get(&format!("{path}/events?limit=200")).await.ok();
    let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|event| &event["data"]["name"]).collect();
    assert_eq!(names.iter().filter(|name| **name == "back again").count(), 1, "{names:?}");
}

#[tokio::test]
async fn a_second_node_that_is_not_linked_to_the_first_is_refused_and_the_first_goes_on() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (database, key) = (fresh(Server::shared()), "ab".repeat(32));
    let settings = [("PROGNET_STORAGE_URL", database.as_str()), ("PROGNET_STORAGE_MASTER_KEY", key.as_str())];
    let node = Node::with(first.path(), &settings);
    let id = node.tenant("acme").await;

    for (more, told) in [
        (("PROGNET_CLUSTER_NODE", "another"), "check `cluster.listen`"),
        (("PROGNET_LOG_FILTER", "warn"), "give one of them another `cluster.node`"),
    ] {
        let served = serve(&database, second.path(), &[settings[1], more]);
        assert_eq!(served.status.code(), Some(1));
        let said = String::from_utf8(served.stderr).unwrap();
        assert!(said.contains(told), "{told} in {said}");
    }
    let served = serve(&database, first.path(), &[settings[1]]);
    let said = String::from_utf8(served.stderr).unwrap();
    assert!(said.contains("another process is this node"), "{said}");

    assert_eq!(node.get(&format!("/v1/tenants/{id}")).await.ok()["slug"], "acme");
    node.post("/v1/tenants", json!({ "name": "Again", "slug": "acme" }))
        .await
        .problem(409, "tenant/slug-taken");
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_told_before_anything_starts() {
    let server = Server::shared();
    let database = fresh(server);
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
async fn a_restored_dump_under_the_newest_keys_brings_nobody_back_who_was_erased_since() {
    let place = tempfile::tempdir().unwrap();
    let (server, key) = (Server::shared(), "ab".repeat(32));
    let [before, after] = [(); 2].map(|()| server.create());
    let settings = |database: &str| {
        [
            ("PROGNET_STORAGE_URL", server.url("postgres", database)),
            ("PROGNET_STORAGE_MASTER_KEY", key.clone()),
            ("PROGNET_AUTH_LEAVING_GRACE", "1s".to_owned()),
        ]
    };
    let start = |database: &str| {
        let settings = settings(database);
        Node::with(place.path(), &settings.each_ref().map(|(name, value)| (*name, value.as_str())))
    };
    let node = start(&before);
    let [grace, heidi] = ["grace@example.org", "heidi@example.org"];
    let leaving = person(&node, grace).await;
    person(&node, heidi).await;
    let (dump, keys) = (server.directory.join(format!("{before}.dump")), place.path().join("keys"));
    let program = |name| {
        let mut program = server.program(name);
        program.arg("--host").arg(&server.directory).arg("--username=postgres");
        program
    };
    run(program("pg_dump").arg("--format=custom").arg("--file").arg(&dump).arg(&before));
    let body = json!({ "password": PASSWORD });
    with(&node, Method::DELETE, "/v1/me", &leaving.access_token, body).await.ok();
    let path = format!("/v1/accounts/{}", leaving.account);
    node.until_refused(&path).await.problem(404, "account/unknown");
    let keyring = |verb: &str, flag: &str, database: &str| {
        let set = settings(database).map(|(name, value)| {
            format!("{}={value}", name.trim_start_matches("PROGNET_").to_lowercase().replacen('_', ".", 1))
        });
        let [url, key, _] = &set;
        command::told(&["keyring", verb, flag, text(&keys), "--set", url, "--set", key])
    };
    keyring("export", "--to", &before);
    drop(node);
    run(program("pg_restore").arg("--dbname").arg(&after).arg(&dump));

    keyring("restore", "--from", &after);

    let node = start(&after);
    node.get(&path).await.problem(404, "account/unknown");
    sign_in(&node, grace, PASSWORD).await.problem(401, "session/credentials");
    assert_eq!(sign_in(&node, heidi, PASSWORD).await.status, 201, "everybody else is there");
    assert_ne!(person(&node, grace).await.account, leaving.account);
}
