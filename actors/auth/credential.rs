//! A credential: how one person proves who they are, and which sessions that proof still carries.
//!
//! ```text
//! (none) ──Create──▶ Password ──Change, or Reset with a mailed link──▶ Password
//! ```
//! Passwords are hashed before any command and checked outside: both take longer than an entity may. The epoch
//! rises when all sessions end but perhaps one: a session is opened under the epoch its password was read with,
//! so that no sign-in with an old password outlives a change, however close they come.

use std::{fmt, time::Duration};

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    communication::{
        Message,
        message::{self, Language, Mail},
    },
    ids::{AccountId, SessionId},
    values::{Email, PersonName},
};

/// How long a link to a new password is good (OWASP ASVS 6.5.5).
pub const RESET_LASTS: Duration = Duration::from_secs(10 * 60);
/// The mails with such links one person gets within [`RESET_MAILS_WINDOW`], whoever asks for them.
const RESET_MAILS_MAX: usize = 5;
/// See [`RESET_MAILS_MAX`].
const RESET_MAILS_WINDOW: Duration = Duration::from_secs(3600);

/// How one person proves who they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Credential {
    password: Option<PasswordHash>,
    version: u64,
    epoch: u64,
    spared: Option<SessionId>,
    /// The mailed link that is good, and until when.
    reset: Option<(u128, Timestamp)>,
    /// When such links were mailed lately.
    reset_mails: Vec<Timestamp>,
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

/// Whom a mail goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The person's address.
    pub to: Email,
    /// The person's name.
    pub name: PersonName,
    /// The language they read.
    pub language: Language,
}

/// What a credential shows. Ask with a key only where a retry needs it: the kept reply holds the hash, as its
/// event does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The hash to check a password against, if there is a password.
    pub password: Option<PasswordHash>,
    /// Rises with every password.
    pub version: u64,
    /// Rises when sessions end: what a session is opened under.
    pub epoch: u64,
    /// The session of an older epoch that goes on.
    pub spared: Option<SessionId>,
}

impl View {
    /// Whether a session opened under an epoch goes on.
    #[must_use]
    pub fn carries(&self, session: SessionId, epoch: u64) -> bool {
        self.epoch == epoch || self.spared == Some(session)
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
    /// Sets another password, by somebody who knew the one before, and tells the person by mail.
    Change {
        /// The password, hashed.
        password: PasswordHash,
        /// The version that was known.
        version: u64,
        /// Ends all sessions but this one, if wanted.
        spare: Option<SessionId>,
        /// Whom to tell.
        tell: Recipient,
    },
    /// Keeps the same password under a better hash.
    Rehash {
        /// The password, hashed anew.
        password: PasswordHash,
        /// The version that was checked.
        version: u64,
    },
    /// Mails a link to a new password; the link before is worth nothing from then on.
    MailReset {
        /// Whom to.
        tell: Recipient,
    },
    /// Sets another password with a mailed link, ends all sessions, and tells the person by mail.
    Reset {
        /// The link's id.
        link: u128,
        /// The password, hashed.
        password: PasswordHash,
        /// Whom to tell.
        tell: Recipient,
    },
    /// Ends all sessions, but perhaps one.
    EndSessions {
        /// The one that goes on.
        spare: Option<SessionId>,
    },
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    PasswordSet {
        password: PasswordHash,
        at: Timestamp,
    },
    Rehashed {
        password: PasswordHash,
        at: Timestamp,
    },
    ResetMailed {
        link: u128,
        until: Timestamp,
        at: Timestamp,
    },
    /// Asked for too often: no mail was sent.
    ResetWithheld {
        at: Timestamp,
    },
    SessionsEnded {
        spared: Option<SessionId>,
        at: Timestamp,
    },
}

/// Why a credential says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is one, with another password.
    #[error("the credential exists")]
    AlreadyExists,
    /// There is no password to change.
    #[error("there is no credential")]
    Unknown,
    /// The password was changed meanwhile.
    #[error("the password was changed meanwhile")]
    Outdated,
    /// The link was used, replaced or is too old.
    #[error("the link is not good (any more)")]
    Link,
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

    /// Of two who knew the same password and change it at once, one does.
    fn at_version(&self, version: u64) -> Result<(), Rejection> {
        match self.password {
            None => Err(Rejection::Unknown),
            Some(_) if self.version == version => Ok(()),
            Some(_) => Err(Rejection::Outdated),
        }
    }

