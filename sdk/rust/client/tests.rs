//! What the client promises whoever calls it, over real sockets, against a node that misbehaves.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, future};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{CreateTenant, SignIn, Tokens};

/// A request as the node got it, line and headers.
type Seen = Arc<Mutex<Vec<String>>>;

/// A node that answers by what it is asked, and cuts the connection instead of saying nothing.
async fn node(answer: impl Fn(&str) -> String + Send + 'static) -> (Client, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    #[expect(clippy::disallowed_methods, reason = "the other end of a test")]
    drop(tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !is_whole(&String::from_utf8_lossy(&request)) {
                let read = socket.read(&mut buffer).await.unwrap();
                request.extend(&buffer[..read]);
            }
            let request = String::from_utf8(request).unwrap();
            let answer = answer(&request);
            noted.lock().unwrap().push(request);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    }));
    let retry = Retry { first: Duration::from_millis(1), ..Retry::default() };
    (Client::new(&url).unwrap().with_retry(retry), seen)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    body.len() >= header(head, "content-length").map_or(0, |length| length.parse().unwrap())
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
}

fn reply(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn tenant() -> String {
    let (id, status, at) = ("ten_1", "active", "2026-01-01T00:00:00Z");
    format!(
        r#"{{"id":"{id}","name":"Acme","slug":"acme","status":"{status}","version":1,"created_at":"{at}"}}"#
    )
}

fn tokens(access: &str) -> String {
    serde_json::to_string(&Tokens {
        access_token: access.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: 600,
        refresh_token: format!("refresh-{access}"),
        session: "ses_1".to_owned(),
        account: "acc_1".to_owned(),
        tenant: None,
        device: None,
    })
    .unwrap()
}

fn ada() -> SignIn {
    SignIn { email: "ada@example.org".to_owned(), password: "x".to_owned(), tenant: None, device: None }
}

#[tokio::test]
async fn a_write_that_was_cut_off_or_put_off_is_sent_again_with_the_same_key() {
    let attempts = AtomicUsize::new(0);
    let (client, seen) = node(move |_| match attempts.fetch_add(1, Ordering::Relaxed) {
        0 => String::new(),
        1 => reply(503, "retry-after: 0\r\n", "{}"),
        2 => "HTTP/1.1 201 X\r\ncontent-length: 500\r\n\r\n{\"id\":".to_owned(),
        _ => reply(201, "", &tenant()),
    })
    .await;

    let wanted = CreateTenant { name: "Acme".to_owned(), slug: "acme".to_owned() };
    let created = client.create_tenant(&wanted).await.unwrap();

    assert_eq!(created.slug, "acme");
    let seen = seen.lock().unwrap();
    let keys: Vec<_> = seen.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32), "{keys:?}");
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is_and_not_asked_again() {
    let problem = r#"{"type":"/problems/tenant/unknown","title":"The tenant says no","status":404}"#;
    let (client, seen) = node(move |_| reply(404, "x-request-id: r1\r\n", problem)).await;

    let error = client.tenant("../x").await.unwrap_err();

    let problem = error.problem().unwrap();
    assert_eq!((problem.kind.as_str(), problem.request_id.as_str()), ("/problems/tenant/unknown", "r1"));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("GET /v1/tenants/..%2Fx HTTP"), "{seen:?}");
}

#[tokio::test]
async fn many_calls_with_a_refused_token_refresh_it_once() {
    let (client, seen) = node(|request| match request {
        _ if request.starts_with("POST /v1/sessions HTTP") => reply(201, "", &tokens("old")),
        _ if request.starts_with("POST /v1/sessions/refresh") => reply(200, "", &tokens("new")),
        _ if header(request, "authorization") == Some("Bearer new") => reply(200, "", &tenant()),
        _ => reply(401, "", "{}"),
    })
    .await;
    client.sign_in(&ada()).await.unwrap();

    let answers = future::join_all((0..20).map(|_| client.tenant("ten_1"))).await;

    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let seen = seen.lock().unwrap();
    let refreshes: Vec<_> = seen.iter().filter(|request| request.contains("/refresh")).collect();
    assert_eq!(refreshes.len(), 1);
    assert!(refreshes[0].contains("refresh-old"));
}

