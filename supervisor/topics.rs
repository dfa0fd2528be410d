//! Live streams: the public events of a home or of the platform, from any position on, without gap or repeat.
//!
//! One task walks the durable tail, opens each public event once and shares it with the topic's subscribers.
//! Whoever is behind reads the journal instead; a subscriber that cannot keep up falls back to that too, so
//! memory is bounded by the channel and nothing is lost. The logs of a home's services are merged in the order
//! in which this node made them durable: an event's cause was durable before it was decided, so it comes first.

mod history;
mod position;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use prognet_storage::{Home, Lsn, journal::Stored, snapshots::TierError};
use serde::Serialize;
use tokio::sync::broadcast;

pub(crate) use history::{history, latest, position_at};
pub use position::Position;

use crate::{Timestamp, Unavailable, readers::recorded, router::Doors};

/// Events a subscriber may be behind before it reads the journal again.
const BEHIND_MAX: usize = 256;

/// A live stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Everything public on the platform.
    System,
    /// Everything public in a home.
    Home(Home),
}

/// A public event.
#[derive(Debug, Clone, Serialize)]
pub struct Published {
    /// Its position in the topic it was read from.
    pub position: Position,
    /// What happened, e.g. `tenant.suspended`.
    pub kind: String,
    /// Where.
    pub home: Home,
    /// The entity it happened to.
    pub id: u128,
    /// When.
    pub at: Timestamp,
    /// The account that asked, or 0.
    pub by: u128,
    /// The trace, or 0.
    pub trace: u128,
    /// What the aggregate tells the public.
    pub data: serde_json::Value,
}

/// What a subscriber gets.
#[derive(Debug, Clone)]
pub enum Frame {
    /// An event.
    Event(Arc<Published>),
    /// The cursor it came with lies ahead of everything here, as after the restore of a backup: read the state
    /// again; events go on from this position.
    Gap {
        /// Where they go on.
        to: Position,
    },
}

/// A public event and the record it is, shared by all who watch it.
struct Shared {
    stored: Arc<Stored>,
    /// Without a position: each subscriber has its own. None if this build cannot read it: whoever watches stops
    /// before it.
    event: Option<Published>,
}

type Channels = HashMap<Topic, broadcast::Sender<Arc<Shared>>>;

/// The topics somebody watches.
#[derive(Default)]
pub(crate) struct Hub {
    channels: Mutex<Channels>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    fn lock(&self) -> std::sync::MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self, topic: Topic) -> broadcast::Receiver<Arc<Shared>> {
        self.lock().entry(topic).or_insert_with(|| broadcast::Sender::new(BEHIND_MAX)).subscribe()
    }

    /// Forgets a topic when its last subscriber leaves.
    fn leave(&self, topic: Topic) {
        let mut channels = self.lock();
        // The one that leaves still counts.
        if channels.get(&topic).is_some_and(|channel| channel.receiver_count() <= 1) {
            channels.remove(&topic);
        }
    }

    /// Walks the durable tail and shares what is public, from now on.
    pub(crate) async fn run(self: Arc<Self>, doors: Weak<Doors>) {
        let Some(runtime) = doors.upgrade().map(|doors| Arc::clone(doors.runtime())) else {
            return;
        };
        let mut durable = runtime.journal.durable();
        let mut after = *durable.borrow_and_update();
        loop {
            let page = runtime.journal.walk(after, runtime.page).await.unwrap_or_else(|error| {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "failed to follow the journal for live topics"
                );
                Vec::new()
            });
            let Some(last) = page.last() else {
                if durable.changed().await.is_err() {
                    return;
                }
                continue;
            };
            after = last.lsn;
            let Some(doors) = doors.upgrade() else { return };
            for stored in page {
                self.share(&stored, &doors);
            }
        }
    }

    fn share(&self, stored: &Arc<Stored>, doors: &Doors) {
        let mut channels = self.lock();
        let topics = [Topic::System, Topic::Home(stored.record.entity.home)];
        let is_watched = |channel: &broadcast::Sender<_>| channel.receiver_count() > 0;
        for topic in topics {
            if channels.get(&topic).is_some_and(|channel| !is_watched(channel)) {
                channels.remove(&topic);
            }
        }
        let watched: Vec<_> = topics.iter().filter_map(|topic| channels.get(topic)).collect();
        if watched.is_empty() {
            return;
        }
        let event = match published(stored, doors) {
            Ok(Some(event)) => Some(event),
            Ok(None) => return,
            // Told by whoever meets it in the journal.
            Err(_) => None,
        };
        let shared = Arc::new(Shared { stored: Arc::clone(stored), event });
        for channel in watched {
            // Nobody listening any more is fine: the next event removes the channel.
            drop(channel.send(Arc::clone(&shared)));
        }
    }
}

