//! Whose turn it is in a queue that many share (spec 05 §5).
//!
//! Tasks that name a fairness key stand in a line of their own, ordered by level and *rank*, on disk as in memory. The rank
//! is given when the task is offered (start-time fair queueing): the larger of the rank where its key's last task ends and
//! the queue's virtual time, which is the rank of the task handed out last. A task ends a stride after its rank, and the
//! stride of a weight is [`STRIDE`] / weight. Tasks without a key are the line that any queue has, ordered by age; together
//! they are one more key, whose first task has a rank at the moment it is first (which comes to the same: it is given from
//! the same two numbers).
//!
//! What that gives, for keys that have tasks waiting from one moment to another, however many tasks others have and however
//! long they have waited:
//!
//! - of two of them, with weights a and b, that were handed A and B tasks in between: |A/a − B/b| ≤ 1/a + 1/b. A key's tasks
//!   have ranks one stride apart, and between two moments the virtual time passes over the same ranks for both: each gets all
//!   of its tasks whose ranks are passed, which is the length passed over its stride, give or take one task;
//! - hence of n keys with weights w, where N tasks were handed out, each was handed more than N·w/Σw − 1 − n·w/Σw;
//! - the first task of a key that had none has the virtual time as its rank: before it go at most the first tasks of others
//!   that have the same rank, one each.
//!
//! An urgent level goes before all of a less urgent one. A task's rank does not change: a new weight holds for tasks that are
//! offered from then on. Ranks are on disk, so the order survives a restart; where a key's last task ends is found again from
//! what is waiting, so a key without any tasks left loses what it was ahead (one task), and virtual time is that of the first
//! that waits with a key; those without one, whose ranks are not stored, begin there: they win one task by a restart at most, or lose as many as
//! come in one turn of that key. What is offered while the backlog of the last process is still being read goes before it. The turns of tasks
//! that were withdrawn before they were handed out are lost to their key until nothing waits in the queue.
//!
//! Memory: besides the window, 24 bytes for each key that has tasks waiting, [`KEYS_MAX`] of them in the whole process (with
//! the room that hash maps leave free, at most 60 MB, and half as much again while one of them grows). Keys beyond share [`CROWD`] places by their hash, and those that meet
//! in one have one turn together.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sempre_core::{Timestamp, transition::Fairness};

use super::{
    limiter::Pace,
    window::{Side, Window},
};

/// The length of one task of weight 1 in virtual time. After 9·10¹³ of them in one queue, virtual time stands still and tasks
/// go in the order of their runs.
const STRIDE: f64 = 100_000.0;
/// Weights beyond are taken for these.
const WEIGHT_MIN: f64 = 0.001;
const WEIGHT_MAX: f64 = 1000.0;
/// Keys of all queues whose turns are known one by one.
pub(crate) const KEYS_MAX: usize = 1 << 20;
/// Places that the keys beyond share, in each queue that has any.
const CROWD: usize = 1024;
/// Keys in a queue before any are looked through for those that can be forgotten.
const PRUNE_MIN: usize = 1024;
/// Keys of a queue that are held to a rate one by one. More have only the queue's.
const LIMITED_MAX: usize = 1 << 16;

/// Weights set by hand, by key.
pub(crate) type Weights = Arc<BTreeMap<String, f32>>;

/// The weight that counts.
pub(crate) fn weight(overrides: &Weights, fairness: Option<&Fairness>) -> f64 {
    let Some(fairness) = fairness else { return 1.0 };
    let own = || Some(fairness.weight);
    let named = overrides.get(&fairness.key).copied().or_else(own).filter(|weight| *weight > 0.0).unwrap_or(1.0);
    f64::from(named).clamp(WEIGHT_MIN, WEIGHT_MAX)
}

