//! One append: groups of several shards, numbered, each with somebody who waits for its fate.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use super::seqs::Key;
use crate::{
    Lsn, Offset, ShardId,
    journal::{AppendError, Appended, Claim, Done, Group, Record, Stored},
};

/// A group and who waits for it.
pub(super) struct Queued {
    pub(super) group: Group,
    pub(super) done: Done,
}

impl Queued {
    pub(super) fn refuse(self, error: &AppendError) {
        (self.done)(Err(error.clone()));
    }

    /// The entities it writes to, each as often as it has records.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        let service = self.group.shard.service;
        self.group.records.iter().map(move |record| (service, record.entity))
    }
}

/// What of a batch goes to one shard.
pub(super) struct Part {
    pub(super) shard: ShardId,
    /// The epoch it is appended under, and the tail it goes on from.
    pub(super) at: Claim,
    pub(super) records: u64,
    /// Where its first record lies in the stream; `None` as long as nobody knows.
    pub(super) fate: Option<Result<Lsn, AppendError>>,
}

/// A record and its place.
pub(super) struct Numbered {
    /// Its part's place.
    pub(super) part: usize,
    pub(super) offset: Offset,
    pub(super) record: Record,
}

/// A group whose records were numbered.
struct Waiting {
    part: usize,
    first: Offset,
    last: Offset,
    done: Done,
}

/// See the module.
pub(super) struct Batch {
    pub(super) id: Uuid,
    /// In the order of their keys.
    parts: Vec<Part>,
    /// In the order they were queued.
    records: Vec<Numbered>,
    waiting: Vec<Waiting>,
}

impl Batch {
    /// Numbers groups on from where their shards are; each of them must go on its shard's last one.
    pub(super) fn new(id: Uuid, groups: Vec<Queued>, at: impl Fn(ShardId) -> Option<Claim>) -> Self {
        let shards = groups.iter().map(|queued| queued.group.shard);
        let known: BTreeMap<_, _> = shards.filter_map(|shard| Some((shard, at(shard)?))).collect();
        let part = |(shard, at): (&ShardId, &Claim)| Part { shard: *shard, at: *at, records: 0, fate: None };
        let mut batch =
            Self { id, parts: known.iter().map(part).collect(), records: Vec::new(), waiting: Vec::new() };
        for queued in groups {
            batch.take_in(queued);
        }
        batch
    }

    fn take_in(&mut self, Queued { group, done }: Queued) {
        let Ok(number) = self.parts.binary_search_by_key(&group.shard, |part| part.shard) else {
            return done(Err(AppendError::Closed));
        };
        let Some(part) = self.parts.get_mut(number) else {
            return;
        };
        let first = Offset(part.at.tail.0 + part.records + 1);
        part.records += group.records.len() as u64;
        let last = Offset(part.at.tail.0 + part.records);
        let offsets = (first.0..).map(Offset);
        let numbered = group.records.into_iter().zip(offsets);
        self.records.extend(numbered.map(|(record, offset)| Numbered { part: number, offset, record }));
        self.waiting.push(Waiting { part: number, first, last, done });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The parts whose fate is not known: their places, shards, and where those were left.
    pub(super) fn open(&self) -> Vec<(usize, ShardId, Claim)> {
        let parts = self.parts.iter().enumerate().filter(|(_, part)| part.fate.is_none());
        parts.map(|(place, part)| (place, part.shard, part.at)).collect()
    }

    /// The records of those parts.
    pub(super) fn open_records(&self) -> impl Iterator<Item = &Numbered> {
        let is_open = |place| self.parts.get(place).is_some_and(|part: &Part| part.fate.is_none());
        self.records.iter().filter(move |numbered| is_open(numbered.part))
    }

    /// How many records a part has.
    pub(super) fn records_of(&self, place: usize) -> u64 {
        self.parts.get(place).map_or(0, |part| part.records)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.parts.iter().all(|part| part.fate.is_some())
    }

    pub(super) fn is_written(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.fate, Some(Ok(_))))
    }

    /// Tells the fate of a part.
    pub(super) fn settle(&mut self, place: usize, fate: Result<Lsn, AppendError>) {
        if let Some(part) = self.parts.get_mut(place) {
            part.fate = Some(fate);
        }
    }

    /// Nothing of the open parts is written.
    pub(super) fn refuse(&mut self, error: &AppendError) {
        for part in self.parts.iter_mut().filter(|part| part.fate.is_none()) {
            part.fate = Some(Err(error.clone()));
        }
    }

    /// The groups again, of a batch of which nothing is written.
    pub(super) fn into_groups(self) -> Vec<Queued> {
        let (parts, mut records) = (self.parts, self.records.into_iter());
        let mut groups = Vec::with_capacity(self.waiting.len());
        for Waiting { part, first, last, done } in self.waiting {
            let length = usize::try_from(last.0 + 1 - first.0).unwrap_or(usize::MAX);
            let records = records.by_ref().take(length).map(|numbered| numbered.record).collect();
            if let Some(Part { shard, at, .. }) = parts.get(part) {
                groups.push(Queued { group: Group { shard: *shard, epoch: at.epoch, records }, done });
            }
        }
        groups
    }

    /// What became of it.
    pub(super) fn finish(self) -> Finished {
        // The place of a record whose part is written.
        let place = |number: usize, offset: Offset| {
            let part = self.parts.get(number)?;
            let Some(Ok(first)) = &part.fate else { return None };
            Some((part, Lsn(first.0 + offset.0 - part.at.tail.0 - 1)))
        };
        let (mut stored, mut lost) = (Vec::with_capacity(self.records.len()), Vec::new());
        for Numbered { part, offset, record } in self.records {
            match place(part, offset) {
                Some((part, lsn)) => {
                    let (shard, epoch) = (part.shard, part.at.epoch);
                    stored.push(Arc::new(Stored { lsn, shard, epoch, offset, record }));
                }
                None => lost.extend(self.parts.get(part).map(|part| (part.shard.service, record.entity))),
            }
        }
        stored.sort_unstable_by_key(|stored| stored.lsn);
        let fate = |waiting: &Waiting| match place(waiting.part, waiting.last) {
            Some((_, last_lsn)) => Ok(Appended { first: waiting.first, last_lsn }),
            None => {
                let refused = self.parts.get(waiting.part).and_then(|part| part.fate.clone()?.err());
                Err(refused.unwrap_or(AppendError::Closed))
            }
        };
        let told = self.waiting.iter().map(fate).collect::<Vec<_>>();
        let told = self.waiting.into_iter().map(|waiting| waiting.done).zip(told).collect();
        Finished { parts: self.parts, stored, lost, told }
    }
}

/// What became of a batch.
pub(super) struct Finished {
    pub(super) parts: Vec<Part>,
    /// What is durable, in the order of the stream.
    pub(super) stored: Vec<Arc<Stored>>,
    /// The entities of records that are not.
    pub(super) lost: Vec<Key>,
    /// Who waits, and for what, in the order they were queued.
    pub(super) told: Vec<(Done, Result<Appended, AppendError>)>,
}
