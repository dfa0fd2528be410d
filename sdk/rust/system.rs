//! What runs on a node, for those who look after it.

use serde::{Deserialize, Serialize};

/// Entities by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"service": "tenancy", "kind": "tenant", "hot": 12, "activations": 40, "restarts": 0, "quarantined": 0}]})))]
pub struct ActorCounts {
    /// One line a kind.
    pub data: Vec<ActorCount>,
}

/// A kind of entity in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ActorCount {
    /// Its service.
    pub service: String,
    /// The kind.
    pub kind: String,
    /// Running actors.
    pub hot: u64,
    /// Starts since the node started.
    pub activations: u64,
    /// Crashes since the node started.
    pub restarts: u64,
    /// Entities that wait for an operator.
    pub quarantined: u64,
}

/// One entity, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"service": "tenancy", "kind": "tenant", "id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "status": "hot", "seq": 3, "mailbox": 0, "restarts": 0, "timers": 0, "under_way": 0, "state": {"status": "active", "version": 1, "epoch": 0, "owners": 1}})))]
pub struct ActorView {
    /// Its service.
    pub service: String,
    /// Its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// `hot`, `cold`, `leaving`, `restarting` or `quarantined`.
    pub status: String,
    /// Records of its history, 0 if it is not running.
    pub seq: u64,
    /// Commands that wait for it.
    pub mailbox: u64,
    /// Crashes that still count.
    pub restarts: u64,
    /// Timers that are set.
    pub timers: u64,
    /// Commands to others without an answer.
    pub under_way: u64,
    /// Why it is quarantined, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its state without secrets and personal data; null if it is not running.
    pub state: serde_json::Value,
}
