//! A credential: how one person proves who they are.
//!
//! ```text
//! (none) ──Create──▶ Password
//! ```
//! Passwords are hashed before any command and checked outside: both take longer than an entity may.

use std::fmt;

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;

/// How one person proves who they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Credential {
    password: Option<PasswordHash>,
}

/// A password, hashed by argon2id, in the PHC string format; it never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash in the PHC string format.
    #[must_use]
    pub const fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// What can be asked of a credential.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Sets the first password; the same again changes nothing.
    Create {
        /// The password, hashed.
        password: PasswordHash,
    },
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    PasswordSet { password: PasswordHash, at: Timestamp },
}

/// Why a credential says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is one, with another password.
    #[error("the credential exists")]
    AlreadyExists,
}

impl Credential {
    /// The credential of an account.
    #[must_use]
    pub const fn at(account: AccountId) -> Entity<Self> {
        Entity::new(account.home(), account.number())
    }

    fn create(&self, password: PasswordHash, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match &self.password {
            None => Ok(Decision::event(Event::PasswordSet { password, at: ctx.now() })),
            Some(known) if *known == password => Ok(Decision::nothing()),
            Some(_) => Err(Rejection::AlreadyExists),
        }
    }
}

impl Aggregate for Credential {
    const KIND: Kind = Kind::new("auth", "credential");
    type Command = Command;
    type Event = Event;
    /// The hash to check a password against: ask without a key, so that no kept reply holds it.
    type Reply = Option<PasswordHash>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Create { password } => self.create(password, ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::PasswordSet { password, .. } => self.password = Some(password.clone()),
        }
    }

    fn reply(&self) -> Option<PasswordHash> {
        self.password.clone()
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "has_password": self.password.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    fn hash(text: &str) -> PasswordHash {
        PasswordHash::new(text.to_owned())
    }

    #[test]
    fn a_credential_is_created_once() {
        let set = Event::PasswordSet { password: hash("one"), at: NOON };
        given::<Credential>([]).when(Command::Create { password: hash("one") }).then([set.clone()]);
        given::<Credential>([set.clone()]).when(Command::Create { password: hash("one") }).then([]);
        given::<Credential>([set])
            .when(Command::Create { password: hash("two") })
            .rejects(Rejection::AlreadyExists);
    }

    #[test]
    fn a_hash_never_prints() {
        assert_eq!(format!("{:?}", hash("$argon2id$secret")), "***");
        let seen = given::<Credential>([Event::PasswordSet { password: hash("secret"), at: NOON }])
            .when(Command::Create { password: hash("secret") })
            .then([])
            .state
            .inspect();
        assert_eq!(seen.to_string(), r#"{"has_password":true}"#);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/credential.txt");
        holds_to_golden::<Credential>(
            file.as_ref(),
            &[Event::PasswordSet { password: hash("one"), at: NOON }],
        );
    }
}
