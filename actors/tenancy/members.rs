//! Members: who belongs to a tenant, and to which tenants somebody belongs, for lists. Ids only: names and
//! addresses are the accounts' own.

use prognet_supervisor::{Home, Projection, Recorded, Rows, TierError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    membership::{self, Membership, Status},
    role::Role,
    tenant::{self, Tenant},
};
use crate::ids::{AccountId, TenantId};

/// See the module.
#[derive(Debug)]
pub struct Members;

/// A member in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The tenant.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// What it is there.
    pub role: Role,
    /// Whether it is let in.
    pub status: Status,
    /// When it was admitted last.
    pub joined_at: Timestamp,
}

impl Members {
    /// What the keys of a tenant's members begin with.
    #[must_use]
    pub fn of_tenant(tenant: TenantId) -> Vec<u8> {
        key(b'm', tenant.number(), None)
    }

    /// What the keys of a person's tenants begin with.
    #[must_use]
    pub fn of_account(account: AccountId) -> Vec<u8> {
        key(b'a', account.number(), None)
    }
}

fn key(list: u8, whose: u128, which: Option<u128>) -> Vec<u8> {
    let mut key = vec![list];
    key.extend_from_slice(&whose.to_be_bytes());
    key.extend(which.map(u128::to_be_bytes).into_iter().flatten());
    key
}

/// A row's keys: the tenant's list has the accounts by age, the person's list the tenants.
fn keys(tenant: TenantId, account: AccountId) -> [Vec<u8>; 2] {
    let (tenant, account) = (tenant.number(), account.number());
    [key(b'm', tenant, Some(account)), key(b'a', account, Some(tenant))]
}

fn put(row: Row, home: Home, rows: &mut Rows<'_>) -> Result<(), TierError> {
    keys(row.tenant, row.account).iter().try_for_each(|key| rows.put(key, home, &row))
}

impl Projection for Members {
    const NAME: &'static str = "members";

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let (home, tenant) = (recorded.home, TenantId::new(recorded.home.id));
        let (status, joined_at) = (Status::Active, recorded.at);
        // Tenants from before there were memberships have nothing else that names their owner.
        if let Some(tenant::Event::Created { owner, .. }) = recorded.of::<Tenant>()? {
            return put(Row { tenant, account: owner, role: Role::Owner, status, joined_at }, home, rows);
        }
        let Some(event) = recorded.of::<Membership>()? else {
            return Ok(());
        };
        let account = AccountId::new(recorded.id);
        if let membership::Event::Admitted { role, at } = event {
            return put(Row { tenant, account, role, status, joined_at: at }, home, rows);
        }
        let [by_tenant, by_account] = keys(tenant, account);
        let Some(mut row) = rows.get::<Row>(&by_tenant).await? else {
            return Ok(());
        };
        match event {
            membership::Event::Admitted { .. }
            | membership::Event::OwnershipSought { .. }
            | membership::Event::OwnershipYielded { .. }
            | membership::Event::OwnershipKept { .. } => return Ok(()),
            membership::Event::RoleChanged { role, .. } => row.role = role,
            membership::Event::Suspended { at } => row.status = Status::Suspended { since: at },
            membership::Event::Resumed { .. } => row.status = Status::Active,
            membership::Event::Removed { .. } => {
                rows.delete(&by_tenant);
                rows.delete(&by_account);
                return Ok(());
            }
        }
        put(row, home, rows)
    }
}
