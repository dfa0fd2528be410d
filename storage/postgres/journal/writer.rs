//! The one task that writes: it drains what waits, sends it, and knows what became of it before it goes on.

mod grants;
mod reach;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use aws_lc_rs::rand;
use tokio::{sync::mpsc, time::sleep};
use uuid::Uuid;

pub(super) use self::grants::{Owned, Reply};
use self::reach::{Failure, in_time, reach};
use super::{
    super::{OpenError, connect::Connector, in_full, pauses::Pauses},
    Closed, Job, Shared,
    batch::{Batch, Queued},
    seqs::Seqs,
    session::{Seen, Session, Trouble},
};
use crate::{
    AddressMap, Epoch, Lsn, Seq, ShardId,
    journal::{AppendError, Claim, Group, Health},
};

/// A batch is what waits, up to this: more would only make its callers wait for each other's bytes.
const BATCH_GROUPS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// A process that has nothing to write asks so often whether the store still has what it had.
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
    /// This process, in the upper half of its batches' ids.
    id: Uuid,
    batches: u64,
    /// The furthest place in the stream that this process has written to.
    lsn: Lsn,
    shards: AddressMap<ShardId, Held>,
    seqs: Seqs,
    /// Why this process writes nothing any more.
    ended: Option<String>,
}

/// A shard that is or was granted to this process.
struct Held {
    /// The newest epoch known, and the tail behind this process's last append: the store is never behind that.
    at: Claim,
    /// Whether that epoch is this process's: not once the shard was taken back, or another process's epoch was met.
    is_granted: bool,
    /// Why it takes nothing any more.
    stopped: Option<AppendError>,
}

impl Held {
    /// Whether this process owns the shard under an epoch.
    fn is_owned_under(&self, epoch: Epoch) -> bool {
        self.is_granted && self.at.epoch == epoch
    }
}

impl Writer {
    pub(super) async fn open(
        connector: Connector,
        jobs: mpsc::Receiver<Job>,
    ) -> Result<(Self, Arc<Shared>), OpenError> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_why| OpenError::Thread(std::io::Error::other("no randomness")))?;
        let session = Session::open(&connector).await.map_err(|error| connector.refused(error))?;
        let lsn = session.end().await;
        let lsn = lsn.map_err(|source| OpenError::Statement {
            what: "read the end of the stream".to_owned(),
            source,
        })?;
        let shared = Arc::new(Shared::at(lsn));
        let writer = Self {
            connector,
            jobs,
            put_back: None,
            shared: Arc::clone(&shared),
            session: Some(session),
            id: Uuid::from_bytes(id),
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
                Job::Claim(shard, reply) => drop(reply.send(self.granted(shard))),
                Job::Grant(shards, reply) => {
                    let granted = self.grant(shards).await;
                    drop(reply.send(granted));
                }
                Job::Revoke(shards, reply) => {
                    self.revoke(&shards);
                    reply.send(()).unwrap_or_default();
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
                Committed::Clash(clashing) => {
                    clashing.iter().flat_map(Queued::keys).for_each(|key| self.seqs.forget(&key));
                    groups = clashing;
                }
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
        let mut unknown = BTreeMap::new();
        // Others are refused, and say nothing of what this process knows.
        let is_owned = |Queued { group, .. }: &&Queued| {
            self.shards.get(&group.shard).is_some_and(|held| held.is_owned_under(group.epoch))
        };
        for queued in groups.iter().filter(is_owned) {
            let epoch = queued.group.epoch;
            for (key, record) in queued.keys().zip(&queued.group.records) {
                if is_doubtful || (record.seq.0 > 1 && self.seqs.of(&key, epoch).is_none()) {
                    unknown.insert(key, epoch);
                }
            }
        }
        let Some(session) = self.session.as_ref().filter(|_| !unknown.is_empty()) else {
            return Ok(());
        };
        let keys: Vec<_> = unknown.keys().copied().collect();
        let seqs = in_time(&self.shared, session.last_seqs(&keys)).await?;
        for ((key, epoch), seq) in unknown.into_iter().zip(seqs) {
            self.seqs.set(key, epoch, seq);
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
                self.seqs.set(key, queued.group.epoch, record.seq);
            }
            accepted.push(queued);
        }
        self.batches += 1;
        let (upper, _) = self.id.as_u64_pair();
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
        if !held.is_some_and(|held| held.is_owned_under(group.epoch)) {
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
            let known = || self.seqs.of(&(group.shard.service, record.entity), current).unwrap_or_default();
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
            let failure = match in_time(&self.shared, session.append(&batch)).await {
                Ok(written) => {
                    for (place, first) in written {
                        batch.settle(place, Ok(first));
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
            let end = self.known_end();
            let seen = match session {
                Ok(session) => {
                    let seen = session.look(&batch.open(), Some(batch.id)).await;
                    self.session = seen.is_ok().then_some(session);
                    seen.map_err(Failure::from)
                }
                Err(failure) => Err(failure),
            };
            match seen {
                Ok(seen) => {
                    self.judge(batch, end, &seen);
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

    /// Says of each open part what is certain by now, given up to where the stream was known before.
    fn judge(&mut self, batch: &mut Batch, end: Lsn, seen: &Seen) {
        for (place, shard, known) in batch.open() {
            let found = seen.claim(place);
            if let Some(first) = seen.first(place) {
                batch.settle(place, Ok(first));
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
            // One statement has written the others, and these shards were not where they are now.
            batch.refuse(&AppendError::Unreachable {
                reason: "shards moved while they were written".to_owned(),
            });
        } else if let Some(reason) = stream_is_lost(end, seen) {
            batch.refuse(&AppendError::Unreachable { reason: reason.clone() });
            self.end(reason);
        }
    }

    /// Up to where this process knows the stream: by what it has written itself, and what it has followed.
    fn known_end(&self) -> Lsn {
        self.lsn.max(*self.shared.durable.borrow())
    }

    /// Answers everybody and keeps what is true now.
    fn finish(&mut self, batch: Batch) {
        let finished = batch.finish();
        for part in finished.parts {
            let Some(held) = self.shards.get_mut(&part.shard) else {
                continue;
            };
            match part.fate {
                Some(Ok(_)) => held.at.tail.0 += part.records,
                Some(Err(AppendError::Fenced { current, .. })) => {
                    held.at.epoch = current;
                    held.is_granted = false;
                }
                Some(Err(error @ AppendError::RolledBack { .. })) => held.stopped = Some(alarmed(error)),
                _ => {}
            }
        }
        for key in &finished.lost {
            self.seqs.forget(key);
        }
        let mut is_followed = true;
        if let Some(last) = finished.stored.last() {
            self.set_health(Health::Writable);
            self.lsn = self.lsn.max(last.lsn);
            // Readers may see it from now on, but are woken behind those who wait for an answer.
            is_followed = self.shared.wrote(finished.stored);
        }
        for (done, fate) in finished.told {
            done(fate);
        }
        self.shared.wake(is_followed);
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
        self.shared.set_health(health);
    }

    fn pauses(&self) -> Pauses {
        let (seed, _) = self.id.as_u64_pair();
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

/// Why this process cannot go on with the stream: the store has forgotten a part of it.
fn stream_is_lost(known: Lsn, seen: &Seen) -> Option<String> {
    match seen.stream {
        Some(end) if end >= known => None,
        Some(end) => Some(format!("store_rolled_back: the stream was known up to {known}, and is at {end}")),
        None => Some("store_rolled_back: the stream is gone".to_owned()),
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
