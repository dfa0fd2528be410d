-- Data keys, wrapped, and how many were destroyed.

create table key (
    subject text collate "C" primary key,
    wrapped bytea,
    erased  bigint,
    check ((wrapped is null) = (erased is not null))
);
create index key_erased on key (erased) where erased is not null;

create table keyring (
    is_only boolean primary key default true check (is_only),
    erasures bigint not null default 0
);
insert into keyring default values;

comment on table key is 'Data keys, wrapped by the master key: without it these rows open nothing.';
comment on column key.subject is 'Whose key: tenant/, account/ or platform/ and the id of the home, or secret/ and a name.';
comment on column key.wrapped is 'The key, sealed with the master key; null once it is erased, and with it all that it sealed.';
comment on column key.erased is 'The number of its erasure, rising in the order of their commits; null while it is kept.';
comment on table keyring is 'One row: how many erasures there were.';
