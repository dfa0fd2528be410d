//! Live streams: the public events of a tenant or of the platform, from any position on, without gap or repeat.
//!
//! One task walks the durable tail, opens each public event once and shares it with the topic's subscribers.
//! Whoever is behind reads the journal instead; a subscriber that cannot keep up falls back to that too, so
//! memory is bounded by the channel and nothing is lost.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prognet_storage::{Home, HomeKind, Lsn, Name, Offset, journal::ReadError, journal::Stored};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::{Timestamp, Unavailable, readers::recorded, router::Doors, runtime::Runtime};

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
    pub position: u64,
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
    /// Events between these positions are lost to this subscriber: read the state again.
    Gap {
        /// The last position it got.
        from: u64,
        /// The first it gets again.
        to: u64,
    },
}

/// The service whose log is a home's topic.
fn service_of(home: Home) -> Name {
    Name::new(match home.kind {
        HomeKind::Tenant => "tenancy",
        HomeKind::Account | HomeKind::Platform => "users",
    })
}

type Channels = HashMap<Topic, broadcast::Sender<Arc<Published>>>;

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

    fn subscribe(&self, topic: Topic) -> broadcast::Receiver<Arc<Published>> {
        self.lock().entry(topic).or_insert_with(|| broadcast::Sender::new(BEHIND_MAX)).subscribe()
    }

    /// Walks the durable tail and shares what is public, from now on.
    pub(crate) async fn run(self: Arc<Self>, doors: std::sync::Weak<Doors>) {
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
            for stored in &page {
                self.share(stored, &doors);
            }
        }
    }

    fn share(&self, stored: &Stored, doors: &Doors) {
        let mut channels = self.lock();
        if channels.is_empty() {
            return;
        }
        for topic in [Topic::System, Topic::Home(stored.record.entity.home)] {
            let Some(channel) = channels.get(&topic) else {
                continue;
            };
            if channel.receiver_count() == 0 {
                channels.remove(&topic);
                continue;
            }
            if let Some(published) = published(stored, topic, doors) {
                // Nobody listening any more is fine: the next event removes the channel.
                drop(channel.send(Arc::new(published)));
            }
        }
    }
}

/// The event as its topic shows it, if it is public and of this topic.
fn published(stored: &Stored, topic: Topic, doors: &Doors) -> Option<Published> {
    let position = match topic {
        Topic::System => stored.lsn.0,
        Topic::Home(home)
            if home == stored.record.entity.home && stored.shard.service == service_of(home) =>
        {
            stored.offset.0
        }
        Topic::Home(_) => return None,
    };
    let host = doors.services.get(&stored.shard.service)?.kinds.get(&stored.record.entity.kind)?;
    let event = recorded(doors.runtime(), stored).ok().flatten()?;
    let data = host.publish(&event)?;
    Some(Published {
        position,
        kind: format!("{}.{}", event.kind, event.name),
        home: event.home,
        id: event.id,
        at: event.at,
        by: event.by,
        trace: event.trace,
        data,
    })
}

/// Public events of a topic after a position, and where to read on.
pub(crate) struct History {
    pub(crate) events: Vec<Published>,
    pub(crate) read_to: u64,
    pub(crate) is_at_end: bool,
}

/// Reads one page of the journal.
pub(crate) async fn history(doors: &Doors, topic: Topic, after: u64) -> Result<History, Unavailable> {
    let runtime: &Runtime = doors.runtime();
    let page = match topic {
        Topic::System => runtime.journal.walk(Lsn(after), runtime.page).await,
        Topic::Home(home) => {
            runtime.journal.read_home(service_of(home), home, Offset(after), runtime.page).await
        }
    };
    let page = page.map_err(|error: ReadError| {
        tracing::error!(error = &error as &dyn std::error::Error, "failed to read a topic's history");
        Unavailable::NotWritten
    })?;
    let read_to = page.last().map_or(after, |stored| match topic {
        Topic::System => stored.lsn.0,
        Topic::Home(_) => stored.offset.0,
    });
    let events = page.iter().filter_map(|stored| published(stored, topic, doors)).collect();
    Ok(History { events, read_to, is_at_end: page.is_empty() })
}

/// A subscriber's place in a topic.
pub struct Subscription {
    doors: Arc<Doors>,
    hub: Arc<Hub>,
    topic: Topic,
    live: broadcast::Receiver<Arc<Published>>,
    /// The last position seen; none if it began with what comes next and nothing came yet.
    position: Option<u64>,
    catching_up: bool,
    ready: VecDeque<Published>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subscription")
            .field("topic", &self.topic)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(doors: Arc<Doors>, hub: Arc<Hub>, topic: Topic, after: Option<u64>) -> Self {
        // First listen, then read: what is written in between comes twice, and is dropped once.
        let live = hub.subscribe(topic);
        Self {
            doors,
            hub,
            topic,
            live,
            position: after,
            catching_up: after.is_some(),
            ready: VecDeque::new(),
        }
    }

    /// The next frame; `None` once the node stops.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.position = Some(event.position);
                return Some(Frame::Event(Arc::new(event)));
            }
            if self.catching_up {
                self.catch_up().await;
                continue;
            }
            match self.live.recv().await {
                Ok(event) if self.position.is_some_and(|seen| event.position <= seen) => {}
                Ok(event) => {
                    self.position = Some(event.position);
                    return Some(Frame::Event(event));
                }
                Err(broadcast::error::RecvError::Lagged(_)) if self.position.is_some() => {
                    self.live = self.hub.subscribe(self.topic);
                    self.catching_up = true;
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    return Some(Frame::Gap { from: 0, to: missed });
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    async fn catch_up(&mut self) {
        let after = self.position.unwrap_or(0);
        match history(&self.doors, self.topic, after).await {
            Ok(page) => {
                self.position = Some(page.read_to);
                self.catching_up = !page.is_at_end;
                self.ready = page.events.into();
            }
            Err(_) => {
                self.doors.runtime().clock.sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}
