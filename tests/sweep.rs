//! The sweep: every route of the API's description, asked by those who have no right to it.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::{
    durability::readers_caught_up,
    guesses::{sign_in, tokens},
    harness::{ADMIN, Node, Person, Reply, bare, reply},
};

/// Doors for everybody; whoever opens another one says so here.
const OPEN: [&str; 15] = [
    "GET /.well-known/jwks.json",
    "GET /v1/dev/messages",
    // It proves itself by its first message.
    "GET /v1/live",
    "POST /v1/accounts",
    "POST /v1/accounts/confirm-email",
    "POST /v1/accounts/forgot",
    "POST /v1/accounts/reset",
    "POST /v1/accounts/stay",
    "POST /v1/accounts/undo-email",
    "POST /v1/accounts/verify",
    "POST /v1/invitations/decline",
    "POST /v1/invitations/look",
    "POST /v1/sessions",
    "POST /v1/sessions/refresh",
    "POST /v1/setup",
];

/// What everybody has of their own: no right, and nothing about others.
const OWN: [&str; 13] = [
    "DELETE /v1/me",
    "DELETE /v1/me/sessions",
    "DELETE /v1/sessions/{session}",
    "GET /v1/live/sse",
    "GET /v1/me",
    "GET /v1/me/activity",
    "GET /v1/me/export",
    "GET /v1/me/sessions",
    "GET /v1/me/tenants",
    "PATCH /v1/me",
    "POST /v1/invitations/accept",
    "POST /v1/me/email",
    "POST /v1/me/password",
];

/// One operation of the description.
struct Operation {
    path: String,
    /// What it must be asked.
    query: &'static str,
    method: Method,
    /// A body that it takes, so that the answer is about the right alone.
    body: Option<Value>,
    /// Whether the description says that nobody has to prove themselves.
    is_open: bool,
}

impl Operation {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is_own(&self) -> bool {
        OWN.contains(&self.name().as_str())
    }

    fn is_of_tenant(&self) -> bool {
        self.path.starts_with("/v1/tenants/{tenant}")
    }
}

/// Every operation of the description.
fn all() -> Vec<Operation> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let description: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            let query = match path.as_str() {
                "/v1/accounts" if method == Method::GET => "?email=x@example.org",
                "/v1/live/sse" => "?topic=system",
                _ => "",
            };
            let is_open = operation["security"] == json!([{}]);
            let takes_one = !is_open && operation["requestBody"].is_object();
            let body = takes_one.then(|| body(path, example));
            found.push(Operation { path: path.clone(), query, method, body, is_open });
        }
    }
    found
}

/// Every operation that takes a right.
fn operations() -> impl Iterator<Item = Operation> {
    all().into_iter().filter(|operation| !operation.is_open && !operation.is_own())
}

