//! Reading what is durable, in pages that the database cuts, so that no more than a page crosses the network.

use std::sync::Arc;

use tokio_postgres::{Client, Row, Statement, types::ToSql};
use uuid::Uuid;

use super::super::{
    Store, StoreError,
    numbers::{large, unsigned},
};
use crate::{
    EntityRef, Epoch, Home, HomeKind, Lsn, Name, Offset, Seq, ShardId,
    journal::{Cause, Limit, ReadError, Record, RecordKind, Stored},
};

pub(in crate::postgres) type Page = Result<Vec<Arc<Stored>>, ReadError>;

macro_rules! columns {
    () => {
        "off, epoch, seq, at_ms, cause_off, number, version, cause_number, kind, home_kind, home_id, entity_id, by_id, \
         trace, service, entity_kind, name, cause_service, body"
    };
}

/// Cuts a page out of the records `$found`, ordered by `$order`: $1 of them, or as many as have $2 bytes of bodies, but
/// one at least.
macro_rules! page {
    ($found:expr, $order:literal) => {
        concat!(
            "select * from (select found.*, row_number() over (order by ",
            $order,
            ") as nth, sum(octet_length(body)) over (order by ",
            $order,
            ") as bytes from (",
            $found,
            ") as found) as page where nth <= $1 and (nth = 1 or bytes <= $2) order by ",
            $order
        )
    };
}

/// Cuts a page out of records `$of` a shard after the offset $3, and finds each one's place in the stream.
macro_rules! page_of_shard {
    ($of:expr) => {
        concat!(
            "select page.*, stream.first_lsn + (page.off - stream.first_off) as lsn from (",
            page!(concat!("select ", columns!(), " from record where ", $of, " limit $1"), "off"),
            ") as page cross join lateral (select first_lsn, first_off from stream where stream.service = page.service \
             and stream.number = page.number and stream.first_off <= page.off order by stream.first_off desc limit 1) \
             as stream order by page.off"
        )
    };
}

const OF_SHARD: &str = page_of_shard!("off > $3 and service = $4 and number = $5 order by off");

const OF_HOME: &str =
    page_of_shard!("off > $3 and service = $4 and home_kind = $5 and home_id = $6 order by off");

/// Whether a row is of an entity, given by these parameters.
macro_rules! entity {
    ($service:literal, $home_kind:literal, $home:literal, $kind:literal, $id:literal) => {
        concat!(
            "service = $",
            $service,
            " and home_kind = $",
            $home_kind,
            " and home_id = $",
            $home,
            " and entity_kind = $",
            $kind,
            " and entity_id = $",
            $id
        )
    };
}

/// An entity's index knows seqs, not offsets. Whoever reads on does so from a record of the entity (a page's last, a
/// snapshot's), so that one is looked up; only if there is none at that offset, the last one before it is searched for,
/// from the end.
const OF_ENTITY: &str = page_of_shard!(concat!(
    entity!(4, 5, 6, 7, 8),
    " and seq > coalesce(case when $3::int8 = 0 then 0 end, (select seq from record where off = $3 and ",
    entity!(4, 5, 6, 7, 8),
    "), (select seq from record where off < $3 and ",
    entity!(4, 5, 6, 7, 8),
    " order by seq desc limit 1), 0) order by seq"
));

/// An entity's snapshot, as a row that comes before all records and is of no kind, and at most $6 records behind it: one
/// statement, so that nobody saves another one in between.
const OF_ENTITY_WITH_SNAPSHOT: &str = concat!(
    "with kept as (select seq, off, state from snapshot where ",
    entity!(1, 2, 3, 4, 5),
    ") select off, 0::int8 as epoch, seq, 0::int8 as at_ms, null::int8 as cause_off, 0::int4 as number, 0::int4 as \
     version, null::int4 as cause_number, 0::int2 as kind, $2 as home_kind, $3 as home_id, $5 as entity_id, \
     null::uuid as by_id, null::uuid as trace, $1 as service, $4 as entity_kind, '' as name, null::text as \
     cause_service, state as body from kept union all (select ",
    columns!(),
    " from record where ",
    entity!(1, 2, 3, 4, 5),
    " and seq > coalesce((select seq from kept), 0) order by seq limit $6) order by seq"
);

