//! One process a data directory.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use super::log::OpenError;

/// Held as long as it lives; the kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    #[expect(dead_code, reason = "an open file is the lock")]
    file: File,
}

impl DirectoryLock {
    /// Takes the lock, or names who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            return Err(OpenError::Held { pid: pid.trim().to_owned() });
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }
}
