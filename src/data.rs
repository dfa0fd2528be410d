//! `prognet data`: what is done to a database that no node works with.

use std::path::PathBuf;

use anyhow::Context;
use prognet_storage::{keyring::Export, postgres::Restored};
use serde_json::json;

use crate::{
    config::Given,
    report::{Output, report},
    store,
};

/// Looks after a database that no node works with.
#[derive(Debug, clap::Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Makes a new cluster of a database that was restored by its own tools, before a node first starts on it.
    ///
    /// Whoever was erased since the backup is erased again, nodes that still run on what was there before are refused,
    /// and cursors that clients have kept are answered 410. It may be run again.
    #[command(after_help = "Example:\n  PROGNET_STORAGE_URL=postgres://prognet@localhost/restored \\\n    \
                            prognet data restored --keyring /safe/keys --confirm")]
    Restored {
        #[command(flatten)]
        given: Given,
        /// The newest file of `prognet keyring export`: it knows who was erased since.
        #[arg(long)]
        keyring: PathBuf,
        /// Does it; otherwise it is only said what would be done.
        #[arg(long)]
        confirm: bool,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

impl Data {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let Command::Restored { given, keyring, confirm, output } = self.command;
        let export =
            Export::read(&keyring).with_context(|| format!("failed to read `{}`", keyring.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let done = runtime.block_on(restored(given, &export, confirm))?;
        let Restored { before, generation, nodes, shards, epoch } = done;
        let mut found = json!({
            "before": format!("{before:032x}"),
            "generation": format!("{generation:032x}"),
            "nodes": nodes,
            "shards": shards,
            "epoch": epoch,
            "erased": export.erased(),
            "is_done": confirm,
        });
        if let (false, Some(fields)) = (confirm, found.as_object_mut()) {
            fields.remove("generation");
            fields.insert("next".to_owned(), "nothing was changed: run it again with --confirm".into());
        }
        Ok(report(output, &found))
    }
}

async fn restored(given: Given, export: &Export, is_meant: bool) -> anyhow::Result<Restored> {
    let settings = given.load()?.storage;
    let no_database =
        "`storage.url` names no database: a data directory is restored by `prognet backup restore`";
    // Whoever runs is told first, before the keys or even the schema are touched.
    let database = store::database_unchanged(&settings).await?.context(no_database)?;
    let found = database.restored(false).await?;
    if !is_meant {
        return Ok(found);
    }
    let database = store::database(&settings).await?.context(no_database)?;
    export.restore_to(&database).await.context("failed to restore the keys")?;
    Ok(database.restored(true).await?)
}
