//! `prognet backup`: copies of a node's journal, made while it runs.

use std::path::PathBuf;

use prognet_storage::backup;

use crate::{
    config::Given,
    report::{Output, report},
    store,
};

/// Backs a node up, checks backups, and restores them. A backup never holds the keys: see `prognet keyring`.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    #[command(subcommand)]
    command: Command,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Output,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Copies the journal of a node, running or not, up to its last whole batch.
    Create {
        #[command(flatten)]
        given: Given,
        /// Where to; an empty directory, or made.
        #[arg(long)]
        to: PathBuf,
    },
    /// Reads all of a backup and compares it with its manifest.
    Verify {
        /// The backup.
        backup: PathBuf,
    },
    /// Makes a data directory of a backup and the newest keyring export.
    Restore {
        /// The backup.
        backup: PathBuf,
        /// The data directory to make; empty, or not there yet.
        #[arg(long)]
        data: PathBuf,
        /// The newest file of `prognet keyring export`.
        #[arg(long)]
        keyring: Option<PathBuf>,
    },
}

impl Backup {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let (directory, manifest) = match self.command {
            Command::Create { given, to } => {
                let journal = store::own_journal(&given.load()?.storage)?;
                let manifest = backup::create(&journal, &to)?;
                (to, manifest)
            }
            Command::Verify { backup } => {
                let manifest = backup::verify(&backup)?;
                (backup, manifest)
            }
            Command::Restore { backup, data, keyring } => {
                let manifest = backup::restore(&backup, keyring.as_deref(), &data)?;
                (data, manifest)
            }
        };
        let mut found = serde_json::to_value(&manifest)?;
        if let Some(fields) = found.as_object_mut() {
            fields.insert("directory".to_owned(), directory.display().to_string().into());
        }
        Ok(report(self.output, &found))
    }
}
