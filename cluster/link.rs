//! What carries frames between the nodes of a cluster.
//!
//! ```text
//! link.rs (the contract) ◀── ractor.rs: streams that hello.rs has proven, over tls.rs, handed to ractor_cluster
//!                        ◀── alone.rs: a node that takes no peers
//!                        ◀── doubled.rs: another one, twice, for the tests
//! ```
//! `ractor_cluster` moves the bytes and nothing else is left to it: whom to trust, how long silence lasts, how much may
//! be on its way, and when to dial again is decided here.

mod alone;
#[cfg(debug_assertions)]
mod doubled;
mod envelope;
mod gateway;
mod hello;
mod ractor;
mod tls;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;

use crate::tables::{Incarnation, NodeId};

pub use alone::Alone;
#[cfg(debug_assertions)]
pub use doubled::Doubled;
pub use hello::{Hello, HelloRefusal};
pub use ractor::{Knock, LinkSettings, RactorLink, StartError};
pub use tls::TlsFiles;

/// The largest frame.
pub const FRAME_MAX: usize = 256 * 1024;

/// The lane of what is about the cluster itself: nothing large goes there.
pub const CONTROL: u64 = 0;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no link to the node.
    #[error("there is no link")]
    Down,
    /// The node reads more slowly than this one sends.
    #[error("too much is on its way already")]
    Busy,
    /// The frame is larger than [`FRAME_MAX`].
    #[error("the frame is too large")]
    Large,
}

/// A peer that is linked.
#[derive(Debug, Clone)]
pub struct PeerView {
    /// Who.
    pub incarnation: Incarnation,
    /// How long a word takes there and back, once it is known.
    pub round_trip: Option<Duration>,
}

/// What happened to a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// It works both ways.
    Up(Incarnation),
    /// It does no longer; what was on its way may be lost.
    Down(NodeId),
    /// A node's address refuses connections: nothing listens there any more.
    Refused {
        /// Whose address.
        of: Incarnation,
        /// Where.
        address: SocketAddr,
    },
    /// A node and this one will not link until a setting of one of the two is changed.
    TurnedAway {
        /// Which node.
        of: Incarnation,
        /// Why, with the setting to look at.
        why: String,
    },
    /// There is no link to a node yet; told once for each reason.
    Failed {
        /// Which node.
        of: Incarnation,
        /// Where it was dialled.
        address: String,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Takes in what other nodes send, where it arrives: whatever takes longer goes elsewhere.
pub trait FrameHandler: Send + Sync + 'static {
    /// A frame came. Those of one lane of a node come one after the other.
    fn handle(self: Arc<Self>, from: Incarnation, frame: Bytes);
}

/// See the module. Frames of one lane to one node keep their order; they may be lost when the link breaks, and the link
/// itself doubles none.
pub trait Link: Send + Sync + 'static {
    /// Hands a frame over, or says at once that it cannot go.
    ///
    /// # Errors
    /// See [`LinkError`].
    fn send(&self, to: NodeId, lane: u64, frame: Bytes) -> Result<(), LinkError>;

    /// Who takes frames in, for as long as it lives: said once, before [`Link::became`].
    fn handle_by(&self, handler: Weak<dyn FrameHandler>);

    /// Who this node is from now on. Before that nobody is linked.
    fn became(&self, me: Incarnation);

    /// Whom to keep links to, and where they listen; everybody else is hung up.
    fn meet(&self, peers: Vec<(Incarnation, String)>);

    /// Who is linked.
    fn peers(&self) -> Vec<PeerView>;

    /// Whether a node is.
    fn is_linked(&self, node: NodeId) -> bool {
        self.peers().iter().any(|peer| peer.incarnation.node == node)
    }
}
