//! What docs/security-bar.md promises and no other test here proves: on a clock that the test drives, where time
//! is the point.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, jwk::JwkSet};
use prognet_storage::journal::RecordKind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    guesses::tokens,
    harness::{ADMIN, Driven, Node, PASSWORD, reply},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const GRACE: &str = "grace@example.org";
const HOPPER: &str = "hopper@example.org";
const OTHER: &str = "twelve green camels";

fn description() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Security bar 4: a password is good for as long as its person wants, and nothing else opens its account.
#[tokio::test]
async fn no_password_ends_with_time_and_nobody_is_asked_for_a_hint() {
    let node = Driven::start().await;

    node.world.clock.advance(5 * 365 * DAY);

    assert_eq!(node.sign_in(ADMIN.0, ADMIN.1).await.status, StatusCode::CREATED);
    let description = description();
    for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
        for field in schema["properties"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            let is_hint = ["hint", "question", "secret", "maiden", "expire_password"];
            assert!(!is_hint.iter().any(|word| field.contains(word)), "{name}.{field}");
        }
    }
}

/// Security bar 9: strangers' guesses slow an account's person down for a moment, and never lock them out.
#[tokio::test]
async fn after_many_guesses_the_right_password_is_good_again_in_time() {
    let node = Driven::start().await;
    for _ in 0..12 {
        node.sign_in(ADMIN.0, "not this one, though").await;
    }
    let refused = node.sign_in(ADMIN.0, ADMIN.1).await;
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    refused.problem(429, "session/slow-down");
    assert!(wait <= 90, "{wait}");

    node.world.clock.advance(Duration::from_secs(wait));

    assert_eq!(node.sign_in(ADMIN.0, ADMIN.1).await.status, StatusCode::CREATED);
}

/// Security bar 13: a link to a new password is good for ten minutes, once, for that alone, and looking at its page
/// uses nothing up; the newest of several counts.
#[tokio::test]
async fn a_link_to_a_new_password_is_good_once_for_ten_minutes_and_for_nothing_else() {
    let node = Driven::start().await;
    node.person(GRACE).await;
    let forgot = || node.post("/v1/accounts/forgot", json!({ "email": GRACE }));
    let reset = |token: &str| node.post("/v1/accounts/reset", json!({ "token": token, "password": OTHER }));
    let nth = async |mails: usize| node.links(GRACE, mails).await.pop().unwrap();

    forgot().await.ok();
    let late = nth(2).await;
    node.world.clock.advance(10 * MINUTE);
    reset(&late).await.problem(403, "account/link");

    forgot().await.ok();
    let older = nth(3).await;
    forgot().await.ok();
    let newer = nth(4).await;
    reset(&older).await.problem(403, "account/link");
    for door in ["confirm-email", "undo-email"] {
        let other = node.post(&format!("/v1/accounts/{door}"), json!({ "token": newer })).await;
        other.problem(403, "account/link");
    }
    let verify = json!({ "token": newer, "password": PASSWORD });
    node.post("/v1/accounts/verify", verify).await.problem(403, "account/link");
    for _ in 0..3 {
        let page = node.answer(node.request(Method::GET, &format!("/reset?token={newer}"))).await;
        assert_eq!(page.status, StatusCode::OK);
    }
    node.world.clock.advance(9 * MINUTE);
    assert_eq!(reset(&newer).await.status, StatusCode::NO_CONTENT);
    reset(&newer).await.problem(403, "account/link");
}

async fn change(node: &Driven, token: &str) {
    let body = json!({ "password": PASSWORD, "email": HOPPER });
    let asked = node.with(Method::POST, "/v1/me/email", token, body).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{asked:?}");
}

