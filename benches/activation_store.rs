//! C3: bringing an entity back from PostgreSQL, against one indexed read of a row of that size in the same database.
//!
//! Another process writes the entities and ends, so that this one has none of them in memory: the snapshot and the
//! events after it are rows, each sealed. That nothing else is replayed is checked by counting. The rival reads one row
//! by its primary key, prepared, over as many connections as there are callers, up to what the node has.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, bail, ensure};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use prognet_benches::{
    figures::{self, Aim},
    machine,
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
    postgres::Postgres,
    shared, world,
};
use prognet_supervisor::{
    Aggregate, Clock, Context, Decision, Entity, Home, HomeKind, Kind, Limits, Node, Service,
};
use serde::{Deserialize, Serialize};
use tokio_postgres::NoTls;

/// Brought back in one window, by so many callers at once.
const WINDOWS: [(&str, usize, u64); 2] = [("1 caller", 1, 500), ("64 callers", 64, 4_000)];
/// Events of each entity before its snapshot, and after it.
const BEFORE: u64 = 8;
const TAIL: u64 = 4;
const STATE_BYTES: usize = 2048;
/// Homes that nobody wrote to: reading them starts every shard, which is not what is measured.
const STARTERS: u64 = 5_000;
/// Connections of the rival.
const POOL: usize = 16;

const ROWS: &str = "
create table row (id bigint primary key, body bytea not null);
insert into row select n, decode(repeat('07', 2048), 'hex') from generate_series(0, 99999) n;
analyze row;";
const READ: &str = "select body from row where id = $1";
const ROW_COUNT: u64 = 100_000;

/// Events that were applied in this process.
static EVOLVED: AtomicU64 = AtomicU64::new(0);

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(words) = world::told_to_load() {
        let [url, data, count] = words.as_slice() else { bail!("--load <database> <data> <entities>") };
        return runtime.block_on(load(url, Path::new(data), count.parse()?));
    }
    let directory = machine::scratch()?;
    let database = Postgres::start(&directory.path().join("postgres"))?;
    let url = database.create("prognet")?;
    let data = directory.path().join("node");
    let windows = WINDOWS.map(|(name, callers, count)| (name, callers, (count / effort.shrink).max(1)));
    // A warm-up each.
    let all: u64 = windows.iter().map(|(_, _, count)| count * (effort.pairs as u64 + 1)).sum();
    world::fill(&[&url, &data.display().to_string(), &all.to_string()])?;
    database.sql(ROWS)?;

    let bench = runtime.block_on(Bench::start(&url, &database.url(), &data))?;
    let (mut next, mut rates) = (0, Vec::new());
    print_head("C3: 99th percentiles: an entity from PostgreSQL, snapshot and 4 events / one row by its key");
    for (name, callers, count) in windows {
        let pairs = alternate(
            name,
            effort.pairs,
            || {
                let ids = next..next + count;
                next += count;
                let sample = runtime.block_on(bench.entities(ids, callers))?;
                if callers > 1 {
                    rates.push(sample.rate);
                }
                Ok(by_tail(sample))
            },
            || Ok(by_tail(runtime.block_on(bench.rows(count, callers))?)),
        )?;
        pairs.print(Unit::Time, 0.33);
    }
    figures::print_head("C3: entities brought back by 64 callers");
    figures::print("rate", rates, "/s", Aim::AtLeast(5_000.0));
    Ok(())
}

/// Judged by the 99th percentile, not by the rate.
fn by_tail(sample: Sample) -> Sample {
    let tail = sample.latency_us.map_or(f64::INFINITY, |(_, tail)| tail);
    Sample { rate: 1e6 / tail, ..sample }
}

struct Bench {
    node: Node,
    clock: Clock,
    pool: Pool,
}

impl Bench {
    /// A node on one database, and rows in another of the same server.
    async fn start(url: &str, rows: &str, data: &Path) -> anyhow::Result<Self> {
        let node = start(url, data).await?;
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool =
            Pool::builder(Manager::from_config(rows.parse()?, NoTls, config)).max_size(POOL).build()?;
        let bench = Self { node, clock: Clock::default(), pool };
        for id in (u64::MAX - STARTERS)..u64::MAX {
            read(&bench.node, &bench.clock, id).await?;
        }
        Ok(bench)
    }

