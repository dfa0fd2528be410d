//! A message: one mail to one address, from the request until it is handed over or given up.
//!
//! ```text
//! (none) ──Send──▶ Due ──Begin──▶ Trying ──Report──▶ Delivered, or GivenUp (refused for good)
//!                   ▲ ▲              │ │
//!                   │ └──Overdue─────┘ │ Report: not now
//!                   └──Retry── Waiting ◀┘ ──a day is over──▶ GivenUp
//! ```
//! It asks for an attempt by being due; the door out hears of that, begins the attempt, which is durable before
//! a byte leaves, and reports. An attempt that is never reported died with its node: another is due, so that at
//! most one copy too many is sent a crash. All attempts of a message have one Message-ID. What has not ended
//! always has a timer: nobody needs to remember it.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Home, Kind, Timestamp};
use serde::{Deserialize, Serialize};

pub use super::mail::{Language, Mail};
use crate::values::Email;

/// The one timer: of the next attempt, of the report of the one under way, or of asking again.
const NEXT: &str = "next";
/// Asks again for an attempt that nobody began: longer than a door out is busy, and short beside `PATIENCE`.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// The pause after the first failed attempt; each one after doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// An attempt that would be later than this after the request is not made.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// One mail to one address.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Message(Option<Sending>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sending {
    letter: Letter,
    requested_at: Timestamp,
    /// Attempts that were begun; the last one's number.
    attempts: u32,
    stage: Stage,
    /// What went wrong last.
    trouble: Option<String>,
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// What it says.
    pub mail: Mail,
    /// To whom.
    pub to: Email,
    /// In which language.
    pub language: Language,
}

/// How a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It asks for an attempt.
    Due,
    /// An attempt is under way.
    Trying,
    /// The next attempt is not due yet.
    Waiting,
    /// The next server has it.
    Delivered,
    /// It is not sent any more.
    GivenUp,
}

/// What a message shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// How it stands.
    pub stage: Stage,
    /// Attempts that were begun.
    pub attempts: u32,
    /// What went wrong last, in words for operators.
    pub trouble: Option<String>,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// What is sent, while an attempt is under way; nobody else has to know.
    pub letter: Option<Letter>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The next server took it.
    Accepted,
    /// It did not work this time: why.
    Failed(String),
    /// It will never work: why.
    Refused(String),
}

/// What can be asked of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Requests it; repeating it changes nothing.
    Send {
        /// What it says.
        mail: Mail,
        /// To whom.
        to: Email,
        /// In which language.
        language: Language,
    },
    /// Begins an attempt, whose number is then the view's `attempts`.
    Begin {
        /// How long it takes at most, its report included.
        lasts: Duration,
    },
    /// Says what became of an attempt.
    Report {
        /// The attempt's.
        number: u32,
        /// What it came to.
        outcome: Outcome,
    },
    /// The time for an attempt has come.
    Retry,
    /// An attempt should have been reported by now.
    Overdue {
        /// The attempt's.
        number: u32,
    },
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    /// It asks for its first attempt.
    Requested {
        mail: Mail,
        to: Email,
        language: Language,
        at: Timestamp,
    },
    /// An attempt may be under way from now on.
    Attempted {
        number: u32,
        at: Timestamp,
    },
    Deferred {
        number: u32,
        why: String,
        until: Timestamp,
        at: Timestamp,
    },
    /// It asks for another attempt.
    Due {
        at: Timestamp,
    },
    Delivered {
        number: u32,
        at: Timestamp,
    },
    GivenUp {
        why: String,
        at: Timestamp,
    },
}

/// Why a message says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is none with this id.
    #[error("there is no such message")]
    Unknown,
    /// The id belongs to another one.
    #[error("the message is another one")]
    AnotherMessage,
    /// No attempt is due.
    #[error("no attempt is due")]
    NotDue,
}

impl Message {
    /// The message with an id, in the home that it is about.
    #[must_use]
    pub const fn at(home: Home, id: u128) -> Entity<Self> {
        Entity::new(home, id)
    }

    fn send(&self, letter: Letter, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match &self.0 {
            None => {
                let Letter { mail, to, language } = letter;
                let requested = Event::Requested { mail, to, language, at: ctx.now() };
                Ok(Self::asking(Decision::event(requested), ctx))
            }
            Some(known) if known.letter == letter => Ok(Decision::nothing()),
            Some(_) => Err(Rejection::AnotherMessage),
        }
    }

    fn asking(decision: Decision<Self>, ctx: &Context) -> Decision<Self> {
        decision.timer(NEXT, ctx.now().after(ASK_AGAIN), Command::Retry)
    }
}

impl Sending {
    fn begin(&self, lasts: Duration, ctx: &Context) -> Result<Decision<Message>, Rejection> {
        if self.stage != Stage::Due {
            return Err(Rejection::NotDue);
        }
        if ctx.now() >= self.deadline() {
            return Ok(self.too_late(ctx));
        }
        let number = self.attempts + 1;
        Ok(Decision::event(Event::Attempted { number, at: ctx.now() }).timer(
            NEXT,
            ctx.now().after(lasts),
            Command::Overdue { number },
        ))
    }

