//! Links over `ractor_cluster`: one stream a peer, proven before it is handed over, watched for as long as it lives.

mod credit;
mod knocking;
mod meeting;
mod sessions;
mod stream;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use ractor::{Actor, ActorRef};
use ractor_cluster::{IncomingEncryptionMode, NodeServer, NodeServerMessage, node::NodeConnectionMode};
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc, task::JoinHandle, time::sleep};

pub use self::knocking::Knock;
use self::{credit::Credit, sessions::Sessions, stream::Cut};
use super::{
    CONTROL, FRAME_MAX, FrameHandler, Link, LinkError, LinkEvent, PeerView,
    envelope::{Envelope, Word},
    gateway::{self, LANES, Letter},
    hello::Hello,
    tls::{self, Tls, TlsFiles},
};
use crate::{
    BootTime,
    clocks::boot_time,
    tables::{Incarnation, NodeId},
};

/// Between two pings.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A link over which no ping is answered for this long is cut.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Between two looks at all links.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Events that wait to be looked at.
const EVENTS: usize = 1_024;
/// Frames taken before the sender is told of them out of turn.
const TAKEN_EVERY: u64 = 32;

/// How a node takes part.
#[derive(Clone)]
pub struct LinkSettings {
    /// Where it listens; none takes no peers, and only dials.
    pub listen: Option<SocketAddr>,
    /// What proves that two nodes belong together.
    pub secret: Vec<u8>,
    /// What proves who is who, and keeps everybody else from listening in.
    pub tls: Option<TlsFiles>,
}

impl fmt::Debug for LinkSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LinkSettings")
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Why there can be no links. The text names the setting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something else listens there.
    #[error(
        "failed to listen for other nodes at {address}: change `cluster.listen`, or stop what listens there"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever listens in would hear everything.
    #[error(
        "`cluster.listen` {address} is reached from elsewhere: give `cluster.ca_file`, `cluster.certificate_file` and \
         `cluster.key_file`"
    )]
    Unprotected {
        /// Where.
        address: SocketAddr,
    },
    /// Anybody could join.
    #[error("nodes that are linked need `cluster.secret`, the same for all of them")]
    NoSecret,
    /// A file cannot be used.
    #[error("failed to use the file of `{key}`")]
    Tls {
        /// The setting.
        key: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// See the module.
#[derive(Clone)]
pub struct RactorLink(Arc<Inner>);

pub(super) struct Inner {
    hello: Hello,
    secret: hmac::Key,
    tls: Option<Tls>,
    address: Option<SocketAddr>,
    events: mpsc::Sender<LinkEvent>,
    handler: OnceLock<Weak<dyn FrameHandler>>,
    handle: Handle,
    sessions: Sessions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    me: Option<Incarnation>,
    /// The end of `ractor_cluster` for this incarnation, once it stands.
    server: Option<ActorRef<NodeServerMessage>>,
    peers: HashMap<NodeId, Peer>,
}

/// A node that links are kept to.
struct Peer {
    incarnation: Incarnation,
    dialling: JoinHandle<()>,
    link: Option<Linked>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.dialling.abort();
        if let Some(link) = &self.link {
            link.cut.cut();
        }
    }
}

/// A link that stands.
struct Linked {
    /// Whether this node dialled.
    is_dialled: bool,
    cut: Cut,
    /// Empty until they are there.
    mirrors: Arc<[ActorRef<Letter>]>,
    is_up: bool,
    credit: Credit,
    /// Frames taken from the peer.
    taken: u64,
    /// When it last answered a ping: what it says by itself does not show that it hears.
    answered_at: BootTime,
    pinged_at: BootTime,
    round_trip: Option<Duration>,
}

impl fmt::Debug for RactorLink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RactorLink").field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl RactorLink {
    /// Listens, and links nobody before [`Link::became`]. Runs on the runtime it is called on.
    ///
    /// # Errors
    /// Which setting is to be changed.
    pub async fn start(
        settings: &LinkSettings,
        hello: Hello,
    ) -> Result<(Self, mpsc::Receiver<LinkEvent>), StartError> {
        if settings.secret.is_empty() {
            return Err(StartError::NoSecret);
        }
        let tls = settings.tls.as_ref().map(Tls::read).transpose();
        let tls = tls.map_err(|(key, source)| StartError::Tls { key, source })?;
        let listener = match settings.listen {
            Some(address) if tls.is_none() && !address.ip().is_loopback() => {
                return Err(StartError::Unprotected { address });
            }
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| StartError::Listen { address, source })?)
            }
            None => None,
        };
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let (events, happened) = mpsc::channel(EVENTS);
        let inner = Arc::new(Inner {
            hello,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &settings.secret),
            tls,
            address,
            events,
            handler: OnceLock::new(),
            handle: Handle::current(),
            sessions: Sessions::default(),
            state: Mutex::default(),
        });
        if let Some(listener) = listener {
            drop(inner.handle.spawn(Arc::clone(&inner).listen(listener)));
        }
        drop(inner.handle.spawn(Arc::clone(&inner).look_after()));
        Ok((Self(inner), happened))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }
}

