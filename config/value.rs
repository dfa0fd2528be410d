//! What keys hold: parsed from text, shown as text.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

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

/// Of something that may be none at all.
impl Value for u32 {
    const VALID: &'static str = "a whole number from 0 on";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const VALID: &'static str = "`true` or `false`";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u16 {
    const VALID: &'static str = "a port from 1 to 65535";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|port| *port > 0)
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
    const VALID: &'static str = "a time above zero, such as 250ms, 30s, 10m, 2h or 14d";

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let (_, millis) = TIMES.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*millis).filter(|millis| *millis > 0).map(Self::from_millis)
    }

    fn show(&self) -> String {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        largest(millis, &TIMES).unwrap_or_else(|| "0s".to_owned())
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// As a size in memory; what memory cannot count is all of it.
    #[must_use]
    pub fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

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

/// How clients reach something: scheme, host and port, no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The address, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it leads nowhere but to the machine that asks.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.split_once("://").map_or("", |(_scheme, host)| host);
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            Some(_) | None => host,
        };
        let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|ip| ip.is_loopback())
    }
}

impl Value for PublicUrl {
    const VALID: &'static str = "an http or https address without a path, such as https://api.example.org";

    fn parse(text: &str) -> Option<Self> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let is_part_of_a_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        (!host.is_empty() && host.bytes().all(is_part_of_a_host)).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Values with names.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident, $valid:literal { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl Value for $name {
            const VALID: &'static str = $valid;

            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _other => None,
                }
            }

            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $text.to_owned(),)+
                }
            }
        }
    };
}

choice! {
    /// How logs are written.
    LogFormat, "human or json" {
        /// Lines for people.
        Human = "human",
        /// One JSON object a line, for machines.
        Json = "json",
    }
}

choice! {
    /// How a connection to an SMTP server is protected.
    SmtpSecurity, "starttls, tls or none" {
        /// By STARTTLS, without which nothing is sent (RFC 3207).
        Starttls = "starttls",
        /// By TLS from the first byte (RFC 8314).
        Tls = "tls",
        /// Not at all.
        None = "none",
    }
}

choice! {
    /// Whether the dev inbox may stand in for a server.
    DevInbox, "auto, on or off" {
        /// While the node listens on this machine alone.
        Auto = "auto",
        /// Wherever it listens.
        On = "on",
        /// Nowhere.
        Off = "off",
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
        for bad in
            ["", "10", "m", "0s", "1.5s", "-1s", "10 m", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
        assert_eq!((Bytes::parse("0B"), Bytes::parse("64mb")), (None, None));
    }

    #[test]
    fn a_public_url_of_this_machine_is_told_from_others() {
        for (url, is_loopback) in [
            ("http://localhost", true),
            ("http://localhost:8080", true),
            ("http://app.localhost:80", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]", true),
            ("http://[::1]:8080", true),
            ("https://api.example.org", false),
            ("https://localhost.example.org:8443", false),
            ("http://10.0.0.1", false),
            ("http://[2001:db8::1]:80", false),
        ] {
            assert_eq!(PublicUrl::parse(url).unwrap().is_loopback(), is_loopback, "{url}");
        }
    }

    #[test]
    fn a_public_url_has_a_host_and_no_path() {
        for good in ["https://api.example.org", "http://127.0.0.1:8080", "http://[::1]:80"] {
            assert_eq!(PublicUrl::parse(good).as_ref().map(PublicUrl::as_str), Some(good));
        }
        for bad in ["", "https://", "api.example.org", "https://a/", "https://a?b", "https://u@a", "ftp://a"]
        {
            assert_eq!(PublicUrl::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_to_the_same(number in 1..u64::MAX / 86_400_000, bytes in 1..u64::MAX) {
            let time = Duration::from_millis(number);
            prop_assert_eq!(Duration::parse(&time.show()), Some(time));
            prop_assert_eq!(Bytes::parse(&Bytes(bytes).show()), Some(Bytes(bytes)));
        }

        #[test]
        fn no_text_panics(text: String) {
            drop((Duration::parse(&text), Bytes::parse(&text), PublicUrl::parse(&text)));
        }
    }
}
