//! Records as an entity writes them: numbered on, sealed with the home's key, bound to their place.

use prognet_storage::{
    EntityRef, Name, Seq,
    journal::{Cause, Record, RecordKind},
    keyring,
};

use super::Shell;
use crate::{Context, runtime::Runtime};

/// What the records of one command have in common, and the seq of the next.
pub(crate) struct Header<'a> {
    runtime: &'a Runtime,
    entity: EntityRef,
    seq: Seq,
    at_ms: i64,
    by: u128,
    trace: u128,
    caused_by: Option<Cause>,
}

impl<'a> Header<'a> {
    pub(crate) fn new(
        runtime: &'a Runtime,
        shell: &Shell,
        seq: Seq,
        ctx: &Context,
        caused_by: Option<Cause>,
    ) -> Self {
        Self {
            runtime,
            entity: shell.entity,
            seq,
            at_ms: ctx.now().as_millis(),
            by: ctx.asker(),
            trace: ctx.trace(),
            caused_by,
        }
    }

    /// An event's record.
    pub(crate) fn event(&mut self, name: Name, version: u16, body: &[u8]) -> Result<Record, keyring::Error> {
        let mut record = self.next(RecordKind::Event, name, &[])?;
        record.version = version;
        record.body = self.runtime.keyring.seal_ahead(&self.entity.home, &place_of(&record), body)?;
        Ok(record)
    }

    /// The next record; an empty body stays empty.
    pub(crate) fn next(
        &mut self,
        kind: RecordKind,
        name: Name,
        body: &[u8],
    ) -> Result<Record, keyring::Error> {
        self.seq = self.seq.next();
        let mut record = Record {
            kind,
            entity: self.entity,
            seq: self.seq,
            name,
            version: 1,
            at_ms: self.at_ms,
            by: self.by,
            trace: self.trace,
            caused_by: self.caused_by,
            body: Vec::new(),
        };
        if !body.is_empty() {
            record.body = self.runtime.keyring.seal_ahead(&self.entity.home, &place_of(&record), body)?;
        }
        Ok(record)
    }
}

/// A record's body, opened.
pub(crate) fn open_body(runtime: &Runtime, record: &Record) -> Result<Vec<u8>, keyring::OpenError> {
    if record.body.is_empty() {
        return Ok(Vec::new());
    }
    runtime.keyring.open_sealed(&record.entity.home, &place_of(record), &record.body)
}

/// What a sealed body is bound to, so that it cannot be passed off as another record's.
fn place_of(record: &Record) -> Vec<u8> {
    let mut place = Vec::with_capacity(96);
    place.push(record.kind as u8);
    place.extend_from_slice(record.entity.kind.as_str().as_bytes());
    place.push(0);
    place.extend_from_slice(&record.entity.id.to_be_bytes());
    place.extend_from_slice(&record.seq.0.to_be_bytes());
    place.extend_from_slice(record.name.as_str().as_bytes());
    place.push(0);
    place.extend_from_slice(&record.version.to_be_bytes());
    place
}
