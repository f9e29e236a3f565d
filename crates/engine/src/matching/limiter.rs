//! How fast a queue gives out tasks (spec 05 §4): a bucket that holds the tasks of one second and fills steadily.
//!
//! The bucket is one instant, that of the earliest next task. A task may go when it has come; each moves it on by the
//! time between two tasks, and time that passes unused is worth at most a full bucket.

use sempre_core::Timestamp;

/// What a queue gives out per second when nobody has said anything.
pub(crate) const SYSTEM_RATE: f64 = 100_000.0;
/// Slower is never: the time between two tasks would not fit.
const RATE_MIN: f64 = 1e-9;

/// Who set the rate in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateSource {
    /// UpdateTaskQueueConfig.
    Api,
    /// The last poll.
    Worker,
    /// Nobody.
    System,
}

/// A rate as times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Nanoseconds between two tasks. `None`: no task goes out.
    interval: Option<i64>,
    /// Nanoseconds that a full bucket is ahead of its time.
    burst: i64,
}

impl Pace {
    /// No bucket is ahead by more nanoseconds.
    pub(super) const BURST_MAX: i64 = 1_000_000_000;

    /// Of tasks per second.
    pub(super) fn of(rate: f64) -> Self {
        if rate.is_nan() || rate <= RATE_MIN {
            return Self { interval: None, burst: 0 };
        }
        let interval = (1e9 / rate) as i64;
        Self { interval: Some(interval), burst: (rate.ceil() as i64 - 1).saturating_mul(interval) }
    }

    /// Any task goes at all.
    pub(super) fn runs(self) -> bool {
        self.interval.is_some()
    }

    /// When the next task may go, if the last might have gone at `next` and goes now.
    pub(super) fn after(self, next: i64, now: Timestamp) -> i64 {
        now.0.max(next.saturating_add(self.burst)) + self.interval.unwrap_or_default() - self.burst
    }

    /// The same, had that task not gone.
    pub(super) fn before(self, next: i64) -> i64 {
        next.saturating_sub(self.interval.unwrap_or_default())
    }

    /// No later than this rate lets the next task go.
    pub(super) fn cut(self, next: i64, now: Timestamp) -> i64 {
        self.interval.map_or(next, |interval| next.min(now.0.saturating_add(interval)))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Limiter {
    api: Option<f64>,
    worker: Option<f64>,
    pace: Pace,
    next: i64,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { api: None, worker: None, pace: Pace::of(SYSTEM_RATE), next: i64::MIN }
    }
}

impl Limiter {
    /// The rate in force, in tasks per second, and who set it.
    pub(crate) fn rate(&self) -> (f64, RateSource) {
        let (rate, source) = match (self.api, self.worker) {
            (Some(rate), _) => (rate, RateSource::Api),
            (None, Some(rate)) => (rate, RateSource::Worker),
            (None, None) => (SYSTEM_RATE, RateSource::System),
        };
        // Also what is not a number.
        if rate < SYSTEM_RATE { (rate.max(0.0), source) } else { (SYSTEM_RATE, RateSource::System) }
    }

    /// What UpdateTaskQueueConfig says. True when the rate in force is another now.
    pub(crate) fn set_api(&mut self, rate: Option<f64>, now: Timestamp) -> bool {
        let before = self.rate();
        self.api = rate;
        self.changed(before.0, now)
    }

    /// What the last poll says. True when the rate in force is another now.
    pub(crate) fn set_worker(&mut self, rate: Option<f64>, now: Timestamp) -> bool {
        if self.worker == rate {
            return false;
        }
        let before = self.rate();
        self.worker = rate;
        self.changed(before.0, now)
    }

    #[expect(clippy::float_cmp, reason = "a rate that was not touched is the same to the bit")]
    fn changed(&mut self, before: f64, now: Timestamp) -> bool {
        let changed = self.rate().0 != before;
        if changed {
            self.apply(now);
        }
        changed
    }

