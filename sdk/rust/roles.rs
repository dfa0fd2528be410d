//! Roles of tenants.

use serde::{Deserialize, Serialize};

/// A role, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RoleView {
    /// `owner`, `admin`, `member` or `custom`.
    #[cfg_attr(feature = "schema", schema(example = "custom"))]
    pub role: String,
    /// What it allows, by name, e.g. `members:read`.
    #[cfg_attr(feature = "schema", schema(example = json!(["tenant:read", "members:read", "members:invite"])))]
    pub permissions: Vec<String>,
}

/// The roles of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RoleList {
    /// The roles, the strongest first.
    pub data: Vec<RoleView>,
}

/// Defines a tenant's own role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DefineRole {
    /// What it is to allow, by name: of what the role `owner` allows.
    #[cfg_attr(feature = "schema", schema(example = json!(["tenant:read", "members:read", "members:invite"])))]
    pub permissions: Vec<String>,
}
