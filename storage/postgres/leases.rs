//! The tables of a cluster in the store. Each statement is one transaction and takes its locks in the order of
//! `storage/leases.rs`: what a later part needs is counted first, which makes PostgreSQL lock all of it.
//!
//! ```text
//! heartbeat ── a session of its own, 1 s ──▶ node
//! reading   ── another one, 2 s ──▶ node, shard, cluster_meta
//! changes   ── another one, 2 s ──▶ node, shard, cluster_meta
//! ```
//! So a reading may be older than a change that was answered before it.

mod line;
mod rows;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use aws_lc_rs::rand;
use futures_util::future::BoxFuture;
use tokio_postgres::{IsolationLevel, types::ToSql};
use uuid::Uuid;

use self::{
    line::{Desk, Line},
    rows::{Keys, meta, node, shard, word_of},
};
use super::{
    OpenError, Store,
    numbers::{large, unsigned},
};
use crate::{
    Epoch, Name, ShardId,
    leases::{
        Error, Incarnation, Leases, Meta, Move, NodeId, Profile, Renewal, ShardRow, Snapshot, Status,
        StoreTime,
    },
};

/// A renewal that takes longer comes too late for the next one.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);
/// Whatever else takes longer is asked again.
const TIMEOUT: Duration = Duration::from_secs(2);

const META: &str = "select generation, shards, view, map, finalized, restored, (extract(epoch from view_at) * 1000)::int8 as view_at_ms, \
    (extract(epoch from clock_timestamp()) * 1000)::int8 as now_ms from cluster_meta";
const NODES: &str = "select *, (extract(epoch from lease_until) * 1000)::int8 as lease_until_ms from node";
const SHARDS: &str = "select * from shard where changed > $1";
/// The cluster's row is locked first here: rows that are not there yet, nobody else waits for.
const MISSING: &str = "insert into shard (service, number, epoch, tail, changed)
    select service, number, 0, 0, map + 1
    from unnest($1::text[]) as given (service)
    cross join generate_series(0, $2::int4 - 1) as numbers (number)
    cross join cluster_meta
    on conflict (service, number) do nothing";
const JOIN: &str = "with raised as (
        update cluster_meta set view = view + 1, view_at = clock_timestamp() where view = $1 returning view
    )
    insert into node (
        node, incarnation, status, lease_until, address, directory, roles, weight, build_major, build_minor,
        build_patch, wire_min, wire_max
    )
    select $2, raised.view, 'joining', clock_timestamp() + $3::int8 * interval '1 millisecond', $4, $5, $6, $7, $8, $9,
        $10, $11, $12
    from raised
    returning incarnation";
/// Locks exactly the row that [`DECLARE_DOWN`] locks.
const RENEW: &str = "update node
    set lease_until = clock_timestamp() + $3::int8 * interval '1 millisecond'
    where node = $1 and incarnation = $2 and status <> 'down'
    returning (extract(epoch from clock_timestamp()) * 1000)::int8 as now_ms,
        (select view from cluster_meta) as view, (select map from cluster_meta) as map,
        array(
            select late.node from node as late
            where late.status <> 'down' and late.lease_until < clock_timestamp() order by late.node, late.incarnation
        ) as late_nodes,
        array(
            select late.incarnation from node as late
            where late.status <> 'down' and late.lease_until < clock_timestamp() order by late.node, late.incarnation
        ) as late_incarnations";
const CHANGE_STATUS: &str = "with held as (
        select node, incarnation from node where node = $1 and incarnation = $2 and status = $3 for update
    ),
    raised as (
        update cluster_meta set view = view + 1, view_at = clock_timestamp() where (select count(*) from held) > 0
        returning view
    )
    update node set status = $4 from held, raised
    where node.node = held.node and node.incarnation = held.incarnation";
/// A renewal that was waited for is seen: the row is judged as it is under the lock.
const DECLARE_DOWN: &str = "with held as (
        select node, incarnation from node
        where node = $1 and incarnation = $2 and status <> 'down' and ($3 or lease_until < clock_timestamp())
        for update
    ),
    raised as (
        update cluster_meta set view = view + 1, view_at = clock_timestamp() where (select count(*) from held) > 0
        returning view
    )
    update node set status = 'down' from held, raised
    where node.node = held.node and node.incarnation = held.incarnation";
