//! Which faults a test meets: named one by one, drawn from a seed, or one crash at every point there is.

use std::{fmt, time::Duration};

/// One fault. Numbers count from 0, over all workers of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The worker dies, with all that it has in hand, at a point: before an answer of it reaches the server, after it has but before the
    /// worker knows, or when a task has just been taken. Another worker begins when what it had has timed out.
    Crash {
        /// The point.
        point: usize,
    },
    /// An activity is done, but the server never hears of it: it times out and is given to a worker once more.
    DuplicateActivity {
        /// The how-manieth answer of an activity.
        answer: usize,
    },
    /// An activity's heartbeats are lost from one on, until the server takes the attempt for dead. Without a heartbeat timeout that
    /// is at the end of the attempt's time.
    LostHeartbeats {
        /// The how-manieth heartbeat.
        heartbeat: usize,
    },
    /// A signal of a client comes late, and so maybe after one that was sent later.
    LateSignal {
        /// The how-manieth signal.
        signal: usize,
        /// By how much virtual time.
        by: Duration,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { point } => write!(f, "crash at point {point}"),
            Self::DuplicateActivity { answer } => write!(f, "loss of the answer of activity {answer}"),
            Self::LostHeartbeats { heartbeat } => write!(f, "loss of heartbeats from number {heartbeat} on"),
            Self::LateSignal { signal, by } => write!(f, "signal {signal} late by {by:?}"),
        }
    }
}

impl Fault {
    /// The same at an earlier place, or by less: the smallest first.
    pub(crate) fn smaller(self) -> Vec<Self> {
        let earlier = |number: usize| if number < 2 { (0..number).collect() } else { vec![0, number / 2] };
        match self {
            Self::Crash { point } => earlier(point).into_iter().map(|point| Self::Crash { point }).collect(),
            Self::DuplicateActivity { answer } => earlier(answer).into_iter().map(|answer| Self::DuplicateActivity { answer }).collect(),
            Self::LostHeartbeats { heartbeat } => {
                earlier(heartbeat).into_iter().map(|heartbeat| Self::LostHeartbeats { heartbeat }).collect()
            }
            Self::LateSignal { signal, by } => {
                let less = LATENESS.into_iter().map(Duration::from_secs).filter(|less| *less < by);
                let less = less.map(|by| Self::LateSignal { signal, by });
                earlier(signal).into_iter().map(|signal| Self::LateSignal { signal, by }).chain(less).collect()
            }
        }
    }
}

/// How often each kind could happen in a run without faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) points: usize,
    pub(crate) answers: usize,
    pub(crate) heartbeats: usize,
    pub(crate) signals: usize,
}

/// The faults that a test meets. Where they hit follows from a run without any, so the same seed means the same faults as long as
/// the test does the same.
///
/// ```no_run
/// use sempre_embedded::testing::{Fault, Faults};
/// // Two crashes and one activity that is done twice, at places that the seed chooses, for each of twenty seeds.
/// let drawn = Faults::seeds(0..20).crashes(2).duplicate_activities(1);
/// // A crash at each point that there is, one after the other.
/// let every = Faults::every_crash();
/// // One fault that is named: what a failed test tells to repeat.
/// let named = Faults::exactly([Fault::Crash { point: 7 }]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "faults are given to `TestEnvironment::builder().faults(…)`"]
pub struct Faults {
    choice: Choice,
    crashes: usize,
    duplicates: usize,
    heartbeats: usize,
    signals: usize,
}

#[derive(Clone, Debug)]
enum Choice {
    None,
    Exactly(Vec<Fault>),
    EveryCrash,
    Seeds(Vec<u64>),
}

/// The faults of one run, and the seed that they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: Option<u64>,
    pub(crate) faults: Vec<Fault>,
}

impl Faults {
    fn of(choice: Choice) -> Self {
        Self { choice, crashes: 1, duplicates: 1, heartbeats: 1, signals: 1 }
    }

    /// None at all: the test runs once, and its histories are replayed.
    pub fn none() -> Self {
        Self::of(Choice::None)
    }

    /// These.
    pub fn exactly(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self::of(Choice::Exactly(faults.into_iter().collect()))
    }

    /// A crash at each point that a run without faults has, one run each.
    pub fn every_crash() -> Self {
        Self::of(Choice::EveryCrash)
    }

    /// Drawn from a seed: one of each kind, unless it is said how many.
    pub fn seeded(seed: u64) -> Self {
        Self::seeds([seed])
    }

    /// Drawn from several seeds, one run each.
    pub fn seeds(seeds: impl IntoIterator<Item = u64>) -> Self {
        Self::of(Choice::Seeds(seeds.into_iter().collect()))
    }

    /// How often workers die in each run of a seed.
    pub fn crashes(mut self, count: usize) -> Self {
        self.crashes = count;
        self
    }

    /// How many activities are done twice in each run of a seed.
    pub fn duplicate_activities(mut self, count: usize) -> Self {
        self.duplicates = count;
        self
    }

