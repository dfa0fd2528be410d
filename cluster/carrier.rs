//! Questions and answers between nodes, over the link: by another node if there is no link of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prognet_supervisor::Lsn;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    link::{CONTROL, Link, LinkError},
    numbers::{Numbers, Unanswered},
    step::Message,
    tables::{Incarnation, NodeId},
};

/// What a frame of the link says. MessagePack with field names: it may gain fields and variants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// A question; it is for this run of the node alone.
    Ask {
        id: u64,
        to: Incarnation,
        #[serde(with = "serde_bytes")]
        parcel: Vec<u8>,
    },
    /// An answer; none if nobody there looked at the question.
    Answer { id: u64, parcel: Option<serde_bytes::ByteBuf> },
    /// A frame for a third node, or from one.
    Relay {
        from: Incarnation,
        to: NodeId,
        #[serde(with = "serde_bytes")]
        frame: Vec<u8>,
    },
    /// Between the members.
    Tell(Message),
    /// How far the sender knows the log.
    Durable(Lsn),
}

impl Frame {
    pub(crate) fn encode(&self) -> Option<Bytes> {
        rmp_serde::to_vec_named(self).ok().map(Bytes::from)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

/// The lane of what is between two others.
const RELAYED: u64 = CONTROL + 1;

/// Questions that wait for their answers.
pub(crate) struct Carrier {
    link: Arc<dyn Link>,
    numbers: Arc<Numbers>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    /// Whose link carries it.
    by: NodeId,
    answer: oneshot::Sender<Result<Vec<u8>, Unanswered>>,
}

/// A question that goes when nobody waits for its answer any more.
struct Asked<'a>(&'a Carrier, u64);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Carrier {
    pub(crate) fn new(link: Arc<dyn Link>, numbers: Arc<Numbers>) -> Self {
        Self { link, numbers, next: AtomicU64::new(1), waiting: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a node, and waits for its answer.
    pub(crate) async fn ask(
        &self,
        me: Incarnation,
        to: Incarnation,
        lane: u64,
        parcel: Vec<u8>,
        wait: Duration,
    ) -> Result<Vec<u8>, Unanswered> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = Frame::Ask { id, to, parcel }.encode().ok_or(Unanswered::Unlinked)?;
        let (answer, answered) = oneshot::channel();
        let _asked = Asked(self, id);
        let sent = self.way(me, to.node, frame).and_then(|(by, frame)| {
            self.lock().insert(id, Waiting { by, answer });
            self.hand_over(by, lane, frame)
        });
        sent.map_err(|error| match error {
            LinkError::Down => Unanswered::Unlinked,
            LinkError::Busy => Unanswered::Busy,
            LinkError::Large => Unanswered::Large,
        })?;
        match tokio::time::timeout(wait, answered).await {
            Ok(Ok(answer)) => answer,
            // Nobody waits for it any more, or not long enough.
            Ok(Err(_)) | Err(_) => Err(Unanswered::Late),
        }
    }

    /// Whom to hand a frame for a node to: itself, or another one that passes it on.
    fn way(&self, me: Incarnation, to: NodeId, frame: Bytes) -> Result<(NodeId, Bytes), LinkError> {
        if self.link.is_linked(to) {
            return Ok((to, frame));
        }
        let by = self.link.peers().first().map(|peer| peer.incarnation.node).ok_or(LinkError::Down)?;
        let relay = Frame::Relay { from: me, to, frame: frame.to_vec() };
        Ok((by, relay.encode().ok_or(LinkError::Down)?))
    }

    fn hand_over(&self, to: NodeId, lane: u64, frame: Bytes) -> Result<(), LinkError> {
        let bytes = frame.len();
        self.link.send(to, lane, frame)?;
        self.numbers.sent_bytes.add(bytes);
        Ok(())
    }

    /// Answers a node that asked.
    pub(crate) fn answer(&self, me: Incarnation, to: NodeId, id: u64, parcel: Option<Vec<u8>>) {
        let parcel = parcel.map(serde_bytes::ByteBuf::from);
        let Some(frame) = (Frame::Answer { id, parcel }).encode() else { return };
        let sent = self.way(me, to, frame).and_then(|(by, frame)| self.hand_over(by, id, frame));
        if let Err(error) = sent {
            // Whoever asked learns that nobody knows, and asks again.
            tracing::debug!(node = %to, %error, "an answer does not reach {to}");
        }
    }

    /// Passes a relayed frame on; never a second time.
    pub(crate) fn relay(&self, from: Incarnation, to: NodeId, frame: Vec<u8>) {
        let Some(relay) = (Frame::Relay { from, to, frame }).encode() else { return };
        if let Err(error) = self.hand_over(to, RELAYED, relay) {
            tracing::debug!(node = %to, %error, "a frame cannot be relayed to {to}");
        }
    }

    /// An answer has come.
    pub(crate) fn answered(&self, id: u64, parcel: Option<Vec<u8>>) {
        if let Some(waiting) = self.lock().remove(&id) {
            drop(waiting.answer.send(parcel.ok_or(Unanswered::Elsewhere)));
        }
    }

    /// The link to a node is down: what it carried will not be answered.
    pub(crate) fn lost(&self, node: NodeId) {
        let mut waiting = self.lock();
        let lost: Vec<_> = waiting.iter().filter(|(_, one)| one.by == node).map(|(id, _)| *id).collect();
        for id in lost {
            if let Some(one) = waiting.remove(&id) {
                drop(one.answer.send(Err(Unanswered::LinkLost)));
            }
        }
    }

    /// Says something to a node.
    pub(crate) fn tell(&self, to: NodeId, frame: &Frame) {
        let Some(frame) = frame.encode() else { return };
        // It only hastens what the tables tell as well.
        if let Err(error) = self.hand_over(to, CONTROL, frame) {
            tracing::trace!(node = %to, %error, "a word does not reach {to}");
        }
    }

    /// Says something to everybody linked.
    pub(crate) fn announce(&self, frame: &Frame) {
        for peer in self.link.peers() {
            self.tell(peer.incarnation.node, frame);
        }
    }
}
