//! The audit trail: every event of a home, by time: who did what to what. Ids only, no contents.

use prognet_supervisor::{Home, Name, Projection, Recorded, Rows, TierError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::AccountId;

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
}

impl Audit {
    /// What the keys of a home's entries begin with.
    #[must_use]
    pub fn prefix(home: Home) -> [u8; Home::BYTES] {
        home.canonical()
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

impl Projection for Audit {
    const NAME: &'static str = "audit";

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let row = Row {
            at: recorded.at,
            by: (recorded.by != 0).then(|| AccountId::new(recorded.by)),
            kind: recorded.kind,
            event: recorded.name,
            id: recorded.id,
            trace: recorded.trace,
        };
        rows.put(&key(recorded), recorded.home, &row)
    }
}
