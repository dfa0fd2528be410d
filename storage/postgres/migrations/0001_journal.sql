-- The journal: who may append to a shard, what was appended, and in which order a node met it.

create table shard (
    service text collate "C" not null,
    number integer not null,
    epoch bigint not null,
    tail bigint not null,
    primary key (service, number)
);
comment on table shard is 'Where each shard of the journal ends, and who may append to it.';
comment on column shard.service is 'The service whose entities the shard holds.';
comment on column shard.number is 'Its number, below the count fixed when the data was created.';
comment on column shard.epoch is 'Its ownership number: raised by every new owner; an append under another one is refused.';
comment on column shard.tail is 'The offset of its last record; 0 when it has none.';

-- Wide columns first, so that no byte is lost to alignment. Ids are `uuid` because that is 16 bytes without a length
-- and reads well; the product's ids are of that size and its accounts' and tenants' are UUIDs.
create table record (
    off bigint not null,
    epoch bigint not null,
    seq bigint not null,
    at_ms bigint not null,
    cause_off bigint,
    number integer not null,
    version integer not null,
    cause_number integer,
    kind smallint not null,
    home_kind smallint not null,
    home_id uuid not null,
    entity_id uuid not null,
    batch uuid not null,
    by_id uuid,
    trace uuid,
    service text collate "C" not null,
    entity_kind text collate "C" not null,
    name text collate "C" not null,
    cause_service text collate "C",
    body bytea not null,
    primary key (service, number, off)
);
-- One record a seq, and the way an entity is read.
create unique index record_of_entity on record (service, home_kind, home_id, entity_kind, entity_id, seq);
-- The way a home is read, without the rest of its shard.
create index record_of_home on record (service, home_kind, home_id, off);
comment on table record is 'The journal: everything that happened, never changed, deleted by nobody.';
comment on column record.off is 'Its place in the shard: 1, 2, 3, ... without a gap.';
comment on column record.epoch is 'The ownership it was written under.';
comment on column record.seq is 'Its place in its entity''s history: 1, 2, 3, ... without a gap.';
comment on column record.at_ms is 'When it was decided: milliseconds since 1970 of the deciding node''s clock.';
comment on column record.cause_off is 'With cause_service and cause_number: the record that led to it.';
comment on column record.number is 'The shard''s number.';
comment on column record.version is 'The version of the body''s shape.';
comment on column record.kind is '1 event, 2 timer set, 3 timer cleared, 4 outgoing command, 5 that command answered, 6 reply, 7 inbox, 8 reader''s cursor, 9 fence.';
comment on column record.home_kind is '1 tenant, 2 account, 3 platform.';
comment on column record.home_id is 'The home: whose data it is.';
comment on column record.entity_id is 'The entity, unique within kind and home.';
comment on column record.batch is 'The append that wrote it.';
comment on column record.by_id is 'The account that asked; null for the platform itself.';
comment on column record.trace is 'The trace it belongs to.';
comment on column record.service is 'The shard''s service.';
comment on column record.entity_kind is 'The kind of entity.';
comment on column record.name is 'The event''s type, the timer''s name, ...';
comment on column record.body is 'The body, sealed with the key of its home.';

create table stream (
    last_lsn bigint primary key,
    first_lsn bigint not null,
    first_off bigint not null,
    number integer not null,
    service text collate "C" not null
);
create unique index stream_of_shard on stream (service, number, first_off);
comment on table stream is 'The order over all shards in which records became durable: ranges of them, each of one shard.';
comment on column stream.last_lsn is 'The place of the range''s last record; places have no gap.';
comment on column stream.first_lsn is 'The place of its first record.';
comment on column stream.first_off is 'The offset of its first record in the shard.';

create table log (
    is_only boolean primary key default true check (is_only),
    sequencer uuid not null,
    lsn bigint not null
);
insert into log (sequencer, lsn) values ('00000000-0000-0000-0000-000000000000', 0);
comment on table log is 'One row: where the stream ends, and the one process that may go on with it.';
comment on column log.sequencer is 'That process: an id it draws when it starts.';
comment on column log.lsn is 'The place of the last record.';
