//! `prognet`: everything under an organization platform's apps.

mod cli;
mod serve;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

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
    Serve(Serve),
    #[command(flatten)]
    Client(cli::Command),
}

/// How a node runs.
#[derive(Debug, clap::Args)]
struct Serve {
    /// Where everything is kept; made if it is not there.
    #[arg(long, env = "PROGNET_DATA", default_value = "./data")]
    data: PathBuf,
    /// The public door.
    #[arg(long, env = "PROGNET_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Health and metrics; loopback unless you know better.
    #[arg(long, env = "PROGNET_MANAGEMENT", default_value = "127.0.0.1:8081")]
    management: SocketAddr,
    /// Seconds a stopping node has for the requests it has taken.
    #[arg(long, env = "PROGNET_GRACE_S", default_value_t = 20)]
    grace_s: u64,
}

fn main() -> ExitCode {
    let serve = match Arguments::parse().command {
        Command::Serve(serve) => serve,
        Command::Client(command) => return cli::run(command),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("PROGNET_LOG")
                .unwrap_or_else(|_| "info,ractor=warn".into()),
        )
        .init();
    let grace = Duration::from_secs(serve.grace_s);
    match serve::run(&serve.data, serve.listen, serve.management, grace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
