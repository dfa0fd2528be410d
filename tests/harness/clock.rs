//! Clocks that are wrong for one process: a library that the system loads into it first answers for the system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The steady clock stays as it is.
const LIBRARY: &str = "
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += OFF_BY;
    return failed;
}
";

/// The library for a process whose clock is to be off by so much, made in a directory: `LD_PRELOAD` names it.
pub(crate) fn off_by(seconds: i64, directory: &Path) -> PathBuf {
    let source = directory.join("clock.c");
    fs::write(&source, LIBRARY).unwrap();
    let library = directory.join(format!("clock{seconds}.so"));
    // Whoever builds Rust has it: it links.
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", &format!("-DOFF_BY=({seconds})"), "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().unwrap().success(), "{compiler:?} failed");
    library
}
