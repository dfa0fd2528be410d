//! A disk that fills up under a node.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Node, reply};

/// No file grows beyond it. Which one is first, journal or read models, must not matter.
const FILE_BYTES: u64 = 1024 * 1024;

#[tokio::test]
async fn a_full_disk_refuses_writes_and_loses_nothing_that_was_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::on_a_small_disk(data.path(), FILE_BYTES);

    let (mut founded, mut refused) = (Vec::new(), None);
    for number in 0..5_000 {
        let slug = format!("tenant-{number}");
        let request = node.request(Method::POST, "/v1/tenants");
        let answer = reply(request.json(&json!({ "name": slug, "slug": slug }))).await.unwrap();
        if answer.status.is_success() {
            founded.push(answer.body["id"].as_str().unwrap().to_owned());
        } else {
            refused = Some(answer);
            break;
        }
    }

    let refused = refused.expect("the disk never filled");
    assert_eq!(refused.status, 503, "{refused:?} after {}", founded.len());
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    // It goes on answering what needs no room, and has room again after a restart without the limit.
    assert_eq!(node.managed("/livez").await.0, 200);
    node.get(&format!("/v1/tenants/{}", founded[0])).await.ok();
    let node = node.kill_and_restart();
    for id in &founded {
        node.get(&format!("/v1/tenants/{id}")).await.ok();
    }
    node.tenant("there-is-room-again").await;
}
