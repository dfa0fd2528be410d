//! Where clients write down what they do, each step under a moment of its own.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::time::Instant;

use super::{Function, Stage, Step, Value};

/// See the module.
pub(crate) struct Recorder {
    began: Instant,
    steps: Mutex<Vec<Step>>,
    processes: AtomicUsize,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), steps: Mutex::default(), processes: AtomicUsize::new(0) }
    }

    /// A number that nobody had.
    pub(crate) fn process(&self) -> usize {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Written before anything is sent, or after everything was received.
    pub(crate) fn step(
        &self,
        process: usize,
        (stage, function): (Stage, Function),
        (key, trace): (Option<u128>, u128),
        value: Value,
    ) {
        let mut steps = self.steps.lock().unwrap();
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap();
        let time = now.max(steps.last().map_or(0, |last| last.time + 1));
        steps.push(Step { process, stage, function, key, trace, value, time });
    }

    pub(crate) fn history(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }
}
