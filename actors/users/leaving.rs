//! Leaving: a saga that gives a person time to change their mind, and then leaves nothing of them.
//!
//! ```text
//! Here ──Start──▶ Looking ──▶ Asking ──▶ Closing the door ──left──▶ Signing out ──▶ Grace ──its time is over──▶ Looking
//!  ▲               around  each tenant owned      │ not left            │                                         │
//!  └── Refused ◀──────────────┴───────────────────┘   Reopening ◀──Stay─┘                                         ▼
//!                                  Gone ◀── Releasing ◀── Collecting ◀── Ending (account closed) ◀── Parting, each tenant
//! ```
//! Which tenants there are, `ties.rs` finds out. A tenant that has no other owner to count on keeps its owner: who
//! leaves hands it over first. When the person belongs nowhere any more and their addresses are let go, the key of
//! their home is destroyed: what the journal, its copies and the read models hold about them is readable no more.

use std::time::Duration;

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
    ids::{AccountId, TenantId},
    tenancy::{Membership, Tenant, membership, tenant},
};

/// The timer of the grace.
const END: &str = "end";
/// A tenant that came to count on the person alone meanwhile is asked again so much later.
const HELD_FOR: Duration = Duration::from_secs(24 * 3600);

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Leaving {
    plan: Option<Plan>,
    stage: Stage,
    /// Since when it is to be found out which tenants there are.
    asked_at: Timestamp,
    /// Tenants that are still to be asked, or parted from; the first one is under way.
    tenants: Vec<TenantId>,
    /// Those that have excused their owner.
    excused: Vec<TenantId>,
    /// Those that have no other owner.
    needed: Vec<TenantId>,
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
    LookingAround,
    /// Tenants, one after the other, for leave.
    Asking,
    ClosingTheDoor,
    /// It stays: it runs the platform, is not active, or a tenant has no other owner.
    Refused,
    SigningOut,
    Grace,
    Reopening,
    LookingBack,
    /// From tenants, one after the other.
    Parting,
    /// A tenant counts on the person alone after all.
    Held,
    Ending,
    Collecting,
    /// Reservations that are not let go yet.
    Releasing(usize),
    Gone,
}

