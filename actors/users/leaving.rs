//! Leaving: a saga that gives a person time to change their mind, and then leaves nothing of them.
//!
//! ```text
//! Here ──Start──▶ Closing the door ──left──▶ Signing out ──▶ Grace ──its time is over──▶ Ending
//!  ▲  not left │                                               │                           │
//!  └───────────┘◀────────── Reopening ◀─────────Stay───────────┘                           ▼
//!                                             Gone ◀── Releasing ◀── Collecting ◀── (account closed)
//! ```
//! When it has let go of the person's addresses, the key of their home is destroyed: what the journal, its
//! copies and the read models hold about them is readable no more.

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    account::{self, Account},
    change_email::{self, ChangeEmail},
    reservation::{self, Reservation},
};
use crate::{
    auth::credential::{self, Credential, Recipient},
    communication::{
        Message,
        message::{self, Mail},
    },
    ids::AccountId,
};

/// The timer of the grace.
const END: &str = "end";

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Leaving {
    plan: Option<Plan>,
    stage: Stage,
}

/// Who goes, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Who.
    pub account: AccountId,
    /// The person as they are told.
    pub person: Recipient,
    /// Their address' keyed hash, which is its reservation's id.
    pub email_reservation: u128,
    /// Until when they may change their mind.
    pub until: Timestamp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    Here,
    ClosingTheDoor,
    /// It stays: it runs the platform, or is not active.
    Refused,
    SigningOut,
    Grace,
    Reopening,
    Ending,
    Collecting,
    /// Reservations that are not let go yet.
    Releasing(usize),
    Gone,
}

/// How leaving stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// Nobody leaves.
    Here,
    /// Steps are under way.
    Running,
    /// The account does not leave as it stands.
    Refused,
    /// Until then the person may stay.
    Grace(Timestamp),
    /// There is nobody any more.
    Gone,
}

/// What moves it on; `Start` and `Stay` come from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Command {
    Start(Plan),
    Stay,
    Left,
    NotLeft,
    SignedOut,
    Stayed,
    End,
    Closed,
    Collected { holds: Vec<u128> },
    Released,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Event {
    Started {
        plan: Plan,
        at: Timestamp,
    },
    Refused {},
    Left {},
    SignedOut {},
    Reopened {
        at: Timestamp,
    },
    Stayed {},
    Ended {
        at: Timestamp,
    },
    AccountClosed {},
    Collected {
        holds: Vec<u128>,
    },
    Released {},
    /// There is nothing to keep: the home is to be erased.
    Gone {
        at: Timestamp,
    },
}

/// Why it says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Nobody is leaving, or it is too late.
    #[error("nobody is leaving")]
    NotLeaving,
}

impl Leaving {
    /// The leaving of an account.
    #[must_use]
    pub const fn at(account: AccountId) -> Entity<Self> {
        Entity::new(account.home(), account.number())
    }

    fn start(&self, plan: Plan, ctx: &Context) -> Decision<Self> {
        match self.stage {
            Stage::Here | Stage::Refused => {
                let leave = account::Command::Leave { until: plan.until };
                let account = Account::at(plan.account);
                Decision::event(Event::Started { plan, at: ctx.now() }).send("leave", account, &leave)
            }
            // It goes already.
            Stage::ClosingTheDoor
            | Stage::SigningOut
            | Stage::Grace
            | Stage::Reopening
            | Stage::Ending
            | Stage::Collecting
            | Stage::Releasing(_)
            | Stage::Gone => Decision::nothing(),
        }
    }

    fn stay(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match (self.stage, &self.plan) {
            (Stage::Grace, Some(plan)) => {
                let reopened = Decision::event(Event::Reopened { at: ctx.now() }).clear(END);
                Ok(reopened.send("stay", Account::at(plan.account), &account::Command::Stay))
            }
            (Stage::Reopening, _) => Ok(Decision::nothing()),
            (_, _) => Err(Rejection::NotLeaving),
        }
    }

    fn signed_out(plan: &Plan, ctx: &Context) -> Decision<Self> {
        let Recipient { to, name, language } = plan.person.clone();
        let mail = Mail::AccountDeletion { name, until: plan.until };
        let message = Message::at(plan.account.home(), ctx.fresh_id());
        Decision::event(Event::SignedOut {})
            .send("tell", message, &message::Command::Send { mail, to, language })
            .timer(END, plan.until, Command::End)
    }

    fn collected(plan: &Plan, holds: Vec<u128>) -> Decision<Self> {
        let holds: Vec<_> = std::iter::once(plan.email_reservation).chain(holds).collect();
        let release = reservation::Command::Release { owner: plan.account.number() };
        let all = Decision::event(Event::Collected { holds: holds.clone() });
        holds.into_iter().fold(all, |all, held| all.send("release", Reservation::at(held), &release))
    }

