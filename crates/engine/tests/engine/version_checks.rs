//! Checks of a version against open runs (docs/deployments.md): what its workers are given, what their answers come to, and
//! that no run is touched.

use bytes::Bytes;
use sempre_api::{
    sempre::v1::{CheckDeploymentVersionRequest, CheckVerdict, DeploymentCheck, ReplayOutcome},
    v1::{
        command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
        common::ActivityType,
        deployment::WorkerDeploymentOptions,
        enums::{CommandType, QueryResultType, VersioningBehavior, WorkerVersioningMode, WorkflowTaskFailedCause},
        taskqueue::TaskQueue,
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};
use tokio::task::JoinHandle;

use crate::support::*;

const DIFFERS: &str =
    "[TMPRL1100] Nondeterminism error: Activity machine does not handle this event: HistoryEvent(id: 5, ActivityTaskScheduled)";

fn options(build: &str) -> WorkerDeploymentOptions {
    WorkerDeploymentOptions {
        deployment_name: "shop".into(),
        build_id: build.into(),
        worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
    }
}

fn request() -> CheckDeploymentVersionRequest {
    CheckDeploymentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_name: "shop".into(),
        build_id: "2".into(),
        ..Default::default()
    }
}

fn activity(name: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: name.into(),
        activity_type: Some(ActivityType { name: name.into() }),
        task_queue: Some(TaskQueue { name: QUEUE.into(), ..Default::default() }),
        start_to_close_timeout: Some(Span::seconds(60).to_api()),
        ..Default::default()
    };
    Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes))),
        ..Default::default()
    }
}

/// What a worker says to a replay.
#[derive(Clone, Copy)]
enum Says {
    Fine,
    Differs,
    Breaks,
    NoSuchQuery,
    Nothing,
}

impl World {
    async fn poll_of(&self, build: &str) -> PollWorkflowTaskQueueResponse {
        let request = PollWorkflowTaskQueueRequest { deployment_options: Some(options(build)), ..poll_request() };
        soon(self.engine.poll_workflow_task(request, None)).await.unwrap()
    }

    /// Workers of a version that answer every query; their answers' workflow ids and histories.
    fn replayer(&self, build: &'static str, says: impl Fn(&str) -> Says + Send + 'static) -> JoinHandle<()> {
        let engine = self.engine.clone();
        tokio::spawn(async move {
            loop {
                let request = PollWorkflowTaskQueueRequest { deployment_options: Some(options(build)), ..poll_request() };
                let task = engine.poll_workflow_task(request, None).await.unwrap();
                assert!(task.query.is_some(), "a version that is not current gets queries only");
                assert_eq!(task.query.unwrap().query_type, "__temporal_workflow_metadata");
                assert_eq!(task.started_event_id, 0);
                let mut answer =
                    RespondQueryTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: task.task_token, ..Default::default() };
                let mut fails = |message: &str, cause: WorkflowTaskFailedCause| {
                    answer.completed_type = QueryResultType::Failed as i32;
                    answer.error_message = message.into();
                    answer.cause = cause as i32;
                };
                match says(&task.workflow_execution.unwrap().workflow_id) {
                    Says::Fine => answer.completed_type = QueryResultType::Answered as i32,
                    Says::Differs => fails(DIFFERS, WorkflowTaskFailedCause::NonDeterministicError),
                    Says::Breaks => fails("it broke", WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure),
                    Says::NoSuchQuery => {
                        fails("unknown queryType __temporal_workflow_metadata", WorkflowTaskFailedCause::Unspecified);
                    }
                    Says::Nothing => continue,
                }
                engine.respond_query_task_completed(answer).await.unwrap();
            }
        })
    }

    /// A run of a type that has had a task with this command.
    async fn run_with(&self, workflow_id: &str, kind: &str, command: Command) {
        let mut start = start_request(workflow_id);
        start.workflow_type.as_mut().unwrap().name = kind.into();
        self.try_start(start).await.unwrap();
        let task = self.poll().await;
        self.complete(&task.task_token, vec![command]).await;
    }

    async fn check(&self, request: CheckDeploymentVersionRequest) -> DeploymentCheck {
        let mut messages = self.engine.check_version(request).unwrap();
        let mut result = None;
        while let Some(message) = soon(messages.recv()).await {
            let message = message.unwrap();
            assert!(result.is_none(), "the result comes last");
            assert!(message.progress.is_some());
            result = message.result;
        }
        result.unwrap()
    }
}

