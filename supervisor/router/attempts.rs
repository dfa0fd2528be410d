//! Which calls of other nodes were asked again: an earlier attempt that comes late, when the later one may have been
//! answered, must have no effect any more.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Calls that are remembered: far more than links break under within the time of a call.
const KEPT_MAX: usize = 16 * 1024;

/// The calls that were asked more than once, and the last attempt of each.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last: HashMap<u128, u32>,
    /// Oldest first.
    order: VecDeque<u128>,
}

impl Attempts {
    /// Whether no later attempt of this call has come.
    pub(crate) fn is_last(&self, call: u128, attempt: u32) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.last.get_mut(&call) {
            Some(last) if attempt < *last => return false,
            Some(last) => *last = attempt,
            None if attempt > 0 => {
                known.last.insert(call, attempt);
                known.order.push_back(call);
            }
            None => {}
        }
        if known.order.len() > KEPT_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.last.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_a_later_one_has_overtaken_is_none_any_more() {
        let attempts = Attempts::default();

        assert!(attempts.is_last(7, 0));
        assert!(attempts.is_last(7, 1));
        assert!(!attempts.is_last(7, 0));
        assert!(attempts.is_last(7, 2));
        assert!(!attempts.is_last(7, 1));
        assert!(attempts.is_last(8, 0));
    }

    #[test]
    fn the_oldest_calls_are_forgotten_first() {
        let attempts = Attempts::default();
        let calls = KEPT_MAX as u128 + 10;
        (0..calls).for_each(|call| assert!(attempts.is_last(call, 1)));

        assert!(attempts.is_last(0, 0));
        assert!(!attempts.is_last(calls - 1, 0));
        assert_eq!(attempts.0.lock().unwrap().order.len(), KEPT_MAX);
    }
}
