//! The audit chain: hashes over all that was recorded about a home, each over the one before.
//!
//! ```text
//! head 0   SHA-256( "prognet audit chain 1" │ home │ service )
//! head n   SHA-256( head n-1 │ record n: its header │ its sealed body )
//! ```
//! A *strand* is what one service recorded of one home, by offset: the only order that all stores and all numbers
//! of nodes agree on, since a home is in one shard of a service and services write side by side. A home has as many
//! strands as services know it. A *head* says how many records a strand has and what they hash to.
//!
//! **Nothing of it is in the journal.** Whoever can rewrite a record can rewrite a hash beside it, so a chain in
//! the records would prove no more than one computed from them. What proves something is a head that lies
//! elsewhere: noted, printed, in somebody's mailbox. So heads are computed by a reader (which costs appends
//! nothing), shown with the audit trail, and compared with the journal by [`verify()`], without keys and without a
//! node.
//!
//! **What is hashed** is what was said: kind, entity, seq, name, version, time, asker, trace, cause, and the body as
//! it is sealed. Not where it lies (lsn, offset, shard, epoch): a home that is moved to another store keeps its
//! heads. The bodies are hashed sealed, so an erased home, whose key is gone, verifies as before.

mod verify;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

pub use self::verify::{Finding, Noted, Place, Verified, verify};
use crate::{
    Home, Name, ShardId,
    journal::{Record, RecordKind},
};

/// Heads that were noted stay good for ever: another way to hash gets another line here.
const DOMAIN: &[u8] = b"prognet audit chain 1";

/// A strand up to one of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many records it covers.
    pub records: u64,
    /// What they hash to.
    pub hash: [u8; 32],
}

impl Head {
    /// Whether a record is in its home's strand: all are but fences, which say who owns a shard and are no home's.
    #[must_use]
    pub fn covers(record: &Record) -> bool {
        record.kind != RecordKind::Fence
    }

    /// The head of a strand without records.
    #[must_use]
    pub fn first(service: Name, home: Home) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(DOMAIN);
        context.update(&home.canonical());
        context.update(service.as_bytes());
        Self { records: 0, hash: finished(context) }
    }

    /// The head behind one record more.
    #[must_use]
    pub fn then(self, record: &Record) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(&header(record));
        context.update(&record.body);
        Self { records: self.records + 1, hash: finished(context) }
    }

    /// The hash as people note it: 64 hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A head that was noted; nothing if the text is no hash.
    #[must_use]
    pub fn noted(records: u64, hex: &str) -> Option<Self> {
        let is_whole = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
        let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
        let hash = bytes.filter(|_| is_whole)?.try_into().ok()?;
        Some(Self { records, hash })
    }
}

fn finished(context: Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A record but for its body, in one way only: numbers big-endian, names and the body behind their lengths.
fn header(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    bytes.push(record.kind as u8);
    put_name(&mut bytes, record.entity.kind);
    bytes.extend_from_slice(&record.entity.id.to_be_bytes());
    bytes.extend_from_slice(&record.seq.0.to_be_bytes());
    put_name(&mut bytes, record.name);
    bytes.extend_from_slice(&record.version.to_be_bytes());
    bytes.extend_from_slice(&record.at_ms.to_be_bytes());
    bytes.extend_from_slice(&record.by.to_be_bytes());
    bytes.extend_from_slice(&record.trace.to_be_bytes());
    bytes.push(u8::from(record.caused_by.is_some()));
    if let Some(cause) = record.caused_by {
        let ShardId { service, number } = cause.shard;
        put_name(&mut bytes, service);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&cause.offset.0.to_be_bytes());
    }
    bytes.extend_from_slice(&(record.body.len() as u64).to_be_bytes());
    bytes
}

