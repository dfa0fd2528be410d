//! The doors for strangers: how often one network may come, what answers and their work tell nobody, and which
//! other sites may ask. The lines named are those of the security bar.

use std::collections::BTreeMap;

use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::json;

use crate::{
    guesses::{post, sign_in, sign_up},
    harness::{ADMIN, Node, PASSWORD, Reply, bare, reply},
    people::{mails, person, with},
};

const LONG: (&str, &str) = ("PROGNET_LIMITS_WINDOW", "10m");

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// How the door's limit stands, as an answer says.
fn standing(reply: &Reply) -> (&str, &str) {
    (header(&reply.headers, "ratelimit-policy"), header(&reply.headers, "ratelimit"))
}

/// The headers, which come in no order, without what names the request or says how long to wait.
fn told(reply: &Reply) -> BTreeMap<String, String> {
    let changes = ["x-request-id", "date", "ratelimit", "retry-after"];
    let value = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = if changes.contains(&name.as_str()) { "" } else { value.to_str().unwrap() };
        (name.to_string(), value.to_owned())
    };
    reply.headers.iter().map(value).collect()
}

/// Security bar 46 and 47.
#[tokio::test]
async fn a_network_that_comes_too_often_is_told_how_often_it_may_and_when_again() {
    let data = tempfile::tempdir().unwrap();
    let limited = [("PROGNET_LIMITS_LOGIN", "3"), LONG];
    let node = Node::with(data.path(), &limited);
    // The admin came once.
    let second = sign_in(&node, ADMIN.0, ADMIN.1).await;
    assert_eq!(second.status, 201);
    assert_eq!(standing(&second).0, "\"login\";q=3;w=600");
    assert!(standing(&second).1.starts_with("\"login\";r=1;t="), "{:?}", standing(&second));
    let third = sign_in(&node, ADMIN.0, "wrong horse").await;
    assert!(standing(&third).1.starts_with("\"login\";r=0;t="), "refusals of another kind say it too");
    third.problem(401, "session/credentials");

    let over = sign_in(&node, ADMIN.0, ADMIN.1).await;

    let wait: u64 = header(&over.headers, "retry-after").parse().unwrap();
    assert!((1..=200).contains(&wait), "{wait}");
    assert_eq!(standing(&over), ("\"login\";q=3;w=600", &*format!("\"login\";r=0;t={wait}")));
    assert_eq!(header(&over.headers, "content-type"), "application/problem+json");
    over.problem(429, "request/too-many");
    // What it claims to be has no effect; its page is the same door; other doors are open.
    let forged = node.stranger(Method::POST, "/v1/sessions").header("X-Forwarded-For", "192.0.2.1");
    let body = json!({ "email": ADMIN.0, "password": ADMIN.1 });
    reply(forged.json(&body)).await.unwrap().problem(429, "request/too-many");
    let page = node.stranger(Method::POST, "/signin").form(&[("email", ADMIN.0), ("password", ADMIN.1)]);
    let page = reply(page).await.unwrap();
    assert_eq!((page.status, standing(&page).0), (StatusCode::TOO_MANY_REQUESTS, "\"login\";q=3;w=600"));
    assert!(header(&page.headers, "content-type").starts_with("text/html"), "people are told on a page");
    assert_eq!(reply(node.stranger(Method::GET, "/signin")).await.unwrap().status, 200);
    node.refreshed(&json!({ "refresh_token": node.tokens().refresh_token })).await;
    drop(node);

    let data = tempfile::tempdir().unwrap();
    let proxied = [limited[0], LONG, ("PROGNET_HTTP_TRUSTED_PROXIES", "127.0.0.0/8")];
    let node = Node::with(data.path(), &proxied);
    let from = async |address: &str| {
        let request = node.stranger(Method::POST, "/v1/sessions").header("X-Forwarded-For", address);
        reply(request.json(&body)).await.unwrap().status.as_u16()
    };
    for expected in [201, 201, 201, 429] {
        assert_eq!(from("203.0.113.9, 192.0.2.1").await, expected);
    }
    assert_eq!(from("192.0.2.2").await, 201);
}

