//! A link that sends every frame a second time, a little later: for the tests, in builds that nobody installs.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{FrameHandler, Link, LinkError, PeerView};
use crate::tables::{Incarnation, NodeId};

/// Second frames come up to this much later, behind others that were sent after them.
const LATER_MAX: u64 = 40;

/// See the module.
pub struct Doubled {
    link: Arc<dyn Link>,
    sent: AtomicU64,
    handle: Handle,
}

impl fmt::Debug for Doubled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Doubled").finish_non_exhaustive()
    }
}

impl Doubled {
    /// A link's double, which lives on the runtime that this is called on.
    #[must_use]
    pub fn of(link: Arc<dyn Link>) -> Self {
        Self { link, sent: AtomicU64::new(0), handle: Handle::current() }
    }
}

impl Link for Doubled {
    fn send(&self, to: NodeId, lane: u64, frame: Bytes) -> Result<(), LinkError> {
        self.link.send(to, lane, frame.clone())?;
        let link = Arc::clone(&self.link);
        let later = Duration::from_millis(self.sent.fetch_add(1, Ordering::Relaxed) % LATER_MAX);
        drop(self.handle.spawn(async move {
            tokio::time::sleep(later).await;
            // One of the two has left.
            let _busy = link.send(to, lane, frame);
        }));
        Ok(())
    }

    fn handle_by(&self, handler: Weak<dyn FrameHandler>) {
        self.link.handle_by(handler);
    }

    fn became(&self, me: Incarnation) {
        self.link.became(me);
    }

    fn meet(&self, peers: Vec<(Incarnation, String)>) {
        self.link.meet(peers);
    }

    fn peers(&self) -> Vec<PeerView> {
        self.link.peers()
    }

    fn is_linked(&self, node: NodeId) -> bool {
        self.link.is_linked(node)
    }
}