    fn change(
        &self,
        password: PasswordHash,
        version: u64,
        spare: Option<SessionId>,
        tell: Recipient,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        self.at_version(version)?;
        let changed = Decision::event(Event::PasswordSet { password, at: ctx.now() });
        let changed = match spare {
            Some(_) => changed.and(Event::SessionsEnded { spared: spare, at: ctx.now() }),
            None => changed,
        };
        Ok(Self::telling(changed, tell, ctx, |name| Mail::PasswordChanged { name }))
    }

    fn mail_reset(&self, tell: Recipient, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.password.is_none() {
            return Err(Rejection::Unknown);
        }
        let is_late = |mailed: &&Timestamp| ctx.now().since(**mailed) < RESET_MAILS_WINDOW;
        if self.reset_mails.iter().filter(is_late).count() >= RESET_MAILS_MAX {
            return Ok(Decision::event(Event::ResetWithheld { at: ctx.now() }));
        }
        let (account, link) = (AccountId::new(ctx.entity().id), ctx.fresh_id());
        let mailed = Event::ResetMailed { link, until: ctx.now().after(RESET_LASTS), at: ctx.now() };
        let mail = |name| Mail::ResetPassword { name, account, id: link };
        Ok(Self::telling(Decision::event(mailed), tell, ctx, mail))
    }

    fn reset(
        &self,
        link: u128,
        password: PasswordHash,
        tell: Recipient,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        let is_good = self.reset.is_some_and(|(good, until)| good == link && ctx.now() < until);
        if !is_good {
            return Err(Rejection::Link);
        }
        let reset = Decision::event(Event::PasswordSet { password, at: ctx.now() })
            .and(Event::SessionsEnded { spared: None, at: ctx.now() });
        Ok(Self::telling(reset, tell, ctx, |name| Mail::PasswordChanged { name }))
    }

    fn telling(
        decision: Decision<Self>,
        tell: Recipient,
        ctx: &Context,
        mail: impl FnOnce(PersonName) -> Mail,
    ) -> Decision<Self> {
        let Recipient { to, name, language } = tell;
        let message = Message::at(ctx.entity().home, ctx.fresh_id());
        decision.send("tell", message, &message::Command::Send { mail: mail(name), to, language })
    }
}

