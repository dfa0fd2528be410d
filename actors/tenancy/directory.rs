//! The directory: all tenants in the order they were founded, for lists.

use prognet_supervisor::{Projection, Recorded, Rows, TierError, Timestamp};
use serde::{Deserialize, Serialize};

use super::tenant::{self, Status, Tenant};
use crate::{
    ids::TenantId,
    values::{Slug, TenantName},
};

/// See the module.
#[derive(Debug)]
pub struct Directory;

/// A tenant in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: TenantName,
    /// Its name in addresses.
    pub slug: Slug,
    /// Whether it is open.
    pub status: Status,
    /// Its version.
    pub version: u64,
    /// Its epoch.
    pub epoch: u64,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Directory {
    /// The key of a tenant's row: ids sort by age.
    #[must_use]
    pub const fn key(id: TenantId) -> [u8; 16] {
        id.number().to_be_bytes()
    }
}

impl Projection for Directory {
    const NAME: &'static str = "directory";

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(event) = recorded.of::<Tenant>() else {
            return Ok(());
        };
        let id = TenantId::new(recorded.id);
        if let tenant::Event::Created { name, slug, at, .. } = event {
            let status = Status::Active;
            let row = Row { id, name, slug, status, version: 1, epoch: 0, created_at: at };
            return rows.put(&Self::key(id), recorded.home, &row);
        }
        let Some(mut row) = rows.get::<Row>(&Self::key(id)).await? else {
            return Ok(());
        };
        row.version += 1;
        match event {
            tenant::Event::Created { .. } => {}
            tenant::Event::Renamed { name, .. } => row.name = name,
            tenant::Event::Suspended { reason, until, at } => {
                row.status = Status::Suspended { since: at, reason, until };
                row.epoch += 1;
            }
            tenant::Event::Resumed { .. } => row.status = Status::Active,
        }
        rows.put(&Self::key(id), recorded.home, &row)
    }
}
