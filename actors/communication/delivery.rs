//! Delivery: the door out. It hears which messages are due, and has a bounded number of attempts under way.
//!
//! ```text
//!  due ──▶ slot (8) ──▶ Begin, durable ──▶ render, sign, hand over ──▶ Report
//!                          │ longer than a second: gives its slot back (64 such)
//! ```
//! Whatever is taken has begun, and an attempt that has begun and is not reported is due again by the message's
//! own timer: nothing that is only in memory here is needed by anybody.

use std::{pin::pin, sync::Arc, time::Duration};

use prognet_supervisor::{
    Aggregate, Asking, Entity, Home, Name, Node, Reader, ReaderError, Recorded, Refused, Timestamp,
    Unavailable,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};

use super::{
    channel::{Channel, Parcel, dev_inbox, dkim, wire},
    message::{self, Event, Letter, Message, Outcome, Rejection, Stage, View},
    render,
};
use crate::{
    auth::link::LinkKey,
    values::{Email, PersonName},
};

/// Attempts under way at once: each is a connection, and one connection takes some dozens of mails a second.
const SLOTS: usize = 8;
/// An attempt that takes longer is slow: a server that stalls one mail must not delay others.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// Slow attempts beside the others; more of them keep their slots.
const SLOW_SLOTS: usize = 64;
/// What begins or reports an attempt waits this long for its message.
const PATIENCE: Duration = Duration::from_secs(2);
/// Times that an attempt is reported to a busy node.
const REPORTS_MAX: usize = 3;
/// An attempt lasts as long as its channel may take, and this much for its report: all of those times.
const REPORT_LASTS: Duration = Duration::from_secs(10);

/// Who sends mails.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The address.
    pub from: Email,
    /// The name: one line, as any name.
    pub name: PersonName,
}

/// The door out; clones are the same door.
#[derive(Debug, Clone)]
pub struct Delivery(Arc<Door>);

#[derive(Debug)]
struct Door {
    sender: Sender,
    signer: Option<dkim::Signer>,
    channel: Channel,
    /// Where links lead: known once the node has its address. No mail leaves before.
    site: SetOnce<String>,
    slots: Arc<Semaphore>,
    slow: Arc<Semaphore>,
}

/// An attempt that has begun.
struct Begun {
    entity: Entity<Message>,
    home: Home,
    /// The same for all attempts of a message, and no internal id.
    message_id: u128,
    number: u32,
    letter: Letter,
    requested_at: Timestamp,
}

impl Delivery {
    /// A door; mails wait until it knows where links lead.
    #[must_use]
    pub fn new(sender: Sender, signer: Option<dkim::Signer>, channel: Channel) -> Self {
        let (slots, slow) = (Arc::new(Semaphore::new(SLOTS)), Arc::new(Semaphore::new(SLOW_SLOTS)));
        Self(Arc::new(Door { sender, signer, channel, site: SetOnce::new(), slots, slow }))
    }

    /// Links lead to this address from now on, e.g. `https://api.example.org`; the first one said counts.
    pub fn open(&self, site: &str) {
        // Somebody said it before.
        drop(self.0.site.set(site.to_owned()));
    }

    /// Begins no more attempts, and returns once those under way are reported.
    pub async fn stop(&self) {
        let counts = [(&self.0.slots, SLOTS), (&self.0.slow, SLOW_SLOTS)];
        for (slots, count) in counts {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if let Ok(all) = slots.acquire_many(count).await {
                all.forget();
            }
        }
    }
}

impl Reader for Delivery {
    const NAME: &'static str = "mail";

    fn concerns(&self, kind: Name) -> bool {
        kind == Message::KIND.name
    }

    async fn take(&self, event: &Recorded, node: &Node) -> Result<(), ReaderError> {
        let is_due = match event.of::<Message>()? {
            Some(Event::Requested { .. } | Event::Due { .. }) => true,
            Some(
                Event::Attempted { .. }
                | Event::Deferred { .. }
                | Event::Delivered { .. }
                | Event::GivenUp { .. },
            )
            | None => false,
        };
        if !is_due {
            return Ok(());
        }
        self.0.site.wait().await;
        let slot = Arc::clone(&self.0.slots).acquire_owned().await?;
        let Some(begun) = self.0.begin(event, node).await? else {
            return Ok(());
        };
        let (door, node) = (Arc::clone(&self.0), node.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by the slots; the message's timer does what it leaves undone"
        )]
        drop(tokio::task::spawn(async move { door.attempt(&node, begun, slot).await }));
        Ok(())
    }
}

impl Door {
    /// Begins an attempt, durably; none if it is not due any more.
    async fn begin(&self, event: &Recorded, node: &Node) -> Result<Option<Begun>, ReaderError> {
        let entity = Message::at(event.home, event.id);
        let begin = message::Command::Begin { lasts: self.lasts() };
        let view = match node.ask(&asking(node), entity, begin).await {
            Ok(answered) => answered.reply,
            Err(Refused::Rejected(Rejection::NotDue | Rejection::Unknown | Rejection::AnotherMessage)) => {
                return Ok(None);
            }
            // It waits for an operator, and then asks again; or nobody is there to be written to any more: no reason
            // to hold up all others.
            Err(Refused::Unavailable(Unavailable::Quarantined) | Refused::Erased) => return Ok(None),
            Err(refused @ Refused::Unavailable(_)) => return Err(refused.into()),
            Err(refused @ (Refused::KeyReused | Refused::Poison | Refused::Fault)) => {
                tracing::error!(message.id = %event.event_id(), error = &refused as &dyn std::error::Error, "a message does not begin its attempt");
                return Ok(None);
            }
        };
        let Some(View { attempts, letter: Some(letter), requested_at, .. }) = view else {
            return Ok(None);
        };
        let named = [&event.home.canonical()[..], &event.id.to_be_bytes()].concat();
        let message_id = node.hash("message-id", &named);
        Ok(Some(Begun { entity, home: event.home, message_id, number: attempts, letter, requested_at }))
    }

