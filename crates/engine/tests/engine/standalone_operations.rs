//! Nexus operations that belong to no workflow: through the shard, a handler, the index, a restart.

use sempre_api::v1::{
    common::{SearchAttributes, link},
    enums::{
        NexusOperationCancellationState as CancelState, NexusOperationExecutionStatus as Status, NexusOperationWaitStage as Stage,
        PendingNexusOperationState as State, TimeoutType,
    },
    failure::failure::FailureInfo,
    nexus::{CancelOperationResponse, NexusOperationExecutionListInfo, request, response, start_operation_response},
    operatorservice::DeleteNamespaceRequest,
    workflowservice::*,
};
use sempre_core::{Refusal, Span, nexus::link as nexus_link};
use sempre_engine::Settings;
use sempre_store::Table;

use describe_nexus_operation_execution_response::Outcome as Described;
use poll_nexus_operation_execution_response::Outcome as Polled;

use crate::{
    nexus_operations::{handler_failure, payload, start_of, started, world_with_endpoint},
    support::*,
};

fn request(id: &str) -> StartNexusOperationExecutionRequest {
    StartNexusOperationExecutionRequest {
        namespace: NAMESPACE.into(),
        operation_id: id.into(),
        endpoint: "endpoint".into(),
        service: "service".into(),
        operation: "operation".into(),
        input: Some(payload("input")),
        ..Default::default()
    }
}

async fn start(w: &World, id: &str) -> String {
    soon(w.engine.start_operation(request(id))).await.unwrap().run_id
}

fn describe(id: &str) -> DescribeNexusOperationExecutionRequest {
    DescribeNexusOperationExecutionRequest {
        namespace: NAMESPACE.into(),
        operation_id: id.into(),
        include_input: true,
        include_outcome: true,
        ..Default::default()
    }
}

async fn described(w: &World, id: &str) -> DescribeNexusOperationExecutionResponse {
    soon(w.engine.describe_operation(describe(id), None)).await.unwrap()
}

async fn status(w: &World, id: &str) -> (Status, State) {
    let info = described(w, id).await.info.unwrap();
    (info.status(), info.state())
}

async fn listed(w: &World, query: &str) -> Vec<NexusOperationExecutionListInfo> {
    let request = ListNexusOperationExecutionsRequest { namespace: NAMESPACE.into(), query: query.into(), ..Default::default() };
    soon(w.engine.list_operations(request)).await.unwrap().operations
}

async fn counted(w: &World, query: &str) -> CountNexusOperationExecutionsResponse {
    let request = CountNexusOperationExecutionsRequest { namespace: NAMESPACE.into(), query: query.into() };
    soon(w.engine.count_operations(request)).await.unwrap()
}

async fn terminate(w: &World, id: &str) -> Result<(), Refusal> {
    let request = TerminateNexusOperationExecutionRequest { namespace: NAMESPACE.into(), operation_id: id.into(), ..Default::default() };
    soon(w.engine.terminate_operation(request)).await.map(drop)
}

async fn cancel(w: &World, id: &str) -> Result<(), Refusal> {
    let request =
        RequestCancelNexusOperationExecutionRequest { namespace: NAMESPACE.into(), operation_id: id.into(), ..Default::default() };
    soon(w.engine.cancel_operation(request)).await.map(drop)
}

fn poll(id: &str, stage: Stage) -> PollNexusOperationExecutionRequest {
    PollNexusOperationExecutionRequest {
        namespace: NAMESPACE.into(),
        operation_id: id.into(),
        wait_stage: stage as i32,
        ..Default::default()
    }
}

fn poll_beside(w: &World, id: &str, stage: Stage) -> tokio::task::JoinHandle<Result<PollNexusOperationExecutionResponse, Refusal>> {
    let (engine, request) = (w.engine.clone(), poll(id, stage));
    tokio::spawn(async move { engine.poll_operation(request, None).await })
}

