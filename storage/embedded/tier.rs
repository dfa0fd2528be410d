//! The tier that may be thrown away: snapshots and read models in sled.
//!
//! sled 0.34 does not sync to the device and panics on a damaged file (both measured), so nothing is kept
//! here that the journal cannot make again. A panic or an error of it, at open or under any later operation,
//! begins a fresh folder; readers then find position zero and rebuild. So opening need not read every row.
//! The tier must never be *ahead* of the journal, though: that would mean that the journal lost something,
//! and is refused.
//!
//! ```text
//! data/tier               the folder in use; a file `damaged` in it: set aside at the next open
//! data/tier.fresh         begun beside it by a running node that met damage; takes its place at the next open
//! data/tier.set-aside-1   for whoever wants to know what happened; may be deleted
//! ```
//!
//! ```text
//! key   'w'                                   the highest lsn seen in here
//!       's' service 0 home kind 0 id          a snapshot: seq, offset, sealed state
//!       'r' projection 0 row key              a row: home, sealed value
//!       'p' projection 0                      where to walk on
//!       'o' projection 0 service 0 shard      the last offset taken in
//! ```

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::future::{BoxFuture, ready};
use rustix::fs::{FlockOperation, flock};

use crate::{
    EntityRef, Home, Lsn, Name, Offset, ReadModel, Seq, ShardId, Snapshots,
    keyring::{self, Keyring},
    read_model::{Position, Row, RowChange},
    sealed::{Digest, SealedChange, failed, key_of, opened_row, row_key, sealed, snapshot_key},
    snapshots::{Snapshot, TierError},
};

const DAMAGED: &str = "damaged";

/// Why the tier does not open. Damage is no reason: it is set aside.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tier has seen records that the journal does not have.
    #[error("the read models have seen record {tier}, but the journal ends at {journal}: it lost something")]
    AheadOfJournal {
        /// The last record the tier saw.
        tier: Lsn,
        /// The journal's last.
        journal: Lsn,
    },
    /// A fresh folder does not open either.
    #[error("failed to open the rebuildable tier")]
    Sled(#[from] sled::Error),
    /// The damaged folder could not be set aside.
    #[error("failed to set the damaged tier aside")]
    SetAside(#[from] io::Error),
}

/// See the module.
pub struct SledTier {
    directory: PathBuf,
    cache_bytes: u64,
    keyring: Arc<Keyring>,
    opened: RwLock<Opened>,
}

impl fmt::Debug for SledTier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SledTier").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl SledTier {
    /// Opens the tier in a directory; says why it had to be begun afresh, if it had.
    ///
    /// # Errors
    /// When it is ahead of the journal, or not even a fresh one opens.
    pub fn open(
        directory: &Path,
        cache_bytes: u64,
        keyring: Arc<Keyring>,
        journal_end: Lsn,
    ) -> Result<(Self, Option<String>), Error> {
        let mut why = None;
        if directory.join(DAMAGED).exists() {
            why = Some("a read met damage while the node ran".to_owned());
            set_aside(directory)?;
            let fresh = fresh_beside(directory);
            if fresh.exists() {
                std::fs::rename(fresh, directory)?;
            }
        }
        let db = match open_caught(directory, cache_bytes) {
            Ok(db) => db,
            Err(damage) => {
                why = Some(damage);
                set_aside(directory)?;
                config(directory, cache_bytes).open()?
            }
        };
        let opened = Opened { db, keyring: Arc::clone(&keyring), generation: 0 };
        match opened.watermark()? {
            Some(seen) if seen > journal_end => {
                Err(Error::AheadOfJournal { tier: seen, journal: journal_end })
            }
            _ => {
                let directory = directory.to_owned();
                Ok((Self { directory, cache_bytes, keyring, opened: RwLock::new(opened) }, why))
            }
        }
    }

    /// Runs an operation; one that meets damage fails, and the next ones find a fresh tier.
    fn guarded<T>(&self, run: impl FnOnce(&Opened) -> Result<T, TierError>) -> Result<T, TierError> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner).clone();
        let done = catch_unwind(AssertUnwindSafe(|| run(&opened)))
            .unwrap_or_else(|_| Err(failed("read or write, which panicked,")(keyring::OpenError::Damaged)));
        if let Err(error) = &done
            && is_damage(error)
        {
            self.begin_afresh(opened.generation, error);
        }
        done
    }

    /// Leaves the damaged folder to the next open and goes on in a fresh one. If that fails (the disk may be
    /// full), the next operation that meets the damage tries again.
    fn begin_afresh(&self, met_in: u64, damage: &TierError) {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if opened.generation != met_in {
            return;
        }
        match self.fresh(damage) {
            Ok(db) => {
                tracing::error!(%damage, cause = %damage.source, "the rebuildable tier is damaged: begun afresh");
                let keyring = Arc::clone(&self.keyring);
                *opened = Opened { db, keyring, generation: met_in + 1 };
            }
            Err(why) => {
                tracing::error!(%damage, why, "the rebuildable tier is damaged, and no fresh one opens");
            }
        }
    }

    fn fresh(&self, damage: &TierError) -> Result<sled::Db, String> {
        let marked = std::fs::write(self.directory.join(DAMAGED), format!("{damage}: {}\n", damage.source));
        marked.map_err(|error| error.to_string())?;
        let fresh = fresh_beside(&self.directory);
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).map_err(|error| error.to_string())?;
        }
        open_caught(&fresh, self.cache_bytes)
    }
}