    /// How long an attempt lasts at most.
    fn lasts(&self) -> Duration {
        let channel = match &self.channel {
            Channel::Smtp(smtp) => smtp.timeout(),
            Channel::DevInbox(_) => dev_inbox::LASTS,
            #[cfg(test)]
            Channel::Told(_) => dev_inbox::LASTS,
        };
        channel.saturating_add(REPORT_LASTS)
    }

    async fn attempt(self: Arc<Self>, node: &Node, begun: Begun, slot: OwnedSemaphorePermit) {
        let slow = Arc::clone(&self.slow);
        let Begun { entity, number, .. } = begun;
        let sending = async {
            match self.prepare(node, begun).await {
                Ok(parcel) => self.channel.hand_over(node, parcel).await,
                Err(why) => {
                    tracing::error!(message.id = ?entity, why, "failed to write a mail");
                    Outcome::Failed(why)
                }
            }
        };
        let outcome = with_slot(sending, slot, &slow).await;
        report(node, entity, number, outcome).await;
    }

    /// Writes and signs the mail, on a thread for such work: a signature takes a millisecond.
    async fn prepare(self: &Arc<Self>, node: &Node, begun: Begun) -> Result<Parcel, String> {
        let key = LinkKey::of(node).await.map_err(|error| error.to_string())?;
        let site = self.site.wait().await.clone();
        let (door, now) = (Arc::clone(self), node.clock().now());
        let written = tokio::task::spawn_blocking(move || door.write(&begun, &key, &site, now));
        written.await.map_err(|error| error.to_string())?
    }

    fn write(&self, begun: &Begun, key: &LinkKey, site: &str, now: Timestamp) -> Result<Parcel, String> {
        let (from, to) = (&self.sender.from, &begun.letter.to);
        let sender = render::Sender { name: self.sender.name.as_str(), site, key };
        let rendered =
            render::render(&begun.letter, sender).map_err(|error| format!("it does not render: {error}"))?;
        let outside = wire::Outside {
            from,
            from_name: self.sender.name.as_str(),
            to,
            id: begun.message_id,
            at: begun.requested_at,
        };
        let mut raw = wire::compose(&outside, &rendered).map_err(|error| error.to_string())?;
        if let Some(signer) = &self.signer {
            raw = signer.signed(&raw, now).map_err(|error| error.to_string())?;
        }
        let (home, id) = (begun.home, begun.message_id);
        Ok(Parcel { home, id, from: from.clone(), to: to.clone(), rendered, raw })
    }
}

/// Does the work in a slot, and gives it back when the work is slow, as long as there is room for slow work.
async fn with_slot<T>(work: impl Future<Output = T>, slot: OwnedSemaphorePermit, slow: &Arc<Semaphore>) -> T {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(SLOW_AFTER, work.as_mut()).await {
        return done;
    }
    let _slot = Arc::clone(slow).try_acquire_owned().unwrap_or(slot);
    work.await
}

/// Tells the message what became of its attempt; one that cannot be told finds out by its timer.
async fn report(node: &Node, entity: Entity<Message>, number: u32, outcome: Outcome) {
    for _ in 0..REPORTS_MAX {
        let report = message::Command::Report { number, outcome: outcome.clone() };
        match node.ask(&asking(node), entity, report).await {
            Ok(answered) => return log(entity, answered.reply),
            Err(Refused::Unavailable(why)) => {
                tracing::debug!(message.id = ?entity, error = &why as &dyn std::error::Error, "failed to report an attempt");
                tokio::time::sleep(SLOW_AFTER).await;
            }
            Err(refused) => {
                tracing::error!(message.id = ?entity, error = &refused as &dyn std::error::Error, "an attempt is not reported");
                return;
            }
        }
    }
    tracing::warn!(message.id = ?entity, "gave up reporting an attempt: it is made again");
}

/// Says what an operator may want to look into.
fn log(entity: Entity<Message>, view: Option<View>) {
    let Some(View { stage, attempts, trouble, .. }) = view else { return };
    let why = trouble.unwrap_or_default();
    match stage {
        Stage::GivenUp => {
            tracing::warn!(message.id = ?entity, attempts, why, "gave a mail up");
        }
        Stage::Waiting => {
            tracing::info!(message.id = ?entity, attempts, why, "a mail waits for another attempt");
        }
        Stage::Due | Stage::Trying | Stage::Delivered => {}
    }
}

fn asking(node: &Node) -> Asking {
    Asking { asker: 0, key: None, trace: 0, deadline: node.clock().now().after(PATIENCE) }
}
