//! What holds for every request: its id, its headers, its limits, and how each failure is told.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Node, Reply, reply};

#[tokio::test]
async fn every_answer_names_its_request_and_is_hardened() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let answers = [
        node.get("/v1/me").await,
        node.get("/v1/nothing").await,
        reply(node.stranger(Method::GET, "/v1/tenants")).await.unwrap(),
        reply(node.stranger(Method::GET, "/.well-known/jwks.json")).await.unwrap(),
    ];
    let mut ids = BTreeSet::new();
    for answer in answers {
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(id.len(), 32);
        if answer.status.is_client_error() {
            assert_eq!(answer.body["request_id"], id.as_str());
        }
        ids.insert(id);
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert!(answer.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    }
    assert_eq!(ids.len(), 4);
}

/// One id in the answer, in the event it led to, and in the trail.
#[tokio::test]
async fn a_trace_is_followed_from_the_request_to_the_event() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_LOG_FILTER", "debug"), ("PROGNET_LOG_FORMAT", "json")]);
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let suspend = node.request(Method::POST, &format!("{path}/suspend")).json(&json!({ "reason": "abuse" }));
    let suspend = suspend.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));

    let answer = reply(suspend).await.unwrap();

    assert_eq!(answer.headers["x-request-id"], trace);
    let events = node.get(&format!("{path}/events")).await.ok();
    assert_eq!(events["data"].as_array().unwrap().last().unwrap()["trace"], trace);
    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    let lines = log.lines().filter(|line| line.contains(trace));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let spans = lines.iter().flat_map(|line| {
        let around = line["spans"].as_array().cloned().unwrap_or_default();
        around.into_iter().chain([line["span"].clone()])
    });
    let spans: BTreeSet<_> = spans.filter_map(|span| span["name"].as_str().map(str::to_owned)).collect();
    for span in ["request", "append"] {
        assert!(spans.contains(span), "{span} is missing in {spans:?}");
    }
}

#[tokio::test]
async fn what_no_route_takes_is_refused_as_such() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let refused = async |request: reqwest::RequestBuilder| -> Reply { reply(request).await.unwrap() };

    let method = refused(node.request(Method::PUT, "/v1/tenants")).await;
    assert_eq!(method.headers["allow"], "GET, HEAD, POST");
    method.problem(405, "request/method");
    let form = node.request(Method::POST, "/v1/tenants").form(&[("name", "Acme")]);
    refused(form).await.problem(415, "request/media-type");
    let json = |body: Vec<u8>| {
        node.request(Method::POST, "/v1/tenants").header("Content-Type", "application/json").body(body)
    };
    refused(json(vec![b' '; 300 * 1024])).await.problem(413, "request/too-large");
    refused(json(b"{\"name\": \"\xff\"}".to_vec())).await.problem(400, "request/invalid");
    let headers = node.request(Method::GET, "/v1/me").header("X-Long", "x".repeat(40 * 1024));
    refused(headers).await.problem(431, "request/headers-too-large");
    for query in ["limit=many", "limt=3", "limit=3&limit=4", "after=%FF"] {
        node.get(&format!("/v1/tenants?{query}")).await.problem(400, "request/invalid");
    }
    for key in ["", "two words", &"x".repeat(201)] {
        let keyed = node.request(Method::POST, "/v1/tenants").header("Idempotency-Key", key);
        let keyed = keyed.json(&json!({ "name": "Acme", "slug": "acme" }));
        refused(keyed).await.problem(400, "request/invalid");
    }
    assert_eq!(node.get("/v1/tenants").await.ok()["data"], json!([]), "nothing changed");
}

