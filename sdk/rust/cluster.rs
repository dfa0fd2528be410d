//! The nodes of a cluster and the shards they own, for those who look after it.

use serde::{Deserialize, Serialize};

/// The nodes of the cluster, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"name": "a", "incarnation": 3, "status": "up", "address": "10.0.0.1:7101", "roles": ["auth", "users"], "build": "0.1.0", "shards": 427, "lease_ms": 5200, "is_self": true, "is_linked": false}]})))]
pub struct NodeList {
    /// One line a run of a node; empty where the node keeps everything itself.
    pub data: Vec<NodeView>,
}

/// A run of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NodeView {
    /// The node's name.
    pub name: String,
    /// Which of its runs this is; later is greater.
    pub incarnation: u64,
    /// `joining`, `up`, `draining` or `down`, which it is for ever.
    pub status: String,
    /// Where its peers reach it; empty if they do not.
    pub address: String,
    /// The services it hosts.
    pub roles: Vec<String>,
    /// What it runs.
    pub build: String,
    /// Shards it owns.
    pub shards: u64,
    /// How long its lease lasts yet, in milliseconds; negative once it is over.
    pub lease_ms: i64,
    /// Whether it is the node that answers.
    pub is_self: bool,
    /// Whether the node that answers is linked to it.
    pub is_linked: bool,
}

/// Shards, by service and number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"service": "users", "number": 7, "epoch": 2, "owner": "a", "state": "owned"}]})))]
pub struct ShardList {
    /// One line a shard; empty where the node keeps everything itself.
    pub data: Vec<ShardView>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ShardView {
    /// The service whose entities it holds.
    pub service: String,
    /// Its number.
    pub number: u16,
    /// Its ownership number, raised by every new owner.
    pub epoch: u64,
    /// The node that owns it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `owned`, `releasing` or `free`.
    pub state: String,
    /// The node it is moving to, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}
