//! Sessions: signing in, staying signed in, signing out.

use serde::{Deserialize, Serialize};

/// Opens a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"email": "ada@example.org", "password": "correct horse battery"})))]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The account's address.
    pub email: String,
    /// Its password.
    pub password: String,
    /// The tenant the access token is for, `ten_...`; without one it is for the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The `device` that an earlier sign-in gave: strangers who guess do not slow it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Goes on with a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"refresh_token": "prt_AZf..."})))]
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
#[cfg_attr(feature = "schema", schema(example = json!({"access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9...", "token_type": "Bearer", "expires_in": 600, "refresh_token": "prt_AZf...", "session": "ses_01k9xq5v3hfk8t2m4n6p8r0s2y", "account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "device": "pdv_AZf..."})))]
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
    /// After signing in: what shows to the next sign-in that this device is known. Good for years, and for
    /// nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// Changes the caller's password.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password as it is.
    pub current: String,
    /// The password as it is to be: 12 to 128 characters, unless the platform asks for more or fewer.
    pub new: String,
    /// Whether all other sessions end.
    #[serde(default)]
    pub end_other_sessions: bool,
}

/// One of the caller's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SessionView {
    /// Its id, `ses_...`.
    pub id: String,
    /// What it was opened on, e.g. `Firefox on Linux`, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When it was opened.
    pub created_at: String,
    /// When it was last gone on with, to some minutes.
    pub used_at: String,
    /// When it ends, if nobody goes on with it.
    pub until: String,
    /// Whether it is the one that asks.
    pub is_current: bool,
}

/// The caller's sessions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"data": [{"id": "ses_01k9xq5v3hfk8t2m4n6p8r0s2y", "device": "Firefox on Linux", "created_at": "2026-01-01T12:00:00.000Z", "used_at": "2026-01-01T12:00:00.000Z", "until": "2026-01-15T12:00:00.000Z", "is_current": true}], "next": null})))]
pub struct SessionPage {
    /// The sessions.
    pub data: Vec<SessionView>,
    /// Reads on; none at the end.
    pub next: Option<String>,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "email": "ada@example.org", "name": "Ada Lovelace", "is_platform_admin": false, "session": "ses_01k9xq5v3hfk8t2m4n6p8r0s2y"})))]
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
