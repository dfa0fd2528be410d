//! `prognet audit`: whether the journal still holds what it held when somebody noted the heads of its chain.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, bail};
use prognet_actors::ids::{AccountId, TenantId};
use prognet_storage::{
    Home, HomeKind, Name,
    chain::{Finding, Head, Noted, Verified, verify},
};
use serde_json::{Value, json};

use crate::{
    config::Given,
    report::{Output, report},
    store,
};

/// Checks the audit chain; reads only, while the node runs or not, and needs no keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Recomputes the chain of every home from the journal of a node or a backup, and compares it with heads that
    /// were noted before.
    #[command(
        after_help = "Heads are in every page of an audit trail (`GET /v1/tenants/{tenant}/audit`, `/v1/me/activity`)\nand in what this command prints with `-o json`. Keep them where whoever can write the journal cannot."
    )]
    Verify {
        #[command(flatten)]
        given: Given,
        /// Shows this home alone, and says which one heads without a home are of: `ten_...` or `acc_...`.
        #[arg(long, value_parser = home)]
        home: Option<Home>,
        /// A head that was noted of that home, e.g. `tenancy@41:9f2c...`; may be repeated.
        #[arg(long = "head", value_name = "SERVICE@RECORDS:HASH", requires = "home")]
        heads: Vec<NotedHead>,
        /// A file with heads that were noted: pages of a trail, or what this command said as JSON.
        #[arg(long = "heads", value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How the result is printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// A head without its home.
#[derive(Debug, Clone)]
struct NotedHead(Name, Head);

impl FromStr for NotedHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('@').and_then(|(service, rest)| Some((service, rest.split_once(':')?)));
        let noted = parts.and_then(|(service, (records, hash))| noted(service, records.parse().ok()?, hash));
        noted.ok_or("a head is a service, `@`, a number of records, `:` and 64 hex digits")
    }
}

fn noted(service: &str, records: u64, hash: &str) -> Option<NotedHead> {
    Some(NotedHead(Name::parse(service)?, Head::noted(records, hash).filter(|head| head.records > 0)?))
}

/// A home by the id of its tenant, account, or entity of the platform.
fn home(text: &str) -> Result<Home, &'static str> {
    let hex = text.strip_prefix("platform/").and_then(|id| u128::from_str_radix(id, 16).ok());
    let platform = hex.map(|id| Home { kind: HomeKind::Platform, id });
    let tenant = || text.parse().ok().map(TenantId::home);
    let account = || text.parse().ok().map(AccountId::home);
    platform.or_else(tenant).or_else(account).ok_or("a home is `ten_...` or `acc_...`")
}

/// The way back from [`home`].
fn named(home: Home) -> String {
    match home.kind {
        HomeKind::Tenant => TenantId::new(home.id).to_string(),
        HomeKind::Account => AccountId::new(home.id).to_string(),
        HomeKind::Platform => format!("platform/{:032x}", home.id),
    }
}

impl Audit {
    pub(crate) fn run(self) -> anyhow::Result<String> {
        let Command::Verify { given, home, heads, files, output } = self.command;
        let journal = store::own_journal(&given.load()?.storage)?;
        let of_home = |NotedHead(service, head)| home.map(|home| Noted { home, service, head });
        let mut noted: Vec<_> = heads.into_iter().filter_map(of_home).collect();
        for file in files {
            let context = || format!("failed to read heads from `{}`", file.display());
            let text = std::fs::read_to_string(&file).with_context(context)?;
            let before = noted.len();
            for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
                collect(&value.with_context(context)?, home, &mut noted).with_context(context)?;
            }
            if noted.len() == before {
                bail!("there are no heads in `{}`", file.display());
            }
        }
        let verified =
            verify(&journal, &noted).with_context(|| format!("failed to verify `{}`", journal.display()))?;
        match verified.findings.as_slice() {
            [] => Ok(said(&verified, home, output)),
            findings => bail!(
                "the audit chain does not hold, in {} places:\n{}",
                findings.len(),
                findings.iter().map(|finding| format!("  {}\n", told(finding))).collect::<String>()
            ),
        }
    }
}

