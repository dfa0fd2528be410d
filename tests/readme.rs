//! The README's journey, run as it is written.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{ADMIN, cluster, ports::free_address, until, until_in};

/// The shell lines of a section.
fn shell_lines(readme: &str, section: &str) -> String {
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.collect()
}

/// Commands of a reader, with all they left running; ended when dropped.
struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap_or_default();
        drop(self.0.wait());
    }
}

/// A directory in which it was built, and a node's doors.
struct Checkout {
    directory: tempfile::TempDir,
    listen: String,
    management: String,
}

impl Checkout {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let release = directory.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        symlink(env!("CARGO_BIN_EXE_prognet"), release.join("prognet")).unwrap();
        let [listen, management] = [free_address(), free_address()];
        Self { directory, listen, management }
    }

    /// Types lines into a terminal; `cargo run` starts what is built, once whoever held the data is dead.
    fn bash(&self, lines: &str) -> Session {
        let cargo = "cargo() {
            if [ -e data/journal/lock ]; then flock data/journal/lock true; fi
            [ \"$*\" = 'run --release -- serve' ] && exec target/release/prognet serve
        }\n";
        let path = self.directory.path();
        let kept = |name| fs::OpenOptions::new().create(true).append(true).open(path.join(name)).unwrap();
        let session = Command::new("bash")
            .args(["-euc", &format!("{cargo}{lines}")])
            .current_dir(path)
            .env("XDG_CONFIG_HOME", path)
            .env("PROGNET_PASSWORD", ADMIN.1)
            .env("PROGNET_HTTP_LISTEN", &self.listen)
            .env("PROGNET_HTTP_MANAGEMENT", &self.management)
            .env("PROGNET_URL", format!("http://{}", self.listen))
            .env_remove("PROGNET_TOKEN")
            .process_group(0)
            .stdout(kept("out"))
            .stderr(kept("err"))
            .spawn();
        Session(session.unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

#[tokio::test]
async fn the_journey_of_the_readme_goes_as_it_says() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let commands = shell_lines(&readme, "Two commands");
    let journey = shell_lines(&readme, "A first journey");
    let afterwards = "prognet tenants get \"$acme\" -o json > tenant
        prognet events list --tenant \"$acme\" -o json > events
        prognet tenants list -o json > list";
    let checkout = Checkout::new();
    let _node = checkout.bash(commands.lines().next().unwrap());
    until(|| !checkout.read("data/setup.link").is_empty()).await;
    let mode = fs::metadata(checkout.directory.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the data are their owner's alone");

    let mut reader = checkout.bash(&(journey + afterwards));

    let is_done = reader.0.wait().unwrap().success();
    let (out, err) = (checkout.read("out"), checkout.read("err"));
    assert!(is_done, "{out}{err}");
    assert!(
        out.contains("made ada@example.org the platform's first admin") && out.contains(": live"),
        "{out}"
    );
    let list: Value = serde_json::from_str(&checkout.read("list")).unwrap();
    let slugs = list["data"].as_array().unwrap().iter().map(|tenant| tenant["slug"].as_str().unwrap());
    assert_eq!(slugs.collect::<Vec<_>>(), ["globex", "acme"], "twice sent, and still one: {out}");
    let tenant: Value = serde_json::from_str(&checkout.read("tenant")).unwrap();
    assert_eq!((&tenant["slug"], &tenant["status"]), (&json!("acme"), &json!("active")));
    let events: Value = serde_json::from_str(&checkout.read("events")).unwrap();
    let kinds = events["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap());
    let wanted = ["tenant.created", "membership.admitted", "tenant.suspended", "tenant.resumed"];
    assert_eq!(kinds.collect::<Vec<_>>(), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_start_and_show_themselves_as_the_readme_says() {
    let _turn = cluster::turn().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let checkout = Checkout::new();
    // The files as they are, behind doors that are free here.
    let doors = (8080..8086).chain(7101..7104).map(|port| (format!("127.0.0.1:{port}"), free_address()));
    let doors: Vec<_> = doors.collect();
    let elsewhere = |text: String| doors.iter().fold(text, |text, (door, free)| text.replace(door, free));
    let set = checkout.directory.path().join("config/three-nodes");
    fs::create_dir_all(&set).unwrap();
    for name in ["a.toml", "b.toml", "c.toml"] {
        let text = fs::read_to_string(root.join("config/three-nodes").join(name)).unwrap();
        fs::write(set.join(name), elsewhere(text)).unwrap();
    }
    fs::copy(root.join("config/three-nodes/start"), set.join("start")).unwrap();
    let lines = elsewhere(shell_lines(&readme, "Three nodes"));
    let (start, look) = lines.split_once('\n').unwrap();
    let bash = |lines: &str, out: &str| {
        let path = checkout.directory.path();
        let kept = |name: &str| fs::File::create(path.join(name)).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-euc", lines]).current_dir(path).process_group(0);
        bash.env("PATH", format!("{}/target/release:{}", path.display(), env!("PATH")));
        bash.env("XDG_CONFIG_HOME", path).env("PROGNET_PASSWORD", ADMIN.1).env("TMPDIR", path);
        Session(bash.stdout(kept(out)).stderr(kept("err")).spawn().unwrap())
    };
    let mut nodes = bash(start, "nodes");
    until_in(Duration::from_secs(60), || {
        let said = checkout.read("nodes");
        ["a", "b", "c"].iter().all(|node| said.contains(&format!("{node}: listening")))
    })
    .await;
    let is_done = bash(look, "out").0.wait().unwrap().success();

    let out = checkout.read("out");
    assert!(is_done, "{out}{}", checkout.read("err"));
    for node in ["a", "b", "c"] {
        assert!(
            out.lines().any(|line| line.starts_with(&format!("{node} ")) && line.contains("  up  ")),
            "{out}"
        );
    }
    assert!(out.contains("tenancy"), "{out}");
    let all = rustix::process::Pid::from_child(&nodes.0);
    rustix::process::kill_process(all, rustix::process::Signal::TERM).unwrap();
    assert_eq!(nodes.0.wait().unwrap().code(), Some(143), "{}", checkout.read("nodes"));
}