/// How leaving stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// Nobody leaves.
    Here,
    /// Steps are under way.
    Running,
    /// The account does not leave as it stands.
    Refused,
    /// It owns tenants that have no other owner.
    Needed(Vec<TenantId>),
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
    Owns { tenants: Vec<TenantId>, asked_at: Timestamp },
    Excused,
    Needed,
    Left,
    NotLeft,
    SignedOut,
    Stayed,
    End,
    Belongs { tenants: Vec<TenantId>, asked_at: Timestamp },
    Yielded,
    Hold,
    Parted,
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
    /// The tenants that the person owns.
    Owned {
        tenants: Vec<TenantId>,
    },
    /// A tenant has other owners.
    Excused {},
    /// A tenant has no other owner.
    Needed {},
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
    /// The tenants that the person belongs to, in whatever role.
    Belonged {
        tenants: Vec<TenantId>,
    },
    /// The person belongs to a tenant no more.
    Parted {},
    /// A tenant has no other owner after all.
    Held {
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
        if matches!(self.stage, Stage::Here | Stage::Refused) {
            Decision::event(Event::Started { plan, at: ctx.now() })
        } else {
            // It goes already.
            Decision::nothing()
        }
    }

    /// What a tenant said is noted, and the next one asked; in the end it goes, or stays.
    fn ask_on(&self, said: Event, plan: &Plan) -> Decision<Self> {
        let then = self.after(&said);
        let (said, owner) = (Decision::event(said), plan.account);
        match then.tenants.first() {
            Some(next) => said.send("excuse", Tenant::at(*next), &tenant::Command::Excuse { owner }),
            None if then.needed.is_empty() => {
                let leave = account::Command::Leave { until: plan.until };
                said.send("leave", Account::at(owner), &leave)
            }
            None => then.stay_in_tenants(said.and(Event::Refused {}), owner),
        }
    }

    /// A membership that ended is noted, and the next one ended; in the end the account is closed.
    fn part_on(&self, said: Event, plan: &Plan) -> Decision<Self> {
        let then = self.after(&said);
        let (said, owner) = (Decision::event(said), plan.account);
        match then.tenants.first() {
            Some(next) => said.send("yield", Tenant::at(*next), &tenant::Command::RemoveOwner { owner }),
            None => said.send("close", Account::at(owner), &account::Command::Close),
        }
    }

    /// The tenant has let go of an owner: the membership can end.
    fn part(&self, plan: &Plan) -> Decision<Self> {
        match self.tenants.first() {
            Some(tenant) => {
                let membership = Membership::at(*tenant, plan.account);
                Decision::nothing().send("part", membership, &membership::Command::End)
            }
            None => Decision::nothing(),
        }
    }

    /// Tenants that have excused their owner may count on them again.
    fn stay_in_tenants(&self, decision: Decision<Self>, owner: AccountId) -> Decision<Self> {
        let back = tenant::Command::TakeBack { owner };
        self.excused.iter().fold(decision, |all, tenant| all.send("back", Tenant::at(*tenant), &back))
    }

    /// Where it stands while tenants are asked for leave.
    const fn asking(&self) -> Stage {
        if self.tenants.is_empty() { Stage::ClosingTheDoor } else { Stage::Asking }
    }

    /// Where it stands while memberships end.
    const fn parting(&self) -> Stage {
        if self.tenants.is_empty() { Stage::Ending } else { Stage::Parting }
    }

    fn after(&self, event: &Event) -> Self {
        let mut then = self.clone();
        then.evolve(event);
        then
    }

    fn stay(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match (self.stage, &self.plan) {
            // Whom a tenant came to depend on is held beyond the grace, and may stay as well.
            (Stage::Grace | Stage::Held, Some(plan)) => {
                let reopened = Decision::event(Event::Reopened { at: ctx.now() }).clear(END);
                let stay = reopened.send("stay", Account::at(plan.account), &account::Command::Stay);
                Ok(self.stay_in_tenants(stay, plan.account))
            }
            (Stage::Reopening, _) => Ok(Decision::nothing()),
            (_, _) => Err(Rejection::NotLeaving),
        }
    }

    /// The time is over, or a tenant that held the person is asked again: `ties.rs` says which tenants there are.
    fn end(&self, ctx: &Context) -> Decision<Self> {
        if matches!(self.stage, Stage::Grace | Stage::Held) {
            Decision::event(Event::Ended { at: ctx.now() })
        } else {
            Decision::nothing()
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
            | Stage::LookingAround
            | Stage::Asking
            | Stage::ClosingTheDoor
            | Stage::Refused
            | Stage::SigningOut
            | Stage::Grace
            | Stage::Reopening
            | Stage::LookingBack
            | Stage::Parting
            | Stage::Held
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
            // What was asked before, and is answered again, says nothing of now.
            Command::Owns { asked_at, .. } | Command::Belongs { asked_at, .. }
                if asked_at != self.asked_at =>
            {
                Decision::nothing()
            }
            Command::Owns { tenants, .. } => {
                self.step(Stage::LookingAround, |plan| self.ask_on(Event::Owned { tenants }, plan))
            }
            Command::Excused => self.step(Stage::Asking, |plan| self.ask_on(Event::Excused {}, plan)),
            Command::Needed => self.step(Stage::Asking, |plan| self.ask_on(Event::Needed {}, plan)),
            Command::Left => self.step(Stage::ClosingTheDoor, |plan| {
                let end = credential::Command::EndSessions { spare: None };
                Decision::event(Event::Left {}).send("sign_out", Credential::at(plan.account), &end)
            }),
            Command::NotLeft => self.step(Stage::ClosingTheDoor, |plan| {
                self.stay_in_tenants(Decision::event(Event::Refused {}), plan.account)
            }),
            Command::SignedOut => self.step(Stage::SigningOut, |plan| Self::signed_out(plan, ctx)),
            Command::Stayed => self.step(Stage::Reopening, |_| Decision::event(Event::Stayed {})),
            Command::End => self.end(ctx),
            Command::Belongs { tenants, .. } => {
                self.step(Stage::LookingBack, |plan| self.part_on(Event::Belonged { tenants }, plan))
            }
            Command::Yielded => self.step(Stage::Parting, |plan| self.part(plan)),
            Command::Parted => self.step(Stage::Parting, |plan| self.part_on(Event::Parted {}, plan)),
            Command::Hold => self.step(Stage::Parting, |_| {
                let again = ctx.now().after(HELD_FOR);
                Decision::event(Event::Held { at: ctx.now() }).timer(END, again, Command::End)
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
            Event::Started { plan, at } => {
                *self = Self { plan: Some(plan.clone()), asked_at: *at, ..Self::default() };
                Stage::LookingAround
            }
            Event::Owned { tenants } => {
                self.tenants.clone_from(tenants);
                self.asking()
            }
            Event::Excused {} => {
                self.excused.extend(self.tenants.first());
                self.tenants.drain(..1.min(self.tenants.len()));
                self.asking()
            }
            Event::Needed {} => {
                self.needed.extend(self.tenants.first());
                self.tenants.drain(..1.min(self.tenants.len()));
                self.asking()
            }
            Event::Refused {} => {
                self.excused.clear();
                Stage::Refused
            }
            Event::Left {} => Stage::SigningOut,
            Event::SignedOut {} => Stage::Grace,
            Event::Reopened { .. } => {
                self.excused.clear();
                Stage::Reopening
            }
            Event::Stayed {} => Stage::Here,
            Event::Ended { at } => {
                self.asked_at = *at;
                Stage::LookingBack
            }
            Event::Belonged { tenants } => {
                self.tenants.clone_from(tenants);
                self.parting()
            }
            Event::Parted {} => {
                self.tenants.drain(..1.min(self.tenants.len()));
                self.parting()
            }
            Event::Held { .. } => Stage::Held,
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
            (Stage::Refused, _) if self.needed.is_empty() => View::Refused,
            (Stage::Refused, _) => View::Needed(self.needed.clone()),
            (Stage::Gone, _) => View::Gone,
            (
                Stage::LookingAround
                | Stage::Asking
                | Stage::ClosingTheDoor
                | Stage::SigningOut
                | Stage::Reopening
                | Stage::LookingBack
                | Stage::Parting
                | Stage::Held
                | Stage::Ending
                | Stage::Collecting
                | Stage::Releasing(_),
                _,
            ) => View::Running,
        }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match (answer.step(), answer.is_accepted()) {
            // A tenant that is gone, or knows nothing of its owner, needs nobody.
            ("excuse", _) if is_needed(answer) => Some(Command::Needed),
            ("excuse", _) => Some(Command::Excused),
            ("yield", _) if is_needed(answer) => Some(Command::Hold),
            ("yield", _) => Some(Command::Yielded),
            ("part", _) => Some(Command::Parted),
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
        serde_json::json!({ "stage": self.stage, "tenants": self.tenants, "needed": self.needed })
    }
}

/// Whether a tenant has nobody else to count on.
fn is_needed(answer: &Answer) -> bool {
    matches!(answer.of::<Tenant>(), Some(Err(tenant::Rejection::LastOwner)))
}

#[cfg(test)]
mod tests;