/// Security bar 46: all of them, success or not.
#[tokio::test]
async fn every_door_for_strangers_counts_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let doors = ["LOGIN", "REFRESH", "SIGN_UP", "FORGOT", "LINK", "INVITATION", "SETUP"];
    let names: Vec<_> = doors.iter().map(|door| format!("PROGNET_LIMITS_{door}")).collect();
    let settings: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).chain([LONG]).collect();
    let node = Node::with(data.path(), &settings);
    let token = json!({ "token": "none" });
    for (name, path, other, body) in [
        ("refresh", "/v1/sessions/refresh", None, json!({ "refresh_token": node.tokens().refresh_token })),
        (
            "sign-up",
            "/v1/accounts",
            Some("/signup"),
            json!({ "email": "grace@example.org", "password": PASSWORD, "name": "Grace" }),
        ),
        ("forgot", "/v1/accounts/forgot", Some("/forgot"), json!({ "email": "grace@example.org" })),
        ("link", "/v1/accounts/confirm-email", Some("/verify"), token.clone()),
        ("invitation", "/v1/invitations/look", None, token.clone()),
    ] {
        let first = post(&node, path, body.clone()).await;
        assert_ne!(first.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(standing(&first).0, format!("\"{name}\";q=1;w=600"), "{path}");
        let second = post(&node, path, body).await;
        assert_eq!(standing(&second).0, format!("\"{name}\";q=1;w=600"), "{path}");
        second.problem(429, "request/too-many");
        if let Some(form) = other {
            let form = node.stranger(Method::POST, form).form(&[("token", "none")]);
            assert_eq!(reply(form).await.unwrap().status, StatusCode::TOO_MANY_REQUESTS);
        }
    }
    for path in ["/v1/accounts/verify", "/v1/accounts/reset", "/v1/accounts/undo-email"] {
        post(&node, path, token.clone()).await.problem(429, "request/too-many");
    }
    for path in ["/v1/invitations/decline", "/v1/invitations/accept"] {
        post(&node, path, token.clone()).await.problem(429, "request/too-many");
    }
    // Its start has used these up: the admin was made, and signed in.
    let stay = json!({ "email": ADMIN.0, "password": ADMIN.1 });
    post(&node, "/v1/accounts/stay", stay).await.problem(429, "request/too-many");
    post(&node, "/v1/setup", json!({})).await.problem(429, "request/too-many");
    let page = reply(node.stranger(Method::GET, "/setup?token=0")).await.unwrap();
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS, "looking says whether a token is good");
    // Whoever is known is not counted here.
    for _ in 0..3 {
        let me = node.get("/v1/me").await;
        assert_eq!((me.status, standing(&me)), (StatusCode::OK, ("", "")));
    }
}

/// Security bar 46 and 8: nobody is flooded with mail, and how often they were to be tells nobody who has an account.
#[tokio::test]
async fn an_address_is_written_to_only_so_often_whoever_asks_and_whatever_for() {
    let data = tempfile::tempdir().unwrap();
    let few = [("PROGNET_LIMITS_MAIL_PER_ADDRESS_AND_NETWORK", "3"), ("PROGNET_LIMITS_MAIL_WINDOW", "10h")];
    let node = Node::with(data.path(), &few);
    let forgot = |email: &'static str| post(&node, "/v1/accounts/forgot", json!({ "email": email }));
    let mut over = Vec::new();
    for email in [ADMIN.0, "nobody@example.org"] {
        for _ in 0..3 {
            assert_eq!(forgot(email).await.status, StatusCode::ACCEPTED);
        }
        over.push(forgot(email).await);
    }

    assert_eq!(told(&over[0]), told(&over[1]));
    assert_eq!(standing(&over[0]).0, "\"mail\";q=3;w=36000");
    let [known, unknown] =
        [over.remove(0), over.remove(0)].map(|over| bare(over.problem(429, "mail/too-many")));
    assert_eq!(known, unknown);

    let (one, two) = (node.tenant("one").await, node.tenant("two").await);
    let invite = async |tenant: &str| {
        let body = json!({ "email": "grace@example.org", "role": "member" });
        node.post(&format!("/v1/tenants/{tenant}/invitations"), body).await
    };
    invite(&one).await.ok();
    invite(&two).await.ok();
    sign_up(&node, "grace@example.org", PASSWORD).await.ok();
    sign_up(&node, "Grace@Example.org", PASSWORD).await.problem(429, "mail/too-many");
    forgot("grace@example.org").await.problem(429, "mail/too-many");
    invite(&node.tenant("three").await).await.problem(429, "mail/too-many");
    let change = json!({ "password": ADMIN.1, "email": "grace@example.org" });
    node.post("/v1/me/email", change).await.problem(429, "mail/too-many");
    assert_eq!(mails(&node, "grace@example.org", 3).await.len(), 3);
}

