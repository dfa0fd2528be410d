//! Whether a store holds what its source holds: every record read back and compared, then what can be counted.

use std::{collections::BTreeMap, fmt};

use tokio::task::yield_now;

use super::{
    Error,
    source::{Plan, Source, Tallies},
    unreadable,
};
use crate::{
    Lsn, Offset, ShardId,
    journal::{Limit, Stored},
    keyring::{
        Export,
        record::{Kept, Subject},
    },
    postgres::{
        arrival::{Arrivals, State},
        keys::text_of,
    },
};

/// Findings that are told one by one; a store that is wrong everywhere is told no better by more.
const FINDINGS_MAX: usize = 20;

/// Something of the source that is not so in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A record is not there.
    Missing {
        /// Its shard.
        shard: ShardId,
        /// Its place in it.
        offset: Offset,
        /// Its place in the stream.
        lsn: Lsn,
    },
    /// A record is there at a place where the source has none.
    Foreign {
        /// The shard.
        shard: ShardId,
        /// The place in it.
        offset: Offset,
        /// The place in the stream.
        lsn: Lsn,
    },
    /// A record is another.
    Differs {
        /// Its shard.
        shard: ShardId,
        /// Its place in it.
        offset: Offset,
        /// Its place in the stream.
        lsn: Lsn,
        /// What of it.
        what: Vec<&'static str>,
    },
    /// A page of the store cannot be read; what follows it was not compared.
    Unreadable(String),
    /// A number of a shard is another.
    Shard {
        /// The shard; none if its name is none.
        shard: Option<ShardId>,
        /// Which number.
        what: &'static str,
        /// In the source.
        expected: String,
        /// In the store.
        found: String,
    },
    /// A key is not there, or another.
    Key {
        /// Whose.
        subject: String,
        /// In what way.
        what: &'static str,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { shard, offset, lsn } => {
                write!(out, "record {offset} of shard {shard} (place {lsn}) is not there")
            }
            Self::Foreign { shard, offset, lsn } => {
                write!(out, "record {offset} of shard {shard} (place {lsn}) is not the source's")
            }
            Self::Differs { shard, offset, lsn, what } => {
                let what = what.join(", ");
                write!(out, "record {offset} of shard {shard} (place {lsn}) is another in: {what}")
            }
            Self::Unreadable(why) => write!(out, "what follows cannot be read: {why}"),
            Self::Shard { shard: Some(shard), what, expected, found } => {
                write!(out, "shard {shard}: the {what} is {found}, in the source {expected}")
            }
            Self::Shard { shard: None, what, found, .. } => {
                write!(out, "a shard that is none: its {what} is {found}")
            }
            Self::Key { subject, what } => write!(out, "the key of {subject} {what}"),
        }
    }
}

/// At most as many as are told.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, finding: Finding) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(finding);
        }
    }
}

/// Everything that differs. A store that is whole may have more than its source, and less keys.
pub(super) async fn all(
    source: &Source,
    plan: &Plan,
    export: &Export,
    target: &mut Arrivals,
    state: State,
    told: impl Fn(u64),
) -> Result<Vec<Finding>, Error> {
    let mut findings = Findings::default();
    let heads = records(source, plan, target, &mut findings, told).await?;
    shards(plan, &heads, target, state, &mut findings).await?;
    keys(export, target, state, &mut findings).await?;
    Ok(findings.0)
}

/// Walks both side by side; answers what the store's records come to.
async fn records(
    source: &Source,
    plan: &Plan,
    target: &mut Arrivals,
    findings: &mut Findings,
    told: impl Fn(u64),
) -> Result<Tallies, Error> {
    let (mut records, mut tallies, mut after) = (source.records()?, Tallies::default(), Lsn(0));
    let mut expected = records.next_record()?;
    while after < plan.last {
        let page = target.page(after, Limit::default()).await.map_err(Error::store("read records back"))?;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                findings.add(Finding::Unreadable(unreadable(&error)));
                return Ok(tallies);
            }
        };
        let Some(last) = page.last().map(|stored| stored.lsn) else { break };
        // Behind the source's end is what nodes have written since.
        for found in page.iter().take_while(|found| found.lsn <= plan.last) {
            tallies.count(found);
            while let Some(missing) = expected.take_if(|expected| expected.lsn < found.lsn) {
                findings.add(missing_from_store(&missing));
                expected = records.next_record()?;
            }
            match expected.take_if(|expected| expected.lsn == found.lsn) {
                Some(same) => {
                    let what = differences(&same, found);
                    if !what.is_empty() {
                        let Stored { shard, offset, lsn, .. } = same;
                        findings.add(Finding::Differs { shard, offset, lsn, what });
                    }
                    expected = records.next_record()?;
                }
                None => {
                    let Stored { shard, offset, lsn, .. } = **found;
                    findings.add(Finding::Foreign { shard, offset, lsn });
                }
            }
        }
        after = last;
        told(last.0.min(plan.last.0));
        yield_now().await;
    }
    while let Some(missing) = expected.filter(|_| findings.0.len() < FINDINGS_MAX) {
        findings.add(missing_from_store(&missing));
        expected = records.next_record()?;
    }
    Ok(tallies)
}

