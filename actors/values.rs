//! Values that are right by construction: whoever has one need not check it again.

pub mod password;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

pub use password::Password;

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
    /// A tenant's name as people read it: 1 to 100 characters on one line (docs/names.md).
    TenantName, line
);
text!(
    /// A tenant's name in addresses, unique on the platform: 3 to 40 of a-z, 0-9 and inner hyphens.
    Slug, slug
);
text!(
    /// A person's name: 1 to 100 characters on one line (docs/names.md).
    PersonName, line
);
text!(
    /// An e-mail address as its person writes it, its domain in ASCII (RFC 5321, RFC 5891); at most 254 bytes
    /// (docs/names.md).
    Email, email
);

text!(
    /// A colour, `#` and six hexadecimal digits (CSS Color 4 s. 5.2), in lower case.
    Colour, colour
);

impl Colour {
    /// Black or white, whichever is read better on it: at least 4.5 to 1 (WCAG 2.2 s. 1.4.3).
    #[must_use]
    pub fn text(&self) -> &'static str {
        let number = u32::from_str_radix(self.as_str().trim_start_matches('#'), 16).unwrap_or_default();
        let [_, red, green, blue] = number.to_be_bytes().map(linear);
        let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        // Both read as well where (1.05 / (l + 0.05)) = ((l + 0.05) / 0.05).
        if luminance > 0.179 { "#000000" } else { "#ffffff" }
    }
}

/// A channel of sRGB as light (WCAG 2.2, relative luminance).
fn linear(channel: u8) -> f64 {
    let part = f64::from(channel) / 255.0;
    if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
}

impl Email {
    /// What must be unique: the same for all ways to write the address.
    #[must_use]
    pub fn key(&self) -> String {
        self.as_str().to_lowercase()
    }

    /// The address as it may be shown to whoever had the one before: its first character and its domain.
    #[must_use]
    pub fn masked(&self) -> String {
        let (local, domain) = self.as_str().rsplit_once('@').unwrap_or_default();
        let first: String = local.chars().take(1).collect();
        format!("{first}***@{domain}")
    }
}

fn line(text: &str) -> Result<String, Invalid> {
    const VALID: Invalid =
        Invalid("1 to 100 characters on one line, none of them a control character or unseen");
    let trimmed = text.trim();
    let is_valid = (1..=100).contains(&trimmed.chars().count()) && !trimmed.chars().any(is_unseen);
    if is_valid { Ok(trimmed.to_owned()) } else { Err(VALID) }
}

/// Characters that end a line, turn the text around them (Unicode TR36 s. 3.1), or show as nothing, so that a name
/// looks like another: no name needs them. The joiners U+200C and U+200D are none of them: words and emoji are
/// written with them.
#[must_use]
pub(crate) const fn is_unseen(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'
        | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn email(text: &str) -> Result<String, Invalid> {
    const VALID: Invalid = Invalid("an e-mail address such as ada@example.org");
    let (local, domain) = text.trim().rsplit_once('@').ok_or(VALID)?;
    // Quoted, or beyond ASCII, hardly any server takes it, and it is another one's look-alike.
    let is_plain = local.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_not_a_domain| VALID)?;
    // A top-level domain has a letter (RFC 3696 s. 2): four numbers are a machine, and no domain.
    let is_named =
        domain.rsplit('.').next().is_some_and(|last| last.contains(|one: char| one.is_ascii_lowercase()));
    let address = format!("{local}@{domain}");
    let options = email_address::Options::default().with_required_tld().without_display_text();
    let is_valid = is_plain
        && is_named
        && address.len() <= 254
        && email_address::EmailAddress::parse_with_options(&address, options).is_ok();
    if is_valid { Ok(address) } else { Err(VALID) }
}