/// Security bar 7: unknown, wrong, not verified, kept out or erased is told by no answer and by no work behind it.
#[tokio::test]
async fn all_who_do_not_get_in_cost_one_hash_and_get_one_answer() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_LEAVING_GRACE", "1s")]);
    let erased = person(&node, "erased@example.org").await;
    let leaves = json!({ "password": PASSWORD });
    with(&node, Method::DELETE, "/v1/me", &erased.access_token, leaves).await.ok();
    let gone = format!("/v1/accounts/{}", erased.account);
    node.until_refused(&gone).await.problem(404, "account/unknown");
    let grace = person(&node, "grace@example.org").await;
    person(&node, "kept.out@example.org").await;
    let found = node.get("/v1/accounts?email=kept.out@example.org").await.ok();
    let kept_out = found["data"][0]["id"].as_str().unwrap().to_owned();
    node.post(&format!("/v1/accounts/{kept_out}/disable"), json!({})).await.ok();
    sign_up(&node, "unverified@example.org", PASSWORD).await.ok();
    mails(&node, "unverified@example.org", 1).await;

    let mut answers = Vec::new();
    for (who, email, password) in [
        ("unknown", "nobody@example.org", PASSWORD),
        ("wrong password", "grace@example.org", "wrong horse battery"),
        ("kept out", "kept.out@example.org", PASSWORD),
        ("kept out, wrong password", "kept.out@example.org", "wrong horse battery"),
        ("unverified", "unverified@example.org", PASSWORD),
        ("unverified, wrong password", "unverified@example.org", "wrong horse battery"),
        ("erased", "erased@example.org", PASSWORD),
    ] {
        let before = node.metric("prognet_password_hashes_total").await;
        let answer = sign_in(&node, email, password).await;
        let hashes = node.metric("prognet_password_hashes_total").await - before;
        assert_eq!(hashes, 1, "{who}");
        answers.push((who, told(&answer), bare(answer.problem(401, "session/credentials"))));
    }
    for (who, headers, problem) in &answers {
        assert_eq!((headers, problem), (&answers[0].1, &answers[0].2), "{who}");
    }
    // Of sign-ups, too: whether the address has an account changes nothing about the work.
    for email in ["grace@example.org", "new@example.org", "unverified@example.org"] {
        let before = node.metric("prognet_password_hashes_total").await;
        sign_up(&node, email, PASSWORD).await.ok();
        assert_eq!(node.metric("prognet_password_hashes_total").await - before, 1, "{email}");
    }
    let me = with(&node, Method::GET, "/v1/me", &grace.access_token, json!({})).await;
    assert_eq!(me.status, 200);
}

/// Security bar 10.
#[tokio::test]
async fn a_guess_at_each_of_a_thousand_accounts_trips_the_networks_limit() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_LIMITS_LOGIN", "100"), LONG]);
    let (mut taken, mut refused) = (0, 0);
    for number in 0..1_000 {
        match sign_in(&node, &format!("person{number}@example.org"), "wrong horse").await.status.as_u16() {
            401 => taken += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(taken + refused, 1_000);
    assert!(taken <= 105, "{taken} guesses");
}

/// Security bar 2.
#[tokio::test]
async fn a_password_from_a_leak_or_about_ones_tenants_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let list = data.path().join("breached.txt");
    let leaked = "seven leaked marmosets";
    let lines =
        ["0000000000000000000000000000000000000001:7", LEAKED, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFE:1"];
    std::fs::write(&list, lines.join("\r\n")).unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_BREACHED_PASSWORDS", list.to_str().unwrap())]);

    let refused = sign_up(&node, "grace@example.org", leaked).await.problem(400, "account/password");

    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("thieves"), "{refused}");
    let change = |new: &str| json!({ "current": ADMIN.1, "new": new, "end_other_sessions": false });
    node.post("/v1/me/password", change(leaked)).await.problem(400, "account/password");
    assert_eq!(sign_up(&node, "grace@example.org", "nine unknown ocelots").await.status, 202);
    // What one's tenants are called is known to whoever guesses.
    let tenants = "quixotic marmalade orchard";
    assert_eq!(
        sign_up(&node, "eve@example.org", tenants).await.status,
        202,
        "to others it is as good as any"
    );
    let body = json!({ "name": "Quixotic Marmalade Orchard", "slug": "quixotic" });
    node.post("/v1/tenants", body).await.ok();
    node.eventually("/v1/me/tenants", |page| page["data"].as_array().is_some_and(|all| all.len() == 1)).await;
    node.post("/v1/me/password", change(tenants)).await.problem(400, "account/password");
}

