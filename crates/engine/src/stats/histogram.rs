//! How long things take, counted in fixed classes: no lock, no allocation.

use std::sync::atomic::{AtomicU64, Ordering};

use sempre_core::Span;

/// Upper bounds of the classes of latencies.
pub const LATENCIES: &[Span] = &[
    Span::millis(1),
    Span::millis(2),
    Span::millis(5),
    Span::millis(10),
    Span::millis(20),
    Span::millis(50),
    Span::millis(100),
    Span::millis(200),
    Span::millis(500),
    Span::seconds(1),
    Span::seconds(2),
    Span::seconds(5),
    Span::seconds(10),
    Span::seconds(30),
    Span::seconds(60),
];
/// Of lives of runs.
pub const LIVES: &[Span] = &[
    Span::millis(100),
    Span::seconds(1),
    Span::seconds(10),
    Span::seconds(60),
    Span::seconds(600),
    Span::seconds(3600),
    Span::seconds(6 * 3600),
    Span::seconds(86_400),
    Span::seconds(7 * 86_400),
    Span::seconds(30 * 86_400),
];

/// See the module.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Span],
    /// One class more than there are bounds: for what is longer than all.
    classes: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramReading {
    /// Upper bounds in seconds, and how many were no longer than that.
    pub up_to: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// How long all of them took, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// An empty one; `bounds` ascend.
    pub fn new(bounds: &'static [Span]) -> Self {
        Self { bounds, classes: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), nanos: AtomicU64::new(0) }
    }

    /// Counts one. What took less than nothing took nothing.
    pub fn observe(&self, span: Span) {
        let class = self.bounds.iter().position(|bound| span <= *bound).unwrap_or(self.bounds.len());
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(span.0).unwrap_or(0), Ordering::Relaxed);
    }

    /// As it is now.
    pub fn read(&self) -> HistogramReading {
        let mut count = 0;
        let mut up_to: Vec<(f64, u64)> = Vec::with_capacity(self.bounds.len());
        for (class, counted) in self.classes.iter().enumerate() {
            count += counted.load(Ordering::Relaxed);
            if let Some(bound) = self.bounds.get(class) {
                up_to.push((bound.0 as f64 / 1e9, count));
            }
        }
        HistogramReading { up_to, count, sum: self.nanos.load(Ordering::Relaxed) as f64 / 1e9 }
    }
}

/// Of latencies.
impl Default for Histogram {
    fn default() -> Self {
        Self::new(LATENCIES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_from_the_shortest_on() {
        static BOUNDS: &[Span] = &[Span::seconds(1), Span::seconds(2)];
        let histogram = Histogram::new(BOUNDS);
        for span in [Span::seconds(-1), Span::millis(500), Span::seconds(1), Span::millis(1500), Span::seconds(9)] {
            histogram.observe(span);
        }
        assert_eq!(histogram.read(), HistogramReading { up_to: vec![(1.0, 3), (2.0, 4)], count: 5, sum: 12.0 });
    }
}
