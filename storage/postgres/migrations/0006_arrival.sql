-- What was moved here from a data directory.

create table arrival (
    is_only boolean primary key default true check (is_only),
    source uuid not null,
    state text collate "C" not null check (state in ('copying', 'whole')),
    begun timestamptz not null default now(),
    ended timestamptz
);
comment on table arrival is 'One row, if everything here came from the data directory of a node: see prognet migrate.';
comment on column arrival.source is 'Which directory: the id in its file `migration`.';
comment on column arrival.state is 'copying, and no node starts here, or whole.';
comment on column arrival.begun is 'When the first record may have come.';
comment on column arrival.ended is 'When everything was there and compared.';
