//! Signing up: a saga that keeps an address for whoever says it is theirs until they have shown that it is.
//!
//! ```text
//! (none) ──Start──▶ Claiming ──claimed──▶ Registering ──registered──▶ Pending ──Verify──▶ Confirming
//!                      │ taken               (its time is over) ◀────────┤                    │ confirmed
//!                      ▼                              │                  └─Again: one more    ▼
//!                  Handing over                       ▼                     link            Setting
//!                      │ handed over               Closing ─▶ Releasing                       │ password set
//!                      ▼                              │ released                              ▼
//!                   Let go ◀──────────────────────────┘                 Done ◀──activated── Activating
//! ```
//! It lives in the home of the account it makes; one that is let go leaves nothing to keep, so the home is
//! erased. Of several sign-ups with one address the first holds it, and whatever is signed up later comes to
//! the holder: each has its own link and its own password, and the one whose link is opened counts, by whoever
//! knows its password. So whoever signs up somebody else's address gets no account by that person's click, and no
//! sign-up is in another's way. Once the address is somebody's, they are told instead. A password is hashed under a
//! salt that follows from its link: the same password is the same hash.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    account::{self, Account},
    reservation::{self, Reservation},
};
use crate::{
    auth::credential::{self, Credential, PasswordHash},
    communication::{
        Message,
        message::{self, Language, Mail},
    },
    ids::AccountId,
    values::{Email, PersonName},
};

/// The timer that ends a sign-up whose link nobody opens.
const ABANDON: &str = "abandon";
/// A claim outlives its sign-up, so that it cannot end between the link and the confirmation.
const CLAIM_SPARE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Links that are good at once, and mailed within [`MAILS_WINDOW`], for an address that is nobody's yet.
const ATTEMPTS_MAX: usize = 5;
/// See [`ATTEMPTS_MAX`].
const MAILS_WINDOW: Duration = Duration::from_secs(3600);

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SignUp {
    plan: Option<Plan>,
    /// The latest ones, and when they were made.
    attempts: Vec<(Attempt, Timestamp)>,
    stage: Stage,
}

/// An account to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its id.
    pub account: AccountId,
    /// Its address.
    pub email: Email,
    /// The address' keyed hash, which is its reservation's id.
    pub email_reservation: u128,
    /// How long the address is kept for it.
    pub lasts: Duration,
}

/// What one sign-up brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What its link is about.
    pub link: u128,
    /// The person's name.
    pub name: PersonName,
    /// The password, hashed.
    pub password: PasswordHash,
    /// The language of the mail.
    pub language: Language,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    None,
    Claiming,
    HandingOver,
    Registering,
    Pending,
    /// The attempt whose link was opened.
    Confirming(u128),
    Setting(u128),
    Activating(u128),
    Done,
    Closing,
    Releasing,
    LetGo,
}

/// How a sign-up stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// There is none.
    None,
    /// It goes on; nothing that a person does is waited for.
    Running,
    /// The address waits to be shown somebody's.
    Pending,
    /// The account is its person's.
    Done,
    /// There will be no account.
    LetGo,
}

/// What moves it on; `Start`, `Again` and `Verify` come from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Command {
    Start {
        plan: Plan,
        attempt: Attempt,
    },
    /// Somebody signs up with the address that this account holds.
    Again(Attempt),
    /// The link of a mail was opened, by somebody who gives this password.
    Verify {
        link: u128,
        password: PasswordHash,
    },
    Claimed,
    Taken {
        by: AccountId,
    },
    HandedOver,
    Registered,
    Confirmed,
    PasswordSet,
    Activated,
    Abandon,
    Closed,
    Released,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Event {
    Started {
        plan: Plan,
        attempt: Attempt,
        at: Timestamp,
    },
    EmailClaimed {},
    EmailTaken {
        by: AccountId,
    },
    Registered {},
    Repeated {
        attempt: Attempt,
        at: Timestamp,
    },
    /// Somebody signed up with an address that has an account, or too often with one that has none yet.
    Passed {
        at: Timestamp,
    },
    Verified {
        link: u128,
        at: Timestamp,
    },
    EmailConfirmed {},
    PasswordSet {},
    Finished {
        at: Timestamp,
    },
    Abandoned {
        at: Timestamp,
    },
    AccountClosed {},
    /// There is nothing to keep: the home is to be erased.
    LetGo {
        at: Timestamp,
    },
}

