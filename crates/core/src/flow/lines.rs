//! The lines of all rules: who may go now, and who is next. In memory only; runs and their rows are what lasts.
//!
//! A rule has one line for each value of its key. A start that waits stands in the line of every rule that is about it, and
//! is *parked* at one of those that block it: when that one has room, or its time has come, it is looked at again, and goes
//! or is parked at another. So it goes as soon as all of its lines have room, in the order of the line, and nobody else is
//! looked at in vain.
//!
//! | happens | then |
//! |---|---|
//! | a start comes | [`Lines::admit`]: it goes at once if all lines have room and nobody waits in them |
//! | a run's row is written | [`Lines::note`] |
//! | a run has closed, on disk | [`Lines::gone`]: its lines are looked at |
//! | a time has come, anything was noted | [`Lines::pump`] says who is to go and who is to end |
//! | rows are read after a start or a failed commit | everybody waits until they are read: [`Lines::begin_loading`] |

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};

use sempre_api::{sempre::v1::FlowSingleton, v1::enums::ResourceExhaustedCause};

use super::{
    Admission, Admitted, Order,
    progress::{FlowProgress, Member},
    rule::{FlowRules, RUNS_MAX, Rule},
};
use crate::{NamespaceId, Refusal, RunId, RunKey, Span, Timestamp, ids::Uuid};

/// A place in a line: when it was taken, and by whom.
pub(super) type Place = (Timestamp, RunId);

/// A line: a rule and a value of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineId {
    pub(super) rule: Uuid,
    pub(super) key: Arc<str>,
}

impl LineId {
    fn of(member: &Member) -> Self {
        Self { rule: member.uid(), key: member.key.as_str().into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not in line yet.
    Delayed,
    /// In line.
    Waiting,
    /// Told to go; counts as open.
    Going(u64),
    /// Went.
    Open,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) run: RunKey,
    pub(super) lines: Vec<LineId>,
    pub(super) phase: Phase,
    pub(super) since: Timestamp,
    /// It was told to end, by this rule and with this permit: a newer one has its place.
    pub(super) replaced: Option<(Uuid, u64)>,
    /// It is on disk as it is here: only then it may go, or others make room for it.
    durable: bool,
    /// The line it is parked at.
    parked: Option<LineId>,
}

impl Entry {
    pub(super) fn place(&self) -> Place {
        (self.since, self.run.run)
    }
}

#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) open: BTreeSet<RunId>,
    pub(super) delayed: BTreeSet<RunId>,
    pub(super) waiting: BTreeSet<Place>,
    /// Those who wait and those who are open that were not told to end.
    waiting_on: BTreeSet<Place>,
    open_on: BTreeSet<RunId>,
    parked: BTreeSet<Place>,
    /// When the next start would be due if they came evenly, ns: it may come earlier by the burst.
    due: i64,
    /// Of a debounce: when the last start came, and the first of those that it stands for, ns.
    last: i64,
    burst: i64,
    timer: Option<Timestamp>,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.delayed.is_empty() && self.waiting.is_empty()
    }
}

/// Why a start does not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// As many runs as may be are open.
    MaxOpen,
    /// Another run of the key is open.
    Singleton,
    /// Starts came too fast.
    Rate,
    /// Another start may come.
    Debounce,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) line: LineId,
    pub(super) why: Why,
    pub(super) until: Option<Timestamp>,
    /// An open run that it waits for.
    pub(super) by: Option<RunId>,
}