impl Link for RactorLink {
    fn send(&self, to: NodeId, lane: u64, frame: Bytes) -> Result<(), LinkError> {
        if frame.len() > FRAME_MAX {
            return Err(LinkError::Large);
        }
        let mut state = self.0.lock();
        let me = state.me.ok_or(LinkError::Down)?;
        let link = state.peers.get_mut(&to).and_then(|peer| peer.link.as_mut());
        let link = link.filter(|link| link.is_up).ok_or(LinkError::Down)?;
        if !link.credit.spend(frame.len()) {
            return Err(LinkError::Busy);
        }
        let (way, taken) = (link.way(lane)?, link.taken);
        // Others need not wait for the bytes to be written.
        drop(state);
        way.post(&Envelope { word: Word::Frame, from: me, taken, stamp: 0, frame })
    }

    fn handle_by(&self, handler: Weak<dyn FrameHandler>) {
        // The first one stays.
        let _second = self.0.handler.set(handler);
    }

    fn became(&self, me: Incarnation) {
        let mut state = self.0.lock();
        if state.me == Some(me) {
            return;
        }
        *state = State { me: Some(me), ..State::default() };
        drop(state);
        drop(self.0.handle.spawn(Arc::clone(&self.0).stand(me)));
    }

    fn meet(&self, peers: Vec<(Incarnation, String)>) {
        let mut state = self.0.lock();
        if state.server.is_none() {
            return;
        }
        let me = state.me;
        let wanted: HashMap<_, _> = peers
            .into_iter()
            .filter(|(peer, _)| Some(peer.node) != me.map(|me| me.node))
            .map(|(peer, address)| (peer.node, (peer, address)))
            .collect();
        let is_wanted = |node: &NodeId, peer: &Peer| {
            wanted.get(node).is_some_and(|(wanted, _)| *wanted == peer.incarnation)
        };
        let unwanted: Vec<_> =
            state.peers.iter().filter(|(node, peer)| !is_wanted(node, peer)).map(|(node, _)| *node).collect();
        for node in unwanted {
            self.0.hang_up(&mut state, node);
            state.peers.remove(&node);
        }
        for (node, (incarnation, address)) in wanted {
            state.peers.entry(node).or_insert_with(|| {
                let dialling = Arc::clone(&self.0).dial(incarnation, address);
                Peer { incarnation, dialling: self.0.handle.spawn(dialling), link: None }
            });
        }
    }

    fn peers(&self) -> Vec<PeerView> {
        let state = self.0.lock();
        let linked = state.peers.values().filter_map(|peer| {
            let link = peer.link.as_ref().filter(|link| link.is_up)?;
            Some(PeerView { incarnation: peer.incarnation, round_trip: link.round_trip })
        });
        linked.collect()
    }

    fn is_linked(&self, node: NodeId) -> bool {
        let state = self.0.lock();
        state.peers.get(&node).and_then(|peer| peer.link.as_ref()).is_some_and(|link| link.is_up)
    }
}

impl Linked {
    fn new(is_dialled: bool, cut: Cut) -> Self {
        let now = boot_time();
        Self {
            is_dialled,
            cut,
            mirrors: Arc::new([]),
            is_up: false,
            credit: Credit::default(),
            taken: 0,
            answered_at: now,
            pinged_at: now,
            round_trip: None,
        }
    }

    /// The way of a lane: the first gateway is for words about the link itself and the cluster.
    fn way(&self, lane: u64) -> Result<Way, LinkError> {
        let others = LANES as u64 - 1;
        let gateway = if lane == CONTROL { 0 } else { usize::try_from(1 + lane % others).unwrap_or(0) };
        let mirror = self.mirrors.get(gateway).ok_or(LinkError::Down)?;
        Ok(Way { mirror: mirror.clone(), cut: self.cut.clone() })
    }
}

/// To a gateway of a peer.
struct Way {
    mirror: ActorRef<Letter>,
    cut: Cut,
}

