//! Answers kept for a moment, so that not every request asks three entities who is calling.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prognet_supervisor::Timestamp;

/// Answers by key; at most `max` of them, none older than `lasts`.
#[derive(Debug)]
pub(crate) struct Kept<K, V> {
    answers: Mutex<HashMap<K, (Timestamp, V)>>,
    lasts: Duration,
    max: usize,
}

impl<K: Hash + Eq, V: Clone> Kept<K, V> {
    pub(crate) fn new(lasts: Duration, max: usize) -> Self {
        Self { answers: Mutex::default(), lasts, max }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Timestamp, V)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let answers = self.lock();
        let (at, answer) = answers.get(key)?;
        (now.since(*at) < self.lasts).then(|| answer.clone())
    }

    pub(crate) fn put(&self, key: K, now: Timestamp, answer: V) {
        let mut answers = self.lock();
        if answers.len() >= self.max {
            answers.retain(|_, (at, _)| now.since(*at) < self.lasts);
        }
        if answers.len() >= self.max {
            answers.clear();
        }
        answers.insert(key, (now, answer));
    }

    pub(crate) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Forgets all answers about what is meant.
    pub(crate) fn forget_all(&self, is_meant: impl Fn(&K) -> bool) {
        self.lock().retain(|key, _| !is_meant(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_and_never_beyond_the_limit() {
        let (kept, then) = (Kept::new(Duration::from_secs(1), 2), Timestamp::from_millis(0));
        kept.put(1, then, "one");
        assert_eq!(kept.get(&1, then.after(Duration::from_millis(999))), Some("one"));
        assert_eq!(kept.get(&1, then.after(Duration::from_secs(1))), None);

        kept.put(2, then, "two");
        kept.put(3, then, "three");
        assert_eq!((kept.get(&1, then), kept.get(&3, then)), (None, Some("three")));
        kept.forget(&3);
        assert_eq!(kept.get(&3, then), None);
    }
}
