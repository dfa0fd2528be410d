//! People, as whoever runs the platform looks after them.

use reqwest::Method;
use serde_json::json;

use super::{Client, Error, Page};
use crate::{AccountList, AccountView, AuditPage};

impl Client {
    /// The account with an address, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find_account(&self, email: &str) -> Result<AccountList, Error> {
        self.ask(self.get(&["accounts"], &[("email", Some(email))])?).await
    }

    /// One account, as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn account(&self, id: &str) -> Result<AccountView, Error> {
        self.ask(self.get(&["accounts", id], &[])?).await
    }

    /// Keeps a person out: their sessions end, and they cannot sign in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn disable_account(&self, id: &str) -> Result<AccountView, Error> {
        self.ask(self.write(Method::POST, &["accounts", id, "disable"], &json!({}))?).await
    }

    /// Lets a person in again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn enable_account(&self, id: &str) -> Result<AccountView, Error> {
        self.ask(self.write(Method::POST, &["accounts", id, "enable"], &json!({}))?).await
    }

    /// Ends all sessions of a person.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn end_sessions_of(&self, id: &str) -> Result<(), Error> {
        let request = self.write(Method::DELETE, &["accounts", id, "sessions"], &json!({}))?;
        self.retried(&request, true).await.map(drop)
    }

    /// A page of what happened to a person's account, and who did it, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn account_activity(&self, id: &str, page: &Page) -> Result<AuditPage, Error> {
        self.page(&["accounts", id, "activity"], page).await
    }
}
