//! Moving what a node keeps in its data directory to a PostgreSQL database, for good.
//!
//! ```text
//! DIR (locked)                                     store
//!   read all ─▶ begin ─▶ copy ─▶ keys ─▶ compare all ─▶ DIR/moved ─▶ the store is whole
//! ```
//! Every record keeps its place (lsn, offset, seq), its epoch and its sealed bytes: what anybody has seen of a cursor,
//! a token or a head of the audit chain stays good. Nothing is opened or sealed again: the keys go along, wrapped by the
//! same master key. What can be rebuilt (read models, snapshots) is not copied.
//!
//! **Killed anywhere**, it is run again and goes on from where the stream in the store ends. Until the store is whole no
//! node starts on it, and from the mark in the directory on no node starts there: the mark comes first, so that never
//! both start.
//!
//! **One record is not the same:** a fence is no entity's, and its id is only its epoch, so that two shards of a service
//! may have the same. The store keeps entities' records apart by their seq; there the shard's number is in the id, too.

mod compare;
mod identity;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::yield_now};
use uuid::Uuid;

pub use self::compare::Finding;
use self::source::{Plan, Source};
use crate::{
    Lsn, Name, Offset, ShardId,
    embedded::OpenError,
    journal::{Limit, ReadError},
    keyring::{self, Export, MasterKey},
    postgres::{
        Store,
        arrival::{self, Arrival, Arrivals, State, Step},
    },
};

/// How long a database may be out of reach, before it ends and can be run again.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The source is read and checked.
    Reading,
    /// Records are copied.
    Copying,
    /// Keys are copied.
    Keys,
    /// Everything is read back and compared.
    Comparing,
    /// The source is marked, then the store.
    Marking,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Records of the phase that are done.
    pub done: u64,
    /// Records in all, once it is known.
    pub of: Option<u64>,
    /// Why it waits for the database.
    pub trouble: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { phase: Phase::Reading, done: 0, of: None, trouble: None }
    }
}

/// What of a service was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Service {
    /// Its shards that have records.
    pub shards: u64,
    /// Their records.
    pub records: u64,
}

/// What is in both, the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The database, without who uses it.
    pub to: String,
    /// By service.
    pub services: BTreeMap<Name, Service>,
    /// All records.
    pub records: u64,
    /// Where the copy of an earlier run ended, behind which this one went on.
    pub resumed_behind: Lsn,
    /// Keys of homes, and secrets.
    pub keys: usize,
    /// Homes whose key was destroyed.
    pub erased: usize,
    /// Whether the master key is in the source, or known to the operator alone.
    pub has_master_key: bool,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to move.
    #[error("there is no journal in `{0}`: give the data directory of a node with --from")]
    NoJournal(PathBuf),
    /// The journal is in use, or cannot be read.
    #[error("failed to read the journal in `{path}`")]
    Source {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The journal lacks something.
    #[error("the journal of the source is damaged: shard {shard} has no record {expected}, but {found}")]
    Gap {
        /// The shard.
        shard: ShardId,
        /// The offset that should come.
        expected: Offset,
        /// What comes.
        found: Offset,
    },
    /// A file of the source cannot be used.
    #[error("failed to use `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The keyring of the source cannot be read.
    #[error("failed to read the keyring in `{path}`")]
    Keyring {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: keyring::Error,
    },
    /// The keyring of the source is another's.
    #[error(
        "the keyring of the source has no key for {missing} of {homes} homes: nothing about them could be read"
    )]
    KeysMissing {
        /// Homes without a key.
        missing: usize,
        /// All homes.
        homes: usize,
    },
    /// The source was moved before.
    #[error("`{path}` was moved to {to} before: compare again with --verify-only")]
    AlreadyMoved {
        /// The source.
        path: PathBuf,
        /// Where to.
        to: String,
    },
    /// The store has all of the source, which yet is not marked.
    #[error(
        "{to} has everything of `{path}` already, and may have gone on since: never start a node on `{path}` again"
    )]
    AlreadyThere {
        /// The source.
        path: PathBuf,
        /// The store.
        to: String,
    },
    /// The store was in use.
    #[error("{to} is not empty, it has {}: give a database with nothing in it", there.join(", "))]
    NotEmpty {
        /// The store.
        to: String,
        /// What it has.
        there: Vec<String>,
    },
    /// The store holds another migration.
    #[error(
        "{to} holds the migration of another data directory ({found}): give a database with nothing in it"
    )]
    Other {
        /// The store.
        to: String,
        /// The id of the other.
        found: Uuid,
    },
    /// The store holds no migration of this source.
    #[error("{to} holds nothing of `{path}`: there is nothing to compare")]
    NotThere {
        /// The source.
        path: PathBuf,
        /// The store.
        to: String,
    },
    /// The store has not got all of it yet.
    #[error("{to} has {end} records of {of}: go on without --verify-only")]
    Unfinished {
        /// The store.
        to: String,
        /// Where the copy ends.
        end: Lsn,
        /// Where the source ends.
        of: Lsn,
    },
    /// The store is not where this migration left it.
    #[error("{to} is not as this migration left it: {why}. Give a database with nothing in it")]
    Overtaken {
        /// The store.
        to: String,
        /// In what way.
        why: String,
    },
    /// The store is out of reach, or refuses.
    #[error("failed to {what}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Whether it may work the next time.
        is_passing: bool,
    },
    /// What is in the store is not what is in the source.
    #[error("the database does not hold what the source holds:{}", listed(.0))]
    Differs(Vec<Finding>),
}

