//! People: signing up, showing that an address is theirs, forgotten passwords, sessions.

use prognet_sdk::Tokens;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    guesses::{post, sign_in, sign_up, tokens},
    harness::{ADMIN, Node, PASSWORD, Reply, reply},
};

const OTHER: &str = "twelve green camels";

pub(crate) async fn with(node: &Node, method: Method, path: &str, token: &str, body: Value) -> Reply {
    reply(node.stranger(method, path).bearer_auth(token).json(&body)).await.unwrap()
}

/// The mails to an address, oldest first, once there are as many as wanted.
pub(crate) async fn mails(node: &Node, to: &str, count: usize) -> Vec<Value> {
    let path = format!("/v1/dev/messages?to={to}");
    let are_there = |page: &Value| page["data"].as_array().is_some_and(|all| all.len() >= count);
    node.eventually(&path, are_there).await["data"].as_array().unwrap().clone()
}

/// What the dev inbox says to a query, to whoever sits at the node.
pub(crate) async fn caught(node: &Node, query: &str) -> Vec<Value> {
    let asked = node.stranger(Method::GET, &format!("/v1/dev/messages?{query}"));
    reply(asked).await.unwrap().ok()["data"].as_array().unwrap().clone()
}

/// The token of the link in a mail, if it has one.
pub(crate) fn token_in(mail: &Value) -> Option<String> {
    let links = mail["links"].as_array().unwrap().iter().filter_map(Value::as_str);
    links.filter_map(|link| link.rsplit_once("token=")).map(|(_, token)| token.to_owned()).next()
}

/// What comes of opening the link of a sign-up.
async fn open(node: &Node, token: &str, password: &str) -> Reply {
    post(node, "/v1/accounts/verify", json!({ "token": token, "password": password })).await
}

/// Somebody who has signed up and shown that the address is theirs.
pub(crate) async fn person(node: &Node, email: &str) -> Tokens {
    assert_eq!(sign_up(node, email, PASSWORD).await.status, StatusCode::ACCEPTED);
    let token = token_in(&mails(node, email, 1).await[0]).unwrap();
    let verified = open(node, &token, PASSWORD).await;
    assert_eq!(verified.status, StatusCode::NO_CONTENT, "{verified:?}");
    tokens(sign_in(node, email, PASSWORD).await)
}

#[tokio::test]
async fn a_person_signs_up_shows_that_the_address_is_theirs_and_signs_in() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let taken = sign_up(&node, "Grace@Example.org", PASSWORD).await;
    assert_eq!((taken.status, &taken.body), (StatusCode::ACCEPTED, &json!({ "email": "Grace@example.org" })));
    let mail = mails(&node, "Grace@example.org", 1).await.remove(0);
    let token = token_in(&mail).unwrap();
    sign_in(&node, "grace@example.org", PASSWORD).await.problem(401, "session/credentials");

    let verify = || open(&node, &token, PASSWORD);
    assert_eq!(verify().await.status, StatusCode::NO_CONTENT);

    // An address is the same in every spelling.
    let tokens = tokens(sign_in(&node, " GRACE@Example.ORG ", PASSWORD).await);
    let me = with(&node, Method::GET, "/v1/me", &tokens.access_token, json!({})).await.ok();
    assert_eq!((&me["name"], &me["is_platform_admin"]), (&json!("Grace"), &json!(false)));
    verify().await.problem(403, "account/link");
    for forged in ["", "AQEB", &format!("{token}A"), &tokens.refresh_token] {
        open(&node, forged, PASSWORD).await.problem(403, "account/link");
    }
    // A link for one thing is good for nothing else.
    let reset = json!({ "token": token, "password": OTHER });
    post(&node, "/v1/accounts/reset", reset).await.problem(403, "account/link");
}

