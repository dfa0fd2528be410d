//! The writer's statements, prepared in its session.

use tokio_postgres::{
    Error, Statement,
    error::{Severity, SqlState},
    types::ToSql,
};
use uuid::Uuid;

use super::{
    super::{
        connect::{self, Connector},
        numbers::{large, small, unsigned},
    },
    batch::{Batch, Numbered},
    seqs::Key,
};
use crate::{AddressMap, Epoch, Lsn, Offset, Seq, ShardId, journal::Claim};

const APPEND: &str = include_str!("append.sql");
const LOOK: &str = include_str!("look.sql");
/// Goes on with the stream from now on: whoever did before is refused by its next append.
const TAKE_STREAM: &str = "update log set sequencer = $1 returning lsn";
/// Raises epochs from what they were seen at; a shard that somebody else has claimed meanwhile is not answered.
const RAISE: &str = "insert into shard (service, number, epoch, tail)
    select given.service, given.number, given.epoch + 1, 0
    from unnest($1::text[], $2::int4[], $3::int8[]) as given (service, number, epoch)
    order by given.service, given.number
    on conflict (service, number) do update set epoch = excluded.epoch where shard.epoch = excluded.epoch - 1
    returning service, number, epoch, tail";
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
    look: Statement,
    raise: Statement,
    last_seqs: Statement,
}

/// Where shards and the stream are, at one moment.
pub(super) struct Seen {
    /// The one that goes on with the stream, and its end.
    pub(super) stream: Option<(Uuid, Lsn)>,
    /// By the place of the question.
    shards: AddressMap<usize, (Option<Claim>, bool)>,
}

impl Seen {
    /// Where a shard is; `None` if there is none.
    pub(super) fn claim(&self, place: usize) -> Option<Claim> {
        self.shards.get(&place)?.0
    }

    /// Whether the batch is in it.
    pub(super) fn is_there(&self, place: usize) -> bool {
        self.shards.get(&place).is_some_and(|(_, is_there)| *is_there)
    }
}

impl Session {
    pub(super) async fn open(connector: &Connector) -> Result<Self, Error> {
        let inner = connector.connect().await?;
        let client = &inner.client;
        let (append, look, raise, last_seqs) = tokio::try_join!(
            client.prepare(APPEND),
            client.prepare(LOOK),
            client.prepare(RAISE),
            client.prepare(LAST_SEQS)
        )?;
        Ok(Self { inner, append, look, raise, last_seqs })
    }

    /// Ends when the connection has.
    pub(super) async fn lost(&mut self) {
        // The one task of it; how it ended is logged by itself.
        drop(self.inner.link.join_next().await);
    }

    pub(super) async fn take_stream(&self, sequencer: Uuid) -> Result<Lsn, Error> {
        let row = self.inner.client.query_one(TAKE_STREAM, &[&sequencer]).await?;
        Ok(Lsn(unsigned(row.try_get(0)?)))
    }

    /// Appends the open parts of a batch; answers the places of those that are written.
    pub(super) async fn append(&self, batch: &Batch, sequencer: Uuid, lsn: Lsn) -> Result<Vec<usize>, Error> {
        let open = batch.open();
        let shards = Shards::of(&open);
        let counts: Vec<_> = open.iter().map(|(place, ..)| large(batch.records_of(*place))).collect();
        let (lsn, columns) = (large(lsn.0), Columns::of(batch));
        let mut given: Vec<&(dyn ToSql + Sync)> = vec![
            &shards.places,
            &shards.services,
            &shards.numbers,
            &shards.epochs,
            &shards.tails,
            &counts,
            &sequencer,
            &lsn,
            &batch.id,
        ];
        given.extend(columns.parameters());
        let rows = self.inner.client.query(&self.append, &given).await?;
        let mut written = Vec::with_capacity(rows.len());
        for row in rows {
            if row.try_get("is_written")? {
                written.push(place_of(row.try_get("place")?));
            }
        }
        Ok(written)
    }

