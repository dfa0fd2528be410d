//! `prognet config`: what is set, where it came from, and what is wrong with it.

use std::path::PathBuf;

use prognet_config::{Error, Settings, Sources};

use crate::{mail, serve, telemetry};

/// Where settings come from, beside the environment; later ones overrule earlier ones.
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// A settings file; `prognet.toml` is read if it is there.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where everything is kept; made if it is not there.
    #[arg(long)]
    data: Option<String>,
    /// The public door, e.g. 127.0.0.1:8080.
    #[arg(long)]
    listen: Option<String>,
    /// Health and metrics; loopback unless you know better.
    #[arg(long)]
    management: Option<String>,
    /// Any other setting, e.g. `--set http.grace=5s`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Given {
    /// What a command takes that has doors and places of its own.
    pub(crate) fn of(config: Option<PathBuf>, set: Vec<String>) -> Self {
        Self { config, data: None, listen: None, management: None, set }
    }

    /// The settings.
    pub(crate) fn load(self) -> Result<Settings, Error> {
        let mut sources = Sources::default()
            .file(self.config)
            .environment(std::env::vars_os())
            .flag("--data", "storage.data", self.data)
            .flag("--listen", "http.listen", self.listen)
            .flag("--management", "http.management", self.management);
        for set in self.set {
            let (key, value) = set.split_once('=').unwrap_or((&set, ""));
            sources = sources.flag("--set", key, Some(value.to_owned()));
        }
        Settings::load(sources)
    }
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Says whether the settings are valid, and everything that is wrong with them.
    Check {
        #[command(flatten)]
        given: Given,
    },
    /// Shows every setting as it counts; secrets as ***.
    Show {
        /// Also where each came from.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        given: Given,
    },
    /// Prints a settings file to start from.
    Sample,
}

/// What the command says.
pub(crate) fn run(command: Command) -> Result<String, Error> {
    match command {
        Command::Check { given } => {
            let settings = given.load()?;
            telemetry::filter(&settings)?;
            serve::proxies(&settings)?;
            serve::origins(&settings)?;
            mail::check(&settings)?;
            Ok("the settings are valid\n".to_owned())
        }
        Command::Show { origin, given } => given.load().map(|settings| settings.written(origin)),
        Command::Sample => Ok(Settings::sample()),
    }
}
