//! Bytes of the segment log: batches in frames, records in batches.
//!
//! ```text
//! frame   magic u32 │ length u32 │ count u32 │ first lsn u64 │ node epoch u64 │ previous crc u32 │ crc u32 │ body
//! body    count × ( length u32 │ record )
//! ```
//! Numbers are little-endian. The crc32c covers header (with a zero crc) and body; carrying the one before
//! it chains the frames, so that a stale or misplaced block cannot pass. A frame without records is a fence:
//! it raises the node's epoch.

use crate::{
    EntityRef, Epoch, Home, Lsn, Name, Offset, Seq, ShardId,
    journal::{Cause, Record, RecordKind, Stored},
};

const MAGIC: u32 = 0x314a_4e50;
/// Bytes before a frame's body.
pub(crate) const HEADER: usize = 36;
/// No frame is larger: a drained queue and one group more, with room for headers.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) length: usize,
    pub(crate) count: u32,
    pub(crate) first: Lsn,
    pub(crate) epoch: Epoch,
    pub(crate) previous: u32,
    pub(crate) crc: u32,
}

/// Makes a frame of bytes that begin with [`HEADER`] to spare: fills the header in, and returns the crc.
pub(crate) fn seal(bytes: &mut [u8], count: u32, first: Lsn, epoch: Epoch, previous: u32) -> u32 {
    let Some((header, body)) = bytes.split_first_chunk_mut::<HEADER>() else {
        return previous;
    };
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut filled = [0; HEADER - 4];
    filled[..4].copy_from_slice(&MAGIC.to_le_bytes());
    filled[4..8].copy_from_slice(&length.to_le_bytes());
    filled[8..12].copy_from_slice(&count.to_le_bytes());
    filled[12..20].copy_from_slice(&first.0.to_le_bytes());
    filled[20..28].copy_from_slice(&epoch.0.to_le_bytes());
    filled[28..].copy_from_slice(&previous.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&filled), body);
    header[..HEADER - 4].copy_from_slice(&filled);
    header[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// The frame at the start of `bytes`, if it is whole and its crc is right.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let mut cut = Cut(bytes);
    if cut.u32()? != MAGIC {
        return None;
    }
    let length = usize::try_from(cut.u32()?).ok().filter(|length| *length <= BODY_MAX)?;
    let (count, first, epoch) = (cut.u32()?, Lsn(cut.u64()?), Epoch(cut.u64()?));
    let (previous, crc) = (cut.u32()?, cut.u32()?);
    let body = cut.take(length)?;
    let head = bytes.get(..HEADER - 4)?;
    let is_whole = crc32c::crc32c_append(crc32c::crc32c(head), body) == crc;
    is_whole.then_some((Frame { length, count, first, epoch, previous, crc }, body))
}

/// Appends a record to a body.
pub(crate) fn write_record(
    body: &mut Vec<u8>,
    shard: ShardId,
    epoch: Epoch,
    offset: Offset,
    record: &Record,
) {
    let start = body.len();
    body.extend_from_slice(&[0; 4]);
    body.push(record.kind as u8);
    write_shard(body, shard);
    body.extend_from_slice(&epoch.0.to_le_bytes());
    body.extend_from_slice(&offset.0.to_le_bytes());
    body.extend_from_slice(&record.entity.home.canonical());
    write_name(body, record.entity.kind);
    body.extend_from_slice(&record.entity.id.to_le_bytes());
    body.extend_from_slice(&record.seq.0.to_le_bytes());
    write_name(body, record.name);
    body.extend_from_slice(&record.version.to_le_bytes());
    body.extend_from_slice(&record.at_ms.to_le_bytes());
    body.extend_from_slice(&record.by.to_le_bytes());
    body.extend_from_slice(&record.trace.to_le_bytes());
    match record.caused_by {
        None => body.push(0),
        Some(cause) => {
            body.push(1);
            write_shard(body, cause.shard);
            body.extend_from_slice(&cause.offset.0.to_le_bytes());
        }
    }
    body.extend_from_slice(&record.body);
    let length = u32::try_from(body.len() - start - 4).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = body.get_mut(start..start + 4) {
        place.copy_from_slice(&length);
    }
}

