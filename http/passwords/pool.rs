//! Threads that hash: one a core, each taking the next password as soon as it is done with the last.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use prognet_supervisor::{Name, Unavailable};
use tokio::sync::{Semaphore, oneshot};

/// Callers that may wait, per core: with 30 ms each that is a second.
const WAITING_PER_CORE: usize = 32;

type Job = Box<dyn FnOnce() + Send>;

/// See the module.
pub(super) struct Pool {
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
}

impl Pool {
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..cores {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new().name("passwords".to_owned()).spawn(move || work_off(&waiting))?;
        }
        Ok(Self { jobs, places: Arc::new(Semaphore::new(cores * WAITING_PER_CORE)) })
    }

    /// What comes of some work, which goes on when its caller has gone away, and keeps its place until it is done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let busy = |_full| Unavailable::Busy { limit: Name::new("password") };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        let (done, result) = oneshot::channel();
        let job = move || {
            let _held = place;
            drop(done.send(work()));
        };
        self.jobs.send(Box::new(job)).map_err(|_gone| Unavailable::Stopping)?;
        result.await.map_err(|_panicked| Unavailable::NotWritten)
    }
}

/// Until the pool is gone.
fn work_off(waiting: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // Its caller is answered by the channel it drops.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_keeps_its_place_until_it_is_done_even_if_nobody_waits_for_it_any_more() {
        let pool = Pool::start().unwrap();
        let places = pool.places.available_permits();
        let (begin, has_begun) = oneshot::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let mut request = Box::pin(pool.run(move || {
            begin.send(()).unwrap();
            may_finish.recv().unwrap();
        }));
        tokio::select! {
            _ = &mut request => panic!("it is not done"),
            begun = has_begun => begun.unwrap(),
        }

        drop(request);

        assert_eq!(pool.places.available_permits(), places - 1);
        finish.send(()).unwrap();
        let all = u32::try_from(places).unwrap();
        drop(pool.places.acquire_many(all).await.unwrap());
    }

    #[tokio::test]
    async fn work_that_panics_is_answered_and_its_thread_works_on() {
        let pool = Pool::start().unwrap();
        for _ in 0..pool.places.available_permits() {
            assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(Unavailable::NotWritten));
        }
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn whoever_comes_when_all_places_are_taken_is_told_at_once() {
        let pool = Pool::start().unwrap();
        let all = u32::try_from(pool.places.available_permits()).unwrap();
        let _held = pool.places.acquire_many(all).await.unwrap();
        assert_eq!(pool.run(|| 7).await, Err(Unavailable::Busy { limit: Name::new("password") }));
    }
}
