//! What time does to sessions, sign-ins and keys: on a clock that is driven, through the public doors. The lines
//! named are those of the security bar.

use std::time::Duration;

use prognet_actors::{
    auth::session::FRESH,
    ids::{AccountId, TenantId},
    tenancy::{Membership, Role, membership},
};
use prognet_sdk::Tokens;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    guesses::tokens,
    harness::{ADMIN, Driven, Reply},
    pages::Browser,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

impl Driven {
    async fn get(&self, path: &str, token: &str) -> Reply {
        self.with(Method::GET, path, token, json!({})).await
    }

    async fn admin_signs_in(&self) -> Tokens {
        tokens(self.sign_in(ADMIN.0, ADMIN.1).await)
    }

    async fn refresh(&self, spent: &Tokens, tenant: Option<&str>) -> Reply {
        let mut body = json!({ "refresh_token": spent.refresh_token });
        if let Some(tenant) = tenant {
            body["tenant"] = json!(tenant);
        }
        self.post("/v1/sessions/refresh", body).await
    }

    async fn refreshed(&self, spent: &Tokens) -> Tokens {
        tokens(self.refresh(spent, None).await)
    }

    async fn refreshed_for(&self, spent: &Tokens, tenant: &str) -> Tokens {
        tokens(self.refresh(spent, Some(tenant)).await)
    }

    fn later(&self, by: Duration) {
        self.world.clock.advance(by);
    }
}

/// Security bar 20: both ends are the server's, whatever its holder keeps.
#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_after_its_time_however_much_it_is_used() {
    let node = Driven::still().await;
    let (idle, nearly) = (node.admin_signs_in().await, node.admin_signs_in().await);
    let mut used = node.admin_signs_in().await;
    node.later(DAY * 14 - Duration::from_millis(1));
    node.refreshed(&nearly).await;
    used = node.refreshed(&used).await;
    node.later(Duration::from_millis(1));
    node.refresh(&idle, None).await.problem(401, "session/ended");

    for _ in 0..6 {
        node.later(DAY * 12);
        used = node.refreshed(&used).await;
        assert_eq!(node.get("/v1/me", &used.access_token).await.status, 200);
    }
    node.later(DAY * 4 - Duration::from_millis(1));
    used = node.refreshed(&used).await;
    node.later(Duration::from_secs(2));

    node.get("/v1/me", &used.access_token).await.problem(401, "session/ended");
    node.refresh(&used, None).await.problem(401, "session/ended");
}

/// Security bar 20: an organization shortens sessions, for itself alone.
#[tokio::test]
async fn an_organization_shortens_sessions_for_itself_alone() {
    let node = Driven::still().await;
    let admin = node.admin_signs_in().await.access_token;
    let mut tenants = Vec::new();
    for slug in ["acme", "globex"] {
        let founded = json!({ "name": slug, "slug": slug });
        let founded = node.with(Method::POST, "/v1/tenants", &admin, founded).await.ok();
        tenants.push(founded["id"].as_str().unwrap().to_owned());
    }
    let (acme, globex) = (tenants[0].as_str(), tenants[1].as_str());
    let limits = format!("/v1/tenants/{acme}/session-limits");
    let too_short = node.with(Method::PUT, &limits, &admin, json!({ "idle_s": 60 })).await;
    assert_eq!(too_short.problem(400, "request/invalid")["errors"][0]["field"], "idle_s");
    let limited = node.with(Method::PUT, &limits, &admin, json!({ "lasts_s": 3600, "idle_s": 1800 })).await;
    assert_eq!(limited.ok()["session_limits"], json!({ "lasts_s": 3600, "idle_s": 1800 }));

    // Used again and again, it lasts an hour; then no token for this tenant passes, and every other one does.
    let mut used = node.admin_signs_in().await;
    for _ in 0..11 {
        node.later(MINUTE * 5);
        used = node.refreshed_for(&used, acme).await;
    }
    let own = format!("/v1/tenants/{acme}");
    assert_eq!(node.get(&own, &used.access_token).await.status, 200);
    node.later(MINUTE * 5);
    node.get(&own, &used.access_token).await.problem(401, "session/outlived");
    node.refresh(&used, Some(acme)).await.problem(401, "session/outlived");
    used = node.refreshed_for(&used, globex).await;
    assert_eq!(node.get(&format!("/v1/tenants/{globex}"), &used.access_token).await.status, 200);

    // Left unused for half an hour it is not good enough any more, even if it is used since.
    let mut left = node.refreshed_for(&node.admin_signs_in().await, acme).await;
    node.later(MINUTE * 30);
    left = node.refreshed(&left).await;
    node.refresh(&left, Some(acme)).await.problem(401, "session/outlived");
    let again = node.refreshed_for(&node.admin_signs_in().await, acme).await;
    assert_eq!(node.get(&own, &again.access_token).await.status, 200);
}

