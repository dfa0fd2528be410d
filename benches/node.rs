//! Ours: the binary as an operator runs it, with everything on.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use serde_json::json;

use crate::client;

/// The administrator of every node here.
const EMAIL: &str = "ada@example.org";
/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery";

/// What seals the data keys of nodes that share a database.
const MASTER_KEY: &str = "6f1d3c0c2b9e4f7f9a55f3f0c1f7f2c46f1d3c0c2b9e4f7f9a55f3f0c1f7f2c4";

/// What every node here is told: tokens name their issuer, and a node that comes back on another port must
/// still know its own. All load comes from one network, which is not held up for it.
const TOLD: [(&str, &str); 5] = [
    ("PROGNET_HTTP_PUBLIC_URL", "http://localhost"),
    ("PROGNET_LIMITS_LOGIN", "0"),
    ("PROGNET_LIMITS_REFRESH", "0"),
    ("PROGNET_LIMITS_SIGN_UP", "0"),
    ("PROGNET_LIMITS_LINK", "0"),
];

/// Settings of a node that stores in a database.
#[must_use]
pub const fn stored_in(url: &str) -> [(&'static str, &str); 2] {
    [("PROGNET_STORAGE_URL", url), ("PROGNET_STORAGE_MASTER_KEY", MASTER_KEY)]
}

/// Builds the binary as this bench was built (released, unless somebody only tries whether it runs), and says
/// where it is.
///
/// # Errors
/// When it does not build.
pub fn binary() -> anyhow::Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let directory = bench.ancestors().nth(2).context("a bench lies in target/release/deps")?;
    let target = directory.parent().context("no target directory")?;
    let profile = if directory.ends_with("debug") { "dev" } else { "release" };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "prognet", "--bin", "prognet", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !built.success() {
        bail!("`cargo build --profile {profile} --bin prognet` failed");
    }
    Ok(directory.join("prognet"))
}

/// Signs somebody in, perhaps for a tenant.
#[must_use]
pub fn sign_in(email: &str, tenant: Option<&str>) -> client::Request {
    client::post("/v1/sessions", &json!({ "email": email, "password": PASSWORD, "tenant": tenant }))
}

/// A running node; killed when dropped.
#[derive(Debug)]
pub struct Node {
    process: Child,
    /// Its public door.
    pub address: SocketAddr,
}

impl Node {
    /// Starts one on a data directory; returns when its door is open.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(binary: &Path, data: &Path) -> anyhow::Result<Self> {
        Self::start_with(binary, data, &[])
    }

    /// The same with settings, by their variables.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(binary: &Path, data: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"])
            .arg(data)
            .envs(TOLD)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::create(data.join("node.log"))?)
            .spawn()
            .with_context(|| format!("failed to start `{}`", binary.display()))?;
        let said = process.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(said).lines();
        let door = lines.find_map(|line| line.ok()?.strip_prefix("listening http://").map(str::to_owned));
        let door = door.with_context(|| format!("the node did not start: see `{}`", data.display()))?;
        Ok(Self { process, address: door.trim().parse()? })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether its process has ended.
    ///
    /// # Errors
    /// When nobody can tell.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.process.try_wait()?.is_some())
    }

    /// kill -9.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// An access token of its first administrator, who is made if the node has none.
    ///
    /// # Errors
    /// When it is refused.
    pub fn sign_in(&self, data: &Path) -> anyhow::Result<String> {
        if let Ok(link) = std::fs::read_to_string(data.join("setup.link")) {
            let (_, token) = link.trim().rsplit_once("token=").context("a setup link without a token")?;
            let body = json!({ "token": token, "email": EMAIL, "password": PASSWORD, "name": "Ada" });
            client::send_all(self.address, 1, &[client::post("/v1/setup", &body)])?;
        }
        let session =
            client::send_all(self.address, 1, &[sign_in(EMAIL, None)])?.pop().context("no answer")?;
        let token = session.get("access_token").and_then(serde_json::Value::as_str);
        token.map(str::to_owned).context("a session without a token")
    }

    /// Founds tenants; returns their ids.
    ///
    /// # Errors
    /// When one is refused.
    pub fn found_tenants(&self, token: &str, count: u64) -> anyhow::Result<Vec<String>> {
        let requests: Vec<_> = (0..count)
            .map(|number| {
                let body = format!(r#"{{"name":"Tenant {number}","slug":"tenant-{number}"}}"#);
                client::request("POST", "/v1/tenants", token, "", &body)
            })
            .collect();
        let tenants = client::send_all(self.address, 32, &requests)?;
        let ids = tenants.iter().map(|tenant| Some(tenant.get("id")?.as_str()?.to_owned()));
        ids.collect::<Option<_>>().context("a tenant without an id")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
