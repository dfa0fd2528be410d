//! Sessions kept between commands: a file only its owner reads, one session a node.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use prognet_sdk::{Tokens, client::KeepTokens};

use super::environment;

/// The session with one node.
#[derive(Debug)]
pub(super) struct Credentials {
    file: PathBuf,
    url: String,
}

impl Credentials {
    /// What is kept for the node at a URL.
    pub(super) fn of(url: &str) -> anyhow::Result<Self> {
        let home = || environment("HOME").map(|home| Path::new(&home).join(".config"));
        let config = environment("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let config = config.context("neither XDG_CONFIG_HOME nor HOME says where sessions are kept")?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { file: config.join("prognet/credentials.json"), url })
    }

    fn all(&self) -> io::Result<BTreeMap<String, Tokens>> {
        match fs::read(&self.file) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Only one process at a time changes the file.
    fn lock(&self, directory: &Path) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let path = self.file.with_extension("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        lock.lock()?;
        Ok(lock)
    }
}

impl KeepTokens for Credentials {
    fn load(&self) -> io::Result<Option<Tokens>> {
        Ok(self.all()?.remove(&self.url))
    }

    /// Whoever reads sees the old file or the new one, never half of it, even if the machine stops.
    fn save(&self, tokens: Option<&Tokens>) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        let _lock = self.lock(directory)?;
        let mut all = self.all()?;
        match tokens {
            Some(tokens) => all.insert(self.url.clone(), tokens.clone()),
            None => all.remove(&self.url),
        };
        let new = self.file.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&all)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.file)
    }
}
