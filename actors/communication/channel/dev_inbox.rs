//! The dev inbox: mails are caught and kept in memory, for whoever builds on the node to look at.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::Parcel;

/// Mails kept; the oldest goes first.
const KEPT_MAX: usize = 200;

/// Mails that were caught. Clones are the same inbox.
#[derive(Debug, Clone, Default)]
pub struct DevInbox(Arc<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    caught: Mutex<VecDeque<Arc<Caught>>>,
    /// The number of the newest.
    newest: watch::Sender<u64>,
}

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

impl DevInbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Caught>>> {
        self.0.caught.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, parcel: Parcel) {
        let mut caught = self.lock();
        let number = *self.0.newest.borrow() + 1;
        let raw = String::from_utf8_lossy(&parcel.raw).into_owned();
        caught.push_back(Arc::new(Caught {
            number,
            from: parcel.from.to_string(),
            to: parcel.to.to_string(),
            headers: headers(&raw),
            links: links(&parcel.rendered.text),
            subject: parcel.rendered.subject,
            text: parcel.rendered.text,
            html: parcel.rendered.html,
            raw,
        }));
        if caught.len() > KEPT_MAX {
            caught.pop_front();
        }
        drop(caught);
        self.0.newest.send_replace(number);
    }

    /// Mails after a number, to one address if one is given, oldest first.
    #[must_use]
    pub fn after(&self, number: u64, to: Option<&str>) -> Vec<Arc<Caught>> {
        let is_wanted = |caught: &&Arc<Caught>| {
            caught.number > number && to.is_none_or(|to| caught.to.eq_ignore_ascii_case(to))
        };
        self.lock().iter().filter(is_wanted).cloned().collect()
    }

    /// The same, as soon as there is one, or none after `patience`.
    pub async fn wait(&self, number: u64, to: Option<&str>, patience: Duration) -> Vec<Arc<Caught>> {
        let mut newest = self.0.newest.subscribe();
        let found = tokio::time::timeout(patience, async {
            loop {
                newest.mark_unchanged();
                let found = self.after(number, to);
                if !found.is_empty() || newest.changed().await.is_err() {
                    return found;
                }
            }
        });
        found.await.unwrap_or_default()
    }
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
    use super::*;
    use crate::{communication::render::Rendered, values::Email};

    fn parcel(to: &str) -> Parcel {
        let text = "Look:\nhttps://example.org/verify?token=abc\n".to_owned();
        Parcel {
            from: Email::parse("no-reply@example.org").unwrap(),
            to: Email::parse(to).unwrap(),
            rendered: Rendered { subject: "Hello".to_owned(), text, html: String::new() },
            raw: b"To: ada@example.org\r\nSubject: Hel\r\n lo\r\n\r\nbody: no header".to_vec(),
        }
    }

    #[tokio::test]
    async fn a_mail_is_found_by_its_address_and_waited_for() {
        let inbox = DevInbox::default();
        let waiting = inbox.wait(0, Some("ADA@example.org"), Duration::from_secs(60));
        let keeping = async {
            inbox.keep(parcel("bob@example.org"));
            inbox.keep(parcel("ada@example.org"));
        };

        let (found, ()) = tokio::join!(waiting, keeping);

        assert_eq!(found.iter().map(|caught| caught.number).collect::<Vec<_>>(), [2]);
        assert_eq!(found[0].links, ["https://example.org/verify?token=abc"]);
        assert_eq!(found[0].headers[1], ("Subject".to_owned(), "Hel lo".to_owned()));
        assert_eq!(found[0].headers.len(), 2);
        assert_eq!(inbox.after(0, None).len(), 2);
        assert!(inbox.wait(2, None, Duration::from_millis(1)).await.is_empty());
    }

    #[test]
    fn the_oldest_go_first() {
        let inbox = DevInbox::default();
        for _ in 0..=KEPT_MAX {
            inbox.keep(parcel("ada@example.org"));
        }
        let kept = inbox.after(0, None);
        assert_eq!((kept.len(), kept[0].number), (KEPT_MAX, 2));
    }
}
