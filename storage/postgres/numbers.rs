//! Numbers as the database has them: signed.

/// A count or a place, as `bigint`; what is beyond all places is the last one.
pub(crate) fn large(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A place in an array, as `integer`.
pub(crate) fn small(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A `bigint` that is a count or a place.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
