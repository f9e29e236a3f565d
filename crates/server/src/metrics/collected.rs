//! What is told, before it is written in one form or another.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use sempre_engine::HistogramReading;

/// Families, each with its samples. Samples of a family with the same labels are one, their sum: what is not told apart may
/// come in parts.
#[derive(Default)]
pub(crate) struct Collected {
    families: Vec<Family>,
    known: HashSet<&'static str>,
}

/// What a family's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// Counts by class.
    Histogram,
}

/// One family, to which samples are added.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
    /// Where each sample is.
    places: HashMap<OwnedLabels, usize>,
}

/// One number, or one histogram, and what it is of.
pub(crate) struct Sample {
    pub(crate) labels: OwnedLabels,
    pub(crate) value: Value,
}

/// What was counted or measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Histogram(HistogramReading),
}

/// Labels and their values.
pub(super) type Labels<'l> = &'l [(&'static str, &'l str)];
/// The same, kept.
pub(crate) type OwnedLabels = Vec<(&'static str, String)>;

impl Collected {
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Counter, help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Gauge, help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Histogram, help)
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        debug_assert!(self.known.insert(name), "{name} is told twice");
        let at = self.families.len();
        self.families.push(Family { name, help, kind, samples: Vec::new(), places: HashMap::new() });
        &mut self.families[at]
    }

    /// All families, in the order in which they were told.
    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }
}

impl Family {
    /// One sample of a counter or gauge.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        self.add(labels, Value::Number(value))
    }

    /// One whole number.
    pub(super) fn count(&mut self, labels: Labels<'_>, value: u64) -> &mut Self {
        self.sample(labels, value as f64)
    }

    /// One sample of a histogram.
    pub(super) fn reading(&mut self, labels: Labels<'_>, reading: &HistogramReading) -> &mut Self {
        self.add(labels, Value::Histogram(reading.clone()))
    }

    fn add(&mut self, labels: Labels<'_>, value: Value) -> &mut Self {
        let labels: OwnedLabels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        match self.places.entry(labels) {
            Entry::Occupied(place) => self.samples[*place.get()].value.add(&value),
            Entry::Vacant(place) => {
                let labels = place.key().clone();
                place.insert(self.samples.len());
                self.samples.push(Sample { labels, value });
            }
        }
        self
    }
}

impl Value {
    /// Adds what belongs to the same sample. All histograms of a family have the same classes.
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(sum), Self::Number(more)) => *sum += more,
            (Self::Histogram(sum), Self::Histogram(more)) => {
                debug_assert_eq!(sum.up_to.len(), more.up_to.len(), "one family, one set of classes");
                for ((_, sum), (_, more)) in sum.up_to.iter_mut().zip(&more.up_to) {
                    *sum += more;
                }
                sum.count += more.count;
                sum.sum += more.sum;
            }
            _ => debug_assert!(false, "a family is of one kind"),
        }
    }
}
