//! Readers at work: one task a reader walks the durable log, each with its own way to remember how far it came.
//!
//! Projections keep rows and position together in the tier; readers with effects outside keep journal records.

pub(crate) mod anchor;
pub(crate) mod outward;
pub(crate) mod progress;
pub(crate) mod projections;

use std::sync::Arc;

use prognet_storage::{
    journal::{RecordKind, Stored},
    keyring::OpenError,
    snapshots::TierError,
};

use crate::{Recorded, Timestamp, entity::open_body, runtime::Runtime};

/// The event in a stored record, opened; `None` for other records and for erased homes.
pub(crate) fn recorded(runtime: &Runtime, stored: &Stored) -> Result<Option<Recorded>, TierError> {
    let record = &stored.record;
    if record.kind != RecordKind::Event {
        return Ok(None);
    }
    let body = match open_body(runtime, record) {
        Ok(body) => body,
        Err(OpenError::Erased) => return Ok(None),
        Err(error) => {
            return Err(TierError { operation: "open an event", source: Box::new(error) });
        }
    };
    Ok(Some(Recorded {
        kind: record.entity.kind,
        name: record.name,
        version: record.version,
        home: record.entity.home,
        id: record.entity.id,
        shard: stored.shard,
        offset: stored.offset,
        at: Timestamp::from_millis(record.at_ms),
        by: record.by,
        trace: record.trace,
        caused_by: record.caused_by,
        body: Arc::new(body),
    }))
}
