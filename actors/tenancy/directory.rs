//! The directory: all tenants in the order they were founded, for lists.

use prognet_supervisor::{Projection, Recorded, Rows, TierError, Timestamp};
use serde::{Deserialize, Serialize};

use super::tenant::{self, Status, Tenant};
use crate::{
    ids::TenantId,
    values::{Colour, Slug, TenantName},
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
    /// Its colour, if it has one.
    pub colour: Option<Colour>,
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
    /// What the keys of all rows begin with.
    pub const PREFIX: &'static [u8] = b"t";
}

/// Rows lie in the order tenants were founded; two of one moment by id.
fn row_key(created_at: Timestamp, id: TenantId) -> Vec<u8> {
    let mut key = Directory::PREFIX.to_vec();
    key.extend_from_slice(&created_at.as_millis().to_be_bytes());
    key.extend_from_slice(&id.number().to_be_bytes());
    key
}

/// Where a tenant's row is found by its id: the time it was founded at.
fn time_key(id: TenantId) -> Vec<u8> {
    let mut key = b"i".to_vec();
    key.extend_from_slice(&id.number().to_be_bytes());
    key
}

impl Projection for Directory {
    const NAME: &'static str = "directory";
    const VERSION: u32 = 3;

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(event) = recorded.of::<Tenant>()? else {
            return Ok(());
        };
        let (id, home) = (TenantId::new(recorded.id), recorded.home);
        if let tenant::Event::Created { name, slug, at, .. } = event {
            let status = Status::Active;
            let row = Row { id, name, slug, colour: None, status, version: 1, epoch: 0, created_at: at };
            rows.put(&time_key(id), home, &at)?;
            return rows.put(&row_key(at, id), home, &row);
        }
        let Some(created_at) = rows.get::<Timestamp>(&time_key(id)).await? else {
            return Ok(());
        };
        let key = row_key(created_at, id);
        let Some(mut row) = rows.get::<Row>(&key).await? else {
            return Ok(());
        };
        row.version += 1;
        match event {
            tenant::Event::Created { .. }
            | tenant::Event::OwnerAdded { .. }
            | tenant::Event::OwnerRemoved { .. }
            | tenant::Event::OwnerExcused { .. }
            | tenant::Event::OwnerTakenBack { .. }
            | tenant::Event::RoleDefined { .. }
            | tenant::Event::SessionsLimited { .. } => {}
            tenant::Event::Renamed { name, .. } => row.name = name,
            tenant::Event::Painted { colour, .. } => row.colour = colour,
            tenant::Event::Suspended { reason, until, at } => {
                row.status = Status::Suspended { since: at, reason, until };
                row.epoch += 1;
            }
            tenant::Event::Resumed { .. } => row.status = Status::Active,
        }
        rows.put(&key, home, &row)
    }
}
