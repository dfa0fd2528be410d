//! The messages of the live WebSocket, `/v1/live`: JSON text frames, one message each.

use serde::{Deserialize, Serialize};

use crate::{EventView, Problem};

/// From the client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum LiveRequest {
    /// Proves who is there: the first message, within 5 s; later again with a fresh token, before the old one ends.
    Auth {
        /// An access token.
        token: String,
    },
    /// Watches a topic: `system`, `tenant:ten_...` or `account:acc_...`.
    Subscribe {
        /// The topic.
        topic: String,
        /// Resumes behind this cursor; without one the stream begins with what comes next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Watches it no longer.
    Unsubscribe {
        /// The topic.
        topic: String,
    },
}

/// From the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveFrame {
    /// The token is good until then (RFC 3339).
    Authenticated {
        /// When the socket closes unless another token comes.
        until: String,
    },
    /// The topic is watched.
    Subscribed {
        /// The topic.
        topic: String,
        /// Where it begins: resumes there if nothing comes before a cut.
        cursor: String,
    },
    /// The topic is watched no longer.
    Unsubscribed {
        /// The topic.
        topic: String,
    },
    /// Something happened.
    Event {
        /// The topic it was watched by.
        topic: String,
        /// What happened; its cursor resumes behind it.
        event: EventView,
    },
    /// Events were lost to this subscriber: read the state again.
    Gap {
        /// The topic.
        topic: String,
    },
    /// A message was refused; the socket stays open unless a close follows.
    Refused {
        /// Why.
        problem: Problem,
    },
}
