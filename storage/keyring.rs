//! The keyring: a data key per home, wrapped by the node's master key. Destroying one erases the home.
//!
//! ```text
//! master.key   32 random bytes, mode 0600, made at first start (or given by the environment)
//! keys.log     length u32 │ crc32c u32 │ kind u8 │ subject │ wrapped bytes      appended, never edited
//! ```
//! It is kept apart from the journal, and out of its backups: what is sealed there is readable only with
//! the newest copy of this, so that an old backup does not bring an erased home back.

mod export;
mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use zeroize::Zeroizing;

pub use self::export::Export;
use self::record::{Kept, Subject};
use crate::{AddressMap, Home, embedded::make_private};

const MASTER: &str = "master.key";
const LOG: &str = "keys.log";
/// The version byte of sealed bytes.
const SEALED: u8 = 1;
/// Unwrapped keys held at once; unwrapping costs a microsecond.
const UNWRAPPED_MAX: usize = 16 * 1024;

/// Why the keyring did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file layer failed.
    #[error("failed to keep the keyring")]
    Disk(#[from] io::Error),
    /// The master key does not open the keyring, or the file is damaged.
    #[error("the keyring is damaged, or the master key is another: {0}")]
    Damaged(&'static str),
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

/// Why sealed bytes do not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The home was erased.
    #[error("the home was erased")]
    Erased,
    /// This keyring never had a key for the home.
    #[error("no key for the home: is this the data's keyring?")]
    Unknown,
    /// The bytes are not what was sealed there.
    #[error("the sealed bytes are damaged")]
    Damaged,
}

/// The key that wraps all others.
pub struct MasterKey(Zeroizing<[u8; 32]>);

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
        let mut bytes = Zeroizing::new([0; 32]);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                rand::fill(&mut *bytes).map_err(|_why| Error::Crypto)?;
                file.write_all(&*bytes)?;
                file.sync_all()?;
                crate::embedded::sync_directory(directory)?;
                Ok(Self(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(&path),
            Err(error) => Err(error.into()),
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        File::open(path)?.read_exact(&mut *bytes)?;
        Ok(Self(bytes))
    }
}

/// See the module.
pub struct Keyring {
    master: LessSafeKey,
    path: PathBuf,
    inner: Mutex<Inner>,
    synced: Mutex<Synced>,
    /// Homes that were erased since the keyring was opened.
    erasures: AtomicU64,
    pepper: Zeroizing<Vec<u8>>,
}

struct Inner {
    file: Arc<File>,
    /// The end of the last whole record.
    length: u64,
    /// Records appended since the keyring was opened.
    appended: u64,
    kept: HashMap<Subject, Kept>,
    /// Homes whose key is not on the device for sure, and which of the appended records it is.
    unsynced: HashMap<Home, u64>,
    unwrapped: AddressMap<Home, Arc<LessSafeKey>>,
}

/// How many of the appended records are on the device for sure.
#[derive(Default)]
struct Synced {
    records: u64,
    has_failed: bool,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keyring").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Opens the keyring of a directory, made if there is none.
    ///
    /// # Errors
    /// When the file is damaged before its end, or the master key is not the one that wrapped it.
    pub fn open(directory: &Path, master: &MasterKey) -> Result<Self, Error> {
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
        crate::embedded::sync_directory(directory)?;
        let master = key(&*master.0)?;
        proves(&master, &kept)?;
        let inner = Mutex::new(Inner {
            file: Arc::new(file),
            length: whole as u64,
            appended: 0,
            kept,
            unsynced: HashMap::new(),
            unwrapped: AddressMap::default(),
        });
        let (synced, erasures, pepper) = (Mutex::default(), AtomicU64::new(0), Zeroizing::default());
        let mut keyring = Self { master, path, inner, synced, erasures, pepper };
        keyring.pepper = keyring.secret("pepper", random)?;
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
    pub fn seal(&self, home: &Home, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let (sealed, is_durable) = self.seal_now(home, place, plain)?;
        if !is_durable {
            self.sync()?;
        }
        Ok(sealed)
    }

    /// The same, but a new key is durable only after the next [`Keyring::sync`]: the journal calls it before it
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
        if !inner.unwrapped.contains_key(home) {
            let held = match inner.kept.get(&Subject::Home(*home)) {
                Some(Kept::Erased) => return Err(Error::Erased),
                Some(Kept::Wrapped(wrapped)) => {
                    let bytes =
                        unseal(&self.master, &[], wrapped).ok_or(Error::Damaged("a key does not unwrap"))?;
                    key(&bytes)?
                }
                None => {
                    let bytes = Zeroizing::new(random());
                    self.keep(&mut inner, Subject::Home(*home), &bytes)?;
                    let number = inner.appended;
                    inner.unsynced.insert(*home, number);
                    key(&bytes)?
                }
            };
            inner.remember(*home, held);
        }
        let held = inner.unwrapped.get(home).cloned().ok_or(Error::Crypto)?;
        let is_durable = !inner.unsynced.contains_key(home);
        drop(inner);
        Ok((seal(&held, place, plain)?, is_durable))
    }

    /// Every key made so far is on the device when this returns; costs nothing when there is no new one.
    ///
    /// # Errors
    /// When the device failed, now or ever: a sync is never tried again, since the kernel may have dropped the
    /// pages.
    pub fn sync(&self) -> Result<(), Error> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.has_failed {
            return Err(Error::Poisoned);
        }
        // The keys are not locked meanwhile: others go on sealing, and making keys for the next sync.
        let (file, appended) = {
            let inner = self.lock();
            (Arc::clone(&inner.file), inner.appended)
        };
        if synced.records < appended {
            if let Err(error) = file.sync_data() {
                synced.has_failed = true;
                return Err(error.into());
            }
            synced.records = appended;
            self.lock().unsynced.retain(|_, number| *number > appended);
        }
        Ok(())
    }

    /// Opens what [`Keyring::seal`] sealed there.
    ///
    /// # Errors
    /// When the home was erased, is unknown, or the bytes are not what was sealed.
    pub fn open_sealed(&self, home: &Home, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut inner = self.lock();
        if !inner.unwrapped.contains_key(home) {
            let held = match inner.kept.get(&Subject::Home(*home)) {
                Some(Kept::Erased) => return Err(OpenError::Erased),
                Some(Kept::Wrapped(wrapped)) => {
                    let bytes = unseal(&self.master, &[], wrapped).ok_or(OpenError::Damaged)?;
                    key(&bytes).map_err(|_why| OpenError::Damaged)?
                }
                None => return Err(OpenError::Unknown),
            };
            inner.remember(*home, held);
        }
        let held = inner.unwrapped.get(home).cloned().ok_or(OpenError::Unknown)?;
        drop(inner);
        opened(&held, place, sealed).ok_or(OpenError::Damaged)
    }

    /// Destroys the home's key, durably: what was sealed with it is gone, wherever copies of it lie.
    ///
    /// # Errors
    /// When the keyring could not be written again without the key.
    pub fn erase(&self, home: &Home) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.unwrapped.remove(home);
        inner.kept.insert(Subject::Home(*home), Kept::Erased);
        // Behind the change: whoever sees the new count finds the home erased.
        self.erasures.fetch_add(1, Ordering::Release);
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        let mut length = 0;
        for (subject, kept) in &inner.kept {
            let bytes = record::write(subject, kept);
            file.write_all(&bytes)?;
            length += bytes.len() as u64;
        }
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        crate::embedded::sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        inner.file = Arc::new(OpenOptions::new().append(true).open(&self.path)?);
        inner.length = length;
        Ok(())
    }

    /// Whether the home's key was destroyed.
    #[must_use]
    pub fn is_erased(&self, home: &Home) -> bool {
        matches!(self.lock().kept.get(&Subject::Home(*home)), Some(Kept::Erased))
    }

    /// How many homes were erased since the keyring was opened: as long as it is the same, whatever
    /// [`Keyring::is_erased`] said holds, and nobody need ask again.
    #[must_use]
    pub fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::Acquire)
    }

    /// A named secret, if it was made.
    ///
    /// # Errors
    /// When it does not unwrap.
    pub fn known_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        match self.lock().kept.get(&Subject::Secret(name.to_owned())) {
            Some(Kept::Wrapped(wrapped)) => {
                unseal(&self.master, &[], wrapped).map(Some).ok_or(Error::Damaged("a secret does not unwrap"))
            }
            Some(Kept::Erased) | None => Ok(None),
        }
    }

    /// A named secret, made once and kept, wrapped, for ever.
    ///
    /// # Errors
    /// When it could not be kept.
    pub fn secret(&self, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut inner = self.lock();
        let subject = Subject::Secret(name.to_owned());
        if let Some(Kept::Wrapped(wrapped)) = inner.kept.get(&subject) {
            return unseal(&self.master, &[], wrapped).ok_or(Error::Damaged("a secret does not unwrap"));
        }
        let secret = Zeroizing::new(make());
        self.keep(&mut inner, subject, &secret)?;
        drop(inner);
        self.sync()?;
        Ok(secret)
    }

    /// A keyed hash (HMAC-SHA-256 with this keyring's pepper, cut to 128 bits): tells nobody what was hashed.
    #[must_use]
    pub fn hash(&self, purpose: &str, bytes: &[u8]) -> u128 {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.pepper));
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(bytes);
        context.sign().as_ref().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
    }

    /// Wraps and appends; durable after the next sync.
    fn keep(&self, inner: &mut Inner, subject: Subject, bytes: &[u8]) -> Result<(), Error> {
        let kept = Kept::Wrapped(seal(&self.master, &[], bytes)?);
        let bytes = record::write(&subject, &kept);
        if let Err(error) = (&*inner.file).write_all(&bytes) {
            // Half a record (of a full disk) must not lie before the next one.
            inner.file.set_len(inner.length)?;
            return Err(error.into());
        }
        inner.length += bytes.len() as u64;
        inner.appended += 1;
        inner.kept.insert(subject, kept);
        Ok(())
    }
}