#[tokio::test]
async fn a_handler_does_it_at_once_and_who_waits_hears_of_it() {
    let (w, _) = world_with_endpoint().await;
    let run_id = start(&w, "o").await;
    let waiting = poll_beside(&w, "o", Stage::Unspecified);
    let task = w.poll_handler().await;
    let asked = start_of(&task);
    assert_eq!((asked.service.as_str(), asked.operation.as_str(), asked.payload.clone()), ("service", "operation", Some(payload("input"))));
    let own = link::NexusOperation { namespace: NAMESPACE.into(), operation_id: "o".into(), run_id: run_id.clone() };
    let links = nexus_link::all_from_nexus(&asked.links);
    assert_eq!(links[0].variant, Some(link::Variant::NexusOperation(own)), "the handler is told who asks");
    w.settle().await;
    assert!(!waiting.is_finished());
    let done = start_operation_response::Variant::SyncSuccess(start_operation_response::Sync {
        payload: Some(payload("result")),
        ..Default::default()
    });
    w.answer_start(&task.task_token, done).await.unwrap();
    let polled = soon(waiting).await.unwrap().unwrap();
    assert_eq!(
        (polled.run_id.as_str(), polled.wait_stage(), polled.outcome),
        (run_id.as_str(), Stage::Closed, Some(Polled::Result(payload("result"))))
    );
    let shown = described(&w, "o").await;
    assert_eq!((shown.run_id, shown.input, shown.outcome), (run_id, Some(payload("input")), Some(Described::Result(payload("result")))));
    assert_eq!(status(&w, "o").await, (Status::Completed, State::Unspecified));
    let unknown = Refusal::not_found("operation not found for ID: other");
    assert_eq!(soon(w.engine.describe_operation(describe("other"), None)).await.unwrap_err(), unknown);
    assert_eq!(cancel(&w, "other").await.unwrap_err(), unknown);
    assert_eq!(soon(w.engine.poll_operation(poll("other", Stage::Closed), None)).await.unwrap_err(), unknown);
}

#[tokio::test]
async fn one_that_goes_on_is_started_canceled_and_ends_by_its_callback() {
    let (mut w, _) = world_with_endpoint().await;
    start(&w, "o").await;
    let waits = [poll_beside(&w, "o", Stage::Started), poll_beside(&w, "o", Stage::Closed)];
    let task = w.poll_handler().await;
    let (token, callback) = (task.task_token.clone(), start_of(&task).callback_header["temporal-callback-token"].clone());
    assert_eq!(start_of(&task).callback, "temporal://system");
    w.answer_start(&token, started("token", Vec::new())).await.unwrap();
    let [until_started, until_closed] = waits;
    let polled = soon(until_started).await.unwrap().unwrap();
    assert_eq!((polled.wait_stage(), polled.operation_token.as_str(), polled.outcome), (Stage::Started, "token", None));
    assert_eq!(status(&w, "o").await, (Status::Running, State::Started));
    w.settle().await;
    assert!(!until_closed.is_finished());
    until_closed.abort();
    w.crash().await;
    cancel(&w, "o").await.unwrap();
    let task = w.poll_handler().await;
    let Some(request::Variant::CancelOperation(asked)) = task.request.unwrap().variant else { panic!("a cancel") };
    assert_eq!(asked.operation_token, "token");
    w.answer(&task.task_token, response::Variant::CancelOperation(CancelOperationResponse {})).await.unwrap();
    w.settle().await;
    let info = described(&w, "o").await.info.unwrap();
    let cancellation = info.cancellation_info.unwrap();
    assert_eq!((cancellation.state(), cancellation.attempt), (CancelState::Succeeded, 1));
    assert_eq!(info.status, Status::Running as i32);
    let waiting = poll_beside(&w, "o", Stage::Closed);
    w.settle().await;
    let completion = sempre_engine::nexus::Completion {
        operation_token: "token".into(),
        start_time: None,
        links: Vec::new(),
        outcome: sempre_core::state::callback::Outcome { result: Some(payload("end")), ..Default::default() },
    };
    soon(w.engine.complete_nexus_operation(Some(NAMESPACE), &callback, completion.clone())).await.unwrap();
    let polled = soon(waiting).await.unwrap().unwrap();
    assert_eq!((polled.wait_stage(), polled.outcome), (Stage::Closed, Some(Polled::Result(payload("end")))));
    assert_eq!(polled.operation_token, "token");
    // Told again, and told to a later run of the same id.
    assert!(matches!(soon(w.engine.complete_nexus_operation(None, &callback, completion.clone())).await, Err(Refusal::NotFound(_))));
    start(&w, "o").await;
    assert!(matches!(soon(w.engine.complete_nexus_operation(None, &callback, completion)).await, Err(Refusal::NotFound(_))));
    assert_eq!(status(&w, "o").await.0, Status::Running);
}

