//! Named secrets, made once and kept for ever, and hashes keyed by one of them.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{
    Error, Keyring,
    record::{Kept, Subject},
    seal::{random, unwrapped},
};

/// What hashes are keyed with.
const PEPPER: &str = "pepper";

impl Keyring {
    /// A named secret, made once and kept, wrapped, for ever. If two processes make it at once, both get the same.
    ///
    /// # Errors
    /// When it could not be kept.
    pub async fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let subject = Subject::Secret(name.to_owned());
        self.begin(&subject, || Ok(make()))?;
        self.settled(&subject).await?.ok_or(Error::Damaged("a secret is gone"))
    }

    /// A named secret, if it was made.
    ///
    /// # Errors
    /// When it does not unwrap, or the store does not answer.
    pub async fn known_secret(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let subject = Subject::Secret(name.to_owned());
        self.look_for(std::iter::once(subject.clone())).await?;
        self.settled(&subject).await
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

    /// Makes the pepper, if there is none; durable after the next sync.
    pub(super) fn begin_pepper(&self) -> Result<(), Error> {
        self.begin(&Subject::Secret(PEPPER.to_owned()), || random::<32>().map(Vec::from))
    }

    /// Hashes with the pepper from now on.
    pub(super) fn take_pepper(&mut self) -> Result<(), Error> {
        let pepper = self.held_secret(&Subject::Secret(PEPPER.to_owned()))?;
        self.pepper = pepper.ok_or(Error::Damaged("its pepper is gone"))?;
        Ok(())
    }

    /// Makes a secret, unless it is known; durable after the next sync.
    fn begin(&self, subject: &Subject, make: impl FnOnce() -> Result<Vec<u8>, Error>) -> Result<(), Error> {
        let mut inner = self.lock();
        if inner.kept.contains_key(subject) {
            return Ok(());
        }
        let secret = Zeroizing::new(make()?);
        self.keep(&mut inner, subject.clone(), &secret)
    }

    /// A secret, once it is sure which one it is.
    async fn settled(&self, subject: &Subject) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let is_unsynced = self.lock().unsynced.contains(subject);
        if is_unsynced {
            self.sync().await?;
        }
        self.held_secret(subject)
    }

    fn held_secret(&self, subject: &Subject) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        match self.lock().kept.get(subject) {
            Some(Kept::Wrapped(wrapped)) => {
                unwrapped(&self.master, wrapped).map(Some).ok_or(Error::OtherMaster)
            }
            Some(Kept::Erased) | None => Ok(None),
        }
    }
}
