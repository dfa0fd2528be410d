//! Logs: to standard error, for people or for machines.

use prognet_config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging.
///
/// # Errors
/// When the filter is none.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter)?;
    let logs = fmt().with_writer(std::io::stderr).with_env_filter(filter);
    match log.format {
        LogFormat::Human => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}
