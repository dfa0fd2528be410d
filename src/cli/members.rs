//! Members of tenants, and the tenants one belongs to.

use clap::{Args, Subcommand};
use prognet_sdk::{MemberPage, MemberStatus, MemberView, OwnTenantPage, RoleList};

use super::{OfTenant, Options, Part, lines, listed};

/// What can be asked about members.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists who belongs to a tenant.
    #[command(after_help = "Example:\n  prognet members list ten_... --limit 10")]
    List {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        part: Part,
    },
    /// Lists the tenants one belongs to.
    Own {
        #[command(flatten)]
        part: Part,
        #[command(flatten)]
        options: Options,
    },
    /// Shows a member.
    Get(One),
    /// Gives a member another role.
    #[command(after_help = "Example:\n  prognet members role ten_... acc_... admin")]
    Role {
        #[command(flatten)]
        one: One,
        /// `owner`, `admin`, `member` or `custom`.
        role: String,
    },
    /// Suspends a member: its tokens for the tenant are refused.
    Suspend(One),
    /// Lets a suspended member in again.
    Resume(One),
    /// Removes a member; of one's own account: leaves the tenant.
    Remove(One),
    /// Lists the roles of a tenant, and what they allow.
    Roles(OfTenant),
    /// Defines what the tenant's own role, `custom`, allows.
    #[command(after_help = "Example:\n  prognet members define-role ten_... tenant:read members:read")]
    DefineRole {
        #[command(flatten)]
        of: OfTenant,
        /// Permissions by name, of those that `owner` has.
        permissions: Vec<String>,
    },
}

/// A member.
#[derive(Debug, Args)]
pub(crate) struct One {
    #[command(flatten)]
    of: OfTenant,
    /// The account, `acc_...`.
    account: String,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (options, member) = match self {
            Self::List { of: OfTenant { tenant, options }, part } => {
                let page = options.client()?.members(&tenant, &part.page()).await?;
                return options.print(&page, table);
            }
            Self::Own { part, options } => {
                let page = options.client()?.own_tenants(&part.page()).await?;
                return options.print(&page, own_table);
            }
            Self::Roles(OfTenant { tenant, options }) => {
                return options.print(&options.client()?.roles(&tenant).await?, roles);
            }
            Self::DefineRole { of: OfTenant { tenant, options }, permissions } => {
                let names: Vec<_> = permissions.iter().map(String::as_str).collect();
                let role = options.client()?.define_role(&tenant, &names).await?;
                return options
                    .print(&role, |role| format!("{}  {}\n", role.role, role.permissions.join(" ")));
            }
            Self::Remove(One { of: OfTenant { tenant, options }, account }) => {
                options.client()?.remove_member(&tenant, &account).await?;
                return options.done(&format!("{account} is no member any more"));
            }
            Self::Get(One { of: OfTenant { tenant, options }, account }) => {
                let member = options.client()?.member(&tenant, &account).await;
                (options, member)
            }
            Self::Role { one: One { of: OfTenant { tenant, options }, account }, role } => {
                let member = options.client()?.change_member(&tenant, &account, &role).await;
                (options, member)
            }
            Self::Suspend(One { of: OfTenant { tenant, options }, account }) => {
                let member = options.client()?.suspend_member(&tenant, &account).await;
                (options, member)
            }
            Self::Resume(One { of: OfTenant { tenant, options }, account }) => {
                let member = options.client()?.resume_member(&tenant, &account).await;
                (options, member)
            }
        };
        options.print(&member?, text)
    }
}

/// A line a member; the name last, as it may hold anything.
fn table(page: &MemberPage) -> String {
    let line = |member: &MemberView| {
        let (email, name) = (member.email.as_deref(), member.name.as_deref());
        format!(
            "{}  {:6}  {:9}  {:30}  {}\n",
            member.account,
            member.role,
            status(member.status),
            email.unwrap_or("-"),
            name.unwrap_or("-")
        )
    };
    listed(&page.data, page.next.as_deref(), line)
}

fn own_table(page: &OwnTenantPage) -> String {
    listed(&page.data, page.next.as_deref(), |own| {
        let (tenant, status) = (&own.tenant, status(own.status));
        format!("{}  {:6}  {status:9}  {:20}  {}\n", tenant.id, own.role, tenant.slug, tenant.name)
    })
}

fn roles(list: &RoleList) -> String {
    list.data.iter().map(|role| format!("{:6}  {}\n", role.role, role.permissions.join(" "))).collect()
}

fn text(member: &MemberView) -> String {
    lines(&[
        ("account", member.account.as_str()),
        ("name", member.name.as_deref().unwrap_or("-")),
        ("email", member.email.as_deref().unwrap_or("-")),
        ("role", &member.role),
        ("status", status(member.status)),
        ("joined", &member.joined_at),
    ])
}

const fn status(status: MemberStatus) -> &'static str {
    match status {
        MemberStatus::Active => "active",
        MemberStatus::Suspended => "suspended",
    }
}
