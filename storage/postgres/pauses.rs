//! How long to wait before the store is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// None at first, then 0.1 s, doubled up to 5 s; each shortened by up to a half, differently in every process, so that
/// a store that comes back is not met by all of them at once.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    count: u64,
    seed: u64,
}

impl Pauses {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: Duration::ZERO, count: 0, seed }
    }

    pub(super) fn next(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).clamp(FIRST, LONGEST);
        self.count += 1;
        let dice = xxhash_rust::xxh3::xxh3_64_with_seed(&self.count.to_le_bytes(), self.seed);
        longest - longest * u32::from(dice.to_le_bytes()[0]) / (2 * u32::from(u8::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ_between_processes() {
        let pauses = |seed| {
            let mut pauses = Pauses::new(seed);
            std::array::from_fn::<_, 9, _>(|_| pauses.next())
        };

        assert_eq!(pauses(1)[0], Duration::ZERO);
        for seed in 1..50 {
            let mut longest = FIRST;
            for pause in &pauses(seed)[1..] {
                assert!(*pause <= longest && *pause >= longest / 2, "{pause:?} of {longest:?}");
                longest = (longest * 2).min(LONGEST);
            }
        }
        assert_ne!(pauses(1), pauses(2));
    }
}
