//! Setting up, signing in, staying signed in, signing out.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    guesses::tokens,
    harness::{ADMIN, Node, Reply, reply},
};

async fn sign_in(node: &Node, body: Value) -> Reply {
    reply(node.stranger(Method::POST, "/v1/sessions").json(&body)).await.unwrap()
}

async fn refresh(node: &Node, token: &str) -> Reply {
    let body = json!({ "refresh_token": token });
    reply(node.stranger(Method::POST, "/v1/sessions/refresh").json(&body)).await.unwrap()
}

async fn with(node: &Node, method: Method, path: &str, token: &str) -> Reply {
    reply(node.stranger(method, path).bearer_auth(token)).await.unwrap()
}

/// Security bar 6: no account by default, and one use.
#[tokio::test]
async fn the_setup_link_makes_one_admin_and_is_used_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    let mode = std::fs::metadata(data.path().join("setup.link")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let token = link.trim().rsplit_once("token=").unwrap().1;
    let again = json!({ "token": token, "email": "eve@example.org", "password": ADMIN.1, "name": "Eve" });
    let again = reply(node.stranger(Method::POST, "/v1/setup").json(&again)).await.unwrap();
    again.problem(403, "setup/token");

    let me = node.get("/v1/me").await.ok();
    assert_eq!((me["email"].as_str(), me["is_platform_admin"].as_bool()), (Some(ADMIN.0), Some(true)));
    let node = node.kill_and_restart();
    assert!(!data.path().join("setup.link").exists(), "there is an admin, so no link");
    assert_eq!(node.get("/v1/me").await.ok()["account"], me["account"]);
}

#[tokio::test]
async fn of_fifty_who_use_the_setup_link_at_once_one_becomes_admin() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::empty(data.path());
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    let token = link.trim().rsplit_once("token=").unwrap().1;

    let attempts = (0..50).map(|number| {
        let email = format!("person{number}@example.org");
        let body = json!({ "token": token, "email": email, "password": ADMIN.1, "name": "Ada" });
        reply(node.stranger(Method::POST, "/v1/setup").json(&body))
    });
    let replies = futures_util::future::join_all(attempts).await;

    let won: Vec<_> = replies.into_iter().map(|reply| reply.unwrap().status == 201).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    // Nor do the others leave an account behind.
    for (number, won) in won.into_iter().enumerate() {
        let email = format!("person{number}@example.org");
        let signed_in = sign_in(&node, json!({ "email": email, "password": ADMIN.1 })).await;
        assert_eq!(signed_in.status, if won { StatusCode::CREATED } else { StatusCode::UNAUTHORIZED });
    }
}

#[tokio::test]
async fn the_setup_page_works_without_script_and_looking_uses_nothing_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::empty(data.path());
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    let path = link.trim().strip_prefix(node.url()).unwrap().to_owned();
    for _ in 0..2 {
        let page = reply(node.stranger(Method::GET, &path)).await.unwrap();
        assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert!(page.ok().as_str().unwrap().contains("<form method=\"post\" action=\"/setup\">"));
    }
    let token = path.rsplit_once("token=").unwrap().1;
    let form = |password: &str| {
        let form = [("token", token), ("email", ADMIN.0), ("password", password), ("name", "<b>Ada</b>")];
        reply(node.stranger(Method::POST, "/setup").form(&form))
    };

    let short = form("short").await.unwrap();
    assert_eq!(short.status, 400);
    let text = short.body.as_str().unwrap();
    assert!(text.contains("12 to 128 characters") && text.contains("&lt;b&gt;Ada"), "{text}");
    assert_eq!(form(ADMIN.1).await.unwrap().status, 201);

    assert_eq!(reply(node.stranger(Method::GET, &path)).await.unwrap().status, 403);
    assert_eq!(sign_in(&node, json!({ "email": ADMIN.0, "password": ADMIN.1 })).await.status, 201);
}

#[tokio::test]
async fn an_access_token_is_checked_by_the_published_keys() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let token = node.tokens().access_token.clone();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!((header.alg, header.typ.as_deref()), (jsonwebtoken::Algorithm::ES256, Some("at+jwt")));

    let keys = reply(node.stranger(Method::GET, "/.well-known/jwks.json")).await.unwrap().ok();
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys).unwrap();
    let key = keys.find(&header.kid.unwrap()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&[node.url()]);
    rules.set_issuer(&[node.url()]);

    let claims = jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap().claims;
    assert_eq!(claims["sub"], node.tokens().account.as_str());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
}

