//! What can be asked of the lines: how many are open and wait, who waits where, and why.

use alloc::{string::String, vec::Vec};

use super::lines::{Entry, LineId, Lines, Phase, Place, Why};
use crate::{RunId, RunKey, Timestamp, ids::Uuid};

/// How a rule stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that are open.
    pub open: usize,
    /// Starts in line.
    pub waiting: usize,
    /// Held, and not in line yet.
    pub delayed: usize,
    /// Values of the key.
    pub keys: usize,
}

/// Why a start does not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A rule blocks it.
    Blocked(Why),
    /// Rows are being read.
    Loading,
    /// It was told to go.
    Going,
    /// It was told to end.
    Replaced,
}

/// A start that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub run: RunKey,
    /// Since when.
    pub since: Timestamp,
    /// The rule that blocks it, or the first that is about it.
    pub rule: String,
    /// The value of its key.
    pub key: String,
    /// From 1, among those in that line.
    pub place: usize,
    /// Why it does not go.
    pub reason: Reason,
    /// Not before.
    pub until: Option<Timestamp>,
    /// The open run that it waits for.
    pub by: Option<RunKey>,
    /// All rules that are about it.
    pub rules: Vec<String>,
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Value of the key.
    pub key: String,
    /// Behind this place.
    pub since: Timestamp,
    /// And this run.
    pub run: RunId,
}

impl Lines {
    /// How a rule stands.
    pub fn counts(&self, rule: Uuid) -> Counts {
        let mut counts = Counts::default();
        for id in self.lines_of(rule) {
            let Some(line) = self.lines.get(&id) else { continue };
            counts.open += line.open.len();
            counts.waiting += line.waiting.len();
            counts.delayed += line.delayed.len();
            counts.keys += usize::from(!(line.open.is_empty() && line.waiting.is_empty()));
        }
        counts
    }

    /// The values of a rule's key with most runs, with those that are open and wait.
    pub fn keys(&self, rule: Uuid, max: usize) -> Vec<(String, usize, usize)> {
        let ids = self.lines_of(rule);
        let lines = ids.iter().filter_map(|id| Some((id, self.lines.get(id)?)));
        let mut keys: Vec<(String, usize, usize)> =
            lines.map(|(id, line)| (String::from(&*id.key), line.open.len(), line.waiting.len())).filter(|(_, a, b)| a + b > 0).collect();
        keys.sort_by(|(a, open_a, waiting_a), (b, open_b, waiting_b)| (waiting_b, open_b).cmp(&(waiting_a, open_a)).then_with(|| a.cmp(b)));
        keys.truncate(max);
        keys
    }

    /// Why a run waits; `None` if it does not.
    pub fn standing(&self, now: Timestamp, run: RunId) -> Option<Standing> {
        let entry = self.entries.get(&run).filter(|entry| matches!(entry.phase, Phase::Waiting | Phase::Going(_)))?;
        let block = if entry.phase == Phase::Waiting { self.blocked(now, &entry.lines, false) } else { None };
        let line = block.as_ref().map(|block| &block.line).or(entry.lines.first())?;
        Some(self.stands(entry, line, self.rank(line, entry.place()), block.as_ref().map(|block| (block.why, block.until, block.by))))
    }

    /// Those that wait in the lines of a rule.
    pub fn waiting(&self, now: Timestamp, rule: Uuid, from: Option<&From>, max: usize) -> (Vec<Standing>, Option<From>) {
        let mut found = Vec::new();
        for id in self.lines_of(rule).into_iter().filter(|id| from.is_none_or(|from| *id.key >= *from.key)) {
            let Some(line) = self.lines.get(&id) else { continue };
            let after = from.filter(|from| *from.key == *id.key).map(|from| (from.since, from.run));
            let skipped = after.map_or(0, |after| self.rank(&id, after));
            let places = line.waiting.iter().skip(skipped);
            for (n, place) in places.enumerate() {
                let Some(entry) = self.entries.get(&place.1) else { continue };
                if found.len() == max {
                    let next = found.last().map(|last: &Standing| From { key: last.key.clone(), since: last.since, run: last.run.run });
                    return (found, next);
                }
                let block = self.blocked(now, &entry.lines, false).map(|block| (block.why, block.until, block.by));
                found.push(self.stands(entry, &id, skipped + n + 1, block));
            }
        }
        (found, None)
    }

    /// How many stand before a place, and it.
    fn rank(&self, id: &LineId, place: Place) -> usize {
        self.lines.get(id).map_or(0, |line| line.waiting.range(..=place).count())
    }

    fn stands(&self, entry: &Entry, line: &LineId, place: usize, block: Option<(Why, Option<Timestamp>, Option<RunId>)>) -> Standing {
        let reason = match (&block, entry.phase) {
            _ if entry.replaced.is_some() => Reason::Replaced,
            (_, Phase::Going(_)) => Reason::Going,
            _ if self.is_loading() => Reason::Loading,
            (Some((why, ..)), _) => Reason::Blocked(*why),
            (None, _) => Reason::Going,
        };
        let name = |id: &LineId| self.rules.get(&id.rule).map(|state| String::from(state.rule.name()));
        let (until, by) = block.map_or((None, None), |(_, until, by)| (until, by));
        Standing {
            run: entry.run.clone(),
            since: entry.since,
            rule: name(line).unwrap_or_default(),
            key: String::from(&*line.key),
            place: place.max(1),
            reason,
            until,
            by: by.and_then(|run| self.entries.get(&run)).map(|entry| entry.run.clone()),
            rules: entry.lines.iter().filter_map(name).collect(),
        }
    }
}
