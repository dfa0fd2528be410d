//! Setting up, signing in and out, and who one is.

use std::{
    fs,
    io::{self, IsTerminal},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;
use prognet_sdk::{SetUp, SignIn, client::Client};

use super::{NEAREST, Options, Usage, credentials::Credentials, environment, lines, print, tenant_id, typed};

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
     prognet login --email ada@example.org --url https://api.example.org < password.txt\n  \
     prognet login --email ada@example.org --tenant ten_..."
))]
pub(crate) struct Login {
    /// The account's address; asked for if it is not given.
    #[arg(long)]
    email: Option<String>,
    /// The tenant to go on for, `ten_...`; without one it is the platform.
    #[arg(long, value_parser = tenant_id)]
    tenant: Option<String>,
    #[command(flatten)]
    options: Options,
}

/// Goes on in the session for a tenant, or for the platform.
#[derive(Debug, Args)]
#[command(
    after_help = "One account belongs to many tenants, and is in one at a time: the commands to come ask for this \
                  one, and those still running do from the next token on. Its id is in `prognet members own`, which \
                  is asked for the platform. If the tenant lets you in no more, `prognet switch` leads out.\n\n\
                  Examples:\n  prognet switch ten_...\n  prognet switch"
)]
pub(crate) struct Switch {
    /// The tenant, `ten_...`; without one it is the platform.
    #[arg(value_parser = tenant_id)]
    tenant: Option<String>,
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
        let (password, tenant) = (password("Password: ")?, self.tenant);
        let sign_in = SignIn { email: email.clone(), password, tenant, device: None };
        let url = &self.options.url;
        let client = Client::new(url)?.keeping(Box::new(Credentials::of(url)?))?;
        let tokens = client.sign_in(&sign_in).await?;
        self.options.print(&tokens, |tokens| match &tokens.tenant {
            Some(tenant) => format!("signed in to {url} as {email}, for {tenant}\n"),
            None => format!("signed in to {url} as {email}\n"),
        })
    }
}

impl Switch {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if environment("PROGNET_TOKEN").is_some() {
            return Err(
                Usage("PROGNET_TOKEN is a token without a session: unset it to switch the one kept").into()
            );
        }
        let url = &self.options.url;
        let client = Client::new(url)?.keeping(Box::new(Credentials::of(url)?))?;
        let tokens = client.switch(self.tenant.as_deref()).await?;
        self.options.print(&tokens, |tokens| {
            let place = tokens.tenant.as_deref().unwrap_or("the platform");
            format!("at {url}, for {place} from now on\n")
        })
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
