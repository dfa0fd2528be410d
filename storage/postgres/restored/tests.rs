//! What a restored database goes on with, on a real PostgreSQL.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::{
    Epoch, Name, ShardId,
    leases::{Build, Incarnation, Leases, NodeId, Profile, ShardState, Wire},
    postgres::{PostgresLeases, testing::Database},
};

const SERVICE: Name = Name::new("users");
const NODE: NodeId = NodeId(Name::new("a"));
const SHARD: ShardId = ShardId { service: SERVICE, number: 1 };

/// A store with one node, whose lease lasts so long, and which owns a shard.
async fn cluster(lease: Duration) -> (Store, PostgresLeases, Incarnation) {
    let store = Database::fresh().store().await;
    let leases = PostgresLeases::open(&store, lease).await.unwrap();
    let meta = leases.found(4, &[SERVICE], 1).await.unwrap();
    let profile = Profile {
        address: "127.0.0.1:1".to_owned(),
        directory: 1,
        roles: BTreeSet::from([SERVICE]),
        weight: 1,
        build: Build { major: 0, minor: 1, patch: 0 },
        wire: Wire { min: 1, max: 1 },
    };
    let me = leases.join(meta.view, NODE, &profile).await.unwrap().unwrap();
    assert_eq!(leases.claim(me, &[(SHARD, Epoch(0))]).await.unwrap().len(), 1);
    (store, leases, me)
}

#[tokio::test]
async fn a_node_that_runs_keeps_it_as_it_is() {
    let (store, leases, me) = cluster(Duration::from_secs(60)).await;
    let before = leases.read(0).await.unwrap();

    for is_meant in [false, true] {
        let error = store.restored(is_meant).await.unwrap_err();
        assert!(matches!(&error, NotRestored::Running { node, .. } if node == "a"), "{error:?}");
    }

    let after = leases.read(0).await.unwrap();
    assert_eq!((after.meta, after.shards), (before.meta, before.shards));
    assert!(leases.renew(me).await.unwrap().is_some());
}

#[tokio::test]
async fn it_goes_on_as_another_cluster_that_nobody_of_before_writes_to() {
    let (store, leases, me) = cluster(Duration::ZERO).await;
    let before = leases.read(0).await.unwrap();

    let dry = store.restored(false).await.unwrap();
    assert_eq!((dry.before, dry.generation, dry.nodes), (before.meta.generation, before.meta.generation, 1));
    assert_eq!(leases.read(0).await.unwrap().shards, before.shards);

    let done = store.restored(true).await.unwrap();
    let after = leases.read(0).await.unwrap();
    assert_eq!((done.before, done.generation), (before.meta.generation, after.meta.generation));
    assert_ne!(done.before, done.generation);
    assert!(after.meta.restored != 0 && after.meta.view > before.meta.view);
    assert!(after.nodes.is_empty());
    for row in &after.shards {
        let was = before.shards.iter().find(|was| was.shard == row.shard).unwrap();
        assert_eq!((row.epoch.0, row.state), (was.epoch.0 + (1 << 20), ShardState::Free));
        assert_eq!((row.owner, row.tail), (None, was.tail));
        assert_eq!(row.changed, after.meta.map);
    }
    assert_eq!(leases.renew(me).await.unwrap(), None);
    assert!(leases.claim(me, &[(SHARD, Epoch(1 + (1 << 20)))]).await.unwrap().is_empty());

    let again = store.restored(true).await.unwrap();
    assert_eq!((again.before, again.epoch), (done.generation, done.epoch + (1 << 20)));
    assert_ne!(leases.read(0).await.unwrap().meta.restored, after.meta.restored);
}

#[tokio::test]
async fn a_database_without_a_cluster_is_none_that_was_restored() {
    let store = Database::fresh().store().await;

    assert!(matches!(store.restored(true).await, Err(NotRestored::Nothing)));
}
