//! A reservation: one value (a slug, an e-mail) that at most one owner holds on the platform.
//!
//! ```text
//! Free ──Claim──▶ Claimed ──Confirm──▶ Confirmed
//!  ▲──Release, or its time is over──┘       │
//!  └───────────────Release──────────────────┘
//! ```
//! Its id is a keyed hash of the value, which itself is not kept.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Home, HomeKind, Kind, Timestamp};
use serde::{Deserialize, Serialize};

/// The timer that ends a claim nobody confirmed.
const EXPIRE: &str = "expire";

/// Who holds one value.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reservation(Option<Held>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    owner: u128,
    is_confirmed: bool,
}

/// What a reservation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Who holds it, if anybody does.
    pub owner: Option<u128>,
    /// Whether it is held for good.
    pub is_confirmed: bool,
}

/// What can be asked of a reservation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Holds it for a while.
    Claim {
        /// For whom: the same owner may claim again.
        owner: u128,
        /// For how long, unless it is confirmed.
        lasts: Duration,
    },
    /// Holds it for good.
    Confirm {
        /// Who claimed it.
        owner: u128,
    },
    /// Lets go of it; nothing happens if another holds it.
    Release {
        /// Who held it.
        owner: u128,
    },
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Claimed { owner: u128, until: Timestamp, at: Timestamp },
    Confirmed { owner: u128, at: Timestamp },
    Released { owner: u128, at: Timestamp },
}

/// Why a reservation says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Another holds it.
    #[error("taken")]
    Taken {
        /// Who.
        by: u128,
    },
    /// Whoever confirms does not hold it any more.
    #[error("not held")]
    NotHeld,
}

impl Reservation {
    /// The reservation of the value with this keyed hash.
    #[must_use]
    pub const fn at(id: u128) -> Entity<Self> {
        Entity::new(Home { kind: HomeKind::Platform, id }, id)
    }

    fn claim(&self, owner: u128, lasts: Duration, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.0 {
            Some(held) if held.owner != owner => Err(Rejection::Taken { by: held.owner }),
            Some(_) => Ok(Decision::nothing()),
            None => {
                let until = ctx.now().after(lasts);
                let claimed = Event::Claimed { owner, until, at: ctx.now() };
                Ok(Decision::event(claimed).timer(EXPIRE, until, Command::Release { owner }))
            }
        }
    }

    fn confirm(&self, owner: u128, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.0 {
            Some(held) if held.owner == owner && held.is_confirmed => Ok(Decision::nothing()),
            Some(held) if held.owner == owner => {
                Ok(Decision::event(Event::Confirmed { owner, at: ctx.now() }).clear(EXPIRE))
            }
            Some(_) | None => Err(Rejection::NotHeld),
        }
    }

    fn release(&self, owner: u128, ctx: &Context) -> Decision<Self> {
        match self.0 {
            Some(held) if held.owner == owner => {
                Decision::event(Event::Released { owner, at: ctx.now() }).clear(EXPIRE)
            }
            Some(_) | None => Decision::nothing(),
        }
    }
}

impl Aggregate for Reservation {
    const KIND: Kind = Kind::new("users", "reservation");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Claim { owner, lasts } => self.claim(owner, lasts, ctx),
            Command::Confirm { owner } => self.confirm(owner, ctx),
            Command::Release { owner } => Ok(self.release(owner, ctx)),
        }
    }

    fn evolve(&mut self, event: &Event) {
        self.0 = match event {
            Event::Claimed { owner, .. } => Some(Held { owner: *owner, is_confirmed: false }),
            Event::Confirmed { owner, .. } => Some(Held { owner: *owner, is_confirmed: true }),
            Event::Released { .. } => None,
        };
    }

    fn reply(&self) -> View {
        View {
            owner: self.0.map(|held| held.owner),
            is_confirmed: self.0.is_some_and(|held| held.is_confirmed),
        }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "is_held": self.0.is_some(), "is_confirmed": self.reply().is_confirmed })
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn claimed(owner: u128) -> Event {
        Event::Claimed { owner, until: NOON.after(MINUTE), at: NOON }
    }

    #[test]
    fn a_value_has_one_owner_and_a_claim_ends_by_itself() {
        let claim = |owner| Command::Claim { owner, lasts: MINUTE };
        given::<Reservation>([]).when(claim(1)).then([claimed(1)]).sets(&[("expire", NOON.after(MINUTE))]);
        given::<Reservation>([claimed(1)]).when(claim(2)).rejects(Rejection::Taken { by: 1 });
        given::<Reservation>([claimed(1)]).when(claim(1)).then([]);
    }

    #[test]
    fn only_its_owner_confirms_or_releases_it() {
        let confirmed = Event::Confirmed { owner: 1, at: NOON };
        given::<Reservation>([claimed(1)]).when(Command::Confirm { owner: 1 }).then([confirmed.clone()]);
        given::<Reservation>([claimed(1)]).when(Command::Confirm { owner: 2 }).rejects(Rejection::NotHeld);
        given::<Reservation>([claimed(1), confirmed.clone()]).when(Command::Release { owner: 2 }).then([]);
        let released = Event::Released { owner: 1, at: NOON };
        given::<Reservation>([claimed(1), confirmed]).when(Command::Release { owner: 1 }).then([released]);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/reservation.txt");
        holds_to_golden::<Reservation>(
            file.as_ref(),
            &[claimed(1), Event::Confirmed { owner: 1, at: NOON }, Event::Released { owner: 1, at: NOON }],
        );
    }
}
