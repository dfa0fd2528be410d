//! Values that are right by construction: whoever has one need not check it again.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// What would have been valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

macro_rules! text {
    ($(#[$meta:meta])* $name:ident, $check:path) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
        pub struct $name(String);

        impl $name {
            /// The value, if the text is one.
            ///
            /// # Errors
            /// What would have been valid.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                $check(text).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                // What was stored was checked when it was made, perhaps by an older rule.
                if input.is_human_readable() {
                    Self::parse(&String::deserialize(input)?).map_err(D::Error::custom)
                } else {
                    String::deserialize(input).map(Self)
                }
            }
        }
    };
}

text!(
    /// A tenant's name as people read it: 1 to 100 characters on one line.
    TenantName, tenant_name
);
text!(
    /// A tenant's name in addresses, unique on the platform: 3 to 40 of a-z, 0-9 and inner hyphens.
    Slug, slug
);

fn tenant_name(text: &str) -> Result<String, Invalid> {
    const VALID: Invalid = Invalid("1 to 100 characters without line breaks or other control characters");
    let trimmed = text.trim();
    let is_valid = (1..=100).contains(&trimmed.chars().count()) && !trimmed.chars().any(char::is_control);
    if is_valid { Ok(trimmed.to_owned()) } else { Err(VALID) }
}

fn slug(text: &str) -> Result<String, Invalid> {
    const VALID: Invalid = Invalid("3 to 40 characters of a-z, 0-9 and hyphens, none first or last");
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_valid = (3..=40).contains(&text.len())
        && text.bytes().all(is_known)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_valid { Ok(text.to_owned()) } else { Err(VALID) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_fits_into_an_address() {
        for good in ["acme", "a-1", "0".repeat(40).as_str()] {
            assert!(Slug::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "Acme", "-acme", "acme-", "ac me", "acmé", "0".repeat(41).as_str()] {
            assert!(Slug::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_one_line_and_trimmed() {
        assert_eq!(
            TenantName::parse("  Acme & Söhne ").map(|name| name.to_string()),
            Ok("Acme & Söhne".to_owned())
        );
        assert!(TenantName::parse("two\nlines").is_err());
        assert!(TenantName::parse(&"x".repeat(101)).is_err());
        assert!(TenantName::parse("   ").is_err());
    }
}
