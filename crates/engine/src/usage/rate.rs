//! How often a namespace may be called, and whose calls go first when that is too often.
//!
//! A bucket is one number: the time at which all that was let in would have been in order, had it come at the rate. A call is let
//! in while that time is no more than a burst ahead of now. Classes that matter less must leave a part of the burst to
//! the others, so whoever polls too often does not keep completions out.

use std::sync::atomic::{AtomicI64, Ordering};

use sempre_core::Timestamp;

/// What a call is for; the first go first when a namespace is called too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallClass {
    /// A worker answers, or says that it is at work: work that was done must not be done again.
    Complete,
    /// Starts a run.
    Start,
    /// Signals, updates, and what else moves a run on.
    Advance,
    /// Cancels, terminates, resets; reads history; changes settings.
    Change,
    /// Describes, queries.
    Look,
    /// Polls for tasks.
    Poll,
    /// Everything else.
    Other,
    /// Reads lists: these have a rate of their own, and count for no other.
    List,
}

/// All classes.
pub const CALL_CLASSES: [CallClass; 8] = [
    CallClass::Complete,
    CallClass::Start,
    CallClass::Advance,
    CallClass::Change,
    CallClass::Look,
    CallClass::Poll,
    CallClass::Other,
    CallClass::List,
];

/// Parts of a burst.
const PARTS: i64 = 8;

impl CallClass {
    /// Parts of the burst, of [`PARTS`], that such calls leave to those before them.
    pub(super) fn reserve(self) -> i64 {
        match self {
            CallClass::Complete | CallClass::List => 0,
            CallClass::Start | CallClass::Advance => 1,
            CallClass::Change => 2,
            CallClass::Look => 3,
            CallClass::Poll => 4,
            CallClass::Other => 5,
        }
    }
}

/// Calls in a second that a namespace may make; 0 = no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// All calls but reads of lists (`frontend.namespaceRPS`).
    pub calls: f64,
    /// Seconds for which a rate may come at once (`frontend.namespaceBurstRatio`), of calls and starts.
    pub burst_ratio: f64,
    /// Calls that start runs (`sempre.limit.startsPerSecond`); they count as calls, too.
    pub starts: f64,
    /// Reads of lists (`frontend.namespaceRPS.visibility`).
    pub lists: f64,
    /// The same for these (`frontend.namespaceBurstRatio.visibility`).
    pub lists_burst_ratio: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { calls: 0.0, burst_ratio: 2.0, starts: 0.0, lists: 0.0, lists_burst_ratio: 1.0 }
    }
}

impl Rates {
    pub(super) fn calls(&self) -> Pace {
        Pace::new(self.calls, self.burst_ratio)
    }

    pub(super) fn starts(&self) -> Pace {
        Pace::new(self.starts, self.burst_ratio)
    }

    pub(super) fn lists(&self) -> Pace {
        Pace::new(self.lists, self.lists_burst_ratio)
    }

    pub(super) fn are_some(&self) -> bool {
        [self.calls, self.starts, self.lists].iter().any(|rate| *rate > 0.0)
    }
}

/// A rate as times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nanoseconds from one call to the next; 0: there is no limit.
    interval: i64,
    /// Nanoseconds ahead of now that calls may have been let in.
    burst: i64,
}

impl Pace {
    fn new(rate: f64, burst_ratio: f64) -> Self {
        if rate <= 0.0 {
            return Self { interval: 0, burst: 0 };
        }
        let interval = ((1e9 / rate) as i64).max(1);
        Self { interval, burst: ((burst_ratio.max(0.0) * 1e9) as i64).max(interval) }
    }

