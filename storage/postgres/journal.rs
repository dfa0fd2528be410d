//! The journal in a PostgreSQL database, which several processes write at once, each to the shards that were granted to
//! it; what waits is appended in one statement and one round trip.
//!
//! ```text
//! append ──▶ queue ──▶ writer (a thread, a session of its own) ── append.sql ──▶ record, shard, log, stream
//! read, read_home, read_entity ── the pool ──▶ record        walk ──▶ the newest in memory, else stream and record
//!                         follower ── what others wrote ──▶ the newest in memory
//! ```
//!
//! **Who may write.** A shard is a row with its epoch and its tail; an append finds both as the writer left them or
//! writes nothing of that shard. So a writer that was overtaken is refused however late it comes, and the same append
//! sent twice is written once.
//!
//! **One order.** The order over all shards (`Lsn`) is the order of the commits: each append moves the one row of `log`,
//! and keeps it until it is durable. That makes appends of several processes wait for each other's commits, which costs
//! little as long as each of them carries what many wait for; it is what a cluster of nodes cannot go beyond.
//!
//! **When the answer is lost** nobody guesses. The writer connects again, for as long as it takes, and looks for the
//! batch at the place where its first record would lie. There: it is written. Not there, and the shard has not moved:
//! the same batch is sent again (should the first one still be on its way, only one of them finds the shard where it
//! was). Not there, and another epoch: fenced. Until it is known later groups wait; once it is, what comes while the
//! store is out of reach is refused at once.
//!
//! **When the store forgets** (it was restored, or an asynchronous standby took over), a shard is behind where this
//! process knows it to be. It then takes nothing until the node restarts, and the log says `store_rolled_back`.

mod batch;
pub(crate) mod columns;
mod follower;
pub(crate) mod read;
mod seqs;
pub(crate) mod session;
mod statistics;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::{
    batch::Queued,
    follower::Following,
    writer::{Owned, Reply, Writer},
};
use super::{OpenError, Store};
use crate::{
    EntityRef, Epoch, Home, Journal, Lsn, Name, Offset, ShardId,
    journal::{AppendError, Claim, Done, Group, Health, Limit, ReadError, Stored},
    keyring::Keyring,
};

/// Groups that may wait for the writer; the router's permits keep it far from full.
const QUEUE: usize = 64 * 1024;

/// The journal of a store, written by this process.
pub struct PostgresJournal {
    store: Store,
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// What writer and readers share.
struct Shared {
    keyring: OnceLock<Arc<Keyring>>,
    following: RwLock<Following>,
    /// There is more to follow.
    behind: Notify,
    /// This process has written past a size at which tables are looked at.
    grown: Notify,
    health: RwLock<Health>,
    durable: watch::Sender<Lsn>,
    is_closing: AtomicBool,
}

impl Shared {
    /// Of a stream that ends there.
    fn at(lsn: Lsn) -> Self {
        Self {
            keyring: OnceLock::new(),
            following: RwLock::new(Following::after(lsn)),
            behind: Notify::new(),
            grown: Notify::new(),
            health: RwLock::new(Health::Writable),
            durable: watch::Sender::new(lsn),
            is_closing: AtomicBool::new(false),
        }
    }

    fn set_health(&self, health: Health) {
        *self.health.write().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// What the writer is asked.
enum Job {
    Append(Queued),
    Claim(ShardId, oneshot::Sender<Result<Claim, AppendError>>),
    Grant(Owned, Reply),
    Revoke(Vec<ShardId>, oneshot::Sender<()>),
    Close(oneshot::Sender<Closed>),
}

impl Job {
    fn refuse(self, error: &AppendError) {
        match self {
            Self::Append(queued) => queued.refuse(error),
            Self::Claim(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::Grant(_, reply) => drop(reply.send(Err(error.clone()))),
            // Nothing of them is under way, and nothing will be.
            Self::Revoke(_, reply) => reply.send(()).unwrap_or_default(),
            Self::Close(reply) => drop(reply.send(Closed)),
        }
    }
}

/// The journal takes nothing more.
#[derive(Debug)]
struct Closed;

impl fmt::Debug for PostgresJournal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PostgresJournal").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl PostgresJournal {
    /// Opens the journal of a store; it may append to no shard yet.
    ///
    /// # Errors
    /// When the store is not reached, or the writer's thread does not start.
    pub async fn open(store: &Store) -> Result<Self, OpenError> {
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (told, opened) = oneshot::channel();
        let (connector, others) = (store.connector.clone(), store.connector.clone());
        let write = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(told.send(Err(OpenError::Thread(error)))),
            };
            runtime.block_on(async {
                match Writer::open(connector, waiting).await {
                    Ok((writer, shared)) => {
                        drop(told.send(Ok(Arc::clone(&shared))));
                        tokio::select! {
                            () = writer.run() => {}
                            // They end with the writer.
                            never = follower::follow(others.clone(), Arc::clone(&shared)) => match never {},
                            never = statistics::keep(others, shared) => match never {},
                        }
                    }
                    Err(error) => drop(told.send(Err(error))),
                }
            });
        };
        std::thread::Builder::new().name("journal".to_owned()).spawn(write).map_err(OpenError::Thread)?;
        let gone = |_gone| Err(OpenError::Thread(std::io::ErrorKind::BrokenPipe.into()));
        let shared = opened.await.unwrap_or_else(gone)?;
        Ok(Self { store: store.clone(), jobs, shared })
    }

