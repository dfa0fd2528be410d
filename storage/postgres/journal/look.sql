-- What became of a batch, and where its shards and the stream are now: one statement, so of one moment.
--
-- Parameters: of each shard $1 its place, $2 service, $3 number, $4 the tail it was left at; $5 the batch.
select given.place, shard.epoch, shard.tail, log.sequencer, log.lsn,
    exists (
        select 1
        from record
        where record.service = given.service and record.number = given.number and record.off = given.tail + 1
            and record.batch = $5
    ) as is_there
from log
left join unnest($1::int4[], $2::text[], $3::int4[], $4::int8[]) as given (place, service, number, tail) on true
left join shard on shard.service = given.service and shard.number = given.number
