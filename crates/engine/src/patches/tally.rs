//! Counts of the runs of one workflow type by the patches they have met, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use sempre_api::sempre::v1::{PatchAdvice, PatchUse};
use sempre_core::{
    Timestamp,
    patch::{self, Patch},
};

use super::PATCHES_MAX;

/// A run, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) workflow_id: String,
    pub(super) run_id: String,
    pub(super) start: Timestamp,
    /// `None`: open.
    pub(super) closed: Option<Timestamp>,
    /// The index names patches of it.
    pub(super) noted: bool,
}

/// Which patch, and of Go's and Java's which version.
type Id = (String, Option<i64>);

#[derive(Clone, Debug, Default)]
struct Count {
    open: i64,
    open_deprecated: i64,
    closed: i64,
    closed_deprecated: i64,
    last_close: Timestamp,
    /// The oldest open run that met it, not as deprecated.
    needs: Option<Run>,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.open += other.open;
        self.open_deprecated += other.open_deprecated;
        self.closed += other.closed;
        self.closed_deprecated += other.closed_deprecated;
        self.last_close = self.last_close.max(other.last_close);
        if let Some(run) = other.needs.filter(|run| older(run, self.needs.as_ref())) {
            self.needs = Some(run);
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<Id, Count>,
    /// Ids of patches, and of changes with versions, that markers have named: they tell what entries of the index mean.
    patches: BTreeSet<String>,
    changes: BTreeSet<String>,
    /// Open runs of which the index names no patch, counted before any run was looked at.
    pub(super) open_unnoted: i64,
    /// Open runs of which it names some, as they were looked at.
    open_noted: i64,
    /// Open runs that were looked at, with the ids of the patches they have met: for the oldest that lacks one.
    oldest: Vec<(Run, BTreeSet<String>)>,
    /// There are more patches than are told apart.
    pub(super) overflow: bool,
}

/// Open runs that are kept to name the oldest without a patch.
const OLDEST_MAX: usize = 1000;

fn older(run: &Run, than: Option<&Run>) -> bool {
    than.is_none_or(|than| run.start < than.start)
}

impl Tally {
    /// What a run's markers name.
    pub(super) fn marked(&mut self, met: &BTreeMap<Id, bool>) {
        for (id, version) in met.keys() {
            let ids = if version.is_some() { &mut self.changes } else { &mut self.patches };
            if ids.len() < PATCHES_MAX && !ids.contains(id) {
                ids.insert(id.clone());
            }
        }
    }

    /// Entries of the index that name versions of changes, as markers of the type show, count as those.
    pub(super) fn settle(&mut self) {
        let entries: Vec<Id> =
            self.counts.keys().filter(|(id, version)| version.is_none() && !self.patches.contains(id)).cloned().collect();
        for entry in entries {
            let meanings = patch::of_entry(&entry.0);
            let Some(version) = meanings.into_iter().find(|meant| meant.version.is_some() && self.changes.contains(&meant.id)) else {
                continue;
            };
            let Some(count) = self.counts.remove(&entry) else { continue };
            self.counts.entry((version.id, version.version)).or_default().add(count);
        }
    }

    /// A run that was looked at, and what it has met. A patch counts as deprecated if the run has met it so.
    pub(super) fn run(&mut self, run: &Run, met: &BTreeMap<Id, bool>) {
        for (id, deprecated) in met {
            if self.counts.len() >= PATCHES_MAX && !self.counts.contains_key(id) {
                self.overflow = true;
                continue;
            }
            let count = self.counts.entry(id.clone()).or_default();
            match run.closed {
                None => {
                    count.open += 1;
                    count.open_deprecated += i64::from(*deprecated);
                    if !deprecated && older(run, count.needs.as_ref()) {
                        count.needs = Some(run.clone());
                    }
                }
                Some(closed) => {
                    count.closed += 1;
                    count.closed_deprecated += i64::from(*deprecated);
                    count.last_close = count.last_close.max(closed);
                }
            }
        }
        if run.closed.is_none() {
            self.open_noted += i64::from(run.noted);
            let ids = met.keys().map(|(id, _)| id.clone()).collect();
            let at = self.oldest.partition_point(|(other, _)| other.start <= run.start);
            if at < OLDEST_MAX {
                self.oldest.insert(at, (run.clone(), ids));
                self.oldest.truncate(OLDEST_MAX);
            }
        }
    }

    /// The patches, with what may be done to each. `whole`: all runs that may have met one were looked at.
    pub(super) fn uses(&self, only: &str, closed: i64, retention: sempre_core::Span, whole: bool) -> Vec<PatchUse> {
        let wanted = self.counts.iter().filter(|((id, _), _)| only.is_empty() || id == only);
        wanted.map(|(id, count)| self.of(id, count, closed, retention, whole)).collect()
    }

