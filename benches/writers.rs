//! Whether the PostgreSQL journal would be faster with several writers: one against two and four, which share nothing
//! but the server and its log.
//!
//! Each writer has a database of its own here, so that none waits for the row which orders all appends of a store
//! (`log`): what several would gain at most. Server, settings and appenders are the same on both sides.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use prognet_benches::{
    appenders::{Appenders, SERVICE, SHARDS},
    machine,
    pairs::{Effort, Sample, Unit, alternate, print_head},
    postgres::Postgres,
};
use prognet_storage::{
    Name,
    leases::{Build, Leases, NodeId, Profile, Status, Wire},
    postgres::{PostgresJournal, PostgresLeases, Settings, Store},
};

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    print_head("The PostgreSQL journal: durable appends of 200 bytes, several writers / one");
    for appenders in [64, 256] {
        for writers in [2, 4] {
            let directory = machine::scratch()?;
            let server = Postgres::start(&directory.path().join("postgres"))?;
            let mut one = runtime.block_on(Writers::open(&server, "one", 1, appenders))?;
            let mut several = runtime.block_on(Writers::open(&server, "several", writers, appenders))?;
            let pairs = alternate(
                &format!("{appenders} appenders, {writers} writers"),
                effort.pairs,
                || runtime.block_on(several.append(effort)),
                || runtime.block_on(one.append(effort)),
            )?;
            pairs.print(Unit::PerSecond, 1.0);
        }
    }
    Ok(())
}

/// Makes a journal the owner of all shards, as a node that is alone becomes.
async fn own(store: &Store, journal: &PostgresJournal) -> anyhow::Result<()> {
    let leases = PostgresLeases::open(store, Duration::from_secs(3_600)).await?;
    let meta = leases.found(SHARDS, &[SERVICE], 1).await?;
    let profile = Profile {
        address: String::new(),
        directory: 0,
        roles: BTreeSet::from([SERVICE]),
        weight: 1,
        build: Build { major: 0, minor: 0, patch: 0 },
        wire: Wire { min: 1, max: 1 },
    };
    let joined = leases.join(meta.view, NodeId(Name::new("bench")), &profile).await?;
    let me = joined.ok_or_else(|| anyhow::anyhow!("somebody else joined"))?;
    leases.change_status(me, Status::Joining, Status::Up).await?;
    let free = leases.read(0).await?.shards.into_iter().map(|row| (row.shard, row.epoch));
    let owned = leases.claim(me, &free.collect::<Vec<_>>()).await?;
    journal.grant(owned.into_iter().map(|row| (row.shard, row.epoch)).collect()).await?;
    Ok(())
}

/// Journals with appenders of their own.
struct Writers(Vec<Appenders<PostgresJournal>>);

impl Writers {
    /// So many, and so many appenders in all.
    async fn open(server: &Postgres, name: &str, writers: usize, appenders: usize) -> anyhow::Result<Self> {
        let mut opened = Vec::with_capacity(writers);
        for writer in 0..writers {
            let database = format!("{name}_{writer}");
            server.sql(&format!("create database {database}"))?;
            let url = server.url().replace("dbname=postgres", &format!("dbname={database}"));
            let store = Store::open(&Settings { url, roots: None, pool_max: 1 }).await?;
            let journal = Arc::new(PostgresJournal::open(&store).await?);
            own(&store, &journal).await?;
            let ids: Range<_> = writer * appenders / writers..(writer + 1) * appenders / writers;
            opened.push(Appenders::claim(journal, ids).await?);
        }
        Ok(Self(opened))
    }

    async fn append(&mut self, effort: Effort) -> anyhow::Result<Sample> {
        let appending = self.0.iter_mut().map(|appenders| appenders.append(effort.window));
        let samples = futures_util::future::try_join_all(appending).await?;
        let rate = samples.iter().map(|sample| sample.rate).sum();
        Ok(Sample { rate, ..Sample::default() })
    }
}