/// SHA-1 of the one that was published, as the list has it.
const LEAKED: &str = "F8AF8325BD4FAD859DE2B991A548B3A67A20D378:41";

/// Security bar 25.
#[tokio::test]
async fn only_sites_on_the_list_may_ask_and_none_with_a_cookie() {
    let data = tempfile::tempdir().unwrap();
    let app = "https://app.example.org";
    let node = Node::with(data.path(), &[("PROGNET_HTTP_CORS_ORIGINS", app)]);
    let preflight = async |path: &str, origin: &str| {
        let request = node.stranger(Method::OPTIONS, path).header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        reply(request.header("Access-Control-Request-Headers", "authorization,content-type")).await.unwrap()
    };
    let allowed = preflight("/v1/tenants", app).await;
    assert_eq!((allowed.status, allowed.body.as_str()), (StatusCode::NO_CONTENT, Some("")));
    let said = |name: &str| header(&allowed.headers, name).to_owned();
    assert_eq!(said("access-control-allow-origin"), app);
    assert!(said("access-control-allow-headers").contains("authorization"));
    assert!(said("access-control-allow-methods").contains("POST"));
    assert_eq!(said("access-control-allow-credentials"), "");
    assert_eq!(said("vary"), "Origin");

    let asked = node.request(Method::GET, "/v1/me").header("Origin", app);
    let asked = reply(asked).await.unwrap();
    assert_eq!(header(&asked.headers, "access-control-allow-origin"), app);
    assert!(header(&asked.headers, "access-control-expose-headers").contains("retry-after"));
    let refused = node.stranger(Method::GET, "/v1/me").header("Origin", app);
    let refused = reply(refused).await.unwrap();
    assert_eq!(header(&refused.headers, "access-control-allow-origin"), app, "a script sees why not");
    refused.problem(401, "auth/token");

    for (path, origin) in [
        ("/v1/tenants", "https://evil.example"),
        ("/v1/tenants", "https://app.example.org.evil.example"),
        ("/v1/tenants", "null"),
        ("/signin", app),
        ("/account", app),
    ] {
        let foreign = preflight(path, origin).await;
        assert_eq!(foreign.status, StatusCode::METHOD_NOT_ALLOWED, "{path} {origin}");
        assert_eq!(header(&foreign.headers, "access-control-allow-origin"), "", "{path} {origin}");
        let get = node.stranger(Method::GET, path).header("Origin", origin);
        let get = reply(get).await.unwrap();
        assert_eq!(header(&get.headers, "access-control-allow-origin"), "", "{path} {origin}");
    }
    drop(node);

    let data = tempfile::tempdir().unwrap();
    let closed = Node::start(data.path());
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/tenants"),
        (Method::OPTIONS, "/v1/sessions"),
        (Method::GET, "/account"),
    ] {
        let asked = closed.request(method, path).header("Origin", app);
        let asked = reply(asked.header("Access-Control-Request-Method", "POST")).await.unwrap();
        for name in ["access-control-allow-origin", "access-control-allow-credentials", "vary"] {
            assert_eq!(asked.headers.get(name), None, "{path}");
        }
    }
}

/// Security bar 23: what a page of another site sends in somebody's browser has no effect, at doors for strangers too.
#[tokio::test]
async fn a_request_that_another_sites_page_sends_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let app = "https://app.example.org";
    let node = Node::with(data.path(), &[("PROGNET_HTTP_CORS_ORIGINS", app)]);
    let post = async |name: &'static str, value: &str| {
        let request = node.stranger(Method::POST, "/v1/sessions").header(name, value);
        reply(request.json(&json!({ "email": ADMIN.0, "password": ADMIN.1 }))).await.unwrap()
    };
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        post(name, value).await.problem(403, "request/foreign");
    }
    for (name, value) in [("Origin", app), ("Origin", node.url()), ("Sec-Fetch-Site", "same-origin")] {
        assert_eq!(post(name, value).await.status, 201, "{name}: {value}");
    }
    let looked = node.request(Method::GET, "/v1/me").header("Origin", "https://evil.example");
    let looked = reply(looked).await.unwrap();
    assert_eq!(looked.status, 200, "its script reads nothing of it");
    assert_eq!(header(&looked.headers, "access-control-allow-origin"), "");
}