    fn of(&self, (id, version): &Id, count: &Count, closed: i64, retention: sempre_core::Span, whole: bool) -> PatchUse {
        // Another version of the same change is no run without it.
        let met_open: i64 = self.counts.range((id.clone(), None)..).take_while(|((other, _), _)| other == id).map(|(_, c)| c.open).sum();
        let met_closed: i64 =
            self.counts.range((id.clone(), None)..).take_while(|((other, _), _)| other == id).map(|(_, c)| c.closed).sum();
        let mut told = PatchUse {
            patch_id: id.clone(),
            version: *version,
            open_with: count.open,
            open_deprecated: count.open_deprecated,
            // Each run as it was when it was looked at: a later count would lack those that have closed since.
            open_without: (self.open_unnoted + self.open_noted - met_open).max(0),
            closed_with: count.closed,
            closed_deprecated: count.closed_deprecated,
            closed_without: (closed - met_closed).max(0),
            retained_until: (count.open == 0 && count.closed > 0).then(|| (count.last_close + retention).to_api()),
            ..PatchUse::default()
        };
        let (advice, because, run) = match version {
            None => self.advice(id, count, &told, whole),
            Some(version) => advice_of_version(*version, count, &told, whole),
        };
        told.advice = advice as i32;
        told.because = because;
        if let Some(run) = run {
            (told.workflow_id, told.run_id) = (run.workflow_id, run.run_id);
        }
        told
    }

    /// As in `sempre_patterns::versioning`: a run without it may be in the old branch, a run with its marker needs the call.
    fn advice(&self, id: &str, count: &Count, told: &PatchUse, whole: bool) -> (PatchAdvice, String, Option<Run>) {
        let needs = count.open - count.open_deprecated;
        let retained = retained(told);
        if !whole {
            return (PatchAdvice::Keep, "not all runs were looked at".into(), count.needs.clone());
        }
        if told.open_without > 0 && count.open_deprecated == 0 {
            let without = self.oldest.iter().find(|(_, met)| !met.contains(id)).map(|(run, _)| run.clone());
            let because = format!("{} not met it: in the old branch, or not come to it yet", runs(told.open_without));
            return (PatchAdvice::Keep, because, without);
        }
        if needs > 0 {
            let because = format!(
                "{} its marker and must replay it; {}{retained}",
                runs(needs),
                if told.open_without == 0 { "none is in the old branch" } else { "the code that runs has no old branch any more" }
            );
            return (PatchAdvice::Deprecate, because, count.needs.clone());
        }
        let because = match (told.open_with, told.open_without) {
            (0, 0) => format!("no run of the type is open{retained}"),
            (0, _) => format!("no open run has its marker{retained}"),
            (with, _) => format!("{} met it, always as deprecated: nothing is missed when the call goes{retained}", runs(with)),
        };
        (PatchAdvice::Remove, because, None)
    }
}

/// Go and Java: a version of a change can go when no open run has chosen it.
fn advice_of_version(version: i64, count: &Count, told: &PatchUse, whole: bool) -> (PatchAdvice, String, Option<Run>) {
    if !whole {
        return (PatchAdvice::Keep, "not all runs were looked at".into(), count.needs.clone());
    }
    if count.open > 0 {
        return (PatchAdvice::Keep, format!("{} chosen version {version}", runs(count.open)), count.needs.clone());
    }
    (PatchAdvice::Remove, format!("no open run has chosen version {version}{}", retained(told)), None)
}

/// What closed runs mean for it.
fn retained(told: &PatchUse) -> String {
    let needs = told.closed_with - told.closed_deprecated;
    if needs == 0 {
        return String::new();
    }
    let runs = if needs == 1 { "1 closed run that has it".into() } else { format!("{needs} closed runs that have it") };
    format!("; {runs} can then neither be queried nor reset")
}

fn runs(count: i64) -> String {
    if count == 1 { "1 open run has".into() } else { format!("{count} open runs have") }
}

/// What a run has met, by its markers; a patch that it has met both ways counts as not deprecated.
pub(super) fn met_by_markers(patches: impl Iterator<Item = Patch>) -> BTreeMap<Id, bool> {
    let mut met = BTreeMap::new();
    for patch in patches {
        met.entry((patch.id, patch.version)).and_modify(|deprecated| *deprecated &= patch.deprecated).or_insert(patch.deprecated);
    }
    met
}

#[cfg(test)]
mod tests {
    use sempre_core::Span;

    use super::*;

    fn run(id: &str, start: i64, closed: Option<i64>) -> Run {
        Run { workflow_id: id.into(), run_id: format!("run of {id}"), start: Timestamp(start), closed: closed.map(Timestamp), noted: true }
    }

