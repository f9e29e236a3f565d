//! Every change of a run is told once and in order; numbers that were passed by are never given again; and an alert is told of each run
//! that its rule is about, of no other, and never under two ids.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use sempre_api::sempre::v1::NoticeKind;
use sempre_core::{RunId, ids::Uuid, keys::RunRecord, visibility::Record};

use crate::{
    acts::feed,
    disk::Tables,
    ending::{Ending, closes},
    oracle::Told,
};

/// A notice on the disk.
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) kind: i32,
    pub(crate) run: String,
    record: Option<Record>,
}

/// As the storage format has it: the batch of a commit.
#[derive(Clone, PartialEq, Message)]
struct BatchRow {
    #[prost(message, repeated, tag = "1")]
    notices: Vec<NoticeRow>,
}

/// One of them.
#[derive(Clone, PartialEq, Message)]
struct NoticeRow {
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(message, optional, tag = "3")]
    record: Option<Record>,
    #[prost(message, optional, tag = "4")]
    deleted: Option<RunRecord>,
    #[prost(bytes = "bytes", tag = "5")]
    deleted_run: Bytes,
}

/// All notices on a disk, as they lie there.
pub(crate) fn rows(tables: &Tables) -> Vec<Row> {
    let mut all = Vec::new();
    for (key, value) in feed::table(tables) {
        let Some(last) = key.strip_prefix(b"n").and_then(|last| last.try_into().ok()).map(i64::from_be_bytes) else { continue };
        let Ok(batch) = BatchRow::decode(value.clone()) else { continue };
        let first = last + 1 - batch.notices.len() as i64;
        for (number, notice) in (first..).zip(batch.notices) {
            let deleted = || Some(RunId(Uuid(notice.deleted_run.as_ref().try_into().ok()?)));
            let run = notice.record.as_ref().and_then(Record::run_key).map(|key| key.run).or_else(deleted);
            let run = run.map(|run| run.to_string()).unwrap_or_default();
            all.push(Row { number, kind: notice.kind, run, record: notice.record });
        }
    }
    all
}

impl Row {
    fn told(&self) -> Told {
        let info = self.record.as_ref().map(Record::to_api).unwrap_or_default();
        Told { kind: self.kind, run: self.run.clone(), status: info.status, events: info.history_length }
    }
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let rows = rows(&ending.tables);
    if ending.nodes > 1 {
        // Their numbers are one sequence, which is one engine's.
        return rows
            .first()
            .map(|row| format!("notice {} is there, though several nodes are to write none", row.number))
            .into_iter()
            .collect();
    }
    let mut found = Vec::new();
    for pair in rows.windows(2).filter(|pair| pair[0].number >= pair[1].number) {
        found.push(format!("notice {} lies before notice {}", pair[0].number, pair[1].number));
    }
    numbers(ending, &rows, &mut found);
    orders(ending, &rows, &mut found);
    alerts(ending, &rows, &mut found);
    found
}

/// What was told is there, and what is there and was passed by was told.
fn numbers(ending: &Ending, rows: &[Row], found: &mut Vec<String>) {
    let oracle = &ending.oracle;
    let there: BTreeMap<i64, Told> = rows.iter().map(|row| (row.number, row.told())).collect();
    for (number, told) in &oracle.notices {
        match there.get(number) {
            Some(row) if row == told => {}
            other => found.push(format!("notice {number} was told as {told:?}, and is {other:?}")),
        }
    }
    for number in there.keys().filter(|number| **number <= oracle.notices_to && !oracle.notices.contains_key(*number)) {
        found.push(format!("notice {number} is there, but was passed by"));
    }
}

/// Of each run: begun first, closed last, both once, and the last says what the run is.
fn orders(ending: &Ending, rows: &[Row], found: &mut Vec<String>) {
    let mut of_runs: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        of_runs.entry(&row.run).or_default().push(row);
    }
    let (started, closed) = (NoticeKind::Started as i32, NoticeKind::Closed as i32);
    for run in &ending.runs {
        let told = of_runs.remove(&run.id[..]).unwrap_or_default();
        let kinds: Vec<i32> = told.iter().map(|row| row.kind).collect();
        let name = format!("run {} of {}", run.id, run.key.workflow.workflow_id);
        if kinds.iter().filter(|kind| **kind == started).count() != 1 || kinds.first() != Some(&started) {
            found.push(format!("{name} is told of as {kinds:?}: its begin not once and first"));
        }
        let is_closed = run.events.last().is_some_and(closes);
        let ends = kinds.iter().filter(|kind| **kind == closed).count();
        if ends != usize::from(is_closed) {
            found.push(format!("{name} is told of as {kinds:?}, and is {}", if is_closed { "closed" } else { "open" }));
        }
        if let (true, Some(last)) = (is_closed, told.iter().find(|row| row.kind == closed)) {
            let events = last.record.as_ref().map_or(0, |record| record.to_api().history_length);
            if events != run.events.len() as i64 {
                found.push(format!("{name} has {} events, its end tells of {events}", run.events.len()));
            }
        }
    }
    for (run, told) in of_runs {
        let kinds: Vec<i32> = told.iter().map(|row| row.kind).collect();
        found.push(format!("run {run} is told of as {kinds:?}, but there is none"));
    }
}

fn alerts(ending: &Ending, rows: &[Row], found: &mut Vec<String>) {
    let oracle = &ending.oracle;
    let ends: BTreeMap<&str, i64> =
        rows.iter().filter(|row| row.kind == NoticeKind::Closed as i32).map(|row| (&row.run[..], row.number)).collect();
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for alert in &oracle.alerts {
        let run = feed::run_of(alert);
        if ends.get(run) != Some(&alert.notice) {
            found.push(format!("alert {} tells of the end of run {run} by notice {}, which is none of it", alert.id, alert.notice));
        }
        if let Some(id) = ids.insert(run, &alert.id)
            && id != alert.id
        {
            found.push(format!("the end of run {run} is told by two alerts, {id} and {}", alert.id));
        }
    }
    let Some(from) = oracle.alerts_from else { return };
    for run in feed::closed_since(&ending.tables, from).iter().filter(|run| !ids.contains_key(&run[..])) {
        found.push(format!("no alert tells of the end of run {run}"));
    }
}
