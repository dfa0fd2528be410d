//! The key ring: the public halves of the keys that sign access tokens, as `/.well-known/jwks.json` shows them.
//!
//! ```text
//! (staged) ──its `from`──▶ signs ──the next one's `from`──▶ verifies only ──its `until`──▶ (forgotten)
//!                            └────────────── Revoke: all at once ──────────────────────────────▲
//! ```
//! A key is shown before it signs, so that no verifier meets one it has not fetched yet, and shown after, for
//! as long as a token signed by it may live. The private halves never come here: they are the keyring's.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Home, HomeKind, Kind, Timestamp};
use serde::{Deserialize, Serialize};

/// The one instance's id.
const ID: u128 = u128::from_be_bytes(*b"platform keyring");

/// All keys in use.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyRing {
    keys: Vec<Key>,
}

/// The public half of an ES256 key (RFC 7518 s. 6.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name in token headers.
    pub kid: String,
    /// The x coordinate, base64url.
    pub x: String,
    /// The y coordinate, base64url.
    pub y: String,
    /// When it begins to sign.
    pub from: Timestamp,
    /// When the last token it signed is over; none while it is the newest.
    pub until: Option<Timestamp>,
}

/// What can be asked of the key ring.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Adds a key and sets the end of the one before it.
    Stage {
        /// Its name.
        kid: String,
        /// The x coordinate, base64url.
        x: String,
        /// The y coordinate, base64url.
        y: String,
        /// The newest key the asker knows: of two that rotate at once, one does.
        after: Option<String>,
        /// How long it is shown before it signs; the first signs at once.
        shown_before: Duration,
        /// How long a token may live.
        token_lasts: Duration,
    },
    /// Forgets all keys, with every token they signed, for one that signs at once: somebody else may have them.
    Revoke {
        /// Its name.
        kid: String,
        /// The x coordinate, base64url.
        x: String,
        /// The y coordinate, base64url.
        y: String,
        /// How long a token may live.
        token_lasts: Duration,
    },
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Staged {
        key: Key,
        token_lasts: Duration,
        at: Timestamp,
    },
    /// No key of before is good for anything any more.
    Revoked {
        at: Timestamp,
    },
}

/// Why the key ring says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Another key was staged meanwhile.
    #[error("another key is newer")]
    Outdated,
}

impl KeyRing {
    /// The one of the platform.
    #[must_use]
    pub const fn at() -> Entity<Self> {
        Entity::new(Home { kind: HomeKind::Platform, id: ID }, ID)
    }
}

/// The key that signs at a moment.
#[must_use]
pub fn signing(keys: &[Key], now: Timestamp) -> Option<&Key> {
    keys.iter().rev().find(|key| key.from <= now)
}

/// The keys that verify at a moment, and those about to.
pub fn shown(keys: &[Key], now: Timestamp) -> impl Iterator<Item = &Key> {
    keys.iter().filter(move |key| key.until.is_none_or(|until| now < until))
}

