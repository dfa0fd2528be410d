//! A node in memory on a driven clock, which dies and starts again as often as a test likes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use super::{ASKER, Memory, NOON};
use crate::{Aggregate, Answered, Asking, Clock, Entity, Limits, Node, Parts, Refused, Service};

/// Turns a condition gets before a test fails: some seconds, far more than anything in memory takes.
const TURNS: usize = 2_000;

/// A node, its clock and its disk.
#[derive(Debug)]
pub struct World {
    /// The node that runs now.
    pub node: Node,
    /// Time, which stands at noon until it is moved.
    pub clock: Clock,
    /// What outlives the node.
    pub memory: Memory,
    limits: Limits,
    services: fn() -> Vec<Service>,
}

impl World {
    /// A node with these services on an empty disk.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn new(services: fn() -> Vec<Service>) -> Self {
        Self::with(Limits::default(), services).await
    }

    /// The same, within other limits.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with(limits: Limits, services: fn() -> Vec<Service>) -> Self {
        let (memory, clock) = (Memory::new(), Clock::driven(NOON));
        let node = start(&memory, &clock, &limits, services).await;
        Self { node, clock, memory, limits, services }
    }

    /// Kills the node as `kill -9` would, and starts another on the same disk.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn crash(&mut self) {
        self.die();
        self.start().await;
    }

    /// Kills the node: whoever waits for it learns that the outcome is unknown.
    pub fn die(&self) {
        self.memory.cut_off();
        self.node.kill();
    }

    /// Starts a node after [`World::die`].
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&mut self) {
        self.node = start(&self.memory, &self.clock, &self.limits, self.services).await;
    }

    /// The same disk under other services, as after an upgrade.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn upgrade(&mut self, services: fn() -> Vec<Service>) {
        self.services = services;
        self.crash().await;
    }

    /// How a command is asked in tests: by [`ASKER`], with an hour of time.
    #[must_use]
    pub fn asking(&self, key: Option<u128>) -> Asking {
        let deadline = self.clock.now().after(Duration::from_secs(3_600));
        Asking { asker: ASKER, key, trace: 0, deadline }
    }

    /// Gives an entity a command.
    ///
    /// # Errors
    /// As [`Node::ask`].
    pub async fn ask<A: Aggregate>(
        &self,
        entity: Entity<A>,
        command: A::Command,
    ) -> Result<A::Reply, Refused<A::Rejection>> {
        self.node.ask(&self.asking(None), entity, command).await.map(|Answered { reply, .. }| reply)
    }

    /// Gives an entity a command under an idempotency key.
    ///
    /// # Errors
    /// As [`Node::ask`].
    pub async fn ask_keyed<A: Aggregate>(
        &self,
        key: u128,
        entity: Entity<A>,
        command: A::Command,
    ) -> Result<A::Reply, Refused<A::Rejection>> {
        self.node.ask(&self.asking(Some(key)), entity, command).await.map(|Answered { reply, .. }| reply)
    }

    /// What an entity shows of itself.
    ///
    /// # Errors
    /// As [`Node::read`].
    pub async fn read<A: Aggregate>(&self, entity: Entity<A>) -> Result<A::Reply, Refused<Infallible>> {
        self.node.read(&self.asking(None), entity).await
    }

    /// How an entity stands, e.g. `hot`.
    pub async fn status<A: Aggregate>(&self, entity: Entity<A>) -> String {
        let view = self.node.inspect(A::KIND.service, entity.reference()).await;
        view.map(|view| view.status).unwrap_or_default()
    }

    /// What comes of some work, while the clock runs in such steps.
    ///
    /// # Panics
    /// When nothing ever does.
    pub async fn driven<T>(&self, step: Duration, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            () = self.until(step, || async { false }) => unreachable!("it panics first"),
        }
    }

    /// Waits until it is as wanted, and lets the clock run in such steps meanwhile.
    ///
    /// # Panics
    /// When it never is.
    #[expect(clippy::panic, reason = "a test must fail here")]
    pub async fn until<F: Future<Output = bool>>(&self, step: Duration, mut is_so: impl FnMut() -> F) {
        for _ in 0..TURNS {
            if is_so().await {
                return;
            }
            self.clock.advance(step);
            // Tasks and storage do not run on the clock: they get some real time.
            let turn = Duration::from_millis(2);
            drop(tokio::time::timeout(turn, std::future::pending::<()>()).await);
        }
        panic!("never as wanted");
    }
}

#[expect(clippy::expect_used, reason = "a test must fail here")]
async fn start(memory: &Memory, clock: &Clock, limits: &Limits, services: fn() -> Vec<Service>) -> Node {
    let (journal, tier, keyring) = memory.open();
    let tier = Arc::new(tier);
    let parts = Parts {
        journal: Arc::new(journal),
        snapshots: Arc::clone(&tier) as Arc<dyn prognet_storage::Snapshots>,
        read_model: tier,
        keyring,
        clock: clock.clone(),
        limits: limits.clone(),
        placement: None,
    };
    Node::start(parts, services()).await.expect("a node on memory")
}
