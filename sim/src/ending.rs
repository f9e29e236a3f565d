//! What is on the disk when a world has ended: every history, and what was known.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use prost::Message as _;
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::EventType,
    history::{HistoryEvent, history_event::Attributes},
};
use sempre_core::{RunKey, audit::Audit, keys};
use sempre_store::Table;

use crate::{
    disk::{Disk, Tables},
    lists::Lists,
    oracle::Oracle,
    world::{World, lock},
};

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its key.
    pub key: RunKey,
    /// Its run id, as text.
    pub id: String,
    /// Its history.
    pub events: Vec<HistoryEvent>,
    /// It has not been closed.
    pub open: bool,
}

/// See the module.
pub struct Ending {
    /// All runs, by run id.
    pub runs: Vec<Run>,
    /// What was known.
    pub oracle: Oracle,
    /// What lists say.
    pub lists: Option<Lists>,
    /// The disk.
    pub tables: Tables,
    /// How many nodes had it.
    pub nodes: usize,
    /// When nothing failed any more, by the server's time, ns.
    pub healed_at: i64,
}

/// The events of a stream.
#[must_use]
pub fn events(tables: &Tables, prefix: &[u8]) -> Vec<HistoryEvent> {
    tables.stream(prefix, 0, usize::MAX).into_iter().flat_map(|(_, row)| events_of(row)).collect()
}

/// The events of one row.
#[must_use]
pub fn events_of(mut row: bytes::Bytes) -> Vec<HistoryEvent> {
    let mut events = Vec::new();
    while let Ok(Some(frame)) = sempre_api::next_frame(&mut row) {
        if let Ok(body) = sempre_api::frame_body(frame)
            && let Ok(event) = HistoryEvent::decode(body)
        {
            events.push(event);
        }
    }
    events
}

/// The id of the last durable event of a run; 0 if there is none.
#[must_use]
pub fn last_event(disk: &Disk, prefix: &[u8]) -> i64 {
    disk.with_tables(|tables| events(tables, prefix)).last().map_or(0, |event| event.event_id)
}

/// All runs whose rows begin with `part`.
fn runs(tables: &Tables, part: &[u8]) -> Vec<Run> {
    let mut rows: BTreeMap<&[u8], Vec<(u8, u64, bytes::Bytes)>> = BTreeMap::new();
    for (key, value) in tables.table(Table::State) {
        if let (Some(prefix), Some((kind, number))) = (key.get(..18), keys::parse_state(key))
            && key.starts_with(part)
        {
            rows.entry(prefix).or_default().push((kind, number, value.clone()));
        }
    }
    let run = |(prefix, rows): (&[u8], Vec<_>)| {
        let id = keys::parse_run(prefix)?;
        // Rows that cannot be read are a finding of the disk's own check.
        let audit = Audit::new(id, rows).ok()?;
        let open = audit.execution().is_open();
        Some(Run { key: audit.key().clone(), id: id.to_string(), events: events(tables, prefix), open })
    };
    rows.into_iter().filter_map(run).collect()
}

impl Ending {
    /// Reads the disk of a world.
    #[must_use]
    pub fn read(world: &World, lists: Option<Lists>) -> Self {
        let tables = world.disk.tables();
        let runs = runs(&tables, &[]);
        let oracle = lock(&world.oracle).clone();
        let healed_at = world.healed_at.load(Ordering::SeqCst);
        Self { runs, oracle, lists, tables, nodes: world.nodes(), healed_at }
    }

    /// The runs of a workflow id.
    pub fn of_workflow<'a>(&'a self, workflow: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.key.workflow.workflow_id == workflow)
    }

    /// A run.
    #[must_use]
    pub fn run(&self, id: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// All histories as text.
    #[must_use]
    pub fn histories(&self) -> String {
        let mut text = String::new();
        for run in &self.runs {
            text.push_str(&format!("\nrun {} of {}{}\n", run.id, run.key.workflow.workflow_id, if run.open { ", open" } else { "" }));
            for event in &run.events {
                let at = event.event_time.unwrap_or_default();
                text.push_str(&format!("{:>5} {}.{:09} {}\n", event.event_id, at.seconds, at.nanos, name(event)));
            }
        }
        text
    }

    /// Open runs with the last things that happened to them.
    #[must_use]
    pub fn open_runs(&self) -> String {
        let mut text = String::new();
        for run in self.runs.iter().filter(|run| run.open) {
            let last: Vec<String> = run.events.iter().rev().take(5).map(|event| format!("{} {}", event.event_id, name(event))).collect();
            text.push_str(&format!("{} {} ({}); ", run.key.workflow.workflow_id, run.id, last.join(", ")));
        }
        text
    }
}

impl Run {
    /// The attributes of its first event.
    #[must_use]
    pub fn started(&self) -> Option<&sempre_api::v1::history::WorkflowExecutionStartedEventAttributes> {
        match self.events.first()?.attributes.as_ref()? {
            Attributes::WorkflowExecutionStartedEventAttributes(started) => Some(started),
            _ => None,
        }
    }

    /// Events that hold this text.
    #[must_use]
    pub fn holding(&self, text: &str) -> usize {
        self.events.iter().filter(|event| holding(event, text)).count()
    }
}

/// An event holds this text.
#[must_use]
pub fn holding(event: &HistoryEvent, text: &str) -> bool {
    event.encode_to_vec().windows(text.len()).any(|window| window == text.as_bytes())
}

/// The name of an event's type.
#[must_use]
pub fn name(event: &HistoryEvent) -> &'static str {
    EventType::try_from(event.event_type).map_or("?", |kind| kind.as_str_name().trim_start_matches("EVENT_TYPE_"))
}

/// It is the last event of a run.
#[must_use]
pub fn closes(event: &HistoryEvent) -> bool {
    matches!(
        name(event),
        "WORKFLOW_EXECUTION_COMPLETED"
            | "WORKFLOW_EXECUTION_FAILED"
            | "WORKFLOW_EXECUTION_TIMED_OUT"
            | "WORKFLOW_EXECUTION_CANCELED"
            | "WORKFLOW_EXECUTION_TERMINATED"
            | "WORKFLOW_EXECUTION_CONTINUED_AS_NEW"
    )
}

/// What is durable now of the runs that a client names: of all of the workflow id when it names none.
#[must_use]
pub fn runs_of(world: &World, execution: &WorkflowExecution) -> Vec<Run> {
    let Some(workflow) = world.workflow(&execution.workflow_id) else { return Vec::new() };
    let named = |run: &Run| run.key.workflow == workflow && (execution.run_id.is_empty() || run.id == execution.run_id);
    let slot = keys::slot(workflow.slot().0);
    world.disk.with_tables(|tables| runs(tables, &slot).into_iter().filter(named).collect())
}
