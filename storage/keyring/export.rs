//! A keyring in one file, to be kept apart from the backups it opens.
//!
//! ```text
//! "PNKEYS1\n" │ sha-256 of what follows, 32 bytes │ master key, 32 bytes │ the records of keys.log
//! ```
//! A master key that comes from a setting is not in it (zeros are): it must be given again.
//! Keep the newest one only: an older one brings homes back that were erased since.

use std::{collections::HashMap, fmt, fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::{
    Error, LOG, MasterKey, key,
    master::MASTER,
    proves,
    record::{self, Kept, Subject},
};
use crate::{
    Home,
    embedded::{make_private, sync_directory},
    postgres::{Store, keys},
};

const MAGIC: &[u8; 8] = b"PNKEYS1\n";
const NO_MASTER: [u8; 32] = [0; 32];

/// See the module.
pub struct Export {
    master: Option<MasterKey>,
    log: Vec<u8>,
    kept: HashMap<Subject, Kept>,
}

impl fmt::Debug for Export {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Export").field("keys", &self.kept.len()).finish_non_exhaustive()
    }
}

impl Export {
    /// What a keyring's directory holds now; its node may be running.
    ///
    /// # Errors
    /// When there is no keyring, or a damaged one.
    pub fn of(directory: &Path) -> Result<Self, Error> {
        let master = MasterKey::known_in(directory)?;
        let mut log = std::fs::read(directory.join(LOG))?;
        let (_, whole) = record::read_log(&log)?;
        log.truncate(whole);
        Self::new(master, log)
    }

    /// What a store holds now; its nodes may be running. A master key that is given is exported with it.
    ///
    /// # Errors
    /// When the store does not answer, or the master key is another than the one that wrapped what is there.
    pub async fn of_store(store: &Store, master: Option<MasterKey>) -> Result<Self, Error> {
        let (kept, _) = keys::read(store).await?;
        let log = kept.iter().flat_map(|(subject, kept)| record::write(subject, kept)).collect();
        Self::new(master, log)
    }

    /// What a file of [`Export::write_file`] holds.
    ///
    /// # Errors
    /// When it is none, or damaged.
    pub fn read(file: &Path) -> Result<Self, Error> {
        const NONE: Error = Error::Damaged("the file is no whole keyring export");
        let bytes = Zeroizing::new(std::fs::read(file)?);
        let rest = bytes.strip_prefix(MAGIC).ok_or(NONE)?;
        let (sum, rest) = rest.split_first_chunk::<32>().ok_or(NONE)?;
        let (master, log) = rest.split_first_chunk::<32>().ok_or(NONE)?;
        if digest(&SHA256, rest).as_ref() != sum {
            return Err(NONE);
        }
        let master = (*master != NO_MASTER).then(|| MasterKey::new(*master));
        Self::new(master, log.to_vec())
    }

    fn new(master: Option<MasterKey>, log: Vec<u8>) -> Result<Self, Error> {
        let (kept, _) = record::read_log(&log)?;
        if let Some(master) = &master {
            proves(&key(&*master.0)?, &kept)?;
        }
        Ok(Self { master, log, kept })
    }

    /// How many homes and secrets it has keys of.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.kept.values().filter(|kept| matches!(kept, Kept::Wrapped(_))).count()
    }

    /// How many homes were erased.
    #[must_use]
    pub fn erased(&self) -> usize {
        self.kept.len() - self.keys()
    }

    /// Whether the master key is in it, or must be given by the environment.
    #[must_use]
    pub fn has_master_key(&self) -> bool {
        self.master.is_some()
    }

    /// Whether the home has a key in it, or was erased.
    #[must_use]
    pub fn knows(&self, home: &Home) -> bool {
        self.kept.contains_key(&Subject::Home(*home))
    }

    /// Whether a master key is the one that wrapped what is in it.
    ///
    /// # Errors
    /// [`Error::OtherMaster`] when it is another.
    pub fn is_wrapped_by(&self, master: &MasterKey) -> Result<(), Error> {
        proves(&key(&*master.0)?, &self.kept)
    }

    /// All that is in it.
    pub(crate) fn kept(&self) -> &HashMap<Subject, Kept> {
        &self.kept
    }

    /// Writes it to a new file that only its owner reads.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn write_file(&self, file: &Path) -> Result<(), Error> {
        let master = self.master.as_ref().map_or(&NO_MASTER, |master| &*master.0);
        let mut rest = Zeroizing::new(master.to_vec());
        rest.extend_from_slice(&self.log);
        write_private(file, &[MAGIC, digest(&SHA256, &rest).as_ref(), &rest])
    }

    /// Brings a store's keys up to it: adds what is missing there, and erases what is erased here. What is erased
    /// there stays so.
    ///
    /// # Errors
    /// [`Error::OtherKeys`] when the store has keys that are not of this keyring, or it does not answer; nothing is
    /// changed then.
    pub async fn restore_to(&self, store: &Store) -> Result<(), Error> {
        keys::restore(store, &self.kept).await
    }

    /// Makes a keyring's directory of it.
    ///
    /// # Errors
    /// When there is one already or it cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        make_private(directory)?;
        write_private(&directory.join(LOG), &[&self.log])?;
        if let Some(master) = &self.master {
            write_private(&directory.join(MASTER), &[&*master.0])?;
        }
        Ok(sync_directory(directory)?)
    }
}

fn write_private(path: &Path, parts: &[&[u8]]) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    Ok(())
}