/// Security bar 13: and so is the link to a new address.
#[tokio::test]
async fn a_link_to_a_new_address_is_good_once_for_ten_minutes() {
    let node = Driven::start().await;
    let grace = node.person(GRACE).await;
    let confirm = |token: &str| node.post("/v1/accounts/confirm-email", json!({ "token": token }));
    change(&node, &grace.access_token).await;
    let late = node.links(HOPPER, 1).await.remove(0);
    node.world.clock.advance(10 * MINUTE);
    confirm(&late).await.problem(403, "account/link");

    let grace = tokens(node.sign_in(GRACE, PASSWORD).await);
    change(&node, &grace.access_token).await;
    let good = node.links(HOPPER, 2).await.remove(1);
    for _ in 0..3 {
        let page = node.answer(node.request(Method::GET, &format!("/change-email?token={good}"))).await;
        assert_eq!(page.status, StatusCode::OK);
    }
    assert_eq!(confirm(&good).await.status, StatusCode::NO_CONTENT);
    confirm(&good).await.problem(403, "account/link");
    confirm(&late).await.problem(403, "account/link");
}

/// Security bar 17: for a week the old address takes a change back, and then no longer.
#[tokio::test]
async fn a_change_of_address_is_taken_back_for_a_week_and_not_longer() {
    for (waited, is_good) in [(7 * DAY - MINUTE, true), (7 * DAY + MINUTE, false)] {
        let node = Driven::start().await;
        let grace = node.person(GRACE).await;
        change(&node, &grace.access_token).await;
        let confirm = json!({ "token": node.links(HOPPER, 1).await.remove(0) });
        node.post("/v1/accounts/confirm-email", confirm).await.ok();
        let undo = json!({ "token": node.links(GRACE, 2).await.remove(1) });

        node.world.clock.advance(waited);

        let undone = node.post("/v1/accounts/undo-email", undo).await;
        assert_eq!(undone.status.is_success(), is_good, "{undone:?}");
        let now = if is_good { GRACE } else { HOPPER };
        assert_eq!(node.sign_in(now, PASSWORD).await.status, StatusCode::CREATED);
    }
}

/// Security bar 23: reading changes nothing, whatever is read.
#[tokio::test]
async fn no_get_writes_anything() {
    let node = Driven::start().await;
    let admin = node.admin.access_token.clone();
    let found = json!({ "name": "Acme", "slug": "acme" });
    let tenant = node.with(Method::POST, "/v1/tenants", &admin, found).await.ok()["id"].clone();
    let events = || {
        let log = node.world.memory.log();
        log.iter().filter(|stored| stored.record.kind == RecordKind::Event).count()
    };
    let before = events();

    let mut asked = 0;
    for (path, methods) in description()["paths"].as_object().unwrap() {
        // Streams have no end.
        if methods["get"].is_null() || path.starts_with("/v1/live") {
            continue;
        }
        let path = path
            .replace("{tenant}", tenant.as_str().unwrap())
            .replace("{account}", &node.admin.account)
            .replace("{service}/{kind}/{home}/{id}", &format!("users/account/{0}/{0}", node.admin.account));
        let query = if path == "/v1/accounts" { "?email=ada@example.org" } else { "" };
        let got = node.with(Method::GET, &format!("{path}{query}"), &admin, json!({})).await;
        assert!(got.status.is_success(), "{path}: {got:?}");
        asked += 1;
    }

    assert!(asked > 15, "{asked}");
    assert_eq!(events(), before);
}

