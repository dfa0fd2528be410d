//! A node that moves from its data directory to a PostgreSQL database: everybody goes on where they were, and nobody
//! finds the old place open.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

use prognet_sdk::Tokens;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    guesses::{post, sign_in},
    harness::{
        Node, PASSWORD, Reply,
        command::{self, text},
        postgres::Server,
        proxy::{Proxy, Rules, Target},
        psql, reply, until,
    },
    live::Socket,
    people::{mails, person, with},
};

const GRACE: &str = "grace@example.org";
const HEIDI: &str = "heidi@example.org";
/// One that no link or token depends on.
const SETTINGS: [(&str, &str); 2] =
    [("PROGNET_HTTP_PUBLIC_URL", "http://127.0.0.1:8080"), ("PROGNET_AUTH_LEAVING_GRACE", "1s")];

/// Shards whose records do not lie one behind the other up to their tail.
const UNSOUND: &str = "
    select service, number from shard left join record using (service, number) group by service, number, tail
    having count(off) <> tail or coalesce(max(off), 0) <> tail";

/// A data directory, and databases to move it to.
struct Place {
    place: tempfile::TempDir,
    server: &'static Server,
    database: String,
    /// The way to it.
    proxy: Proxy,
}

impl Place {
    fn new() -> Self {
        let (place, server) = (tempfile::tempdir().unwrap(), Server::shared());
        fs::create_dir(place.path().join("data")).unwrap();
        let proxy = Proxy::before(Target::Unix(server.directory.join(".s.PGSQL.5432")));
        Self { place, server, database: server.create(), proxy }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// Its node, on the data directory.
    fn node(&self) -> Node {
        Node::with(&self.data(), &SETTINGS)
    }

    /// Its address. The password is for nobody to check and nobody to see.
    fn url(&self) -> String {
        let (port, database) = (self.proxy.port, &self.database);
        format!("postgres://postgres:secret@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Another directory, for a node on the database, with nothing but the master key.
    fn new_data(&self) -> PathBuf {
        let data = self.place.path().join("new");
        fs::create_dir_all(data.join("keyring")).unwrap();
        fs::copy(self.data().join("keyring/master.key"), data.join("keyring/master.key")).unwrap();
        data
    }

    /// A node on the database.
    fn moved_node(&self, data: &Path) -> Node {
        let url = self.url();
        let settings = [&SETTINGS[..], &[("PROGNET_STORAGE_URL", &url)]].concat();
        Node::with(data, &settings)
    }

    fn migration(&self, to: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prognet"));
        command.args(["migrate", "--from", text(&self.data())]).args(more).env("PROGNET_STORAGE_URL", to);
        command
    }

    fn migrate(&self, more: &[&str]) -> Output {
        self.migration(&self.url(), more).output().unwrap()
    }

    /// It moves everything, and says so.
    #[track_caller]
    fn is_migrated(&self, more: &[&str]) -> Value {
        let output = self.migrate(&[more, &["-o", "json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Why it does not.
    #[track_caller]
    fn is_refused(&self, code: i32, more: &[&str]) -> String {
        refused(&self.migrate(more), code)
    }

    /// What the database says to a query.
    fn query(&self, sql: &str) -> String {
        psql(self.server, &self.server.directory, &self.database, sql)
    }

    /// Why a node does not start on the database.
    fn start_is_refused(&self) -> String {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_prognet"));
        let command = command.args(serve).arg(self.new_data()).env("PROGNET_STORAGE_URL", self.url());
        refused(&command.output().unwrap(), 1)
    }
}

#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("secret"), "{said}");
    said
}

/// Everything that happened to a tenant, oldest first.
async fn history(node: &Node, tenant: &str) -> Vec<Value> {
    let page = node.get(&format!("/v1/tenants/{tenant}/events?limit=200")).await.ok();
    page["data"].as_array().unwrap().clone()
}

async fn rename(node: &Node, tenant: &str, name: &str) -> Reply {
    reply(node.request(Method::PATCH, &format!("/v1/tenants/{tenant}")).json(&json!({ "name": name })))
        .await
        .unwrap()
}

/// The audit trail once the tenant was renamed so often.
async fn trail(node: &Node, tenant: &str, renamings: usize) -> Vec<Value> {
    let is_renaming = |entry: &&Value| entry["action"] == "tenant.renamed";
    let entries = |page: &Value| page["data"].as_array().cloned().unwrap_or_default();
    let path = format!("/v1/tenants/{tenant}/audit?limit=200");
    let page = node.eventually(&path, |page| entries(page).iter().filter(is_renaming).count() == renamings);
    entries(&page.await)
}

#[tokio::test]
async fn everybody_goes_on_in_the_database_where_they_were_in_the_data_directory() {
    let place = Place::new();
    let node = place.node();
    let (grace, heidi) = (person(&node, GRACE).await, person(&node, HEIDI).await);
    let acme = node.tenant("acme").await;
    let founded = async |node: &Node| {
        let again = with_key(node, &grace, "founding").await;
        again["id"].as_str().unwrap().to_owned()
    };
    let graces = founded(&node).await;
    let mut socket = Socket::admin(&node).await;
    socket.watch(&format!("tenant:{acme}"), None).await;
    rename(&node, &acme, "Seen").await.ok();
    let (_, cursor) = socket.event().await;
    rename(&node, &acme, "Missed").await.ok();
    with(&node, Method::DELETE, "/v1/me", &heidi.access_token, json!({ "password": PASSWORD })).await.ok();
    node.until_refused(&format!("/v1/accounts/{}", heidi.account)).await.problem(404, "account/unknown");
    let (before, audited) = (history(&node, &acme).await, trail(&node, &acme, 2).await);
    let admin = node.tokens().clone();
    let said = place.is_refused(1, &[]);
    assert!(said.contains("is in use by process"), "{said}");
    assert_eq!(node.terminate(), Some(0));

    let moved = place.is_migrated(&[]);

    assert_eq!((&moved["erased"], &moved["has_master_key"]), (&json!(1), &json!(true)));
    let node = place.moved_node(&place.new_data());
    // Sessions go on, and new ones begin.
    let me = async |token: &str| with(&node, Method::GET, "/v1/me", token, json!({})).await;
    assert_eq!(me(&grace.access_token).await.ok()["account"], grace.account);
    let refreshed = node.refreshed(&json!({ "refresh_token": grace.refresh_token })).await;
    assert_eq!(
        (me(&refreshed.access_token).await.status.as_u16(), &refreshed.session),
        (200, &grace.session)
    );
    assert_eq!(sign_in(&node, GRACE, PASSWORD).await.status, 201);
    assert_eq!(me(&admin.access_token).await.status, 200);
    // Whoever was erased is, whoever asks again gets the first answer.
    node.get(&format!("/v1/accounts/{}", heidi.account)).await.problem(404, "account/unknown");
    sign_in(&node, HEIDI, PASSWORD).await.problem(401, "session/credentials");
    assert_eq!(founded(&node).await, graces);
    // The stream goes on behind the cursor, and the next record at the next place.
    let mut socket = Socket::admin(&node).await;
    socket.watch(&format!("tenant:{acme}"), Some(cursor)).await;
    rename(&node, &acme, "New").await.ok();
    for missed in ["Missed", "New"] {
        assert_eq!(socket.event().await.0, "tenant.renamed", "{missed}");
    }
    assert_eq!(place.query(UNSOUND), "", "what is new lies right behind what was moved");
    let after = history(&node, &acme).await;
    assert_eq!((&after[..before.len()], after.len()), (&before[..], before.len() + 1));
    // Every link of the audit chain is what it was, and what was done here is the next one.
    let links = trail(&node, &acme, 3).await;
    assert_eq!((&links[..audited.len()], links.len()), (&audited[..], audited.len() + 1));
    let place_of = |entry: Option<&Value>| entry.unwrap()["chain"]["records"].as_u64().unwrap();
    assert_eq!(place_of(links.last()), place_of(audited.last()) + 1);
    // A reader with effects outside goes on behind what it had done: no mail is sent twice.
    let forgotten = post(&node, "/v1/accounts/forgot", json!({ "email": GRACE })).await;
    assert!(forgotten.status.is_success(), "{forgotten:?}");
    assert_eq!(mails(&node, GRACE, 1).await.len(), 1, "the one that was asked for");
    place.is_migrated(&["--verify-only"]);
}

/// A tenant that somebody founds under a key.
async fn with_key(node: &Node, who: &Tokens, key: &str) -> Value {
    let request = node.stranger(Method::POST, "/v1/tenants").bearer_auth(&who.access_token);
    let body = json!({ "name": "Grace", "slug": "grace" });
    reply(request.header("Idempotency-Key", key).json(&body)).await.unwrap().ok()
}

#[tokio::test]
async fn nothing_opens_a_data_directory_that_was_moved_and_all_say_where_it_went() {
    let place = Place::new();
    place.node().terminate();
    let told = place.migrate(&[]);
    let told = String::from_utf8(told.stdout).unwrap();
    let to = format!("database `{}` at ", place.database);
    for wanted in [
        to.as_str(),
        "byte by byte",
        "users ",
        "keyring/master.key",
        "builds them again",
        "under the same master key",
    ] {
        assert!(told.contains(wanted), "{wanted} in {told}");
    }
    let data = text(&place.data()).to_owned();
    let out = place.place.path().join("out");
    let out = text(&out);

    for asked in [
        &["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"][..],
        &["backup", "create", "--to", out],
        &["keyring", "export", "--to", out],
        &["journal", "verify"],
        &["audit", "verify"],
    ] {
        let said = command::refused(&[asked, &["--data", &data]].concat());
        assert!(said.contains(&to) && said.contains("moved"), "{asked:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(!Path::new(out).exists());
    }
    let said = place.is_refused(1, &[]);
    assert!(said.contains("was moved to") && said.contains("--verify-only"), "{said}");
    let mark = fs::read_to_string(place.data().join("moved")).unwrap();
    assert!(mark.contains(&to) && !mark.contains("secret"), "{mark}");
    place.is_migrated(&["--verify-only"]);
}

/// A migration that runs, and what it says.
struct Running<'a> {
    place: &'a Place,
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl<'a> Running<'a> {
    fn of(place: &'a Place) -> Self {
        // So slow that something is under way when it is killed.
        place.proxy.set(|rules| rules.delay = Duration::from_millis(20));
        let mut command = place.migration(&place.url(), &[]);
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { place, process, lines }
    }

    /// Reads until it says something.
    fn says(&mut self, wanted: &str) {
        let said = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(wanted));
        assert!(said.is_some(), "it never said {wanted}");
    }

    /// kill -9, and nothing more comes to the database.
    fn die(mut self) {
        self.place.proxy.set(|rules| rules.is_stalled = true);
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.place.proxy.set(|rules| *rules = Rules::default());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_killed_at_every_step_is_run_again_and_ends_as_if_it_never_was() {
    let place = Place::new();
    let node = place.node();
    let acme = node.tenant("acme").await;
    let slugs: Vec<_> = (0..150).map(|number| format!("tenant-{number}")).collect();
    futures_util::future::join_all(slugs.iter().map(|slug| node.tenant(slug))).await;
    let before = history(&node, &acme).await;
    assert_eq!(node.terminate(), Some(0));
    let unfinished = || {
        let said = place.start_is_refused();
        assert!(said.contains("run `prognet migrate` again"), "{said}");
    };

    for step in ["copying records", "some records", "copying keys", "comparing records", "marking"] {
        let mut running = Running::of(&place);
        if step == "some records" {
            until(|| place.query("select lsn > 0 from log") == "t").await;
        } else {
            running.says(step);
        }
        running.die();
        // The last step may have been quicker.
        if place.query("select state from arrival") == "copying" {
            unfinished();
        } else {
            assert_eq!(step, "marking");
        }
    }
    let is_whole = place.query("select state from arrival") == "whole";
    let moved = place.is_migrated(if is_whole { &["--verify-only"] } else { &[] });

    let records = moved["records"].as_u64().unwrap();
    assert!(records > 1_000, "more than one batch: {records}");
    assert_eq!(moved["resumed_behind"], records);
    assert_eq!(
        place.query("select count(*), (select lsn from log) from record"),
        format!("{records}|{records}")
    );
    // In the old directory, of which the master key alone is needed.
    for gone in ["journal", "tier"] {
        fs::remove_dir_all(place.data().join(gone)).unwrap();
    }
    fs::remove_file(place.data().join("keyring/keys.log")).unwrap();
    let node = place.moved_node(&place.data());
    assert_eq!(history(&node, &acme).await, before);
    let all = |page: &Value| page["data"].as_array().is_some_and(|all| all.len() == 151);
    node.eventually_in(Duration::from_secs(60), "/v1/tenants?limit=200", all).await;
    assert!(command::refused(&["journal", "verify", "--data", text(&place.data())]).contains("was moved to"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_a_moment_is_waited_for() {
    let place = Place::new();
    place.node().terminate();
    let mut running = Running::of(&place);
    running.says("copying records");

    place.proxy.set(|rules| rules.is_cut = true);
    running.says("waiting for the database");
    place.proxy.set(|rules| rules.is_cut = false);

    assert_eq!(running.process.wait().unwrap().code(), Some(0));
    place.is_migrated(&["--verify-only"]);
}

#[tokio::test]
async fn a_record_that_was_changed_in_the_database_is_found_and_named() {
    let place = Place::new();
    let node = place.node();
    node.tenant("acme").await;
    node.terminate();
    place.is_migrated(&[]);
    let of = "from record where name = 'created' and service = 'tenancy' order by off limit 1";
    let record = place.query(&format!("select service, number, off {of}"));
    let [service, number, offset] = record.split('|').collect::<Vec<_>>()[..] else { panic!("{record}") };
    place.query(&format!(
        "update record set body = set_byte(body, 20, 255 - get_byte(body, 20)) where service = '{service}' and \
         number = {number} and off = {offset}"
    ));

    let said = place.is_refused(3, &["--verify-only"]);

    let shard = format!("shard {service}/{number}");
    for wanted in [
        format!("record {offset} of {shard}"),
        "is another in: body".to_owned(),
        format!("{shard}: the hash chain"),
    ] {
        assert!(said.contains(&wanted), "{wanted} in {said}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_for_this_source_is_left_alone_and_the_source_goes_on() {
    let (place, other) = (Place::new(), Place::new());
    let (acme, node) = (place.node().tenant("acme").await, other.node());
    node.tenant("other").await;
    node.terminate();
    let refused_by =
        |to: &str, more: &[&str], code| refused(&place.migration(to, more).output().unwrap(), code);

    // In use by nodes; then with another's migration, half done and done.
    let used = Place::new();
    Node::with(&used.data(), &[("PROGNET_STORAGE_URL", &used.url())]).terminate();
    let said = refused_by(&used.url(), &[], 1);
    assert!(said.contains("is not empty, it has records, keys, shards, a cluster"), "{said}");
    let mut running = Running::of(&other);
    running.says("copying records");
    running.die();
    for state in ["copying", "whole"] {
        assert_eq!(other.query("select state from arrival"), state);
        for more in [&[][..], &["--verify-only"]] {
            let said = refused_by(&other.url(), more, 1);
            assert!(said.contains("holds the migration of another data directory"), "{said}");
        }
        if state == "copying" {
            other.is_migrated(&[]);
        }
    }
    let said = place.is_refused(1, &["--verify-only"]);
    assert!(said.contains("holds nothing of"), "{said}");
    let said = place.is_refused(1, &["--set", &format!("storage.master_key={}", "cd".repeat(32))]);
    assert!(said.contains("the master key is another than the one that wrapped the keyring"), "{said}");
    // Nobody is there; nobody knows where; there is nothing to move.
    let said = refused_by("postgres://ada:secret@127.0.0.1:1/prognet", &[], 4);
    assert!(said.contains("run the same command again"), "{said}");
    let said = refused_by("", &[], 2);
    assert!(said.contains("no database is given"), "{said}");
    let said = refused_by("", &["--to", "mysql://ada:secret@nowhere"], 1);
    assert!(said.contains("is no address of a PostgreSQL database"), "{said}");
    let nothing = command::refused(&[
        "migrate",
        "--from",
        text(&place.place.path().join("none")),
        "--to",
        &place.url(),
    ]);
    assert!(nothing.contains("there is no journal in"), "{nothing}");

    assert_eq!(place.query("select count(*) from arrival"), "0");
    assert_eq!(place.node().get(&format!("/v1/tenants/{acme}")).await.ok()["slug"], "acme");
}
