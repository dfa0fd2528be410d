//! The audit trail: every event of a home, by time: who did what to what. Ids only, no contents.
//!
//! Each entry carries the head of the audit chain behind its record, and each strand of a home its newest one
//! (`chain.rs` in the storage, `docs/audit.md`). Rows are made from the journal, so the same heads come back
//! when they are lost; entry and head move in one commit.

use prognet_supervisor::{
    Head, Home, HomeKind, Name, Projection, Recorded, Rows, Stored, TierError, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;

/// The home of the heads' rows: they are hashes over what is sealed, and outlive a home's key as that does.
const KEEPER: Home = Home { kind: HomeKind::Platform, id: 0 };
/// What the keys of heads begin with: no kind of home, as those of entries do.
const STRAND: u8 = b's';

/// See the module.
#[derive(Debug)]
pub struct Audit;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// When.
    pub at: Timestamp,
    /// The account that asked; none for the platform itself.
    pub by: Option<AccountId>,
    /// The kind of entity it happened to.
    pub kind: Name,
    /// What happened to it.
    pub event: Name,
    /// The entity's id.
    pub id: u128,
    /// The trace it belongs to.
    pub trace: u128,
    /// The strand behind it.
    pub strand: Strand,
}

/// What one service recorded of a home, up to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strand {
    /// The service.
    pub service: Name,
    /// How far, and what it hashes to.
    pub head: Head,
}

impl Audit {
    /// What the keys of a home's entries begin with.
    #[must_use]
    pub fn prefix(home: Home) -> [u8; Home::BYTES] {
        home.canonical()
    }

    /// What the keys of a home's newest heads begin with.
    #[must_use]
    pub fn strands(home: Home) -> Vec<u8> {
        [&[STRAND][..], &home.canonical()].concat()
    }
}

/// By home, then time; service and offset keep two of one moment apart.
fn key(recorded: &Recorded) -> Vec<u8> {
    let mut key = Audit::prefix(recorded.home).to_vec();
    key.extend_from_slice(&recorded.at.as_millis().to_be_bytes());
    key.extend_from_slice(recorded.shard.service.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&recorded.offset.0.to_be_bytes());
    key
}

async fn strand(home: Home, service: Name, rows: &Rows<'_>) -> Result<(Vec<u8>, Strand), TierError> {
    let key = [&Audit::strands(home)[..], service.as_bytes()].concat();
    let known = rows.get(&key).await?;
    let known = known.unwrap_or_else(|| Strand { service, head: Head::first(service, home) });
    Ok((key, known))
}

impl Projection for Audit {
    const NAME: &'static str = "audit";
    /// 2: the chain.
    const VERSION: u32 = 2;

    async fn witness(stored: &Stored, rows: &mut Rows<'_>) -> Result<(), TierError> {
        if !Head::covers(&stored.record) {
            return Ok(());
        }
        let (key, known) = strand(stored.record.entity.home, stored.shard.service, rows).await?;
        rows.put(&key, KEEPER, &Strand { head: known.head.then(&stored.record), ..known })
    }

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let (_, strand) = strand(recorded.home, recorded.shard.service, rows).await?;
        let row = Row {
            at: recorded.at,
            by: (recorded.by != 0).then(|| AccountId::new(recorded.by)),
            kind: recorded.kind,
            event: recorded.name,
            id: recorded.id,
            trace: recorded.trace,
            strand,
        };
        rows.put(&key(recorded), recorded.home, &row)
    }
}

#[cfg(test)]
mod tests;
