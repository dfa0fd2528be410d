//! Sealing: AES-256-GCM-SIV (RFC 8452), bound to a place.
//!
//! ```text
//! version u8 = 1 │ nonce: mark 4, random 8 │ ciphertext │ tag 16
//! ```
//! The mark tells by which of two keys of a home bytes were sealed, when two processes made one at once. That
//! it leaves 64 random bits costs little: where a nonce repeats, this cipher shows no more than whether the same
//! bytes were sealed in the same place (RFC 8452 s. 1).

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

use super::Error;

const VERSION: u8 = 1;
const MARK: usize = 4;

/// What begins the nonces of a key: the end of its wrapped bytes, which says nothing about the key.
pub(super) type Mark = [u8; MARK];

/// The mark of a wrapped key.
pub(super) fn mark_of(wrapped: &[u8]) -> Option<Mark> {
    wrapped.last_chunk().copied()
}

/// The mark of the key that sealed these bytes.
pub(super) fn mark_in(sealed: &[u8]) -> Option<Mark> {
    sealed.get(1..)?.first_chunk().copied()
}

/// The key of a home, unwrapped.
pub(super) struct DataKey {
    key: LessSafeKey,
    mark: Mark,
}

impl DataKey {
    /// `None` if the master key did not wrap it.
    pub(super) fn unwrap(master: &LessSafeKey, wrapped: &[u8]) -> Option<Self> {
        let bytes = unwrapped(master, wrapped)?;
        Some(Self { key: key(&bytes).ok()?, mark: mark_of(wrapped)? })
    }

    pub(super) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = random::<NONCE_LEN>()?;
        nonce[..MARK].copy_from_slice(&self.mark);
        seal(&self.key, nonce, place, plain)
    }

    /// `None` if the bytes are not what was sealed there.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        open(&self.key, place, sealed)
    }
}

/// A key from 32 bytes.
pub(super) fn key(bytes: &[u8]) -> Result<LessSafeKey, Error> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes).map_err(|_why| Error::Crypto)?))
}

pub(super) fn wrap(master: &LessSafeKey, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    seal(master, random()?, &[], bytes)
}

/// `None` if the master key did not wrap it.
pub(super) fn unwrapped(master: &LessSafeKey, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open(master, &[], wrapped).map(Zeroizing::new)
}

pub(super) fn random<const BYTES: usize>() -> Result<[u8; BYTES], Error> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_why| Error::Crypto)?;
    Ok(bytes)
}

fn seal(key: &LessSafeKey, nonce: [u8; NONCE_LEN], place: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + 16);
    sealed.push(VERSION);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let body = sealed.get_mut(1 + NONCE_LEN..).unwrap_or_default();
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), body)
        .map_err(|_why| Error::Crypto)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

fn open(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (version, rest) = sealed.split_first()?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
    let mut body = body.to_vec();
    let plain =
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut body).ok()?.len();
    body.truncate(plain);
    (*version == VERSION).then_some(body)
}
