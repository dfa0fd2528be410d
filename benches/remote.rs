//! C1: asking an entity that another process hosts, against a bare `ractor_cluster` call to an actor there.
//!
//! Four processes on one machine: ours that asks and ours that hosts, each a node of one cluster on a database, and the
//! rival's two. Question and answer are 256 bytes. Ours routes by home and shard, takes permits on both sides, carries
//! a deadline, checks lease and epoch before it answers; the rival encodes, sends and decodes. The links of both are
//! plain TCP over loopback.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use prognet_benches::{
    figures::{self, Aim},
    machine,
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head, quartiles},
    postgres::Postgres,
    shared, world,
};
use prognet_supervisor::{
    Aggregate, Clock, Context, Decision, Entity, Home, HomeKind, Kind, Limits, Node, Service,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg, rpc::CallResult};
use ractor_cluster::{NodeServer, RactorClusterMessage, client_connect};
use serde::{Deserialize, Serialize};

/// How many of each are asked.
const ENTITIES: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(60);
const TEXT_BYTES: usize = 256;
const COOKIE: &str = "known to both of them";
const GROUP: &str = "echoes";

fn main() -> anyhow::Result<()> {
    if let Some(words) = world::told_to_load() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        return match *words.as_slice() {
            ["host", url, data] => runtime.block_on(host(url, Path::new(data))),
            ["ask", url, data] => runtime.block_on(ask(url, Path::new(data))),
            ["bare-host", port] => runtime.block_on(bare_host(port.parse()?)),
            ["bare-ask", door] => runtime.block_on(bare_ask(door.parse()?)),
            _ => bail!("--load host|ask|bare-host|bare-ask ..."),
        };
    }
    let effort = Effort::asked();
    let directory = machine::scratch()?;
    let database = Postgres::start(&directory.path().join("postgres"))?;
    let url = database.create("prognet")?;
    let data = |name: &str| directory.path().join(name).display().to_string();
    let host = Peer::start(&["host", &url, &data("host")])?;
    let mut asks = Peer::start(&["ask", &url, &data("ask")])?;
    let port = free_port()?;
    let bare_host = Peer::start(&["bare-host", &port.to_string()])?;
    let mut bare_asks = Peer::start(&["bare-ask", &format!("127.0.0.1:{port}")])?;

    let mut added = Vec::new();
    print_head("C1: asking an entity of another process / bare ractor_cluster call, 256 bytes");
    for (name, callers, unit, aim) in
        [("1 caller", 1, Unit::Time, 0.0), ("64 callers", 64, Unit::PerSecond, 0.75)]
    {
        let mut halves = (Vec::new(), Vec::new());
        let pairs = alternate(
            name,
            effort.pairs,
            || asks.measure(callers, effort.window, &host, &mut halves.0),
            || bare_asks.measure(callers, effort.window, &bare_host, &mut halves.1),
        )?;
        pairs.print(unit, aim);
        if callers == 1 {
            // Without the warm-ups.
            let pairs = halves.0.iter().zip(&halves.1).skip(1);
            added = pairs.map(|(ours, bare)| ours - bare).collect();
        }
    }
    figures::print_head("C1: what ours adds to the median");
    ensure!(quartiles(added.clone()).1 > 0.0, "nothing was measured");
    figures::print("1 caller", added, "us", Aim::AtMost(100.0));
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Another process of this bench, told what to do by lines.
struct Peer {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Peer {
    /// Starts one; returns once it says that it is ready.
    fn start(words: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--load").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let lines = BufReader::new(process.stdout.take().context("no standard output")?).lines();
        let mut peer = Self { process, lines };
        peer.hears().with_context(|| format!("{words:?} did not start"))?;
        Ok(peer)
    }

    fn hears(&mut self) -> anyhow::Result<String> {
        Ok(self.lines.next().context("it has ended")??)
    }

