//! The tier that may be thrown away, in the store: snapshots, and rows and positions of read models.
//!
//! Whose a row is and what it belongs to can be asked with SQL; what it says is sealed. A row that does not open
//! has its projection rebuilt, a snapshot that does not open is none.

#[cfg(test)]
mod tests;
mod walk;

use std::{collections::BTreeMap, sync::Arc};

use deadpool_postgres::Transaction;
use futures_util::future::{BoxFuture, ready, try_join4};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use self::walk::{PAGE, Walk};
use super::{
    Store, StoreError,
    journal::read,
    numbers::{large, unsigned},
};
use crate::{
    EntityRef, Home, HomeKind, Lsn, Name, Offset, ReadModel, ShardId, Snapshots, codec,
    keyring::{Keyring, OpenError},
    read_model::{Position, Row, RowChange},
    sealed::{Digest, SealedChange, failed, opened_row, row_key, sealed, snapshot_key},
    snapshots::{Recalled, Snapshot, TierError},
};

const PUT_ROWS: &str = "
    insert into model_row (projection, key, home_kind, home_id, value)
    select $1::text, key, home_kind, home_id, value
    from unnest($2::bytea[], $3::smallint[], $4::uuid[], $5::bytea[]) as put (key, home_kind, home_id, value)
    order by key
    on conflict (projection, key) do update
    set home_kind = excluded.home_kind, home_id = excluded.home_id, value = excluded.value";
/// Apart from the statement above, in its transaction: CockroachDB changes a table once in a statement.
const DELETE_ROWS: &str = "delete from model_row where projection = $1 and key = any($2::bytea[])";
/// Changes fewer rows than it names when another reader has taken in more.
const MOVE_OFFSETS: &str = "
    insert into model_offset (projection, service, number, off)
    select $1::text, service, number, off
    from unnest($2::text[], $3::integer[], $4::bigint[]) as moved (service, number, off)
    order by service, number
    on conflict (projection, service, number) do update set off = excluded.off
    where model_offset.off <= excluded.off";
/// Changes nothing when the position is not where the reader left it, or was cleared since.
const MOVE_POSITION: &str = "
    insert into model_position (projection, lsn)
    select $1::text, $2::bigint where $3::bigint = 0 or exists (select from model_position where projection = $1)
    on conflict (projection) do update set lsn = excluded.lsn where model_position.lsn = $3";
const POSITION: &str = "
    select lsn, service, number, off
    from model_position left join model_offset using (projection) where projection = $1";
const GET_ROWS: &str =
    "select key, home_kind, home_id, value from model_row where projection = $1 and key = any($2::bytea[])";
const CLEAR: [&str; 3] = [
    "delete from model_row where projection = $1",
    "delete from model_offset where projection = $1",
    "delete from model_position where projection = $1",
];
const SAVE_SNAPSHOT: &str = "
    insert into snapshot (service, home_kind, home_id, entity_kind, entity_id, seq, off, state)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (service, home_kind, home_id, entity_kind, entity_id) do update
    set seq = excluded.seq, off = excluded.off, state = excluded.state
    where snapshot.seq < excluded.seq";
/// Records read with a snapshot at most: more than there are between two.
const RECALLED: usize = 256;

/// Somebody else keeps the same rows.
#[derive(Debug, thiserror::Error)]
#[error("another reader has taken in more")]
struct Overtaken;

/// See the module.
#[derive(Debug)]
pub struct PostgresTier {
    store: Store,
    keyring: Arc<Keyring>,
}

impl PostgresTier {
    /// The tier of a store, sealed with the keys of a keyring.
    #[must_use]
    pub fn new(store: Store, keyring: Arc<Keyring>) -> Self {
        Self { store, keyring }
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let client = self.store.client().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query(&statement, parameters).await?)
    }

    /// Three round trips, however many rows change.
    async fn write(
        &self,
        projection: Name,
        changes: Vec<SealedChange>,
        from: Lsn,
        moved: &Position,
    ) -> Result<(), TierError> {
        let Written { puts, deleted } = Written::of(changes);
        let (projection, from, lsn) = (projection.as_str(), large(from.0), large(moved.lsn.0));
        let shards = moved.offsets.keys();
        let services: Vec<_> = shards.clone().map(|shard| shard.service.as_str()).collect();
        let numbers: Vec<_> = shards.map(|shard| i32::from(shard.number)).collect();
        let offsets: Vec<_> = moved.offsets.values().map(|offset| large(offset.0)).collect();
        let mut client = self.store.client().await.map_err(failed("commit rows"))?;
        let transaction = client.transaction().await.map_err(failed("commit rows"))?;
        let (_, _, moved, positions) = try_join4(
            execute(&transaction, DELETE_ROWS, deleted.len(), &[&projection, &deleted]),
            execute(
                &transaction,
                PUT_ROWS,
                puts.keys.len(),
                &[&projection, &puts.keys, &puts.home_kinds, &puts.home_ids, &puts.values],
            ),
            execute(&transaction, MOVE_OFFSETS, offsets.len(), &[&projection, &services, &numbers, &offsets]),
            execute(&transaction, MOVE_POSITION, 1, &[&projection, &lsn, &from]),
        )
        .await
        .map_err(failed("commit rows"))?;
        if moved < offsets.len() as u64 || positions == 0 {
            return Err(failed("commit rows")(Overtaken));
        }
        transaction.commit().await.map_err(failed("commit rows"))
    }
}

