//! A node as its users meet it: a process with a data directory, two doors, and a setup link.

pub(crate) mod balancer;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod command;
mod driven;
pub(crate) mod history;
mod people;
pub(crate) mod ports;
#[path = "../storage/postgres/testing/server.rs"]
pub(crate) mod postgres;
pub(crate) mod proxy;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use prognet_sdk::Tokens;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

pub(crate) use driven::Driven;
pub(crate) use people::{PASSWORD, Person};

/// A running node; killed when dropped.
pub(crate) struct Node {
    process: Child,
    data: PathBuf,
    settings: Vec<(String, String)>,
    url: String,
    management: String,
    tokens: Option<Tokens>,
    client: reqwest::Client,
}

/// The first admin of every node here.
pub(crate) const ADMIN: (&str, &str) = ("ada@example.org", "correct horse battery");

/// Tests come from one network, and oftener than people: only those about limits set some.
const UNLIMITED: [(&str, &str); 9] = [
    ("PROGNET_LIMITS_LOGIN", "0"),
    ("PROGNET_LIMITS_REFRESH", "0"),
    ("PROGNET_LIMITS_SIGN_UP", "0"),
    ("PROGNET_LIMITS_FORGOT", "0"),
    ("PROGNET_LIMITS_LINK", "0"),
    ("PROGNET_LIMITS_INVITATION", "0"),
    ("PROGNET_LIMITS_SETUP", "0"),
    ("PROGNET_LIMITS_MAIL_PER_ADDRESS_AND_NETWORK", "0"),
    ("PROGNET_LIMITS_MAIL_PER_ADDRESS", "0"),
];

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// It is this problem, with this status.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), &self.body["type"]),
            (status, &json!(format!("/problems/{code}"))),
            "{self:?}"
        );
        self.body
    }
}

impl Node {
    /// Starts one on a data directory, new or used; ports are the system's choice; the admin is signed in.
    pub(crate) fn start(data: &Path) -> Self {
        Self::with(data, &[])
    }

    /// The same, with settings.
    pub(crate) fn with(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::at(data, "127.0.0.1:0", settings)
    }

    /// The same, behind a door of the caller's choice.
    pub(crate) fn at(data: &Path, listen: &str, settings: &[(&str, &str)]) -> Self {
        Self::run(data, listen, settings).signed_in()
    }

    /// The same, on a disk where no file grows beyond so many bytes.
    pub(crate) fn on_a_small_disk(data: &Path, file_bytes: u64) -> Self {
        Self::after(&format!("trap '' XFSZ; ulimit -f {}", file_bytes / 512), data)
    }

    /// The same, from a shell whose soft limit lets it open so many files.
    pub(crate) fn with_few_descriptors(data: &Path, soft: usize) -> Self {
        Self::after(&format!("ulimit -S -n {soft}"), data)
    }

    /// The same, from a shell that has done this.
    fn after(done: &str, data: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{done}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_prognet")]);
        Self::run_as(command, data, "127.0.0.1:0", &[]).signed_in()
    }

    /// With the admin signed in, who is made if there is none.
    pub(crate) fn signed_in(mut self) -> Self {
        self.tokens = Some(aside(admin(&self.client, &self.url, &self.data)));
        self
    }

    /// One without an admin.
    pub(crate) fn empty(data: &Path) -> Self {
        Self::run(data, "127.0.0.1:0", &[])
    }

    fn run(data: &Path, listen: &str, settings: &[(&str, &str)]) -> Self {
        Self::run_as(Command::new(env!("CARGO_BIN_EXE_prognet")), data, listen, settings)
    }

    /// One that a command starts, whether or not there is an admin.
    pub(crate) fn run_as(mut command: Command, data: &Path, listen: &str, settings: &[(&str, &str)]) -> Self {
        let mut process = command
            .args(["serve", "--listen", listen, "--management", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("PROGNET_LOG_FILTER", "warn")
            .envs(UNLIMITED)
            .envs(settings.iter().copied())
            .stderr(log(data))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |word: &str| {
            let ended = || panic!("the node ended before it listened: {}", said(data));
            let line = lines.next().unwrap_or_else(ended).unwrap();
            line.strip_prefix(word).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        };
        let (url, management) = (address("listening"), address("management"));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { process, data: data.to_owned(), settings, url, management, tokens: None, client }
    }

    /// The admin's tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        self.tokens.as_ref().expect("nobody is signed in on an empty node")
    }

    /// Where the API is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// kill -9, and start again on the same data.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let settings: Vec<_> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self::with(&self.data, &settings)
    }

