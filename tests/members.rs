//! Who belongs to a tenant, and what they may do there.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Node;

/// The roles of a tenant's members by address, once the list shows a write.
fn roles(page: &Value) -> Vec<(&str, &str)> {
    let members = page["data"].as_array().unwrap().iter();
    let mut roles: Vec<_> =
        members.map(|member| (member["email"].as_str().unwrap(), member["role"].as_str().unwrap())).collect();
    roles.sort_unstable();
    roles
}

#[tokio::test]
async fn whoever_has_an_account_founds_tenants_and_owns_them_up_to_a_limit() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_TENANCY_PER_ACCOUNT_MAX", "2")]);
    let bob = node.person("bob").await;

    let one = bob.founds("one").await;
    bob.post("/v1/tenants", json!({ "name": "x", "slug": "one" })).await.problem(409, "tenant/slug-taken");
    let two = bob.post("/v1/tenants", json!({ "name": "Two", "slug": "two" })).await;
    let token = two.headers["Prognet-Consistency"].to_str().unwrap().to_owned();
    bob.post("/v1/tenants", json!({ "name": "x", "slug": "three" })).await.problem(409, "tenant/too-many");

    let own = bob.get(&format!("/v1/me/tenants?consistency={token}")).await.ok();
    let own_tenants = own["data"].as_array().unwrap().iter();
    let names: Vec<_> = own_tenants.map(|own| own["tenant"]["slug"].as_str().unwrap()).collect();
    assert_eq!((names, &own["data"][0]["role"]), (vec!["one", "two"], &json!("owner")));
    let owner = bob.in_tenant(&one).await;
    assert_eq!(owner.get(&format!("/v1/tenants/{one}")).await.ok()["slug"], "one");
    owner.get("/v1/me/tenants").await.problem(403, "auth/forbidden");
    node.post("/v1/tenants", json!({ "name": "x", "slug": "three" })).await.ok();
}

/// Security bar 35: on every route of a tenant.
#[tokio::test]
async fn a_token_of_one_tenant_is_refused_on_another_even_for_the_same_person() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (one, two) = (ada.founds("one").await, bob.founds("two").await);
    let in_one = ada.in_tenant(&one).await.lets_in(&one, &bob, "admin").await;
    let in_two = bob.in_tenant(&two).await;

    for (own, foreign, person) in [(&one, &two, &in_one), (&two, &one, &in_two)] {
        assert_eq!(person.get(&format!("/v1/tenants/{own}/members")).await.status, 200);
        for route in ["", "/members", "/roles", "/invitations", "/events", "/audit"] {
            let path = format!("/v1/tenants/{foreign}{route}");
            person.get(&path).await.problem(404, "tenant/unknown");
        }
    }
}

/// Security bar 43: nobody grants what they lack.
#[tokio::test]
async fn nobody_grants_what_they_lack() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob, eve) = (node.person("ada1").await, node.person("bob").await, node.person("eve").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let admin = owner.lets_in(&tenant, &bob, "admin").await;
    let member = admin.lets_in(&tenant, &eve, "member").await;
    let of = |account: &str| format!("/v1/tenants/{tenant}/members/{account}");
    let (role, none) = (|role: &str| json!({ "role": role }), json!({}));

    member.patch(&of(&eve.account), role("admin")).await.problem(403, "auth/forbidden");
    admin.patch(&of(&eve.account), role("owner")).await.problem(403, "auth/forbidden");
    admin.patch(&of(&ada.account), role("member")).await.problem(403, "auth/forbidden");
    admin.post(&format!("{}/suspend", of(&ada.account)), none).await.problem(403, "auth/forbidden");
    admin.delete(&of(&ada.account)).await.problem(403, "auth/forbidden");
    admin.patch(&of(&eve.account), role("custom")).await.problem(409, "role/undefined");
    let all = json!({ "permissions": ["owners:appoint"] });
    admin.put(&format!("/v1/tenants/{tenant}/roles/custom"), all).await.problem(403, "auth/forbidden");
    let invite = json!({ "email": "x@example.org", "role": "owner" });
    owner.post(&format!("/v1/tenants/{tenant}/invitations"), invite).await.problem(400, "request/invalid");

    assert_eq!(admin.patch(&of(&eve.account), role("admin")).await.ok()["role"], "admin");
    let risen = owner.patch(&of(&bob.account), role("owner")).await;
    let token = risen.headers["Prognet-Consistency"].to_str().unwrap().to_owned();
    assert_eq!(risen.ok()["role"], "owner");
    let list = owner.get(&format!("/v1/tenants/{tenant}/members?consistency={token}")).await.ok();
    let wanted = [("ada1@example.org", "owner"), ("bob@example.org", "owner"), ("eve@example.org", "admin")];
    assert_eq!(roles(&list), wanted);
}

