//! What the runtime promises, on real storage, with entities that misbehave on demand.

use std::{sync::Arc, time::Duration};

use prognet_storage::{
    embedded::{EmbeddedJournal, SledTier},
    keyring::{Keyring, MasterKey},
};
use serde::{Deserialize, Serialize};

use crate::{
    Aggregate, Answer, Asking, Clock, Context, Decision, Entity, Home, HomeKind, Kind, Limits, Node, Parts,
    Refused, Service, Unavailable, testing::NOON,
};

/// Counts, and fails as it is told.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
    heard: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    Add,
    PanicInDecide,
    PanicInEvolve,
    /// Adds to another counter.
    Tell(u128),
    Heard,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Added {},
    Broken {},
    Heard {},
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Counter {
    const KIND: Kind = Kind::new("test", "counter");
    type Command = Command;
    type Event = Event;
    type Reply = (u64, u64);
    type Rejection = Never;

    fn decide(&self, command: Command, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(match command {
            Command::Add => Decision::event(Event::Added {}),
            Command::PanicInDecide => panic!("told to"),
            Command::PanicInEvolve => Decision::event(Event::Broken {}),
            Command::Tell(other) => Decision::nothing().send("tell", at(other), &Command::Add),
            Command::Heard => Decision::event(Event::Heard {}),
        })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Added {} => self.count += 1,
            Event::Broken {} => panic!("told to"),
            Event::Heard {} => self.heard += 1,
        }
    }

    fn reply(&self) -> (u64, u64) {
        (self.count, self.heard)
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        answer.is_accepted().then_some(Command::Heard)
    }
}

/// All in one home, so in one shard: neighbours as close as they get.
fn at(id: u128) -> Entity<Counter> {
    Entity::new(Home { kind: HomeKind::Tenant, id: 1 }, id)
}

struct World {
    node: Node,
    clock: Clock,
    /// Kept as long as the node lives.
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::driven(NOON);
        let (journal, opened) = EmbeddedJournal::open(&directory.path().join("journal"), 1 << 20).unwrap();
        let keyring =
            Arc::new(Keyring::open(&directory.path().join("keyring"), &MasterKey::new([3; 32])).unwrap());
        let tier = directory.path().join("tier");
        let (tier, _) = SledTier::open(&tier, 1 << 23, Arc::clone(&keyring), opened.last).unwrap();
        let tier = Arc::new(tier);
        let parts = Parts {
            journal: Arc::new(journal),
            snapshots: Arc::<SledTier>::clone(&tier),
            read_model: tier,
            keyring,
            clock: clock.clone(),
            limits: Limits::default(),
        };
        let node = Node::start(parts, vec![Service::new("test").aggregate::<Counter>()]).await.unwrap();
        Self { node, clock, _directory: directory }
    }

    async fn ask(&self, id: u128, key: Option<u128>, command: Command) -> Result<(u64, u64), Refused<Never>> {
        let deadline = self.clock.now().after(Duration::from_secs(3600));
        let asking = Asking { asker: 1, key, trace: 0, deadline };
        self.node.ask(&asking, at(id), command).await.map(|answered| answered.reply)
    }

    async fn read(&self, id: u128) -> Result<(u64, u64), Refused<Never>> {
        let deadline = self.clock.now().after(Duration::from_secs(3600));
        self.node.read(&Asking { asker: 1, key: None, trace: 0, deadline }, at(id)).await
    }

    /// Lets the clock run until it is as wanted.
    async fn until<F: Future<Output = bool>>(&self, step: Duration, mut is_so: impl FnMut() -> F) {
        for _ in 0..2_000 {
            if is_so().await {
                return;
            }
            self.clock.advance(step);
            // Real time passes too: storage and tasks do not run on the clock.
            tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await.unwrap_err();
        }
        panic!("never as wanted");
    }

    async fn status(&self, id: u128) -> String {
        let view = self.node.inspect(Counter::KIND.service, at(id).reference()).await.unwrap();
        view.status
    }
}

#[tokio::test]
async fn a_panic_in_decide_is_a_fault_and_leaves_everything_as_it_was() {
    let world = World::new().await;
    world.ask(1, None, Command::Add).await.unwrap();
    assert!(matches!(world.ask(1, None, Command::PanicInDecide).await, Err(Refused::Fault)));
    assert_eq!(world.ask(1, None, Command::Add).await.unwrap(), (2, 0));
    assert_eq!(world.node.counts()[0].restarts, 0);
}

#[tokio::test]
async fn an_entity_that_keeps_crashing_is_quarantined_alone_until_it_is_released() {
    let world = World::new().await;
    world.ask(1, None, Command::Add).await.unwrap();
    for _ in 0..4 {
        // After its pause it starts again, with what was durable, and crashes again.
        world
            .until(Duration::from_millis(100), || async {
                let broken = world.ask(1, None, Command::PanicInEvolve).await;
                !matches!(broken, Err(Refused::Unavailable(Unavailable::Restarting)))
            })
            .await;
        world
            .until(Duration::ZERO, || async {
                ["restarting", "quarantined"].contains(&world.status(1).await.as_str())
            })
            .await;
    }

    assert_eq!(world.status(1).await, "quarantined");
    assert!(matches!(world.read(1).await, Err(Refused::Unavailable(Unavailable::Quarantined))));
    assert_eq!(world.ask(2, None, Command::Add).await.unwrap(), (1, 0), "its neighbour does not notice");

    // What is meant for it waits, and arrives once when it is back.
    world.ask(2, None, Command::Tell(1)).await.unwrap();
    world.until(Duration::ZERO, || async { world.node.effects_under_way() == 1 }).await;
    assert!(world.node.release(Counter::KIND.service, at(1).reference()).await);
    world.until(Duration::from_secs(1), || async { world.read(2).await.unwrap() == (1, 1) }).await;
    assert_eq!(world.read(1).await.unwrap(), (2, 0));
}

#[tokio::test]
async fn an_idle_entity_leaves_and_comes_back_as_it_was_with_its_replies() {
    let world = World::new().await;
    assert_eq!(world.ask(1, Some(7), Command::Add).await.unwrap(), (1, 0));
    world.ask(1, None, Command::Add).await.unwrap();

    world.until(Duration::from_secs(30), || async { world.node.counts()[0].hot == 0 }).await;

    assert_eq!(world.ask(1, Some(7), Command::Add).await.unwrap(), (1, 0), "the first reply again");
    assert!(matches!(world.ask(1, Some(7), Command::Tell(2)).await, Err(Refused::KeyReused)));
    assert_eq!(world.read(1).await.unwrap(), (2, 0));
    assert_eq!(world.node.counts()[0].activations, 2);
}

#[tokio::test]
async fn a_command_past_its_deadline_is_dropped_before_it_is_decided() {
    let world = World::new().await;
    world.ask(1, None, Command::Add).await.unwrap();
    let late = Asking { asker: 1, key: None, trace: 0, deadline: NOON };
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(world.node.ask(&late, at(1), Command::Add).await, Err(Refused::Unavailable(_))));
    assert_eq!(world.read(1).await.unwrap(), (1, 0));
}