/// Security bar 33: also what RFC 8725 warns of.
#[tokio::test]
async fn forged_tokens_of_every_kind_are_refused() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let good = node.tokens().access_token.clone();
    let header = jsonwebtoken::decode_header(&good).unwrap();
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&good).unwrap().claims;
    let keys = reply(node.stranger(Method::GET, "/.well-known/jwks.json")).await.unwrap().ok();
    let (payload, signature) = (good.split('.').nth(1).unwrap(), good.split('.').nth(2).unwrap());
    let unsigned = |header: &str| format!("{}.{payload}.", base64url(header.as_bytes()));
    let public = keys["keys"][0]["x"].as_str().unwrap();
    let confused =
        Header { kid: header.kid.clone(), typ: header.typ.clone(), ..Header::new(Algorithm::HS256) };

    let forged = [
        unsigned(r#"{"alg":"none","typ":"at+jwt"}"#),
        unsigned(&format!(r#"{{"alg":"none","typ":"at+jwt","kid":"{}"}}"#, header.kid.clone().unwrap())),
        encode(&confused, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap(),
        format!("{}.{payload}.{signature}", base64url(br#"{"alg":"ES256","typ":"at+jwt","kid":"x"}"#)),
        format!("{}.{}.{signature}", good.split('.').next().unwrap(), base64url(br#"{"sub":"acc_1"}"#)),
        format!("{good}x"),
        node.tokens().refresh_token.clone(),
        String::new(),
        "x".repeat(5000),
    ];
    for token in forged {
        with(&node, Method::GET, "/v1/me", &token).await.problem(401, "auth/token");
    }
    let other = tempfile::tempdir().unwrap();
    let other = Node::start(other.path());
    with(&node, Method::GET, "/v1/me", &other.tokens().access_token).await.problem(401, "auth/token");
}

/// Security bar 33: the algorithm is ours to say, whatever somebody makes of our public key or signs with their own.
#[tokio::test]
async fn no_token_chooses_the_algorithm_that_it_is_checked_by() {
    use aws_lc_rs::{rand::SystemRandom, rsa, signature};
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let good = node.tokens().access_token.clone();
    let ours = jsonwebtoken::decode_header(&good).unwrap();
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&good).unwrap().claims;
    let shown = node.stranger(Method::GET, "/.well-known/jwks.json").send().await.unwrap();
    let shown = shown.text().await.unwrap();
    let jwk_text = shown.strip_prefix(r#"{"keys":["#).unwrap().strip_suffix("]}").unwrap();
    let jwk: Value = serde_json::from_str(jwk_text).unwrap();
    assert_eq!(jwk["kid"].as_str(), ours.kid.as_deref());
    let public = public_key(&jwk);
    let (signed, own) = good.rsplit_once('.').unwrap();
    let verifies = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &public);
    verifies.verify(signed.as_bytes(), &from_base64url(own)).expect("it is the key that signs");

    let header = |alg| Header { alg, ..ours.clone() };
    let pem = pem(&public);
    let secrets = [pem.as_str(), pem.trim_end(), jwk_text, &shown];
    let mut forged: Vec<_> = secrets
        .iter()
        .map(|secret| EncodingKey::from_secret(secret.as_bytes()))
        .chain([EncodingKey::from_secret(&public)])
        .map(|secret| encode(&header(Algorithm::HS256), &claims, &secret).unwrap())
        .collect();
    let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let rs256 = serde_json::to_vec(&header(Algorithm::RS256)).unwrap();
    let signed = format!("{}.{}", base64url(&rs256), good.split('.').nth(1).unwrap());
    let mut own_rsa = vec![0; key.public_modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut own_rsa).unwrap();
    forged.extend([format!("{signed}.{}", base64url(&own_rsa)), format!("{signed}.{own}")]);

    for token in forged {
        with(&node, Method::GET, "/v1/me", &token).await.problem(401, "auth/token");
    }
    assert_eq!(with(&node, Method::GET, "/v1/me", &good).await.status, 200);
}

/// The public key of a JWK as a `SubjectPublicKeyInfo` (RFC 5480 s. 2): what stands before every point of P-256.
fn public_key(jwk: &Value) -> Vec<u8> {
    const P256: [u8; 27] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    let part = |name: &str| from_base64url(jwk[name].as_str().unwrap());
    [&P256[..], &part("x"), &part("y")].concat()
}

/// A public key as tools write and read it (RFC 7468 s. 13).
fn pem(public: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(public);
    let (first, rest) = text.split_at(64);
    format!("-----BEGIN PUBLIC KEY-----\n{first}\n{rest}\n-----END PUBLIC KEY-----\n")
}

/// Security bar 34: its time.
#[tokio::test]
async fn an_access_token_ends_with_its_time() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_ACCESS_TOKEN_LIFE", "1s")]);

    let answer = node.until_refused("/v1/me").await;

    answer.problem(401, "auth/token");
    let again = tokens(refresh(&node, &node.tokens().refresh_token).await);
    assert_eq!(again.session, node.tokens().session);
}

/// Security bar 31: at once.
#[tokio::test]
async fn fifty_refreshes_with_one_token_have_one_successor_and_log_nobody_out() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let first = node.tokens().refresh_token.clone();

    let replies = futures_util::future::join_all((0..50).map(|_| refresh(&node, &first))).await;

    let successors: BTreeSet<_> = replies.into_iter().map(|reply| tokens(reply).refresh_token).collect();
    assert_eq!(successors.len(), 1);
    let successor = successors.into_iter().next().unwrap();
    assert_ne!(successor, first);
    assert_eq!(refresh(&node, &successor).await.status, 200);
}

/// Security bar 31: late.
#[tokio::test]
async fn a_refresh_token_that_comes_back_after_its_grace_ends_the_session() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_REFRESH_GRACE", "1ms")]);
    let first = node.tokens().refresh_token.clone();
    let second = tokens(refresh(&node, &first).await);
    node.a_moment_later().await;

    refresh(&node, &first).await.problem(401, "session/reused");

    refresh(&node, &second.refresh_token).await.problem(401, "session/reused");
    with(&node, Method::GET, "/v1/me", &second.access_token).await.problem(401, "session/ended");
    // Nobody else is harmed.
    assert_eq!(sign_in(&node, json!({ "email": ADMIN.0, "password": ADMIN.1 })).await.status, 201);
}

#[tokio::test]
async fn forged_refresh_tokens_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let good = node.tokens().refresh_token.clone();
    let mut other = good.clone().into_bytes();
    other[10] = if other[10] == b'A' { b'B' } else { b'A' };
    for bad in [String::from_utf8(other).unwrap(), format!("{good}A"), "prt_".to_owned(), String::new()] {
        refresh(&node, &bad).await.problem(401, "auth/token");
    }
    assert_eq!(refresh(&node, &good).await.status, 200);
}

/// Security bar 21: signing out.
#[tokio::test]
async fn signing_out_ends_the_tokens_with_the_next_request() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mine = tokens(sign_in(&node, json!({ "email": ADMIN.0, "password": ADMIN.1 })).await);
    assert_eq!(with(&node, Method::GET, "/v1/me", &mine.access_token).await.status, 200);

    let path = format!("/v1/sessions/{}", mine.session);
    assert_eq!(node.delete(&path).await.status, StatusCode::NO_CONTENT);

    with(&node, Method::GET, "/v1/me", &mine.access_token).await.problem(401, "session/ended");
    refresh(&node, &mine.refresh_token).await.problem(401, "session/ended");
    assert_eq!(node.get("/v1/me").await.status, 200, "the other session goes on");
    node.delete(&format!("/v1/sessions/ses_{}", "0".repeat(26))).await.problem(404, "session/unknown");
    node.delete("/v1/sessions/mine").await.problem(400, "request/invalid");
}

#[tokio::test]
async fn a_keyed_sign_in_that_is_retried_opens_one_session() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let sign_in = || {
        let request = node.stranger(Method::POST, "/v1/sessions").header("Idempotency-Key", "once");
        reply(request.json(&json!({ "email": ADMIN.0, "password": ADMIN.1 })))
    };

    let (one, two) = (tokens(sign_in().await.unwrap()), tokens(sign_in().await.unwrap()));

    assert_eq!((one.session, one.refresh_token), (two.session, two.refresh_token));
}

