//! An account: one person on the platform.
//!
//! ```text
//! (none) ──Register──▶ Pending ──Appoint──▶ Active (platform admin)
//! ```

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ids::AccountId,
    values::{Email, PersonName},
};

/// One person.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account(Option<View>);

/// What an account shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The person's address.
    pub email: Email,
    /// The person's name.
    pub name: PersonName,
    /// Whether the person may sign in.
    pub status: Status,
    /// Whether the person runs the platform.
    pub is_platform_admin: bool,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// Whether a person may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Registered, but nobody has vouched for the address yet.
    Pending,
    /// Signs in.
    Active,
}

/// What can be asked of an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Registers the person; repeating it with the same words changes nothing.
    Register {
        /// The person's address, reserved by whoever asks.
        email: Email,
        /// The person's name.
        name: PersonName,
    },
    /// Makes the person a platform admin, who may sign in at once.
    Appoint,
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Registered { email: Email, name: PersonName, at: Timestamp },
    Appointed { at: Timestamp },
}

/// Why an account says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is none with this id.
    #[error("there is no such account")]
    Unknown,
    /// The id belongs to another person.
    #[error("the account exists")]
    AlreadyRegistered,
}

impl Account {
    /// The account with an id.
    #[must_use]
    pub const fn at(id: AccountId) -> Entity<Self> {
        Entity::new(id.home(), id.number())
    }

    fn register(&self, email: Email, name: PersonName, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match &self.0 {
            None => Ok(Decision::event(Event::Registered { email, name, at: ctx.now() })),
            Some(known) if known.email == email && known.name == name => Ok(Decision::nothing()),
            Some(_) => Err(Rejection::AlreadyRegistered),
        }
    }

    fn appoint(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match &self.0 {
            None => Err(Rejection::Unknown),
            Some(known) if known.is_platform_admin => Ok(Decision::nothing()),
            Some(_) => Ok(Decision::event(Event::Appointed { at: ctx.now() })),
        }
    }
}

impl Aggregate for Account {
    const KIND: Kind = Kind::new("users", "account");
    type Command = Command;
    type Event = Event;
    /// `None` if there is no such account.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Register { email, name } => self.register(email, name, ctx),
            Command::Appoint => self.appoint(ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Registered { email, name, at } => {
                self.0 = Some(View {
                    email: email.clone(),
                    name: name.clone(),
                    status: Status::Pending,
                    is_platform_admin: false,
                    created_at: *at,
                });
            }
            Event::Appointed { .. } => {
                if let Some(account) = &mut self.0 {
                    account.status = Status::Active;
                    account.is_platform_admin = true;
                }
            }
        }
    }

    fn reply(&self) -> Option<View> {
        self.0.clone()
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        Some(match event {
            Event::Registered { .. } | Event::Appointed { .. } => serde_json::json!({}),
        })
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.0.as_ref().map(|account| serde_json::json!({
            "status": account.status, "is_platform_admin": account.is_platform_admin,
        })))
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    fn email() -> Email {
        Email::parse("ada@example.org").unwrap()
    }

    fn name() -> PersonName {
        PersonName::parse("Ada").unwrap()
    }

    fn registered() -> Event {
        Event::Registered { email: email(), name: name(), at: NOON }
    }

    fn register() -> Command {
        Command::Register { email: email(), name: name() }
    }

    #[test]
    fn a_person_is_registered_once_and_cannot_sign_in_yet() {
        let account = given::<Account>([]).when(register()).then([registered()]).state.reply().unwrap();
        assert_eq!((account.status, account.is_platform_admin), (Status::Pending, false));
        given::<Account>([registered()]).when(register()).then([]);
        let other = Command::Register { email: email(), name: PersonName::parse("Bob").unwrap() };
        given::<Account>([registered()]).when(other).rejects(Rejection::AlreadyRegistered);
    }

    #[test]
    fn an_appointed_admin_signs_in_at_once() {
        let appointed = Event::Appointed { at: NOON };
        let account = given::<Account>([registered()]).when(Command::Appoint).then([appointed.clone()]).state;
        let account = account.reply().unwrap();
        assert_eq!((account.status, account.is_platform_admin), (Status::Active, true));
        given::<Account>([registered(), appointed]).when(Command::Appoint).then([]);
        given::<Account>([]).when(Command::Appoint).rejects(Rejection::Unknown);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/account.txt");
        holds_to_golden::<Account>(file.as_ref(), &[registered(), Event::Appointed { at: NOON }]);
    }
}
