//! `prognet keyring`: the keys, kept apart from backups.

use std::path::PathBuf;

use anyhow::{Context, bail};
use prognet_config::Storage;
use prognet_storage::{
    embedded::not_moved,
    keyring::{Export, MasterKey},
};
use serde_json::json;

use crate::{
    config::Given,
    report::{Output, report},
    store,
};

/// Looks after the keys without which no backup can be read.
#[derive(Debug, clap::Args)]
pub(crate) struct Keyring {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Writes all keys to one file that only its owner reads. Keep the newest, apart from the backups, and no
    /// older one: it would bring erased homes back.
    Export {
        #[command(flatten)]
        given: Given,
        /// The file to make.
        #[arg(long)]
        to: PathBuf,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Puts the keys of an export into the database of `storage.url`, before a node first starts on it there.
    Restore {
        #[command(flatten)]
        given: Given,
        /// The newest file of `prognet keyring export`.
        #[arg(long)]
        from: PathBuf,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

impl Keyring {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (file, export, output) = match self.command {
            Command::Export { given, to, output } => {
                let export = runtime.block_on(exported(&given.load()?.storage))?;
                export.write_file(&to).with_context(|| format!("failed to write `{}`", to.display()))?;
                (to, export, output)
            }
            Command::Restore { given, from, output } => {
                let export =
                    Export::read(&from).with_context(|| format!("failed to read `{}`", from.display()))?;
                runtime.block_on(restore(&given.load()?.storage, &export))?;
                (from, export, output)
            }
        };
        Ok(report(
            output,
            &json!({ "file": file.display().to_string(), "keys": export.keys(), "has_master_key": export.has_master_key() }),
        ))
    }
}

async fn exported(settings: &Storage) -> anyhow::Result<Export> {
    let directory = settings.data.join("keyring");
    match store::database(settings).await? {
        Some(database) => Ok(Export::of_store(&database, MasterKey::known_in(&directory)?).await?),
        None => {
            // Its keys are as old as the move, and would bring homes back that were erased since.
            not_moved(&settings.data.join("journal"))?;
            Export::of(&directory)
                .with_context(|| format!("failed to read the keyring in `{}`", directory.display()))
        }
    }
}

async fn restore(settings: &Storage, export: &Export) -> anyhow::Result<()> {
    let Some(database) = store::database(settings).await? else {
        bail!(
            "`storage.url` names no database: `prognet backup restore --keyring` is what a data directory takes"
        );
    };
    Ok(export.restore_to(&database).await?)
}