/// Every head in a document, wherever it lies; one that names its home is of that, any other of `of`.
fn collect(value: &Value, of: Option<Home>, heads: &mut Vec<Noted>) -> anyhow::Result<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, of, heads)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            let records = fields.get("records").and_then(Value::as_u64);
            if let (Some(service), Some(records), Some(hash)) = (text("service"), records, text("hash")) {
                let NotedHead(service, head) =
                    noted(service, records, hash).with_context(|| format!("no head: {value}"))?;
                let named = text("home").map(home).transpose().map_err(anyhow::Error::msg)?;
                let home = named.or(of).context("say with --home which home its heads are of")?;
                heads.push(Noted { home, service, head });
                return Ok(());
            }
            fields.values().try_for_each(|field| collect(field, of, heads))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// What is proven, and what is not.
fn said(verified: &Verified, of: Option<Home>, output: Output) -> String {
    let Verified { records, heads, holding, findings: _ } = verified;
    let shown = heads.iter().filter(|((home, _), _)| of.is_none_or(|of| of == *home));
    let heads: Vec<_> = shown
        .map(|((home, service), head)| {
            json!({ "home": named(*home), "service": service, "records": head.records, "hash": head.hex() })
        })
        .collect();
    let mut text = report(output, &json!({ "records": records, "heads_holding": holding, "heads": heads }));
    if output == Output::Text {
        if of.is_some() {
            text.extend(heads.iter().map(|head| {
                format!("{}@{}:{}\n", word(&head["service"]), head["records"], word(&head["hash"]))
            }));
        }
        text.push_str(match holding {
            0 => {
                "Every record follows the one before it. No head was given, so nothing says that they are the\n\
                 records that were written: compare with heads noted before (--head, --heads).\n"
            }
            _ => {
                "Every head given holds: up to there the records are what they were when it was noted, all of\n\
                 them, in their order. Of what came later, nothing is known but that it follows.\n"
            }
        });
    }
    text
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// One thing that is wrong, for people.
fn told(finding: &Finding) -> String {
    match finding {
        Finding::Gap { shard, expected, found } => {
            format!("shard {shard}: record {expected} is not there; what comes instead is {found}")
        }
        Finding::Skipped { home, expected, found: (place, seq) } => {
            format!(
                "{}: an entity's record {expected} is not there; what comes instead is its {seq}: {place}",
                named(*home)
            )
        }
        Finding::Cut { noted: Noted { home, service, head }, records } => {
            let noted = head.records;
            format!(
                "{}: {service} has {records} records, and had {noted} when the head was noted",
                named(*home)
            )
        }
        Finding::Differs { noted: Noted { home, service, head }, sound, last } => {
            let (home, from, to) = (named(*home), sound + 1, head.records);
            if from == to {
                format!("{home}: record {to} of {service} is not what it was: {last}")
            } else {
                format!(
                    "{home}: something in records {from} to {to} of {service}, the last of which is {last}, was changed, removed, inserted or moved"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_known_by_its_name() {
        for home_named in
            [TenantId::new(1).home(), AccountId::new(2).home(), Home { kind: HomeKind::Platform, id: 3 }]
        {
            assert_eq!(home(&named(home_named)), Ok(home_named));
        }
        assert!(home("x").is_err());
    }

    #[test]
    fn heads_are_found_wherever_they_lie_in_a_document() {
        let hash = "ab".repeat(32);
        let head = json!({ "service": "tenancy", "records": 2, "hash": hash });
        let of = json!({ "home": "acc_00000000000000000000000001", "service": "users", "records": 1, "hash": hash });
        let page = json!({ "data": [{ "at": "x", "chain": head }], "heads": [head, of], "next": null });
        let mut found = Vec::new();

        collect(&page, Some(TenantId::new(1).home()), &mut found).unwrap();

        let homes: Vec<_> = found.iter().map(|noted| noted.home).collect();
        assert_eq!(homes, [TenantId::new(1).home(), TenantId::new(1).home(), AccountId::new(1).home()]);
        assert!(collect(&page, None, &mut Vec::new()).is_err(), "whose is it?");
        let wrong = json!({ "service": "tenancy", "records": 2, "hash": "ab" });
        assert!(collect(&wrong, Some(TenantId::new(1).home()), &mut Vec::new()).is_err());
    }
}