    /// How many attempts of activities lose their heartbeats in each run of a seed.
    pub fn lost_heartbeats(mut self, count: usize) -> Self {
        self.heartbeats = count;
        self
    }

    /// How many signals come late in each run of a seed.
    pub fn late_signals(mut self, count: usize) -> Self {
        self.signals = count;
        self
    }

    /// The runs, given what a run without faults has shown.
    pub(crate) fn plans(&self, extent: Extent) -> Vec<Plan> {
        match &self.choice {
            Choice::None => Vec::new(),
            Choice::Exactly(faults) => vec![Plan { seed: None, faults: faults.clone() }],
            Choice::EveryCrash => (0..extent.points).map(|point| Plan { seed: None, faults: vec![Fault::Crash { point }] }).collect(),
            Choice::Seeds(seeds) => seeds.iter().map(|seed| self.drawn(*seed, extent)).collect(),
        }
    }

    fn drawn(&self, seed: u64, extent: Extent) -> Plan {
        // A stream of its own for each kind: one more of a kind does not move the others.
        let draw = |kind: u64, count: usize, below: usize| {
            let mut chance = Chance(seed ^ kind.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            (0..if below == 0 { 0 } else { count }).map(|_| chance.below(below)).collect::<Vec<_>>()
        };
        let mut faults: Vec<Fault> = Vec::new();
        faults.extend(draw(1, self.crashes, extent.points).into_iter().map(|point| Fault::Crash { point }));
        faults.extend(draw(2, self.duplicates, extent.answers).into_iter().map(|answer| Fault::DuplicateActivity { answer }));
        faults.extend(draw(3, self.heartbeats, extent.heartbeats).into_iter().map(|heartbeat| Fault::LostHeartbeats { heartbeat }));
        let lateness = draw(5, self.signals, LATENESS.len());
        let late = draw(4, self.signals, extent.signals).into_iter().zip(lateness);
        faults.extend(late.map(|(signal, by)| Fault::LateSignal { signal, by: Duration::from_secs(LATENESS[by]) }));
        faults.sort_unstable();
        faults.dedup();
        Plan { seed: Some(seed), faults }
    }
}

/// How late a signal comes, in seconds: from shorter than most timers to longer than most.
const LATENESS: [u64; 5] = [1, 10, 600, 7_200, 172_800];

/// Splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // Bounds are tiny: the bias is too.
        usize::try_from(mixed % (bound as u64)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent { points: 40, answers: 9, heartbeats: 3, signals: 2 };

    #[test]
    fn a_seed_means_the_same_faults_each_time_and_kinds_do_not_move_each_other() {
        let faults = Faults::seeds(0..50).crashes(2);
        assert_eq!(faults.plans(EXTENT), faults.plans(EXTENT));
        let crashes = |faults: &Faults| -> Vec<Vec<Fault>> {
            let all = faults.plans(EXTENT);
            all.into_iter().map(|plan| plan.faults.into_iter().filter(|fault| matches!(fault, Fault::Crash { .. })).collect()).collect()
        };
        assert_eq!(crashes(&faults), crashes(&faults.clone().duplicate_activities(3).late_signals(0)));
        let points: std::collections::BTreeSet<_> = crashes(&faults).into_iter().flatten().collect();
        assert!(points.len() > 25, "{points:?}");
    }

    #[test]
    fn a_fault_becomes_smaller_until_there_is_no_smaller_one() {
        let late = |signal, seconds| Fault::LateSignal { signal, by: Duration::from_secs(seconds) };
        assert_eq!(Fault::Crash { point: 30 }.smaller(), [Fault::Crash { point: 0 }, Fault::Crash { point: 15 }]);
        assert_eq!(Fault::DuplicateActivity { answer: 1 }.smaller(), [Fault::DuplicateActivity { answer: 0 }]);
        assert_eq!(late(1, 600).smaller(), [late(0, 600), late(1, 1), late(1, 10)]);
        for smallest in [Fault::Crash { point: 0 }, Fault::LostHeartbeats { heartbeat: 0 }, late(0, 1)] {
            assert!(smallest.smaller().is_empty(), "{smallest:?}");
        }
        // It ends: each one is smaller than the one it was made of.
        let mut fault = Fault::Crash { point: usize::MAX };
        for _ in 0..usize::BITS {
            fault = fault.smaller().last().copied().unwrap_or(fault);
        }
        assert_eq!(fault, Fault::Crash { point: 0 });
    }

    #[test]
    fn what_cannot_happen_is_not_planned() {
        let plans = Faults::seeded(1).plans(Extent { points: 5, ..Extent::default() });
        assert!(matches!(plans[0].faults.as_slice(), [Fault::Crash { point: 0..5 }]), "{plans:?}");
        assert_eq!(Faults::every_crash().plans(EXTENT).len(), 40);
        assert!(Faults::none().plans(EXTENT).is_empty());
    }
}
