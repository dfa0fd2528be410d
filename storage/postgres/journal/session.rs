//! The writer's statements, prepared in its session.

use tokio_postgres::{
    Error, Statement,
    error::{Severity, SqlState},
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{
    super::{
        connect::{self, Connector},
        numbers::{large, small, unsigned},
    },
    batch::{Batch, Numbered},
    columns::Columns,
    seqs::Key,
};
use crate::{AddressMap, Epoch, Lsn, Offset, Seq, ShardId, journal::Claim};

const APPEND: &str = include_str!("append.sql");
/// Planned each time it is asked: that is seldom, and it goes over many shards at once.
const LOOK: &str = include_str!("look.sql");
/// Where the stream ends.
pub(super) const END: &str = "select lsn from log";
/// The last seq of entities; what was never written is not answered.
const LAST_SEQS: &str = "select given.place, last.seq
    from unnest($1::int4[], $2::text[], $3::int2[], $4::uuid[], $5::text[], $6::uuid[])
        as given (place, service, home_kind, home_id, entity_kind, entity_id)
    cross join lateral (
        select record.seq
        from record
        where record.service = given.service and record.home_kind = given.home_kind
            and record.home_id = given.home_id and record.entity_kind = given.entity_kind
            and record.entity_id = given.entity_id
        order by record.seq desc
        limit 1
    ) as last";

/// A connection with everything the writer says over it.
pub(super) struct Session {
    inner: connect::Session,
    append: Statement,
    last_seqs: Statement,
}

/// Where shards and the stream are, at one moment.
pub(super) struct Seen {
    /// The end of the stream.
    pub(super) stream: Option<Lsn>,
    /// By the place of the question.
    shards: AddressMap<usize, (Option<Claim>, Option<Lsn>)>,
}

impl Seen {
    /// Where a shard is; `None` if there is none.
    pub(super) fn claim(&self, place: usize) -> Option<Claim> {
        self.shards.get(&place)?.0
    }

    /// Where in the stream the batch's first record of it lies, if it is there.
    pub(super) fn first(&self, place: usize) -> Option<Lsn> {
        self.shards.get(&place)?.1
    }
}

impl Session {
    pub(super) async fn open(connector: &Connector) -> Result<Self, Error> {
        let inner = connector.connect().await?;
        let client = &inner.client;
        let (append, last_seqs) = tokio::try_join!(client.prepare(APPEND), client.prepare(LAST_SEQS))?;
        Ok(Self { inner, append, last_seqs })
    }

    /// Ends when the connection has.
    pub(super) async fn lost(&mut self) {
        // The one task of it; how it ended is logged by itself.
        drop(self.inner.link.join_next().await);
    }

    /// The end of the stream.
    pub(super) async fn end(&self) -> Result<Lsn, Error> {
        let row = self.inner.client.query_one(END, &[]).await?;
        Ok(Lsn(unsigned(row.try_get(0)?)))
    }

    /// Appends the open parts of a batch; answers the places of those that are written, and where in the stream.
    pub(super) async fn append(&self, batch: &Batch) -> Result<Vec<(usize, Lsn)>, Error> {
        let open = batch.open();
        let shards = Shards::of(&open);
        let counts: Vec<_> = open.iter().map(|(place, ..)| large(batch.records_of(*place))).collect();
        let mut columns = Columns::default();
        for Numbered { part, offset, record } in batch.open_records() {
            columns.push(*part, *offset, record);
        }
        let mut given: Vec<&(dyn ToSql + Sync)> = vec![
            &shards.places,
            &shards.services,
            &shards.numbers,
            &shards.epochs,
            &shards.tails,
            &counts,
            &batch.id,
        ];
        given.extend(columns.parameters());
        let rows = self.inner.client.query(&self.append, &given).await?;
        let mut written = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(first) = row.try_get::<_, Option<i64>>("first_lsn")? {
                written.push((place_of(row.try_get("place")?), Lsn(unsigned(first))));
            }
        }
        Ok(written)
    }

    /// Looks where shards are, and whether a batch is in them if one is given.
    pub(super) async fn look(
        &self,
        shards: &[(usize, ShardId, Claim)],
        batch: Option<Uuid>,
    ) -> Result<Seen, Error> {
        let shards = Shards::of(shards);
        let given: [(&(dyn ToSql + Sync), Type); 5] = [
            (&shards.places, Type::INT4_ARRAY),
            (&shards.services, Type::TEXT_ARRAY),
            (&shards.numbers, Type::INT4_ARRAY),
            (&shards.tails, Type::INT8_ARRAY),
            (&batch, Type::UUID),
        ];
        let mut seen = Seen { stream: None, shards: AddressMap::default() };
        for row in self.inner.client.query_typed(LOOK, &given).await? {
            seen.stream = Some(Lsn(unsigned(row.try_get("lsn")?)));
            let (epoch, tail): (Option<i64>, Option<i64>) = (row.try_get("epoch")?, row.try_get("tail")?);
            let claim = epoch.zip(tail).map(|(epoch, tail)| claim(epoch, tail));
            // There is a row of the stream even if no shard was asked for.
            if let Some(place) = row.try_get("place")? {
                let first: Option<i64> = row.try_get("first_lsn")?;
                seen.shards.insert(place_of(place), (claim, first.map(|first| Lsn(unsigned(first)))));
            }
        }
        Ok(seen)
    }

    /// The last seqs of entities, in their order; 0 of those that were never written.
    pub(super) async fn last_seqs(&self, keys: &[Key]) -> Result<Vec<Seq>, Error> {
        let places: Vec<_> = (0..keys.len()).map(small).collect();
        let services: Vec<_> = keys.iter().map(|(service, _)| service.as_str()).collect();
        let home_kinds: Vec<_> = keys.iter().map(|(_, entity)| entity.home.kind as i16).collect();
        let home_ids: Vec<_> = keys.iter().map(|(_, entity)| Uuid::from_u128(entity.home.id)).collect();
        let kinds: Vec<_> = keys.iter().map(|(_, entity)| entity.kind.as_str()).collect();
        let ids: Vec<_> = keys.iter().map(|(_, entity)| Uuid::from_u128(entity.id)).collect();
        let given: [&(dyn ToSql + Sync); 6] = [&places, &services, &home_kinds, &home_ids, &kinds, &ids];
        let mut seqs = vec![Seq(0); keys.len()];
        for row in self.inner.client.query(&self.last_seqs, &given).await? {
            if let Some(seq) = seqs.get_mut(place_of(row.try_get(0)?)) {
                *seq = Seq(unsigned(row.try_get(1)?));
            }
        }
        Ok(seqs)
    }
}

