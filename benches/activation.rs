//! B10: bringing an entity back, from its snapshot and 64 events after it, until it has answered a read.
//!
//! Another process writes the entities and ends, so that this one has none of them in memory: the snapshot comes
//! from sled, the events from the journal's file, all of it sealed. Warm, their pages are in the system's cache,
//! as after writing; cold, the cache is told to forget both before each. That nothing else is replayed is checked
//! by counting.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, ensure};
use prognet_benches::{
    figures::{self, Aim},
    machine,
    pairs::{Effort, Sample, Stopwatch},
    world,
};
use prognet_supervisor::{
    Aggregate, Clock, Context, Decision, Entity, Home, HomeKind, Kind, Limits, Node, Service,
};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

const ROUNDS: u64 = 5;
const ENTITIES_PER_ROUND: u64 = 500;
const COLD: u64 = 100;
/// Events after the snapshot: the most the bar speaks of.
const TAIL: u64 = 64;
const STATE_BYTES: usize = 2048;
/// Homes that nobody wrote to: reading them starts every shard, which is not what is measured.
const STARTERS: u64 = 5_000;

/// Events that were applied in this process.
static EVOLVED: AtomicU64 = AtomicU64::new(0);

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(words) = world::told_to_load() {
        let [data, count] = words.as_slice() else { anyhow::bail!("--load <data> <entities>") };
        return runtime.block_on(load(Path::new(data), count.parse()?));
    }
    let directory = machine::scratch()?;
    let data = directory.path();
    let (of_a_round, cold) = (ENTITIES_PER_ROUND / effort.shrink, (COLD / effort.shrink).max(1));
    let count = ROUNDS * of_a_round + cold;
    world::fill(&[&data.display().to_string(), &count.to_string()])?;
    runtime.block_on(measure(data, of_a_round, cold))
}

async fn measure(data: &Path, of_a_round: u64, cold: u64) -> anyhow::Result<()> {
    let clock = Clock::default();
    let node = world::start(data, services(), clock.clone(), Limits::default()).await?;
    let bench = Bench { node, clock };
    for id in (u64::MAX - STARTERS)..u64::MAX {
        bench.read(id).await?;
    }
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let ids = round * of_a_round..(round + 1) * of_a_round;
        first.push(bench.round(ids.clone(), TAIL, || Ok(())).await?);
        again.push(bench.round(ids, 0, || Ok(())).await?);
    }
    let ids = ROUNDS * of_a_round..ROUNDS * of_a_round + cold;
    let cold = vec![bench.round(ids, TAIL, || forget_pages(data)).await?];
    figures::print_head(
        "B10: an entity with 2 KiB of state, from its snapshot and 64 events to its first answer",
    );
    print("warm", &first, Aim::AtMost(0.5), Aim::AtMost(5.0));
    print("cold", &cold, Aim::None, Aim::AtMost(25.0));
    print("once it runs", &again, Aim::None, Aim::None);
    Ok(())
}

fn print(name: &str, rounds: &[Sample], half: Aim, tail: Aim) {
    let millis = |part: fn((f64, f64)) -> f64| {
        rounds.iter().filter_map(|round| Some(part(round.latency_us?) / 1e3)).collect()
    };
    figures::print(&format!("{name}, median"), millis(|(half, _)| half), "ms", half);
    figures::print(&format!("{name}, 99th percentile"), millis(|(_, tail)| tail), "ms", tail);
}

struct Bench {
    node: Node,
    clock: Clock,
}

impl Bench {
    async fn read(&self, id: u64) -> anyhow::Result<u64> {
        Ok(self.node.read(&world::asking(&self.clock), entity(id)).await?)
    }

    /// Reads entities one after the other, each of which has to apply so many events for it.
    async fn round(
        &self,
        ids: std::ops::Range<u64>,
        events: u64,
        before_each: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Sample> {
        let expected = EVOLVED.load(Ordering::Relaxed) + events * (ids.end - ids.start);
        let mut nanos = Vec::new();
        for id in ids {
            before_each()?;
            let watch = Stopwatch::start();
            let seen = self.read(id).await?;
            nanos.push(u64::try_from(watch.elapsed().as_nanos())?);
            ensure!(
                seen == Limits::default().snapshot_every + TAIL,
                "an entity came back with {seen} events"
            );
        }
        let evolved = EVOLVED.load(Ordering::Relaxed);
        ensure!(evolved == expected, "{evolved} events were applied, not {expected}");
        Ok(Sample::default().with_latencies(nanos))
    }
}

/// Has the system forget what it holds of the files: clean pages go, so they are synced first.
fn forget_pages(directory: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_pages(&path)?;
        } else {
            let file = File::open(&path).with_context(|| format!("failed to open `{}`", path.display()))?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Writes each entity's events: the last of the first hundred leaves a snapshot.
async fn load(data: &Path, count: u64) -> anyhow::Result<()> {
    let clock = Clock::default();
    let limits = Limits::default();
    let events = limits.snapshot_every + TAIL;
    let node = world::start(data, services(), clock.clone(), limits).await?;
    world::each(count, 512, |id| {
        let (node, clock) = (node.clone(), clock.clone());
        async move {
            for _ in 0..events {
                node.ask(&world::asking(&clock), entity(id), Write).await?;
            }
            Ok(())
        }
    })
    .await?;
    world::settle_and_stop(node).await
}

fn services() -> Vec<Service> {
    vec![Service::new("bench").aggregate::<Note>()]
}

fn entity(id: u64) -> Entity<Note> {
    let id = u128::from(id);
    Entity::new(Home { kind: HomeKind::Tenant, id }, id)
}

/// An entity with a state of some size and events like most.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    text: Vec<u8>,
    last: String,
    events: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Write;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Written { text: String },
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Note {
    const KIND: Kind = Kind::new("bench", "note");
    type Command = Write;
    type Event = Event;
    type Reply = u64;
    type Rejection = Never;

    fn decide(&self, _: Write, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(Decision::event(Event::Written {
            text: format!("a line of a hundred characters{:70}", self.events),
        }))
    }

    fn evolve(&mut self, event: &Event) {
        // Only counts: the state follows from the events alone.
        EVOLVED.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Written { text } => {
                self.text = vec![7; STATE_BYTES];
                self.last.clone_from(text);
                self.events += 1;
            }
        }
    }

    fn reply(&self) -> u64 {
        self.events
    }
}
