//! Appends that fail and nodes that die: what was told is true, what was not told happened once or never.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Command, Counter, Shown, Totals, at, counted, far, services, world};
use crate::{
    Entity, Home, HomeKind, Limits, Projection, Refused, Unavailable,
    testing::{Fault, NOON, World},
};

#[tokio::test]
async fn after_a_failed_append_all_that_waited_is_refused_and_the_journal_says_what_is() {
    let world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    for (fault, answer) in [
        (Fault::Full, Unavailable::NotWritten),
        (Fault::OutOfOrder, Unavailable::NotWritten),
        (Fault::Poisoned, Unavailable::OutcomeUnknown),
    ] {
        world.memory.hold_appends();
        world.memory.fail_appends([fault]);

        // The entity runs ahead of the disk: three batches and a read wait for the first.
        let (adds, read, ()) = tokio::join!(
            join_all((0..3).map(|_| world.ask(at(1), Command::Add))),
            world.read(at(1)),
            async {
                world.until(Duration::ZERO, || async { world.memory.held() == 3 }).await;
                world.memory.release_appends();
            }
        );

        for refused in adds {
            assert!(
                matches!(refused, Err(Refused::Unavailable(why)) if why == answer || why == Unavailable::NotWritten)
            );
        }
        assert!(matches!(read, Err(Refused::Unavailable(_))), "it saw what never was");
        assert_eq!(world.read(at(1)).await.unwrap(), counted(1), "after {fault:?}");
    }
}

#[tokio::test]
async fn after_a_full_disk_has_room_again_an_entity_goes_on() {
    let world = world().await;
    world.memory.fail_appends([Fault::Full]);
    assert!(world.ask_keyed(1, at(1), Command::Add).await.is_err());
    assert_eq!(world.ask_keyed(1, at(1), Command::Add).await.unwrap(), counted(1));
}

#[tokio::test]
async fn a_crash_between_append_and_reply_costs_the_reply_alone() {
    let mut world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    world.memory.fail_appends([Fault::Unanswered]);
    let before = world.memory.records();

    let (unanswered, ()) = tokio::join!(world.ask_keyed(7, at(1), Command::Add), async {
        world.until(Duration::ZERO, || async { world.memory.records() > before }).await;
        world.die();
    });
    world.start().await;

    assert!(matches!(unanswered, Err(Refused::Unavailable(Unavailable::OutcomeUnknown))));
    world.ask(at(1), Command::Add).await.unwrap();
    assert_eq!(world.ask_keyed(7, at(1), Command::Add).await.unwrap(), counted(2), "the first reply");
    assert_eq!(world.read(at(1)).await.unwrap(), counted(3), "and one effect");
}

#[tokio::test]
async fn a_crash_before_the_append_leaves_nothing() {
    let mut world = world().await;
    world.memory.hold_appends();
    let (refused, ()) = tokio::join!(world.ask_keyed(7, at(1), Command::Add), async {
        world.until(Duration::ZERO, || async { world.memory.held() == 1 }).await;
        world.die();
    });
    world.start().await;

    assert!(refused.is_err());
    assert_eq!(world.read(at(1)).await.unwrap(), counted(0));
    assert_eq!(world.ask_keyed(7, at(1), Command::Add).await.unwrap(), counted(1));
}

/// Rows as they are once the projection has taken everything in.
async fn settled(world: &World) -> Vec<(Vec<u8>, Vec<u8>)> {
    let added = world.memory.log().iter().filter(|stored| stored.record.name.as_str() == "added").count();
    let sum = || async {
        let rows = world.node.rows::<Totals, u64>(&[], None, 1_000).await.unwrap();
        rows.iter().map(|(_, total)| total).sum::<u64>()
    };
    world.until(Duration::from_secs(1), || async { sum().await == added as u64 }).await;
    world.memory.rows("totals")
}