/// The ranges of the stream after the place $3, and of each the records.
pub(in crate::postgres) const OF_STREAM: &str = page!(
    "select record.* from (select *, sum(records) over (order by last_lsn) - records as before from (select last_lsn, service, \
         number, greatest($3::int8 + 1, first_lsn) - first_lsn + first_off as from_off, last_lsn - first_lsn + first_off as \
         to_off, first_lsn - first_off as shift, last_lsn - greatest($3 + 1, first_lsn) + 1 as records from stream where \
         last_lsn > $3 order by last_lsn limit $1) as near) as range cross join lateral (select record.off + range.shift \
         as lsn, record.* from record where record.service = range.service and record.number = range.number and \
         record.off between range.from_off and range.to_off order by record.off limit $1) as record where \
         range.before < $1",
    "lsn"
);

pub(super) async fn of_shard(store: &Store, shard: ShardId, after: Offset, limit: Limit) -> Page {
    let position = || format!("shard {shard} after {after}");
    let (service, number) = (shard.service.as_str(), i32::from(shard.number));
    page(store, OF_SHARD, limit, &[&large(after.0), &service, &number], position).await
}

pub(super) async fn of_home(store: &Store, service: Name, home: Home, after: Offset, limit: Limit) -> Page {
    let position = || format!("home {:032x} in {service} after {after}", home.id);
    let (kind, id) = (home.kind as i16, Uuid::from_u128(home.id));
    page(store, OF_HOME, limit, &[&large(after.0), &service.as_str(), &kind, &id], position).await
}

pub(super) async fn of_entity(
    store: &Store,
    service: Name,
    entity: EntityRef,
    after: Offset,
    limit: Limit,
) -> Page {
    let position = || format!("entity {entity} after {after}");
    let (home_kind, home) = (entity.home.kind as i16, Uuid::from_u128(entity.home.id));
    let (kind, id) = (entity.kind.as_str(), Uuid::from_u128(entity.id));
    let given: [&(dyn ToSql + Sync); 6] = [&large(after.0), &service.as_str(), &home_kind, &home, &kind, &id];
    page(store, OF_ENTITY, limit, &given, position).await
}

/// A snapshot as it is kept: its seq, its offset, and the sealed state.
pub(in crate::postgres) type Kept = (Seq, Offset, Vec<u8>);

/// An entity's snapshot, the first records behind it, and whether those are all.
pub(in crate::postgres) async fn of_entity_with_snapshot(
    store: &Store,
    service: Name,
    entity: EntityRef,
    records: usize,
) -> Result<(Option<Kept>, Vec<(Offset, Record)>, bool), StoreError> {
    let (home_kind, home) = (entity.home.kind as i16, Uuid::from_u128(entity.home.id));
    let (kind, id) = (entity.kind.as_str(), Uuid::from_u128(entity.id));
    let client = store.client().await?;
    let statement = client.prepare_cached(OF_ENTITY_WITH_SNAPSHOT).await?;
    let given: [&(dyn ToSql + Sync); 6] =
        [&service.as_str(), &home_kind, &home, &kind, &id, &large(records as u64)];
    let rows = client.query(&statement, &given).await?;
    let (mut snapshot, mut found) = (None, Vec::with_capacity(rows.len()));
    for row in &rows {
        let offset = Offset(unsigned(row.try_get("off")?));
        if row.try_get::<_, i16>("kind")? == 0 {
            snapshot = Some((Seq(unsigned(row.try_get("seq")?)), offset, row.try_get("body")?));
        } else if let Some(record) = recorded(row)? {
            found.push((offset, record));
        } else {
            // Whoever reads on in the journal says where it is damaged.
            return Ok((snapshot, found, false));
        }
    }
    let is_all = found.len() < records;
    Ok((snapshot, found, is_all))
}

pub(super) async fn of_stream(store: &Store, after: Lsn, limit: Limit) -> Page {
    page(store, OF_STREAM, limit, &[&large(after.0)], || format!("the stream after {after}")).await
}

/// The same over a session that has it prepared.
pub(super) async fn of_stream_over(client: &Client, of_stream: &Statement, after: Lsn, limit: Limit) -> Page {
    let position = || format!("the stream after {after}");
    let (records, bytes) = (large(limit.records as u64), large(limit.bytes as u64));
    let rows = client.query(of_stream, &[&records, &bytes, &large(after.0)]).await;
    let failed = |error| ReadError::Engine { position: position(), source: StoreError::from(error).into() };
    parsed(&rows.map_err(failed)?, position)
}

