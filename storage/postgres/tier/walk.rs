//! Rows in key order, a page at a time: each page is a range read of the primary key.

use super::PostgresTier;
use crate::{Name, read_model::Row, sealed::failed, snapshots::TierError};

/// Rows of one read of the store.
pub(super) const PAGE: usize = 1_000;

const ROWS_FROM: &str = "
    select key, home_kind, home_id, value from model_row
    where projection = $1 and key >= $2
    order by key limit $3";
const ROWS_BETWEEN: &str = "
    select key, home_kind, home_id, value from model_row
    where projection = $1 and key >= $2 and key < $4
    order by key limit $3";

/// A walk over rows whose keys have a prefix, in key order.
pub(super) struct Walk<'a> {
    tier: &'a PostgresTier,
    projection: Name,
    /// Where to go on.
    from: Vec<u8>,
    /// The first key behind all with the prefix, if there is one.
    end: Option<Vec<u8>>,
    pub(super) is_over: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        tier: &'a PostgresTier,
        projection: Name,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
    ) -> Self {
        let end = end_of(&prefix);
        let from = after.map_or_else(Vec::new, next_key).max(prefix);
        Self { tier, projection, from, end, is_over: false }
    }

    /// The next rows, at most so many: fewer, and even none, where homes were erased.
    pub(super) async fn next(&mut self, count: usize) -> Result<Vec<Row>, TierError> {
        let count = count.min(PAGE);
        let (projection, limit) = (self.projection.as_str(), i64::try_from(count).unwrap_or(i64::MAX));
        let rows = match &self.end {
            Some(end) => self.tier.query(ROWS_BETWEEN, &[&projection, &self.from, &limit, end]).await,
            None => self.tier.query(ROWS_FROM, &[&projection, &self.from, &limit]).await,
        };
        let rows = rows.map_err(failed("scan rows"))?;
        self.is_over = rows.len() < count;
        if let Some(last) = rows.last() {
            self.from = next_key(last.try_get(0).map_err(failed("scan rows"))?);
        }
        self.tier.opened(self.projection, rows).await
    }
}

/// The first key after this one.
fn next_key(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// The first key behind all that begin like this; none, if every greater one does.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}
