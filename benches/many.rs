//! P5: 100 k tenants and 200 k accounts on a node, beside a node with 10 tenants and 20 accounts.
//!
//! Both are filled the same way: each tenant with its owner, each account with its address, its password and
//! nothing else, through the runtime. Then both start as an operator starts them. What is asked of the large one
//! is asked of the small one at once, so that a machine others share treats them alike.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher};
use prognet_actors::{
    auth::{
        Credential,
        credential::{self, PasswordHash},
    },
    communication::Language,
    ids::{AccountId, TenantId},
    tenancy::{Tenant, tenant},
    users::{Account, Reservation, account, reservation},
    values::{Email, PersonName, Slug, TenantName},
};
use prognet_benches::{
    client::{self, Request, pick},
    figures::{self, Aim},
    machine,
    node::{self, PASSWORD},
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
    world,
};
use prognet_supervisor::{Clock, Limits, Node};
use serde_json::Value;

const TENANTS: u64 = 100_000;
const FEW_TENANTS: u64 = 10;
const ACCOUNTS_PER_TENANT: u64 = 2;
/// As many as there are cores: nobody waits in a queue, so that a tail is the node's own.
const CONNECTIONS: usize = 2;
/// Rows of a page: both nodes have one that begins behind another and that another follows, since a cursor is work.
const PAGE: u64 = 3;

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    if let Some(words) = world::told_to_load() {
        let [data, tenants] = words.as_slice() else { bail!("--load <data> <tenants>") };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(load(Path::new(data), tenants.parse()?));
    }
    let directory = machine::scratch()?;
    let many = Side::prepare(&directory.path().join("many"), TENANTS / effort.shrink)?;
    let few = Side::prepare(&directory.path().join("few"), FEW_TENANTS)?;

    figures::print_head("P5: from the start of the process to the first correct reply");
    let (mut of_many, mut of_few) = (Vec::new(), Vec::new());
    for pair in 0..=effort.pairs {
        let both = (many.start()?, few.start()?);
        // The first is a warm-up.
        if pair > 0 {
            of_many.push(both.0);
            of_few.push(both.1);
        }
    }
    let more = of_many.iter().zip(&of_few).map(|(many, few)| many - few).collect();
    figures::print("100 k tenants, 200 k accounts", of_many, "s", Aim::None);
    figures::print("10 tenants, 20 accounts", of_few, "s", Aim::None);
    figures::print("how much longer", more, "s", Aim::AtMost(2.0));

    print_head("P5: 99th percentiles, 2 connections: 100 k tenants and 200 k accounts / 10 and 20");
    let (many, few) = (many.serve()?, few.serve()?);
    // At most 1.1 times as long is at least 0.91 times as fast.
    for (name, measure) in [
        ("the first page of tenants", Serving::list as fn(&Serving, Effort) -> anyhow::Result<Sample>),
        ("pages from all over the list", Serving::list_on),
        ("sign in, for a tenant", Serving::sign_in),
    ] {
        // A tail differs more from window to window than a rate does.
        let pairs = alternate(name, effort.pairs * 2, || measure(&many, effort), || measure(&few, effort))?;
        pairs.print(Unit::Time, 0.91);
    }
    Ok(())
}

/// A data directory, and its administrator.
struct Side {
    binary: PathBuf,
    data: PathBuf,
    tenants: u64,
    token: String,
}

/// A side that runs.
struct Serving {
    node: node::Node,
    token: String,
    tenants: u64,
    /// What lists are asked, from all over them but the first page and the last.
    pages: Vec<String>,
}

impl Side {
    fn prepare(data: &Path, tenants: u64) -> anyhow::Result<Self> {
        world::fill(&[&data.display().to_string(), &tenants.to_string()])?;
        let binary = node::binary()?;
        let token = node::Node::start(&binary, data)?.sign_in(data)?;
        Ok(Self { binary, data: data.to_owned(), tenants, token })
    }

    /// Starts it, asks for a tenant picked at random, and kills it; the seconds until it was there.
    fn start(&self) -> anyhow::Result<f64> {
        let number = u64::try_from(Clock::default().fresh_id() % u128::from(self.tenants))?;
        let (path, watch) = (format!("/v1/tenants/{}", tenant_id(number)), Stopwatch::start());
        let node = node::Node::start(&self.binary, &self.data)?;
        let found = one(&node, client::request("GET", &path, &self.token, "", ""))?;
        let elapsed = watch.elapsed();
        let slug = found.get("slug").and_then(Value::as_str);
        ensure!(slug == Some(&slug_of(number)), "another tenant came back: {found}");
        node.kill()?;
        Ok(elapsed.as_secs_f64())
    }

