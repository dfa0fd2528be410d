//! Tenants, asked.

use futures_util::{Stream, TryStreamExt, stream};
use reqwest::{
    Method,
    header::{HeaderValue, IF_MATCH},
};
use serde_json::json;

use super::{Client, Error};
use crate::{ChangeTenant, CreateTenant, SessionLimits, SuspendTenant, TenantPage, TenantView};

/// Which part of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// What a page before gave as `next`; without it the list's beginning.
    pub after: Option<String>,
    /// Items at most; without it the node's choice.
    pub limit: Option<usize>,
}

impl Client {
    /// Founds a tenant.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_tenant(&self, wanted: &CreateTenant) -> Result<TenantView, Error> {
        self.ask(self.write(Method::POST, &["tenants"], wanted)?).await
    }

    /// One tenant, as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tenant(&self, id: &str) -> Result<TenantView, Error> {
        self.ask(self.get(&["tenants", id], &[])?).await
    }

    /// A page of tenants, in the order they were founded.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tenants(&self, page: &Page) -> Result<TenantPage, Error> {
        self.page(&["tenants"], page).await
    }

    /// The tenant with a slug, if there is one, as it is now: for platform admins.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tenant_by_slug(&self, slug: &str) -> Result<TenantPage, Error> {
        self.ask(self.get(&["tenants"], &[("slug", Some(slug))])?).await
    }

    /// All pages from one on, each asked for when it is wanted.
    pub fn tenant_pages(&self, first: Page) -> impl Stream<Item = Result<TenantPage, Error>> + use<> {
        let client = self.clone();
        stream::try_unfold(Some(first), move |wanted| {
            let client = client.clone();
            async move {
                let Some(wanted) = wanted else { return Ok(None) };
                let page = client.tenants(&wanted).await?;
                let next = page.next.clone().map(|next| Page { after: Some(next), ..wanted });
                Ok(Some((page, next)))
            }
        })
    }

    /// All tenants, in the order they were founded, a page at a time behind the scenes.
    pub fn all_tenants(&self) -> impl Stream<Item = Result<TenantView, Error>> + use<> {
        self.tenant_pages(Page::default())
            .map_ok(|page| stream::iter(page.data.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Renames a tenant; with a version only if nobody has changed it since.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rename_tenant(
        &self,
        id: &str,
        name: &str,
        if_version: Option<u64>,
    ) -> Result<TenantView, Error> {
        let wanted = ChangeTenant { name: Some(name.to_owned()), ..ChangeTenant::default() };
        self.change_tenant(id, &wanted, if_version).await
    }

    /// Gives a tenant another name or colour; with a version only if nobody has changed it since.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn change_tenant(
        &self,
        id: &str,
        wanted: &ChangeTenant,
        if_version: Option<u64>,
    ) -> Result<TenantView, Error> {
        let mut request = self.write(Method::PATCH, &["tenants", id], wanted)?;
        if let Some(version) = if_version
            && let Ok(tag) = HeaderValue::try_from(format!("\"{version}\""))
        {
            request.headers_mut().insert(IF_MATCH, tag);
        }
        self.ask(request).await
    }

    /// Limits sessions for a tenant beyond what the platform does.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn limit_sessions(&self, id: &str, limits: &SessionLimits) -> Result<TenantView, Error> {
        self.ask(self.write(Method::PUT, &["tenants", id, "session-limits"], limits)?).await
    }

    /// Suspends a tenant: its tokens are refused, nothing is deleted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn suspend_tenant(&self, id: &str, wanted: &SuspendTenant) -> Result<TenantView, Error> {
        self.ask(self.write(Method::POST, &["tenants", id, "suspend"], wanted)?).await
    }

    /// Opens a suspended tenant again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resume_tenant(&self, id: &str) -> Result<TenantView, Error> {
        self.ask(self.write(Method::POST, &["tenants", id, "resume"], &json!({}))?).await
    }
}
