//! Given / when / then for aggregates: no runtime, no storage, a clock that stands at noon.

use std::time::Duration;

use prognet_storage::{EntityRef, Home, HomeKind};

use super::{ASKER, NOON};
use crate::{Aggregate, Answer, Clock, Context, Decision, Timestamp};

/// An aggregate with a history.
#[must_use]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    for event in events {
        state.evolve(&event);
    }
    Given { state, now: NOON }
}

/// See [`given`].
#[derive(Debug)]
pub struct Given<A> {
    state: A,
    now: Timestamp,
}

impl<A: Aggregate> Given<A> {
    /// The same, later.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.now = self.now.after(wait);
        self
    }

    /// Gives it a command.
    #[must_use]
    pub fn when(self, command: A::Command) -> When<A> {
        let ctx = Context {
            now: self.now,
            asker: ASKER,
            trace: 0,
            entity: EntityRef { home: Home { kind: HomeKind::Tenant, id: 1 }, kind: A::KIND.name, id: 1 },
            clock: Clock::driven(self.now),
        };
        let decided = self.state.decide(command, &ctx);
        When { state: self.state, decided }
    }

    /// Gives it an accepted or rejected outgoing command's answer, encoded as the target would.
    ///
    /// # Panics
    /// When the answer means nothing to it.
    #[must_use]
    pub fn hears<B: Aggregate>(
        self,
        step: &'static str,
        outcome: &Result<B::Reply, B::Rejection>,
    ) -> When<A> {
        use prognet_storage::codec::encode_event;
        let outcome = match outcome {
            Ok(reply) => Ok(encode_event(reply).unwrap_or_default()),
            Err(rejection) => Err(encode_event(rejection).unwrap_or_default()),
        };
        let answer = Answer { step: prognet_storage::Name::new(step), outcome };
        let command = self.state.heard(&answer);
        #[expect(clippy::expect_used, reason = "a test must fail here")]
        self.when(command.expect("the answer means nothing to it"))
    }
}

/// See [`Given::when`].
#[derive(Debug)]
pub struct When<A: Aggregate> {
    state: A,
    decided: Result<Decision<A>, A::Rejection>,
}

#[expect(clippy::panic, reason = "a test must fail here")]
impl<A: Aggregate> When<A>
where
    A::Event: PartialEq,
    A::Rejection: PartialEq,
{
    /// It accepts, with exactly these events; hands the state after them back for more.
    ///
    /// # Panics
    /// When it does otherwise.
    #[track_caller]
    pub fn then(mut self, events: impl IntoIterator<Item = A::Event>) -> Then<A> {
        match self.decided {
            Ok(decision) => {
                assert_eq!(decision.events, events.into_iter().collect::<Vec<_>>());
                for event in &decision.events {
                    self.state.evolve(event);
                }
                Then { state: self.state, decision }
            }
            Err(rejection) => panic!("rejected: {rejection}"),
        }
    }

    /// The events it accepts with, or nothing.
    #[must_use]
    pub fn accepted(self) -> Option<Vec<A::Event>> {
        self.decided.ok().map(|decision| decision.events)
    }

    /// It refuses, for this reason.
    ///
    /// # Panics
    /// When it does otherwise.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a test reads better")]
    pub fn rejects(self, rejection: A::Rejection) {
        match self.decided {
            Ok(decision) => panic!("accepted: {:?}", decision.events),
            Err(found) => assert_eq!(found, rejection),
        }
    }
}

/// See [`When::then`].
#[derive(Debug)]
pub struct Then<A: Aggregate> {
    /// The state after the events.
    pub state: A,
    decision: Decision<A>,
}

impl<A: Aggregate> Then<A> {
    /// It sends exactly these commands, named by their steps.
    ///
    /// # Panics
    /// When it sends others.
    #[track_caller]
    pub fn sends(self, steps: &[&str]) -> Self {
        let sent: Vec<_> =
            self.decision.outgoing.iter().map(|outgoing| outgoing.step.as_str().to_owned()).collect();
        assert_eq!(sent, steps);
        self
    }

    /// It sets exactly these timers, by name and time.
    ///
    /// # Panics
    /// When it sets others.
    #[track_caller]
    pub fn sets(self, timers: &[(&str, Timestamp)]) -> Self {
        let set: Vec<_> = self
            .decision
            .timers
            .iter()
            .filter_map(|change| match change {
                crate::aggregate::TimerChange::Set { name, due, .. } => {
                    Some((name.as_str().to_owned(), *due))
                }
                crate::aggregate::TimerChange::Clear { .. } => None,
            })
            .collect();
        let wanted: Vec<_> = timers.iter().map(|(name, due)| ((*name).to_owned(), *due)).collect();
        assert_eq!(set, wanted);
        self
    }
}
