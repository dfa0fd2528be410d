//! Public events, live or read back.

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"cursor": "00b1...", "type": "tenant.suspended", "id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "at": "2026-01-01T12:00:00.000Z", "trace": "4bf92f3577b34da6a3ce929d0e0e4736", "data": {"reason": "abuse"}})))]
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
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"cursor": "00b1...", "type": "tenant.suspended", "id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "at": "2026-01-01T12:00:00.000Z", "trace": "4bf92f3577b34da6a3ce929d0e0e4736", "data": {"reason": "abuse"}}], "next": null})))]
pub struct EventPage {
    /// The events.
    pub data: Vec<EventView>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}
