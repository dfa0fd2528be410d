//! Topics: one stream of a home over all its services, causes first, nothing twice, nothing missing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Never;
use crate::{
    Aggregate, Context, Decision, Entity, Frame, Home, HomeKind, Kind, Position, Published, Service,
    Subscription, Topic, testing::World,
};

const HOME: Home = Home { kind: HomeKind::Account, id: 9 };
const TOPIC: Topic = Topic::Home(HOME);

/// A bell of one service or the other.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Bell<const LEFT: bool>(u64);

type Left = Bell<true>;
type Right = Bell<false>;

/// Rings, and has the right bell answer if it is to; or cracks.
#[derive(Debug, Serialize, Deserialize)]
enum Command {
    Ring { is_answered: bool },
    Crack,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Rang {
        count: u64,
    },
    /// Written, but not to be read.
    #[serde(skip_deserializing)]
    Cracked {},
}

impl<const LEFT: bool> Aggregate for Bell<LEFT> {
    const KIND: Kind = if LEFT { Kind::new("left", "left_bell") } else { Kind::new("right", "right_bell") };
    type Command = Command;
    type Event = Event;
    type Reply = u64;
    type Rejection = Never;

    fn decide(&self, command: Command, _: &Context) -> Result<Decision<Self>, Never> {
        let Command::Ring { is_answered } = command else {
            return Ok(Decision::event(Event::Cracked {}));
        };
        let rang = Decision::event(Event::Rang { count: self.0 + 1 });
        let right = Entity::<Right>::new(HOME, 1);
        let answer = Command::Ring { is_answered: false };
        Ok(if is_answered { rang.send("answer", right, &answer) } else { rang })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Rang { count } => self.0 = *count,
            Event::Cracked {} => {}
        }
    }

    fn reply(&self) -> u64 {
        self.0
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        match event {
            Event::Rang { count } => Some((*count).into()),
            Event::Cracked {} => None,
        }
    }
}

async fn world() -> World {
    World::new(|| vec![Service::new("right").aggregate::<Right>(), Service::new("left").aggregate::<Left>()])
        .await
}

async fn ring(world: &World, is_answered: bool) {
    world.ask(Entity::<Left>::new(HOME, 1), Command::Ring { is_answered }).await.unwrap();
}

/// What an event says, e.g. `left_bell.rang 1`.
fn said(event: &Published) -> String {
    format!("{} {}", event.kind, event.data)
}

/// The next event, by a client that keeps cursors as bytes.
async fn next(subscription: &mut Subscription) -> (String, Position) {
    match tokio::time::timeout(Duration::from_secs(10), subscription.next()).await.unwrap() {
        Some(Frame::Event(event)) => {
            (said(&event), Position::from_bytes(&event.position.to_bytes()).unwrap())
        }
        other => panic!("not an event: {other:?}"),
    }
}

async fn history(world: &World, after: &Position) -> Vec<String> {
    world.node.history(TOPIC, after.clone(), 1_000).await.unwrap().iter().map(said).collect()
}

#[tokio::test]
async fn a_homes_services_are_one_stream_with_causes_first_that_resumes_anywhere() {
    let world = world().await;
    let mut live = world.node.watch(TOPIC, None);
    for is_answered in [false, true, true, false] {
        ring(&world, is_answered).await;
        world.until(Duration::ZERO, || async { world.node.effects_under_way() == 0 }).await;
    }

    let mut all = Vec::new();
    let mut positions = vec![Position::default()];
    for _ in 0..6 {
        let (said, position) = next(&mut live).await;
        all.push(said);
        positions.push(position);
    }

    assert_eq!(
        all,
        [
            "left_bell.rang 1",
            "left_bell.rang 2",
            "right_bell.rang 1",
            "left_bell.rang 3",
            "right_bell.rang 2",
            "left_bell.rang 4"
        ]
    );
    for (told, position) in positions.iter().enumerate() {
        assert_eq!(history(&world, position).await, all[told..]);
        let page = world.node.history(TOPIC, position.clone(), 1).await.unwrap();
        assert_eq!(page.first().map(said).as_ref(), all.get(told));
        let mut resumed = world.node.watch(TOPIC, Some(position.clone()));
        for said in &all[told..] {
            assert_eq!(next(&mut resumed).await.0, *said);
        }
    }
}

#[tokio::test]
async fn whoever_begins_now_gets_what_comes_and_a_cursor_that_repeats_no_service() {
    let world = world().await;
    for _ in 0..5 {
        ring(&world, true).await;
    }
    world.until(Duration::ZERO, || async { history(&world, &Position::default()).await.len() == 10 }).await;

    let mut live = world.node.watch(TOPIC, None);
    ring(&world, false).await;

    let (said, position) = next(&mut live).await;
    assert_eq!(said, "left_bell.rang 6");
    assert_eq!(history(&world, &position).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_misses_nothing() {
    let world = world().await;
    let mut live = world.node.watch(TOPIC, None);
    let mut platform = world.node.watch(Topic::System, None);
    for _ in 0..400 {
        ring(&world, false).await;
    }
    for count in 1..=400 {
        assert_eq!(next(&mut live).await.0, format!("left_bell.rang {count}"));
        assert_eq!(next(&mut platform).await.0, format!("left_bell.rang {count}"));
    }
}

#[tokio::test]
async fn a_cursor_from_ahead_of_the_log_is_told_of_the_gap() {
    let mut world = world().await;
    for _ in 0..3 {
        ring(&world, false).await;
    }
    let ahead = world.node.history(TOPIC, Position::default(), 3).await.unwrap().pop().unwrap().position;
    world.memory = crate::testing::Memory::new();
    world.crash().await;
    ring(&world, false).await;

    let mut live = world.node.watch(TOPIC, Some(ahead));

    assert!(matches!(live.next().await, Some(Frame::Gap { .. })));
    ring(&world, false).await;
    assert_eq!(next(&mut live).await.0, "left_bell.rang 2");
}

#[tokio::test]
async fn a_subscriber_is_never_led_past_an_event_that_this_build_cannot_read() {
    let world = world().await;
    let mut live = world.node.watch(TOPIC, None);
    ring(&world, false).await;
    assert_eq!(next(&mut live).await.0, "left_bell.rang 1");

    world.ask(Entity::<Left>::new(HOME, 1), Command::Crack).await.unwrap();
    ring(&world, false).await;

    // It tries again every second; a minute of them brings nothing.
    let mut seconds = 0;
    let a_minute = world.until(Duration::from_secs(1), || {
        seconds += 1;
        std::future::ready(seconds > 60)
    });
    tokio::select! {
        frame = live.next() => panic!("{frame:?}"),
        () = a_minute => {}
    }
}

#[tokio::test]
async fn the_last_events_are_those_that_history_ends_with() {
    let world = world().await;
    for is_answered in [true, false, true, false, false] {
        ring(&world, is_answered).await;
        world.until(Duration::ZERO, || async { world.node.effects_under_way() == 0 }).await;
    }
    let all = history(&world, &Position::default()).await;
    assert_eq!(all.len(), 7);

    for limit in [0, 1, 2, 3, 6, 7, 1_000] {
        let last = world.node.latest(TOPIC, limit).await.unwrap();
        let wanted = &all[all.len().saturating_sub(limit)..];
        assert_eq!(last.iter().map(said).collect::<Vec<_>>(), wanted, "the last {limit}");
    }
}
