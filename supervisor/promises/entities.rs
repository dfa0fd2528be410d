//! Entities that misbehave harm themselves alone.

use std::time::Duration;

use super::{Command, Counter, Shown, at, counted, far, world};
use crate::{Aggregate, Asking, Refused, Unavailable, testing::NOON};

#[tokio::test]
async fn a_panic_in_decide_is_a_fault_and_leaves_everything_as_it_was() {
    let world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    assert!(matches!(world.ask(at(1), Command::PanicInDecide).await, Err(Refused::Fault)));
    assert_eq!(world.ask(at(1), Command::Add).await.unwrap(), counted(2));
    assert_eq!(world.node.counts()[0].restarts, 0);
}

#[tokio::test]
async fn an_entity_that_keeps_crashing_is_quarantined_alone_until_it_is_released() {
    let world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    for _ in 0..4 {
        // After its pause it starts again, with what was durable, and crashes again.
        world
            .until(Duration::from_millis(100), || async {
                let broken = world.ask(at(1), Command::PanicInEvolve).await;
                !matches!(broken, Err(Refused::Unavailable(Unavailable::Restarting)))
            })
            .await;
        world
            .until(Duration::ZERO, || async {
                ["restarting", "quarantined"].contains(&world.status(at(1)).await.as_str())
            })
            .await;
    }

    assert_eq!(world.status(at(1)).await, "quarantined");
    assert!(matches!(world.read(at(1)).await, Err(Refused::Unavailable(Unavailable::Quarantined))));
    assert_eq!(world.ask(at(2), Command::Add).await.unwrap(), counted(1), "its neighbour does not notice");

    // What is meant for it waits, and arrives once when it is back.
    world.ask(at(2), Command::Tell(1)).await.unwrap();
    world.until(Duration::ZERO, || async { world.node.effects_under_way() == 1 }).await;
    assert!(world.node.release(Counter::KIND.service, at(1).reference()).await);
    let told = Shown { heard: 1, ..counted(1) };
    world.until(Duration::from_secs(1), || async { world.read(at(2)).await.unwrap() == told }).await;
    assert_eq!(world.read(at(1)).await.unwrap(), counted(2));
}

#[tokio::test]
async fn an_idle_entity_leaves_and_comes_back_as_it_was_with_its_replies() {
    let world = world().await;
    assert_eq!(world.ask_keyed(7, at(1), Command::Add).await.unwrap(), counted(1));
    world.ask(at(1), Command::Add).await.unwrap();

    world.until(Duration::from_secs(30), || async { world.node.counts()[0].hot == 0 }).await;

    assert_eq!(world.ask_keyed(7, at(1), Command::Add).await.unwrap(), counted(1), "the first reply again");
    assert!(matches!(world.ask_keyed(7, at(1), Command::Tell(2)).await, Err(Refused::KeyReused)));
    assert_eq!(world.read(at(1)).await.unwrap(), counted(2));
    assert_eq!(world.node.counts()[0].activations, 2);
}

#[tokio::test]
async fn a_command_past_its_deadline_is_dropped_before_it_is_decided() {
    let world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    let late = Asking { deadline: NOON, ..world.asking(None) };
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(world.node.ask(&late, at(1), Command::Add).await, Err(Refused::Unavailable(_))));
    assert_eq!(world.read(at(1)).await.unwrap(), counted(1));
}

#[tokio::test]
async fn an_erased_home_shows_nothing_takes_nothing_and_holds_nobody_up() {
    let mut world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    world.ask(at(1), Command::Remind(60)).await.unwrap();
    world.node.erase(at(1).reference().home).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.read(at(1)).await.unwrap(), counted(0));
        let refused = world.ask(at(1), Command::Add).await;
        assert!(matches!(refused, Err(Refused::Erased)), "{refused:?}");
        // Whoever still sends it something learns that it was not taken, and goes on.
        world.ask(far(5), Command::Tell(1)).await.unwrap();
        let is_settled = || async {
            world.node.readers().iter().all(|reader| reader.lag == 0) && world.node.effects_under_way() == 0
        };
        world.until(Duration::ZERO, is_settled).await;
        assert_eq!(world.read(far(5)).await.unwrap(), counted(0));
        world.clock.advance(Duration::from_secs(60));
        world.crash().await;
    }
}

#[tokio::test]
async fn a_home_that_is_erased_while_somebody_there_is_loaded_shows_nothing_and_nobody_crashes() {
    let mut world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    world.crash().await;
    world.memory.erase_next_read();
    assert_eq!(world.read(at(1)).await.unwrap(), counted(0));
    assert!(world.node.is_erased(&at(1).reference().home));
    assert_eq!(world.node.counts()[0].restarts, 0);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_for_a_while_costs_nobody_their_place() {
    let mut world = world().await;
    world.ask(at(1), Command::Add).await.unwrap();
    world.crash().await;
    world.memory.fail_reads(10);
    while world.memory.failing_reads() > 0 {
        assert!(matches!(world.read(at(1)).await, Err(Refused::Unavailable(Unavailable::Restarting))));
    }
    assert_eq!(world.read(at(1)).await.unwrap(), counted(1));
    assert_eq!(world.node.counts()[0].restarts, 0);
}