    /// Lets this process append to shards that it owns under these epochs. Answers those that the store has under them,
    /// and where they end.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn grant(&self, shards: Vec<(ShardId, Epoch)>) -> Result<Vec<(ShardId, Claim)>, AppendError> {
        let (reply, granted) = oneshot::channel();
        drop(self.jobs.send(Job::Grant(shards, reply)).await);
        granted.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Takes shards back; returns once nothing of them is under way.
    pub async fn revoke(&self, shards: &[ShardId]) {
        let (reply, revoked) = oneshot::channel();
        drop(self.jobs.send(Job::Revoke(shards.to_vec(), reply)).await);
        // A writer that is gone has nothing under way.
        drop(revoked.await);
    }

    /// Another process has written up to here: it is read at once.
    pub fn heard_of(&self, lsn: Lsn) {
        self.shared.heard_of(lsn);
    }

    /// From now on the keyring is synced before a batch is sent, so that entities seal with
    /// [`Keyring::seal_ahead`] and new homes share a round trip. While it fails, groups are refused; so is what another
    /// process's key has overruled.
    pub fn sync_first(&self, keyring: Arc<Keyring>) {
        if self.shared.keyring.set(keyring).is_err() {
            tracing::warn!("the journal syncs another keyring already");
        }
    }
}

impl PostgresJournal {
    /// Reads a page, and what opens it: its homes' keys may be another process's making.
    async fn known(
        &self,
        page: impl Future<Output = Result<Vec<Arc<Stored>>, ReadError>>,
    ) -> Result<Vec<Arc<Stored>>, ReadError> {
        let page = page.await?;
        self.shared.learn(&page).await?;
        Ok(page)
    }
}

impl Journal for PostgresJournal {
    fn claim(&self, shard: ShardId) -> BoxFuture<'_, Result<Claim, AppendError>> {
        Box::pin(async move {
            let (reply, claimed) = oneshot::channel();
            drop(self.jobs.send(Job::Claim(shard, reply)).await);
            claimed.await.unwrap_or(Err(AppendError::Closed))
        })
    }

    fn append(&self, group: Group, done: Done) {
        match self.jobs.try_send(Job::Append(Queued { group, done })) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(job)) => job.refuse(&AppendError::Closed),
            Err(mpsc::error::TrySendError::Full(job)) => {
                job.refuse(&AppendError::Unreachable { reason: format!("{QUEUE} groups wait for it") });
            }
        }
    }

    fn read(
        &self,
        shard: ShardId,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        Box::pin(self.known(read::of_shard(&self.store, shard, after, limit)))
    }

    fn read_home(
        &self,
        service: Name,
        home: Home,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        Box::pin(self.known(read::of_home(&self.store, service, home, after, limit)))
    }

    fn read_entity(
        &self,
        service: Name,
        entity: EntityRef,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        Box::pin(self.known(read::of_entity(&self.store, service, entity, after, limit)))
    }

    fn walk(&self, after: Lsn, limit: Limit) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>> {
        Box::pin(async move {
            if after >= *self.shared.durable.borrow() {
                return Ok(Vec::new());
            }
            match self.shared.recent(after, limit) {
                Some(page) => Ok(page),
                None => self.known(read::of_stream(&self.store, after, limit)).await,
            }
        })
    }

    fn durable(&self) -> watch::Receiver<Lsn> {
        self.shared.durable.subscribe()
    }

    fn health(&self) -> Health {
        self.shared.health.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.is_closing.store(true, Ordering::Relaxed);
            let (reply, closed) = oneshot::channel();
            drop(self.jobs.send(Job::Close(reply)).await);
            drop(closed.await);
        })
    }
}
