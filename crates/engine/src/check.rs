//! Looks through a whole store that no engine works on: does every run's history rebuild what is stored of it, and
//! is everything that waits for something on the list of what it waits for?
//!
//! Goes slot by slot and keeps in memory one run, one page of its history, and the small rows of one slot. What
//! holds within a run is [`sempre_core::audit`]'s; here it is held against the other tables:
//!
//! - a run lies in the slot of its workflow id, and at most one run of a workflow id is open;
//! - a task that waits for a worker has one offer row with its stamp, and there is no other offer row;
//! - a run has the one deadline row it says, and there is no other;
//! - the current-run pointer of a workflow id names a run that is there and says of it what the run says, and an
//!   open run is the current one;
//! - a message that a run owes carries a number it has given;
//! - a row for the index of runs shows its run as it is, or has lists forget a run that is not there;
//! - there is no history without a run, unless a deadline row has it deleted (a reset that did not end);
//! - a run that flow rules are about has the one row that says what it says, and there is no other;
//! - what namespaces are said to have of open runs and history is what they have, and their records can be read;
//! - the rows of a schedule fit each other (`check/schedules.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use prost::Message as _;
use sempre_core::{
    NamespaceId, RunId, RunKey, SlotId, Timestamp, WorkflowKey,
    audit::{Audit, Finding},
    flow::FlowRecord,
    ids::{SLOT_COUNT, Uuid},
    keys::{self, OfferRecord, OutboxRecord, RunRecord},
    transition::{CurrentRecord, OfferKey},
    visibility,
};
use sempre_store::{Store, StoreError, Table};

use crate::{
    namespaces,
    shard::load::prefix_end,
    usage::{
        self, Counted,
        rows::{Sum, Tallies},
    },
};

mod schedules;

/// Bytes of history read at once.
const PAGE_BYTES: usize = 1 << 20;
/// Rows of the small tables read at once.
const ROWS: usize = 1000;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Slots done, of [`SLOT_COUNT`].
    pub slots: u16,
    /// Runs, open or closed.
    pub runs: u64,
    /// Open ones among them.
    pub open: u64,
    /// Events read.
    pub events: u64,
    /// Bytes of these events.
    pub bytes: u64,
    /// Current-run pointers.
    pub pointers: u64,
    /// Offers to task queues.
    pub offers: u64,
    /// Deadline rows.
    pub deadlines: u64,
    /// Messages between runs.
    pub messages: u64,
    /// Runs that the index of runs may not have as they are.
    pub listed: u64,
    /// Open runs that flow rules are about.
    pub flow: u64,
    /// Schedules.
    pub schedules: u64,
    /// What does not hold.
    pub problems: u64,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Slot of the rows.
    pub slot: u16,
    /// The workflow id, empty if it is not known.
    pub workflow_id: String,
    /// The run; `None` when it is not about one.
    pub run: Option<RunId>,
    /// What and why.
    pub finding: Finding,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run {
            Some(run) => write!(f, "run {run} of {:?}", self.workflow_id)?,
            None => write!(f, "slot {}", self.slot)?,
        }
        write!(f, ": {}: {}", self.finding.what, self.finding.detail)
    }
}

/// News of a check.
#[derive(Debug)]
pub enum News<'a> {
    /// Something does not hold.
    Problem(&'a Problem),
    /// One more run is done.
    Run(&'a Counts),
}

/// Looks through `store` and tells what it finds. No engine may work on the store meanwhile.
///
/// `Err` only when the store cannot be read; damage is told, not returned.
pub async fn check(store: &dyn Store, tell: &mut (dyn FnMut(News<'_>) + Send)) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let mut used = Tallies::new();
    for slot in 0..SLOT_COUNT {
        Slot { store, slot, counts: &mut counts, used: &mut used, tell: &mut *tell }.check().await?;
        counts.slots += 1;
    }
    let mut beside = Vec::new();
    match usage::rows::sum(store).await? {
        Sum::Of(stored) if stored != used => {
            beside.push(Finding::new("usage", format!("namespaces have {used:?}, their rows say {stored:?}")))
        }
        Sum::Of(_) | Sum::None => {}
        Sum::Unreadable(rows) => {
            let what = format!("{rows} rows with the number of open runs cannot be read; a server makes them anew when it starts");
            beside.push(Finding::new("usage", what));
        }
    }
    beside.extend(namespaces::unreadable(store).await?.into_iter().map(|what| Finding::new("namespaces", what)));
    for finding in beside {
        counts.problems += 1;
        tell(News::Problem(&Problem { slot: 0, workflow_id: String::new(), run: None, finding }));
    }
    Ok(counts)
}

struct Slot<'a> {
    store: &'a dyn Store,
    slot: u16,
    counts: &'a mut Counts,
    /// What the runs count for in their namespaces.
    used: &'a mut Tallies,
    tell: &'a mut (dyn FnMut(News<'_>) + Send),
}