impl Aggregate for KeyRing {
    const KIND: Kind = Kind::new("auth", "key_ring");
    type Command = Command;
    type Event = Event;
    type Reply = Vec<Key>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Stage { kid, x, y, after, shown_before, token_lasts } => {
                if self.keys.last().map(|key| &key.kid) != after.as_ref() {
                    return Err(Rejection::Outdated);
                }
                let from = if after.is_none() { ctx.now() } else { ctx.now().after(shown_before) };
                let key = Key { kid, x, y, from, until: None };
                Ok(Decision::event(Event::Staged { key, token_lasts, at: ctx.now() }))
            }
            Command::Revoke { kid, x, y, token_lasts } => {
                let key = Key { kid, x, y, from: ctx.now(), until: None };
                let revoked = Decision::event(Event::Revoked { at: ctx.now() });
                Ok(revoked.and(Event::Staged { key, token_lasts, at: ctx.now() }))
            }
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Staged { key, token_lasts, at } => {
                self.keys.retain(|old| old.until.is_none_or(|until| *at < until));
                if let Some(before) = self.keys.last_mut() {
                    before.until = Some(key.from.after(*token_lasts));
                }
                self.keys.push(key.clone());
            }
            Event::Revoked { .. } => self.keys.clear(),
        }
    }

    fn reply(&self) -> Vec<Key> {
        self.keys.clone()
    }

    fn inspect(&self) -> serde_json::Value {
        let keys = self
            .keys
            .iter()
            .map(|key| serde_json::json!({ "kid": key.kid, "from": key.from, "until": key.until }));
        serde_json::Value::Array(keys.collect())
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    const AHEAD: Duration = Duration::from_secs(900);
    const TOKEN: Duration = Duration::from_secs(600);

    fn stage(kid: &str, after: Option<&str>) -> Command {
        Command::Stage {
            kid: kid.to_owned(),
            x: "x".to_owned(),
            y: "y".to_owned(),
            after: after.map(str::to_owned),
            shown_before: AHEAD,
            token_lasts: TOKEN,
        }
    }

    fn staged(kid: &str, from: Timestamp, at: Timestamp) -> Event {
        let key = Key { kid: kid.to_owned(), x: "x".to_owned(), y: "y".to_owned(), from, until: None };
        Event::Staged { key, token_lasts: TOKEN, at }
    }

    fn kids<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<&'a str> {
        keys.into_iter().map(|key| key.kid.as_str()).collect()
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_is_shown_before() {
        let one = staged("one", NOON, NOON);
        given::<KeyRing>([]).when(stage("one", None)).then([one.clone()]);
        let two = staged("two", NOON.after(AHEAD), NOON);
        let keys = given::<KeyRing>([one]).when(stage("two", Some("one"))).then([two]).state.reply();

        assert_eq!(signing(&keys, NOON).map(|key| &*key.kid), Some("one"));
        assert_eq!(kids(shown(&keys, NOON)), ["one", "two"]);
        let later = NOON.after(AHEAD);
        assert_eq!(signing(&keys, later).map(|key| &*key.kid), Some("two"));
        assert_eq!(kids(shown(&keys, later)), ["one", "two"], "tokens of the old one still live");
        assert_eq!(kids(shown(&keys, later.after(TOKEN))), ["two"]);
    }

    #[test]
    fn of_two_who_rotate_at_once_one_does() {
        given::<KeyRing>([staged("one", NOON, NOON)]).when(stage("two", None)).rejects(Rejection::Outdated);
    }

    /// Security bar 36.
    #[test]
    fn revoked_keys_are_good_for_nothing_and_another_signs_at_once() {
        let (one, two) = (staged("one", NOON, NOON), staged("two", NOON.after(AHEAD), NOON));
        let revoke = Command::Revoke {
            kid: "three".to_owned(),
            x: "x".to_owned(),
            y: "y".to_owned(),
            token_lasts: TOKEN,
        };
        let then = [Event::Revoked { at: NOON }, staged("three", NOON, NOON)];
        let keys = given::<KeyRing>([one, two]).when(revoke).then(then).state.reply();
        assert_eq!(kids(shown(&keys, NOON)), ["three"]);
        assert_eq!(signing(&keys, NOON).map(|key| &*key.kid), Some("three"));
    }

    #[test]
    fn keys_whose_tokens_are_over_are_forgotten() {
        let day = NOON.after(Duration::from_secs(86_400));
        let mut ring = KeyRing::default();
        for event in [staged("one", NOON, NOON), staged("two", NOON, NOON), staged("three", day, day)] {
            ring.evolve(&event);
        }
        assert_eq!(kids(&ring.keys), ["two", "three"]);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/key_ring.txt");
        holds_to_golden::<KeyRing>(file.as_ref(), &[staged("one", NOON, NOON), Event::Revoked { at: NOON }]);
    }
}
