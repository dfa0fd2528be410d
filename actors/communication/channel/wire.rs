//! A mail as bytes (RFC 5322): text and HTML in one, headers first.

use std::time::{Duration, UNIX_EPOCH};

use lettre::{
    Address, Message,
    error::Error as Invalid,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use prognet_supervisor::Timestamp;

use super::super::render::Rendered;
use crate::values::Email;

/// Machines do not answer it, and neither do people's absence notes (RFC 3834 s. 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");
/// Nor do those that keep to another rule.
const SUPPRESS: HeaderName = HeaderName::new_from_ascii_str("X-Auto-Response-Suppress");

/// Why a mail is none.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Error {
    /// An address that the library does not take.
    #[error("an address is not one for SMTP")]
    Address(#[from] lettre::address::AddressError),
    /// Headers that do not fit together.
    #[error("the mail does not hold together")]
    Invalid(#[from] Invalid),
}

/// What stands on the envelope and in the headers.
#[derive(Debug)]
pub(in super::super) struct Outside<'a> {
    pub(in super::super) from: &'a Email,
    pub(in super::super) from_name: &'a str,
    pub(in super::super) to: &'a Email,
    /// The part of the Message-ID before the domain, which is that of `from`.
    pub(in super::super) id: u128,
    pub(in super::super) at: Timestamp,
}

/// The same bytes for the same mail, whenever it is sent: a copy shows that it is one.
pub(in super::super) fn compose(outside: &Outside<'_>, inside: &Rendered) -> Result<Vec<u8>, Error> {
    let from = address(outside.from)?;
    let millis = u64::try_from(outside.at.as_millis()).unwrap_or(0);
    let message_id = format!("<{:032x}@{}>", outside.id, from.domain());
    let parts = MultiPart::alternative()
        .boundary(format!("part-{:032x}", outside.id))
        .singlepart(SinglePart::plain(inside.text.clone()))
        .singlepart(SinglePart::html(inside.html.clone()));
    let message = Message::builder()
        .from(Mailbox::new(Some(outside.from_name.to_owned()), from))
        .to(Mailbox::new(None, address(outside.to)?))
        .subject(inside.subject.clone())
        .date(UNIX_EPOCH + Duration::from_millis(millis))
        .message_id(Some(message_id))
        .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
        .raw_header(HeaderValue::new(SUPPRESS, "All".to_owned()))
        .multipart(parts)?;
    Ok(message.formatted())
}

/// An address as the library has it.
pub(super) fn address(email: &Email) -> Result<Address, lettre::address::AddressError> {
    let (local, domain) = email.as_str().rsplit_once('@').unwrap_or_default();
    Address::new(local, domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(name: &str, subject: &str) -> String {
        let (from, to) = ("no-reply@example.org", "ada@example.org");
        let outside = Outside {
            from: &Email::parse(from).unwrap(),
            from_name: name,
            to: &Email::parse(to).unwrap(),
            id: 7,
            at: Timestamp::from_millis(1_700_000_000_000),
        };
        let (text, html) = ("Grüße\n".repeat(50), "<p>ü</p>\n".repeat(50));
        let inside = Rendered { subject: subject.to_owned(), text, html };
        assert_eq!(compose(&outside, &inside).unwrap(), compose(&outside, &inside).unwrap());
        String::from_utf8(compose(&outside, &inside).unwrap()).unwrap()
    }

    #[test]
    fn a_mail_is_ascii_in_short_lines_with_headers_that_say_what_it_is() {
        let raw = composed("Süß & Co", "Grüße");
        assert!(raw.is_ascii() && raw.split("\r\n").all(|line| line.len() <= 78 && !line.contains('\n')));
        for header in [
            "To: ada@example.org\r\n",
            "Message-ID: <00000000000000000000000000000007@example.org>\r\n",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "MIME-Version: 1.0\r\n",
        ] {
            assert!(raw.contains(header), "{header} in {raw}");
        }
        assert!(raw.contains("From: =?utf-8?") && raw.contains("Subject: =?utf-8?"), "{raw}");
    }

    #[test]
    fn no_name_or_subject_makes_a_header_of_its_own() {
        let raw = composed("Acme <eve@example.org>, \"Bcc", "Hello\r\nBcc: eve@example.org");
        assert!(!raw.contains("\r\nBcc:") && !raw.contains("From: Acme <eve@"), "{raw}");
    }
}
