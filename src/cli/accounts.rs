//! Accounts, for whoever runs the platform.

use clap::{Args, Subcommand};
use prognet_sdk::{AccountList, AccountView, AuditEntry, AuditPage};

use super::{Options, Part, lines, listed};

/// What can be asked about accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Finds the account with an address, if there is one.
    #[command(after_help = "Example:\n  prognet accounts find grace@example.org")]
    Find {
        /// The address.
        email: String,
        #[command(flatten)]
        options: Options,
    },
    /// Shows an account.
    Get(One),
    /// Keeps a person out: their sessions end, and they cannot sign in.
    Disable(One),
    /// Lets a person in again.
    Enable(One),
    /// Ends all sessions of a person.
    EndSessions(One),
    /// Lists what happened to an account, and who did it, oldest first.
    #[command(after_help = "Example:\n  prognet accounts activity acc_... --limit 10")]
    Activity {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        part: Part,
    },
}

/// An account.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its id, `acc_...`.
    #[arg(value_parser = account_id)]
    id: String,
    #[command(flatten)]
    options: Options,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (options, account) = match self {
            Self::Find { email, options } => {
                return options.print(&options.client()?.find_account(&email).await?, table);
            }
            Self::EndSessions(One { id, options }) => {
                options.client()?.end_sessions_of(&id).await?;
                return options.done(&format!("all sessions of {id} are over"));
            }
            Self::Activity { one: One { id, options }, part } => {
                let page = options.client()?.account_activity(&id, &part.page()).await?;
                return options.print(&page, trail);
            }
            Self::Get(One { id, options }) => {
                let account = options.client()?.account(&id).await;
                (options, account)
            }
            Self::Disable(One { id, options }) => {
                let account = options.client()?.disable_account(&id).await;
                (options, account)
            }
            Self::Enable(One { id, options }) => {
                let account = options.client()?.enable_account(&id).await;
                (options, account)
            }
        };
        options.print(&account?, text)
    }
}

/// The account's id, as far as its shape goes.
fn account_id(text: &str) -> Result<String, &'static str> {
    if text.starts_with("acc_") { Ok(text.to_owned()) } else { Err("an account's id begins with `acc_`") }
}

/// A line an account; the name last, as it may hold anything.
fn table(list: &AccountList) -> String {
    let line = |account: &AccountView| {
        format!("{}  {:8}  {}  {}\n", account.id, account.status, account.email, account.name)
    };
    list.data.iter().map(line).collect()
}

/// A line an entry: when, what, to what, and by whom.
fn trail(page: &AuditPage) -> String {
    listed(&page.data, page.next.as_deref(), |entry| {
        let AuditEntry { at, by, action, subject, .. } = entry;
        format!("{at}  {action:30}  {subject}  {}\n", by.as_deref().unwrap_or("-"))
    })
}

fn text(account: &AccountView) -> String {
    let mut fields = vec![
        ("id", account.id.as_str()),
        ("name", &account.name),
        ("email", &account.email),
        ("status", &account.status),
    ];
    fields.extend(account.until.as_deref().map(|until| ("until", until)));
    fields.extend(account.is_platform_admin.then_some(("admin", "of the platform")));
    fields.push(("created", &account.created_at));
    lines(&fields)
}
