//! Which node a data directory is: an id, and a lock that one process at a time holds. So a process that is started on
//! the directory of one that was killed knows for certain that the other is gone.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::Context;
use prognet_supervisor::Clock;

/// The lock of a directory, and its id, drawn when it is first used.
pub(super) fn of(data: &Path) -> anyhow::Result<(File, u128)> {
    let path = data.join("node.id");
    let failed = || format!("failed to use `{}`", path.display());
    std::fs::create_dir_all(data).with_context(failed)?;
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another process is this node: it holds `{}`; give this one another `storage.data`",
            path.display()
        ),
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(failed)?;
    if let Ok(id) = u128::from_str_radix(text.trim(), 16) {
        return Ok((file, id));
    }
    let id = Clock::default().fresh_id();
    file.set_len(0).and_then(|()| file.rewind()).with_context(failed)?;
    writeln!(file, "{id:032x}").and_then(|()| file.sync_all()).with_context(failed)?;
    Ok((file, id))
}
