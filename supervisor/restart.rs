//! When a crashed entity may start again: pure, so that its rule can be read and tested.

use std::collections::VecDeque;

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
    fn old_crashes_are_forgiven() {
        let (mut crashes, limits) = (Crashes::default(), Limits::default());
        for minute in 0..10 {
            let now = NOON.after(Duration::from_secs(61 * minute));
            assert_eq!(crashes.crashed(now, &limits), Verdict::Restart(now.after(limits.backoff_min)));
        }
    }
}
