//! The one task that writes: it drains what waits, sends it, and knows what became of it before it goes on.

mod claim;
mod reach;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::rand;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use uuid::Uuid;

use self::reach::{Failure, in_full, reach};
use super::{
    super::{OpenError, connect::Connector, pauses::Pauses},
    Closed, Job, Shared,
    batch::{Batch, Queued},
    seqs::Seqs,
    session::{Seen, Session, Trouble},
};
use crate::{
    AddressMap, Lsn, Seq, ShardId,
    journal::{AppendError, Claim, Group, Health},
    recent::Recent,
};

/// A batch is what waits, up to this: more would only make its callers wait for each other's bytes.
const BATCH_GROUPS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// A process that has nothing to write asks so often whether the store is still its own.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The writing end.
pub(super) struct Writer {
    connector: Connector,
    jobs: mpsc::Receiver<Job>,
    /// Met while a batch was drained, to be done behind it.
    put_back: Option<Job>,
    shared: Arc<Shared>,
    /// `None` while the store is out of reach.
    session: Option<Session>,
    /// This process, for the stream and in the upper half of its batches' ids.
    sequencer: Uuid,
    batches: u64,
    /// Where the stream ends.
    lsn: Lsn,
    shards: AddressMap<ShardId, Held>,
    seqs: Seqs,
    /// Why this process writes nothing any more.
    ended: Option<String>,
}

/// A shard that this process has claimed.
struct Held {
    /// The newest epoch known, and the tail behind this process's last append.
    at: Claim,
    /// Why it takes nothing any more.
    stopped: Option<AppendError>,
}