/// Changes as many rows as are named, if any are.
async fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    rows: usize,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, tokio_postgres::Error> {
    if rows == 0 {
        return Ok(0);
    }
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, parameters).await
}

/// What a commit changes, column by column: the last change of a key counts.
#[derive(Default)]
struct Written {
    puts: Puts,
    deleted: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Puts {
    keys: Vec<Vec<u8>>,
    home_kinds: Vec<i16>,
    home_ids: Vec<Uuid>,
    values: Vec<Vec<u8>>,
}

impl Written {
    fn of(changes: Vec<SealedChange>) -> Self {
        let last: BTreeMap<_, _> = changes
            .into_iter()
            .map(|change| match change {
                SealedChange::Put { key, home, sealed } => (key, Some((home, sealed))),
                SealedChange::Delete { key } => (key, None),
            })
            .collect();
        let mut written = Self::default();
        for (key, put) in last {
            let Some((home, sealed)) = put else {
                written.deleted.push(key);
                continue;
            };
            written.puts.keys.push(key);
            written.puts.home_kinds.push(home.kind as i16);
            written.puts.home_ids.push(Uuid::from_u128(home.id));
            written.puts.values.push(sealed);
        }
        written
    }
}

/// A row as it is kept.
struct StoredRow {
    key: Vec<u8>,
    home: Home,
    sealed: Vec<u8>,
}

impl StoredRow {
    /// `None` if the row is of no home.
    fn of(row: &tokio_postgres::Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let kind: i16 = row.try_get(1)?;
        let kind = u8::try_from(kind).ok().and_then(HomeKind::from_number);
        let (key, id, sealed): (_, Uuid, _) = (row.try_get(0)?, row.try_get(2)?, row.try_get(3)?);
        Ok(kind.map(|kind| Self { key, home: Home { kind, id: id.as_u128() }, sealed }))
    }
}

impl PostgresTier {
    /// Rows, opened; those of erased homes are gone.
    async fn opened(&self, projection: Name, rows: Vec<tokio_postgres::Row>) -> Result<Vec<Row>, TierError> {
        let stored: Result<Option<Vec<_>>, _> = rows.iter().map(StoredRow::of).collect();
        let stored = stored.map_err(failed("read rows"))?.ok_or(codec::Error::Shape);
        let stored = stored.map_err(failed("read a row of no home"))?;
        let homes: Vec<_> = stored.iter().map(|row| row.home).collect();
        self.keyring.learn(homes).await.map_err(failed("learn the keys of rows"))?;
        let mut opened = Vec::with_capacity(stored.len());
        for StoredRow { key, home, sealed } in stored {
            match opened_row(&self.keyring, &home, &row_key(projection, &key), &sealed) {
                Ok(Some(value)) => opened.push(Row { key, value }),
                Ok(None) => {}
                // Whoever follows the journal for this projection clears it and begins again.
                Err(OpenError::Damaged) => return Err(failed("open a row")(codec::Error::Shape)),
                Err(error) => return Err(failed("open a row")(error)),
            }
        }
        Ok(opened)
    }

    async fn get_now(&self, projection: Name, keys: Vec<Vec<u8>>) -> Result<Vec<Row>, TierError> {
        let rows = self.query(GET_ROWS, &[&projection.as_str(), &keys]).await.map_err(failed("read rows"))?;
        self.opened(projection, rows).await
    }

    async fn position_now(&self, projection: Name) -> Result<Position, TierError> {
        let rows = self.query(POSITION, &[&projection.as_str()]).await.map_err(failed("read a position"))?;
        let mut position = Position::default();
        for row in rows {
            position.lsn = Lsn(unsigned(row.try_get(0).map_err(failed("read a position"))?));
            position.offsets.extend(shard_and_offset(&row).map_err(failed("read a position"))?);
        }
        Ok(position)
    }