/// Security bar 24: nothing that an answer tells is kept, sniffed, framed, run or told on, whoever gets it.
#[tokio::test]
async fn every_answer_about_a_person_is_hardened_and_kept_by_nobody() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(
        data.path(),
        &[("PROGNET_HTTP_PUBLIC_URL", "https://api.example.org"), ("PROGNET_MAIL_DEV_INBOX", "on")],
    );
    let signed_in = json!({ "email": ADMIN.0, "password": ADMIN.1 });
    let refresh = json!({ "refresh_token": node.tokens().refresh_token });
    let find = format!("/v1/accounts?email={}", ADMIN.0);
    let account = format!("/v1/accounts/{}", node.tokens().account);
    let answers = [
        reply(node.stranger(Method::POST, "/v1/sessions").json(&signed_in)).await.unwrap(),
        reply(node.stranger(Method::POST, "/v1/sessions/refresh").json(&refresh)).await.unwrap(),
        node.get("/v1/me").await,
        node.get("/v1/me/export").await,
        node.get("/v1/me/sessions").await,
        node.get(&find).await,
        node.get(&account).await,
        node.get("/v1/accounts/none").await,
        reply(node.stranger(Method::GET, "/v1/me")).await.unwrap(),
    ];
    for answer in answers {
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("strict-transport-security", "max-age=63072000"),
        ] {
            assert_eq!(answer.headers[name], value, "{answer:?}");
        }
    }
}

/// Security bar 33: a token brings no key of its own, by value or by address, and no other algorithm.
#[tokio::test]
async fn whoever_has_another_key_makes_no_token_of_it() {
    let (node, other) = (Driven::start().await, Driven::start().await);
    let ours = jsonwebtoken::decode_header(&node.admin.access_token).unwrap();
    let theirs = jsonwebtoken::decode_header(&other.admin.access_token).unwrap();
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&node.admin.access_token).unwrap().claims;
    let keys = other.answer(other.request(Method::GET, "/.well-known/jwks.json")).await.ok();
    let keys: JwkSet = serde_json::from_value(keys).unwrap();
    let address = other.request(Method::GET, "/.well-known/jwks.json").build().unwrap().url().to_string();
    let jwk = keys.find(&theirs.kid.clone().unwrap()).cloned();
    let key = signing_key(&other, &theirs).await;

    let headers = [
        theirs.clone(),
        ours.clone(),
        Header { jwk: jwk.clone(), ..ours.clone() },
        Header { jwk, ..theirs.clone() },
        Header { jku: Some(address.clone()), ..theirs.clone() },
        Header { x5u: Some(address), ..theirs },
        Header { kid: Some("../../master.key".to_owned()), ..ours.clone() },
        Header { kid: None, ..ours },
    ];
    for header in headers {
        let forged = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let refused = node.with(Method::GET, "/v1/me", &forged, json!({})).await;
        refused.problem(401, "auth/token");
    }
}

/// The private half of the key that a token names.
async fn signing_key(node: &Driven, header: &Header) -> EncodingKey {
    let name = format!("jwt/{}", header.kid.as_ref().unwrap());
    EncodingKey::from_ec_der(&node.world.node.known_secret(&name).await.unwrap().unwrap())
}

/// Security bar 34: what our own key signed passes only as the access token of this platform, in its time.
#[tokio::test]
async fn a_token_of_our_own_key_is_good_for_one_purpose_place_and_time() {
    let node = Driven::start().await;
    let good = jsonwebtoken::decode_header(&node.admin.access_token).unwrap();
    let key = signing_key(&node, &good).await;
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&node.admin.access_token).unwrap().claims;
    let now = claims["iat"].as_i64().unwrap();
    let ask = async |typ: Option<&str>, changed: Value| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = Header { typ: typ.map(str::to_owned), ..good.clone() };
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        node.with(Method::GET, "/v1/me", &token, json!({})).await
    };
    let access = Some("at+jwt");
    assert_eq!(ask(access, json!({})).await.status, StatusCode::OK);
    assert_eq!(ask(access, json!({ "nbf": now })).await.status, StatusCode::OK);

    for typ in [None, Some("JWT"), Some("id_token+jwt"), Some("logout+jwt")] {
        ask(typ, json!({})).await.problem(401, "auth/token");
    }
    for changed in [
        json!({ "exp": now }),
        json!({ "exp": null }),
        json!({ "nbf": now + 3600 }),
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "aud": "https://evil.example" }),
        json!({ "aud": null }),
        json!({ "sub": null }),
        json!({ "sid": null }),
    ] {
        let refused = ask(access, changed.clone()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{changed}");
    }
}

