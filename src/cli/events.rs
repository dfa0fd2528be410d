//! What happens, live or read back.

use std::{
    io::{self, Write},
    pin::pin,
};

use clap::Subcommand;
use futures_util::TryStreamExt;
use prognet_sdk::{
    EventView, LiveFrame,
    client::{Live, Page, Topic},
};

use super::{Options, tenant_id};

/// What can be asked about events.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints events as they happen, until it is stopped; a lost connection is made again where it broke.
    #[command(
        after_help = "Examples:\n  prognet events tail\n  prognet events tail --tenant ten_... --after CURSOR -o json"
    )]
    Tail {
        /// Only those of this tenant.
        #[arg(long, value_parser = tenant_id)]
        tenant: Option<String>,
        /// Begins behind this cursor instead of now.
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Prints a page of a tenant's events, oldest first.
    #[command(after_help = "Example:\n  prognet events list --tenant ten_... -o json | jq '.data[].type'")]
    List {
        /// The tenant.
        #[arg(long, value_parser = tenant_id)]
        tenant: String,
        /// The cursor to read on from: `next` of the page before.
        #[arg(long)]
        after: Option<String>,
        /// Events on the page.
        #[arg(long)]
        limit: Option<usize>,
        #[command(flatten)]
        options: Options,
    },
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Tail { tenant, after, options } => {
                let topic = tenant.map_or(Topic::System, Topic::Tenant);
                tail(&topic, after, &options).await
            }
            Self::List { tenant, after, limit, options } => {
                let page = options.client()?.events(&tenant, &Page { after, limit }).await?;
                options.print(&page, |page| {
                    let more = page.next.as_ref().map(|next| format!("more: --after {next}\n"));
                    page.data.iter().map(line).collect::<String>() + &more.unwrap_or_default()
                })
            }
        }
    }
}

async fn tail(topic: &Topic, after: Option<String>, options: &Options) -> anyhow::Result<()> {
    let mut live = pin!(options.client()?.live(topic, after));
    while let Some(told) = live.try_next().await? {
        match told {
            Live::Event(event) => options.print(&event, line)?,
            Live::Gap => {
                let gap = LiveFrame::Gap { topic: topic.to_string() };
                options
                    .print(&gap, |_| "(a gap: events were lost here; read the state again)\n".to_owned())?;
            }
            // Standard output is for events alone.
            Live::Interrupted(why) => {
                writeln!(io::stderr(), "the connection was lost ({why}); going on where it broke")?;
            }
        }
    }
    Ok(())
}

fn line(event: &EventView) -> String {
    format!("{}  {:20}  {}  {}\n", event.at, event.kind, event.id, event.data)
}