impl Writer {
    pub(super) async fn open(
        connector: Connector,
        jobs: mpsc::Receiver<Job>,
    ) -> Result<(Self, Arc<Shared>), OpenError> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_why| OpenError::Thread(std::io::Error::other("no randomness")))?;
        let sequencer = Uuid::from_bytes(id);
        let session = Session::open(&connector).await.map_err(|error| connector.refused(error))?;
        let lsn = session.take_stream(sequencer).await;
        let lsn =
            lsn.map_err(|source| OpenError::Statement { what: "take the stream over".to_owned(), source })?;
        let shared = Arc::new(Shared {
            keyring: OnceLock::new(),
            recent: RwLock::new(Recent::default()),
            health: RwLock::new(Health::Writable),
            durable: watch::Sender::new(lsn),
            is_closing: AtomicBool::new(false),
        });
        let writer = Self {
            connector,
            jobs,
            put_back: None,
            shared: Arc::clone(&shared),
            session: Some(session),
            sequencer,
            batches: 0,
            lsn,
            shards: AddressMap::default(),
            seqs: Seqs::default(),
            ended: None,
        };
        Ok((writer, shared))
    }

    /// Works until it is closed or nobody is left to ask.
    pub(super) async fn run(mut self) {
        while let Some(job) = self.next_job().await {
            match job {
                Job::Append(queued) => {
                    let groups = self.gather_groups(queued);
                    self.write(groups).await;
                }
                Job::Claim(shard, reply) => {
                    let claims = self.gather_claims(shard, reply);
                    self.claim(claims).await;
                }
                Job::Close(reply) => {
                    self.session = None;
                    drop(reply.send(Closed));
                    break;
                }
            }
        }
        // Until nobody can ask any more, so that no question is left without an answer.
        while let Some(job) = self.jobs.recv().await {
            job.refuse(&AppendError::Closed);
        }
    }

    /// The next job that there is a session for; `None` when nobody is left to ask.
    async fn next_job(&mut self) -> Option<Job> {
        loop {
            let Some(session) = &mut self.session else {
                if self.regain().await.is_break() {
                    return self.put_back.take();
                }
                continue;
            };
            if let Some(job) = self.put_back.take() {
                return Some(job);
            }
            tokio::select! {
                biased;
                job = self.jobs.recv() => return job,
                () = session.lost() => self.session = None,
                () = sleep(LOOK_EVERY) => self.look_around().await,
            }
        }
    }

    fn gather_groups(&mut self, first: Queued) -> Vec<Queued> {
        let (mut groups, mut bytes) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(queued) = next.take() {
            bytes += bytes_of(&queued.group);
            groups.push(queued);
            if groups.len() < BATCH_GROUPS && bytes < BATCH_BYTES {
                match self.jobs.try_recv() {
                    Ok(Job::Append(queued)) => next = Some(queued),
                    other => self.put_back = other.ok(),
                }
            }
        }
        groups
    }

    /// Appends groups and answers each.
    async fn write(&mut self, mut groups: Vec<Queued>) {
        if let Some(keyring) = self.shared.keyring.get()
            && let Err(error) = keyring.sync().await
        {
            let reason = format!("the keys of a batch are not durable: {}", in_full(&error));
            tracing::warn!(reason, "refused a batch");
            return refuse(groups, &AppendError::Unreachable { reason });
        }
        // Twice only when the seqs that are remembered turn out to be wrong.
        for is_doubtful in [false, true] {
            if let Err(error) = self.learn_seqs(&groups, is_doubtful).await {
                return refuse(groups, &self.failed(&error));
            }
            let batch = self.number(groups);
            if batch.is_empty() {
                return;
            }
            match self.commit(batch).await {
                Committed::Known(batch) => return self.finish(batch),
                Committed::Clash(clashing) => groups = clashing,
            }
        }
        tracing::error!("the store has records of entities that it does not show: refused a batch");
        refuse(groups, &AppendError::Unreachable { reason: "its index is damaged".to_owned() });
    }

    /// Asks the store for the last seqs of entities that are not remembered; when in doubt, of all.
    async fn learn_seqs(
        &mut self,
        groups: &[Queued],
        is_doubtful: bool,
    ) -> Result<(), tokio_postgres::Error> {
        // An entity's first record needs no look: there cannot be two of them.
        let is_unknown = |(key, seq): &(_, Seq)| is_doubtful || (seq.0 > 1 && self.seqs.of(key).is_none());
        let written = groups
            .iter()
            .flat_map(|queued| queued.keys().zip(queued.group.records.iter().map(|record| record.seq)));
        let unknown: BTreeSet<_> = written.filter(is_unknown).map(|(key, _)| key).collect();
        let unknown: Vec<_> = unknown.into_iter().collect();
        let Some(session) = self.session.as_ref().filter(|_| !unknown.is_empty()) else {
            return Ok(());
        };
        let seqs = session.last_seqs(&unknown).await?;
        for (key, seq) in unknown.into_iter().zip(seqs) {
            self.seqs.set(key, seq);
        }
        Ok(())
    }

    /// Gives places to groups that may be appended, and refuses the others.
    fn number(&mut self, groups: Vec<Queued>) -> Batch {
        let mut accepted = Vec::with_capacity(groups.len());
        for queued in groups {
            if let Err(error) = self.check(&queued.group) {
                queued.refuse(&error);
                continue;
            }
            for (key, record) in queued.keys().zip(&queued.group.records) {
                self.seqs.set(key, record.seq);
            }
            accepted.push(queued);
        }
        self.batches += 1;
        let (upper, _) = self.sequencer.as_u64_pair();
        Batch::new(Uuid::from_u64_pair(upper, self.batches), accepted, |shard| {
            Some(self.shards.get(&shard)?.at)
        })
    }

    fn check(&self, group: &Group) -> Result<(), AppendError> {
        if let Some(reason) = &self.ended {
            return Err(AppendError::Unreachable { reason: reason.clone() });
        }
        let bytes = bytes_of(group);
        if bytes > Group::MAX_BYTES || group.records.is_empty() {
            return Err(AppendError::Size { bytes, records: group.records.len() });
        }
        let held = self.shards.get(&group.shard);
        if let Some(stopped) = held.and_then(|held| held.stopped.clone()) {
            return Err(stopped);
        }
        let current = held.map(|held| held.at.epoch).unwrap_or_default();
        if group.epoch != current || held.is_none() {
            return Err(AppendError::Fenced { shard: group.shard, current, claimed: group.epoch });
        }
        if let Some(keyring) = self.shared.keyring.get()
            && let Some(record) = group.records.iter().find(|record| !keyring.stands(record))
        {
            return Err(AppendError::Overruled { entity: record.entity });
        }
        for (at, record) in group.records.iter().enumerate() {
            // Nearly always the neighbour.
            let before = group.records.iter().take(at).rev().find(|before| before.entity == record.entity);
            let known = || self.seqs.of(&(group.shard.service, record.entity)).unwrap_or_default();
            let last = before.map_or_else(known, |before| before.seq);
            if record.seq != last.next() {
                let expected = Seq(record.seq.0.saturating_sub(1));
                return Err(AppendError::OutOfOrder { entity: record.entity, expected });
            }
        }
        Ok(())
    }

    /// Sends a batch until the fate of all its parts is known.
    async fn commit(&mut self, mut batch: Batch) -> Committed {
        let mut pauses = self.pauses();
        // Whether it was sent and not answered: it may then still be on its way, so nothing refuses it but a look.
        let mut is_in_doubt = false;
        while !batch.is_settled() {
            let Some(session) = &self.session else {
                batch.refuse(&AppendError::Unreachable { reason: "there is no connection".to_owned() });
                break;
            };
            let failure = match session.append(&batch, self.sequencer, self.lsn).await {
                Ok(written) => {
                    for place in written {
                        batch.settle(place, Ok(()));
                    }
                    None
                }
                Err(error) => Some((Trouble::of(&error), error)),
            };
            match failure {
                None if batch.is_settled() => break,
                None => {}
                Some((Trouble::Clash, _)) if !is_in_doubt => return Committed::Clash(batch.into_groups()),
                Some((Trouble::Full, error)) if !is_in_doubt => {
                    tracing::error!(reason = in_full(&error), "the store is full");
                    self.set_health(Health::Full);
                    batch.refuse(&AppendError::Full);
                    break;
                }
                Some((Trouble::Refused, error)) if !is_in_doubt => {
                    let reason = in_full(&error);
                    tracing::error!(reason, "the store refused a batch");
                    batch.refuse(&AppendError::Unreachable { reason });
                    break;
                }
                Some((Trouble::Lost, error)) => {
                    is_in_doubt = true;
                    self.lose(&error);
                }
                Some((Trouble::Race | Trouble::Clash | Trouble::Full | Trouble::Refused, error)) => {
                    tracing::warn!(reason = in_full(&error), "the store undid a batch: sending it again");
                    sleep(pauses.next()).await;
                }
            }
            if !self.find_out(&mut batch, &mut pauses).await {
                break;
            }
        }
        Committed::Known(batch)
    }

    /// Looks what became of the open parts of a batch, as soon as the store can be reached; false when the journal is
    /// closed before that.
    async fn find_out(&mut self, batch: &mut Batch, pauses: &mut Pauses) -> bool {
        loop {
            let session = match self.session.take() {
                Some(session) => Ok(session),
                None => reach(self.connector.clone(), pauses.next()).await,
            };
            let seen = match session {
                Ok(session) => {
                    let seen = session.look(&batch.open(), batch.id).await;
                    self.session = seen.is_ok().then_some(session);
                    seen.map_err(Failure::from)
                }
                Err(failure) => Err(failure),
            };
            match seen {
                Ok(seen) => {
                    self.judge(batch, &seen);
                    return true;
                }
                Err(failure) => self.lose(&failure),
            }
            if self.shared.is_closing.load(Ordering::Relaxed) || self.jobs.is_closed() {
                let reason = "closed before the store told what became of a batch".to_owned();
                batch.refuse(&AppendError::Poisoned { reason });
                return false;
            }
        }
    }

    /// Says of each open part what is certain by now.
    fn judge(&mut self, batch: &mut Batch, seen: &Seen) {
        for (place, shard, known) in batch.open() {
            let found = seen.claim(place);
            if seen.is_there(place) {
                batch.settle(place, Ok(()));
            } else if let Some(rolled_back) = rolled_back(shard, known, found) {
                batch.settle(place, Err(rolled_back));
            } else if let Some(found) = found.filter(|found| found.epoch > known.epoch) {
                let fenced = AppendError::Fenced { shard, current: found.epoch, claimed: known.epoch };
                batch.settle(place, Err(fenced));
            } else if found.is_some_and(|found| found.tail > known.tail) {
                // Nobody else appends under this epoch: the store went back and was written to.
                batch.settle(place, Err(forgotten(shard, known, found)));
            }
        }
        if batch.is_settled() {
            return;
        }
        if batch.is_written() {
            // One statement has moved the stream, and the others' shards were not where they are now.
            batch.refuse(&AppendError::Unreachable {
                reason: "shards moved while they were written".to_owned(),
            });
        } else if let Some(reason) = self.stream_is_lost(seen) {
            batch.refuse(&AppendError::Unreachable { reason: reason.clone() });
            self.end(reason);
        }
    }

    /// Why this process cannot go on with the stream.
    fn stream_is_lost(&self, seen: &Seen) -> Option<String> {
        match seen.stream {
            Some((sequencer, _)) if sequencer != self.sequencer => {
                Some("another process writes to it".to_owned())
            }
            Some((_, lsn)) if lsn == self.lsn => None,
            Some((_, lsn)) => {
                Some(format!("store_rolled_back: the stream was left at {}, and is at {lsn}", self.lsn))
            }
            None => Some("store_rolled_back: the stream is gone".to_owned()),
        }
    }

    /// Answers everybody and keeps what is true now.
    fn finish(&mut self, batch: Batch) {
        let finished = batch.finish(self.lsn);
        for part in finished.parts {
            let Some(held) = self.shards.get_mut(&part.shard) else {
                continue;
            };
            match part.fate {
                Some(Ok(())) => held.at.tail.0 += part.records,
                Some(Err(AppendError::Fenced { current, .. })) => held.at.epoch = current,
                Some(Err(error @ AppendError::RolledBack { .. })) => held.stopped = Some(alarmed(error)),
                _ => {}
            }
        }
        for key in &finished.lost {
            self.seqs.forget(key);
        }
        if !finished.stored.is_empty() {
            self.set_health(Health::Writable);
            let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
            for stored in finished.stored {
                recent.push(stored);
            }
        }
        // Readers may see it from now on, but are woken behind those who wait for an answer.
        let is_longer = finished.end > self.lsn;
        self.lsn = finished.end;
        self.shared.durable.send_if_modified(|durable| {
            *durable = finished.end;
            false
        });
        for (done, fate) in finished.told {
            done(fate);
        }
        if is_longer {
            self.shared.durable.send_modify(|_| {});
        }
    }

    /// Nothing is written by this process any more.
    fn end(&mut self, reason: String) {
        if self.ended.is_none() {
            tracing::error!(reason, "this node writes nothing to the store until it restarts");
            self.set_health(Health::Poisoned(reason.clone()));
            self.ended = Some(reason);
        }
    }

    fn set_health(&self, health: Health) {
        *self.shared.health.write().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn pauses(&self) -> Pauses {
        let (seed, _) = self.sequencer.as_u64_pair();
        Pauses::new(seed ^ self.batches)
    }
}

/// How a batch ended.
enum Committed {
    /// The fate of every part is known.
    Known(Batch),
    /// Nothing is written: an entity's seqs were not as supposed.
    Clash(Vec<Queued>),
}

fn refuse(groups: Vec<Queued>, error: &AppendError) {
    for queued in groups {
        queued.refuse(error);
    }
}

/// Whether a shard is behind where it was known to be.
fn rolled_back(shard: ShardId, known: Claim, found: Option<Claim>) -> Option<AppendError> {
    let is_behind = found.is_none_or(|found| found.epoch < known.epoch || found.tail < known.tail);
    is_behind.then(|| forgotten(shard, known, found))
}

fn forgotten(shard: ShardId, known: Claim, found: Option<Claim>) -> AppendError {
    AppendError::RolledBack { shard, known, found: found.unwrap_or_default() }
}

fn alarmed(error: AppendError) -> AppendError {
    tracing::error!(error = &error as &dyn std::error::Error, "store_rolled_back");
    error
}

fn bytes_of(group: &Group) -> usize {
    group.records.iter().map(|record| record.body.len()).sum()
}
