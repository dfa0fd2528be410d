//! Hostile names and addresses at every door that takes one: text, told apart, or refused (docs/names.md).

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    guesses::{post, sign_in},
    harness::{ADMIN, Node, PASSWORD, Person, Reply, reply},
    people::{mails, token_in},
};

/// What is no name: it breaks lines, turns text, shows as nothing, or is a book.
fn no_names() -> Vec<String> {
    let long = "x".repeat(10_000);
    let bad = [
        "Ada\r\nBcc: eve@example.org",
        "Ada\nLovelace",
        "Ada\0",
        "Ada\u{1b}[31m",
        "Ada\u{202e}gro.elpmaxe",
        "\u{2066}Ada\u{2069}",
        "Ada\u{200f}",
        "Ada\u{200b}",
        "Ada\u{2028}Lovelace",
        "\u{feff}\u{200b}",
        "   ",
        "",
        &long,
    ];
    bad.map(str::to_owned).to_vec()
}

/// Text like any other.
const NAMES: [&str; 5] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> & 'Söhne'",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "نجيب محفوظ",
    "=?utf-8?q?Bcc:_eve=40example.org?= <eve@example.org>",
];

/// What is no address.
fn no_addresses() -> Vec<String> {
    let long = format!("{}@example.org", "x".repeat(10_000));
    let bad = [
        "ada@example.org\r\nBcc: eve@example.org",
        "ada\r\n@example.org",
        "<script>@example.org",
        "\"<script>alert(1)</script>\"@example.org",
        "Ada <ada@example.org>",
        "ada@example.org,eve@example.org",
        "a\u{200b}da@example.org",
        "\u{202e}ada@example.org",
        "\u{430}da@example.org",
        "ada@127.0.0.1",
        "ada@localhost",
        "",
        &long,
    ];
    bad.map(str::to_owned).to_vec()
}

#[track_caller]
fn refused(reply: Reply, field: &str, value: &str) {
    let start: String = value.chars().take(30).collect();
    assert_eq!(reply.status, 400, "{start:?}: {reply:?}");
    let problem = reply.problem(400, "request/invalid");
    assert_eq!(problem["errors"][0]["field"], field, "{start:?}");
}

#[tokio::test]
async fn what_is_no_name_is_refused_at_every_door() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let tenant = node.tenant("acme").await;
    let patch = async |name: &str| {
        let request = node.request(Method::PATCH, &format!("/v1/tenants/{tenant}"));
        reply(request.json(&json!({ "name": name }))).await.unwrap()
    };
    for bad in no_names() {
        let sign_up = json!({ "email": "grace@example.org", "password": PASSWORD, "name": bad });
        refused(post(&node, "/v1/accounts", sign_up).await, "name", &bad);
        refused(node.post("/v1/tenants", json!({ "name": bad, "slug": "other" })).await, "name", &bad);
        refused(node.post("/v1/tenants", json!({ "name": "Other", "slug": bad })).await, "slug", &bad);
        refused(patch(&bad).await, "name", &bad);
        let role = node.request(Method::PUT, &format!("/v1/tenants/{tenant}/roles/custom"));
        let role = role.json(&json!({ "permissions": [bad] }));
        assert_eq!(reply(role).await.unwrap().status, 400, "no role allows {bad:?}");
    }
    for slug in ["<script>", "Acme", "acm\u{435}", "xn--acme", "a_b"] {
        let founded = node.post("/v1/tenants", json!({ "name": "Other", "slug": slug })).await;
        assert_eq!(founded.status.is_success(), slug == "xn--acme", "{slug}");
    }
    assert_eq!(node.get(&format!("/v1/tenants/{tenant}")).await.ok()["version"], 1, "nothing changed");
}

#[tokio::test]
async fn the_first_admin_has_a_name_and_an_address_like_everybody() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::empty(data.path());
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    let token = link.trim().rsplit_once("token=").unwrap().1;
    let set_up = |email: &str, name: &str| {
        let body = json!({ "token": token, "email": email, "password": ADMIN.1, "name": name });
        reply(node.stranger(Method::POST, "/v1/setup").json(&body))
    };
    for bad in no_names() {
        refused(set_up(ADMIN.0, &bad).await.unwrap(), "name", &bad);
    }
    for bad in no_addresses() {
        refused(set_up(&bad, "Ada").await.unwrap(), "email", &bad);
    }
    assert_eq!(set_up(ADMIN.0, NAMES[0]).await.unwrap().status, 201, "and the link is as good as before");
}

#[tokio::test]
async fn what_is_no_address_is_refused_at_every_door() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let tenant = node.tenant("acme").await;
    let invitations = format!("/v1/tenants/{tenant}/invitations");
    for bad in no_addresses() {
        let sign_up = json!({ "email": bad, "password": PASSWORD, "name": "Grace" });
        refused(post(&node, "/v1/accounts", sign_up).await, "email", &bad);
        refused(post(&node, "/v1/accounts/forgot", json!({ "email": bad })).await, "email", &bad);
        let stay = json!({ "email": bad, "password": PASSWORD });
        refused(post(&node, "/v1/accounts/stay", stay).await, "email", &bad);
        refused(sign_in(&node, &bad, PASSWORD).await, "email", &bad);
        refused(node.post(&invitations, json!({ "email": bad, "role": "member" })).await, "email", &bad);
        refused(node.post("/v1/me/email", json!({ "email": bad, "password": ADMIN.1 })).await, "email", &bad);
    }
    assert_eq!(node.get(&invitations).await.ok()["data"], json!([]));
    assert_eq!(node.get("/v1/dev/messages").await.ok()["data"], json!([]), "nobody got a mail");
}