#[tokio::test]
async fn waits_end_empty_and_a_token_waits_for_any_change() {
    let (w, _) = world_with_endpoint().await;
    let run_id = start(&w, "o").await;
    let waiting = poll_beside(&w, "o", Stage::Started);
    w.settle().await;
    w.advance(Span::seconds(20)).await;
    assert_eq!(soon(waiting).await.unwrap().unwrap(), PollNexusOperationExecutionResponse::default());
    let long_poll_token = described(&w, "o").await.long_poll_token;
    let request = DescribeNexusOperationExecutionRequest { run_id, long_poll_token, ..describe("o") };
    let (engine, asked) = (w.engine.clone(), request.clone());
    let waiting = tokio::spawn(async move { engine.describe_operation(asked, None).await });
    w.settle().await;
    assert!(!waiting.is_finished());
    cancel(&w, "o").await.unwrap();
    let changed = soon(waiting).await.unwrap().unwrap();
    assert!(changed.info.unwrap().cancellation_info.is_some());
    // Of a state that is past already it is told at once.
    assert!(soon(w.engine.describe_operation(request.clone(), None)).await.unwrap().info.is_some());
    for (change, text) in [
        (
            DescribeNexusOperationExecutionRequest { run_id: String::new(), ..request.clone() },
            "run_id is required when long_poll_token is provided",
        ),
        (DescribeNexusOperationExecutionRequest { long_poll_token: "x".into(), ..request.clone() }, "invalid long poll token"),
        (DescribeNexusOperationExecutionRequest { operation_id: String::new(), ..request.clone() }, "operation_id is required"),
        (DescribeNexusOperationExecutionRequest { run_id: "x".into(), ..request }, "run_id is not a valid UUID"),
    ] {
        assert_eq!(soon(w.engine.describe_operation(change, None)).await.unwrap_err(), Refusal::invalid(text));
    }
    let odd = PollNexusOperationExecutionRequest { wait_stage: 7, ..poll("o", Stage::Closed) };
    assert_eq!(soon(w.engine.poll_operation(odd, None)).await.unwrap_err(), Refusal::invalid("unsupported wait_stage: 7"));
    let talk = TerminateNexusOperationExecutionRequest {
        namespace: NAMESPACE.into(),
        operation_id: "o".into(),
        reason: "x".repeat(1001),
        ..Default::default()
    };
    let text = "reason exceeds length limit. Length=1001 Limit=1000";
    assert_eq!(soon(w.engine.terminate_operation(talk)).await.unwrap_err(), Refusal::invalid(text));
}

