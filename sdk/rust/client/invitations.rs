//! Invitations, asked.

use reqwest::Method;
use serde_json::json;

use super::{Client, Error, Page};
use crate::{AnswerInvitation, InvitationLook, InvitationPage, InvitationView, InvitePerson, OwnTenant};

impl Client {
    /// Asks a person into a tenant by mail.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn invite(&self, tenant: &str, wanted: &InvitePerson) -> Result<InvitationView, Error> {
        self.ask(self.write(Method::POST, &["tenants", tenant, "invitations"], wanted)?).await
    }

    /// A page of a tenant's invitations that nobody has answered yet.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn invitations(&self, tenant: &str, page: &Page) -> Result<InvitationPage, Error> {
        self.page(&["tenants", tenant, "invitations"], page).await
    }

    /// Revokes an invitation.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn revoke_invitation(&self, tenant: &str, invitation: &str) -> Result<(), Error> {
        let path = ["tenants", tenant, "invitations", invitation];
        self.retried(&self.write(Method::DELETE, &path, &json!({}))?, true).await.map(drop)
    }

    /// Shows what the link in a mail invites to; uses nothing up.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn look_at_invitation(&self, token: &str) -> Result<InvitationLook, Error> {
        let request = self.write(Method::POST, &["invitations", "look"], &answer(token))?;
        let body = self.retried(&request, false).await?;
        serde_json::from_slice(&body).map_err(Error::Answer)
    }

    /// Accepts an invitation for the account that is signed in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn accept_invitation(&self, token: &str) -> Result<OwnTenant, Error> {
        self.ask(self.write(Method::POST, &["invitations", "accept"], &answer(token))?).await
    }

    /// Declines an invitation; nobody needs to be signed in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn decline_invitation(&self, token: &str) -> Result<(), Error> {
        let request = self.write(Method::POST, &["invitations", "decline"], &answer(token))?;
        self.retried(&request, false).await.map(drop)
    }
}

fn answer(token: &str) -> AnswerInvitation {
    AnswerInvitation { token: token.to_owned() }
}
