//! Invitations to tenants.

use clap::Subcommand;
use prognet_sdk::{InvitationPage, InvitationView, InvitePerson, client::Page};

use super::{Options, lines, tenant_id};

/// What can be asked about invitations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks a person into a tenant by mail.
    #[command(
        after_help = "Example:\n  prognet invitations create ten_... --email grace@example.org --role member"
    )]
    Create {
        /// The tenant, `ten_...`.
        #[arg(value_parser = tenant_id)]
        tenant: String,
        /// The person's address.
        #[arg(long)]
        email: String,
        /// `admin`, `member` or `custom`.
        #[arg(long, default_value = "member")]
        role: String,
        /// The language of the mail, `en` or `de`; without one it is yours.
        #[arg(long)]
        language: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Lists invitations that nobody has answered yet.
    List {
        /// The tenant, `ten_...`.
        #[arg(value_parser = tenant_id)]
        tenant: String,
        /// Invitations on a page.
        #[arg(long)]
        limit: Option<usize>,
        /// The cursor to read on from: `next` of the page before.
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Revokes an invitation: its link opens nothing any more.
    Revoke {
        /// The tenant, `ten_...`.
        #[arg(value_parser = tenant_id)]
        tenant: String,
        /// The invitation, `inv_...`.
        invitation: String,
        #[command(flatten)]
        options: Options,
    },
    /// Accepts an invitation for the account that is signed in.
    Accept {
        /// The token of the link in the mail.
        token: String,
        #[command(flatten)]
        options: Options,
    },
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { tenant, email, role, language, options } => {
                let wanted = InvitePerson { email, role, language };
                let invited = options.client()?.invite(&tenant, &wanted).await?;
                options.print(&invited, text)
            }
            Self::List { tenant, limit, after, options } => {
                let page = options.client()?.invitations(&tenant, &Page { after, limit }).await?;
                options.print(&page, table)
            }
            Self::Revoke { tenant, invitation, options } => {
                options.client()?.revoke_invitation(&tenant, &invitation).await?;
                options.print(&serde_json::json!({}), |_| format!("{invitation} is revoked\n"))
            }
            Self::Accept { token, options } => {
                let own = options.client()?.accept_invitation(&token).await?;
                options.print(&own, |own| format!("{} of {}  {}\n", own.role, own.tenant.id, own.tenant.name))
            }
        }
    }
}

fn table(page: &InvitationPage) -> String {
    let line =
        |one: &InvitationView| format!("{}  {:6}  {}  {}\n", one.id, one.role, one.expires_at, one.email);
    let more = page.next.as_ref().map(|next| format!("more: --after {next}\n"));
    page.data.iter().map(line).collect::<String>() + &more.unwrap_or_default()
}

fn text(invitation: &InvitationView) -> String {
    lines(&[
        ("id", invitation.id.as_str()),
        ("email", &invitation.email),
        ("role", &invitation.role),
        ("until", &invitation.expires_at),
    ])
}
