//! Passwords: hashed and checked by argon2id, in a bounded pool, since either takes a core for 30 ms.

mod hasher;
mod pool;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use argon2::{Params, PasswordHash as Phc, PasswordVerifier};
use prognet_actors::{
    auth::credential::PasswordHash,
    values::password::{Rules, Unfit},
};
use prognet_supervisor::{Node, Unavailable};

use self::{hasher::Hasher, pool::Pool};
use crate::{breached::Breached, problem::Problem};

/// What hashing one password takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl HashCost {
    /// The first choice of OWASP's Password Storage Cheat Sheet for argon2id, on one lane; less is not taken.
    pub const FLOOR: Self = Self { memory_kib: 19 * 1024, passes: 2 };
}

impl Default for HashCost {
    fn default() -> Self {
        Self::FLOOR
    }
}

/// See the module.
pub(crate) struct Passwords {
    hasher: Arc<Hasher>,
    rules: Rules,
    /// Passwords that were in a leak, if the operator has a list.
    breached: Option<Breached>,
    pool: Pool,
    /// Hashes computed since the start, whatever for: what an answer tells nobody, its work must not either.
    hashes: Arc<AtomicU64>,
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
    pub(crate) fn new(
        node: &Node,
        cost: HashCost,
        rules: Rules,
        breached: Option<Breached>,
    ) -> Result<Self, argon2::password_hash::Error> {
        let HashCost { memory_kib, passes } = cost;
        let hasher = Hasher::new(HashCost {
            memory_kib: memory_kib.max(HashCost::FLOOR.memory_kib),
            passes: passes.max(HashCost::FLOOR.passes),
        })?;
        let salt = node.clock().fresh_id().to_be_bytes();
        // As long as what it stands for.
        let output = [node.clock().fresh_secret(), node.clock().fresh_secret()].concat();
        let decoy = PasswordHash::new(hasher.decoy(&salt, &output)?.to_string());
        Ok(Self {
            hasher: Arc::new(hasher),
            rules,
            breached,
            pool: Pool::start().map_err(|_why| argon2::password_hash::Error::Internal)?,
            hashes: Arc::default(),
            decoy,
        })
    }

    /// Hashes computed since the start.
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    /// The hash of a new password, if it may be that of somebody whom `about` says something.
    ///
    /// `field` is where it was given. The salt is the caller's, so that a retried request makes the same hash.
    pub(crate) async fn new_hash(
        &self,
        field: &'static str,
        password: String,
        about: Vec<String>,
        salt: u128,
    ) -> Result<PasswordHash, Problem> {
        let (hasher, rules, breached, hashes) =
            (Arc::clone(&self.hasher), self.rules, self.breached.clone(), Arc::clone(&self.hashes));
        let work = move || {
            let about: Vec<_> = about.iter().map(String::as_str).collect();
            let password = rules.check(&password, &about)?;
            match breached.map_or(Ok(false), |list| list.holds(password.as_bytes())) {
                Ok(false) => {}
                Ok(true) => return Err(Unfit::Breached),
                Err(error) => return Ok(Err(unreadable(&error))),
            }
            hashes.fetch_add(1, Ordering::Relaxed);
            let hashed = hash(&hasher, password.as_bytes(), &salt.to_be_bytes());
            Ok(hashed.map_err(|error| broken(&error)))
        };
        let hashed = self.pool.run(work).await?.map_err(|unfit| Problem::new_password(field, unfit))?;
        Ok(hashed?)
    }

    /// The hash of a password that is judged by nothing but whether it is the same as another.
    pub(crate) async fn hash_of(&self, password: String, salt: u128) -> Result<PasswordHash, Unavailable> {
        let (hasher, hashes) = (Arc::clone(&self.hasher), Arc::clone(&self.hashes));
        let work = move || {
            hashes.fetch_add(1, Ordering::Relaxed);
            hash(&hasher, password.as_bytes(), &salt.to_be_bytes())
        };
        self.pool.run(work).await?.map_err(|error| broken(&error))
    }

    /// Whether a hash was made in another way than one made today.
    pub(crate) fn is_outdated(&self, kept: &PasswordHash) -> bool {
        let Ok(kept) = Phc::new(kept.as_str()) else { return true };
        let params = Params::try_from(&kept).ok();
        let ours = self.hasher.params();
        let is_same = params.is_some_and(|params| {
            (params.m_cost(), params.t_cost(), params.p_cost())
                == (ours.m_cost(), ours.t_cost(), ours.p_cost())
        });
        kept.algorithm.as_str() != "argon2id" || !is_same
    }

    /// Whether it is the password behind a hash; without one it takes as long to say no.
    pub(crate) async fn is_right(
        &self,
        given: String,
        kept: Option<PasswordHash>,
    ) -> Result<bool, Unavailable> {
        let (hasher, is_known) = (Arc::clone(&self.hasher), kept.is_some());
        let (kept, hashes) = (kept.unwrap_or_else(|| self.decoy.clone()), Arc::clone(&self.hashes));
        let verified = move || {
            hashes.fetch_add(1, Ordering::Relaxed);
            let kept = Phc::new(kept.as_str());
            kept.is_ok_and(|kept| hasher.verify_password(given.as_bytes(), &kept).is_ok())
        };
        Ok(self.pool.run(verified).await? && is_known)
    }
}

fn broken(error: &argon2::password_hash::Error) -> Unavailable {
    tracing::error!(%error, "failed to hash a password");
    Unavailable::NotWritten
}

/// Whether it was in a leak, nobody can say: it is not taken then.
fn unreadable(error: &std::io::Error) -> Unavailable {
    tracing::error!(error = error as &dyn std::error::Error, "failed to read the list of breached passwords");
    Unavailable::NotWritten
}

fn hash(hasher: &Hasher, password: &[u8], salt: &[u8]) -> Result<PasswordHash, argon2::password_hash::Error> {
    hasher.hash(password, salt).map(|hash| PasswordHash::new(hash.to_string()))
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;

    /// Security bar 5: argon2id, 19 MiB, 2 passes, or more.
    #[tokio::test]
    async fn a_hash_names_its_cost_and_one_of_another_cost_is_outdated() {
        let world = World::new(prognet_actors::services).await;
        let today = Passwords::new(&world.node, HashCost::default(), Rules::default(), None).unwrap();
        let dearer = HashCost { passes: 3, ..HashCost::FLOOR };
        let dearer = Passwords::new(&world.node, dearer, Rules::default(), None).unwrap();
        let cheap =
            Passwords::new(&world.node, HashCost { memory_kib: 8, passes: 1 }, Rules::default(), None)
                .unwrap();

        let hash = today.hash_of("correct horse battery".to_owned(), 7).await.unwrap();

        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        assert!(!today.is_outdated(&hash) && dearer.is_outdated(&hash));
        assert!(!cheap.is_outdated(&hash), "never below the floor");
        assert!(today.is_outdated(&PasswordHash::new("$2b$12$bcrypt".to_owned())));
        assert!(today.is_right("correct horse battery".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(dearer.is_right("correct horse battery".to_owned(), Some(hash)).await.unwrap());
    }
}
