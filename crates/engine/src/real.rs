//! The wall clock and tokio's spawner.
#![expect(clippy::disallowed_methods, reason = "this is where the engine's time and tasks come from")]

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::Timestamp;

use crate::{Clock, Spawner};

/// The clock is led towards the wall clock by this part of the time that passes.
const SLEW: i64 = 10;
/// A wall clock that is ahead by more has been set, or the machine has slept.
const STEP: Duration = Duration::from_secs(10);
/// A step forward that has held this long is followed at once.
const STEP_HELD: Duration = Duration::from_secs(300);
/// Longest sleep before the clock is looked at again.
const SLEEP_MAX: Duration = Duration::from_secs(30);

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Time that always passes: as fast as a monotonic clock, give or take a tenth to meet the wall clock.
///
/// Neither a step nor a glitch of the wall clock stops it. One forward that lasts is followed in one leap.
#[derive(Debug)]
struct Steady {
    now: i64,
    /// Monotonic time of the last look.
    looked: Duration,
    /// Since when the wall clock has been ahead by a step.
    ahead_since: Option<Duration>,
}

impl Steady {
    fn new(monotonic: Duration, wall: i64) -> Self {
        Self { now: wall, looked: monotonic, ahead_since: None }
    }

    fn look(&mut self, monotonic: Duration, wall: i64) -> i64 {
        // Two threads may look in another order than they have read the clocks.
        let passed = nanos(monotonic.saturating_sub(self.looked));
        self.looked = self.looked.max(monotonic);
        let next = self.now.saturating_add(passed);
        let error = wall.saturating_sub(next);
        if error <= nanos(STEP) {
            self.ahead_since = None;
        } else if monotonic.saturating_sub(*self.ahead_since.get_or_insert(monotonic)) >= STEP_HELD {
            self.ahead_since = None;
            self.now = wall;
            return wall;
        }
        self.now = next.saturating_add(error.clamp(-passed / SLEW, passed / SLEW));
        self.now
    }
}

#[derive(Debug)]
struct Source {
    start: Instant,
    steady: Mutex<Steady>,
}

fn wall() -> i64 {
    nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

impl Source {
    fn now(&self) -> Timestamp {
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp(steady.look(self.start.elapsed(), wall()))
    }
}

/// The system's time: begins with the wall clock, passes steadily, and follows the wall clock slowly.
#[derive(Clone, Debug)]
pub struct SystemClock {
    source: Arc<Source>,
}

impl SystemClock {
    /// A clock.
    pub fn new() -> Self {
        let steady = Mutex::new(Steady::new(Duration::ZERO, wall()));
        Self { source: Arc::new(Source { start: Instant::now(), steady }) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.source.now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let source = self.source.clone();
        async move {
            loop {
                let wait = at.since(source.now()).0;
                if wait <= 0 {
                    return;
                }
                // Tokio's timer counts in milliseconds and rounds up. The clock may be a little slower than it, or leap.
                tokio::time::sleep(Duration::from_nanos(wait.unsigned_abs()).min(SLEEP_MAX)).await;
            }
        }
        .boxed()
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const DAY: i64 = 86_400 * SECOND;

    /// Looks once a second for as long as the wall clock is off by `error`; says how far the clock is from true time.
    fn run(steady: &mut Steady, clock: &mut u64, seconds: u64, error: i64) -> i64 {
        let mut last = steady.now;
        for _ in 0..seconds {
            *clock += 1;
            let now = steady.look(Duration::from_secs(*clock), *clock as i64 * SECOND + error);
            assert!(now - last >= SECOND * 9 / 10, "time passes");
            last = now;
        }
        last - *clock as i64 * SECOND
    }

    #[test]
    fn a_glitch_forward_neither_shows_nor_stops_time() {
        let (mut steady, mut clock) = (Steady::new(Duration::ZERO, 0), 0);
        assert_eq!(run(&mut steady, &mut clock, 100, 0), 0);
        assert_eq!(run(&mut steady, &mut clock, 60, DAY), 6 * SECOND);
        assert_eq!(run(&mut steady, &mut clock, 100, 0), 0);
    }

    #[test]
    fn a_step_back_is_followed_slowly() {
        let (mut steady, mut clock) = (Steady::new(Duration::ZERO, 0), 0);
        assert_eq!(run(&mut steady, &mut clock, 100, -3600 * SECOND), -10 * SECOND);
        assert_eq!(run(&mut steady, &mut clock, 36_000, -3600 * SECOND), -3600 * SECOND);
    }

    #[test]
    fn a_step_forward_that_lasts_is_followed() {
        let (mut steady, mut clock) = (Steady::new(Duration::ZERO, 0), 0);
        assert_eq!(run(&mut steady, &mut clock, 300, DAY), 30 * SECOND);
        assert_eq!(run(&mut steady, &mut clock, 1, DAY), DAY);
    }

    #[test]
    fn looks_out_of_order_do_not_go_back() {
        let mut steady = Steady::new(Duration::ZERO, 0);
        assert_eq!(steady.look(Duration::from_secs(2), 2 * SECOND), 2 * SECOND);
        assert_eq!(steady.look(Duration::from_secs(1), SECOND), 2 * SECOND);
        assert_eq!(steady.look(Duration::from_secs(3), 3 * SECOND), 3 * SECOND);
    }
}
