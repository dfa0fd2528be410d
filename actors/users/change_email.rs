//! Changing one's address: a saga over the reservations of the new address and the old one.
//!
//! ```text
//! Idle ──Start──▶ Claiming ──claimed──▶ Pending ──Confirm──▶ Confirming ──▶ Changing ──changed──▶ Kept
//!  ▲  taken │                             │ Undo, or its time is over                              │ │
//!  │◀───────┘                             ▼                                                        │ │
//!  │◀──────────released──────────── Releasing(new) ◀── Ending ◀── Restoring ◀────────Undo──────────┘ │
//!  │◀──────────released──────────── Releasing(old) ◀──────────────────────7 days are over────────────┘
//! ```
//! The old address is told at once, with a link that takes the change back: before it is confirmed, and for a
//! week after. So long the old address stays reserved, no other change begins, and nobody else gets it. Whether
//! the new address is somebody else's, only its person is told.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    account::{self, Account},
    reservation::{self, Reservation},
};
use crate::{
    auth::credential::{self, Credential, Recipient},
    communication::{
        Message,
        message::{self, Mail},
    },
    ids::AccountId,
    values::Email,
};

/// The timer of the link to the new address, and then of the link to the old one.
const END: &str = "end";
/// How long the link to the new address is good (OWASP ASVS 6.5.5).
pub const CONFIRM_LASTS: Duration = Duration::from_secs(10 * 60);
/// How long the link to the old address is good.
pub const UNDO_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);
/// A claim outlives its change, so that it cannot end between the link and the confirmation.
const CLAIM_LASTS: Duration = Duration::from_secs(30 * 24 * 3600);
/// Changes one account may begin within [`WINDOW`]: each mails somebody who may be a stranger.
const STARTS_MAX: usize = 5;
/// See [`STARTS_MAX`].
const WINDOW: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ChangeEmail {
    plan: Option<Plan>,
    stage: Stage,
    /// When changes were begun lately.
    starts: Vec<Timestamp>,
    /// When the last one was made.
    changed_at: Option<Timestamp>,
}

/// One address for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Whose.
    pub account: AccountId,
    /// The person as they are told: at the old address.
    pub person: Recipient,
    /// The old address' keyed hash, which is its reservation's id.
    pub old_reservation: u128,
    /// The new address.
    pub new: Email,
    /// The new address' keyed hash.
    pub new_reservation: u128,
    /// What both links are about.
    pub link: u128,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    Idle,
    Claiming,
    Pending,
    Confirming,
    Changing,
    Kept,
    Restoring,
    Ending,
    ReleasingNew,
    ReleasingOld,
    /// The account goes: nothing begins any more.
    Stopped,
}

/// How a change stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Whether steps are under way that no person is waited for.
    pub is_running: bool,
    /// The reservations that it holds beside the account's own address.
    pub holds: Vec<u128>,
}

/// What moves it on; the first four come from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Command {
    Start(Plan),
    /// The link to the new address was opened.
    Confirm {
        link: u128,
    },
    /// The link to the old address was opened.
    Undo {
        link: u128,
    },
    /// The account goes, and whoever ends it lets go of what this holds.
    Stop,
    Claimed,
    Taken {
        by: AccountId,
    },
    Confirmed,
    Changed,
    Restored,
    SessionsEnded,
    Released,
    /// The time of a link is over.
    End,
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
    EmailClaimed {},
    EmailTaken {},
    Confirmed {
        at: Timestamp,
    },
    EmailConfirmed {},
    Changed {
        at: Timestamp,
    },
    Undone {
        at: Timestamp,
    },
    Restored {},
    SessionsEnded {},
    /// Nobody opened the link to the new address.
    Expired {
        at: Timestamp,
    },
    /// The old address is let go.
    Settled {
        at: Timestamp,
    },
    Released {},
    Stopped {
        at: Timestamp,
    },
}

/// Why it says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Another change is under way, or can still be taken back.
    #[error("the address was changed lately, or is just being changed")]
    TooSoon,
    /// The link was used, replaced or is too old.
    #[error("the link is not good (any more)")]
    Link,
}

impl ChangeEmail {
    /// The change of an account's address: one at a time.
    #[must_use]
    pub const fn at(account: AccountId) -> Entity<Self> {
        Entity::new(account.home(), account.number())
    }

