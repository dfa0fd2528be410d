//! Builds of two versions on one store: what each speaks, what may be written, and the end of the way back.

#[cfg(test)]
mod tests;

use tokio_postgres::{Client, Row};

use super::{OpenError, Settings, Store, StoreError, connect::Connector, schema};
use crate::leases::{Build, Wire};

/// The migrations that made these tables and columns.
pub(super) const NODES_SINCE: i32 = 5;
const FINALIZED_SINCE: i32 = 7;

/// A node whose lease is over may still come back, as long as nobody has declared it down.
const MEMBERS: &str = "select node, build_major, build_minor, build_patch, wire_min, wire_max from node
    where status <> 'down' order by node, incarnation";
/// Held until the end: whoever joins waits here, and reads again.
const HOLD: &str = "select finalized from cluster_meta for update";
const RAISE: &str = "update cluster_meta set finalized = $1, view = view + 1, view_at = clock_timestamp()";

/// A node that is not down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// What it runs.
    pub build: Build,
    /// What it speaks.
    pub wire: Wire,
}

/// How a store stands towards this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The newest migration of its schema; 0 if there is nothing.
    pub schema: i32,
    /// Migrations of it that this build does not know and that keep it out.
    pub strange: u64,
    /// What this build would do to it.
    pub missing: Vec<schema::SchemaStep>,
    /// The version that everybody may write; none without a cluster.
    pub finalized: Option<u16>,
    /// Who is not down.
    pub members: Vec<Member>,
}

/// What finalizing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalized {
    /// What it was.
    pub before: u16,
    /// What it is.
    pub now: u16,
}

/// Why nothing was finalized, or read.
#[derive(Debug, thiserror::Error)]
pub enum VersionsError {
    /// No node is here, so nobody says which version to finalize.
    #[error("no node runs on this database: start the nodes of the new version first")]
    Nobody,
    /// No node of this build was here yet.
    #[error(
        "the schema is at migration {found}, which is an earlier version's: start the nodes of the new version first"
    )]
    Schema {
        /// Its newest migration.
        found: i32,
    },
    /// A node speaks less than is asked for.
    #[error(
        "node `{node}` of version {build} speaks versions up to {speaks}, and {wanted} is to be finalized: upgrade it \
         first, or wait until it is down"
    )]
    Behind {
        /// Which node.
        node: String,
        /// What it runs.
        build: Build,
        /// What it speaks.
        speaks: u16,
        /// What was asked for.
        wanted: u16,
    },
    /// The store does not open.
    #[error("failed to open the database")]
    Open(#[from] OpenError),
    /// The store did not answer.
    #[error("the database did not answer")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for VersionsError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<tokio_postgres::Error> for VersionsError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

impl Versions {
    /// Reads them, and changes nothing: not even the schema.
    ///
    /// # Errors
    /// When the store is not reached or does not answer.
    pub async fn read(settings: &Settings) -> Result<Self, VersionsError> {
        let connector = Connector::new(settings)?;
        let session = connector.connect().await.map_err(|error| connector.refused(error))?;
        let client = &session.client;
        let (found, strange) = schema::look(client).await?;
        let mut versions = Self {
            schema: found,
            strange: strange.unsigned_abs(),
            missing: schema::missing(found),
            finalized: None,
            members: Vec::new(),
        };
        if found >= NODES_SINCE {
            versions.members = members(&client.query(MEMBERS, &[]).await?)?;
            versions.finalized = finalized(client, found).await?;
        }
        Ok(versions)
    }
}

async fn finalized(client: &Client, found: i32) -> Result<Option<u16>, tokio_postgres::Error> {
    let column = if found >= FINALIZED_SINCE { "finalized" } else { "1" };
    let row = client.query_opt(&format!("select {column} from cluster_meta"), &[]).await?;
    row.map(|row| row.try_get(0).map(version)).transpose()
}

impl Store {
    /// Raises what may be written to a version, once all nodes speak it: builds that do not are refused from then on.
    ///
    /// # Errors
    /// When nobody is here, somebody speaks less than `wanted`, or the store does not answer.
    pub async fn finalize(&self, wanted: u16) -> Result<Finalized, VersionsError> {
        let mut client = self.client().await?;
        match schema::look(&client).await? {
            (0, _) => return Err(VersionsError::Nobody),
            (found, _) if !schema::missing(found).is_empty() => return Err(VersionsError::Schema { found }),
            (_, _) => {}
        }
        let transaction = client.transaction().await?;
        let held = transaction.query_opt(HOLD, &[]).await?.ok_or(VersionsError::Nobody)?;
        let before = version(held.try_get(0)?);
        // A statement of its own: it sees whoever joined before the row was held.
        let members = members(&transaction.query(MEMBERS, &[]).await?)?;
        if members.is_empty() {
            return Err(VersionsError::Nobody);
        }
        if let Some(Member { node, build, wire }) = members.iter().find(|member| member.wire.max < wanted) {
            let (node, build, speaks) = (node.clone(), *build, wire.max);
            return Err(VersionsError::Behind { node, build, speaks, wanted });
        }
        let now = before.max(wanted);
        if now > before {
            transaction.execute(RAISE, &[&i32::from(now)]).await?;
        }
        transaction.commit().await?;
        Ok(Finalized { before, now })
    }
}

fn version(number: i32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn members(rows: &[Row]) -> Result<Vec<Member>, tokio_postgres::Error> {
    let member = |row: &Row| {
        let number = |at: usize| row.try_get::<_, i32>(at).map(version);
        let build = Build { major: number(1)?, minor: number(2)?, patch: number(3)? };
        Ok(Member { node: row.try_get(0)?, build, wire: Wire { min: number(4)?, max: number(5)? } })
    };
    rows.iter().map(member).collect()
}