impl Aggregate for Credential {
    const KIND: Kind = Kind::new("auth", "credential");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Create { password } => self.create(password, ctx),
            Command::Change { password, version, spare, tell } => {
                self.change(password, version, spare, tell, ctx)
            }
            Command::Rehash { password, version } => {
                self.at_version(version)?;
                Ok(Decision::event(Event::Rehashed { password, at: ctx.now() }))
            }
            Command::MailReset { tell } => self.mail_reset(tell, ctx),
            Command::Reset { link, password, tell } => self.reset(link, password, tell, ctx),
            Command::EndSessions { spare } => {
                Ok(Decision::event(Event::SessionsEnded { spared: spare, at: ctx.now() }))
            }
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::PasswordSet { password, .. } => {
                self.password = Some(password.clone());
                self.version += 1;
                self.reset = None;
            }
            Event::Rehashed { password, .. } => self.password = Some(password.clone()),
            Event::ResetMailed { link, until, at } => {
                self.reset = Some((*link, *until));
                self.reset_mails.retain(|mailed| at.since(*mailed) < RESET_MAILS_WINDOW);
                self.reset_mails.push(*at);
            }
            Event::ResetWithheld { .. } => {}
            Event::SessionsEnded { spared, .. } => {
                self.epoch += 1;
                self.spared = *spared;
            }
        }
    }

    fn reply(&self) -> View {
        let Self { password, version, epoch, spared, .. } = self.clone();
        View { password, version, epoch, spared }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "has_password": self.password.is_some(), "version": self.version, "epoch": self.epoch })
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    const MINE: SessionId = SessionId::new(5);

    fn hash(text: &str) -> PasswordHash {
        PasswordHash::new(text.to_owned())
    }

    fn set(text: &str) -> Event {
        Event::PasswordSet { password: hash(text), at: NOON }
    }

    fn tell() -> Recipient {
        let (to, name) = (Email::parse("ada@example.org").unwrap(), PersonName::parse("Ada").unwrap());
        Recipient { to, name, language: Language::En }
    }

    fn mailed(link: u128, at: Timestamp) -> Event {
        Event::ResetMailed { link, until: at.after(RESET_LASTS), at }
    }

    fn reset(link: u128) -> Command {
        Command::Reset { link, password: hash("new"), tell: tell() }
    }

    #[test]
    fn a_credential_is_created_once() {
        given::<Credential>([]).when(Command::Create { password: hash("one") }).then([set("one")]);
        given::<Credential>([set("one")]).when(Command::Create { password: hash("one") }).then([]);
        given::<Credential>([set("one")])
            .when(Command::Create { password: hash("two") })
            .rejects(Rejection::AlreadyExists);
    }

    #[test]
    fn a_change_ends_the_other_sessions_on_request_and_tells_the_person() {
        let change = |spare| Command::Change { password: hash("two"), version: 1, spare, tell: tell() };
        let kept = given::<Credential>([set("one")]).when(change(None)).then([set("two")]).sends(&["tell"]);
        assert!(kept.state.reply().carries(SessionId::new(9), 0), "others go on");

        let ended = Event::SessionsEnded { spared: Some(MINE), at: NOON };
        let view = given::<Credential>([set("one")])
            .when(change(Some(MINE)))
            .then([set("two"), ended])
            .sends(&["tell"])
            .state
            .reply();
        assert!(view.carries(MINE, 0) && !view.carries(SessionId::new(9), 0));
        given::<Credential>([set("one"), set("x")]).when(change(None)).rejects(Rejection::Outdated);
        given::<Credential>([]).when(change(None)).rejects(Rejection::Unknown);
    }

    #[test]
    fn a_session_that_was_spared_once_is_not_spared_for_ever() {
        let ended = |spared| Event::SessionsEnded { spared, at: NOON };
        let other = SessionId::new(9);
        let view = given::<Credential>([set("one"), ended(Some(MINE))])
            .when(Command::EndSessions { spare: Some(other) })
            .then([ended(Some(other))])
            .state
            .reply();
        assert!(view.carries(other, 1) && !view.carries(MINE, 0));
    }

    #[test]
    fn a_mailed_link_is_good_once_for_ten_minutes_and_until_the_next_one() {
        let ended = Event::SessionsEnded { spared: None, at: NOON };
        given::<Credential>([set("one"), mailed(7, NOON)])
            .when(reset(7))
            .then([set("new"), ended])
            .sends(&["tell"]);
        let spent = [set("one"), mailed(7, NOON), set("new")];
        given::<Credential>(spent).when(reset(7)).rejects(Rejection::Link);
        given::<Credential>([set("one"), mailed(7, NOON), mailed(8, NOON)])
            .when(reset(7))
            .rejects(Rejection::Link);
        given::<Credential>([set("one"), mailed(7, NOON)])
            .after(RESET_LASTS)
            .when(reset(7))
            .rejects(Rejection::Link);
        given::<Credential>([set("one")]).when(reset(7)).rejects(Rejection::Link);
    }

    #[test]
    fn nobody_floods_a_person_with_links_and_the_last_one_stays_good() {
        let mail = || Command::MailReset { tell: tell() };
        let history = || std::iter::once(set("one")).chain((1..=5).map(|link| mailed(link, NOON)));
        let withheld = Event::ResetWithheld { at: NOON };
        given::<Credential>(history()).when(mail()).then([withheld.clone()]).sends(&[]);
        assert!(given::<Credential>(history().chain([withheld])).when(reset(5)).accepted().is_some());
        let later = given::<Credential>(history()).after(RESET_MAILS_WINDOW).when(mail());
        assert!(matches!(later.accepted().as_deref(), Some([Event::ResetMailed { .. }])));
    }

    #[test]
    fn a_better_hash_of_the_same_password_ends_nothing() {
        let rehash = Command::Rehash { password: hash("better"), version: 1 };
        let rehashed = Event::Rehashed { password: hash("better"), at: NOON };
        let view = given::<Credential>([set("one")]).when(rehash.clone()).then([rehashed]).state.reply();
        assert_eq!((view.version, view.epoch, view.password), (1, 0, Some(hash("better"))));
        given::<Credential>([set("one"), set("two")]).when(rehash).rejects(Rejection::Outdated);
    }

    #[test]
    fn a_hash_never_prints() {
        assert_eq!(format!("{:?}", hash("$argon2id$secret")), "***");
        let seen = given::<Credential>([set("secret")])
            .when(Command::Create { password: hash("secret") })
            .then([])
            .state
            .inspect();
        assert!(!seen.to_string().contains("secret"), "{seen}");
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/credential.txt");
        holds_to_golden::<Credential>(
            file.as_ref(),
            &[
                set("one"),
                Event::Rehashed { password: hash("two"), at: NOON },
                mailed(7, NOON),
                Event::ResetWithheld { at: NOON },
                Event::SessionsEnded { spared: Some(MINE), at: NOON },
                Event::SessionsEnded { spared: None, at: NOON },
            ],
        );
    }
}