/// Who is down gets no more shards, so that none can come to name it meanwhile.
const FORGET: &str = "with gone as (
        delete from node
        where node = $1 and incarnation = $2 and status = 'down'
            and not exists (select 1 from shard where shard.owner = $1 and shard.owner_incarnation = $2)
        returning 1
    ),
    raised as (
        update cluster_meta set view = view + 1, view_at = clock_timestamp() where (select count(*) from gone) > 0
        returning view
    )
    select 1 from gone, raised";
/// Who is down stays down: the owner's row need not be locked. The claimer's is, against being declared down meanwhile.
const CLAIM: &str = "with me as (
        select 1 from node where node = $1 and incarnation = $2 and status <> 'down' for share
    ),
    held as (
        select shard.service, shard.number, shard.owner, shard.owner_incarnation
        from unnest($3::text[], $4::int4[], $5::int8[]) as given (service, number, epoch)
        join shard on shard.service = given.service and shard.number = given.number and shard.epoch = given.epoch
        where (select count(*) from me) > 0
        order by shard.service, shard.number
        for update of shard
    ),
    passed as (
        select held.service, held.number
        from held
        left join node on node.node = held.owner and node.incarnation = held.owner_incarnation
        where held.owner is null or node.status = 'down'
    ),
    raised as (
        update cluster_meta set map = map + 1 where (select count(*) from passed) > 0 returning map
    )
    update shard
    set epoch = shard.epoch + 1, state = 'owned', owner = $1, owner_incarnation = $2, target = null,
        changed = raised.map
    from passed, raised
    where shard.service = passed.service and shard.number = passed.number
    returning shard.*";
const CHANGE_OWNED: &str = "with held as (
        select shard.service, shard.number
        from unnest($3::text[], $4::int4[], $5::int8[]) as given (service, number, epoch)
        join shard on shard.service = given.service and shard.number = given.number and shard.epoch = given.epoch
        where shard.owner = $1 and shard.owner_incarnation = $2
        order by shard.service, shard.number
        for update of shard
    ),
    raised as (
        update cluster_meta set map = map + 1 where (select count(*) from held) > 0 returning map
    )
    update shard
    set state = $6, changed = raised.map,
        owner = case when $6 = 'free' then null else shard.owner end,
        owner_incarnation = case when $6 = 'free' then null else shard.owner_incarnation end
    from held, raised
    where shard.service = held.service and shard.number = held.number";
const PROPOSE: &str = "with held as (
        select shard.service, shard.number, given.target
        from unnest($3::text[], $4::int4[], $5::int8[], $6::text[]) as given (service, number, epoch, target)
        join shard on shard.service = given.service and shard.number = given.number and shard.epoch = given.epoch
        where shard.state = 'owned'
        order by shard.service, shard.number
        for update of shard
    ),
    raised as (
        update cluster_meta set map = map + 1 where view = $1 and map = $2 and (select count(*) from held) >= 0
        returning map
    ),
    moved as (
        update shard set target = held.target, changed = raised.map from held, raised
        where shard.service = held.service and shard.number = held.number
    )
    select map from raised";

/// See the module.
pub struct PostgresLeases {
    heartbeat: Line,
    /// Nobody waits to change a row until the tables are read.
    reads: Line,
    changes: Line,
    lease_ms: i64,
}

impl fmt::Debug for PostgresLeases {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PostgresLeases").field("lease_ms", &self.lease_ms).finish_non_exhaustive()
    }
}

impl PostgresLeases {
    /// The tables of a store; a renewal lasts for `lease`.
    ///
    /// # Errors
    /// When the store is not reached.
    pub async fn open(store: &Store, lease: Duration) -> Result<Self, OpenError> {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let (heartbeat, reads, changes) = tokio::try_join!(
            Line::open(store.connector.clone(), HEARTBEAT_TIMEOUT),
            Line::open(store.connector.clone(), TIMEOUT),
            Line::open(store.connector.clone(), TIMEOUT),
        )?;
        Ok(Self { heartbeat, reads, changes, lease_ms })
    }

    /// Runs a statement that changes one row or none; says whether it did.
    async fn changes(&self, sql: &'static str, given: &[&(dyn ToSql + Sync)]) -> Result<bool, Error> {
        self.changes.run(async |desk| desk.execute(sql, given).await).await.map(|rows| rows > 0)
    }

