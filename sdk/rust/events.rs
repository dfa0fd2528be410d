//! Public events, live or read back.

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventView {
    /// Resumes after this event.
    pub cursor: String,
    /// What happened, e.g. `tenant.suspended`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The entity it happened to.
    pub id: String,
    /// When.
    pub at: String,
    /// The trace it belongs to.
    pub trace: String,
    /// What the event tells.
    pub data: serde_json::Value,
}

/// Events after a cursor, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventPage {
    /// The events.
    pub data: Vec<EventView>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}