/// Security bar 43: a change of role acts on tokens that are out, within 5 s.
#[tokio::test]
async fn a_change_of_role_acts_on_issued_tokens_and_on_open_streams() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let member = owner.lets_in(&tenant, &bob, "member").await;
    let stream = member.request(Method::GET, &format!("/v1/live/sse?topic=tenant:{tenant}"));
    let mut stream = Box::pin(stream.send().await.unwrap().bytes_stream());

    let define = json!({ "permissions": ["members:read"] });
    owner.put(&format!("/v1/tenants/{tenant}/roles/custom"), define).await.ok();
    let path = format!("/v1/tenants/{tenant}/members/{}", bob.account);
    owner.patch(&path, json!({ "role": "custom" })).await.ok();

    member.until_refused(&format!("/v1/tenants/{tenant}"), 403, "auth/forbidden").await;
    assert_eq!(member.get(&format!("/v1/tenants/{tenant}/members")).await.status, 200);
    let mut said = String::new();
    while let Some(chunk) = stream.next().await {
        said.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    assert!(said.contains("event: closed") && said.contains("auth/forbidden"), "{said}");
    // What the role allows is the tenant's to say, and said anew for those who have it.
    let define = json!({ "permissions": ["tenant:read"] });
    owner.put(&format!("/v1/tenants/{tenant}/roles/custom"), define).await.ok();
    member.until_refused(&format!("/v1/tenants/{tenant}/members"), 403, "auth/forbidden").await;
    assert_eq!(member.get(&format!("/v1/tenants/{tenant}")).await.status, 200);
    let unknown = json!({ "permissions": ["tenant:own"] });
    let path = format!("/v1/tenants/{tenant}/roles/custom");
    owner.put(&path, unknown).await.problem(400, "request/invalid");
}

#[tokio::test]
async fn a_suspended_or_removed_member_is_refused_and_told_why() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    let member = owner.lets_in(&tenant, &bob, "member").await;
    let (path, of) =
        (format!("/v1/tenants/{tenant}"), format!("/v1/tenants/{tenant}/members/{}", bob.account));

    assert_eq!(owner.post(&format!("{of}/suspend"), json!({})).await.ok()["status"], "suspended");
    member.until_refused(&path, 403, "member/suspended").await;
    bob.try_in_tenant(&tenant).await.problem(403, "member/suspended");
    assert_eq!(bob.get("/v1/me").await.status, 200, "the person's session goes on");
    owner.post(&format!("{of}/suspend"), json!({})).await.problem(409, "member/suspended");
    assert_eq!(owner.post(&format!("{of}/resume"), json!({})).await.ok()["status"], "active");
    let member = bob.in_tenant(&tenant).await;
    assert_eq!(member.get(&path).await.status, 200);

    assert_eq!(owner.delete(&of).await.status, 204);
    member.until_refused(&path, 403, "member/removed").await;
    bob.try_in_tenant(&tenant).await.problem(404, "tenant/unknown");
    owner.get(&of).await.problem(404, "member/unknown");
    owner.delete(&of).await.problem(404, "member/unknown");
}

/// Security bar 43: the last owner.
#[tokio::test]
async fn the_last_owner_cannot_leave_and_of_two_who_leave_at_once_one_stays() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let first = ada.in_tenant(&tenant).await;
    let second = first.lets_in(&tenant, &bob, "admin").await;
    let of = |account: &str| format!("/v1/tenants/{tenant}/members/{account}");
    let (own, other) = (of(&ada.account), of(&bob.account));

    first.delete(&own).await.problem(409, "tenant/last-owner");
    first.patch(&own, json!({ "role": "member" })).await.problem(409, "tenant/last-owner");
    first.post(&format!("{own}/suspend"), json!({})).await.problem(409, "tenant/last-owner");
    assert_eq!(first.patch(&own, json!({ "role": "owner" })).await.ok()["role"], "owner");
    first.patch(&other, json!({ "role": "owner" })).await.ok();

    let (one, two) = tokio::join!(first.delete(&own), second.delete(&other));

    let (left, stayed) = if one.status == 204 { (one, two) } else { (two, one) };
    assert_eq!(left.status, 204);
    stayed.problem(409, "tenant/last-owner");
    let one = |page: &Value| page["data"].as_array().is_some_and(|rows| rows.len() == 1);
    let list = node.eventually(&format!("/v1/tenants/{tenant}/members"), one).await;
    assert_eq!(list["data"][0]["role"], "owner");
}

