//! Tenants and their events over HTTP.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Node, reply};

#[tokio::test]
async fn a_tenant_is_founded_renamed_suspended_and_resumed_and_its_events_tell_so() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let founded = node.post("/v1/tenants", json!({ "name": "Acme", "slug": "acme" })).await;
    assert_eq!(founded.status, 201);
    let path = format!("/v1/tenants/{}", founded.body["id"].as_str().unwrap());

    let rename =
        node.request(Method::PATCH, &path).header("If-Match", "\"1\"").json(&json!({ "name": "New" }));
    assert_eq!(reply(rename).await.unwrap().ok()["name"], "New");
    let stale =
        node.request(Method::PATCH, &path).header("If-Match", "\"1\"").json(&json!({ "name": "Old" }));
    reply(stale).await.unwrap().problem(412, "tenant/version-mismatch");
    let suspended = node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" })).await.ok();
    assert_eq!(
        (&suspended["status"], &suspended["suspension"]["reason"]),
        (&json!("suspended"), &json!("abuse"))
    );
    node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" }))
        .await
        .problem(409, "tenant/already-suspended");
    node.post(&format!("{path}/resume"), json!({})).await.ok();

    let first = node.get(&format!("{path}/events?limit=3")).await.ok();
    let second = node.get(&format!("{path}/events?after={}", first["next"].as_str().unwrap())).await.ok();
    let kinds = |page: &serde_json::Value| {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&first), ["tenant.created", "membership.admitted", "tenant.renamed"]);
    assert_eq!(kinds(&second), ["tenant.suspended", "tenant.resumed"]);
}

#[tokio::test]
async fn a_suspension_with_an_end_ends_by_itself_even_over_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let now = prognet_supervisor::Clock::default().now();
    let until = now.after(std::time::Duration::from_secs(1)).to_string();
    node.post(&format!("{path}/suspend"), json!({ "reason": "other", "until": until })).await.ok();

    let node = node.kill_and_restart();

    node.eventually(&path, |tenant| tenant["status"] == "active").await;
    let events = node.get(&format!("{path}/events")).await.ok();
    let resumed = events["data"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&resumed["type"], &resumed["at"]),
        (&json!("tenant.resumed"), &json!(until)),
        "fired as of when it was due"
    );
}

#[tokio::test]
async fn of_fifty_foundings_with_one_slug_exactly_one_wins() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());

    let attempts = (0..50).map(|_| node.post("/v1/tenants", json!({ "name": "Acme", "slug": "acme" })));
    let replies = futures_util::future::join_all(attempts).await;

    let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    assert_eq!(won.len(), 1);
    for reply in lost {
        reply.problem(409, "tenant/slug-taken");
    }
    let token = won[0].headers["Prognet-Consistency"].to_str().unwrap();
    let listed = node.get(&format!("/v1/tenants?consistency={token}")).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
}

/// Its reservation knows the one that has it, before any list shows it.
#[tokio::test]
async fn a_tenant_is_found_by_its_slug_by_whoever_may_list_tenants_alone() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let bob = node.person("bob").await;
    let find = async |query: &str| node.get(&format!("/v1/tenants?slug={query}")).await;
    assert_eq!(find("acme").await.ok(), json!({ "data": [], "next": null }));
    let (acme, _other) = (bob.founds("acme").await, bob.founds("acme-2").await);
    let path = format!("/v1/tenants/{acme}");

    let found = find("acme").await.ok();
    assert_eq!(found, json!({ "data": [node.get(&path).await.ok()], "next": null }));
    node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" })).await.ok();
    assert_eq!(find("acme&limit=1").await.ok()["data"][0]["status"], "suspended");
    node.post(&format!("{path}/resume"), json!({})).await.ok();
    for nobodys in ["acm", "acme-3"] {
        assert_eq!(find(nobodys).await.ok()["data"], json!([]));
    }
    for (query, field) in
        [("Acme", "slug"), ("", "slug"), ("acme&after=x", "after"), ("acme&limit=0", "limit")]
    {
        assert_eq!(find(query).await.problem(400, "request/invalid")["errors"][0]["field"], field);
    }

    let owner = bob.in_tenant(&acme).await;
    for slug in ["acme", "acme-3"] {
        for person in [&bob, &owner] {
            person.get(&format!("/v1/tenants?slug={slug}")).await.problem(403, "auth/forbidden");
        }
    }
}

