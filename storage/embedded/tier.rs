//! The tier that may be thrown away: snapshots and read models in sled.
//!
//! sled 0.34 does not sync to the device and panics on a damaged file (both measured), so nothing is kept
//! here that the journal cannot make again. It is opened with that in mind: a panic or an error sets the
//! folder aside and begins a fresh one. It must never be *ahead* of the journal, though: that would mean
//! that the journal lost something, and is refused.
//!
//! ```text
//! key   'w'                                   the highest lsn seen in here
//!       's' service 0 home kind 0 id          a snapshot: seq, offset, sealed state
//!       'r' projection 0 row key              a row: home, sealed value
//!       'p' projection 0                      where to walk on
//!       'o' projection 0 service 0 shard      the last offset taken in
//! ```

use std::{fmt, panic::catch_unwind, path::Path, sync::Arc};

use futures_util::future::{BoxFuture, ready};

use crate::{
    EntityRef, Home, Lsn, Name, Offset, ReadModel, Seq, ShardId, Snapshots,
    keyring::Keyring,
    read_model::{Position, Row, RowChange},
    snapshots::{Snapshot, TierError},
};

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
    SetAside(#[from] std::io::Error),
}

/// See the module.
pub struct SledTier {
    db: sled::Db,
    keyring: Arc<Keyring>,
}

