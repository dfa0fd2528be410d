//! `prognet migrate`: from a data directory to a PostgreSQL database, for good.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use prognet_config::Storage;
use prognet_storage::{
    keyring::MasterKey,
    migrate::{self, Error, Migration, Moved, PATIENCE, Phase, Progress},
    postgres::{self, OpenError},
};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    config::Given,
    report::{Output, report},
};

/// How often whoever waits is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// It was asked wrongly.
const USAGE: u8 = 2;
/// The two differ.
const DIFFERS: u8 = 3;
/// The database was out of reach: the next time it may work.
const AGAIN: u8 = 4;

/// Moves a node's data directory to a PostgreSQL database, for good; run again, it goes on where it was.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The node is stopped, and the database has nothing in it. In the end everything is read back and\n\
                  compared, and DIR is marked: no node starts on it any more.\n\n\
                  Exit codes: 0 everything is there; 1 it cannot be moved; 2 asked wrongly; 3 the two differ;\n\
                  4 the database was out of reach, run it again.\n\n\
                  Example:\n  PROGNET_STORAGE_URL=postgres://prognet:PASSWORD@db.example.org/prognet \\\n    \
                  prognet migrate --from ./data"
)]
pub(crate) struct Migrate {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The database; without it that of `storage.url`, whose environment variable keeps a password out of the list
    /// of processes.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Compares the two again and copies nothing; nodes may have gone on in the database.
    #[arg(long)]
    verify_only: bool,
    /// A settings file; `prognet.toml` is read if it is there.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Any setting of the database or the keys, e.g. `--set storage.url_ca_file=ca.pem`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Migrate {
    pub(crate) fn run(self) -> ExitCode {
        let Self { from, to, verify_only, config, set, output } = self;
        let loaded = Given::of(config, set).load();
        let done = loaded.map_err(anyhow::Error::from).and_then(|settings| {
            let Some(to) = to.or(settings.storage.url.as_ref().map(|url| url.expose().to_owned())) else {
                return Err(Usage.into());
            };
            let work = Work { from: &from, to, verify_only, settings: &settings.storage };
            let moved = work.done()?;
            crate::say(&match output {
                Output::Text => work.text(&moved),
                Output::Json => report(output, &json(&moved)),
            })
        });
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let (code, next) = code_of(&error);
                // Nobody is left to tell if standard error is closed.
                drop(writeln!(io::stderr(), "prognet: {error:#}{next}"));
                ExitCode::from(code)
            }
        }
    }
}

/// It was asked wrongly.
#[derive(Debug, thiserror::Error)]
#[error("no database is given: name it with --to, or as `storage.url` in the settings")]
struct Usage;

/// The exit code, and what to do.
fn code_of(error: &anyhow::Error) -> (u8, &'static str) {
    const RUN_AGAIN: &str = "\n  run the same command again: it goes on where this one ended";
    let is_out_of_reach =
        |error: &OpenError| matches!(error, OpenError::Unreachable { .. } | OpenError::Arrival(_));
    match (error.downcast_ref::<Error>(), error.downcast_ref::<OpenError>()) {
        (Some(Error::Differs(_)), _) => (DIFFERS, ""),
        (Some(error), _) if error.is_passing() => (AGAIN, RUN_AGAIN),
        (_, Some(error)) if is_out_of_reach(error) => (AGAIN, RUN_AGAIN),
        (None, None) if error.is::<Usage>() || error.is::<prognet_config::Error>() => (USAGE, ""),
        (Some(_) | None, Some(_) | None) => (1, ""),
    }
}

struct Work<'a> {
    from: &'a Path,
    to: String,
    verify_only: bool,
    settings: &'a Storage,
}

