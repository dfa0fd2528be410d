//! What a node says of itself, and what it never says.

use prognet_config::Settings;
use prognet_sdk::{LiveFrame, LiveRequest};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    going::is_in,
    guesses::{post, sign_in, sign_up, tokens},
    harness::{
        ADMIN, Node,
        cluster::{Cluster, Seat},
        reply,
    },
    live::Socket,
    people::{mails, token_in},
};

/// Security bar 49: planted where they are given, sought where they must not be.
#[tokio::test]
async fn no_log_names_a_secret_an_address_a_token_or_a_body() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_LOG_FILTER", "debug,prognet=trace")]);
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    let setup_token = link.trim().rsplit_once("token=").unwrap().1.to_owned();
    let tenant = node.tenant("canary-slug").await;
    let path = format!("/v1/tenants/{tenant}");
    let rename = node.request(Method::PATCH, &path).header("Idempotency-Key", "canary-key");
    reply(rename.json(&json!({ "name": "Canary Name" }))).await.unwrap().ok();
    let wrong = json!({ "email": "canary@example.org", "password": "canary password" });
    let refused = reply(node.stranger(Method::POST, "/v1/sessions").json(&wrong)).await.unwrap();
    refused.problem(401, "session/credentials");
    let bad = node.request(Method::POST, "/v1/tenants").header("Content-Type", "application/json");
    let bad = bad.body("{\"name\": \"canary body");
    reply(bad).await.unwrap().problem(400, "request/invalid");
    let bad = node.stranger(Method::GET, "/v1/me?secret=canary-query").bearer_auth("canary-token");
    reply(bad).await.unwrap().problem(401, "auth/token");
    let refresh = json!({ "refresh_token": node.tokens().refresh_token });
    reply(node.stranger(Method::POST, "/v1/sessions/refresh").json(&refresh)).await.unwrap().ok();
    let mut secrets = from_mails(&node).await;
    let access_token = node.tokens().access_token.clone();
    let refresh_token = node.tokens().refresh_token.clone();
    let node = node.kill_and_restart();
    node.get(&path).await.ok();

    let log = std::fs::read_to_string(data.path().join("log")).unwrap().to_lowercase();

    assert!(log.contains("ready on http://"), "the log is the node's: {log}");
    secrets.extend([ADMIN.1.to_owned(), access_token, refresh_token, setup_token]);
    for secret in secrets.iter().map(String::as_str).chain(["canary", ADMIN.0]) {
        let found = log.lines().find(|line| line.contains(&secret.to_lowercase()));
        assert_eq!(found, None, "{secret}");
    }
    // Nor does any other file hold a secret.
    for secret in &secrets {
        assert!(!is_in(data.path(), secret), "{secret}");
    }
}

/// What somebody is given, and gives, who signs up, and has forgotten the password since.
async fn from_mails(node: &Node) -> Vec<String> {
    const CANARY: &str = "canary2@example.org";
    let (password, other) = ("a canary in a coal mine", "another canary sings below");
    sign_up(node, CANARY, password).await.ok();
    let verify = token_in(&mails(node, CANARY, 1).await[0]).unwrap();
    post(node, "/v1/accounts/verify", json!({ "token": verify, "password": password })).await.ok();
    let session = tokens(sign_in(node, CANARY, password).await);
    post(node, "/v1/accounts/forgot", json!({ "email": CANARY })).await.ok();
    let reset = token_in(&mails(node, CANARY, 2).await[1]).unwrap();
    post(node, "/v1/accounts/reset", json!({ "token": reset, "password": other })).await.ok();
    let device = session.device.unwrap();
    vec![password.to_owned(), other.to_owned(), verify, reset, session.refresh_token, device]
}

