//! Finalizing, and schemas of newer builds, on a real PostgreSQL.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    Name,
    leases::{Leases, NodeId, Profile},
    postgres::{
        NotRestored, PostgresLeases,
        testing::{Database, settings},
    },
};

async fn join(leases: &PostgresLeases, name: &'static str, max: u16) {
    let view = leases.read(0).await.unwrap().meta.view;
    let profile = Profile {
        address: String::new(),
        directory: 1,
        roles: BTreeSet::new(),
        weight: 1,
        build: Build { major: 0, minor: max, patch: 0 },
        wire: Wire { min: 1, max },
    };
    leases.join(view, NodeId(Name::new(name)), &profile).await.unwrap().unwrap();
}

#[tokio::test]
async fn finalizing_waits_for_whoever_speaks_less_and_is_said_to_all() {
    let database = Database::fresh();
    let store = database.store().await;
    assert!(matches!(store.finalize(2).await, Err(VersionsError::Nobody)));
    let leases = PostgresLeases::open(&store, Duration::from_secs(60)).await.unwrap();
    leases.found(4, &[Name::new("users")], 1).await.unwrap();
    assert!(matches!(store.finalize(2).await, Err(VersionsError::Nobody)));
    join(&leases, "a", 2).await;
    join(&leases, "b", 1).await;
    let before = leases.read(0).await.unwrap().meta;

    let error = store.finalize(2).await.unwrap_err();
    assert!(matches!(&error, VersionsError::Behind { node, .. } if node == "b"), "{error:?}");
    assert_eq!(leases.read(0).await.unwrap().meta, before);

    database.execute("update node set status = 'down' where node = 'b'").await;
    assert_eq!(store.finalize(2).await.unwrap(), Finalized { before: 1, now: 2 });
    let after = leases.read(0).await.unwrap().meta;
    assert_eq!((after.finalized, after.view), (2, before.view + 1));
    assert_eq!(store.finalize(1).await.unwrap(), Finalized { before: 2, now: 2 });
    let versions = Versions::read(&settings(&database.url)).await.unwrap();
    assert_eq!((versions.finalized, versions.members.len(), versions.missing), (Some(2), 1, Vec::new()));
}

#[tokio::test]
async fn a_newer_schema_keeps_this_build_out_only_if_it_does_more_than_add() {
    let database = Database::fresh();
    drop(database.store().await);

    database.execute("insert into migration (number, name, expands) values (1000, 'later', true)").await;
    drop(database.store().await);
    assert_eq!(Versions::read(&settings(&database.url)).await.unwrap().strange, 0);

    database.execute("insert into migration (number, name) values (1001, 'last')").await;
    let error = Store::open(&settings(&database.url)).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 1001, .. }), "{error:?}");
    assert_eq!(Versions::read(&settings(&database.url)).await.unwrap().strange, 1);
}

/// As a build before the last migration left it.
#[tokio::test]
async fn an_earlier_schema_is_finalized_by_nobody_and_no_look_brings_it_up_to_date() {
    let database = Database::fresh();
    let settings = settings(&database.url);
    let store = database.store().await;
    let leases = PostgresLeases::open(&store, Duration::from_secs(60)).await.unwrap();
    leases.found(4, &[Name::new("users")], 1).await.unwrap();
    join(&leases, "a", 2).await;
    let Versions { schema, .. } = Versions::read(&settings).await.unwrap();
    database.execute(&format!("delete from migration where number = {schema}")).await;

    let unchanged = Store::open_unchanged(&settings).await.unwrap();

    let error = unchanged.finalize(2).await.unwrap_err();
    assert!(matches!(error, VersionsError::Schema { found } if found == schema - 1), "{error:?}");
    assert!(matches!(unchanged.restored(true).await, Err(NotRestored::Running { .. })));
    assert_eq!(Versions::read(&settings).await.unwrap().schema, schema - 1);
}

#[tokio::test]
async fn a_new_cluster_writes_what_its_founder_reads_and_whoever_comes_later_changes_nothing_of_that() {
    let database = Database::fresh();
    let store = database.store().await;
    let leases = PostgresLeases::open(&store, Duration::from_secs(60)).await.unwrap();

    for (speaks, finalized) in [(3, 3), (4, 3), (2, 3)] {
        let meta = leases.found(4, &[Name::new("users")], speaks).await.unwrap();
        assert_eq!(meta.finalized, finalized);
    }
}

#[tokio::test]
async fn looking_changes_nothing() {
    let database = Database::fresh();

    let versions = Versions::read(&settings(&database.url)).await.unwrap();

    assert_eq!((versions.schema, versions.finalized), (0, None));
    assert_eq!(versions.missing.len() > 6, versions.missing.iter().any(|step| !step.expands));
    database.execute("create table migration ()").await;
}