    /// Reads entities, each of which has to apply the events behind its snapshot for it.
    async fn entities(&self, ids: std::ops::Range<u64>, callers: usize) -> anyhow::Result<Sample> {
        let expected = EVOLVED.load(Ordering::Relaxed) + TAIL * (ids.end - ids.start);
        let (node, clock) = (self.node.clone(), self.clock.clone());
        let sample = timed(ids, callers, move |id| {
            let (node, clock) = (node.clone(), clock.clone());
            async move {
                let seen = read(&node, &clock, id).await?;
                ensure!(seen == BEFORE + TAIL, "an entity came back with {seen} events");
                Ok(())
            }
        })
        .await?;
        let evolved = EVOLVED.load(Ordering::Relaxed);
        ensure!(evolved == expected, "{evolved} events were applied, not {expected}");
        Ok(sample)
    }

    async fn rows(&self, count: u64, callers: usize) -> anyhow::Result<Sample> {
        let pool = self.pool.clone();
        timed(0..count, callers, move |number| {
            let pool = pool.clone();
            async move {
                let connection = pool.get().await?;
                let statement = connection.prepare_cached(READ).await?;
                let id = i64::try_from(number.wrapping_mul(0x9e37_79b9) % ROW_COUNT)?;
                let row = connection.query_one(&statement, &[&id]).await?;
                let body: &[u8] = row.try_get(0)?;
                ensure!(body.len() == STATE_BYTES, "a row of {} bytes", body.len());
                Ok(())
            }
        })
        .await
    }
}

/// Does something for each number, each of the callers for every so-and-so-manieth.
#[expect(clippy::disallowed_methods, reason = "raw tasks stand for callers, and each is awaited")]
async fn timed<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
    numbers: std::ops::Range<u64>,
    callers: usize,
    work: impl Fn(u64) -> F + Clone + Send + 'static,
) -> anyhow::Result<Sample> {
    let (before, watch) = (machine::cpu_of_self(), Stopwatch::start());
    let loops: Vec<_> = (0..callers)
        .map(|caller| {
            let (work, mine) = (work.clone(), numbers.clone().skip(caller).step_by(callers));
            tokio::spawn(async move {
                let mut nanos = Vec::new();
                for number in mine {
                    let watch = Stopwatch::start();
                    work(number).await?;
                    nanos.push(u64::try_from(watch.elapsed().as_nanos())?);
                }
                anyhow::Ok(nanos)
            })
        })
        .collect();
    let mut nanos = Vec::new();
    for ended in loops {
        nanos.extend(ended.await??);
    }
    let cpu = machine::cpu_of_self().saturating_sub(before);
    Ok(Sample::of(nanos.len(), watch.elapsed(), cpu).with_latencies(nanos))
}

async fn read(node: &Node, clock: &Clock, id: u64) -> anyhow::Result<u64> {
    Ok(node.read(&world::asking(clock), entity(id)).await?)
}

/// Writes each entity's events: the last of the first few leaves a snapshot.
async fn load(url: &str, data: &Path, count: u64) -> anyhow::Result<()> {
    let clock = Clock::default();
    let node = start(url, data).await?;
    world::each(count, 256, |id| {
        let (node, clock) = (node.clone(), clock.clone());
        async move {
            for _ in 0..BEFORE + TAIL {
                node.ask(&world::asking(&clock), entity(id), Write).await?;
            }
            Ok(())
        }
    })
    .await?;
    world::settle_and_stop(node).await
}

async fn start(url: &str, data: &Path) -> anyhow::Result<Node> {
    let services = vec![Service::new("bench").aggregate::<Note>()];
    let limits = Limits { snapshot_every: BEFORE, ..Limits::default() };
    shared::start("one", &["bench"], url, data, services, limits).await.context("failed to start a node")
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
