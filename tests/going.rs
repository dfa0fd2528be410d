//! People who change their address, who go, and those who look after them.

use std::{fs, path::Path};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    guesses::{post, sign_in, sign_up, tokens},
    harness::{ADMIN, Node, PASSWORD, command::told, reply},
    people::{mails, person, token_in, with},
};

const OLD: &str = "grace@example.org";
const NEW: &str = "hopper@example.org";

/// Security bar 17: both are told, and the old one takes it back.
#[tokio::test]
async fn an_address_is_changed_from_the_new_one_and_taken_back_from_the_old_one() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let change = async |password: &str, email: &str| {
        let body = json!({ "password": password, "email": email });
        with(&node, Method::POST, "/v1/me/email", &session.access_token, body).await
    };
    change("not this one", NEW).await.problem(403, "account/wrong-password");
    change(PASSWORD, "GRACE@example.org").await.problem(400, "request/invalid");
    assert_eq!(change(PASSWORD, NEW).await.status, StatusCode::ACCEPTED);
    let confirm = token_in(&mails(&node, NEW, 1).await[0]).unwrap();
    let undo = token_in(&mails(&node, OLD, 2).await[1]).unwrap();
    sign_in(&node, NEW, PASSWORD).await.problem(401, "session/credentials");

    let confirmed = post(&node, "/v1/accounts/confirm-email", json!({ "token": confirm })).await;
    assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "{confirmed:?}");
    post(&node, "/v1/accounts/confirm-email", json!({ "token": confirm })).await.problem(403, "account/link");
    assert_eq!(sign_in(&node, NEW, PASSWORD).await.status, 201);
    sign_in(&node, OLD, PASSWORD).await.problem(401, "session/credentials");
    change(PASSWORD, "third@example.org").await.problem(409, "account/email-changed-lately");
    // Nobody else gets the old one meanwhile.
    sign_up(&node, OLD, "another persons choice").await.ok();

    let undone = post(&node, "/v1/accounts/undo-email", json!({ "token": undo })).await;
    assert_eq!(undone.status, StatusCode::NO_CONTENT, "{undone:?}");
    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");
    assert_eq!(sign_in(&node, OLD, PASSWORD).await.status, 201);
    sign_in(&node, NEW, PASSWORD).await.problem(401, "session/credentials");
    post(&node, "/v1/accounts/undo-email", json!({ "token": undo })).await.problem(403, "account/link");
}

/// Whoever did not hear that their change was begun asks again, and begins no other.
#[tokio::test]
async fn a_retried_change_of_address_is_one_change() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let change = async |email: &str| {
        let request = node.stranger(Method::POST, "/v1/me/email").bearer_auth(&session.access_token);
        let body = json!({ "password": PASSWORD, "email": email });
        reply(request.header("Idempotency-Key", "k1").json(&body)).await.unwrap()
    };

    for _ in 0..3 {
        assert_eq!(change(NEW).await.status, StatusCode::ACCEPTED);
        mails(&node, NEW, 1).await;
    }

    change("third@example.org").await.problem(422, "request/key-reused");
    assert_eq!((mails(&node, NEW, 1).await.len(), mails(&node, OLD, 2).await.len()), (1, 2));
    let confirm = json!({ "token": token_in(&mails(&node, NEW, 1).await[0]).unwrap() });
    let confirmed = post(&node, "/v1/accounts/confirm-email", confirm).await;
    assert_eq!(confirmed.status, StatusCode::NO_CONTENT, "the first link is as good as before");
}

#[tokio::test]
async fn an_address_that_is_somebody_elses_is_asked_for_in_vain_and_nobody_is_told_but_them() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let body = json!({ "password": PASSWORD, "email": ADMIN.0 });

    let asked = with(&node, Method::POST, "/v1/me/email", &session.access_token, body).await;

    assert_eq!((asked.status, asked.body), (StatusCode::ACCEPTED, json!({ "email": ADMIN.0 })));
    assert_eq!(token_in(&mails(&node, ADMIN.0, 1).await[0]), None);
    assert_eq!(sign_in(&node, ADMIN.0, ADMIN.1).await.status, 201);
}

