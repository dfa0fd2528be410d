//! Setting up, signing in and out, and who one is.

use std::{
    fs,
    io::{self, IsTerminal},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;
use prognet_sdk::{SetUp, SignIn, client::Client};

use super::{NEAREST, Options, Usage, credentials::Credentials, environment, lines, print, typed};

const PASSWORDS: &str = "The password is asked for, or taken from PROGNET_PASSWORD, or read from standard input \
                         if that is no terminal. It is never an argument.";

/// Makes the first admin.
#[derive(Debug, Args)]
#[command(
    after_help = format!("{PASSWORDS}\n\nExample:\n  prognet setup --email ada@example.org --name 'Ada Lovelace'")
)]
pub(crate) struct Setup {
    /// The admin's address.
    #[arg(long)]
    email: String,
    /// The admin's name, 1 to 100 characters.
    #[arg(long)]
    name: String,
    /// The file with the setup link, which the node writes beside its data while it has no admin.
    #[arg(long, default_value = "./data/setup.link")]
    link_file: PathBuf,
    #[command(flatten)]
    options: Options,
}

/// Opens a session.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "{PASSWORDS}\n\nThe session is kept in $XDG_CONFIG_HOME/prognet (or ~/.config/prognet), for the owner's eyes \
     only; with `-o json` its tokens are printed too.\n\nExamples:\n  prognet login --email ada@example.org\n  \
     prognet login --email ada@example.org --url https://api.example.org < password.txt"
))]
pub(crate) struct Login {
    /// The account's address; asked for if it is not given.
    #[arg(long)]
    email: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// A command that takes nothing more.
#[derive(Debug, Args)]
pub(crate) struct Plain {
    #[command(flatten)]
    options: Options,
}

impl Setup {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let link = fs::read_to_string(&self.link_file).with_context(|| {
            let file = self.link_file.display();
            format!("failed to read the setup link in `{file}` (a node that starts without an admin leaves it there)")
        })?;
        let link = link.trim();
        let token = link.rsplit_once("token=").map_or(link, |(_, token)| token).to_owned();
        let password = new_password()?;
        let wanted = SetUp { token, email: self.email, password, name: self.name };
        let done = Client::new(&self.options.url)?.set_up(&wanted).await?;
        let email = wanted.email;
        let url = match self.options.url.as_str() {
            NEAREST => String::new(),
            url => format!(" --url {url}"),
        };
        self.options.print(&done, |done| {
            format!(
                "made {email} the platform's first admin ({})\nnow: prognet login --email {email}{url}\n",
                done.account
            )
        })
    }
}

impl Login {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let email = match self.email {
            Some(email) => email,
            None if io::stdin().is_terminal() => typed("Email: ")?,
            None => return Err(Usage("without a terminal, --email is needed").into()),
        };
        let sign_in =
            SignIn { email: email.clone(), password: password("Password: ")?, tenant: None, device: None };
        let client =
            Client::new(&self.options.url)?.keeping(Box::new(Credentials::of(&self.options.url)?))?;
        let tokens = client.sign_in(&sign_in).await?;
        let url = &self.options.url;
        self.options.print(&tokens, |_| format!("signed in to {url} as {email}\n"))
    }
}

impl Plain {
    pub(super) async fn logout(self) -> anyhow::Result<()> {
        let url = &self.options.url;
        Client::new(url)?.keeping(Box::new(Credentials::of(url)?))?.sign_out().await?;
        // The API answers with nothing, so nothing is what JSON gets.
        match self.options.output {
            super::Output::Text => print(&format!("signed out of {url}\n")),
            super::Output::Json => Ok(()),
        }
    }

    pub(super) async fn whoami(self) -> anyhow::Result<()> {
        let me = self.options.client()?.me().await?;
        self.options.print(&me, |me| {
            let role = if me.is_platform_admin { "platform admin" } else { "member" };
            let tenant = me.tenant.as_deref().unwrap_or("-");
            lines(&[
                ("name", &me.name),
                ("email", &me.email),
                ("account", &me.account),
                ("role", role),
                ("tenant", tenant),
                ("session", &me.session),
            ])
        })
    }

    pub(super) async fn token(self) -> anyhow::Result<()> {
        let token = self.options.client()?.access_token().await?;
        print(&format!("{}\n", token.unwrap_or_default()))
    }
}

fn password(prompt: &str) -> anyhow::Result<String> {
    match environment("PROGNET_PASSWORD") {
        Some(password) => Ok(password),
        None if io::stdin().is_terminal() => {
            rpassword::prompt_password(prompt).context("failed to read the password")
        }
        None => typed(""),
    }
}

/// A password that nobody knows yet, so that a slip of the finger locks nobody out.
fn new_password() -> anyhow::Result<String> {
    let is_typed = environment("PROGNET_PASSWORD").is_none() && io::stdin().is_terminal();
    let first = password("Password, 12 characters or more: ")?;
    if is_typed && password("The same again: ")? != first {
        return Err(Usage("the two passwords differ").into());
    }
    Ok(first)
}
