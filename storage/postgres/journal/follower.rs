//! Following what other processes write, so that readers here find the newest in memory, whoever wrote it.
//!
//! Own records come from the writer, others' are read, once for all readers; both are taken in by their order in the
//! stream. How far that is taken in is what is durable, as readers here are told.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::Statement;

use super::{Shared, read, session::END, statistics};
use crate::{
    Lsn,
    journal::{Limit, ReadError, Stored},
    postgres::{
        connect::{self, Connector},
        numbers::unsigned,
    },
    recent::Recent,
};

/// How soon what nobody told of is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// While others write all the time, what they write is read so often: each look costs the server about the same, whether
/// it finds one record or a hundred.
const GATHER: Duration = Duration::from_millis(20);
/// Before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// A server that takes a connection and then says nothing for so long is left.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever is this far behind follows from the end again: what lies between, readers read for themselves.
const BEHIND_MAX: u64 = 8 * 1024;
/// The same in bytes of own records that wait for others' before them: as many as are kept of the newest.
const AHEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What was taken in of the stream.
pub(super) struct Following {
    recent: Recent,
    /// Up to here.
    end: Lsn,
    /// Up to here there is more, as somebody said.
    heard: Lsn,
    /// Own batches behind others' that were not read yet, by their first places.
    ahead: BTreeMap<Lsn, Vec<Arc<Stored>>>,
    ahead_bytes: usize,
}

impl Following {
    /// Begins behind a place.
    pub(super) fn after(end: Lsn) -> Self {
        Self { recent: Recent::default(), end, heard: end, ahead: BTreeMap::new(), ahead_bytes: 0 }
    }

    /// Takes in what this process has written; it waits if others' records come first, unless too much does.
    fn take_in_own(&mut self, batch: Vec<Arc<Stored>>) {
        let Some(first) = batch.first().map(|stored| stored.lsn) else { return };
        self.ahead_bytes += bytes_of(&batch);
        self.ahead.insert(first, batch);
        self.take_in(Vec::new());
        let is_far = |(first, _): (&Lsn, _)| first.0 - self.end.0 > BEHIND_MAX;
        let is_too_far =
            self.ahead_bytes > AHEAD_BYTES_MAX || self.ahead.last_key_value().is_some_and(is_far);
        if is_too_far && let Some((first, batch)) = self.ahead.pop_last() {
            // What lies before a place that is committed is committed.
            self.jump(Lsn(first.0 - 1));
            self.take_in(batch);
        }
    }

    /// Takes records in that follow each other, and own ones behind them; those that were taken in are passed over.
    fn take_in(&mut self, page: Vec<Arc<Stored>>) {
        self.push(page);
        while let Some(entry) = self.ahead.first_entry().filter(|entry| *entry.key() <= self.end.next()) {
            let batch = entry.remove();
            self.ahead_bytes -= bytes_of(&batch);
            self.push(batch);
        }
    }

    fn push(&mut self, page: Vec<Arc<Stored>>) {
        for stored in page {
            if stored.lsn == self.end.next() {
                self.end = stored.lsn;
                self.recent.push(stored);
            }
        }
    }

    /// Follows from a place again, if it is a later one.
    fn jump(&mut self, to: Lsn) {
        if to > self.end {
            (self.recent, self.end) = (Recent::default(), to);
            self.take_in(Vec::new());
        }
    }

    /// There is nothing of the gap up to here, whatever was heard; if more was heard meanwhile, that is to be seen.
    fn forget_gap(&mut self, up_to: Lsn) {
        if self.gap() == Some(up_to) {
            *self = Self { recent: std::mem::take(&mut self.recent), ..Self::after(self.end) };
        }
    }

    /// Up to where records of others are missing.
    fn gap(&self) -> Option<Lsn> {
        let ahead = self.ahead.last_key_value().map_or(self.heard, |(first, _)| self.heard.max(*first));
        (ahead > self.end).then_some(ahead)
    }
}

fn bytes_of(batch: &[Arc<Stored>]) -> usize {
    batch.iter().map(|stored| stored.record.body.len()).sum()
}

impl Shared {
    /// The newest records after a place, if they are in memory.
    pub(super) fn recent(&self, after: Lsn, limit: Limit) -> Option<Vec<Arc<Stored>>> {
        self.following.read().unwrap_or_else(PoisonError::into_inner).recent.after(after, limit)
    }

    /// Takes in what this process has written; says whether nothing of others lies before it. Nobody is woken yet.
    pub(super) fn wrote(&self, stored: Vec<Arc<Stored>>) -> bool {
        if statistics::are_due(&stored) {
            self.grown.notify_one();
        }
        let mut following = self.following.write().unwrap_or_else(PoisonError::into_inner);
        following.take_in_own(stored);
        let is_followed = following.gap().is_none();
        self.durable.send_if_modified(|durable| {
            *durable = following.end;
            false
        });
        is_followed
    }

