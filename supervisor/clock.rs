//! Time, ids and randomness: the only place of the product that asks the world for them.
//!
//! A node runs on the system's clock or on a driven one, which tests (and `billing's year in seconds`)
//! move by hand: everything that waits, waits here.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment from its milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// A moment written as RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.parse().ok()?;
        Some(Self(moment.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(out, "{moment:.3}"),
            Err(_) => write!(out, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.collect_str(self) } else { out.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        if input.is_human_readable() {
            let text = String::deserialize(input)?;
            Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
        } else {
            i64::deserialize(input).map(Self)
        }
    }
}

/// Where time comes from.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Driven(Arc<Driven>),
}

#[derive(Debug)]
struct Driven {
    now: AtomicI64,
    moved: watch::Sender<i64>,
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// The time since it was started.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Clock {
    /// A clock that stands still until it is moved.
    #[must_use]
    pub fn driven(start: Timestamp) -> Self {
        let (moved, _) = watch::channel(start.0);
        Self(Source::Driven(Arc::new(Driven { now: AtomicI64::new(start.0), moved })))
    }

    /// Moves a driven clock forward and wakes whoever waited for it; the system's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Driven(driven) = &self.0 {
            let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            let now = driven.now.fetch_add(millis, Ordering::SeqCst).saturating_add(millis);
            driven.moved.send_replace(now);
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                #[expect(clippy::disallowed_methods, reason = "the one place that asks")]
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                Timestamp(since.map_or(0, |past| i64::try_from(past.as_millis()).unwrap_or(i64::MAX)))
            }
            Source::Driven(driven) => Timestamp(driven.now.load(Ordering::SeqCst)),
        }
    }

    /// Starts measuring how long something takes, in the machine's steady time even on a driven clock.
    #[must_use]
    pub fn stopwatch(&self) -> Stopwatch {
        #[expect(clippy::disallowed_methods, reason = "the one place that asks")]
        let started = std::time::Instant::now();
        Stopwatch(started)
    }

    /// Returns once the clock shows `moment`.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match &self.0 {
            Source::System => tokio::time::sleep(moment.since(self.now())).await,
            Source::Driven(driven) => {
                let mut moved = driven.moved.subscribe();
                // An error means the clock is gone, and with it whoever waits.
                let reached = moved.wait_for(|now| *now >= moment.0).await;
                drop(reached);
            }
        }
    }

    /// Returns after this much of the clock's time, counted from the call.
    pub fn sleep(&self, wait: Duration) -> impl Future<Output = ()> + Send + '_ {
        self.sleep_until(self.now().after(wait))
    }

    /// 16 bytes nobody can guess; empty if the system gives none, which no key accepts.
    #[must_use]
    pub fn fresh_secret(&self) -> Vec<u8> {
        let mut secret = vec![0; 16];
        if aws_lc_rs::rand::fill(&mut secret).is_err() {
            tracing::error!("the system gives no randomness");
            secret.clear();
        }
        secret
    }

    /// A new id: 48 bits of time, then randomness, so that ids sort by age (RFC 9562 s. 5.7).
    #[must_use]
    pub fn fresh_id(&self) -> u128 {
        let mut random = [0; 10];
        // Without randomness an id would collide with another: time alone must do, and the journal refuses doubles.
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            tracing::error!("the system gives no randomness");
        }
        let millis = u64::try_from(self.now().0).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_driven_clock_moves_only_by_hand() {
        let clock = Clock::driven(Timestamp::from_millis(1_000));
        let sleeper = clock.sleep(Duration::from_secs(60));

        clock.advance(Duration::from_secs(60));

        sleeper.await;
        assert_eq!(clock.now(), Timestamp::from_millis(61_000));
    }

    #[test]
    fn a_time_reads_as_rfc_3339_and_back() {
        let moment = Timestamp::from_millis(1_700_000_000_123);
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Timestamp::parse("2023-11-14T22:13:20.123Z"), Some(moment));
    }

    #[test]
    fn younger_ids_are_greater() {
        let clock = Clock::driven(Timestamp::from_millis(1));
        let old = clock.fresh_id();
        clock.advance(Duration::from_millis(1));
        assert!(clock.fresh_id() > old);
    }
}
