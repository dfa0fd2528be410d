//! The newest records, kept decoded, so that readers at the tail never ask the engine.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    Lsn,
    journal::{Limit, Stored},
};

const RECORDS: usize = 16 * 1024;
const BYTES: usize = 16 * 1024 * 1024;

/// Oldest first; their lsns follow each other.
#[derive(Default)]
pub(crate) struct Recent {
    records: VecDeque<Arc<Stored>>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn push(&mut self, stored: Arc<Stored>) {
        self.bytes += stored.record.body.len();
        self.records.push_back(stored);
        while self.records.len() > RECORDS || self.bytes > BYTES {
            let Some(oldest) = self.records.pop_front() else {
                return;
            };
            self.bytes -= oldest.record.body.len();
        }
    }

    /// A page of records after a place, if the first of them is still here.
    pub(crate) fn after(&self, after: Lsn, limit: Limit) -> Option<Vec<Arc<Stored>>> {
        let first = self.records.front()?.lsn;
        let skipped = usize::try_from(after.next().0.checked_sub(first.0)?).ok()?;
        if skipped >= self.records.len() {
            return None;
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        for stored in self.records.iter().skip(skipped).take(limit.records) {
            bytes += stored.record.body.len();
            if !page.is_empty() && bytes > limit.bytes {
                break;
            }
            page.push(Arc::clone(stored));
        }
        Some(page)
    }
}
