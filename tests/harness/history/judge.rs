//! All that is held against each other after a run.

use super::{Journal, Reading, Step, Wrong, black_box, client_side, operations, readers};

/// Everything that is wrong; nothing if every promise was kept.
pub(crate) fn judge(history: &[Step], readings: &[Reading], journal: &Journal) -> Vec<Wrong> {
    let operations = match operations(history) {
        Ok(operations) => operations,
        Err(malformed) => return vec![malformed],
    };
    let mut faults = journal.faults();
    faults.extend(client_side::faults(&operations, journal));
    faults.extend(readers::faults(readings, journal));
    faults.extend(black_box::faults(&operations));
    faults
}
