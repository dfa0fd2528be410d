//! Records as the database takes them: an array a column.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::{
    Offset,
    journal::Record,
    postgres::numbers::{large, small},
};

/// The columns of records, an array each, in the order of `append.sql`; a record's part
/// is the place of what says the rest about it.
#[derive(Default)]
pub(in crate::postgres) struct Columns<'a> {
    parts: Vec<i32>,
    offsets: Vec<i64>,
    seqs: Vec<i64>,
    at_ms: Vec<i64>,
    cause_offsets: Vec<Option<i64>>,
    versions: Vec<i32>,
    cause_numbers: Vec<Option<i32>>,
    kinds: Vec<i16>,
    home_kinds: Vec<i16>,
    home_ids: Vec<Uuid>,
    entity_ids: Vec<Uuid>,
    by_ids: Vec<Option<Uuid>>,
    traces: Vec<Option<Uuid>>,
    entity_kinds: Vec<&'a str>,
    names: Vec<&'a str>,
    cause_services: Vec<Option<&'a str>>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// One record more.
    pub(in crate::postgres) fn push(&mut self, part: usize, offset: Offset, record: &'a Record) {
        self.parts.push(small(part));
        self.offsets.push(large(offset.0));
        self.seqs.push(large(record.seq.0));
        self.at_ms.push(record.at_ms);
        let cause = record.caused_by.as_ref();
        self.cause_offsets.push(cause.map(|cause| large(cause.offset.0)));
        self.versions.push(i32::from(record.version));
        self.cause_numbers.push(cause.map(|cause| i32::from(cause.shard.number)));
        self.kinds.push(record.kind as i16);
        self.home_kinds.push(record.entity.home.kind as i16);
        self.home_ids.push(Uuid::from_u128(record.entity.home.id));
        self.entity_ids.push(Uuid::from_u128(record.entity.id));
        self.by_ids.push((record.by != 0).then(|| Uuid::from_u128(record.by)));
        self.traces.push((record.trace != 0).then(|| Uuid::from_u128(record.trace)));
        self.entity_kinds.push(record.entity.kind.as_str());
        self.names.push(record.name.as_str());
        self.cause_services.push(cause.map(|cause| cause.shard.service.as_str()));
        self.bodies.push(&record.body);
    }

    /// From `place` to `body`.
    pub(in crate::postgres) fn parameters(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.parts,
            &self.offsets,
            &self.seqs,
            &self.at_ms,
            &self.cause_offsets,
            &self.versions,
            &self.cause_numbers,
            &self.kinds,
            &self.home_kinds,
            &self.home_ids,
            &self.entity_ids,
            &self.by_ids,
            &self.traces,
            &self.entity_kinds,
            &self.names,
            &self.cause_services,
            &self.bodies,
        ]
    }
}