impl Inner {
    fn remember(&mut self, home: Home, held: LessSafeKey) {
        if self.unwrapped.len() >= UNWRAPPED_MAX {
            self.unwrapped.clear();
        }
        self.unwrapped.insert(home, Arc::new(held));
    }
}

fn random() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    // Without randomness no key may be made: an empty one is refused by the cipher.
    if rand::fill(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

/// The master key is the one that wrapped these.
fn proves(master: &LessSafeKey, kept: &HashMap<Subject, Kept>) -> Result<(), Error> {
    if let Some(Kept::Wrapped(wrapped)) = kept.values().find(|kept| matches!(kept, Kept::Wrapped(_))) {
        unseal(master, &[], wrapped).ok_or(Error::Damaged("a key does not unwrap"))?;
    }
    Ok(())
}

fn key(bytes: &[u8]) -> Result<LessSafeKey, Error> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes).map_err(|_why| Error::Crypto)?))
}

fn seal(key: &LessSafeKey, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_why| Error::Crypto)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + 16);
    sealed.push(SEALED);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let body = sealed.get_mut(1 + NONCE_LEN..).unwrap_or_default();
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), body)
        .map_err(|_why| Error::Crypto)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

fn unseal(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    opened(key, place, sealed).map(Zeroizing::new)
}

fn opened(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut body = body.to_vec();
    let plain =
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut body).ok()?.len();
    body.truncate(plain);
    (*version == SEALED).then_some(body)
}
