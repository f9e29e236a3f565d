//! Runs that rules remember, so that each is told of, or counted, once and not with each of its changes.

use std::collections::{HashMap, HashSet};

use sempre_core::{RunId, ids::Uuid};

/// What is remembered of a run that a rule selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// It was told of.
    Raised,
    /// It was counted as left out: no more could be remembered as told of.
    LeftOut,
}

/// How many open runs are remembered.
struct Bound {
    of_rule: usize,
    of_all: usize,
}

/// Open runs of one rule for which it is remembered that it has told.
pub(crate) const RAISED_MAX: usize = 100_000;

impl Kind {
    fn bound(self) -> Bound {
        match self {
            Self::Raised => Bound { of_rule: RAISED_MAX, of_all: 1_000_000 },
            Self::LeftOut => Bound { of_rule: 100_000, of_all: 250_000 },
        }
    }
}

/// Runs of one kind, by [`RuleRecord::memory`](super::rule::RuleRecord::memory).
#[derive(Default)]
pub(crate) struct Runs {
    by_memory: HashMap<Uuid, HashSet<RunId>>,
    total: usize,
}

impl Runs {
    pub(crate) fn contains(&self, memory: Uuid, run: RunId) -> bool {
        self.by_memory.get(&memory).is_some_and(|runs| runs.contains(&run))
    }

    /// How many a rule remembers.
    pub(crate) fn count(&self, memory: Uuid) -> usize {
        self.by_memory.get(&memory).map_or(0, HashSet::len)
    }

    pub(super) fn remember(&mut self, memory: Uuid, run: RunId) {
        self.total += usize::from(self.by_memory.entry(memory).or_default().insert(run));
    }

    pub(super) fn forget(&mut self, memory: Uuid, run: RunId) {
        if let Some(runs) = self.by_memory.get_mut(&memory) {
            self.total -= usize::from(runs.remove(&run));
        }
    }

    /// What rules remember that are not there any more, or are others now.
    pub(super) fn orphans(&self, is_memory: impl Fn(Uuid) -> bool) -> impl Iterator<Item = (Uuid, RunId)> {
        let gone = self.by_memory.iter().filter(move |(memory, _)| !is_memory(**memory));
        gone.flat_map(|(memory, runs)| runs.iter().map(|run| (*memory, *run)))
    }

    /// Lets go of the room of rules that remember none.
    pub(super) fn trim(&mut self) {
        self.by_memory.retain(|_, runs| !runs.is_empty());
    }
}

/// Runs of one kind, with what is planned on top.
pub(super) struct Planned<'a> {
    runs: &'a Runs,
    bound: Bound,
    changed: HashMap<(Uuid, RunId), bool>,
    /// Runs remembered, less those forgotten: by memory, and of all.
    more: HashMap<Uuid, isize>,
    more_total: isize,
}

impl<'a> Planned<'a> {
    pub(super) fn new(kind: Kind, runs: &'a Runs) -> Self {
        Self { runs, bound: kind.bound(), changed: HashMap::new(), more: HashMap::new(), more_total: 0 }
    }

    pub(super) fn contains(&self, memory: Uuid, run: RunId) -> bool {
        self.changed.get(&(memory, run)).copied().unwrap_or_else(|| self.runs.contains(memory, run))
    }

    /// One more can be remembered for a rule.
    pub(super) fn has_room(&self, memory: Uuid) -> bool {
        let more = self.more.get(&memory).copied().unwrap_or_default();
        self.runs.count(memory).saturating_add_signed(more) < self.bound.of_rule
            && self.runs.total.saturating_add_signed(self.more_total) < self.bound.of_all
    }

    /// From now on the run is remembered, or is not. False: that is how it was.
    pub(super) fn set(&mut self, memory: Uuid, run: RunId, is_there: bool) -> bool {
        if self.contains(memory, run) == is_there {
            return false;
        }
        self.changed.insert((memory, run), is_there);
        let more = if is_there { 1 } else { -1 };
        *self.more.entry(memory).or_default() += more;
        self.more_total += more;
        true
    }
}
