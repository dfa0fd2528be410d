//! What a node says of itself, and what it never says.

use reqwest::Method;
use serde_json::json;

use crate::harness::{ADMIN, Node, reply};

/// OWASP ASVS 16.2.5: planted where they are given, sought where they must not be.
#[tokio::test]
async fn no_log_names_a_secret_an_address_a_token_or_a_body() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_LOG_FILTER", "debug,prognet=trace")]);
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    let setup_token = link.trim().rsplit_once("token=").unwrap().1.to_owned();
    let tenant = node.tenant("canary-slug").await;
    let path = format!("/v1/tenants/{tenant}");
    let rename = node.request(Method::PATCH, &path).header("Idempotency-Key", "canary-key");
    reply(rename.json(&json!({ "name": "Canary Name" }))).await.unwrap().ok();
    let wrong = json!({ "email": "canary@example.org", "password": "canary password" });
    let refused = reply(node.stranger(Method::POST, "/v1/sessions").json(&wrong)).await.unwrap();
    refused.problem(401, "session/credentials");
    let bad = node.request(Method::POST, "/v1/tenants").body("{\"name\": \"canary body");
    reply(bad).await.unwrap().problem(400, "request/invalid");
    let bad = node.stranger(Method::GET, "/v1/me?secret=canary-query").bearer_auth("canary-token");
    reply(bad).await.unwrap().problem(401, "auth/token");
    let refresh = json!({ "refresh_token": node.tokens().refresh_token });
    reply(node.stranger(Method::POST, "/v1/sessions/refresh").json(&refresh)).await.unwrap().ok();
    let access_token = node.tokens().access_token.clone();
    let refresh_token = node.tokens().refresh_token.clone();
    let node = node.kill_and_restart();
    node.get(&path).await.ok();

    let log = std::fs::read_to_string(data.path().join("log")).unwrap().to_lowercase();

    assert!(log.contains("ready on http://"), "the log is the node's: {log}");
    for secret in ["canary", ADMIN.0, ADMIN.1, &access_token, &refresh_token, &setup_token] {
        let found = log.lines().find(|line| line.contains(&secret.to_lowercase()));
        assert_eq!(found, None, "{secret}");
    }
}
