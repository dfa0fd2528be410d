//! The API is as it is described: a fuzzer nobody here wrote reads `/openapi.json`, and tries what it says.

use std::{path::Path, process::Command};

use crate::harness::Node;

/// What would end the fuzzer's own session or token, or never ends by itself.
const LEFT_OUT: &str =
    "/v1/live|/v1/sessions/.session|/v1/accounts/.account./(disable|sessions)|/v1/setup|/v1/system/keys";

/// Whether what an answer must be holds: no failure of ours, only what is described, nothing taken that is not.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_as_it_is_described_to_whatever_a_fuzzer_tries() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    node.tenant("acme").await;
    let fuzzer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/counterparts/bin/schemathesis");
    assert!(fuzzer.exists(), "the counterparts are not installed: run ./check once");

    let output = Command::new(fuzzer)
        .args(["run", &format!("{}/openapi.json", node.url()), "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {}", node.tokens().access_token)])
        .args(["--exclude-path-regex", LEFT_OUT, "--checks", CHECKS])
        .args(["--max-examples", "20", "--seed", "7", "--generation-deterministic"])
        .current_dir(data.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("Unresolvable references"), "{said}");
}
