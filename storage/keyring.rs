//! The keyring: a data key per home, wrapped by the master key. Destroying one erases the home.
//!
//! All keys are read at open and held wrapped in memory. They are kept in one of two places: a file of the node
//! (`keyring/file.rs`), or a table of the store that all nodes of a cluster share (`postgres/keys.rs`).
//! ```text
//!  seal_ahead ─▶ a new key, in memory ─▶ sync, before what it seals is written ─▶ it stands, for ever
//!                                           └▶ in a store: unless another process's key was there first
//! ```
//! It is kept apart from the journal, and out of its backups: what is sealed there is readable only with
//! the newest copy of this, so that an old backup does not bring an erased home back.

mod export;
mod file;
mod master;
pub(crate) mod record;
mod seal;
mod secrets;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::aead::LessSafeKey;
use zeroize::Zeroizing;

pub use self::{export::Export, master::MasterKey};
use self::{
    file::{KeyFile, LOG},
    record::{Kept, Subject},
    seal::{DataKey, key, mark_in, mark_of, random, unwrapped, wrap},
};
use crate::{
    AddressMap, Home,
    journal::Record,
    postgres::{Store, StoreError, keys::KeyTable},
};

/// Unwrapped keys held at once; unwrapping costs a microsecond.
const UNWRAPPED_MAX: usize = 16 * 1024;

/// Why the keyring did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file layer failed.
    #[error("failed to keep the keyring")]
    Disk(#[from] io::Error),
    /// The store failed. What was asked may be asked again.
    #[error("failed to keep the keyring in the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The keyring holds something that nobody wrote there.
    #[error("the keyring is damaged: {0}")]
    Damaged(&'static str),
    /// Other keys than this one wrapped what is in the keyring.
    #[error(
        "the master key is another than the one that wrapped the keyring: give that one in `storage.master_key`, or \
         bring its `keyring/master.key` back"
    )]
    OtherMaster,
    /// There are keys already, and others.
    #[error("the store has the keys of another keyring")]
    OtherKeys,
    /// The home was erased: nothing is written about it any more.
    #[error("the home was erased")]
    Erased,
    /// An earlier sync failed, so nobody knows which keys are on the disk: none is made until a restart.
    #[error("the keyring is poisoned: a sync failed")]
    Poisoned,
    /// The crypto library refused.
    #[error("failed to seal")]
    Crypto,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Why sealed bytes do not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The home was erased.
    #[error("the home was erased")]
    Erased,
    /// This keyring never had a key for the home, or has not learned of it yet: see [`Keyring::learn`].
    #[error("no key for the home: is this the data's keyring?")]
    Unknown,
    /// The bytes are not what was sealed there.
    #[error("the sealed bytes are damaged")]
    Damaged,
}

/// See the module.
pub struct Keyring {
    master: LessSafeKey,
    place: Place,
    inner: Mutex<Inner>,
    /// Homes whose erasure this process has learned of since the keyring was opened.
    erasures: AtomicU64,
    pepper: Zeroizing<Vec<u8>>,
}

/// Where the wrapped keys are kept.
enum Place {
    File(KeyFile),
    Store(Box<KeyTable>),
}

struct Inner {
    kept: HashMap<Subject, Kept>,
    /// Made here, and not durable for sure.
    unsynced: HashSet<Subject>,
    /// Homes for which a key was made here that never stood: another process had made one, or erased the home.
    overruled: HashSet<Home>,
    unwrapped: AddressMap<Home, Arc<DataKey>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keyring").field("keys", &self.lock().kept.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Opens the keyring of a directory, made if there is none.
    ///
    /// # Errors
    /// When the file is damaged before its end, or the master key is not the one that wrapped it.
    pub fn open(directory: &Path, master: &MasterKey) -> Result<Self, Error> {
        let (file, kept) = KeyFile::open(directory)?;
        let mut keyring = Self::of(master, Place::File(file), kept)?;
        if let Place::File(file) = &keyring.place {
            keyring.sync_file(file)?;
        }
        keyring.take_pepper()?;
        Ok(keyring)
    }

    /// Opens the keyring of a store, begun if there is none.
    ///
    /// # Errors
    /// When the store does not answer, or the master key is not the one that wrapped what is there.
    pub async fn open_in(store: Store, master: &MasterKey) -> Result<Self, Error> {
        let (table, kept) = KeyTable::open(store).await?;
        let mut keyring = Self::of(master, Place::Store(Box::new(table)), kept)?;
        keyring.sync().await?;
        keyring.take_pepper()?;
        Ok(keyring)
    }

    /// Over what a place keeps; its pepper is to be synced, and taken.
    fn of(master: &MasterKey, place: Place, kept: HashMap<Subject, Kept>) -> Result<Self, Error> {
        let master = key(&*master.0)?;
        proves(&master, &kept)?;
        let inner = Mutex::new(Inner {
            kept,
            unsynced: HashSet::new(),
            overruled: HashSet::new(),
            unwrapped: AddressMap::default(),
        });
        let (erasures, pepper) = (AtomicU64::new(0), Zeroizing::default());
        let keyring = Self { master, place, inner, erasures, pepper };
        keyring.begin_pepper()?;
        Ok(keyring)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a keyring in the directory.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        directory.join(LOG).exists()
    }

