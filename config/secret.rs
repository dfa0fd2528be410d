//! Values that never print.

use std::fmt;

use zeroize::Zeroizing;

use crate::Value;

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

/// A text that never prints, such as a password somebody else chose.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl Value for Hidden {
    const VALID: &'static str = "a text";
    const IS_SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    fn show(&self) -> String {
        "***".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::parse(&"ab".repeat(32)).unwrap();
        assert_eq!(secret.expose(), &[0xab; 32]);
        assert_eq!((format!("{secret:?}"), secret.show()), ("***".to_owned(), "***".to_owned()));
        assert!(Secret::parse(&"+a".repeat(32)).is_none() && Secret::parse("ab").is_none());
        let hidden = Hidden::parse("hunter2").unwrap();
        assert_eq!((format!("{hidden:?}"), hidden.show()), ("***".to_owned(), "***".to_owned()));
    }
}
