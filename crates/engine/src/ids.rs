//! Seeded streams of ids, one per consumer, so that a draw here does not shift the draws there.

use sempre_core::IdSource;

/// An [`IdSource`] that repeats for the same seed and stream.
#[derive(Clone, Debug)]
pub(crate) struct SeededIds {
    rng: fastrand::Rng,
}

impl SeededIds {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // Two draws apart: close seeds and close streams must not give related numbers.
        let mut rng = fastrand::Rng::with_seed(seed);
        let base = rng.u64(..);
        Self { rng: fastrand::Rng::with_seed(base ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)) }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.rng.u64(..)
    }
}

impl IdSource for SeededIds {
    fn random(&mut self) -> [u8; 16] {
        self.rng.u128(..).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, stream| SeededIds::new(seed, stream).random();
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }
}
