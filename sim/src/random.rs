//! Chance: one seeded stream per consumer, so that one more draw here does not shift the draws there.

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

/// Mixes numbers into one that is unlike any of them.
#[must_use]
pub fn mix(parts: &[u64]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        hash = (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

impl Random {
    /// The stream of a consumer.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(fastrand::Rng::with_seed(mix(&[seed, stream])))
    }

    /// Below `end`; 0 when that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.u64(0..end) }
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, n: u32) -> bool {
        n > 0 && self.0.u32(0..1000) < n
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.0.usize(0..from.len())) }
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.u64(..)
    }
}
