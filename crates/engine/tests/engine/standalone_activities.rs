//! Activities that belong to no workflow: through the shard, the task queue, the index, a restart.

use sempre_api::{
    sempre::v1::{ActivityAttempt, AttemptOutcome as Outcome, ListActivityAttemptsRequest},
    v1::{
        activity::{ActivityExecutionListInfo, activity_execution_outcome::Value},
        common::{ActivityType, OnConflictOptions},
        enums::{ActivityExecutionStatus as Status, ActivityIdConflictPolicy, PendingActivityState as State, TimeoutType},
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        operatorservice::DeleteNamespaceRequest,
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};
use sempre_store::Table;

use crate::support::*;

fn request(id: &str) -> StartActivityExecutionRequest {
    StartActivityExecutionRequest {
        namespace: NAMESPACE.into(),
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        input: Some(payloads("in")),
        ..Default::default()
    }
}

async fn start(w: &World, id: &str) -> String {
    soon(w.engine.start_activity(request(id))).await.unwrap().run_id
}

fn describe(id: &str) -> DescribeActivityExecutionRequest {
    DescribeActivityExecutionRequest {
        namespace: NAMESPACE.into(),
        activity_id: id.into(),
        include_input: true,
        include_outcome: true,
        ..Default::default()
    }
}

async fn described(w: &World, id: &str) -> DescribeActivityExecutionResponse {
    soon(w.engine.describe_activity(describe(id), None)).await.unwrap()
}

async fn status(w: &World, id: &str) -> (Status, State) {
    let info = described(w, id).await.info.unwrap();
    (info.status(), info.run_state())
}

async fn listed(w: &World, query: &str) -> Vec<ActivityExecutionListInfo> {
    let request = ListActivityExecutionsRequest { namespace: NAMESPACE.into(), query: query.into(), ..Default::default() };
    soon(w.engine.list_activities(request)).await.unwrap().executions
}

async fn counted(w: &World, query: &str) -> CountActivityExecutionsResponse {
    let request = CountActivityExecutionsRequest { namespace: NAMESPACE.into(), query: query.into() };
    soon(w.engine.count_activities(request)).await.unwrap()
}

async fn workflows(w: &World) -> i64 {
    let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    soon(w.engine.count_workflows(request)).await.unwrap().count
}

async fn terminate(w: &World, id: &str) -> Result<(), Refusal> {
    let request = TerminateActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: id.into(), ..Default::default() };
    soon(w.engine.terminate_activity(request)).await.map(drop)
}

async fn cancel(w: &World, id: &str) -> Result<(), Refusal> {
    let request = RequestCancelActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: id.into(), ..Default::default() };
    soon(w.engine.cancel_activity(request)).await.map(drop)
}

fn poll(id: &str) -> PollActivityExecutionRequest {
    PollActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: id.into(), ..Default::default() }
}

fn poll_beside(w: &World, id: &str) -> tokio::task::JoinHandle<Result<PollActivityExecutionResponse, Refusal>> {
    let (engine, request) = (w.engine.clone(), poll(id));
    tokio::spawn(async move { engine.poll_activity(request, None).await })
}

#[tokio::test]
async fn a_worker_does_it_and_who_waits_hears_of_it() {
    let w = world().await;
    let run = start(&w, "a").await;
    let waiting = poll_beside(&w, "a");
    w.settle().await;
    let task = w.poll_activity().await;
    assert_eq!((task.activity_id.as_str(), task.activity_run_id.as_str()), ("a", run.as_str()));
    assert!(task.workflow_execution.is_none() && task.workflow_type.is_none());
    w.settle().await;
    assert!(!waiting.is_finished());
    let completed = RespondActivityTaskCompletedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token,
        result: Some(payloads("out")),
        ..Default::default()
    };
    soon(w.engine.respond_activity_task_completed(completed.clone())).await.unwrap();
    let outcome = soon(waiting).await.unwrap().unwrap();
    assert_eq!((outcome.run_id, outcome.outcome.unwrap().value), (run.clone(), Some(Value::Result(payloads("out")))));
    let again = soon(w.engine.respond_activity_task_completed(completed)).await.unwrap_err();
    assert_eq!(again, Refusal::not_found("activity not found for ID: a"));
    let shown = described(&w, "a").await;
    assert_eq!((shown.run_id, shown.input), (run, Some(payloads("in"))));
    assert_eq!(status(&w, "a").await, (Status::Completed, State::Unspecified));
    assert_eq!(
        soon(w.engine.describe_activity(describe("b"), None)).await.unwrap_err(),
        Refusal::not_found("activity not found for ID: b")
    );
}

