//! What a queue counts, per priority: offers that wait, in memory and in the store, and how many come and go.
//!
//! Kept while offers move, so that nobody has to look through a line. What lies in the store only is counted as it is
//! put there and taken back; a withdrawn offer that was on its way to a poller may be counted twice, until the whole
//! line is in memory again. The API calls these numbers approximate.

use sempre_core::{Span, Timestamp};

/// Rates are means over this time.
const BUCKET: i64 = Span::seconds(5).0;
const BUCKETS: usize = 7;
const INTERVAL: i64 = BUCKET * (BUCKETS as i64 - 1);

/// How many came in the last half minute.
#[derive(Clone, Debug)]
struct Flow {
    counts: [u32; BUCKETS],
    /// When counting began.
    since: i64,
    /// The bucket that is being filled: where in `counts`, and when it began.
    at: usize,
    begun: i64,
}

impl Flow {
    fn new(now: Timestamp) -> Self {
        Self { counts: [0; BUCKETS], since: now.0, at: 0, begun: now.0 }
    }

    fn advance(&mut self, now: Timestamp) {
        let passed = (now.0 - self.begun).max(0) / BUCKET;
        for _ in 0..passed.min(BUCKETS as i64) {
            self.at = (self.at + 1) % BUCKETS;
            self.counts[self.at] = 0;
        }
        self.begun += passed * BUCKET;
    }

    fn add(&mut self, now: Timestamp) {
        self.advance(now);
        self.counts[self.at] = self.counts[self.at].saturating_add(1);
    }

    fn take_back(&mut self) {
        self.counts[self.at] = self.counts[self.at].saturating_sub(1);
    }

    /// Per second.
    fn rate(&mut self, now: Timestamp) -> f32 {
        self.advance(now);
        let elapsed = (now.0 - self.begun + INTERVAL).min(now.0 - self.since);
        if elapsed <= 0 {
            return 0.0;
        }
        let total: u64 = self.counts.iter().copied().map(u64::from).sum();
        (total as f64 * 1e9 / elapsed as f64) as f32
    }
}

/// One priority.
#[derive(Clone, Debug)]
struct Level {
    priority: u8,
    /// Offers in memory.
    waiting: u64,
    /// Offers in the store only, and the time of the oldest put there.
    stored: u64,
    stored_since: Timestamp,
    added: Flow,
    dispatched: Flow,
}

impl Level {
    /// The oldest in memory, or else in the store.
    fn oldest(&self, first: Option<Timestamp>) -> Option<Timestamp> {
        first.or_else(|| (self.stored > 0).then_some(self.stored_since))
    }
}

/// What is shown of a priority.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LevelView {
    pub(crate) priority: u8,
    pub(crate) backlog: u64,
    /// Of the backlog, what is in the store only.
    pub(crate) stored: u64,
    /// When the oldest that waits was offered.
    pub(crate) oldest: Option<Timestamp>,
    /// Per second.
    pub(crate) add_rate: f32,
    pub(crate) dispatch_rate: f32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    levels: Vec<Level>,
}

impl Levels {
    fn level(&mut self, priority: u8, now: Timestamp) -> &mut Level {
        let at = self.levels.iter().position(|level| level.priority == priority).unwrap_or_else(|| {
            let flow = Flow::new(now);
            let level = Level { priority, waiting: 0, stored: 0, stored_since: now, added: flow.clone(), dispatched: flow };
            self.levels.push(level);
            self.levels.len() - 1
        });
        &mut self.levels[at]
    }

    fn known(&mut self, priority: u8) -> Option<&mut Level> {
        self.levels.iter_mut().find(|level| level.priority == priority)
    }

    /// A new task has come.
    pub(super) fn added(&mut self, priority: u8, now: Timestamp) {
        self.level(priority, now).added.add(now);
    }

    /// A task is on its way to a poller.
    pub(super) fn dispatched(&mut self, priority: u8, now: Timestamp) {
        self.level(priority, now).dispatched.add(now);
    }

    /// It did not go after all.
    pub(super) fn not_dispatched(&mut self, priority: u8) {
        self.known(priority).into_iter().for_each(|level| level.dispatched.take_back());
    }

    /// It never came either.
    pub(super) fn not_added(&mut self, priority: u8) {
        self.known(priority).into_iter().for_each(|level| level.added.take_back());
    }

    /// An offer is in the window.
    pub(super) fn enter(&mut self, priority: u8, now: Timestamp) {
        self.level(priority, now).waiting += 1;
    }

