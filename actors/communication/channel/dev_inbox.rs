//! The dev inbox: mails are caught and kept, for whoever builds on the installation to look at, at any of its nodes.

use std::time::Duration;

use prognet_supervisor::{Node, Shelf, Thing, Unavailable};
use serde::{Deserialize, Serialize};

use super::Parcel;
use crate::communication::message::Outcome;

/// Mails kept; the oldest goes first.
const KEPT_MAX: usize = 200;
/// What keeping one may take: a store that several nodes share may stand still for a moment.
pub(crate) const LASTS: Duration = Duration::from_secs(5);

/// Mails that were caught. Clones are the same inbox.
#[derive(Debug, Clone)]
pub struct DevInbox(Shelf);

/// A mail that was caught.
#[derive(Debug, PartialEq, Eq)]
pub struct Caught {
    /// Its number, from 1 on.
    pub number: u64,
    /// Who sent it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text part.
    pub text: String,
    /// Its HTML part.
    pub html: String,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// The addresses in its text.
    pub links: Vec<String>,
    /// All of it, as a server would have got it.
    pub raw: String,
}

/// A mail as it is kept: what can be read out of it is not.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    from: String,
    to: String,
    subject: String,
    text: String,
    html: String,
    raw: String,
}

impl Default for DevInbox {
    fn default() -> Self {
        Self(Shelf::new("dev_inbox", KEPT_MAX))
    }
}

impl DevInbox {
    /// Keeps a mail; one that was kept already, under the same Message-ID, is not kept again.
    pub(super) async fn keep(&self, node: &Node, parcel: Parcel) -> Outcome {
        let Parcel { home, id, from, to, rendered, raw } = parcel;
        let value = Kept {
            from: from.to_string(),
            to: to.to_string(),
            subject: rendered.subject,
            text: rendered.text,
            html: rendered.html,
            raw: String::from_utf8_lossy(&raw).into_owned(),
        };
        let thing = Thing { home, mark: id, label: label(node, to.as_str()), value };
        match tokio::time::timeout(LASTS, self.0.put(node, thing)).await {
            Ok(Ok(())) => Outcome::Accepted,
            Ok(Err(_)) | Err(_) => Outcome::Failed("the dev inbox did not keep it".to_owned()),
        }
    }

    /// Mails after a number, to one address if one is given, oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn after(
        &self,
        node: &Node,
        number: u64,
        to: Option<&str>,
    ) -> Result<Vec<Caught>, Unavailable> {
        let found = self.0.after(node, number, to.map(|to| label(node, to))).await?;
        Ok(found.into_iter().map(caught).collect())
    }

    /// The mail of a number, if it is there.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn one(&self, node: &Node, number: u64) -> Result<Option<Caught>, Unavailable> {
        let found = self.0.one(node, number).await?;
        Ok(found.map(|kept| caught((number, kept))))
    }

    /// The same as [`DevInbox::after`], as soon as there is one, or none after `patience`.
    ///
    /// # Errors
    /// When the store does not answer at first.
    pub async fn wait(
        &self,
        node: &Node,
        number: u64,
        to: Option<&str>,
        patience: Duration,
    ) -> Result<Vec<Caught>, Unavailable> {
        let found = self.0.wait(node, number, to.map(|to| label(node, to)), patience).await?;
        Ok(found.into_iter().map(caught).collect())
    }
}

/// What the mails to an address are looked for by.
fn label(node: &Node, to: &str) -> u128 {
    node.hash("dev-inbox", to.to_ascii_lowercase().as_bytes())
}

fn caught((number, kept): (u64, Kept)) -> Caught {
    let Kept { from, to, subject, text, html, raw } = kept;
    let (headers, links) = (headers(&raw), links(&text));
    Caught { number, from, to, subject, text, html, headers, links, raw }
}

/// Headers of a raw mail, unfolded.
fn headers(raw: &str) -> Vec<(String, String)> {
    let (head, _) = raw.split_once("\r\n\r\n").unwrap_or((raw, ""));
    let unfolded = head.replace("\r\n\t", " ").replace("\r\n ", " ");
    let named = unfolded.split("\r\n").filter_map(|line| line.split_once(':'));
    named.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Words of a text that are addresses of pages.
fn links(text: &str) -> Vec<String> {
    let is_link = |word: &&str| word.starts_with("https://") || word.starts_with("http://");
    text.split_whitespace().filter(is_link).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::{Home, HomeKind, testing::World};

    use super::*;
    use crate::{communication::render::Rendered, values::Email};

    fn parcel(id: u128, to: &str) -> Parcel {
        let text = "Look:\nhttps://example.org/verify?token=abc\n".to_owned();
        Parcel {
            home: Home { kind: HomeKind::Account, id: 7 },
            id,
            from: Email::parse("no-reply@example.org").unwrap(),
            to: Email::parse(to).unwrap(),
            rendered: Rendered { subject: "Hello".to_owned(), text, html: String::new() },
            raw: b"To: ada@example.org\r\nSubject: Hel\r\n lo\r\n\r\nbody: no header".to_vec(),
        }
    }

    #[tokio::test]
    async fn a_mail_is_found_by_its_address_and_waited_for() {
        let (world, inbox) = (World::new(Vec::new).await, DevInbox::default());
        let waiting = inbox.wait(&world.node, 0, Some("ADA@example.org"), Duration::from_secs(60));
        let keeping = async {
            inbox.keep(&world.node, parcel(1, "bob@example.org")).await;
            inbox.keep(&world.node, parcel(2, "ada@example.org")).await
        };

        let (found, kept) = tokio::join!(waiting, keeping);

        let found = found.unwrap();
        assert_eq!(kept, Outcome::Accepted);
        assert_eq!(found.iter().map(|caught| caught.number).collect::<Vec<_>>(), [2]);
        assert_eq!(found[0].links, ["https://example.org/verify?token=abc"]);
        assert_eq!(found[0].headers[1], ("Subject".to_owned(), "Hel lo".to_owned()));
        assert_eq!(found[0].headers.len(), 2);
        assert_eq!(inbox.one(&world.node, 2).await.unwrap().as_ref(), found.first());
    }
}
