//! Which session of `ractor_cluster` belongs to which stream.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ractor::ActorRef;
use ractor_cluster::{NodeEventSubscription, NodeServerMessage, node::NodeServerSessionInformation};

/// Sessions by the labels of their streams.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Known>);

#[derive(Default)]
struct Known {
    labels: AtomicU64,
    numbers: Mutex<HashMap<String, u64>>,
}

impl Sessions {
    /// Learns of the sessions of a server from now on.
    pub(super) fn of(&self, server: &ActorRef<NodeServerMessage>) {
        let subscription = Box::new(self.clone());
        let subscribe = NodeServerMessage::SubscribeToEvents { id: "prognet".to_owned(), subscription };
        // A server that is gone has no sessions.
        drop(server.cast(subscribe));
    }

    /// A label that no stream has yet.
    pub(super) fn label(&self) -> String {
        format!("stream {}", self.0.labels.fetch_add(1, Ordering::Relaxed))
    }

    /// The session of a stream, as long as there is one.
    pub(super) fn number(&self, label: &str) -> Option<u64> {
        self.lock().get(label).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeEventSubscription for Sessions {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        self.lock().insert(session.peer_addr, session.node_id);
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        self.lock().remove(&session.peer_addr);
    }

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}
}