#[tokio::test]
async fn a_projection_that_breaks_half_way_through_a_page_has_the_rows_of_a_rebuild_from_zero() {
    let home = Home { kind: HomeKind::Tenant, id: 0xB0 };
    let mut world = world().await;
    Totals::break_once_in(home.id);
    for id in [1, 2, 1, 2, 1, 2, 1] {
        world.ask(Entity::<Counter>::new(home, id), Command::Add).await.unwrap();
    }
    world.memory.fail_commits(2);
    let broken = settled(&world).await;
    world.crash().await;
    let restarted = settled(&world).await;
    world.memory.lose_tier();
    world.crash().await;
    let rebuilt = settled(&world).await;

    assert_eq!(broken, rebuilt);
    assert_eq!(restarted, rebuilt);
    assert_eq!(rebuilt.len(), 2);
}

/// On one thread, which a reader that never pauses would keep until it has read everything.
#[tokio::test]
async fn commands_are_answered_while_a_projection_has_a_whole_log_to_take_in() {
    let mut world = world().await;
    for _ in 0..4_000 {
        world.ask(far(0xB1), Command::Add).await.unwrap();
    }
    world.memory.lose_tier();
    world.crash().await;

    world.ask(far(0xB2), Command::Add).await.unwrap();
    let totals =
        world.node.readers().into_iter().find(|reader| reader.name.as_str() == Totals::NAME).unwrap();
    assert!(totals.lag > 1_000, "{} records are still to be read", totals.lag);
}

#[tokio::test]
async fn a_timer_fires_once_over_crashes_and_as_of_when_it_was_due() {
    let mut world = world().await;
    world.ask(at(1), Command::Remind(60)).await.unwrap();
    world.crash().await;
    world.die();
    world.clock.advance(Duration::from_secs(3_600));
    world.start().await;

    let rang = Shown { rang: vec![NOON.after(Duration::from_secs(60))], ..counted(0) };
    world.until(Duration::ZERO, || async { world.read(at(1)).await.unwrap() == rang }).await;

    // It fires in vain again if the crash comes before the reader has seen that it fired.
    world.memory.lose_tier();
    world.crash().await;
    world.clock.advance(Duration::from_secs(3_600));
    world.until(Duration::ZERO, || async { world.node.readers().iter().all(|reader| reader.lag == 0) }).await;
    assert_eq!(world.read(at(1)).await.unwrap(), rang);
}

#[tokio::test]
async fn an_outgoing_command_arrives_once_wherever_a_crash_falls() {
    let mut world = world().await;
    // Sent, taken in, its answer heard: each of the three appends is followed by a crash.
    world.memory.fail_appends([Fault::Unanswered; 3]);
    let sent = world.until(Duration::ZERO, || async { world.memory.faults() < 3 });
    tokio::select! {
        answered = world.ask(at(1), Command::Tell(2)) => panic!("answered: {answered:?}"),
        () = sent => {}
    }
    for left in [1, 0] {
        world.crash().await;
        world.until(Duration::from_millis(20), || async { world.memory.faults() <= left }).await;
    }
    world.crash().await;

    let told = Shown { heard: 1, ..counted(0) };
    world.until(Duration::ZERO, || async { world.node.effects_under_way() == 0 }).await;
    assert_eq!(world.read(at(1)).await.unwrap(), told);
    assert_eq!(world.read(at(2)).await.unwrap(), counted(1));
}

#[tokio::test]
async fn a_snapshot_and_its_tail_are_the_whole_history() {
    let mut world = World::with(Limits { snapshot_every: 4, ..Limits::default() }, services).await;
    for key in 0..10 {
        world.ask_keyed(key, at(1), Command::Add).await.unwrap();
    }
    world.until(Duration::ZERO, || async { world.memory.snapshots() == 1 }).await;

    world.crash().await;
    let from_snapshot = world.read(at(1)).await.unwrap();
    let reply = world.ask_keyed(3, at(1), Command::Add).await.unwrap();
    world.memory.lose_snapshots();
    world.crash().await;

    assert_eq!(world.read(at(1)).await.unwrap(), from_snapshot);
    assert_eq!(world.ask_keyed(3, at(1), Command::Add).await.unwrap(), reply);
    assert_eq!(from_snapshot, counted(10));
    assert_eq!(reply, counted(4));
}
