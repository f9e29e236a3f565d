//! The histories that a test has made: as text, and through the official replayer.

use futures::TryStreamExt;
use temporalio_client::{Client, WorkflowExecutionInfo, WorkflowFetchHistoryOptions, WorkflowListOptions};
use temporalio_common::protos::temporal::api::history::v1::{History, HistoryEvent, history_event::Attributes};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

use super::NAMESPACE;

/// A run's history.
pub(crate) struct Run {
    pub(crate) workflow_id: String,
    pub(crate) run_id: String,
    pub(crate) workflow_type: String,
    pub(crate) events: Vec<HistoryEvent>,
}

/// Those of all runs, the oldest first.
pub(crate) async fn of_all_runs(client: &Client) -> Result<Vec<Run>, String> {
    let listed = client.list_workflows("", WorkflowListOptions::default()).try_collect::<Vec<_>>().await;
    let mut runs = Vec::new();
    for listed in listed.map_err(|error| format!("the runs cannot be listed: {error}"))? {
        let (workflow_id, run_id) = (listed.id().to_owned(), listed.run_id().to_owned());
        let run = WorkflowExecutionInfo::builder().namespace(NAMESPACE).workflow_id(&workflow_id).run_id(&run_id).build();
        let events = run.bind_untyped(client.clone()).fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await;
        let events = events.map_err(|error| format!("the history of `{workflow_id}` cannot be read: {error}"))?;
        let workflow_type = events.first().and_then(|event| match &event.attributes {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => started.workflow_type.clone(),
            _ => None,
        });
        runs.push(Run { workflow_id, run_id, workflow_type: workflow_type.unwrap_or_default().name, events });
    }
    // Lists have the newest first.
    runs.reverse();
    Ok(runs)
}

/// Those that there is something to replay of: a worker has had a task of them.
pub(crate) fn worked_on(runs: &[Run]) -> Vec<&Run> {
    runs.iter().filter(|run| run.events.iter().any(is_completed_task)).collect()
}

/// Replays them with the official replayer; gives how many.
pub(crate) async fn replay(options: WorkflowReplayerOptions, runs: &[&Run]) -> Result<usize, String> {
    if runs.is_empty() {
        return Ok(0);
    }
    let replayer = WorkflowReplayer::new(options).map_err(|error| format!("no replayer: {error}"))?;
    let histories = runs.iter().map(|run| History { events: run.events.clone() }.into());
    let results = replayer.replay_workflows(histories).await.map_err(|error| format!("the replay failed: {error}"))?;
    for (run, result) in runs.iter().zip(&results) {
        if let Some(failure) = &result.replay_failure {
            return Err(format!("the history of `{}` (run {}) does not replay: {failure}", run.workflow_id, run.run_id));
        }
    }
    if results.len() == runs.len() { Ok(runs.len()) } else { Err("the replayer has not told of all histories".to_owned()) }
}

fn is_completed_task(event: &HistoryEvent) -> bool {
    matches!(event.attributes, Some(Attributes::WorkflowTaskCompletedEventAttributes(_)))
}

/// A history as lines.
pub(crate) fn text(run: &Run) -> String {
    let mut text = format!("`{}` ({}), run {}\n", run.workflow_id, run.workflow_type, run.run_id);
    let begun = run.events.first().and_then(|event| event.event_time);
    for event in &run.events {
        let name = event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_").to_lowercase();
        let seconds = event.event_time.zip(begun).map_or(0, |(at, begun)| at.seconds - begun.seconds);
        text += &format!("  {:>4} {seconds:>9} s  {name}{}\n", event.event_id, detail(event));
    }
    text
}

/// What tells an event from others of its type.
fn detail(event: &HistoryEvent) -> String {
    let Some(attributes) = &event.attributes else { return String::new() };
    match attributes {
        Attributes::ActivityTaskScheduledEventAttributes(scheduled) => {
            format!(" {}", scheduled.activity_type.as_ref().map_or("", |kind| kind.name.as_str()))
        }
        Attributes::ActivityTaskStartedEventAttributes(started) => format!(", attempt {}", started.attempt),
        Attributes::ActivityTaskFailedEventAttributes(failed) => message(failed.failure.as_ref().map(|failure| failure.message.as_str())),
        Attributes::WorkflowExecutionSignaledEventAttributes(signaled) => format!(" {}", signaled.signal_name),
        Attributes::TimerStartedEventAttributes(timer) => {
            format!(" {}, {} s", timer.timer_id, timer.start_to_fire_timeout.map_or(0, |span| span.seconds))
        }
        Attributes::TimerFiredEventAttributes(timer) => format!(" {}", timer.timer_id),
        Attributes::MarkerRecordedEventAttributes(marker) => format!(" {}", marker.marker_name),
        Attributes::WorkflowTaskFailedEventAttributes(failed) => message(failed.failure.as_ref().map(|failure| failure.message.as_str())),
        Attributes::WorkflowExecutionFailedEventAttributes(failed) => {
            message(failed.failure.as_ref().map(|failure| failure.message.as_str()))
        }
        _ => String::new(),
    }
}

fn message(of: Option<&str>) -> String {
    of.map(|message| format!(": {message}")).unwrap_or_default()
}
