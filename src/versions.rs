//! `prognet upgrade check` and `prognet cluster finalize`: from one version to the next, without stopping.

use std::process::ExitCode;

use anyhow::bail;
use prognet_storage::{
    leases::Wire,
    postgres::{Finalized, Versions},
};
use serde_json::json;

use crate::{
    cluster,
    config::Given,
    report::{Output, report},
    say, store,
};

/// Says what an upgrade to this build would meet.
#[derive(Debug, clap::Args)]
pub(crate) struct Upgrade {
    #[command(subcommand)]
    command: UpgradeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UpgradeCommand {
    /// Whether nodes of this build can take the place of those that run, one after the other. Changes nothing.
    #[command(after_help = "Exit codes: 0 they can; 1 they cannot, or nobody knows; each reason is a line.")]
    Check {
        #[command(flatten)]
        given: Given,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Ends what nodes of two versions make possible together.
#[derive(Debug, clap::Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ClusterCommand {
    /// Lets nodes write what only this build's version reads, once all of them run it: there is no way back to the
    /// version before.
    Finalize {
        #[command(flatten)]
        given: Given,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

impl Upgrade {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let UpgradeCommand::Check { given, output } = self.command;
        let settings = given.load()?.storage;
        let Some(database) = store::address(&settings) else {
            bail!("`storage.url` names no database: a node with a data directory is stopped to be upgraded");
        };
        let versions = runtime()?.block_on(Versions::read(&database))?;
        let ours = cluster::wire();
        let reasons = reasons(&versions, ours);
        say(&told(&versions, ours, &reasons, output))?;
        Ok(if reasons.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Cluster {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let ClusterCommand::Finalize { given, output } = self.command;
        let settings = given.load()?.storage;
        let finalized = runtime()?.block_on(async {
            let Some(database) = store::database_unchanged(&settings).await? else {
                bail!("`storage.url` names no database: a node with a data directory has no other versions beside it");
            };
            Ok(database.finalize(cluster::wire().max).await?)
        });
        let Finalized { before, now } = finalized?;
        Ok(report(output, &json!({ "before": before, "finalized": now })))
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

fn told(versions: &Versions, ours: Wire, reasons: &[String], output: Output) -> String {
    let missing: Vec<_> = versions
        .missing
        .iter()
        .map(|step| {
            json!({
                "number": step.number, "name": step.name, "expands": step.expands,
            })
        })
        .collect();
    let members: Vec<_> = versions
        .members
        .iter()
        .map(|member| {
            json!({
                "name": member.node, "build": member.build.to_string(), "wire": span(member.wire),
            })
        })
        .collect();
    let found = json!({
        "is_safe": reasons.is_empty(),
        "build": cluster::build().to_string(),
        "wire": span(ours),
        "finalized": versions.finalized,
        "schema": versions.schema,
        "migrations": missing,
        "nodes": members,
        "reasons": reasons,
    });
    let mut text = report(output, &found);
    if output == Output::Text {
        reasons.iter().for_each(|reason| text.push_str(&format!("not safe: {reason}\n")));
    }
    text
}

fn span(wire: Wire) -> String {
    format!("{}-{}", wire.min, wire.max)
}

/// Why nodes of a build that speaks `ours` cannot take the place of those that run, one after the other.
fn reasons(versions: &Versions, ours: Wire) -> Vec<String> {
    let mut reasons = Vec::new();
    if versions.strange > 0 {
        reasons.push(format!(
            "the schema is at migration {}, and {} of those this build does not know do more than add: it is older",
            versions.schema, versions.strange
        ));
    }
    // Nobody can be in the way of a schema's beginning.
    let changing = versions.missing.iter().filter(|step| versions.schema > 0 && !step.expands);
    reasons.extend(changing.map(|step| {
        format!(
            "migration {} ({}) does more than add: nodes that run now would fail after it; stop all of them first",
            step.number, step.name
        )
    }));
    if let Some(finalized) = versions.finalized.filter(|finalized| !ours.reads(*finalized)) {
        let (span, advice) = (
            span(ours),
            if ours.max < finalized {
                "it is older than what may be written"
            } else {
                "go by the versions between, and run `prognet cluster finalize` with each"
            },
        );
        reasons.push(format!("version {finalized} is finalized, and this build speaks {span}: {advice}"));
    }
    reasons.extend(versions.members.iter().filter(|member| !member.wire.overlaps(ours)).map(|member| {
        format!(
            "node `{}` of version {} speaks {}, and this build {}: they have none in common",
            member.node,
            member.build,
            span(member.wire),
            span(ours)
        )
    }));
    reasons
}

#[cfg(test)]
mod tests {
    use prognet_storage::{
        leases::Build,
        postgres::{Member, SchemaStep},
    };

    use super::*;

    const OURS: Wire = Wire { min: 2, max: 3 };

    fn found(finalized: u16, min: u16, max: u16) -> Versions {
        let build = Build { major: 0, minor: 2, patch: 0 };
        let member = Member { node: "a".to_owned(), build, wire: Wire { min, max } };
        Versions {
            schema: 7,
            strange: 0,
            missing: Vec::new(),
            finalized: Some(finalized),
            members: vec![member],
        }
    }

    fn step(expands: bool) -> SchemaStep {
        SchemaStep { number: 8, name: "next", expands }
    }

    #[test]
    fn the_next_version_beside_what_runs_is_safe() {
        let adding = Versions { missing: vec![step(true)], ..found(2, 1, 2) };
        let new = Versions {
            schema: 0,
            missing: vec![step(false)],
            finalized: None,
            members: Vec::new(),
            strange: 0,
        };

        for versions in [found(2, 1, 2), found(3, 2, 3), adding, new] {
            assert_eq!(reasons(&versions, OURS), Vec::<String>::new());
        }
    }

    #[test]
    fn each_thing_in_the_way_is_a_reason_of_its_own() {
        for (versions, expected) in [
            (Versions { strange: 1, ..found(2, 1, 2) }, "it is older"),
            (Versions { missing: vec![step(false)], ..found(2, 1, 2) }, "migration 8 (next) does more"),
            (found(1, 1, 2), "version 1 is finalized"),
            (found(4, 3, 4), "version 4 is finalized"),
            (found(2, 1, 1), "none in common"),
        ] {
            let reasons = reasons(&versions, OURS);
            assert!(reasons.len() == 1 && reasons[0].contains(expected), "{expected}: {reasons:?}");
        }
    }
}
