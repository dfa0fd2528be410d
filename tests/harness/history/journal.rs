//! The journal as plain SQL shows it after a run, and what must hold of it whatever clients did.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Rule, Wrong};

/// A shard.
pub(crate) type Place = (String, u32);

/// Events have this kind of record (`RecordKind`).
pub(crate) const EVENT: u8 = 1;

/// A record without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) shard: Place,
    pub(crate) offset: u64,
    pub(crate) epoch: u64,
    /// Its place in the order over all shards; none if `stream` does not tell.
    pub(crate) lsn: Option<u64>,
    pub(crate) seq: u64,
    pub(crate) kind: u8,
    /// Kind and id.
    pub(crate) home: (u8, u128),
    /// Kind and id.
    pub(crate) entity: (String, u128),
    pub(crate) name: String,
    pub(crate) trace: u128,
    pub(crate) batch: u128,
}

/// A shard's own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) epoch: u64,
    pub(crate) tail: u64,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) rows: Vec<Row>,
    pub(crate) shards: BTreeMap<Place, Owned>,
    /// Where the order over all shards ends.
    pub(crate) last_lsn: u64,
}

const ROWS: &str = "select record.service, record.number, off, epoch, first_lsn + off - first_off, seq, kind, \
     home_kind, replace(home_id::text, '-', ''), entity_kind, replace(entity_id::text, '-', ''), name, \
     coalesce(replace(trace::text, '-', ''), '0'), replace(batch::text, '-', '') \
     from record left join stream on stream.service = record.service and stream.number = record.number \
     and off between first_off and first_off + last_lsn - first_lsn order by 1, 2, 3";
const SHARDS: &str = "select service, number, epoch, tail from shard";
const LOG: &str = "select lsn from log";

impl Journal {
    /// Asks for it, with what answers SQL by lines of values parted by `|`.
    pub(crate) fn read(query: impl Fn(&str) -> String) -> Self {
        let rows = query(ROWS);
        let shards = query(SHARDS);
        let shard = |line: &str| {
            let mut values = Values::of(line);
            (values.shard(), Owned { epoch: values.number(), tail: values.number() })
        };
        Self {
            rows: rows.lines().map(|line| Values::of(line).row()).collect(),
            shards: shards.lines().map(shard).collect(),
            last_lsn: query(LOG).parse().unwrap(),
        }
    }

    /// Events, each entity's in its order.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.kind == EVENT)
    }

    /// What is wrong with it by itself.
    pub(crate) fn faults(&self) -> Vec<Wrong> {
        let mut faults = Vec::new();
        let mut shards: BTreeMap<&Place, Vec<&Row>> = BTreeMap::new();
        let mut entities: HashMap<_, Vec<&Row>> = HashMap::new();
        for row in &self.rows {
            shards.entry(&row.shard).or_default().push(row);
            entities.entry((&row.shard.0, row.home, &row.entity)).or_default().push(row);
        }
        for (shard, rows) in &mut shards {
            rows.sort_by_key(|row| row.offset);
            of_shard(shard, rows, self.shards.get(*shard), &mut faults);
        }
        for (shard, owned) in self.shards.iter().filter(|(shard, _)| !shards.contains_key(shard)) {
            if owned.tail != 0 {
                faults.push(Wrong::new(Rule::Tail, format!("{shard:?} is empty and ends at {}", owned.tail)));
            }
        }
        for (entity, rows) in &mut entities {
            rows.sort_by_key(|row| row.offset);
            for (row, seq) in rows.iter().zip(1..).filter(|(row, seq)| row.seq != *seq) {
                faults.push(Wrong::new(Rule::Seq, format!("{entity:?} has {row:?} where seq {seq} belongs")));
            }
        }
        let mut lsns: Vec<_> = self.rows.iter().filter_map(|row| row.lsn).collect();
        lsns.sort_unstable();
        if !lsns.iter().copied().eq(1..=self.last_lsn) {
            faults.push(Wrong::new(Rule::Stream, format!("places up to {} are not {lsns:?}", self.last_lsn)));
        }
        faults
    }
}

/// What is wrong with one shard, whose rows come in the order of their offsets.
fn of_shard(shard: &Place, rows: &[&Row], owned: Option<&Owned>, faults: &mut Vec<Wrong>) {
    let mut fault = |rule, what| faults.push(Wrong::new(rule, what));
    let (mut epoch, mut lsn, mut batch) = (0, 0, None);
    let mut ended = HashSet::new();
    for (row, offset) in rows.iter().zip(1..) {
        if row.offset != offset {
            fault(Rule::Gap, format!("{shard:?} has {row:?} where offset {offset} belongs"));
            return;
        }
        if row.epoch < epoch || owned.is_some_and(|owned| row.epoch > owned.epoch) {
            fault(Rule::Epoch, format!("{row:?} lies behind epoch {epoch}; the shard's own is {owned:?}"));
        }
        if row.lsn.is_none_or(|place| place <= lsn) {
            fault(Rule::Stream, format!("{row:?} lies behind place {lsn}"));
        }
        if batch == Some(row.batch) {
            if row.epoch != epoch {
                fault(Rule::Batch, format!("{row:?} is of a batch that began under epoch {epoch}"));
            }
        } else {
            ended.extend(batch);
            if ended.contains(&row.batch) {
                fault(Rule::Batch, format!("{row:?} lies apart from its batch"));
            }
        }
        (epoch, lsn, batch) = (row.epoch, row.lsn.unwrap_or(lsn), Some(row.batch));
    }
    if owned.is_none_or(|owned| owned.tail != rows.len() as u64) {
        fault(Rule::Tail, format!("{shard:?} has {} records and says {owned:?}", rows.len()));
    }
}

/// A line of values.
struct Values<'a>(std::str::Split<'a, char>);

impl<'a> Values<'a> {
    fn of(line: &'a str) -> Self {
        Self(line.split('|'))
    }

    fn text(&mut self) -> &'a str {
        self.0.next().unwrap()
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&mut self) -> T {
        self.text().parse().unwrap()
    }

    fn id(&mut self) -> u128 {
        u128::from_str_radix(self.text(), 16).unwrap()
    }

    fn shard(&mut self) -> Place {
        (self.text().to_owned(), self.number())
    }

    fn row(mut self) -> Row {
        Row {
            shard: self.shard(),
            offset: self.number(),
            epoch: self.number(),
            lsn: self.text().parse().ok(),
            seq: self.number(),
            kind: self.number(),
            home: (self.number(), self.id()),
            entity: (self.text().to_owned(), self.id()),
            name: self.text().to_owned(),
            trace: self.id(),
            batch: self.id(),
        }
    }
}
