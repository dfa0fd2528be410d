//! One-time links: the token in a mailed link, which proves that this platform sent it to somebody.
//!
//! ```text
//! base64url( purpose 1 │ home 17 │ entity's id 16 │ MAC 16 )
//! ```
//! It is derived while a mail is rendered and never kept. Whether it was used before, and until when it is
//! good, is the named entity's business.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use prognet_supervisor::{Home, Node, Unavailable};
use serde::{Deserialize, Serialize};

/// The secret of the keyring that tokens are made with.
const SECRET: &str = "mail-links";
/// Bytes of a MAC: 128 bits, which nobody guesses through a door with limits.
const MAC_BYTES: usize = 16;
/// Bytes of what a MAC is over: purpose, home, id.
const NAMED_BYTES: usize = 1 + Home::BYTES + 16;

/// What a link is for; a token for one purpose is worth nothing for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Shows that an address is its account's.
    VerifyAddress = 1,
    /// Lets a person who forgot the password set another.
    ResetPassword = 2,
    /// Shows that a new address is its account's.
    ConfirmEmailChange = 3,
    /// Takes a change of the address back.
    UndoEmailChange = 4,
    /// Lets a person into a tenant.
    AcceptInvitation = 5,
}

/// Makes and checks the tokens of links. It never prints.
#[derive(Clone)]
pub struct LinkKey(hmac::Key);

impl fmt::Debug for LinkKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

impl LinkKey {
    /// The key that the node keeps in its keyring, made when it is first wanted.
    ///
    /// # Errors
    /// When the keyring does not answer.
    pub async fn of(node: &Node) -> Result<Self, Unavailable> {
        let fresh = || [node.clock().fresh_secret(), node.clock().fresh_secret()].concat();
        let secret = node.secret(SECRET, fresh).await?;
        // The system gave no randomness: no key is better than one everybody knows.
        if secret.is_empty() { Err(Unavailable::NotWritten) } else { Ok(Self::new(&secret)) }
    }

    /// The key with these bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The token of the link about an entity.
    #[must_use]
    pub fn token(&self, purpose: Purpose, home: Home, id: u128) -> String {
        let named = named(purpose, home, id);
        BASE64_URL_SAFE_NO_PAD.encode([&named[..], &self.mac(&named)].concat())
    }

    /// The entity a token is about, if this platform made it for this purpose.
    #[must_use]
    pub fn read(&self, purpose: Purpose, token: &str) -> Option<(Home, u128)> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (named, mac) = bytes.split_first_chunk::<NAMED_BYTES>()?;
        verify_slices_are_equal(mac, &self.mac(named)).ok()?;
        let (found, rest) = named.split_first()?;
        let (home, id) = rest.split_first_chunk::<{ Home::BYTES }>()?;
        let is_for_this = *found == purpose as u8;
        is_for_this.then_some((Home::from_canonical(home)?, u128::from_be_bytes(id.try_into().ok()?)))
    }

    fn mac(&self, named: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = [0; MAC_BYTES];
        for (byte, signed) in mac.iter_mut().zip(hmac::sign(&self.0, named).as_ref()) {
            *byte = *signed;
        }
        mac
    }
}

fn named(purpose: Purpose, home: Home, id: u128) -> [u8; NAMED_BYTES] {
    let mut bytes = [0; NAMED_BYTES];
    bytes[0] = purpose as u8;
    bytes[1..=Home::BYTES].copy_from_slice(&home.canonical());
    bytes[1 + Home::BYTES..].copy_from_slice(&id.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::HomeKind;
    use proptest::prelude::*;

    use super::*;

    const PURPOSES: [Purpose; 5] = [
        Purpose::VerifyAddress,
        Purpose::ResetPassword,
        Purpose::ConfirmEmailChange,
        Purpose::UndoEmailChange,
        Purpose::AcceptInvitation,
    ];

    fn home() -> impl Strategy<Value = Home> {
        let kinds = prop_oneof![Just(HomeKind::Tenant), Just(HomeKind::Account), Just(HomeKind::Platform)];
        (kinds, any::<u128>()).prop_map(|(kind, id)| Home { kind, id })
    }

    proptest! {
        #[test]
        fn a_token_names_its_entity_for_its_purpose_alone(home in home(), id: u128, secret: [u8; 32], which in 0..5_usize) {
            let (key, purpose) = (LinkKey::new(&secret), PURPOSES[which]);
            let token = key.token(purpose, home, id);
            for other in PURPOSES {
                prop_assert_eq!(key.read(other, &token), (other == purpose).then_some((home, id)));
            }
            prop_assert_eq!(LinkKey::new(b"another platform's").read(purpose, &token), None);
        }

        #[test]
        fn a_token_with_any_bit_flipped_is_refused(home in home(), id: u128, bit in 0..400_usize) {
            let key = LinkKey::new(b"secret");
            let token = key.token(Purpose::ResetPassword, home, id);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&token).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(key.read(Purpose::ResetPassword, &BASE64_URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn a_text_nobody_made_is_refused(text: String) {
            prop_assert_eq!(LinkKey::new(b"secret").read(Purpose::VerifyAddress, &text), None);
        }
    }

    #[test]
    fn a_token_fits_into_a_line_and_the_key_never_prints() {
        let key = LinkKey::new(b"secret");
        let token = key.token(Purpose::VerifyAddress, Home { kind: HomeKind::Account, id: 1 }, 2);
        assert_eq!(token.len(), 67);
        let cut: String = token.chars().take(66).collect();
        assert_eq!(key.read(Purpose::VerifyAddress, &cut), None);
        assert_eq!(format!("{key:?}"), "***");
    }
}
