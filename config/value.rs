//! What keys hold: parsed from text, shown as text.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

/// A value of a key.
pub trait Value: Sized {
    /// What is valid, for people: "an address with a port, such as 127.0.0.1:8080".
    const VALID: &'static str;
    /// Whether it never prints.
    const IS_SECRET: bool = false;

    /// The value, if the text is one.
    fn parse(text: &str) -> Option<Self>;
    /// The text it is written as; `***` for a secret.
    fn show(&self) -> String;
}

impl Value for PathBuf {
    const VALID: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for SocketAddr {
    const VALID: &'static str = "an address with a port, such as 127.0.0.1:8080";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    const VALID: &'static str = "a whole number from 1 on";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number| *number > 0)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const VALID: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// An optional value: the empty text is none.
impl<V: Value> Value for Option<V> {
    const VALID: &'static str = V::VALID;
    const IS_SECRET: bool = V::IS_SECRET;

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { V::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(V::show).unwrap_or_default()
    }
}

/// Units of time, the longest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Value for Duration {
    const VALID: &'static str = "a time such as 250ms, 30s, 10m, 2h or 14d";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let (_, millis) = TIMES.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*millis).map(Self::from_millis)
    }

    fn show(&self) -> String {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        largest(millis, &TIMES).unwrap_or_else(|| "0s".to_owned())
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of size, the largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Value for Bytes {
    const VALID: &'static str = "a size such as 512B, 256KiB, 64MiB or 1GiB";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*bytes).filter(|bytes| *bytes > 0).map(Self)
    }

    fn show(&self) -> String {
        largest(self.0, &SIZES).unwrap_or_else(|| "0B".to_owned())
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let number = text.strip_suffix(unit)?.parse().ok()?;
    Some((number, unit))
}

/// The number in the largest unit it is a whole number of.
fn largest(number: u64, units: &[(&str, u64)]) -> Option<String> {
    let (name, size) = units.iter().find(|(_, size)| number > 0 && number.is_multiple_of(*size))?;
    Some(format!("{}{name}", number / size))
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line, for machines.
    Json,
}

impl Value for LogFormat {
    const VALID: &'static str = "human or json";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Human => "human".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// 32 bytes that never print, written as 64 hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl Value for Secret {
    const VALID: &'static str = "64 hex digits";
    const IS_SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            // `from_str_radix` takes a sign, which is no digit.
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(Self(bytes))
    }

    fn show(&self) -> String {
        "***".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_and_sizes_carry_their_unit() {
        assert_eq!(Duration::parse("10m"), Some(Duration::from_secs(600)));
        assert_eq!(Bytes::parse("64MiB"), Some(Bytes(64 << 20)));
        for bad in ["", "10", "m", "1.5s", "-1s", "10 m", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
        assert_eq!((Bytes::parse("0B"), Bytes::parse("64mb")), (None, None));
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::parse(&"ab".repeat(32)).unwrap();
        assert_eq!(secret.expose(), &[0xab; 32]);
        assert_eq!((format!("{secret:?}"), secret.show()), ("***".to_owned(), "***".to_owned()));
        assert!(Secret::parse(&"+a".repeat(32)).is_none() && Secret::parse("ab").is_none());
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(number in 0..u64::MAX / 86_400_000, bytes in 1..u64::MAX) {
            let time = Duration::from_millis(number);
            prop_assert_eq!(Duration::parse(&time.show()), Some(time));
            prop_assert_eq!(Bytes::parse(&Bytes(bytes).show()), Some(Bytes(bytes)));
        }

        #[test]
        fn no_text_panics(text: String) {
            drop((Duration::parse(&text), Bytes::parse(&text), Secret::parse(&text)));
        }
    }
}
