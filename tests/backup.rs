//! Backups of a node at work, and the way back: with the keyring everything, without it nothing.

use std::{os::unix::fs::PermissionsExt, path::Path};

use reqwest::Method;
use serde_json::Value;

use crate::harness::{
    Node,
    command::{self, refused, text},
    reply,
};

/// What a command that must succeed says as JSON.
#[track_caller]
fn told(arguments: &[&str]) -> Value {
    serde_json::from_str(&command::told(&[arguments, &["-o", "json"]].concat())).unwrap()
}

/// Founds tenants until the backup beside it is done.
async fn while_writing<T: Send + 'static>(node: &Node, work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = tokio::task::spawn_blocking(work);
    for number in 0.. {
        node.tenant(&format!("meanwhile-{number}")).await;
        if work.is_finished() {
            break;
        }
    }
    work.await.unwrap()
}

fn tenants(page: &Value) -> usize {
    page["data"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_backup_made_under_writes_restores_to_the_same_with_its_keyring() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (data, backup, keys, fresh) = (at("data"), at("backup"), at("keys"), at("fresh"));
    std::fs::create_dir(&data).unwrap();
    let node = Node::start(Path::new(&data));
    for slug in ["one", "two", "three"] {
        node.tenant(slug).await;
    }
    let (from, to) = (data.clone(), backup.clone());
    let made = while_writing(&node, move || told(&["backup", "create", "--data", &from, "--to", &to])).await;
    assert_eq!(told(&["keyring", "export", "--data", &data, "--to", &keys])["has_master_key"], true);
    assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(told(&["backup", "verify", &backup])["sha256"], made["sha256"]);

    let restored = told(&["backup", "restore", &backup, "--data", &fresh, "--keyring", &keys]);

    assert_eq!(restored["sha256"], made["sha256"]);
    for directory in [&backup, &fresh] {
        let mode = std::fs::metadata(directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{directory} is its owner's alone");
    }
    let verified = told(&["journal", "verify", "--data", &fresh]);
    assert_eq!((&verified["sha256"], &verified["last_lsn"]), (&made["sha256"], &made["last_lsn"]));
    // Every tenant of before the backup is in the list, as its entity says it is.
    let copy = Node::start(Path::new(&fresh));
    let listed = copy.eventually("/v1/tenants?limit=200", |page| tenants(page) >= 3).await;
    for slug in ["one", "two", "three"] {
        let row = listed["data"].as_array().unwrap().iter().find(|row| row["slug"] == slug).unwrap();
        let path = format!("/v1/tenants/{}", row["id"].as_str().unwrap());
        assert_eq!(&copy.get(&path).await.ok(), row);
        assert_eq!(&node.get(&path).await.ok(), row);
    }
}

#[tokio::test]
async fn a_backup_of_a_node_at_rest_restores_to_the_same_list() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (data, backup, keys, fresh) = (at("data"), at("backup"), at("keys"), at("fresh"));
    std::fs::create_dir(&data).unwrap();
    let node = Node::start(Path::new(&data));
    for number in 0..12 {
        node.tenant(&format!("tenant-{number}")).await;
    }
    let before = node.eventually("/v1/tenants?limit=200", |page| tenants(page) == 12).await;
    told(&["backup", "create", "--data", &data, "--to", &backup]);
    told(&["keyring", "export", "--data", &data, "--to", &keys]);

    told(&["backup", "restore", &backup, "--data", &fresh, "--keyring", &keys]);

    let copy = Node::start(Path::new(&fresh));
    assert_eq!(copy.eventually("/v1/tenants?limit=200", |page| tenants(page) == 12).await, before);
}

#[tokio::test]
async fn without_its_keyring_a_backup_is_unreadable_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (data, backup, keys, fresh) = (at("data"), at("backup"), at("keys"), at("fresh"));
    std::fs::create_dir(&data).unwrap();
    let mut node = Node::start(Path::new(&data));
    told(&["keyring", "export", "--data", &data, "--to", &keys]);
    node.tenant("later").await;
    told(&["backup", "create", "--data", &data, "--to", &backup]);
    node.kill();

    let said = refused(&["backup", "restore", &backup, "--data", &fresh]);
    assert!(said.contains("the keyring is missing"), "{said}");
    let said = refused(&["backup", "restore", &backup, "--data", &fresh, "--keyring", &keys]);
    assert!(said.contains("it is older than the backup"), "{said}");
    assert!(!Path::new(&fresh).exists());

    // Nor does a node start on a journal whose keyring is gone, as if it could be read.
    std::fs::remove_dir_all(Path::new(&data).join("keyring")).unwrap();
    let said = refused(&["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data", &data]);
    assert!(said.contains("the keyring is missing"), "{said}");
}

#[tokio::test]
async fn a_damaged_backup_or_journal_is_named_and_nothing_is_written_over() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (data, backup, keys) = (at("data"), at("backup"), at("keys"));
    std::fs::create_dir(&data).unwrap();
    let mut node = Node::start(Path::new(&data));
    node.tenant("acme").await;
    told(&["backup", "create", "--data", &data, "--to", &backup]);
    told(&["keyring", "export", "--data", &data, "--to", &keys]);
    node.kill();

    let said = refused(&["backup", "create", "--data", &data, "--to", &backup]);
    assert!(said.contains("is not empty"), "{said}");
    let said = refused(&["backup", "restore", &backup, "--data", &data, "--keyring", &keys]);
    assert!(said.contains("is not empty"), "{said}");

    for directory in [&data, &backup] {
        let segment = Path::new(directory).join("journal/00000000000000000001.seg");
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }
    let said = refused(&["journal", "verify", "--data", &data]);
    assert!(said.contains("damaged in segment `00000000000000000001.seg` at byte"), "{said}");
    let said = refused(&["backup", "verify", &backup]);
    assert!(said.contains("damaged in segment"), "{said}");
    std::fs::remove_file(Path::new(&backup).join("manifest.json")).unwrap();
    let said = refused(&["backup", "verify", &backup]);
    assert!(said.contains("no finished backup"), "{said}");
}

/// As after a restore with a keyring from before the key was made.
#[tokio::test]
async fn a_node_whose_keyring_lost_the_signing_key_signs_with_another_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut node = Node::start(data.path());
    let old = node.tokens().access_token.clone();
    node.kill();
    without_signing_keys(&data.path().join("keyring/keys.log"));

    let node = node.kill_and_restart_in_place();

    let new = &node.tokens().access_token;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    assert_ne!(kid(new), kid(&old));
    let me = |token: &str| reply(node.stranger(Method::GET, "/v1/me").bearer_auth(token));
    for token in [new, &old] {
        assert_eq!(me(token).await.unwrap().status, 200, "the public half of either is known");
    }
}

/// Takes the private halves out of a keyring's records: length u32, crc u32, body.
fn without_signing_keys(log: &Path) {
    let (bytes, mut kept) = (std::fs::read(log).unwrap(), Vec::new());
    let mut rest = &bytes[..];
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (record, after) = rest.split_at(8 + usize::try_from(u32::from_le_bytes(*length)).unwrap());
        if !record.windows(4).any(|window| window == b"jwt/") {
            kept.extend_from_slice(record);
        }
        rest = after;
    }
    assert!(kept.len() < bytes.len(), "there was none");
    std::fs::write(log, kept).unwrap();
}
