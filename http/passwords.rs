//! Passwords: hashed and checked by argon2id, in a bounded pool, since either takes a core for 30 ms.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use prognet_actors::{auth::credential::PasswordHash, values::Password};
use prognet_supervisor::{Node, Unavailable};
use tokio::sync::Semaphore;

/// The first choice of OWASP's Password Storage Cheat Sheet for argon2id: 19 MiB, 2 passes, 1 lane.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Callers that may wait for a core, per core: with 30 ms each that is a second.
const WAITING_PER_CORE: usize = 32;

/// See the module.
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    cores: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// Checked when there is no account, so that the answer takes as long.
    decoy: PasswordHash,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    /// # Errors
    /// When the parameters or the decoy do not hash, which is a bug.
    pub(crate) fn new(node: &Node) -> Result<Self, argon2::password_hash::Error> {
        let params = Params::new(COST.0, COST.1, COST.2, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let decoy = hash(&argon2, &node.clock().fresh_secret(), &node.clock().fresh_secret())?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            argon2,
            cores: Arc::new(Semaphore::new(cores)),
            places: Arc::new(Semaphore::new(cores * WAITING_PER_CORE)),
            decoy,
        })
    }

    /// The hash to keep. The salt is the caller's, so that a retried request makes the same hash.
    pub(crate) async fn hash(&self, password: Password, salt: u128) -> Result<PasswordHash, Unavailable> {
        let argon2 = self.argon2.clone();
        let hashed = self.work(move || hash(&argon2, password.as_bytes(), &salt.to_be_bytes())).await?;
        hashed.map_err(|error| {
            tracing::error!(error = %error, "failed to hash a password");
            Unavailable::NotWritten
        })
    }

    /// Whether it is the password behind a hash; without one it takes as long to say no.
    pub(crate) async fn is_right(
        &self,
        given: String,
        kept: Option<PasswordHash>,
    ) -> Result<bool, Unavailable> {
        let (argon2, is_known) = (self.argon2.clone(), kept.is_some());
        let kept = kept.unwrap_or_else(|| self.decoy.clone());
        let verified = move || argon2.verify_password(given.as_bytes(), kept.as_str()).is_ok();
        Ok(self.work(verified).await? && is_known)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let busy = |_full| Unavailable::Busy { limit: "password" };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_closed| Unavailable::Stopping)?;
        // The work goes on when its caller has gone away, and so does what it takes.
        let held = move || {
            let _held = (place, core);
            work()
        };
        tokio::task::spawn_blocking(held).await.map_err(|_panicked| Unavailable::NotWritten)
    }
}

fn hash(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
) -> Result<PasswordHash, argon2::password_hash::Error> {
    argon2.hash_password_with_salt(password, salt).map(|hash| PasswordHash::new(hash.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use prognet_supervisor::testing::World;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_keeps_its_place_until_it_is_done_even_if_nobody_waits_for_it_any_more() {
        let world = World::new(prognet_actors::services).await;
        let passwords = Passwords::new(&world.node).unwrap();
        let free = || [&passwords.places, &passwords.cores].map(|semaphore| semaphore.available_permits());
        let [places, cores] = free();
        let (begin, has_begun) = oneshot::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let mut request = Box::pin(passwords.work(move || {
            begin.send(()).unwrap();
            may_finish.recv().unwrap();
        }));
        tokio::select! {
            _ = &mut request => panic!("it is not done"),
            begun = has_begun => begun.unwrap(),
        }

        drop(request);

        assert_eq!(free(), [places - 1, cores - 1]);
        finish.send(()).unwrap();
        let all = u32::try_from(places).unwrap();
        drop(passwords.places.acquire_many(all).await.unwrap());
    }
}
