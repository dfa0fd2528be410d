//! `prognet keyring`: the keys, kept apart from backups.

use std::path::PathBuf;

use anyhow::Context;
use prognet_storage::keyring::Export;
use serde_json::json;

use crate::{
    config::Given,
    report::{Output, report},
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
}

impl Keyring {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let Command::Export { given, to, output } = self.command;
        let data = given.load()?.storage.data;
        let directory = data.join("keyring");
        let export = Export::of(&directory)
            .with_context(|| format!("failed to read the keyring in `{}`", directory.display()))?;
        export.write_file(&to).with_context(|| format!("failed to write `{}`", to.display()))?;
        Ok(report(
            output,
            &json!({ "file": to.display().to_string(), "keys": export.keys(), "has_master_key": export.has_master_key() }),
        ))
    }
}
