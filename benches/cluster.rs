//! C4 to C6: three nodes on one database. What a planned move and a killed node cost those who ask, and what three nodes
//! cost on a machine that has cores for one.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, ensure};
use prognet_actors::ids::TenantId;
use prognet_benches::{
    client::{self, Connection, Request, pick},
    figures::{self, Aim},
    machine,
    node::Node,
    nodes::Nodes,
    pairs::{Effort, Stopwatch, Unit, alternate, print_head},
    postgres::Postgres,
};
use prognet_supervisor::{Home, HomeKind};

const TENANTS: u64 = 1_000;
const CONNECTIONS: usize = 64;
/// Tenants that are asked for without a pause while nodes go.
const WATCHED: u64 = 64;
/// Shards of a service, as nodes are set by default.
const SHARDS: u16 = 256;
const KILLS: usize = 10;
const MOVES: usize = 3;
/// Between two requests for a tenant where nodes are not to be busy all the time: about half of what they can do here.
const HALF: Duration = Duration::from_millis(40);
/// Whoever is refused asks again after this.
const PAUSE: Duration = Duration::from_millis(20);
/// How long nodes are asked before one goes.
const BEFORE: Duration = Duration::from_secs(1);
/// An answer that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let directory = machine::scratch()?;
    let database = Postgres::start(&directory.path().join("postgres"))?;
    let mut three = Nodes::start(&directory.path().join("three"), &database.create("three")?, 3)?;
    let tenants = three.found_tenants((TENANTS / effort.shrink).max(WATCHED))?;
    let watched = tenants.get(..usize::try_from(WATCHED)?).context("too few tenants")?;
    let rounds = if effort.is_smoke { 1 } else { MOVES };
    figures::print_head("C4: a node gives its shards away, 64 tenants are asked for all the time");
    moves(&mut three, watched, "half load", HALF, rounds)?;
    moves(&mut three, watched, "full load", Duration::ZERO, rounds)?;
    kills(&mut three, watched, if effort.is_smoke { 1 } else { KILLS })?;
    let one = Nodes::start(&directory.path().join("one"), &database.create("one")?, 1)?;
    let of_one = one.found_tenants((TENANTS / effort.shrink).max(WATCHED))?;
    throughput(&three, &tenants, &one, &of_one, &database, effort)
}

/// C6: the same load on three nodes and on one.
fn throughput(
    three: &Nodes,
    tenants: &[String],
    one: &Nodes,
    of_one: &[String],
    database: &Postgres,
    effort: Effort,
) -> anyhow::Result<()> {
    print_head("C6: three nodes on two cores / one node, 64 connections in all");
    type Make = fn(&Nodes, &[String], u64) -> Request;
    for (name, make) in [("rename a tenant", rename as Make), ("read a tenant", read)] {
        let side = |nodes: &Nodes, tenants: &[String]| {
            let servers = [nodes.pids(), vec![database.pid()?]].concat();
            let make = |number| make(nodes, tenants, number);
            client::drive(&nodes.doors(), CONNECTIONS, effort.window, &servers, &make)
        };
        alternate(name, effort.pairs, || side(three, tenants), || side(one, of_one))?
            .print(Unit::PerSecond, 0.7);
    }
    Ok(())
}

fn rename(nodes: &Nodes, tenants: &[String], number: u64) -> Request {
    let path = format!("/v1/tenants/{}", pick(number, tenants).1);
    client::request("PATCH", &path, nodes.token(), "", &body(number))
}

fn read(nodes: &Nodes, tenants: &[String], number: u64) -> Request {
    nodes.asking("GET", &format!("/v1/tenants/{}", pick(number, tenants).1))
}

