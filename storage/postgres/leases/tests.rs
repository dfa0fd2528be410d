//! The cluster's tables on a real server.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::{join, join_all};

use super::*;
use crate::{
    leases::{Build, ShardState, Wire},
    postgres::testing::{Database, Server, settings},
};

const USERS: Name = Name::new("users");
const LEASE: Duration = Duration::from_secs(6);

fn profile() -> Profile {
    Profile {
        address: "127.0.0.1:7101".to_owned(),
        directory: 7,
        roles: BTreeSet::from([USERS, Name::new("auth")]),
        weight: 2,
        build: Build { major: 1, minor: 2, patch: 3 },
        wire: Wire { min: 1, max: 2 },
    }
}

fn node(name: &'static str) -> NodeId {
    NodeId(Name::new(name))
}

fn shard_of(number: u16) -> ShardId {
    ShardId { service: USERS, number }
}

/// Tables of a cluster with a few shards.
async fn tables(database: &Database) -> PostgresLeases {
    let tables = PostgresLeases::open(&database.store().await, LEASE).await.unwrap();
    tables.found(4, &[USERS], 1).await.unwrap();
    tables
}

async fn joined(tables: &PostgresLeases, name: &'static str) -> Incarnation {
    let incarnation = loop {
        // Others may have been quicker.
        let view = tables.read(0).await.unwrap().meta.view;
        if let Some(incarnation) = tables.join(view, node(name), &profile()).await.unwrap() {
            break incarnation;
        }
    };
    assert!(tables.change_status(incarnation, Status::Joining, Status::Up).await.unwrap());
    incarnation
}

/// The lease of a node is over.
async fn expire(database: &Database) {
    database.execute("update node set lease_until = clock_timestamp() - interval '1 second'").await;
}

#[tokio::test]
async fn a_cluster_is_founded_once_and_its_shards_are_free() {
    let database = Database::fresh();
    let (one, two) = Box::pin(join(tables(&database), tables(&database))).await;

    let (first, second) = (one.read(0).await.unwrap(), two.read(0).await.unwrap());

    assert_eq!((first.meta, &first.shards), (second.meta, &second.shards));
    assert_eq!(first.shards.len(), 4);
    let is_free = |row: &ShardRow| (row.state, row.owner, row.epoch) == (ShardState::Free, None, Epoch(0));
    assert!(first.shards.iter().all(is_free));
    // A service that a newer build brings along gets its shards, which everybody reads.
    let meta = one.found(4, &[USERS, Name::new("auth")], 1).await.unwrap();
    assert_eq!(two.read(first.meta.map).await.unwrap().shards.len(), 4);
    assert_eq!((meta.generation, meta.map), (first.meta.generation, first.meta.map + 1));
}

#[tokio::test]
async fn a_node_is_read_back_as_it_joined() {
    let database = Database::fresh();
    let tables = tables(&database).await;
    let view = tables.read(0).await.unwrap().meta.view;

    let me = tables.join(view, node("a"), &profile()).await.unwrap().unwrap();

    let read = tables.read(0).await.unwrap();
    let row = &read.nodes[0];
    assert_eq!((row.incarnation, row.status, &*row.profile), (me, Status::Joining, &profile()));
    assert!(row.lease_until.since(read.now) > LEASE / 2);
    assert_eq!((me.number, read.meta.view), (view + 1, view + 1));
    // The view has moved on: whoever decided by the old one decides again.
    assert_eq!(tables.join(view, node("b"), &profile()).await.unwrap(), None);
}

#[tokio::test]
async fn a_node_is_declared_down_only_once_its_lease_is_over_and_then_renews_never_again() {
    let database = Database::fresh();
    let tables = tables(&database).await;
    let me = joined(&tables, "a").await;
    assert!(!tables.declare_down(me, false).await.unwrap());
    assert_eq!(tables.renew(me).await.unwrap().unwrap().expired, []);

    expire(&database).await;
    // As long as nobody has declared it, it may renew.
    assert!(tables.renew(me).await.unwrap().is_some());
    expire(&database).await;
    assert!(tables.declare_down(me, false).await.unwrap());

    assert_eq!(tables.renew(me).await.unwrap(), None);
    assert!(!tables.declare_down(me, false).await.unwrap(), "it is down already");
    assert!(tables.declare_down(joined(&tables, "b").await, true).await.unwrap(), "that is proven");
}