/// Why it says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The id was used for another plan.
    #[error("the id belongs to another sign-up")]
    AnotherPlan,
    /// The link was used, or its sign-up's time is over.
    #[error("the link is not good (any more)")]
    Link,
    /// Whoever opened the link is not who signed up.
    #[error("the password is not that of the sign-up")]
    Password,
}

impl SignUp {
    /// The sign-up that makes an account.
    #[must_use]
    pub const fn at(account: AccountId) -> Entity<Self> {
        Entity::new(account.home(), account.number())
    }

    fn start(&self, plan: Plan, attempt: Attempt, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match &self.plan {
            Some(known) if *known == plan => Ok(Decision::nothing()),
            Some(_) => Err(Rejection::AnotherPlan),
            None => {
                let lasts = plan.lasts.saturating_add(CLAIM_SPARE);
                let claim = reservation::Command::Claim { owner: plan.account.number(), lasts };
                let (email, end) = (Reservation::at(plan.email_reservation), ctx.now().after(plan.lasts));
                Ok(Decision::event(Event::Started { plan, attempt, at: ctx.now() })
                    .send("claim", email, &claim)
                    .timer(ABANDON, end, Command::Abandon))
            }
        }
    }

    fn again(&self, attempt: Attempt, ctx: &Context) -> Decision<Self> {
        let passed = || Decision::event(Event::Passed { at: ctx.now() });
        let is_late = |(_, at): &&(Attempt, Timestamp)| ctx.now().since(*at) < MAILS_WINDOW;
        let is_flood = self.attempts.iter().filter(is_late).count() >= ATTEMPTS_MAX;
        match self.stage {
            Stage::Claiming | Stage::Registering | Stage::Pending if is_flood => passed(),
            // Its mail goes out with the first one's.
            Stage::Claiming | Stage::Registering => {
                Decision::event(Event::Repeated { attempt, at: ctx.now() })
            }
            Stage::Pending => {
                let repeated = Event::Repeated { attempt: attempt.clone(), at: ctx.now() };
                self.mailing(Decision::event(repeated), &attempt, ctx)
            }
            Stage::None | Stage::Confirming(_) | Stage::Setting(_) | Stage::Activating(_) | Stage::Done => {
                passed().send("knock", own_account(ctx), &account::Command::Knock)
            }
            // About to be erased: whoever signs up a little later finds the address free.
            Stage::HandingOver | Stage::Closing | Stage::Releasing | Stage::LetGo => passed(),
        }
    }

    fn mailing(&self, decision: Decision<Self>, attempt: &Attempt, ctx: &Context) -> Decision<Self> {
        let Some(plan) = &self.plan else { return decision };
        let Attempt { link, name, language, .. } = attempt.clone();
        let mail = Mail::VerifyAddress { name, account: plan.account, id: link };
        let send = message::Command::Send { mail, to: plan.email.clone(), language };
        decision.send("mail", Message::at(plan.account.home(), ctx.fresh_id()), &send)
    }

    /// A person may open the link of a stranger who signed up with their address: the password tells the two apart.
    fn verify(
        &self,
        link: u128,
        password: &PasswordHash,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        let attempt = self.attempts.iter().map(|(attempt, _)| attempt).find(|attempt| attempt.link == link);
        match (self.stage, &self.plan) {
            (Stage::Pending, Some(_)) if attempt.is_some_and(|attempt| attempt.password != *password) => {
                Err(Rejection::Password)
            }
            (Stage::Pending, Some(plan)) if attempt.is_some() => {
                let confirm = reservation::Command::Confirm { owner: plan.account.number() };
                let email = Reservation::at(plan.email_reservation);
                let verified = Decision::event(Event::Verified { link, at: ctx.now() });
                Ok(verified.clear(ABANDON).send("confirm", email, &confirm))
            }
            // The same again, while the first goes on.
            (Stage::Confirming(known) | Stage::Setting(known) | Stage::Activating(known), _)
                if known == link =>
            {
                Ok(Decision::nothing())
            }
            (_, _) => Err(Rejection::Link),
        }
    }

