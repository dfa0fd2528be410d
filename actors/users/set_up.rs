//! Setting the platform up: a saga that makes its first admin, once and for ever.
//!
//! ```text
//! Open ──Start──▶ Claiming ──claimed──▶ Appointing ──appointed──▶ Confirming ──confirmed──▶ Done
//!  ▲── the address is taken ──┘
//! ```
//! There is one of it on the platform, so of two people with the setup link one becomes admin.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Home, HomeKind, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    account::{self, Account},
    reservation::{self, Reservation},
};
use crate::ids::AccountId;

/// A claim outlives any repair of a broken node; the saga confirms it within moments.
const CLAIM_LASTS: Duration = Duration::from_secs(30 * 24 * 3600);
/// The one instance's id.
const ID: u128 = u128::from_be_bytes(*b"platform set up\0");

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SetUp {
    plan: Option<Plan>,
    stage: Stage,
}

/// Who becomes the first admin: an account that is registered already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The account.
    pub account: AccountId,
    /// The keyed hash of its address, which is the reservation's id.
    pub email_reservation: u128,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    Open,
    Claiming,
    Appointing,
    Confirming,
    Done,
}

/// How setting up stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// There is no admin; the last attempt, if any, met a taken address.
    Open,
    /// It goes on.
    Running,
    /// This account is the first admin.
    Done(AccountId),
}

/// What moves it on; only `Start` comes from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Command {
    Start(Plan),
    EmailClaimed,
    EmailTaken,
    Appointed,
    Confirmed,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Event {
    Started { plan: Plan, at: Timestamp },
    EmailClaimed {},
    EmailTaken {},
    Appointed {},
    Finished { at: Timestamp },
}

/// Why it says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Somebody else set the platform up, or is about to.
    #[error("the platform is set up already")]
    AlreadyDone,
}

impl SetUp {
    /// The one of the platform.
    #[must_use]
    pub const fn at() -> Entity<Self> {
        Entity::new(Home { kind: HomeKind::Platform, id: ID }, ID)
    }

    fn start(&self, plan: Plan, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match (self.stage, self.plan) {
            (Stage::Open, _) => {
                let claim = reservation::Command::Claim { owner: plan.account.number(), lasts: CLAIM_LASTS };
                let email = Reservation::at(plan.email_reservation);
                Ok(Decision::event(Event::Started { plan, at: ctx.now() }).send("claim", email, &claim))
            }
            (_, Some(known)) if known == plan => Ok(Decision::nothing()),
            (Stage::Claiming | Stage::Appointing | Stage::Confirming | Stage::Done, _) => {
                Err(Rejection::AlreadyDone)
            }
        }
    }

    /// The step that follows `from`, if that is where it stands.
    fn step(&self, from: Stage, next: impl FnOnce(Plan) -> Decision<Self>) -> Decision<Self> {
        match self.plan {
            Some(plan) if self.stage == from => next(plan),
            Some(_) | None => Decision::nothing(),
        }
    }
}

impl Aggregate for SetUp {
    const KIND: Kind = Kind::new("users", "set_up");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        Ok(match command {
            Command::Start(plan) => return self.start(plan, ctx),
            Command::EmailClaimed => self.step(Stage::Claiming, |plan| {
                let account = Account::at(plan.account);
                Decision::event(Event::EmailClaimed {}).send("appoint", account, &account::Command::Appoint)
            }),
            Command::EmailTaken => self.step(Stage::Claiming, |_| Decision::event(Event::EmailTaken {})),
            Command::Appointed => self.step(Stage::Appointing, |plan| {
                let confirm = reservation::Command::Confirm { owner: plan.account.number() };
                let email = Reservation::at(plan.email_reservation);
                Decision::event(Event::Appointed {}).send("confirm", email, &confirm)
            }),
            Command::Confirmed => {
                self.step(Stage::Confirming, |_| Decision::event(Event::Finished { at: ctx.now() }))
            }
        })
    }

    fn evolve(&mut self, event: &Event) {
        self.stage = match event {
            Event::Started { plan, .. } => {
                self.plan = Some(*plan);
                Stage::Claiming
            }
            Event::EmailClaimed {} => Stage::Appointing,
            Event::EmailTaken {} => Stage::Open,
            Event::Appointed {} => Stage::Confirming,
            Event::Finished { .. } => Stage::Done,
        };
    }

    fn reply(&self) -> View {
        match (self.stage, self.plan) {
            (Stage::Done, Some(plan)) => View::Done(plan.account),
            (Stage::Open | Stage::Done, _) => View::Open,
            (Stage::Claiming | Stage::Appointing | Stage::Confirming, _) => View::Running,
        }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match (answer.step(), answer.is_accepted()) {
            ("claim", true) => Some(Command::EmailClaimed),
            ("claim", false) => Some(Command::EmailTaken),
            // The account is registered before the saga starts, and its reservation was claimed for it.
            ("appoint", _) => Some(Command::Appointed),
            ("confirm", _) => Some(Command::Confirmed),
            _ => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Done)
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "stage": self.stage })
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    const PLAN: Plan = Plan { account: AccountId::new(1), email_reservation: 9 };
    const STARTED: Event = Event::Started { plan: PLAN, at: NOON };
    const HELD: reservation::View = reservation::View { owner: Some(1), is_confirmed: false };

    #[test]
    fn setting_up_claims_the_address_appoints_the_admin_and_keeps_the_address() {
        given::<SetUp>([]).when(Command::Start(PLAN)).then([STARTED]).sends(&["claim"]);
        given::<SetUp>([STARTED])
            .hears::<Reservation>("claim", &Ok(HELD))
            .then([Event::EmailClaimed {}])
            .sends(&["appoint"]);
        given::<SetUp>([STARTED, Event::EmailClaimed {}])
            .hears::<Account>("appoint", &Ok(None))
            .then([Event::Appointed {}])
            .sends(&["confirm"]);
        let done = given::<SetUp>([STARTED, Event::EmailClaimed {}, Event::Appointed {}])
            .hears::<Reservation>("confirm", &Ok(HELD))
            .then([Event::Finished { at: NOON }]);
        assert_eq!(done.state.reply(), View::Done(PLAN.account));
    }

    #[test]
    fn the_platform_is_set_up_by_one_person_only() {
        let other = Plan { account: AccountId::new(2), ..PLAN };
        given::<SetUp>([STARTED]).when(Command::Start(PLAN)).then([]);
        given::<SetUp>([STARTED]).when(Command::Start(other)).rejects(Rejection::AlreadyDone);
    }

    #[test]
    fn a_taken_address_leaves_the_platform_open() {
        let failed = given::<SetUp>([STARTED])
            .hears::<Reservation>("claim", &Err(reservation::Rejection::Taken { by: 2 }))
            .then([Event::EmailTaken {}]);
        assert_eq!(failed.state.reply(), View::Open);
        let other = Plan { account: AccountId::new(2), ..PLAN };
        given::<SetUp>([STARTED, Event::EmailTaken {}])
            .when(Command::Start(other))
            .then([Event::Started { plan: other, at: NOON }]);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/set_up.txt");
        holds_to_golden::<SetUp>(
            file.as_ref(),
            &[
                STARTED,
                Event::EmailClaimed {},
                Event::EmailTaken {},
                Event::Appointed {},
                Event::Finished { at: NOON },
            ],
        );
    }
}