/// The folder in use.
#[derive(Clone)]
struct Opened {
    db: sled::Db,
    keyring: Arc<Keyring>,
    /// How often this process has begun afresh.
    generation: u64,
}

impl Opened {
    fn watermark(&self) -> Result<Option<Lsn>, sled::Error> {
        Ok(self.db.get(b"w")?.and_then(|bytes| number(&bytes)).map(Lsn))
    }

    fn commit_now(
        &self,
        projection: Name,
        changes: Vec<SealedChange>,
        moved: &Position,
    ) -> Result<(), TierError> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                SealedChange::Put { key, home, sealed } => {
                    let stored = [&home.canonical()[..], &sealed].concat();
                    batch.insert(row_key(projection, &key), stored);
                }
                SealedChange::Delete { key } => batch.remove(row_key(projection, &key)),
            }
        }
        for (shard, offset) in &moved.offsets {
            batch.insert(offset_key(projection, Some(*shard)), &offset.0.to_be_bytes());
        }
        batch.insert(key_of(b'p', projection), &moved.lsn.0.to_be_bytes());
        let seen = self.watermark().map_err(failed("read the watermark"))?.unwrap_or_default();
        batch.insert(b"w", &seen.max(moved.lsn).0.to_be_bytes());
        self.db.apply_batch(batch).map_err(failed("commit rows"))
    }

    fn position_now(&self, projection: Name) -> Result<Position, TierError> {
        let lsn = self.db.get(key_of(b'p', projection)).map_err(failed("read a position"))?;
        let mut position =
            Position { lsn: Lsn(lsn.and_then(|bytes| number(&bytes)).unwrap_or(0)), ..Position::default() };
        let prefix = offset_key(projection, None);
        for entry in self.db.scan_prefix(&prefix) {
            let (key, value) = entry.map_err(failed("read a position"))?;
            let shard = key.get(prefix.len()..).and_then(parse_shard);
            if let (Some(shard), Some(offset)) = (shard, number(&value)) {
                position.offsets.insert(shard, Offset(offset));
            }
        }
        Ok(position)
    }

    /// A stored row, opened; `None` if its home was erased.
    fn opened(&self, key: &[u8], stored: &[u8]) -> Result<Option<Vec<u8>>, TierError> {
        let damaged = || failed("open a row")(keyring::OpenError::Damaged);
        let (home, sealed) = stored.split_first_chunk::<{ Home::BYTES }>().ok_or_else(damaged)?;
        let home = Home::from_canonical(home).ok_or_else(damaged)?;
        opened_row(&self.keyring, &home, key, sealed).map_err(failed("open a row"))
    }

    fn get_now(&self, projection: Name, key: Vec<u8>) -> Result<Option<Row>, TierError> {
        let stored_key = row_key(projection, &key);
        let Some(stored) = self.db.get(&stored_key).map_err(failed("read a row"))? else {
            return Ok(None);
        };
        Ok(self.opened(&stored_key, &stored)?.map(|value| Row { key, value }))
    }

    fn scan_now(
        &self,
        projection: Name,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, TierError> {
        let begin = row_key(projection, prefix);
        let own = row_key(projection, &[]).len();
        let from = after.map_or_else(|| begin.clone(), |after| row_key(projection, after));
        let mut rows = Vec::new();
        for entry in self.db.range(from.clone()..) {
            let (key, stored) = entry.map_err(failed("scan rows"))?;
            if !key.starts_with(&begin) || rows.len() >= limit {
                break;
            }
            if after.is_some() && *key == *from {
                continue;
            }
            if let Some(value) = self.opened(&key, &stored)? {
                rows.push(Row { key: key.get(own..).unwrap_or_default().to_vec(), value });
            }
        }
        Ok(rows)
    }

    fn clear_now(&self, projection: Name) -> Result<(), TierError> {
        let mut batch = sled::Batch::default();
        for prefix in [row_key(projection, &[]), offset_key(projection, None), key_of(b'p', projection)] {
            for key in self.db.scan_prefix(prefix).keys() {
                batch.remove(key.map_err(failed("clear a projection"))?);
            }
        }
        self.db.apply_batch(batch).map_err(failed("clear a projection"))
    }

    fn digest_now(&self, projection: Name) -> Result<u64, TierError> {
        let mut digest = Digest::default();
        for row in self.scan_now(projection, &[], None, usize::MAX)? {
            digest.add(&row.key, &row.value);
        }
        Ok(digest.value())
    }

    fn save_now(&self, key: &[u8], snapshot: &Snapshot, sealed: &[u8]) -> Result<(), TierError> {
        if let Some(kept) = self.db.get(key).map_err(failed("save a snapshot"))?
            && number(&kept).is_some_and(|seq| seq >= snapshot.seq.0)
        {
            return Ok(());
        }
        let mut value = snapshot.seq.0.to_be_bytes().to_vec();
        value.extend_from_slice(&snapshot.offset.0.to_be_bytes());
        value.extend_from_slice(sealed);
        self.db.insert(key, value).map_err(failed("save a snapshot"))?;
        Ok(())
    }

    fn load_now(&self, service: Name, entity: EntityRef) -> Result<Option<Snapshot>, TierError> {
        let key = snapshot_key(service, entity);
        let Some(stored) = self.db.get(&key).map_err(failed("load a snapshot"))? else {
            return Ok(None);
        };
        let (Some(seq), Some(offset), Some(sealed)) =
            (number(&stored), stored.get(8..).and_then(number), stored.get(16..))
        else {
            return Ok(None);
        };
        let bytes = self.keyring.open_sealed(&entity.home, &key, sealed).ok();
        Ok(bytes.map(|bytes| Snapshot { seq: Seq(seq), offset: Offset(offset), bytes }))
    }
}

