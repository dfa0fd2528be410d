//! Ties: finds out for whoever leaves which tenants they own, and in the end which they belong to.
//!
//! Only the list of members knows that, and it follows what happened: it is read once it has seen the very event
//! that asks, and with it every membership from before.

use std::time::Duration;

use prognet_supervisor::{
    Aggregate, Asking, Name, Node, Reader, ReaderError, Recorded, Refused, Unavailable, Written,
};

use super::leaving::{Command, Event, Leaving};
use crate::{
    ids::{AccountId, TenantId},
    tenancy::{Members, Role, members::Row},
};

/// How long the list may take to follow before it is asked again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rows read at once.
const ROWS: usize = 200;

/// See the module.
#[derive(Debug)]
pub struct Ties;

impl Reader for Ties {
    const NAME: &'static str = "ties";

    fn concerns(&self, kind: Name) -> bool {
        kind == Leaving::KIND.name
    }

    async fn take(&self, event: &Recorded, node: &Node) -> Result<(), ReaderError> {
        let (owned, asked_at) = match event.of::<Leaving>()? {
            Some(Event::Started { at, .. }) => (true, at),
            Some(Event::Ended { at }) => (false, at),
            _ => return Ok(()),
        };
        let account = AccountId::new(event.home.id);
        let deadline = node.clock().now().after(PATIENCE);
        let written = Written { shard: event.shard, offset: event.offset };
        node.caught_up::<Members>(written, deadline).await?;
        let tenants = tenants(account, owned, node).await?;
        let command =
            if owned { Command::Owns { tenants, asked_at } } else { Command::Belongs { tenants, asked_at } };
        let asking = Asking { asker: event.by, key: None, trace: event.trace, deadline };
        match node.ask(&asking, Leaving::at(account), command).await {
            // Whoever is erased has left.
            Ok(_) | Err(Refused::Erased) => Ok(()),
            // It waits for an operator: no reason to hold up all others.
            Err(
                refused @ (Refused::Unavailable(Unavailable::Quarantined)
                | Refused::KeyReused
                | Refused::Poison
                | Refused::Fault),
            ) => {
                tracing::error!(account.id = %account, error = &refused as &dyn std::error::Error, "somebody who leaves is not told what they belong to");
                Ok(())
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

/// The tenants of an account: those it owns, or all.
async fn tenants(account: AccountId, owned: bool, node: &Node) -> Result<Vec<TenantId>, ReaderError> {
    let (mut tenants, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let prefix = Members::of_account(account);
        let rows = node.rows::<Members, Row>(&prefix, after.as_deref(), ROWS).await?;
        let Some((last, _)) = rows.last() else { return Ok(tenants) };
        after = Some(last.clone());
        let meant = rows.iter().filter(|(_, row)| !owned || row.role == Role::Owner);
        tenants.extend(meant.map(|(_, row)| row.tenant));
    }
}