    /// An offer has left the window.
    pub(super) fn leave(&mut self, priority: u8) {
        self.known(priority).into_iter().for_each(|level| level.waiting = level.waiting.saturating_sub(1));
    }

    /// An offer is in the store only.
    pub(super) fn store(&mut self, priority: u8, offered: Timestamp, now: Timestamp) {
        let level = self.level(priority, now);
        level.stored_since = if level.stored == 0 { offered } else { level.stored_since.min(offered) };
        level.stored += 1;
    }

    /// An offer is no longer in the store only.
    pub(super) fn unstore(&mut self, priority: u8) {
        self.known(priority).into_iter().for_each(|level| level.stored = level.stored.saturating_sub(1));
    }

    /// The window holds the whole line.
    pub(super) fn all_in_memory(&mut self) {
        self.levels.iter_mut().for_each(|level| level.stored = 0);
    }

    /// Offers that wait, in memory and in the store only.
    pub(super) fn counts(&self) -> (u64, u64) {
        self.levels.iter().fold((0, 0), |(waiting, stored), level| (waiting + level.waiting, stored + level.stored))
    }

    /// When the oldest that waits was offered; `first` as in [`Levels::view`].
    pub(super) fn oldest(&self, first: impl Fn(u8) -> Option<Timestamp>) -> Option<Timestamp> {
        self.levels.iter().filter_map(|level| level.oldest(first(level.priority))).min()
    }

    /// Tasks that come and that go, per second, of late.
    pub(super) fn rates(&mut self, now: Timestamp) -> (f32, f32) {
        self.levels.iter_mut().fold((0.0, 0.0), |(a, d), level| (a + level.added.rate(now), d + level.dispatched.rate(now)))
    }

    /// All priorities seen so far. `oldest` tells when the first offer of a priority in the window was offered.
    pub(super) fn view(&mut self, now: Timestamp, mut oldest: impl FnMut(u8) -> Option<Timestamp>) -> Vec<LevelView> {
        let shown = self.levels.iter_mut().map(|level| LevelView {
            priority: level.priority,
            backlog: level.waiting + level.stored,
            stored: level.stored,
            oldest: level.oldest(oldest(level.priority)),
            add_rate: level.added.rate(now),
            dispatch_rate: level.dispatched.rate(now),
        });
        let mut shown: Vec<LevelView> = shown.collect();
        shown.sort_by_key(|level| level.priority);
        shown
    }
}

/// The levels of two lines as those of one.
pub(super) fn together(mut sum: Vec<LevelView>, more: Vec<LevelView>) -> Vec<LevelView> {
    for level in more {
        match sum.iter_mut().find(|known| known.priority == level.priority) {
            Some(known) => {
                known.backlog += level.backlog;
                known.stored += level.stored;
                known.oldest = known.oldest.into_iter().chain(level.oldest).min();
                known.add_rate += level.add_rate;
                known.dispatch_rate += level.dispatch_rate;
            }
            None => sum.push(level),
        }
    }
    sum.sort_by_key(|level| level.priority);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn rates_are_means_of_the_last_half_minute() {
        let mut flow = Flow::new(at(100));
        assert_eq!(flow.rate(at(100)).to_bits(), 0);
        for second in 100..140 {
            for _ in 0..3 {
                flow.add(at(second));
            }
        }
        assert!((flow.rate(at(140)) - 3.0).abs() < 0.5);
        assert!(flow.rate(at(155)) < 2.0);
        assert_eq!(flow.rate(at(175)).to_bits(), 0, "back to nothing");
    }

    #[test]
    fn what_is_in_the_store_counts_until_all_is_in_memory() {
        let mut levels = Levels::default();
        levels.enter(3, at(0));
        levels.store(3, at(7), at(9));
        levels.store(5, at(4), at(9));
        levels.store(5, at(6), at(9));
        assert_eq!(levels.counts(), (1, 3));
        let view = levels.view(at(9), |priority| (priority == 3).then_some(at(1)));
        assert_eq!(view.iter().map(|l| (l.priority, l.backlog, l.oldest)).collect::<Vec<_>>(), [(3, 2, Some(at(1))), (5, 2, Some(at(4)))]);
        levels.unstore(5);
        levels.leave(3);
        assert_eq!(levels.counts(), (0, 2));
        levels.all_in_memory();
        assert_eq!(levels.counts(), (0, 0));
    }
}
