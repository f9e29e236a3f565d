//! One line for each change of a run, out of the pictures that lists are made of.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::{HistoryEventFilterType, WorkflowExecutionStatus as Status},
    workflowservice::GetWorkflowExecutionHistoryRequest,
};
use sempre_core::{
    RunKey,
    visibility::{ACTIVITY_ATTEMPT, HEALTH, LAST_FAILURE, Record, TASK_FAILURES},
};
use sempre_engine::{Engine, HistoryReader};
use tokio::sync::broadcast::error::RecvError;

use super::print::{Printer, Who};
use crate::cli::{output::Hue, progress::Story};

/// Open runs that are remembered; changes of more are told without what was before.
const KNOWN_MAX: usize = 10_000;

/// Tells of every change until the engine ends.
pub(super) async fn tell(engine: Engine, namespace: String, printer: Printer) {
    let mut changes = engine.watch_runs();
    let mut board = Board { since: engine.now().0, known: HashMap::new() };
    loop {
        match changes.recv().await {
            Ok(record) => {
                for news in board.look(&record) {
                    let (text, hue) = match news {
                        News::Line(text, hue) => (text, hue),
                        News::Closed(status) => closed(&engine, &record, status).await,
                    };
                    let of = record.run_key().and_then(|key| engine.namespace_name(key.workflow.namespace));
                    let of = of.filter(|of| *of != namespace).map(|of| format!("{of}/")).unwrap_or_default();
                    printer.line(Who::Run, format!("{of}{}  {text}", record.workflow_id), hue).await;
                }
            }
            Err(RecvError::Lagged(lost)) => {
                printer.line(Who::Dev, format!("{lost} changes of runs came too fast to be shown"), Some(Hue::Odd)).await;
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// How a run has closed, with the cause.
async fn closed(engine: &Engine, record: &Record, status: Status) -> (String, Option<Hue>) {
    let event = async {
        let RunKey { workflow, run } = record.run_key()?;
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: engine.namespace_name(workflow.namespace)?,
            execution: Some(WorkflowExecution { workflow_id: workflow.workflow_id, run_id: run.to_string() }),
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            ..Default::default()
        };
        // A run that was deleted at once has no close event any more.
        let history = engine.get_history(request, HistoryReader::default(), None).await.ok()?.history?;
        history.events().ok()?.pop()
    };
    let told = event.await.and_then(|event| Story::default().tell(&event));
    told.unwrap_or_else(|| (format!("{status:?}").to_lowercase(), None))
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    Line(String, Option<Hue>),
    Closed(Status),
}

/// What was told of open runs.
struct Board {
    /// What was started before is not told of as started.
    since: i64,
    known: HashMap<Bytes, Seen>,
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Seen {
    paused: bool,
    health: Option<Arc<Health>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Health {
    kind: String,
    times: i64,
    cause: String,
}

fn value(record: &Record, name: &str) -> Option<serde_json::Value> {
    serde_json::from_slice(&record.search_attributes.get(name)?.data).ok()
}

fn health(record: &Record) -> Option<Arc<Health>> {
    let text = |name| value(record, name).and_then(|value| value.as_str().map(str::to_owned));
    let number = |name| value(record, name).and_then(|value| value.as_i64());
    let kind = text(HEALTH)?;
    let times = number(if kind == "activity-retrying" { ACTIVITY_ATTEMPT } else { TASK_FAILURES }).unwrap_or_default();
    let cause = text(LAST_FAILURE).unwrap_or_default();
    Some(Arc::new(Health { kind, times, cause: cause.lines().next().unwrap_or_default().to_owned() }))
}

impl Health {
    fn line(&self) -> String {
        let Health { kind, times, cause } = self;
        match (kind.as_str(), times) {
            ("activity-retrying", attempt) => format!("activity is retried, attempt {attempt}: {cause}"),
            ("workflow-task-failing", 1) => format!("workflow task failed and is retried: {cause}"),
            ("workflow-task-failing", times) => format!("workflow task failed {times} times in a row and is retried: {cause}"),
            (other, _) => format!("{other}: {cause}"),
        }
    }
}

impl Board {
    fn look(&mut self, record: &Record) -> Vec<News> {
        let status = Status::try_from(record.status).unwrap_or_default();
        let mut news = Vec::new();
        let before = self.known.get(&record.run_id).cloned();
        if before.is_none() && record.start_time >= self.since {
            news.push(News::Line(format!("{} started", record.workflow_type), Some(Hue::Running)));
        }
        if !record.is_open() {
            self.known.remove(&record.run_id);
            news.push(News::Closed(status));
            return news;
        }
        let before = before.unwrap_or_default();
        let now = Seen { paused: status == Status::Paused, health: health(record) };
        match (before.paused, now.paused) {
            (false, true) => news.push(News::Line("paused".to_owned(), Some(Hue::Odd))),
            (true, false) => news.push(News::Line("goes on".to_owned(), Some(Hue::Running))),
            _ => {}
        }
        match (&before.health, &now.health) {
            (before, Some(health)) if before.as_ref() != Some(health) => news.push(News::Line(health.line(), Some(Hue::Bad))),
            (Some(_), None) => news.push(News::Line("is well again".to_owned(), Some(Hue::Good))),
            _ => {}
        }
        if self.known.len() < KNOWN_MAX || self.known.contains_key(&record.run_id) {
            self.known.insert(record.run_id.clone(), now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::common::Payload;

    use super::*;

    fn record(status: Status, attributes: &[(&str, &'static str)]) -> Record {
        let fields = attributes
            .iter()
            .map(|(name, json)| ((*name).to_owned(), Payload { data: Bytes::from_static(json.as_bytes()), ..Payload::default() }));
        Record {
            run_id: Bytes::from_static(&[1; 16]),
            workflow_type: "Order".into(),
            status: status as i32,
            start_time: 10,
            close_time: i64::from(!matches!(status, Status::Running | Status::Paused)),
            search_attributes: fields.collect(),
            ..Record::default()
        }
    }

    fn told(board: &mut Board, record: &Record) -> Vec<String> {
        let text = |news| match news {
            News::Line(text, _) => text,
            News::Closed(status) => format!("{status:?}"),
        };
        board.look(record).into_iter().map(text).collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let mut board = Board { since: 10, known: HashMap::new() };
        let running = record(Status::Running, &[]);
        assert_eq!(told(&mut board, &running), ["Order started"]);
        assert_eq!(told(&mut board, &running), [""; 0]);
        let retrying =
            [("SempreHealth", "\"activity-retrying\""), ("SempreActivityAttempt", "2"), ("SempreLastFailure", "\"Pay: no\\nat\"")];
        assert_eq!(told(&mut board, &record(Status::Running, &retrying)), ["activity is retried, attempt 2: Pay: no"]);
        let failing = [("SempreHealth", "\"workflow-task-failing\""), ("SempreWorkflowTaskFailures", "4"), ("SempreLastFailure", "\"x\"")];
        let line = "workflow task failed 4 times in a row and is retried: x";
        assert_eq!(told(&mut board, &record(Status::Running, &failing)), [line]);
        assert_eq!(told(&mut board, &record(Status::Running, &failing)), [""; 0]);
        assert_eq!(told(&mut board, &running), ["is well again"]);
        assert_eq!(told(&mut board, &record(Status::Paused, &[])), ["paused"]);
        assert_eq!(told(&mut board, &running), ["goes on"]);
        assert_eq!(told(&mut board, &record(Status::Completed, &[])), ["Completed"]);
        assert!(board.known.is_empty());
    }

    #[test]
    fn a_run_from_before_is_not_told_of_as_started_and_a_short_one_in_two_lines() {
        let mut board = Board { since: 11, known: HashMap::new() };
        assert_eq!(told(&mut board, &record(Status::Running, &[])), [""; 0]);
        let mut board = Board { since: 0, known: HashMap::new() };
        assert_eq!(told(&mut board, &record(Status::Failed, &[])), ["Order started", "Failed"]);
    }
}
