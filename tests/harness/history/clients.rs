//! Clients that do all sorts of things with a few tenants at once, and write down what they asked and were told.
//!
//! They ask whichever node is open to them, with a key for each operation and again under the same key as the SDK does;
//! when that comes to nothing, nobody knows whether it was done. Others follow the tenants live.

use std::{
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use prognet_actors::ids::TenantId;
use prognet_sdk::{
    SignIn,
    client::{Client, Live, Topic},
};
use serde_json::Value as Json;
use tokio::{task::JoinSet, time::Instant};

use super::{Function, Journal, Reading, edn, judge, readers::shown_of, recorder::Recorder, tries::Tries};
use crate::harness::{ADMIN, Node, cluster::Cluster, until_in};

/// Few enough for a search through what they do at once.
const CLIENTS: usize = 6;
/// Tenants at the beginning: several clients to each.
const TENANTS: usize = 2;
/// Tenants in all: those that come later are looked at by the way.
const TENANTS_MAX: usize = 8;
/// What a cluster takes to tell everybody everything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Doors that clients may go to, while they are open: a node each.
pub(crate) type Doors<'a> = [(&'a AtomicBool, String)];

/// See the module.
pub(crate) struct Clients {
    run: String,
    seed: u64,
    recorder: Arc<Recorder>,
    tries: Tries,
    tenants: Mutex<Vec<TenantId>>,
    is_over: AtomicBool,
    followers: Mutex<Vec<Arc<Follower>>>,
    following: JoinSet<()>,
}

impl Clients {
    /// Clients with tenants of their own, and followers of these, at a node.
    #[expect(clippy::print_stderr, reason = "whoever repeats a run needs its seed")]
    pub(crate) async fn new(node: &Node, run: &str) -> Self {
        let seed = seed_asked_for().unwrap_or_else(any_seed);
        eprintln!("{run}: FAULTS_SEED={seed}");
        let recorder = Arc::new(Recorder::new());
        let tries = Tries::new(run, node.tokens().access_token.clone(), Arc::clone(&recorder));
        let mut clients = Self {
            run: run.to_owned(),
            seed,
            recorder,
            tries,
            tenants: Mutex::default(),
            is_over: AtomicBool::new(false),
            followers: Mutex::default(),
            following: JoinSet::new(),
        };
        let is_open = AtomicBool::new(true);
        let mut founder = clients.actor(CLIENTS);
        while clients.tenants.lock().unwrap().len() < TENANTS {
            clients.act(&mut founder, Function::Create, &[(&is_open, node.url().to_owned())]).await;
        }
        for tenant in clients.tenants() {
            let follower = Follower::new(tenant);
            clients.followers.lock().unwrap().push(Arc::clone(&follower));
            clients.following.spawn(follower.follow(node.url().to_owned()));
        }
        // From here on each has a cursor to go on from, whatever happens to its stream.
        while !clients.followers.lock().unwrap().iter().all(|follower| follower.has_seen_something()) {
            clients.act(&mut founder, Function::Rename, &[(&is_open, node.url().to_owned())]).await;
            super::tries::breathe().await;
        }
        clients
    }

    /// Works until it is over.
    pub(crate) async fn run(&self, doors: &Doors<'_>) {
        join_all((0..CLIENTS).map(|number| self.work(number, doors))).await;
    }

    /// Lets everybody finish.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Waits until so many more operations were done.
    pub(crate) async fn goes_on(&self, more: usize) {
        let before = self.tries.done();
        until_in(PATIENCE, || self.tries.done() >= before + more).await;
    }

    /// Where this run's numbers begin: one seed is for many runs, which must not draw the same ids and keys.
    fn start(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.run.hash(&mut hasher);
        self.seed ^ hasher.finish()
    }

    /// Dice of nobody who works, to draw what is done to them with.
    pub(crate) fn dice(&self) -> Dice {
        Dice(self.start())
    }

    /// Those that there are by now; each of the first has several clients.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.tenants.lock().unwrap().clone()
    }

    async fn work(&self, number: usize, doors: &Doors<'_>) {
        let mut actor = self.actor(number);
        while !self.is_over.load(Ordering::Relaxed) {
            let function = match actor.dice.below(100) {
                0..45 => Function::Rename,
                45..75 => Function::Read,
                75..85 => Function::Suspend,
                85..95 => Function::Resume,
                95..98 => Function::SignIn,
                _ if self.tenants.lock().unwrap().len() < TENANTS_MAX => Function::Create,
                _ => Function::Read,
            };
            self.act(&mut actor, function, doors).await;
        }
    }

    async fn act(&self, actor: &mut Actor, function: Function, doors: &Doors<'_>) {
        let tenant = match function {
            Function::Create | Function::SignIn => None,
            Function::Rename | Function::Suspend | Function::Resume | Function::Read => {
                let tenants = self.tenants.lock().unwrap();
                let among = if actor.dice.below(5) > 0 { TENANTS } else { tenants.len() };
                tenants.get(actor.dice.below(among)).copied()
            }
        };
        let founded = self.tries.of(actor, function, tenant, doors).await;
        self.tenants.lock().unwrap().extend(founded);
    }

    fn actor(&self, number: usize) -> Actor {
        let dice = Dice(self.start() ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Actor { process: self.recorder.process(), dice }
    }

    /// Holds all that was told against the journal; fails with what is wrong, and where the history lies. Returns the
    /// answers that were neither what was asked for nor a refusal of it.
    pub(crate) async fn are_right(mut self, cluster: &Cluster) -> Vec<String> {
        let mut readings = Vec::new();
        let tenants = self.tenants();
        let all = shown_of(&Journal::read(|sql| cluster.query(sql)));
        for seat in cluster.seats.iter().filter(|seat| seat.is_running()) {
            for tenant in &tenants {
                let count = all.get(&tenant.number()).map_or(0, Vec::len);
                readings.push(whole(seat.node(), *tenant, count).await);
            }
        }
        let followers = std::mem::take(&mut *self.followers.lock().unwrap());
        for follower in &followers {
            let all = readings.iter().find(|reading| reading.tenant == follower.tenant.number()).unwrap();
            until_in(PATIENCE, || follower.is_at(all.facts.last())).await;
        }
        self.following.shutdown().await;
        readings.extend(followers.iter().flat_map(|follower| follower.readings()));
        let journal = Journal::read(|sql| cluster.query(sql));

        let history = self.recorder.history();
        let wrong = judge(&history, &readings, &journal);

        let (run, seed) = (&self.run, self.seed);
        let kept = format!("{}/history-{run}.edn", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&kept, edn::write(&history)).unwrap();
        let told: Vec<_> = wrong.iter().take(20).map(ToString::to_string).collect();
        assert!(
            wrong.is_empty(),
            "{run}, seed {seed}: {} wrong, see {kept}\n{}",
            wrong.len(),
            told.join("\n")
        );
        self.tries.errors()
    }
}