/// Security bar 43: however many at once.
#[tokio::test]
async fn of_two_last_owners_who_remove_each_other_fifty_times_at_once_one_stays() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let first = ada.in_tenant(&tenant).await;
    let second = first.lets_in(&tenant, &bob, "admin").await;
    let of = |account: &str| format!("/v1/tenants/{tenant}/members/{account}");
    first.patch(&of(&bob.account), json!({ "role": "owner" })).await.ok();

    let attempts = (0..50).map(async |number| match number % 4 {
        0 => first.delete(&of(&bob.account)).await,
        1 => second.delete(&of(&ada.account)).await,
        2 => first.delete(&of(&ada.account)).await,
        _ => second.patch(&of(&bob.account), json!({ "role": "member" })).await,
    });
    for answer in futures_util::future::join_all(attempts).await {
        // It was done, it is being done, it may not be, or whoever asks is no owner any more.
        let is_answer = [200, 204, 403, 404, 409].contains(&answer.status.as_u16());
        assert!(is_answer, "{answer:?}");
    }

    let owners = |page: &Value| {
        let rows = page["data"].as_array().unwrap().iter();
        rows.filter(|row| row["role"] == "owner" && row["status"] == "active").count()
    };
    crate::durability::readers_caught_up(&node).await;
    let list = node.get(&format!("/v1/tenants/{tenant}/members")).await.ok();
    assert_eq!(owners(&list), 1, "{list}");
    let events = node.get(&format!("/v1/tenants/{tenant}/events?limit=200")).await.ok();
    let events = events["data"].as_array().unwrap();
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("tenant.owner_added"), count("tenant.owner_removed")), (1, 1), "{events:?}");
}

#[tokio::test]
async fn a_retried_change_has_one_effect_and_one_answer() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    owner.lets_in(&tenant, &bob, "member").await;
    let of = format!("/v1/tenants/{tenant}/members/{}", bob.account);
    let keyed = async |method: Method, key: &str, body: Value| {
        let request = owner.request(method, &of).header("Idempotency-Key", key);
        crate::harness::reply(request.json(&body)).await.unwrap()
    };

    assert_eq!(keyed(Method::PATCH, "k1", json!({ "role": "owner" })).await.ok()["role"], "owner");
    assert_eq!(keyed(Method::PATCH, "k1", json!({ "role": "owner" })).await.ok()["role"], "owner");
    keyed(Method::PATCH, "k1", json!({ "role": "admin" })).await.problem(422, "request/key-reused");
    assert_eq!(keyed(Method::DELETE, "k2", json!({})).await.status, 204);
    assert_eq!(keyed(Method::DELETE, "k2", json!({})).await.status, 204);
}

/// Security bar 42: in a tenant.
#[tokio::test]
async fn fields_that_nobody_asked_for_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let bob = node.person("bob").await;
    let tenant = bob.founds("acme").await;
    let owner = bob.in_tenant(&tenant).await;
    let path = |rest: &str| format!("/v1/tenants/{tenant}/{rest}");
    let member = path(&format!("members/{}", bob.account));
    let bodies = [
        (Method::PATCH, member, json!({ "role": "owner", "status": "active" }), "status"),
        (Method::PUT, path("roles/custom"), json!({ "permissions": [], "role": "owner" }), "role"),
        (
            Method::POST,
            path("invitations"),
            json!({ "email": "x@example.org", "role": "member", "tenant_id": tenant }),
            "tenant_id",
        ),
        (Method::POST, "/v1/invitations/accept".to_owned(), json!({ "token": "x", "role": "owner" }), "role"),
        (Method::POST, "/v1/invitations/look".to_owned(), json!({ "token": "x", "owner": true }), "owner"),
        (Method::POST, "/v1/invitations/decline".to_owned(), json!({ "token": "x", "a": 1 }), "a"),
        (
            Method::POST,
            "/v1/tenants".to_owned(),
            json!({ "name": "x", "slug": "xyz", "owner": "me" }),
            "owner",
        ),
    ];
    for (method, path, body, field) in bodies {
        let refused = crate::harness::reply(owner.request(method, &path).json(&body)).await.unwrap();
        let problem = refused.problem(400, "request/invalid");
        assert_eq!(problem["errors"][0]["field"], field, "{path}");
    }
}

#[tokio::test]
async fn members_and_their_changes_survive_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    owner.lets_in(&tenant, &bob, "member").await;
    let of = format!("/v1/tenants/{tenant}/members/{}", bob.account);
    owner.patch(&of, json!({ "role": "owner" })).await.ok();

    let node = node.kill_and_restart();

    let two_owners = |page: &Value| {
        let rows = page["data"].as_array();
        rows.is_some_and(|rows| rows.len() == 2 && rows.iter().all(|row| row["role"] == "owner"))
    };
    let list = node.eventually(&format!("/v1/tenants/{tenant}/members"), two_owners).await;
    assert_eq!(roles(&list), [("ada1@example.org", "owner"), ("bob@example.org", "owner")]);
    let events = node.get(&format!("/v1/tenants/{tenant}/events")).await.ok();
    let kinds: Vec<_> = events["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    let wanted = [
        "tenant.created",
        "membership.admitted",
        "invitation.invited",
        "membership.admitted",
        "invitation.accepted",
        "tenant.owner_added",
        "membership.role_changed",
    ];
    assert_eq!(kinds, wanted);
}