fn body(number: u64) -> String {
    format!(r#"{{"name":"Acme Rockets and Roller Skates, branch {number:010}"}}"#)
}

/// C4: each round a node gives all away; how long each of its tenants had to wait for an answer, at most.
fn moves(
    nodes: &mut Nodes,
    tenants: &[String],
    load: &str,
    between: Duration,
    rounds: usize,
) -> anyhow::Result<()> {
    let (mut pauses, mut of_others) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for round in 0..rounds {
        let place = 1 + round % 2;
        let moved = nodes.owned("tenancy", nodes.name(place))?;
        let asked = nodes.asking("POST", &format!("/v1/system/nodes/{}/drain", nodes.name(place)));
        let mut gone = nodes.take(place)?;
        let watch = watch(nodes, tenants, between, async |doors| {
            Connection::open(doors).await?.ask(&asked).await?.taken()?;
            while !gone.has_ended()? {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        })?;
        let is_moved = |tenant: &str| anyhow::Ok(moved.contains(&u64::from(shard_of(tenant)?)));
        for (tenant, seen) in tenants.iter().zip(&watch) {
            refused += seen.refused;
            let longest = seen.longest.as_secs_f64() * 1e3;
            if is_moved(tenant)? { &mut pauses } else { &mut of_others }.push(longest);
        }
        nodes.resume(place)?;
        nodes.until_even()?;
    }
    ensure!(!pauses.is_empty(), "no tenant moved");
    let longest = pauses.iter().copied().fold(0.0, f64::max);
    let line = |what: &str| format!("{load}: {what}");
    figures::print(&line("the longest wait of a tenant that moves"), pauses, "ms", Aim::AtMost(100.0));
    figures::print(&line("the longest of all"), vec![longest], "ms", Aim::AtMost(300.0));
    figures::print(&line("the longest wait of a tenant that stays, meanwhile"), of_others, "ms", Aim::None);
    figures::print(&line("requests refused"), vec![f64::from(refused)], "", Aim::AtMost(0.0));
    Ok(())
}

/// C5: each round a node is killed; how long until every tenant is served again by the others.
fn kills(nodes: &mut Nodes, tenants: &[String], rounds: usize) -> anyhow::Result<()> {
    let mut served = Vec::new();
    for round in 0..rounds {
        let place = round % 3;
        let killed = Cell::new(Some(nodes.take(place)?));
        let watch = watch(nodes, tenants, Duration::ZERO, async |_| {
            killed.take().map_or(Ok(()), Node::kill)?;
            Ok(())
        })?;
        served.push(watch.iter().map(|seen| seen.again.as_secs_f64() * 1e3).fold(0.0, f64::max));
        nodes.resume(place)?;
        nodes.until_even()?;
    }
    figures::print_head(
        "C5: from kill -9 of one of three nodes until each of 64 tenants is served by the others",
    );
    let longest = served.iter().copied().fold(0.0, f64::max);
    figures::print("rounds", served, "ms", Aim::AtMost(3_000.0));
    figures::print("the longest", vec![longest], "ms", Aim::AtMost(3_000.0));
    Ok(())
}

fn shard_of(tenant: &str) -> anyhow::Result<u16> {
    let id: TenantId = tenant.parse()?;
    Ok(Home { kind: HomeKind::Tenant, id: id.number() }.shard_number(SHARDS))
}

/// What somebody saw who renamed a tenant again and again.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The longest request that was begun after it happened.
    longest: Duration,
    /// From then until the first such request was answered well.
    again: Duration,
    refused: u32,
}

/// Renames tenants, each again after a pause, has something happen, and goes on until it is done and each was renamed
/// again.
fn watch(
    nodes: &Nodes,
    tenants: &[String],
    between: Duration,
    happens: impl AsyncFnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Seen>> {
    let doors = nodes.doors();
    let began = Stopwatch::start();
    let (happened, is_over) = (Cell::new(None::<Duration>), Cell::new(false));
    let seen = RefCell::new(vec![None::<Seen>; tenants.len()]);
    let client = async |place: usize, tenant: &str, door: SocketAddr| {
        let mut connection = Connection::open(door).await?;
        let mut number = 0;
        while !is_over.get() {
            number += 1;
            let path = format!("/v1/tenants/{tenant}");
            let request = client::request("PATCH", &path, nodes.token(), "", &body(number));
            let asked = began.elapsed();
            let answer = tokio::time::timeout(PATIENCE, connection.ask(&request)).await??;
            let took = began.elapsed() - asked;
            let is_refused = answer.taken().is_err();
            if let Some(at) = happened.get().filter(|at| *at <= asked) {
                let mut all = seen.borrow_mut();
                let Some(one) = all.get_mut(place) else { break };
                let mut now = one.unwrap_or_default();
                now.longest = now.longest.max(took);
                now.refused += u32::from(is_refused);
                if now.again.is_zero() && !is_refused {
                    now.again = began.elapsed() - at;
                }
                *one = Some(now);
            }
            let pause = if is_refused { PAUSE } else { between };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        anyhow::Ok(())
    };
    let control = async {
        tokio::time::sleep(BEFORE).await;
        happened.set(Some(began.elapsed()));
        happens(*doors.first().context("no node runs")?).await?;
        let is_served = |one: &Option<Seen>| one.is_some_and(|one| !one.again.is_zero());
        while !seen.borrow().iter().all(is_served) && began.elapsed() < PATIENCE {
            tokio::time::sleep(PAUSE).await;
        }
        is_over.set(true);
        anyhow::Ok(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let places = tenants.iter().zip(doors.iter().cycle()).enumerate();
    let clients = places.map(|(place, (tenant, door))| client(place, tenant, *door));
    runtime.block_on(async {
        tokio::try_join!(futures_util::future::try_join_all(clients), control)?;
        anyhow::Ok(())
    })?;
    seen.into_inner().into_iter().collect::<Option<_>>().context("a tenant was not served again")
}
