//! `prognet journal`: the journal, looked at from outside.

use anyhow::Context;
use prognet_storage::embedded::survey;
use serde_json::json;

use crate::{
    config::Given,
    report::{Output, report},
    store,
};

/// Looks at a journal; reads only, while its node runs or not.
#[derive(Debug, clap::Args)]
pub(crate) struct Journal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Checks every batch of every segment, or names the segment and byte where it is damaged.
    Verify {
        #[command(flatten)]
        given: Given,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

impl Journal {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let Command::Verify { given, output } = self.command;
        let journal = store::own_journal(&given.load()?.storage)?;
        let found = survey(&journal, |_, _| Ok(()))
            .with_context(|| format!("failed to verify `{}`", journal.display()))?;
        Ok(report(
            output,
            &json!({
                "records": found.records,
                "segments": found.segments.len(),
                "bytes": found.segments.iter().map(|segment| segment.bytes).sum::<u64>(),
                "last_lsn": found.last.0,
                "homes": found.homes.len(),
                "unfinished_bytes": found.unfinished_bytes,
                "sha256": found.sha256,
            }),
        ))
    }
}