impl fmt::Debug for SledTier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SledTier").finish_non_exhaustive()
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
        let (db, set_aside) = match open_caught(directory, cache_bytes) {
            Ok(db) => (db, None),
            Err(why) => {
                set_aside(directory)?;
                (config(directory, cache_bytes).open()?, Some(why))
            }
        };
        let tier = Self { db, keyring };
        match tier.watermark()? {
            Some(seen) if seen > journal_end => {
                Err(Error::AheadOfJournal { tier: seen, journal: journal_end })
            }
            _ => Ok((tier, set_aside)),
        }
    }

    fn watermark(&self) -> Result<Option<Lsn>, sled::Error> {
        Ok(self.db.get(b"w")?.and_then(|bytes| number(&bytes)).map(Lsn))
    }

    fn commit_now(
        &self,
        projection: Name,
        changes: Vec<RowChange>,
        moved: &Position,
    ) -> Result<(), TierError> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                RowChange::Put { key, home, value } => {
                    let key = row_key(projection, &key);
                    let mut sealed = home.canonical().to_vec();
                    match self.keyring.seal(&home, &key, &value) {
                        Ok(bytes) => sealed.extend_from_slice(&bytes),
                        // A row about an erased home is not written.
                        Err(crate::keyring::Error::Erased) => continue,
                        Err(error) => return Err(failed("seal a row")(error)),
                    }
                    batch.insert(key, sealed);
                }
                RowChange::Delete { key } => batch.remove(row_key(projection, &key)),
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
        let damaged = || failed("open a row")(crate::keyring::OpenError::Damaged);
        let (home, sealed) = stored.split_first_chunk::<{ Home::BYTES }>().ok_or_else(damaged)?;
        let home = Home::from_canonical(home).ok_or_else(damaged)?;
        match self.keyring.open_sealed(&home, key, sealed) {
            Ok(value) => Ok(Some(value)),
            Err(crate::keyring::OpenError::Erased) => Ok(None),
            Err(error) => Err(failed("open a row")(error)),
        }
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
        let mut digest = xxhash_rust::xxh3::Xxh3::new();
        for row in self.scan_now(projection, &[], None, usize::MAX)? {
            for part in [&row.key, &row.value] {
                digest.update(&(part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        Ok(digest.digest())
    }

    fn save_now(&self, service: Name, entity: EntityRef, snapshot: &Snapshot) -> Result<(), TierError> {
        let key = snapshot_key(service, entity);
        if let Some(kept) = self.db.get(&key).map_err(failed("save a snapshot"))?
            && number(&kept).is_some_and(|seq| seq >= snapshot.seq.0)
        {
            return Ok(());
        }
        let mut value = snapshot.seq.0.to_be_bytes().to_vec();
        value.extend_from_slice(&snapshot.offset.0.to_be_bytes());
        value.extend_from_slice(
            &self.keyring.seal(&entity.home, &key, &snapshot.bytes).map_err(failed("seal a snapshot"))?,
        );
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

fn config(directory: &Path, cache_bytes: u64) -> sled::Config {
    sled::Config::new().path(directory).cache_capacity(cache_bytes).flush_every_ms(None)
}

/// sled panics on some damage instead of returning an error, and may do so on a thread of its own choosing.
fn open_caught(directory: &Path, cache_bytes: u64) -> Result<sled::Db, String> {
    let directory = directory.to_owned();
    let open = move || -> Result<sled::Db, String> {
        let db = config(&directory, cache_bytes).open().map_err(|error| error.to_string())?;
        // A page that does not read shows itself here, not under a projection.
        for entry in db.iter() {
            entry.map_err(|error| error.to_string())?;
        }
        Ok(db)
    };
    catch_unwind(std::panic::AssertUnwindSafe(open)).unwrap_or_else(|_| Err("opening it panicked".to_owned()))
}

fn set_aside(directory: &Path) -> Result<(), std::io::Error> {
    for number in 1.. {
        let aside = directory.with_extension(format!("set-aside-{number}"));
        if !aside.exists() {
            return std::fs::rename(directory, aside);
        }
    }
    Ok(())
}

fn failed<E: std::error::Error + Send + Sync + 'static>(operation: &'static str) -> impl Fn(E) -> TierError {
    move |source| TierError { operation, source: Box::new(source) }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

fn key_of(space: u8, name: Name) -> Vec<u8> {
    let mut key = vec![space];
    key.extend_from_slice(name.as_str().as_bytes());
    key.push(0);
    key
}

fn row_key(projection: Name, key: &[u8]) -> Vec<u8> {
    let mut row = key_of(b'r', projection);
    row.extend_from_slice(key);
    row
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

fn snapshot_key(service: Name, entity: EntityRef) -> Vec<u8> {
    let mut key = key_of(b's', service);
    key.extend_from_slice(&entity.home.canonical());
    key.extend_from_slice(entity.kind.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&entity.id.to_be_bytes());
    key
}

impl Snapshots for SledTier {
    fn save(
        &self,
        service: Name,
        entity: EntityRef,
        snapshot: Snapshot,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(ready(self.save_now(service, entity, &snapshot)))
    }

    fn load(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Option<Snapshot>, TierError>> {
        Box::pin(ready(self.load_now(service, entity)))
    }
}

impl ReadModel for SledTier {
    fn commit(
        &self,
        projection: Name,
        changes: Vec<RowChange>,
        moved: Position,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(ready(self.commit_now(projection, changes, &moved)))
    }

    fn position(&self, projection: Name) -> BoxFuture<'_, Result<Position, TierError>> {
        Box::pin(ready(self.position_now(projection)))
    }

    fn get(&self, projection: Name, key: Vec<u8>) -> BoxFuture<'_, Result<Option<Row>, TierError>> {
        let stored_key = row_key(projection, &key);
        let stored = self.db.get(&stored_key).map_err(failed("read a row"));
        let row = stored.and_then(|stored| match stored {
            None => Ok(None),
            Some(stored) => Ok(self.opened(&stored_key, &stored)?.map(|value| Row { key, value })),
        });
        Box::pin(ready(row))
    }

    fn scan(
        &self,
        projection: Name,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        Box::pin(ready(self.scan_now(projection, &prefix, after.as_deref(), limit)))
    }

    fn clear(&self, projection: Name) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(ready(self.clear_now(projection)))
    }

    fn digest(&self, projection: Name) -> BoxFuture<'_, Result<u64, TierError>> {
        Box::pin(ready(self.digest_now(projection)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HomeKind, keyring::MasterKey};

    const ROWS: Name = Name::new("directory");
    const CACHE: u64 = 8 * 1024 * 1024;

    struct Place {
        directory: tempfile::TempDir,
        keyring: Arc<Keyring>,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let keyring = Keyring::open(&directory.path().join("keyring"), &MasterKey::new([1; 32])).unwrap();
            Self { directory, keyring: Arc::new(keyring) }
        }

        fn open(&self, journal_end: u64) -> Result<(SledTier, Option<String>), Error> {
            let path = self.directory.path().join("tier");
            SledTier::open(&path, CACHE, Arc::clone(&self.keyring), Lsn(journal_end))
        }
    }

    fn home(id: u128) -> Home {
        Home { kind: HomeKind::Tenant, id }
    }

    fn commit(tier: &SledTier, id: u8, lsn: u64) {
        let shard = ShardId { service: Name::new("tenancy"), number: 3 };
        let moved = Position { lsn: Lsn(lsn), offsets: [(shard, Offset(lsn))].into() };
        let put = RowChange::Put { key: vec![id], home: home(id.into()), value: vec![id; 3] };
        tier.commit_now(ROWS, vec![put], &moved).unwrap();
    }

    #[test]
    fn rows_and_position_are_there_after_a_restart() {
        let place = Place::new();
        let (tier, _) = place.open(9).unwrap();
        commit(&tier, 1, 5);
        commit(&tier, 2, 6);
        let position = tier.position_now(ROWS).unwrap();
        drop(tier);

        let (tier, set_aside) = place.open(9).unwrap();

        assert_eq!(set_aside, None);
        assert_eq!(tier.position_now(ROWS).unwrap(), position);
        assert_eq!(position.lsn, Lsn(6));
        assert_eq!(
            tier.scan_now(ROWS, &[], Some(&[1]), 10).unwrap(),
            [Row { key: vec![2], value: vec![2; 3] }]
        );
    }

    #[test]
    fn a_tier_ahead_of_the_journal_is_refused_by_name() {
        let place = Place::new();
        commit(&place.open(9).unwrap().0, 1, 8);

        let refused = place.open(7).unwrap_err().to_string();

        assert_eq!(
            refused,
            "the read models have seen record 8, but the journal ends at 7: it lost something"
        );
    }

    /// Whatever happened to the files, rows and position tell the same story, so that the rest is rebuilt.
    #[test]
    fn a_damaged_tier_opens_with_rows_that_match_its_position() {
        let damages: [fn(&mut Vec<u8>); 4] = [
            |bytes| bytes.fill(0xa5),
            |bytes| bytes.truncate(bytes.len() / 2),
            |bytes| bytes.iter_mut().skip(2000).take(4096).for_each(|byte| *byte = 0),
            Vec::clear,
        ];
        for damage in damages {
            let place = Place::new();
            let (tier, _) = place.open(999).unwrap();
            for id in 0..200 {
                commit(&tier, id, u64::from(id) + 1);
            }
            drop(tier);
            let path = place.directory.path().join("tier/db");
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();

            let (tier, _) = place.open(999).unwrap();

            let rows = tier.scan_now(ROWS, &[], None, 999).unwrap();
            assert_eq!(rows.len() as u64, tier.position_now(ROWS).unwrap().lsn.0);
        }
    }

    #[test]
    fn a_row_of_an_erased_home_is_gone() {
        let place = Place::new();
        let (tier, _) = place.open(9).unwrap();
        commit(&tier, 1, 5);
        place.keyring.erase(&home(1)).unwrap();
        assert_eq!(tier.scan_now(ROWS, &[], None, 10).unwrap(), []);
    }

    #[test]
    fn an_older_snapshot_never_replaces_a_newer() {
        let place = Place::new();
        let (tier, _) = place.open(9).unwrap();
        let (service, entity) =
            (Name::new("tenancy"), EntityRef { home: home(1), kind: Name::new("tenant"), id: 1 });
        let snapshot = |seq| Snapshot { seq: Seq(seq), offset: Offset(seq), bytes: vec![7] };
        tier.save_now(service, entity, &snapshot(5)).unwrap();
        tier.save_now(service, entity, &snapshot(4)).unwrap();
        assert_eq!(tier.load_now(service, entity).unwrap(), Some(snapshot(5)));
    }
}