/// Number and outcome of each attempt.
async fn attempts(w: &World, id: &str) -> Vec<(i32, Outcome)> {
    logged(w, id).await.iter().map(|attempt| (attempt.attempt, attempt.outcome())).collect()
}

async fn logged(w: &World, id: &str) -> Vec<ActivityAttempt> {
    let request = ListActivityAttemptsRequest { namespace: NAMESPACE.into(), activity_id: id.into(), ..Default::default() };
    let activities = soon(w.engine.list_activity_attempts(request)).await.unwrap().activities;
    activities.into_iter().flat_map(|activity| activity.attempts).collect()
}

#[tokio::test]
async fn each_attempt_is_known_while_it_is_open_and_after_its_end() {
    let mut w = world().await;
    let complete = |task: &PollActivityTaskQueueResponse| RespondActivityTaskCompletedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token.clone(),
        ..Default::default()
    };
    start(&w, "a").await;
    assert_eq!(attempts(&w, "a").await, [(1, Outcome::Waiting)]);
    let task = w.poll_activity().await;
    assert_eq!(attempts(&w, "a").await, [(1, Outcome::Running)]);
    let info = FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default());
    let failure = Failure { message: "no".into(), failure_info: Some(info), ..Default::default() };
    let failed = RespondActivityTaskFailedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token,
        failure: Some(failure),
        ..Default::default()
    };
    soon(w.engine.respond_activity_task_failed(failed)).await.unwrap();
    assert_eq!(attempts(&w, "a").await, [(1, Outcome::Failed), (2, Outcome::Waiting)]);
    w.advance(Span::seconds(1)).await;
    let task = w.poll_activity().await;
    soon(w.engine.respond_activity_task_completed(complete(&task))).await.unwrap();
    let ended = [(1, Outcome::Failed), (2, Outcome::Completed)];
    assert_eq!(attempts(&w, "a").await, ended);

    // One attempt is enough for some, one ends in a worker's hands, one never begins.
    for id in ["b", "c", "d"] {
        start(&w, id).await;
    }
    let (b, c) = (w.poll_activity().await, w.poll_activity().await);
    assert_eq!((b.activity_id.as_str(), c.activity_id.as_str()), ("b", "c"));
    soon(w.engine.respond_activity_task_completed(complete(&b))).await.unwrap();
    terminate(&w, "c").await.unwrap();
    terminate(&w, "d").await.unwrap();
    w.crash().await;
    assert_eq!(attempts(&w, "a").await, ended);
    assert_eq!(attempts(&w, "b").await, [(1, Outcome::Completed)]);
    assert_eq!(attempts(&w, "c").await, [(1, Outcome::RunClosed)]);
    assert_eq!(attempts(&w, "d").await, []);
    let first = logged(&w, "a").await.remove(0);
    assert_eq!((first.failure_message.as_str(), first.worker_identity.as_str()), ("no", "worker"));
    let only = logged(&w, "b").await.remove(0);
    assert!(only.started_time.is_some() && only.ended_time.is_some() && only.worker_identity == "worker", "{only:?}");
    let request = ListActivityAttemptsRequest { namespace: NAMESPACE.into(), activity_id: "z".into(), ..Default::default() };
    assert_eq!(soon(w.engine.list_activity_attempts(request)).await.unwrap_err(), Refusal::not_found("activity not found for ID: z"));
}

#[tokio::test]
async fn a_waiting_worker_gets_it_with_the_start() {
    let w = world().await;
    let (engine, poll) =
        (w.engine.clone(), PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: Some(queue()), ..Default::default() });
    let waiting = tokio::spawn(async move { engine.poll_activity_task(poll, None).await });
    w.settle().await;
    let before = w.engine.stats().sync_matches.get();
    start(&w, "a").await;
    assert_eq!(soon(waiting).await.unwrap().unwrap().activity_id, "a");
    assert_eq!(w.engine.stats().sync_matches.get(), before + 1);
    assert_eq!(w.store.rows(Table::Offer).len(), 0, "it was never written as an offer");
}