/// The event as the public sees it, if it does, without a position.
fn published(stored: &Stored, doors: &Doors) -> Result<Option<Published>, TierError> {
    let door = doors.services.get(&stored.shard.service);
    let Some(host) = door.and_then(|door| door.kinds.get(&stored.record.entity.kind)) else {
        return Ok(None);
    };
    let Some(event) = recorded(doors.runtime(), stored)? else {
        return Ok(None);
    };
    let data = host.publish(&event)?;
    Ok(data.map(|data| Published {
        position: Position::default(),
        kind: format!("{}.{}", event.kind, event.name),
        home: event.home,
        id: event.id,
        at: event.at,
        by: event.by,
        trace: event.trace,
        data,
    }))
}

/// A subscriber's place in a topic.
pub struct Subscription {
    doors: Arc<Doors>,
    hub: Arc<Hub>,
    topic: Topic,
    live: broadcast::Receiver<Arc<Shared>>,
    begin: Begin,
    /// The last position seen.
    position: Position,
    is_catching_up: bool,
    ready: VecDeque<Published>,
}

/// Where a subscription begins, until it has begun.
enum Begin {
    /// With what comes after this record of the node.
    Since(Lsn),
    /// After a position that somebody brought along.
    After,
    Begun,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subscription")
            .field("topic", &self.topic)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(self.topic);
    }
}

impl Subscription {
    pub(crate) fn new(doors: Arc<Doors>, hub: Arc<Hub>, topic: Topic, after: Option<Position>) -> Self {
        // First listen, then read: what is written in between comes twice, and is dropped once.
        let live = hub.subscribe(topic);
        let durable = *doors.runtime().journal.durable().borrow();
        let begin = if after.is_some() { Begin::After } else { Begin::Since(durable) };
        let is_catching_up = after.is_some();
        let position = after.unwrap_or_default();
        Self { doors, hub, topic, live, begin, position, is_catching_up, ready: VecDeque::new() }
    }

    /// The next frame; `None` once the node stops.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.position = event.position.clone();
                return Some(Frame::Event(Arc::new(event)));
            }
            match self.begin().await {
                Ok(None) => {}
                Ok(Some(gap)) => return Some(gap),
                Err(_) => {
                    self.doors.runtime().clock.sleep(Duration::from_secs(1)).await;
                    continue;
                }
            }
            if self.is_catching_up {
                self.catch_up().await;
                continue;
            }
            match self.live.recv().await {
                Ok(shared) => {
                    let Some(event) = &shared.event else {
                        self.is_catching_up = true;
                        continue;
                    };
                    if self.position.advance(self.topic, &shared.stored) {
                        let event = Published { position: self.position.clone(), ..event.clone() };
                        return Some(Frame::Event(Arc::new(event)));
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.live = self.hub.subscribe(self.topic);
                    self.is_catching_up = true;
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Finds out where it begins, once; a gap if the position it came with is not of this log.
    async fn begin(&mut self) -> Result<Option<Frame>, Unavailable> {
        match self.begin {
            Begin::Begun => return Ok(None),
            Begin::Since(lsn) => self.position = position_at(&self.doors, self.topic, lsn).await?,
            Begin::After => {
                let end = position_at(&self.doors, self.topic, Lsn(u64::MAX)).await?;
                if !self.position.is_within(&end) {
                    self.begin = Begin::Begun;
                    self.is_catching_up = false;
                    self.position = end.clone();
                    return Ok(Some(Frame::Gap { to: end }));
                }
            }
        }
        self.begin = Begin::Begun;
        Ok(None)
    }

    async fn catch_up(&mut self) {
        match history(&self.doors, self.topic, &self.position).await {
            Ok(page) => {
                self.position = page.read_to;
                self.is_catching_up = !page.is_at_end;
                self.ready = page.events.into();
            }
            Err(_) => self.doors.runtime().clock.sleep(Duration::from_secs(1)).await,
        }
    }
}
