//! Sagas of people in a process that is killed while they run: each comes to its end on the next one, and every mail
//! arrives, under one Message-ID. The server that mails go to outlives the node.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use prognet_sdk::Tokens;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    guesses::{sign_in, tokens},
    harness::{Node, PASSWORD, Reply, reply},
    mail::counterpart::{Certificate, Server},
    people::token_in,
};

/// People, each of whom meets a kill at another moment.
const ROUNDS: u64 = 5;

/// A node and the server that its mails go to.
struct Place {
    data: TempDir,
    server: Server,
}

impl Place {
    fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), server: Server::start(Certificate::None) }
    }

    fn start(&self, settings: &[(&str, &str)]) -> Node {
        let port = self.server.port().to_string();
        let common = [
            ("PROGNET_MAIL_SMTP_HOST", "127.0.0.1"),
            ("PROGNET_MAIL_SMTP_PORT", port.as_str()),
            ("PROGNET_MAIL_SMTP_SECURITY", "none"),
            // An attempt that dies with its node is made again this much, and ten seconds, later.
            ("PROGNET_MAIL_SMTP_TIMEOUT", "1s"),
            ("PROGNET_MAIL_FROM", "no-reply@example.org"),
            // Tokens name it as their issuer: it outlives the port.
            ("PROGNET_HTTP_PUBLIC_URL", "http://127.0.0.1:8080"),
        ];
        Node::with(self.data.path(), &[&common, settings].concat())
    }

    /// The mails to an address whose subject has a word, once there is one: copies of one message.
    async fn mail(&self, to: &str, subject: &str) -> Value {
        let of = || {
            let heard = self.server.heard().into_iter();
            heard.filter(|mail| mail["to"] == to && mail["subject"].as_str().unwrap().contains(subject))
        };
        crate::harness::until_in(Duration::from_secs(60), || of().next().is_some()).await;
        let ids: BTreeSet<_> = of().map(|mail| mail["message_id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "{to}, {subject}: {ids:?}");
        of().next().unwrap()
    }

    /// The token in such a mail.
    async fn token(&self, to: &str, subject: &str) -> Value {
        json!({ "token": token_in(&self.mail(to, subject).await).unwrap() })
    }

    /// What opens an account, for whoever signed up.
    async fn verification(&self, to: &str) -> Value {
        let mut token = self.token(to, VERIFY).await;
        token["password"] = json!(PASSWORD);
        token
    }
}

const VERIFY: &str = "Confirm your e-mail address";
const CONFIRM: &str = "Confirm your new e-mail address";
const NOTICE: &str = "is being changed";
const INVITATION: &str = "invites you";
const GOING: &str = "will be deleted";

fn address(round: u64) -> String {
    format!("person{round}@example.org")
}

fn new_address(round: u64) -> String {
    format!("elsewhere{round}@example.org")
}

fn sign_up(node: &Node, email: &str) -> RequestBuilder {
    let body = json!({ "email": email, "password": PASSWORD, "name": "Grace" });
    node.stranger(Method::POST, "/v1/accounts").header("Idempotency-Key", email).json(&body)
}

fn open(node: &Node, door: &str, token: &Value) -> RequestBuilder {
    node.stranger(Method::POST, &format!("/v1/accounts/{door}")).json(token)
}

/// Asks, and kills the node at a moment that lies anywhere in what follows; then it runs again.
async fn killed_during(node: Node, round: u64, request: RequestBuilder) -> Node {
    let moment = Instant::now() + Duration::from_millis(3 + (round * 47) % 190);
    // Answered or not, the saga goes on.
    drop(timeout_at(moment, reply(request)).await);
    sleep_until(moment).await;
    node.kill_and_restart()
}

/// A link is good, or was: it is opened now.
#[track_caller]
fn is_opened(reply: Reply) {
    if reply.status != StatusCode::NO_CONTENT {
        reply.problem(403, "account/link");
    }
}

/// The accounts of an address, as whoever runs the platform sees them.
async fn accounts(node: &Node, email: &str) -> Vec<Value> {
    let found = node.get(&format!("/v1/accounts?email={email}")).await.ok();
    found["data"].as_array().unwrap().clone()
}

/// People who signed up and in while nothing was killed.
async fn people(place: &Place, node: &Node) -> Vec<Tokens> {
    let all = (0..ROUNDS).map(async |round| {
        let email = address(round);
        assert_eq!(reply(sign_up(node, &email)).await.unwrap().status, StatusCode::ACCEPTED);
        let token = place.verification(&email).await;
        assert_eq!(reply(open(node, "verify", &token)).await.unwrap().status, StatusCode::NO_CONTENT);
        tokens(sign_in(node, &email, PASSWORD).await)
    });
    join_all(all).await
}

#[tokio::test]
async fn a_sign_up_makes_one_account_whenever_the_node_is_killed() {
    let place = Place::new();
    let mut node = place.start(&[]);
    for round in 0..ROUNDS {
        let email = address(round);
        let wanted = sign_up(&node, &email);
        node = killed_during(node, round, wanted).await;
        assert_eq!(reply(sign_up(&node, &email)).await.unwrap().status, StatusCode::ACCEPTED);
    }

    for round in 0..ROUNDS {
        let token = place.verification(&address(round)).await;
        let verify = open(&node, "verify", &token);
        node = killed_during(node, round, verify).await;
        is_opened(reply(open(&node, "verify", &token)).await.unwrap());
    }

    for email in (0..ROUNDS).map(address) {
        assert_eq!(sign_in(&node, &email, PASSWORD).await.status, StatusCode::CREATED, "{email}");
        let found = accounts(&node, &email).await;
        assert_eq!((found.len(), &found[0]["status"]), (1, &json!("active")));
        place.mail(&email, VERIFY).await;
    }
}

#[tokio::test]
async fn an_abandoned_sign_up_lets_its_address_go_whenever_the_node_is_killed() {
    let place = Place::new();
    let mut node = place.start(&[("PROGNET_AUTH_SIGN_UP_LIFE", "2s")]);
    let all = || (0..ROUNDS).map(address);
    let mut dead_links = Vec::new();
    for email in all() {
        assert_eq!(reply(sign_up(&node, &email)).await.unwrap().status, StatusCode::ACCEPTED);
        dead_links.push(place.verification(&email).await);
    }

    for round in 0.. {
        let looked = node.request(Method::GET, "/v1/me");
        node = killed_during(node, round, looked).await;
        let held = join_all(all().map(async |email| accounts(&node, &email).await.len())).await;
        if held.iter().all(|held| *held == 0) {
            break;
        }
    }

    for token in dead_links {
        reply(open(&node, "verify", &token)).await.unwrap().problem(403, "account/link");
    }
    let again = json!({ "email": address(0), "password": PASSWORD, "name": "Grace" });
    let again = node.stranger(Method::POST, "/v1/accounts").json(&again);
    assert_eq!(reply(again).await.unwrap().status, StatusCode::ACCEPTED);
    node.eventually(&format!("/v1/accounts?email={}", address(0)), |page| page["data"][0].is_object()).await;
}

#[tokio::test]
async fn an_invitation_makes_one_member_whenever_the_node_is_killed() {
    let place = Place::new();
    let mut node = place.start(&[]);
    let tenant = node.tenant("acme").await;
    let people = people(&place, &node).await;
    let invitations = format!("/v1/tenants/{tenant}/invitations");
    let invite = |node: &Node, round: u64| {
        let body = json!({ "email": address(round), "role": "admin" });
        let request = node.request(Method::POST, &invitations).header("Idempotency-Key", address(round));
        request.json(&body)
    };
    for round in 0..ROUNDS {
        let invited = invite(&node, round);
        node = killed_during(node, round, invited).await;
        assert_eq!(reply(invite(&node, round)).await.unwrap().status, StatusCode::CREATED);
    }

    for (round, person) in (0..ROUNDS).zip(&people) {
        let token = place.token(&address(round), INVITATION).await;
        let accept = |node: &Node| {
            let request = node.stranger(Method::POST, "/v1/invitations/accept").json(&token);
            request.bearer_auth(&person.access_token)
        };
        let accepted = accept(&node);
        node = killed_during(node, round, accepted).await;
        assert_eq!(reply(accept(&node)).await.unwrap().ok()["role"], "admin");
    }

    let events = node.get(&format!("/v1/tenants/{tenant}/events?limit=200")).await.ok();
    let events = events["data"].as_array().unwrap();
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let people = people.len();
    assert_eq!(
        (count("membership.admitted"), count("invitation.invited"), count("invitation.accepted")),
        (people + 1, people, people)
    );
    for email in (0..ROUNDS).map(address) {
        place.mail(&email, INVITATION).await;
    }
}

#[tokio::test]
async fn an_address_is_changed_and_taken_back_whenever_the_node_is_killed() {
    let place = Place::new();
    let mut node = place.start(&[]);
    let people = people(&place, &node).await;
    for (round, person) in (0..ROUNDS).zip(&people) {
        let change = |node: &Node| {
            let body = json!({ "password": PASSWORD, "email": new_address(round) });
            let request = node.stranger(Method::POST, "/v1/me/email").bearer_auth(&person.access_token);
            request.header("Idempotency-Key", new_address(round)).json(&body)
        };
        let asked = change(&node);
        node = killed_during(node, round, asked).await;
        assert_eq!(reply(change(&node)).await.unwrap().status, StatusCode::ACCEPTED);
    }

    for round in 0..ROUNDS {
        let token = place.token(&new_address(round), CONFIRM).await;
        let confirm = open(&node, "confirm-email", &token);
        node = killed_during(node, round, confirm).await;
        is_opened(reply(open(&node, "confirm-email", &token)).await.unwrap());
        let found = accounts(&node, &new_address(round)).await;
        assert_eq!(found[0]["email"], json!(new_address(round)));
    }

    for (round, person) in (0..ROUNDS).zip(&people) {
        let token = place.token(&address(round), NOTICE).await;
        let undo = open(&node, "undo-email", &token);
        node = killed_during(node, round, undo).await;
        is_opened(reply(open(&node, "undo-email", &token)).await.unwrap());
        let found = accounts(&node, &address(round)).await;
        assert_eq!((&found[0]["id"], &found[0]["email"]), (&json!(person.account), &json!(address(round))));
        assert_eq!(accounts(&node, &new_address(round)).await, Vec::<Value>::new());
        let me = node.stranger(Method::GET, "/v1/me").bearer_auth(&person.access_token);
        reply(me).await.unwrap().problem(401, "session/ended");
        assert_eq!(sign_in(&node, &address(round), PASSWORD).await.status, StatusCode::CREATED);
        sign_in(&node, &new_address(round), PASSWORD).await.problem(401, "session/credentials");
    }
}

#[tokio::test]
async fn a_person_who_goes_is_erased_whenever_the_node_is_killed() {
    let place = Place::new();
    // Longer than it takes to mail everybody, twice if need be.
    let mut node = place.start(&[("PROGNET_AUTH_LEAVING_GRACE", "20s")]);
    let people = people(&place, &node).await;
    for (round, person) in (0..ROUNDS).zip(&people) {
        let delete = |node: &Node| {
            let request = node.stranger(Method::DELETE, "/v1/me").bearer_auth(&person.access_token);
            request.json(&json!({ "password": PASSWORD }))
        };
        let asked = delete(&node);
        node = killed_during(node, round, asked).await;
        let again = reply(delete(&node)).await.unwrap();
        if again.status != StatusCode::ACCEPTED {
            again.problem(401, "session/ended");
        }
        sign_in(&node, &address(round), PASSWORD).await.problem(403, "account/leaving");
    }
    for email in (0..ROUNDS).map(address) {
        place.mail(&email, GOING).await;
    }

    for round in 0.. {
        let looked = node.request(Method::GET, "/v1/me");
        node = killed_during(node, round, looked).await;
        let paths = people.iter().map(|person| format!("/v1/accounts/{}", person.account));
        let left = join_all(paths.map(async |path| node.get(&path).await.status)).await;
        if left.iter().all(|status| *status == StatusCode::NOT_FOUND) {
            break;
        }
    }

    for email in (0..ROUNDS).map(address) {
        node.eventually(&format!("/v1/accounts?email={email}"), |page| page["data"] == json!([])).await;
        sign_in(&node, &email, PASSWORD).await.problem(401, "session/credentials");
        let again = json!({ "email": email, "password": PASSWORD, "name": "Grace" });
        let again = node.stranger(Method::POST, "/v1/accounts").json(&again);
        assert_eq!(reply(again).await.unwrap().status, StatusCode::ACCEPTED, "the address is free");
        let is_pending = |page: &Value| page["data"][0]["status"] == "pending";
        node.eventually(&format!("/v1/accounts?email={email}"), is_pending).await;
    }
}
