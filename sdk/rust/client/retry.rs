//! When to try again: pure, so that it can be proven without waiting.

use std::time::Duration;

/// How often and how long a call is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts at most, the first one included.
    pub attempts_max: u32,
    /// No attempt begins later than this after the first one.
    pub total_max: Duration,
    /// The pause after the first attempt; it doubles with each one.
    pub first: Duration,
    /// The longest pause, unless the node asks for a longer one.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_max: 7,
            total_max: Duration::from_secs(20),
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
        }
    }
}

impl Retry {
    /// The pause before the next attempt; none if there is no next one.
    ///
    /// `attempts` were made within `spent`; the node asked to wait for `asked`; `random` spreads the pauses of
    /// many clients, so that they do not come back all at once.
    #[must_use]
    pub fn pause(
        &self,
        attempts: u32,
        spent: Duration,
        asked: Option<Duration>,
        random: u64,
    ) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let pause = self.back_off(attempts, random).max(asked.unwrap_or_default());
        (spent.saturating_add(pause) <= self.total_max).then_some(pause)
    }

    /// The pause after so many failures in a row, between half and all of its doubled length.
    #[must_use]
    pub fn back_off(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let half = self.first.saturating_mul(1 << doublings).min(self.longest) / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random % nanos.saturating_add(1))
    }
}

/// The seconds of a `Retry-After` (RFC 9110 s. 10.2.3); its other form, a date, is not used by the API.
pub(super) fn asked(retry_after: &str) -> Option<Duration> {
    retry_after.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Duration = Duration::ZERO;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry { longest: Duration::from_millis(300), ..Retry::default() };

        let shortest = (1..=4).map(|failures| retry.back_off(failures, 0).as_millis());

        assert_eq!(shortest.collect::<Vec<_>>(), [50, 100, 150, 150]);
    }

    #[test]
    fn the_node_is_never_asked_before_the_time_it_named() {
        let asked = asked(" 7 ").unwrap();

        assert_eq!(Retry::default().pause(1, NONE, Some(asked), 0), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_wait_longer_than_the_whole_call_may_take_is_not_begun() {
        assert_eq!(Retry::default().pause(1, NONE, Some(Duration::from_secs(60)), 0), None);
    }

    #[test]
    fn a_date_or_nonsense_asks_for_nothing() {
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(asked("-1"), None);
    }

    proptest! {
        #[test]
        fn every_call_ends(asked in proptest::option::of(0u64..100), random: u64) {
            let retry = Retry::default();
            let (mut attempts, mut spent) = (1, NONE);
            while let Some(pause) = retry.pause(attempts, spent, asked.map(Duration::from_secs), random) {
                attempts += 1;
                spent += pause;
            }
            prop_assert!(attempts <= retry.attempts_max);
            prop_assert!(spent <= retry.total_max);
        }

        #[test]
        fn no_pause_is_longer_than_the_longest(failures: u32, random: u64) {
            let retry = Retry::default();
            prop_assert!(retry.back_off(failures, random) <= retry.longest);
        }
    }
}
