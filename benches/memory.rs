//! B12: the memory of an idle node, and of an entity that is resident.
//!
//! Each side runs in a process of its own, so that nothing it frees hides in the other's heap: this program
//! again, told to play one part. What an entity costs is what the resident set grew by, divided.
#![expect(clippy::print_stdout, reason = "a bench's output is its result")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use prognet_benches::{
    figures::{self, Aim},
    machine, node,
    pairs::Effort,
    world,
};
use prognet_supervisor::{
    Aggregate, Clock, Context, Decision, Entity, Home, HomeKind, Kind, Limits, Node, Service, Timestamp,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};

const ENTITIES: u64 = 100_000;
const STATE_BYTES: usize = 2048;

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let count = ENTITIES / effort.shrink;
    let part = std::env::args().skip_while(|argument| argument != "--part").nth(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match part.as_deref() {
        Some("hosted") => return runtime.block_on(hosted(count)),
        Some("bare") => return runtime.block_on(bare(count)),
        _ => {}
    }
    figures::print_head("B12: memory");
    figures::print("an idle node", vec![idle_node()? / 1e6], "MB", Aim::AtMost(60.0));
    let [before, bare] = play("bare", effort)?;
    let bare = (bare - before) / count as f64;
    let [before, full, after] = play("hosted", effort)?;
    let hosted = (full - before) / count as f64;
    let name = "a resident entity with 2 KiB of state";
    figures::print(name, vec![hosted / 1024.0], "KiB", Aim::AtMost(16.0));
    figures::print("the same state in a bare ractor actor", vec![bare / 1024.0], "KiB", Aim::None);
    let name = "the node after all are passivated, by its size at start";
    figures::print(name, vec![after / before], "times", Aim::AtMost(1.3));
    Ok(())
}

/// Bytes of the released binary on an empty directory, once it listens.
fn idle_node() -> anyhow::Result<f64> {
    let directory = machine::scratch()?;
    let node = node::Node::start(&node::binary()?, directory.path())?;
    resident(node.pid())
}

/// Runs a part in its own process; hands back the sizes it stopped at.
fn play<const SIZES: usize>(part: &str, effort: Effort) -> anyhow::Result<[f64; SIZES]> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--part", part]).args(effort.is_smoke.then_some("--smoke"));
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut go_on = process.stdin.take().context("no standard input")?;
    let mut lines = BufReader::new(process.stdout.take().context("no standard output")?).lines();
    let mut sizes = [0.0; SIZES];
    for size in &mut sizes {
        lines.next().context("the part ended early")??;
        *size = resident(process.id())?;
        writeln!(go_on)?;
    }
    if !process.wait()?.success() {
        bail!("the part `{part}` failed");
    }
    Ok(sizes)
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^52")]
    Ok(machine::resident_bytes(pid)? as f64)
}

/// Lets the other process look at this one.
fn look() -> anyhow::Result<()> {
    println!();
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

async fn hosted(count: u64) -> anyhow::Result<()> {
    let directory = machine::scratch()?;
    let clock = Clock::driven(Timestamp::from_millis(0));
    let limits = Limits { resident: usize::MAX, resident_bytes: usize::MAX, ..Limits::default() };
    let idle = limits.idle;
    let services = vec![Service::new("bench").aggregate::<Weight>()];
    let node = world::start(directory.path(), services, clock.clone(), limits).await?;
    look()?;
    fill(&node, &clock, count).await?;
    look()?;
    while node.counts().iter().any(|kind| kind.hot > 0) {
        clock.advance(idle);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    look()
}

/// Gives every entity its state.
async fn fill(node: &Node, clock: &Clock, count: u64) -> anyhow::Result<()> {
    world::each(count, 256, |id| {
        let (node, asking, id) = (node.clone(), world::asking(clock), u128::from(id));
        async move {
            let entity = Entity::<Weight>::new(Home { kind: HomeKind::Tenant, id }, id);
            node.ask(&asking, entity, Fill).await?;
            Ok(())
        }
    })
    .await
}

async fn bare(count: u64) -> anyhow::Result<()> {
    look()?;
    let mut actors = Vec::new();
    for _ in 0..count {
        actors.push(Actor::spawn(None, Bare, ()).await?.0);
    }
    look()
}

/// An entity with a state of some size.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Weight(Vec<u8>);

#[derive(Debug, Serialize, Deserialize)]
struct Fill;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Filled {},
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Weight {
    const KIND: Kind = Kind::new("bench", "weight");
    type Command = Fill;
    type Event = Event;
    type Reply = ();
    type Rejection = Never;

    fn decide(&self, _: Fill, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(Decision::event(Event::Filled {}))
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Filled {} => self.0 = vec![7; STATE_BYTES],
        }
    }

    fn reply(&self) {}
}

/// The same state in an actor of the library.
struct Bare;

impl Actor for Bare {
    type Msg = ();
    type State = Vec<u8>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<Vec<u8>, ActorProcessingErr> {
        Ok(vec![7; STATE_BYTES])
    }
}
