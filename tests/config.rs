//! Settings, as an operator meets them.

use std::process::{Command, Output};

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
fn the_sample_is_valid_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (sample, _) = said(&prognet(&["config", "sample"], &[]));
    let path = directory.path().join("sample.toml");
    std::fs::write(&path, sample).unwrap();
    let checked = prognet(&["config", "check", "--config", path.to_str().unwrap()], &[]);
    assert_eq!(said(&checked).0, "the settings are valid\n");
}