impl Work<'_> {
    fn done(&self) -> anyhow::Result<Moved> {
        // Before the database gets so much as tables.
        migrate::is_source(self.from)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let (roots, pool_max) = (self.settings.url_ca_file.clone(), self.settings.connections_max);
            let to = postgres::Settings { url: self.to.clone(), roots, pool_max };
            let to = postgres::Store::open(&to).await.context("failed to open the database")?;
            let master = self.settings.master_key.as_ref().map(|key| MasterKey::new(*key.expose()));
            let progress = Arc::new(watch::Sender::new(Progress::default()));
            // Beside it, for it reads files without a pause; it ends with this.
            let mut telling = JoinSet::new();
            telling.spawn(tell(progress.subscribe()));
            let (from, master) = (self.from, master.as_ref());
            let migration = Migration { from, to: &to, master, patience: PATIENCE, progress };
            let moved = if self.verify_only { migration.verify().await } else { migration.run().await };
            Ok(moved?)
        })
    }

    /// What is where now, and what to do next.
    fn text(&self, moved: &Moved) -> String {
        let Moved { to, services, records, resumed_behind, keys, erased, has_master_key } = moved;
        let from = self.from.display();
        let is = if self.verify_only { "is still" } else { "is" };
        let mut text = format!("everything of `{from}` {is} in {to}, byte by byte\n");
        for (service, found) in services {
            text.push_str(&format!(
                "  {service:<12} {:>10} records in {} shards\n",
                found.records, found.shards
            ));
        }
        text.push_str(&format!("  {:<12} {records:>10} records, {keys} keys, {erased} erased\n", "in all"));
        if self.verify_only {
            return text;
        }
        if resumed_behind.0 > 0 {
            text.push_str(&format!("an earlier run had copied the first {resumed_behind}\n"));
        }
        let key = if *has_master_key {
            format!(
                "`{from}/keyring/master.key`: leave `storage.data` as it is, or copy that file to its place elsewhere"
            )
        } else {
            "the `storage.master_key` of before".to_owned()
        };
        text.push_str(&format!(
            "now start nodes with `storage.url` of that database, under the same master key, {key}\n\
             read models and snapshots were not moved: the first node builds them again, which takes it a moment\n\
             nothing starts on `{from}` without that database any more; once the database has a backup, delete \
             `journal`, `tier` and `keyring/keys.log` there: they still have whoever is erased from now on\n"
        ));
        text
    }
}

fn json(moved: &Moved) -> serde_json::Value {
    let Moved { to, services, records, resumed_behind, keys, erased, has_master_key } = moved;
    let services: serde_json::Map<_, _> = services
        .iter()
        .map(|(service, found)| {
            (service.to_string(), json!({ "shards": found.shards, "records": found.records }))
        })
        .collect();
    json!({
        "to": to,
        "services": services,
        "records": records,
        "resumed_behind": resumed_behind.0,
        "keys": keys,
        "erased": erased,
        "has_master_key": has_master_key,
    })
}

/// Says how far it is: once a second, and whenever something else begins.
async fn tell(mut progress: watch::Receiver<Progress>) {
    let mut every = interval_at(Instant::now() + TOLD_EVERY, TOLD_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            begun = progress.wait_for(|now| told != Some(now.phase)) => if begun.is_err() { return },
        }
        let now = progress.borrow_and_update().clone();
        told = Some(now.phase);
        if writeln!(io::stderr(), "{}", line(&now)).is_err() {
            return;
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { phase, done, of, trouble } = progress;
    let what = match phase {
        Phase::Reading => "reading the data directory",
        Phase::Copying => "copying records",
        Phase::Keys => "copying keys",
        Phase::Comparing => "comparing records",
        Phase::Marking => "marking the data directory as moved",
    };
    let far = match of {
        Some(of) => format!(": {done} of {of}"),
        None if *done > 0 => format!(": {done}"),
        None => String::new(),
    };
    let waits = trouble.as_ref().map(|why| format!(", waiting for the database ({why})"));
    format!("{what}{far}{}", waits.unwrap_or_default())
}