    async fn change_owned(
        &self,
        by: Incarnation,
        shards: &[(ShardId, Epoch)],
        state: &str,
    ) -> Result<u64, Error> {
        let (owner, incarnation) = (by.node.0.as_str(), large(by.number));
        let keys = Keys::of(shards.iter().copied());
        let given: [&(dyn ToSql + Sync); 6] =
            [&owner, &incarnation, &keys.services, &keys.numbers, &keys.epochs, &state];
        self.changes.run(async |desk| desk.execute(CHANGE_OWNED, &given).await).await
    }

    async fn found_now(&self, shards: u16, services: &[Name], speaks: u16) -> Result<Meta, Error> {
        let mut generation = [0; 16];
        rand::fill(&mut generation).map_err(|_why| Error::Refused { what: "no randomness".to_owned() })?;
        let generation = Uuid::from_bytes(generation);
        let services: Vec<_> = services.iter().map(Name::as_str).collect();
        let make = "insert into cluster_meta (generation, shards, finalized) values ($1, $2, $3)
            on conflict (is_only) do nothing";
        let row = self.changes.run(async |desk| {
            let transaction = desk.client.transaction().await?;
            transaction.execute(make, &[&generation, &i32::from(shards), &i32::from(speaks)]).await?;
            let kept = transaction.query_one("select shards from cluster_meta for update", &[]).await?;
            // Another count is refused by whoever reads it.
            if kept.try_get::<_, i32>(0)? == i32::from(shards)
                && transaction.execute(MISSING, &[&services, &i32::from(shards)]).await? > 0
            {
                transaction.execute("update cluster_meta set map = map + 1", &[]).await?;
            }
            let row = transaction.query_one(META, &[]).await?;
            transaction.commit().await?;
            Ok(row)
        });
        Ok(meta(&row.await?)?.0)
    }

    async fn read_now(&self, after: u64) -> Result<Snapshot, Error> {
        let after = large(after);
        let rows = self.reads.run(async |desk: &mut Desk| {
            let [of_meta, of_nodes, of_shards] =
                [desk.prepared(META).await?, desk.prepared(NODES).await?, desk.prepared(SHARDS).await?];
            let begin = desk.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
            let transaction = begin.read_only(true).start().await?;
            let changed: [&(dyn ToSql + Sync); 1] = [&after];
            let read = tokio::try_join!(
                transaction.query_one(&of_meta, &[]),
                transaction.query(&of_nodes, &[]),
                transaction.query(&of_shards, &changed),
            )?;
            transaction.commit().await?;
            Ok(read)
        });
        let (row, nodes, shards) = rows.await?;
        let (meta, now) = meta(&row)?;
        Ok(Snapshot {
            meta,
            now,
            nodes: nodes.iter().map(node).collect::<Result<_, _>>()?,
            shards: shards.iter().map(shard).collect::<Result<_, _>>()?,
        })
    }

    async fn join_now(
        &self,
        view: u64,
        node: NodeId,
        profile: &Profile,
    ) -> Result<Option<Incarnation>, Error> {
        let roles: Vec<_> = profile.roles.iter().map(Name::as_str).collect();
        let (view, directory) = (large(view), Uuid::from_u128(profile.directory));
        let build = [profile.build.major, profile.build.minor, profile.build.patch].map(i32::from);
        let wire = [profile.wire.min, profile.wire.max].map(i32::from);
        let weight = i16::from(profile.weight);
        let given: [&(dyn ToSql + Sync); 12] = [
            &view,
            &node.0.as_str(),
            &self.lease_ms,
            &profile.address,
            &directory,
            &roles,
            &weight,
            &build[0],
            &build[1],
            &build[2],
            &wire[0],
            &wire[1],
        ];
        let row = self.changes.run(async |desk| desk.query_opt(JOIN, &given).await).await?;
        row.map(|row| Ok(Incarnation { node, number: unsigned(row.try_get(0).map_err(Error::from)?) }))
            .transpose()
    }

