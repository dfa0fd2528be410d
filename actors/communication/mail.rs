//! What is said by mail: one variant per mail, with the ids and the plain words it needs, and no secret.

use prognet_supervisor::{Home, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    auth::link::Purpose,
    ids::{AccountId, TenantId},
    values::{Colour, PersonName, TenantName},
};

/// A mail, without its recipient. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the words of the mail and what its link is about")]
pub enum Mail {
    /// Asks whoever signed up to show that the address is theirs.
    VerifyAddress { name: PersonName, account: AccountId, id: u128 },
    /// Somebody signed up with an address that has an account.
    AlreadyRegistered { name: PersonName },
    /// Lets a person choose a new password.
    ResetPassword { name: PersonName, account: AccountId, id: u128 },
    /// The password is another now.
    PasswordChanged { name: PersonName },
    /// To the new address: asks to confirm it.
    EmailChangeConfirm { name: PersonName, account: AccountId, id: u128 },
    /// To the old address: it is to be replaced by `new`, which is masked, and that can be undone.
    EmailChangeNotice { name: PersonName, account: AccountId, id: u128, new: String },
    /// To the old address: it is the account's again.
    EmailChangeUndone { name: PersonName },
    /// Asks a person into a tenant.
    Invitation {
        tenant: TenantId,
        id: u128,
        tenant_name: TenantName,
        #[serde(default)]
        colour: Option<Colour>,
        inviter_name: PersonName,
        role: String,
    },
    /// The account is deleted for good at `until`.
    AccountDeletion { name: PersonName, until: Timestamp },
    /// What the person is in a tenant is another thing now.
    RoleChanged { name: PersonName, tenant_name: TenantName, colour: Option<Colour>, role: String },
    /// The person is no member of a tenant any more.
    MembershipEnded { name: PersonName, tenant_name: TenantName, colour: Option<Colour> },
}

/// The language a mail is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

impl Mail {
    /// Its name, which is that of its words and templates.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::VerifyAddress { .. } => "verify_address",
            Self::AlreadyRegistered { .. } => "already_registered",
            Self::ResetPassword { .. } => "reset_password",
            Self::PasswordChanged { .. } => "password_changed",
            Self::EmailChangeConfirm { .. } => "email_change_confirm",
            Self::EmailChangeNotice { .. } => "email_change_notice",
            Self::EmailChangeUndone { .. } => "email_change_undone",
            Self::Invitation { .. } => "invitation",
            Self::AccountDeletion { .. } => "account_deletion",
            Self::RoleChanged { .. } => "role_changed",
            Self::MembershipEnded { .. } => "membership_ended",
        }
    }

    /// The colour of the tenant it is about, if it has one.
    #[must_use]
    pub const fn colour(&self) -> Option<&Colour> {
        match self {
            Self::Invitation { colour, .. }
            | Self::RoleChanged { colour, .. }
            | Self::MembershipEnded { colour, .. } => colour.as_ref(),
            Self::VerifyAddress { .. }
            | Self::AlreadyRegistered { .. }
            | Self::ResetPassword { .. }
            | Self::PasswordChanged { .. }
            | Self::EmailChangeConfirm { .. }
            | Self::EmailChangeNotice { .. }
            | Self::EmailChangeUndone { .. }
            | Self::AccountDeletion { .. } => None,
        }
    }

    /// What its link is for, and about which entity in which home; none if it has no link.
    #[must_use]
    pub const fn link(&self) -> Option<(Purpose, Home, u128)> {
        match self {
            Self::VerifyAddress { account, id, .. } => Some((Purpose::VerifyAddress, account.home(), *id)),
            Self::ResetPassword { account, id, .. } => Some((Purpose::ResetPassword, account.home(), *id)),
            Self::EmailChangeConfirm { account, id, .. } => {
                Some((Purpose::ConfirmEmailChange, account.home(), *id))
            }
            Self::EmailChangeNotice { account, id, .. } => {
                Some((Purpose::UndoEmailChange, account.home(), *id))
            }
            Self::Invitation { tenant, id, .. } => Some((Purpose::AcceptInvitation, tenant.home(), *id)),
            Self::AlreadyRegistered { .. }
            | Self::PasswordChanged { .. }
            | Self::EmailChangeUndone { .. }
            | Self::AccountDeletion { .. }
            | Self::RoleChanged { .. }
            | Self::MembershipEnded { .. } => None,
        }
    }
}
