//! Somebody with the data directory who knows the journal's format, and makes every frame whole again.

use std::{collections::HashMap, fs, path::Path};

const SEGMENT: &str = "journal/00000000000000000001.seg";
/// Magic u32, length u32, count u32, first lsn u64, epoch u64, previous crc u32, crc u32.
const HEADER: usize = 36;

/// A record's bytes, behind its length.
#[derive(Clone)]
pub(crate) struct Record(Vec<u8>);

/// What a record's header says, and where.
struct Header<'a> {
    shard: (&'a [u8], &'a [u8]),
    offset_at: usize,
    home: &'a [u8],
    entity: (&'a [u8], &'a [u8]),
    seq_at: usize,
    name: &'a [u8],
    body_at: usize,
}

impl Record {
    fn header(&self) -> Header<'_> {
        let mut cut = Cut { bytes: &self.0, at: 1 };
        let shard = (cut.name(), cut.take(2));
        cut.take(8);
        let offset_at = cut.at;
        cut.take(8);
        let home = cut.take(17);
        let entity = (cut.name(), cut.take(16));
        let seq_at = cut.at;
        cut.take(8);
        let name = cut.name();
        cut.take(2 + 8 + 16 + 16);
        if cut.take(1) == [1] {
            cut.name();
            cut.take(2 + 8);
        }
        Header { shard, offset_at, home, entity, seq_at, name, body_at: cut.at }
    }

    /// Whether it is such an event of such a home.
    pub(crate) fn is(&self, home: &[u8], name: &str) -> bool {
        let header = self.header();
        self.0[0] == 1 && header.home == home && header.name == name.as_bytes()
    }

    pub(crate) fn is_of(&self, home: &[u8]) -> bool {
        self.header().home == home
    }

    /// Turns a bit of its sealed body.
    pub(crate) fn turn_a_bit(&mut self) {
        let at = self.header().body_at + 20;
        self.0[at] ^= 1;
    }

    fn set(&mut self, at: usize, number: u64) {
        self.0[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
}

/// Bytes not read yet.
struct Cut<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cut<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        self.at += length;
        &self.bytes[self.at - length..self.at]
    }

    fn name(&mut self) -> &'a [u8] {
        let length = usize::from(self.take(1)[0]);
        self.take(length)
    }
}

/// Numbers the records of each entity on.
pub(crate) fn number_entities(records: &mut [Record]) {
    let mut lasts = HashMap::new();
    for record in records {
        let Header { shard, home, entity, seq_at, .. } = record.header();
        let key = [shard.0, shard.1, home, entity.0, entity.1].concat();
        let last: &mut u64 = lasts.entry(key).or_default();
        *last += 1;
        record.set(seq_at, *last);
    }
}

/// Numbers the records of each shard on.
pub(crate) fn number_shards(records: &mut [Record]) {
    let mut tails = HashMap::new();
    for record in records {
        let Header { shard, offset_at, .. } = record.header();
        let tail: &mut u64 = tails.entry([shard.0, shard.1].concat()).or_default();
        *tail += 1;
        record.set(offset_at, *tail);
    }
}

/// Does something to all records of a journal.
pub(crate) fn forge(data: &Path, edit: impl FnOnce(&mut Vec<Record>)) {
    let path = data.join(SEGMENT);
    let bytes = fs::read(&path).unwrap();
    let (mut records, epochs) = read(&bytes);
    edit(&mut records);
    // All records lie in the first frame afterwards; the one behind it has none, and keeps the epoch.
    let mut forged = Vec::new();
    let crc = seal(&mut forged, &records, 1, epochs[0], 0);
    seal(&mut forged, &[], records.len() as u64 + 1, epochs[epochs.len() - 1], crc);
    forged.resize(bytes.len().max(forged.len()), 0);
    fs::write(&path, forged).unwrap();
}

/// All records of a segment, and the epochs of its frames.
fn read(bytes: &[u8]) -> (Vec<Record>, Vec<u64>) {
    let number = |bytes: &[u8], at: usize| {
        usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap()
    };
    let (mut records, mut epochs, mut rest) = (Vec::new(), Vec::new(), bytes);
    while rest.starts_with(b"PNJ1") {
        epochs.push(u64::from_le_bytes(rest[20..28].try_into().unwrap()));
        let (frame, after) = rest.split_at(HEADER + number(rest, 4));
        let mut body = &frame[HEADER..];
        while !body.is_empty() {
            let (record, after) = body.split_at(4 + number(body, 0));
            records.push(Record(record[4..].to_vec()));
            body = after;
        }
        rest = after;
    }
    (records, epochs)
}

/// Appends a frame; its crc.
fn seal(forged: &mut Vec<u8>, records: &[Record], first: u64, epoch: u64, previous: u32) -> u32 {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let body: Vec<u8> =
        records.iter().flat_map(|Record(bytes)| [&length(bytes)[..], bytes].concat()).collect();
    let count = u32::try_from(records.len()).unwrap().to_le_bytes();
    let header = [
        &b"PNJ1"[..],
        &length(&body),
        &count,
        &first.to_le_bytes(),
        &epoch.to_le_bytes(),
        &previous.to_le_bytes(),
    ];
    let crc = crc32c(&[&header.concat()[..], &body].concat());
    forged.extend(header.concat());
    forged.extend(crc.to_le_bytes());
    forged.extend(body);
    crc
}

/// CRC-32C (RFC 3720 appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
            },
        )
    })
}