#[tokio::test]
async fn a_renewal_tells_whose_leases_are_over() {
    let database = Database::fresh();
    let tables = tables(&database).await;
    let (me, other) = (joined(&tables, "a").await, joined(&tables, "b").await);
    expire(&database).await;

    let renewal = tables.renew(me).await.unwrap().unwrap();

    assert_eq!(renewal.expired, [other]);
    let meta = tables.read(0).await.unwrap().meta;
    assert_eq!((renewal.view, renewal.map), (meta.view, meta.map));
}

#[tokio::test]
async fn a_renewal_and_a_declaration_at_once_do_not_both_succeed() {
    let database = Database::fresh();
    let (one, two) = (tables(&database).await, tables(&database).await);
    for round in 0..50 {
        let view = one.read(0).await.unwrap().meta.view;
        let me = one.join(view, node("a"), &profile()).await.unwrap().unwrap();
        expire(&database).await;
        let (renewed, declared) = join(one.renew(me), two.declare_down(me, false)).await;
        let (renewed, declared) = (renewed.unwrap().is_some(), declared.unwrap());
        assert!(renewed || declared);
        if declared {
            assert_eq!(one.renew(me).await.unwrap(), None, "round {round}");
        }
        one.declare_down(me, true).await.unwrap();
    }
}

#[tokio::test]
async fn a_claim_takes_what_is_free_or_whose_owner_is_down_and_raises_the_epoch() {
    let database = Database::fresh();
    let tables = tables(&database).await;
    let (a, b) = (joined(&tables, "a").await, joined(&tables, "b").await);
    let before = tables.read(0).await.unwrap().meta.map;

    let claimed = tables.claim(a, &[(shard_of(0), Epoch(0)), (shard_of(1), Epoch(7))]).await.unwrap();
    assert_eq!(claimed.len(), 1, "the other one is at another epoch");
    let row = claimed[0];
    assert_eq!(
        (row.shard, row.epoch, row.owner, row.state, row.changed),
        (shard_of(0), Epoch(1), Some(a), ShardState::Owned, before + 1)
    );
    assert_eq!(tables.read(before).await.unwrap().shards, [row]);

    let again = [(shard_of(0), Epoch(1))];
    assert_eq!(tables.claim(b, &again).await.unwrap(), [], "its owner lives");
    tables.declare_down(a, true).await.unwrap();
    let taken = tables.claim(b, &again).await.unwrap();
    assert_eq!((taken[0].epoch, taken[0].owner), (Epoch(2), Some(b)));
    assert_eq!(tables.claim(a, &[(shard_of(2), Epoch(0))]).await.unwrap(), [], "who is down claims nothing");
}

#[tokio::test]
async fn of_many_who_claim_a_shard_at_once_one_has_it() {
    let database = Database::fresh();
    let mut claimers = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let tables = tables(&database).await;
        let me = joined(&tables, name).await;
        claimers.push((tables, me));
    }
    for epoch in 0..20 {
        let shards: Vec<_> = (0..4).map(|number| (shard_of(number), Epoch(epoch))).collect();
        let claims = join_all(claimers.iter().map(|(tables, me)| tables.claim(*me, &shards))).await;
        let claimed: Vec<_> = claims.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(claimed.len(), 4, "each shard has one winner");
        let shards: BTreeSet<_> = claimed.iter().map(|row| row.shard).collect();
        assert_eq!(shards.len(), 4);
        for row in claimed {
            let (tables, owner) = claimers.iter().find(|(_, me)| row.owner == Some(*me)).unwrap();
            let (one, nothing) = ([(row.shard, row.epoch)], (row.shard, Epoch(999)));
            assert_eq!(tables.mark_releasing(*owner, &[nothing, one[0]]).await.unwrap(), 1);
            assert_eq!(tables.free(*owner, &one).await.unwrap(), 1);
            assert_eq!(tables.free(*owner, &one).await.unwrap(), 0, "it is free already");
        }
    }
}

#[tokio::test]
async fn a_plan_holds_only_for_the_tables_it_was_made_from() {
    let database = Database::fresh();
    let tables = tables(&database).await;
    let (a, b) = (joined(&tables, "a").await, joined(&tables, "b").await);
    tables.claim(a, &[(shard_of(0), Epoch(0)), (shard_of(1), Epoch(0))]).await.unwrap();
    let meta = tables.read(0).await.unwrap().meta;
    let moves = [
        Move { shard: shard_of(0), epoch: Epoch(1), to: Some(b.node) },
        Move { shard: shard_of(1), epoch: Epoch(9), to: Some(b.node) },
    ];
    assert_eq!(tables.propose(meta.view, meta.map - 1, &moves).await.unwrap(), None);
    assert_eq!(tables.propose(meta.view - 1, meta.map, &moves).await.unwrap(), None);

    let map = tables.propose(meta.view, meta.map, &moves).await.unwrap();

    assert_eq!(map, Some(meta.map + 1));
    let changed = tables.read(meta.map).await.unwrap().shards;
    assert_eq!(changed.len(), 1, "the other one is owned under another epoch");
    assert_eq!((changed[0].shard, changed[0].target), (shard_of(0), Some(b.node)));
}

