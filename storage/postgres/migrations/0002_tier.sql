-- What can be rebuilt: rows and positions of read models, and snapshots.

create table model_row (
    projection text collate "C" not null,
    key        bytea not null,
    home_kind  smallint not null,
    home_id    uuid not null,
    value      bytea not null,
    primary key (projection, key)
);
create table model_position (
    projection text collate "C" primary key,
    lsn        bigint not null
);
create table model_offset (
    projection text collate "C" not null,
    service    text collate "C" not null,
    number     integer not null,
    off        bigint not null,
    primary key (projection, service, number)
);
create table snapshot (
    service     text collate "C" not null,
    home_kind   smallint not null,
    home_id     uuid not null,
    entity_kind text collate "C" not null,
    entity_id   uuid not null,
    seq         bigint not null,
    off         bigint not null,
    state       bytea not null,
    primary key (service, home_kind, home_id, entity_kind, entity_id)
);

comment on table model_row is 'Rows of read models. Can be emptied, with model_position and model_offset, while no node runs: it is rebuilt.';
comment on column model_row.key is 'Ids or keyed hashes, by which the projection orders its rows.';
comment on column model_row.home_kind is 'Whose data it is: 1 a tenant''s, 2 an account''s, 3 the platform''s.';
comment on column model_row.home_id is 'The id of that tenant, account or platform entity.';
comment on column model_row.value is 'Sealed with the key of that home.';
comment on table model_position is 'How far each projection has come: where to walk on, a hint.';
comment on table model_offset is 'How far each projection has come: the last record of each shard that is in its rows.';
comment on table snapshot is 'States of entities, to load them without reading all their records. Can be emptied: it is rebuilt.';
comment on column snapshot.seq is 'The last record it includes, by the entity''s count.';
comment on column snapshot.off is 'The same record, by the shard''s count.';
comment on column snapshot.state is 'Sealed with the key of the home.';
