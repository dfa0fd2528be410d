//! Having a connection to the store, and what is to be done while there is none.

use std::{ops::ControlFlow, sync::PoisonError, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::{Job, Session, Shared, Trouble, Writer, alarmed, rolled_back, stream_is_lost};
use crate::{
    journal::{AppendError, Health},
    postgres::{connect::Connector, in_full},
};

/// A server that takes a connection and then says nothing is taken for one that is not there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A statement or the connection failed.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
    /// Nothing came back.
    #[error("the server does not answer")]
    Silent,
}

type Attempt = BoxFuture<'static, Result<Session, Failure>>;

impl Writer {
    /// Connects again, for as long as it takes; what comes meanwhile is refused as soon as one attempt has failed.
    /// Breaks when the journal is closed.
    pub(super) async fn regain(&mut self) -> ControlFlow<()> {
        let mut pauses = self.pauses();
        let mut attempt = attempt(&self.connector, pauses.next());
        let mut refusal = None;
        loop {
            let job = tokio::select! {
                biased;
                reached = &mut attempt => match self.take_session(reached).await {
                    Ok(()) => return ControlFlow::Continue(()),
                    Err(failure) => {
                        self.lose(&failure);
                        refusal = Some(AppendError::Unreachable { reason: in_full(&failure) });
                        attempt = self::attempt(&self.connector, pauses.next());
                        self.put_back.take()
                    }
                },
                job = self.jobs.recv(), if refusal.is_some() => match job {
                    Some(job) => Some(job),
                    None => return ControlFlow::Break(()),
                },
            };
            match (job, &refusal) {
                (Some(Job::Close(reply)), _) => {
                    self.put_back = Some(Job::Close(reply));
                    return ControlFlow::Break(());
                }
                // Nothing is under way.
                (Some(Job::Revoke(shards, reply)), _) => {
                    self.revoke(&shards);
                    reply.send(()).unwrap_or_default();
                }
                (Some(job), Some(refusal)) => job.refuse(refusal),
                _ => {}
            }
        }
    }

    /// Takes a new session, if the store is there.
    async fn take_session(&mut self, reached: Result<Session, Failure>) -> Result<(), Failure> {
        let session = reached?;
        let lost = self.examine(&session).await?;
        self.session = Some(session);
        match lost {
            Some(reason) => self.end(reason),
            None => self.set_health(Health::Writable),
        }
        Ok(())
    }

    /// Looks whether the store is still there, and has what it had.
    pub(super) async fn look_around(&mut self) {
        let Some(session) = self.session.take() else { return };
        match self.examine(&session).await {
            Ok(lost) => {
                self.session = Some(session);
                if let Some(reason) = lost {
                    self.end(reason);
                }
            }
            Err(error) => self.lose(&error),
        }
    }

    /// Stops the shards of which the store has lost something that was acknowledged; says why this process cannot go
    /// on with the stream, if it cannot.
    async fn examine(&mut self, session: &Session) -> Result<Option<String>, Failure> {
        let held: Vec<_> =
            self.shards.iter().enumerate().map(|(at, (shard, held))| (at, *shard, held.at)).collect();
        let end = self.known_end();
        let seen = in_time(&self.shared, session.look(&held, None)).await?;
        for (at, shard, known) in held {
            if let Some(error) = rolled_back(shard, known, seen.claim(at))
                && let Some(held) = self.shards.get_mut(&shard)
            {
                held.stopped.get_or_insert_with(|| alarmed(error));
            }
        }
        Ok(stream_is_lost(end, &seen))
    }

    /// What to answer when a statement failed that wrote nothing; the session goes if it is of no use.
    pub(super) fn failed(&mut self, error: &tokio_postgres::Error) -> AppendError {
        if Trouble::of(error) == Trouble::Lost {
            self.lose(error);
        } else {
            tracing::error!(reason = in_full(error), "the store refused a statement");
        }
        AppendError::Unreachable { reason: in_full(error) }
    }

    pub(super) fn lose(&mut self, error: &dyn std::error::Error) {
        self.session = None;
        let reason = in_full(error);
        tracing::warn!(reason, "the store is out of reach");
        if self.ended.is_none() {
            self.set_health(Health::Unreachable(reason));
        }
    }
}

fn attempt(connector: &Connector, pause: Duration) -> Attempt {
    Box::pin(reach(connector.clone(), pause))
}

/// One attempt, behind a pause.
pub(super) async fn reach(connector: Connector, pause: Duration) -> Result<Session, Failure> {
    sleep(pause).await;
    Ok(timeout(ANSWER_TIMEOUT, Session::open(&connector)).await.map_err(|_elapsed| Failure::Silent)??)
}

/// A store that takes this long over a statement is shown to be out of reach until it answers: whatever waits for an
/// append waits for that, too.
const HANGS_AFTER: Duration = Duration::from_secs(2);

/// Waits for an answer, however long it takes, and shows when that is long.
pub(super) async fn in_time<T>(shared: &Shared, answer: impl Future<Output = T>) -> T {
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        () = sleep(HANGS_AFTER) => {}
    }
    let before = shared.health.read().unwrap_or_else(PoisonError::into_inner).clone();
    if before != Health::Writable {
        return answer.await;
    }
    shared.set_health(Health::Unreachable("it does not answer".to_owned()));
    let answer = answer.await;
    shared.set_health(before);
    answer
}
