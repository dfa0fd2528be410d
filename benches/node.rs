//! Ours: the released binary as an operator runs it, with everything on.

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
const PASSWORD: &str = "correct horse battery";

/// Builds the released binary and says where it is.
///
/// # Errors
/// When it does not build.
pub fn binary() -> anyhow::Result<PathBuf> {
    let release = release_directory()?;
    let target = release.parent().context("no target directory")?;
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--package", "prognet", "--bin", "prognet", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !built.success() {
        bail!("`cargo build --release --bin prognet` failed");
    }
    Ok(release.join("prognet"))
}

/// Where benches and released binaries lie: `target/release`.
fn release_directory() -> anyhow::Result<PathBuf> {
    let bench = std::env::current_exe()?;
    bench.ancestors().nth(2).map(Path::to_owned).context("a bench lies in target/release/deps")
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
        std::fs::create_dir_all(data)?;
        let mut process = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--data"])
            .arg(data)
            // Tokens name their issuer: a node that comes back on another port must still know its own.
            .env("PROGNET_HTTP_PUBLIC_URL", "http://localhost")
            // All load comes from one network.
            .envs(["LOGIN", "REFRESH", "SIGN_UP", "LINK"].map(|door| (format!("PROGNET_LIMITS_{door}"), "0")))
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
        let post = |path, body: serde_json::Value| {
            let request = client::request("POST", path, "", "", &body.to_string());
            client::send_all(self.address, 1, &[request])?.pop().context("no answer")
        };
        if let Ok(link) = std::fs::read_to_string(data.join("setup.link")) {
            let (_, token) = link.trim().rsplit_once("token=").context("a setup link without a token")?;
            post(
                "/v1/setup",
                json!({ "token": token, "email": EMAIL, "password": PASSWORD, "name": "Ada" }),
            )?;
        }
        let session = post("/v1/sessions", json!({ "email": EMAIL, "password": PASSWORD }))?;
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
