//! How two nodes come to be linked: one listens, the other dials, and a stream that is proven is handed over.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use ractor_cluster::NodeServerMessage;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    Inner, LOOK_EVERY, Linked, ping,
    stream::{self, Cut},
};
use crate::{
    clocks::boot_time,
    link::{
        LinkEvent, gateway,
        hello::{End, Failure, HelloRefusal},
        tls,
    },
    tables::{Incarnation, NodeId},
};

/// A node that is there answers within this.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Strangers listened to at a time.
const STRANGERS_MAX: usize = 64;
/// Between two looks whether the mirrors of a peer's gateways are there.
const MIRRORED_EVERY: Duration = Duration::from_millis(5);
/// The shortest and the longest pause before a peer is dialled again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The node whose name comes first dials a little later: two who dial each other at once make one link too many.
const SECOND: Duration = Duration::from_millis(150);

/// A link that lasts this long was one.
const STEADY: Duration = Duration::from_secs(1);

impl Inner {
    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "failed to take a connection of another node");
                    sleep(PAUSES.0).await;
                    continue;
                }
            };
            let inner = Arc::clone(&self);
            drop(self.handle.spawn(async move {
                let met = timeout(HELLO_TIMEOUT, Arc::clone(&inner).take(stream)).await;
                drop(place);
                match met {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => say_why(address, &failure),
                    Err(_elapsed) => {
                        tracing::warn!(%address, "whoever connected from {address} says nothing");
                    }
                }
            }));
        }
    }

    /// Listens to a stranger.
    async fn take(self: Arc<Self>, stream: TcpStream) -> Result<(), Failure> {
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => {
                let stream = tls.accept(stream).await?;
                self.introduce(stream, tls::proves).await
            }
            None => self.introduce(stream, |_, _| true).await,
        }
    }

    async fn introduce<S: stream::Stream>(
        self: &Arc<Self>,
        mut stream: S,
        is_proven: impl FnOnce(&S, NodeId) -> bool,
    ) -> Result<(), Failure> {
        let me = self.lock().me;
        let Some(me) = me else { return Err(self.nobody().turn_away(&mut stream).await) };
        let end = End { hello: &self.hello, me, secret: &self.secret };
        let peer = end.listen(&mut stream, is_proven).await?;
        self.attach(peer, stream, false)
    }

    /// Dials a peer for as long as it is wanted.
    pub(super) async fn dial(self: Arc<Self>, peer: Incarnation, address: String) {
        if address.is_empty() {
            return;
        }
        let (mut pause, mut said) = (PAUSES.0, None);
        if peer.node > self.hello.node {
            sleep(SECOND).await;
        }
        loop {
            if self.is_linked(peer) {
                let since = boot_time();
                while self.is_linked(peer) {
                    sleep(LOOK_EVERY).await;
                }
                // One that breaks at once was not meant at the other end: its tables may be older.
                pause = if boot_time().since(since) > STEADY { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
                sleep(shortened(pause)).await;
            }
            let met = timeout(HELLO_TIMEOUT, self.call(peer, &address)).await;
            match met {
                Ok(Ok(())) => continue,
                Ok(Err(Failure::Broken(error))) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    if let Ok(address) = address.parse() {
                        self.tell(LinkEvent::Refused { of: peer, address });
                    }
                }
                Ok(Err(failure)) => self.turned_away(peer, &address, failure, &mut said),
                Err(_elapsed) => tracing::debug!(node = %peer.node, address, "{peer} does not answer"),
            }
            sleep(shortened(pause)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Says why there is no link, once for each reason.
    fn turned_away(&self, peer: Incarnation, address: &str, failure: Failure, said: &mut Option<String>) {
        let why = failure.to_string();
        if failure.is_lasting() {
            self.tell(LinkEvent::TurnedAway { of: peer, why: why.clone() });
        } else if let Failure::Refused { why: HelloRefusal::NotYet | HelloRefusal::Over, .. } = failure {
            tracing::debug!(node = %peer.node, address, "no link to {peer} yet: {failure}");
            return;
        }
        if said.as_ref() != Some(&why) {
            self.tell(LinkEvent::Failed { of: peer, address: address.to_owned(), error: failure.into() });
            *said = Some(why);
        }
    }

    async fn call(self: &Arc<Self>, peer: Incarnation, address: &str) -> Result<(), Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let is_loopback = stream.peer_addr()?.ip().is_loopback();
        match &self.tls {
            Some(tls) => {
                let stream = tls.connect(peer.node, stream).await?;
                self.greet(peer, stream).await
            }
            None if is_loopback => self.greet(peer, stream).await,
            None => Err(std::io::Error::other("without `cluster.ca_file` only loopback is dialled").into()),
        }
    }

    async fn greet<S: stream::Stream>(
        self: &Arc<Self>,
        peer: Incarnation,
        mut stream: S,
    ) -> Result<(), Failure> {
        let me = self.lock().me;
        let Some(me) = me else { return Err(HelloRefusal::NotYet.into()) };
        let end = End { hello: &self.hello, me, secret: &self.secret };
        let met = end.dial(&mut stream).await?;
        if met != peer {
            return Err(HelloRefusal::Over.into());
        }
        self.attach(peer, stream, true)
    }

    fn is_linked(&self, peer: Incarnation) -> bool {
        let state = self.lock();
        state.peers.get(&peer.node).is_some_and(|known| known.incarnation == peer && known.link.is_some())
    }

    /// Hands a proven stream over. Of two that were opened at once the one stays that the greater name has dialled.
    fn attach<S: stream::Stream>(
        self: &Arc<Self>,
        peer: Incarnation,
        stream: S,
        is_dialled: bool,
    ) -> Result<(), Failure> {
        let mut state = self.lock();
        let Some(server) = state.server.clone() else { return Err(HelloRefusal::NotYet.into()) };
        let Some(known) = state.peers.get_mut(&peer.node) else {
            // Its row has not been read yet.
            return Err(HelloRefusal::NotYet.into());
        };
        if known.incarnation != peer {
            let is_over = peer.number < known.incarnation.number;
            return Err(if is_over { HelloRefusal::Over } else { HelloRefusal::NotYet }.into());
        }
        let stays = if self.hello.node > peer.node { is_dialled } else { !is_dialled };
        if known.link.as_ref().is_some_and(|link| link.is_dialled == is_dialled || !stays) {
            return Ok(());
        }
        self.hang_up(&mut state, peer.node);
        let label = self.sessions.label();
        let (stream, cut) = stream::cuttable(stream, label.clone());
        let link = Linked::new(is_dialled, cut.clone());
        if let Some(known) = state.peers.get_mut(&peer.node) {
            known.link = Some(link);
        }
        drop(state);
        let opened = NodeServerMessage::ConnectionOpenedExternal { stream, is_server: !is_dialled };
        if server.cast(opened).is_err() {
            return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        }
        drop(self.handle.spawn(Arc::clone(self).find_mirrors(peer, label, cut)));
        Ok(())
    }

    /// Waits until the peer's gateways are mirrored here, and says hello through them.
    async fn find_mirrors(self: Arc<Self>, peer: Incarnation, label: String, cut: Cut) {
        let found = async {
            loop {
                let session = self.sessions.number(&label);
                if let Some(mirrors) = session.and_then(|session| gateway::mirrors(peer, session)) {
                    return mirrors;
                }
                sleep(MIRRORED_EVERY).await;
            }
        };
        let found = timeout(HELLO_TIMEOUT, found).await;
        let mut state = self.lock();
        let me = state.me;
        let link = state.peers.get_mut(&peer.node).and_then(|peer| peer.link.as_mut());
        let Some(link) = link.filter(|link| link.cut.is(&cut)) else { return };
        match (found, me) {
            (Ok(mirrors), Some(me)) => {
                link.mirrors = mirrors;
                ping(link, me);
            }
            _ => {
                tracing::warn!(node = %peer.node, "{peer} shows no gateways");
                self.hang_up(&mut state, peer.node);
            }
        }
    }
}

/// A pause, shortened by up to a half, so that nodes do not dial each other in step.
fn shortened(pause: Duration) -> Duration {
    let mut dice = [0; 1];
    if rand::fill(&mut dice).is_err() {
        return pause;
    }
    pause - pause * u32::from(dice[0]) / (2 * u32::from(u8::MAX))
}

/// Why a stranger was turned away, for whoever reads the log.
fn say_why(address: SocketAddr, failure: &Failure) {
    match failure {
        // It dials again, as it should.
        Failure::Refused { why: HelloRefusal::NotYet, .. } => {
            tracing::debug!(%address, "a node dials before both have joined");
        }
        Failure::Refused { why, is_theirs: false } => {
            tracing::warn!(%address, %why, "turned away who connected from {address}: {why}");
        }
        Failure::Refused { why, is_theirs: true } => {
            tracing::warn!(%address, %why, "the node at {address} turned this one away: {why}");
        }
        Failure::Untrusted(why) => {
            tracing::warn!(%address, %why, "turned away who connected from {address}: {why}");
        }
        Failure::Broken(error) => {
            tracing::debug!(%address, %error, "whoever connected from {address} went away");
        }
    }
}