#[tokio::test]
async fn one_idempotency_key_has_one_effect_and_one_reply() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let create = |slug: &str| {
        let request = node.request(Method::POST, "/v1/tenants").header("Idempotency-Key", "k1");
        reply(request.json(&json!({ "name": "Acme", "slug": slug })))
    };

    let replies = futures_util::future::join_all((0..50).map(|_| create("acme"))).await;

    let bodies: std::collections::BTreeSet<_> =
        replies.into_iter().map(|reply| reply.unwrap().ok().to_string()).collect();
    assert_eq!(bodies.len(), 1);
    create("other").await.unwrap().problem(422, "request/key-reused");
}

#[tokio::test]
async fn a_list_is_paged_by_cursors_that_nobody_makes_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut last = String::new();
    for slug in ["one", "two", "three"] {
        let founded = node.post("/v1/tenants", json!({ "name": slug, "slug": slug })).await;
        last = founded.headers["Prognet-Consistency"].to_str().unwrap().to_owned();
    }

    let first = node.get(&format!("/v1/tenants?limit=2&consistency={last}")).await.ok();
    let rest = node.get(&format!("/v1/tenants?after={}", first["next"].as_str().unwrap())).await.ok();

    assert_eq!(
        (first["data"][0]["slug"].as_str(), first["data"][1]["slug"].as_str()),
        (Some("one"), Some("two"))
    );
    assert_eq!((rest["data"][0]["slug"].as_str(), rest["next"].as_str()), (Some("three"), None));
    for bad in ["00", "zz", "%C3%A9", &first["next"].as_str().unwrap().replacen('0', "1", 1)] {
        node.get(&format!("/v1/tenants?after={bad}")).await.problem(400, "request/invalid");
    }
}

