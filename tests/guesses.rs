//! Passwords that are none, and guesses at those that are.

use prognet_sdk::Tokens;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Node, Reply, reply};

pub(crate) async fn post(node: &Node, path: &str, body: Value) -> Reply {
    reply(node.stranger(Method::POST, path).json(&body)).await.unwrap()
}

pub(crate) async fn sign_up(node: &Node, email: &str, password: &str) -> Reply {
    post(node, "/v1/accounts", json!({ "email": email, "password": password, "name": "Grace" })).await
}

pub(crate) async fn sign_in(node: &Node, email: &str, password: &str) -> Reply {
    post(node, "/v1/sessions", json!({ "email": email, "password": password })).await
}

pub(crate) fn tokens(reply: Reply) -> Tokens {
    serde_json::from_value(reply.ok()).unwrap()
}

/// Security bar 1: length and how soon it is guessed count, nothing else.
/// Security bar 2: and how soon it is guessed depends on whose it is.
#[tokio::test]
async fn a_password_that_is_short_common_or_about_the_person_is_refused_by_field() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for bad in ["eleven char", "password1234", "hopper@example.org", &"x".repeat(129)] {
        let refused = sign_up(&node, "hopper@example.org", bad).await.problem(400, "account/password");
        assert_eq!(refused["errors"][0]["field"], "password", "{bad}");
    }
    for good in ["no digits and no capitals", "пароль із пробілами  "] {
        assert_eq!(sign_up(&node, "hopper@example.org", good).await.status, StatusCode::ACCEPTED);
    }
    let loose = Node::with(tempfile::tempdir().unwrap().path(), &[("PROGNET_AUTH_PASSWORD_LENGTH_MIN", "8")]);
    assert_eq!(sign_up(&loose, "hopper@example.org", "x7$Kq2w!z").await.status, StatusCode::ACCEPTED);
}

/// Security bar 9: who guesses is slowed down, and nobody is locked out by strangers.
#[tokio::test]
async fn ten_wrong_passwords_are_slowed_down_and_a_known_device_still_gets_in() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let device = tokens(sign_in(&node, ADMIN.0, ADMIN.1).await).device.unwrap();
    let wrong = futures_util::future::join_all((0..30).map(|_| sign_in(&node, ADMIN.0, "wrong horse"))).await;

    let refused = wrong.iter().filter(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!(refused, 20, "however many come at once: {wrong:?}");
    let right = sign_in(&node, ADMIN.0, ADMIN.1).await;
    let wait: u64 = right.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=90).contains(&wait), "{wait}");
    let right = right.problem(429, "session/slow-down");
    // Whether there is an account, nobody is told by that either.
    let nobody = async || sign_in(&node, "nobody@example.org", "wrong horse").await;
    for _ in 0..10 {
        nobody().await.problem(401, "session/credentials");
    }
    assert_eq!(nobody().await.problem(429, "session/slow-down")["title"], right["title"]);

    let known = json!({ "email": ADMIN.0, "password": ADMIN.1, "device": device });
    assert_eq!(tokens(post(&node, "/v1/sessions", known).await).device, Some(device));
    let forged = json!({ "email": ADMIN.0, "password": ADMIN.1, "device": "pdv_AAAA" });
    post(&node, "/v1/sessions", forged).await.problem(429, "session/slow-down");
}

/// Security bar 10: many accounts, one network.
/// Security bar 47: and it is the network of the client, not of what it says.
#[tokio::test]
async fn one_guess_at_each_of_many_accounts_trips_their_network_and_only_trusted_proxies_name_another() {
    let few = ("PROGNET_AUTH_GUESSES_PER_NETWORK", "20");
    let directory = tempfile::tempdir().unwrap();
    let guess = async |node: &Node, number: usize, from: &str| {
        let body = json!({ "email": format!("person{number}@example.org"), "password": "wrong horse" });
        let request = node.stranger(Method::POST, "/v1/sessions").header("X-Forwarded-For", from);
        reply(request.json(&body)).await.unwrap()
    };
    let node = Node::with(directory.path(), &[few]);
    for number in 0..20 {
        let from = format!("192.0.2.{number}");
        guess(&node, number, &from).await.problem(401, "session/credentials");
    }
    guess(&node, 20, "192.0.2.99").await.problem(429, "session/slow-down");
    drop(node);

    let node = Node::with(directory.path(), &[few, ("PROGNET_HTTP_TRUSTED_PROXIES", "127.0.0.0/8")]);
    for number in 0..20 {
        guess(&node, number, "192.0.2.1").await.problem(401, "session/credentials");
    }
    guess(&node, 20, "192.0.2.1").await.problem(429, "session/slow-down");
    guess(&node, 20, "203.0.113.7, 192.0.2.1").await.problem(429, "session/slow-down");
    guess(&node, 21, "192.0.2.2").await.problem(401, "session/credentials");
}

/// Security bar 5: a hash of another cost is replaced when its person signs in.
#[tokio::test]
async fn a_hash_of_an_older_cost_is_renewed_at_the_next_sign_in() {
    let data = tempfile::tempdir().unwrap();
    drop(Node::start(data.path()));
    let node = Node::with(data.path(), &[("PROGNET_AUTH_PASSWORD_PASSES", "3")]);

    let is_renewed = |page: &Value| {
        page["data"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["action"] == "credential.rehashed"))
    };
    node.eventually("/v1/me/activity?limit=200", is_renewed).await;
    assert_eq!(sign_in(&node, ADMIN.0, ADMIN.1).await.status, 201);
}
