//! Who does not belong to a cluster: refused with the setting to change, seen by nobody, and no harm to the others.

pub(crate) mod links;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Node, cluster::Cluster, ports::free_address};

const SITE: &str = "http://127.0.0.1:8080";

/// The settings of a node, by their environment variables.
#[derive(Clone)]
struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    /// Those of one more node of a cluster, which nothing is wrong with.
    fn of(cluster: &Cluster) -> Self {
        let database = cluster.server().url("postgres", &cluster.database);
        Self::on(&database).with("PROGNET_CLUSTER_NODE", "z").with("PROGNET_CLUSTER_LISTEN", &free_address())
    }

    fn on(database: &str) -> Self {
        Self(BTreeMap::new())
            .with("PROGNET_STORAGE_URL", database)
            .with("PROGNET_STORAGE_MASTER_KEY", &"ab".repeat(32))
            .with("PROGNET_HTTP_PUBLIC_URL", SITE)
            .with("PROGNET_CLUSTER_SECRET", "known to all of them")
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(name, value.to_owned());
        self
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if program != env!("CARGO_BIN_EXE_prognet") {
            command.args(["120", env!("CARGO_BIN_EXE_prognet")]);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"]);
        command.env("PROGNET_LOG_FILTER", "warn").envs(&self.0).stdin(Stdio::null());
        command
    }

    /// Runs a node that does not start; what it says in the end, in one line.
    async fn refused(&self) -> String {
        let settings = self.clone();
        let run = move || {
            let data = tempfile::tempdir().unwrap();
            settings.command("timeout").arg(data.path()).output().unwrap()
        };
        let Output { status, stderr, .. } = tokio::task::spawn_blocking(run).await.unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        let last = said.lines().rfind(|line| line.starts_with("prognet: "));
        last.unwrap_or_else(|| panic!("no reason in {said}")).to_owned() + &mistakes(&said)
    }

    /// A node that starts.
    async fn start(&self, data: &std::path::Path) -> Node {
        let (settings, data) = (self.clone(), data.to_owned());
        let start = move || {
            let settings: Vec<_> = settings.0.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Node::with(&data, &settings)
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }
}

/// Mistakes of settings have a line each.
fn mistakes(said: &str) -> String {
    let after = said.lines().skip_while(|line| !line.starts_with("prognet: ")).skip(1);
    after.collect::<Vec<_>>().join("\n")
}

/// Who is here, as the tables say.
fn here(cluster: &Cluster) -> String {
    cluster.query("select node, incarnation, status from node where status <> 'down' order by 1, 2")
}

/// The address that a node's peers dial.
fn address(cluster: &Cluster, node: &str) -> String {
    cluster.query(&format!("select address from node where node = '{node}' and status = 'up'"))
}

/// Every node answers, is linked to every other, sees nobody else, and takes nobody's mistake for its own.
async fn is_unharmed(cluster: &Cluster, tenant: &str) {
    let nodes = cluster.seats.len();
    for seat in &cluster.seats {
        let node = seat.node();
        assert_eq!(node.get(&format!("/v1/tenants/{tenant}")).await.ok()["slug"], "acme");
        let is_whole = |page: &Value| {
            let rows = page["data"].as_array().unwrap();
            let up = rows.iter().filter(|row| row["status"] == "up").count();
            let linked = rows.iter().filter(|row| row["is_linked"] == true).count();
            let others = rows.iter().filter(|row| !["up", "down"].contains(&row["status"].as_str().unwrap()));
            (up, linked, others.count()) == (nodes, nodes - 1, 0)
        };
        node.eventually("/v1/system/nodes", is_whole).await;
        assert!(!seat.log().contains(" ERROR "));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_belong_is_told_which_setting_to_change_and_is_no_node_for_a_moment_longer() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let tenant = cluster.seats[0].node().tenant("acme").await;
    let (before, settings) = (here(&cluster), Settings::of(&cluster));
    let seeds = [address(&cluster, "a"), address(&cluster, "b")];
    let seeded = settings.clone().with("PROGNET_CLUSTER_SEEDS", &seeds.join(", "));
    let elsewhere = cluster.server().url("postgres", &cluster.server().create());
    let own = settings.0["PROGNET_CLUSTER_LISTEN"].clone();
    let site = "http://127.0.0.1:8090";
    for (settings, name, value, told) in [
        (&settings, "PROGNET_CLUSTER_SECRET", "another", "`cluster.secret` of the two differ"),
        (&seeded, "PROGNET_CLUSTER_SECRET", "another", "`cluster.secret` of the two differ"),
        (&seeded, "PROGNET_STORAGE_URL", &elsewhere, "`storage.url` of the two differ"),
        (&settings, "PROGNET_HTTP_PUBLIC_URL", site, "`http.public_url` of the two differ"),
        (&seeded, "PROGNET_HTTP_PUBLIC_URL", site, "`http.public_url` of the two differ"),
        (&settings, "PROGNET_CLUSTER_NODE", "a", "give one of them another `cluster.node`"),
        (&settings, "PROGNET_CLUSTER_SEEDS", &own, "cluster.seeds"),
        (&settings, "PROGNET_CLUSTER_SEEDS", "nowhere", "cluster.seeds"),
        (&settings, "PROGNET_CLUSTER_LISTEN", &seeds[0], "change `cluster.listen`"),
        (&settings, "PROGNET_CLUSTER_LISTEN", "0.0.0.0:0", "cluster.address"),
        (
            &settings,
            "PROGNET_CLUSTER_CA_FILE",
            "/dev/null",
            "`cluster.certificate_file` and `cluster.key_file`",
        ),
        (&settings, "PROGNET_CLUSTER_SECRET", "", "need `cluster.secret`"),
    ] {
        let said = settings.clone().with(name, value).refused().await;
        assert!(said.contains(told), "{name}={value}: {told} is not in {said}");
        assert_eq!(here(&cluster), before, "{name}={value}");
    }
    is_unharmed(&cluster, &tenant).await;
    let public =
        settings.with("PROGNET_CLUSTER_LISTEN", "0.0.0.0:0").with("PROGNET_CLUSTER_ADDRESS", "10.0.0.1:1");
    let said = public.refused().await;
    for key in ["cluster.listen", "cluster.ca_file", "cluster.certificate_file", "cluster.key_file"] {
        assert!(said.contains(&format!("`{key}`")), "{key} is not in {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_does_not_fit_the_others_or_the_data_changes_nothing() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let tenant = cluster.seats[0].node().tenant("acme").await;
    let settings = Settings::of(&cluster);
    let shards = "select count(*), max(number) from shard";
    let before = (here(&cluster), cluster.query(shards));

    cluster.query("update node set wire_min = 8, wire_max = 9");
    let said = settings.refused().await;
    assert!(said.contains("speaks wire versions 8-9, this build 1-1"), "{said}");
    assert!(said.contains("`storage.url`") && said.contains("upgrade one version at a time"), "{said}");
    cluster.query("update node set wire_min = 1, wire_max = 1");

    cluster.query("update cluster_meta set shards = 64");
    let said = settings.refused().await;
    cluster.query("update cluster_meta set shards = 256");
    assert!(said.contains("`storage.url` counts 64 shards a service, this build 256"), "{said}");

    assert_eq!((here(&cluster), cluster.query(shards)), before);
    is_unharmed(&cluster, &tenant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_the_database_that_may_only_read_is_told_so_and_leaves_no_row() {
    let cluster = Cluster::of(&["a"], &[]).await;
    let tenant = cluster.seats[0].node().tenant("acme").await;
    let before = here(&cluster);
    cluster.query(
        "create role reader login; grant usage on schema public to reader; \
         grant select on all tables in schema public to reader",
    );
    let reader = cluster.server().url("reader", &cluster.database);

    let said = Settings::of(&cluster).with("PROGNET_STORAGE_URL", &reader).refused().await;

    assert!(said.contains("permission denied") && said.contains("`storage.url`"), "{said}");
    assert_eq!(here(&cluster), before);
    is_unharmed(&cluster, &tenant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_that_do_not_answer_are_told_and_keep_nobody_from_joining() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let nowhere = [free_address(), free_address()];
    let settings = Settings::of(&cluster).with("PROGNET_CLUSTER_SEEDS", &nowhere.join(", "));
    let settings = settings.with("PROGNET_LOG_FILTER", "info");
    let data = tempfile::tempdir().unwrap();

    let node = settings.start(data.path()).await;

    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    let told = log.lines().find(|line| line.contains("none of `cluster.seeds` answers"));
    assert!(told.is_some_and(|line| line.contains(" INFO ") && line.contains(&nowhere[0])), "{log}");
    let is_here = |page: &Value| {
        page["data"].as_array().unwrap().iter().filter(|row| row["status"] == "up").count() == 3
    };
    node.eventually("/v1/system/nodes", is_here).await;
    tokio::task::spawn_blocking(move || assert_eq!(node.terminate(), Some(0))).await.unwrap();
}

/// More of them than are listened to at a time.
const SILENT: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_silence_and_frames_without_end_at_the_door_for_nodes_harm_nobody() {
    let cluster = Cluster::of(&["a", "b"], &[]).await;
    let tenant = cluster.seats[0].node().tenant("acme").await;
    let door = address(&cluster, "a");
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(&door).await.unwrap());
    }
    let endless = [0xff, 0xff].iter().chain(&[7; 200_000]).copied().collect::<Vec<_>>();
    let half = [&[0, 200][..], &[1; 20]].concat();
    for said in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[22, 3, 1, 2, 0, 1], &endless, &half, &[0, 0]] {
        let mut stranger = TcpStream::connect(&door).await.unwrap();
        // It may be hung up on before it has said everything.
        drop(stranger.write_all(said).await);
        let mut heard = Vec::new();
        drop(stranger.read_to_end(&mut heard).await);
        assert!(heard.len() < 100, "{heard:?}");
        is_unharmed(&cluster, &tenant).await;
    }
    for _ in 0..SILENT {
        silent.push(TcpStream::connect(&door).await.unwrap());
    }
    let data = tempfile::tempdir().unwrap();

    let node = Settings::of(&cluster).start(data.path()).await;

    assert_eq!(node.get(&format!("/v1/tenants/{tenant}")).await.ok()["slug"], "acme");
    drop(silent);
}

/// A node that is asked nothing but where it listens.
struct Listening(Child);

impl Listening {
    async fn start(settings: &Settings, data: &std::path::Path) -> Self {
        let mut command = settings.command(env!("CARGO_BIN_EXE_prognet"));
        let mut process = command.arg(data).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let told =
            move || lines.next().and_then(Result::ok).is_some_and(|line| line.starts_with("listening "));
        assert!(tokio::task::spawn_blocking(told).await.unwrap(), "it does not start");
        Self(process)
    }

    /// The addresses its sockets listen at, as in proc(5): of IPv4, and of IPv6.
    fn addresses(&self) -> Vec<String> {
        let directory = format!("/proc/{}", self.0.id());
        let files = std::fs::read_dir(format!("{directory}/fd")).unwrap().flatten();
        let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let own: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let mut listening = Vec::new();
        for table in ["tcp", "tcp6"] {
            let table = std::fs::read_to_string(format!("{directory}/net/{table}")).unwrap();
            for line in table.lines().skip(1) {
                let words: Vec<_> = line.split_whitespace().collect();
                if words[3] == "0A" && own.contains(&format!("socket:[{}]", words[9])) {
                    listening.push(words[1].split(':').next().unwrap().to_owned());
                }
            }
        }
        listening
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_listens_for_peers_nowhere_by_default_and_on_loopback_alone_without_certificates() {
    const LOOPBACK: &str = "0100007F";
    let cluster = Cluster::empty(&[], &[]).await;
    let database = cluster.server().url("postgres", &cluster.database);
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut fresh = Settings::on(&database);
    fresh.0.retain(|name, _| !name.starts_with("PROGNET_CLUSTER"));

    let alone = Listening::start(&fresh, first.path()).await;

    assert_eq!(alone.addresses(), [LOOPBACK; 2], "the API and the management door");
    drop(alone);
    let linked = Listening::start(&Settings::of(&cluster), second.path()).await;
    let addresses = linked.addresses();
    assert!(addresses.len() > 2 && addresses.iter().all(|address| address == LOOPBACK), "{addresses:?}");
}