#[tokio::test]
async fn lists_and_counts_see_it_at_once_and_lists_of_workflows_never() {
    let (w, _) = world_with_endpoint().await;
    start(&w, "a").await;
    soon(w.engine.start_operation(StartNexusOperationExecutionRequest { service: "other".into(), ..request("b") })).await.unwrap();
    w.start("wf").await;
    terminate(&w, "b").await.unwrap();
    assert_eq!(listed(&w, "").await.len(), 2);
    let request_id = described(&w, "b").await.info.unwrap().request_id;
    for query in [
        "OperationId = 'b'",
        "Endpoint = 'endpoint' AND Service = 'other'",
        "Operation = 'operation' AND ExecutionStatus = 'Terminated'",
        "CloseTime > '2000-01-01T00:00:00Z' AND StateTransitionCount > 0 AND OperationId = 'b'",
        "ExecutionDuration >= '0s' AND Service = 'other'",
        &format!("RequestId = '{request_id}'"),
    ] {
        let found = listed(&w, query).await;
        assert_eq!((found.len(), found[0].operation_id.as_str(), found[0].status()), (1, "b", Status::Terminated), "{query}");
        assert_eq!(
            (found[0].endpoint.as_str(), found[0].service.as_str(), found[0].operation.as_str()),
            ("endpoint", "other", "operation")
        );
        assert_eq!(found[0].search_attributes, Some(SearchAttributes::default()));
    }
    assert_eq!(listed(&w, "ExecutionStatus = 'Running'").await[0].operation_id, "a");
    let workflows = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!((counted(&w, "").await.count, soon(w.engine.count_workflows(workflows)).await.unwrap().count), (2, 1));
    let activities = ListActivityExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert!(soon(w.engine.list_activities(activities)).await.unwrap().executions.is_empty());
    let groups = counted(&w, "Endpoint = 'endpoint' GROUP BY ExecutionStatus").await;
    assert_eq!((groups.count, groups.groups.len()), (2, 2));
    let by_endpoint = CountNexusOperationExecutionsRequest { namespace: NAMESPACE.into(), query: "GROUP BY Endpoint".into() };
    let Err(Refusal::InvalidArgument(text)) = soon(w.engine.count_operations(by_endpoint)).await else { panic!("not by endpoint") };
    assert!(text.contains("'GROUP BY' clause is not supported for search attribute Endpoint"), "{text}");
    for (query, says) in [("invalid query syntax !!!", "invalid query"), ("NonExistentField = 'value'", "NonExistentField")] {
        let list = ListNexusOperationExecutionsRequest { namespace: NAMESPACE.into(), query: query.into(), ..Default::default() };
        let Err(Refusal::InvalidArgument(text)) = soon(w.engine.list_operations(list)).await else { panic!("{query}") };
        assert!(text.contains(says), "{text}");
    }
    assert!(w.describe("a").await.is_err(), "no workflow has its id");
    let page = |token| ListNexusOperationExecutionsRequest {
        namespace: NAMESPACE.into(),
        page_size: 1,
        next_page_token: token,
        ..Default::default()
    };
    let first = soon(w.engine.list_operations(page(Default::default()))).await.unwrap();
    let second = soon(w.engine.list_operations(page(first.next_page_token))).await.unwrap();
    assert_eq!((first.operations.len(), second.operations.len()), (1, 1));
    assert_ne!(first.operations, second.operations);
}

