use sempre_api::{
    sempre::v1::{AttemptOutcome as Outcome, ListActivityAttemptsRequest, ListActivityAttemptsResponse},
    v1::{
        command::{Command, RecordMarkerCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes},
        common::ActivityType,
        enums::CommandType,
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};

use crate::support::*;

pub(crate) fn activity(id: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

async fn attempts(w: &World, activity_id: &str) -> ListActivityAttemptsResponse {
    let request = ListActivityAttemptsRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "a".into(),
        activity_id: activity_id.into(),
        ..Default::default()
    };
    soon(w.engine.list_activity_attempts(request)).await.unwrap()
}

fn outcomes(answer: &ListActivityAttemptsResponse) -> Vec<(&str, Vec<Outcome>)> {
    answer.activities.iter().map(|a| (a.activity_id.as_str(), a.attempts.iter().map(|x| x.outcome()).collect())).collect()
}

async fn complete_activity(w: &World, task: &PollActivityTaskQueueResponse) {
    let done = RespondActivityTaskCompletedRequest { task_token: task.task_token.clone(), ..Default::default() };
    soon(w.engine.respond_activity_task_completed(done)).await.unwrap();
}

pub(crate) async fn fail_activity(w: &World, task: &PollActivityTaskQueueResponse) {
    let failure = Failure {
        message: "no".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
        ..Default::default()
    };
    let failed = RespondActivityTaskFailedRequest { task_token: task.task_token.clone(), failure: Some(failure), ..Default::default() };
    soon(w.engine.respond_activity_task_failed(failed)).await.unwrap();
}

#[tokio::test]
async fn attempts_are_known_while_pending_after_the_close_and_after_a_restart() {
    let mut w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity("x"), activity("y")]).await;
    let x = w.poll_activity().await;
    assert_eq!(x.activity_id, "x");
    complete_activity(&w, &x).await;
    let y = w.poll_activity().await;
    fail_activity(&w, &y).await;
    let expected = [("x", vec![Outcome::Completed]), ("y", vec![Outcome::Failed, Outcome::Waiting])];
    assert_eq!(outcomes(&attempts(&w, "").await), expected);
    w.advance(Span::seconds(1)).await;
    let y = w.poll_activity().await;
    w.reopen().await;
    assert_eq!(outcomes(&attempts(&w, "y").await), [("y", vec![Outcome::Failed, Outcome::Running])]);
    complete_activity(&w, &y).await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.reopen().await;
    let answer = attempts(&w, "").await;
    assert_eq!(outcomes(&answer), [("x", vec![Outcome::Completed]), ("y", vec![Outcome::Failed, Outcome::Completed])]);
    let failed = &answer.activities[1].attempts[0];
    assert_eq!((failed.failure_message.as_str(), failed.worker_identity.as_str()), ("no", "worker"));
    assert!(w.describe("a").await.unwrap().pending_activities.is_empty(), "the run loads without its log");
}

#[tokio::test]
async fn the_log_goes_with_the_run() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity("x")]).await;
    let x = w.poll_activity().await;
    fail_activity(&w, &x).await;
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    assert_eq!(outcomes(&attempts(&w, "").await), [("x", vec![Outcome::Failed, Outcome::RunClosed])]);
    w.advance(Span::seconds(25 * 3600)).await;
    w.until("deleted", || w.store.rows(sempre_store::Table::State).is_empty()).await;
    let request = ListActivityAttemptsRequest { namespace: NAMESPACE.into(), workflow_id: "a".into(), ..Default::default() };
    assert!(matches!(soon(w.engine.list_activity_attempts(request)).await, Err(Refusal::NotFound(_))));
}

/// An answer looks at the newest 10,000 events, however many there are.
#[tokio::test]
async fn of_a_long_run_the_newest_events_tell_of_attempts() {
    let mut settings = settings();
    settings.limits.signals_max = 0;
    settings.limits.transaction_size_max = 12 << 20;
    let w = world_with(settings).await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity("old"), activity("pending")]).await;
    let old = w.poll_activity().await;
    complete_activity(&w, &old).await;
    let marker = || {
        let attributes = RecordMarkerCommandAttributes { marker_name: "m".into(), ..Default::default() };
        command(CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(attributes))
    };
    let task = w.poll().await;
    w.complete(&task.task_token, (0..10_000).map(|_| marker()).chain([activity("new")]).collect()).await;
    let pending = w.poll_activity().await;
    assert_eq!(pending.activity_id, "pending");
    let new = w.poll_activity().await;
    fail_activity(&w, &new).await;
    w.advance(Span::seconds(1)).await;
    let new = w.poll_activity().await;
    complete_activity(&w, &new).await;
    let answer = attempts(&w, "").await;
    assert!(answer.truncated);
    assert_eq!(
        outcomes(&answer),
        [("pending", vec![Outcome::Running]), ("new", vec![Outcome::Failed, Outcome::Completed])],
        "what is pending is told of, however old"
    );
}