#[test]
fn every_route_is_for_everybody_ones_own_or_takes_a_right() {
    let of = |is_wanted: fn(&Operation) -> bool| {
        let mut names: Vec<_> = all().iter().filter(|one| is_wanted(one)).map(Operation::name).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(of(|one| one.is_open), OPEN);
    assert_eq!(of(Operation::is_own), OWN);
    assert!(of(|one| !one.is_open && !one.is_own()).len() > 25);
}

fn body(path: &str, example: &Value) -> Value {
    match path {
        "/v1/tenants" => json!({ "name": "x", "slug": "another" }),
        "/v1/tenants/{tenant}" => json!({ "name": "x" }),
        "/v1/tenants/{tenant}/session-limits" => json!({ "lasts_s": 7_776_000 }),
        "/v1/tenants/{tenant}/suspend" => json!({ "reason": "other" }),
        "/v1/tenants/{tenant}/members/{account}" => json!({ "role": "admin" }),
        "/v1/tenants/{tenant}/roles/custom" => json!({ "permissions": [] }),
        "/v1/tenants/{tenant}/invitations" => json!({ "email": "x@example.org", "role": "member" }),
        _ => {
            assert!(!example.is_null(), "nobody said what {path} takes");
            example.clone()
        }
    }
}

/// What somebody meets at a route about a tenant and a member of it.
async fn ask(who: &Person<'_>, operation: &Operation, tenant: &str, account: &str) -> Reply {
    let request = who.request(operation.method.clone(), &filled(operation, tenant, account));
    answered(request, operation).await
}

async fn answered(request: RequestBuilder, operation: &Operation) -> Reply {
    let request = match &operation.body {
        Some(body) => request.json(body),
        None => request,
    };
    reply(request).await.unwrap()
}

/// The address of a route about a tenant and an account.
fn filled(operation: &Operation, tenant: &str, account: &str) -> String {
    let path = operation
        .path
        .replace("{tenant}", tenant)
        .replace("{account}", account)
        .replace("{invitation}", &format!("inv_{}", "0".repeat(26)))
        .replace("{service}/{kind}/{home}", &format!("tenancy/tenant/{tenant}"))
        .replace("{id}", tenant)
        .replace("{node}", "one")
        .replace("{session}", &format!("ses_{}", "0".repeat(26)));
    assert!(!path.contains('{'), "nobody said what to fill into {path}");
    format!("{path}{}", operation.query)
}

/// Security bar 41: whoever belongs to nothing, to another tenant, or to this one without a right:
/// 404 or 403 as designed, and nothing else.
#[tokio::test]
async fn every_route_is_closed_to_those_without_the_right() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob, eve) = (node.person("ada1").await, node.person("bob").await, node.person("eve").await);
    let (tenant, other) = (ada.founds("acme").await, bob.founds("other").await);
    let owner = ada.in_tenant(&tenant).await;
    owner.put(&format!("/v1/tenants/{tenant}/roles/custom"), json!({ "permissions": [] })).await.ok();
    let without_right = owner.lets_in(&tenant, &eve, "custom").await;
    let foreigner = bob.in_tenant(&other).await;
    let account = ada.account.clone();
    let (nobodys, nobody) = (format!("ten_{}", "0".repeat(26)), format!("acc_{}", "0".repeat(26)));

    for operation in operations() {
        let (is_of_tenant, case) = (operation.is_of_tenant(), operation.name());
        for (stranger, is_for_platform) in [(&bob, true), (&foreigner, false)] {
            let there = ask(stranger, &operation, &tenant, &account).await;
            let nowhere = ask(stranger, &operation, &nobodys, &nobody).await;
            // Anybody founds tenants, unless the token is for one.
            let may = is_for_platform && case == "POST /v1/tenants";
            let wanted = match (may, is_of_tenant) {
                (true, _) => 201,
                (false, true) => 404,
                (false, false) => 403,
            };
            assert_eq!(there.status.as_u16(), wanted, "{case}: {there:?}");
            if !may {
                assert_eq!(bare(there.body), bare(nowhere.body), "{case} tells what there is");
            }
        }
        let refused = ask(&without_right, &operation, &tenant, &account).await;
        assert_eq!(refused.status.as_u16(), 403, "{case}: {refused:?}");
        let path = filled(&operation, &tenant, &account);
        let unproven = answered(node.stranger(operation.method.clone(), &path), &operation).await;
        assert_eq!(unproven.status.as_u16(), 401, "{case} without a token");
    }
    // Nothing of it had an effect.
    owner.until_listed(&format!("/v1/tenants/{tenant}/members"), 2).await;
    assert_eq!(owner.get(&format!("/v1/tenants/{tenant}")).await.ok()["version"], 2, "founded, and a role");
}

/// What the sweep asks is what those with the right are answered: nothing of it is refused for its form.
#[tokio::test]
async fn what_the_sweep_asks_is_taken_from_those_with_the_right() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    ada.in_tenant(&tenant).await.lets_in(&tenant, &bob, "member").await;
    for operation in operations() {
        let path = filled(&operation, &tenant, &bob.account);
        // Whatever the one before it ended.
        let admin = tokens(sign_in(&node, ADMIN.0, ADMIN.1).await);
        let request = node.stranger(operation.method.clone(), &path).bearer_auth(&admin.access_token);
        let taken = answered(request, &operation).await;
        let is_unknown =
            ["{invitation}", "{account}", "{node}"].iter().any(|part| operation.path.contains(part));
        let is_taken = taken.status.is_success()
            || taken.status == StatusCode::CONFLICT
            || (taken.status == StatusCode::NOT_FOUND && is_unknown);
        assert!(is_taken, "{}: {taken:?}", operation.name());
    }
}