impl Error {
    /// Whether the same migration may work when it is run again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Store { is_passing: true, .. })
    }

    fn store(what: &'static str) -> impl FnOnce(arrival::Error) -> Self {
        move |error| {
            let is_passing = matches!(error, arrival::Error::Unreachable { .. });
            Self::Store { what, source: Box::new(error), is_passing }
        }
    }
}

fn listed(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n  {finding}")).collect()
}

/// Says why a directory cannot be moved, as far as a look at it alone tells: there is no journal, or a node runs on it.
///
/// # Errors
/// The same as [`Migration::run`].
pub fn is_source(from: &Path) -> Result<(), Error> {
    Source::take(from).map(drop)
}

/// What is to be moved, and where.
#[derive(Debug)]
pub struct Migration<'a> {
    /// The data directory.
    pub from: &'a Path,
    /// The database.
    pub to: &'a Store,
    /// The master key of the settings, if there is one.
    pub master: Option<&'a MasterKey>,
    /// How long the database may be out of reach.
    pub patience: Duration,
    /// Hears how far it has come.
    pub progress: Arc<watch::Sender<Progress>>,
}

impl Migration<'_> {
    /// Moves everything, or goes on with it.
    ///
    /// # Errors
    /// When it may not begin, or does not get through; the source then goes on as it was, unless it is marked.
    pub async fn run(&self) -> Result<Moved, Error> {
        let source = Source::take(self.from)?;
        let mut target = self.target();
        let id = self.may_run(&source, &mut target).await?;
        let (plan, export) = self.read(&source).await?;
        let id = match id {
            Some(id) => id,
            None => self.begin(&source, &mut target).await?,
        };
        let resumed_behind = self.copy(&source, &plan, &mut target, id).await?;
        self.keys(&export, &mut target).await?;
        self.compare_all(&source, &plan, &export, &mut target, State::Copying).await?;
        self.mark(&source, &mut target, id).await?;
        Ok(self.moved(&plan, &export, resumed_behind))
    }

    /// Compares a store with its source again; nodes may have gone on in it.
    ///
    /// # Errors
    /// When the store holds no migration of the source, or something differs.
    pub async fn verify(&self) -> Result<Moved, Error> {
        let source = Source::take(self.from)?;
        let mut target = self.target();
        let found = target.arrival().await.map_err(Error::store("read the state of the database"))?;
        let state = match (found, source.id()?) {
            (Some(Arrival { source: found, state }), Some(id)) if found == id => state,
            (Some(Arrival { source: found, .. }), _) => {
                return Err(Error::Other { to: self.to.place(), found });
            }
            (None, _) => return Err(Error::NotThere { path: self.from.to_owned(), to: self.to.place() }),
        };
        let (plan, export) = self.read(&source).await?;
        let end = target.end().await.map_err(Error::store("read where the copy ends"))?;
        if state == State::Copying && end < plan.last {
            return Err(Error::Unfinished { to: self.to.place(), end, of: plan.last });
        }
        self.compare_all(&source, &plan, &export, &mut target, state).await?;
        Ok(self.moved(&plan, &export, plan.last))
    }

    fn target(&self) -> Arrivals {
        let progress = Arc::clone(&self.progress);
        Arrivals::new(self.to, self.patience, move |trouble| {
            progress.send_modify(|progress| progress.trouble = trouble);
        })
    }

    /// The migration to go on with; none if a new one may begin.
    async fn may_run(&self, source: &Source, target: &mut Arrivals) -> Result<Option<Uuid>, Error> {
        let found = target.arrival().await.map_err(Error::store("read the state of the database"))?;
        let (path, to) = (self.from.to_owned(), self.to.place());
        let id = source.id()?;
        let moved_to = source.moved_to()?;
        // It was killed between the two marks, unless it was moved to another one since it began here.
        let is_elsewhere = moved_to.as_ref().is_some_and(|moved_to| *moved_to != to);
        match (moved_to, found) {
            (_, Some(Arrival { source, state: State::Copying })) if Some(source) == id && !is_elsewhere => {
                Ok(id)
            }
            (Some(to), _) => Err(Error::AlreadyMoved { path, to }),
            (None, Some(Arrival { source, .. })) if Some(source) == id => {
                Err(Error::AlreadyThere { path, to })
            }
            (None, Some(Arrival { source: found, .. })) => Err(Error::Other { to, found }),
            (None, None) => Ok(None),
        }
    }

    /// Everything that can be known before the store is touched.
    async fn read(&self, source: &Source) -> Result<(Plan, Export), Error> {
        self.phase(Phase::Reading, None).await;
        let plan = source.plan(|done| self.done(done))?;
        let export = source.keyring()?;
        if let Some(master) = self.master {
            export.is_wrapped_by(master).map_err(source.keyring_failed())?;
        }
        let missing = plan.homes.iter().filter(|home| !export.knows(home)).count();
        if missing > 0 {
            return Err(Error::KeysMissing { missing, homes: plan.homes.len() });
        }
        Ok((plan, export))
    }

    /// Marks an empty store as this source's.
    async fn begin(&self, source: &Source, target: &mut Arrivals) -> Result<Uuid, Error> {
        let there = target.there().await.map_err(Error::store("look what is in the database"))?;
        if !there.is_empty() {
            return Err(Error::NotEmpty { to: self.to.place(), there });
        }
        let id = source.begin()?;
        self.stepped(target.begin(id).await.map_err(Error::store("begin in the database"))?)?;
        Ok(id)
    }

    /// Copies the records that are missing; answers where the copy of an earlier run ended.
    async fn copy(
        &self,
        source: &Source,
        plan: &Plan,
        target: &mut Arrivals,
        id: Uuid,
    ) -> Result<Lsn, Error> {
        self.phase(Phase::Copying, Some(plan.records)).await;
        let begun_behind = target.end().await.map_err(Error::store("read where the copy ends"))?;
        if begun_behind > plan.last {
            let why = format!("its stream ends at {begun_behind}, the source at {}", plan.last);
            return Err(Error::Overtaken { to: self.to.place(), why });
        }
        let mut records = source.records()?;
        loop {
            let mut page = records.page(Limit::default())?;
            let Some(last) = page.last().map(|stored| stored.lsn) else { break };
            page.retain(|stored| stored.lsn > begun_behind);
            self.stepped(target.append(id, &page).await.map_err(Error::store("copy records"))?)?;
            self.done(last.0);
            yield_now().await;
        }
        target.raise(plan.epoch).await.map_err(Error::store("raise the epochs"))?;
        Ok(begun_behind)
    }

    /// Adds the keys that are missing, and destroys those that were destroyed since an earlier run.
    async fn keys(&self, export: &Export, target: &mut Arrivals) -> Result<(), Error> {
        self.phase(Phase::Keys, None).await;
        self.stepped(target.keys(export).await.map_err(Error::store("copy the keys"))?)
    }

    async fn compare_all(
        &self,
        source: &Source,
        plan: &Plan,
        export: &Export,
        target: &mut Arrivals,
        state: State,
    ) -> Result<(), Error> {
        self.phase(Phase::Comparing, Some(plan.records)).await;
        let findings = compare::all(source, plan, export, target, state, |done| self.done(done)).await?;
        if findings.is_empty() { Ok(()) } else { Err(Error::Differs(findings)) }
    }

    /// First the source, then the store: never may nodes start on both.
    async fn mark(&self, source: &Source, target: &mut Arrivals, id: Uuid) -> Result<(), Error> {
        self.phase(Phase::Marking, None).await;
        source.mark(&self.to.place())?;
        yield_now().await;
        self.stepped(target.finish(id).await.map_err(Error::store("mark the database as whole"))?)
    }

    fn moved(&self, plan: &Plan, export: &Export, resumed_behind: Lsn) -> Moved {
        Moved {
            to: self.to.place(),
            services: plan.services(),
            records: plan.records,
            resumed_behind,
            keys: export.keys(),
            erased: export.erased(),
            has_master_key: export.has_master_key(),
        }
    }

    fn stepped(&self, step: Step) -> Result<(), Error> {
        match step {
            Step::Done => Ok(()),
            Step::Refused(why) => Err(Error::Overtaken { to: self.to.place(), why }),
        }
    }

    /// Begins a phase; whoever looks on sees each, however short it is.
    async fn phase(&self, phase: Phase, of: Option<u64>) {
        self.progress.send_modify(|progress| *progress = Progress { phase, done: 0, of, trouble: None });
        yield_now().await;
    }

    fn done(&self, done: u64) {
        self.progress.send_modify(|progress| progress.done = done);
    }
}

/// What a page of the store says if it cannot be read.
fn unreadable(error: &ReadError) -> String {
    match error {
        ReadError::Engine { position, source } => format!("{position}: {source}"),
        ReadError::Damaged { position, what } => format!("{position}: {what}"),
    }
}