fn stride(weight: f64) -> i64 {
    (STRIDE / weight) as i64
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Counts the keys of all queues.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    fn take(&self) -> bool {
        let more = |used| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Tasks without a key, of one side.
#[derive(Clone, Copy, Debug, Default)]
struct Unkeyed {
    /// Rank of the first, once it was asked for.
    start: Option<i64>,
    /// Where the last that was handed out ends.
    end: i64,
}

/// One priority.
#[derive(Debug)]
struct Level {
    level: u8,
    /// Virtual time: the rank handed out last.
    now: i64,
    unkeyed: [Unkeyed; 2],
    /// The first rank that was found in the store.
    stored_from: Option<i64>,
}

/// The ranks of one queue.
#[derive(Debug)]
pub(crate) struct Turns {
    levels: Vec<Level>,
    /// Where the last task of a key ends, by level and hash of the key. One that is not in here ends before virtual time.
    ends: HashMap<(u8, u64), i64>,
    /// How many to look through next.
    prune_at: usize,
    /// The same of keys beyond the bound, by hash; empty: there are none.
    crowd: Vec<i64>,
    budget: Arc<Budget>,
    /// Where virtual time begins.
    begin: i64,
}

impl Turns {
    pub(super) fn new(budget: Arc<Budget>, begin: i64) -> Self {
        Self { levels: Vec::new(), ends: HashMap::new(), prune_at: PRUNE_MIN, crowd: Vec::new(), budget, begin }
    }

    fn level(&mut self, level: u8) -> &mut Level {
        let at = self.levels.iter().position(|known| known.level == level).unwrap_or_else(|| {
            self.levels.push(Level { level, now: self.begin, unkeyed: Default::default(), stored_from: None });
            self.levels.len() - 1
        });
        &mut self.levels[at]
    }

    fn now(&self, level: u8) -> i64 {
        self.levels.iter().find(|known| known.level == level).map_or(self.begin, |level| level.now)
    }

    fn end(&self, level: u8, key: u64) -> i64 {
        let crowd = || if self.crowd.is_empty() { 0 } else { self.crowd[key as usize % CROWD] };
        self.ends.get(&(level, key)).copied().unwrap_or_else(crowd)
    }

    fn set_end(&mut self, level: u8, key: u64, end: i64) {
        if let Some(known) = self.ends.get_mut(&(level, key)) {
            *known = end;
            return;
        }
        if self.ends.len() >= self.prune_at {
            self.prune();
        }
        if self.budget.take() {
            self.ends.insert((level, key), end);
            return;
        }
        if self.crowd.is_empty() {
            self.crowd = vec![0; CROWD];
        }
        self.crowd[key as usize % CROWD] = end;
    }

    /// Forgets keys that virtual time has passed. At each doubling: what it costs is spread over what came in.
    fn prune(&mut self) {
        let before = self.ends.len();
        let now: BTreeMap<u8, i64> = self.levels.iter().map(|level| (level.level, level.now)).collect();
        self.ends.retain(|(level, _), end| now.get(level).is_none_or(|now| *end > *now));
        self.budget.give_back(before - self.ends.len());
        self.prune_at = (self.ends.len() * 2).max(PRUNE_MIN);
        if self.ends.capacity() > self.prune_at * 4 {
            self.ends.shrink_to(self.prune_at);
        }
    }

    /// The rank of one more task of a key.
    pub(super) fn rank(&mut self, level: u8, key: &str, weight: f64) -> i64 {
        let key = hash(key);
        let rank = self.end(level, key).max(self.now(level)).max(1);
        self.set_end(level, key, rank.saturating_add(stride(weight)));
        rank
    }

    /// A task was handed to a poll that waited, before anybody had to wait for a turn: it used none.
    pub(super) fn not_needed(&mut self, level: u8, key: &str, weight: f64) {
        let key = hash(key);
        let end = self.end(level, key).saturating_sub(stride(weight));
        if end > self.now(level) {
            self.set_end(level, key, end);
        } else if self.ends.remove(&(level, key)).is_some() {
            self.budget.give_back(1);
        }
    }

    /// A task that was found in the store; an old one waited there when the process began.
    pub(super) fn found(&mut self, level: u8, key: &str, weight: f64, rank: i64, old: bool) {
        let key = hash(key);
        let end = rank.saturating_add(stride(weight)).max(self.end(level, key));
        self.set_end(level, key, end);
        if old {
            let level = self.level(level);
            level.stored_from = Some(level.stored_from.map_or(rank, |from| from.min(rank)));
        }
    }

    /// All that waited in the store when the process began has been found.
    pub(super) fn all_found(&mut self) {
        for level in &mut self.levels {
            level.now = level.now.max(level.stored_from.take().unwrap_or(level.now));
        }
    }

    /// A task with a key is handed out.
    pub(super) fn handed(&mut self, level: u8, rank: i64) {
        let level = self.level(level);
        level.now = level.now.max(rank);
    }

    /// The rank of the first task without a key, now that there is one.
    pub(super) fn unkeyed(&mut self, level: u8, side: Side) -> i64 {
        let level = self.level(level);
        let unkeyed = &mut level.unkeyed[side as usize];
        *unkeyed.start.get_or_insert(level.now.max(unkeyed.end))
    }

    /// It is handed out.
    pub(super) fn unkeyed_handed(&mut self, level: u8, side: Side, weight: f64) {
        let start = self.unkeyed(level, side);
        let level = self.level(level);
        level.now = level.now.max(start);
        level.unkeyed[side as usize] = Unkeyed { start: None, end: start.saturating_add(stride(weight)) };
    }

    /// It was not, after all.
    pub(super) fn unkeyed_not_handed(&mut self, level: u8, side: Side, weight: f64) {
        let unkeyed = &mut self.level(level).unkeyed[side as usize];
        unkeyed.start = Some(unkeyed.end.saturating_sub(stride(weight)));
    }

    /// Nothing waits: nobody is ahead of anybody.
    pub(super) fn settle(&mut self) {
        self.budget.give_back(self.ends.len());
        self.ends = HashMap::new();
        self.crowd = Vec::new();
        self.prune_at = PRUNE_MIN;
        for level in &mut self.levels {
            level.unkeyed = Default::default();
        }
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.ends.len()
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.budget.give_back(self.ends.len());
    }
}

/// The line of the ranked.
#[derive(Debug)]
pub(crate) struct Fair {
    pub(super) window: Window,
    pub(super) turns: Turns,
}

impl Fair {
    pub(super) fn new(budget: Arc<Budget>, begin: i64) -> Box<Self> {
        Box::new(Self { window: Window::new(true), turns: Turns::new(budget, begin) })
    }
}

/// A rate for each key, times its weight. Tasks without a key are one more key.
#[derive(Debug)]
pub(crate) struct KeyLimits {
    rate: f64,
    /// When the next task of a key may go, ns. One that is not in here has not been seen for a while, or there are too many.
    next: HashMap<u64, i64>,
}

impl KeyLimits {
    pub(super) fn new(rate: f64) -> Box<Self> {
        Box::new(Self { rate, next: HashMap::new() })
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Another rate. Waits that a slower one has made are cut.
    pub(super) fn set_rate(&mut self, rate: f64, now: Timestamp) {
        self.rate = rate;
        let pace = Pace::of(rate * WEIGHT_MIN);
        self.next.values_mut().for_each(|next| *next = pace.cut(*next, now));
    }

    fn pace(&self, weight: f64) -> Pace {
        Pace::of(self.rate * weight)
    }

    /// When the next task of a key may go. `None`: not before the rate changes.
    pub(super) fn ready_at(&self, key: &str, weight: f64) -> Option<Timestamp> {
        let pace = self.pace(weight);
        let known = self.next.get(&hash(key)).copied().unwrap_or(i64::MIN);
        pace.runs().then_some(Timestamp(known))
    }

    /// A task of a key goes.
    pub(super) fn take(&mut self, key: &str, weight: f64, now: Timestamp) {
        let pace = self.pace(weight);
        let key = hash(key);
        if !self.next.contains_key(&key) && self.next.len() >= LIMITED_MAX {
            // Whoever may have a full second's tasks again is as good as new.
            self.next.retain(|_, next| *next > now.0 - Pace::BURST_MAX);
            if self.next.len() >= LIMITED_MAX {
                return;
            }
        }
        let next = self.next.entry(key).or_insert(i64::MIN);
        *next = pace.after(*next, now);
    }

    /// It did not.
    pub(super) fn give_back(&mut self, key: &str, weight: f64) {
        let pace = self.pace(weight);
        if let Some(next) = self.next.get_mut(&hash(key)) {
            *next = pace.before(*next);
        }
    }
}
