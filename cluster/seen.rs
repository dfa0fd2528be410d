//! Which questions of a node were looked at already: one that comes a second time, by another way or late, has no
//! effect.
//!
//! A window that slides over their numbers, as IPsec keeps one against replays (RFC 4303, s. 3.4.3).

use std::collections::HashMap;

use crate::tables::{Incarnation, NodeId};

/// How far behind the newest number others are still told apart: seconds of a busy node.
const WINDOW: u64 = 64 * 1024;

/// The questions of every node, by its last run.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<NodeId, (u64, Window)>);

impl Seen {
    /// Whether it is the first time that this number comes from there; numbers of earlier runs never are.
    pub(crate) fn is_first(&mut self, from: Incarnation, number: u64) -> bool {
        let (run, window) = self.0.entry(from.node).or_insert_with(|| (from.number, Window::new()));
        if *run < from.number {
            (*run, *window) = (from.number, Window::new());
        }
        *run == from.number && window.is_first(number)
    }
}

#[derive(Debug)]
struct Window {
    newest: u64,
    /// A bit for each number of the window.
    bits: Box<[u64]>,
}

impl Window {
    fn new() -> Self {
        Self { newest: 0, bits: vec![0; (WINDOW / 64) as usize].into() }
    }

    fn is_first(&mut self, number: u64) -> bool {
        if number > self.newest {
            let slides = (number - self.newest).min(WINDOW);
            for passed in number - slides + 1..=number {
                self.set(passed, false);
            }
            self.newest = number;
        }
        self.newest - number < WINDOW && !self.set(number, true)
    }

    /// Sets the bit of a number; answers what it was.
    fn set(&mut self, number: u64, is_seen: bool) -> bool {
        let at = number % WINDOW;
        let Some(word) = usize::try_from(at / 64).ok().and_then(|at| self.bits.get_mut(at)) else {
            return true;
        };
        let bit = 1 << (at % 64);
        let was_seen = *word & bit != 0;
        *word = if is_seen { *word | bit } else { *word & !bit };
        was_seen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prognet_supervisor::Name;
    use proptest::prelude::*;

    use super::*;

    fn node(number: u64) -> Incarnation {
        Incarnation { node: NodeId(Name::new("a")), number }
    }

    #[test]
    fn what_an_earlier_run_asked_has_no_effect_and_a_later_one_begins_anew() {
        let mut seen = Seen::default();

        assert!(seen.is_first(node(2), 1));
        assert!(!seen.is_first(node(1), 2));
        assert!(seen.is_first(node(3), 1));
        assert!(!seen.is_first(node(3), 1));
        assert!(!seen.is_first(node(2), 2));
    }

    proptest! {
        /// Against a plain set; what is too far behind is never taken for new.
        #[test]
        fn a_number_is_new_once(steps in prop::collection::vec((0..2 * WINDOW, 0..3u64), 1..200)) {
            let (mut window, mut known, mut newest) = (Window::new(), BTreeSet::new(), 0);
            for (step, way) in steps {
                // Near the newest mostly, and far ahead or behind it at times.
                let number = match way {
                    0 => newest + step % 50 + 1,
                    1 => newest.saturating_sub(step % 80).max(1),
                    _ => step.max(1),
                };
                newest = newest.max(number);
                let is_first = newest - number < WINDOW && known.insert(number);
                prop_assert_eq!(window.is_first(number), is_first, "{}", number);
            }
        }
    }
}
