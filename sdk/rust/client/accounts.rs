//! Accounts, for whoever has none yet or has forgotten the way in.

use reqwest::Method;
use serde::Serialize;

use super::{Client, Error};
use crate::{Accepted, ForgotPassword, OpenAccount, ResetPassword, SignUp};

impl Client {
    /// Signs up: the address gets a mail.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sign_up(&self, wanted: &SignUp) -> Result<Accepted, Error> {
        let body = self.unasked(&["accounts"], wanted).await?;
        serde_json::from_slice(&body).map_err(Error::Answer)
    }

    /// Opens the account that was signed up for, with the token of the mailed link and the password.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open_account(&self, wanted: &OpenAccount) -> Result<(), Error> {
        self.unasked(&["accounts", "verify"], wanted).await.map(drop)
    }

    /// Asks for a link to a new password, which goes to the address by mail.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn forgot_password(&self, wanted: &ForgotPassword) -> Result<Accepted, Error> {
        let body = self.unasked(&["accounts", "forgot"], wanted).await?;
        serde_json::from_slice(&body).map_err(Error::Answer)
    }

    /// Sets another password with the token of the mailed link.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reset_password(&self, wanted: &ResetPassword) -> Result<(), Error> {
        self.unasked(&["accounts", "reset"], wanted).await.map(drop)
    }

    /// Writes without a session.
    async fn unasked<B: Serialize>(&self, path: &[&str], wanted: &B) -> Result<Vec<u8>, Error> {
        let request = self.write(Method::POST, path, wanted)?;
        self.retried(&request, false).await
    }
}