#[derive(Debug)]
pub(super) struct RuleState {
    pub(super) rule: Arc<Rule>,
    namespace: NamespaceId,
    /// Runs in its lines, and those of them that wait.
    runs: usize,
    pub(super) held: usize,
    lines: usize,
    /// What starts there were before that is not known, ns; 0: there were none.
    unknown_before: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Lines {
    pub(super) rules: BTreeMap<Uuid, RuleState>,
    pub(super) lines: BTreeMap<LineId, Line>,
    pub(super) entries: BTreeMap<RunId, Entry>,
    /// Lines to look at.
    dirty: BTreeSet<LineId>,
    /// Starts to look at that are not parked.
    unparked: BTreeSet<Place>,
    timers: BTreeSet<(Timestamp, LineId)>,
    permits: u64,
    /// Reads of rows under way.
    loading: usize,
    /// Runs that have gone meanwhile: their rows may have been read before.
    gone: BTreeSet<RunId>,
}

impl Lines {
    /// Puts the rules of a namespace in force. `at_start`: what came before is not known, so that a rate begins with nothing
    /// saved.
    pub fn set_rules(&mut self, now: Timestamp, namespace: NamespaceId, rules: &FlowRules, at_start: bool) {
        let gone: Vec<Uuid> = self.rules.iter().filter(|(_, state)| state.namespace == namespace).map(|(uid, _)| *uid).collect();
        for uid in gone.into_iter().filter(|uid| rules.iter().all(|rule| rule.uid != *uid)) {
            self.rules.remove(&uid);
            for id in self.lines_of(uid) {
                self.dirty.remove(&id);
                let Some(line) = self.lines.remove(&id) else { continue };
                if let Some(at) = line.timer {
                    self.timers.remove(&(at, id));
                }
                self.reprieve(uid, &line);
                for place in line.parked {
                    if let Some(entry) = self.entries.get_mut(&place.1) {
                        entry.parked = None;
                    }
                    self.unparked.insert(place);
                }
            }
        }
        for rule in rules {
            let unknown_before = if at_start { now.0 } else { 0 };
            match self.rules.get_mut(&rule.uid) {
                Some(state) => {
                    let other = (state.rule.debounce().is_some(), state.rule.singleton()) != (rule.debounce().is_some(), rule.singleton());
                    state.rule = rule.clone();
                    if other {
                        // Those whose places are taken by the rule as it is now are told again.
                        for id in self.lines_of(rule.uid) {
                            let line = self.lines.get(&id).map(|line| (line.waiting.clone(), line.open.clone()));
                            let Some((waiting, open)) = line else { continue };
                            self.reprieve(rule.uid, &Line { waiting, open, ..Line::default() });
                        }
                    }
                }
                None => {
                    let state = RuleState { rule: rule.clone(), namespace, runs: 0, held: 0, lines: 0, unknown_before };
                    self.rules.insert(rule.uid, state);
                }
            }
            self.dirty.extend(self.lines_of(rule.uid));
        }
    }

    /// Those whom a rule has told to end do not have to any more, unless they have already.
    fn reprieve(&mut self, rule: Uuid, line: &Line) {
        for run in line.waiting.iter().map(|(_, run)| run).chain(&line.open) {
            let Some(entry) = self.entries.get_mut(run).filter(|entry| entry.replaced.is_some_and(|(by, _)| by == rule)) else { continue };
            entry.replaced = None;
            let place = entry.place();
            if entry.phase == Phase::Waiting && entry.durable {
                self.unparked.insert(place);
            }
            for id in &entry.lines {
                let Some(line) = self.lines.get_mut(id) else { continue };
                if line.waiting.contains(&place) {
                    line.waiting_on.insert(place);
                }
                if line.open.contains(run) {
                    line.open_on.insert(*run);
                }
                // Another rule may have taken its place as well.
                self.dirty.insert(id.clone());
            }
        }
    }

    pub(super) fn lines_of(&self, rule: Uuid) -> Vec<LineId> {
        let from = LineId { rule, key: "".into() };
        self.lines.range(from..).take_while(|(id, _)| id.rule == rule).map(|(id, _)| id.clone()).collect()
    }

    // --- what is read ---

    /// Rows are about to be read. Until [`Lines::finish_loading`], nobody goes.
    pub fn begin_loading(&mut self) {
        self.loading += 1;
    }

    /// What is known of these runs does not count any more: their rows are read again.
    pub fn forget(&mut self, of: impl Fn(&RunKey) -> bool) {
        let runs: Vec<RunId> = self.entries.values().filter(|entry| of(&entry.run)).map(|entry| entry.run.run).collect();
        for run in runs {
            self.remove(run);
        }
    }

    /// A row that was read. What is known of the run is newer.
    pub fn load(&mut self, run: RunKey, progress: &FlowProgress) {
        if !self.entries.contains_key(&run.run) && !self.gone.contains(&run.run) {
            self.insert(run, progress, true);
        }
    }

    /// All rows were read.
    pub fn finish_loading(&mut self) {
        self.loading = self.loading.saturating_sub(1);
        if self.loading == 0 {
            self.gone.clear();
            self.dirty.extend(self.lines.keys().cloned());
        }
    }

