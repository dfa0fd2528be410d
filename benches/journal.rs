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
    appenders::{Appenders, noise},
    machine,
    pairs::{Effort, Sample, Stopwatch, Unit, alternate, print_head},
};
use prognet_storage::embedded::EmbeddedJournal;
use tokio::sync::oneshot;

const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    print_head("B5: durable appends of 200 bytes, journal / bare file with fdatasync");
    for (appenders, aim) in [(1, 0.9), (16, 1.2), (256, 0.9)] {
        let directory = machine::scratch()?;
        let (journal, _) = EmbeddedJournal::open(&directory.path().join("journal"), SEGMENT_BYTES)?;
        let mut entities = runtime.block_on(Appenders::claim(Arc::new(journal), 0..appenders))?;
        let file = BareFile::create(&directory.path().join("bare"))?;
        let pairs = alternate(
            &format!("{appenders} appenders"),
            effort.pairs,
            || runtime.block_on(entities.append(effort.window)),
            || runtime.block_on(bare(&file, appenders, effort)),
        )?;
        pairs.print(Unit::PerSecond, aim);
    }
    Ok(())
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