impl Way {
    /// Hands an envelope to the gateway's mirror.
    fn post(&self, envelope: &Envelope) -> Result<(), LinkError> {
        self.mirror.cast(Letter::Envelope(envelope.to_bytes())).map_err(|_gone| {
            self.cut.cut();
            LinkError::Down
        })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: LinkEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::warn!(%error, "an event of a link is lost");
        }
    }

    /// Makes this incarnation's end of `ractor_cluster`, which listens to nobody by itself.
    async fn stand(self: Arc<Self>, me: Incarnation) {
        let cookie = hmac::sign(&self.secret, b"ractor_cluster");
        let cookie = cookie.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let door = tls::closed_door().map(IncomingEncryptionMode::Tls);
        let isolated = Some(NodeConnectionMode::Isolated);
        let name = format!("{}#{}", me.node, me.number);
        let server = NodeServer::new(0, cookie, name, "prognet".to_owned(), door, isolated)
            .with_listen_addr(std::net::Ipv4Addr::LOCALHOST.into())
            .with_max_inbound_frame_size(2 * FRAME_MAX as u64);
        let stood = async {
            gateway::start(me, &self).await?;
            Ok::<_, ractor::SpawnErr>(Actor::spawn(None, server, ()).await?.0)
        };
        match stood.await {
            Ok(server) => {
                self.sessions.of(&server);
                let mut state = self.lock();
                if state.me == Some(me) {
                    state.server = Some(server);
                } else {
                    server.stop(None);
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "failed to link to other nodes");
            }
        }
    }

    /// Looks after silence and pings, for ever.
    async fn look_after(self: Arc<Self>) {
        loop {
            sleep(LOOK_EVERY).await;
            let mut state = self.lock();
            let Some(me) = state.me else { continue };
            let now = boot_time();
            let mut silent = Vec::new();
            for (node, peer) in &mut state.peers {
                let Some(link) = &mut peer.link else { continue };
                if now.since(link.answered_at) > SILENCE_MAX || link.cut.is_over() {
                    silent.push(*node);
                } else if !link.is_up || now.since(link.pinged_at) >= PING_EVERY {
                    ping(link, me);
                }
            }
            for node in silent {
                self.hang_up(&mut state, node);
            }
        }
    }

    /// Cuts a link, if there is one.
    fn hang_up(&self, state: &mut State, node: NodeId) {
        let Some(link) = state.peers.get_mut(&node).and_then(|peer| peer.link.take()) else { return };
        link.cut.cut();
        if link.is_up {
            self.tell(LinkEvent::Down(node));
        }
    }

    /// Takes in what came to a gateway.
    pub(super) fn take_in(&self, bytes: Vec<u8>) {
        let Some(envelope) = Envelope::from_bytes(bytes) else {
            tracing::warn!("an envelope of another node says nothing that this build knows");
            return;
        };
        let from = envelope.from;
        if let Some(frame) = self.open(envelope)
            && let Some(handler) = self.handler.get().and_then(Weak::upgrade)
        {
            handler.handle(from, frame);
        }
    }

    /// It works both ways.
    fn is_up(&self, link: &mut Linked, peer: Incarnation) {
        if !link.is_up && !link.mirrors.is_empty() {
            link.is_up = true;
            self.tell(LinkEvent::Up(peer));
        }
    }

    /// Notes what an envelope says of the link; the frame it carries.
    fn open(&self, envelope: Envelope) -> Option<Bytes> {
        let mut state = self.lock();
        let me = state.me?;
        let peer = state.peers.get_mut(&envelope.from.node)?;
        let from = peer.incarnation;
        let link = peer.link.as_mut().filter(|_| from == envelope.from)?;
        let now = boot_time();
        link.credit.taken(envelope.taken);
        match envelope.word {
            Word::Frame => {
                link.taken += 1;
                // Whoever sends frames has heard this node answer.
                self.is_up(link, from);
                if link.taken.is_multiple_of(TAKEN_EVERY) {
                    say(link, me, Word::Taken, 0);
                }
                return Some(envelope.frame);
            }
            Word::Ping => say(link, me, Word::Pong, envelope.stamp),
            Word::Pong => {
                link.answered_at = now;
                link.round_trip = Some(now.since(BootTime::from_millis(envelope.stamp)));
                self.is_up(link, from);
            }
            Word::Taken => {}
        }
        None
    }
}

fn ping(link: &mut Linked, me: Incarnation) {
    link.pinged_at = boot_time();
    say(link, me, Word::Ping, link.pinged_at.as_millis());
}

/// Says a word about the link itself, which needs no credit. That it does not leave shows as silence.
fn say(link: &Linked, me: Incarnation, word: Word, stamp: u64) {
    let envelope = Envelope { word, from: me, taken: link.taken, stamp, frame: Bytes::new() };
    if link.way(CONTROL).and_then(|way| way.post(&envelope)).is_err() {
        tracing::trace!(?word, "a word does not leave");
    }
}

#[cfg(test)]
mod tests;
