//! Argon2id in memory that is kept for the next hash.
//!
//! The allocator gives every thread that hashes memory of its own, page by page anew, and keeps some of it: a tenth
//! more time for each hash, and 400 MB after some dozens of sign-ins on two cores (measured).

use std::sync::{Mutex, MutexGuard, PoisonError};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        CustomizedPasswordHasher, Error, Result,
        phc::{Output, ParamsString, PasswordHash as Phc, Salt},
    },
};

use super::HashCost;

/// See the module. It verifies by the library's rule for whatever hashes: the same once more, compared in constant time.
pub(super) struct Hasher {
    params: Params,
    /// Memory in which nothing is hashed now: of as many hashes as there were at once.
    free: Mutex<Vec<Vec<Block>>>,
}

impl Hasher {
    /// # Errors
    /// When the library does not take the cost.
    pub(super) fn new(cost: HashCost) -> Result<Self> {
        let HashCost { memory_kib, passes } = cost;
        Ok(Self { params: Params::new(memory_kib, passes, 1, None)?, free: Mutex::default() })
    }

    /// What a hash made today takes.
    pub(super) const fn params(&self) -> &Params {
        &self.params
    }

    /// A hash as they are made today.
    ///
    /// # Errors
    /// When the library does not take the salt.
    pub(super) fn hash(&self, password: &[u8], salt: &[u8]) -> Result<Phc> {
        self.hash_password_with_params(password, salt, self.params.clone())
    }

    /// What no password hashes to, as far as anybody knows: checking one against it takes what checking any takes.
    ///
    /// # Errors
    /// When the library does not take the salt or the output.
    pub(super) fn decoy(&self, salt: &[u8], output: &[u8]) -> Result<Phc> {
        phc(Algorithm::Argon2id, Version::V0x13, &self.params, salt, output)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs argon2, which writes each block before it reads it: what an earlier hash left there has no effect.
    fn fill(&self, argon2: &Argon2<'_>, password: &[u8], salt: &[u8], out: &mut [u8]) -> Result<()> {
        let (wanted, usual) = (argon2.params().block_count(), self.params.block_count());
        let mut memory = self.lock().pop().unwrap_or_default();
        if memory.len() < wanted.max(usual) {
            memory.resize(wanted.max(usual), Block::new());
        }
        let blocks = memory.get_mut(..wanted).unwrap_or_default();
        argon2.hash_password_into_with_memory(password, salt, out, blocks)?;
        // What a dearer hash of other days took is given back.
        if memory.len() == usual {
            self.lock().push(memory);
        }
        Ok(())
    }
}

impl CustomizedPasswordHasher<Phc> for Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> Result<Phc> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?.unwrap_or(Algorithm::Argon2id);
        let version = version.map(Version::try_from).transpose()?.unwrap_or(Version::V0x13);
        let argon2 = Argon2::new(algorithm, version, params);
        let mut out = [0; Output::MAX_LENGTH];
        let length = argon2.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let out = out.get_mut(..length).ok_or(Error::OutputSize)?;
        self.fill(&argon2, password, salt, out)?;
        phc(algorithm, version, argon2.params(), salt, out)
    }
}

fn phc(algorithm: Algorithm, version: Version, params: &Params, salt: &[u8], output: &[u8]) -> Result<Phc> {
    Ok(Phc {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: ParamsString::try_from(params)?,
        salt: Some(Salt::new(salt)?),
        hash: Some(Output::new(output)?),
    })
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    const SALT: &[u8] = b"sixteen bytes of";

    #[test]
    fn what_an_earlier_hash_left_in_memory_changes_no_other_of_whatever_cost() {
        let hasher = Hasher::new(HashCost { memory_kib: 64, passes: 2 }).unwrap();
        let usual = hasher.params().clone();
        for (memory_kib, passes) in [(64, 2), (16, 3), (256, 1), (64, 1), (64, 2)] {
            let params = Params::new(memory_kib, passes, 1, None).unwrap();
            let theirs = Argon2::from(params.clone()).hash_password_with_salt(b"one", SALT).unwrap();

            let ours = hasher.hash_password_with_params(b"one", SALT, params).unwrap();

            assert_eq!(ours.to_string(), theirs.to_string());
            assert!(hasher.verify_password(b"one", &theirs).is_ok());
            assert!(hasher.verify_password(b"two", &theirs).is_err());
            assert!(hasher.lock().iter().all(|memory| memory.len() == usual.block_count()));
        }
        assert_eq!(hasher.hash(b"one", SALT).unwrap().to_string(), {
            let theirs: Phc = Argon2::from(usual).hash_password_with_salt(b"one", SALT).unwrap();
            theirs.to_string()
        });
        assert_eq!(hasher.lock().len(), 1, "one at a time needs the memory of one");
    }
}
