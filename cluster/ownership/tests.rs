//! Whose turn it is, and what an old reading must not bring back.

use std::sync::Arc;

use prognet_supervisor::Name;

use super::*;
use crate::{
    StoreTime,
    tables::{Build, Meta, NodeRow, Profile, Snapshot, Wire},
};

const USERS: Name = Name::new("users");
const NODES: [NodeId; 3] = [NodeId(Name::new("n0")), NodeId(Name::new("n1")), NodeId(Name::new("n2"))];
const SHARD: ShardId = ShardId { service: USERS, number: 0 };

fn incarnation(at: usize) -> Incarnation {
    Incarnation { node: NODES[at], number: at as u64 + 1 }
}

fn node(at: usize, status: Status) -> NodeRow {
    let profile = Profile {
        address: "127.0.0.1:7000".to_owned(),
        directory: 0,
        roles: [USERS].into(),
        weight: 1,
        build: Build { major: 1, minor: 0, patch: 0 },
        wire: Wire { min: 1, max: 1 },
    };
    let lease_until = StoreTime::from_millis(6_000);
    NodeRow { incarnation: incarnation(at), status, lease_until, profile: Arc::new(profile) }
}

fn free(epoch: u64) -> ShardRow {
    let (epoch, state, tail) = (Epoch(epoch), ShardState::Free, Offset(0));
    ShardRow { shard: SHARD, epoch, owner: None, state, target: None, tail, changed: epoch.0 }
}

fn owned(epoch: u64, by: usize) -> ShardRow {
    ShardRow { owner: Some(incarnation(by)), state: ShardState::Owned, ..free(epoch) }
}

fn view(statuses: [Status; 3], row: ShardRow) -> View {
    let meta = Meta {
        generation: 1,
        shards: 1,
        view: 3,
        view_at: StoreTime::default(),
        map: 1,
        finalized: 1,
        restored: 0,
    };
    let nodes = statuses.into_iter().enumerate().map(|(at, status)| node(at, status)).collect();
    let mut view = View::default();
    view.merge(Snapshot { meta, now: StoreTime::default(), nodes, shards: vec![row] });
    view
}

fn up(row: ShardRow) -> View {
    view([Status::Up; 3], row)
}

fn scene<'a>(at: usize, millis: u64, view: &'a View, limits: &'a Limits) -> Scene<'a> {
    let (now, me) = (BootTime::from_millis(millis), incarnation(at));
    Scene { now, me, view, limits, holds_lease: true, may_ask: true, is_leaving: false }
}

/// When each node would claim, in milliseconds after it noticed.
fn turns(view: &View) -> [Option<u128>; 3] {
    let limits = Limits::default();
    let row = *view.shard(SHARD).unwrap();
    [0, 1, 2].map(|at| wait(&row, scene(at, 0, view, &limits)).map(|wait| wait.as_millis()))
}

#[test]
fn heirs_claim_one_after_the_other() {
    let mut turns = turns(&up(free(1)));
    turns.sort();

    assert_eq!(turns, [Some(0), Some(100), Some(200)]);
}

#[test]
fn a_shard_is_left_for_a_while_to_the_node_it_was_meant_for() {
    let row = ShardRow { target: Some(NODES[1]), ..free(1) };

    let mut others = turns(&up(row));
    assert_eq!(others[1], Some(0));
    others.sort();
    assert_eq!(others, [Some(0), Some(2_000), Some(2_100)]);

    let gone = view([Status::Up, Status::Down, Status::Up], row);
    assert_eq!(turns(&gone).iter().flatten().max(), Some(&100));
}

#[test]
fn who_drains_joins_or_is_down_is_no_heir() {
    let statuses = [Status::Draining, Status::Joining, Status::Down];

    assert_eq!(turns(&view(statuses, free(1))), [None; 3]);
}

