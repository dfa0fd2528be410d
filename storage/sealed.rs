//! Rows and snapshots as engines keep them: sealed with the key of whose data they are, and bound to their place,
//! so that none can be passed off as another's.

use crate::{
    EntityRef, Home, Name,
    keyring::{self, Keyring, OpenError},
    read_model::RowChange,
    snapshots::TierError,
};

/// A change of a row whose value is sealed.
pub(crate) enum SealedChange {
    Put { key: Vec<u8>, home: Home, sealed: Vec<u8> },
    Delete { key: Vec<u8> },
}

/// Seals what changes; rows about erased homes are not written.
pub(crate) async fn sealed(
    keyring: &Keyring,
    projection: Name,
    changes: Vec<RowChange>,
) -> Result<Vec<SealedChange>, TierError> {
    let mut sealed_changes = Vec::with_capacity(changes.len());
    for change in changes {
        sealed_changes.push(match change {
            RowChange::Delete { key } => SealedChange::Delete { key },
            RowChange::Put { key, home, value } => {
                match keyring.seal(&home, &row_key(projection, &key), &value).await {
                    Ok(sealed) => SealedChange::Put { key, home, sealed },
                    Err(keyring::Error::Erased) => continue,
                    Err(error) => return Err(failed("seal a row")(error)),
                }
            }
        });
    }
    Ok(sealed_changes)
}

/// A row's value; `None` if its home was erased.
pub(crate) fn opened_row(
    keyring: &Keyring,
    home: &Home,
    row_key: &[u8],
    sealed: &[u8],
) -> Result<Option<Vec<u8>>, OpenError> {
    match keyring.open_sealed(home, row_key, sealed) {
        Ok(value) => Ok(Some(value)),
        Err(OpenError::Erased) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A row's key among all that is kept: what its value is bound to.
pub(crate) fn row_key(projection: Name, key: &[u8]) -> Vec<u8> {
    let mut row = key_of(b'r', projection);
    row.extend_from_slice(key);
    row
}

/// A snapshot's key among all that is kept: what it is bound to.
pub(crate) fn snapshot_key(service: Name, entity: EntityRef) -> Vec<u8> {
    let mut key = key_of(b's', service);
    key.extend_from_slice(&entity.home.canonical());
    key.extend_from_slice(entity.kind.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&entity.id.to_be_bytes());
    key
}

/// How the keys of one space begin that belong to one projection or service.
pub(crate) fn key_of(space: u8, name: Name) -> Vec<u8> {
    let mut key = vec![space];
    key.extend_from_slice(name.as_str().as_bytes());
    key.push(0);
    key
}

/// What rows add up to, in key order: the same for the same rows, whatever seals them.
#[derive(Default)]
pub(crate) struct Digest(xxhash_rust::xxh3::Xxh3);

impl Digest {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.digest()
    }
}

/// The failure of an operation.
pub(crate) fn failed<E: std::error::Error + Send + Sync + 'static>(
    operation: &'static str,
) -> impl Fn(E) -> TierError {
    move |source| TierError { operation, source: Box::new(source) }
}