#[tokio::test]
async fn tokens_another_process_renewed_are_taken_over_and_not_spent_twice() {
    struct Shared(Mutex<Vec<&'static str>>);
    impl KeepTokens for Shared {
        fn load(&self) -> std::io::Result<Option<Tokens>> {
            let access = self.0.lock().unwrap().pop().unwrap_or("new");
            Ok(Some(serde_json::from_str(&tokens(access)).unwrap()))
        }
        fn save(&self, _: Option<&Tokens>) -> std::io::Result<()> {
            panic!("nothing was renewed here")
        }
    }
    let (client, seen) = node(|request| match header(request, "authorization") {
        Some("Bearer new") => reply(200, "", &tenant()),
        _ => reply(401, "", "{}"),
    })
    .await;
    let client = client.keeping(Box::new(Shared(Mutex::new(vec!["old"])))).unwrap();

    client.tenant("ten_1").await.unwrap();

    assert!(seen.lock().unwrap().iter().all(|request| !request.contains("/refresh")));
}

/// Tokens as programs share them: whoever renews them keeps them for the others.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Option<Tokens>>>);

impl KeepTokens for Shared {
    fn load(&self) -> std::io::Result<Option<Tokens>> {
        Ok(self.0.lock().unwrap().clone())
    }
    fn save(&self, tokens: Option<&Tokens>) -> std::io::Result<()> {
        *self.0.lock().unwrap() = tokens.cloned();
        Ok(())
    }
}

fn tokens_for(tenant: &str, access: &str) -> Tokens {
    Tokens { tenant: Some(tenant.to_owned()), ..serde_json::from_str(&tokens(access)).unwrap() }
}

#[tokio::test]
async fn a_session_goes_on_for_the_tenant_it_was_switched_to_whenever_it_is_renewed() {
    let renewals = AtomicUsize::new(0);
    let (client, seen) = node(move |request| {
        if request.starts_with("POST /v1/sessions/refresh") {
            let access = format!("new{}", renewals.fetch_add(1, Ordering::Relaxed));
            let for_tenant = || serde_json::to_string(&tokens_for("ten_2", &access)).unwrap();
            return reply(200, "", &if request.contains("ten_2") { for_tenant() } else { tokens(&access) });
        }
        match header(request, "authorization") {
            // The first one that the switch gave is refused once it is used.
            Some("Bearer new1" | "Bearer new2") => reply(200, "", &tenant()),
            _ => reply(401, "", "{}"),
        }
    })
    .await;
    assert!(matches!(client.switch(Some("ten_2")).await, Err(Error::NoSession)));
    let shared = Shared::default();
    let client = client.keeping(Box::new(shared.clone())).unwrap();
    assert!(matches!(client.switch(None).await, Err(Error::NoSession)));
    // Another process signed in.
    shared.save(Some(&serde_json::from_str(&tokens("old")).unwrap())).unwrap();

    assert_eq!(client.switch(Some("ten_2")).await.unwrap().tenant.as_deref(), Some("ten_2"));
    client.tenant("ten_2").await.unwrap();
    assert_eq!(shared.load().unwrap(), Some(tokens_for("ten_2", "new1")));
    assert_eq!(client.switch(None).await.unwrap().tenant, None);
    client.tenant("ten_2").await.unwrap();

    let seen = seen.lock().unwrap();
    let renewals: Vec<_> = seen.iter().filter(|request| request.contains("/refresh")).collect();
    let spent = |number: usize, access: &str| renewals[number].contains(&format!("\"refresh-{access}\""));
    assert!(spent(0, "old") && spent(1, "new0") && spent(2, "new1"), "{renewals:?}");
    let is_for_tenant: Vec<_> = renewals.iter().map(|request| request.contains("\"ten_2\"")).collect();
    assert_eq!(is_for_tenant, [true, true, false]);
}

/// A session must not be stuck in a tenant that was suspended.
#[tokio::test]
async fn a_session_is_ended_even_if_its_tenant_lets_nobody_in() {
    let problem = r#"{"type":"/problems/tenant/suspended","title":"no","status":403}"#;
    let (client, seen) = node(move |request| match header(request, "authorization") {
        _ if request.starts_with("POST /v1/sessions/refresh") => reply(200, "", &tokens("new")),
        Some("Bearer new") => reply(204, "", ""),
        _ => reply(403, "", problem),
    })
    .await;
    let shared = Shared::default();
    shared.save(Some(&tokens_for("ten_2", "old"))).unwrap();
    let client = client.keeping(Box::new(shared.clone())).unwrap();

    client.sign_out().await.unwrap();

    assert_eq!(shared.load().unwrap(), None);
    let last = seen.lock().unwrap().last().unwrap().clone();
    assert!(last.starts_with("DELETE /v1/sessions/ses_1") && last.contains("Bearer new"), "{last}");
}

#[tokio::test]
async fn a_live_stream_goes_on_behind_the_last_whole_event() {
    let connections = AtomicUsize::new(0);
    let event = |cursor: &str| {
        let (at, trace) = ("2026-01-01T00:00:00Z", "0");
        let data = format!(
            r#"{{"cursor":"{cursor}","type":"tenant.renamed","id":"ten_1","at":"{at}","trace":"{trace}","data":{{}}}}"#
        );
        format!("id: {cursor}\nevent: tenant.renamed\ndata: {data}\n\n")
    };
    let (client, seen) = node(move |_| {
        let body = match connections.fetch_add(1, Ordering::Relaxed) {
            // The second event is cut off before its end.
            0 => event("c1") + event("c2").trim_end(),
            1 => String::new(),
            // The token ends while the stream is open.
            2 => event("c2") + "event: closed\ndata: {\"type\":\"x\",\"title\":\"token\",\"status\":401}\n\n",
            3 => "id: c8\nevent: gap\ndata: {}\n\n".to_owned() + &event("c9"),
            _ => return reply(403, "", r#"{"type":"/problems/tenant/suspended","title":"no","status":403}"#),
        };
        format!("HTTP/1.1 200 X\r\nconnection: close\r\n\r\n: live\n\n{body}")
    })
    .await;

    let told: Vec<_> = client.live(&Topic::Tenant("ten_1".to_owned()), None).collect().await;

    let words = told.iter().map(|told| match told {
        Ok(Live::Event(event)) => event.cursor.as_str(),
        Ok(Live::Gap) => "gap",
        Ok(Live::Interrupted(_)) => "interrupted",
        Err(error) => error.problem().unwrap().kind.as_str(),
    });
    let expected = [
        "c1",
        "interrupted",
        "interrupted",
        "c2",
        "interrupted",
        "gap",
        "c9",
        "interrupted",
        "/problems/tenant/suspended",
    ];
    assert_eq!(words.collect::<Vec<_>>(), expected);
    let seen = seen.lock().unwrap();
    let asked = seen.iter().map(|request| request.split(' ').nth(1).unwrap());
    let path = "/v1/live/sse?topic=tenant%3Aten_1";
    let after = |cursor: &str| format!("{path}&after={cursor}");
    assert_eq!(
        asked.collect::<Vec<_>>(),
        [path.to_owned(), after("c1"), after("c1"), after("c2"), after("c9")]
    );
}

#[tokio::test]
async fn all_pages_of_a_list_are_read_as_one() {
    let (client, _) = node(|request| {
        let next = if request.contains("after=p2") { "null" } else { "\"p2\"" };
        reply(200, "", &format!(r#"{{"data":[{}],"next":{next}}}"#, tenant()))
    })
    .await;

    let tenants: Vec<_> = client.all_tenants().take(9).try_collect().await.unwrap();

    assert_eq!(tenants.len(), 2);
}
