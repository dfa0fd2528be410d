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
    /// The audit chain behind it: what was recorded up to here, and nothing of it changed since, hashes to this.
    pub chain: AuditHead,
}

/// How far one service has recorded what concerns a home, and what that hashes to. Note it elsewhere, and
/// `prognet audit verify` says whether the journal still holds what it held then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditHead {
    /// The service, e.g. `tenancy`.
    pub service: String,
    /// How many records there are, those too that are no entries.
    pub records: u64,
    /// SHA-256 over all of them, in hex.
    pub hash: String,
}

/// Entries of a trail, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The entries.
    pub data: Vec<AuditEntry>,
    /// Reads on; none at the end.
    pub next: Option<String>,
    /// The newest heads of the audit chain, one a service; they cover all entries of the page.
    pub heads: Vec<AuditHead>,
}
