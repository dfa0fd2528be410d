//! Wrapped keys in a file of one node.
//!
//! ```text
//! master.key   32 random bytes, mode 0600, made at first start (or given by the environment)
//! keys.log     length u32 │ crc32c u32 │ kind u8 │ subject │ wrapped bytes      appended, never edited
//! ```

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Error,
    record::{self, Kept, Subject},
};
use crate::embedded::{make_private, sync_directory};

pub(super) const LOG: &str = "keys.log";

/// See the module.
pub(super) struct KeyFile {
    path: PathBuf,
    open: Mutex<Open>,
    /// Whether a sync has failed. Locked while one is under way: whoever comes later finds it done.
    has_failed: Mutex<bool>,
}

struct Open {
    file: Arc<File>,
    /// The end of the last whole record.
    length: u64,
}

impl KeyFile {
    /// Opens the file in a directory, made if there is none, and reads it.
    pub(super) fn open(directory: &Path) -> Result<(Self, HashMap<Subject, Kept>), Error> {
        make_private(directory)?;
        let path = directory.join(LOG);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (kept, whole) = record::read_log(&bytes)?;
        if whole < bytes.len() {
            // The last record was half written when the power went; nothing sealed with it was acknowledged.
            file.set_len(whole as u64)?;
        }
        file.sync_all()?;
        sync_directory(directory)?;
        let open = Mutex::new(Open { file: Arc::new(file), length: whole as u64 });
        Ok((Self { path, open, has_failed: Mutex::default() }, kept))
    }

    /// Durable after the next sync.
    pub(super) fn append(&self, subject: &Subject, kept: &Kept) -> Result<(), Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = record::write(subject, kept);
        if let Err(error) = (&*open.file).write_all(&bytes) {
            // Half a record (of a full disk) must not lie before the next one.
            open.file.set_len(open.length)?;
            return Err(error.into());
        }
        open.length += bytes.len() as u64;
        Ok(())
    }

    /// Has what was appended on the device, and says what that is: `appended` names it beforehand.
    pub(super) fn sync(&self, appended: impl FnOnce() -> Vec<Subject>) -> Result<Vec<Subject>, Error> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(Error::Poisoned);
        }
        let appended = appended();
        if !appended.is_empty() {
            // Nothing else is locked meanwhile: others go on appending, for the next sync.
            let file = Arc::clone(&self.open.lock().unwrap_or_else(PoisonError::into_inner).file);
            if let Err(error) = file.sync_data() {
                *has_failed = true;
                return Err(error.into());
            }
        }
        Ok(appended)
    }

    /// Holds these and nothing else from now on, durably: what was there before is gone.
    pub(super) fn rewrite(&self, kept: &HashMap<Subject, Kept>) -> Result<(), Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        let mut length = 0;
        for (subject, kept) in kept {
            let bytes = record::write(subject, kept);
            file.write_all(&bytes)?;
            length += bytes.len() as u64;
        }
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        *open = Open { file: Arc::new(OpenOptions::new().append(true).open(&self.path)?), length };
        Ok(())
    }
}
