//! Tenants.

use serde::{Deserialize, Serialize};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "name": "Acme", "slug": "acme", "status": "active", "version": 1, "created_at": "2026-01-01T12:00:00.000Z"})))]
pub struct TenantView {
    /// Its id, `ten_...`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its name in addresses, unique on the platform.
    pub slug: String,
    /// Whether it is open.
    pub status: TenantStatus,
    /// How it is suspended, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// Rises with every change; `ETag` carries it.
    pub version: u64,
    /// When it was created.
    pub created_at: String,
}

/// Whether a tenant is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// Open.
    Active,
    /// Closed to everyone; nothing is deleted.
    Suspended,
}

/// A suspension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Suspension {
    /// Since when.
    pub since: String,
    /// `abuse`, `nonpayment`, `request` or `other`.
    pub reason: String,
    /// When it ends by itself, if it does.
    pub until: Option<String>,
}

/// Tenants in the order they were founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "name": "Acme", "slug": "acme", "status": "active", "version": 1, "created_at": "2026-01-01T12:00:00.000Z"}], "next": null})))]
pub struct TenantPage {
    /// The tenants.
    pub data: Vec<TenantView>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}

/// Founds a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// 1 to 100 characters.
    pub name: String,
    /// 3 to 40 of a-z, 0-9 and inner hyphens.
    pub slug: String,
}

/// Renames a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"name": "Acme Limited"})))]
#[serde(deny_unknown_fields)]
pub struct RenameTenant {
    /// 1 to 100 characters.
    pub name: String,
}

/// Suspends a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"reason": "abuse", "until": "2026-02-01T00:00:00.000Z"})))]
#[serde(deny_unknown_fields)]
pub struct SuspendTenant {
    /// `abuse`, `nonpayment`, `request` or `other`.
    pub reason: String,
    /// When it ends by itself (RFC 3339), if it does.
    #[serde(default)]
    pub until: Option<String>,
}
