//! Storage in a PostgreSQL database, for many nodes: one store that all of them write to and read from.
//!
//! ```text
//! Store ── a pool for reads and rows ──▶ PostgreSQL ◀── one session of its own ── the journal's writer
//! ```
//!
//! Nothing here relies on being the only writer: what makes a second one harmless is the epoch of the shard, checked
//! in the statement that appends (`journal/append.sql`). Only SQL is used that CockroachDB and YugabyteDB document as
//! well, though nobody has run it there: no `listen`, no advisory locks, no extensions, no sequences for order, and
//! every collation is `"C"`, which is the order of bytes and no library's to change.
//!
//! The server must be PostgreSQL 13 or newer, hold its text as UTF8, and be given time to say that a commit is on the
//! disk: sessions here run with `synchronous_commit = on`, or stronger where the server has it so.

pub(crate) mod arrival;
mod connect;
mod journal;
pub(crate) mod keys;
mod leases;
mod numbers;
mod pauses;
mod restored;
mod schema;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tier;
mod versions;

use std::{fmt, io, time::Duration};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};

use self::connect::{Connector, Session, for_reading};
pub use self::{
    connect::{OpenError, Settings},
    journal::PostgresJournal,
    leases::PostgresLeases,
    restored::{NotRestored, Restored},
    schema::SchemaStep,
    tier::PostgresTier,
    versions::{Finalized, Member, Versions, VersionsError},
};

/// A session of the pool, with statements kept by their text (`prepare_cached`).
pub(crate) type Client = deadpool_postgres::Client;

/// How long a caller waits for a session, new or given back: a request's own deadline is near it.
const SESSION_WAIT: Duration = Duration::from_secs(5);

/// A database whose schema is as this build wants it; clones share one pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    connector: Connector,
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Store").field("server", &self.connector.to_string()).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects, checks the server's settings, and brings the schema up to date.
    ///
    /// # Errors
    /// When the server is not reached, refuses the user, has settings that would lose what is acknowledged, or has a
    /// schema of a newer build.
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        let (connector, mut session) = reach(settings).await?;
        schema::bring_up_to_date(&mut session.client).await.map_err(|error| connector.not_migrated(error))?;
        Self::through(connector, settings)
    }

    /// The same with the schema as it is, which may be of an earlier build: for who may yet refuse to do anything.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_unchanged(settings: &Settings) -> Result<Self, OpenError> {
        let (connector, session) = reach(settings).await?;
        schema::is_known(&session.client).await.map_err(|error| connector.not_migrated(error))?;
        Self::through(connector, settings)
    }

    fn through(connector: Connector, settings: &Settings) -> Result<Self, OpenError> {
        let pool = pool(&connector, settings.pool_max)?;
        Ok(Self { pool, connector })
    }

    /// A session of the pool.
    pub(crate) async fn client(&self) -> Result<Client, StoreError> {
        Ok(self.pool.get().await?)
    }
}

/// A first session, with a server that can be worked with.
async fn reach(settings: &Settings) -> Result<(Connector, Session), OpenError> {
    let connector = Connector::new(settings)?;
    let session = connector.connect().await.map_err(|error| connector.refused(error))?;
    connector.check_server(&session.client).await?;
    Ok((connector, session))
}

/// Sessions that may be broken off when they take too long: what they do can be done again.
fn pool(connector: &Connector, sessions_max: usize) -> Result<Pool, OpenError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(connector.config(), connector.tls(), recycling);
    let prepare = Hook::async_fn(|client, _metrics| {
        Box::pin(async move { for_reading(client).await.map_err(HookError::Backend) })
    });
    let pool = Pool::builder(manager)
        .max_size(sessions_max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(SESSION_WAIT))
        .create_timeout(Some(SESSION_WAIT))
        .recycle_timeout(Some(SESSION_WAIT))
        .post_create(prepare);
    pool.build().map_err(|error| OpenError::Pool(error.to_string()))
}

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// No session could be had.
    #[error("no session of the database could be had")]
    Session(#[from] PoolError),
    /// A statement failed.
    #[error("the database refused or broke off a statement")]
    Statement(#[from] tokio_postgres::Error),
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// An error with its causes: the database's own words are in them.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
