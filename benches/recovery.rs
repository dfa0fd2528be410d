//! B11: kill -9, start again, and stop the clock at the first correct reply for a tenant picked at random.
//!
//! Ours holds 1 M events of 100 k tenants and is killed while commands run; the clock starts with the process
//! that follows. The rival holds the same tenants and 1 M rows of events, written since its last checkpoint as
//! after a busy quarter of an hour, and its clock starts with its database. "Ready" counts on neither side.
#![expect(clippy::print_stdout, reason = "a bench's output is its result")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use prognet_actors::{
    ids::{AccountId, TenantId},
    tenancy::{Tenant, tenant},
    values::{Slug, TenantName},
};
use prognet_benches::{
    client::{self, Request},
    machine,
    node::{self, Node},
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
    postgres::{Postgres, Service, TOKEN},
    world,
};
use prognet_supervisor::{Clock, Limits};

const TENANTS: u64 = 100_000;
/// The first founds it, the others rename it.
const EVENTS_PER_TENANT: u64 = 10;

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let tenants = TENANTS / effort.shrink;
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == "--load") {
        let data = arguments.get(place + 1).context("--load <data>")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(load(Path::new(data), tenants));
    }
    let directory = machine::scratch()?;
    let data = directory.path().join("node");
    load_and_kill(&data, effort)?;
    let ours = Ours::prepare(&data, tenants)?;
    let rival = Rival::prepare(&directory.path().join("postgres"), tenants)?;
    print_head("B11: from kill -9 to the first correct reply, 1 M events of 100 k tenants");
    let pairs = alternate("all there", effort.pairs, || ours.recover(false), || rival.recover())?;
    pairs.print(Unit::Time, 1.0);
    let pairs = alternate(
        "snapshots and read models deleted",
        effort.pairs,
        || ours.recover(true),
        || rival.recover(),
    )?;
    pairs.print(Unit::Time, 1.0);
    Ok(())
}

/// Ours: a data directory and an account on it.
struct Ours {
    binary: PathBuf,
    data: PathBuf,
    token: String,
    tenants: u64,
}

impl Ours {
    fn prepare(data: &Path, tenants: u64) -> anyhow::Result<Self> {
        let binary = node::binary()?;
        let node = Node::start(&binary, data)?;
        let token = node.sign_in(data)?;
        Ok(Self { binary, data: data.to_owned(), token, tenants })
    }

    /// Starts it, keeps it busy, kills it, and times the start after that.
    fn recover(&self, is_tier_lost: bool) -> anyhow::Result<Sample> {
        let node = Node::start(&self.binary, &self.data)?;
        let renames: Vec<_> = (0..500)
            .map(|number| {
                let tenant =
                    TenantId::new(random(self.tenants).wrapping_add(number) % u128::from(self.tenants));
                let body = format!(r#"{{"name":"Renamed {number}"}}"#);
                client::request("PATCH", &format!("/v1/tenants/{tenant}"), &self.token, "", &body)
            })
            .collect();
        client::send_all(node.address, 16, &renames)?;
        node.kill()?;
        if is_tier_lost {
            std::fs::remove_dir_all(self.data.join("tier"))?;
        }
        let tenant = random(self.tenants);
        let watch = Stopwatch::start();
        let node = Node::start(&self.binary, &self.data)?;
        let path = format!("/v1/tenants/{}", TenantId::new(tenant));
        let found = first_reply(node.address, client::request("GET", &path, &self.token, "", ""))?;
        let elapsed = watch.elapsed();
        let slug = found.get("slug").and_then(serde_json::Value::as_str);
        anyhow::ensure!(slug == Some(&format!("tenant-{tenant}")), "another tenant came back: {found}");
        Ok(Sample::once(elapsed))
    }
}

/// The rival: a database with as much to redo.
struct Rival {
    database: Postgres,
    tenants: u64,
}

impl Rival {
    fn prepare(directory: &Path, tenants: u64) -> anyhow::Result<Self> {
        let database = Postgres::start(directory)?;
        drop(Self::service(&database, tenants)?);
        database.sql(
            "create table event (id bigserial primary key, tenant bigint not null, body bytea not null)",
        )?;
        Ok(Self { database, tenants })
    }

    fn service(database: &Postgres, tenants: u64) -> anyhow::Result<Service> {
        Service::start(env!("CARGO_BIN_EXE_baseline"), &database.url(), usize::try_from(tenants)?, 16)
    }

    /// Writes the events again, since each start ends with a checkpoint, kills it, and times the start.
    fn recover(&self) -> anyhow::Result<Sample> {
        let events = self.tenants * EVENTS_PER_TENANT;
        self.database.sql("truncate event")?;
        self.database.sql("checkpoint")?;
        self.database.sql(&format!(
            "insert into event (tenant, body)
             select n % {}, decode(repeat(md5(n::text), 6), 'hex') from generate_series(1, {events}) n",
            self.tenants
        ))?;
        self.database.kill()?;
        let tenant = random(self.tenants);
        let watch = Stopwatch::start();
        self.database.resume()?;
        let service = Self::service(&self.database, self.tenants)?;
        let found = first_reply(
            service.address,
            client::request("GET", &format!("/tenants/{tenant}"), TOKEN, "", ""),
        )?;
        let elapsed = watch.elapsed();
        let slug = found.get("slug").and_then(serde_json::Value::as_str);
        anyhow::ensure!(slug == Some(&format!("tenant-{tenant}")), "another tenant came back: {found}");
        Ok(Sample::once(elapsed))
    }
}

fn first_reply(address: std::net::SocketAddr, request: Request) -> anyhow::Result<serde_json::Value> {
    client::send_all(address, 1, &[request])?.pop().context("no answer")
}

/// A number below a limit, another one each time.
fn random(below: u64) -> u128 {
    // The low bits of an id are random.
    Clock::default().fresh_id() % u128::from(below.max(1))
}

/// Fills a data directory in another process, and kills that without a word.
fn load_and_kill(data: &Path, effort: Effort) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--load").arg(data).args(effort.is_smoke.then_some("--smoke"));
    let mut process = command.stdout(Stdio::piped()).spawn()?;
    let loaded = BufReader::new(process.stdout.take().context("no standard output")?).lines().next();
    process.kill()?;
    process.wait()?;
    loaded.context("the load failed")??;
    Ok(())
}

/// Writes the events through the runtime, as fast as it takes them, and then waits to be killed.
async fn load(data: &Path, tenants: u64) -> anyhow::Result<()> {
    let clock = Clock::default();
    let node = world::start(data, prognet_actors::services(), clock.clone(), Limits::default()).await?;
    world::each(tenants, 512, |id| {
        let (node, clock) = (node.clone(), clock.clone());
        async move {
            let tenant = Tenant::at(TenantId::new(id.into()));
            let name = |number: u64| TenantName::parse(&format!("Tenant {id}, name {number}"));
            let (slug, owner) = (Slug::parse(&format!("tenant-{id}"))?, AccountId::new(1));
            let create = tenant::Command::Create { name: name(0)?, slug, owner };
            node.ask(&world::asking(&clock), tenant, create).await?;
            for number in 1..EVENTS_PER_TENANT {
                let rename = tenant::Command::Rename { name: name(number)?, if_version: None };
                node.ask(&world::asking(&clock), tenant, rename).await?;
            }
            Ok(())
        }
    })
    .await?;
    println!("loaded");
    std::future::pending().await
}
