//! Comparing a journal with heads that were noted, without keys and without a node.
//!
//! Two things are looked for. What lies in the journal must follow: offsets in a shard and seqs in an entity have no
//! gap. And it must hash to the heads that were noted: of two neighbours of which one holds and one does not, what
//! lies between them is what was tampered with.

use std::{collections::BTreeMap, fmt, path::Path};

use super::Head;
use crate::{
    AddressMap, Home, Name, Offset, Seq, ShardId,
    embedded::{OpenError, read_records},
    journal::{Record, Stored},
};

/// Findings that are told one by one; a journal that is wrong everywhere is told no better by more.
const FINDINGS_MAX: usize = 100;

/// A head that somebody noted, of one record at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The home.
    pub home: Home,
    /// The service.
    pub service: Name,
    /// How far it goes, and what that hashed to.
    pub head: Head,
}

/// A record as its header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    shard: ShardId,
    offset: Offset,
    what: String,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}/{}", self.what, self.shard, self.offset)
    }
}

/// What is wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A shard's offsets do not follow.
    Gap {
        /// The shard.
        shard: ShardId,
        /// The offset that should be there.
        expected: Offset,
        /// The record that is there.
        found: Place,
    },
    /// An entity's seqs do not follow.
    Skipped {
        /// The entity's home.
        home: Home,
        /// The seq that should be there.
        expected: Seq,
        /// The record that is there, with which seq.
        found: (Place, Seq),
    },
    /// A strand ends before a head that was noted.
    Cut {
        /// What was noted.
        noted: Noted,
        /// How many records there are.
        records: u64,
    },
    /// A strand is not what was noted.
    Differs {
        /// The first head that does not hold.
        noted: Noted,
        /// How many records are what they were, by the heads that hold.
        sound: u64,
        /// The last record that may be the wrong one.
        last: Place,
    },
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Records in all.
    pub records: u64,
    /// The strands' heads, by home.
    pub heads: BTreeMap<(Home, Name), Head>,
    /// How many of the noted heads hold.
    pub holding: usize,
    /// What is wrong; at most a hundred things.
    pub findings: Vec<Finding>,
}

/// A strand on the way.
struct Strand {
    head: Head,
    /// The last seq of each entity.
    seqs: AddressMap<(Name, u128), Seq>,
    /// What was noted of it, by records, the next one last.
    noted: Vec<Noted>,
    sound: u64,
    is_wrong: bool,
}

impl Strand {
    fn new(service: Name, home: Home, mut noted: Vec<Noted>) -> Self {
        noted.sort_by_key(|noted| std::cmp::Reverse(noted.head.records));
        let head = Head::first(service, home);
        Self { head, seqs: AddressMap::default(), noted, sound: 0, is_wrong: false }
    }
}

/// Looks at the journal in a directory (of a node, running or not, or of a backup) with these heads in hand.
///
/// # Errors
/// When a batch is damaged or the directory cannot be read.
pub fn verify(journal: &Path, noted: &[Noted]) -> Result<Verified, OpenError> {
    let mut by_strand: BTreeMap<(Home, Name), Vec<Noted>> = BTreeMap::new();
    for noted in noted {
        by_strand.entry((noted.home, noted.service)).or_default().push(*noted);
    }
    let mut strands: BTreeMap<(Home, Name), Strand> = BTreeMap::new();
    for ((home, service), noted) in by_strand {
        strands.insert((home, service), Strand::new(service, home, noted));
    }
    let mut tails: AddressMap<ShardId, Offset> = AddressMap::default();
    let (mut holding, mut findings) = (0, Findings::default());
    let survey = read_records(journal, |stored| {
        follow(stored, &mut tails, &mut findings);
        if !Head::covers(&stored.record) {
            return;
        }
        let of = (stored.record.entity.home, stored.shard.service);
        let strand = strands.entry(of).or_insert_with(|| Strand::new(of.1, of.0, Vec::new()));
        holding += take_in(strand, stored, &mut findings);
    })?;
    let mut heads = BTreeMap::new();
    for (of, mut strand) in strands {
        // Of more records than there are; what reaches farthest says most.
        if let Some(noted) = strand.noted.drain(..).next() {
            findings.add(Finding::Cut { noted, records: strand.head.records });
        }
        if strand.head.records > 0 {
            heads.insert(of, strand.head);
        }
    }
    Ok(Verified { records: survey.records, heads, holding, findings: findings.0 })
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, finding: Finding) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(finding);
        }
    }
}

/// A shard's offsets have no gap.
fn follow(stored: &Stored, tails: &mut AddressMap<ShardId, Offset>, findings: &mut Findings) {
    let tail = tails.entry(stored.shard).or_default();
    if stored.offset != tail.next() {
        let (shard, expected) = (stored.shard, tail.next());
        findings.add(Finding::Gap { shard, expected, found: place(stored) });
    }
    *tail = stored.offset;
}

/// Takes a record into its strand, and compares with what was noted of so many records; how many of that holds.
fn take_in(strand: &mut Strand, stored: &Stored, findings: &mut Findings) -> usize {
    let Record { entity, seq, .. } = &stored.record;
    let last = strand.seqs.entry((entity.kind, entity.id)).or_default();
    if *seq != last.next() {
        let (home, expected) = (entity.home, last.next());
        findings.add(Finding::Skipped { home, expected, found: (place(stored), *seq) });
    }
    *last = *seq;
    strand.head = strand.head.then(&stored.record);
    let mut holding = 0;
    while let Some(noted) = strand.noted.pop_if(|noted| noted.head.records == strand.head.records) {
        if noted.head == strand.head {
            holding += 1;
            strand.sound = noted.head.records;
        } else if !strand.is_wrong {
            // Whatever comes after it differs as well.
            strand.is_wrong = true;
            findings.add(Finding::Differs { noted, sound: strand.sound, last: place(stored) });
        }
    }
    holding
}

fn place(stored: &Stored) -> Place {
    let Stored { shard, offset, record, .. } = stored;
    Place { shard: *shard, offset: *offset, what: format!("{}.{}", record.entity.kind, record.name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Journal,
        conformance::{SERVICE, SHARD, append, home, record},
        embedded::EmbeddedJournal,
    };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_journal_that_nobody_touched_holds_over_segments_owners_and_starts() {
        let directory = tempfile::tempdir().unwrap();
        let mut noted = Vec::new();
        let mut heads = [1, 2].map(|id| Head::first(SERVICE, home(id)));
        for start in 0..3 {
            let (journal, _) = EmbeddedJournal::open(directory.path(), 4096).unwrap();
            journal.claim(SHARD).await.unwrap();
            let epoch = journal.claim(SHARD).await.unwrap().epoch;
            for seq in start * 10 + 1..=start * 10 + 10 {
                for (id, head) in (1..).zip(&mut heads) {
                    let record = record(id, seq, 100);
                    *head = head.then(&record);
                    noted.push(Noted { home: home(id), service: SERVICE, head: *head });
                    append(&journal, epoch, vec![record]).await.unwrap();
                }
            }
            journal.close().await;
        }

        let verified = verify(directory.path(), &noted).unwrap();

        assert_eq!((verified.findings, verified.holding), (Vec::new(), 60));
        let of = |id: u128| verified.heads.get(&(home(id), SERVICE)).copied();
        assert_eq!([of(1), of(2)], heads.map(Some));
        assert_eq!(verified.heads.len(), 2, "fences are nobody's");
    }
}
