//! Which runs of a workflow type are read: spread evenly over start times, and the first of each kind that the index tells
//! apart, so that a rare kind is not missed between many of a common one.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use sempre_core::{
    patch,
    versioning::attributes::{BEHAVIOR, USED},
    visibility::Record,
};

/// Kinds beyond this are not told apart.
const KINDS_MAX: usize = 1000;

/// Sees all runs of a type in order, and takes some.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Every so many are taken.
    stride: usize,
    seen: usize,
    kinds: HashSet<u64>,
}

impl Sampler {
    /// For `runs` runs of which about `wanted` are to be taken.
    pub(super) fn new(runs: usize, wanted: usize) -> Self {
        Self { stride: runs.div_ceil(wanted.max(1)).max(1), seen: 0, kinds: HashSet::new() }
    }

    /// Whether this one is taken.
    pub(super) fn takes(&mut self, record: &Record) -> bool {
        let in_turn = self.seen.is_multiple_of(self.stride);
        self.seen += 1;
        let new = self.kinds.len() < KINDS_MAX && self.kinds.insert(kind(record));
        in_turn || new
    }
}

/// What the index knows of the way a run has gone: the patches it has met, the versions it has used, how long it is to a
/// power of two.
fn kind(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    for name in [patch::ATTRIBUTE, BEHAVIOR, USED] {
        record.search_attributes.get(name).map(|payload| &payload.data).hash(&mut hasher);
    }
    record.history_length.max(1).ilog2().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_and_one_of_each_kind() {
        let mut sampler = Sampler::new(100, 10);
        let record = |history_length| Record { history_length, ..Record::default() };
        let taken: Vec<usize> = (0..100).filter(|at| sampler.takes(&record(if *at == 55 { 900 } else { 9 }))).collect();
        assert_eq!(taken, [0, 10, 20, 30, 40, 50, 55, 60, 70, 80, 90]);
        let mut sampler = Sampler::new(3, 10);
        assert!((0..3).all(|_| sampler.takes(&record(9))), "few are taken whole");
    }
}