/// Reads a page, given what comes behind its limits.
async fn page(
    store: &Store,
    sql: &str,
    limit: Limit,
    given: &[&(dyn ToSql + Sync)],
    position: impl Fn() -> String,
) -> Page {
    let (records, bytes) = (large(limit.records as u64), large(limit.bytes as u64));
    let limits: [&(dyn ToSql + Sync); 2] = [&records, &bytes];
    let given = [&limits, given].concat();
    let read = async {
        let client = store.client().await?;
        let statement = client.prepare_cached(sql).await?;
        Ok::<_, StoreError>(client.query(&statement, &given).await?)
    };
    let rows =
        read.await.map_err(|error| ReadError::Engine { position: position(), source: error.into() })?;
    parsed(&rows, position)
}

/// The records in rows.
pub(in crate::postgres) fn parsed(rows: &[Row], position: impl Fn() -> String) -> Page {
    let mut page = Vec::with_capacity(rows.len());
    for row in rows {
        let damaged = |what: String| ReadError::Damaged { position: position(), what };
        let stored = stored(row).map_err(|error| damaged(error.to_string()))?;
        page.push(Arc::new(stored.ok_or_else(|| damaged("not a record of this journal".to_owned()))?));
    }
    Ok(page)
}

/// What is stored in a row; `None` if its names or kinds are none.
fn stored(row: &Row) -> Result<Option<Stored>, tokio_postgres::Error> {
    let count = |column| Ok::<_, tokio_postgres::Error>(unsigned(row.try_get(column)?));
    let (Some(record), Some(service), Some(number)) =
        (recorded(row)?, name(row, "service")?, number(row, "number")?)
    else {
        return Ok(None);
    };
    Ok(Some(Stored {
        lsn: Lsn(count("lsn")?),
        shard: ShardId { service, number },
        epoch: Epoch(count("epoch")?),
        offset: Offset(count("off")?),
        record,
    }))
}

fn name(row: &Row, column: &str) -> Result<Option<Name>, tokio_postgres::Error> {
    Ok(row.try_get::<_, Option<&str>>(column)?.and_then(Name::parse))
}

fn number(row: &Row, column: &str) -> Result<Option<u16>, tokio_postgres::Error> {
    Ok(row.try_get::<_, Option<i32>>(column)?.and_then(|number| u16::try_from(number).ok()))
}

/// The record in a row; `None` if its names or kinds are none.
fn recorded(row: &Row) -> Result<Option<Record>, tokio_postgres::Error> {
    let id = |column| {
        Ok::<_, tokio_postgres::Error>(row.try_get::<_, Option<Uuid>>(column)?.map_or(0, |id| id.as_u128()))
    };
    let kind =
        |column| Ok::<_, tokio_postgres::Error>(u8::try_from(row.try_get::<_, i16>(column)?).unwrap_or(0));
    let cause_offset: Option<i64> = row.try_get("cause_off")?;
    let caused_by = match (cause_offset, name(row, "cause_service")?, number(row, "cause_number")?) {
        (Some(offset), Some(service), Some(number)) => {
            Some(Cause { shard: ShardId { service, number }, offset: Offset(unsigned(offset)) })
        }
        (None, None, None) => None,
        _ => return Ok(None),
    };
    let kinds = (RecordKind::from_number(kind("kind")?), HomeKind::from_number(kind("home_kind")?));
    let names = (name(row, "entity_kind")?, name(row, "name")?, number(row, "version")?);
    let ((Some(kind), Some(home_kind)), (Some(entity_kind), Some(name), Some(version))) = (kinds, names)
    else {
        return Ok(None);
    };
    let home = Home { kind: home_kind, id: id("home_id")? };
    Ok(Some(Record {
        kind,
        entity: EntityRef { home, kind: entity_kind, id: id("entity_id")? },
        seq: Seq(unsigned(row.try_get("seq")?)),
        name,
        version,
        at_ms: row.try_get("at_ms")?,
        by: id("by_id")?,
        trace: id("trace")?,
        caused_by,
        body: row.try_get("body")?,
    }))
}
