//! Advice to workers that choose by themselves how many polls they keep open (spec 05 §7).

use sempre_core::{Span, Timestamp, transition::QueueName};

use super::{Matching, queue};

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

impl<S: Send + 'static> Matching<S> {
    /// What to say with a task of this queue to a poll that waited since `since`.
    pub(crate) fn advise(&self, name: &QueueName, since: Timestamp) -> Advice {
        let now = self.clock.now();
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let Some(queue) = stripe.get(hash, name) else { return Advice::default() };
        let backlog = queue.backlog();
        if now.since(since) >= WAIT_MAX {
            return Advice { backlog, polls: Some(-1) };
        }
        if !queue.advice.pass(queue.pollers.len(), now) {
            return Advice { backlog, polls: None };
        }
        let old = backlog > 0
            && queue.levels.oldest(|priority| queue::oldest(&queue.offers, priority)).is_some_and(|t| now.since(t) > BACKLOG_AGE_MAX);
        // Of a sticky queue's rates one worker sees too little to draw conclusions.
        let more = old || (!name.sticky && queue.levels.add_ratio(now) > ADD_RATIO_MAX);
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