/// Small rows of one slot, taken off the lists as runs claim them.
#[derive(Default)]
struct Lists {
    offers: BTreeMap<(RunId, i64, bool), Vec<(OfferKey, OfferRecord)>>,
    deadlines: BTreeMap<RunId, Vec<(Timestamp, Option<WorkflowKey>)>>,
    currents: BTreeMap<WorkflowKey, CurrentRecord>,
    /// Highest number of a message that each run owes.
    messages: BTreeMap<RunId, u64>,
    /// Rows for the index of runs.
    listed: BTreeMap<RunId, visibility::Row>,
    /// What flow rules know of runs.
    flow: BTreeMap<RunId, FlowRecord>,
    open: BTreeMap<WorkflowKey, RunId>,
    runs: BTreeSet<RunId>,
    /// Runs to come, of which there are only events.
    staged: BTreeSet<RunId>,
}

impl Slot<'_> {
    fn problem(&mut self, key: Option<&RunKey>, finding: Finding) {
        self.counts.problems += 1;
        let problem = Problem {
            slot: self.slot,
            workflow_id: key.map_or_else(String::new, |key| key.workflow.workflow_id.clone()),
            run: key.map(|key| key.run),
            finding,
        };
        (self.tell)(News::Problem(&problem));
    }

    fn of_run(&mut self, workflow: Option<WorkflowKey>, run: RunId, what: &str, detail: impl Into<String>) {
        let key = RunKey { workflow: workflow.unwrap_or_default(), run };
        self.problem(Some(&key), Finding::new(what, detail));
    }

    async fn check(mut self) -> Result<(), StoreError> {
        let mut lists = Lists::default();
        self.read_offers(&mut lists).await?;
        self.read_deadlines(&mut lists).await?;
        self.read_currents(&mut lists).await?;
        self.read_messages(&mut lists).await?;
        self.read_listed(&mut lists).await?;
        self.read_flow(&mut lists).await?;
        for run in self.prefixes(Table::State).await? {
            self.run(run, &mut lists).await?;
        }
        for run in self.prefixes(Table::History).await? {
            // Copied events of a reset that was under way: their deadline row has them deleted.
            if !lists.runs.contains(&run) && !lists.staged.contains(&run) {
                self.of_run(None, run, "events", "history without a run");
            }
        }
        self.left_over(lists);
        self.schedules().await
    }

    // --- one run ---

    async fn run(&mut self, run: RunId, lists: &mut Lists) -> Result<(), StoreError> {
        lists.runs.insert(run);
        self.counts.runs += 1;
        let prefix = keys::run(SlotId(self.slot), run);
        let rows = self.store.scan(Table::State, &prefix, &prefix_end(&prefix), usize::MAX).await?;
        let parsed: Option<Vec<_>> =
            rows.into_iter().map(|(key, value)| keys::parse_state(&key).map(|(kind, number)| (kind, number, value))).collect();
        let audit = match parsed.map(|rows| Audit::new(run, rows)) {
            Some(Ok(audit)) => audit,
            Some(Err(error)) => {
                self.of_run(None, run, "rows", error.to_string());
                return Ok(());
            }
            None => {
                self.of_run(None, run, "rows", "a state row has a damaged key");
                return Ok(());
            }
        };
        let key = audit.key().clone();
        if key.workflow.slot().0 != self.slot {
            self.problem(Some(&key), Finding::new("slot", format!("is in slot {}, belongs into {}", self.slot, key.workflow.slot().0)));
        }
        self.claims(&key, &audit, lists);
        for finding in self.events(&prefix, audit).await? {
            self.problem(Some(&key), finding);
        }
        (self.tell)(News::Run(self.counts));
        Ok(())
    }

    /// Feeds the run's whole history to the audit, page by page.
    async fn events(&mut self, prefix: &[u8], mut audit: Audit) -> Result<Vec<Finding>, StoreError> {
        let mut next = 1;
        'pages: loop {
            let rows = self.store.stream(prefix, next, PAGE_BYTES).await?;
            let before = next;
            for (_, mut row) in rows {
                loop {
                    let frame = match sempre_api::next_frame(&mut row) {
                        Ok(None) => break,
                        Ok(Some(frame)) => frame,
                        Err(error) => {
                            audit.damaged(format!("history behind event {} is not made of events: {error}", next - 1));
                            break 'pages;
                        }
                    };
                    // A page begins with the row that holds the event asked for, not with the event.
                    if next == before && event_id(&frame).is_some_and(|id| (1..before as i64).contains(&id)) {
                        continue;
                    }
                    self.counts.events += 1;
                    self.counts.bytes += frame.len() as u64;
                    let id = audit.event(frame);
                    if id < 1 || id as u64 != next {
                        break 'pages;
                    }
                    next += 1;
                }
            }
            if next == before {
                break;
            }
        }
        Ok(audit.finish())
    }

    /// What the run says it has in other tables.
    fn claims(&mut self, key: &RunKey, audit: &Audit, lists: &mut Lists) {
        let execution = audit.execution();
        let used = self.used.entry(key.workflow.namespace).or_default();
        *used = used.plus(Counted::of(Some(execution)));
        if execution.is_open() {
            self.counts.open += 1;
            if let Some(other) = lists.open.insert(key.workflow.clone(), key.run) {
                self.problem(Some(key), Finding::new("open", format!("run {other} of the same workflow id is open too")));
            }
        }
        for own in audit.offers() {
            let found = lists.offers.remove(&(key.run, own.scheduled_event_id, own.activity)).unwrap_or_default();
            let whose = if own.activity { "activity" } else { "workflow task" };
            let good = found.iter().filter(|(_, row)| row.stamp == own.stamp && same(row.run.as_ref(), &key.workflow)).count();
            if good != 1 || found.len() != 1 {
                let detail = format!(
                    "{whose} {} waits for a worker with {good} offer rows of its own and {}",
                    own.scheduled_event_id,
                    found.len() - good
                );
                self.problem(Some(key), Finding::new("offer", format!("{detail} others")));
            }
        }
        let rows = lists.deadlines.remove(&key.run).unwrap_or_default();
        let times: Vec<Timestamp> = rows.iter().map(|(at, _)| *at).collect();
        if times.as_slice() != execution.armed_deadline().as_slice() {
            let detail = format!("wants to be woken at {:?}, its rows say {times:?}", execution.armed_deadline());
            self.problem(Some(key), Finding::new("deadline", detail));
        }
        if rows.iter().any(|(_, workflow)| workflow.as_ref() != Some(&key.workflow)) {
            self.problem(Some(key), Finding::new("deadline", "its row names another workflow"));
        }
        let owed = lists.messages.remove(&key.run).unwrap_or(0);
        let given = execution.state().progress.main.outbox;
        if owed > given {
            self.problem(Some(key), Finding::new("outbox", format!("message {owed} is owed, but the last number given is {given}")));
        }
        let row = lists.flow.remove(&key.run);
        let expected = execution.flow().map(|progress| FlowRecord::new(key, progress));
        if row != expected {
            let detail = format!("flow rules know {row:?} of it, it says {expected:?}");
            self.problem(Some(key), Finding::new("flow", detail));
        }
        self.pointer(key, audit, lists);
        if let Some(row) = lists.listed.remove(&key.run) {
            self.listed(key, &row, audit);
        }
    }

    /// The row shows the run as it is, but for the numbers that change with every event.
    fn listed(&mut self, key: &RunKey, row: &visibility::Row, audit: &Audit) {
        let own = audit.execution().record();
        let Some(record) = &row.record else {
            return self.problem(Some(key), Finding::new("visibility", "lists are to forget the run, and it is there"));
        };
        let mut shown = own.clone();
        shown.history_length = record.history_length;
        shown.history_size_bytes = record.history_size_bytes;
        shown.state_transition_count = record.state_transition_count;
        // Their types may have been added.
        shown.search_attributes.clone_from(&record.search_attributes);
        if *record != shown || !record.search_attributes.keys().eq(own.search_attributes.keys()) {
            let detail = format!(
                "lists show status {} and close time {}, or other fields, that the run does not have",
                record.status, record.close_time
            );
            self.problem(Some(key), Finding::new("visibility", detail));
        }
        if row.version > audit.execution().version() {
            let detail = format!("its row has version {}, the run {}", row.version, audit.execution().version());
            self.problem(Some(key), Finding::new("visibility", detail));
        }
    }

    fn pointer(&mut self, key: &RunKey, audit: &Audit, lists: &mut Lists) {
        let execution = audit.execution();
        let derived = &execution.state().derived;
        match lists.currents.get(&key.workflow) {
            Some(record) if record.run() == key.run => {
                let stored = (record.status, record.start_time, record.first_run_id.as_str());
                // A pause may wait behind the workflow task that a worker has: the run is paused all the same.
                let own = (execution.status() as i32, derived.start_time().0, execution.first_run_id());
                if stored != own {
                    let detail = format!("the pointer says {stored:?}, the run {own:?} (status, start time, first run)");
                    self.problem(Some(key), Finding::new("current", detail));
                }
            }
            Some(record) if execution.is_open() => {
                self.problem(Some(key), Finding::new("current", format!("is open, but the current run is {}", record.run())));
            }
            None if execution.is_open() => {
                self.problem(Some(key), Finding::new("current", "is open, but its workflow id has no current run"))
            }
            _ => {}
        }
    }

    /// Rows that no run has claimed.
    fn left_over(&mut self, lists: Lists) {
        for ((run, event, activity), rows) in lists.offers {
            let workflow = rows.first().and_then(|(_, row)| row.run.as_ref()?.workflow());
            let whose = if activity { "activity" } else { "workflow task" };
            self.of_run(
                workflow,
                run,
                "offer",
                format!("{whose} {event} is offered in {} rows, but does not wait for a worker", rows.len()),
            );
        }
        for (run, rows) in lists.deadlines {
            let workflow = rows.first().and_then(|(_, workflow)| workflow.clone());
            self.of_run(workflow, run, "deadline", "there is a row to wake it, but no such run");
        }
        for (run, row) in lists.listed {
            // A deleted run's row has lists forget it.
            if row.record.is_some() {
                self.of_run(row.workflow(), run, "visibility", "lists show it, but there is no such run");
            }
        }
        for (run, row) in lists.flow {
            let workflow = row.workflow.as_ref().and_then(RunRecord::workflow);
            self.of_run(workflow, run, "flow", "flow rules know of it, but there is no such run");
        }
        for (workflow, record) in lists.currents {
            if !lists.runs.contains(&record.run()) {
                self.of_run(Some(workflow), record.run(), "current", "is the current run, but there is no such run");
            }
        }
    }

    // --- tables ---

    /// Each run that has rows in a table, in order.
    async fn prefixes(&self, table: Table) -> Result<Vec<RunId>, StoreError> {
        let mut from = keys::slot(self.slot);
        let to = self.end();
        let mut runs = Vec::new();
        while let Some((key, _)) = self.store.scan(table, &from, &to, 1).await?.into_iter().next() {
            let Some(run) = key.get(2..18).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) else {
                from = [key.as_ref(), &[0]].concat();
                continue;
            };
            let run = RunId(Uuid(run));
            runs.push(run);
            from = prefix_end(&keys::run(SlotId(self.slot), run));
        }
        Ok(runs)
    }

    fn end(&self) -> Vec<u8> {
        keys::slot(self.slot + 1)
    }

    /// All rows of a small table.
    async fn rows(&self, table: Table) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let mut from = keys::slot(self.slot);
        let to = self.end();
        let mut all = Vec::new();
        loop {
            let rows = self.store.scan(table, &from, &to, ROWS).await?;
            let more = rows.len() == ROWS;
            if let Some((last, _)) = rows.last() {
                from = [last.as_ref(), &[0]].concat();
            }
            all.extend(rows);
            if !more {
                return Ok(all);
            }
        }
    }

    fn damaged(&mut self, table: &str, key: &[u8]) {
        self.problem(None, Finding::new(table, format!("row {key:02x?} is damaged")));
    }

    async fn read_offers(&mut self, lists: &mut Lists) -> Result<(), StoreError> {
        for (key, value) in self.rows(Table::Offer).await? {
            self.counts.offers += 1;
            match (keys::parse_offer(&key), OfferRecord::decode(value)) {
                (Some(place), Ok(record)) => {
                    let whose = (place.run, place.scheduled_event_id, record.activity);
                    lists.offers.entry(whose).or_default().push((place, record));
                }
                _ => self.damaged("offer", &key),
            }
        }
        Ok(())
    }

    async fn read_deadlines(&mut self, lists: &mut Lists) -> Result<(), StoreError> {
        for (key, value) in self.rows(Table::Deadline).await? {
            self.counts.deadlines += 1;
            match (keys::parse_deadline(&key), RunRecord::decode(value)) {
                (Some((_, run)), Ok(record)) if record.staged => {
                    lists.staged.insert(run);
                }
                (Some((at, run)), Ok(record)) => lists.deadlines.entry(run).or_default().push((at, record.workflow())),
                _ => self.damaged("deadline", &key),
            }
        }
        Ok(())
    }

    async fn read_currents(&mut self, lists: &mut Lists) -> Result<(), StoreError> {
        for (key, value) in self.rows(Table::Current).await? {
            self.counts.pointers += 1;
            match (workflow_of(&key), CurrentRecord::decode(value)) {
                (Some(workflow), Ok(record)) => {
                    lists.currents.insert(workflow, record);
                }
                _ => self.damaged("current", &key),
            }
        }
        Ok(())
    }

    async fn read_listed(&mut self, lists: &mut Lists) -> Result<(), StoreError> {
        for (key, value) in self.rows(Table::Visibility).await? {
            self.counts.listed += 1;
            match (keys::parse_run(&key), visibility::Row::decode(value)) {
                (Some(run), Ok(row)) if row.workflow().is_some_and(|workflow| workflow.slot().0 == self.slot) => {
                    lists.listed.insert(run, row);
                }
                _ => self.damaged("visibility", &key),
            }
        }
        Ok(())
    }

    async fn read_flow(&mut self, lists: &mut Lists) -> Result<(), StoreError> {
        for (key, value) in self.rows(Table::Flow).await? {
            self.counts.flow += 1;
            match (keys::parse_run(&key), FlowRecord::decode(value)) {
                (Some(run), Ok(record)) => drop(lists.flow.insert(run, record)),
                _ => self.damaged("flow", &key),
            }
        }
        Ok(())
    }

    async fn read_messages(&mut self, lists: &mut Lists) -> Result<(), StoreError> {
        for (key, value) in self.rows(Table::Outbox).await? {
            self.counts.messages += 1;
            let message = OutboxRecord::decode(value).ok().and_then(OutboxRecord::message);
            match (keys::parse_outbox(&key), message) {
                // In order of their numbers; a message may outlive its sender.
                (Some((run, id)), Some(_)) => {
                    lists.messages.insert(run, id);
                }
                _ => self.damaged("outbox", &key),
            }
        }
        Ok(())
    }
}

fn same(record: Option<&RunRecord>, workflow: &WorkflowKey) -> bool {
    record.and_then(RunRecord::workflow).as_ref() == Some(workflow)
}

/// The workflow of a current-run pointer's key.
fn workflow_of(key: &[u8]) -> Option<WorkflowKey> {
    let namespace = NamespaceId(Uuid(key.get(2..18)?.try_into().ok()?));
    Some(WorkflowKey { namespace, workflow_id: std::str::from_utf8(key.get(18..)?).ok()?.to_owned() })
}

/// Id of a framed event. `None` when it cannot be read.
fn event_id(frame: &Bytes) -> Option<i64> {
    /// The one field of an event that is looked at.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Head {
        #[prost(int64, tag = "1")]
        event_id: i64,
    }
    let body = sempre_api::frame_body(frame.clone()).ok()?;
    Head::decode(body).ok().map(|head| head.event_id)
}
