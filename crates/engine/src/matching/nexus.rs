//! Requests to Nexus handlers in their queues: they wait in memory only, and whoever asked still waits for the answer. Where a
//! queue's work goes to versions, a request waits on the line of the version that its id falls to.

use std::{collections::VecDeque, sync::Arc};

use sempre_core::Timestamp;

use super::{Handed, Matching, held::HeldNexus, levels::Levels, queue::Queue};
use crate::nexus::calls::NexusTask;

/// The level that requests are counted under: they have no priorities.
const LEVEL: u8 = 3;

/// Requests that wait in one queue; more are refused.
pub(super) const WAITING_MAX: usize = 4096;
/// Requests that may wait before those are looked for whose callers have gone.
const UNSWEPT: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct WaitingNexus {
    tasks: VecDeque<(NexusTask, Timestamp)>,
    /// How many there must be before those are looked for again whose callers have gone: twice as many as were left, so
    /// that a request costs the same however many wait.
    sweep_at: usize,
}

impl Default for WaitingNexus {
    fn default() -> Self {
        Self { tasks: VecDeque::new(), sweep_at: UNSWEPT }
    }
}

impl WaitingNexus {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// When the first came.
    pub(super) fn oldest(&self, level: u8) -> Option<Timestamp> {
        self.tasks.front().filter(|_| level == LEVEL).map(|(_, since)| *since)
    }

    /// Forgets those whose callers have gone.
    pub(super) fn drop_unwanted(&mut self, levels: &mut Levels) {
        self.tasks.retain(|(task, _)| {
            let wanted = task.is_wanted();
            if !wanted {
                levels.leave(LEVEL);
            }
            wanted
        });
        self.sweep_at = (self.tasks.len() * 2).clamp(UNSWEPT, WAITING_MAX);
    }

    /// Forgets those at the front whose callers have gone.
    fn drop_unwanted_first(&mut self, levels: &mut Levels) {
        while self.tasks.front().is_some_and(|(task, _)| !task.is_wanted()) {
            self.tasks.pop_front();
            levels.leave(LEVEL);
        }
    }

    /// There is room for one more.
    fn has_room(&mut self, levels: &mut Levels) -> bool {
        if self.tasks.len() >= self.sweep_at {
            self.drop_unwanted(levels);
        }
        self.tasks.len() < WAITING_MAX
    }
}

impl<S: Send + 'static> Queue<S> {
    /// Gives all that wait to another line.
    pub(super) fn drain_nexus(&mut self) -> VecDeque<(NexusTask, Timestamp)> {
        self.nexus.drop_unwanted(&mut self.levels);
        let all = std::mem::take(&mut self.nexus.tasks);
        all.iter().for_each(|_| self.levels.leave(LEVEL));
        all
    }

    /// Takes one over that has waited on another line, behind those that came before it.
    pub(super) fn join_nexus(&mut self, task: NexusTask, since: Timestamp, now: Timestamp) {
        self.levels.enter(LEVEL, now);
        let at = self.nexus.tasks.partition_point(|(_, other)| *other <= since);
        self.nexus.tasks.insert(at, (task, since));
    }

    fn push_nexus(&mut self, task: NexusTask, arrived: Arrived, now: Timestamp) {
        self.levels.enter(LEVEL, now);
        match arrived {
            Arrived::Last => self.nexus.tasks.push_back((task, now)),
            Arrived::First => self.nexus.tasks.push_front((task, now)),
        }
    }

    /// The first request that somebody waits for, if the queue's rate allows one.
    pub(super) fn pop_nexus(&mut self, now: Timestamp) -> Option<NexusTask> {
        self.nexus.drop_unwanted_first(&mut self.levels);
        if self.nexus.is_empty() || !self.limiter.take(now) {
            return None;
        }
        let (task, _) = self.nexus.tasks.pop_front()?;
        self.levels.leave(LEVEL);
        self.levels.dispatched(LEVEL, now);
        Some(task)
    }
}

/// Where a request joins those that wait.
enum Arrived {
    First,
    Last,
}

impl<S: Send + 'static> Matching<S> {
    /// A request to a handler: to the poller that has waited longest, else to the next one. Never stored. False: too many wait.
    pub(crate) fn nexus(self: &Arc<Self>, task: NexusTask) -> bool {
        let now = self.clock.now();
        let mut stripe = self.stripe(task.queue.hash64());
        let line = self.line_of(&mut stripe, &task.queue, task.ramped_by());
        let queue = self.open(&mut stripe, line.hash64(), &line, now);
        queue.used = now;
        if !queue.nexus.has_room(&mut queue.levels) {
            return false;
        }
        queue.levels.added(LEVEL, now);
        queue.push_nexus(task, Arrived::Last, now);
        self.pump_nexus(queue);
        true
    }

    /// A request whose poller has gone before it could be told: it is the first again.
    pub(crate) fn requeue_nexus(self: &Arc<Self>, task: NexusTask) {
        let now = self.clock.now();
        let mut stripe = self.stripe(task.queue.hash64());
        let line = self.line_of(&mut stripe, &task.queue, task.ramped_by());
        let queue = self.open(&mut stripe, line.hash64(), &line, now);
        queue.limiter.give_back();
        queue.levels.not_dispatched(LEVEL);
        queue.push_nexus(task, Arrived::First, now);
        self.pump_nexus(queue);
    }

    /// Hands requests to waiting polls, as fast as the queue may.
    pub(super) fn pump_nexus(self: &Arc<Self>, queue: &mut Queue<S>) {
        let now = self.clock.now();
        while !queue.nexus.is_empty() {
            let Some(waiter) = queue.next_waiter(now) else { return };
            let Some(task) = queue.pop_nexus(now) else {
                queue.waiters.push_front(waiter);
                if !queue.nexus.is_empty() {
                    self.set_alarm(queue, queue.limiter.next());
                }
                return;
            };
            if let Err(Handed::Nexus(held)) = waiter.sender.send(Handed::Nexus(HeldNexus::new(task, self.clone()))) {
                queue.limiter.give_back();
                queue.levels.not_dispatched(LEVEL);
                queue.push_nexus(held.into_task(), Arrived::First, now);
            }
        }
    }
}