    /// Seals bytes with the home's key (AES-256-GCM-SIV, RFC 8452), bound to `place`. A home's first bytes make
    /// its key, durably, before this returns.
    ///
    /// # Errors
    /// When the home was erased or its new key could not be kept.
    pub async fn seal(&self, home: &Home, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        loop {
            let (sealed, is_durable) = self.seal_now(home, place, plain)?;
            if is_durable {
                return Ok(sealed);
            }
            // The key that stands afterwards may be another's: seal again.
            self.sync().await?;
        }
    }

    /// The same, but a new key is durable only after the next [`Keyring::sync`]: a journal awaits it before it
    /// writes the records that need the key, once for all that wait.
    ///
    /// # Errors
    /// When the home was erased or its new key could not be kept.
    pub fn seal_ahead(&self, home: &Home, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        self.seal_now(home, place, plain).map(|(sealed, _)| sealed)
    }

    /// Seals, and says whether the key is durable.
    fn seal_now(&self, home: &Home, place: &[u8], plain: &[u8]) -> Result<(Vec<u8>, bool), Error> {
        let mut inner = self.lock();
        let mut held = self.held(&mut inner, home);
        if held.as_ref().is_err_and(|why| *why == OpenError::Unknown) {
            let bytes = Zeroizing::new(random::<32>()?);
            self.keep(&mut inner, Subject::Home(*home), &*bytes)?;
            held = self.held(&mut inner, home);
        }
        let held = held.map_err(|why| match why {
            OpenError::Erased => Error::Erased,
            OpenError::Unknown | OpenError::Damaged => Error::Damaged("a key does not unwrap"),
        })?;
        let is_durable = !inner.unsynced.contains(&Subject::Home(*home));
        drop(inner);
        Ok((held.seal(place, plain)?, is_durable))
    }

    /// Every key made so far is durable when this returns, or overruled: see [`Keyring::stands`]. Costs nothing
    /// when there is no new one. In a file it is ready when first polled.
    ///
    /// # Errors
    /// When a file's device failed, now or ever: a sync is never tried again, since the kernel may have dropped
    /// the pages. When the store does not answer: the keys wait for the next sync.
    pub async fn sync(&self) -> Result<(), Error> {
        match &self.place {
            Place::File(file) => self.sync_file(file),
            Place::Store(table) => self.sync_store(table).await,
        }
    }

    fn sync_file(&self, file: &KeyFile) -> Result<(), Error> {
        let synced = file.sync(|| self.lock().unsynced.iter().cloned().collect())?;
        if !synced.is_empty() {
            let mut inner = self.lock();
            for subject in &synced {
                inner.unsynced.remove(subject);
            }
        }
        Ok(())
    }

    async fn sync_store(&self, table: &KeyTable) -> Result<(), Error> {
        let made = self.lock().made();
        if made.is_empty() {
            return Ok(());
        }
        let standing = table.add(&made).await?;
        let mut inner = self.lock();
        for (subject, kept) in standing {
            self.take_over(&mut inner, subject, kept);
        }
        for (subject, _) in &made {
            inner.unsynced.remove(subject);
        }
        Ok(())
    }

    /// Whether a record that was sealed ahead may be written, once [`Keyring::sync`] has returned. Not if two
    /// processes made a key of its home at once and the other's stands: what was sealed with ours, none could
    /// read. Its entity is to be loaded again.
    #[must_use]
    pub fn stands(&self, record: &Record) -> bool {
        let inner = self.lock();
        if record.body.is_empty() || !inner.overruled.contains(&record.entity.home) {
            return true;
        }
        match inner.kept.get(&Subject::Home(record.entity.home)) {
            Some(Kept::Wrapped(wrapped)) => mark_of(wrapped) == mark_in(&record.body),
            Some(Kept::Erased) | None => false,
        }
    }

    /// Opens what [`Keyring::seal`] sealed there.
    ///
    /// # Errors
    /// When the home was erased, is unknown, or the bytes are not what was sealed.
    pub fn open_sealed(&self, home: &Home, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let held = self.held(&mut self.lock(), home)?;
        held.open(place, sealed).ok_or(OpenError::Damaged)
    }

