//! Accounts: signing up, showing that an address is one's own, forgotten passwords.

use serde::{Deserialize, Serialize};

/// Signs up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// The person's address; a mail there has the link that opens the account.
    pub email: String,
    /// 12 to 128 characters, unless the platform asks for more or fewer; spaces and every script are fine.
    pub password: String,
    /// The person's name, 1 to 100 characters.
    pub name: String,
    /// The language of mails to the person: `en`, which it is without one, or `de`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// Shows that an address is one's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyAddress {
    /// The token of the mailed link.
    pub token: String,
}

/// Asks for a link to a new password.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    /// The account's address.
    pub email: String,
}

/// Sets another password with a mailed link.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token of the mailed link.
    pub token: String,
    /// The password as it is to be.
    pub password: String,
}

/// It was taken; whatever comes of it goes to the address by mail, and nobody else is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Accepted {
    /// The address, as mails are sent to it.
    pub email: String,
}

/// Asks for another address.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeEmail {
    /// The caller's password.
    pub password: String,
    /// The new address; a mail there has the link that makes it the account's.
    pub email: String,
}

/// Deletes the caller's account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeleteAccount {
    /// The caller's password.
    pub password: String,
}

/// An account that is about to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountLeaving {
    /// Until then its person may keep it; then it is erased.
    pub until: String,
}

/// Keeps an account that is about to be deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeepAccount {
    /// The account's address.
    pub email: String,
    /// Its password.
    pub password: String,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountView {
    /// The account, `acc_...`.
    pub id: String,
    /// Its address.
    pub email: String,
    /// Its person's name.
    pub name: String,
    /// `pending`, `active`, `disabled`, `leaving` or `closed`.
    pub status: String,
    /// When it is erased, if it is about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether it runs the platform.
    pub is_platform_admin: bool,
    /// When it was registered.
    pub created_at: String,
}

/// The accounts that were looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountList {
    /// The accounts: one or none, since an address has one.
    pub data: Vec<AccountView>,
}

/// Everything that the platform knows about the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AccountExport {
    /// When it was put together.
    pub at: String,
    /// The account.
    pub account: AccountView,
    /// The language of mails to the caller.
    pub language: String,
    /// The sessions that go on.
    pub sessions: Vec<crate::SessionView>,
    /// The tenants that the caller belongs to, as what and since when; with a token for one tenant, that one alone.
    pub memberships: Vec<crate::OwnTenant>,
    /// What happened to the account, and who did it; `next` reads on at `/v1/me/activity`.
    pub activity: crate::AuditPage,
}
