//! A node as its users meet it: a process with a data directory, two doors, and a token in a file.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

/// A running node; killed when dropped.
pub(crate) struct Node {
    process: Child,
    data: PathBuf,
    url: String,
    management: String,
    token: String,
    client: reqwest::Client,
}

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
    /// Starts one on a data directory, new or used; ports are the system's choice.
    pub(crate) fn start(data: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_prognet"))
            .args(["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("PROGNET_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = |word: &str| {
            let line = lines.next().expect("the node ended before it listened").unwrap();
            line.strip_prefix(word).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        };
        let (url, management) = (address("listening"), address("management"));
        let token = std::fs::read_to_string(data.join("operator.token")).unwrap().trim().to_owned();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { process, data: data.to_owned(), url, management, token, client }
    }

    /// kill -9, and start again on the same data.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        Self::start(&self.data)
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap().code()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// A request builder with the operator's token.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
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
        let mut last = Value::Null;
        for _ in 0..600 {
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

/// Between two looks at a condition.
async fn pause() {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.tick().await;
    tick.tick().await;
}

pub(crate) async fn reply(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    Ok(Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}
