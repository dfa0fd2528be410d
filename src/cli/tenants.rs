//! Tenants.

use std::pin::pin;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use prognet_sdk::{CreateTenant, SuspendTenant, TenantPage, TenantStatus, TenantView, client::Page};

use super::{Options, lines, tenant_id};

/// What can be asked about tenants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates a tenant.
    #[command(after_help = "Example:\n  prognet tenants create --name 'Acme Ltd' --slug acme")]
    Create {
        /// Its name, 1 to 100 characters.
        #[arg(long)]
        name: String,
        /// Its name in addresses, unique on the platform: 3 to 40 of a-z, 0-9 and inner hyphens.
        #[arg(long)]
        slug: String,
        #[command(flatten)]
        options: Options,
    },
    /// Shows a tenant as it is now.
    Get(One),
    /// Finds the tenant with a slug, if there is one: for platform admins.
    #[command(after_help = "Example:\n  prognet tenants find acme")]
    Find {
        /// The slug, as it is.
        slug: String,
        #[command(flatten)]
        options: Options,
    },
    /// Lists tenants in the order they were founded.
    #[command(after_help = "Examples:\n  prognet tenants list --limit 10\n  \
                            prognet tenants list --all -o json | jq -r '.data[].slug'")]
    List {
        /// All of them, page after page; with `-o json` one page a line.
        #[arg(long)]
        all: bool,
        /// Tenants on a page.
        #[arg(long)]
        limit: Option<usize>,
        /// The cursor to read on from: `next` of the page before.
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Renames a tenant.
    #[command(after_help = "Example:\n  prognet tenants rename ten_... --name 'Acme Inc' --if-version 3")]
    Rename {
        #[command(flatten)]
        one: One,
        /// Its new name, 1 to 100 characters.
        #[arg(long)]
        name: String,
        /// Only if this is still its version.
        #[arg(long)]
        if_version: Option<u64>,
    },
    /// Suspends a tenant: its tokens are refused, nothing is deleted.
    #[command(
        after_help = "Example:\n  prognet tenants suspend ten_... --reason nonpayment --until 2030-01-01T00:00:00Z"
    )]
    Suspend {
        #[command(flatten)]
        one: One,
        /// Why.
        #[arg(long, value_parser = ["abuse", "nonpayment", "request", "other"])]
        reason: String,
        /// When it ends by itself (RFC 3339).
        #[arg(long)]
        until: Option<String>,
    },
    /// Opens a suspended tenant again.
    Resume(One),
}

/// A tenant.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its id, `ten_...`.
    #[arg(value_parser = tenant_id)]
    id: String,
    #[command(flatten)]
    options: Options,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (options, tenant) = match self {
            Self::List { all, limit, after, options } => {
                return list(all, Page { after, limit }, &options).await;
            }
            Self::Find { slug, options } => {
                return options.print(&options.client()?.tenant_by_slug(&slug).await?, table);
            }
            Self::Create { name, slug, options } => {
                let created = options.client()?.create_tenant(&CreateTenant { name, slug }).await;
                (options, created)
            }
            Self::Get(One { id, options }) => {
                let got = options.client()?.tenant(&id).await;
                (options, got)
            }
            Self::Rename { one: One { id, options }, name, if_version } => {
                let renamed = options.client()?.rename_tenant(&id, &name, if_version).await;
                (options, renamed)
            }
            Self::Suspend { one: One { id, options }, reason, until } => {
                let suspended = options.client()?.suspend_tenant(&id, &SuspendTenant { reason, until }).await;
                (options, suspended)
            }
            Self::Resume(One { id, options }) => {
                let resumed = options.client()?.resume_tenant(&id).await;
                (options, resumed)
            }
        };
        options.print(&tenant?, text)
    }
}

async fn list(all: bool, first: Page, options: &Options) -> anyhow::Result<()> {
    let client = options.client()?;
    if !all {
        let page = client.tenants(&first).await?;
        options.print(&page, |page| {
            let more = page.next.as_ref().map(|next| format!("more: --after {next}, or --all\n"));
            table(page) + &more.unwrap_or_default()
        })?;
        return Ok(());
    }
    let mut pages = pin!(client.tenant_pages(first));
    while let Some(page) = pages.try_next().await? {
        options.print(&page, table)?;
    }
    Ok(())
}

/// A line a tenant; the name last, as it may hold anything.
fn table(page: &TenantPage) -> String {
    let line = |tenant: &TenantView| {
        format!("{}  {:9}  {:20}  {}\n", tenant.id, status(tenant.status), tenant.slug, tenant.name)
    };
    page.data.iter().map(line).collect()
}

fn text(tenant: &TenantView) -> String {
    let version = tenant.version.to_string();
    let mut fields = vec![
        ("id", tenant.id.as_str()),
        ("name", &tenant.name),
        ("slug", &tenant.slug),
        ("status", status(tenant.status)),
    ];
    if let Some(suspension) = &tenant.suspension {
        fields.extend([("since", suspension.since.as_str()), ("reason", &suspension.reason)]);
        fields.extend(suspension.until.as_deref().map(|until| ("until", until)));
    }
    fields.extend([("version", version.as_str()), ("created", &tenant.created_at)]);
    lines(&fields)
}

const fn status(status: TenantStatus) -> &'static str {
    match status {
        TenantStatus::Active => "active",
        TenantStatus::Suspended => "suspended",
    }
}
