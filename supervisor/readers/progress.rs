//! How far a reader has come.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use prognet_storage::{Lsn, Offset, ShardId};
use tokio::sync::{Notify, watch};

use crate::{Timestamp, Unavailable, router::Written, runtime::Runtime};

/// How far a projection has come, for those who wait for it and those who look after it.
#[derive(Debug)]
pub(crate) struct Progress {
    offsets: Mutex<BTreeMap<ShardId, Offset>>,
    /// The last record of the node it has seen.
    lsn: AtomicU64,
    error: Mutex<Option<String>>,
    /// It runs on this node.
    is_running: AtomicBool,
    moved: watch::Sender<u64>,
    /// Somebody met a row of another shape.
    pub(crate) foreign: Notify,
    /// Somebody waits for it.
    pub(crate) hurry: Notify,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            offsets: Mutex::default(),
            lsn: AtomicU64::new(0),
            error: Mutex::default(),
            is_running: AtomicBool::new(false),
            moved: watch::Sender::new(0),
            foreign: Notify::new(),
            hurry: Notify::new(),
        }
    }
}

/// A reader that runs; it does no longer when this goes.
#[derive(Debug)]
pub(crate) struct RunsHere<'a>(&'a Progress);

impl Drop for RunsHere<'_> {
    fn drop(&mut self) {
        self.0.is_running.store(false, Ordering::Relaxed);
        self.0.clear_error();
    }
}

impl Progress {
    fn has_taken_in(&self, written: Written) -> bool {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.get(&written.shard).is_some_and(|offset| *offset >= written.offset)
    }

    /// Returns once the projection has taken `written` in.
    pub(crate) async fn reach(
        &self,
        written: Written,
        runtime: &Runtime,
        deadline: Timestamp,
    ) -> Result<(), Unavailable> {
        if self.has_taken_in(written) {
            return Ok(());
        }
        self.hurry.notify_one();
        let mut moved = self.moved.subscribe();
        let reached = moved.wait_for(|_| self.has_taken_in(written));
        tokio::select! {
            _ = reached => Ok(()),
            () = runtime.clock.sleep_until(deadline) => Err(Unavailable::Behind),
        }
    }

    /// Why it does not move, if it does not.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It does not move, for this reason and what lies behind it.
    pub(crate) fn set_error(&self, error: &(dyn Error + 'static)) {
        let reasons = std::iter::successors(Some(error), |error| (*error).source());
        let said: Vec<_> = reasons.map(ToString::to_string).collect();
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.join(": "));
    }

    /// It moves.
    pub(crate) fn clear_error(&self) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it runs on this node.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Relaxed)
    }

    /// It runs on this node until the guard goes.
    pub(crate) fn running(&self) -> RunsHere<'_> {
        self.is_running.store(true, Ordering::Relaxed);
        RunsHere(self)
    }

    /// Durable records it has yet to see.
    pub(crate) fn lag(&self, durable: Lsn) -> u64 {
        durable.0.saturating_sub(self.lsn.load(Ordering::Relaxed))
    }

    /// It begins again from here.
    pub(crate) fn begins(&self, lsn: Lsn, offsets: BTreeMap<ShardId, Offset>) {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.moved(lsn, offsets);
    }

    pub(crate) fn moved(&self, lsn: Lsn, offsets: BTreeMap<ShardId, Offset>) {
        self.lsn.store(lsn.0, Ordering::Relaxed);
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner).extend(offsets);
        self.moved.send_modify(|times| *times += 1);
    }
}