    /// One of which the index names no patch.
    fn unnoted(id: &str, start: i64) -> Run {
        Run { noted: false, ..run(id, start, None) }
    }

    fn met(entries: &[(&str, Option<i64>, bool)]) -> BTreeMap<Id, bool> {
        entries.iter().map(|(id, version, deprecated)| (((*id).to_owned(), *version), *deprecated)).collect()
    }

    fn only(tally: &Tally, closed: i64) -> PatchUse {
        let uses = tally.uses("", closed, Span(1000), true);
        assert_eq!(uses.len(), 1, "{uses:?}");
        uses.into_iter().next().unwrap()
    }

    #[test]
    fn a_patch_from_its_first_run_to_its_last() {
        let fee = [("fee", None, false)];
        let mut tally = Tally::default();
        tally.run(&unnoted("old", 1), &met(&[]));
        tally.open_unnoted += 1;
        tally.run(&run("older with", 0, None), &met(&fee));
        tally.run(&run("with", 5, None), &met(&fee));
        let told = only(&tally, 0);
        assert_eq!((told.advice(), told.open_with, told.open_without), (PatchAdvice::Keep, 2, 1));
        assert_eq!((told.workflow_id.as_str(), told.run_id.as_str()), ("old", "run of old"));
        assert_eq!(told.because, "1 open run has not met it: in the old branch, or not come to it yet");

        let mut tally = Tally::default();
        tally.run(&run("with", 5, None), &met(&fee));
        tally.run(&run("older with", 0, None), &met(&fee));
        let told = only(&tally, 7);
        assert_eq!((told.advice(), told.closed_without, told.workflow_id.as_str()), (PatchAdvice::Deprecate, 7, "older with"));

        let mut tally = Tally::default();
        tally.run(&run("a", 5, None), &met(&[("fee", None, true)]));
        tally.run(&run("b", 6, Some(30)), &met(&fee));
        tally.run(&unnoted("new", 7), &met(&[]));
        tally.open_unnoted += 1;
        let told = only(&tally, 1);
        assert_eq!((told.advice(), told.open_deprecated, told.closed_with), (PatchAdvice::Remove, 1, 1));
        assert!(told.because.ends_with("; 1 closed run that has it can then neither be queried nor reset"), "{}", told.because);

        let mut tally = Tally::default();
        tally.run(&run("b", 6, Some(30)), &met(&fee));
        let told = only(&tally, 1);
        assert_eq!((told.advice(), told.retained_until), (PatchAdvice::Remove, Some(Timestamp(1030).to_api())));
    }

    #[test]
    fn a_run_that_closes_after_it_was_looked_at_hides_none_without_the_patch() {
        let fee = [("fee", None, false)];
        let mut tally = Tally { open_unnoted: 1, ..Tally::default() };
        tally.run(&unnoted("old", 1), &met(&[]));
        tally.run(&run("with", 2, None), &met(&fee));
        // It has closed when closed ones are looked at, and is no open one any more when all have been.
        tally.run(&run("with", 2, Some(9)), &met(&fee));
        let told = only(&tally, 1);
        assert_eq!((told.advice(), told.open_without, told.workflow_id.as_str()), (PatchAdvice::Keep, 1, "old"));
    }

    #[test]
    fn nothing_is_safe_when_not_all_was_looked_at() {
        let mut tally = Tally::default();
        tally.run(&run("b", 6, Some(30)), &met(&[("fee", None, false), ("go", Some(1), false)]));
        let uses = tally.uses("", 1, Span(1000), false);
        assert!(uses.iter().all(|told| told.advice() == PatchAdvice::Keep), "{uses:?}");
        assert_eq!(tally.uses("go", 1, Span(1000), true).len(), 1);
    }

    #[test]
    fn versions_of_a_change() {
        let mut tally = Tally::default();
        tally.run(&run("a", 5, None), &met(&[("fee", Some(2), false)]));
        tally.run(&run("b", 5, Some(9)), &met(&[("fee", Some(1), false)]));
        let uses = tally.uses("", 1, Span(1000), true);
        let told: Vec<_> = uses.iter().map(|told| (told.version, told.advice(), told.open_without, told.closed_without)).collect();
        assert_eq!(told, [(Some(1), PatchAdvice::Remove, 0, 0), (Some(2), PatchAdvice::Keep, 0, 0)]);
    }

    #[test]
    fn met_both_ways_is_not_deprecated() {
        let patch = |deprecated| Patch { id: "fee".into(), version: None, deprecated };
        let both = met_by_markers([patch(true), patch(false), patch(true)].into_iter());
        assert_eq!(both, met(&[("fee", None, false)]));
    }
}
