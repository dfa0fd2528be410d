//! The rival's database: a PostgreSQL of its own, as its packages configure it, durable.
#![expect(clippy::print_stdout, reason = "a bench's output is its result")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};

use crate::{machine, pairs::Sample};

/// What the service over it takes for a proof.
pub const TOKEN: &str = "6f1d3c0c2b9e4f7f9a55f3f0c1f7f2c46f1d3c0c2b9e4f7f9a55f3f0c1f7f2c4";

const MISSING: &str =
    "PostgreSQL is missing: `apt-get install -y postgresql` puts it in /usr/lib/postgresql/<version>/bin";

/// What differs from the defaults. The first lines are stated, not changed: they are what makes it durable.
/// The others are what any guide tells for a machine of this size, and all of them make it faster.
const SETTINGS: &str = "
fsync = on
synchronous_commit = on
full_page_writes = on
listen_addresses = ''
max_connections = 200
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
wal_buffers = 64MB
jit = off
";

/// A running database; killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
}

impl Postgres {
    /// Makes a cluster in a directory and starts it; it listens on a Unix socket only.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not start; the message says what to do.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let database = Self { programs: programs()?, directory: directory.to_owned() };
        fs::create_dir_all(directory)?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(directory))?;
        }
        let cluster = database.cluster();
        run(database
            .program("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "-D"])
            .arg(&cluster))?;
        let file = cluster.join("postgresql.conf");
        let sockets = format!("unix_socket_directories = '{}'\n", directory.display());
        fs::write(&file, fs::read_to_string(&file)? + SETTINGS + &sockets)?;
        database.resume()?;
        Ok(database)
    }

    /// Starts it on what is there; returns when it takes connections.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&self) -> anyhow::Result<()> {
        let log = self.directory.join("postgres.log");
        run(self
            .program("pg_ctl")
            .args(["start", "--wait", "--silent", "-t", "300", "-D"])
            .arg(self.cluster())
            .arg("-l")
            .arg(log))
    }

    /// The oldest of its processes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let file = fs::read_to_string(self.cluster().join("postmaster.pid"))?;
        Ok(file.lines().next().context("an empty pid file")?.trim().parse()?)
    }

    /// What a client connects with.
    #[must_use]
    pub fn url(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.directory.display())
    }

    /// Makes another database in it; what a client connects to that one with.
    ///
    /// # Errors
    /// When it is there already.
    pub fn create(&self, name: &str) -> anyhow::Result<String> {
        self.sql(&format!("create database {name} encoding 'UTF8' locale 'C' template template0"))?;
        Ok(format!("host={} user=postgres dbname={name}", self.directory.display()))
    }

    /// Runs SQL.
    ///
    /// # Errors
    /// When it fails.
    pub fn sql(&self, sql: &str) -> anyhow::Result<()> {
        let mut psql = self.program("psql");
        run(psql
            .args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
            .arg(&self.directory)
            .args(["-c", sql]))
    }

    /// kill -9 of every process of it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> anyhow::Result<()> {
        let pids = machine::pids_of(&[self.pid()?]);
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            match kill_process(pid, Signal::KILL) {
                // Some of them may end by themselves meanwhile.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        while pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn cluster(&self) -> PathBuf {
        self.directory.join("cluster")
    }

    /// A program of it, run as its own user: it refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.kill());
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The newest version that is installed.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context(MISSING)?.flatten();
    let version = versions
        .filter(|version| version.path().join("bin/initdb").exists())
        .max_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    Ok(version.context(MISSING)?.path().join("bin"))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("failed to start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

/// The service over it; killed when dropped.
#[derive(Debug)]
pub struct Service {
    process: Child,
    /// Its door.
    pub address: SocketAddr,
}

impl Service {
    /// Starts the service of `baseline/main.rs` with this many tenants and connections to the database.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(program: &str, url: &str, tenants: usize, pool: usize) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args([url, &tenants.to_string(), &pool.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("no standard output")?).read_line(&mut line)?;
        let door = line.strip_prefix("listening http://").context("the baseline did not start")?;
        Ok(Self { process, address: door.trim().parse()? })
    }

    /// Tries settings (connections to the database, and options of its sessions) with 64 connections to the
    /// service, prints what they reach, and keeps the best.
    ///
    /// # Errors
    /// When it does not start, or as the measurement's.
    pub fn fastest(
        what: &str,
        settings: &[(usize, &str)],
        start: impl Fn(usize, &str) -> anyhow::Result<Self>,
        measure: impl Fn(&Self) -> anyhow::Result<Sample>,
    ) -> anyhow::Result<Self> {
        println!(
            "\n### The rival's settings, {what}, 64 connections\n\n| pool | session | /s |\n|---|---|---|"
        );
        let mut fastest: Option<(f64, Self)> = None;
        for (pool, options) in settings {
            let service = start(*pool, options)?;
            measure(&service)?;
            let rate = measure(&service)?.rate;
            println!("| {pool} | {options} | {rate:.0} |");
            if fastest.as_ref().is_none_or(|(best, _)| rate > *best) {
                fastest = Some((rate, service));
            }
        }
        fastest.map(|(_, service)| service).context("no settings")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
