//! Members of tenants, and the tenants of a member.

use serde::{Deserialize, Serialize};

use crate::TenantView;

/// A member of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MemberView {
    /// Its account, `acc_...`.
    pub account: String,
    /// The person's name; none once the account is erased.
    pub name: Option<String>,
    /// The person's address; none once the account is erased.
    pub email: Option<String>,
    /// `owner`, `admin`, `member` or `custom`.
    #[cfg_attr(feature = "schema", schema(example = "member"))]
    pub role: String,
    /// Whether it is let in.
    pub status: MemberStatus,
    /// When it was admitted last.
    pub joined_at: String,
}

/// Whether a member is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// Let in.
    Active,
    /// Not let in for now.
    Suspended,
}

/// Members in the order their accounts were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MemberPage {
    /// The members.
    pub data: Vec<MemberView>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}

/// Gives a member another role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeMember {
    /// `owner`, `admin`, `member` or `custom`.
    #[cfg_attr(feature = "schema", schema(example = "admin"))]
    pub role: String,
}

/// A tenant somebody belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OwnTenant {
    /// The tenant.
    pub tenant: TenantView,
    /// `owner`, `admin`, `member` or `custom`.
    #[cfg_attr(feature = "schema", schema(example = "member"))]
    pub role: String,
    /// Whether the member is let in.
    pub status: MemberStatus,
    /// When the member was admitted last.
    pub joined_at: String,
}

/// The tenants somebody belongs to, in the order they were founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OwnTenantPage {
    /// The tenants.
    pub data: Vec<OwnTenant>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}
