//! The pages in a real browser, with and without JavaScript: what `tests/browser/*.mjs` promise.

use std::{path::Path, process::Command};

use crate::harness::Node;

/// Runs a script of `tests/browser/` against a node that nobody has set up.
fn run(script: &str) {
    let data = tempfile::tempdir().unwrap();
    let node = Node::empty(data.path());
    let link = std::fs::read_to_string(data.path().join("setup.link")).unwrap();
    drive(script, node.url(), &link);
}

/// The same against whatever is at an address.
pub(crate) fn drive(script: &str, url: &str, link: &str) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(
        scripts.join("node_modules").exists(),
        "what the browser tests use is missing: ./check brings it, or `npm ci` in tests/browser"
    );
    let node_js = Command::new("node")
        .arg(scripts.join(script))
        .env("NODE_URL", url)
        .env("SETUP_LINK", link.trim())
        .env("CHROMIUM", chromium())
        .output()
        .expect("Node.js runs the browser tests: ./check installs it");
    let said = [node_js.stdout, node_js.stderr].concat();
    assert!(node_js.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Where Chromium is.
fn chromium() -> &'static str {
    let found =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].into_iter().find(|path| Path::new(path).exists());
    found.expect("Chromium shows the pages: ./check installs it")
}

#[test]
fn a_person_gets_from_the_setup_link_to_an_organization_and_out_again() {
    run("journey.mjs");
}

#[test]
fn the_two_people_of_the_readme_meet_as_it_says() {
    run("readme.mjs");
}

#[test]
fn two_people_meet_in_one_organization_and_look_after_their_accounts() {
    run("people.mjs");
}

#[test]
fn the_description_of_the_api_is_read_in_a_browser() {
    run("docs.mjs");
}