fn colour(text: &str) -> Result<String, Invalid> {
    const VALID: Invalid = Invalid("a colour such as #2a52c9");
    let digits = text.strip_prefix('#').ok_or(VALID)?;
    let is_valid = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_valid { Ok(text.to_ascii_lowercase()) } else { Err(VALID) }
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
    fn an_address_is_the_same_in_every_spelling() {
        let key = |text: &str| Email::parse(text).map(|email| email.key());
        assert_eq!(key(" Ada@Example.ORG "), Ok("ada@example.org".to_owned()));
        assert_eq!(key("ada@bücher.example"), Ok("ada@xn--bcher-kva.example".to_owned()));
        assert_eq!(
            Email::parse("ada@example.org").map(|email| email.masked()),
            Ok("a***@example.org".to_owned())
        );
        for bad in
            ["", "ada", "ada@", "@example.org", "ada@localhost", "a b@example.org", "Ada <ada@example.org>"]
        {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
        assert!(Email::parse(&format!("{}@example.org", "x".repeat(250))).is_err());
    }

    /// Who reads an address sees whose it is: what looks like another one is written out, or is none.
    #[test]
    fn an_address_that_looks_like_another_is_told_apart_or_refused() {
        let text = |text: &str| Email::parse(text).map(|email| email.to_string());
        assert_eq!(text("ada@\u{435}xample.org"), Ok("ada@xn--xample-2of.org".to_owned()), "a Cyrillic e");
        assert_eq!(text("ada@\u{ff45}xample.org"), Ok("ada@example.org".to_owned()), "a wide e is an e");
        for bad in [
            "\u{430}da@example.org",
            "a\u{200b}da@example.org",
            "\u{202e}ada@example.org",
            "ada\r\nBcc: eve@example.org",
            "ada@example.org\r\nBcc: eve@example.org",
            "\"ada b\"@example.org",
            "\"<script>\"@example.org",
            "ada(x)@example.org",
            "ada@exa\u{200b}mple.org.",
            "ada@[127.0.0.1]",
            "ada@127.0.0.1",
            "ada@exam_ple.org",
        ] {
            assert!(text(bad).is_err(), "{bad:?} is {:?}", text(bad));
        }
    }

    #[test]
    fn a_name_is_what_it_looks_like() {
        for good in [
            "<script>alert(1)</script>",
            "نجيب محفوظ",
            "می\u{200c}خواهم",
            "👩\u{200d}🚀",
            "O'Brien & \"Söhne\"",
        ] {
            assert_eq!(PersonName::parse(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ['\u{202e}', '\u{200f}', '\u{2066}', '\u{200b}', '\u{2028}', '\u{feff}', '\u{ad}', '\u{85}']
        {
            assert!(PersonName::parse(&format!("Ada{bad}Lovelace")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_colour_is_six_digits_and_text_on_it_is_readable() {
        let text = |colour: &str| Colour::parse(colour).map(|colour| colour.text());
        assert_eq!(Colour::parse("#2A52C9").map(|colour| colour.to_string()), Ok("#2a52c9".to_owned()));
        for bad in ["", "#", "2a52c9", "#2a52c", "#2a52c9f", "#2a52cg", "red", "#2a52c9;x", "#+a52c9"] {
            assert!(Colour::parse(bad).is_err(), "{bad}");
        }
        assert_eq!((text("#ffffff"), text("#000000")), (Ok("#000000"), Ok("#ffffff")));
        // Every grey and every pure colour, worst cases included.
        let of = |rgb: u32| Colour::parse(&format!("#{rgb:06x}")).unwrap();
        let light = |rgb: u32| {
            let [_, red, green, blue] = rgb.to_be_bytes().map(linear);
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        for step in 0..=0xff_u32 {
            for rgb in
                [step * 0x01_0101, step << 16, step << 8, step, step << 16 | step << 8, 0xff_0000 | step]
            {
                let contrast = match of(rgb).text() {
                    "#ffffff" => 1.05 / (light(rgb) + 0.05),
                    _ => (light(rgb) + 0.05) / 0.05,
                };
                assert!(contrast >= 4.5, "{rgb:06x}: {contrast}");
            }
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