fn put_name(bytes: &mut Vec<u8>, name: Name) {
    let text = name.as_bytes();
    // At most `Name::MAX`.
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;
    use crate::{EntityRef, HomeKind, Offset, Seq, journal::Cause};

    const HOME: Home = Home { kind: HomeKind::Tenant, id: 5 };
    const SERVICE: Name = Name::new("tenancy");

    fn cause(offset: u64) -> Cause {
        Cause { shard: ShardId { service: SERVICE, number: 3 }, offset: Offset(offset) }
    }

    prop_compose! {
        fn record()(
            kind in 1_u8..=9, id: u128, seq: u64, name in 0..3_usize, version: u16, at_ms: i64, by: u128, trace: u128,
            offset: Option<u64>, body: Vec<u8>,
        ) -> Record {
            let names = ["created", "renamed", "suspended"].map(Name::new);
            Record {
                kind: RecordKind::from_number(kind).unwrap(),
                entity: EntityRef { home: HOME, kind: Name::new("tenant"), id },
                seq: Seq(seq),
                name: names[name],
                version, at_ms, by, trace,
                caused_by: offset.map(cause),
                body,
            }
        }
    }

    /// One thing of a record, told wrong.
    fn falsified(mut record: Record, field: usize) -> Record {
        match field % 12 {
            0 => {
                record.kind =
                    if record.kind == RecordKind::Event { RecordKind::Fence } else { RecordKind::Event }
            }
            1 => record.entity.kind = Name::new("tenan"),
            2 => record.entity.id ^= 1,
            3 => record.seq.0 ^= 1,
            4 => record.name = Name::new("another"),
            5 => record.version ^= 1,
            6 => record.at_ms ^= 1,
            7 => record.by ^= 1,
            8 => record.trace ^= 1,
            9 => record.caused_by = record.caused_by.xor(Some(cause(9))),
            10 => record.body.push(0),
            _ => match record.body.first_mut() {
                Some(byte) => *byte ^= 1,
                None => record.body.push(1),
            },
        }
        record
    }

    fn head(records: &[Record]) -> Head {
        records.iter().fold(Head::first(SERVICE, HOME), Head::then)
    }

    impl Head {
        fn hex_of(records: &[Record]) -> String {
            head(records).hex()
        }
    }

    proptest! {
        #[test]
        fn a_strand_that_is_not_the_same_has_another_head(
            records in vec(record(), 1..8), other in record(), at: Index, to: Index, field: usize,
        ) {
            let known = Head::hex_of(&records);
            let (at, to) = (at.index(records.len()), to.index(records.len()));

            let mut removed = records.clone();
            removed.remove(at);
            prop_assert_ne!(&Head::hex_of(&removed), &known);
            let mut inserted = records.clone();
            inserted.insert(at, other);
            prop_assert_ne!(&Head::hex_of(&inserted), &known);
            let mut changed = records.clone();
            changed[at] = falsified(changed[at].clone(), field);
            prop_assert_ne!(&Head::hex_of(&changed), &known);
            let mut moved = records.clone();
            moved.swap(at, to);
            prop_assert_eq!(Head::hex_of(&moved) == known, moved == records);
            prop_assert_eq!(head(&records).records, records.len() as u64);
        }

        #[test]
        fn a_head_is_noted_as_its_text(hash: [u8; 32], text: String) {
            let head = Head { records: 7, hash };
            prop_assert_eq!(Head::noted(7, &head.hex()), Some(head));
            prop_assert!(Head::noted(7, &text).is_none() || text.len() == 64);
        }
    }

    #[test]
    fn strands_of_other_homes_and_services_begin_with_other_heads() {
        let other = Home { kind: HomeKind::Account, ..HOME };
        let heads =
            [Head::first(SERVICE, HOME), Head::first(SERVICE, other), Head::first(Name::new("auth"), HOME)];
        assert!(heads[0] != heads[1] && heads[0] != heads[2] && heads[1] != heads[2]);
    }

    /// Heads that were noted stay good for ever.
    #[test]
    fn a_head_is_what_it_always_was() {
        let record = Record {
            kind: RecordKind::Event,
            entity: EntityRef { home: HOME, kind: Name::new("tenant"), id: 5 },
            seq: Seq(1),
            name: Name::new("created"),
            version: 1,
            at_ms: 1_767_268_800_000,
            by: 2,
            trace: 3,
            caused_by: Some(cause(4)),
            body: b"sealed".to_vec(),
        };
        assert_eq!(Head::hex_of(&[record]), GOLDEN);
    }

    const GOLDEN: &str = "3fee3d975a6450254629d192630a1f0aa8541ce87824b06b1467d0dc587324c3";
}
