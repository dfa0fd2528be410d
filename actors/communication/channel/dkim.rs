//! DKIM: a signature by the sending domain over a mail's body and headers (RFC 6376, RFC 8463).
//!
//! Always `relaxed/relaxed`: what relays on the way do to white space does not break it.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use prognet_supervisor::Timestamp;

/// Headers that are signed, as often as they are listed here; once more than a mail has, so that none is added.
const SIGNED: [&str; 9] =
    ["from", "from", "to", "subject", "date", "message-id", "mime-version", "content-type", "auto-submitted"];
/// The least RSA modulus that verifiers must take for good (RFC 8301 s. 3.2), in bytes.
const MODULUS_MIN: usize = 128;

/// Why a key does not sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no PEM of a private key.
    #[error("not a private key in PEM")]
    Pem,
    /// It is neither RSA of 1024 bits or more nor Ed25519.
    #[error("neither an RSA key of 1024 bits or more nor an Ed25519 key")]
    Key,
    /// The signature could not be made.
    #[error("failed to sign")]
    Sign,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// Signs for a domain. Its key never prints.
pub struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Signer")
            .field("domain", &self.domain)
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with a private key in PEM: PKCS#8, or PKCS#1 for RSA.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn new(domain: &str, selector: &str, pem: &str) -> Result<Self, Error> {
        let bytes = unarmoured(pem).ok_or(Error::Pem)?;
        let rsa = RsaKeyPair::from_pkcs8(&bytes).or_else(|_other| RsaKeyPair::from_der(&bytes));
        let key = match rsa {
            Ok(rsa) if rsa.public_modulus_len() >= MODULUS_MIN => Key::Rsa(Box::new(rsa)),
            Ok(_weak) => return Err(Error::Key),
            Err(_not_rsa) => {
                let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes);
                Key::Ed25519(key.map_err(|_neither| Error::Key)?)
            }
        };
        Ok(Self { domain: domain.to_owned(), selector: selector.to_owned(), key })
    }

    /// The mail with its signature on top.
    ///
    /// # Errors
    /// When the key does not sign.
    pub fn signed(&self, raw: &[u8], at: Timestamp) -> Result<Vec<u8>, Error> {
        let (headers, body) = parts(raw);
        let field = self.field(&body, at);
        let mut input = signed_headers(&headers);
        // RFC 6376 s. 3.7: itself last, without its value and without a line's end.
        input.extend_from_slice(format!("dkim-signature:{}", collapsed(field.as_bytes())).as_bytes());
        let signature = BASE64_STANDARD.encode(self.sign(&input)?);
        let folded: Vec<_> = signature.as_bytes().chunks(70).map(String::from_utf8_lossy).collect();
        let mut signed = format!("DKIM-Signature: {field}{}\r\n", folded.join("\r\n\t")).into_bytes();
        signed.extend_from_slice(raw);
        Ok(signed)
    }

    /// The signature's field up to `b=`.
    fn field(&self, body: &[u8], at: Timestamp) -> String {
        let algorithm = match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let body_hash = BASE64_STANDARD.encode(digest(&SHA256, body));
        format!(
            "v=1; a={algorithm}; c=relaxed/relaxed; d={};\r\n\ts={}; t={};\r\n\th={};\r\n\tbh={body_hash};\r\n\tb=",
            self.domain,
            self.selector,
            at.as_millis() / 1000,
            SIGNED.join(":"),
        )
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature)
                    .map_err(|_unspecified| Error::Sign)?;
                Ok(signature)
            }
            // RFC 8463 s. 3: over the hash, which Ed25519 hashes once more.
            Key::Ed25519(key) => Ok(key.sign(digest(&SHA256, input).as_ref()).as_ref().to_vec()),
        }
    }
}

/// The bytes inside a PEM's armour.
fn unarmoured(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (kind, rest) = rest.split_once("PRIVATE KEY-----")?;
    let (inside, _) = rest.split_once("-----END ")?;
    let is_known = matches!(kind, "" | "RSA ");
    let digits: String = inside.split_whitespace().collect();
    BASE64_STANDARD.decode(digits).ok().filter(|_| is_known)
}

/// A header's name in lower case, and its value collapsed (RFC 6376 s. 3.4.2).
type Header = (String, String);

/// Headers in order, and the body as it is hashed.
fn parts(raw: &[u8]) -> (Vec<Header>, Vec<u8>) {
    let text = String::from_utf8_lossy(raw);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let unfolded = head.replace("\r\n\t", " ").replace("\r\n ", " ");
    let headers = unfolded.split("\r\n").filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_lowercase(), collapsed(value.as_bytes())));
    (headers.collect(), relaxed_body(body))
}

/// White space inside as one space, none at the ends.
fn collapsed(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// RFC 6376 s. 3.4.4: white space collapsed, none at the end of a line, no empty lines at the end.
fn relaxed_body(body: &str) -> Vec<u8> {
    let mut relaxed = String::with_capacity(body.len());
    for line in body.split("\r\n") {
        let mut was_space = false;
        for character in line.trim_end_matches([' ', '\t']).chars() {
            let is_space = matches!(character, ' ' | '\t');
            match (is_space, was_space) {
                (true, true) => {}
                (true, false) => relaxed.push(' '),
                (false, _) => relaxed.push(character),
            }
            was_space = is_space;
        }
        relaxed.push_str("\r\n");
    }
    let end = relaxed.trim_end_matches("\r\n").len();
    relaxed.truncate(end);
    if !relaxed.is_empty() {
        relaxed.push_str("\r\n");
    }
    relaxed.into_bytes()
}

/// What is signed of the headers: of those with one name the last first, and nothing for one too many (s. 5.4.2).
fn signed_headers(headers: &[Header]) -> Vec<u8> {
    let mut input = Vec::new();
    for (place, name) in SIGNED.iter().enumerate() {
        let before = SIGNED.iter().take(place).filter(|earlier| *earlier == name).count();
        let mut named = headers.iter().rev().filter(|(known, _)| known == name);
        if let Some((name, value)) = named.nth(before) {
            input.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_relaxed_as_the_standard_shows() {
        // RFC 6376 s. 3.4.5.
        let (headers, body) = parts(b"A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n");
        assert_eq!(headers, [("a".to_owned(), "X".to_owned()), ("b".to_owned(), "Y Z".to_owned())]);
        assert_eq!(body, b" C\r\nD E\r\n");
        assert_eq!(relaxed_body("\r\n\r\n"), b"");
    }

    #[test]
    fn a_key_is_pem_and_strong_enough() {
        assert!(matches!(Signer::new("example.org", "s", "hello"), Err(Error::Pem)));
        let armoured = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(Signer::new("example.org", "s", armoured), Err(Error::Key)));
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Signer::new("example.org", "s", certificate), Err(Error::Pem)));
    }
}