/// What sled says or does when a file is not what it wrote, or what it wrote does not unseal.
fn is_damage(error: &TierError) -> bool {
    error.source.is::<sled::Error>()
        || error.source.downcast_ref::<keyring::OpenError>() == Some(&keyring::OpenError::Damaged)
}

fn fresh_beside(directory: &Path) -> PathBuf {
    directory.with_extension("fresh")
}

fn config(directory: &Path, cache_bytes: u64) -> sled::Config {
    sled::Config::new().path(directory).cache_capacity(cache_bytes).flush_every_ms(None)
}

/// sled takes a lock that is held for damage. It may be for a moment after the folder was closed: a process that was
/// just started has it, too, until it runs its own program. Nobody holds it for longer, since the journal's lock is
/// taken first.
fn wait_until_closed(directory: &Path) -> io::Result<()> {
    let file = match std::fs::File::open(directory.join("db")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    flock(&file, FlockOperation::LockExclusive)?;
    // Said, not left to the closing, which whoever is started now would hold up.
    Ok(flock(&file, FlockOperation::Unlock)?)
}

/// Opens and reads what every reader begins with: the positions. Rows are met when they are asked for.
fn open_caught(directory: &Path, cache_bytes: u64) -> Result<sled::Db, String> {
    let open = || -> Result<sled::Db, sled::Error> {
        wait_until_closed(directory)?;
        let db = config(directory, cache_bytes).open()?;
        for space in [b"w", b"p", b"o"] {
            for entry in db.scan_prefix(space) {
                entry?;
            }
        }
        Ok(db)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("opening it panicked".to_owned()),
    }
}

fn set_aside(directory: &Path) -> io::Result<()> {
    for number in 1.. {
        let aside = directory.with_extension(format!("set-aside-{number}"));
        if !aside.exists() {
            return std::fs::rename(directory, aside);
        }
    }
    Ok(())
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

fn offset_key(projection: Name, shard: Option<ShardId>) -> Vec<u8> {
    let mut key = key_of(b'o', projection);
    if let Some(shard) = shard {
        key.extend_from_slice(shard.service.as_str().as_bytes());
        key.push(0);
        key.extend_from_slice(&shard.number.to_be_bytes());
    }
    key
}

fn parse_shard(key: &[u8]) -> Option<ShardId> {
    let (service, number) = key.split_last_chunk::<2>()?;
    let service = service.strip_suffix(&[0])?;
    Some(ShardId {
        service: Name::parse(std::str::from_utf8(service).ok()?)?,
        number: u16::from_be_bytes(*number),
    })
}

impl Snapshots for SledTier {
    fn save(
        &self,
        service: Name,
        entity: EntityRef,
        snapshot: Snapshot,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(async move {
            let key = snapshot_key(service, entity);
            let sealed = self.keyring.seal(&entity.home, &key, &snapshot.bytes).await;
            let sealed = sealed.map_err(failed("seal a snapshot"))?;
            self.guarded(|tier| tier.save_now(&key, &snapshot, &sealed))
        })
    }

    fn load(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Option<Snapshot>, TierError>> {
        Box::pin(ready(self.guarded(|tier| tier.load_now(service, entity))))
    }
}

impl ReadModel for SledTier {
    fn commit(
        &self,
        projection: Name,
        changes: Vec<RowChange>,
        _: Lsn,
        moved: Position,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(async move {
            let changes = sealed(&self.keyring, projection, changes).await?;
            self.guarded(|tier| tier.commit_now(projection, changes, &moved))
        })
    }

    fn position(&self, projection: Name) -> BoxFuture<'_, Result<Position, TierError>> {
        Box::pin(ready(self.guarded(|tier| tier.position_now(projection))))
    }

    fn get_all(&self, projection: Name, keys: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        Box::pin(ready(self.guarded(|tier| {
            keys.into_iter().filter_map(|key| tier.get_now(projection, key).transpose()).collect()
        })))
    }

    fn scan(
        &self,
        projection: Name,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        Box::pin(ready(self.guarded(|tier| tier.scan_now(projection, &prefix, after.as_deref(), limit))))
    }

    fn clear(&self, projection: Name) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(ready(self.guarded(|tier| tier.clear_now(projection))))
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(ready(self.guarded(|tier| {
            tier.db.flush().map_err(failed("flush"))?;
            Ok(())
        })))
    }

    fn digest(&self, projection: Name) -> BoxFuture<'_, Result<u64, TierError>> {
        Box::pin(ready(self.guarded(|tier| tier.digest_now(projection))))
    }
}