    /// Starts it for good, and walks its list to know where pages begin.
    fn serve(self) -> anyhow::Result<Serving> {
        let node = node::Node::start(&self.binary, &self.data)?;
        let token = node.sign_in(&self.data)?;
        let (mut pages, limit) = (Vec::new(), 200.min(self.tenants / 2));
        let mut path = format!("/v1/tenants?limit={limit}");
        let mut rows = 0;
        loop {
            let page = one(&node, client::request("GET", &path, &token, "", ""))?;
            rows += page.get("data").and_then(Value::as_array).map_or(0, Vec::len) as u64;
            let Some(next) = page.get("next").and_then(Value::as_str) else { break };
            pages.push(format!("/v1/tenants?limit={PAGE}&after={next}"));
            path = format!("/v1/tenants?limit={limit}&after={next}");
        }
        ensure!(rows == self.tenants, "the list has {rows} tenants, not {}", self.tenants);
        Ok(Serving { node, token, tenants: self.tenants, pages })
    }
}

impl Serving {
    fn list(&self, effort: Effort) -> anyhow::Result<Sample> {
        let first = format!("/v1/tenants?limit={PAGE}");
        self.tail(effort, &|_| client::request("GET", &first, &self.token, "", ""))
    }

    fn list_on(&self, effort: Effort) -> anyhow::Result<Sample> {
        self.tail(effort, &|number| client::request("GET", pick(number, &self.pages).1, &self.token, "", ""))
    }

    fn sign_in(&self, effort: Effort) -> anyhow::Result<Sample> {
        self.tail(effort, &|number| {
            // Not one after the other, and on the large node hardly anybody twice.
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.tenants;
            node::sign_in(&email_of(number), Some(&tenant_id(number).to_string()))
        })
    }

    /// A window whose rate is that of the slowest hundredth. It is a long one, since a login takes its time.
    fn tail(&self, effort: Effort, make: &(impl Fn(u64) -> Request + Sync)) -> anyhow::Result<Sample> {
        let pid = self.node.pid();
        let sample = client::drive(&[self.node.address], CONNECTIONS, effort.window * 2, &[pid], make)?;
        let (_, tail) = sample.latency_us.context("nothing was asked")?;
        Ok(Sample { rate: 1e6 / tail, ..sample })
    }
}

fn one(node: &node::Node, request: Request) -> anyhow::Result<Value> {
    client::send_all(node.address, 1, &[request])?.pop().context("no answer")
}

// Numbers count from 0, ids from 1: account 0 is the platform itself.
fn tenant_id(number: u64) -> TenantId {
    TenantId::new(u128::from(number) + 1)
}

fn account_id(number: u64) -> AccountId {
    AccountId::new(u128::from(number) + 1)
}

fn email_of(number: u64) -> String {
    format!("person-{number}@example.org")
}

fn slug_of(number: u64) -> String {
    format!("tenant-{number}")
}

/// Fills a data directory.
async fn load(data: &Path, tenants: u64) -> anyhow::Result<()> {
    let clock = Clock::default();
    let node = world::start(data, prognet_actors::services(), clock.clone(), Limits::default()).await?;
    let password = hash()?;
    world::each(tenants * ACCOUNTS_PER_TENANT, 512, |number| {
        register(node.clone(), clock.clone(), number, password.clone())
    })
    .await?;
    world::each(tenants, 512, |number| found(node.clone(), clock.clone(), number)).await?;
    world::settle_and_stop(node).await
}

/// Everybody's password, hashed once as the node hashes it.
fn hash() -> anyhow::Result<PasswordHash> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, None)?);
    let hash = argon2.hash_password_with_salt(PASSWORD.as_bytes(), b"sixteen bytes of")?;
    Ok(PasswordHash::new(hash.to_string()))
}

/// An account as its sign-up leaves it.
async fn register(node: Node, clock: Clock, number: u64, password: PasswordHash) -> anyhow::Result<()> {
    let (id, email) = (account_id(number), Email::parse(&email_of(number))?);
    let name = PersonName::parse(&format!("Person {number}"))?;
    let address = Reservation::at(node.hash("email", email.key().as_bytes()));
    let (owner, lasts) = (id.number(), std::time::Duration::from_secs(3600));
    let asking = || world::asking(&clock);
    node.ask(&asking(), address, reservation::Command::Claim { owner, lasts }).await?;
    let register = account::Command::Register { email, name: name.clone(), language: Language::En };
    node.ask(&asking(), Account::at(id), register).await?;
    node.ask(&asking(), address, reservation::Command::Confirm { owner }).await?;
    node.ask(&asking(), Credential::at(id), credential::Command::Create { password }).await?;
    node.ask(&asking(), Account::at(id), account::Command::Activate { name }).await?;
    Ok(())
}

/// A tenant, owned by the account of the same number.
async fn found(node: Node, clock: Clock, number: u64) -> anyhow::Result<()> {
    let name = TenantName::parse(&format!("Tenant {number}"))?;
    let (slug, owner) = (Slug::parse(&slug_of(number))?, account_id(number));
    let create = tenant::Command::Create { name, slug, owner };
    node.ask(&world::asking(&clock), Tenant::at(tenant_id(number)), create).await?;
    Ok(())
}