/// Security bar 8: nobody is told by a sign-up or a forgotten password whether an address has an account.
#[tokio::test]
async fn an_address_with_an_account_and_one_without_are_one_answer_and_one_mail_tells_its_person() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    // They come in no order.
    let names = |reply: &Reply| {
        reply.headers.keys().map(ToString::to_string).collect::<std::collections::BTreeSet<_>>()
    };
    let plain = |reply: &Reply, email: &str| reply.body.to_string().replace(email, "");
    let known = sign_up(&node, ADMIN.0, PASSWORD).await;
    let unknown = sign_up(&node, "grace@example.org", PASSWORD).await;
    assert_eq!((known.status, unknown.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(
        (names(&known), plain(&known, ADMIN.0)),
        (names(&unknown), plain(&unknown, "grace@example.org"))
    );

    let forgot = |email: &'static str| post(&node, "/v1/accounts/forgot", json!({ "email": email }));
    let (known, unknown) = (forgot(ADMIN.0).await, forgot("nobody@example.org").await);
    assert_eq!((known.status, unknown.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(
        (names(&known), plain(&known, ADMIN.0)),
        (names(&unknown), plain(&unknown, "nobody@example.org"))
    );

    let told = mails(&node, ADMIN.0, 2).await;
    assert_eq!(told.iter().filter(|mail| token_in(mail).is_some()).count(), 1, "the one to a new password");
    assert!(mails(&node, "nobody@example.org", 0).await.is_empty());
    assert_eq!(sign_in(&node, ADMIN.0, ADMIN.1).await.status, 201, "nothing of theirs has changed");
}

#[tokio::test]
async fn of_fifty_sign_ups_for_one_address_one_becomes_an_account() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());

    let attempts = (0..50).map(|_| sign_up(&node, "grace@example.org", PASSWORD));
    let replies = futures_util::future::join_all(attempts).await;

    // The pool that hashes passwords is bounded: whoever finds it full comes again.
    let is_answer = |status: StatusCode| [202, 503].contains(&status.as_u16());
    assert!(replies.iter().all(|reply| is_answer(reply.status)), "{replies:?}");
    let mut opened = 0;
    for mail in mails(&node, "grace@example.org", 1).await {
        let token = token_in(&mail).unwrap();
        let verified = open(&node, &token, PASSWORD).await;
        opened += usize::from(verified.status == StatusCode::NO_CONTENT);
    }
    assert_eq!(opened, 1);
    let found = node.get("/v1/accounts?email=grace@example.org").await.ok();
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(sign_in(&node, "grace@example.org", PASSWORD).await.status, 201);
}

#[tokio::test]
async fn whoever_signs_up_somebody_elses_address_has_no_password_of_theirs() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    sign_up(&node, "grace@example.org", "the strangers own choice").await.ok();
    mails(&node, "grace@example.org", 1).await;
    sign_up(&node, "grace@example.org", PASSWORD).await.ok();
    let own = mails(&node, "grace@example.org", 2).await.remove(1);

    let token = token_in(&own).unwrap();
    open(&node, &token, PASSWORD).await.ok();

    let stranger = sign_in(&node, "grace@example.org", "the strangers own choice").await;
    stranger.problem(401, "session/credentials");
    assert_eq!(sign_in(&node, "grace@example.org", PASSWORD).await.status, 201);
}

/// Security bar 13: a link is bound to the sign-up that asked for it. A person clicks the link in the mail of a
/// stranger who signed up with their address: that opens nothing, neither for the stranger nor for them.
#[tokio::test]
async fn a_strangers_sign_up_is_not_opened_by_the_click_of_whoever_has_the_address() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let strangers = "the strangers own choice";
    sign_up(&node, "grace@example.org", strangers).await.ok();
    let theirs = token_in(&mails(&node, "grace@example.org", 1).await[0]).unwrap();
    let page = reply(node.stranger(Method::GET, &format!("/verify?token={theirs}"))).await.unwrap().ok();
    assert!(page.as_str().unwrap().contains("type=\"password\""), "{page}");

    open(&node, &theirs, PASSWORD).await.problem(403, "account/sign-up-password");

    sign_in(&node, "grace@example.org", strangers).await.problem(401, "session/credentials");
    sign_up(&node, "grace@example.org", PASSWORD).await.ok();
    let own = token_in(&mails(&node, "grace@example.org", 2).await[1]).unwrap();
    open(&node, &theirs, PASSWORD).await.problem(403, "account/sign-up-password");
    open(&node, &own, strangers).await.problem(403, "account/sign-up-password");
    assert_eq!(open(&node, &own, PASSWORD).await.status, StatusCode::NO_CONTENT);
    assert_eq!(sign_in(&node, "grace@example.org", PASSWORD).await.status, 201);
    sign_in(&node, "grace@example.org", strangers).await.problem(401, "session/credentials");
    open(&node, &theirs, strangers).await.problem(403, "account/link");
}