/// Shards as arrays.
struct Shards<'a> {
    places: Vec<i32>,
    services: Vec<&'a str>,
    numbers: Vec<i32>,
    epochs: Vec<i64>,
    tails: Vec<i64>,
}

impl<'a> Shards<'a> {
    fn of(shards: &'a [(usize, ShardId, Claim)]) -> Self {
        Self {
            places: shards.iter().map(|(place, ..)| small(*place)).collect(),
            services: shards.iter().map(|(_, shard, _)| shard.service.as_str()).collect(),
            numbers: shards.iter().map(|(_, shard, _)| i32::from(shard.number)).collect(),
            epochs: shards.iter().map(|(.., at)| large(at.epoch.0)).collect(),
            tails: shards.iter().map(|(.., at)| large(at.tail.0)).collect(),
        }
    }
}

fn claim(epoch: i64, tail: i64) -> Claim {
    Claim { epoch: Epoch(unsigned(epoch)), tail: Offset(unsigned(tail)) }
}

fn place_of(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a failed statement means for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Trouble {
    /// The connection is gone or of no use: nobody knows whether the statement was done.
    Lost,
    /// It met another transaction and was undone: the same statement may be done the next time.
    Race,
    /// An entity has a record of that seq already.
    Clash,
    /// The server has no room.
    Full,
    /// It was undone for a reason that will not pass by itself.
    Refused,
}

impl Trouble {
    pub(in crate::postgres) fn of(error: &Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Lost;
        };
        let is_fatal = matches!(refusal.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        let code = refusal.code();
        // Connection exceptions, shutdowns; and a primary that is one no more, which only a new session gets away from.
        let is_gone = ["08", "57P"].iter().any(|class| code.code().starts_with(class));
        let is_unclear =
            [SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN, SqlState::READ_ONLY_SQL_TRANSACTION].contains(code);
        if is_fatal || is_gone || is_unclear {
            Self::Lost
        } else if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code) {
            Self::Race
        } else if *code == SqlState::UNIQUE_VIOLATION && refusal.constraint() == Some("record_of_entity") {
            Self::Clash
        } else if *code == SqlState::DISK_FULL {
            Self::Full
        } else {
            Self::Refused
        }
    }
}