    /// Rows are being read.
    pub fn is_loading(&self) -> bool {
        self.loading > 0
    }

    // --- what happens ---

    /// See [`super::Gate`].
    pub fn admit(&mut self, admission: &Admission<'_>) -> Result<Admitted, Refusal> {
        let Admission { now, run, members, delayed } = admission.clone();
        let ids: Vec<LineId> = members.iter().map(LineId::of).collect();
        for id in &ids {
            self.check_room(id, run)?;
        }
        let goes = !delayed
            && self.loading == 0
            && ids.iter().all(|id| self.lines.get(id).is_none_or(|line| line.waiting.is_empty()))
            && self.blocked(now, &ids, true).is_none();
        if goes {
            for id in &ids {
                self.take(now, id);
            }
            let counted: Vec<Member> = members.iter().filter(|member| self.counts_open(member.uid())).cloned().collect();
            if !counted.is_empty() {
                self.insert(run.clone(), &FlowProgress { members: counted.clone(), since: now.0, ..FlowProgress::default() }, false);
            }
            return Ok(Admitted::Goes(counted));
        }
        for id in &ids {
            let Some(state) = self.rules.get(&id.rule) else { continue };
            if state.held >= state.rule.waiting_max() {
                return Err(full(format!(
                    "flow rule {:?}: {} starts wait already, and no more may: start less, raise waiting_max, or let more go at once",
                    state.rule.name(),
                    state.held
                )));
            }
        }
        let burst = if delayed { 0 } else { ids.iter().map(|id| self.burst(id)).filter(|burst| *burst != 0).min().unwrap_or(0) };
        let since = if delayed { 0 } else { now.0 };
        let progress = FlowProgress { members: members.to_vec(), held: true, since, burst, ..FlowProgress::default() };
        self.insert(run.clone(), &progress, false);
        Ok(Admitted::Waits { burst })
    }

    /// Refuses what can be neither open nor wait.
    fn check_room(&self, id: &LineId, run: &RunKey) -> Result<(), Refusal> {
        let Some(state) = self.rules.get(&id.rule) else { return Ok(()) };
        let name = state.rule.name();
        let line = self.lines.get(id);
        if state.runs >= RUNS_MAX || line.is_none() && state.lines >= RUNS_MAX {
            return Err(full(format!("flow rule {name:?} has {RUNS_MAX} runs, open and waiting: no more are kept track of")));
        }
        if state.rule.singleton() != FlowSingleton::Refuse {
            return Ok(());
        }
        if self.loading > 0 {
            return Err(Refusal::Unavailable(format!("flow rule {name:?} is not in force yet: the server reads what there is, try again")));
        }
        let Some(line) = line else { return Ok(()) };
        let waiting = line.waiting.iter().map(|(_, run)| run);
        let runs = line.open.iter().chain(waiting).chain(&line.delayed).filter_map(|run| self.entries.get(run));
        // One of the same workflow id gives way to this one, or it would have been in the way already.
        let Some(other) = runs.map(|entry| &entry.run).find(|other| other.workflow != run.workflow) else { return Ok(()) };
        Err(Refusal::AlreadyStarted {
            message: format!(
                "Flow rule {name:?} lets one run be open for the key {:?}. WorkflowId: {}, RunId: {}.",
                &*id.key, other.workflow.workflow_id, other.run
            ),
            start_request_id: String::new(),
            run_id: format!("{}", other.run),
            first_run_id: format!("{}", other.run),
        })
    }

    /// A run's row will be this with the commit at hand; [`Lines::settled`] says that it is.
    pub fn note(&mut self, run: RunKey, progress: &FlowProgress) {
        if let Some(entry) = self.entries.get(&run.run) {
            let same_lines = entry.lines.len() == progress.members.len();
            let known = match entry.phase {
                // Written before it was told to go.
                Phase::Going(_) => progress.held,
                Phase::Waiting => progress.is_waiting(),
                Phase::Delayed => progress.held && progress.since == 0,
                Phase::Open => !progress.held && same_lines,
            };
            if known {
                return;
            }
            self.remove(run.run);
        }
        self.insert(run, progress, false);
    }

    /// What was noted of a run is on disk.
    pub fn settled(&mut self, run: RunId) {
        let Some(entry) = self.entries.get_mut(&run).filter(|entry| !entry.durable) else { return };
        entry.durable = true;
        if entry.phase == Phase::Waiting {
            self.unparked.insert(entry.place());
            // Others may have to give way to it.
            self.dirty.extend(entry.lines.iter().filter(|id| self.lines.contains_key(*id)).cloned());
        }
    }