/// The records of a body, each with its place in it; `None` if the body is not what was written.
pub(crate) fn read_records(body: &[u8], count: u32, first: Lsn) -> Option<Vec<(usize, Stored)>> {
    let mut cut = Cut(body);
    let mut records = Vec::with_capacity(usize::try_from(count).ok()?.min(body.len() / 64 + 1));
    for index in 0..u64::from(count) {
        let place = body.len() - cut.0.len();
        records.push((place, read_one(&mut cut, Lsn(first.0 + index))?));
    }
    cut.0.is_empty().then_some(records)
}

/// One record at the start of `bytes`.
pub(crate) fn read_record(bytes: &[u8], lsn: Lsn) -> Option<Stored> {
    read_one(&mut Cut(bytes), lsn)
}

fn read_one(cut: &mut Cut<'_>, lsn: Lsn) -> Option<Stored> {
    let length = usize::try_from(cut.u32()?).ok()?;
    let mut cut = Cut(cut.take(length)?);
    let kind = RecordKind::from_number(cut.u8()?)?;
    let shard = cut.shard()?;
    let (epoch, offset) = (Epoch(cut.u64()?), Offset(cut.u64()?));
    let home = Home::from_canonical(&cut.array::<{ Home::BYTES }>()?)?;
    let entity = EntityRef { home, kind: cut.name()?, id: cut.u128()? };
    let (seq, name, version) = (Seq(cut.u64()?), cut.name()?, u16::from_le_bytes(cut.array()?));
    let (at_ms, by, trace) = (i64::from_le_bytes(cut.array()?), cut.u128()?, cut.u128()?);
    let caused_by = match cut.u8()? {
        0 => None,
        _ => Some(Cause { shard: cut.shard()?, offset: Offset(cut.u64()?) }),
    };
    let body = cut.0.to_vec();
    let record = Record { kind, entity, seq, name, version, at_ms, by, trace, caused_by, body };
    Some(Stored { lsn, shard, epoch, offset, record })
}

fn write_name(body: &mut Vec<u8>, name: Name) {
    let text = name.as_bytes();
    body.push(u8::try_from(text.len()).unwrap_or(0));
    body.extend_from_slice(text);
}

fn write_shard(body: &mut Vec<u8>, shard: ShardId) {
    write_name(body, shard.service);
    body.extend_from_slice(&shard.number.to_le_bytes());
}

/// Bytes not read yet.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        let length = usize::from(self.u8()?);
        Name::parse(std::str::from_utf8(self.take(length)?).ok()?)
    }

    fn shard(&mut self) -> Option<ShardId> {
        Some(ShardId { service: self.name()?, number: u16::from_le_bytes(self.array()?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HomeKind;

    proptest! {
        #[test]
        fn a_record_survives_its_bytes(
            id: u128, home: u128, seq: u64, at_ms: i64, by: u128, cause: Option<(u16, u64)>, body: Vec<u8>,
        ) {
            let shard = ShardId { service: Name::new("tenancy"), number: 7 };
            let record = Record {
                kind: RecordKind::Event,
                entity: EntityRef { home: Home { kind: HomeKind::Account, id: home }, kind: Name::new("tenant"), id },
                seq: Seq(seq),
                name: Name::new("created"),
                version: 3,
                at_ms,
                by,
                trace: 9,
                caused_by: cause.map(|(number, offset)| Cause { shard: ShardId { number, ..shard }, offset: Offset(offset) }),
                body,
            };
            let mut bytes = Vec::new();
            write_record(&mut bytes, shard, Epoch(4), Offset(5), &record);
            let stored = read_records(&bytes, 1, Lsn(6)).unwrap().remove(0).1;
            prop_assert_eq!(stored, Stored { lsn: Lsn(6), shard, epoch: Epoch(4), offset: Offset(5), record });
        }

        #[test]
        fn foreign_bytes_are_no_frame(bytes: Vec<u8>) {
            prop_assert!(parse(&bytes).is_none());
            prop_assert!(read_records(&bytes, 1, Lsn(1)).is_none());
        }
    }

    #[test]
    fn a_frame_with_any_bit_turned_is_no_frame() {
        let mut bytes = [&[0; HEADER], &b"body of a batch"[..]].concat();
        seal(&mut bytes, 0, Lsn(1), Epoch(1), 0);
        assert!(parse(&bytes).is_some());
        for bit in 0..bytes.len() * 8 {
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&turned).is_none(), "bit {bit}");
        }
    }
}
