//! An SMTP server that nobody here wrote, as a process.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::until_in;

/// How the server proves who it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Certificate {
    /// Not at all: it knows no TLS.
    None,
    Right,
    /// For another name.
    Wrong,
    /// From nobody that is trusted.
    Strange,
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    directory: TempDir,
    port: u16,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    pub(crate) fn start(certificate: Certificate) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/counterparts/bin/python");
        assert!(python.exists(), "the counterparts are not installed: run ./check once");
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new(python)
            .arg(root.join("tests/counterparts/smtp.py"))
            .arg(directory.path())
            .arg(format!("{certificate:?}").to_lowercase())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("the server ended").unwrap();
        let port = first.strip_prefix("port ").unwrap().parse().unwrap();
        let heard = Arc::<Mutex<Vec<Value>>>::default();
        let told = Arc::clone(&heard);
        // It ends with the process, which closes its output.
        drop(std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                told.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        }));
        Self { process, directory, port, heard }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Where its keys and certificates are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Mails whose content it heard, in order.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// What it heard for an address, once that is so many times or more: it tells a little later than it answers.
    pub(crate) async fn heard_of(&self, to: &str, times: usize) -> Vec<Value> {
        let of = || self.heard().into_iter().filter(|mail| mail["to"] == to).collect::<Vec<_>>();
        // An attempt that dies with its node is made again some time later.
        until_in(Duration::from_secs(60), || of().len() >= times).await;
        of()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