/// Security bar 36: when somebody may have copied the keys, what they signed is worth nothing at once.
#[tokio::test]
async fn revoked_keys_end_every_access_token_and_no_session() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let grace = person(&node, "grace@example.org").await;
    let kids = async || {
        let keys = reply(node.stranger(Method::GET, "/.well-known/jwks.json")).await.unwrap();
        assert_eq!(header(&keys.headers, "cache-control"), "public, max-age=60");
        let keys = keys.ok()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let before = kids().await;
    let revoke =
        async |token: &str| with(&node, Method::POST, "/v1/system/keys/revoke", token, json!({})).await;
    revoke(&grace.access_token).await.problem(403, "auth/forbidden");
    assert_eq!(node.get("/v1/me").await.status, 200);

    let revoked = revoke(&node.tokens().access_token).await;

    assert_eq!(revoked.status, StatusCode::NO_CONTENT, "{revoked:?}");
    node.get("/v1/me").await.problem(401, "auth/token");
    with(&node, Method::GET, "/v1/me", &grace.access_token, json!({})).await.problem(401, "auth/token");
    let after = kids().await;
    assert!(after.len() == 1 && !before.contains(&after[0]), "{before:?} {after:?}");
    let again = node.refreshed(&json!({ "refresh_token": grace.refresh_token })).await;
    assert_eq!(again.session, grace.session);
    let me = with(&node, Method::GET, "/v1/me", &again.access_token, json!({})).await;
    assert_eq!(me.status, 200);
}

/// Security bar 16: whoever gets or loses a role is told by mail.
#[tokio::test]
async fn a_member_whose_role_changes_is_told_by_mail() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, eve) = (node.person("ada1").await, node.person("eve").await);
    let tenant = ada.founds("acme").await;
    let owner = ada.in_tenant(&tenant).await;
    owner.lets_in(&tenant, &eve, "member").await;
    let path = format!("/v1/tenants/{tenant}/members/{}", eve.account);
    let before = mails(&node, "eve@example.org", 2).await.len();

    owner.patch(&path, json!({ "role": "admin" })).await.ok();
    owner.patch(&path, json!({ "role": "owner" })).await.ok();
    assert_eq!(owner.delete(&path).await.status, StatusCode::NO_CONTENT);

    let told = mails(&node, "eve@example.org", before + 3).await;
    let texts: Vec<_> = told[before..].iter().map(|mail| mail["text"].as_str().unwrap()).collect();
    for says in
        ["Your role in acme is admin", "Your role in acme is owner", "Your membership of acme has ended"]
    {
        assert!(texts.iter().any(|text| text.contains(says)), "{says}: {texts:?}");
    }
}

/// A threat whose test is gone is not stopped.
#[test]
fn the_tests_that_the_threat_model_names_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, table) = model.split_once("who attacks them").unwrap();
    let mut sources = String::new();
    for folder in ["tests", "http"] {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let is_name =
        |text: &&str| text.len() > 20 && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    let names: Vec<_> = table.split('`').filter(is_name).collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
    }
}

/// Security bar 46, and 23: a door is the same door when a letter of its name comes percent-encoded.
#[tokio::test]
async fn a_door_is_known_however_its_name_is_written() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_LIMITS_SIGN_UP", "2")]);
    let sign_up = async |path: &str, origin: Option<&str>| {
        let body = json!({ "email": "x@example.org", "password": "x", "name": "X" });
        let request = node.stranger(Method::POST, path).json(&body);
        let request = match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        };
        reply(request).await.unwrap()
    };
    for path in ["/v1/accounts", "/v1/acco%75nts", "/v1/%61ccounts"] {
        sign_up(path, Some("https://evil.example")).await.problem(403, "request/foreign");
    }
    for path in ["/v1/acco%75nts", "/v1/accounts"] {
        sign_up(path, None).await.problem(400, "account/password");
    }
    for path in ["/v1/%61ccounts", "/v1/acco%75nts", "/v1/accounts"] {
        sign_up(path, None).await.problem(429, "request/too-many");
    }
}
