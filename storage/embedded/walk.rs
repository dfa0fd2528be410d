//! Following frames from the first byte on, and judging what lies behind the last that follows.

use super::{
    index::Place,
    segment::{self, HEADER},
};
use crate::{Epoch, Lsn, journal::Stored};

/// The last frame of a walk.
#[derive(Debug, Clone)]
pub(crate) struct Walked {
    /// Behind it, in its segment.
    pub(crate) end: u64,
    pub(crate) crc: u32,
    pub(crate) next: Lsn,
    /// The last frame's, which never falls.
    pub(crate) epoch: Epoch,
    /// The highest met, of frames and of shards that were claimed again.
    pub(crate) highest: Epoch,
    /// Segment, position and length.
    pub(crate) last_frame: Option<(usize, u64, usize)>,
}

impl Default for Walked {
    /// Before the first frame.
    fn default() -> Self {
        Self { end: 0, crc: 0, next: Lsn(1), epoch: Epoch(0), highest: Epoch(0), last_frame: None }
    }
}

impl Walked {
    /// What of a segment lies behind the last frame that follows.
    pub(crate) fn rest<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        usize::try_from(self.end).ok().and_then(|end| segment.get(end..)).unwrap_or_default()
    }
}

/// What a walk meets.
pub(crate) enum Seen {
    Frame(Place),
    Record(Box<Stored>, Place),
}

/// Follows the frames of one segment as far as they follow each other.
pub(crate) fn walk(bytes: &[u8], number: usize, walked: &mut Walked, mut see: impl FnMut(Seen)) {
    walked.end = 0;
    loop {
        let Some((frame, body)) = segment::parse(walked.rest(bytes)) else {
            return;
        };
        let follows =
            frame.previous == walked.crc && frame.first == walked.next && frame.epoch >= walked.epoch;
        let Some(records) = segment::read_records(body, frame.count, frame.first).filter(|_| follows) else {
            return;
        };
        let segment = u32::try_from(number).unwrap_or(u32::MAX);
        let at = |position: u64, lsn| Place {
            segment,
            position: u32::try_from(position).unwrap_or(u32::MAX),
            lsn,
        };
        if frame.count > 0 {
            see(Seen::Frame(at(walked.end, frame.first)));
        }
        for (place, stored) in records {
            walked.highest = walked.highest.max(stored.epoch);
            let position = walked.end + (HEADER + place) as u64;
            let lsn = stored.lsn;
            see(Seen::Record(Box::new(stored), at(position, lsn)));
        }
        let length = HEADER + frame.length;
        walked.last_frame = Some((number, walked.end, length));
        walked.end += length as u64;
        walked.crc = frame.crc;
        walked.epoch = frame.epoch;
        walked.highest = walked.highest.max(frame.epoch);
        walked.next = Lsn(walked.next.0 + u64::from(frame.count));
    }
}

/// How a segment ends behind its last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With zeros.
    Clean,
    /// With the last batch, half written: nothing acknowledged lies behind.
    Torn,
    /// With bytes that acknowledged batches lie behind.
    Damaged,
}

impl Ending {
    pub(crate) fn of(rest: &[u8], is_newest: bool) -> Self {
        if is_zero(rest) {
            Self::Clean
        } else if is_newest && !has_valid_frame(rest) {
            Self::Torn
        } else {
            Self::Damaged
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| ZEROS.starts_with(chunk))
}

/// Whether a whole frame begins anywhere in these bytes.
fn has_valid_frame(bytes: &[u8]) -> bool {
    let magic = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(b"PNJ1"));
    (0..bytes.len())
        .filter(magic)
        .any(|at| bytes.get(at..).is_some_and(|rest| segment::parse(rest).is_some()))
}
