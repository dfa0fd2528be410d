//! Who did what, and when.

use serde::{Deserialize, Serialize};

/// One entry of an audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// When.
    pub at: String,
    /// The account that asked, `acc_...`; none for the platform itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What happened, e.g. `tenant.suspended`.
    pub action: String,
    /// What it happened to.
    pub subject: String,
    /// The trace it belongs to.
    pub trace: String,
}

/// Entries of a trail, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"at": "2026-01-01T12:00:00.000Z", "by": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "action": "tenant.suspended", "subject": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "trace": "4bf92f3577b34da6a3ce929d0e0e4736"}], "next": null})))]
pub struct AuditPage {
    /// The entries.
    pub data: Vec<AuditEntry>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}