fn missing_from_store(stored: &Stored) -> Finding {
    let Stored { shard, offset, lsn, .. } = *stored;
    Finding::Missing { shard, offset, lsn }
}

/// What of a record is another.
fn differences(one: &Stored, other: &Stored) -> Vec<&'static str> {
    let (mine, its) = (&one.record, &other.record);
    let parts = [
        ("shard", one.shard == other.shard),
        ("offset", one.offset == other.offset),
        ("epoch", one.epoch == other.epoch),
        ("kind", mine.kind == its.kind),
        ("entity", mine.entity == its.entity),
        ("seq", mine.seq == its.seq),
        ("name", mine.name == its.name),
        ("version", mine.version == its.version),
        ("time", mine.at_ms == its.at_ms),
        ("asker", mine.by == its.by),
        ("trace", mine.trace == its.trace),
        ("cause", mine.caused_by == its.caused_by),
        ("body", mine.body == its.body),
    ];
    parts.into_iter().filter(|(_, is_same)| !is_same).map(|(part, _)| part).collect()
}

/// Ends, numbers of records and hash chains of all shards; the records themselves were compared.
async fn shards(
    plan: &Plan,
    heads: &Tallies,
    target: &mut Arrivals,
    state: State,
    findings: &mut Findings,
) -> Result<(), Error> {
    let tails: Vec<_> = plan.shards.0.iter().map(|(shard, tally)| (*shard, tally.tail)).collect();
    let counts = target.counts(&tails).await.map_err(Error::store("count records"))?;
    let rows = target.shards().await.map_err(Error::store("read the shards"))?;
    let counts: BTreeMap<_, _> = counts.into_iter().map(|(shard, all, of)| (shard, (all, of))).collect();
    let ends: BTreeMap<_, _> = rows.into_iter().collect();
    let may_go_on = state == State::Whole;
    let is_end = |found: Offset, expected: Offset| found == expected || (may_go_on && found > expected);
    for (shard, tally) in &plan.shards.0 {
        let mut differs = |what, expected: String, found: String| {
            findings.add(Finding::Shard { shard: Some(*shard), what, expected, found });
        };
        let (all, of) = counts.get(&Some(*shard)).copied().unwrap_or_default();
        if of != tally.records || (!may_go_on && all != tally.records) {
            differs("number of records", tally.records.to_string(), all.to_string());
        }
        let end = ends.get(&Some(*shard)).copied().unwrap_or_default();
        if !is_end(end.tail, tally.tail) {
            differs("tail", tally.tail.to_string(), end.tail.to_string());
        }
        if end.epoch < plan.epoch {
            differs("epoch", plan.epoch.to_string(), end.epoch.to_string());
        }
        let head = heads.0.get(shard).map(|tally| tally.head.hex());
        if head.as_deref() != Some(tally.head.hex().as_str()) {
            differs("hash chain", tally.head.hex(), head.unwrap_or_default());
        }
    }
    let is_known = |shard: &Option<ShardId>| shard.is_some_and(|shard| plan.shards.0.contains_key(&shard));
    for (shard, end) in ends.iter().filter(|(shard, end)| !is_known(shard) && !is_end(end.tail, Offset(0))) {
        let found = end.tail.to_string();
        findings.add(Finding::Shard { shard: *shard, what: "tail", expected: "0".to_owned(), found });
    }
    for (shard, (all, _)) in counts.iter().filter(|(shard, _)| !is_known(shard) && !may_go_on) {
        let (what, found) = ("number of records", all.to_string());
        findings.add(Finding::Shard { shard: *shard, what, expected: "0".to_owned(), found });
    }
    Ok(())
}

/// Keys: what was destroyed stays so, everything else is there, byte for byte.
async fn keys(
    export: &Export,
    target: &mut Arrivals,
    state: State,
    findings: &mut Findings,
) -> Result<(), Error> {
    let there = target.kept().await.map_err(Error::store("read the keys back"))?;
    let may_go_on = state == State::Whole;
    let mut differs =
        |subject: &Subject, what| findings.add(Finding::Key { subject: text_of(subject), what });
    for (subject, expected) in export.kept() {
        match (expected, there.get(subject)) {
            (_, None) => differs(subject, "is not there"),
            (Kept::Wrapped(expected), Some(Kept::Wrapped(found))) if expected != found => {
                differs(subject, "is another");
            }
            (Kept::Wrapped(_), Some(Kept::Erased)) if !may_go_on => differs(subject, "is destroyed"),
            (Kept::Erased, Some(Kept::Wrapped(_))) => {
                differs(subject, "is there, and was destroyed in the source");
            }
            (Kept::Wrapped(_), Some(Kept::Wrapped(_) | Kept::Erased))
            | (Kept::Erased, Some(Kept::Erased)) => {}
        }
    }
    for subject in there.keys().filter(|subject| !may_go_on && !export.kept().contains_key(*subject)) {
        differs(subject, "is not the source's");
    }
    Ok(())
}