/// Security bar 41: what is one's own takes a token, and nobody else's is among it.
#[tokio::test]
async fn what_is_ones_own_is_nobody_elses() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (tenant, _other) = (ada.founds("acme").await, bob.founds("other").await);
    for operation in all().into_iter().filter(Operation::is_own) {
        let path = filled(&operation, &tenant, &ada.account);
        let unproven = answered(node.stranger(operation.method.clone(), &path), &operation).await;
        assert_eq!(unproven.status.as_u16(), 401, "{} without a token", operation.name());
        // Streams have no end; the one of the platform is refused.
        if operation.method == Method::GET && operation.path != "/v1/live/sse" {
            let own = bob.get(&path).await.ok().to_string();
            for others in [ada.email.as_str(), &ada.account, &tenant] {
                assert!(!own.contains(others), "{} tells of {others}", operation.name());
            }
        }
    }
    let session = ada.get("/v1/me").await.ok()["session"].as_str().unwrap().to_owned();
    bob.delete(&format!("/v1/sessions/{session}")).await.problem(404, "session/unknown");
    bob.get(&format!("/v1/live/sse?topic=tenant:{tenant}")).await.problem(404, "tenant/unknown");
    bob.get("/v1/live/sse?topic=system").await.problem(403, "auth/forbidden");
    bob.get(&format!("/v1/live/sse?topic=account:{}", ada.account)).await.problem(400, "request/invalid");
    assert_eq!(ada.get("/v1/me").await.status, 200);
}

/// Security bar 41: whatever happens elsewhere, every list of a tenant and of a person stays as it was.
#[tokio::test]
async fn nothing_that_happens_in_one_tenant_shows_in_another() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (one, two) = (ada.founds("one").await, bob.founds("two").await);
    let (first, second) = (ada.in_tenant(&one).await, bob.in_tenant(&two).await);
    let shown = async || {
        readers_caught_up(&node).await;
        let mut shown = Vec::new();
        for operation in all().iter().filter(|operation| operation.method == Method::GET) {
            let who = match operation.path.as_str() {
                path if path.starts_with("/v1/me") => &ada,
                _ if operation.is_of_tenant() => &first,
                _ => continue,
            };
            let mut answer = ask(who, operation, &one, &ada.account).await.ok();
            // The moment it was asked.
            answer.as_object_mut().unwrap().remove("at");
            shown.push((operation.path.clone(), answer));
        }
        shown
    };
    let before = shown().await;

    for number in 0..3 {
        let invite = json!({ "email": format!("x{number}@example.org"), "role": "member" });
        second.post(&format!("/v1/tenants/{two}/invitations"), invite).await.ok();
    }
    second.put(&format!("/v1/tenants/{two}/roles/custom"), json!({ "permissions": [] })).await.ok();
    let eve = node.person("eve").await;
    second.lets_in(&two, &eve, "admin").await;
    eve.founds("three").await;

    assert!(before.len() > 10, "{}", before.len());
    assert_eq!(shown().await, before);
}

/// Security bar 41: lists count and show what is one's own, whatever else there is.
#[tokio::test]
async fn lists_tell_nothing_of_other_tenants() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (one, two) = (ada.founds("one").await, bob.founds("two").await);
    let (first, second) = (ada.in_tenant(&one).await, bob.in_tenant(&two).await);
    for number in 0..3 {
        let invite = json!({ "email": format!("x{number}@example.org"), "role": "member" });
        second.post(&format!("/v1/tenants/{two}/invitations"), invite).await.ok();
    }
    second.until_listed(&format!("/v1/tenants/{two}/invitations"), 3).await;

    ada.until_listed("/v1/me/tenants", 1).await;
    let members = first.until_listed(&format!("/v1/tenants/{one}/members?limit=1"), 1).await;
    assert_eq!(members["next"], Value::Null);
    let invitations = first.get(&format!("/v1/tenants/{one}/invitations")).await.ok();
    assert_eq!(invitations["data"], json!([]));
    // A cursor of one tenant's list opens no other.
    let page = second.get(&format!("/v1/tenants/{two}/invitations?limit=1")).await.ok();
    let next = page["next"].as_str().unwrap();
    let foreign = format!("/v1/tenants/{one}/invitations?after={next}");
    first.get(&foreign).await.problem(400, "request/invalid");
}