    fn report(&self, number: u32, outcome: Outcome, ctx: &Context) -> Decision<Message> {
        if self.has_ended() {
            return Decision::nothing();
        }
        let is_current = self.is_trying(number);
        match outcome {
            // Even if it was given up for lost meanwhile: one copy is enough.
            Outcome::Accepted => Decision::event(Event::Delivered { number, at: ctx.now() }).clear(NEXT),
            Outcome::Failed(why) if is_current => self.defer(why, ctx),
            Outcome::Refused(why) if is_current => Self::give_up(why, ctx),
            Outcome::Failed(_) | Outcome::Refused(_) => Decision::nothing(),
        }
    }

    fn defer(&self, why: String, ctx: &Context) -> Decision<Message> {
        let until = ctx.now().after(pause(self.attempts));
        if until >= self.deadline() {
            return Self::give_up(why, ctx);
        }
        Decision::event(Event::Deferred { number: self.attempts, why, until, at: ctx.now() }).timer(
            NEXT,
            until,
            Command::Retry,
        )
    }

    fn give_up(why: String, ctx: &Context) -> Decision<Message> {
        Decision::event(Event::GivenUp { why, at: ctx.now() }).clear(NEXT)
    }

    fn too_late(&self, ctx: &Context) -> Decision<Message> {
        let why = self.trouble.clone().unwrap_or_else(|| "not sent within a day".to_owned());
        Self::give_up(why, ctx)
    }

    fn ask(&self, ctx: &Context) -> Decision<Message> {
        if ctx.now() >= self.deadline() {
            return self.too_late(ctx);
        }
        Message::asking(Decision::event(Event::Due { at: ctx.now() }), ctx)
    }

    fn retry(&self, ctx: &Context) -> Decision<Message> {
        match self.stage {
            Stage::Due | Stage::Waiting => self.ask(ctx),
            Stage::Trying | Stage::Delivered | Stage::GivenUp => Decision::nothing(),
        }
    }

    fn overdue(&self, number: u32, ctx: &Context) -> Decision<Message> {
        if self.is_trying(number) { self.ask(ctx) } else { Decision::nothing() }
    }

    fn is_trying(&self, number: u32) -> bool {
        self.stage == Stage::Trying && self.attempts == number
    }

    fn deadline(&self) -> Timestamp {
        self.requested_at.after(PATIENCE)
    }

    const fn has_ended(&self) -> bool {
        match self.stage {
            Stage::Due | Stage::Trying | Stage::Waiting => false,
            Stage::Delivered | Stage::GivenUp => true,
        }
    }
}

/// The pause after so many attempts: doubled each time, without chance, since what waits is spread already.
fn pause(attempts: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(PAUSE_MAX)
}

impl Aggregate for Message {
    const KIND: Kind = Kind::new("communication", "message");
    type Command = Command;
    type Event = Event;
    /// `None` if there is no such message.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let sending = self.0.as_ref().ok_or(Rejection::Unknown);
        match command {
            Command::Send { mail, to, language } => self.send(Letter { mail, to, language }, ctx),
            Command::Begin { lasts } => sending?.begin(lasts, ctx),
            Command::Report { number, outcome } => Ok(sending?.report(number, outcome, ctx)),
            Command::Retry => Ok(sending?.retry(ctx)),
            Command::Overdue { number } => Ok(sending?.overdue(number, ctx)),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Requested { mail, to, language, at } = event {
            self.0 = Some(Sending {
                letter: Letter { mail: mail.clone(), to: to.clone(), language: *language },
                requested_at: *at,
                attempts: 0,
                stage: Stage::Due,
                trouble: None,
            });
        }
        let Some(sending) = &mut self.0 else { return };
        sending.stage = match event {
            Event::Requested { .. } | Event::Due { .. } => Stage::Due,
            Event::Attempted { number, .. } => {
                sending.attempts = *number;
                Stage::Trying
            }
            Event::Deferred { why, .. } => {
                sending.trouble = Some(why.clone());
                Stage::Waiting
            }
            Event::Delivered { .. } => Stage::Delivered,
            Event::GivenUp { why, .. } => {
                sending.trouble = Some(why.clone());
                Stage::GivenUp
            }
        };
    }

    fn reply(&self) -> Option<View> {
        self.0.as_ref().map(|sending| View {
            stage: sending.stage,
            attempts: sending.attempts,
            trouble: sending.trouble.clone(),
            requested_at: sending.requested_at,
            letter: (sending.stage == Stage::Trying).then(|| sending.letter.clone()),
        })
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.0.as_ref().map(|sending| serde_json::json!({
            "mail": sending.letter.mail.name(),
            "stage": sending.stage,
            "attempts": sending.attempts,
            "trouble": sending.trouble,
            "requested_at": sending.requested_at,
        })))
    }
}

#[cfg(test)]
mod tests;