/// A name is shown as it was typed, and is markup, header or link nowhere.
#[tokio::test]
async fn a_name_is_only_a_name_in_answers_mails_and_lists() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (number, name) in NAMES.iter().enumerate() {
        let email = format!("person{number}@example.org");
        let sign_up = json!({ "email": email, "password": PASSWORD, "name": name });
        assert_eq!(post(&node, "/v1/accounts", sign_up).await.status, 202, "{name}");
        let token = token_in(&mails(&node, &email, 1).await[0]).unwrap();
        assert_eq!(
            post(&node, "/v1/accounts/verify", json!({ "token": token, "password": PASSWORD })).await.status,
            204
        );
        let person = node.known(&email).await;
        assert_eq!(person.get("/v1/me").await.ok()["name"], *name);
        let founded = json!({ "name": name, "slug": format!("acme-{number}") });
        let founded = person.post("/v1/tenants", founded).await.ok();
        assert_eq!(founded["name"], *name);
        let tenant = founded["id"].as_str().unwrap();
        let invited = invite(&person, tenant, &format!("guest{number}@example.org")).await;
        assert_eq!(invited.status, 201, "{invited:?}");

        for to in [email, format!("guest{number}@example.org")] {
            let mail = mails(&node, &to, 1).await.remove(0);
            is_safe(&mail, &to);
        }
    }
}

async fn invite(person: &Person<'_>, tenant: &str, email: &str) -> Reply {
    let owner = person.in_tenant(tenant).await;
    let invite = json!({ "email": email, "role": "member" });
    owner.post(&format!("/v1/tenants/{tenant}/invitations"), invite).await
}

/// One recipient, one subject, and no markup or header that a name brought.
fn is_safe(mail: &Value, to: &str) {
    let html = mail["html"].as_str().unwrap();
    assert!(
        !html.contains("<script") && !html.contains("<img") && !html.contains("onerror=alert(1)>"),
        "{html}"
    );
    assert!(!html.contains("49 {%"), "a template in a name is text");
    let headers = mail["headers"].as_array().unwrap();
    let of = |name: &str| {
        let named =
            headers.iter().filter(|header| header["name"].as_str().unwrap().eq_ignore_ascii_case(name));
        named.map(|header| header["value"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("to"), [to]);
    assert_eq!((of("bcc").len(), of("cc").len(), of("subject").len(), of("from").len()), (0, 0, 1, 1));
    assert!(mail["raw"].as_str().unwrap().is_ascii());
}

/// Who sees an address sees whose it is: a look-alike is another account, and is written out.
#[tokio::test]
async fn an_address_that_looks_like_another_is_another_and_is_seen_to_be() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let sign_up = |email: &str| {
        post(&node, "/v1/accounts", json!({ "email": email, "password": PASSWORD, "name": "Eve" }))
    };

    let look_alike = sign_up("ada@\u{435}xample.org").await.ok();
    let umlaut = sign_up("ada@bücher.example").await.ok();
    let wide = sign_up("ADA@\u{ff45}xample.org").await.ok();

    assert_eq!(look_alike, json!({ "email": "ada@xn--xample-2of.org" }));
    assert_eq!(umlaut, json!({ "email": "ada@xn--bcher-kva.example" }));
    assert_eq!(wide, json!({ "email": "ADA@example.org" }), "the admin's own address in another spelling");
    let told = mails(&node, ADMIN.0, 1).await;
    assert_eq!(token_in(&told[0]), None, "they are told that they have an account");
    let found = async |email: &str| {
        let path = format!("/v1/accounts?email={email}");
        node.eventually(&path, |page| page["data"][0].is_object()).await["data"][0]["id"].clone()
    };
    let (own, other) = (found(ADMIN.0).await, found("ada@xn--xample-2of.org").await);
    assert_ne!(own, other);
    assert_eq!(found("ada@%D0%B5xample.org").await, other, "either spelling is the same address");
}

/// What a client calls itself is shown to its person as a device.
#[tokio::test]
async fn a_client_that_calls_itself_something_hostile_is_a_device_of_plain_letters() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let body = json!({ "email": ADMIN.0, "password": ADMIN.1 });
    let agent = "<script>alert(1)</script>";
    let hostile = node.stranger(Method::POST, "/v1/sessions").header("User-Agent", agent).json(&body);
    reply(hostile).await.unwrap().ok();

    let is_listed = |page: &Value| page["data"].as_array().is_some_and(|all| all.len() == 2);
    let sessions = node.eventually("/v1/me/sessions", is_listed).await;

    for session in sessions["data"].as_array().unwrap() {
        let device = session["device"].as_str().unwrap_or_default();
        assert!(device.len() <= 40 && device.is_ascii(), "{device}");
    }
}