/// Security bar 16: who has a say over an organization is changed by whoever proved just now who they are.
#[tokio::test]
async fn roles_and_owners_are_changed_within_ten_minutes_of_a_sign_in_alone() {
    let node = Driven::still().await;
    let mut admin = node.admin_signs_in().await;
    let founded = json!({ "name": "Acme", "slug": "acme" });
    let founded = node.with(Method::POST, "/v1/tenants", &admin.access_token, founded).await.ok();
    let tenant = founded["id"].as_str().unwrap().to_owned();
    let at = |member: AccountId| Membership::at(tenant.parse::<TenantId>().unwrap(), member);
    let (grace, bob) = (AccountId::new(77), AccountId::new(78));
    for member in [grace, bob] {
        let admit = membership::Command::Admit { role: Role::Member };
        node.world.ask(at(member), admit).await.unwrap();
    }
    let path = |member: AccountId| format!("/v1/tenants/{tenant}/members/{member}");
    let change = async |token: &str, role: &str| {
        node.with(Method::PATCH, &path(grace), token, json!({ "role": role })).await
    };
    let custom = format!("/v1/tenants/{tenant}/roles/custom");
    let define = async |token: &str| {
        node.with(Method::PUT, &custom, token, json!({ "permissions": ["tenant:read"] })).await
    };
    assert_eq!(change(&admin.access_token, "admin").await.ok()["role"], "admin");

    node.later(FRESH);
    admin = node.refreshed(&admin).await;

    let token = admin.access_token.clone();
    let stale = change(&token, "owner").await;
    let challenge = stale.headers["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.starts_with("Bearer error=\"insufficient_user_authentication\""), "{challenge}");
    assert!(challenge.ends_with("max_age=\"600\""), "{challenge}");
    stale.problem(401, "session/not-fresh");
    define(&token).await.problem(401, "session/not-fresh");
    let revoke = node.with(Method::POST, "/v1/system/keys/revoke", &token, json!({})).await;
    revoke.problem(401, "session/not-fresh");
    assert_eq!(node.get(&path(grace), &token).await.ok()["role"], "admin", "looking goes on");
    let suspended = node.with(Method::POST, &format!("{}/suspend", path(bob)), &token, json!({})).await;
    assert_eq!(suspended.status, StatusCode::OK, "no owner's say is at stake");

    admin = node.admin_signs_in().await;
    let token = admin.access_token.clone();
    assert_eq!(change(&token, "owner").await.ok()["role"], "owner");
    define(&token).await.ok();
    node.later(FRESH);
    admin = node.refreshed(&admin).await;
    let token = admin.access_token;
    for (method, path) in [(Method::DELETE, path(grace)), (Method::POST, format!("{}/suspend", path(grace)))]
    {
        node.with(method, &path, &token, json!({})).await.problem(401, "session/not-fresh");
    }
    // What carries the password proves as much, and needs no other sign-in.
    let password = json!({ "current": ADMIN.1, "new": "eleven blue horses", "end_other_sessions": true });
    let changed = node.with(Method::POST, "/v1/me/password", &token, password).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
}

/// Security bar 16, for a browser that somebody left open: its page asks, and leads back.
#[tokio::test]
async fn a_page_that_was_left_open_asks_for_another_sign_in_before_a_role_is_changed() {
    let node = Driven::still().await;
    let admin = node.admin_signs_in().await;
    let founded = json!({ "name": "Acme", "slug": "acme" });
    let founded = node.with(Method::POST, "/v1/tenants", &admin.access_token, founded).await.ok();
    let tenant = founded["id"].as_str().unwrap().to_owned();
    let grace = AccountId::new(77);
    let membership = Membership::at(tenant.parse::<TenantId>().unwrap(), grace);
    node.world.ask(membership, membership::Command::Admit { role: Role::Member }).await.unwrap();
    let members = format!("/organizations/{tenant}/members");
    let (of_grace, to_admin) = (format!("{members}/{grace}"), [("change", "role"), ("role", "admin")]);
    let mut browser = Browser::at(node.url.clone());
    browser.sign_in().await;
    node.later(FRESH);

    let sent = browser.sends(&members, &of_grace, &to_admin).await.leads_to().to_owned();

    let form = browser.get(&sent).await;
    form.shows(200, "takes a newer sign-in");
    assert_eq!(browser.signs_in_on(&form).await.leads_to(), members);
    assert_eq!(browser.sends(&members, &of_grace, &to_admin).await.leads_to(), members);
    let admin = node.admin_signs_in().await;
    let member = node.get(&format!("/v1/tenants/{tenant}/members/{grace}"), &admin.access_token).await.ok();
    assert_eq!(member["role"], "admin");
}

/// Security bar 36: nobody who verifies tokens meets a key they have not seen, and no token loses its key.
#[tokio::test]
async fn the_next_key_is_shown_before_it_signs_and_the_last_one_until_its_tokens_are_over() {
    let node = Driven::still().await;
    let kids = async || {
        let keys = node.get("/.well-known/jwks.json", "").await.ok();
        let keys = keys["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let signer = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let old = kids().await;
    node.later(DAY * 30);
    node.world.until(Duration::ZERO, || async { kids().await.len() == 2 }).await;
    let new = kids().await.into_iter().find(|kid| *kid != old[0]).unwrap();

    node.later(MINUTE * 10);
    assert_eq!(
        signer(&node.admin_signs_in().await.access_token),
        old[0],
        "shown ten minutes, and not used yet"
    );
    node.later(MINUTE * 5 - Duration::from_secs(1));
    let last = node.admin_signs_in().await.access_token;
    assert_eq!(signer(&last), old[0]);
    node.later(Duration::from_secs(1));
    let first = node.admin_signs_in().await.access_token;
    assert_eq!(signer(&first), new);

    for token in [&last, &first] {
        assert_eq!(node.get("/v1/me", token).await.status, 200);
    }
    node.later(MINUTE * 10 - Duration::from_secs(2));
    assert_eq!(node.get("/v1/me", &last).await.status, 200, "a token is good until its end");
    node.later(Duration::from_secs(2));
    node.get("/v1/me", &last).await.problem(401, "auth/token");
    assert_eq!(kids().await, [new]);
}
