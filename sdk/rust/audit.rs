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
pub struct AuditPage {
    /// The entries.
    pub data: Vec<AuditEntry>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}
