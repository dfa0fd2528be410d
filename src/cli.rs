//! Commands that ask a running node, over the same SDK everybody else has.

mod accounts;
mod credentials;
mod events;
mod invitations;
mod members;
mod nodes;
mod session;
mod tenants;

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use prognet_sdk::{
    Problem,
    client::{Client, Error, Page},
};
use serde::Serialize;

use credentials::Credentials;

use crate::report::Output;

/// What can be asked of a running node.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes the first platform admin with the setup link of a new node.
    Setup(session::Setup),
    /// Signs in, and keeps the session for the commands to come.
    Login(session::Login),
    /// Ends the session and forgets it.
    Logout(session::Plain),
    /// Goes on in the session for a tenant, or for the platform.
    Switch(session::Switch),
    /// Says who is signed in.
    Whoami(session::Plain),
    /// Prints an access token that is good for a while yet, e.g. for curl.
    #[command(
        after_help = "Example:\n  curl -H \"Authorization: Bearer $(prognet token)\" http://127.0.0.1:8080/v1/me"
    )]
    Token(session::Plain),
    /// Creates, reads, lists, renames, suspends and resumes tenants.
    #[command(subcommand)]
    Tenants(tenants::Command),
    /// Lists the members of tenants, gives them roles, suspends and removes them.
    #[command(subcommand)]
    Members(members::Command),
    /// Asks people into a tenant by mail, lists and revokes that, and accepts.
    #[command(subcommand)]
    Invitations(invitations::Command),
    /// Finds accounts, keeps people out and lets them in again: for platform admins.
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Follows what happens, or reads it back.
    #[command(subcommand)]
    Events(events::Command),
    /// Shows the nodes of a cluster, and lets them leave: for platform admins.
    Nodes(nodes::Nodes),
    /// Shows which node owns which shards: for platform admins.
    Shards(nodes::Shards),
}

/// The node that is asked if none is named.
const NEAREST: &str = "http://127.0.0.1:8080";

/// What every command that asks a node takes.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The node.
    #[arg(long, env = "PROGNET_URL", default_value = NEAREST)]
    url: String,
    /// Text for people, or JSON exactly as the API gives it, one object a line.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Options {
    /// A client of the node: with the token of `PROGNET_TOKEN` if there is one, else in the session that is kept.
    fn client(&self) -> anyhow::Result<Client> {
        let client = Client::new(&self.url)?;
        match environment("PROGNET_TOKEN") {
            Some(token) => Ok(client.with_token(token)),
            None => Ok(client.keeping(Box::new(Credentials::of(&self.url)?))?),
        }
    }

    /// Says that it is done, where the API has no more to say.
    fn done(&self, said: &str) -> anyhow::Result<()> {
        self.print(&serde_json::json!({}), |_| format!("{said}\n"))
    }

    /// Prints an answer in the way that is wanted.
    fn print<T: Serialize>(&self, answer: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.output {
            Output::Text => print(&text(answer)),
            Output::Json => print(&format!("{}\n", serde_json::to_string(answer)?)),
        }
    }
}

/// Runs a command; its exit code is 0 if it did what it says, 1 if not, 2 if it was asked wrongly.
pub(crate) fn run(command: Command) -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(ask(command)));
    let Err(error) = done else { return ExitCode::SUCCESS };
    let is_closed = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(is_closed) {
        // Whoever read the output has enough of it.
        return ExitCode::SUCCESS;
    }
    // There is nobody to tell if standard error is closed too.
    drop(io::stderr().write_all(complaint(&error).as_bytes()));
    let is_usage = error.is::<Usage>() || matches!(error.downcast_ref(), Some(Error::Url(_)));
    if is_usage { ExitCode::from(2) } else { ExitCode::FAILURE }
}

async fn ask(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Setup(setup) => setup.run().await,
        Command::Login(login) => login.run().await,
        Command::Logout(plain) => plain.logout().await,
        Command::Switch(switch) => switch.run().await,
        Command::Whoami(plain) => plain.whoami().await,
        Command::Token(plain) => plain.token().await,
        Command::Tenants(command) => command.run().await,
        Command::Members(command) => command.run().await,
        Command::Invitations(command) => command.run().await,
        Command::Accounts(command) => command.run().await,
        Command::Events(command) => command.run().await,
        Command::Nodes(nodes) => nodes.run().await,
        Command::Shards(shards) => shards.run().await,
    }
}

/// It was asked wrongly, in a way the arguments alone do not show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(&'static str);

/// What went wrong, for people.
fn complaint(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Error>() {
        Some(Error::Problem { problem, .. }) => refusal(problem),
        Some(Error::NoSession) => format!("prognet: {error}\n  sign in with `prognet login`\n"),
        Some(_) | None => format!("prognet: {error:#}\n"),
    }
}

fn refusal(problem: &Problem) -> String {
    let Problem { kind, title, status, detail, errors, request_id } = problem;
    let mut text = format!("prognet: {title} ({status})\n");
    if !detail.is_empty() {
        text.push_str(&format!("  {detail}\n"));
    }
    for error in errors {
        text.push_str(&format!("  {}: {}\n", error.field, error.detail));
    }
    text.push_str(&format!("  type: {kind}\n"));
    if !request_id.is_empty() {
        text.push_str(&format!("  request: {request_id}\n"));
    }
    if *status == 401 && !kind.ends_with("/session/credentials") {
        text.push_str("  sign in with `prognet login`, or set PROGNET_TOKEN\n");
    }
    text
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Lines of a name and a value each.
fn lines(fields: &[(&str, &str)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    fields.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// A value of the environment: what is secret, or given by the system, and therefore no argument.
#[expect(clippy::disallowed_methods, reason = "arguments show in the list of processes; secrets must not")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A line somebody types, or pipes in.
fn typed(prompt: &str) -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        let mut err = io::stderr().lock();
        err.write_all(prompt.as_bytes())?;
        err.flush()?;
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(crate) struct Part {
    /// Items on a page.
    #[arg(long)]
    limit: Option<usize>,
    /// The cursor to read on from: `next` of the page before.
    #[arg(long)]
    after: Option<String>,
}

impl Part {
    fn page(self) -> Page {
        Page { after: self.after, limit: self.limit }
    }
}

/// A line an item, and how to read on.
fn listed<T>(items: &[T], next: Option<&str>, line: impl Fn(&T) -> String) -> String {
    let more = next.map(|next| format!("more: --after {next}\n"));
    items.iter().map(line).chain(more).collect()
}

/// A tenant.
#[derive(Debug, Args)]
pub(crate) struct OfTenant {
    /// The tenant, `ten_...`.
    #[arg(value_parser = tenant_id)]
    tenant: String,
    #[command(flatten)]
    options: Options,
}

/// A tenant's id, as far as its shape goes.
fn tenant_id(text: &str) -> Result<String, &'static str> {
    if text.starts_with("ten_") { Ok(text.to_owned()) } else { Err("a tenant's id begins with `ten_`") }
}
