//! Settings, as an operator meets them.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::Node;

fn prognet(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prognet"));
    command.current_dir(directory.path()).args(arguments).envs(variables.iter().copied());
    command.output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_shown_setting_tells_where_it_came_from() {
    let key = "ab".repeat(32);
    let variables = [("PROGNET_HTTP_GRACE", "5s"), ("PROGNET_STORAGE_MASTER_KEY", &key)];
    let shown = prognet(&["config", "show", "--origin", "--listen", "127.0.0.1:9"], &variables);
    let (out, _) = said(&shown);
    for line in [
        "http.listen = \"127.0.0.1:9\"  # --listen",
        "http.grace = \"5s\"  # PROGNET_HTTP_GRACE",
        "http.deadline = \"5s\"  # default",
        "storage.master_key = \"***\"  # PROGNET_STORAGE_MASTER_KEY",
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line} in {out}");
    }
    assert!(!out.contains(&key));
}

#[test]
fn every_mistake_is_told_before_anything_starts() {
    let variables = [("PROGNET_HTTP_GRACE", "soon"), ("PROGNET_URL", "http://somewhere")];
    for command in [&["config", "check"][..], &["serve"]] {
        let checked = prognet(&[command, &["--set", "http.lisen=x"]].concat(), &variables);
        let (_, error) = said(&checked);
        assert_eq!(checked.status.code(), Some(1));
        assert!(
            error.contains("`http.grace` is `soon` (from PROGNET_HTTP_GRACE), but must be a time"),
            "{error}"
        );
        assert!(
            error.contains("`http.lisen` (from --set) is not a setting; did you mean `http.listen`?"),
            "{error}"
        );
    }
}

#[test]
fn a_new_node_complains_of_nothing_but_the_door_that_is_taken() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();

    // As many connections as any system lets a process hold.
    let few = ["--set", "http.connections_max=500"];
    let refused =
        prognet(&[&["serve", "--listen", &taken, "--management", "127.0.0.1:0"], &few[..]].concat(), &[]);

    let (_, error) = said(&refused);
    assert_eq!(refused.status.code(), Some(1));
    assert!(error.contains(&format!("failed to listen on {taken}: ")), "{error}");
    // But for where mails go, which nobody may overlook.
    let warnings: Vec<_> = error.lines().filter(|line| line.contains("WARN")).collect();
    assert!(matches!(&warnings[..], [mail] if mail.contains("the dev inbox")), "{error}");
}

#[test]
fn the_sample_is_valid_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (sample, _) = said(&prognet(&["config", "sample"], &[]));
    let path = directory.path().join("sample.toml");
    std::fs::write(&path, sample).unwrap();
    let checked = prognet(&["config", "check", "--config", path.to_str().unwrap()], &[]);
    assert_eq!(said(&checked).0, "the settings are valid\n");
}

#[test]
fn what_is_shown_is_a_settings_file_that_says_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (shown, _) = said(&prognet(&["config", "show", "--set", "http.grace=7s"], &[]));
    let path = directory.path().join("shown.toml");
    std::fs::write(&path, &shown).unwrap();

    let (again, error) = said(&prognet(&["config", "show", "--config", path.to_str().unwrap()], &[]));

    assert!(shown.contains("http.grace = \"7s\"\n"), "{shown}");
    assert_eq!(again, shown, "{error}");
}

#[test]
fn a_check_finds_empty_sections_and_filters_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wrong.toml");
    std::fs::write(&path, "[nonsense]\n[http]\n").unwrap();
    let checked = prognet(&["config", "check", "--config", path.to_str().unwrap()], &[]);
    assert!(said(&checked).1.contains("`nonsense` (from "), "{checked:?}");

    let checked = prognet(&["config", "check"], &[("PROGNET_LOG_FILTER", "prognet=loud")]);
    let wrong = "`log.filter` is `prognet=loud` (from PROGNET_LOG_FILTER), but must be levels";
    assert!(said(&checked).1.contains(wrong), "{checked:?}");
    assert_eq!(checked.status.code(), Some(1));
}

#[test]
fn a_broken_file_is_told_by_its_line_and_never_quoted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.toml");
    std::fs::write(&path, "[storage]\nmaster_key = \"canary\" canary\n").unwrap();

    let (_, error) = said(&prognet(&["config", "check", "--config", path.to_str().unwrap()], &[]));

    assert!(error.contains("broken.toml`: line 2: "), "{error}");
    assert!(!error.contains("canary"), "{error}");
}