/// A client that lost the answers of its sign-in and of what came after it goes on where the session is.
#[tokio::test]
async fn a_keyed_sign_in_repeated_after_a_refresh_gives_the_token_that_is_good_now() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_REFRESH_GRACE", "1ms")]);
    let sign_in = async || {
        let request = node.stranger(Method::POST, "/v1/sessions").header("Idempotency-Key", "once");
        reply(request.json(&json!({ "email": ADMIN.0, "password": ADMIN.1 }))).await.unwrap()
    };
    let first = tokens(sign_in().await);
    let second = tokens(refresh(&node, &first.refresh_token).await);

    let repeated = tokens(sign_in().await);

    assert_eq!((&repeated.session, &repeated.refresh_token), (&first.session, &second.refresh_token));
    let third = tokens(refresh(&node, &repeated.refresh_token).await);
    with(&node, Method::DELETE, &format!("/v1/sessions/{}", first.session), &third.access_token).await.ok();
    sign_in().await.problem(401, "session/ended");
}

/// One entity asked for all of them would be a queue that strangers fill.
#[tokio::test]
async fn each_unknown_address_asks_for_an_account_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let hot = async |kind: &str| {
        let counts = node.get("/v1/system/actors").await.ok();
        let line = counts["data"].as_array().unwrap().iter().find(|line| line["kind"] == kind).cloned();
        line.unwrap()["hot"].as_u64().unwrap()
    };
    let before = (hot("account").await, hot("credential").await);

    for number in [1, 2, 3, 3] {
        let email = format!("nobody{number}@example.org");
        let refused = sign_in(&node, json!({ "email": email, "password": ADMIN.1 })).await;
        refused.problem(401, "session/credentials");
    }

    assert_eq!((hot("account").await, hot("credential").await), (before.0 + 3, before.1 + 3));
}

