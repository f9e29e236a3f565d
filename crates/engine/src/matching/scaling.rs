//! Advice to workers that choose by themselves how many polls they keep open (spec 05 §7).

use std::sync::Arc;

use sempre_core::{Span, Timestamp, Version, transition::QueueName};

use super::{Matching, queue::Queue, window::Side};

/// A poll that waited this long was one too many.
const WAIT_MAX: Span = Span::seconds(1);
/// A backlog older than this wants more polls.
const BACKLOG_AGE_MAX: Span = Span::millis(200);
/// More tasks that come per task that goes than this want more polls.
const ADD_RATIO_MAX: f32 = 1.2;
/// How often one poller on average is asked for more polls, and how much of it may come at once.
const ADVICE_INTERVAL: i64 = Span::millis(100).0;
const ADVICE_BURST: i64 = Span::seconds(1).0;

/// What a queue says with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Offers that wait, for `backlog_count_hint`.
    pub(crate) backlog: u64,
    /// By how many polls to change; `None`: nothing to say.
    pub(crate) polls: Option<i32>,
}

/// Keeps advice rare.
#[derive(Debug, Default)]
pub(crate) struct AdviceGate {
    next: i64,
}

impl AdviceGate {
    fn pass(&mut self, pollers: usize, now: Timestamp) -> bool {
        let interval = ADVICE_INTERVAL / pollers.clamp(1, 100_000) as i64;
        let next = self.next.max(now.0) + interval;
        let passes = next - now.0 <= ADVICE_BURST;
        if passes {
            self.next = next;
        }
        passes
    }
}

/// What a queue, or a side of it, says of the work in it.
struct Pressure {
    backlog: u64,
    oldest: Option<Timestamp>,
    /// Tasks that come and that go, per second.
    rates: (f32, f32),
}

impl<S: Send + 'static> Queue<S> {
    /// A side's share of what the queue sends to two sides. `None`: there is no other.
    pub(super) fn share_of(&self, side: Side) -> Option<f64> {
        let route = self.route.as_ref()?;
        let ramp = route.ramp.as_ref().filter(|ramp| ramp.version != route.current)?;
        let ramped = f64::from(ramp.percentage.clamp(0.0, 100.0)) / 100.0;
        Some(if side == Side::Ramp { ramped } else { 1.0 - ramped })
    }

    /// What waits for workers of this version in the queue. Of a ramp's two sides each has its share of what is in the store,
    /// and of what comes and goes.
    fn pressure(&mut self, version: Option<&Arc<Version>>, now: Timestamp) -> Option<Pressure> {
        let side = self.side_of(version)?;
        let share = self.share_of(side);
        let (waiting, stored) = self.levels.counts();
        let (added, dispatched) = self.levels.rates(now);
        let Some(share) = share else {
            return Some(Pressure { backlog: waiting + stored, oldest: self.oldest(), rates: (added, dispatched) });
        };
        let windows = [Some(&self.plain), self.fair.as_ref().map(|fair| &fair.window)];
        let here: usize = windows.iter().flatten().map(|window| window.len_of(side)).sum();
        let first = windows.iter().flatten().filter_map(|window| window.first(side)).map(|(_, queued)| queued.offer.offered).min();
        let rates = ((f64::from(added) * share) as f32, (f64::from(dispatched) * share) as f32);
        Some(Pressure { backlog: here as u64 + (stored as f64 * share) as u64, oldest: first, rates })
    }
}

impl<S: Send + 'static> Matching<S> {
    /// What to say with a task of this queue to a poll that waited since `since`. Workers of a version have, besides their own
    /// line, what the queue itself sends to them.
    pub(crate) fn advise(&self, name: &QueueName, since: Timestamp) -> Advice {
        let now = self.clock.now();
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let version = name.version.as_ref();
        let shared = version.and_then(|_| {
            let plain = name.plain();
            stripe.get(plain.hash64(), &plain)?.pressure(version, now)
        });
        let Some(queue) = stripe.get(hash, name) else { return Advice::default() };
        let all = [queue.pressure(version, now), shared];
        let all = || all.iter().flatten();
        let backlog = all().map(|pressure| pressure.backlog).sum();
        if now.since(since) >= WAIT_MAX {
            return Advice { backlog, polls: Some(-1) };
        }
        if !queue.advice.pass(queue.pollers.len(), now) {
            return Advice { backlog, polls: None };
        }
        let old = backlog > 0 && all().filter_map(|pressure| pressure.oldest).min().is_some_and(|t| now.since(t) > BACKLOG_AGE_MAX);
        let (added, dispatched) = all().fold((0.0, 0.0), |(a, d), pressure| (a + pressure.rates.0, d + pressure.rates.1));
        // Of a sticky queue's rates one worker sees too little to draw conclusions. Not a number when nothing came or went.
        let more = old || (!name.sticky && added / dispatched > ADD_RATIO_MAX);
        Advice { backlog, polls: more.then_some(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_second_for_each_poller() {
        let mut gate = AdviceGate::default();
        let mut passes = |pollers, now| (0..1000).filter(|_| gate.pass(pollers, Timestamp(now))).count();
        let second = 1_000_000_000;
        assert_eq!(passes(1, 10 * second), 10);
        assert_eq!(passes(1, 10 * second + second / 2), 5);
        assert_eq!(passes(20, 30 * second), 200);
    }
}