/// Security bar 21: deleting.
#[tokio::test]
async fn a_person_who_deletes_their_account_may_stay_for_a_while() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let delete = async |password: &str| {
        let body = json!({ "password": password });
        with(&node, Method::DELETE, "/v1/me", &session.access_token, body).await
    };
    delete("not this one").await.problem(403, "account/wrong-password");
    let left = delete(PASSWORD).await;
    assert_eq!(left.status, StatusCode::ACCEPTED, "{left:?}");
    let until = left.body["until"].as_str().unwrap().to_owned();

    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");
    let refused = sign_in(&node, OLD, PASSWORD).await.problem(403, "account/leaving");
    assert!(refused["detail"].as_str().unwrap().contains(&until), "{refused}");
    sign_in(&node, OLD, "wrong horse").await.problem(401, "session/credentials");
    mails(&node, OLD, 2).await;

    let stay = |password: &'static str| {
        post(&node, "/v1/accounts/stay", json!({ "email": OLD, "password": password }))
    };
    stay("wrong horse").await.problem(401, "session/credentials");
    assert_eq!(stay(PASSWORD).await.status, StatusCode::NO_CONTENT);
    assert_eq!(sign_in(&node, OLD, PASSWORD).await.status, 201);
    stay(PASSWORD).await.problem(409, "account/not-leaving");
    let admin = json!({ "password": ADMIN.1 });
    let admin = with(&node, Method::DELETE, "/v1/me", &node.tokens().access_token, admin).await;
    admin.problem(409, "account/runs-platform");
}

