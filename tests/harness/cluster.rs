//! Several nodes on one database, whose links to each other and to it lead through proxies.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use super::{
    Node,
    ports::free_address,
    postgres::Server,
    proxy::{Proxy, Target},
    psql, until_in,
};

/// What a cluster of three takes on a busy machine to be evenly loaded: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a map stays as it is, before nothing is about to move: plans are made every second.
const CALM: Duration = Duration::from_secs(2);

/// Shards that move, how many each owner has, and what the map comes to.
const EVENNESS: &str = "
    select
        count(*) filter (where target is not null or state <> 'owned'),
        (select string_agg(owned::text, ' ')
         from (select count(*) as owned from shard where owner is not null group by owner) as owners),
        md5(string_agg(concat_ws(' ', service, number, epoch, owner), ',' order by service, number))
    from shard";

/// One cluster at a time: leases are kept by the clock, also on a machine that is busy with other tests.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for the others.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// A cluster; its processes are killed when it is dropped.
pub(crate) struct Cluster {
    _turn: MutexGuard<'static, ()>,
    server: Arc<Server>,
    pub(crate) database: String,
    pub(crate) seats: Vec<Seat>,
}

/// A place for a node.
pub(crate) struct Seat {
    pub(crate) data: TempDir,
    settings: Vec<(String, String)>,
    /// Where clients find it, however often it is started.
    pub(crate) listen: String,
    /// The network namespace it runs in, if that is not the test's.
    pub(crate) namespace: Option<String>,
    /// What others dial.
    pub(crate) door: Proxy,
    /// What it reaches the database through.
    pub(crate) store: Proxy,
    node: Option<Node>,
}

impl Seat {
    /// The node that runs here.
    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("no node runs here")
    }

    /// Another setting from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Others dial its proxy from the next start on.
    pub(crate) fn is_dialled_through_its_door(&mut self) {
        let door = self.door.address();
        self.set("PROGNET_CLUSTER_ADDRESS", &door);
    }

    /// What was logged here.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }

    /// Runs a command with the settings of this place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = self.program();
        command.args(arguments).env("PROGNET_STORAGE_DATA", self.data.path());
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).output().unwrap()
    }

    fn program(&self) -> Command {
        let prognet = env!("CARGO_BIN_EXE_prognet");
        match &self.namespace {
            None => Command::new(prognet),
            Some(namespace) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", namespace, prognet]);
                ip
            }
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.node.is_some()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.node.take().expect("no node runs here").kill();
    }

    /// SIGTERM; the exit code, once it has left.
    pub(crate) async fn leave(&mut self) -> Option<i32> {
        let node = self.node.take().expect("no node runs here");
        tokio::task::spawn_blocking(move || node.terminate()).await.unwrap()
    }

    /// Starts a node, and returns once it answers, and the admin is signed in.
    pub(crate) async fn start(&mut self) {
        self.start_by(Node::signed_in).await;
    }

    /// The same, whether or not there is an admin.
    pub(crate) async fn start_as_it_is(&mut self) {
        self.start_by(|node| node).await;
    }

    async fn start_by(&mut self, then: fn(Node) -> Node) {
        let (data, listen, settings) =
            (self.data.path().to_owned(), self.listen.clone(), self.settings.clone());
        let program = self.program();
        let started = tokio::task::spawn_blocking(move || {
            let settings: Vec<_> =
                settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            then(Node::run_as(program, &data, &listen, &settings))
        });
        self.node = Some(started.await.unwrap());
    }

    /// Where clients find it.
    pub(crate) fn listens_at(&self) -> SocketAddr {
        self.listen.parse().unwrap()
    }

    /// The exit code of a node that has ended by itself.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let code = self.node.as_mut().expect("no node runs here").ended().await;
        self.node = None;
        code
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.node().signal(signal);
    }
}