/// A token carries exactly one tenant, and opens nothing else.
/// Security bar 35: it says so by saying that nothing is there.
#[tokio::test]
async fn a_token_for_a_tenant_opens_that_tenant_alone() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (own, other) = (node.tenant("own").await, node.tenant("other").await);
    let body = json!({ "email": ADMIN.0, "password": ADMIN.1, "tenant": own });
    let token = tokens(sign_in(&node, body).await).access_token;
    let get = async |path: String| with(&node, Method::GET, &path, &token).await;

    assert_eq!(get(format!("/v1/tenants/{own}")).await.ok()["slug"], "own");
    assert_eq!(get("/v1/me".to_owned()).await.ok()["tenant"], own.as_str());
    let nobodys = format!("ten_{}", "0".repeat(26));
    for route in ["", "/events", "/audit"] {
        let foreign = get(format!("/v1/tenants/{other}{route}")).await.problem(404, "tenant/unknown");
        let missing = get(format!("/v1/tenants/{nobodys}{route}")).await.problem(404, "tenant/unknown");
        assert_eq!(foreign["detail"], missing["detail"], "nobody is told that it exists");
    }
    get(format!("/v1/live/sse?topic=tenant:{other}")).await.problem(404, "tenant/unknown");
    get("/v1/live/sse?topic=system".to_owned()).await.problem(403, "auth/forbidden");
    get("/v1/tenants".to_owned()).await.problem(403, "auth/forbidden");
    with(&node, Method::POST, &format!("/v1/tenants/{own}/resume"), &token)
        .await
        .problem(403, "auth/forbidden");
    let foreign = json!({ "email": ADMIN.0, "password": ADMIN.1, "tenant": nobodys });
    sign_in(&node, foreign).await.problem(404, "tenant/unknown");
}

/// Security bar 21: a suspended tenant.
#[tokio::test]
async fn a_suspended_tenant_refuses_its_tokens_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let tenant = node.tenant("acme").await;
    let path = format!("/v1/tenants/{tenant}");
    let body = json!({ "email": ADMIN.0, "password": ADMIN.1, "tenant": tenant });
    let token = tokens(sign_in(&node, body.clone()).await).access_token;
    assert_eq!(with(&node, Method::GET, &path, &token).await.status, 200);

    node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" })).await.ok();

    let refused = with(&node, Method::GET, &path, &token).await.problem(403, "tenant/suspended");
    assert!(refused["detail"].as_str().unwrap().contains("abuse"), "{refused}");
    sign_in(&node, body.clone()).await.problem(403, "tenant/suspended");
    // Resumed, it takes new tokens; those from before the suspension stay refused.
    node.post(&format!("{path}/resume"), json!({})).await.ok();
    with(&node, Method::GET, &path, &token).await.problem(401, "auth/token");
    let token = tokens(sign_in(&node, body).await).access_token;
    assert_eq!(with(&node, Method::GET, &path, &token).await.status, 200);
}

#[tokio::test]
async fn the_audit_trail_tells_who_did_what() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let tenant = node.tenant("acme").await;
    let path = format!("/v1/tenants/{tenant}");
    node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" })).await.ok();

    let is_told = |page: &Value| {
        page["data"].as_array().is_some_and(|rows| rows.iter().any(|row| row["action"] == "tenant.suspended"))
    };
    let trail = node.eventually(&format!("{path}/audit"), is_told).await;

    let entry = trail["data"].as_array().unwrap().last().unwrap();
    assert_eq!(entry["by"], node.tokens().account.as_str());
    assert_eq!(entry["subject"], tenant.as_str());
    let first = node.get(&format!("{path}/audit?limit=1")).await.ok();
    let next = format!("{path}/audit?limit=1&after={}", first["next"].as_str().unwrap());
    assert_ne!(node.get(&next).await.ok()["data"], first["data"]);
    let other = node.tenant("other").await;
    let foreign = format!("/v1/tenants/{other}/audit?after={}", first["next"].as_str().unwrap());
    node.get(&foreign).await.problem(400, "request/invalid");
}

fn from_base64url(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
