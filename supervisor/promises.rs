//! What the runtime promises, in memory, with a driven clock, entities that misbehave and disks that fail.

mod crashes;
mod entities;
mod limits;
mod readers;
mod rows;
mod shelves;
mod topics;
mod traces;
mod versions;

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Aggregate, Answer, Context, Decision, Entity, Home, HomeKind, Kind, Projection, Recorded, Rows, Service,
    TierError, Timestamp, testing::World,
};

/// Counts, and fails as it is told.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
    heard: u64,
    rang: Vec<Timestamp>,
    ballast: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    Add,
    /// Weighs so many bytes from now on.
    Load(usize),
    PanicInDecide,
    PanicInEvolve,
    /// Adds to another counter.
    Tell(u128),
    Heard,
    /// Rings after so many seconds.
    Remind(u64),
    Ring,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Added {},
    Broken {},
    Heard {},
    Rang { at: Timestamp },
    Loaded { ballast: String },
}

#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

/// What a counter shows of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shown {
    count: u64,
    heard: u64,
    rang: Vec<Timestamp>,
}

fn counted(count: u64) -> Shown {
    Shown { count, heard: 0, rang: Vec::new() }
}

impl Aggregate for Counter {
    const KIND: Kind = Kind::new("test", "counter");
    type Command = Command;
    type Event = Event;
    type Reply = Shown;
    type Rejection = Never;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Never> {
        Ok(match command {
            Command::Add => Decision::event(Event::Added {}),
            Command::PanicInDecide => panic!("told to"),
            Command::PanicInEvolve => Decision::event(Event::Broken {}),
            Command::Tell(other) => Decision::nothing().send("tell", at(other), &Command::Add),
            Command::Heard => Decision::event(Event::Heard {}),
            Command::Remind(seconds) => Decision::nothing().timer(
                "ring",
                ctx.now().after(Duration::from_secs(seconds)),
                Command::Ring,
            ),
            Command::Load(bytes) => Decision::event(Event::Loaded { ballast: "x".repeat(bytes) }),
            Command::Ring => Decision::event(Event::Rang { at: ctx.now() }),
        })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Added {} => self.count += 1,
            Event::Broken {} => panic!("told to"),
            Event::Heard {} => self.heard += 1,
            Event::Rang { at } => self.rang.push(*at),
            Event::Loaded { ballast } => self.ballast.clone_from(ballast),
        }
    }

    fn reply(&self) -> Shown {
        Shown { count: self.count, heard: self.heard, rang: self.rang.clone() }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        answer.is_accepted().then_some(Command::Heard)
    }
}

/// A counter in the home all tests share: neighbours as close as they get.
fn at(id: u128) -> Entity<Counter> {
    Entity::new(Home { kind: HomeKind::Tenant, id: 1 }, id)
}

/// A counter in a home of its own, so mostly in another shard.
fn far(id: u128) -> Entity<Counter> {
    Entity::new(Home { kind: HomeKind::Tenant, id }, id)
}

/// How much each counter has counted.
#[derive(Debug)]
struct Totals;

/// Homes whose next third event breaks [`Totals`].
static BREAKING: Mutex<Option<HashSet<u128>>> = Mutex::new(None);

impl Totals {
    fn break_once_in(home: u128) {
        BREAKING.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(home);
    }
}

impl Projection for Totals {
    const NAME: &'static str = "totals";

    async fn project(event: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(Event::Added {}) = event.of::<Counter>()? else {
            return Ok(());
        };
        let key = event.id.to_be_bytes();
        let total = rows.get::<u64>(&key).await?.unwrap_or_default() + 1;
        rows.put(&key, event.home, &total)?;
        let mut breaking = BREAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let breaks = total == 3 && breaking.get_or_insert_default().remove(&event.home.id);
        drop(breaking);
        assert!(!breaks, "told to");
        Ok(())
    }
}

fn services() -> Vec<Service> {
    vec![Service::new("test").aggregate::<Counter>().projection::<Totals>()]
}

async fn world() -> World {
    World::new(services).await
}