    fn released(&self, ctx: &Context) -> Decision<Self> {
        match self.stage {
            Stage::Releasing(1) => Decision::event(Event::Gone { at: ctx.now() }),
            Stage::Releasing(_) => Decision::event(Event::Released {}),
            Stage::Here
            | Stage::ClosingTheDoor
            | Stage::Refused
            | Stage::SigningOut
            | Stage::Grace
            | Stage::Reopening
            | Stage::Ending
            | Stage::Collecting
            | Stage::Gone => Decision::nothing(),
        }
    }

    /// The step that follows `from`, if that is where it stands.
    fn step(&self, from: Stage, next: impl FnOnce(&Plan) -> Decision<Self>) -> Decision<Self> {
        match &self.plan {
            Some(plan) if self.stage == from => next(plan),
            Some(_) | None => Decision::nothing(),
        }
    }
}

impl Aggregate for Leaving {
    const KIND: Kind = Kind::new("users", "leaving");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        Ok(match command {
            Command::Start(plan) => self.start(plan, ctx),
            Command::Stay => return self.stay(ctx),
            Command::Left => self.step(Stage::ClosingTheDoor, |plan| {
                let end = credential::Command::EndSessions { spare: None };
                Decision::event(Event::Left {}).send("sign_out", Credential::at(plan.account), &end)
            }),
            Command::NotLeft => self.step(Stage::ClosingTheDoor, |_| Decision::event(Event::Refused {})),
            Command::SignedOut => self.step(Stage::SigningOut, |plan| Self::signed_out(plan, ctx)),
            Command::Stayed => self.step(Stage::Reopening, |_| Decision::event(Event::Stayed {})),
            Command::End => self.step(Stage::Grace, |plan| {
                let ended = Decision::event(Event::Ended { at: ctx.now() });
                ended.send("close", Account::at(plan.account), &account::Command::Close)
            }),
            Command::Closed => self.step(Stage::Ending, |plan| {
                let stop = change_email::Command::Stop;
                Decision::event(Event::AccountClosed {}).send("collect", ChangeEmail::at(plan.account), &stop)
            }),
            Command::Collected { holds } => self.step(Stage::Collecting, |plan| Self::collected(plan, holds)),
            Command::Released => self.released(ctx),
        })
    }

    fn evolve(&mut self, event: &Event) {
        self.stage = match event {
            Event::Started { plan, .. } => {
                self.plan = Some(plan.clone());
                Stage::ClosingTheDoor
            }
            Event::Refused {} => Stage::Refused,
            Event::Left {} => Stage::SigningOut,
            Event::SignedOut {} => Stage::Grace,
            Event::Reopened { .. } => Stage::Reopening,
            Event::Stayed {} => Stage::Here,
            Event::Ended { .. } => Stage::Ending,
            Event::AccountClosed {} => Stage::Collecting,
            Event::Collected { holds } => Stage::Releasing(holds.len()),
            Event::Released {} => {
                if let Stage::Releasing(left) = self.stage {
                    Stage::Releasing(left.saturating_sub(1))
                } else {
                    self.stage
                }
            }
            Event::Gone { .. } => Stage::Gone,
        };
    }

    fn reply(&self) -> View {
        match (self.stage, &self.plan) {
            (Stage::Grace, Some(plan)) => View::Grace(plan.until),
            (Stage::Here | Stage::Grace, _) => View::Here,
            (Stage::Refused, _) => View::Refused,
            (Stage::Gone, _) => View::Gone,
            (
                Stage::ClosingTheDoor
                | Stage::SigningOut
                | Stage::Reopening
                | Stage::Ending
                | Stage::Collecting
                | Stage::Releasing(_),
                _,
            ) => View::Running,
        }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match (answer.step(), answer.is_accepted()) {
            ("leave", true) => Some(Command::Left),
            ("leave", false) => Some(Command::NotLeft),
            ("sign_out", _) => Some(Command::SignedOut),
            ("stay", _) => Some(Command::Stayed),
            ("close", _) => Some(Command::Closed),
            ("collect", _) => {
                let holds = answer.of::<ChangeEmail>().and_then(Result::ok).map(|view| view.holds);
                Some(Command::Collected { holds: holds.unwrap_or_default() })
            }
            ("release", _) => Some(Command::Released),
            _ => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Here | Stage::Refused | Stage::Grace | Stage::Gone)
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "stage": self.stage })
    }
}

#[cfg(test)]
mod tests;