    /// Calls that may come at once.
    pub(super) fn burst(self) -> f64 {
        if self.interval == 0 { 0.0 } else { self.burst as f64 / self.interval as f64 }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Bucket(AtomicI64);

impl Default for Bucket {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Bucket {
    /// Lets a call in, unless there were too many; `reserve` parts of the burst stay for others.
    pub(super) fn take(&self, pace: Pace, reserve: i64, now: Timestamp) -> bool {
        if pace.interval == 0 {
            return true;
        }
        // The smallest burst is one call, whoever makes it.
        let ahead = (pace.burst / PARTS * (PARTS - reserve)).max(pace.interval);
        let let_in = |at: i64| {
            let next = at.max(now.0).saturating_add(pace.interval);
            (next.saturating_sub(now.0) <= ahead).then_some(next)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, let_in).is_ok()
    }

    /// Whether a call would be let in.
    pub(super) fn has(&self, pace: Pace, now: Timestamp) -> bool {
        pace.interval == 0 || self.0.load(Ordering::Relaxed).max(now.0).saturating_add(pace.interval).saturating_sub(now.0) <= pace.burst
    }

    /// Calls of the burst that are used up.
    pub(super) fn used(&self, pace: Pace, now: Timestamp) -> u64 {
        if pace.interval == 0 {
            return 0;
        }
        let ahead = self.0.load(Ordering::Relaxed).saturating_sub(now.0).max(0);
        (ahead / pace.interval).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Calls of a class that are let in at `now`, of `n`.
    fn let_in(bucket: &Bucket, pace: Pace, class: CallClass, n: usize, now: i64) -> usize {
        (0..n).filter(|_| bucket.take(pace, class.reserve(), Timestamp(now))).count()
    }

    #[test]
    fn as_many_as_the_rate_and_the_burst_are_let_in() {
        let (bucket, pace) = (Bucket::default(), Pace::new(100.0, 2.0));
        assert_eq!(let_in(&bucket, pace, CallClass::Complete, 1000, 0), 200);
        assert_eq!(bucket.used(pace, Timestamp(0)), 200);
        assert_eq!(let_in(&bucket, pace, CallClass::Complete, 1000, SECOND), 100);
        assert_eq!(let_in(&bucket, pace, CallClass::Complete, 1000, 10 * SECOND), 200, "no more than a burst is saved");
        assert!(!bucket.has(pace, Timestamp(10 * SECOND)));
        assert_eq!(bucket.used(pace, Timestamp(20 * SECOND)), 0);
    }

    #[test]
    fn whoever_polls_too_often_leaves_room_for_completions() {
        let (bucket, pace) = (Bucket::default(), Pace::new(100.0, 2.0));
        assert_eq!(let_in(&bucket, pace, CallClass::Poll, 1000, 0), 100);
        assert_eq!(let_in(&bucket, pace, CallClass::Other, 1000, 0), 0);
        assert_eq!(let_in(&bucket, pace, CallClass::Start, 1000, 0), 75);
        assert_eq!(let_in(&bucket, pace, CallClass::Complete, 1000, 0), 25);
        // For ever: all of a second's calls are polls first, and all that are completions get through.
        let mut completed = 0;
        for second in 1..=20 {
            let_in(&bucket, pace, CallClass::Poll, 1000, second * SECOND);
            completed += let_in(&bucket, pace, CallClass::Complete, 50, second * SECOND);
        }
        assert_eq!(completed, 20 * 50);
    }

    #[test]
    fn the_smallest_rate_lets_everybody_in_once() {
        for class in CALL_CLASSES {
            let (bucket, pace) = (Bucket::default(), Pace::new(0.5, 1.0));
            assert_eq!(let_in(&bucket, pace, class, 10, 0), 1, "{class:?}");
            assert_eq!(let_in(&bucket, pace, class, 10, SECOND), 0, "{class:?}");
            assert_eq!(let_in(&bucket, pace, class, 10, 2 * SECOND), 1, "{class:?}");
        }
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let (bucket, pace) = (Bucket::default(), Pace::new(0.0, 2.0));
        assert_eq!(let_in(&bucket, pace, CallClass::Other, 1000, 0), 1000);
        assert!(!Rates::default().are_some());
    }
}