#[tokio::test]
async fn an_address_nobody_vouches_for_is_free_again_after_its_time_even_over_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_SIGN_UP_LIFE", "1s")]);
    sign_up(&node, "grace@example.org", PASSWORD).await.ok();
    let token = token_in(&mails(&node, "grace@example.org", 1).await[0]).unwrap();

    let node = node.kill_and_restart();

    let is_free = |page: &Value| page["data"].as_array().is_some_and(Vec::is_empty);
    node.eventually("/v1/accounts?email=grace@example.org", is_free).await;
    open(&node, &token, PASSWORD).await.problem(403, "account/link");
    sign_up(&node, "grace@example.org", PASSWORD).await.ok();
    mails(&node, "grace@example.org", 1).await;
}

/// Security bar 3: a reset, which is mailed, too.
#[tokio::test]
async fn a_forgotten_password_is_reset_once_by_mail_and_all_sessions_end() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let session = person(&node, "grace@example.org").await;
    post(&node, "/v1/accounts/forgot", json!({ "email": "grace@example.org" })).await.ok();
    let token = token_in(&mails(&node, "grace@example.org", 2).await[1]).unwrap();

    let reset = |password: &str| {
        let body = json!({ "token": token, "password": password });
        post(&node, "/v1/accounts/reset", body)
    };
    reset("password1234").await.problem(400, "account/password");
    let done = reset(OTHER).await;
    assert_eq!((done.status, &done.body), (StatusCode::NO_CONTENT, &json!("")), "and opens no session");

    with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await.problem(401, "session/ended");
    let refresh = json!({ "refresh_token": session.refresh_token });
    post(&node, "/v1/sessions/refresh", refresh).await.problem(401, "session/ended");
    sign_in(&node, "grace@example.org", PASSWORD).await.problem(401, "session/credentials");
    assert_eq!(sign_in(&node, "grace@example.org", OTHER).await.status, 201);
    reset(PASSWORD).await.problem(403, "account/link");
    let told = mails(&node, "grace@example.org", 3).await;
    assert_eq!(token_in(&told[2]), None, "a mail says that it was changed");
}

/// Security bar 3: a change.
#[tokio::test]
async fn a_password_is_changed_with_the_one_before_and_the_other_sessions_end_on_request() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mine = person(&node, "grace@example.org").await;
    let other = tokens(sign_in(&node, "grace@example.org", PASSWORD).await);
    let is_live = async |session: &Tokens| {
        let me = with(&node, Method::GET, "/v1/me", &session.access_token, json!({})).await;
        me.status.is_success()
    };
    let change = async |current: &str, new: &str, end: bool| {
        let body = json!({ "current": current, "new": new, "end_other_sessions": end });
        with(&node, Method::POST, "/v1/me/password", &mine.access_token, body).await
    };

    change("not this one", OTHER, true).await.problem(403, "account/wrong-password");
    let refused = change(PASSWORD, "password1234", true).await.problem(400, "account/password");
    assert_eq!(refused["errors"][0]["field"], "new");
    assert_eq!(change(PASSWORD, OTHER, false).await.status, StatusCode::NO_CONTENT);
    assert!(is_live(&other).await && is_live(&mine).await);
    assert_eq!(change(OTHER, PASSWORD, true).await.status, StatusCode::NO_CONTENT);
    assert!(!is_live(&other).await && is_live(&mine).await);
    let refreshed = node.refreshed(&json!({ "refresh_token": mine.refresh_token })).await;
    assert!(is_live(&refreshed).await);
    mails(&node, "grace@example.org", 3).await;
}

