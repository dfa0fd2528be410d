//! A session that comes back by itself, and says at once when it is not there.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_postgres::{
    Client, Row, Statement,
    error::{Severity, SqlState},
    types::ToSql,
};

use super::super::{
    OpenError,
    connect::{Connector, Session},
    pauses::Pauses,
};
use crate::leases::Error;

/// What the server may take to say that it breaks a statement off.
const MARGIN: Duration = Duration::from_millis(500);

/// A node that finds the store again late has lost its lease meanwhile.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// See the module. Statements are run one at a time, each for a limited time.
pub(super) struct Line {
    connector: Connector,
    timeout: Duration,
    end: Mutex<End>,
}

/// A session, and the statements that it has prepared.
pub(super) struct Desk {
    pub(super) client: Client,
    /// Moves its bytes.
    _link: JoinSet<()>,
    known: HashMap<&'static str, Statement>,
}

type Given<'a> = [&'a (dyn ToSql + Sync)];

impl Desk {
    /// A statement, prepared once.
    pub(super) async fn prepared(&mut self, sql: &'static str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.known.get(sql) {
            return Ok(known.clone());
        }
        let prepared = self.client.prepare(sql).await?;
        self.known.insert(sql, prepared.clone());
        Ok(prepared)
    }

    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        given: &Given<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        let statement = self.prepared(sql).await?;
        self.client.execute(&statement, given).await
    }

    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        given: &Given<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepared(sql).await?;
        self.client.query(&statement, given).await
    }

    pub(super) async fn query_opt(
        &mut self,
        sql: &'static str,
        given: &Given<'_>,
    ) -> Result<Option<Row>, tokio_postgres::Error> {
        let statement = self.prepared(sql).await?;
        self.client.query_opt(&statement, given).await
    }
}

struct End {
    desk: Option<Desk>,
    pauses: Pauses,
    /// Before this moment no new attempt is made.
    try_at: Option<Instant>,
}

impl Line {
    pub(super) async fn open(connector: Connector, timeout: Duration) -> Result<Self, OpenError> {
        // Only tried here: a session is driven where it was opened, and that is to be where it is used.
        let tried = Box::pin(connect(&connector, timeout)).await;
        drop(tried.map_err(|error| connector.refused(error))?);
        let end = End { desk: None, pauses: Pauses::new(0), try_at: None };
        Ok(Self { connector, timeout, end: Mutex::new(end) })
    }

    /// Runs what a session is good for.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Desk) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let mut end = self.end.lock().await;
        let mut desk = self.desk(&mut end).await?;
        // Whoever gives up in the middle leaves a session of which nobody knows what it still does: it is let go.
        let outcome = timeout(self.timeout + MARGIN, work(&mut desk)).await;
        match outcome {
            Ok(Ok(answer)) => {
                end.desk = Some(desk);
                Ok(answer)
            }
            Ok(Err(error)) => {
                let error = Error::from(error);
                if let Error::Refused { .. } = error {
                    // A newer build may have added to the tables: what was prepared before fits no more.
                    desk.known.clear();
                    end.desk = Some(desk);
                }
                Err(error)
            }
            Err(elapsed) => Err(Error::Unreachable(Box::new(elapsed))),
        }
    }

    async fn desk(&self, end: &mut End) -> Result<Desk, Error> {
        if let Some(desk) = end.desk.take().filter(|desk| !desk.client.is_closed()) {
            return Ok(desk);
        }
        let now = Instant::now();
        if end.try_at.is_some_and(|at| now < at) {
            return Err(Error::Unreachable("the connection is down".into()));
        }
        end.try_at = Some(now + end.pauses.next().min(PAUSE_MAX));
        let connected = timeout(self.timeout + MARGIN, connect(&self.connector, self.timeout)).await;
        let connected = connected.map_err(|elapsed| Error::Unreachable(Box::new(elapsed)))?;
        let desk = connected.map_err(|error| Error::Unreachable(Box::new(error)))?;
        (end.pauses, end.try_at) = (Pauses::new(0), None);
        Ok(desk)
    }
}

async fn connect(connector: &Connector, timeout: Duration) -> Result<Desk, tokio_postgres::Error> {
    let Session { client, link } = connector.connect().await?;
    let limit = format!("set statement_timeout = {}", timeout.as_millis());
    client.batch_execute(&limit).await?;
    Ok(Desk { client, _link: link, known: HashMap::new() })
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Unreachable(Box::new(error));
        };
        let is_fatal = matches!(refusal.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        // Connection exceptions, shutdowns, statements that were broken off; and a primary that is one no more.
        let is_gone = ["08", "40", "57"].iter().any(|class| refusal.code().code().starts_with(class));
        let is_standby = *refusal.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
        if is_fatal || is_gone || is_standby {
            return Self::Unreachable(Box::new(error));
        }
        Self::Refused { what: refusal.message().to_owned() }
    }
}
