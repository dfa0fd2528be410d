//! Whether the PostgreSQL journal would be faster with several writers: one against two and four, which share nothing
//! but the server and its log.
//!
//! Each writer has a database of its own here, so that none waits for the row which orders all appends of a store
//! (`log`): what several would gain at most. Server, settings and appenders are the same on both sides.

use std::{ops::Range, sync::Arc};

use prognet_benches::{
    appenders::Appenders,
    machine,
    pairs::{Effort, Sample, Unit, alternate, print_head},
    postgres::Postgres,
};
use prognet_storage::postgres::{PostgresJournal, Settings, Store};

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