#[tokio::test]
async fn a_row_is_forgotten_only_when_it_is_down_and_owns_nothing() {
    let database = Database::fresh();
    let tables = tables(&database).await;
    let (a, b) = (joined(&tables, "a").await, joined(&tables, "b").await);
    tables.claim(a, &[(shard_of(0), Epoch(0))]).await.unwrap();
    assert!(!tables.forget(a).await.unwrap());
    tables.declare_down(a, true).await.unwrap();
    assert!(!tables.forget(a).await.unwrap(), "a shard names it");
    tables.claim(b, &[(shard_of(0), Epoch(1))]).await.unwrap();

    assert!(tables.forget(a).await.unwrap());

    assert_eq!(tables.read(0).await.unwrap().nodes.len(), 1);
}

/// Whoever has read up to a number has read everything below it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_changes_are_in_the_order_of_their_commits() {
    let database = Database::fresh();
    let watcher = tables(&database).await;
    let nodes = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let work = async |name: &'static str, number: u16| {
        let tables = tables(&database).await;
        let me = joined(&tables, name).await;
        for round in 0..20 {
            let claimed = tables.claim(me, &[(shard_of(number), Epoch(round))]).await.unwrap();
            for row in claimed {
                tables.free(me, &[(row.shard, row.epoch)]).await.unwrap();
            }
        }
    };
    let watch = async {
        let (mut seen, mut map) = (std::collections::BTreeMap::new(), 0);
        loop {
            let read = watcher.read(map).await.unwrap();
            map = read.meta.map;
            for row in read.shards {
                seen.insert(row.shard, row);
            }
            if seen.values().filter(|row| row.epoch >= Epoch(20)).count() == 4 {
                let all = watcher.read(0).await.unwrap().shards;
                if all.iter().all(|row| seen.get(&row.shard) == Some(row)) {
                    return;
                }
            }
        }
    };
    let workers = join_all(nodes.into_iter().zip((0..8).map(|at| at % 4)).map(|(name, at)| work(name, at)));
    // Two at each shard: each finds the other's epochs taken at times, so somebody goes on until all are done.
    let rest = async {
        workers.await;
        let tables = tables(&database).await;
        let me = joined(&tables, "z").await;
        loop {
            let rows = tables.read(0).await.unwrap().shards;
            let behind: Vec<_> =
                rows.iter().filter(|row| row.epoch < Epoch(20)).map(|row| (row.shard, row.epoch)).collect();
            if behind.is_empty() {
                return;
            }
            for row in tables.claim(me, &behind).await.unwrap() {
                tables.free(me, &[(row.shard, row.epoch)]).await.unwrap();
            }
        }
    };

    join(watch, rest).await;
}

#[tokio::test]
async fn a_store_that_stops_is_said_to_be_away_and_is_found_again() {
    let server = Arc::new(tokio::task::spawn_blocking(Server::start).await.unwrap());
    let tables = tables(&server.database()).await;
    let me = joined(&tables, "a").await;
    let stop = Arc::clone(&server);
    tokio::task::spawn_blocking(move || stop.stop()).await.unwrap();

    assert!(matches!(tables.renew(me).await, Err(Error::Unreachable(_))));
    assert!(matches!(tables.read(0).await, Err(Error::Unreachable(_))));

    let resume = Arc::clone(&server);
    tokio::task::spawn_blocking(move || resume.resume()).await.unwrap();
    let again = async {
        while tables.renew(me).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
}

#[tokio::test]
async fn a_user_without_a_right_is_told_which() {
    let server = Server::shared();
    let database = server.database();
    drop(tables(&database).await);
    server.create_stranger().await;
    database.execute("grant select on all tables in schema public to stranger").await;
    let url = server.url("stranger", &database.name) + " password=right";
    let tables = PostgresLeases::open(&Store::open(&settings(&url)).await.unwrap(), LEASE).await.unwrap();

    let refused = tables.join(1, node("a"), &profile()).await;

    let Err(Error::Refused { what }) = refused else { panic!("{refused:?}") };
    assert!(what.contains("permission denied for table"), "{what}");
}
