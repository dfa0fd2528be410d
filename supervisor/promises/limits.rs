//! What is bounded: the weight of running entities, the crowd of one home, the patience with what keeps failing.

use std::{convert::Infallible, time::Duration};

use futures_util::future::join_all;
use tokio::{task::JoinSet, time::timeout};

use super::{Command, at, counted, far, services, world};
use crate::{Limits, Name, Refused, Unavailable, testing::World};

#[tokio::test]
async fn whoever_was_not_used_for_longest_on_the_whole_node_makes_room() {
    let world = World::with(Limits { resident: 3, ..Limits::default() }, services).await;
    for id in [1, 2, 3, 1, 4] {
        world.clock.advance(Duration::from_secs(1));
        world.ask(far(id), Command::Add).await.unwrap();
    }

    world.until(Duration::ZERO, || async { world.node.counts()[0].hot == 3 }).await;

    for (id, status) in [(1, "hot"), (2, "cold"), (3, "hot"), (4, "hot")] {
        assert_eq!(world.status(far(id)).await, status, "of {id}");
    }
    assert_eq!(world.read(far(2)).await.unwrap(), counted(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_while_an_entity_makes_room_is_answered_by_the_next_one() {
    let limits = Limits { resident: 8, ..Limits::default() };
    let world = World::with(limits, services).await;

    let mut crowd = JoinSet::new();
    for reader in 0..64_u128 {
        let (node, asking) = (world.node.clone(), world.asking(None));
        crowd.spawn(async move {
            for turn in 0..500 {
                node.read(&asking, far((reader * 7 + turn * 13) % 80)).await?;
            }
            Ok::<_, Refused<Infallible>>(())
        });
    }

    // Far longer than it takes: the node's own clock stands still.
    let answered = timeout(Duration::from_secs(30), crowd.join_all()).await.expect("some were forgotten");

    assert!(answered.iter().all(Result::is_ok), "{answered:?}");
}

#[tokio::test]
async fn heavy_entities_make_room_by_their_bytes() {
    let limits = Limits { resident_bytes: 250_000, ..Limits::default() };
    let world = World::with(limits.clone(), services).await;
    world.ask(far(1), Command::Add).await.unwrap();
    assert!((11_000..12_000).contains(&world.node.resident_bytes()), "one small entity");

    for id in 2..=4 {
        world.clock.advance(Duration::from_secs(1));
        world.ask(far(id), Command::Load(100_000)).await.unwrap();
        assert!(world.node.resident_bytes() <= limits.resident_bytes);
    }

    world.until(Duration::ZERO, || async { world.node.counts()[0].hot == 2 }).await;
    assert_eq!(world.status(far(4)).await, "hot");

    // One that comes back weighs what it weighed.
    world.clock.advance(Duration::from_secs(1));
    world.read(far(2)).await.unwrap();
    world.until(Duration::ZERO, || async { world.status(far(3)).await == "cold" }).await;
    assert!((200_000..=limits.resident_bytes).contains(&world.node.resident_bytes()));
}

#[tokio::test]
async fn a_home_that_crowds_its_shard_is_refused_alone() {
    let limits = Limits { home_queue: 4, shards: 1, ..Limits::default() };
    let world = World::with(limits, services).await;
    world.memory.hold_appends();

    let (crowd, neighbour, ()) = tokio::join!(
        join_all((0..10).map(|id| world.ask(at(id), Command::Add))),
        world.ask(far(77), Command::Add),
        async {
            world.until(Duration::ZERO, || async { world.memory.held() == 5 }).await;
            world.memory.release_appends();
        }
    );

    let busy = Refused::Unavailable(Unavailable::Busy { limit: Name::new("home") });
    assert_eq!(crowd.iter().filter(|answer| answer.is_ok()).count(), 4);
    assert_eq!(crowd.iter().filter(|answer| answer.as_ref() == Err(&busy)).count(), 6);
    assert_eq!(neighbour.unwrap(), counted(1));
}

#[tokio::test]
async fn a_command_that_panics_three_times_is_refused_for_an_hour() {
    let world = world().await;
    for _ in 0..3 {
        assert_eq!(world.ask(at(1), Command::PanicInDecide).await, Err(Refused::Fault));
    }

    assert_eq!(world.ask(at(1), Command::PanicInDecide).await, Err(Refused::Poison));
    assert_eq!(world.ask(at(1), Command::Add).await.unwrap(), counted(1), "other commands are not");
    assert_eq!(world.ask(at(2), Command::PanicInDecide).await, Err(Refused::Fault), "nor other entities");

    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(world.ask(at(1), Command::PanicInDecide).await, Err(Refused::Fault));
}

/// Ten entities of one shard crash.
async fn crash_ten(world: &World, from: u128) {
    for id in from..from + 10 {
        assert_eq!(world.ask(at(id), Command::PanicInEvolve).await, Err(Refused::Fault));
        world.until(Duration::ZERO, || async { world.status(at(id)).await != "hot" }).await;
    }
}

#[tokio::test]
async fn a_shard_whose_entities_crash_in_crowds_starts_afresh_once() {
    let world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();

    crash_ten(&world, 10).await;
    world.until(Duration::ZERO, || async { world.status(at(1)).await == "cold" }).await;
    assert_eq!(world.node.counts()[0].hot, 0, "those that went with it are not counted");
    assert_eq!(world.ask(at(1), Command::Add).await.unwrap(), counted(2));

    crash_ten(&world, 20).await;
    assert_eq!(world.ask(at(1), Command::Add).await.unwrap(), counted(3));
    assert_eq!(world.status(at(1)).await, "hot");
    let view = world.node.inspect(crate::Name::new("test"), at(20).reference()).await.unwrap();
    assert_eq!((view.status.as_str(), view.restarts), ("restarting", 1));
}
