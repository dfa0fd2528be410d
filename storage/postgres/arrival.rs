//! The receiving end of a migration: a store that nobody else writes, filled in the order of the source's log.
//!
//! ```text
//! begin ─▶ append, append, ... ─▶ raise ─▶ (keys, comparing) ─▶ finish
//! ```
//! Every step is a transaction that finds the store as the step before left it or changes nothing, and finds out by
//! itself that it was done before: so each may be tried again when its answer was lost, and a migration that was killed
//! goes on from what the store says. Rows are locked as everywhere: shards in the order of their keys, then `log`.

mod batch;
mod line;

use std::{collections::HashMap, time::Duration};

use tokio_postgres::{Client, Transaction, types::ToSql};
use uuid::Uuid;

use self::batch::Batch;
pub(crate) use self::line::Error;
use self::line::{Failure, Limited, Line};
use super::{
    OpenError, Store, StoreError,
    journal::read::{OF_STREAM, Page, parsed},
    keys,
    numbers::{large, unsigned},
};
use crate::{
    Epoch, Lsn, Name, Offset, ShardId,
    journal::{Claim, Limit, Stored},
    keyring::{
        self, Export,
        record::{Kept, Subject},
    },
};

const ARRIVAL: &str = "select source, state from arrival";
/// What a store has that is not new.
const THERE: &str = "
    select found.name
    from (values
        ('records', exists (select 1 from record)),
        ('keys', exists (select 1 from key)),
        ('shards', exists (select 1 from shard)),
        ('a cluster', exists (select 1 from cluster_meta) or exists (select 1 from node)),
        ('read models', exists (select 1 from model_row) or exists (select 1 from model_position)),
        ('snapshots', exists (select 1 from snapshot)),
        ('a stream', exists (select 1 from stream) or exists (select 1 from log where lsn <> 0))
    ) as found (name, is_there)
    where found.is_there";
const BEGIN: &str =
    "insert into arrival (source, state) values ($1, 'copying') on conflict (is_only) do nothing";
const FINISH: &str =
    "update arrival set state = 'whole', ended = coalesce(ended, now()) where source = $1 returning state";
const END: &str = "select lsn from log";
/// Above what the source's last owner wrote under: whoever claims a shard goes on from there.
const RAISE: &str = "
    with held as (select service, number from shard order by service, number for update)
    update shard set epoch = greatest(shard.epoch, $1) from held
    where shard.service = held.service and shard.number = held.number";
const SHARDS: &str = "select service, number, epoch, tail from shard";
/// All records, and those up to where each shard of the source ends.
const COUNTS: &str = "
    select record.service, record.number, count(*), count(*) filter (where record.off <= given.tail)
    from record
    left join unnest($1::text[], $2::int4[], $3::int8[]) as given (service, number, tail)
        on given.service = record.service and given.number = record.number
    group by record.service, record.number";

/// How far a migration into a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Something may be missing.
    Copying,
    /// Everything is there, and nodes may have gone on since.
    Whole,
}

/// The source of what is in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) source: Uuid,
    pub(crate) state: State,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Done,
    /// Somebody else has written, or it is another migration's.
    Refused(String),
}

/// See the module.
pub(crate) struct Arrivals {
    store: Store,
    line: Line,
}

impl Arrivals {
    /// Of a store, which may be out of reach for so long; `told` hears why it waits, and when it no longer does.
    pub(crate) fn new(
        store: &Store,
        patience: Duration,
        told: impl Fn(Option<String>) + Send + Sync + 'static,
    ) -> Self {
        Self { store: store.clone(), line: Line::new(store.connector.clone(), patience, Box::new(told)) }
    }

    /// Whose migration the store holds, if any.
    pub(crate) async fn arrival(&mut self) -> Result<Option<Arrival>, Error> {
        let row = self.line.run(Limited::Yes, async |client| client.query_opt(ARRIVAL, &[]).await).await?;
        row.map(|row| {
            let state = match row.try_get(1)? {
                "whole" => State::Whole,
                _ => State::Copying,
            };
            Ok(Arrival { source: row.try_get(0)?, state })
        })
        .transpose()
    }

