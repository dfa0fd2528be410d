//! Backups of a live node's journal, and the way back. The keyring is never in one: see [`crate::keyring`].
//!
//! ```text
//! DIR/manifest.json         written last: a backup without it was not finished
//! DIR/journal/<first lsn>.seg   each up to its last whole batch
//! ```
//! No lock is needed: frames are only ever appended and chained, so whole ones are a prefix of the log.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    embedded::{OpenError, Segment, Survey, make_private, survey, sync_directory},
    keyring::{self, Export},
};

/// The format of backups; a later one that old binaries must not read gets the next number.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const JOURNAL: &str = "journal";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How to read it.
    pub format: u32,
    /// The version of the binary that made it.
    pub made_by: String,
    /// The last record in it.
    pub last_lsn: u64,
    /// How many records it holds.
    pub records: u64,
    /// SHA-256 over the segments' bytes, in hex.
    pub sha256: String,
    /// The segments, oldest first.
    pub segments: Vec<Segment>,
}

impl Manifest {
    fn of(survey: Survey) -> Self {
        Self {
            format: FORMAT,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            last_lsn: survey.last.0,
            records: survey.records,
            sha256: survey.sha256,
            segments: survey.segments,
        }
    }

    fn is_of(&self, survey: &Survey) -> bool {
        self.sha256 == survey.sha256 && self.last_lsn == survey.last.0 && self.segments == survey.segments
    }
}

/// Why a backup was not made, is none, or was not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file layer failed.
    #[error("failed to {operation} `{path}`")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The journal, or its copy, cannot be read.
    #[error("failed to read `{path}`")]
    Journal {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// Something is there already.
    #[error("`{0}` is not empty: give a directory that is empty or not there yet")]
    NotEmpty(PathBuf),
    /// The manifest is missing or not one.
    #[error("`{0}` is no finished backup: its manifest.json is missing or unreadable")]
    NoManifest(PathBuf),
    /// A later binary made it.
    #[error("the backup has format {0}, which this binary does not know: restore it with a newer one")]
    Format(u32),
    /// The copy is not what the manifest says.
    #[error("`{0}` does not hold what its manifest says: it was changed or only partly copied")]
    Differs(PathBuf),
    /// There are no keys in a backup.
    #[error(
        "the keyring is missing: a backup holds no keys, and without them nothing in it can be read; \
         give the newest file of `prognet keyring export` with --keyring"
    )]
    NoKeyring,
    /// The keyring is another's, or older than the backup.
    #[error(
        "the keyring has no key for {missing} of the {homes} homes in the backup: it is older than the \
         backup, or of another platform; what is about them could not be read"
    )]
    KeysMissing {
        /// Homes without a key.
        missing: usize,
        /// All homes.
        homes: usize,
    },
    /// The keyring cannot be read or kept.
    #[error("failed to restore the keyring")]
    Keyring(#[from] keyring::Error),
}

/// Copies a journal into a directory, while its node runs or not.
///
/// # Errors
/// When the journal is damaged, the directory is not empty, or the file layer fails.
pub fn create(journal: &Path, to: &Path) -> Result<Manifest, Error> {
    let copy = to.join(JOURNAL);
    begin(to)?;
    std::fs::create_dir(&copy).map_err(failed("make", &copy))?;
    let manifest = Manifest::of(copied(journal, &copy)?);
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| failed("write", &to.join(MANIFEST))(io::Error::other(error)))?;
    write_new(&to.join(MANIFEST), &text)?;
    sync_directory(to).map_err(failed("sync", to))?;
    Ok(manifest)
}

/// Reads every byte of a backup and compares it with its manifest.
///
/// # Errors
/// When it is not what was copied.
pub fn verify(backup: &Path) -> Result<Manifest, Error> {
    checked(backup).map(|(manifest, _)| manifest)
}

/// Makes a data directory of a backup and a keyring's export: `journal` and `keyring` in `data`.
///
/// # Errors
/// When the backup is not whole, the keyring is missing or not its own, or `data` is not empty.
pub fn restore(backup: &Path, keyring: Option<&Path>, data: &Path) -> Result<Manifest, Error> {
    let (manifest, found) = checked(backup)?;
    let export = Export::read(keyring.ok_or(Error::NoKeyring)?)?;
    let missing = found.homes.iter().filter(|home| !export.knows(home)).count();
    if missing > 0 {
        return Err(Error::KeysMissing { missing, homes: found.homes.len() });
    }
    begin(data)?;
    export.write(&data.join("keyring"))?;
    // Only a whole copy gets the name that a node opens.
    let (partial, whole) = (data.join("journal.partial"), data.join(JOURNAL));
    std::fs::create_dir(&partial).map_err(failed("make", &partial))?;
    if !manifest.is_of(&copied(&backup.join(JOURNAL), &partial)?) {
        return Err(Error::Differs(backup.to_owned()));
    }
    std::fs::rename(&partial, &whole).map_err(failed("rename", &partial))?;
    sync_directory(data).map_err(failed("sync", data))?;
    Ok(manifest)
}

fn checked(backup: &Path) -> Result<(Manifest, Survey), Error> {
    let no_manifest = || Error::NoManifest(backup.to_owned());
    let text = std::fs::read(backup.join(MANIFEST)).map_err(|_why| no_manifest())?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|_why| no_manifest())?;
    if manifest.format != FORMAT {
        return Err(Error::Format(manifest.format));
    }
    let journal = backup.join(JOURNAL);
    let found = survey(&journal, |_, _| Ok(())).map_err(unreadable(&journal))?;
    if manifest.is_of(&found) && found.unfinished_bytes == 0 {
        Ok((manifest, found))
    } else {
        Err(Error::Differs(backup.to_owned()))
    }
}

/// Copies the whole batches of a journal, synced.
fn copied(journal: &Path, to: &Path) -> Result<Survey, Error> {
    let found = survey(journal, |name, bytes| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(to.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    });
    let found = found.map_err(unreadable(journal))?;
    sync_directory(to).map_err(failed("sync", to))?;
    Ok(found)
}

/// Makes the directory, or finds it empty.
fn begin(directory: &Path) -> Result<(), Error> {
    make_private(directory).map_err(failed("make", directory))?;
    let mut entries = std::fs::read_dir(directory).map_err(failed("read", directory))?;
    if entries.next().is_some() { Err(Error::NotEmpty(directory.to_owned())) } else { Ok(()) }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(failed("write", path))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Disk { operation, path: path.to_owned(), source }
}

fn unreadable(path: &Path) -> impl FnOnce(OpenError) -> Error {
    move |source| Error::Journal { path: path.to_owned(), source }
}
