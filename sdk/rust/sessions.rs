//! Sessions: signing in, staying signed in, signing out.

use serde::{Deserialize, Serialize};

/// Opens a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The account's address.
    pub email: String,
    /// Its password.
    pub password: String,
    /// The tenant the access token is for, `ten_...`; without one it is for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// Goes on with a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token given last.
    pub refresh_token: String,
    /// The tenant the next access token is for, `ten_...`; without one it is for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What a session gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tokens {
    /// A JWT (RFC 9068) to send as `Authorization: Bearer`.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds the access token is good for.
    pub expires_in: u64,
    /// Good for one refresh.
    pub refresh_token: String,
    /// The session, `ses_...`.
    pub session: String,
    /// The account, `acc_...`.
    pub account: String,
    /// The tenant the access token is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Me {
    /// The account, `acc_...`.
    pub account: String,
    /// Its address.
    pub email: String,
    /// Its name.
    pub name: String,
    /// Whether it runs the platform.
    pub is_platform_admin: bool,
    /// The session, `ses_...`.
    pub session: String,
    /// The tenant the token is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}