/// Whether a text is anywhere in the files below a directory.
pub(crate) fn is_in(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_in(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Security bar 50: of a person.
#[tokio::test]
async fn nothing_of_an_erased_person_is_in_any_file_and_their_address_is_free() {
    let data = tempfile::tempdir().unwrap();
    // Tokens name it as their issuer: it outlives the port.
    let url = ("PROGNET_HTTP_PUBLIC_URL", "http://127.0.0.1:8080");
    let node = Node::with(data.path(), &[("PROGNET_AUTH_LEAVING_GRACE", "1s"), url]);
    let session = person(&node, "markergrace@example.org").await;
    let account = session.account.clone();
    let body = json!({ "password": PASSWORD });
    with(&node, Method::DELETE, "/v1/me", &session.access_token, body).await.ok();

    let path = format!("/v1/accounts/{account}");
    let erased = node.until_refused(&path).await;
    erased.problem(404, "account/unknown");
    // To be tried again it is not.
    node.post(&format!("{path}/disable"), json!({})).await.problem(410, "request/erased");
    let node = node.kill_and_restart();

    assert!(!is_in(data.path(), "markergrace"));
    assert!(is_in(data.path(), "sign_up"), "the search finds what is there");
    node.get(&path).await.problem(404, "account/unknown");
    node.post(&format!("{path}/disable"), json!({})).await.problem(410, "request/erased");
    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");
    sign_in(&node, "markergrace@example.org", PASSWORD).await.problem(401, "session/credentials");
    let trail = node.get(&format!("{path}/activity")).await.ok();
    assert_eq!(trail["data"], json!([]));
    let again = person(&node, "markergrace@example.org").await;
    assert_ne!(again.account, account);
}

#[tokio::test]
async fn whoever_goes_leaves_their_tenants_and_none_without_an_owner() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_LEAVING_GRACE", "1s")]);
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (one, two) = (ada.founds("one").await, bob.founds("two").await);
    let (in_one, in_two) = (ada.in_tenant(&one).await, bob.in_tenant(&two).await);
    in_two.lets_in(&two, &ada, "member").await;
    in_two.post(&format!("/v1/tenants/{two}/members/{}/suspend", ada.account), json!({})).await.ok();

    let refused = ada.leaves().await.problem(409, "account/only-owner");
    let named = format!("first make somebody else an owner of one ({one})");
    assert_eq!(refused["detail"], json!(named));
    assert_eq!(ada.get("/v1/me").await.status, 200, "nothing changed");

    let with_bob = in_one.lets_in(&one, &bob, "member").await;
    let bob_in_one = format!("/v1/tenants/{one}/members/{}", bob.account);
    in_one.patch(&bob_in_one, json!({ "role": "owner" })).await.ok();
    assert_eq!(ada.leaves().await.status, StatusCode::ACCEPTED);

    // Whoever is about to go is not counted on.
    with_bob.delete(&bob_in_one).await.problem(409, "tenant/last-owner");
    bob.leaves().await.problem(409, "account/only-owner");
    for (tenant, owner) in [(&one, &with_bob), (&two, &in_two)] {
        let members = owner.until_listed(&format!("/v1/tenants/{tenant}/members"), 1).await;
        assert_eq!(members["data"][0]["account"], json!(bob.account));
        let gone = format!("/v1/tenants/{tenant}/members/{}", ada.account);
        owner.get(&gone).await.problem(404, "member/unknown");
    }
    let account = format!("/v1/accounts/{}", ada.account);
    node.until_refused(&account).await.problem(404, "account/unknown");
}

/// Security bar 50: not from a backup either.
#[tokio::test]
async fn an_old_backup_under_the_current_keyring_brings_no_erased_person_back() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (data, backup, keys, fresh) = (at("data"), at("backup"), at("keys"), at("fresh"));
    fs::create_dir(&data).unwrap();
    let node = Node::with(Path::new(&data), &[("PROGNET_AUTH_LEAVING_GRACE", "1s")]);
    let session = person(&node, OLD).await;
    told(&["backup", "create", "--data", &data, "--to", &backup]);
    let body = json!({ "password": PASSWORD });
    with(&node, Method::DELETE, "/v1/me", &session.access_token, body).await.ok();
    let path = format!("/v1/accounts/{}", session.account);
    node.until_refused(&path).await.problem(404, "account/unknown");
    told(&["keyring", "export", "--data", &data, "--to", &keys]);
    drop(node);

    told(&["backup", "restore", &backup, "--data", &fresh, "--keyring", &keys]);

    let node = Node::start(Path::new(&fresh));
    node.get(&path).await.problem(404, "account/unknown");
    sign_in(&node, OLD, PASSWORD).await.problem(401, "session/credentials");
    let again = person(&node, OLD).await;
    assert_ne!(again.account, session.account);
}

/// Security bar 21: disabling, and anybody's sessions.
#[tokio::test]
async fn a_platform_admin_finds_a_person_keeps_them_out_and_sees_what_they_did() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let found = node.get("/v1/accounts?email=GRACE@example.org").await.ok();
    let path = format!("/v1/accounts/{}", session.account);
    assert_eq!(
        (&found["data"][0]["id"], &found["data"][0]["status"]),
        (&json!(session.account), &json!("active"))
    );
    assert_eq!(node.get("/v1/accounts?email=nobody@example.org").await.ok()["data"], json!([]));

    assert_eq!(node.post(&format!("{path}/disable"), json!({})).await.ok()["status"], "disabled");
    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");
    sign_in(&node, OLD, PASSWORD).await.problem(401, "session/credentials");
    assert_eq!(node.post(&format!("{path}/enable"), json!({})).await.ok()["status"], "active");
    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");
    let session = tokens(sign_in(&node, OLD, PASSWORD).await);
    assert_eq!(node.delete(&format!("{path}/sessions")).await.status, StatusCode::NO_CONTENT);
    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");

    let is_told = |page: &Value| {
        let told = |action| page["data"].as_array().unwrap().iter().any(|entry| entry["action"] == action);
        told("account.disabled") && told("session.opened") && told("credential.sessions_ended")
    };
    node.eventually(&format!("{path}/activity?limit=200"), is_told).await;
    let admin = node.get("/v1/me").await.ok()["account"].as_str().unwrap().to_owned();
    node.post(&format!("/v1/accounts/{admin}/disable"), json!({}))
        .await
        .problem(409, "account/runs-platform");
    node.get(&format!("/v1/accounts/acc_{}", "0".repeat(26))).await.problem(404, "account/unknown");
}

