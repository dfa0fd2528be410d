//! One account, many tenants: a token carries exactly one, and a session goes from one to the next by a refresh.

use prognet_sdk::Tokens;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    guesses::{sign_in, tokens},
    harness::{Node, PASSWORD, Reply, reply},
};

/// Goes on in a session for a tenant, or for the platform.
async fn switch(node: &Node, session: &Tokens, tenant: Option<&str>) -> Reply {
    let mut body = json!({ "refresh_token": session.refresh_token });
    if let Some(tenant) = tenant {
        body["tenant"] = json!(tenant);
    }
    reply(node.stranger(Method::POST, "/v1/sessions/refresh").json(&body)).await.unwrap()
}

async fn get(node: &Node, with: &Tokens, path: &str) -> Reply {
    reply(node.stranger(Method::GET, path).bearer_auth(&with.access_token)).await.unwrap()
}

/// Security bar 35: however often its session goes from one to another.
#[tokio::test]
async fn a_session_goes_from_tenant_to_tenant_and_every_token_opens_its_own_alone() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (acme, globex, foreign) =
        (ada.founds("acme").await, ada.founds("globex").await, bob.founds("other").await);
    let (to_acme, to_globex) = (format!("/v1/tenants/{acme}"), format!("/v1/tenants/{globex}"));
    let opened = tokens(sign_in(&node, &ada.email, PASSWORD).await);

    let in_acme = tokens(switch(&node, &opened, Some(&acme)).await);
    let in_globex = tokens(switch(&node, &in_acme, Some(&globex)).await);

    assert_eq!((&in_globex.session, in_globex.tenant.as_ref()), (&opened.session, Some(&globex)));
    assert_eq!(get(&node, &in_globex, "/v1/me").await.ok()["tenant"], globex.as_str());
    assert_eq!(get(&node, &in_globex, &to_globex).await.ok()["slug"], "globex");
    get(&node, &in_globex, &to_acme).await.problem(404, "tenant/unknown");
    get(&node, &in_acme, &to_globex).await.problem(404, "tenant/unknown");
    assert_eq!(get(&node, &in_acme, &to_acme).await.ok()["slug"], "acme", "it is good until its end");

    // Nobody is told of a tenant that is not theirs, and a refusal spends nothing.
    let nobodys = format!("ten_{}", "0".repeat(26));
    let bare = |mut problem: Value| {
        problem.as_object_mut().unwrap().remove("request_id");
        problem
    };
    let refused = switch(&node, &in_globex, Some(&foreign)).await.problem(404, "tenant/unknown");
    let missing = switch(&node, &in_globex, Some(&nobodys)).await.problem(404, "tenant/unknown");
    assert_eq!(bare(refused), bare(missing));
    let misspelt = switch(&node, &in_globex, Some("globex")).await.problem(400, "request/invalid");
    assert_eq!(misspelt["errors"][0]["field"], "tenant");

    get(&node, &in_globex, "/v1/me/tenants").await.problem(403, "auth/forbidden");
    let outside = tokens(switch(&node, &in_globex, None).await);
    assert_eq!((&outside.session, outside.tenant.as_ref()), (&opened.session, None));
    assert_eq!(get(&node, &outside, "/v1/me/tenants").await.status, 200);
    get(&node, &outside, &to_globex).await.problem(404, "tenant/unknown");
}

/// Security bar 21: a suspension, and what it leaves.
#[tokio::test]
async fn a_session_is_kept_out_of_what_is_suspended_and_goes_on_elsewhere() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (acme, globex) = (ada.founds("acme").await, bob.founds("globex").await);
    let owner = ada.in_tenant(&acme).await;
    owner.lets_in(&acme, &bob, "member").await;
    let (path, member) =
        (format!("/v1/tenants/{acme}"), format!("/v1/tenants/{acme}/members/{}", bob.account));
    let mut session = tokens(sign_in(&node, &bob.email, PASSWORD).await);
    session = tokens(switch(&node, &session, Some(&acme)).await);

    owner.post(&format!("{member}/suspend"), json!({})).await.ok();
    switch(&node, &session, Some(&acme)).await.problem(403, "member/suspended");
    session = tokens(switch(&node, &session, Some(&globex)).await);
    owner.post(&format!("{member}/resume"), json!({})).await.ok();
    session = tokens(switch(&node, &session, Some(&acme)).await);

    node.post(&format!("{path}/suspend"), json!({ "reason": "nonpayment" })).await.ok();
    let refused = switch(&node, &session, Some(&acme)).await.problem(403, "tenant/suspended");
    assert!(refused["detail"].as_str().unwrap().contains("nonpayment"), "{refused}");
    session = tokens(switch(&node, &session, Some(&globex)).await);
    assert_eq!(get(&node, &session, &format!("/v1/tenants/{globex}")).await.ok()["slug"], "globex");
    node.post(&format!("{path}/resume"), json!({})).await.ok();
    session = tokens(switch(&node, &session, Some(&acme)).await);
    assert_eq!(get(&node, &session, &path).await.ok()["slug"], "acme");

    assert_eq!(node.delete(&member).await.status, 204);
    switch(&node, &session, Some(&acme)).await.problem(404, "tenant/unknown");
    assert_eq!(switch(&node, &session, None).await.status, 200);
}
