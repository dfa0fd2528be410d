//! Where things live: homes, entities, shards, and the numbers that order what happened to them.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

/// A map keyed by addresses: quick to hash, with a seed of the process.
pub type AddressMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A short ASCII name (service, kind, event type, timer), at most [`Name::MAX`] bytes, held inline.
///
/// Names travel in every record's header, so they are `Copy` and compare without an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name([u8; Name::MAX]);

impl Name {
    /// The longest name, in bytes.
    pub const MAX: usize = 24;

    /// A name known at build time; a longer one does not compile in a `const`.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a `const fn` has no `get`, and the lengths are checked")]
    pub const fn new(text: &'static str) -> Self {
        assert!(text.len() <= Self::MAX, "a name has at most 24 bytes");
        let bytes = text.as_bytes();
        let mut held = [0; Self::MAX];
        let mut at = 0;
        while at < bytes.len() {
            held[at] = bytes[at];
            at += 1;
        }
        Self(held)
    }

    /// A name read from outside: `None` if it is too long or not ASCII.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.bytes().any(|byte| byte == 0) {
            return None;
        }
        let mut held = [0; Self::MAX];
        held.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self(held))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX);
        self.0.get(..length).unwrap_or_default()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a name"))
    }
}

/// What a home is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum HomeKind {
    /// One organization.
    Tenant = 1,
    /// One person: account, credential, sessions.
    Account = 2,
    /// One entity of the platform itself: a reservation, a key ring.
    Platform = 3,
}

impl HomeKind {
    /// The kind behind a stored number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Tenant),
            2 => Some(Self::Account),
            3 => Some(Self::Platform),
            _ => None,
        }
    }
}

/// The unit of placement, isolation, export and erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Home {
    /// What it is about.
    pub kind: HomeKind,
    /// The tenant's, the account's or the platform entity's id.
    pub id: u128,
}

impl Home {
    /// The length of [`Home::canonical`].
    pub const BYTES: usize = 17;

    /// The bytes that are hashed for placement and written in keys: kind, then the id big-endian.
    #[must_use]
    pub fn canonical(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.kind as u8;
        bytes[1..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    /// The way back from [`Home::canonical`].
    #[must_use]
    pub fn from_canonical(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        Some(Self { kind: HomeKind::from_number(*kind)?, id: u128::from_be_bytes(id.try_into().ok()?) })
    }

    /// The number of the shard that holds this home, in every service.
    ///
    /// Fixed for ever by what is stored: changing the hash would lose every entity.
    #[must_use]
    pub fn shard_number(&self, shards: u16) -> u16 {
        let hash = xxhash_rust::xxh3::xxh3_64(&self.canonical());
        u16::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
    }
}

/// One entity: a kind of aggregate and an id, in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityRef {
    /// Where it lives.
    pub home: Home,
    /// The kind of aggregate.
    pub kind: Name,
    /// Its id, unique within kind and home.
    pub id: u128,
}

impl fmt::Display for EntityRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{:032x}", self.kind, self.id)
    }
}

/// The unit of ownership, of ordering and of fencing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The service whose entities it holds.
    pub service: Name,
    /// Its number, below the count fixed when the data was created.
    pub number: u16,
}

impl fmt::Display for ShardId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.service, self.number)
    }
}

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, out)
            }
        }
    };
}

number!(
    /// A record's place in its shard; the first is 1, 0 is "before everything".
    Offset(u64)
);
number!(
    /// A record's place in its entity's history; the first is 1, 0 is "nothing yet".
    Seq(u64)
);
number!(
    /// A shard's ownership number: each new owner raises it, an append under an old one is refused.
    Epoch(u64)
);
number!(
    /// A record's place in this node's log, over all shards; the first is 1. Meaningless on another node.
    Lsn(u64)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_keeps_its_shard_for_ever() {
        let home = |kind, id| Home { kind, id };
        assert_eq!(home(HomeKind::Tenant, 1).shard_number(256), GOLDEN[0]);
        assert_eq!(home(HomeKind::Account, 1).shard_number(256), GOLDEN[1]);
        assert_eq!(home(HomeKind::Platform, u128::MAX).shard_number(256), GOLDEN[2]);
    }

    /// Written down when the format was made; a change here loses every stored entity.
    const GOLDEN: [u16; 3] = [177, 107, 123];

    #[test]
    fn a_home_survives_its_canonical_bytes() {
        let home = Home { kind: HomeKind::Account, id: 77 };
        assert_eq!(Home::from_canonical(&home.canonical()), Some(home));
    }

    #[test]
    fn a_name_is_short_and_ascii() {
        assert_eq!(Name::new("tenant").as_str(), "tenant");
        assert_eq!(Name::parse("a name longer than 24 bytes"), None);
        assert_eq!(Name::parse("naïve"), None);
    }
}