/// Security bar 21: one's own sessions.
#[tokio::test]
async fn a_person_sees_their_sessions_with_device_and_time_and_ends_the_others() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mine = person(&node, "grace@example.org").await;
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let body = json!({ "email": "grace@example.org", "password": PASSWORD });
    let fox = node.stranger(Method::POST, "/v1/sessions").header("User-Agent", agent).json(&body);
    let fox = tokens(reply(fox).await.unwrap());
    let list = || with(&node, Method::GET, "/v1/me/sessions", &mine.access_token, json!({}));
    let until = async |count: usize| {
        for _ in 0..600 {
            let page = list().await.ok();
            if page["data"].as_array().unwrap().len() == count {
                return page["data"].clone();
            }
            node.a_moment_later().await;
        }
        panic!("never {count}")
    };

    let sessions = until(2).await;
    let found = sessions.as_array().unwrap().iter().find(|session| session["id"] == fox.session.as_str());
    assert_eq!(
        (&found.unwrap()["device"], &found.unwrap()["is_current"]),
        (&json!("Firefox on Linux"), &json!(false))
    );
    assert!(found.unwrap()["created_at"].as_str().unwrap() <= found.unwrap()["used_at"].as_str().unwrap());
    let ended = with(&node, Method::DELETE, "/v1/me/sessions", &mine.access_token, json!({})).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);

    with(&node, Method::GET, "/v1/me", &fox.access_token, json!({})).await.problem(401, "session/ended");
    let sessions = until(1).await;
    assert_eq!((&sessions[0]["id"], &sessions[0]["is_current"]), (&json!(mine.session), &json!(true)));
    let foreign = format!("/v1/sessions/{}", mine.session);
    node.delete(&foreign).await.problem(404, "session/unknown");
}

#[tokio::test]
async fn a_person_gives_themselves_another_name() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let token = person(&node, "grace@example.org").await.access_token;
    let rename = |name: &str| with(&node, Method::PATCH, "/v1/me", &token, json!({ "name": name }));

    let renamed = rename(" Rear Admiral Hopper ").await.ok();

    let me = with(&node, Method::GET, "/v1/me", &token, json!({})).await.ok();
    assert_eq!((&renamed["name"], &me), (&json!("Rear Admiral Hopper"), &renamed));
    for bad in ["", " ", "two\r\nlines", &"x".repeat(101)] {
        assert_eq!(
            rename(bad).await.problem(400, "request/invalid")["errors"][0]["field"],
            "name",
            "{bad:?}"
        );
    }
    let stranger = reply(node.stranger(Method::PATCH, "/v1/me").json(&json!({ "name": "x" }))).await.unwrap();
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);
}

/// Everything is more than a page.
#[tokio::test]
async fn an_export_has_all_that_happened() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let token = person(&node, "grace@example.org").await.access_token;
    for turn in 0..60 {
        let name = json!({ "name": format!("Grace {turn}") });
        with(&node, Method::PATCH, "/v1/me", &token, name).await.ok();
    }

    let is_renamed = |entry: &&Value| entry["action"] == "account.renamed";
    let mut renamed = 0;
    for _ in 0..600 {
        let export = with(&node, Method::GET, "/v1/me/export", &token, json!({})).await.ok();
        let activity = &export["activity"];
        renamed = activity["data"].as_array().unwrap().iter().filter(is_renamed).count();
        assert_eq!(activity["next"], Value::Null);
        if renamed == 60 {
            return;
        }
        node.a_moment_later().await;
    }
    panic!("{renamed} of 60")
}