    fn measure(
        &mut self,
        callers: usize,
        window: Duration,
        host: &Self,
        halves: &mut Vec<f64>,
    ) -> anyhow::Result<Sample> {
        let pids = [self.process.id(), host.process.id()];
        let before = machine::cpu_of(&pids);
        let told = self.process.stdin.as_mut().context("no standard input")?;
        writeln!(told, "{callers} {}", window.as_millis())?;
        let said = self.hears()?;
        let cpu = machine::cpu_of(&pids).saturating_sub(before);
        let Done { asked, nanos, half, tail } = serde_json::from_str(&said)?;
        halves.push(half);
        let sample = Sample::of(asked, Duration::from_nanos(nanos), cpu);
        Ok(Sample { latency_us: Some((half, tail)), ..sample })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What an asking process says of a window.
#[derive(Serialize, Deserialize)]
struct Done {
    asked: usize,
    nanos: u64,
    /// The median, in microseconds.
    half: f64,
    /// The 99th percentile.
    tail: f64,
}

/// Says that it is ready, and does what it is told until nobody tells anything.
#[expect(clippy::disallowed_methods, reason = "raw tasks stand for callers, and each is awaited")]
async fn serve<F: Future<Output = anyhow::Result<String>> + Send + 'static>(
    ask: impl Fn(usize) -> F + Clone + Send + 'static,
) -> anyhow::Result<()> {
    say("ready")?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let (callers, millis) = line.split_once(' ').context("<callers> <milliseconds>")?;
        let (callers, window) = (callers.parse()?, Duration::from_millis(millis.parse()?));
        let watch = Stopwatch::start();
        let loops: Vec<_> = (0..callers)
            .map(|caller: usize| {
                let ask = ask.clone();
                tokio::spawn(async move {
                    let mut nanos = Vec::with_capacity(16 * 1024);
                    while watch.elapsed() < window {
                        let asked = Stopwatch::start();
                        let answer = ask((caller * 7919 + nanos.len() * 31) % ENTITIES).await?;
                        ensure!(answer.len() == TEXT_BYTES, "another answer: {answer}");
                        nanos.push(u64::try_from(asked.elapsed().as_nanos())?);
                    }
                    anyhow::Ok(nanos)
                })
            })
            .collect();
        let mut nanos = Vec::new();
        for ended in loops {
            nanos.extend(ended.await??);
        }
        let elapsed = u64::try_from(watch.elapsed().as_nanos())?;
        let asked = nanos.len();
        let (half, tail) = Sample::default().with_latencies(nanos).latency_us.context("nobody asked")?;
        say(&serde_json::to_string(&Done { asked, nanos: elapsed, half, tail })?)?;
    }
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn text() -> String {
    "x".repeat(TEXT_BYTES)
}

/// The node that has all entities.
async fn host(url: &str, data: &Path) -> anyhow::Result<()> {
    let _node = start("host", &["bench"], url, data).await?;
    serve(async |_| bail!("nobody asks here")).await
}

/// The node that has none.
async fn ask(url: &str, data: &Path) -> anyhow::Result<()> {
    let clock = Clock::default();
    let node = start("ask", &[], url, data).await?;
    serve(move |pick| {
        let (node, asking) = (node.clone(), world::asking(&clock));
        let id = pick as u128;
        let entity = Entity::<Echo>::new(Home { kind: HomeKind::Tenant, id }, id);
        async move { Ok(node.ask(&asking, entity, Say(text())).await?.reply) }
    })
    .await
}

async fn start(name: &str, roles: &[&str], url: &str, data: &Path) -> anyhow::Result<Node> {
    let services = vec![Service::new("bench").aggregate::<Echo>()];
    shared::start(name, roles, url, data, services, Limits::default()).await
}

/// The hosted entity.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Echo(String);

#[derive(Debug, Serialize, Deserialize)]
struct Say(String);

#[derive(Debug, Serialize, Deserialize)]
enum Nothing {}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Echo {
    const KIND: Kind = Kind::new("bench", "echo");
    type Command = Say;
    type Event = Nothing;
    type Reply = String;
    type Rejection = Never;

    fn decide(&self, _: Say, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(Decision::nothing())
    }

    fn evolve(&mut self, event: &Nothing) {
        match *event {}
    }

    fn reply(&self) -> String {
        text()
    }
}

/// The bare actor.
struct Bare;

#[derive(RactorClusterMessage)]
enum Call {
    #[rpc]
    Say(String, RpcReplyPort<String>),
}

impl Actor for Bare {
    type Msg = Call;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Call>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Call>,
        Call::Say(_, reply): Call,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(text())?)
    }
}

async fn bare(port: u16, name: &str) -> anyhow::Result<ActorRef<ractor_cluster::NodeServerMessage>> {
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    let server =
        NodeServer::new(port, COOKIE.to_owned(), name.to_owned(), "localhost".to_owned(), None, None);
    Ok(Actor::spawn(None, server.with_listen_addr(loopback), ()).await?.0)
}

async fn bare_host(port: u16) -> anyhow::Result<()> {
    let _server = bare(port, "host").await?;
    for _ in 0..ENTITIES {
        let (actor, _) = Actor::spawn(None, Bare, ()).await?;
        pg::join(GROUP.to_owned(), vec![actor.get_cell()]);
    }
    serve(async |_| bail!("nobody asks here")).await
}

async fn bare_ask(door: SocketAddr) -> anyhow::Result<()> {
    let server = bare(0, "ask").await?;
    client_connect(&server, door).await?;
    let actors = loop {
        let members = pg::get_members(&GROUP.to_owned());
        if members.len() == ENTITIES {
            break members;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let actors: Arc<[ActorRef<Call>]> = actors.into_iter().map(ActorRef::from).collect();
    serve(move |pick| {
        let actor = actors.get(pick).cloned();
        async move {
            let actor = actor.context("no such actor")?;
            match actor.call(|reply| Call::Say(text(), reply), Some(TIMEOUT)).await? {
                CallResult::Success(text) => Ok(text),
                CallResult::Timeout | CallResult::SenderError => bail!("no answer"),
            }
        }
    })
    .await
}
