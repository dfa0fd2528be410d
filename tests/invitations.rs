//! People asked into a tenant by mail.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    guesses::{post, sign_in, tokens},
    harness::{Node, PASSWORD, reply},
    people::{mails, token_in, with},
};

async fn look(node: &Node, token: &str) -> crate::harness::Reply {
    let request = node.stranger(Method::POST, "/v1/invitations/look");
    reply(request.json(&json!({ "token": token }))).await.unwrap()
}

#[tokio::test]
async fn an_invitation_shows_what_it_is_and_lets_in_whoever_has_the_address() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob, eve) = (node.person("ada1").await, node.person("bob").await, node.person("eve").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let path = format!("/v1/tenants/{tenant}/invitations");
    let invite = json!({ "email": "BOB@example.org", "role": "admin" });

    let invited = owner.post(&path, invite.clone()).await;
    assert_eq!(invited.status, 201);
    let consistency = invited.headers["Prognet-Consistency"].to_str().unwrap().to_owned();
    owner.post(&path, invite).await.problem(409, "invitation/open");
    let list = owner.get(&format!("{path}?consistency={consistency}")).await.ok();
    assert_eq!(list["data"], json!([invited.body]));
    let token = node.invitation_link(&tenant, &invited.body).await;
    for _ in 0..2 {
        let shown = look(&node, &token).await.ok();
        let shown = (&shown["tenant_name"], &shown["invited_by"], &shown["role"], &shown["email"]);
        assert_eq!(shown, (&json!("acme"), &json!("ada1"), &json!("admin"), &json!("BOB@example.org")));
    }
    let accept = json!({ "token": token });
    eve.post("/v1/invitations/accept", accept.clone()).await.problem(403, "invitation/other-address");

    let own = bob.post("/v1/invitations/accept", accept.clone()).await.ok();

    assert_eq!((&own["role"], &own["tenant"]["slug"]), (&json!("admin"), &json!("acme")));
    bob.post("/v1/invitations/accept", accept).await.ok();
    look(&node, &token).await.problem(409, "invitation/over");
    owner.until_listed(&path, 0).await;
    // Its link is no way back for whoever was removed since.
    owner.delete(&format!("/v1/tenants/{tenant}/members/{}", bob.account)).await;
    bob.post("/v1/invitations/accept", json!({ "token": token })).await.problem(409, "invitation/over");
}

#[tokio::test]
async fn of_fifty_who_accept_at_once_one_becomes_a_member_once() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let invite = json!({ "email": bob.email, "role": "member" });
    let invited = owner.post(&format!("/v1/tenants/{tenant}/invitations"), invite).await.ok();
    let accept = json!({ "token": node.invitation_link(&tenant, &invited).await });

    let attempts = (0..50).map(|_| bob.post("/v1/invitations/accept", accept.clone()));
    for reply in futures_util::future::join_all(attempts).await {
        assert_eq!(reply.ok()["role"], "member");
    }

    let events = owner.get(&format!("/v1/tenants/{tenant}/events")).await.ok();
    let events = events["data"].as_array().unwrap().iter();
    let admitted = events.filter(|event| event["type"] == "membership.admitted").count();
    assert_eq!(admitted, 2, "the founder and one more");
}

#[tokio::test]
async fn an_invitation_waits_for_whoever_has_no_account_yet_and_tells_nobody_so() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, _bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let path = format!("/v1/tenants/{tenant}/invitations");
    let invite = async |name: &str| {
        let email = format!("{name}@example.org");
        owner.post(&path, json!({ "email": email, "role": "member" })).await
    };

    let (known, unknown) = (invite("bob").await, invite("eve").await);

    let shape = |reply: &crate::harness::Reply| {
        let fields: Vec<_> = reply.body.as_object().unwrap().keys().cloned().collect();
        (reply.status, fields)
    };
    assert_eq!(shape(&known), shape(&unknown));
    let token = node.invitation_link(&tenant, &unknown.body).await;
    let eve = node.person("eve").await;
    eve.post("/v1/invitations/accept", json!({ "token": token })).await.ok();
    let member = eve.in_tenant(&tenant).await;
    assert_eq!(member.get(&format!("/v1/tenants/{tenant}")).await.status, 200);
}

