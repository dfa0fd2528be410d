//! How a shard moves from an owner that lives to another node, and what the routers do meanwhile.
//!
//! ```text
//! row            old owner (Departure)            new owner (Arrival)            routers (cluster.rs)
//! target = B     waits ◀────────Prepared───────── is there (and loads nothing)   send to A
//!                stops, finishes what has begun                                  A hands back, they hold
//! releasing      (written only if that takes long)
//! free           forgets the shard ────Freed────▶ claims: epoch + 1              hold
//! owned by B                                      reads the tail, opens ──Opened──▶ send to B
//! ```
//!
//! Nothing but the row is remembered: whoever reads it knows the next step, and every message only hastens what
//! reading the row would bring. That an owner has stopped, it alone knows until it marks the row or frees it; should
//! the move be withdrawn meanwhile, it frees the shard all the same, for whoever comes. A wait has an end:
//! [`Limits::prepare`], then [`Limits::flush`], then [`Limits::reserve`]. Dies the old owner, the shard is an orphan
//! like any other; dies the new one, the old owner keeps it if it has not stopped yet, and otherwise frees it for the
//! other heirs.

use crate::{
    BootTime, Epoch,
    limits::Limits,
    tables::{NodeId, ShardRow},
};

/// The old owner's side of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Departure {
    /// Who is to have it; nobody if it is let go for whoever comes.
    to: Option<NodeId>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Serves on, while the new owner prepares.
    Waiting { until: BootTime },
    /// Takes nothing new, finishes what has begun; the row is to say so from `told_at` on.
    Flushing { told_at: Option<BootTime>, until: BootTime },
    /// Is done, and has to say so in the row.
    Freeing { is_asking: bool },
}

/// What the old owner does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Take no new commands and finish what has begun.
    Stop,
    /// Write that the shard is being let go.
    Mark,
    /// Write that the shard is free.
    Free,
}

impl Departure {
    /// A move that has been proposed.
    pub(crate) fn to(node: NodeId, now: BootTime, limits: &Limits) -> Self {
        Self { to: Some(node), step: Step::Waiting { until: now.after(limits.prepare) } }
    }

    /// A release that waits for nobody: no one else can host the shard.
    pub(crate) const fn to_nobody(now: BootTime) -> Self {
        Self { to: None, step: Step::Waiting { until: now } }
    }

    /// A release of a shard that was never opened.
    pub(crate) const fn unopened() -> Self {
        Self { to: None, step: Step::Freeing { is_asking: false } }
    }

    /// The new owner is prepared.
    pub(crate) fn prepared(&mut self, now: BootTime) {
        if let Step::Waiting { until } = &mut self.step {
            *until = now.min(*until);
        }
    }

    /// Everything begun has ended.
    pub(crate) fn flushed(&mut self) {
        if let Step::Flushing { .. } = self.step {
            self.step = Step::Freeing { is_asking: false };
        }
    }

    /// Nobody knows whether the row says it: it is written again, which changes nothing if it does.
    pub(crate) fn unanswered(&mut self) {
        if let Step::Freeing { is_asking } = &mut self.step {
            *is_asking = false;
        }
    }

    /// Whether the move was taken back while the shard was still served.
    pub(crate) fn is_off(&self, row: &ShardRow) -> bool {
        self.to.is_some() && row.target != self.to && matches!(self.step, Step::Waiting { .. })
    }

    /// Whether the shard still takes commands.
    pub(crate) const fn is_serving(&self) -> bool {
        matches!(self.step, Step::Waiting { .. })
    }

    /// Whether what was begun may still be answered: nobody else can own the shard yet.
    pub(crate) const fn may_answer(&self) -> bool {
        matches!(self.step, Step::Waiting { .. } | Step::Flushing { .. })
    }

    /// The next step, if its time has come.
    pub(crate) fn next(&mut self, now: BootTime, may_ask: bool, limits: &Limits) -> Option<Act> {
        match self.step {
            Step::Waiting { until } if now >= until => {
                self.step =
                    Step::Flushing { told_at: Some(now.after(limits.mark)), until: now.after(limits.flush) };
                Some(Act::Stop)
            }
            // What has begun and not ended lands before the claim or is fenced by it; its callers find out which.
            Step::Flushing { until, .. } if now >= until => {
                self.step = Step::Freeing { is_asking: false };
                self.next(now, may_ask, limits)
            }
            Step::Flushing { told_at: Some(at), until } if now >= at => {
                self.step = Step::Flushing { told_at: None, until };
                Some(Act::Mark)
            }
            Step::Freeing { is_asking: false } if may_ask => {
                self.step = Step::Freeing { is_asking: true };
                Some(Act::Free)
            }
            Step::Waiting { .. } | Step::Flushing { .. } | Step::Freeing { .. } => None,
        }
    }
}