    fn claimed(&self, plan: &Plan) -> Decision<Self> {
        let (Stage::Claiming, Some((Attempt { name, language, .. }, _))) =
            (self.stage, self.attempts.first())
        else {
            return Decision::nothing();
        };
        let (email, name, language) = (plan.email.clone(), name.clone(), *language);
        let register = account::Command::Register { email, name, language };
        Decision::event(Event::EmailClaimed {}).send("register", Account::at(plan.account), &register)
    }

    fn taken(&self, by: AccountId) -> Decision<Self> {
        let (Stage::Claiming, Some((attempt, _))) = (self.stage, self.attempts.first()) else {
            return Decision::nothing();
        };
        let again = Command::Again(attempt.clone());
        Decision::event(Event::EmailTaken { by }).clear(ABANDON).send("hand_over", Self::at(by), &again)
    }

    fn registered(&self, ctx: &Context) -> Decision<Self> {
        if self.stage != Stage::Registering {
            return Decision::nothing();
        }
        let registered = Decision::event(Event::Registered {});
        self.attempts.iter().fold(registered, |decision, (attempt, _)| self.mailing(decision, attempt, ctx))
    }

    fn confirmed(&self, plan: &Plan) -> Decision<Self> {
        let (Stage::Confirming(_), Some(attempt)) = (self.stage, self.opened()) else {
            return Decision::nothing();
        };
        let create = credential::Command::Create { password: attempt.password.clone() };
        Decision::event(Event::EmailConfirmed {}).send("set_password", Credential::at(plan.account), &create)
    }

    fn password_set(&self, plan: &Plan) -> Decision<Self> {
        let (Stage::Setting(_), Some(attempt)) = (self.stage, self.opened()) else {
            return Decision::nothing();
        };
        let activate = account::Command::Activate { name: attempt.name.clone() };
        Decision::event(Event::PasswordSet {}).send("activate", Account::at(plan.account), &activate)
    }

    fn activated(&self, ctx: &Context) -> Decision<Self> {
        match self.opened() {
            Some(_) if matches!(self.stage, Stage::Activating(_)) => {
                Decision::event(Event::Finished { at: ctx.now() })
            }
            Some(_) | None => Decision::nothing(),
        }
    }

    /// The attempt whose link was opened.
    fn opened(&self) -> Option<&Attempt> {
        match self.stage {
            Stage::Confirming(link) | Stage::Setting(link) | Stage::Activating(link) => {
                self.attempts.iter().map(|(attempt, _)| attempt).find(|attempt| attempt.link == link)
            }
            Stage::None
            | Stage::Claiming
            | Stage::HandingOver
            | Stage::Registering
            | Stage::Pending
            | Stage::Done
            | Stage::Closing
            | Stage::Releasing
            | Stage::LetGo => None,
        }
    }

    /// The next stage of the attempt whose link was opened.
    fn with_link(&self, stage: fn(u128) -> Stage) -> Stage {
        self.opened().map_or(self.stage, |attempt| stage(attempt.link))
    }

    fn abandon(&self, plan: &Plan, ctx: &Context) -> Decision<Self> {
        match self.stage {
            Stage::Claiming | Stage::Registering | Stage::Pending => {
                let abandoned = Decision::event(Event::Abandoned { at: ctx.now() });
                abandoned.send("close", Account::at(plan.account), &account::Command::Close)
            }
            Stage::None
            | Stage::HandingOver
            | Stage::Confirming(_)
            | Stage::Setting(_)
            | Stage::Activating(_)
            | Stage::Done
            | Stage::Closing
            | Stage::Releasing
            | Stage::LetGo => Decision::nothing(),
        }
    }

    fn closed(&self, plan: &Plan) -> Decision<Self> {
        if self.stage != Stage::Closing {
            return Decision::nothing();
        }
        let release = reservation::Command::Release { owner: plan.account.number() };
        let email = Reservation::at(plan.email_reservation);
        Decision::event(Event::AccountClosed {}).send("release", email, &release)
    }

