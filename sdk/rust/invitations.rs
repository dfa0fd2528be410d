//! Invitations to tenants.

use serde::{Deserialize, Serialize};

/// Asks a person into a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InvitePerson {
    /// The person's address.
    #[cfg_attr(feature = "schema", schema(example = "grace@example.org"))]
    pub email: String,
    /// `admin`, `member` or `custom`; an owner is made of a member.
    #[cfg_attr(feature = "schema", schema(example = "member"))]
    pub role: String,
    /// The language of the mail: `en` or `de`; without one that of whoever invites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// An invitation that nobody has answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InvitationView {
    /// Its id, `inv_...`.
    pub id: String,
    /// Who is asked.
    #[cfg_attr(feature = "schema", schema(example = "grace@example.org"))]
    pub email: String,
    /// What the person is to be.
    #[cfg_attr(feature = "schema", schema(example = "member"))]
    pub role: String,
    /// The account that asks, `acc_...`.
    pub invited_by: String,
    /// When it was made.
    pub created_at: String,
    /// When it is over.
    pub expires_at: String,
}

/// Invitations that nobody has answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InvitationPage {
    /// The invitations.
    pub data: Vec<InvitationView>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}

/// Answers an invitation, or looks at it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AnswerInvitation {
    /// The token of the link in the mail.
    pub token: String,
}

/// What an invitation invites to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InvitationLook {
    /// The tenant's name.
    #[cfg_attr(feature = "schema", schema(example = "Acme"))]
    pub tenant_name: String,
    /// The name of whoever asks; none once that account is erased.
    #[cfg_attr(feature = "schema", schema(example = "Ada"))]
    pub invited_by: Option<String>,
    /// The address it is for: only an account with this address accepts it.
    #[cfg_attr(feature = "schema", schema(example = "grace@example.org"))]
    pub email: String,
    /// What the person is to be.
    #[cfg_attr(feature = "schema", schema(example = "member"))]
    pub role: String,
    /// When it is over.
    pub expires_at: String,
}