#[tokio::test]
async fn a_node_with_a_given_master_key_keeps_none_and_starts_with_no_other() {
    let data = tempfile::tempdir().unwrap();
    let (key, other) = ("11".repeat(32), "22".repeat(32));
    let node = Node::with(data.path(), &[("PROGNET_STORAGE_MASTER_KEY", &key)]);
    let tenant = node.tenant("acme").await;
    drop(node);

    assert!(!data.path().join("keyring/master.key").exists());
    let data_flag = ["serve", "--data", data.path().to_str().unwrap()];
    let refused = prognet(&data_flag, &[("PROGNET_STORAGE_MASTER_KEY", &other)]);
    assert!(said(&refused).1.contains("the master key is another"), "{refused:?}");
    let node = Node::with(data.path(), &[("PROGNET_STORAGE_MASTER_KEY", &key)]);
    assert_eq!(node.get(&format!("/v1/tenants/{tenant}")).await.ok()["slug"], "acme");
}

#[tokio::test]
async fn a_node_logs_json_and_limits_bodies_if_told_to() {
    let data = tempfile::tempdir().unwrap();
    let settings = [
        ("PROGNET_LOG_FILTER", "info"),
        ("PROGNET_LOG_FORMAT", "json"),
        ("PROGNET_HTTP_BODY_BYTES_MAX", "1KiB"),
    ];
    let node = Node::with(data.path(), &settings);

    let refused = node.post("/v1/tenants", json!({ "name": "a".repeat(2000), "slug": "acme" })).await;

    assert!(refused.status.is_client_error(), "{refused:?}");
    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said_ready = |line: &Value| line["message"].as_str().is_some_and(|said| said.starts_with("ready on"));
    assert!(lines.iter().any(said_ready), "{log}");
}

#[test]
fn a_node_that_others_reach_does_not_catch_their_mails_unasked() {
    let beyond = ["config", "check", "--listen", "0.0.0.0:8080"];
    // Through a proxy on the same machine they come from nowhere else.
    let proxied = ["config", "check", "--set", "http.public_url=https://api.example.org"];
    for (more, refused) in [
        (&[][..], Some("`mail.smtp_host` is `` (from default), but must be the name of an SMTP server")),
        (&["--set", "mail.dev_inbox=on"], None),
        (&["--set", "mail.smtp_host=smtp.example.org"], Some("`mail.from` is `` (from default)")),
        (&["--set", "mail.smtp_host=smtp.example.org", "--set", "mail.from=no-reply@example.org"], None),
    ] {
        for open in [beyond, proxied] {
            let checked = prognet(&[&open, more].concat(), &[]);
            let (_, error) = said(&checked);
            assert_eq!(checked.status.success(), refused.is_none(), "{open:?} {more:?}: {error}");
            assert!(error.contains(refused.unwrap_or_default()), "{open:?} {more:?}: {error}");
        }
    }
    let off = prognet(&["serve", "--listen", "127.0.0.1:0", "--set", "mail.dev_inbox=off"], &[]);
    assert!(said(&off).1.contains("`mail.smtp_host`"), "{off:?}");
}

#[test]
fn a_password_for_mail_travels_protected_and_never_shows() {
    let password = [("PROGNET_MAIL_SMTP_PASSWORD", "hunter2")];
    let set = |key: &'static str| ["--set", key];
    let server = [set("mail.smtp_host=smtp.example.org"), set("mail.from=no-reply@example.org")].concat();
    for (more, refused) in [
        (vec![], Some("`mail.smtp_user`")),
        (set("mail.smtp_user=ada").to_vec(), None),
        (
            [set("mail.smtp_user=ada"), set("mail.smtp_security=none")].concat(),
            Some("`mail.smtp_security` is `none`"),
        ),
    ] {
        let checked = prognet(&[&["config", "check"], &server[..], &more].concat(), &password);
        let (_, error) = said(&checked);
        assert_eq!(checked.status.success(), refused.is_none(), "{more:?}: {error}");
        assert!(error.contains(refused.unwrap_or_default()) && !error.contains("hunter2"), "{error}");
    }
}
