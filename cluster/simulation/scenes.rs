//! Single stories, told in the world of the simulation without chance faults: what an operator is promised.

use super::{
    faults::SETTLED_WITHIN,
    world::{Event, Plan, World},
};
use crate::{
    Epoch,
    tables::{NodeId, Status},
};

/// Three machines that serve everything, since a while.
fn settled(trust_refused: bool) -> World {
    let plan = Plan {
        seed: 1,
        machines: 3,
        services: 2,
        shards: 8,
        is_rough: false,
        calm_from: 0,
        trust_refused,
        bug: None,
        is_traced: false,
    };
    let mut world = World::new(plan);
    for at in 0..3 {
        world.machines[at].is_wanted = true;
        world.after(0, Event::Start { at });
    }
    wait_until_settled(&mut world);
    // Whoever declares others down has seen the store for a full lease.
    world.run_until(world.now + 10_000).unwrap();
    world
}

/// The milliseconds until all is as it should be.
fn wait_until_settled(world: &mut World) -> u64 {
    let began = world.now;
    world.run_until(began + 1_000).unwrap();
    while let Some(what) = world.unsettled() {
        assert!(world.now - began < SETTLED_WITHIN, "{what}");
        world.run_until(world.now + 100).unwrap();
    }
    world.now - began
}

/// The milliseconds until every shard is served by one of the machines that run.
fn wait_until_served(world: &mut World) -> u64 {
    let began = world.now;
    while world.unserved().is_some() {
        assert!(world.now - began < SETTLED_WITHIN, "{:?}", world.unserved());
        world.run_until(world.now + 10).unwrap();
    }
    world.now - began
}

fn epochs(world: &World) -> Vec<(Epoch, Option<NodeId>)> {
    world.store.shards.values().map(|row| (row.epoch, row.owner.map(|owner| owner.node))).collect()
}

#[test]
fn a_death_that_is_proven_is_made_up_for_within_3_s() {
    let mut world = settled(true);

    world.crash(1);

    assert!(world.unserved().is_some());
    assert!(wait_until_served(&mut world) <= 3_000);
}

#[test]
fn a_silent_death_is_made_up_for_within_8_s() {
    let mut world = settled(false);

    world.crash(1);

    let wait = wait_until_served(&mut world);
    assert!((4_500..=8_000).contains(&wait), "{wait} ms");
}

#[test]
fn a_supervised_restart_need_not_wait_for_the_lease_of_the_process_before() {
    let mut world = settled(false);
    world.machines[1].has_directory = true;

    world.crash(1);
    world.after(300, Event::Start { at: 1 });

    assert!(wait_until_served(&mut world) <= 3_000);
}

#[test]
fn nothing_moves_while_a_node_is_frozen_for_2_s() {
    let mut world = settled(true);
    let before = epochs(&world);

    world.freeze(1, world.now + 2_000);
    world.run_until(world.now + 20_000).unwrap();

    assert_eq!(epochs(&world), before);
}

#[test]
fn a_node_that_was_frozen_for_30_s_comes_back_as_another_within_5_s() {
    let mut world = settled(false);
    let frozen = world.machines[1].incarnation();

    world.freeze(1, world.now + 30_000);
    world.run_until(world.now + 30_000).unwrap();
    assert!(world.machines[1].incarnation() == frozen && world.unserved().is_none());
    world.run_until(world.now + 5_000).unwrap();

    let now = world.machines[1].incarnation().unwrap();
    assert_ne!(Some(now), frozen);
    assert_eq!(world.store.nodes[&now].status, Status::Up);
}

#[test]
fn a_store_that_was_away_finds_everything_where_it_was() {
    let mut world = settled(true);
    let before = epochs(&world);

    world.store_down_until = world.now + 20_000;
    world.run_until(world.now + 19_000).unwrap();
    assert!(world.unserved().is_some(), "leases are over");
    world.run_until(world.now + 20_000).unwrap();

    assert_eq!(epochs(&world), before);
    assert_eq!(world.unserved(), None);
}

#[test]
fn all_nodes_killed_serve_again_within_10_s_of_their_start() {
    let mut world = settled(false);
    for at in 0..3 {
        world.crash(at);
        world.machines[at].has_directory = true;
    }
    world.run_until(world.now + 1_000).unwrap();

    for at in 0..3 {
        world.after(0, Event::Start { at });
    }

    assert!(wait_until_served(&mut world) <= 10_000);
}

#[test]
fn one_of_three_killed_nodes_serves_everything_within_10_s() {
    let mut world = settled(false);
    for at in 0..3 {
        world.crash(at);
    }

    world.machines[0].has_directory = true;
    world.after(0, Event::Start { at: 0 });

    // A lease of grace for those it cannot prove gone, after the lease of the peer it could not reach.
    assert!(wait_until_served(&mut world) <= 10_000);
}

#[test]
fn a_rolling_restart_pauses_no_shard_for_long_and_loses_nothing() {
    let mut world = settled(false);
    let reads = world.reads;

    for at in 0..3 {
        world.machines[at].is_leaving = true;
        while !world.machines[at].has_left {
            world.run_until(world.now + 100).unwrap();
            assert!(world.machines[at].process.is_some() || world.machines[at].has_left);
        }
        (world.machines[at].is_leaving, world.machines[at].has_left) = (false, false);
        world.machines[at].build = 1;
        world.after(0, Event::Start { at });
        wait_until_settled(&mut world);
    }

    world.audit().unwrap();
    assert!(world.reads > reads && !world.pauses.is_empty());
    assert!(world.pauses.iter().all(|pause| *pause <= super::faults::PAUSE_MAX), "{:?}", world.pauses);
    assert_eq!(world.fenced, 0);
}
