//! Members and roles, asked.

use reqwest::Method;
use serde_json::json;

use super::{Client, Error, Page};
use crate::{ChangeMember, DefineRole, MemberPage, MemberView, OwnTenantPage, RoleList, RoleView};

impl Client {
    /// A page of a tenant's members.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn members(&self, tenant: &str, page: &Page) -> Result<MemberPage, Error> {
        self.page(&["tenants", tenant, "members"], page).await
    }

    /// One member, as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn member(&self, tenant: &str, account: &str) -> Result<MemberView, Error> {
        self.ask(self.get(&["tenants", tenant, "members", account], &[])?).await
    }

    /// Gives a member another role: `owner`, `admin`, `member` or `custom`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn change_member(&self, tenant: &str, account: &str, role: &str) -> Result<MemberView, Error> {
        let wanted = ChangeMember { role: role.to_owned() };
        self.ask(self.write(Method::PATCH, &["tenants", tenant, "members", account], &wanted)?).await
    }

    /// Suspends a member: its tokens for the tenant are refused.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn suspend_member(&self, tenant: &str, account: &str) -> Result<MemberView, Error> {
        let path = ["tenants", tenant, "members", account, "suspend"];
        self.ask(self.write(Method::POST, &path, &json!({}))?).await
    }

    /// Lets a suspended member in again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resume_member(&self, tenant: &str, account: &str) -> Result<MemberView, Error> {
        let path = ["tenants", tenant, "members", account, "resume"];
        self.ask(self.write(Method::POST, &path, &json!({}))?).await
    }

    /// Removes a member, or leaves the tenant.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn remove_member(&self, tenant: &str, account: &str) -> Result<(), Error> {
        let path = ["tenants", tenant, "members", account];
        self.retried(&self.write(Method::DELETE, &path, &json!({}))?, true).await.map(drop)
    }

    /// A page of the tenants one belongs to.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn own_tenants(&self, page: &Page) -> Result<OwnTenantPage, Error> {
        self.page(&["me", "tenants"], page).await
    }

    /// The roles of a tenant, and what they allow.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn roles(&self, tenant: &str) -> Result<RoleList, Error> {
        self.ask(self.get(&["tenants", tenant, "roles"], &[])?).await
    }

    /// Defines what a tenant's own role allows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn define_role(&self, tenant: &str, permissions: &[&str]) -> Result<RoleView, Error> {
        let wanted = DefineRole { permissions: permissions.iter().map(|name| (*name).to_owned()).collect() };
        self.ask(self.write(Method::PUT, &["tenants", tenant, "roles", "custom"], &wanted)?).await
    }
}