/// Security bar 49: every sign-in, failure and denied access, with who, for which tenant, from where and when.
#[tokio::test]
async fn who_came_in_who_did_not_and_what_was_refused_is_on_record() {
    let data = tempfile::tempdir().unwrap();
    let settings = [
        ("PROGNET_LOG_FILTER", "warn,access=info"),
        ("PROGNET_LOG_FORMAT", "json"),
        ("PROGNET_HTTP_TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let node = Node::with(data.path(), &settings);
    let (own, other) = (node.tenant("own").await, node.tenant("other").await);
    let nobodys = format!("ten_{}", "0".repeat(26));
    let from = |request: RequestBuilder| request.header("X-Forwarded-For", "192.0.2.7");
    let sign_in = async |email: &str, password: &str, tenant: Option<&str>| {
        let body = json!({ "email": email, "password": password, "tenant": tenant });
        reply(from(node.stranger(Method::POST, "/v1/sessions")).json(&body)).await.unwrap()
    };

    let in_own = tokens(sign_in(ADMIN.0, ADMIN.1, Some(&own)).await);
    sign_in(ADMIN.0, "canary password", None).await.problem(401, "session/credentials");
    sign_in(ADMIN.0, ADMIN.1, Some(&nobodys)).await.problem(404, "tenant/unknown");
    sign_in("canary@example.org", "canary password", None).await.problem(401, "session/credentials");
    let get = async |path: &str, status: u16| {
        let request = from(node.stranger(Method::GET, path)).bearer_auth(&in_own.access_token);
        assert_eq!(reply(request).await.unwrap().status, status, "{path}");
    };
    get(&format!("/v1/tenants/{other}"), 404).await;
    get("/v1/tenants", 403).await;
    let stranger = from(node.stranger(Method::GET, "/v1/me?canary=1")).bearer_auth("canary-token");
    reply(stranger).await.unwrap().problem(401, "auth/token");
    get(&format!("/v1/live/sse?topic=tenant:{other}"), 404).await;
    refused_on_sockets(&node, &in_own.access_token).await;

    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = lines
        .iter()
        // What has no header of ours is the harness', but for the sockets.
        .filter(|line| {
            let is_socket = line["message"].as_str().is_some_and(|text| text.contains("on a stream"));
            line["target"] == "access" && (line["peer.address"] == "192.0.2.7" || is_socket)
        })
        .map(|line| {
            assert!(
                line["timestamp"].is_string()
                    && line["trace"].as_str().is_some_and(|trace| trace.len() == 32),
                "{line}"
            );
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            let what = text("message").split(" acc_").next().unwrap().to_owned();
            (what, text("account.id"), text("tenant.id"))
        })
        .collect();
    let (account, none) = (in_own.account.as_str(), "-");
    for wanted in [
        ("signed in", account, own.as_str()),
        ("did not take somebody for", account, none),
        ("kept", account, nobodys.as_str()),
        ("hid a tenant from", account, own.as_str()),
        ("refused GET /v1/tenants", account, own.as_str()),
        ("refused GET /v1/me", none, none),
        ("refused on a stream: tenant/unknown", account, own.as_str()),
        ("refused on a stream: auth/forbidden", account, own.as_str()),
        ("refused on a stream: auth/token", none, none),
    ] {
        let is_told = |(what, account, tenant): &(String, String, String)| {
            (what.as_str(), account.as_str(), tenant.as_str()) == wanted
        };
        assert!(told.iter().any(is_told), "{wanted:?} in {told:?}");
    }
    assert_eq!(told.iter().filter(|(what, ..)| what == "did not take somebody for").count(), 2);
    assert!(!log.contains("canary") && !log.contains(ADMIN.0));
}

/// Somebody watches what they may not, and somebody proves nothing.
async fn refused_on_sockets(node: &Node, token: &str) {
    let mut socket = Socket::at(node.url()).await;
    socket.send(&LiveRequest::Auth { token: token.to_owned() }).await;
    assert!(matches!(socket.frame().await, LiveFrame::Authenticated { .. }));
    socket.send(&LiveRequest::Subscribe { topic: "system".to_owned(), after: None }).await;
    assert!(matches!(socket.frame().await, LiveFrame::Refused { .. }));
    let mut unproven = Socket::at(node.url()).await;
    unproven.send(&LiveRequest::Auth { token: "canary-token".to_owned() }).await;
    drop(unproven.closed().await);
}

/// By default, what is a warning is one. Those that are right are about where the tests run: their server does not wait
/// for the disk, there is none for mails, and few files may be open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_started_and_stopped_as_it_should_be_warns_of_nothing() {
    const ARE_RIGHT: [&str; 3] = [
        "PostgreSQL runs with `fsync = off`",
        "no mail leaves this node",
        "this system lets a process open ",
    ];
    let filter = Settings::keys().iter().find(|key| key.name == "log.filter").unwrap().default;
    let mut cluster = Cluster::empty(&["a", "b", "c"], &[("PROGNET_LOG_FILTER", filter)]).await;
    cluster.seats.iter_mut().for_each(Seat::is_dialled_through_its_door);
    let doors: Vec<_> = cluster.seats.iter().map(|seat| seat.door.address()).collect();
    for (at, seat) in cluster.seats.iter_mut().enumerate() {
        let others = [&doors[..at], &doors[at + 1..]].concat();
        seat.set("PROGNET_CLUSTER_SEEDS", &others.join(", "));
    }

    cluster.start().await;
    let tenant = cluster.seats[0].node().tenant("acme").await;
    for seat in &cluster.seats {
        seat.node().get(&format!("/v1/tenants/{tenant}")).await.ok();
    }
    for seat in &mut cluster.seats {
        assert_eq!(seat.leave().await, Some(0));
    }

    for seat in &cluster.seats {
        let log = seat.log();
        for told in [" INFO prognet::serve: ready on ", " INFO prognet_cluster::driver: linked to "] {
            assert!(log.contains(told), "{told} is not in {log}");
        }
        let is_warning = |line: &&str| [" WARN ", " ERROR "].iter().any(|level| line.contains(level));
        let is_right = |line: &&str| ARE_RIGHT.iter().any(|right| line.contains(right));
        let warnings: Vec<_> = log.lines().filter(is_warning).filter(|line| !is_right(line)).collect();
        assert_eq!(warnings, [""; 0]);
    }
    assert!(cluster.seats[0].log().contains("none of `cluster.seeds` answers yet"));
}
