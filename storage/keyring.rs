//! The keyring: a data key per home, wrapped by the node's master key. Destroying one erases the home.
//!
//! ```text
//! master.key   32 random bytes, mode 0600, made at first start (or given by the environment)
//! keys.log     length u32 │ crc32c u32 │ kind u8 │ subject │ wrapped bytes      appended, synced, never edited
//! ```
//! It is kept apart from the journal, and out of its backups: what is sealed there is readable only with
//! the newest copy of this, so that an old backup does not bring an erased home back.

use std::{
    collections::HashMap,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use zeroize::Zeroizing;

use crate::Home;

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
        std::fs::create_dir_all(directory)?;
        let path = directory.join("master.key");
        let mut bytes = Zeroizing::new([0; 32]);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                rand::fill(&mut *bytes).map_err(|_why| Error::Crypto)?;
                file.write_all(&*bytes)?;
                file.sync_all()?;
                crate::embedded::sync_directory(directory)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                File::open(&path)?.read_exact(&mut *bytes)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self(bytes))
    }
}

/// What a record of the file is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Home(Home),
    Secret(String),
}

enum Kept {
    Wrapped(Vec<u8>),
    Erased,
}

/// See the module.
pub struct Keyring {
    master: LessSafeKey,
    path: PathBuf,
    inner: Mutex<Inner>,
    pepper: Zeroizing<Vec<u8>>,
}

struct Inner {
    file: File,
    kept: HashMap<Subject, Kept>,
    unwrapped: HashMap<Home, LessSafeKey>,
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
        std::fs::create_dir_all(directory)?;
        let path = directory.join("keys.log");
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (kept, whole) = read_log(&bytes)?;
        if whole < bytes.len() {
            // The last record was half written when the power went; nothing sealed with it was acknowledged.
            file.set_len(whole as u64)?;
        }
        file.sync_all()?;
        crate::embedded::sync_directory(directory)?;
        let master = key(&*master.0)?;
        if let Some(Kept::Wrapped(wrapped)) = kept.values().find(|kept| matches!(kept, Kept::Wrapped(_))) {
            unseal(&master, &[], wrapped).ok_or(Error::Damaged("a key does not unwrap"))?;
        }
        let inner = Mutex::new(Inner { file, kept, unwrapped: HashMap::new() });
        let mut keyring = Self { master, path, inner, pepper: Zeroizing::default() };
        keyring.pepper = keyring.secret("pepper", random)?;
        Ok(keyring)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals bytes with the home's key (AES-256-GCM-SIV, RFC 8452), bound to `place`. A home's first bytes make
    /// its key, durably, before this returns.
    ///
    /// # Errors
    /// When the home was erased or its new key could not be kept.
    pub fn seal(&self, home: &Home, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut inner = self.lock();
        if !inner.unwrapped.contains_key(home) {
            let fresh = match inner.kept.get(&Subject::Home(*home)) {
                Some(Kept::Erased) => return Err(Error::Erased),
                Some(Kept::Wrapped(wrapped)) => {
                    let bytes =
                        unseal(&self.master, &[], wrapped).ok_or(Error::Damaged("a key does not unwrap"))?;
                    key(&bytes)?
                }
                None => {
                    let bytes = Zeroizing::new(random());
                    self.keep(&mut inner, Subject::Home(*home), &bytes)?;
                    key(&bytes)?
                }
            };
            inner.remember(*home, fresh);
        }
        let held = inner.unwrapped.get(home).ok_or(Error::Crypto)?;
        seal(held, place, plain)
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
        let held = inner.unwrapped.get(home).ok_or(OpenError::Unknown)?;
        unseal(held, place, sealed).map(|plain| plain.to_vec()).ok_or(OpenError::Damaged)
    }

    /// Destroys the home's key, durably: what was sealed with it is gone, wherever copies of it lie.
    ///
    /// # Errors
    /// When the keyring could not be written again without the key.
    pub fn erase(&self, home: &Home) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.unwrapped.remove(home);
        inner.kept.insert(Subject::Home(*home), Kept::Erased);
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        for (subject, kept) in &inner.kept {
            file.write_all(&record(subject, kept))?;
        }
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        crate::embedded::sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        inner.file = OpenOptions::new().append(true).open(&self.path)?;
        Ok(())
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

    /// Wraps and appends, durably.
    fn keep(&self, inner: &mut Inner, subject: Subject, bytes: &[u8]) -> Result<(), Error> {
        let kept = Kept::Wrapped(seal(&self.master, &[], bytes)?);
        inner.file.write_all(&record(&subject, &kept))?;
        inner.file.sync_data()?;
        inner.kept.insert(subject, kept);
        Ok(())
    }
}

impl Inner {
    fn remember(&mut self, home: Home, held: LessSafeKey) {
        if self.unwrapped.len() >= UNWRAPPED_MAX {
            self.unwrapped.clear();
        }
        self.unwrapped.insert(home, held);
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

fn key(bytes: &[u8]) -> Result<LessSafeKey, Error> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes).map_err(|_why| Error::Crypto)?))
}

