//! This node's own opinion of its lease: always shorter than the store's.

use crate::{BootTime, limits::Limits};

/// The right to answer reads and start appends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lease {
    asked_at: Option<BootTime>,
    holds_until: BootTime,
    healthy_since: Option<BootTime>,
    is_given_up: bool,
}

impl Lease {
    /// The store renewed it; `asked_at` is from before the statement was sent, which is no later than when the
    /// store began to count.
    pub(crate) fn renewed(&mut self, asked_at: BootTime, now: BootTime, limits: &Limits) {
        let is_continuous = self.asked_at.is_some_and(|last| asked_at.since(last) < limits.trust);
        if self.healthy_since.is_none() || !is_continuous {
            self.healthy_since = Some(now);
        }
        self.asked_at = Some(asked_at);
        if !self.is_given_up {
            self.holds_until = self.holds_until.max(asked_at.after(limits.trust));
        }
    }

    /// It holds no longer, whatever the store says: this node is about to call itself down.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up = true;
        self.holds_until = BootTime::default();
    }

    /// The store did not answer.
    pub(crate) const fn failed(&mut self) {
        self.healthy_since = None;
    }

    /// The moment from which this node answers no reads and starts no appends.
    #[must_use]
    pub const fn holds_until(&self) -> BootTime {
        self.holds_until
    }

    /// Whether this node may answer: to be asked just before an answer leaves.
    #[must_use]
    pub fn holds(&self, now: BootTime) -> bool {
        now < self.holds_until
    }

    /// Whether the store answered for one full lease: everybody who lives has had the time to renew.
    pub(crate) fn is_store_healthy(&self, now: BootTime, limits: &Limits) -> bool {
        self.healthy_since.is_some_and(|since| now.since(since) >= limits.lease)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_lease_is_counted_from_before_it_was_asked_for() {
        let (mut lease, limits) = (Lease::default(), Limits::default());
        lease.renewed(at(10), at(14), &limits);

        assert!(lease.holds(at(14)));
        assert!(!lease.holds(at(10).after(Duration::from_millis(4_500))));
    }

    #[test]
    fn an_answer_that_was_overtaken_shortens_nothing() {
        let (mut lease, limits) = (Lease::default(), Limits::default());
        lease.renewed(at(10), at(11), &limits);
        lease.renewed(at(8), at(12), &limits);

        assert!(lease.holds(at(14)));
    }

    #[test]
    fn the_store_is_healthy_after_a_full_lease_of_answers() {
        let (mut lease, limits) = (Lease::default(), Limits::default());
        for second in 10..16 {
            lease.renewed(at(second), at(second), &limits);
            assert!(!lease.is_store_healthy(at(second), &limits));
        }
        lease.renewed(at(16), at(16), &limits);
        assert!(lease.is_store_healthy(at(16), &limits));

        lease.failed();
        assert!(!lease.is_store_healthy(at(17), &limits));
    }

    #[test]
    fn a_node_that_slept_has_seen_nothing_of_the_store() {
        let (mut lease, limits) = (Lease::default(), Limits::default());
        lease.renewed(at(10), at(10), &limits);
        lease.renewed(at(40), at(40), &limits);

        assert!(!lease.is_store_healthy(at(40), &limits));
    }
}
