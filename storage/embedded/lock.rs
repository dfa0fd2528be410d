//! One process a data directory.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::log::OpenError;

/// Held as long as it lives; the kernel lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Takes the lock, or names who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join("lock");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            return Err(OpenError::Held { pid: pid.trim().to_owned() });
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Said, not left to the closing: a process that was just started has the file, too, until it runs its own
        // program.
        let _gone = flock(&self.file, FlockOperation::Unlock);
    }
}