impl Cluster {
    /// Nodes of these names, all up, that own about as much each.
    pub(crate) async fn of(names: &[&'static str], more: &[(&str, &str)]) -> Self {
        let mut cluster = Self::empty(names, more).await;
        cluster.start().await;
        cluster
    }

    /// The same, on a server of their own that the test may stop.
    pub(crate) async fn on_a_server(names: &[&'static str]) -> Self {
        let server = Arc::new(tokio::task::spawn_blocking(Server::start).await.unwrap());
        let mut cluster = Self::seated(names, &[], server).await;
        cluster.start().await;
        cluster
    }

    /// The same, whose links to each other lead through proxies.
    pub(crate) async fn behind_proxies(names: &[&'static str]) -> Self {
        let mut cluster = Self::empty(names, &[]).await;
        cluster.seats.iter_mut().for_each(Seat::is_dialled_through_its_door);
        cluster.start().await;
        cluster
    }

    /// Starts a node at each place, the first one first.
    pub(crate) async fn start(&mut self) {
        let cluster = self;
        let (first, others) = cluster.seats.split_first_mut().unwrap();
        first.start().await;
        futures_util::future::join_all(others.iter_mut().map(Seat::start)).await;
        cluster.is_even().await;
    }

    /// Places for nodes of these names.
    pub(crate) async fn empty(names: &[&'static str], more: &[(&str, &str)]) -> Self {
        let server = tokio::task::spawn_blocking(|| Arc::clone(Server::shared())).await.unwrap();
        Self::seated(names, more, server).await
    }

    async fn seated(names: &[&'static str], more: &[(&str, &str)], server: Arc<Server>) -> Self {
        let turn = turn().await;
        let database = server.create();
        let seats = names.iter().map(|name| seat(name, &server, &database, more)).collect();
        Self { _turn: turn, server, database, seats }
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// What a query says, a line a row, values parted by `|`.
    pub(crate) fn query(&self, sql: &str) -> String {
        self.asker()(sql)
    }

    /// The same, for when something is done to the nodes.
    pub(crate) fn asker(&self) -> impl Fn(&str) -> String + use<> {
        let (server, database) = (Arc::clone(&self.server), self.database.clone());
        move |sql| psql(&server, &server.directory, &database, sql)
    }

    /// Who owns how many shards.
    pub(crate) fn owners(&self) -> Vec<(String, usize)> {
        let rows =
            self.query("select owner, count(*) from shard where owner is not null group by 1 order by 1");
        let row = |line: &str| {
            let (owner, count) = line.split_once('|').unwrap();
            (owner.to_owned(), count.parse().unwrap())
        };
        rows.lines().map(row).collect()
    }

    /// Waits until all that run own about as much, and nothing moves or is about to.
    pub(crate) async fn is_even(&self) {
        let running = self.seats.iter().filter(|seat| seat.is_running()).count();
        let (since, last) = (Cell::new(Instant::now()), RefCell::new(String::new()));
        until_in(PATIENCE, || {
            let seen = self.query(EVENNESS);
            if last.replace(seen.clone()) != seen {
                since.set(Instant::now());
            }
            let (moving, owners) = seen.split_once('|').unwrap();
            let counts: Vec<usize> =
                owners.split('|').next().unwrap().split(' ').flat_map(str::parse).collect();
            let all: usize = counts.iter().sum();
            moving == "0"
                && counts.len() == running
                && counts.iter().all(|count| count * running * 10 >= all * 8)
                && since.get().elapsed() > CALM
        })
        .await;
    }

    /// The shards' epochs and owners, to be compared.
    pub(crate) fn map(&self) -> String {
        self.query("select service, number, epoch, owner from shard order by 1, 2")
    }
}

/// A test that fails shows what the nodes said.
#[expect(clippy::print_stderr, reason = "whoever reads why a test failed reads it there")]
impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for seat in &self.seats {
                eprintln!("== {}\n{}", seat.data.path().display(), seat.log());
            }
        }
    }
}

fn seat(name: &'static str, server: &Server, database: &str, more: &[(&str, &str)]) -> Seat {
    let listen = free_address();
    let door = Proxy::before(Target::Tcp(listen.parse().unwrap()));
    let store = Proxy::before(Target::Unix(server.directory.join(".s.PGSQL.5432")));
    let url = format!("host=127.0.0.1 port={} user=postgres dbname={database} sslmode=disable", store.port);
    let own = [
        ("PROGNET_STORAGE_URL", url.as_str()),
        ("PROGNET_STORAGE_MASTER_KEY", &"ab".repeat(32)),
        ("PROGNET_HTTP_PUBLIC_URL", "http://127.0.0.1:8080"),
        ("PROGNET_CLUSTER_NODE", name),
        ("PROGNET_CLUSTER_LISTEN", &listen),
        ("PROGNET_CLUSTER_SECRET", "known to all of them"),
        ("PROGNET_CLUSTER_REBALANCE_AFTER", "100ms"),
        ("PROGNET_CLUSTER_MOVES_MAX", "512"),
        // Whoever gets no answer comes back after ten seconds: others have given the same tenant a thousand by then.
        ("PROGNET_ENTITIES_REPLY_WINDOW", "4000"),
        ("PROGNET_LOG_FILTER", "warn,prognet_cluster=info,ractor=error,ractor_cluster=error"),
    ];
    let settings = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Seat {
        data: tempfile::tempdir().unwrap(),
        settings: settings.collect(),
        listen: free_address(),
        namespace: None,
        door,
        store,
        node: None,
    }
}
