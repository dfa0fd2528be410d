//! Logs: to standard error, for people or for machines.

use std::io::{IsTerminal, stderr};

use prognet_config::{Error, LogFormat, Settings};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging.
///
/// # Errors
/// When the filter is none.
pub(crate) fn start(settings: &Settings) -> Result<(), Error> {
    let logs = fmt().with_writer(stderr).with_env_filter(filter(settings)?);
    match settings.log.format {
        LogFormat::Human => logs.with_ansi(stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

/// What is logged.
///
/// # Errors
/// When the filter is none.
pub(crate) fn filter(settings: &Settings) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(&settings.log.filter).map_err(|_invalid| {
        settings.refuse("log.filter", "levels, of everything or by target, such as info,prognet_http=debug")
    })
}
