//! The data directory that is moved: locked, read as it is, and marked in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{Error, Service, identity};
use crate::{
    Epoch, Home, HomeKind, Lsn, Name, Offset, ShardId,
    chain::Head,
    embedded::{self, Frozen, OpenError, mark_moved, moved_to},
    journal::{Limit, RecordKind, Stored},
    keyring::{self, Export, Keyring},
};

/// How often a look at all records says how far it is.
const TOLD_EVERY: u64 = 1_000;

/// See the module.
pub(super) struct Source {
    data: PathBuf,
    journal: PathBuf,
    frozen: Frozen,
}

/// A shard, as its records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) tail: Offset,
    /// Over all its records, in their order.
    pub(super) head: Head,
}

/// The shards of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tallies(pub(super) BTreeMap<ShardId, Tally>);

impl Tallies {
    /// Counts a record; answers the offset that should have come.
    pub(super) fn count(&mut self, stored: &Stored) -> Offset {
        let shard = stored.shard;
        let tally = self.0.entry(shard).or_insert_with(|| {
            let number = Home { kind: HomeKind::Platform, id: u128::from(shard.number) };
            Tally { records: 0, tail: Offset(0), head: Head::first(shard.service, number) }
        });
        let expected = tally.tail.next();
        *tally =
            Tally { records: tally.records + 1, tail: stored.offset, head: tally.head.then(&stored.record) };
        expected
    }
}

/// What is to be in the store.
pub(super) struct Plan {
    pub(super) records: u64,
    pub(super) last: Lsn,
    /// The highest that anything was written under.
    pub(super) epoch: Epoch,
    pub(super) shards: Tallies,
    /// Whose data is sealed in it.
    pub(super) homes: BTreeSet<Home>,
}

impl Plan {
    /// What there is, by service.
    pub(super) fn services(&self) -> BTreeMap<Name, Service> {
        let mut services: BTreeMap<Name, Service> = BTreeMap::new();
        for (shard, tally) in &self.shards.0 {
            let service = services.entry(shard.service).or_default();
            *service = Service { shards: service.shards + 1, records: service.records + tally.records };
        }
        services
    }
}

impl Source {
    /// Takes the directory's lock.
    pub(super) fn take(data: &Path) -> Result<Self, Error> {
        let journal = data.join("journal");
        if !journal.is_dir() {
            return Err(Error::NoJournal(data.to_owned()));
        }
        let frozen = Frozen::take(&journal).map_err(failed(&journal))?;
        Ok(Self { data: data.to_owned(), journal, frozen })
    }

    /// Where it was moved to, if it was.
    pub(super) fn moved_to(&self) -> Result<Option<String>, Error> {
        let failed = |source| Error::File { path: self.data.join("moved"), source };
        moved_to(&self.journal).map_err(failed)
    }

    /// The id of its migration, if one has begun.
    pub(super) fn id(&self) -> Result<Option<Uuid>, Error> {
        identity::known(&self.data).map_err(self.no_id())
    }

    /// The id of its migration, which begins.
    pub(super) fn begin(&self) -> Result<Uuid, Error> {
        identity::drawn(&self.data).map_err(self.no_id())
    }

    fn no_id(&self) -> impl FnOnce(std::io::Error) -> Error {
        let path = identity::file_of(&self.data);
        move |source| Error::File { path, source }
    }

    /// Reads and checks all of it.
    pub(super) fn plan(&self, told: impl Fn(u64)) -> Result<Plan, Error> {
        let (mut shards, mut gap) = (Tallies::default(), None);
        let survey = self.frozen.survey(|stored| {
            let stored = as_kept(stored.clone());
            let expected = shards.count(&stored);
            if expected != stored.offset && gap.is_none() {
                gap = Some(Error::Gap { shard: stored.shard, expected, found: stored.offset });
            }
            if stored.lsn.0.is_multiple_of(TOLD_EVERY) {
                told(stored.lsn.0);
            }
        });
        let embedded::Survey { records, last, epoch, homes, .. } = survey.map_err(failed(&self.journal))?;
        match gap {
            Some(gap) => Err(gap),
            None => Ok(Plan { records, last, epoch, shards, homes }),
        }
    }

    /// Its records from the first on, as the store keeps them.
    pub(super) fn records(&self) -> Result<Records<'_>, Error> {
        let inner = self.frozen.records().map_err(failed(&self.journal))?;
        Ok(Records { journal: &self.journal, inner })
    }

    /// Its keys.
    pub(super) fn keyring(&self) -> Result<Export, Error> {
        let directory = self.data.join("keyring");
        if !Keyring::is_in(&directory) {
            let source = keyring::Error::Damaged("it is not there");
            return Err(Error::Keyring { path: directory, source });
        }
        Export::of(&directory).map_err(self.keyring_failed())
    }

    pub(super) fn keyring_failed(&self) -> impl FnOnce(keyring::Error) -> Error {
        let path = self.data.join("keyring");
        move |source| Error::Keyring { path, source }
    }

    /// Marks it as moved: nobody opens it any more.
    pub(super) fn mark(&self, to: &str) -> Result<(), Error> {
        let failed = |source| Error::File { path: self.data.join("moved"), source };
        mark_moved(&self.journal, to).map_err(failed)
    }
}

/// Records of a source, in its order.
pub(super) struct Records<'a> {
    journal: &'a Path,
    inner: embedded::Records,
}

impl Records<'_> {
    pub(super) fn next_record(&mut self) -> Result<Option<Stored>, Error> {
        let next = self.inner.next_record().map_err(failed(self.journal))?;
        Ok(next.map(as_kept))
    }

    pub(super) fn page(&mut self, limit: Limit) -> Result<Vec<Stored>, Error> {
        let page = self.inner.page(limit).map_err(failed(self.journal))?;
        Ok(page.into_iter().map(as_kept).collect())
    }
}

fn failed(journal: &Path) -> impl FnOnce(OpenError) -> Error {
    move |source| Error::Source { path: journal.to_owned(), source }
}

/// A record as the store keeps it: see the module above for the one kind that differs.
fn as_kept(mut stored: Stored) -> Stored {
    if stored.record.kind == RecordKind::Fence {
        stored.record.entity.id |= u128::from(stored.shard.number) << 64;
    }
    stored
}
