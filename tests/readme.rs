//! The README's journey, run as it is written.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::symlink, process::CommandExt},
    path::Path,
    process::{Child, Command},
};

use crate::harness::ADMIN;

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
        drop(rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
        drop(self.0.wait());
    }
}

/// A directory where `cargo run --release -- serve` starts the node under test.
fn checkout() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let release = directory.path().join("target/release");
    fs::create_dir_all(&release).unwrap();
    symlink(env!("CARGO_BIN_EXE_prognet"), release.join("prognet")).unwrap();
    directory
}

fn bash(directory: &Path, lines: &str) -> Session {
    let cargo = "cargo() { [ \"$*\" = 'run --release -- serve' ] && exec target/release/prognet serve; }\n";
    let mut command = Command::new("bash");
    command
        .args(["-euc", &format!("{cargo}{lines}")])
        .current_dir(directory)
        .env("XDG_CONFIG_HOME", directory)
        .env("PROGNET_PASSWORD", ADMIN.1)
        .env_remove("PROGNET_TOKEN")
        .process_group(0)
        .stdout(fs::OpenOptions::new().create(true).append(true).open(directory.join("out")).unwrap())
        .stderr(fs::OpenOptions::new().create(true).append(true).open(directory.join("err")).unwrap());
    let door = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (listen, management) = (door(), door());
    command
        .env("PROGNET_HTTP_LISTEN", listen.to_string())
        .env("PROGNET_HTTP_MANAGEMENT", management.to_string())
        .env("PROGNET_URL", format!("http://{listen}"));
    Session(command.spawn().unwrap())
}

#[tokio::test]
async fn the_journey_of_the_readme_goes_as_it_says() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let start = "cargo run --release -- serve";
    assert!(shell_lines(&readme, "Two commands").contains(start));
    let directory = checkout();
    let has = "until [ -s data/setup.link ]; do kill -0 $!; read -rt 0.02 <> <(:) || :; done";
    let journey = shell_lines(&readme, "A first journey");

    let mut reader = bash(directory.path(), &format!("{start} &\n{has}\n{journey}"));

    let status = reader.0.wait().unwrap();
    let said = |name| fs::read_to_string(directory.path().join(name)).unwrap();
    let (out, err) = (said("out"), said("err"));
    assert!(status.success(), "{out}{err}");
    let times = |word: &str| out.matches(word).count();
    assert_eq!(times("made ada@example.org the platform's first admin"), 1, "{out}{err}");
    assert_eq!(times("event: tenant.suspended"), 1, "curl saw it live: {out}{err}");
    let listed = out.rsplit_once("resumed").map_or("", |(_, last)| last);
    assert!(!listed.is_empty(), "{out}{err}");
    let globex: Vec<_> = out.lines().filter(|line| line.starts_with(r#"{"id":"ten_"#)).collect();
    assert!(!globex.is_empty(), "{out}{err}");
}