/// Ids that come from idempotency keys are in no order: the list has one of its own.
#[tokio::test]
async fn tenants_of_keyed_requests_are_listed_by_age_and_pages_hold_still_under_writes() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut founded = Vec::new();
    let mut found = async |slug: String| {
        let request = node.request(Method::POST, "/v1/tenants").header("Idempotency-Key", &slug);
        let reply = reply(request.json(&json!({ "name": slug, "slug": slug }))).await.unwrap();
        let consistency = reply.headers["Prognet-Consistency"].to_str().unwrap().to_owned();
        founded.push(reply.ok());
        consistency
    };
    let mut last = found("first".to_owned()).await;
    for number in 0..8 {
        last = found(format!("early-{number}")).await;
    }

    // While the pages are read more are founded and one that was listed changes: it moves nobody.
    let (mut listed, mut after, mut late) = (Vec::new(), String::new(), 0);
    loop {
        if late < 4 {
            last = found(format!("late-{late}")).await;
            late += 1;
        }
        let page = node.get(&format!("/v1/tenants?limit=3&consistency={last}{after}")).await.ok();
        listed.extend(page["data"].as_array().unwrap().iter().map(|row| row["id"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
        let path = format!("/v1/tenants/{}", listed[0].as_str().unwrap());
        let rename = node.request(Method::PATCH, &path).json(&json!({ "name": format!("Name {late}") }));
        reply(rename).await.unwrap().ok();
    }

    let mut by_age: Vec<_> =
        founded.iter().map(|tenant| (tenant["created_at"].as_str().unwrap(), tenant["id"].clone())).collect();
    by_age.sort_by_key(|(at, id)| (*at, id.as_str().unwrap().to_owned()));
    assert_eq!(listed, by_age.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = node.tenant("acme").await;
    let long = "x".repeat(200);
    let bodies = [
        (json!({ "name": "Acme" }), "slug"),
        (json!({ "name": 7, "slug": "other" }), "name"),
        (json!({ "name": "Acme", "slug": "other", "owner": "me" }), "owner"),
        (json!({ "name": "Acme", "slug": "No Slug" }), "slug"),
        (json!({ "name": long, "slug": "other" }), "name"),
        (json!("text"), "body"),
    ];
    for (body, field) in bodies {
        let problem = node.post("/v1/tenants", body).await.problem(400, "request/invalid");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let raw = |body: &'static [u8]| {
        let request = node.request(Method::POST, "/v1/tenants").header("Content-Type", "application/json");
        reply(request.body(body))
    };
    raw(b"{").await.unwrap().problem(400, "request/invalid");
    raw(b"{\"name\":\"\xff\"}").await.unwrap().problem(400, "request/invalid");
    node.get("/v1/tenants/acme").await.problem(400, "request/invalid");
    for route in ["", "/events", "/audit"] {
        let nobodys = format!("/v1/tenants/ten_{}{route}", "0".repeat(26));
        node.get(&nobodys).await.problem(404, "tenant/unknown");
    }
    node.get("/v1/nothing").await.problem(404, "request/not-found");
    node.post(&format!("/v1/tenants/{id}/suspend"), json!({ "reason": "whim" }))
        .await
        .problem(400, "request/invalid");

    let tenants = node.get("/v1/tenants").await.ok();
    assert_eq!(
        (tenants["data"].as_array().unwrap().len(), tenants["data"][0]["version"].as_u64()),
        (1, Some(1))
    );
}

#[tokio::test]
async fn a_request_without_a_token_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for path in ["/v1/tenants", "/v1/live/sse?topic=system"] {
        reply(node.stranger(Method::GET, path)).await.unwrap().problem(401, "auth/token");
        let wrong = node.stranger(Method::GET, path).bearer_auth("0".repeat(64));
        reply(wrong).await.unwrap().problem(401, "auth/token");
    }
}

#[tokio::test]
async fn a_live_stream_resumes_behind_its_cursor_over_a_kill_and_misses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = node.tenant("acme").await;
    let path = format!("/v1/tenants/{id}");
    let topic = format!("/v1/live/sse?topic=tenant:{id}");
    let seen =
        node.get(&format!("{path}/events")).await.ok()["data"][1]["cursor"].as_str().unwrap().to_owned();
    let mut live = Live::open(&node, &topic, &seen).await;
    node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" })).await.ok();
    let (kind, cursor) = live.next().await;
    assert_eq!(kind, "tenant.suspended");

    node.post(&format!("{path}/resume"), json!({})).await.ok();
    let node = node.kill_and_restart();
    node.post(&format!("{path}/suspend"), json!({ "reason": "other" })).await.ok();
    let mut live = Live::open(&node, &topic, &cursor).await;

    assert_eq!(live.next().await.0, "tenant.resumed");
    assert_eq!(live.next().await.0, "tenant.suspended");
}

/// A server-sent event stream, read as text.
struct Live {
    stream: std::pin::Pin<Box<dyn futures_util::Stream<Item = String>>>,
    text: String,
}

impl Live {
    async fn open(node: &Node, path: &str, last_event: &str) -> Self {
        let request = node.request(Method::GET, path).header("Last-Event-ID", last_event);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let chunks = response.bytes_stream().map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap());
        Self { stream: Box::pin(chunks), text: String::new() }
    }

    /// The next event's type and cursor.
    async fn next(&mut self) -> (String, String) {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let event = field("event: ").zip(field("id: "));
                self.text = rest.to_owned();
                if let Some(event) = event {
                    return event;
                }
            }
            self.text.push_str(&self.stream.next().await.expect("the stream ended"));
        }
    }
}
