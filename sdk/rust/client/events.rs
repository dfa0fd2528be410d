//! Events, read back.

use super::{Client, Error, Page};
use crate::EventPage;

impl Client {
    /// What happened in a tenant, oldest first.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events(&self, tenant: &str, page: &Page) -> Result<EventPage, Error> {
        let limit = page.limit.map(|limit| limit.to_string());
        let query = [("after", page.after.as_deref()), ("limit", limit.as_deref())];
        self.ask(self.get(&["tenants", tenant, "events"], &query)?).await
    }
}
