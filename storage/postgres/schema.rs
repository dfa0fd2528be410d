//! The tables, made and changed by numbered migrations.
//!
//! Each runs in a transaction of its own and is recorded in the table `migration` by the same transaction. Two
//! processes that open one store at once agree by that table's key: the later waits for the earlier and then finds the
//! migration done.

use tokio_postgres::{Client, error::SqlState};

/// A step of the schema. One that has been released never changes.
struct Migration {
    number: i32,
    name: &'static str,
    sql: &'static str,
    /// Whether builds that do not know it may go on: it only adds.
    expands: bool,
}

/// The first migration whose row can say whether it expands.
const TOLD_SINCE: i32 = 7;

const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "journal", sql: include_str!("migrations/0001_journal.sql"), expands: true },
    Migration { number: 2, name: "tier", sql: include_str!("migrations/0002_tier.sql"), expands: true },
    Migration { number: 3, name: "keys", sql: include_str!("migrations/0003_keys.sql"), expands: true },
    Migration {
        number: 4,
        name: "writers",
        sql: include_str!("migrations/0004_writers.sql"),
        expands: false,
    },
    Migration { number: 5, name: "nodes", sql: include_str!("migrations/0005_nodes.sql"), expands: true },
    Migration { number: 6, name: "arrival", sql: include_str!("migrations/0006_arrival.sql"), expands: true },
    Migration {
        number: 7,
        name: "versions",
        sql: include_str!("migrations/0007_versions.sql"),
        expands: true,
    },
];

const RECORD: &str = "create table if not exists migration (
    number integer primary key,
    name text not null,
    at timestamptz not null default now()
)";

const EXPANDS: &str = "update migration set expands = true where number = $1";
/// How many of the migrations that a build does not know keep it out.
const STRANGE: &str = "select count(*) from migration where number > $1 and not expands";

/// How many races with other processes may be lost; in each of them another one got on.
const ROUNDS: usize = 100;

/// Why the schema cannot be used.
#[derive(Debug)]
pub(super) enum MigrationError {
    /// It belongs to a newer build.
    Newer { found: i32, known: i32 },
    /// A statement failed.
    Statement { what: String, source: tokio_postgres::Error },
}

/// Runs what is missing.
pub(super) async fn bring_up_to_date(client: &mut Client) -> Result<(), MigrationError> {
    let mut races = 0;
    loop {
        let found = last_of(client).await.map_err(unread)?;
        if found > known() {
            return is_known(client).await;
        }
        let Some(next) = MIGRATIONS.iter().find(|migration| migration.number > found) else {
            return Ok(());
        };
        match run(client, next).await {
            Ok(()) => tracing::info!(number = next.number, name = next.name, "migrated the store's schema"),
            Err(error) if is_race(&error) && races < ROUNDS => races += 1,
            Err(source) => {
                let what = format!("run migration {} ({})", next.number, next.name);
                return Err(MigrationError::Statement { what, source });
            }
        }
    }
}

/// Changes nothing; refuses a schema of a newer build that does more than add.
pub(super) async fn is_known(client: &Client) -> Result<(), MigrationError> {
    match look(client).await {
        Ok((_, 0)) => Ok(()),
        Ok((found, _)) => Err(MigrationError::Newer { found, known: known() }),
        Err(error) => Err(unread(error)),
    }
}

fn known() -> i32 {
    MIGRATIONS.last().map_or(0, |last| last.number)
}

fn unread(source: tokio_postgres::Error) -> MigrationError {
    MigrationError::Statement { what: "read the schema's state".to_owned(), source }
}

/// The newest migration; 0 before the first.
async fn last_of(client: &Client) -> Result<i32, tokio_postgres::Error> {
    // Not `create table if not exists` right away: a user may use tables that it may not make.
    match client.query_one("select coalesce(max(number), 0) from migration", &[]).await {
        Ok(row) => row.try_get(0),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            match client.batch_execute(RECORD).await {
                Err(error) if !is_race(&error) => Err(error),
                _ => Ok(0),
            }
        }
        Err(error) => Err(error),
    }
}

async fn run(client: &mut Client, migration: &Migration) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    // First, so that whoever comes second waits here.
    let mark = "insert into migration (number, name) values ($1, $2)";
    transaction.execute(mark, &[&migration.number, &migration.name]).await?;
    transaction.batch_execute(migration.sql).await?;
    if migration.expands && migration.number >= TOLD_SINCE {
        transaction.execute(EXPANDS, &[&migration.number]).await?;
    }
    transaction.commit().await
}

/// Whether another process was quicker with the same step.
fn is_race(error: &tokio_postgres::Error) -> bool {
    let races = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| races.contains(code))
}

/// What this build would change about a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaStep {
    /// Its number.
    pub number: i32,
    /// Its name.
    pub name: &'static str,
    /// Whether builds that do not know it may go on.
    pub expands: bool,
}

/// The newest migration of a schema, 0 without one, and how many that this build does not know keep it out. Changes
/// nothing.
pub(super) async fn look(client: &Client) -> Result<(i32, i64), tokio_postgres::Error> {
    let found = match client.query_one("select coalesce(max(number), 0) from migration", &[]).await {
        Ok(row) => row.try_get(0)?,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => 0,
        Err(error) => return Err(error),
    };
    let strange = match found > known() {
        true => client.query_one(STRANGE, &[&known()]).await?.try_get(0)?,
        false => 0,
    };
    Ok((found, strange))
}

/// What this build would do to a schema that is there.
pub(super) fn missing(found: i32) -> Vec<SchemaStep> {
    let steps = MIGRATIONS.iter().filter(|migration| migration.number > found);
    steps.map(|&Migration { number, name, expands, .. }| SchemaStep { number, name, expands }).collect()
}
