//! B7: asking a hosted entity, against a bare actor call with a time-out of the same actor library.
//!
//! The command changes nothing, so neither side touches a disk. Ours routes by home and shard, takes permits,
//! carries a deadline, guards against panics, and answers only with what is durable; the rival does one send
//! and one receive, and finds its actor in an array.

use std::{sync::Arc, time::Duration};

use prognet_benches::{
    machine,
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
    world,
};
use prognet_supervisor::{
    Aggregate, Clock, Context, Decision, Entity, Home, HomeKind, Kind, Limits, Node, Service,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, rpc::CallResult};
use serde::{Deserialize, Serialize};

/// How many of each are running.
const ENTITIES: usize = 1_000;
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = machine::scratch()?;
    let clock = Clock::default();
    let services = vec![Service::new("bench").aggregate::<Counter>()];
    let limits = Limits::default();
    let node = runtime.block_on(world::start(directory.path(), services, clock.clone(), limits))?;
    let actors = runtime.block_on(spawn_actors())?;
    print_head("B7: asking an entity, hosted / bare ractor call with a time-out");
    for (name, callers, entities, unit) in [
        ("1 caller, 1 entity", 1, 1, Unit::Time),
        ("64 callers, 1 entity", 64, 1, Unit::PerSecond),
        ("64 callers, 1000 entities", 64, ENTITIES, Unit::PerSecond),
    ] {
        let pairs = alternate(
            name,
            effort.pairs,
            || runtime.block_on(hosted(&node, &clock, callers, entities, effort.window)),
            || runtime.block_on(bare(&actors, callers, entities, effort.window)),
        )?;
        pairs.print(unit, 0.6);
    }
    Ok(())
}

/// Asks until the window is over; each caller goes through the entities at its own pace.
#[expect(clippy::disallowed_methods, reason = "raw tasks stand for clients, and each is awaited")]
async fn drive<F: Future<Output = anyhow::Result<u64>> + Send + 'static>(
    callers: usize,
    window: Duration,
    ask: impl Fn(usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<Sample> {
    let (before, watch) = (machine::cpu_of_self(), Stopwatch::start());
    let loops: Vec<_> = (0..callers)
        .map(|caller| {
            let ask = ask.clone();
            tokio::spawn(async move {
                let mut asked = 0;
                while watch.elapsed() < window {
                    // Looking at the clock costs as much as an ask takes: once in 16.
                    for _ in 0..16 {
                        asked += 1;
                        ask(caller * 7919 + asked * 31).await?;
                    }
                }
                anyhow::Ok(asked)
            })
        })
        .collect();
    let mut asked = 0;
    for ended in loops {
        asked += ended.await??;
    }
    Ok(Sample::of(asked, watch.elapsed(), machine::cpu_of_self().saturating_sub(before)))
}

async fn hosted(
    node: &Node,
    clock: &Clock,
    callers: usize,
    entities: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let (node, clock) = (node.clone(), clock.clone());
    drive(callers, window, move |pick| {
        let (node, asking) = (node.clone(), world::asking(&clock));
        let id = (pick % entities) as u128;
        let entity = Entity::<Counter>::new(Home { kind: HomeKind::Tenant, id }, id);
        async move { Ok(node.ask(&asking, entity, Look).await?.reply) }
    })
    .await
}

async fn bare(
    actors: &Arc<[ActorRef<Call>]>,
    callers: usize,
    entities: usize,
    window: Duration,
) -> anyhow::Result<Sample> {
    let actors = Arc::clone(actors);
    drive(callers, window, move |pick| {
        let actor = actors.get(pick % entities).cloned();
        async move {
            let actor = actor.ok_or_else(|| anyhow::anyhow!("no such actor"))?;
            match actor.call(Call, Some(TIMEOUT)).await? {
                CallResult::Success(count) => Ok(count),
                CallResult::Timeout | CallResult::SenderError => anyhow::bail!("no answer"),
            }
        }
    })
    .await
}

/// The hosted entity.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Serialize, Deserialize)]
struct Look;

#[derive(Debug, Serialize, Deserialize)]
enum Nothing {}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Counter {
    const KIND: Kind = Kind::new("bench", "counter");
    type Command = Look;
    type Event = Nothing;
    type Reply = u64;
    type Rejection = Never;

    fn decide(&self, _: Look, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(Decision::nothing())
    }

    fn evolve(&mut self, event: &Nothing) {
        match *event {}
    }

    fn reply(&self) -> u64 {
        self.0
    }
}

/// The bare actor.
struct Bare;

struct Call(RpcReplyPort<u64>);

impl ractor::Message for Call {}

impl Actor for Bare {
    type Msg = Call;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Call>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Call>,
        Call(reply): Call,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(*count)?)
    }
}

async fn spawn_actors() -> anyhow::Result<Arc<[ActorRef<Call>]>> {
    let mut actors = Vec::with_capacity(ENTITIES);
    for _ in 0..ENTITIES {
        actors.push(Actor::spawn(None, Bare, ()).await?.0);
    }
    Ok(actors.into())
}
