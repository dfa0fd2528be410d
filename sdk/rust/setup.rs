//! The first platform admin.

use serde::{Deserialize, Serialize};

/// Makes the first platform admin, with the one-time token of the setup link.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"token": "5f0c...", "email": "ada@example.org", "password": "correct horse battery", "name": "Ada Lovelace"})))]
#[serde(deny_unknown_fields)]
pub struct SetUp {
    /// The token of the setup link.
    pub token: String,
    /// The admin's address.
    pub email: String,
    /// 12 to 128 characters; spaces and every script are fine.
    pub password: String,
    /// The admin's name, 1 to 100 characters.
    pub name: String,
}

/// The first platform admin is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w"})))]
pub struct SetUpDone {
    /// The admin's account, `acc_...`.
    pub account: String,
}