    /// The same, behind the same door, as those expect who hold a URL of it.
    pub(crate) fn kill_and_restart_in_place(mut self) -> Self {
        self.kill();
        Self::at(&self.data, self.url.trim_start_matches("http://"), &[])
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap().code()
    }

    /// The exit code, once it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        for _ in 0..600 {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            pause().await;
        }
        panic!("it never ended")
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A request builder with the admin's token.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.tokens().access_token)
    }

    /// A request builder without a token.
    pub(crate) fn stranger(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        reply(self.request(Method::GET, path)).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        reply(self.request(Method::POST, path).json(&body)).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        reply(self.request(Method::DELETE, path)).await.unwrap()
    }

    /// Asks again until it is refused.
    pub(crate) async fn until_refused(&self, path: &str) -> Reply {
        for _ in 0..600 {
            let answer = self.get(path).await;
            if !answer.status.is_success() {
                return answer;
            }
            pause().await;
        }
        panic!("never refused")
    }

    /// The next tokens of a session.
    pub(crate) async fn refreshed(&self, body: &Value) -> Tokens {
        let request = self.stranger(Method::POST, "/v1/sessions/refresh").json(body);
        serde_json::from_value(reply(request).await.unwrap().ok()).unwrap()
    }

    /// A number of the management door, without labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.managed("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("no such number").parse().unwrap()
    }

    /// The most memory the process has held so far (`VmHWM`, proc(5)).
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Lets the node's clock move on.
    pub(crate) async fn a_moment_later(&self) {
        pause().await;
    }

    pub(crate) async fn managed(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(format!("{}{path}", self.management)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// A tenant with this slug.
    pub(crate) async fn tenant(&self, slug: &str) -> String {
        let tenant = self.post("/v1/tenants", json!({ "name": slug, "slug": slug })).await.ok();
        tenant["id"].as_str().unwrap().to_owned()
    }

    /// Asks again until the answer is as wanted.
    pub(crate) async fn eventually(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.eventually_in(Duration::from_secs(12), path, wanted).await
    }

    /// The same, of what takes its time.
    pub(crate) async fn eventually_in(
        &self,
        patience: Duration,
        path: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut last = Value::Null;
        for _ in 0..patience.as_millis() / 20 {
            last = self.get(path).await.body;
            if wanted(&last) {
                return last;
            }
            pause().await;
        }
        panic!("never as wanted: {last}")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where a node's log goes: behind what it said before, beside its data.
fn log(data: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().create(true).append(true).open(data.join("log")).unwrap()
}

/// What a node's log says.
fn said(data: &Path) -> String {
    std::fs::read_to_string(data.join("log")).unwrap_or_default()
}

/// Makes the first admin with the setup link, unless there is one, and signs them in.
async fn admin(client: &reqwest::Client, url: &str, data: &Path) -> Tokens {
    let (email, password) = ADMIN;
    if let Ok(link) = std::fs::read_to_string(data.join("setup.link")) {
        let token = link.trim().rsplit_once("token=").unwrap().1;
        let body = json!({ "token": token, "email": email, "password": password, "name": "Ada" });
        let made = reply(client.post(format!("{url}/v1/setup")).json(&body)).await.unwrap();
        assert_eq!(made.status, 201, "{made:?}");
    }
    let body = json!({ "email": email, "password": password });
    let signed_in = reply(client.post(format!("{url}/v1/sessions")).json(&body)).await.unwrap();
    serde_json::from_value(signed_in.ok()).unwrap()
}

/// Waits for a future from code that is not async, whatever runtime it is on.
fn aside<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work)
        });
        work.join().unwrap()
    })
}

/// Looks again until it is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    until_in(Duration::from_secs(12), is_so).await;
}

/// The same, of what takes its time.
pub(crate) async fn until_in(patience: Duration, is_so: impl Fn() -> bool) {
    for _ in 0..patience.as_millis() / 20 {
        if is_so() {
            return;
        }
        pause().await;
    }
    panic!("it never was so")
}

/// Between two looks at a condition.
async fn pause() {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.tick().await;
    tick.tick().await;
}

/// What a query says to whoever asks the server behind a socket, a line a row, values parted by `|`.
pub(crate) fn psql(server: &postgres::Server, socket: &Path, database: &str, sql: &str) -> String {
    let mut psql = server.program("psql");
    psql.args(["-X", "-A", "-t", "-U", "postgres", "-d", database, "-c", sql, "-h"]).arg(socket);
    let output = psql.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A problem without what names the request.
pub(crate) fn bare(mut problem: Value) -> Value {
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

pub(crate) async fn reply(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    Ok(Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}
