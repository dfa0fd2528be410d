-- What became of a batch, and where its shards and the stream are now: one statement, so of one moment.
--
-- The limit on `log`, which has one row, is for planners: without it PostgreSQL takes a table that it has not yet
-- analyzed for thousands of rows, and compiles the statement for half a second.
--
-- Parameters: of each shard $1 its place, $2 service, $3 number, $4 the tail it was left at; $5 the batch, or
-- null when only the shards are asked for.
select given.place, shard.epoch, shard.tail, log.lsn,
    case when $5 is not null then (
        select stream.first_lsn
        from record
        join stream
            on stream.service = record.service and stream.number = record.number and stream.first_off = record.off
        where record.service = given.service and record.number = given.number and record.off = given.tail + 1
            and record.batch = $5
    ) end as first_lsn
from (select lsn from log limit 1) as log
left join unnest($1::int4[], $2::text[], $3::int4[], $4::int8[]) as given (place, service, number, tail) on true
left join shard on shard.service = given.service and shard.number = given.number