#[tokio::test]
async fn waits_end_empty_and_a_token_waits_for_any_change() {
    let w = world().await;
    let run = start(&w, "a").await;
    let waiting = poll_beside(&w, "a");
    w.settle().await;
    w.advance(Span::seconds(20)).await;
    assert_eq!(soon(waiting).await.unwrap().unwrap(), PollActivityExecutionResponse::default());
    let long_poll_token = described(&w, "a").await.long_poll_token;
    let request = DescribeActivityExecutionRequest { run_id: run.clone(), long_poll_token, ..describe("a") };
    let (engine, asked) = (w.engine.clone(), request.clone());
    let waiting = tokio::spawn(async move { engine.describe_activity(asked, None).await });
    w.settle().await;
    assert!(!waiting.is_finished());
    w.poll_activity().await;
    let changed = soon(waiting).await.unwrap().unwrap();
    assert_eq!(changed.info.unwrap().run_state(), State::Started);
    // Of a state that is past already it is told at once.
    assert!(soon(w.engine.describe_activity(request.clone(), None)).await.unwrap().info.is_some());
    for (change, text) in [
        (
            DescribeActivityExecutionRequest { run_id: String::new(), ..request.clone() },
            "run id is required when long poll token is provided",
        ),
        (DescribeActivityExecutionRequest { long_poll_token: "x".into(), ..request.clone() }, "invalid long poll token"),
        (DescribeActivityExecutionRequest { activity_id: String::new(), ..request.clone() }, "activity ID is required"),
        (DescribeActivityExecutionRequest { run_id: "x".into(), ..request }, "invalid run id: must be a valid UUID"),
    ] {
        assert_eq!(soon(w.engine.describe_activity(change, None)).await.unwrap_err(), Refusal::invalid(text));
    }
}

#[tokio::test]
async fn lists_and_counts_see_it_at_once_and_lists_of_workflows_never() {
    let w = world().await;
    start(&w, "a").await;
    start(&w, "b").await;
    w.start("wf").await;
    terminate(&w, "b").await.unwrap();
    assert_eq!(listed(&w, "").await.len(), 2);
    let one = listed(&w, "ActivityId = 'b' AND ActivityType = 'Act' AND ExecutionStatus = 'Terminated'").await;
    assert_eq!((one.len(), one[0].activity_id.as_str(), one[0].status()), (1, "b", Status::Terminated));
    assert_eq!(listed(&w, "ExecutionStatus = 'Running'").await[0].activity_id, "a");
    assert_eq!((counted(&w, "").await.count, workflows(&w).await), (2, 1));
    let groups = counted(&w, "GROUP BY ExecutionStatus").await;
    assert_eq!((groups.count, groups.groups.len()), (2, 2));
    assert!(w.describe("a").await.is_err(), "no workflow has its id");
}

#[tokio::test]
async fn it_goes_on_after_a_crash() {
    let mut w = world().await;
    start(&w, "offered").await;
    w.crash().await;
    let task = w.poll_activity().await;
    assert_eq!(task.activity_id, "offered");
    w.crash().await;
    let beat =
        RecordActivityTaskHeartbeatRequest { namespace: NAMESPACE.into(), task_token: task.task_token.clone(), ..Default::default() };
    soon(w.engine.record_activity_heartbeat(beat)).await.unwrap();
    w.reopen().await;
    // Start-to-close, then the first retry.
    w.advance(Span::seconds(30)).await;
    w.advance(Span::seconds(1)).await;
    let task = w.poll_activity().await;
    assert_eq!(task.attempt, 2);
    let failed = RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: task.task_token, ..Default::default() };
    soon(w.engine.respond_activity_task_completed(failed)).await.unwrap();
    w.crash().await;
    assert_eq!(status(&w, "offered").await.0, Status::Completed);
    assert_eq!(listed(&w, "ActivityId = 'offered'").await[0].status(), Status::Completed);
    let (_, problems) = problems(&*w.store.inner);
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test]
async fn by_id_without_a_workflow_it_is_meant() {
    let w = world().await;
    for id in ["done", "failed", "canceled", "beaten"] {
        start(&w, id).await;
    }
    for _ in 0..4 {
        w.poll_activity().await;
    }
    let complete =
        RespondActivityTaskCompletedByIdRequest { namespace: NAMESPACE.into(), activity_id: "done".into(), ..Default::default() };
    soon(w.engine.respond_activity_task_completed_by_id(complete)).await.unwrap();
    let beat = RecordActivityTaskHeartbeatByIdRequest { namespace: NAMESPACE.into(), activity_id: "beaten".into(), ..Default::default() };
    assert!(!soon(w.engine.record_activity_heartbeat_by_id(beat.clone())).await.unwrap().cancel_requested);
    cancel(&w, "beaten").await.unwrap();
    assert!(soon(w.engine.record_activity_heartbeat_by_id(beat)).await.unwrap().cancel_requested);
    cancel(&w, "canceled").await.unwrap();
    let canceled =
        RespondActivityTaskCanceledByIdRequest { namespace: NAMESPACE.into(), activity_id: "canceled".into(), ..Default::default() };
    soon(w.engine.respond_activity_task_canceled_by_id(canceled)).await.unwrap();
    let failed = RespondActivityTaskFailedByIdRequest { namespace: NAMESPACE.into(), activity_id: "failed".into(), ..Default::default() };
    soon(w.engine.respond_activity_task_failed_by_id(failed)).await.unwrap();
    assert_eq!(status(&w, "done").await.0, Status::Completed);
    assert_eq!(status(&w, "canceled").await.0, Status::Canceled);
    assert_eq!(status(&w, "failed").await, (Status::Running, State::Scheduled));
    assert_eq!(status(&w, "beaten").await, (Status::Running, State::CancelRequested));
}

