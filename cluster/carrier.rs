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
    /// A question to a third node could not be passed on.
    Undelivered { id: u64 },
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
/// The answer of a third node is waited for no longer than this: should its link to whoever passes it on break, nobody
/// says so here.
const RELAYED_WAIT: Duration = Duration::from_secs(2);

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
            self.hand_over(by, lane, frame)?;
            Ok(by)
        });
        let by = sent.map_err(|error| match error {
            LinkError::Down => Unanswered::Unlinked,
            LinkError::Busy => Unanswered::Busy,
            LinkError::Large => Unanswered::Large,
        })?;
        let wait = if by == to.node { wait } else { wait.min(RELAYED_WAIT) };
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

    /// Passes a relayed frame on; never a second time. Whoever asks is told if that is not possible.
    pub(crate) fn relay(&self, from: Incarnation, to: NodeId, frame: Vec<u8>) {
        let relay = Frame::Relay { from, to, frame };
        let Some(bytes) = relay.encode() else { return };
        let Err(error) = self.hand_over(to, RELAYED, bytes) else { return };
        tracing::debug!(node = %to, %error, "a frame cannot be relayed to {to}");
        if let Frame::Relay { frame, .. } = relay
            && let Some(Frame::Ask { id, .. }) = Frame::decode(&frame)
        {
            self.tell(from.node, &Frame::Undelivered { id });
        }
    }

    /// An answer has come, or the word that there will be none.
    pub(crate) fn answered(&self, id: u64, answer: Result<Vec<u8>, Unanswered>) {
        if let Some(waiting) = self.lock().remove(&id) {
            drop(waiting.answer.send(answer));
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

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use prognet_supervisor::Name;

    use super::*;
    use crate::link::{FrameHandler, PeerView};

    /// Wires to whoever is linked; what goes over them lies there.
    #[derive(Default)]
    struct Wires {
        peers: Vec<Incarnation>,
        sent: Mutex<Vec<(NodeId, Bytes)>>,
    }

    impl Link for Wires {
        fn send(&self, to: NodeId, _lane: u64, frame: Bytes) -> Result<(), LinkError> {
            if !self.is_linked(to) {
                return Err(LinkError::Down);
            }
            self.sent.lock().unwrap().push((to, frame));
            Ok(())
        }

        fn handle_by(&self, _handler: Weak<dyn FrameHandler>) {}

        fn became(&self, _me: Incarnation) {}

        fn meet(&self, _peers: Vec<(Incarnation, String)>) {}

        fn peers(&self) -> Vec<PeerView> {
            self.peers.iter().map(|peer| PeerView { incarnation: *peer, round_trip: None }).collect()
        }
    }

    const A: Incarnation = Incarnation { node: NodeId(Name::new("a")), number: 1 };
    const B: Incarnation = Incarnation { node: NodeId(Name::new("b")), number: 2 };
    const C: Incarnation = Incarnation { node: NodeId(Name::new("c")), number: 3 };

    fn linked(peers: Vec<Incarnation>) -> (Carrier, Arc<Wires>) {
        let wires = Arc::new(Wires { peers, sent: Mutex::default() });
        (Carrier::new(Arc::clone(&wires) as Arc<dyn Link>, Arc::default()), wires)
    }

    fn last(wires: &Wires) -> (NodeId, Frame) {
        let (to, frame) = wires.sent.lock().unwrap().pop().unwrap();
        (to, Frame::decode(&frame).unwrap())
    }

    #[tokio::test]
    async fn who_asks_is_told_that_a_third_node_is_not_reached_and_waits_for_it_only_so_long() {
        let (asking, wires_of_a) = linked(vec![C]);
        let (passing_on, wires_of_c) = linked(vec![A]);
        let ask = asking.ask(A, B, 7, b"why".to_vec(), Duration::from_secs(60));
        let answers = async {
            tokio::task::yield_now().await;
            let (by, Frame::Relay { from, to, frame }) = last(&wires_of_a) else { panic!("not relayed") };
            assert_eq!((by, from, to), (C.node, A, B.node));
            passing_on.relay(from, to, frame);
            let (to, Frame::Undelivered { id }) = last(&wires_of_c) else { panic!("not told") };
            assert_eq!(to, A.node);
            asking.answered(id, Err(Unanswered::LinkLost));
        };
        let (asked, ()) = tokio::join!(ask, answers);
        assert_eq!(asked, Err(Unanswered::LinkLost));

        let unanswered = asking.ask(A, B, 7, b"why".to_vec(), Duration::from_secs(60));
        assert_eq!(tokio::time::timeout(3 * RELAYED_WAIT, unanswered).await, Ok(Err(Unanswered::Late)));
    }
}