    /// Learns the keys of these homes that other processes have made meanwhile, so that what they sealed opens.
    /// Costs nothing when all are known, or a file keeps them.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn learn(&self, homes: impl IntoIterator<Item = Home>) -> Result<(), Error> {
        self.look_for(homes.into_iter().map(Subject::Home)).await
    }

    async fn look_for(&self, subjects: impl Iterator<Item = Subject>) -> Result<(), Error> {
        let Place::Store(table) = &self.place else {
            return Ok(());
        };
        let unknown: HashSet<_> = {
            let inner = self.lock();
            subjects.filter(|subject| !inner.kept.contains_key(subject)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let found = table.find(unknown).await?;
        let mut inner = self.lock();
        for (subject, kept) in found {
            // A key that was made here since is for the next sync to settle.
            if !inner.kept.contains_key(&subject) {
                self.take_over(&mut inner, subject, kept);
            }
        }
        Ok(())
    }

    /// Learns which homes other processes have erased meanwhile. One small read; nothing with a file.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn refresh(&self) -> Result<(), Error> {
        let Place::Store(table) = &self.place else {
            return Ok(());
        };
        let erased = table.newly_erased().await?;
        let mut inner = self.lock();
        for subject in erased {
            self.take_over(&mut inner, subject, Kept::Erased);
        }
        Ok(())
    }

    /// Destroys the home's key, durably: what was sealed with it is gone, wherever copies of it lie. Blocks while
    /// a file is written again.
    ///
    /// # Errors
    /// When the keyring could not be written again without the key.
    pub async fn erase(&self, home: &Home) -> Result<(), Error> {
        let subject = Subject::Home(*home);
        match &self.place {
            Place::File(file) => {
                let mut inner = self.lock();
                self.take_over(&mut inner, subject, Kept::Erased);
                file.rewrite(&inner.kept)
            }
            Place::Store(table) => {
                table.erase(&subject).await?;
                self.take_over(&mut self.lock(), subject, Kept::Erased);
                Ok(())
            }
        }
    }

    /// Whether the home's key was destroyed, as far as this process has learned.
    #[must_use]
    pub fn is_erased(&self, home: &Home) -> bool {
        matches!(self.lock().kept.get(&Subject::Home(*home)), Some(Kept::Erased))
    }

    /// How many erasures this process has learned of since the keyring was opened: as long as it is the same,
    /// whatever [`Keyring::is_erased`] said holds, and nobody need ask again.
    #[must_use]
    pub fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::Acquire)
    }

    /// The home's key, unwrapped.
    fn held(&self, inner: &mut Inner, home: &Home) -> Result<Arc<DataKey>, OpenError> {
        if let Some(held) = inner.unwrapped.get(home) {
            return Ok(Arc::clone(held));
        }
        let wrapped = match inner.kept.get(&Subject::Home(*home)) {
            Some(Kept::Erased) => return Err(OpenError::Erased),
            Some(Kept::Wrapped(wrapped)) => wrapped,
            None => return Err(OpenError::Unknown),
        };
        let held = Arc::new(DataKey::unwrap(&self.master, wrapped).ok_or(OpenError::Damaged)?);
        if inner.unwrapped.len() >= UNWRAPPED_MAX {
            inner.unwrapped.clear();
        }
        inner.unwrapped.insert(*home, Arc::clone(&held));
        Ok(held)
    }

    /// Wraps and keeps; durable after the next sync.
    fn keep(&self, inner: &mut Inner, subject: Subject, bytes: &[u8]) -> Result<(), Error> {
        let kept = Kept::Wrapped(wrap(&self.master, bytes)?);
        if let Place::File(file) = &self.place {
            file.append(&subject, &kept)?;
        }
        inner.kept.insert(subject.clone(), kept);
        inner.unsynced.insert(subject);
        Ok(())
    }

    /// Holds what the place keeps of a subject, instead of what was held; an erased home stays erased.
    fn take_over(&self, inner: &mut Inner, subject: Subject, kept: Kept) {
        let is_erased = matches!(inner.kept.get(&subject), Some(Kept::Erased));
        if is_erased {
            return;
        }
        let was_unsynced = inner.unsynced.remove(&subject);
        if let Subject::Home(home) = &subject {
            inner.unwrapped.remove(home);
            if was_unsynced {
                inner.overruled.insert(*home);
            }
        }
        let is_erasure = matches!(kept, Kept::Erased);
        inner.kept.insert(subject, kept);
        if is_erasure {
            // Behind the change: whoever sees the new count finds the home erased.
            self.erasures.fetch_add(1, Ordering::Release);
        }
    }
}

impl Inner {
    /// What was made here and is not durable for sure, wrapped.
    fn made(&self) -> Vec<(Subject, Vec<u8>)> {
        let made = self.unsynced.iter().filter_map(|subject| match self.kept.get(subject)? {
            Kept::Wrapped(wrapped) => Some((subject.clone(), wrapped.clone())),
            Kept::Erased => None,
        });
        made.collect()
    }
}

/// The master key is the one that wrapped these.
fn proves(master: &LessSafeKey, kept: &HashMap<Subject, Kept>) -> Result<(), Error> {
    if let Some(Kept::Wrapped(wrapped)) = kept.values().find(|kept| matches!(kept, Kept::Wrapped(_))) {
        unwrapped(master, wrapped).ok_or(Error::OtherMaster)?;
    }
    Ok(())
}
