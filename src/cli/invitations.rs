//! Invitations to tenants.

use clap::Subcommand;
use prognet_sdk::{InvitationPage, InvitationView, InvitePerson};

use super::{OfTenant, Options, Part, lines, listed};

/// What can be asked about invitations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks a person into a tenant by mail.
    #[command(
        after_help = "Example:\n  prognet invitations create ten_... --email grace@example.org --role member"
    )]
    Create {
        #[command(flatten)]
        of: OfTenant,
        /// The person's address.
        #[arg(long)]
        email: String,
        /// `admin`, `member` or `custom`.
        #[arg(long, default_value = "member")]
        role: String,
        /// The language of the mail, `en` or `de`; without one it is yours.
        #[arg(long)]
        language: Option<String>,
    },
    /// Lists invitations that nobody has answered yet.
    List {
        #[command(flatten)]
        of: OfTenant,
        #[command(flatten)]
        part: Part,
    },
    /// Revokes an invitation: its link opens nothing any more.
    Revoke {
        #[command(flatten)]
        of: OfTenant,
        /// The invitation, `inv_...`.
        invitation: String,
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
            Self::Create { of: OfTenant { tenant, options }, email, role, language } => {
                let wanted = InvitePerson { email, role, language };
                let invited = options.client()?.invite(&tenant, &wanted).await?;
                options.print(&invited, text)
            }
            Self::List { of: OfTenant { tenant, options }, part } => {
                let page = options.client()?.invitations(&tenant, &part.page()).await?;
                options.print(&page, table)
            }
            Self::Revoke { of: OfTenant { tenant, options }, invitation } => {
                options.client()?.revoke_invitation(&tenant, &invitation).await?;
                options.done(&format!("{invitation} is revoked"))
            }
            Self::Accept { token, options } => {
                let own = options.client()?.accept_invitation(&token).await?;
                options.print(&own, |own| format!("{} of {}  {}\n", own.role, own.tenant.id, own.tenant.name))
            }
        }
    }
}

fn table(page: &InvitationPage) -> String {
    listed(&page.data, page.next.as_deref(), |one| {
        format!("{}  {:6}  {}  {}\n", one.id, one.role, one.expires_at, one.email)
    })
}

fn text(invitation: &InvitationView) -> String {
    lines(&[
        ("id", invitation.id.as_str()),
        ("email", &invitation.email),
        ("role", &invitation.role),
        ("until", &invitation.expires_at),
    ])
}