#[tokio::test]
async fn a_difference_is_found_with_its_event_and_nothing_is_touched() {
    let w = world().await;
    w.run_with("a", "pay", activity("charge")).await;
    w.run_with("b", "ship", activity("send")).await;
    let before = (w.names("a").await, w.names("b").await);
    let _worker = w.replayer("2", |id| if id == "a" { Says::Differs } else { Says::Fine });
    w.settle().await;
    let check = w.check(request()).await;
    assert_eq!(check.verdict(), CheckVerdict::Failed);
    let verdicts: Vec<_> = check.types.iter().map(|kind| (kind.workflow_type.as_str(), kind.verdict(), kind.runs_replayed)).collect();
    assert!(verdicts.contains(&("pay", CheckVerdict::Failed, 1)) && verdicts.contains(&("ship", CheckVerdict::Passed, 1)), "{verdicts:?}");
    let pay = check.types.iter().find(|kind| kind.workflow_type == "pay").unwrap();
    let problem = &pay.problems[0];
    assert_eq!(problem.outcome(), ReplayOutcome::NonDeterministic);
    assert_eq!((problem.workflow_id.as_str(), problem.event_id, problem.event.as_str()), ("a", 5, "ActivityTaskScheduled charge"));
    assert_eq!((problem.command.as_str(), problem.message.as_str()), ("activity", DIFFERS));
    assert_eq!((w.names("a").await, w.names("b").await), before, "no run has changed");
    assert_eq!(
        soon(w.engine.describe_deployment(DescribeWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: "shop".into() }))
            .await
            .unwrap()
            .worker_deployment_info
            .unwrap()
            .routing_config
            .unwrap()
            .current_deployment_version,
        None
    );
}

#[tokio::test]
async fn answers_that_are_no_difference() {
    let w = world().await;
    w.run_with("a", "pay", activity("charge")).await;
    let worker = w.replayer("2", |_| Says::NoSuchQuery);
    w.settle().await;
    assert_eq!(w.check(request()).await.verdict(), CheckVerdict::Passed, "to refuse the query it had to replay");
    worker.abort();
    let worker = w.replayer("2", |_| Says::Breaks);
    w.settle().await;
    let check = w.check(request()).await;
    assert_eq!((check.verdict(), check.types[0].problems[0].outcome()), (CheckVerdict::Failed, ReplayOutcome::Failed));
    assert_eq!((check.types[0].problems[0].event_id, check.types[0].problems[0].message.as_str()), (0, "it broke"));
    worker.abort();
    let _worker = w.replayer("2", |_| Says::Nothing);
    w.settle().await;
    let engine = w.engine.clone();
    let asked = tokio::spawn(async move {
        let mut messages = engine.check_version(request()).unwrap();
        let mut last = None;
        while let Some(message) = messages.recv().await {
            last = message.unwrap().result;
        }
        last.unwrap()
    });
    w.advance(Span::seconds(11)).await;
    let check = soon(asked).await.unwrap();
    assert_eq!((check.verdict(), check.types[0].problems[0].outcome()), (CheckVerdict::Undecided, ReplayOutcome::Unanswered));
}

#[tokio::test]
async fn tasks_that_are_pending_or_under_way_do_not_matter_and_are_not_sent() {
    let w = world().await;
    w.run_with("a", "pay", activity("charge")).await;
    // A signal that no task has told of yet, and its task in a worker's hands.
    w.signal("a", "go").await.unwrap();
    let under_way = w.poll().await;
    w.signal("a", "again").await.unwrap();
    // A run that has had no task.
    w.start("new").await;
    let engine = w.engine.clone();
    let poll = tokio::spawn(async move {
        let request = PollWorkflowTaskQueueRequest { deployment_options: Some(options("2")), ..poll_request() };
        engine.poll_workflow_task(request, None).await.unwrap()
    });
    w.settle().await;
    let mut messages = w.engine.check_version(request()).unwrap();
    let task = soon(poll).await.unwrap();
    let events = task.history.unwrap().events().unwrap();
    assert_eq!(
        events.iter().map(|event| event.event_id).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5],
        "up to the commands of the last completed task"
    );
    assert_eq!((task.previous_started_event_id, task.next_page_token), (3, Bytes::new()));
    let answer = RespondQueryTaskCompletedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token,
        completed_type: QueryResultType::Answered as i32,
        ..Default::default()
    };
    soon(w.engine.respond_query_task_completed(answer)).await.unwrap();
    let mut result = None;
    while let Some(message) = soon(messages.recv()).await {
        result = message.unwrap().result;
    }
    let check = result.unwrap();
    assert_eq!(check.verdict(), CheckVerdict::Passed);
    let not_begun: i64 = check.types.iter().map(|kind| kind.not_begun).sum();
    assert_eq!((check.types.iter().map(|kind| kind.open_runs).sum::<i64>(), not_begun), (2, 1));
    // The task under way is completed as if nothing had been.
    w.complete(&under_way.task_token, vec![]).await;
}

