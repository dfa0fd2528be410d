//! A real PostgreSQL for tests: one server a test process, and in it a new database a test.
//!
//! A guard, a shell that waits for its input to end, stops a server and removes its files however the test process
//! ends: by itself, by a panic or killed.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

const MISSING: &str =
    "these tests need PostgreSQL: `apt-get install -y postgresql` puts it in /usr/lib/postgresql";

/// Durability is not what a test of this size can show, so the server need not wait for the disk.
const SETTINGS: &str = "
listen_addresses = ''
fsync = off
max_connections = 300
shared_buffers = 64MB
";

/// Who has to show a password; everybody else is trusted.
const ADMISSION: &str = "local all stranger scram-sha-256\nlocal all all trust\n";

/// A running server that listens on a Unix socket.
pub(crate) struct Server {
    programs: PathBuf,
    /// Its Unix socket is in it.
    pub(crate) directory: PathBuf,
    databases: AtomicU32,
    /// Holds the guard's input open.
    _guard: Child,
}

impl Server {
    /// The one that tests share, started by the first.
    pub(crate) fn shared() -> &'static Arc<Self> {
        static SHARED: LazyLock<Arc<Server>> = LazyLock::new(|| Arc::new(Server::start()));
        &SHARED
    }

    /// One of its own, for a test that stops it.
    pub(crate) fn start() -> Self {
        let programs = programs();
        let directory = tempfile::Builder::new().prefix("prognet-pg-").tempdir().unwrap().keep();
        if rustix::process::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(&directory));
        }
        let guard = guard(&programs, &directory);
        let server = Self { programs, directory, databases: AtomicU32::new(0), _guard: guard };
        let cluster = server.cluster();
        let initdb = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"];
        run(server.program("initdb").args(initdb).arg(&cluster));
        let file = cluster.join("postgresql.conf");
        let sockets = format!("unix_socket_directories = '{}'\n", server.directory.display());
        fs::write(&file, fs::read_to_string(&file).unwrap() + SETTINGS + &sockets).unwrap();
        fs::write(cluster.join("pg_hba.conf"), ADMISSION).unwrap();
        server.resume();
        server
    }

    /// Starts it on what is there; returns when it takes connections.
    pub(crate) fn resume(&self) {
        let log = self.directory.join("postgres.log");
        let start = ["start", "--wait", "--silent", "-t", "300", "-D"];
        run(self.program("pg_ctl").args(start).arg(self.cluster()).arg("-l").arg(log));
    }

    /// Stops it as a crash would.
    pub(crate) fn stop(&self) {
        let stop = ["stop", "--wait", "--silent", "-m", "immediate", "-t", "300", "-D"];
        run(self.program("pg_ctl").args(stop).arg(self.cluster()));
    }

    /// The address of a database in it, for a user.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("host={} user={user} dbname={database}", self.directory.display())
    }

    /// A database with nothing in it: its name.
    pub(crate) fn create(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(self.program("createdb").arg("--host").arg(&self.directory).args(["--username=postgres", &name]));
        name
    }

    fn cluster(&self) -> PathBuf {
        self.directory.join("cluster")
    }

    /// One of its programs, as its user runs it.
    pub(crate) fn program(&self, name: &str) -> Command {
        as_its_user(&self.programs.join(name))
    }
}

/// Stops the server and removes its files when this process ends.
fn guard(programs: &Path, directory: &Path) -> Child {
    const WAIT: &str = r#"read -r _; "$0/pg_ctl" stop -s -m immediate -D "$1/cluster"; rm -rf "$1""#;
    let mut shell = as_its_user(Path::new("sh"));
    // A signal for all of the test's group, as a time-out sends it, must not end the guard first.
    shell.process_group(0);
    shell.args(["-c", WAIT]).arg(programs).arg(directory);
    shell.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// PostgreSQL refuses to run as root.
fn as_its_user(program: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect(MISSING).flatten();
    let version = versions
        .filter(|version| version.path().join("bin/initdb").exists())
        .max_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    version.expect(MISSING).path().join("bin")
}

pub(crate) fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?} failed");
}
