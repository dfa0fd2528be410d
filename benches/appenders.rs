//! Closed loops of appends: each waits for its 200 bytes to be durable before the next.

use std::{ops::Range, sync::Arc, time::Duration};

use prognet_storage::{
    EntityRef, Home, HomeKind, Journal, Name, Seq, ShardId,
    journal::{AppendError, Appended, Group, Record, RecordKind},
};
use tokio::sync::oneshot;

use crate::{
    machine,
    pairs::{Sample, Stopwatch},
};

const BODY_BYTES: usize = 200;
/// The service of their shards.
pub const SERVICE: Name = Name::new("bench");
const KIND: Name = Name::new("appender");
/// How many of them there are.
pub const SHARDS: u16 = 256;

/// An appender: one entity and how far its history goes.
#[derive(Debug)]
struct Appender {
    group: Group,
    seq: Seq,
}

/// Appenders of one journal, over as many shards as there are.
#[derive(Debug)]
pub struct Appenders<J> {
    journal: Arc<J>,
    appenders: Vec<Appender>,
}

impl<J: Journal> Appenders<J> {
    /// Takes over the shards of these entities.
    ///
    /// # Errors
    /// When a shard is not to be had.
    pub async fn claim(journal: Arc<J>, ids: Range<usize>) -> anyhow::Result<Self> {
        let mut appenders = Vec::with_capacity(ids.len());
        for id in ids {
            let home = Home { kind: HomeKind::Tenant, id: id as u128 };
            let shard = ShardId { service: SERVICE, number: u16::try_from(id)? % SHARDS };
            let epoch = journal.claim(shard).await?.epoch;
            let record = Record {
                kind: RecordKind::Event,
                entity: EntityRef { home, kind: KIND, id: 1 },
                seq: Seq(0),
                name: Name::new("appended"),
                version: 1,
                at_ms: 0,
                by: 1,
                trace: 0,
                caused_by: None,
                body: noise(id),
            };
            appenders.push(Appender { group: Group { shard, epoch, records: vec![record] }, seq: Seq(0) });
        }
        Ok(Self { journal, appenders })
    }

    /// Lets them append for a while.
    ///
    /// # Errors
    /// When an append fails.
    #[expect(clippy::disallowed_methods, reason = "raw tasks stand for entities, and each is awaited")]
    pub async fn append(&mut self, window: Duration) -> anyhow::Result<Sample> {
        let (before, watch) = (machine::cpu_of_self(), Stopwatch::start());
        let loops: Vec<_> = self
            .appenders
            .drain(..)
            .map(|mut appender| {
                let journal = Arc::clone(&self.journal);
                tokio::spawn(async move {
                    let mut nanos = Vec::with_capacity(16 * 1024);
                    while watch.elapsed() < window {
                        let asked = Stopwatch::start();
                        appender.seq = appender.seq.next();
                        let mut group = appender.group.clone();
                        group.records.iter_mut().for_each(|record| record.seq = appender.seq);
                        append(&*journal, group).await?;
                        nanos.push(u64::try_from(asked.elapsed().as_nanos())?);
                    }
                    anyhow::Ok((appender, nanos))
                })
            })
            .collect();
        let mut nanos = Vec::new();
        for ended in loops {
            let (appender, found) = ended.await??;
            self.appenders.push(appender);
            nanos.extend(found);
        }
        let cpu = machine::cpu_of_self().saturating_sub(before);
        Ok(Sample::of(nanos.len(), watch.elapsed(), cpu).with_latencies(nanos))
    }
}

async fn append(journal: &impl Journal, group: Group) -> anyhow::Result<Appended> {
    let (done, durable) = oneshot::channel::<Result<Appended, AppendError>>();
    journal.append(group, Box::new(move |fate| drop(done.send(fate))));
    Ok(durable.await??)
}

/// Bytes as sealed bodies look: nothing to compress.
#[must_use]
pub fn noise(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(BODY_BYTES).collect()
}
