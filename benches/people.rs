//! P1 and P4: signing in and staying signed in, through HTTP; and the whole way in, from sign-up to a token.
//!
//! What a login costs is its password's hash, and shall be: the rival is that hash alone, with the same
//! parameters on as many threads as the node hashes on, in memory that it keeps. A refresh spends one token and
//! makes the next one, durably, after looking whether account, credential and session still stand.

use std::{cell::RefCell, collections::VecDeque, num::NonZero};

use anyhow::{Context, anyhow};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use prognet_benches::{
    client::{self, Connection, post},
    figures::{self, Aim, windows},
    machine,
    node::{self, Node, PASSWORD},
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
};
use serde_json::{Value, json};

/// What a hash takes; the node is told the same.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const HASHING: [(&str, &str); 2] =
    [("PROGNET_AUTH_PASSWORD_MEMORY", "19MiB"), ("PROGNET_AUTH_PASSWORD_PASSES", "2")];

/// People who sign in in turn; each has two sessions that go on in turn.
const PEOPLE: u64 = 64;
/// Enough for all cores to hash all the time. The throttle lets more than ten at once guess at no account.
const LOGINS: usize = 16;
const REFRESHES: usize = 32;
const JOURNEYS: usize = 16;

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let directory = machine::scratch()?;
    let node = Node::start_with(&node::binary()?, directory.path(), &HASHING)?;
    let bench = Bench { node, effort, sessions: RefCell::default() };
    bench.let_people_in()?;

    print_head("P1: signing in through HTTP / the same argon2id hash alone, 16 connections");
    let pairs = alternate("sign in", effort.pairs, || bench.sign_in(), || hash_alone(effort))?;
    pairs.print(Unit::PerSecond, 0.85);

    figures::print_head("P4: refresh with rotation, durable, 32 connections");
    let samples = windows(effort.pairs, || bench.refresh())?;
    print(&samples, "refresh", Aim::AtLeast(2000.0), Aim::AtMost(20.0));

    figures::print_head("Sign up, read the mail, open its link, sign in, 16 connections");
    let samples = windows(effort.pairs, || bench.journeys())?;
    print(&samples, "the whole way", Aim::None, Aim::None);
    Ok(())
}

fn print(samples: &[Sample], what: &str, rate: Aim, tail: Aim) {
    let latency = |part: fn((f64, f64)) -> f64| {
        samples.iter().filter_map(|sample| Some(part(sample.latency_us?) / 1e3)).collect()
    };
    figures::print(what, samples.iter().map(|sample| sample.rate).collect(), "/s", rate);
    figures::print("its median", latency(|(half, _)| half), "ms", Aim::None);
    figures::print("its 99th percentile", latency(|(_, tail)| tail), "ms", tail);
    let cpu = samples.iter().filter_map(|sample| Some(sample.cpu_us? / 1e3)).collect();
    figures::print("its CPU", cpu, "ms", Aim::None);
}

/// The node, and the sessions of its people.
struct Bench {
    node: Node,
    effort: Effort,
    /// Refresh tokens; the one that was used longest ago goes first.
    sessions: RefCell<VecDeque<String>>,
}

impl Bench {
    fn work(
        &self,
        connections: usize,
        operation: &impl AsyncFn(&mut Connection, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Sample> {
        let Self { node, effort, .. } = self;
        client::work(&[node.address], connections, effort.window, &[node.pid()], operation)
    }

    /// The first people, by the way everybody comes in; each signs in once more.
    fn let_people_in(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let ways = (0..PEOPLE / 8).map(|part| async move {
                let mut connection = Connection::open(self.node.address).await?;
                for number in 8 * part..8 * (part + 1) {
                    let first = come_in(&mut connection, &person(number)).await?;
                    let again = connection.ask(&node::sign_in(&person(number), None)).await?.ok()?;
                    self.sessions.borrow_mut().extend([refresh_token(&first)?, refresh_token(&again)?]);
                }
                anyhow::Ok(())
            });
            futures_util::future::try_join_all(ways).await?;
            Ok(())
        })
    }

    fn sign_in(&self) -> anyhow::Result<Sample> {
        self.work(LOGINS, &async |connection: &mut Connection, number| {
            let request = node::sign_in(&person(number % PEOPLE), None);
            connection.ask(&request).await?.taken()?;
            Ok(())
        })
    }

    fn refresh(&self) -> anyhow::Result<Sample> {
        self.work(REFRESHES, &async |connection: &mut Connection, _| {
            let spent = self.sessions.borrow_mut().pop_front().context("more connections than sessions")?;
            let request = post("/v1/sessions/refresh", &json!({ "refresh_token": spent }));
            let tokens = connection.ask(&request).await?.ok()?;
            self.sessions.borrow_mut().push_back(refresh_token(&tokens)?);
            Ok(())
        })
    }

    fn journeys(&self) -> anyhow::Result<Sample> {
        self.work(JOURNEYS, &async |connection: &mut Connection, number| {
            come_in(connection, &format!("newcomer-{number}@example.org")).await?;
            Ok(())
        })
    }
}

fn person(number: u64) -> String {
    format!("person-{number}@example.org")
}

fn refresh_token(tokens: &Value) -> anyhow::Result<String> {
    let token = tokens.get("refresh_token").and_then(Value::as_str);
    token.map(str::to_owned).context("a session without a refresh token")
}

/// Signs up, reads the mail in the dev inbox, opens its link and signs in; hands back the tokens.
async fn come_in(connection: &mut Connection, email: &str) -> anyhow::Result<Value> {
    let sign_up = json!({ "email": email, "password": PASSWORD, "name": "Somebody New" });
    connection.ask(&post("/v1/accounts", &sign_up)).await?.taken()?;
    let mails = format!("/v1/dev/messages?to={email}&wait=10s");
    let mails = connection.ask(&client::request("GET", &mails, "", "", "")).await?.ok()?;
    let link = mails.pointer("/data/0/links/0").and_then(Value::as_str).context("no mail with a link")?;
    let (_, token) = link.rsplit_once("token=").context("a link without a token")?;
    connection
        .ask(&post("/v1/accounts/verify", &json!({ "token": token, "password": node::PASSWORD })))
        .await?
        .taken()?;
    connection.ask(&node::sign_in(email, None)).await?.ok()
}

/// The rival.
fn hash_alone(effort: Effort) -> anyhow::Result<Sample> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let (before, watch) = (machine::cpu_of_self(), Stopwatch::start());
    let nanos = std::thread::scope(|scope| {
        let hashing: Vec<_> = (0..threads).map(|_| scope.spawn(|| hash_for(effort, watch))).collect();
        let counted =
            hashing.into_iter().map(|thread| thread.join().map_err(|_panic| anyhow!("panicked"))?);
        counted.collect::<anyhow::Result<Vec<_>>>()
    })?;
    let (nanos, elapsed) = (nanos.concat(), watch.elapsed());
    let cpu = machine::cpu_of_self().saturating_sub(before);
    Ok(Sample::of(nanos.len(), elapsed, cpu).with_latencies(nanos))
}

/// Hashes on one thread until the window is over; how long each took.
fn hash_for(effort: Effort, watch: Stopwatch) -> anyhow::Result<Vec<u64>> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)?;
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (mut nanos, mut hash) = (Vec::new(), [0; 32]);
    while watch.elapsed() < effort.window {
        let began = Stopwatch::start();
        argon2.hash_password_into_with_memory(
            PASSWORD.as_bytes(),
            b"sixteen bytes of",
            &mut hash,
            &mut memory,
        )?;
        nanos.push(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(nanos)
}
