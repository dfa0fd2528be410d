//! A batch of records that have their places already, as arrays.

use std::collections::BTreeMap;

use tokio_postgres::{Error, Transaction, types::ToSql};
use uuid::Uuid;

use crate::{
    Epoch, Lsn, Offset, ShardId,
    journal::Stored,
    postgres::{
        journal::columns::Columns,
        numbers::{large, small},
    },
};

const SHARDS: &str = "
    insert into shard (service, number, epoch, tail)
    select service, number, 0, 0 from unnest($1::text[], $2::int4[]) as given (service, number)
    order by service, number
    on conflict (service, number) do nothing";
const MOVE_SHARDS: &str = "
    with given as (
        select * from unnest($1::text[], $2::int4[], $3::int8[], $4::int8[], $5::int8[])
            as given (service, number, epoch, before, tail)
    ),
    held as (
        select given.* from given join shard on shard.service = given.service and shard.number = given.number
        order by shard.service, shard.number
        for update of shard
    )
    update shard set tail = held.tail, epoch = greatest(shard.epoch, held.epoch) from held
    where shard.service = held.service and shard.number = held.number and shard.tail = held.before";
const RECORDS: &str = "
    insert into record (
        off, epoch, seq, at_ms, cause_off, number, version, cause_number, kind, home_kind, home_id, entity_id, batch,
        by_id, trace, service, entity_kind, name, cause_service, body
    )
    select fresh.off, range.epoch, fresh.seq, fresh.at_ms, fresh.cause_off, range.number, fresh.version,
        fresh.cause_number, fresh.kind, fresh.home_kind, fresh.home_id, fresh.entity_id, $5, fresh.by_id, fresh.trace,
        range.service, fresh.entity_kind, fresh.name, fresh.cause_service, fresh.body
    from unnest(
        $6::int4[], $7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::int4[], $12::int4[], $13::int2[],
        $14::int2[], $15::uuid[], $16::uuid[], $17::uuid[], $18::uuid[], $19::text[], $20::text[], $21::text[],
        $22::bytea[]
    ) as fresh (
        place, off, seq, at_ms, cause_off, version, cause_number, kind, home_kind, home_id, entity_id, by_id, trace,
        entity_kind, name, cause_service, body
    )
    join unnest($1::int4[], $2::text[], $3::int4[], $4::int8[]) as range (place, service, number, epoch)
        on range.place = fresh.place";
const STREAM: &str = "
    insert into stream (last_lsn, first_lsn, first_off, number, service)
    select last_lsn, first_lsn, first_off, number, service
    from unnest($1::int8[], $2::int8[], $3::int8[], $4::int4[], $5::text[])
        as range (last_lsn, first_lsn, first_off, number, service)";
const MOVE_LOG: &str = "update log set lsn = $2 where is_only and lsn = $1";

/// Records of one shard under one epoch, next to each other in the stream.
struct Range {
    shard: ShardId,
    epoch: Epoch,
    first: Lsn,
    first_offset: Offset,
    last: Lsn,
}

/// Where a batch moves a shard.
struct Moved {
    epoch: Epoch,
    before: Offset,
    tail: Offset,
}

/// See the module.
pub(super) struct Batch<'a> {
    source: Uuid,
    ranges: Vec<Range>,
    shards: BTreeMap<ShardId, Moved>,
    columns: Columns<'a>,
    /// The place before the first record.
    before: Lsn,
    pub(super) last: Lsn,
}

impl<'a> Batch<'a> {
    /// `None` of no records.
    pub(super) fn of(source: Uuid, records: &'a [Stored]) -> Option<Self> {
        let (first, last) = (records.first()?.lsn, records.last()?.lsn);
        let (ranges, shards, before) = (Vec::new(), BTreeMap::new(), Lsn(first.0.saturating_sub(1)));
        let mut batch = Self { source, ranges, shards, columns: Columns::default(), before, last };
        for stored in records {
            batch.take_in(stored);
        }
        Some(batch)
    }

    fn take_in(&mut self, stored: &'a Stored) {
        let Stored { lsn, shard, epoch, offset, record } = stored;
        match self.ranges.last_mut().filter(|range| range.shard == *shard && range.epoch == *epoch) {
            Some(range) => range.last = *lsn,
            None => self.ranges.push(Range {
                shard: *shard,
                epoch: *epoch,
                first: *lsn,
                first_offset: *offset,
                last: *lsn,
            }),
        }
        self.columns.push(self.ranges.len() - 1, *offset, record);
        let before = Offset(offset.0.saturating_sub(1));
        let moved = self.shards.entry(*shard).or_insert(Moved { epoch: *epoch, before, tail: *offset });
        (moved.epoch, moved.tail) = (moved.epoch.max(*epoch), *offset);
    }

    /// Makes rows of shards that have none yet.
    pub(super) async fn insert_shards(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let (services, numbers) = self.names();
        transaction.execute(SHARDS, &[&services, &numbers]).await?;
        Ok(())
    }

    /// Moves the shards' ends; false if one of them is not where the batch goes on.
    pub(super) async fn move_shards(&self, transaction: &Transaction<'_>) -> Result<bool, Error> {
        let (services, numbers) = self.names();
        let epochs: Vec<_> = self.shards.values().map(|moved| large(moved.epoch.0)).collect();
        let before: Vec<_> = self.shards.values().map(|moved| large(moved.before.0)).collect();
        let tails: Vec<_> = self.shards.values().map(|moved| large(moved.tail.0)).collect();
        let given: [&(dyn ToSql + Sync); 5] = [&services, &numbers, &epochs, &before, &tails];
        Ok(transaction.execute(MOVE_SHARDS, &given).await? == self.shards.len() as u64)
    }

    fn names(&self) -> (Vec<&str>, Vec<i32>) {
        self.shards.keys().map(|shard| (shard.service.as_str(), i32::from(shard.number))).unzip()
    }

    /// Adds the records, and their places in the stream.
    pub(super) async fn insert(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let ranges = &self.ranges;
        let services: Vec<_> = ranges.iter().map(|range| range.shard.service.as_str()).collect();
        let numbers: Vec<_> = ranges.iter().map(|range| i32::from(range.shard.number)).collect();
        let places: Vec<_> = (0..ranges.len()).map(small).collect();
        let epochs: Vec<_> = ranges.iter().map(|range| large(range.epoch.0)).collect();
        let mut given: Vec<&(dyn ToSql + Sync)> = vec![&places, &services, &numbers, &epochs, &self.source];
        given.extend(self.columns.parameters());
        transaction.execute(RECORDS, &given).await?;
        let lasts: Vec<_> = ranges.iter().map(|range| large(range.last.0)).collect();
        let firsts: Vec<_> = ranges.iter().map(|range| large(range.first.0)).collect();
        let offsets: Vec<_> = ranges.iter().map(|range| large(range.first_offset.0)).collect();
        let given: [&(dyn ToSql + Sync); 5] = [&lasts, &firsts, &offsets, &numbers, &services];
        transaction.execute(STREAM, &given).await?;
        Ok(())
    }

    /// Moves the stream's end; false if it is not where the batch goes on.
    pub(super) async fn move_log(&self, transaction: &Transaction<'_>) -> Result<bool, Error> {
        Ok(transaction.execute(MOVE_LOG, &[&large(self.before.0), &large(self.last.0)]).await? == 1)
    }
}
