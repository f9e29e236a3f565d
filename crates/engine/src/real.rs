//! The wall clock and tokio's spawner.
#![expect(clippy::disallowed_methods, reason = "this is where the engine's time and tasks come from")]

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::Timestamp;

use crate::{Clock, Spawner};

/// The system's wall clock, held back where it would go backwards.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl SystemClock {
    /// A clock.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Timestamp(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let wait = at.since(self.now());
        // Tokio's timer counts in milliseconds and rounds up: it never wakes early.
        tokio::time::sleep(Duration::from_nanos(wait.0.unsigned_abs())).boxed()
    }
}

/// Spawns on a tokio runtime.
#[derive(Clone, Debug)]
pub struct TokioSpawner {
    runtime: tokio::runtime::Handle,
}

impl TokioSpawner {
    /// Spawns on `runtime`.
    pub fn new(runtime: tokio::runtime::Handle) -> Self {
        Self { runtime }
    }

    /// Spawns on the runtime of the caller. Panics outside of one.
    pub fn current() -> Self {
        Self::new(tokio::runtime::Handle::current())
    }
}

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(task));
    }
}
