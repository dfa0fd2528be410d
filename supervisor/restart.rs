//! When a crashed entity may start again: pure, so that its rule can be read and tested.

use std::collections::VecDeque;

use prognet_storage::EntityRef;

use crate::{Timestamp, limits::Limits};

/// The crashes of one entity that still count.
#[derive(Debug, Default)]
pub(crate) struct Crashes {
    times: VecDeque<Timestamp>,
}

/// What follows a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may start again from this moment.
    Restart(Timestamp),
    /// It stays inert until somebody acts.
    Quarantine,
}

impl Crashes {
    /// Counts a crash.
    pub(crate) fn crashed(&mut self, now: Timestamp, limits: &Limits) -> Verdict {
        self.times.retain(|time| now.since(*time) <= limits.restart_window);
        self.times.push_back(now);
        if self.times.len() > limits.restart_intensity {
            return Verdict::Quarantine;
        }
        let doublings = u32::try_from(self.times.len().saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        Verdict::Restart(now.after(limits.backoff_min.saturating_mul(1 << doublings).min(limits.backoff_max)))
    }
}

impl Crashes {
    /// Crashes that still count.
    pub(crate) fn count(&self, now: Timestamp, limits: &Limits) -> usize {
        self.times.iter().filter(|time| now.since(**time) <= limits.restart_window).count()
    }
}

/// The crashes in one shard: many entities failing at once are the shard's or the build's illness, not theirs.
#[derive(Debug, Default)]
pub(crate) struct ShardCrashes {
    recent: VecDeque<(Timestamp, EntityRef)>,
}

impl ShardCrashes {
    /// Counts a crash; says whether it is past the shard's intensity, and then counts from zero.
    pub(crate) fn crashed(&mut self, entity: EntityRef, now: Timestamp, limits: &Limits) -> bool {
        self.recent.retain(|(time, other)| now.since(*time) <= limits.shard_window && *other != entity);
        self.recent.push_back((now, entity));
        let is_past = self.recent.len() >= limits.shard_intensity;
        if is_past {
            self.recent.clear();
        }
        is_past
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::NOON;

    #[test]
    fn pauses_double_and_the_fourth_crash_in_a_minute_quarantines() {
        let (mut crashes, limits) = (Crashes::default(), Limits::default());
        assert_eq!(crashes.crashed(NOON, &limits), Verdict::Restart(NOON.after(Duration::from_millis(200))));
        assert_eq!(crashes.crashed(NOON, &limits), Verdict::Restart(NOON.after(Duration::from_millis(400))));
        assert_eq!(crashes.crashed(NOON, &limits), Verdict::Restart(NOON.after(Duration::from_millis(800))));
        assert_eq!(crashes.crashed(NOON, &limits), Verdict::Quarantine);
    }

    #[test]
    fn ten_entities_in_ten_seconds_are_past_a_shards_intensity_and_one_ten_times_is_not() {
        let (mut crashes, limits) = (ShardCrashes::default(), Limits::default());
        let home = prognet_storage::Home { kind: prognet_storage::HomeKind::Tenant, id: 1 };
        let entity = |id| EntityRef { home, kind: prognet_storage::Name::new("tenant"), id };
        for _ in 0..20 {
            assert!(!crashes.crashed(entity(1), NOON, &limits));
        }
        for id in 2..10 {
            assert!(!crashes.crashed(entity(id), NOON, &limits));
        }
        assert!(
            !crashes.crashed(entity(10), NOON.after(Duration::from_secs(11)), &limits),
            "the others are past"
        );
        for id in 11..20 {
            assert_eq!(crashes.crashed(entity(id), NOON.after(Duration::from_secs(12)), &limits), id == 19);
        }
    }

    #[test]
    fn old_crashes_are_forgiven() {
        let (mut crashes, limits) = (Crashes::default(), Limits::default());
        for minute in 0..10 {
            let now = NOON.after(Duration::from_secs(61 * minute));
            assert_eq!(crashes.crashed(now, &limits), Verdict::Restart(now.after(limits.backoff_min)));
        }
    }
}