#[tokio::test]
async fn runs_pinned_elsewhere_are_left_out_unless_asked_for_and_reach_this_version_then() {
    let w = world().await;
    let one = w.replayer("1", |_| Says::Fine);
    w.settle().await;
    one.abort();
    w.settle().await;
    let current = SetWorkerDeploymentCurrentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_name: "shop".into(),
        build_id: "1".into(),
        identity: "operator".into(),
        ..Default::default()
    };
    soon(w.engine.set_current_version(current)).await.unwrap();
    for (id, behavior) in [("pinned", VersioningBehavior::Pinned), ("auto", VersioningBehavior::AutoUpgrade)] {
        w.start(id).await;
        let task = w.poll_of("1").await;
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token,
            identity: "worker".into(),
            commands: vec![activity("charge")],
            deployment_options: Some(options("1")),
            versioning_behavior: behavior as i32,
            ..Default::default()
        };
        soon(w.engine.respond_workflow_task_completed(request)).await.unwrap();
    }
    let _worker = w.replayer("2", |id| if id == "pinned" { Says::Differs } else { Says::Fine });
    w.settle().await;
    let check = w.check(request()).await;
    let kind = &check.types[0];
    assert_eq!((check.verdict(), kind.open_runs, kind.pinned, kind.runs_replayed), (CheckVerdict::Passed, 2, 1, 1));
    let all = CheckDeploymentVersionRequest { include_pinned: true, runs_per_shape: 2, ..request() };
    let check = w.check(all).await;
    assert_eq!((check.verdict(), check.types[0].problems[0].workflow_id.as_str()), (CheckVerdict::Failed, "pinned"));
}

#[tokio::test]
async fn one_run_stands_for_those_of_its_shape() {
    let w = world().await;
    for n in 0..5 {
        w.run_with(&format!("a{n}"), "pay", activity("charge")).await;
    }
    w.run_with("b", "pay", activity("refund")).await;
    let _worker = w.replayer("2", |id| if id == "b" { Says::Differs } else { Says::Fine });
    w.settle().await;
    let check = w.check(request()).await;
    let kind = &check.types[0];
    assert_eq!((kind.runs_read, kind.shapes, kind.shapes_replayed, kind.runs_replayed, kind.problems_total), (6, 2, 2, 2, 1));
    assert_eq!((kind.problems[0].workflow_id.as_str(), kind.problems[0].runs_alike), ("b", 1));
    let few = CheckDeploymentVersionRequest { shapes_per_type: 1, runs_per_shape: 3, ..request() };
    let kind = &w.check(few).await.types[0];
    assert_eq!((kind.shapes, kind.shapes_replayed, kind.runs_replayed), (2, 1, 3), "the commonest shape first, and it says so");
}

#[tokio::test]
async fn refusals_say_what_is_missing() {
    let w = world().await;
    let unknown = w.engine.check_version(request()).unwrap_err();
    assert_eq!(unknown, Refusal::NotFound("build ID '2' not found in Worker Deployment 'shop'".into()));
    let worker = w.replayer("2", |_| Says::Fine);
    w.settle().await;
    assert_eq!(w.check(request()).await.verdict(), CheckVerdict::Passed, "no runs, nothing to object to");
    worker.abort();
    w.advance(Span::seconds(30)).await;
    let gone = w.engine.check_version(request()).unwrap_err();
    assert!(matches!(gone, Refusal::FailedPrecondition(why) if why.starts_with("no worker of version 'shop:2' polls")));
    for wrong in [
        CheckDeploymentVersionRequest { build_id: String::new(), ..request() },
        CheckDeploymentVersionRequest { runs_per_type: -1, ..request() },
        CheckDeploymentVersionRequest { replay_timeout: Some(Span::ZERO.to_api()), ..request() },
    ] {
        assert!(matches!(w.engine.check_version(wrong), Err(Refusal::InvalidArgument(_))));
    }
}
