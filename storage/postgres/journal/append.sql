-- Appends a batch to its shards and to the stream, in one statement and so in one transaction: all or nothing, and
-- nothing of a shard that another owner has, or that is not where the batch goes on.
--
-- Parameters: of each shard, in the order of their keys, $1 the place in the batch, $2 service, $3 number, $4 the epoch
-- it is owned under, $5 the tail it was left at, $6 how many records come; $7 this process as a sequencer, $8 where it
-- left the stream, $9 the batch; of each record $10 the place of its shard, $11 and so on the columns.
--
-- Answers a row for each of the shards that are there: its place, its epoch and tail before, and whether its records
-- are written. It relies on read committed: `for update` then yields each row as it is under the lock.
with given as (
    select *
    from unnest($1::int4[], $2::text[], $3::int4[], $4::int8[], $5::int8[], $6::int8[])
        as given (place, service, number, epoch, tail, records)
),
-- In the order of the keys, so that two writers never wait for each other in a circle.
held as (
    select given.*, shard.epoch as current_epoch, shard.tail as current_tail
    from given
    join shard on shard.service = given.service and shard.number = given.number
    order by shard.service, shard.number
    for update of shard
),
passed as (
    select held.*, (sum(held.records) over (order by held.place))::int8 as records_so_far
    from held
    where held.current_epoch = held.epoch and held.current_tail = held.tail
),
-- Of two processes that both go on with the stream, one finds it moved and writes nothing at all.
moved_log as (
    update log
    set lsn = log.lsn + (select sum(passed.records)::int8 from passed)
    where log.sequencer = $7 and log.lsn = $8 and exists (select 1 from passed)
    returning log.lsn
),
moved_shard as (
    update shard
    set tail = passed.tail + passed.records
    from passed, moved_log
    where shard.service = passed.service and shard.number = passed.number
),
streamed as (
    insert into stream (last_lsn, first_lsn, first_off, number, service)
    select $8 + passed.records_so_far, $8 + passed.records_so_far - passed.records + 1,
        passed.tail + 1, passed.number, passed.service
    from passed, moved_log
),
appended as (
    insert into record (
        off, epoch, seq, at_ms, cause_off, number, version, cause_number, kind, home_kind, home_id, entity_id, batch,
        by_id, trace, service, entity_kind, name, cause_service, body
    )
    select fresh.off, passed.epoch, fresh.seq, fresh.at_ms, fresh.cause_off, passed.number, fresh.version,
        fresh.cause_number, fresh.kind, fresh.home_kind, fresh.home_id, fresh.entity_id, $9, fresh.by_id, fresh.trace,
        passed.service, fresh.entity_kind, fresh.name, fresh.cause_service, fresh.body
    from unnest(
        $10::int4[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int4[], $16::int4[], $17::int2[],
        $18::int2[], $19::uuid[], $20::uuid[], $21::uuid[], $22::uuid[], $23::text[], $24::text[], $25::text[],
        $26::bytea[]
    ) as fresh (
        place, off, seq, at_ms, cause_off, version, cause_number, kind, home_kind, home_id, entity_id, by_id, trace,
        entity_kind, name, cause_service, body
    )
    join passed on passed.place = fresh.place
    cross join moved_log
)
select held.place, held.current_epoch, held.current_tail,
    held.current_epoch = held.epoch and held.current_tail = held.tail and exists (select 1 from moved_log) as is_written
from held