    /// Wakes the readers, or the follower first.
    pub(super) fn wake(&self, is_followed: bool) {
        self.durable.send_modify(|_| {});
        if !is_followed {
            self.behind.notify_one();
        }
    }

    /// Somebody has written up to here.
    pub(super) fn heard_of(&self, lsn: Lsn) {
        let mut following = self.following.write().unwrap_or_else(PoisonError::into_inner);
        if lsn > following.heard {
            following.heard = lsn;
            drop(following);
            self.behind.notify_one();
        }
    }

    /// Learns the keys that open a page.
    pub(super) async fn learn(&self, page: &[Arc<Stored>]) -> Result<(), ReadError> {
        let Some(keyring) = self.keyring.get() else { return Ok(()) };
        let sealed = page.iter().filter(|stored| !stored.record.body.is_empty());
        let homes: Vec<_> = sealed.map(|stored| stored.record.entity.home).collect();
        let learned = keyring.learn(homes).await;
        learned.map_err(|error| engine_failed("the keys of a page")(io::Error::other(error)))
    }

    /// What is missing, if anything is: behind which place, and up to which.
    fn missing(&self) -> Option<(Lsn, Lsn)> {
        let following = self.following.read().unwrap_or_else(PoisonError::into_inner);
        Some((following.end, following.gap()?))
    }

    fn take_in(&self, change: impl FnOnce(&mut Following)) {
        let mut following = self.following.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut following);
        let end = following.end;
        self.durable.send_if_modified(|durable| std::mem::replace(durable, end) != end);
    }
}

/// Follows for ever, over a session of its own: readers that hold all those of the pool do not keep it waiting.
pub(super) async fn follow(connector: Connector, shared: Arc<Shared>) -> Infallible {
    loop {
        let failure = match timeout(ANSWER_TIMEOUT, Session::open(&connector)).await {
            Ok(Ok(session)) => session.follow(&shared).await,
            Ok(Err(error)) => engine_failed("its end")(io::Error::other(error)),
            Err(_elapsed) => engine_failed("its end")(io::ErrorKind::TimedOut.into()),
        };
        if shared.is_closing.load(Ordering::Relaxed) {
            return pending().await;
        }
        tracing::warn!(error = &failure as &dyn std::error::Error, "failed to follow the stream");
        sleep(PAUSE).await;
    }
}

/// A connection with everything the follower says over it.
struct Session {
    inner: connect::Session,
    end: Statement,
    page: Statement,
}

impl Session {
    async fn open(connector: &Connector) -> Result<Self, tokio_postgres::Error> {
        let inner = connector.connect().await?;
        let (end, page) = tokio::try_join!(inner.client.prepare(END), inner.client.prepare(read::OF_STREAM))?;
        Ok(Self { inner, end, page })
    }

    /// Returns why it cannot go on.
    async fn follow(self, shared: &Shared) -> ReadError {
        loop {
            tokio::select! {
                () = shared.behind.notified() => {}
                () = sleep(LOOK_EVERY) => match self.end().await {
                    Ok(end) => shared.heard_of(end),
                    Err(error) => return error,
                },
            }
            while let Some((after, up_to)) = shared.missing() {
                let looked = Instant::now();
                if let Err(error) = self.catch_up(shared, after, up_to).await {
                    return error;
                }
                // Otherwise the page was cut, and more is there.
                if *shared.durable.borrow() >= up_to {
                    sleep_until(looked + GATHER).await;
                }
            }
        }
    }

    async fn catch_up(&self, shared: &Shared, after: Lsn, up_to: Lsn) -> Result<(), ReadError> {
        if up_to.0 - after.0 > BEHIND_MAX {
            // Not to where somebody says the end is: readers may be told only of what is there.
            let end = self.end().await?;
            shared.take_in(|following| match end > after {
                true => following.jump(end),
                false => following.forget_gap(up_to),
            });
            return Ok(());
        }
        let page = read::of_stream_over(&self.inner.client, &self.page, after, Limit::default()).await?;
        match page.first() {
            Some(first) if first.lsn != after.next() => {
                let (position, what) =
                    (format!("the stream after {after}"), format!("{} comes next", first.lsn));
                Err(ReadError::Damaged { position, what })
            }
            Some(_) => {
                shared.learn(&page).await?;
                shared.take_in(|following| following.take_in(page));
                Ok(())
            }
            None => {
                // Whoever spoke of more was wrong, or the store has forgotten it, which the writer notices.
                shared.take_in(|following| following.forget_gap(up_to));
                Ok(())
            }
        }
    }

    async fn end(&self) -> Result<Lsn, ReadError> {
        let row = self.inner.client.query_one(&self.end, &[]).await;
        let end = row.and_then(|row| row.try_get(0));
        end.map(|end| Lsn(unsigned(end))).map_err(|error| engine_failed("its end")(io::Error::other(error)))
    }
}

fn engine_failed(position: &str) -> impl FnOnce(io::Error) -> ReadError {
    move |source| ReadError::Engine { position: position.to_owned(), source }
}
