//! What notices and counts mean to rules: a plan of changes, which the runner commits as a whole.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use sempre_api::sempre::v1::{AlertState, NoticeKind};
use sempre_core::{
    NamespaceId, RunId, Timestamp,
    ids::Uuid,
    visibility::{Filter, Record},
};

use super::{
    memory::{Kind, Planned},
    rule::RuleRecord,
    state::{AlertRecord, Change, Standing, State, WAITING_MAX},
};
use crate::notices::rows::NoticeRecord;

/// Bytes of a plan after which nothing more is planned. What one notice means to the rules of a namespace comes on top.
const PLAN_BYTES: usize = 4 << 20;
/// What a change without texts takes.
const CHANGE_BYTES: usize = 64;

/// A rule with what notices are held against.
pub(super) struct Watching {
    pub(super) rule: Arc<RuleRecord>,
    pub(super) filter: Option<Filter>,
}

/// Changes that are planned on top of a state.
pub(super) struct Plan<'a> {
    state: &'a State,
    now: Timestamp,
    /// The greatest number of an alert.
    pub(super) last: u64,
    pub(super) changes: Vec<Change>,
    /// Of the changes, about.
    bytes: usize,
    /// Of alerts planned.
    planned_bytes: usize,
    /// Alerts planned, by rule, and their bytes.
    planned: HashMap<Uuid, (usize, usize)>,
    raised: Planned<'a>,
    passed_over: Planned<'a>,
    standing: HashMap<Uuid, Standing>,
    /// By rule about a list: the last notice of a run that its query selects.
    pub(super) selected_at: HashMap<Uuid, u64>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(state: &'a State, now: Timestamp) -> Self {
        let last = state.last;
        Self {
            state,
            now,
            last,
            changes: Vec::new(),
            bytes: 0,
            planned_bytes: 0,
            planned: HashMap::new(),
            raised: Planned::new(Kind::Raised, &state.raised),
            passed_over: Planned::new(Kind::LeftOut, &state.left_out),
            standing: HashMap::new(),
            selected_at: HashMap::new(),
        }
    }

    /// It is to be committed before more is planned: a commit is bounded.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= PLAN_BYTES
    }

    pub(super) fn push(&mut self, change: Change) {
        self.bytes += match &change {
            Change::Put(alert) => alert.size(),
            _ => CHANGE_BYTES,
        };
        self.changes.push(change);
    }

    /// Of a rule that was another before only what it has left out counts.
    fn standing(&self, rule: &RuleRecord) -> Standing {
        let standing = self.standing.get(&rule.uid()).or_else(|| self.state.standing.get(&rule.uid())).cloned().unwrap_or_default();
        if standing.is_of(rule) { standing } else { Standing { left_out: standing.left_out, ..Standing::default() } }
    }

    fn set_standing(&mut self, rule: &RuleRecord, mut standing: Standing) {
        standing.namespace_id = rule.namespace_id.clone();
        standing.memory = Bytes::copy_from_slice(&rule.memory().0);
        self.standing.insert(rule.uid(), standing.clone());
        self.push(Change::Standing(rule.uid(), standing));
    }

    /// Has a rule remember a run, or not.
    fn keep(&mut self, kind: Kind, memory: Uuid, run: RunId, stays: bool) {
        let runs = match kind {
            Kind::Raised => &mut self.raised,
            Kind::LeftOut => &mut self.passed_over,
        };
        if runs.set(memory, run, stays) {
            self.push(if stays { Change::Remember(kind, memory, run) } else { Change::Forget(kind, memory, run) });
        }
    }

    /// A run is left out, for as long as it is selected or until there is room: it is counted once.
    fn pass_over(&mut self, rule: &RuleRecord, run: RunId) {
        let memory = rule.memory();
        if self.passed_over.contains(memory, run) {
            return;
        }
        // If this cannot be remembered either, it is counted with each of its notices rather than never.
        if self.passed_over.has_room(memory) {
            self.keep(Kind::LeftOut, memory, run, true);
        }
        self.leave_out(rule);
    }

    fn leave_out(&mut self, rule: &RuleRecord) {
        let standing = self.standing(rule);
        self.set_standing(rule, Standing { left_out: standing.left_out + 1, ..standing });
    }

    /// Plans an alert; over the bound it is counted instead.
    pub(super) fn alert(&mut self, rule: &RuleRecord, state: AlertState, notice: u64, count: i64, run: Option<Record>) -> Option<u64> {
        let uid = rule.uid();
        let alert = AlertRecord {
            number: self.last + 1,
            rule_uid: rule.uid.clone(),
            rule: rule.name().to_owned(),
            namespace_id: rule.namespace_id.clone(),
            state: state as i32,
            query: rule.told_query().to_owned(),
            time: self.now.0,
            notice,
            count,
            run,
            ..AlertRecord::default()
        };
        let size = alert.size();
        let (planned, bytes) = self.planned.entry(uid).or_default();
        let is_much = size > self.state.room_for(uid, (self.planned_bytes, *bytes));
        if is_much || self.state.waits(uid) + *planned >= WAITING_MAX {
            self.leave_out(rule);
            return None;
        }
        *planned += 1;
        *bytes += size;
        self.planned_bytes += size;
        self.last += 1;
        self.push(Change::Put(Box::new(alert)));
        Some(self.last)
    }

    /// A notice, to all rules of its namespace.
    pub(super) fn notice(&mut self, rules: &BTreeMap<NamespaceId, Vec<Watching>>, number: u64, notice: &NoticeRecord) {
        let Some(rules) = notice.namespace().and_then(|namespace| rules.get(&namespace)) else { return };
        let kind = NoticeKind::try_from(notice.kind).unwrap_or_default();
        let record = notice.record.as_ref();
        let run = record.and_then(Record::run_key).map(|key| key.run);
        let run = run.or_else(|| Some(RunId(Uuid(notice.deleted_run.as_ref().try_into().ok()?))));
        let Some(run) = run else { return };
        for Watching { rule, filter } in rules {
            let Some(filter) = filter.as_ref().filter(|_| number > rule.after) else { continue };
            // A run that is closed does not change any more, whatever is told of it later.
            let is_over = record.is_some_and(|record| !record.is_open()) && kind != NoticeKind::Closed;
            let selected = kind != NoticeKind::Deleted && !is_over && record.is_some_and(|record| filter.matches(record));
            match rule.is_list() {
                true if selected => {
                    self.selected_at.insert(rule.uid(), number);
                    self.list_selects(rule, number, 1, record);
                }
                true => {}
                false => self.run_is(rule, number, run, selected, kind, record),
            }
        }
    }

    fn run_is(&mut self, rule: &RuleRecord, number: u64, run: RunId, selected: bool, kind: NoticeKind, record: Option<&Record>) {
        let memory = rule.memory();
        let was = self.raised.contains(memory, run);
        // Of runs that are over nothing has to be remembered: they are judged once.
        let stays = selected && kind != NoticeKind::Closed;
        if stays && !was && !self.raised.has_room(memory) {
            // Told of without being remembered, it would be told of again with each of its changes.
            return self.pass_over(rule, run);
        }
        if selected && !was {
            self.alert(rule, AlertState::Firing, number, 0, record.cloned());
        }
        self.keep(Kind::Raised, memory, run, stays);
        self.keep(Kind::LeftOut, memory, run, false);
    }

    /// So many runs were counted, by a count that knows all notices up to one and perhaps more.
    pub(super) fn counted(&mut self, rule: &RuleRecord, knows: u64, count: u64, first: Option<&Record>) {
        // A run that came meanwhile may not be among none; the next count knows.
        let is_old = self.state.selected_at.get(&rule.uid()).is_some_and(|notice| *notice > knows);
        match count {
            0 if is_old => {}
            0 => self.list_is_empty(rule),
            count => self.list_selects(rule, 0, count, first),
        }
    }

    /// The query of a rule about a list selects so many runs.
    fn list_selects(&mut self, rule: &RuleRecord, notice: u64, count: u64, record: Option<&Record>) {
        let mut standing = self.standing(rule);
        let before = standing.clone();
        if standing.since == 0 {
            standing.since = self.now.0;
        }
        let holds = self.now >= Timestamp(standing.since) + rule.hold();
        if holds && !standing.told {
            standing.told = true;
            self.alert(rule, AlertState::Firing, notice, count as i64, record.cloned());
            standing.left_out = self.standing(rule).left_out;
        }
        if standing != before {
            self.set_standing(rule, standing);
        }
    }

    /// The query of a rule about a list selects none.
    fn list_is_empty(&mut self, rule: &RuleRecord) {
        let standing = self.standing(rule);
        if standing.since == 0 {
            return;
        }
        if standing.told {
            self.alert(rule, AlertState::Resolved, 0, 0, None);
        }
        let left_out = self.standing(rule).left_out;
        self.set_standing(rule, Standing { left_out, ..Standing::default() });
    }

    /// Tells of alerts that were left out, once there is room again.
    pub(super) fn left_out(&mut self, rule: &RuleRecord) {
        let standing = self.standing(rule);
        let uid = rule.uid();
        let has_room = || {
            let planned = self.planned.get(&uid).map_or(0, |(_, bytes)| *bytes);
            let taken = self.state.waiting_bytes_of.get(&uid).copied().unwrap_or_default() + planned;
            let room = self.state.room_for(uid, (self.planned_bytes, planned));
            self.state.waits(uid) < WAITING_MAX / 2 && taken <= room && self.raised.has_room(rule.memory())
        };
        if standing.left_out > 0 && has_room() {
            self.set_standing(rule, Standing { left_out: 0, ..standing.clone() });
            self.alert(rule, AlertState::LeftOut, 0, standing.left_out, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::sempre::v1::AlertRule;

    use super::*;
    use crate::alerts::{memory::RAISED_MAX, state::WAITING_BYTES_MAX};

    fn rule(id: u8, query: usize) -> RuleRecord {
        let rule = AlertRule { query: "x".repeat(query), ..AlertRule::default() };
        RuleRecord { uid: Bytes::from(vec![id; 16]), rule: Some(rule), ..RuleRecord::default() }
    }

    fn told(plan: Plan<'_>, state: AlertState) -> Vec<AlertRecord> {
        let is = |change| match change {
            Change::Put(alert) if alert.state == state as i32 => Some(*alert),
            _ => None,
        };
        plan.changes.into_iter().filter_map(is).collect()
    }

    #[test]
    fn alerts_of_all_rules_together_take_bounded_memory_and_what_is_left_out_is_told() {
        let mut state = State::default();
        let (mut fired, mut rounds) = (0, 0);
        while fired == rounds * 500 {
            let mut plan = Plan::new(&state, Timestamp(1));
            for n in 0..500 {
                plan.alert(&rule((n % 8) as u8, 4096), AlertState::Firing, 1, 0, None);
            }
            let changes = plan.changes;
            fired += changes.iter().filter(|change| matches!(change, Change::Put(_))).count();
            rounds += 1;
            changes.into_iter().for_each(|change| state.apply(change));
        }
        // Each of the eight has a ninth, and so has the next.
        let ninth = WAITING_BYTES_MAX / 9;
        assert!(state.waiting_bytes_of.values().all(|bytes| *bytes < ninth + 100_000), "{:?}", state.waiting_bytes_of);
        assert!(state.waiting_bytes > 8 * ninth - 100_000 && state.waiting_bytes < 8 * ninth + 100_000);
        assert!(Plan::new(&state, Timestamp(1)).alert(&rule(8, 4096), AlertState::Firing, 1, 0, None).is_some());
        let left_out: i64 = state.standing.values().map(|standing| standing.left_out).sum();
        assert_eq!(left_out as usize, rounds * 500 - fired);
        let mut plan = Plan::new(&state, Timestamp(2));
        plan.left_out(&rule(0, 4096));
        assert_eq!(told(plan, AlertState::LeftOut).len(), 0, "there is no room yet");

        // Delivered and dropped ones give their bytes back.
        let alerts: Vec<AlertRecord> = state.alerts.values().map(|alert| AlertRecord::clone(alert)).collect();
        for alert in alerts {
            if alert.number % 2 == 0 {
                state.apply(Change::Put(Box::new(AlertRecord { ended: 1, ..alert })));
            } else {
                state.apply(Change::Drop(alert.number));
            }
        }
        assert_eq!(state.waiting_bytes, 0);
        let mut plan = Plan::new(&state, Timestamp(2));
        (0..8).for_each(|n| plan.left_out(&rule(n, 4096)));
        assert_eq!(told(plan, AlertState::LeftOut).iter().map(|alert| alert.count).sum::<i64>(), left_out);
    }

    #[test]
    fn one_rule_takes_half_of_what_there_is() {
        let mut state = State::default();
        let mut fired = 0;
        while state.standing.is_empty() {
            let mut plan = Plan::new(&state, Timestamp(1));
            for _ in 0..500 {
                plan.alert(&rule(1, 8000), AlertState::Firing, 1, 0, None);
            }
            plan.changes.into_iter().for_each(|change| state.apply(change));
            fired += 1;
        }
        let half = WAITING_BYTES_MAX / 2;
        assert!((half - 20_000..half + 20_000).contains(&state.waiting_bytes), "{} after {fired} rounds", state.waiting_bytes);
    }

    #[test]
    fn runs_that_cannot_be_remembered_are_left_out_and_not_told_with_each_change() {
        let mut state = State::default();
        let rule = rule(1, 10);
        (1..RAISED_MAX).for_each(|n| state.apply(Change::Remember(Kind::Raised, rule.memory(), run(n))));
        let mut plan = Plan::new(&state, Timestamp(1));
        for _ in 0..3 {
            plan.run_is(&rule, 1, run(RAISED_MAX), true, NoticeKind::Changed, None);
            plan.run_is(&rule, 2, run(RAISED_MAX + 1), true, NoticeKind::Changed, None);
        }
        plan.left_out(&rule);
        let left_out = plan.standing(&rule).left_out;
        assert_eq!((told(plan, AlertState::Firing).len(), left_out), (1, 1), "one had room, and the other is counted once");
        let mut plan = Plan::new(&state, Timestamp(1));
        plan.run_is(&rule, 3, run(RAISED_MAX), true, NoticeKind::Changed, None);
        // Of one that is over nothing has to be remembered.
        plan.run_is(&rule, 3, run(RAISED_MAX + 2), true, NoticeKind::Closed, None);
        plan.run_is(&rule, 4, run(1), false, NoticeKind::Changed, None);
        plan.run_is(&rule, 5, run(RAISED_MAX + 1), true, NoticeKind::Changed, None);
        assert_eq!(told(plan, AlertState::Firing).len(), 3, "another has gone");
    }

    /// A rule that remembers as many runs as it can.
    fn full() -> (State, RuleRecord) {
        let (mut state, rule) = (State::default(), rule(1, 10));
        (0..RAISED_MAX).for_each(|n| state.apply(Change::Remember(Kind::Raised, rule.memory(), run(n))));
        (state, rule)
    }

    fn run(n: usize) -> RunId {
        RunId(Uuid((n as u128).to_be_bytes()))
    }

    /// Changes of runs, each in a round of its own: number, whether it is selected, whether it has just ended. What they fire.
    fn rounds(state: &mut State, rule: &RuleRecord, changes: &[(usize, bool, NoticeKind)]) -> usize {
        let mut fired = 0;
        for (n, selected, kind) in changes {
            let mut plan = Plan::new(state, Timestamp(1));
            plan.run_is(rule, 1, run(*n), *selected, *kind, None);
            let changes = plan.changes;
            fired += changes.iter().filter(|change| matches!(change, Change::Put(_))).count();
            changes.into_iter().for_each(|change| state.apply(change));
        }
        fired
    }

    fn left_out(state: &State, rule: &RuleRecord) -> i64 {
        state.standing.get(&rule.uid()).map_or(0, |standing| standing.left_out)
    }

    #[test]
    fn a_run_that_cannot_be_remembered_is_counted_once_for_as_long_as_it_is_selected() {
        use NoticeKind::{Changed, Closed, Started};
        let ((mut state, rule), a, b) = (full(), RAISED_MAX, RAISED_MAX + 1);
        assert_eq!(rounds(&mut state, &rule, &[(a, true, Started), (a, true, Changed), (b, true, Started), (a, true, Changed)]), 0);
        assert_eq!((left_out(&state, &rule), state.left_out.count(rule.memory())), (2, 2));
        // Selected no more, and again.
        assert_eq!(rounds(&mut state, &rule, &[(a, false, Changed), (a, true, Changed), (a, true, Changed)]), 0);
        assert_eq!(left_out(&state, &rule), 3);
        // Its end is told, and needs no memory.
        assert_eq!(rounds(&mut state, &rule, &[(a, true, Closed)]), 1);
        assert_eq!((left_out(&state, &rule), state.left_out.count(rule.memory())), (3, 1));
        // There is room for the other: it is told of, and no more left out.
        assert_eq!(rounds(&mut state, &rule, &[(0, false, Changed), (b, true, Changed)]), 1);
        assert_eq!((left_out(&state, &rule), state.left_out.count(rule.memory())), (3, 0));
        // That some were left out has been told: who still is is not counted again.
        assert_eq!(rounds(&mut state, &rule, &[(a, true, Started)]), 0);
        state.apply(Change::Standing(rule.uid(), Standing::default()));
        assert_eq!((rounds(&mut state, &rule, &[(a, true, Changed)]), left_out(&state, &rule)), (0, 0));
    }

    #[test]
    fn beyond_the_memory_of_counted_runs_one_is_counted_with_each_notice_rather_than_never() {
        let (mut state, rule) = full();
        let mut n = RAISED_MAX;
        while state.left_out.count(rule.memory()) + RAISED_MAX == n {
            rounds(&mut state, &rule, &[(n, true, NoticeKind::Started)]);
            n += 1;
        }
        assert_eq!((state.left_out.count(rule.memory()), left_out(&state, &rule)), (100_000, 100_001));
        let again = [(n - 1, true, NoticeKind::Changed), (n - 2, true, NoticeKind::Changed)];
        assert_eq!((rounds(&mut state, &rule, &again), left_out(&state, &rule)), (0, 100_002));
    }

    #[test]
    fn what_a_rule_has_left_out_goes_with_what_it_was() {
        let (mut state, rule) = full();
        rounds(&mut state, &rule, &[(RAISED_MAX, true, NoticeKind::Started)]);
        let gone = state.orphans(|_| true, |_| false, usize::MAX);
        assert_eq!(gone.len(), RAISED_MAX + 1);
        gone.into_iter().for_each(|change| state.apply(change));
        assert_eq!((state.raised.count(rule.memory()), state.left_out.count(rule.memory())), (0, 0));
        assert!(state.orphans(|_| true, |_| false, usize::MAX).is_empty());
    }

    #[test]
    fn a_count_that_is_older_than_a_run_resolves_nothing() {
        let mut state = State::default();
        let list = rule(1, 10);
        let told = Standing { since: 1, told: true, ..Standing::default() };
        state.apply(Change::Standing(list.uid(), told));
        state.selected_at.insert(list.uid(), 7);
        let mut plan = Plan::new(&state, Timestamp(2));
        plan.counted(&list, 6, 0, None);
        assert!(plan.changes.is_empty(), "the run of notice 7 may be missing in it");
        plan.counted(&list, 7, 0, None);
        assert_eq!(super::tests::told(plan, AlertState::Resolved).len(), 1);
    }

    #[test]
    fn a_count_from_before_a_failure_of_the_store_resolves_nothing_either() {
        let (mut before, mut rows) = (State::default(), State::default());
        let list = rule(1, 10);
        // The commit was in doubt, and is there.
        before.selected_at.insert(list.uid(), 7);
        rows.apply(Change::Standing(list.uid(), Standing { since: 1, told: true, ..Standing::default() }));
        let state = rows.after(before);
        let mut plan = Plan::new(&state, Timestamp(2));
        plan.counted(&list, 6, 0, None);
        assert!(plan.changes.is_empty(), "the run of notice 7 may be missing in it");
    }

    #[test]
    fn a_plan_says_when_it_is_to_be_committed() {
        let state = State::default();
        let mut plan = Plan::new(&state, Timestamp(1));
        let mut alerts = 0;
        while !plan.is_full() {
            plan.alert(&rule(1, 4096), AlertState::Firing, 1, 0, None);
            alerts += 1;
        }
        assert!((800..1024).contains(&alerts), "{alerts}");
    }
}
