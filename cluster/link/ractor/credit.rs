//! How much may be on its way to a peer that has not said that it took it.

use std::collections::VecDeque;

/// Frames on their way at most.
const FRAMES_MAX: usize = 256;
/// Bytes on their way at most.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// A window over one link.
#[derive(Debug, Default)]
pub(super) struct Credit {
    /// The sizes of what is on its way, oldest first.
    sizes: VecDeque<usize>,
    bytes: usize,
    /// Frames that the peer has said it took.
    taken: u64,
}

impl Credit {
    /// Room for a frame, if there is some.
    pub(super) fn spend(&mut self, size: usize) -> bool {
        let has_room = self.sizes.len() < FRAMES_MAX && self.bytes + size <= BYTES_MAX;
        if has_room {
            self.sizes.push_back(size);
            self.bytes += size;
        }
        has_room
    }

    /// The peer has taken so many in all; what it said before may come later.
    pub(super) fn taken(&mut self, count: u64) {
        while self.taken < count {
            let Some(size) = self.sizes.pop_front() else { return };
            self.bytes -= size;
            self.taken += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_takes_nothing_is_sent_no_more_than_its_window() {
        let mut credit = Credit::default();
        for _ in 0..FRAMES_MAX {
            assert!(credit.spend(1));
        }
        assert!(!credit.spend(1));

        credit.taken(2);
        assert!(credit.spend(1) && credit.spend(1) && !credit.spend(1));
        credit.taken(1);
        assert!(!credit.spend(1), "that was said before");
    }

    #[test]
    fn large_frames_fill_the_window_by_their_bytes() {
        let mut credit = Credit::default();
        let frame = super::super::FRAME_MAX;
        for _ in 0..BYTES_MAX / frame {
            assert!(credit.spend(frame));
        }
        assert!(!credit.spend(1));
        credit.taken(1);
        assert!(credit.spend(frame));
    }
}