#[tokio::test]
async fn operators_reach_it_without_a_workflow() {
    let w = world().await;
    start(&w, "a").await;
    let pause = PauseActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() };
    soon(w.engine.pause_activity_execution(pause.clone())).await.unwrap();
    assert_eq!(status(&w, "a").await, (Status::Running, State::Paused));
    let unpause = UnpauseActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() };
    soon(w.engine.unpause_activity_execution(unpause)).await.unwrap();
    assert_eq!(w.poll_activity().await.activity_id, "a");
    let reset = ResetActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() };
    soon(w.engine.reset_activity_execution(reset)).await.unwrap();
    let unknown = PauseActivityExecutionRequest { activity_id: "b".into(), ..pause };
    assert!(matches!(soon(w.engine.pause_activity_execution(unknown)).await, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn a_deleted_one_leaves_nothing_and_retention_ends() {
    let mut w = world().await;
    start(&w, "open").await;
    start(&w, "closed").await;
    terminate(&w, "closed").await.unwrap();
    let delete = DeleteActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "open".into(), ..Default::default() };
    soon(w.engine.delete_activity(delete)).await.unwrap();
    assert_eq!(listed(&w, "").await.len(), 1);
    assert!(matches!(soon(w.engine.describe_activity(describe("open"), None)).await, Err(Refusal::NotFound(_))));
    w.reopen().await;
    for _ in 0..10 {
        w.advance(Span::seconds(8 * 86_400)).await;
    }
    assert_eq!(counted(&w, "").await.count, 0);
    for table in [Table::State, Table::History, Table::Current, Table::Deadline, Table::Offer] {
        assert_eq!(w.store.rows(table).len(), 0, "{table:?}");
    }
}

#[tokio::test]
async fn a_namespace_takes_its_activities_along() {
    let w = world().await;
    let register = RegisterNamespaceRequest {
        namespace: "n".into(),
        workflow_execution_retention_period: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    w.engine.register_namespace(register).await.unwrap();
    soon(w.engine.start_activity(StartActivityExecutionRequest { namespace: "n".into(), ..request("a") })).await.unwrap();
    start(&w, "kept").await;
    w.advance(Span::seconds(1)).await;
    w.engine.delete_namespace(DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    for _ in 0..40 {
        w.advance(Span::millis(50)).await;
    }
    w.advance(Span::seconds(10)).await;
    assert_eq!(w.engine.stats().runs_removed.get(), 1);
    assert_eq!(w.poll_activity().await.activity_id, "kept");
}

#[tokio::test]
async fn skipped_time_jumps_to_its_timeouts() {
    let (w, time) = world_in_virtual_time(0).await;
    let timed = StartActivityExecutionRequest { schedule_to_close_timeout: Some(Span::seconds(3600).to_api()), ..request("a") };
    soon(w.engine.start_activity(timed)).await.unwrap();
    // On offer it holds time; in a worker's hands too, until that is let go.
    w.settle().await;
    let before = time.wall().now();
    assert!(w.engine.now() < before + Span::seconds(60));
    let delayed = StartActivityExecutionRequest { start_delay: Some(Span::seconds(600).to_api()), ..request("b") };
    terminate(&w, "a").await.unwrap();
    soon(w.engine.start_activity(delayed)).await.unwrap();
    w.settle().await;
    assert!(w.engine.now() >= before + Span::seconds(600), "nothing is in hand until the delay is over");
    assert_eq!(w.poll_activity().await.activity_id, "b");
}

#[tokio::test]
async fn when_they_are_switched_off_every_call_says_so() {
    let w = world_with(sempre_engine::Settings { standalone_activities: false, ..settings() }).await;
    let off = Refusal::Unimplemented("Standalone activity is disabled".into());
    assert_eq!(soon(w.engine.start_activity(request("a"))).await.unwrap_err(), off);
    assert_eq!(soon(w.engine.poll_activity(poll("a"), None)).await.unwrap_err(), off);
    assert_eq!(terminate(&w, "a").await.unwrap_err(), off);
    let list = ListActivityExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(soon(w.engine.list_activities(list)).await.unwrap_err(), off);
    let pause = PauseActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() };
    assert_eq!(soon(w.engine.pause_activity_execution(pause)).await.unwrap_err(), off);
    // Without such activities it can only be one of a workflow that is meant.
    let by_id = RespondActivityTaskCompletedByIdRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() };
    let refused = soon(w.engine.respond_activity_task_completed_by_id(by_id)).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("WorkflowId is not set on request."));
}

