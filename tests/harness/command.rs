//! Commands that need no node: what they say, and why they fail.

use std::{
    path::Path,
    process::{Command, Output},
};

pub(crate) fn prognet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_prognet")).args(arguments).output().unwrap()
}

/// What a command that must succeed says.
#[track_caller]
pub(crate) fn told(arguments: &[&str]) -> String {
    let output = prognet(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Why a command that must fail does.
#[track_caller]
pub(crate) fn refused(arguments: &[&str]) -> String {
    let output = prognet(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