/// Every door of the platform's admins, and a person without rights.
#[tokio::test]
async fn nobody_else_looks_people_up_or_keeps_them_out() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let admin = format!("/v1/accounts/{}", node.tokens().account);
    for (method, path) in [
        (Method::GET, format!("/v1/accounts?email={}", ADMIN.0)),
        (Method::GET, admin.clone()),
        (Method::GET, format!("{admin}/activity")),
        (Method::POST, format!("{admin}/disable")),
        (Method::POST, format!("{admin}/enable")),
        (Method::DELETE, format!("{admin}/sessions")),
        (Method::GET, format!("/v1/accounts/acc_{}", "0".repeat(26))),
    ] {
        let refused = with(&node, method, &path, &session.access_token, json!({})).await;
        refused.problem(403, "auth/forbidden");
    }
    assert_eq!(node.get("/v1/me").await.status, 200);
}

#[tokio::test]
async fn a_person_takes_everything_about_themselves_along() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, OLD).await;
    let is_whole = |export: &Value| {
        export["sessions"].as_array().is_some_and(|all| all.len() == 1)
            && export["activity"]["data"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["action"] == "session.opened"))
    };
    let mut export = Value::Null;
    for _ in 0..600 {
        export = with(&node, Method::GET, "/v1/me/export", &session.access_token, json!({})).await.ok();
        if is_whole(&export) {
            break;
        }
        node.a_moment_later().await;
    }
    assert!(is_whole(&export), "{export}");
    assert_eq!((&export["account"]["email"], &export["account"]["name"]), (&json!(OLD), &json!("Grace")));
    assert_eq!((&export["language"], &export["account"]["id"]), (&json!("en"), &json!(session.account)));
    assert!(!export.to_string().contains("argon2"), "no secrets");
}

#[tokio::test]
async fn an_export_has_the_tenants_one_belongs_to() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (one, two) = (ada.founds("one").await, bob.founds("two").await);
    let in_two = bob.in_tenant(&two).await;
    in_two.lets_in(&two, &ada, "member").await;
    in_two.post(&format!("/v1/tenants/{two}/members/{}/suspend", ada.account), json!({})).await.ok();
    ada.until_listed("/v1/me/tenants", 2).await;
    let told = |export: &Value| {
        let tenants = export["memberships"].as_array().unwrap().iter();
        let told = tenants.map(|own| {
            assert!(own["joined_at"].as_str().unwrap().starts_with("20"), "{own}");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&own["tenant"]["id"]),
                text(&own["tenant"]["name"]),
                text(&own["role"]),
                text(&own["status"]),
            )
        });
        told.collect::<Vec<_>>()
    };
    let row = |tenant: &str, name: &str, role: &str, status: &str| {
        (tenant.to_owned(), name.to_owned(), role.to_owned(), status.to_owned())
    };
    let own = row(&one, "one", "owner", "active");
    let both = [own.clone(), row(&two, "two", "member", "suspended")];

    let mut export = Value::Null;
    for _ in 0..600 {
        export = ada.get("/v1/me/export").await.ok();
        if told(&export) == both {
            break;
        }
        node.a_moment_later().await;
    }
    assert_eq!(told(&export), both);
    // One tenant's token tells nobody of the others.
    assert_eq!(told(&ada.in_tenant(&one).await.get("/v1/me/export").await.ok()), [own]);
}
