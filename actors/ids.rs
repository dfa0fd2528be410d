//! Ids: typed, prefixed, sorted by age. A text such as `ten_01k9...` outside, 16 bytes inside.

use std::{fmt, str::FromStr};

use prognet_supervisor::{Home, HomeKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Crockford's alphabet, lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of 128 bits, five at a time.
const LENGTH: usize = 26;

/// A text is not an id of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is `{prefix}` and 26 characters of 0-9 and a-z without i, l, o and u")]
pub struct NotAnId {
    /// The prefix the kind has.
    pub prefix: &'static str,
}

fn write(prefix: &str, id: u128, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_str(prefix)?;
    for place in (0..LENGTH).rev() {
        let digit = usize::try_from((id >> (5 * place)) & 31).unwrap_or(0);
        let character = ALPHABET.get(digit).copied().unwrap_or(b'0');
        write!(out, "{}", char::from(character))?;
    }
    Ok(())
}

fn parse(prefix: &'static str, text: &str) -> Result<u128, NotAnId> {
    let digits =
        text.strip_prefix(prefix).filter(|digits| digits.len() == LENGTH).ok_or(NotAnId { prefix })?;
    let mut id: u128 = 0;
    for character in digits.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == character).ok_or(NotAnId { prefix })?;
        // 26 characters hold 130 bits: the first may not be above 7.
        let is_too_large = id >> 123 != 0;
        if is_too_large {
            return Err(NotAnId { prefix });
        }
        id = (id << 5) | digit as u128;
    }
    Ok(id)
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// The id with this number.
            #[must_use]
            pub const fn new(number: u128) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn number(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(Self::PREFIX, self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse(Self::PREFIX, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                if out.is_human_readable() { out.collect_str(self) } else { self.0.serialize(out) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                if input.is_human_readable() {
                    String::deserialize(input)?.parse().map_err(D::Error::custom)
                } else {
                    u128::deserialize(input).map(Self)
                }
            }
        }
    };
}

id!(
    /// An organization.
    TenantId, "ten_"
);
id!(
    /// A person.
    AccountId, "acc_"
);
id!(
    /// A sign-in.
    SessionId, "ses_"
);
id!(
    /// An address asked into a tenant.
    InvitationId, "inv_"
);

/// Kinds whose entities are known outside by an id of their own.
const KINDS: [(&str, &str); 10] = [
    ("tenant", TenantId::PREFIX),
    ("account", AccountId::PREFIX),
    ("credential", AccountId::PREFIX),
    ("sign_up", AccountId::PREFIX),
    ("change_email", AccountId::PREFIX),
    ("leaving", AccountId::PREFIX),
    ("membership", AccountId::PREFIX),
    ("founder", AccountId::PREFIX),
    ("session", SessionId::PREFIX),
    ("invitation", InvitationId::PREFIX),
];

/// What an entity is known by outside; nothing if its kind has no id of its own.
#[must_use]
pub fn text(kind: &str, number: u128) -> Option<String> {
    let (_, prefix) = KINDS.iter().find(|(known, _)| *known == kind)?;
    Some(fmt::from_fn(|out| write(prefix, number, out)).to_string())
}

/// The number of an id of any kind.
#[must_use]
pub fn number(text: &str) -> Option<u128> {
    let (_, prefix) = KINDS.iter().find(|(_, prefix)| text.starts_with(prefix))?;
    parse(prefix, text).ok()
}

impl TenantId {
    /// The home of everything of the tenant.
    #[must_use]
    pub const fn home(self) -> Home {
        Home { kind: HomeKind::Tenant, id: self.0 }
    }
}

impl AccountId {
    /// The home of everything of the person.
    #[must_use]
    pub const fn home(self) -> Home {
        Home { kind: HomeKind::Account, id: self.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text_and_sorts_like_it(one: u128, other: u128) {
            let (one, other) = (TenantId::new(one), TenantId::new(other));
            prop_assert_eq!(one.to_string().parse::<TenantId>(), Ok(one));
            prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
        }

        #[test]
        fn only_whole_texts_of_the_kind_are_ids(text: String) {
            prop_assert!(text.parse::<TenantId>().is_err() || text.starts_with("ten_"));
            let prefixed = format!("ten_{text}").parse::<TenantId>();
            prop_assert!(prefixed.is_err() || text.len() == LENGTH);
        }
    }

    #[test]
    fn an_entity_is_known_outside_by_the_id_of_its_kind() {
        let session = SessionId::new(7).to_string();

        assert_eq!(text("session", 7), Some(session.clone()));
        assert_eq!(number(&session), Some(7));
        assert_eq!((text("reservation", 7), number("ten_7"), number("res_7")), (None, None, None));
    }

    #[test]
    fn a_text_that_does_not_fit_is_no_id() {
        assert!("acc_00000000000000000000000001".parse::<TenantId>().is_err());
        assert!("ten_80000000000000000000000000".parse::<TenantId>().is_err());
        assert_eq!("ten_7zzzzzzzzzzzzzzzzzzzzzzzzz".parse(), Ok(TenantId::new(u128::MAX)));
    }
}