    fn apply(&mut self, now: Timestamp) {
        let (rate, _) = self.rate();
        self.pace = Pace::of(rate);
        // A slower rate may have put the next task far off.
        self.next = self.pace.cut(self.next, now);
    }

    /// When the next task may go. `None`: not before the rate changes.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.pace.runs().then_some(Timestamp(self.next))
    }

    /// Whether a task would have to wait now.
    pub(crate) fn is_waiting(&self, now: Timestamp) -> bool {
        !self.pace.runs() || now.0 < self.next
    }

    /// Lets a task go, if one may.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let goes = !self.is_waiting(now);
        if goes {
            self.next = self.pace.after(self.next, now);
        }
        goes
    }

    /// The task did not go after all.
    pub(crate) fn give_back(&mut self) {
        self.next = self.pace.before(self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(rate: f64) -> Limiter {
        let mut limiter = Limiter::default();
        limiter.set_worker(Some(rate), Timestamp(0));
        limiter
    }

    fn go(limiter: &mut Limiter, now: i64) -> usize {
        (0..1_000_000).take_while(|_| limiter.take(Timestamp(now))).count()
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut limiter = at(1.0);
        for n in 0..10 {
            assert_eq!(go(&mut limiter, n * SECOND), 1);
            assert_eq!(go(&mut limiter, (n + 1) * SECOND - 1), 0);
        }
    }

    #[test]
    fn a_second_of_rest_is_worth_a_second_of_tasks() {
        let mut limiter = at(50.0);
        assert_eq!(go(&mut limiter, 7 * SECOND), 50);
        assert_eq!(go(&mut limiter, 7 * SECOND + SECOND / 10), 5);
        assert_eq!(go(&mut limiter, 100 * SECOND), 50, "and no more");
        let mut slow = at(0.5);
        assert_eq!((go(&mut slow, 0), go(&mut slow, SECOND), go(&mut slow, 2 * SECOND)), (1, 0, 1));
    }

    #[test]
    fn zero_stops_and_a_new_rate_starts_again() {
        for stop in [0.0, -1.0, 1e-12] {
            let mut limiter = at(stop);
            assert_eq!(go(&mut limiter, 1000 * SECOND), 0);
            assert_eq!(limiter.next(), None);
            assert!(limiter.set_worker(Some(2.0), Timestamp(1000 * SECOND)));
            assert!(go(&mut limiter, 1000 * SECOND) > 0);
        }
        // A long wait is cut when the rate rises.
        let mut limiter = at(0.001);
        assert_eq!(go(&mut limiter, 0), 1);
        limiter.set_worker(Some(10.0), Timestamp(0));
        assert_eq!(limiter.next(), Some(Timestamp(SECOND / 10)));
    }

    #[test]
    fn a_task_that_stayed_leaves_its_place() {
        let mut limiter = at(1.0);
        assert!(limiter.take(Timestamp(0)));
        limiter.give_back();
        assert!(limiter.take(Timestamp(0)));
        assert!(!limiter.take(Timestamp(0)));
    }

    #[test]
    fn the_api_goes_before_the_worker_and_the_system_before_both() {
        let mut limiter = Limiter::default();
        assert_eq!(limiter.rate(), (SYSTEM_RATE, RateSource::System));
        limiter.set_worker(Some(5.0), Timestamp(0));
        assert_eq!(limiter.rate(), (5.0, RateSource::Worker));
        limiter.set_api(Some(7.0), Timestamp(0));
        assert_eq!(limiter.rate(), (7.0, RateSource::Api));
        assert!(!limiter.set_worker(None, Timestamp(0)), "it did not count");
        limiter.set_api(Some(1e9), Timestamp(0));
        assert_eq!(limiter.rate(), (SYSTEM_RATE, RateSource::System));
        limiter.set_api(None, Timestamp(0));
        limiter.set_worker(Some(f64::NAN), Timestamp(0));
        assert_eq!(limiter.rate(), (SYSTEM_RATE, RateSource::System));
    }
}
