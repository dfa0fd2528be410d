//! B5: the journal against a bare file that promises no more than "it is on the disk".
//!
//! Both sides serve the same closed loops: each appender waits for its 200 bytes to be durable before the
//! next. The rival drains what waits (at most 1024 records), writes it once at the end of a growing file,
//! syncs once and answers: group commit without frames, checksums, epochs, order per entity, or an index.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Arc, mpsc},
};

use prognet_benches::{
    machine,
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
};
use prognet_storage::{
    EntityRef, Home, HomeKind, Journal, Name, Seq, ShardId,
    embedded::EmbeddedJournal,
    journal::{AppendError, Appended, Group, Record, RecordKind},
};
use tokio::sync::oneshot;

const BODY_BYTES: usize = 200;
const SERVICE: Name = Name::new("bench");
const KIND: Name = Name::new("appender");
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const SHARDS: u16 = 256;

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    print_head("B5: durable appends of 200 bytes, journal / bare file with fdatasync");
    for (appenders, aim) in [(1, 0.9), (16, 1.2), (256, 0.9)] {
        let directory = machine::scratch()?;
        let (journal, _) = EmbeddedJournal::open(&directory.path().join("journal"), SEGMENT_BYTES)?;
        let journal = Arc::new(journal);
        let mut entities = runtime.block_on(claim(&journal, appenders))?;
        let file = BareFile::create(&directory.path().join("bare"))?;
        let pairs = alternate(
            &format!("{appenders} appenders"),
            effort.pairs,
            || runtime.block_on(ours(&journal, &mut entities, effort)),
            || runtime.block_on(bare(&file, appenders, effort)),
        )?;
        pairs.print(Unit::PerSecond, aim);
    }
    Ok(())
}

/// An appender: one entity and how far its history goes.
struct Appender {
    group: Group,
    seq: Seq,
}

/// Appenders over as many shards as there are.
async fn claim(journal: &EmbeddedJournal, appenders: usize) -> anyhow::Result<Vec<Appender>> {
    let mut entities = Vec::with_capacity(appenders);
    for id in 0..appenders {
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
        entities.push(Appender { group: Group { shard, epoch, records: vec![record] }, seq: Seq(0) });
    }
    Ok(entities)
}

#[expect(clippy::disallowed_methods, reason = "raw tasks stand for entities, and each is awaited")]
async fn ours(
    journal: &Arc<EmbeddedJournal>,
    entities: &mut Vec<Appender>,
    effort: Effort,
) -> anyhow::Result<Sample> {
    let (before, watch) = (machine::cpu_of_self(), Stopwatch::start());
    let loops: Vec<_> = entities
        .drain(..)
        .map(|mut appender| {
            let journal = Arc::clone(journal);
            tokio::spawn(async move {
                let mut nanos = Vec::with_capacity(16 * 1024);
                while watch.elapsed() < effort.window {
                    let asked = Stopwatch::start();
                    appender.seq = appender.seq.next();
                    let mut group = appender.group.clone();
                    group.records.iter_mut().for_each(|record| record.seq = appender.seq);
                    append(&journal, group).await?;
                    nanos.push(u64::try_from(asked.elapsed().as_nanos())?);
                }
                anyhow::Ok((appender, nanos))
            })
        })
        .collect();
    let mut nanos = Vec::new();
    for ended in loops {
        let (appender, found) = ended.await??;
        entities.push(appender);
        nanos.extend(found);
    }
    let cpu = machine::cpu_of_self().saturating_sub(before);
    Ok(Sample::of(nanos.len(), watch.elapsed(), cpu).with_latencies(nanos))
}

async fn append(journal: &EmbeddedJournal, group: Group) -> anyhow::Result<Appended> {
    let (done, durable) = oneshot::channel::<Result<Appended, AppendError>>();
    journal.append(group, Box::new(move |fate| drop(done.send(fate))));
    Ok(durable.await??)
}

/// The rival: a growing file and the thread that writes it.
struct BareFile {
    jobs: mpsc::SyncSender<Job>,
}

type Job = (Vec<u8>, oneshot::Sender<()>);

impl BareFile {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::create(path)?;
        let (jobs, waiting) = mpsc::sync_channel::<Job>(64 * 1024);
        std::thread::spawn(move || {
            let (mut bytes, mut told) = (Vec::new(), Vec::new());
            while let Ok(first) = waiting.recv() {
                for (body, done) in std::iter::once(first).chain(waiting.try_iter()).take(1024) {
                    bytes.extend_from_slice(&body);
                    told.push(done);
                }
                // A failure drops the senders, and with them the run.
                file.write_all(&bytes)?;
                file.sync_data()?;
                bytes.clear();
                for done in told.drain(..) {
                    // An appender whose window is over has left.
                    done.send(()).ok();
                }
            }
            std::io::Result::Ok(())
        });
        Ok(Self { jobs })
    }
}

#[expect(clippy::disallowed_methods, reason = "raw tasks stand for entities, and each is awaited")]
async fn bare(file: &BareFile, appenders: usize, effort: Effort) -> anyhow::Result<Sample> {
    let (before, watch) = (machine::cpu_of_self(), Stopwatch::start());
    let loops: Vec<_> = (0..appenders)
        .map(|id| {
            let (jobs, body) = (file.jobs.clone(), noise(id));
            tokio::spawn(async move {
                let mut nanos = Vec::with_capacity(16 * 1024);
                while watch.elapsed() < effort.window {
                    let asked = Stopwatch::start();
                    let (done, durable) = oneshot::channel();
                    jobs.send((body.clone(), done))?;
                    durable.await?;
                    nanos.push(u64::try_from(asked.elapsed().as_nanos())?);
                }
                anyhow::Ok(nanos)
            })
        })
        .collect();
    let mut nanos = Vec::new();
    for ended in loops {
        nanos.extend(ended.await??);
    }
    let cpu = machine::cpu_of_self().saturating_sub(before);
    Ok(Sample::of(nanos.len(), watch.elapsed(), cpu).with_latencies(nanos))
}

/// Bytes as sealed bodies look: nothing to compress.
fn noise(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56).to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(BODY_BYTES).collect()
}