fn seed_asked_for() -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
    let seed = std::env::var("FAULTS_SEED");
    seed.ok()?.parse().ok()
}

fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A client's number for the history, and its dice.
pub(crate) struct Actor {
    pub(crate) process: usize,
    pub(crate) dice: Dice,
}

/// Numbers that a seed leads to (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of so many.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap()
    }

    pub(crate) fn id(&mut self) -> u128 {
        (u128::from(self.next()) << 64 | u128::from(self.next())).max(1)
    }
}

/// All that a node tells of a tenant, once it knows of as much as there was: what others wrote it learns a moment later.
async fn whole(node: &Node, tenant: TenantId, count: usize) -> Reading {
    let (mut facts, mut after) = (Vec::new(), String::new());
    let until = Instant::now() + PATIENCE;
    loop {
        let page = node.get(&format!("/v1/tenants/{tenant}/events?limit=200{after}")).await.ok();
        facts.extend(page["data"].as_array().unwrap().iter().map(fact));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None if facts.len() < count && Instant::now() < until => {
                (facts, after) = (Vec::new(), String::new());
                super::tries::breathe().await;
            }
            None => {
                let reader = format!("all events at {}", node.url());
                return Reading { reader, tenant: tenant.number(), facts, is_whole: true };
            }
        }
    }
}

fn fact(event: &Json) -> super::Fact {
    let text = |name: &str| event[name].as_str().unwrap();
    (text("type").to_owned(), u128::from_str_radix(text("trace"), 16).unwrap())
}

/// Somebody who follows a tenant, wherever the stream is cut.
struct Follower {
    tenant: TenantId,
    /// What was shown; a new list behind each gap that was told of.
    shown: Mutex<Vec<Vec<super::Fact>>>,
    connections: AtomicUsize,
}

impl Follower {
    fn new(tenant: TenantId) -> Arc<Self> {
        let connections = AtomicUsize::new(0);
        Arc::new(Self { tenant, shown: Mutex::new(vec![Vec::new()]), connections })
    }

    async fn follow(self: Arc<Self>, url: String) {
        let client = Client::new(&url).unwrap();
        let (email, password) = (ADMIN.0.to_owned(), ADMIN.1.to_owned());
        let signing_in = SignIn { email, password, tenant: None, device: None };
        while client.sign_in(&signing_in).await.is_err() {
            super::tries::breathe().await;
        }
        let topic = Topic::Tenant(self.tenant.to_string());
        let mut after = None;
        loop {
            self.connections.fetch_add(1, Ordering::Relaxed);
            let mut stream = std::pin::pin!(client.live(&topic, after.clone()));
            while let Some(live) = stream.next().await {
                match live {
                    Ok(Live::Event(event)) => {
                        let trace = u128::from_str_radix(&event.trace, 16).unwrap();
                        self.shown.lock().unwrap().last_mut().unwrap().push((event.kind, trace));
                        after = Some(event.cursor);
                    }
                    Ok(Live::Gap) => self.shown.lock().unwrap().push(Vec::new()),
                    Ok(Live::Interrupted(_)) | Err(_) => {}
                }
            }
            // It ends when it is refused: as when a node that has just come back knows nobody yet.
            super::tries::breathe().await;
        }
    }

    fn has_seen_something(&self) -> bool {
        self.shown.lock().unwrap().iter().any(|shown| !shown.is_empty())
    }

    /// Whether this was the last that it was shown; or it was told that it had lost something, and nothing since.
    fn is_at(&self, last: Option<&super::Fact>) -> bool {
        let shown = self.shown.lock().unwrap();
        let is_behind_a_gap = shown.len() > 1 && shown.last().is_some_and(Vec::is_empty);
        is_behind_a_gap || shown.last().unwrap().last() == last
    }

    fn readings(&self) -> Vec<Reading> {
        let reader = format!("follower with {} streams", self.connections.load(Ordering::Relaxed));
        let reading = |facts: &Vec<super::Fact>| Reading {
            reader: reader.clone(),
            tenant: self.tenant.number(),
            facts: facts.clone(),
            is_whole: false,
        };
        self.shown.lock().unwrap().iter().map(reading).collect()
    }
}
