//! What `/proc` knows of processes: their CPU time and their memory.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use anyhow::Context;

/// One line of `/proc/<pid>/stat`, after the name, which may hold anything.
struct Stat {
    pid: u32,
    parent: u32,
    cpu_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        // utime, stime, and the same of children that have ended: fields 14 to 17 of proc(5).
        let cpu_ticks = (11..15).filter_map(number).sum();
        Some(Self { pid, parent: u32::try_from(number(1)?).ok()?, cpu_ticks })
    }
}

/// CPU time of processes and all their descendants.
#[must_use]
pub fn cpu_of(roots: &[u32]) -> Duration {
    let ticks: u64 = family(roots).iter().map(|stat| stat.cpu_ticks).sum();
    Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

/// CPU time of this process.
#[must_use]
pub fn cpu_of_self() -> Duration {
    cpu_of(&[std::process::id()])
}

/// The processes and all their descendants.
#[must_use]
pub fn pids_of(roots: &[u32]) -> Vec<u32> {
    family(roots).iter().map(|stat| stat.pid).collect()
}

fn family(roots: &[u32]) -> Vec<Stat> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut others: Vec<_> =
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Stat::read).collect();
    let mut members: Vec<Stat> = Vec::new();
    loop {
        let is_member =
            |stat: &Stat| roots.contains(&stat.pid) || members.iter().any(|member| member.pid == stat.parent);
        let (found, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_member);
        if found.is_empty() {
            return members;
        }
        members.extend(found);
        others = rest;
    }
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// A directory on a disk, not in memory, that another user may pass through.
///
/// # Errors
/// When it cannot be made.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let passable = fs::Permissions::from_mode(0o711);
    Ok(tempfile::Builder::new().prefix("prognet-bench-").permissions(passable).tempdir_in("/var/tmp")?)
}
