-- Appends a batch to its shards and to the stream, in one statement and so in one transaction: all or nothing, and
-- nothing of a shard that another owner has, or that is not where the batch goes on.
--
-- Parameters: of each shard, in the order of their keys, $1 the place in the batch, $2 service, $3 number, $4 the epoch
-- it is owned under, $5 the tail it was left at, $6 how many records come; $7 the batch; of each record $8 the place of
-- its shard, $9 and so on the columns.
--
-- Answers a row for each of the shards that are there: its place, its epoch and tail before, and where in the stream its
-- first record lies, if its records are written. It relies on read committed: `for update` then yields each row as it is
-- under the lock.
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
-- Behind the shards, whose rows the sum has all been locked for. Whoever else appends waits for this row until the
-- commit: so the order of the stream is the order of the commits, and has no gap.
moved_log as (
    update log
    set lsn = log.lsn + (select sum(passed.records)::int8 from passed)
    where (select count(*) from passed) > 0
    returning log.lsn - (select sum(passed.records)::int8 from passed) as before
),
moved_shard as (
    update shard
    set tail = passed.tail + passed.records
    from passed, moved_log
    where shard.service = passed.service and shard.number = passed.number
),
streamed as (
    insert into stream (last_lsn, first_lsn, first_off, number, service)
    select moved_log.before + passed.records_so_far, moved_log.before + passed.records_so_far - passed.records + 1,
        passed.tail + 1, passed.number, passed.service
    from passed, moved_log
),
appended as (
    insert into record (
        off, epoch, seq, at_ms, cause_off, number, version, cause_number, kind, home_kind, home_id, entity_id, batch,
        by_id, trace, service, entity_kind, name, cause_service, body
    )
    select fresh.off, passed.epoch, fresh.seq, fresh.at_ms, fresh.cause_off, passed.number, fresh.version,
        fresh.cause_number, fresh.kind, fresh.home_kind, fresh.home_id, fresh.entity_id, $7, fresh.by_id, fresh.trace,
        passed.service, fresh.entity_kind, fresh.name, fresh.cause_service, fresh.body
    from unnest(
        $8::int4[], $9::int8[], $10::int8[], $11::int8[], $12::int8[], $13::int4[], $14::int4[], $15::int2[],
        $16::int2[], $17::uuid[], $18::uuid[], $19::uuid[], $20::uuid[], $21::text[], $22::text[], $23::text[],
        $24::bytea[]
    ) as fresh (
        place, off, seq, at_ms, cause_off, version, cause_number, kind, home_kind, home_id, entity_id, by_id, trace,
        entity_kind, name, cause_service, body
    )
    join passed on passed.place = fresh.place
    cross join moved_log
)
select held.place, held.current_epoch, held.current_tail,
    moved_log.before + passed.records_so_far - passed.records + 1 as first_lsn
from held
left join passed on passed.place = held.place
left join moved_log on true
