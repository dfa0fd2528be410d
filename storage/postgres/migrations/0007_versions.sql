-- Builds of two versions side by side, and a database that was restored by its own tools.

alter table cluster_meta
    add column finalized integer not null default 1,
    add column restored bigint not null default 0;
comment on column cluster_meta.finalized is 'What may be written: the version every node speaks. Builds that speak only older ones are refused for good.';
comment on column cluster_meta.restored is 'Which restoring by the database''s own tools this goes on from, drawn then; 0 for none. Cursors carry it.';

alter table migration
    add column expands boolean not null default false;
comment on column migration.expands is 'Whether builds that do not know it may go on: it only adds.';