/// RFC 9110 s. 9.3.2: as GET answers, its body's length included, without the body.
#[tokio::test]
async fn head_is_answered_as_get_without_its_body() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let problem = format!("/v1/tenants/ten_{}", "0".repeat(26));
    for path in ["/v1/me", "/v1/tenants", &path, &problem, "/openapi.json", "/setup"] {
        let get = node.get(path).await;
        let head = reply(node.request(Method::HEAD, path)).await.unwrap();
        assert_eq!((head.status, &head.body), (get.status, &json!("")), "{path}");
        for name in ["content-type", "content-length", "etag", "cache-control", "content-security-policy"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{name} of {path}");
        }
    }
    // A stream has no end: its head is all there is, and the connection is good for the next request.
    let stream = reply(node.request(Method::HEAD, "/v1/live/sse?topic=system")).await.unwrap();
    assert_eq!((stream.status.as_u16(), &stream.body), (200, &json!("")));
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(reply(node.request(Method::HEAD, "/v1/sessions")).await.unwrap().headers["allow"], "POST");
    assert_eq!(node.get("/v1/me").await.status, 200);
}

/// The `type` of a problem opens a page.
#[tokio::test]
async fn a_problem_explains_itself() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let problem = node.get(&format!("/v1/tenants/ten_{}", "0".repeat(26))).await;
    let page = problem.body["type"].as_str().unwrap().to_owned();

    let page = reply(node.stranger(Method::GET, &page)).await.unwrap();

    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(page.ok().as_str().unwrap().contains("<h1>There is no such tenant</h1>"));
    reply(node.stranger(Method::GET, "/problems/tenant/nonsense"))
        .await
        .unwrap()
        .problem(404, "request/not-found");
}

#[tokio::test]
async fn the_description_of_the_api_is_served() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let served = reply(node.stranger(Method::GET, "/openapi.json")).await.unwrap().ok();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    assert_eq!(served, serde_json::from_str::<Value>(&std::fs::read_to_string(kept).unwrap()).unwrap());
}

#[tokio::test]
async fn what_does_not_parse_is_refused_by_the_name_of_its_field() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    #[track_caller]
    fn named(reply: Reply, field: &str) {
        let problem = reply.problem(400, "request/invalid");
        let fields: Vec<_> =
            problem["errors"].as_array().unwrap().iter().map(|error| &error["field"]).collect();
        assert_eq!(fields, [field], "{problem}");
    }
    for (body, field) in [
        (json!({ "name": 7, "slug": "other" }), "name"),
        (json!({ "name": "Other" }), "slug"),
        (json!({ "name": "Other", "slug": "other", "owner": "me" }), "owner"),
        (json!({ "name": "x".repeat(101), "slug": "other" }), "name"),
        (json!({ "name": "Other", "slug": "x".repeat(41) }), "slug"),
        (json!([]), "body"),
        (Value::Null, "body"),
    ] {
        named(node.post("/v1/tenants", body).await, field);
    }
    for (query, field) in [
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=%FF", "limit"),
        ("limt=1", "limt"),
        ("after=zz", "after"),
        ("after=%C3%A9", "after"),
        ("consistency=00", "consistency"),
    ] {
        named(node.get(&format!("/v1/tenants?{query}")).await, field);
    }
    for list in ["events", "audit"] {
        named(node.get(&format!("{path}/{list}?limit=0")).await, "limit");
        named(node.get(&format!("{path}/{list}?limit=201")).await, "limit");
    }
    named(node.get("/v1/tenants/%FF").await, "tenant");
    named(node.get("/v1/tenants/ten_%00").await, "tenant");
    named(node.get("/v1/live/sse").await, "topic");
    let stale = node.request(Method::PATCH, &path).header("if-match", "W/1").json(&json!({ "name": "New" }));
    named(reply(stale).await.unwrap(), "If-Match");
    let keyed = node.request(Method::PATCH, &path).header("idempotency-key", "a b");
    named(reply(keyed.json(&json!({ "name": "New" }))).await.unwrap(), "Idempotency-Key");

    assert_eq!(node.get(&path).await.ok()["version"], 1, "nothing changed");
}
