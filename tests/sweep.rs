//! The sweep: every route of the API's description, asked by those who have no right to it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, Person, Reply, reply};

/// What everybody has of their own.
const OWN: [&str; 4] = ["/v1/me", "/v1/live", "/v1/sessions/{session}", "/v1/invitations/accept"];

/// One operation of the description.
struct Operation {
    path: String,
    /// What it must be asked.
    query: &'static str,
    method: Method,
    /// A body that it takes, so that the answer is about the right alone.
    body: Option<Value>,
}

/// Every operation that takes a right.
fn operations() -> Vec<Operation> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let description: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let is_own = OWN.iter().any(|own| path.starts_with(own));
        for (method, operation) in methods.as_object().unwrap() {
            // What a door for everybody answers is not about rights.
            let is_open = operation["security"] == json!([{}]);
            if is_own || is_open || path.starts_with("/.well-known") {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let example = &operation["requestBody"]["content"]["application/json"]["example"];
            let body = operation["requestBody"].is_object().then(|| body(path, example));
            let query = if path == "/v1/accounts" { "?email=x@example.org" } else { "" };
            found.push(Operation { path: path.clone(), query, method, body });
        }
    }
    found
}

fn body(path: &str, example: &Value) -> Value {
    match path {
        "/v1/tenants" => json!({ "name": "x", "slug": "another" }),
        "/v1/tenants/{tenant}" => json!({ "name": "x" }),
        "/v1/tenants/{tenant}/suspend" => json!({ "reason": "other" }),
        "/v1/tenants/{tenant}/members/{account}" => json!({ "role": "admin" }),
        "/v1/tenants/{tenant}/roles/custom" => json!({ "permissions": [] }),
        "/v1/tenants/{tenant}/invitations" => json!({ "email": "x@example.org", "role": "member" }),
        _ => example.clone(),
    }
}

/// What somebody meets at a route about a tenant and a member of it.
async fn ask(who: &Person<'_>, operation: &Operation, tenant: &str, account: &str) -> Reply {
    let path = operation
        .path
        .replace("{tenant}", tenant)
        .replace("{account}", account)
        .replace("{invitation}", &format!("inv_{}", "0".repeat(26)))
        .replace("{service}/{kind}/{home}", &format!("tenancy/tenant/tenant:{tenant}"))
        .replace("{id}", tenant);
    assert!(!path.contains('{'), "nobody said what to fill into {path}");
    let mut request = who.request(operation.method.clone(), &format!("{path}{}", operation.query));
    if let Some(body) = &operation.body {
        request = request.json(body);
    }
    reply(request).await.unwrap()
}

/// Identity checklist, line 41. Whoever belongs to nothing, to another tenant, or to this one without a right:
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
    let nobodys = format!("ten_{}", "0".repeat(26));

    for operation in operations() {
        let is_of_tenant = operation.path.starts_with("/v1/tenants/{tenant}");
        let case = format!("{} {}", operation.method, operation.path);
        for (stranger, is_for_platform) in [(&bob, true), (&foreigner, false)] {
            let there = ask(stranger, &operation, &tenant, &account).await;
            let nowhere = ask(stranger, &operation, &nobodys, &account).await;
            // Anybody founds tenants, unless the token is for one.
            let may = is_for_platform && case == "POST /v1/tenants";
            let wanted = match (may, is_of_tenant) {
                (true, _) => 201,
                (false, true) => 404,
                (false, false) => 403,
            };
            assert_eq!(there.status.as_u16(), wanted, "{case}: {there:?}");
            if is_of_tenant {
                assert_eq!(bare(there.body), bare(nowhere.body), "{case} tells that there is such a tenant");
            }
        }
        let refused = ask(&without_right, &operation, &tenant, &account).await;
        assert_eq!(refused.status.as_u16(), 403, "{case}: {refused:?}");
        let path = operation.path.replace(['{', '}'], "");
        let nobody = reply(node.stranger(operation.method.clone(), &path)).await.unwrap();
        assert_eq!(nobody.status.as_u16(), 401, "{case} without a token");
    }
    // Nothing of it had an effect.
    owner.until_listed(&format!("/v1/tenants/{tenant}/members"), 2).await;
    assert_eq!(owner.get(&format!("/v1/tenants/{tenant}")).await.ok()["version"], 2, "founded, and a role");
}

/// A problem without what names the request.
fn bare(mut problem: Value) -> Value {
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

/// Identity checklist, line 41: lists count and show what is one's own, whatever else there is.
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