    fn let_go(&self, from: Stage, ctx: &Context) -> Decision<Self> {
        if self.stage == from { Decision::event(Event::LetGo { at: ctx.now() }) } else { Decision::nothing() }
    }

    /// What follows for the account to be, if there is one.
    fn planned(&self, next: impl FnOnce(&Plan) -> Decision<Self>) -> Decision<Self> {
        self.plan.as_ref().map_or_else(Decision::nothing, next)
    }
}

/// Every sign-up has the id of its account.
const fn own_account(ctx: &Context) -> Entity<Account> {
    Account::at(AccountId::new(ctx.entity().id))
}

impl Aggregate for SignUp {
    const KIND: Kind = Kind::new("users", "sign_up");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        Ok(match command {
            Command::Start { plan, attempt } => return self.start(plan, attempt, ctx),
            Command::Again(attempt) => self.again(attempt, ctx),
            Command::Verify { link, password } => return self.verify(link, &password, ctx),
            Command::Claimed => self.planned(|plan| self.claimed(plan)),
            Command::Taken { by } => self.taken(by),
            Command::HandedOver => self.let_go(Stage::HandingOver, ctx),
            Command::Registered => self.registered(ctx),
            Command::Confirmed => self.planned(|plan| self.confirmed(plan)),
            Command::PasswordSet => self.planned(|plan| self.password_set(plan)),
            Command::Activated => self.activated(ctx),
            Command::Abandon => self.planned(|plan| self.abandon(plan, ctx)),
            Command::Closed => self.planned(|plan| self.closed(plan)),
            Command::Released => self.let_go(Stage::Releasing, ctx),
        })
    }

    fn evolve(&mut self, event: &Event) {
        self.stage = match event {
            Event::Started { plan, attempt, at } => {
                self.plan = Some(plan.clone());
                self.attempts = vec![(attempt.clone(), *at)];
                Stage::Claiming
            }
            Event::EmailClaimed {} => Stage::Registering,
            Event::EmailTaken { .. } => Stage::HandingOver,
            Event::Registered {} => Stage::Pending,
            Event::Repeated { attempt, at } => {
                self.attempts.push((attempt.clone(), *at));
                if self.attempts.len() > ATTEMPTS_MAX {
                    self.attempts.remove(0);
                }
                self.stage
            }
            Event::Passed { .. } => self.stage,
            Event::Verified { link, .. } => Stage::Confirming(*link),
            Event::EmailConfirmed {} => self.with_link(Stage::Setting),
            Event::PasswordSet {} => self.with_link(Stage::Activating),
            Event::Finished { .. } => {
                // What was signed up in vain is nobody's business.
                self.attempts.clear();
                Stage::Done
            }
            Event::Abandoned { .. } => Stage::Closing,
            Event::AccountClosed {} => Stage::Releasing,
            Event::LetGo { .. } => Stage::LetGo,
        };
    }

    fn reply(&self) -> View {
        match self.stage {
            Stage::None => View::None,
            Stage::Pending => View::Pending,
            Stage::Done => View::Done,
            Stage::LetGo => View::LetGo,
            Stage::Claiming
            | Stage::HandingOver
            | Stage::Registering
            | Stage::Confirming(_)
            | Stage::Setting(_)
            | Stage::Activating(_)
            | Stage::Closing
            | Stage::Releasing => View::Running,
        }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match answer.step() {
            "claim" => match answer.of::<Reservation>()? {
                Ok(_) => Some(Command::Claimed),
                Err(reservation::Rejection::Taken { by }) => Some(Command::Taken { by: AccountId::new(by) }),
                Err(reservation::Rejection::NotHeld) => None,
            },
            "hand_over" => Some(Command::HandedOver),
            "register" => Some(Command::Registered),
            "confirm" => answer.is_accepted().then_some(Command::Confirmed),
            "set_password" => Some(Command::PasswordSet),
            "activate" => Some(Command::Activated),
            "close" => Some(Command::Closed),
            "release" => Some(Command::Released),
            _ => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Done | Stage::LetGo)
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "stage": self.reply(), "attempts": self.attempts.len() })
    }
}

#[cfg(test)]
mod tests;
