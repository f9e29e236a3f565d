//! The threads that read: a bounded number of them, behind bounded queues, so that no read holds up the threads that
//! everything else runs on.
//!
//! A read begins among the quick ones. One that takes longer than [`super::Tuning::quick_time`] begins again among the
//! slow ones, which have threads of their own: questions that no index answers do not keep others waiting. After
//! [`super::Tuning::read_time_max`] it is given up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    super::index::IndexError,
    limits::{Limits, Wanted},
};

/// Threads for quick reads.
pub(in crate::visibility) const QUICK_THREADS: usize = 2;
/// Threads for slow reads.
pub(in crate::visibility) const SLOW_THREADS: usize = 2;
/// Quick reads that wait for a thread.
const QUICK_WAITING_MAX: usize = 512;
/// Slow reads that wait for a thread.
const SLOW_WAITING_MAX: usize = 32;

/// What became of a read on a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::visibility) enum Outcome {
    /// It was answered.
    Answered,
    /// Its time among the quick ones was over.
    IsSlow,
}

/// A read: what it does, and what it answers when it cannot be done.
pub(in crate::visibility) trait Work: Send {
    /// Reads and answers, unless it is slow.
    fn run(&mut self, limits: &Arc<Limits>) -> Outcome;
    /// Answers that it was not done.
    fn refuse(&mut self, error: IndexError);
}

/// A read that waits.
pub(in crate::visibility) struct Job {
    pub(in crate::visibility) work: Box<dyn Work>,
    pub(in crate::visibility) ends: Instant,
    pub(in crate::visibility) wanted: Wanted,
}

struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    more: Condvar,
    waiting_max: usize,
}

struct Shared {
    quick: Queue,
    slow: Queue,
    quick_time: Duration,
    closing: Arc<AtomicBool>,
}

/// See the module.
pub(in crate::visibility) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn new(waiting_max: usize) -> Self {
        Self { jobs: Mutex::default(), more: Condvar::new(), waiting_max }
    }

    fn push(&self, mut job: Job, closing: &AtomicBool) {
        let mut jobs = lock(&self.jobs);
        if closing.load(Ordering::Relaxed) {
            drop(jobs);
            return job.work.refuse(IndexError::Closed);
        }
        if jobs.len() >= self.waiting_max {
            drop(jobs);
            return job.work.refuse(IndexError::Busy);
        }
        jobs.push_back(job);
        drop(jobs);
        self.more.notify_one();
    }

    /// The next one; `None` when the readers close.
    fn pop(&self, closing: &AtomicBool) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            if closing.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(job) = jobs.pop_front() {
                return Some(job);
            }
            jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let jobs = std::mem::take(&mut *lock(&self.jobs));
        self.more.notify_all();
        for mut job in jobs {
            job.work.refuse(IndexError::Closed);
        }
    }
}

impl Readers {
    /// Starts the threads.
    pub(in crate::visibility) fn start(quick_time: Duration) -> Result<Self, IndexError> {
        let (quick, slow) = (Queue::new(QUICK_WAITING_MAX), Queue::new(SLOW_WAITING_MAX));
        let shared = Arc::new(Shared { quick, slow, quick_time, closing: Arc::default() });
        let readers = Self { shared: shared.clone(), threads: Mutex::default() };
        for n in 0..QUICK_THREADS + SLOW_THREADS {
            let shared = shared.clone();
            let thread = std::thread::Builder::new()
                .name("sempre-lists".into())
                .spawn(move || if n < QUICK_THREADS { shared.run_quick() } else { shared.run_slow() })
                .map_err(|error| IndexError::Failed { action: "start its threads", reason: error.to_string() })?;
            lock(&readers.threads).push(thread);
        }
        Ok(readers)
    }

    /// Does a read on one of the threads.
    pub(in crate::visibility) fn read(&self, job: Job) {
        self.shared.quick.push(job, &self.shared.closing);
    }

    /// Stops what is under way, refuses what waits, and waits for the threads.
    pub(in crate::visibility) fn close(&self) {
        {
            // With both locks, so that nobody pushes or goes to sleep in between.
            let (_quick, _slow) = (lock(&self.shared.quick.jobs), lock(&self.shared.slow.jobs));
            self.shared.closing.store(true, Ordering::Relaxed);
        }
        self.shared.quick.close();
        self.shared.slow.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A panic on it was told by the panic itself; its caller got no answer, which means closed.
            let _ = thread.join();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn run_quick(&self) {
        while let Some(mut job) = self.quick.pop(&self.closing) {
            let limits = Limits::new(job.ends, Some(self.quick_time), job.wanted.clone(), self.closing.clone());
            if job.work.run(&limits) == Outcome::IsSlow {
                self.slow.push(job, &self.closing);
            }
        }
    }

    fn run_slow(&self) {
        while let Some(mut job) = self.slow.pop(&self.closing) {
            let limits = Limits::new(job.ends, None, job.wanted.clone(), self.closing.clone());
            job.work.run(&limits);
        }
    }
}