    /// Looks where shards are, and whether a batch is in them.
    pub(super) async fn look(&self, shards: &[(usize, ShardId, Claim)], batch: Uuid) -> Result<Seen, Error> {
        let shards = Shards::of(shards);
        let given: [&(dyn ToSql + Sync); 5] =
            [&shards.places, &shards.services, &shards.numbers, &shards.tails, &batch];
        let mut seen = Seen { stream: None, shards: AddressMap::default() };
        for row in self.inner.client.query(&self.look, &given).await? {
            seen.stream = Some((row.try_get("sequencer")?, Lsn(unsigned(row.try_get("lsn")?))));
            let (epoch, tail): (Option<i64>, Option<i64>) = (row.try_get("epoch")?, row.try_get("tail")?);
            let claim = epoch.zip(tail).map(|(epoch, tail)| claim(epoch, tail));
            // There is a row of the stream even if no shard was asked for.
            if let Some(place) = row.try_get("place")? {
                seen.shards.insert(place_of(place), (claim, row.try_get("is_there")?));
            }
        }
        Ok(seen)
    }

    /// Raises the epochs of shards from what they were seen at.
    pub(super) async fn raise(
        &self,
        shards: &[(ShardId, Epoch)],
    ) -> Result<AddressMap<ShardId, Claim>, Error> {
        let services: Vec<_> = shards.iter().map(|(shard, _)| shard.service.as_str()).collect();
        let numbers: Vec<_> = shards.iter().map(|(shard, _)| i32::from(shard.number)).collect();
        let epochs: Vec<_> = shards.iter().map(|(_, epoch)| large(epoch.0)).collect();
        let rows = self.inner.client.query(&self.raise, &[&services, &numbers, &epochs]).await?;
        let mut raised = AddressMap::default();
        for row in rows {
            let (service, number): (&str, i32) = (row.try_get(0)?, row.try_get(1)?);
            let is_it =
                |shard: &ShardId| shard.service.as_str() == service && i32::from(shard.number) == number;
            if let Some((shard, _)) = shards.iter().find(|(shard, _)| is_it(shard)) {
                raised.insert(*shard, claim(row.try_get(2)?, row.try_get(3)?));
            }
        }
        Ok(raised)
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

/// The columns of a batch's records, an array each, in the order of `append.sql`.
#[derive(Default)]
struct Columns<'a> {
    parts: Vec<i32>,
    offsets: Vec<i64>,
    seqs: Vec<i64>,
    at_ms: Vec<i64>,
    cause_offsets: Vec<Option<i64>>,
    versions: Vec<i32>,
    cause_numbers: Vec<Option<i32>>,
    kinds: Vec<i16>,
    home_kinds: Vec<i16>,
    home_ids: Vec<Uuid>,
    entity_ids: Vec<Uuid>,
    by_ids: Vec<Option<Uuid>>,
    traces: Vec<Option<Uuid>>,
    entity_kinds: Vec<&'a str>,
    names: Vec<&'a str>,
    cause_services: Vec<Option<&'a str>>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        for Numbered { part, offset, record } in batch.open_records() {
            columns.parts.push(small(*part));
            columns.offsets.push(large(offset.0));
            columns.seqs.push(large(record.seq.0));
            columns.at_ms.push(record.at_ms);
            let cause = record.caused_by.as_ref();
            columns.cause_offsets.push(cause.map(|cause| large(cause.offset.0)));
            columns.versions.push(i32::from(record.version));
            columns.cause_numbers.push(cause.map(|cause| i32::from(cause.shard.number)));
            columns.kinds.push(record.kind as i16);
            columns.home_kinds.push(record.entity.home.kind as i16);
            columns.home_ids.push(Uuid::from_u128(record.entity.home.id));
            columns.entity_ids.push(Uuid::from_u128(record.entity.id));
            columns.by_ids.push((record.by != 0).then(|| Uuid::from_u128(record.by)));
            columns.traces.push((record.trace != 0).then(|| Uuid::from_u128(record.trace)));
            columns.entity_kinds.push(record.entity.kind.as_str());
            columns.names.push(record.name.as_str());
            columns.cause_services.push(cause.map(|cause| cause.shard.service.as_str()));
            columns.bodies.push(&record.body);
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.parts,
            &self.offsets,
            &self.seqs,
            &self.at_ms,
            &self.cause_offsets,
            &self.versions,
            &self.cause_numbers,
            &self.kinds,
            &self.home_kinds,
            &self.home_ids,
            &self.entity_ids,
            &self.by_ids,
            &self.traces,
            &self.entity_kinds,
            &self.names,
            &self.cause_services,
            &self.bodies,
        ]
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
pub(super) enum Trouble {
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
    pub(super) fn of(error: &Error) -> Self {
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