fn seal(key: &LessSafeKey, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_why| Error::Crypto)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + 16);
    sealed.push(SEALED);
    sealed.extend_from_slice(&nonce);
    let mut body = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
        .map_err(|_why| Error::Crypto)?;
    sealed.append(&mut body);
    Ok(sealed)
}

fn unseal(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain =
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut body).ok()?.len();
    body.truncate(plain);
    (*version == SEALED).then_some(body)
}

fn record(subject: &Subject, kept: &Kept) -> Vec<u8> {
    let mut body = Vec::new();
    match (subject, kept) {
        (Subject::Home(home), Kept::Wrapped(wrapped)) => {
            body.push(1);
            body.extend_from_slice(&home.canonical());
            body.extend_from_slice(wrapped);
        }
        (Subject::Home(home), Kept::Erased) => {
            body.push(2);
            body.extend_from_slice(&home.canonical());
        }
        (Subject::Secret(name), Kept::Wrapped(wrapped)) => {
            body.push(3);
            body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            body.extend(name.bytes().take(255));
            body.extend_from_slice(wrapped);
        }
        (Subject::Secret(_), Kept::Erased) => return Vec::new(),
    }
    let mut bytes = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.append(&mut body);
    bytes
}

/// The records, and how many bytes of whole ones there are.
fn read_log(bytes: &[u8]) -> Result<(HashMap<Subject, Kept>, usize), Error> {
    let (mut kept, mut at) = (HashMap::new(), 0);
    while let Some((length, crc, rest)) = bytes.get(at..).and_then(split_header) {
        let Some(body) = rest.get(..length) else { break };
        if crc32c::crc32c(body) != crc {
            // Half of the last record is a torn tail; anything before it is damage.
            return if rest.len() == length {
                Ok((kept, at))
            } else {
                Err(Error::Damaged("a record's crc is wrong"))
            };
        }
        let (subject, value) = parse_record(body).ok_or(Error::Damaged("a record is unknown"))?;
        kept.insert(subject, value);
        at += 8 + length;
    }
    Ok((kept, at))
}

fn split_header(bytes: &[u8]) -> Option<(usize, u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, u32::from_le_bytes(*crc), rest))
}

fn parse_record(body: &[u8]) -> Option<(Subject, Kept)> {
    let (kind, rest) = body.split_first()?;
    if *kind == 3 {
        let (length, rest) = rest.split_first()?;
        let (name, wrapped) = rest.split_at_checked(usize::from(*length))?;
        return Some((
            Subject::Secret(std::str::from_utf8(name).ok()?.to_owned()),
            Kept::Wrapped(wrapped.to_vec()),
        ));
    }
    let (home, wrapped) = rest.split_first_chunk::<{ Home::BYTES }>()?;
    let home = Subject::Home(Home::from_canonical(home)?);
    match kind {
        1 => Some((home, Kept::Wrapped(wrapped.to_vec()))),
        2 => Some((home, Kept::Erased)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HomeKind;

    const HOME: Home = Home { kind: HomeKind::Tenant, id: 5 };

    fn open(directory: &Path) -> Keyring {
        Keyring::open(directory, &MasterKey::in_directory(directory).unwrap()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_after_a_restart_and_only_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let sealed = open(directory.path()).seal(&HOME, b"seq 1", b"a secret").unwrap();

        let keyring = open(directory.path());

        assert_eq!(keyring.open_sealed(&HOME, b"seq 1", &sealed).unwrap(), b"a secret");
        assert_eq!(keyring.open_sealed(&HOME, b"seq 2", &sealed), Err(OpenError::Damaged));
        let other = Home { id: 6, ..HOME };
        assert_eq!(keyring.open_sealed(&other, b"seq 1", &sealed), Err(OpenError::Unknown));
    }

    #[test]
    fn an_erased_home_opens_nowhere_and_is_never_written_about_again() {
        let directory = tempfile::tempdir().unwrap();
        let keyring = open(directory.path());
        let sealed = keyring.seal(&HOME, b"", b"a secret").unwrap();

        keyring.erase(&HOME).unwrap();

        for keyring in [keyring, open(directory.path())] {
            assert_eq!(keyring.open_sealed(&HOME, b"", &sealed), Err(OpenError::Erased));
            assert!(matches!(keyring.seal(&HOME, b"", b"more"), Err(Error::Erased)));
        }
    }

    #[test]
    fn a_keyring_cut_anywhere_in_its_last_record_loses_only_that() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path()).seal(&HOME, b"", b"kept").unwrap();
        let path = directory.path().join("keys.log");
        let before = std::fs::read(&path).unwrap().len();
        open(directory.path()).seal(&Home { id: 6, ..HOME }, b"", b"new").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in before..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open(directory.path()).open_sealed(&HOME, b"", &first).unwrap(), b"kept");
        }
    }

    #[test]
    fn another_master_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()));
        assert!(matches!(Keyring::open(directory.path(), &MasterKey::new([7; 32])), Err(Error::Damaged(_))));
    }
}
