//! Passwords: what may be one. Length and how soon it is guessed count, nothing else.

use std::fmt;

use zxcvbn::{Score, zxcvbn};

/// The longest password, in characters.
const LONGEST: usize = 128;
/// What names this product, in a password about as good as nothing.
const PRODUCT: [&str; 2] = ["prognet", "prognetwork"];

/// A password as it was typed, not a character changed. It never prints, and is never stored.
#[derive(Clone)]
pub struct Password(String);

/// What is asked of a new password (OWASP ASVS 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The fewest characters; never below [`Rules::FLOOR`].
    pub shortest: usize,
}

/// Why a text is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is too short, or too long to be hashed for everybody.
    #[error("{shortest} to {LONGEST} characters of any kind")]
    Length {
        /// The fewest characters.
        shortest: usize,
    },
    /// It is among the first that are tried, or made of what is known about the person.
    #[error("too easy to guess: take several words that are not about you")]
    Guessable,
    /// It was published after somebody broke in elsewhere; the list is the edge's.
    #[error("published by thieves who broke into another service: take one that you use nowhere else")]
    Breached,
}

impl Rules {
    /// The fewest characters any rules ask for (NIST SP 800-63B s. 3.1.1.2).
    pub const FLOOR: usize = 8;

    /// The fewest characters a password has under them.
    #[must_use]
    pub const fn shortest(self) -> usize {
        if self.shortest > Self::FLOOR { self.shortest } else { Self::FLOOR }
    }

    /// The password, if it may be one of the person whom `about` says something, such as an address.
    ///
    /// It takes a millisecond or two, which is more than an actor or a request's thread may.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self, text: &str, about: &[&str]) -> Result<Password, Unfit> {
        let shortest = self.shortest();
        if !(shortest..=LONGEST).contains(&text.chars().count()) {
            return Err(Unfit::Length { shortest });
        }
        let mut known: Vec<_> = about.iter().flat_map(|text| words_of(text)).collect();
        known.extend(PRODUCT.map(str::to_owned));
        // The longest first: what is left of an address is no less known than the address.
        known.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let unknown = known.iter().fold(text.to_lowercase(), |left, word| left.replace(word, ""));
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let is_about_them = unknown.chars().count() < Self::FLOOR;
        // Below three it falls to somebody who may try a few thousand times an hour.
        if is_about_them || zxcvbn(text, &known).score() < Score::Three {
            return Err(Unfit::Guessable);
        }
        Ok(Password(text.to_owned()))
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { shortest: 12 }
    }
}

/// A text and its parts, as somebody would build a password of it.
fn words_of(text: &str) -> Vec<String> {
    let parts = text.split(|character: char| !character.is_alphanumeric()).filter(|part| part.len() > 2);
    std::iter::once(text).chain(parts).map(str::to_lowercase).collect()
}

impl Password {
    /// What is hashed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), Unfit> {
        Rules::default().check(text, &["grace.hopper@navy.example", "Grace Hopper"]).map(drop)
    }

    /// Security bar 1: length alone counts, and every character stays as it was typed.
    #[test]
    fn twelve_to_128_characters_of_any_kind_are_a_password_and_kept_exactly() {
        for good in [
            "дванадцять символів",
            "  spaces and   spaces  ",
            "all lower case, no digit",
            "e\u{301}toile lointaine",
        ] {
            assert_eq!(Rules::default().check(good, &[]).unwrap().as_bytes(), good.as_bytes());
        }
        let long: String = ('a'..='z').cycle().step_by(7).take(128).collect();
        assert!(check(&long).is_ok());
        assert_eq!(check(&format!("{long}x")), Err(Unfit::Length { shortest: 12 }));
        assert_eq!(check("eleven char"), Err(Unfit::Length { shortest: 12 }));
        assert_eq!(Rules { shortest: 1 }.check("x7$Kq2w", &[]).unwrap_err(), Unfit::Length { shortest: 8 });
        assert!(Rules { shortest: 1 }.check("x7$Kq2w!z", &[]).is_ok());
    }

    /// Security bar 2: what is common or patterned is refused.
    #[test]
    fn what_is_tried_first_is_no_password() {
        for bad in
            ["password1234", "qwertyuiop12", "123456789012", "aaaaaaaaaaaa", "letmein12345", "iloveyou2024"]
        {
            assert_eq!(check(bad), Err(Unfit::Guessable), "{bad}");
        }
    }

    /// Security bar 2: so is what says who somebody is.
    #[test]
    fn what_is_known_about_the_person_or_the_product_is_no_password() {
        for bad in
            ["grace.hopper@navy.example", "GraceHopper1", "hoppergrace12", "prognetwork1", "Grace Hopper"]
        {
            assert_eq!(check(bad), Err(Unfit::Guessable), "{bad}");
        }
        assert!(
            Rules::default().check("grace.hopper@navy.example", &[]).is_ok(),
            "to others it is as good as any"
        );
    }

    #[test]
    fn a_password_never_prints() {
        assert_eq!(format!("{:?}", Rules::default().check("дванадцять символів", &[]).unwrap()), "***");
    }
}
