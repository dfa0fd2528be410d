//! A session that is made again when it is lost: for work that may be done twice, and that can wait a while.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::postgres::{
    StoreError,
    connect::{Connector, Session},
    in_full,
    journal::session::Trouble,
    pauses::Pauses,
};

/// A step of about a megabyte that takes longer is on a connection that leads nowhere.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store was out of reach for longer than may be.
    #[error("{server} is out of reach: {reason}")]
    Unreachable {
        /// Where it should be.
        server: String,
        /// What the last attempt met.
        reason: String,
    },
    /// It will be refused the next time as well.
    #[error("the database refused a statement")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Refused(Box::new(error))
    }
}

/// Whether a step may take any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limited {
    Yes,
    /// It reads everything.
    No,
}

type Told = Box<dyn Fn(Option<String>) + Send + Sync>;

/// See the module.
pub(super) struct Line {
    connector: Connector,
    /// How long the store may be out of reach.
    patience: Duration,
    session: Option<Session>,
    told: Told,
}

/// What an attempt met.
pub(super) enum Failure {
    Passing(String),
    Lasting(Box<dyn std::error::Error + Send + Sync>),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match Trouble::of(&error) {
            Trouble::Lost | Trouble::Race => Self::Passing(in_full(&error)),
            Trouble::Clash | Trouble::Full | Trouble::Refused => Self::Lasting(Box::new(error)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Session(error) => Self::Passing(in_full(&error)),
            StoreError::Statement(error) => error.into(),
        }
    }
}

impl Line {
    pub(super) fn new(connector: Connector, patience: Duration, told: Told) -> Self {
        Self { connector, patience, session: None, told }
    }

    /// Does what a session is good for, once for certain and maybe oftener.
    pub(super) async fn run<T>(
        &mut self,
        limited: Limited,
        mut work: impl AsyncFnMut(&mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        self.persist(async |line| line.attempt(limited, &mut work).await).await
    }

    /// The same, of what has sessions of its own.
    pub(super) async fn persist<T>(
        &mut self,
        mut attempt: impl AsyncFnMut(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let (mut pauses, began) = (Pauses::new(0), Instant::now());
        let mut is_waiting = false;
        loop {
            match attempt(self).await {
                Ok(done) => {
                    if is_waiting {
                        (self.told)(None);
                    }
                    return Ok(done);
                }
                Err(Failure::Lasting(error)) => return Err(Error::Refused(error)),
                Err(Failure::Passing(reason)) if began.elapsed() < self.patience => {
                    is_waiting = true;
                    (self.told)(Some(reason));
                    sleep(pauses.next()).await;
                }
                Err(Failure::Passing(reason)) => {
                    return Err(Error::Unreachable { server: self.connector.place(), reason });
                }
            }
        }
    }

    async fn attempt<T>(
        &mut self,
        limited: Limited,
        work: &mut impl AsyncFnMut(&mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        let silent = |_elapsed| Failure::Passing("the server does not answer".to_owned());
        let mut session = match self.session.take().filter(|session| !session.client.is_closed()) {
            Some(session) => session,
            None => timeout(STEP_TIMEOUT, self.connector.connect()).await.map_err(silent)??,
        };
        // Whoever gives up in the middle leaves a session of which nobody knows what it still does: it is let go.
        let done = match limited {
            Limited::Yes => timeout(STEP_TIMEOUT, work(&mut session.client)).await.map_err(silent)?,
            Limited::No => work(&mut session.client).await,
        }?;
        self.session = Some(session);
        Ok(done)
    }
}