    fn start(&self, plan: Plan, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let is_late = |at: &&Timestamp| ctx.now().since(**at) < WINDOW;
        let is_flood = self.starts.iter().filter(is_late).count() >= STARTS_MAX;
        let earlier = match (self.stage, &self.plan) {
            (Stage::Idle, _) => None,
            // A person who mistyped the address is not kept waiting.
            (Stage::Pending, Some(earlier)) => Some(earlier.new_reservation),
            (_, _) => return Err(Rejection::TooSoon),
        };
        if is_flood {
            return Err(Rejection::TooSoon);
        }
        let account = plan.account.number();
        let claim = reservation::Command::Claim { owner: account, lasts: CLAIM_LASTS };
        let new = Reservation::at(plan.new_reservation);
        let Recipient { to, name, language } = plan.person.clone();
        let notice =
            Mail::EmailChangeNotice { name, account: plan.account, id: plan.link, new: plan.new.masked() };
        let notice = message::Command::Send { mail: notice, to, language };
        let message = Message::at(plan.account.home(), ctx.fresh_id());
        let dropped = earlier.filter(|earlier| *earlier != plan.new_reservation);
        let started = Decision::event(Event::Started { plan, at: ctx.now() })
            .clear(END)
            .send("claim", new, &claim)
            .send("tell", message, &notice);
        Ok(match dropped {
            Some(earlier) => {
                let release = reservation::Command::Release { owner: account };
                started.send("drop", Reservation::at(earlier), &release)
            }
            None => started,
        })
    }

    fn claimed(plan: &Plan, ctx: &Context) -> Decision<Self> {
        let Recipient { name, language, .. } = plan.person.clone();
        let mail = Mail::EmailChangeConfirm { name, account: plan.account, id: plan.link };
        let send = message::Command::Send { mail, to: plan.new.clone(), language };
        Decision::event(Event::EmailClaimed {})
            .send("tell", Message::at(plan.account.home(), ctx.fresh_id()), &send)
            .timer(END, ctx.now().after(CONFIRM_LASTS), Command::End)
    }

    fn confirm(&self, link: u128, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        // Its timer may come a moment later.
        let is_late = self.starts.last().is_some_and(|at| ctx.now().since(*at) >= CONFIRM_LASTS);
        match (self.stage, &self.plan) {
            (Stage::Pending, Some(plan)) if plan.link == link && !is_late => {
                let confirm = reservation::Command::Confirm { owner: plan.account.number() };
                let new = Reservation::at(plan.new_reservation);
                let confirmed = Decision::event(Event::Confirmed { at: ctx.now() }).clear(END);
                Ok(confirmed.send("confirm", new, &confirm))
            }
            (Stage::Confirming | Stage::Changing, Some(plan)) if plan.link == link => Ok(Decision::nothing()),
            (_, _) => Err(Rejection::Link),
        }
    }

    fn undo(&self, link: u128, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let undone = || Decision::event(Event::Undone { at: ctx.now() }).clear(END);
        // Its timer may come a moment later.
        let is_late = self.changed_at.is_some_and(|at| ctx.now().since(at) >= UNDO_LASTS);
        match (self.stage, &self.plan) {
            (Stage::Pending, Some(plan)) if plan.link == link => {
                Ok(Self::releasing(undone(), plan, plan.new_reservation))
            }
            (Stage::Kept, Some(plan)) if plan.link == link && !is_late => {
                let Recipient { to, name, language } = plan.person.clone();
                let restore = account::Command::ChangeEmail { email: to.clone() };
                let mail = Mail::EmailChangeUndone { name };
                let tell = message::Command::Send { mail, to, language };
                let message = Message::at(plan.account.home(), ctx.fresh_id());
                let undone = undone().send("restore", Account::at(plan.account), &restore);
                Ok(undone.send("tell", message, &tell))
            }
            (Stage::Restoring | Stage::Ending | Stage::ReleasingNew, Some(plan)) if plan.link == link => {
                Ok(Decision::nothing())
            }
            (_, _) => Err(Rejection::Link),
        }
    }

    fn releasing(decision: Decision<Self>, plan: &Plan, reservation: u128) -> Decision<Self> {
        let release = reservation::Command::Release { owner: plan.account.number() };
        decision.send("release", Reservation::at(reservation), &release)
    }

    fn end(&self, plan: &Plan, ctx: &Context) -> Decision<Self> {
        match self.stage {
            Stage::Pending => {
                let expired = Decision::event(Event::Expired { at: ctx.now() });
                Self::releasing(expired, plan, plan.new_reservation)
            }
            Stage::Kept => {
                let settled = Decision::event(Event::Settled { at: ctx.now() });
                Self::releasing(settled, plan, plan.old_reservation)
            }
            Stage::Idle
            | Stage::Claiming
            | Stage::Confirming
            | Stage::Changing
            | Stage::Restoring
            | Stage::Ending
            | Stage::ReleasingNew
            | Stage::ReleasingOld
            | Stage::Stopped => Decision::nothing(),
        }
    }