/// The new owner's side of a move, until it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The epoch of the old owner.
    pub(crate) epoch: Epoch,
    /// When the old owner is told (again) that the shard is prepared here.
    tell_at: Option<BootTime>,
}

impl Arrival {
    pub(crate) const fn new(epoch: Epoch) -> Self {
        Self { epoch, tell_at: None }
    }

    /// The shard may come.
    pub(crate) const fn prepared(&mut self, now: BootTime) {
        self.tell_at = Some(now);
    }

    /// Whether to tell the old owner now; it is told again each heartbeat, since messages get lost.
    pub(crate) fn tells(&mut self, now: BootTime, limits: &Limits) -> bool {
        let is_due = self.tell_at.is_some_and(|at| now >= at);
        if is_due {
            self.tell_at = Some(now.after(limits.heartbeat));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::{Name, ShardId};

    use super::*;
    use crate::{Offset, tables::ShardState};

    const B: NodeId = NodeId(Name::new("b"));

    fn at(millis: u64) -> BootTime {
        BootTime::from_millis(millis)
    }

    fn begun() -> (Departure, Limits) {
        let limits = Limits::default();
        (Departure::to(B, at(0), &limits), limits)
    }

    #[test]
    fn the_old_owner_serves_until_the_new_one_is_prepared_and_frees_once_all_is_done() {
        let (mut departure, limits) = begun();
        assert_eq!(departure.next(at(100), true, &limits), None);
        assert!(departure.is_serving());

        departure.prepared(at(100));
        assert_eq!(departure.next(at(100), true, &limits), Some(Act::Stop));
        assert_eq!(departure.next(at(199), true, &limits), None);

        departure.flushed();
        assert_eq!(departure.next(at(199), true, &limits), Some(Act::Free));
        assert_eq!(departure.next(at(199), true, &limits), None);
    }

    #[test]
    fn every_wait_of_the_old_owner_ends() {
        let (mut departure, limits) = begun();

        assert_eq!(departure.next(at(5_000), true, &limits), Some(Act::Stop));
        assert_eq!(departure.next(at(5_099), true, &limits), None);
        assert_eq!(departure.next(at(5_100), true, &limits), Some(Act::Mark));
        assert_eq!(departure.next(at(6_999), true, &limits), None);
        assert_eq!(departure.next(at(7_000), true, &limits), Some(Act::Free));
    }

    #[test]
    fn a_freeing_that_nobody_answered_is_tried_again_when_the_store_may_be_asked() {
        let mut departure = Departure::unopened();
        let limits = Limits::default();
        assert_eq!(departure.next(at(0), true, &limits), Some(Act::Free));

        departure.unanswered();

        assert_eq!(departure.next(at(1), false, &limits), None);
        assert_eq!(departure.next(at(2), true, &limits), Some(Act::Free));
    }

    #[test]
    fn a_move_can_be_taken_back_only_while_the_shard_is_served() {
        let (mut departure, limits) = begun();
        let shard = ShardId { service: Name::new("users"), number: 0 };
        let (epoch, tail, state) = (Epoch(1), Offset(0), ShardState::Owned);
        let row = ShardRow { shard, epoch, owner: None, state, target: None, tail, changed: 1 };

        assert!(!departure.is_off(&ShardRow { target: Some(B), ..row }));
        assert!(departure.is_off(&row));

        departure.prepared(at(0));
        departure.next(at(0), true, &limits);
        assert!(!departure.is_off(&row));
    }

    #[test]
    fn the_new_owner_says_that_it_is_prepared_until_the_row_moves_on() {
        let (mut arrival, limits) = (Arrival::new(Epoch(1)), Limits::default());
        assert!(!arrival.tells(at(0), &limits));

        arrival.prepared(at(100));

        assert!(arrival.tells(at(100), &limits));
        assert!(!arrival.tells(at(1_099), &limits));
        assert!(arrival.tells(at(1_100), &limits));
    }
}
