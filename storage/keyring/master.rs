//! The key that wraps all others, and the file it may come from.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use zeroize::Zeroizing;

use super::{Error, seal::random};
use crate::embedded::{make_private, sync_directory};

pub(super) const MASTER: &str = "master.key";

/// The key that wraps all others.
pub struct MasterKey(pub(super) Zeroizing<[u8; 32]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// A key from 32 bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key in a directory's `master.key`, made there with mode 0600 if there is none.
    ///
    /// # Errors
    /// When the file cannot be made or is no key.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        make_private(directory)?;
        let path = directory.join(MASTER);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let bytes = Zeroizing::new(random()?);
                file.write_all(&*bytes)?;
                file.sync_all()?;
                sync_directory(directory)?;
                Ok(Self(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(&path),
            Err(error) => Err(error.into()),
        }
    }

    /// The key in a directory's `master.key`, if there is one.
    ///
    /// # Errors
    /// When the file is no key or cannot be read.
    pub fn known_in(directory: &Path) -> Result<Option<Self>, Error> {
        match Self::read(&directory.join(MASTER)) {
            Err(Error::Disk(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            master => master.map(Some),
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        File::open(path)?.read_exact(&mut *bytes)?;
        Ok(Self(bytes))
    }
}