    fn released(&self) -> Decision<Self> {
        match self.stage {
            Stage::ReleasingNew | Stage::ReleasingOld => Decision::event(Event::Released {}),
            Stage::Idle
            | Stage::Claiming
            | Stage::Pending
            | Stage::Confirming
            | Stage::Changing
            | Stage::Kept
            | Stage::Restoring
            | Stage::Ending
            | Stage::Stopped => Decision::nothing(),
        }
    }

    /// The step that follows `from`, if that is where it stands.
    fn step(&self, from: Stage, next: impl FnOnce(&Plan) -> Decision<Self>) -> Decision<Self> {
        match &self.plan {
            Some(plan) if self.stage == from => next(plan),
            Some(_) | None => Decision::nothing(),
        }
    }

    fn holds(&self) -> Vec<u128> {
        let Some(plan) = &self.plan else { return Vec::new() };
        match self.stage {
            Stage::Idle => Vec::new(),
            Stage::Claiming
            | Stage::Pending
            | Stage::Confirming
            | Stage::Changing
            | Stage::Kept
            | Stage::Restoring
            | Stage::Ending
            | Stage::ReleasingNew
            | Stage::ReleasingOld
            | Stage::Stopped => vec![plan.old_reservation, plan.new_reservation],
        }
    }
}

impl Aggregate for ChangeEmail {
    const KIND: Kind = Kind::new("users", "change_email");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        Ok(match command {
            Command::Start(plan) => return self.start(plan, ctx),
            Command::Confirm { link } => return self.confirm(link, ctx),
            Command::Undo { link } => return self.undo(link, ctx),
            Command::Stop if self.stage == Stage::Stopped => Decision::nothing(),
            Command::Stop => Decision::event(Event::Stopped { at: ctx.now() }).clear(END),
            Command::Claimed => self.step(Stage::Claiming, |plan| Self::claimed(plan, ctx)),
            Command::Taken { by } => self.step(Stage::Claiming, |_| {
                Decision::event(Event::EmailTaken {}).send("knock", Account::at(by), &account::Command::Knock)
            }),
            Command::Confirmed => self.step(Stage::Confirming, |plan| {
                let change = account::Command::ChangeEmail { email: plan.new.clone() };
                Decision::event(Event::EmailConfirmed {}).send("change", Account::at(plan.account), &change)
            }),
            Command::Changed => self.step(Stage::Changing, |_| {
                let undone = ctx.now().after(UNDO_LASTS);
                Decision::event(Event::Changed { at: ctx.now() }).timer(END, undone, Command::End)
            }),
            Command::Restored => self.step(Stage::Restoring, |plan| {
                let end = credential::Command::EndSessions { spare: None };
                Decision::event(Event::Restored {}).send("end_sessions", Credential::at(plan.account), &end)
            }),
            Command::SessionsEnded => self.step(Stage::Ending, |plan| {
                Self::releasing(Decision::event(Event::SessionsEnded {}), plan, plan.new_reservation)
            }),
            Command::Released => self.released(),
            Command::End => self.plan.as_ref().map_or_else(Decision::nothing, |plan| self.end(plan, ctx)),
        })
    }

    fn evolve(&mut self, event: &Event) {
        self.stage = match event {
            Event::Started { plan, at } => {
                self.plan = Some(plan.clone());
                self.starts.retain(|start| at.since(*start) < WINDOW);
                self.starts.push(*at);
                Stage::Claiming
            }
            Event::EmailClaimed {} => Stage::Pending,
            Event::EmailTaken {} | Event::Released {} => Stage::Idle,
            Event::Confirmed { .. } => Stage::Confirming,
            Event::EmailConfirmed {} => Stage::Changing,
            Event::Changed { at } => {
                self.changed_at = Some(*at);
                Stage::Kept
            }
            Event::Undone { .. } if self.stage == Stage::Kept => Stage::Restoring,
            Event::Undone { .. } | Event::Expired { .. } | Event::SessionsEnded {} => Stage::ReleasingNew,
            Event::Restored {} => Stage::Ending,
            Event::Settled { .. } => Stage::ReleasingOld,
            Event::Stopped { .. } => Stage::Stopped,
        };
    }

    fn reply(&self) -> View {
        View { is_running: !self.has_ended(), holds: self.holds() }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match answer.step() {
            "claim" => match answer.of::<Reservation>()? {
                Ok(_) => Some(Command::Claimed),
                Err(reservation::Rejection::Taken { by }) => Some(Command::Taken { by: AccountId::new(by) }),
                Err(reservation::Rejection::NotHeld) => None,
            },
            "confirm" => answer.is_accepted().then_some(Command::Confirmed),
            "change" => Some(Command::Changed),
            "restore" => Some(Command::Restored),
            "end_sessions" => Some(Command::SessionsEnded),
            "release" => Some(Command::Released),
            _ => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Pending | Stage::Kept | Stage::Stopped)
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "stage": self.stage })
    }
}

#[cfg(test)]
mod tests;