    /// A run is closed, or deleted, on disk.
    pub fn gone(&mut self, run: RunId) {
        if self.loading > 0 {
            self.gone.insert(run);
        }
        self.remove(run);
    }

    /// The run was told to go, or to end, and this is the newest permit.
    pub fn permits(&self, run: RunId, permit: u64) -> bool {
        let replaced = |entry: &Entry| entry.replaced.is_some_and(|(_, newest)| newest == permit);
        self.entries.get(&run).is_some_and(|entry| entry.phase == Phase::Going(permit) || replaced(entry))
    }

    /// What is to be done now, `max` or a few more at once.
    pub fn pump(&mut self, now: Timestamp, max: usize) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.loading > 0 {
            return orders;
        }
        while let Some((at, id)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id.clone()));
            if let Some(line) = self.lines.get_mut(&id) {
                line.timer = None;
                self.dirty.insert(id);
            }
        }
        while orders.len() < max {
            // Lines first: who is parked was there before.
            if let Some(id) = self.dirty.pop_first() {
                self.replace_older(&id, &mut orders);
                self.look_at(now, &id, max, &mut orders);
            } else if let Some(place) = self.unparked.pop_first() {
                self.consider(now, place, &mut orders);
            } else {
                break;
            }
        }
        orders
    }

    /// There is something to do at once.
    pub fn has_work(&self) -> bool {
        self.loading == 0 && !(self.dirty.is_empty() && self.unparked.is_empty())
    }

    /// When there is something to do.
    pub fn next_time(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at).filter(|_| self.loading == 0)
    }

    // --- within ---

    fn counts_open(&self, rule: Uuid) -> bool {
        self.rules.get(&rule).is_some_and(|state| state.rule.counts_open())
    }

    fn insert(&mut self, run: RunKey, progress: &FlowProgress, durable: bool) {
        let phase = match (progress.held, progress.since) {
            (false, _) => Phase::Open,
            (true, 0) => Phase::Delayed,
            (true, _) => Phase::Waiting,
        };
        let entry = Entry {
            lines: progress.members.iter().map(LineId::of).collect(),
            phase,
            since: Timestamp(progress.since),
            replaced: None,
            durable,
            parked: None,
            run,
        };
        let (place, id) = (entry.place(), entry.run.run);
        for line_id in &entry.lines {
            let Some(state) = self.rules.get_mut(&line_id.rule) else { continue };
            state.runs += 1;
            state.held += usize::from(phase == Phase::Waiting);
            let line = self.lines.entry(line_id.clone()).or_insert_with(|| {
                state.lines += 1;
                fresh(state)
            });
            match phase {
                Phase::Delayed => drop(line.delayed.insert(id)),
                Phase::Waiting => {
                    let begun = if progress.burst != 0 { progress.burst } else { progress.since };
                    line.burst = if line.waiting.is_empty() { begun } else { line.burst.min(begun) };
                    line.last = line.last.max(progress.since);
                    line.waiting.insert(place);
                    line.waiting_on.insert(place);
                    if durable {
                        self.dirty.insert(line_id.clone());
                    }
                }
                Phase::Going(_) | Phase::Open => {
                    line.open.insert(id);
                    line.open_on.insert(id);
                }
            }
        }
        if phase == Phase::Waiting && durable {
            self.unparked.insert(place);
        }
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, run: RunId) {
        let Some(entry) = self.entries.remove(&run) else { return };
        let place = entry.place();
        self.unparked.remove(&place);
        for id in entry.lines {
            if let Some(state) = self.rules.get_mut(&id.rule) {
                state.runs = state.runs.saturating_sub(1);
                state.held = state.held.saturating_sub(usize::from(entry.phase == Phase::Waiting));
            }
            if let Some(line) = self.lines.get_mut(&id) {
                line.open.remove(&run);
                line.open_on.remove(&run);
                line.delayed.remove(&run);
                line.waiting.remove(&place);
                line.waiting_on.remove(&place);
                line.parked.remove(&place);
                self.dirty.insert(id);
            }
        }
    }

    /// The line whose rule does not let it go now. `fresh`: it is not in line yet.
    pub(super) fn blocked(&self, now: Timestamp, ids: &[LineId], fresh: bool) -> Option<Block> {
        ids.iter().find_map(|id| {
            let rule = &self.rules.get(&id.rule)?.rule;
            let line = self.lines.get(id);
            let block = |why, until, by| Some(Block { line: id.clone(), why, until, by });
            if let Some((quiet, max)) = rule.debounce() {
                let Some(line) = line.filter(|_| !fresh) else { return block(Why::Debounce, Some(now + quiet), None) };
                let quiet = Timestamp(line.last) + quiet;
                let until = max.map_or(quiet, |max| quiet.min(Timestamp(line.burst) + max));
                if now < until {
                    return block(Why::Debounce, Some(until), None);
                }
            }
            if let Some(max) = rule.open_max()
                && let Some(line) = line.filter(|line| line.open.len() >= max)
            {
                let why = if rule.singleton() == FlowSingleton::Unspecified { Why::MaxOpen } else { Why::Singleton };
                return block(why, None, line.open.first().copied());
            }
            if let Some((_, ahead)) = rule.rate() {
                let due = line.map_or_else(|| self.rules.get(&id.rule).map_or(0, fresh_due), |line| line.due);
                let from = Timestamp(due) - ahead;
                if now < from {
                    return block(Why::Rate, Some(from), None);
                }
            }
            None
        })
    }

    /// A start of the line goes: it counts for the rate.
    fn take(&mut self, now: Timestamp, id: &LineId) {
        let Some(state) = self.rules.get_mut(&id.rule) else { return };
        let Some((interval, _)) = state.rule.rate() else { return };
        let line = self.lines.entry(id.clone()).or_insert_with(|| {
            state.lines += 1;
            fresh(state)
        });
        line.due = line.due.max(now.0).saturating_add(interval.0);
        // When it counts no more, the line may be forgotten.
        self.dirty.insert(id.clone());
    }

    fn burst(&self, id: &LineId) -> i64 {
        let debounces = self.rules.get(&id.rule).is_some_and(|state| state.rule.debounce().is_some());
        self.lines.get(id).filter(|line| debounces && !line.waiting.is_empty()).map_or(0, |line| line.burst)
    }

    /// The newest start of a debounce stands for all of them, and that of a replacing singleton takes the place of what is
    /// open as well.
    fn replace_older(&mut self, id: &LineId, orders: &mut Vec<Order>) {
        let (Some(state), Some(line)) = (self.rules.get(&id.rule), self.lines.get(id)) else { return };
        let replaces = state.rule.singleton() == FlowSingleton::Replace;
        if !replaces && state.rule.debounce().is_none() {
            return;
        }
        let rule = state.rule.name();
        let on_disk = |place: &&Place| self.entries.get(&place.1).is_some_and(|entry| entry.durable);
        let Some(newest) = line.waiting.iter().rev().find(on_disk).copied() else { return };
        let Some(by) = self.entries.get(&newest.1).map(|entry| entry.run.clone()) else { return };
        let open = line.open_on.iter().filter(|_| replaces).copied();
        let older: Vec<RunId> = line.waiting_on.range(..newest).map(|(_, run)| *run).chain(open).collect();
        let rule = String::from(rule);
        for run in older {
            let Some(entry) = self.entries.get_mut(&run) else { continue };
            if entry.run.workflow == by.workflow {
                // The run before it of its chain, which has closed already.
                continue;
            }
            self.permits += 1;
            let permit = self.permits;
            entry.replaced = Some((id.rule, permit));
            let place = entry.place();
            self.unparked.remove(&place);
            if let Some(parked) = entry.parked.take()
                && let Some(line) = self.lines.get_mut(&parked)
            {
                line.parked.remove(&place);
            }
            orders.push(Order::Replace { run: entry.run.clone(), permit, by: by.clone(), rule: rule.clone() });
            for id in &entry.lines {
                if let Some(line) = self.lines.get_mut(id) {
                    line.waiting_on.remove(&place);
                    line.open_on.remove(&run);
                }
            }
        }
    }

    /// Those parked at a line go in their order, as far as they may.
    fn look_at(&mut self, now: Timestamp, id: &LineId, max: usize, orders: &mut Vec<Order>) {
        let mut after = None;
        loop {
            let Some(line) = self.lines.get(id) else { return };
            let next = match after {
                None => line.parked.first(),
                Some(after) => line.parked.range((core::ops::Bound::Excluded(after), core::ops::Bound::Unbounded)).next(),
            };
            let Some(place) = next.copied() else { break };
            if orders.len() >= max {
                self.dirty.insert(id.clone());
                return;
            }
            let ids = self.entries.get(&place.1).map(|entry| entry.lines.clone()).unwrap_or_default();
            match self.blocked(now, &ids, false) {
                None => self.go(now, place.1, orders),
                Some(block) => {
                    let here = block.line == *id;
                    let all = here && block.why != Why::Debounce;
                    self.park(place, block);
                    if all {
                        break;
                    }
                    after = Some(place);
                }
            }
        }
        self.tidy(now, id);
    }

    /// A start that is parked nowhere.
    fn consider(&mut self, now: Timestamp, place: Place, orders: &mut Vec<Order>) {
        let Some(entry) = self.entries.get(&place.1).filter(|entry| entry.phase == Phase::Waiting && entry.replaced.is_none()) else {
            return;
        };
        let ids = entry.lines.clone();
        match self.blocked(now, &ids, false) {
            None => self.go(now, place.1, orders),
            Some(block) => self.park(place, block),
        }
    }

    fn park(&mut self, place: Place, block: Block) {
        let Some(entry) = self.entries.get_mut(&place.1) else { return };
        if let Some(old) = entry.parked.replace(block.line.clone())
            && old != block.line
            && let Some(line) = self.lines.get_mut(&old)
        {
            line.parked.remove(&place);
        }
        if let Some(line) = self.lines.get_mut(&block.line) {
            line.parked.insert(place);
        }
        if let Some(until) = block.until {
            self.set_timer(&block.line, until);
        }
    }

    fn set_timer(&mut self, id: &LineId, at: Timestamp) {
        let Some(line) = self.lines.get_mut(id) else { return };
        if line.timer.is_some_and(|old| old <= at) {
            return;
        }
        if let Some(old) = line.timer.replace(at) {
            self.timers.remove(&(old, id.clone()));
        }
        self.timers.insert((at, id.clone()));
    }

    fn go(&mut self, now: Timestamp, run: RunId, orders: &mut Vec<Order>) {
        self.permits += 1;
        let permit = self.permits;
        let Some(entry) = self.entries.get_mut(&run) else { return };
        entry.phase = Phase::Going(permit);
        entry.parked = None;
        let (place, ids, key) = (entry.place(), entry.lines.clone(), entry.run.clone());
        for id in &ids {
            self.take(now, id);
            if let Some(state) = self.rules.get_mut(&id.rule) {
                state.held = state.held.saturating_sub(1);
            }
            let counts = self.counts_open(id.rule);
            if let Some(line) = self.lines.get_mut(id) {
                line.waiting.remove(&place);
                line.waiting_on.remove(&place);
                line.parked.remove(&place);
                if counts {
                    line.open.insert(run);
                    line.open_on.insert(run);
                }
            }
        }
        orders.push(Order::Release { run: key, permit });
    }

    /// Forgets a line that nobody is in, once its rate is as if nobody had been.
    fn tidy(&mut self, now: Timestamp, id: &LineId) {
        let Some(line) = self.lines.get(id).filter(|line| line.is_empty()) else { return };
        let rated = self.rules.get(&id.rule).is_some_and(|state| state.rule.rate().is_some());
        if rated && line.due > now.0 {
            let at = Timestamp(line.due);
            return self.set_timer(id, at);
        }
        if let Some(at) = line.timer {
            self.timers.remove(&(at, id.clone()));
        }
        self.lines.remove(id);
        if let Some(state) = self.rules.get_mut(&id.rule) {
            state.lines = state.lines.saturating_sub(1);
        }
    }
}

/// A line that was not known.
fn fresh(state: &RuleState) -> Line {
    Line { due: fresh_due(state), ..Line::default() }
}

/// After a start, as if all that may come at once had just come.
fn fresh_due(state: &RuleState) -> i64 {
    match state.rule.rate() {
        Some((interval, Span(ahead))) if state.unknown_before != 0 => state.unknown_before.saturating_add(ahead).saturating_add(interval.0),
        _ => 0,
    }
}

fn full(message: String) -> Refusal {
    Refusal::ResourceExhausted { cause: ResourceExhaustedCause::ConcurrentLimit, message }
}
