-- Many nodes: who is here, and who owns which shard.

create table cluster_meta (
    is_only boolean primary key default true check (is_only),
    generation uuid not null,
    shards integer not null,
    view bigint not null default 1,
    view_at timestamptz not null default clock_timestamp(),
    map bigint not null default 1
);
comment on table cluster_meta is 'One row: the cluster that keeps everything here, once there is one.';
comment on column cluster_meta.generation is 'Which cluster this is; a restored backup gets a new one.';
comment on column cluster_meta.shards is 'Shards per service, fixed when the data was created.';
comment on column cluster_meta.view is 'Raised whenever a node joins or changes its status, last in the transaction that does it.';
comment on column cluster_meta.view_at is 'When the view was last raised.';
comment on column cluster_meta.map is 'Raised whenever a shard''s row changes but for its tail, last in the transaction that does it.';

create table node (
    node text collate "C" not null,
    incarnation bigint not null,
    status text collate "C" not null check (status in ('joining', 'up', 'draining', 'down')),
    lease_until timestamptz not null,
    address text not null,
    directory uuid not null,
    roles text[] not null,
    weight smallint not null,
    build_major integer not null,
    build_minor integer not null,
    build_patch integer not null,
    wire_min integer not null,
    wire_max integer not null,
    primary key (node, incarnation)
);
comment on table node is 'The processes that are or were members of the cluster, a row each.';
comment on column node.node is 'The node''s name: `cluster.node`.';
comment on column node.incarnation is 'Which of its runs: the view that began with its joining.';
comment on column node.status is 'joining, up, draining, or down, which it is for ever.';
comment on column node.lease_until is 'On this clock: afterwards anybody may declare it down.';
comment on column node.address is 'Where its peers reach it.';
comment on column node.directory is 'Its data directory, of which only one process at a time holds the lock.';
comment on column node.roles is 'The services that it hosts.';
comment on column node.weight is 'Its size beside others.';

alter table shard
    add column state text collate "C" not null default 'free' check (state in ('owned', 'releasing', 'free')),
    add column owner text collate "C",
    add column owner_incarnation bigint,
    add column target text collate "C",
    add column changed bigint not null default 1,
    add check ((owner is null) = (owner_incarnation is null)),
    add check ((state = 'free') = (owner is null));
comment on column shard.state is 'owned, releasing (its owner begins nothing more), or free.';
comment on column shard.owner is 'The node that owns it.';
comment on column shard.owner_incarnation is 'Which run of that node.';
comment on column shard.target is 'The node it is to move to.';
comment on column shard.changed is 'The map''s number of the last change of this row but for its tail.';