    /// What is in the store, in words; nothing if it is new.
    pub(crate) async fn there(&mut self) -> Result<Vec<String>, Error> {
        let rows = self.line.run(Limited::Yes, async |client| client.query(THERE, &[]).await).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Marks an empty store as one that a source is copied to.
    pub(crate) async fn begin(&mut self, source: Uuid) -> Result<Step, Error> {
        let begun = self.line.run(Limited::Yes, async |client| {
            let transaction = client.transaction().await?;
            transaction.execute(BEGIN, &[&source]).await?;
            let row = transaction.query_one(ARRIVAL, &[]).await?;
            if row.try_get::<_, Uuid>(0)? != source {
                return Ok(Step::Refused("another migration has begun".to_owned()));
            }
            transaction.commit().await?;
            Ok(Step::Done)
        });
        begun.await
    }

    /// Where the stream ends.
    pub(crate) async fn end(&mut self) -> Result<Lsn, Error> {
        let row = self.line.run(Limited::Yes, async |client| client.query_one(END, &[]).await).await?;
        Ok(Lsn(unsigned(row.try_get(0)?)))
    }

    /// Appends records that follow each other, and those that are there already; all or nothing.
    pub(crate) async fn append(&mut self, source: Uuid, records: &[Stored]) -> Result<Step, Error> {
        let Some(batch) = Batch::of(source, records) else { return Ok(Step::Done) };
        self.line.run(Limited::Yes, async |client| append(client, &batch).await).await
    }

    /// Adds keys that are missing, and destroys what is destroyed there.
    pub(crate) async fn keys(&mut self, export: &Export) -> Result<Step, Error> {
        let store = self.store.clone();
        let restored = self.line.persist(async |_| match export.restore_to(&store).await {
            Ok(()) => Ok(Step::Done),
            Err(keyring::Error::OtherKeys) => Ok(Step::Refused("it has keys of another keyring".to_owned())),
            Err(error) => Err(failure(error)),
        });
        restored.await
    }

    /// All keys of the store.
    pub(crate) async fn kept(&mut self) -> Result<HashMap<Subject, Kept>, Error> {
        let store = self.store.clone();
        self.line.persist(async |_| Ok(keys::read(&store).await.map_err(failure)?.0)).await
    }

    /// Raises all shards to an epoch.
    pub(crate) async fn raise(&mut self, to: Epoch) -> Result<(), Error> {
        let epoch = large(to.0);
        self.line.run(Limited::Yes, async |client| client.execute(RAISE, &[&epoch]).await).await?;
        Ok(())
    }

    /// Says that everything is there: nodes may start on it.
    pub(crate) async fn finish(&mut self, source: Uuid) -> Result<Step, Error> {
        let row = self.line.run(Limited::Yes, async |client| client.query_opt(FINISH, &[&source]).await);
        Ok(match row.await? {
            Some(_) => Step::Done,
            None => Step::Refused("it is marked as another migration's".to_owned()),
        })
    }

    /// The shards, and where they are.
    pub(crate) async fn shards(&mut self) -> Result<Vec<(Option<ShardId>, Claim)>, Error> {
        let rows = self.line.run(Limited::Yes, async |client| client.query(SHARDS, &[]).await).await?;
        let shard = |row: &tokio_postgres::Row| {
            let (epoch, tail) = (Epoch(unsigned(row.try_get(2)?)), Offset(unsigned(row.try_get(3)?)));
            Ok((shard_of(row.try_get(0)?, row.try_get(1)?), Claim { epoch, tail }))
        };
        rows.iter().map(shard).collect()
    }

    /// How many records each shard has, and how many of them up to these tails. Reads all of them.
    pub(crate) async fn counts(
        &mut self,
        tails: &[(ShardId, Offset)],
    ) -> Result<Vec<(Option<ShardId>, u64, u64)>, Error> {
        let services: Vec<_> = tails.iter().map(|(shard, _)| shard.service.as_str()).collect();
        let numbers: Vec<_> = tails.iter().map(|(shard, _)| i32::from(shard.number)).collect();
        let tails: Vec<_> = tails.iter().map(|(_, tail)| large(tail.0)).collect();
        let given: [&(dyn ToSql + Sync); 3] = [&services, &numbers, &tails];
        let rows = self.line.run(Limited::No, async |client| client.query(COUNTS, &given).await).await?;
        let count = |row: &tokio_postgres::Row| {
            let shard = shard_of(row.try_get(0)?, row.try_get(1)?);
            Ok((shard, unsigned(row.try_get(2)?), unsigned(row.try_get(3)?)))
        };
        rows.iter().map(count).collect()
    }

    /// Records after a place, as nodes read them. The inner error is of what was read.
    pub(crate) async fn page(&mut self, after: Lsn, limit: Limit) -> Result<Page, Error> {
        let (records, bytes) = (large(limit.records as u64), large(limit.bytes as u64));
        let given: [&(dyn ToSql + Sync); 3] = [&records, &bytes, &large(after.0)];
        let rows = self.line.run(Limited::Yes, async |client| client.query(OF_STREAM, &given).await).await?;
        Ok(parsed(&rows, || format!("the stream after {after}")))
    }
}

impl Store {
    /// Whether it holds a migration that is not finished: no node may start on it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn is_arriving(&self) -> Result<bool, OpenError> {
        let arrival = Arrivals::new(self, Duration::ZERO, |_| {}).arrival().await;
        let arrival = arrival.map_err(|error| OpenError::Arrival(Box::new(error)))?;
        Ok(arrival.is_some_and(|arrival| arrival.state == State::Copying))
    }

    /// Where it is, without who uses it: for people, and for marks that outlast the settings.
    #[must_use]
    pub fn place(&self) -> String {
        self.connector.place()
    }
}

/// What a keyring met in the store.
fn failure(error: keyring::Error) -> Failure {
    match error {
        keyring::Error::Store(error) => match error.downcast::<StoreError>() {
            Ok(error) => Failure::from(*error),
            Err(error) => Failure::Lasting(error),
        },
        error => Failure::Lasting(Box::new(error)),
    }
}

fn shard_of(service: &str, number: i32) -> Option<ShardId> {
    Some(ShardId { service: Name::parse(service)?, number: u16::try_from(number).ok()? })
}

/// One batch in one transaction, which the last statement makes or breaks.
async fn append(client: &mut Client, batch: &Batch<'_>) -> Result<Step, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let end: i64 = transaction.query_one(END, &[]).await?.try_get(0)?;
    if unsigned(end) >= batch.last.0 {
        return Ok(Step::Done);
    }
    if let Some(refused) = write(&transaction, batch).await? {
        return Ok(Step::Refused(refused));
    }
    transaction.commit().await?;
    Ok(Step::Done)
}

/// Why a batch does not follow what is there, if it does not.
async fn write(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
) -> Result<Option<String>, tokio_postgres::Error> {
    batch.insert_shards(transaction).await?;
    if !batch.move_shards(transaction).await? {
        return Ok(Some("its shards do not end where the source goes on".to_owned()));
    }
    batch.insert(transaction).await?;
    if !batch.move_log(transaction).await? {
        return Ok(Some("its stream does not end where the source goes on".to_owned()));
    }
    Ok(None)
}