/// Security bar 42: nobody gives themselves what no field of theirs says.
#[tokio::test]
async fn a_person_makes_themselves_nothing_by_fields_that_nobody_asked_for() {
    let node = Driven::start().await;
    let grace = node.person(GRACE).await;
    let sign_up = |field: &str, value: Value| {
        let mut body = json!({ "email": HOPPER, "password": PASSWORD, "name": "Hopper" });
        body[field] = value;
        node.post("/v1/accounts", body)
    };
    for (field, value) in [
        ("email_verified", json!(true)),
        ("is_platform_admin", json!(true)),
        ("status", json!("active")),
        ("roles", json!(["owner"])),
        ("tenant_id", json!(format!("ten_{}", "0".repeat(26)))),
        ("id", json!(grace.account)),
    ] {
        let refused = sign_up(field, value).await.problem(400, "request/invalid");
        assert_eq!(refused["errors"][0]["field"], field);
    }
    for (path, body, field) in [
        ("/v1/sessions", json!({ "email": GRACE, "password": PASSWORD, "account": "x" }), "account"),
        ("/v1/accounts/forgot", json!({ "email": GRACE, "to": "eve@example.org" }), "to"),
        ("/v1/accounts/reset", json!({ "token": "x", "password": OTHER, "account": "x" }), "account"),
        (
            "/v1/accounts/verify",
            json!({ "token": "x", "password": "x", "is_platform_admin": true }),
            "is_platform_admin",
        ),
        ("/v1/accounts/stay", json!({ "email": GRACE, "password": PASSWORD, "a": 1 }), "a"),
    ] {
        let refused = node.post(path, body).await.problem(400, "request/invalid");
        assert_eq!(refused["errors"][0]["field"], field, "{path}");
    }
    let changes = [
        (
            "/v1/me/email",
            json!({ "password": PASSWORD, "email": HOPPER, "email_verified": true }),
            "email_verified",
        ),
        ("/v1/me/password", json!({ "current": PASSWORD, "new": OTHER, "account": "x" }), "account"),
    ];
    for (path, body, field) in changes {
        let refused = node.with(Method::POST, path, &grace.access_token, body).await;
        assert_eq!(refused.problem(400, "request/invalid")["errors"][0]["field"], field, "{path}");
    }
}

/// Security bar 49: what is secret is in no event, not even under its seal.
#[tokio::test]
async fn no_event_holds_a_password_or_a_token() {
    let node = Driven::start().await;
    let grace = node.person(GRACE).await;
    let refresh = json!({ "refresh_token": grace.refresh_token });
    let next = tokens(node.post("/v1/sessions/refresh", refresh).await);
    node.post("/v1/accounts/forgot", json!({ "email": GRACE })).await.ok();
    let links = node.links(GRACE, 2).await;
    let reset = json!({ "token": links[1], "password": OTHER });
    assert_eq!(node.post("/v1/accounts/reset", reset).await.status, StatusCode::NO_CONTENT);
    node.sign_in(GRACE, "canary of a wrong password").await.problem(401, "session/credentials");

    let is_in = |events: &[Vec<u8>], text: &str| {
        events.iter().any(|event| event.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    // What came last is seen last.
    let last = json!({ "name": "x", "slug": "passed-the-witness" });
    node.with(Method::POST, "/v1/tenants", &node.admin.access_token, last).await.ok();
    node.world.until(Duration::ZERO, || async { is_in(&node.events(), "passed-the-witness") }).await;

    let events = node.events();
    assert!(is_in(&events, GRACE), "the search finds what is there");
    let secrets =
        [ADMIN.1, PASSWORD, OTHER, "canary", &grace.access_token, &grace.refresh_token, &next.refresh_token];
    for secret in secrets.into_iter().chain(links.iter().map(String::as_str)) {
        assert!(!is_in(&events, secret), "{secret}");
    }
    assert!(!is_in(&events, &grace.device.unwrap()));
}
