//! How far a read may go before the database is told to stop.
#![expect(clippy::disallowed_methods, reason = "what is bounded is the work of this machine, not what users' clocks say")]

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Why a read was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::visibility) enum Stopped {
    /// It had no more steps.
    Steps = 1,
    /// Its time on this thread is over.
    Turn,
    /// All its time is over.
    Time,
    /// Nobody waits for its answer any more.
    Unwanted,
}

/// A caller that waits for an answer; it goes with the future that was given to it.
#[derive(Clone)]
pub(in crate::visibility) struct Wanted(pub(in crate::visibility) Weak<()>);

/// The limits of one read.
pub(in crate::visibility) struct Limits {
    /// Steps that are left; `u64::MAX` = no bound.
    steps: AtomicU64,
    turn_ends: Option<Instant>,
    ends: Instant,
    wanted: Wanted,
    closing: Arc<AtomicBool>,
    stopped: AtomicU8,
}

/// When all the time of a read that begins now is over.
pub(in crate::visibility) fn end_of(time: Duration) -> Instant {
    Instant::now() + time
}

impl Limits {
    /// `turn` is the time that it has on this thread, if it may go on elsewhere.
    pub(in crate::visibility) fn new(ends: Instant, turn: Option<Duration>, wanted: Wanted, closing: Arc<AtomicBool>) -> Arc<Self> {
        let turn_ends = turn.map(|turn| Instant::now() + turn);
        let (steps, stopped) = (AtomicU64::new(u64::MAX), AtomicU8::new(0));
        Arc::new(Self { steps, turn_ends, ends, wanted, closing, stopped })
    }

    /// Gives a read some steps, or as many as it wants.
    pub(in crate::visibility) fn allow(&self, steps: Option<u64>) {
        self.steps.store(steps.unwrap_or(u64::MAX), Ordering::Relaxed);
        let _ = self.stopped.compare_exchange(Stopped::Steps as u8, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Time that is left of all its time. SQLite, which is in this process, asks by [`Self::look`].
    #[cfg(feature = "postgres")]
    pub(in crate::visibility) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Why the read was stopped, if it was.
    pub(in crate::visibility) fn stopped(&self) -> Option<Stopped> {
        let all = [Stopped::Steps, Stopped::Turn, Stopped::Time, Stopped::Unwanted];
        all.into_iter().find(|reason| *reason as u8 == self.stopped.load(Ordering::Relaxed))
    }

    /// Looks whether the read has to stop.
    pub(in crate::visibility) fn look(&self, steps: u64) -> bool {
        let left = self.steps.load(Ordering::Relaxed);
        if left != u64::MAX {
            self.steps.store(left.saturating_sub(steps), Ordering::Relaxed);
        }
        let now = Instant::now();
        let reason = if self.closing.load(Ordering::Relaxed) || self.wanted.0.strong_count() == 0 {
            Stopped::Unwanted
        } else if now >= self.ends {
            Stopped::Time
        } else if self.turn_ends.is_some_and(|ends| now >= ends) {
            Stopped::Turn
        } else if left <= steps {
            Stopped::Steps
        } else {
            return false;
        };
        self.stopped.store(reason as u8, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn each_limit_stops_a_read_and_says_why() {
        let (wants, closing) = (Arc::new(()), Arc::new(AtomicBool::new(false)));
        let wanted = || Wanted(Arc::downgrade(&wants));
        let limits = Limits::new(end_of(HOUR), Some(HOUR), wanted(), closing.clone());
        assert!(!limits.look(1 << 40));
        limits.allow(Some(5));
        assert!(!limits.look(4));
        assert!(limits.look(1));
        assert_eq!(limits.stopped(), Some(Stopped::Steps));
        limits.allow(None);
        assert_eq!((limits.look(1 << 40), limits.stopped()), (false, None));

        let turn = Limits::new(end_of(HOUR), Some(Duration::ZERO), wanted(), closing.clone());
        assert_eq!((turn.look(0), turn.stopped()), (true, Some(Stopped::Turn)));
        let time = Limits::new(end_of(Duration::ZERO), Some(Duration::ZERO), wanted(), closing.clone());
        assert_eq!((time.look(0), time.stopped()), (true, Some(Stopped::Time)));

        drop(wants);
        assert_eq!((limits.look(0), limits.stopped()), (true, Some(Stopped::Unwanted)));
        let wants = Arc::new(());
        let limits = Limits::new(end_of(HOUR), None, Wanted(Arc::downgrade(&wants)), closing.clone());
        assert!(!limits.look(0));
        closing.store(true, Ordering::Relaxed);
        assert_eq!((limits.look(0), limits.stopped()), (true, Some(Stopped::Unwanted)));
    }
}