#[tokio::test]
async fn an_invitation_that_is_declined_revoked_or_over_lets_nobody_in() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_TENANCY_INVITATIONS_OPEN_MAX", "2")]);
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let path = format!("/v1/tenants/{tenant}/invitations");
    let invite = async |email: &str| owner.post(&path, json!({ "email": email, "role": "member" })).await;

    let declined = invite(&bob.email).await.ok();
    let token = node.invitation_link(&tenant, &declined).await;
    let decline = node.stranger(Method::POST, "/v1/invitations/decline").json(&json!({ "token": token }));
    assert_eq!(reply(decline).await.unwrap().status, 204);
    bob.post("/v1/invitations/accept", json!({ "token": token })).await.problem(409, "invitation/over");
    owner.until_listed(&path, 0).await;

    let revoked = invite(&bob.email).await.ok();
    assert_eq!(revoked["id"], declined["id"], "one for a tenant and an address");
    let one = format!("{path}/{}", revoked["id"].as_str().unwrap());
    assert_eq!(owner.delete(&one).await.status, 204);
    bob.post("/v1/invitations/accept", json!({ "token": token })).await.problem(409, "invitation/over");
    bob.get(&path).await.problem(404, "tenant/unknown");
    for token in ["", "none", &format!("{token}A"), &node.tokens().refresh_token] {
        look(&node, token).await.problem(404, "invitation/unknown");
    }

    invite("x1@example.org").await.ok();
    invite("x2@example.org").await.ok();
    owner.until_listed(&path, 2).await;
    invite("x3@example.org").await.problem(409, "invitation/too-many");
}

#[tokio::test]
async fn an_invitation_ends_with_its_time_even_over_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_TENANCY_INVITATION_LIFE", "1s")]);
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let path = format!("/v1/tenants/{tenant}/invitations");
    let invited = owner.post(&path, json!({ "email": bob.email, "role": "member" })).await.ok();
    let token = node.invitation_link(&tenant, &invited).await;

    let node = node.kill_and_restart();

    node.eventually(&path, |page| page["data"].as_array().is_some_and(Vec::is_empty)).await;
    let refused = look(&node, &token).await.problem(409, "invitation/over");
    assert!(refused["detail"].as_str().unwrap().contains("expired"), "{refused}");
}

/// An invitation is read by somebody of whom nothing is known: whoever invites says in which language.
#[tokio::test]
async fn an_invitation_is_written_in_the_language_that_is_asked_for_or_the_inviters_own() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let german =
        json!({ "email": "emmy@example.org", "password": PASSWORD, "name": "Emmy", "language": "de" });
    post(&node, "/v1/accounts", german).await.ok();
    let token = token_in(&mails(&node, "emmy@example.org", 1).await[0]).unwrap();
    let open = json!({ "token": token, "password": PASSWORD });
    assert_eq!(post(&node, "/v1/accounts/verify", open).await.status, 204);
    let emmy = tokens(sign_in(&node, "emmy@example.org", PASSWORD).await);
    let founded = json!({ "name": "Acme", "slug": "acme" });
    let founded = with(&node, Method::POST, "/v1/tenants", &emmy.access_token, founded).await.ok();
    let tenant = founded["id"].as_str().unwrap();
    let own = json!({ "email": "emmy@example.org", "password": PASSWORD, "tenant": tenant });
    let owner = tokens(post(&node, "/v1/sessions", own).await).access_token;
    let invite = async |email: &str, language: Value| {
        let body = json!({ "email": email, "role": "member", "language": language });
        let path = format!("/v1/tenants/{tenant}/invitations");
        with(&node, Method::POST, &path, &owner, body).await
    };
    let subject = async |email: &str| mails(&node, email, 1).await[0]["subject"].clone();

    invite("one@example.org", Value::Null).await.ok();
    invite("two@example.org", json!("en")).await.ok();

    assert_eq!(subject("one@example.org").await, "Emmy lädt Sie zu Acme ein");
    assert_eq!(subject("two@example.org").await, "Emmy invites you to Acme");
    invite("three@example.org", json!("xx")).await.problem(400, "request/invalid");
}

/// A tenant's mails look like the tenant's.
#[tokio::test]
async fn a_tenant_has_a_colour_that_its_mails_carry() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let patch = async |body: Value| reply(node.request(Method::PATCH, &path).json(&body)).await.unwrap();
    assert_eq!(node.get(&path).await.ok()["colour"], Value::Null);

    let painted = patch(json!({ "colour": "#FFD400", "name": "Acme Limited" })).await.ok();

    assert_eq!((&painted["colour"], &painted["name"]), (&json!("#ffd400"), &json!("Acme Limited")));
    let invite = json!({ "email": "grace@example.org", "role": "member" });
    node.post(&format!("{path}/invitations"), invite).await.ok();
    let html = mails(&node, "grace@example.org", 1).await[0]["html"].as_str().unwrap().to_owned();
    assert!(html.contains("background-color:#ffd400;") && html.contains("color:#000000;"), "{html}");
    assert_eq!(patch(json!({ "name": "Acme" })).await.ok()["colour"], "#ffd400", "what is not named stays");
    assert_eq!(patch(json!({ "colour": null })).await.ok()["colour"], Value::Null);
    for bad in [json!({ "colour": "red" }), json!({ "colour": "#fff;}" }), json!({})] {
        patch(bad).await.problem(400, "request/invalid");
    }
}