    async fn clear_now(&self, projection: Name) -> Result<(), StoreError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        for statement in CLEAR {
            transaction.execute(statement, &[&projection.as_str()]).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn save_now(&self, service: Name, entity: EntityRef, snapshot: &Snapshot) -> Result<(), TierError> {
        let key = snapshot_key(service, entity);
        let sealed = self.keyring.seal(&entity.home, &key, &snapshot.bytes).await;
        let sealed = sealed.map_err(failed("seal a snapshot"))?;
        let kept: [&(dyn ToSql + Sync); 8] = [
            &service.as_str(),
            &(entity.home.kind as i16),
            &Uuid::from_u128(entity.home.id),
            &entity.kind.as_str(),
            &Uuid::from_u128(entity.id),
            &large(snapshot.seq.0),
            &large(snapshot.offset.0),
            &sealed,
        ];
        self.query(SAVE_SNAPSHOT, &kept).await.map(drop).map_err(failed("save a snapshot"))
    }

    async fn recall_now(&self, service: Name, entity: EntityRef) -> Result<Recalled, TierError> {
        let found = read::of_entity_with_snapshot(&self.store, service, entity, RECALLED).await;
        let (kept, records, is_all) = found.map_err(failed("load a snapshot"))?;
        self.keyring.learn([entity.home]).await.map_err(failed("learn the key of a snapshot"))?;
        let Some((seq, offset, sealed)) = kept else {
            return Ok(Recalled { snapshot: None, records, is_all });
        };
        let bytes = self.keyring.open_sealed(&entity.home, &snapshot_key(service, entity), &sealed);
        Ok(bytes.map_or_else(
            // What is behind it is behind nothing that can be read.
            |_why| Recalled::default(),
            |bytes| Recalled { snapshot: Some(Snapshot { seq, offset, bytes }), records, is_all },
        ))
    }
}

/// One shard's part of a position, if the row has one.
fn shard_and_offset(row: &tokio_postgres::Row) -> Result<Option<(ShardId, Offset)>, tokio_postgres::Error> {
    let (service, number): (Option<&str>, Option<i32>) = (row.try_get(1)?, row.try_get(2)?);
    let offset: Option<i64> = row.try_get(3)?;
    let shard = service.and_then(Name::parse).zip(number.and_then(|number| u16::try_from(number).ok()));
    let shard = shard.map(|(service, number)| ShardId { service, number });
    Ok(shard.zip(offset.map(|offset| Offset(unsigned(offset)))))
}

impl Snapshots for PostgresTier {
    fn save(
        &self,
        service: Name,
        entity: EntityRef,
        snapshot: Snapshot,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(async move { self.save_now(service, entity, &snapshot).await })
    }

    fn load(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Option<Snapshot>, TierError>> {
        Box::pin(async move { Ok(self.recall_now(service, entity).await?.snapshot) })
    }

    fn recall(&self, service: Name, entity: EntityRef) -> BoxFuture<'_, Result<Recalled, TierError>> {
        Box::pin(self.recall_now(service, entity))
    }
}

impl ReadModel for PostgresTier {
    fn commit(
        &self,
        projection: Name,
        changes: Vec<RowChange>,
        from: Lsn,
        moved: Position,
    ) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(async move {
            let changes = sealed(&self.keyring, projection, changes).await?;
            self.write(projection, changes, from, &moved).await
        })
    }

    fn position(&self, projection: Name) -> BoxFuture<'_, Result<Position, TierError>> {
        Box::pin(self.position_now(projection))
    }

    fn get_all(&self, projection: Name, keys: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        Box::pin(self.get_now(projection, keys))
    }

    fn is_far(&self) -> bool {
        true
    }

    fn scan(
        &self,
        projection: Name,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, TierError>> {
        Box::pin(async move {
            let mut walk = Walk::new(self, projection, prefix, after);
            let mut rows = Vec::new();
            while rows.len() < limit && !walk.is_over {
                rows.append(&mut walk.next(limit - rows.len()).await?);
            }
            Ok(rows)
        })
    }

    fn clear(&self, projection: Name) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(async move { self.clear_now(projection).await.map_err(failed("clear a projection")) })
    }

    /// Nothing is left to do: a commit is answered once the store has it durably.
    fn flush(&self) -> BoxFuture<'_, Result<(), TierError>> {
        Box::pin(ready(Ok(())))
    }

    fn digest(&self, projection: Name) -> BoxFuture<'_, Result<u64, TierError>> {
        Box::pin(async move {
            let (mut walk, mut digest) = (Walk::new(self, projection, Vec::new(), None), Digest::default());
            while !walk.is_over {
                for row in walk.next(PAGE).await? {
                    digest.add(&row.key, &row.value);
                }
            }
            Ok(digest.value())
        })
    }
}