#[tokio::test]
async fn it_goes_on_after_a_crash() {
    let (mut w, _) = world_with_endpoint().await;
    start(&w, "o").await;
    w.crash().await;
    let task = w.poll_handler().await;
    w.refuse(&task.task_token, handler_failure("INTERNAL", "busy")).await.unwrap();
    w.settle().await;
    let info = described(&w, "o").await.info.unwrap();
    assert_eq!((info.state(), info.attempt, info.last_attempt_failure), (State::BackingOff, 1, Some(handler_failure("INTERNAL", "busy"))));
    w.crash().await;
    w.advance(Span::seconds(1)).await;
    let again = w.poll_handler().await;
    assert_eq!(start_of(&again).request_id, start_of(&task).request_id);
    w.answer_start(&again.task_token, started("token", Vec::new())).await.unwrap();
    w.settle().await;
    w.reopen().await;
    assert_eq!(status(&w, "o").await, (Status::Running, State::Started));
    let mut timed = request("timed");
    timed.schedule_to_close_timeout = Some(Span::seconds(60).to_api());
    soon(w.engine.start_operation(timed)).await.unwrap();
    w.crash().await;
    w.advance(Span::seconds(61)).await;
    assert_eq!(status(&w, "timed").await.0, Status::TimedOut);
    let Some(Described::Failure(failure)) = described(&w, "timed").await.outcome else { panic!("no failure") };
    assert!(
        matches!(failure.failure_info, Some(FailureInfo::TimeoutFailureInfo(info)) if info.timeout_type() == TimeoutType::ScheduleToClose)
    );
    terminate(&w, "o").await.unwrap();
    w.crash().await;
    assert_eq!(status(&w, "o").await.0, Status::Terminated);
    assert_eq!(listed(&w, "OperationId = 'o'").await[0].status(), Status::Terminated);
    let (_, problems) = problems(&*w.store.inner);
    assert_eq!(problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_one_leaves_nothing_and_retention_ends() {
    let (mut w, _) = world_with_endpoint().await;
    start(&w, "open").await;
    start(&w, "closed").await;
    terminate(&w, "closed").await.unwrap();
    let delete = DeleteNexusOperationExecutionRequest { namespace: NAMESPACE.into(), operation_id: "open".into(), ..Default::default() };
    soon(w.engine.delete_operation(delete.clone())).await.unwrap();
    assert_eq!(listed(&w, "").await.len(), 1);
    let gone = Refusal::not_found("operation not found for ID: open");
    assert_eq!(soon(w.engine.describe_operation(describe("open"), None)).await.unwrap_err(), gone);
    assert_eq!(soon(w.engine.delete_operation(delete)).await.unwrap_err(), gone);
    w.reopen().await;
    for _ in 0..10 {
        w.advance(Span::seconds(8 * 86_400)).await;
    }
    assert_eq!(counted(&w, "").await.count, 0);
    for table in [Table::State, Table::History, Table::Current, Table::Deadline, Table::Outbox] {
        assert_eq!(w.store.rows(table).len(), 0, "{table:?}");
    }
}

#[tokio::test]
async fn a_namespace_takes_its_operations_along() {
    let (w, _) = world_with_endpoint().await;
    let register = RegisterNamespaceRequest {
        namespace: "n".into(),
        workflow_execution_retention_period: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    w.engine.register_namespace(register).await.unwrap();
    soon(w.engine.start_operation(StartNexusOperationExecutionRequest { namespace: "n".into(), ..request("o") })).await.unwrap();
    start(&w, "kept").await;
    w.advance(Span::seconds(1)).await;
    w.engine.delete_namespace(DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    for _ in 0..40 {
        w.advance(Span::millis(50)).await;
    }
    w.advance(Span::seconds(10)).await;
    assert_eq!(w.engine.stats().runs_removed.get(), 1);
    assert_eq!(status(&w, "kept").await.0, Status::Running);
}

#[tokio::test]
async fn when_they_are_switched_off_every_call_says_so() {
    let w = world_with(Settings { standalone_operations: false, ..settings() }).await;
    let off = Refusal::Unimplemented("Standalone Nexus operation is disabled".into());
    assert_eq!(soon(w.engine.start_operation(request("o"))).await.unwrap_err(), off);
    assert_eq!(soon(w.engine.describe_operation(describe("o"), None)).await.unwrap_err(), off);
    assert_eq!(soon(w.engine.poll_operation(poll("o", Stage::Closed), None)).await.unwrap_err(), off);
    assert_eq!(terminate(&w, "o").await.unwrap_err(), off);
    assert_eq!(cancel(&w, "o").await.unwrap_err(), off);
    let list = ListNexusOperationExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(soon(w.engine.list_operations(list)).await.unwrap_err(), off);
    let count = CountNexusOperationExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(soon(w.engine.count_operations(count)).await.unwrap_err(), off);
    let delete = DeleteNexusOperationExecutionRequest { namespace: NAMESPACE.into(), operation_id: "o".into(), ..Default::default() };
    assert_eq!(soon(w.engine.delete_operation(delete)).await.unwrap_err(), off);
}
