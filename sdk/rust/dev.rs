//! Mails that a node caught instead of sending them.

use serde::{Deserialize, Serialize};

/// A mail in the dev inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DevMessage {
    /// Its number, from 1 on since the node was started.
    pub number: u64,
    /// To whom.
    pub to: String,
    /// Who sent it.
    pub from: String,
    /// Its subject.
    pub subject: String,
    /// Its text part.
    pub text: String,
    /// Its HTML part.
    pub html: String,
    /// Its headers, in order.
    pub headers: Vec<DevHeader>,
    /// The addresses of pages in its text.
    pub links: Vec<String>,
    /// All of it, as a server would have got it.
    pub raw: String,
}

/// A header of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DevHeader {
    /// E.g. `Message-ID`.
    pub name: String,
    /// On one line.
    pub value: String,
}

/// Mails in the dev inbox, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"number": 1, "to": "ada@example.org", "from": "ProgNetwork <no-reply@localhost>", "subject": "Confirm your e-mail address", "text": "Hello Ada Lovelace, ...", "html": "<!doctype html>...", "headers": [{"name": "Message-ID", "value": "<01k9@localhost>"}], "links": ["http://127.0.0.1:8080/verify?token=AQEB..."], "raw": "From: ..."}]})))]
pub struct DevMessages {
    /// The mails.
    pub data: Vec<DevMessage>,
}