#[test]
fn a_shard_is_an_orphan_only_when_its_owner_is_down_or_nobody() {
    let down = [Status::Down, Status::Up, Status::Up];

    assert!(is_orphan(&free(1), &up(free(1))));
    assert!(!is_orphan(&owned(1, 0), &up(owned(1, 0))));
    assert!(is_orphan(&owned(1, 0), &view(down, owned(1, 0))));
}

#[test]
fn nothing_is_claimed_without_a_lease() {
    let (view, limits) = (up(free(1)), Limits::default());
    let (mut ownership, mut out) = (Ownership::default(), Vec::new());
    for millis in [0, 10_000] {
        ownership.settle(Scene { holds_lease: false, ..scene(0, millis, &view, &limits) }, &mut out);
    }
    assert_eq!(out, []);

    ownership.settle(scene(0, 10_000, &view, &limits), &mut out);

    let claim = Statement::Claim { by: incarnation(0), shards: vec![(SHARD, Epoch(1))] };
    assert_eq!(out, [Output::Run(claim)]);
}

#[test]
fn a_claim_whose_answer_was_lost_is_found_in_the_row_and_an_old_row_brings_nothing_back() {
    let (view, limits) = (up(owned(4, 0)), Limits::default());
    let (mut ownership, mut out) = (Ownership::default(), Vec::new());
    ownership.settle(scene(0, 0, &view, &limits), &mut out);
    assert_eq!(out, [Output::Open { shard: SHARD, epoch: Epoch(4), tail: None }]);
    out.clear();

    ownership.fenced(SHARD, Epoch(4), &mut out);
    ownership.settle(scene(0, 1, &view, &limits), &mut out);

    assert_eq!(out, [Output::Close { shard: SHARD }]);
}

#[test]
fn a_row_is_marked_once_if_finishing_takes_long() {
    let limits = Limits::default();
    let (mine, moving) = (up(owned(4, 0)), up(ShardRow { target: Some(NODES[1]), ..owned(4, 0) }));
    let (mut ownership, mut out) = (Ownership::default(), Vec::new());
    ownership.settle(scene(0, 0, &mine, &limits), &mut out);
    assert!(ownership.opened(SHARD, Epoch(4)));
    ownership.settle(scene(0, 1, &moving, &limits), &mut out);
    assert!(ownership.peer_prepared(SHARD, Epoch(4), BootTime::from_millis(2)));
    let mut at = |millis| {
        let mut out = Vec::new();
        ownership.settle(scene(0, millis, &moving, &limits), &mut out);
        out
    };

    assert_eq!(at(2), [Output::Stop { shard: SHARD, epoch: Epoch(4) }]);
    assert_eq!(at(101), []);
    let mark = Statement::MarkReleasing { by: incarnation(0), shards: vec![(SHARD, Epoch(4))] };
    assert_eq!(at(102), [Output::Run(mark)]);
    assert_eq!(at(103), []);
}

#[test]
fn a_shard_that_cannot_be_opened_is_freed_and_left_to_others() {
    let (mine, limits) = (up(owned(4, 0)), Limits::default());
    let (mut ownership, mut out) = (Ownership::default(), Vec::new());
    ownership.settle(scene(0, 0, &mine, &limits), &mut out);
    out.clear();

    ownership.open_failed(SHARD, Epoch(4), BootTime::from_millis(10), &limits);
    ownership.settle(scene(0, 10, &mine, &limits), &mut out);
    let free_it = Statement::Free { by: incarnation(0), shards: vec![(SHARD, Epoch(4))] };
    assert_eq!(out, [Output::Run(free_it)]);

    out.clear();
    assert_eq!(ownership.freed(vec![(SHARD, Epoch(4))], Ok(()), &mut out), [(SHARD, Epoch(4))]);
    let freed = up(free(4));
    ownership.settle(scene(0, 4_000, &freed, &limits), &mut out);
    assert_eq!(out, [Output::Close { shard: SHARD }]);

    out.clear();
    ownership.settle(scene(0, 6_000, &freed, &limits), &mut out);
    assert_eq!(out.len(), 1, "{out:?}");
}
