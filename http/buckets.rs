//! Buckets: places that somebody takes, and that come back evenly over a window (a token bucket).
//!
//! Of each bucket only the moment is kept when it will be whole again, and none once it is. Buckets are in memory
//! and forgotten with the node: what is lost is one window.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prognet_supervisor::Timestamp;

/// Buckets remembered; those that are whole again go first.
const BUCKETS_MAX: usize = 200_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    window: Duration,
    /// When a bucket will be whole again.
    whole_at: Mutex<HashMap<K, Timestamp>>,
}

/// Somebody has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

/// What is left in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Places that are free.
    pub(crate) places: u32,
    /// When the next one comes back; zero if none is taken.
    pub(crate) more_in: Duration,
}

impl<K: Hash + Eq + Copy> Buckets<K> {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, whole_at: Mutex::default() }
    }

    /// The time in which all places of a bucket come back.
    pub(crate) const fn window(&self) -> Duration {
        self.window
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Timestamp>> {
        self.whole_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in each of these buckets of so many places; where one is full, in none.
    pub(crate) fn take(&self, buckets: &[(K, u32)], now: Timestamp) -> Result<(), Wait> {
        let mut all = self.lock();
        let full = buckets.iter().filter_map(|(bucket, places)| {
            let whole_at = all.get(bucket).copied().unwrap_or(now).max(now);
            // With one more place taken it would be whole only after its window: it is full.
            let after = whole_at.after(self.cost(*places)).since(now);
            after.checked_sub(self.window).filter(|wait| !wait.is_zero())
        });
        if let Some(wait) = full.max() {
            return Err(Wait(wait));
        }
        if all.len() >= BUCKETS_MAX {
            all.retain(|_, whole_at| *whole_at > now);
        }
        if all.len() >= BUCKETS_MAX {
            // So many at once are not slowed down one by one: what is behind the door has limits of its own.
            all.clear();
        }
        for (bucket, places) in buckets {
            let whole_at = all.get(bucket).copied().unwrap_or(now).max(now);
            all.insert(*bucket, whole_at.after(self.cost(*places)));
        }
        Ok(())
    }

    /// Gives a place back in each.
    pub(crate) fn give_back(&self, buckets: &[(K, u32)]) {
        let mut all = self.lock();
        for (bucket, places) in buckets {
            if let Some(whole_at) = all.get_mut(bucket) {
                *whole_at = earlier(*whole_at, self.cost(*places));
            }
        }
    }

    /// What is left in a bucket of so many places.
    pub(crate) fn left(&self, bucket: K, places: u32, now: Timestamp) -> Left {
        let whole_at = self.lock().get(&bucket).copied().unwrap_or(now).max(now);
        let (taken_ms, cost_ms) = (whole_at.since(now).as_millis(), self.cost(places).as_millis().max(1));
        let taken = u32::try_from(taken_ms.div_ceil(cost_ms)).unwrap_or(u32::MAX);
        let more_in_ms = taken_ms - u128::from(taken.saturating_sub(1)) * cost_ms;
        let more_in = Duration::from_millis(u64::try_from(more_in_ms).unwrap_or(u64::MAX));
        Left { places: places.saturating_sub(taken), more_in }
    }

    /// The time in which one place of a bucket comes back.
    fn cost(&self, places: u32) -> Duration {
        self.window / places.max(1)
    }
}

fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(moment.as_millis().saturating_sub(millis))
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::NOON;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn places_are_taken_down_to_none_and_come_back_one_by_one() {
        let buckets = Buckets::new(MINUTE);
        assert_eq!(buckets.left("mine", 3, NOON), Left { places: 3, more_in: Duration::ZERO });
        for left in [2, 1, 0] {
            assert_eq!(buckets.take(&[("mine", 3)], NOON), Ok(()));
            assert_eq!(buckets.left("mine", 3, NOON).places, left);
        }
        assert_eq!(buckets.take(&[("mine", 3)], NOON), Err(Wait(Duration::from_secs(20))));
        assert_eq!(buckets.left("mine", 3, NOON).more_in, Duration::from_secs(20));

        let later = NOON.after(Duration::from_secs(30));
        assert_eq!(buckets.left("mine", 3, later), Left { places: 1, more_in: Duration::from_secs(10) });
        assert_eq!(buckets.left("mine", 3, NOON.after(MINUTE)).places, 3);
        assert_eq!(buckets.left("other", 3, NOON).places, 3);
    }

    #[test]
    fn where_one_of_several_is_full_none_is_taken() {
        let buckets = Buckets::new(MINUTE);
        assert_eq!(buckets.take(&[("narrow", 1), ("wide", 9)], NOON), Ok(()));
        assert_eq!(buckets.take(&[("narrow", 1), ("wide", 9)], NOON), Err(Wait(MINUTE)));
        assert_eq!(buckets.left("wide", 9, NOON).places, 8);
        buckets.give_back(&[("narrow", 1)]);
        assert_eq!(buckets.left("narrow", 1, NOON).places, 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_counts_is_kept_first() {
        let buckets = Buckets::new(MINUTE);
        let many = u32::try_from(BUCKETS_MAX).unwrap();
        for number in 0..many {
            let at = if number == 0 { NOON.after(MINUTE) } else { NOON };
            buckets.take(&[(number, 1)], at).unwrap();
        }
        buckets.take(&[(many, 1)], NOON.after(MINUTE)).unwrap();
        assert_eq!(buckets.lock().len(), 2, "those that are whole again went");
        assert!(buckets.take(&[(0, 1)], NOON.after(MINUTE)).is_err());
    }
}
