//! Tenants.

use serde::{Deserialize, Deserializer, Serialize};

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
    /// Its colour in mails, `#rrggbb`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// Whether it is open.
    pub status: TenantStatus,
    /// How it is suspended, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// What it asks of its members' sign-ins, if anything; in answers about one tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_limits: Option<SessionLimits>,
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

/// Changes what a tenant is called and looks like; what is not named stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"name": "Acme Limited", "colour": "#2a52c9"})))]
#[serde(deny_unknown_fields)]
pub struct ChangeTenant {
    /// 1 to 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The colour of its mails, `#rrggbb`; null takes it away.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub colour: Option<Option<String>>,
}

/// A field that is there, be it null.
fn named<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(input).map(Some)
}

/// What a tenant asks of its members' sign-ins; what is not named is as the platform has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"lasts_s": 43200, "idle_s": 3600})))]
#[serde(deny_unknown_fields)]
pub struct SessionLimits {
    /// Seconds a sign-in is good for the tenant, however much it is used: half an hour to 90 days.
    #[cfg_attr(feature = "schema", schema(minimum = 1800, maximum = 7_776_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_s: Option<u64>,
    /// Seconds nobody may leave the session unused: half an hour to 90 days.
    #[cfg_attr(feature = "schema", schema(minimum = 1800, maximum = 7_776_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<u64>,
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
