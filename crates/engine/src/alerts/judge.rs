//! What notices and counts mean to rules: a plan of changes, which the runner commits as a whole.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use sempre_api::sempre::v1::{AlertState, NoticeKind};
use sempre_core::{
    NamespaceId, RunId, Timestamp,
    ids::Uuid,
    visibility::{Filter, Record},
};

use super::{
    rule::RuleRecord,
    state::{AlertRecord, Change, RAISED_MAX, Standing, State, WAITING_MAX},
};
use crate::notices::rows::NoticeRecord;

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
    /// Alerts planned, by rule.
    planned: HashMap<Uuid, usize>,
    raised: HashMap<(Uuid, RunId), bool>,
    standing: HashMap<Uuid, Standing>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(state: &'a State, now: Timestamp) -> Self {
        let last = state.last;
        Self { state, now, last, changes: Vec::new(), planned: HashMap::new(), raised: HashMap::new(), standing: HashMap::new() }
    }

    fn standing(&self, rule: Uuid) -> Standing {
        self.standing.get(&rule).or_else(|| self.state.standing.get(&rule)).cloned().unwrap_or_default()
    }

    fn set_standing(&mut self, rule: &RuleRecord, mut standing: Standing) {
        standing.namespace_id = rule.namespace_id.clone();
        self.standing.insert(rule.uid(), standing.clone());
        self.changes.push(Change::Standing(rule.uid(), standing));
    }

    fn is_raised(&self, rule: Uuid, run: RunId) -> bool {
        let stored = || self.state.raised.get(&rule).is_some_and(|runs| runs.contains(&run));
        self.raised.get(&(rule, run)).copied().unwrap_or_else(stored)
    }

    /// Plans an alert; over the bound it is counted instead.
    pub(super) fn alert(&mut self, rule: &RuleRecord, state: AlertState, notice: u64, count: i64, run: Option<Record>) -> Option<u64> {
        let uid = rule.uid();
        let planned = self.planned.entry(uid).or_default();
        if self.state.waits(uid) + *planned >= WAITING_MAX {
            let standing = self.standing(uid);
            self.set_standing(rule, Standing { left_out: standing.left_out + 1, ..standing });
            return None;
        }
        *planned += 1;
        self.last += 1;
        self.changes.push(Change::Put(Box::new(AlertRecord {
            number: self.last,
            rule_uid: rule.uid.clone(),
            rule: rule.name().to_owned(),
            namespace_id: rule.namespace_id.clone(),
            state: state as i32,
            query: rule.query().to_owned(),
            time: self.now.0,
            notice,
            count,
            run,
            ..AlertRecord::default()
        })));
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
                true if selected => self.list_selects(rule, number, 1, record),
                true => {}
                false => self.run_is(rule, number, run, selected, kind, record),
            }
        }
    }

    fn run_is(&mut self, rule: &RuleRecord, number: u64, run: RunId, selected: bool, kind: NoticeKind, record: Option<&Record>) {
        let uid = rule.uid();
        let was = self.is_raised(uid, run);
        if selected && !was {
            self.alert(rule, AlertState::Firing, number, 0, record.cloned());
        }
        // Of runs that are over nothing has to be remembered: they are judged once.
        let stays = selected && kind != NoticeKind::Closed;
        if stays == was {
            return;
        }
        let full = || self.state.raised.get(&uid).map_or(0, HashSet::len) >= RAISED_MAX;
        if stays && full() {
            return;
        }
        self.raised.insert((uid, run), stays);
        self.changes.push(if stays { Change::Raise(uid, run) } else { Change::Lower(uid, run) });
    }

    /// The query of a rule about a list selects so many runs.
    pub(super) fn list_selects(&mut self, rule: &RuleRecord, notice: u64, count: u64, record: Option<&Record>) {
        let mut standing = self.standing(rule.uid());
        let before = standing.clone();
        if standing.since == 0 {
            standing.since = self.now.0;
        }
        let holds = self.now >= Timestamp(standing.since) + rule.hold();
        if holds && !standing.told {
            standing.told = true;
            self.alert(rule, AlertState::Firing, notice, count as i64, record.cloned());
            standing.left_out = self.standing(rule.uid()).left_out;
        }
        if standing != before {
            self.set_standing(rule, standing);
        }
    }

    /// The query of a rule about a list selects none.
    pub(super) fn list_is_empty(&mut self, rule: &RuleRecord) {
        let standing = self.standing(rule.uid());
        if standing.since == 0 {
            return;
        }
        if standing.told {
            self.alert(rule, AlertState::Resolved, 0, 0, None);
        }
        let left_out = self.standing(rule.uid()).left_out;
        self.set_standing(rule, Standing { left_out, ..Standing::default() });
    }

    /// Tells of alerts that were left out, once there is room again.
    pub(super) fn left_out(&mut self, rule: &RuleRecord) {
        let standing = self.standing(rule.uid());
        if standing.left_out > 0 && self.state.waits(rule.uid()) < WAITING_MAX / 2 {
            self.set_standing(rule, Standing { left_out: 0, ..standing.clone() });
            self.alert(rule, AlertState::LeftOut, 0, standing.left_out, None);
        }
    }
}