    async fn renew_now(&self, by: Incarnation) -> Result<Option<Renewal>, Error> {
        let (name, incarnation) = (by.node.0.as_str(), large(by.number));
        let given: [&(dyn ToSql + Sync); 3] = [&name, &incarnation, &self.lease_ms];
        let row = self.heartbeat.run(async |desk| desk.query_opt(RENEW, &given).await).await?;
        let Some(row) = row else { return Ok(None) };
        let (nodes, numbers): (Vec<String>, Vec<i64>) = (
            row.try_get("late_nodes").map_err(Error::from)?,
            row.try_get("late_incarnations").map_err(Error::from)?,
        );
        let late = nodes.iter().zip(numbers).filter_map(|(node, number)| {
            let node = NodeId(Name::parse(node)?);
            Some(Incarnation { node, number: unsigned(number) }).filter(|late| *late != by)
        });
        let count = |column| row.try_get::<_, i64>(column).map(unsigned).map_err(Error::from);
        Ok(Some(Renewal {
            now: StoreTime::from_millis(count("now_ms")?),
            view: count("view")?,
            map: count("map")?,
            expired: late.collect(),
        }))
    }
}

impl Leases for PostgresLeases {
    fn found<'a>(
        &'a self,
        shards: u16,
        services: &'a [Name],
        speaks: u16,
    ) -> BoxFuture<'a, Result<Meta, Error>> {
        Box::pin(self.found_now(shards, services, speaks))
    }

    fn read(&self, after: u64) -> BoxFuture<'_, Result<Snapshot, Error>> {
        Box::pin(self.read_now(after))
    }

    fn join<'a>(
        &'a self,
        view: u64,
        node: NodeId,
        profile: &'a Profile,
    ) -> BoxFuture<'a, Result<Option<Incarnation>, Error>> {
        Box::pin(self.join_now(view, node, profile))
    }

    fn renew(&self, by: Incarnation) -> BoxFuture<'_, Result<Option<Renewal>, Error>> {
        Box::pin(self.renew_now(by))
    }

    fn change_status(&self, of: Incarnation, from: Status, to: Status) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let (name, incarnation) = (of.node.0.as_str(), large(of.number));
            self.changes(CHANGE_STATUS, &[&name, &incarnation, &word_of(from), &word_of(to)]).await
        })
    }

    fn declare_down(&self, of: Incarnation, is_proven: bool) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let (name, incarnation) = (of.node.0.as_str(), large(of.number));
            self.changes(DECLARE_DOWN, &[&name, &incarnation, &is_proven]).await
        })
    }

    fn forget(&self, of: Incarnation) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let (name, incarnation) = (of.node.0.as_str(), large(of.number));
            let given: [&(dyn ToSql + Sync); 2] = [&name, &incarnation];
            let forgotten = self.changes.run(async |desk| desk.query_opt(FORGET, &given).await).await?;
            Ok(forgotten.is_some())
        })
    }

    fn claim<'a>(
        &'a self,
        by: Incarnation,
        shards: &'a [(ShardId, Epoch)],
    ) -> BoxFuture<'a, Result<Vec<ShardRow>, Error>> {
        Box::pin(async move {
            let (name, incarnation) = (by.node.0.as_str(), large(by.number));
            let keys = Keys::of(shards.iter().copied());
            let given: [&(dyn ToSql + Sync); 5] =
                [&name, &incarnation, &keys.services, &keys.numbers, &keys.epochs];
            let rows = self.changes.run(async |desk| desk.query(CLAIM, &given).await).await?;
            rows.iter().map(shard).collect()
        })
    }

    fn mark_releasing<'a>(
        &'a self,
        by: Incarnation,
        shards: &'a [(ShardId, Epoch)],
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(self.change_owned(by, shards, "releasing"))
    }

    fn free<'a>(
        &'a self,
        by: Incarnation,
        shards: &'a [(ShardId, Epoch)],
    ) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(self.change_owned(by, shards, "free"))
    }

    fn propose<'a>(
        &'a self,
        view: u64,
        map: u64,
        moves: &'a [Move],
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            let keys = Keys::of(moves.iter().map(|proposed| (proposed.shard, proposed.epoch)));
            let targets: Vec<_> =
                moves.iter().map(|proposed| proposed.to.map(|to| to.0.to_string())).collect();
            let (view, map) = (large(view), large(map));
            let given: [&(dyn ToSql + Sync); 6] =
                [&view, &map, &keys.services, &keys.numbers, &keys.epochs, &targets];
            let row = self.changes.run(async |desk| desk.query_opt(PROPOSE, &given).await).await?;
            row.map(|row| Ok(unsigned(row.try_get(0).map_err(Error::from)?))).transpose()
        })
    }
}