#[tokio::test]
async fn a_timeout_is_the_outcome_that_a_poll_gives() {
    let w = world().await;
    let timed = StartActivityExecutionRequest { schedule_to_start_timeout: Some(Span::seconds(5).to_api()), ..request("a") };
    soon(w.engine.start_activity(timed)).await.unwrap();
    let waiting = poll_beside(&w, "a");
    w.settle().await;
    w.advance(Span::seconds(5)).await;
    let Some(Value::Failure(failure)) = soon(waiting).await.unwrap().unwrap().outcome.unwrap().value else { panic!("no failure") };
    let Some(FailureInfo::TimeoutFailureInfo(info)) = failure.failure_info else { panic!("no timeout") };
    assert_eq!(info.timeout_type(), TimeoutType::ScheduleToStart);
}

#[tokio::test]
async fn operators_hear_the_same_of_a_bad_id_as_clients() {
    let w = world().await;
    start(&w, "a").await;
    let pause = |activity_id: &str, run_id: &str| PauseActivityExecutionRequest {
        namespace: NAMESPACE.into(),
        activity_id: activity_id.into(),
        run_id: run_id.into(),
        ..Default::default()
    };
    let said = |request| async { soon(w.engine.pause_activity_execution(request)).await.map(drop) };
    assert_eq!(said(pause("", "")).await.unwrap_err(), Refusal::invalid("activity ID is required"));
    assert_eq!(said(pause("a", "no-uuid")).await.unwrap_err(), Refusal::invalid("invalid run id: must be a valid UUID"));
    assert_eq!(said(pause("b", "")).await.unwrap_err(), Refusal::not_found("activity not found for ID: b"));
    said(pause("a", "")).await.unwrap();
    assert_eq!(status(&w, "a").await, (Status::Running, State::Paused));
}

#[tokio::test]
async fn a_start_attaches_itself_to_the_one_it_finds() {
    let mut w = world().await;
    let run = start(&w, "a").await;
    let attach = StartActivityExecutionRequest {
        request_id: "second".into(),
        id_conflict_policy: ActivityIdConflictPolicy::UseExisting as i32,
        on_conflict_options: Some(OnConflictOptions { attach_request_id: true, ..Default::default() }),
        ..request("a")
    };
    let found = soon(w.engine.start_activity(attach)).await.unwrap();
    assert_eq!((&found.run_id, found.started), (&run, false));
    w.reopen().await;
    let again = StartActivityExecutionRequest { request_id: "second".into(), ..request("a") };
    let again = soon(w.engine.start_activity(again)).await.unwrap();
    assert_eq!((&again.run_id, again.started), (&run, false), "it is known again after a restart");
}
