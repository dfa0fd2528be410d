//! Rows that events ask for, in an engine that is far away: looked up together, and the same comes of it.

use std::time::Duration;

use prognet_storage::{codec, snapshots::TierError};

use super::{Command, Counter, Event, far};
use crate::{Projection, ReaderView, Recorded, Rows, Service, testing::World};

const COUNTERS: u64 = 40;
const TIMES: u64 = 3;

/// A row for each event, found behind all that are there: no row is known to be asked for before the one before it is.
#[derive(Debug)]
struct Chain;

impl Projection for Chain {
    const NAME: &'static str = "chain";

    async fn project(event: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(Event::Added {}) = event.of::<Counter>()? else {
            return Ok(());
        };
        let mut next = 0_u64;
        while let Some(after) = rows.get::<u64>(&next.to_be_bytes()).await? {
            next = after;
        }
        rows.put(&next.to_be_bytes(), event.home, &(next + 1))
    }
}

/// A row for each event too, and one event that it fails at, behind a row that is to be looked up.
#[derive(Debug)]
struct Failing;

impl Projection for Failing {
    const NAME: &'static str = "failing";

    async fn project(event: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let key = event.id.to_be_bytes();
        let times = rows.get::<u64>(&key).await?.unwrap_or_default() + 1;
        rows.put(&key, event.home, &times)?;
        if event.id == u128::from(COUNTERS) {
            return Err(TierError { operation: "project", source: "told to".into() });
        }
        Ok(())
    }
}

/// Takes events in again, without the rows that were made of them, until a projection is where it gets to.
async fn read_again(services: fn() -> Vec<Service>, events: u64, is_there: impl Fn(&World) -> bool) -> World {
    let mut world = World::new(services).await;
    for time in 0..events {
        world.ask(far((1 + time % COUNTERS).into()), Command::Add).await.unwrap();
    }
    world.until(Duration::from_millis(10), || async { is_there(&world) }).await;
    world.die();
    world.memory.lose_tier();
    world.start().await;
    world.until(Duration::from_millis(10), || async { is_there(&world) }).await;
    world
}

fn reader(world: &World, projection: &str) -> Option<ReaderView> {
    world.node.readers().into_iter().find(|reader| reader.name.as_str() == projection)
}

fn is_read(world: &World, projection: &str) -> bool {
    reader(world, projection)
        .is_some_and(|reader| reader.lag == 0 && !world.memory.rows(projection).is_empty())
}

fn is_stuck(world: &World, projection: &str) -> bool {
    reader(world, projection).is_some_and(|reader| reader.lag > 0 && reader.error.is_some())
}

#[tokio::test]
async fn the_rows_of_a_page_are_looked_up_together() {
    let world = read_again(super::services, COUNTERS * TIMES, |world| is_read(world, "totals")).await;

    let totals = world.memory.rows("totals");
    assert_eq!(totals.len() as u64, COUNTERS);
    assert!(totals.iter().all(|(_, total)| *total == codec::encode_compact(&TIMES).unwrap()));
    assert!(world.memory.look_ups() < 10, "{} look-ups", world.memory.look_ups());
}

#[tokio::test]
async fn a_row_that_only_another_row_tells_of_is_found_however_long_the_chain_is() {
    const EVENTS: u64 = 12;
    let services = || vec![Service::new("test").aggregate::<Counter>().projection::<Chain>()];

    let world = read_again(services, EVENTS, |world| is_read(world, "chain")).await;

    let rows = world.memory.rows("chain");
    let expected =
        (0..EVENTS).map(|at| (at.to_be_bytes().to_vec(), codec::encode_compact(&(at + 1)).unwrap()));
    assert_eq!(rows, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_fails_stops_its_projection_whatever_rows_are_missing() {
    let services = || vec![Service::new("test").aggregate::<Counter>().projection::<Failing>()];

    let world = read_again(services, COUNTERS + 1, |world| is_stuck(world, "failing")).await;

    let failed = u128::from(COUNTERS).to_be_bytes();
    assert!(world.memory.rows("failing").iter().all(|(key, _)| *key < failed.to_vec()));
}
