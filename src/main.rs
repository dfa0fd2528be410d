//! `prognet`: everything under an organization platform's apps.

mod audit;
mod backup;
mod cli;
mod cluster;
mod config;
mod data;
mod journal;
mod keyring;
mod mail;
mod migrate;
mod report;
mod serve;
mod store;
mod telemetry;
mod versions;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// Among 100 000 tenants a page of ten of them took a third more time than among ten, all of it in glibc's heap. Without
/// huge pages, of which a node that does little would hold many.
#[global_allocator]
static HEAP: MiMalloc = MiMalloc;

/// Everything under an organization platform's apps.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until SIGTERM or Ctrl-C.
    Serve(config::Given),
    /// Checks and shows settings.
    #[command(subcommand)]
    Config(config::Command),
    Audit(audit::Audit),
    Backup(backup::Backup),
    Cluster(versions::Cluster),
    Data(data::Data),
    Journal(journal::Journal),
    Keyring(keyring::Keyring),
    Migrate(migrate::Migrate),
    Upgrade(versions::Upgrade),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(given) => serve::run(given),
        Command::Client(command) => return cli::run(command),
        Command::Migrate(migrate) => return migrate.run(),
        Command::Upgrade(upgrade) => match upgrade.run() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Config(command) => config::run(command).map_err(Into::into).and_then(|text| say(&text)),
        Command::Audit(audit) => audit.run().and_then(|text| say(&text)),
        Command::Cluster(cluster) => cluster.run().and_then(|text| say(&text)),
        Command::Data(data) => data.run().and_then(|text| say(&text)),
        Command::Backup(backup) => backup.run().and_then(|text| say(&text)),
        Command::Journal(journal) => journal.run().and_then(|text| say(&text)),
        Command::Keyring(keyring) => keyring.run().and_then(|text| say(&text)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not a log line: whoever typed the command reads it, logging may not have begun.
            drop(writeln!(std::io::stderr(), "prognet: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints; a reader that has heard enough is no failure.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
