//! Nexus operations from a caller's run to a worker and back (spec 08 §5.4–5.6).

use std::sync::atomic::Ordering;

use bytes::Bytes;
use sempre_api::v1::{
    command::{Command, RequestCancelNexusOperationCommandAttributes, ScheduleNexusOperationCommandAttributes, command::Attributes},
    common::{Callback, Link, Payload, callback, link},
    enums::{CallbackState, CommandType, EventType, PendingNexusOperationState, WorkflowIdConflictPolicy},
    failure::{CanceledFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
    history::{HistoryEvent, history_event},
    nexus::{
        self, CancelOperationResponse, EndpointSpec, EndpointTarget, Response, StartOperationRequest, StartOperationResponse,
        endpoint_target::{Variant, Worker},
        request, response, start_operation_response,
    },
    operatorservice::{CreateNexusEndpointRequest, DeleteNexusEndpointRequest},
    taskqueue::TaskQueue,
    workflow::PendingNexusOperationInfo,
    workflowservice::*,
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;
use sempre_store::Table;
use tokio::task::JoinHandle;

use crate::support::*;

pub(crate) const HANDLERS: &str = "handlers";

pub(crate) async fn world_with_endpoint() -> (World, nexus::Endpoint) {
    let w = world_with(Settings { poll_wait: Span::seconds(60), ..settings() }).await;
    let endpoint = w.endpoint().await;
    (w, endpoint)
}

fn schedule(change: impl FnOnce(&mut ScheduleNexusOperationCommandAttributes)) -> Command {
    let mut a = ScheduleNexusOperationCommandAttributes {
        endpoint: "endpoint".into(),
        service: "service".into(),
        operation: "operation".into(),
        input: Some(payload("input")),
        ..Default::default()
    };
    change(&mut a);
    command(CommandType::ScheduleNexusOperation, Attributes::ScheduleNexusOperationCommandAttributes(a))
}

pub(crate) fn payload(text: &'static str) -> Payload {
    Payload { data: Bytes::from_static(text.as_bytes()), ..Default::default() }
}

pub(crate) fn started(token: &str, links: Vec<nexus::Link>) -> start_operation_response::Variant {
    start_operation_response::Variant::AsyncSuccess(start_operation_response::Async {
        operation_token: token.into(),
        links,
        ..Default::default()
    })
}

pub(crate) fn handler_failure(kind: &str, message: &str) -> Failure {
    let info = NexusHandlerFailureInfo { r#type: kind.into(), ..Default::default() };
    Failure { message: message.into(), failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), ..Default::default() }
}

pub(crate) fn start_of(task: &PollNexusTaskQueueResponse) -> &StartOperationRequest {
    match &task.request.as_ref().expect("a task has a request").variant {
        Some(request::Variant::StartOperation(start)) => start,
        other => panic!("not a start: {other:?}"),
    }
}

impl World {
    pub(crate) async fn endpoint(&self) -> nexus::Endpoint {
        let target = Worker { namespace: NAMESPACE.into(), task_queue: HANDLERS.into() };
        let target = Some(EndpointTarget { variant: Some(Variant::Worker(target)) });
        let spec = EndpointSpec { name: "endpoint".into(), target, description: None };
        self.engine.create_nexus_endpoint(CreateNexusEndpointRequest { spec: Some(spec) }).await.unwrap().endpoint.unwrap()
    }

    pub(crate) fn poll_handler_beside(&self) -> JoinHandle<PollNexusTaskQueueResponse> {
        let engine = self.engine.clone();
        let task_queue = Some(TaskQueue { name: HANDLERS.into(), ..Default::default() });
        let request = PollNexusTaskQueueRequest { namespace: NAMESPACE.into(), task_queue, ..Default::default() };
        tokio::spawn(async move { engine.poll_nexus_task(request, None).await.unwrap() })
    }

    pub(crate) async fn poll_handler(&self) -> PollNexusTaskQueueResponse {
        let task = soon(self.poll_handler_beside()).await.unwrap();
        assert!(!task.task_token.is_empty(), "a task");
        task
    }

    pub(crate) async fn answer(&self, token: &Bytes, variant: response::Variant) -> Result<(), Refusal> {
        let request = RespondNexusTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: token.clone(),
            response: Some(Response { variant: Some(variant) }),
            ..Default::default()
        };
        self.engine.respond_nexus_task_completed(request).await.map(drop)
    }

    pub(crate) async fn answer_start(&self, token: &Bytes, variant: start_operation_response::Variant) -> Result<(), Refusal> {
        self.answer(token, response::Variant::StartOperation(StartOperationResponse { variant: Some(variant) })).await
    }

    pub(crate) async fn refuse(&self, token: &Bytes, failure: Failure) -> Result<(), Refusal> {
        let request = RespondNexusTaskFailedRequest {
            namespace: NAMESPACE.into(),
            task_token: token.clone(),
            failure: Some(failure),
            ..Default::default()
        };
        self.engine.respond_nexus_task_failed(request).await.map(drop)
    }

    /// Starts `caller` and lets its first task schedule the operation.
    async fn call(&self, change: impl FnOnce(&mut ScheduleNexusOperationCommandAttributes)) {
        self.start("caller").await;
        self.complete(&self.poll().await.task_token, vec![schedule(change)]).await;
    }

    async fn operation(&self) -> PendingNexusOperationInfo {
        self.describe("caller").await.unwrap().pending_nexus_operations.remove(0)
    }

    async fn until_operation(&self, state: PendingNexusOperationState) -> PendingNexusOperationInfo {
        for _ in 0..1000 {
            let info = self.operation().await;
            if info.state() == state {
                return info;
            }
            self.settle().await;
        }
        panic!("the operation never was {state:?}: {:?}", self.operation().await);
    }

    async fn until_event(&self, kind: EventType) -> HistoryEvent {
        for _ in 0..1000 {
            if let Some(event) = self.history("caller").await.into_iter().find(|event| event.event_type() == kind) {
                return event;
            }
            self.settle().await;
        }
        panic!("{kind:?} never came: {:?}", self.names("caller").await);
    }

    /// Starts the workflow that stands behind an operation, as a worker does it.
    async fn start_handler(&self, start: &StartOperationRequest) -> String {
        let mut header = start.callback_header.clone();
        header.insert("nexus-operation-token".into(), "handler-token".into());
        let nexus = callback::Nexus { url: start.callback.clone(), header };
        let callback = Callback { variant: Some(callback::Variant::Nexus(nexus)), ..Default::default() };
        let request = StartWorkflowExecutionRequest {
            request_id: start.request_id.clone(),
            workflow_id_conflict_policy: WorkflowIdConflictPolicy::UseExisting as i32,
            completion_callbacks: vec![callback],
            ..start_request("handler")
        };
        self.try_start(request).await.unwrap().run_id
    }
}

#[tokio::test]
async fn a_worker_does_an_operation_at_once() {
    let (w, _) = world_with_endpoint().await;
    let poll = w.poll_handler_beside();
    w.settle().await;
    w.call(|a| {
        a.schedule_to_close_timeout = Some(Span::seconds(30).to_api());
        a.nexus_header = [("Key".to_string(), "value".to_string())].into();
    })
    .await;
    let task = soon(poll).await.unwrap();
    let request = task.request.clone().unwrap();
    assert_eq!(request.endpoint, "endpoint");
    assert!(request.capabilities.unwrap().temporal_failure_responses);
    assert_eq!((request.header["key"].as_str(), request.header["operation-timeout"].as_str()), ("value", "30000ms"));
    assert_eq!((request.header["request-timeout"].as_str(), request.header["Request-Timeout"].as_str()), ("9s", "9s"));
    let start = start_of(&task);
    assert_eq!((start.service.as_str(), start.operation.as_str(), start.payload.clone()), ("service", "operation", Some(payload("input"))));
    assert_eq!(start.callback, "temporal://system");
    assert!(
        start.links[0].url.ends_with("/history?eventID=5&eventType=NexusOperationScheduled&referenceType=EventReference"),
        "{:?}",
        start.links
    );
    let success = start_operation_response::Sync { payload: Some(payload("result")), links: start.links.clone() };
    w.answer_start(&task.task_token, start_operation_response::Variant::SyncSuccess(success)).await.unwrap();
    let event = w.until_event(EventType::NexusOperationCompleted).await;
    let Some(history_event::Attributes::NexusOperationCompletedEventAttributes(a)) = event.attributes else { panic!("completed") };
    assert_eq!((a.result, a.request_id), (Some(payload("result")), start.request_id.clone()));
    let Some(link::Variant::WorkflowEvent(to)) = &event.links[0].variant else { panic!("a link") };
    assert_eq!(to.workflow_id, "caller");
    let late = w.answer_start(&task.task_token, started("t", vec![])).await;
    assert_eq!(late.unwrap_err(), Refusal::not_found("Nexus task not found or already expired"));
    assert!(w.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn the_end_of_the_handlers_run_is_the_end_of_the_operation() {
    let (mut w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let task = w.poll_handler().await;
    let run_id = w.start_handler(start_of(&task)).await;
    w.answer_start(&task.task_token, started("handler-token", vec![])).await.unwrap();
    assert_eq!(w.until_operation(PendingNexusOperationState::Started).await.operation_token, "handler-token");
    w.reopen().await;
    w.until_operation(PendingNexusOperationState::Started).await;
    // The caller's and the handler's tasks wait in one queue.
    for _ in 0..2 {
        let task = w.poll().await;
        let handler = task.workflow_execution.as_ref().unwrap().workflow_id == "handler";
        w.complete(&task.task_token, if handler { done() } else { vec![] }).await;
    }
    let completed = w.until_event(EventType::NexusOperationCompleted).await;
    assert_eq!(w.names("caller").await[4..6], ["NEXUS_OPERATION_SCHEDULED", "NEXUS_OPERATION_STARTED"]);
    assert!(completed.event_id > 6);
    for _ in 0..1000 {
        let callbacks = w.describe("handler").await.unwrap().callbacks;
        if callbacks[0].state() == CallbackState::Succeeded {
            assert!(w.outside.calls.lock().unwrap().is_empty(), "it never left the server");
            assert!(!run_id.is_empty());
            return;
        }
        w.settle().await;
    }
    panic!("the callback was not delivered");
}

/// A start that is answered after the operation's end
#[tokio::test]
async fn an_end_that_overtakes_the_start_brings_it() {
    let (w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let task = w.poll_handler().await;
    w.start_handler(start_of(&task)).await;
    w.complete(&w.poll().await.task_token, done()).await;
    w.until_event(EventType::NexusOperationCompleted).await;
    let started_event = w.until_event(EventType::NexusOperationStarted).await;
    let Some(history_event::Attributes::NexusOperationStartedEventAttributes(a)) = started_event.attributes else { panic!("started") };
    assert_eq!(a.operation_token, "handler-token");
    let Some(Link { variant: Some(link::Variant::WorkflowEvent(to)) }) = started_event.links.first() else { panic!("a link") };
    assert_eq!(to.workflow_id, "handler");
    w.answer_start(&task.task_token, started("handler-token", vec![])).await.unwrap();
    w.settle().await;
    let count = w.names("caller").await.iter().filter(|name| name.starts_with("NEXUS_OPERATION")).count();
    assert_eq!(count, 3, "{:?}", w.names("caller").await);
}

#[tokio::test]
async fn a_crash_repeats_the_request_by_the_same_id() {
    let (mut w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let first = w.poll_handler().await;
    w.crash().await;
    let again = w.poll_handler().await;
    assert_eq!(start_of(&first), start_of(&again));
    assert_eq!(
        w.answer_start(&first.task_token, started("t", vec![])).await.unwrap_err(),
        Refusal::not_found("Nexus task not found or already expired"),
        "nobody of this process asked"
    );
    w.answer_start(&again.task_token, started("t", vec![])).await.unwrap();
    w.until_operation(PendingNexusOperationState::Started).await;
}

#[tokio::test]
async fn a_request_that_no_worker_takes_is_repeated() {
    let (w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    w.settle().await;
    w.advance(Span::seconds(9)).await;
    let info = w.until_operation(PendingNexusOperationState::BackingOff).await;
    assert_eq!(info.attempt, 1);
    let failure = info.last_attempt_failure.unwrap();
    assert!(
        matches!(&failure.failure_info, Some(FailureInfo::NexusHandlerFailureInfo(i)) if i.r#type == "UPSTREAM_TIMEOUT"),
        "{failure:?}"
    );
    assert!(w.store.rows(Table::Outbox).is_empty(), "what waits is the run's own deadline");
    w.advance(Span::seconds(1)).await;
    let task = w.poll_handler().await;
    w.refuse(&task.task_token, handler_failure("INTERNAL", "not now")).await.unwrap();
    assert_eq!(w.until_operation(PendingNexusOperationState::BackingOff).await.last_attempt_failure.unwrap().message, "not now");
    w.advance(Span::seconds(2)).await;
    let task = w.poll_handler().await;
    w.refuse(&task.task_token, handler_failure("BAD_REQUEST", "never")).await.unwrap();
    let failed = w.until_event(EventType::NexusOperationFailed).await;
    let Some(history_event::Attributes::NexusOperationFailedEventAttributes(a)) = failed.attributes else { panic!("failed") };
    assert_eq!(a.failure.unwrap().cause.unwrap().message, "never");
}

#[tokio::test]
async fn an_operation_with_no_time_left_is_not_asked_for() {
    let (w, _) = world_with_endpoint().await;
    w.call(|a| a.schedule_to_start_timeout = Some(Span::seconds(1).to_api())).await;
    let event = w.until_event(EventType::NexusOperationTimedOut).await;
    assert_eq!(event.event_id, 6, "before its time, for a request needs longer");
}

#[tokio::test]
async fn a_started_operation_is_cancelled_by_its_handler() {
    let (w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let task = w.poll_handler().await;
    w.answer_start(&task.task_token, started("token", vec![])).await.unwrap();
    w.until_operation(PendingNexusOperationState::Started).await;
    let cancel = RequestCancelNexusOperationCommandAttributes { scheduled_event_id: 5 };
    let cancel = command(CommandType::RequestCancelNexusOperation, Attributes::RequestCancelNexusOperationCommandAttributes(cancel));
    w.complete(&w.poll().await.task_token, vec![cancel]).await;
    let task = w.poll_handler().await;
    let request = task.request.unwrap();
    let Some(request::Variant::CancelOperation(asked)) = request.variant else { panic!("a cancel") };
    assert_eq!((asked.service.as_str(), asked.operation.as_str(), asked.operation_token.as_str()), ("service", "operation", "token"));
    w.answer(&task.task_token, response::Variant::CancelOperation(CancelOperationResponse {})).await.unwrap();
    w.until_event(EventType::NexusOperationCancelRequestCompleted).await;
    assert_eq!(w.operation().await.state(), PendingNexusOperationState::Started, "it goes on");
}

/// Over HTTP, as handlers were reached at first, nothing is a payload of its own
#[tokio::test]
async fn no_input_and_no_result_are_payloads_that_say_so() {
    let (w, _) = world_with_endpoint().await;
    w.call(|a| a.input = None).await;
    let task = w.poll_handler().await;
    let null = start_of(&task).payload.clone();
    assert_eq!(null.as_ref().unwrap().metadata["encoding"], "binary/null");
    w.answer_start(&task.task_token, start_operation_response::Variant::SyncSuccess(Default::default())).await.unwrap();
    let event = w.until_event(EventType::NexusOperationCompleted).await;
    let Some(history_event::Attributes::NexusOperationCompletedEventAttributes(a)) = event.attributes else { panic!("completed") };
    assert_eq!(a.result, null);
}

#[tokio::test]
async fn a_handler_says_that_the_operation_was_cancelled() {
    let (w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let task = w.poll_handler().await;
    let info = CanceledFailureInfo::default();
    let failure = Failure { failure_info: Some(FailureInfo::CanceledFailureInfo(info)), ..handler_failure("", "gone") };
    w.answer_start(&task.task_token, start_operation_response::Variant::Failure(failure)).await.unwrap();
    w.until_event(EventType::NexusOperationCanceled).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_fails_the_operation() {
    let (w, endpoint) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let task = w.poll_handler().await;
    w.engine.delete_nexus_endpoint(DeleteNexusEndpointRequest { id: endpoint.id, version: endpoint.version }).await.unwrap();
    w.refuse(&task.task_token, handler_failure("UNAVAILABLE", "later")).await.unwrap();
    w.until_operation(PendingNexusOperationState::BackingOff).await;
    w.advance(Span::seconds(1)).await;
    let failed = w.until_event(EventType::NexusOperationFailed).await;
    let Some(history_event::Attributes::NexusOperationFailedEventAttributes(a)) = failed.attributes else { panic!("failed") };
    assert_eq!(a.failure.unwrap().cause.unwrap().message, "endpoint not registered");
}

#[tokio::test]
async fn answers_are_checked() {
    let (w, _) = world_with_endpoint().await;
    let token = Bytes::from_static(b"junk");
    assert_eq!(w.answer_start(&token, started("t", vec![])).await.unwrap_err(), Refusal::invalid("Error deserializing task token."));
    assert_eq!(w.answer_start(&Bytes::new(), started("t", vec![])).await.unwrap_err(), Refusal::invalid("Task token not set on request."));
    assert_eq!(w.answer_start(&token, started("", vec![])).await.unwrap_err(), Refusal::invalid("missing opration token in response"));
    let long = w.answer_start(&token, started(&"t".repeat(4097), vec![])).await.unwrap_err();
    assert_eq!(long, Refusal::invalid("operation token length exceeds allowed limit (4097/4096)"));
    let failure = Failure { message: "no".into(), ..Default::default() };
    let text = "request Failure must contain error or failure with NexusHandlerFailureInfo";
    assert_eq!(w.refuse(&token, failure).await.unwrap_err(), Refusal::invalid(text));
    let none = RespondNexusTaskFailedRequest { namespace: NAMESPACE.into(), task_token: token, ..Default::default() };
    let refused = w.engine.respond_nexus_task_failed(none).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("request must contain error or failure"));
}

/// 08 §5.4 step 6: the caller was reset while its operation went on
#[tokio::test]
async fn the_end_of_an_operation_finds_the_callers_new_run() {
    let (w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    let task = w.poll_handler().await;
    w.start_handler(start_of(&task)).await;
    w.answer_start(&task.task_token, started("handler-token", vec![])).await.unwrap();
    w.until_operation(PendingNexusOperationState::Started).await;
    let mut handler = Bytes::new();
    for _ in 0..2 {
        let task = w.poll().await;
        match task.workflow_execution.as_ref().unwrap().workflow_id.as_str() {
            "handler" => handler = task.task_token,
            _ => drop(w.complete(&task.task_token, vec![]).await),
        }
    }
    let request = ResetWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("caller", "")),
        workflow_task_finish_event_id: 9,
        request_id: "reset".into(),
        ..Default::default()
    };
    w.engine.reset_workflow(request).await.unwrap();
    w.complete(&handler, done()).await;
    w.until_event(EventType::NexusOperationCompleted).await;
    assert!(!w.outside.silent.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_handlers_queue_is_counted_and_held_to_its_rate() {
    use sempre_api::v1::{
        enums::{RateLimitSource, TaskQueueType},
        taskqueue::RateLimit,
        workflowservice::update_task_queue_config_request::RateLimitUpdate,
    };
    let (w, _) = world_with_endpoint().await;
    let update = |rate: Option<f32>| UpdateTaskQueueConfigRequest {
        namespace: NAMESPACE.into(),
        task_queue: HANDLERS.into(),
        task_queue_type: TaskQueueType::Nexus as i32,
        update_queue_rate_limit: Some(RateLimitUpdate {
            rate_limit: rate.map(|requests_per_second| RateLimit { requests_per_second }),
            reason: String::new(),
        }),
        ..Default::default()
    };
    let describe = || DescribeTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(TaskQueue { name: HANDLERS.into(), ..Default::default() }),
        task_queue_type: TaskQueueType::Nexus as i32,
        report_stats: true,
        report_config: true,
        ..Default::default()
    };
    soon(w.engine.update_task_queue_config(update(Some(0.0)))).await.unwrap();
    let poll = w.poll_handler_beside();
    w.settle().await;
    w.call(|_| {}).await;
    w.advance(Span::seconds(3)).await;
    assert!(!poll.is_finished(), "the queue gives out nothing");
    let description = soon(w.engine.describe_task_queue(describe())).await.unwrap();
    let stats = description.stats.unwrap();
    assert_eq!((stats.approximate_backlog_count, stats.rate_limiting_active), (1, true));
    assert_eq!(stats.approximate_backlog_age, Some(Span::seconds(3).to_api()));
    assert!(stats.tasks_add_rate > 0.0 && stats.tasks_dispatch_rate == 0.0);
    assert_eq!(description.effective_rate_limit.unwrap().rate_limit_source(), RateLimitSource::Api);
    assert!(description.config.unwrap().queue_rate_limit.is_some());
    // The limit is taken back: whoever waits has it.
    soon(w.engine.update_task_queue_config(update(None))).await.unwrap();
    let task = soon(poll).await.unwrap();
    assert_eq!(start_of(&task).operation, "operation");
    let stats = soon(w.engine.describe_task_queue(describe())).await.unwrap().stats.unwrap();
    assert_eq!((stats.approximate_backlog_count, stats.rate_limiting_active), (0, false));
    assert!(stats.tasks_dispatch_rate > 0.0);
}

/// A command that asks the server itself for a signal with a start of workflow `target`.
fn signal_with_start(change: impl FnOnce(&mut SignalWithStartWorkflowExecutionRequest)) -> Command {
    let mut request = SignalWithStartWorkflowExecutionRequest {
        workflow_id: "target".into(),
        workflow_type: Some(sempre_api::v1::common::WorkflowType { name: "T".into() }),
        task_queue: Some(queue()),
        signal_name: "go".into(),
        ..Default::default()
    };
    change(&mut request);
    let metadata = [("encoding".to_owned(), Bytes::from_static(b"binary/protobuf"))].into();
    let data = prost::Message::encode_to_vec(&request).into();
    schedule(|a| {
        a.endpoint = "__temporal_system".into();
        a.service = "temporal.api.workflowservice.v1.WorkflowService".into();
        a.operation = "SignalWithStartWorkflowExecution".into();
        a.input = Some(Payload { metadata, data, ..Default::default() });
    })
}

#[tokio::test]
async fn a_workflow_signals_and_starts_another_by_the_servers_own_endpoint() {
    let (w, _) = world_with_endpoint().await;
    w.start("caller").await;
    w.complete(&w.poll().await.task_token, vec![signal_with_start(|_| {})]).await;
    let event = w.until_event(EventType::NexusOperationCompleted).await;
    let Some(history_event::Attributes::NexusOperationCompletedEventAttributes(a)) = event.attributes else { panic!("completed") };
    let result = a.result.unwrap();
    assert_eq!(&result.metadata["encoding"][..], b"binary/protobuf");
    assert_eq!(&result.metadata["messageType"][..], b"temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionResponse");
    assert_eq!(result.metadata.len(), 2, "there are no payloads inside that a codec would have to see");
    let response = <SignalWithStartWorkflowExecutionResponse as prost::Message>::decode(result.data).unwrap();
    assert!(response.started);
    assert_eq!(event.links, response.signal_link.into_iter().collect::<Vec<_>>());
    let target = w.history("target").await;
    assert_eq!(target[0].event_type(), EventType::WorkflowExecutionStarted);
    let signaled = target.iter().find(|event| event.event_type() == EventType::WorkflowExecutionSignaled).unwrap();
    let Some(link::Variant::WorkflowEvent(back)) = &signaled.links[0].variant else { panic!("a link to the caller") };
    assert_eq!((back.workflow_id.as_str(), signaled.links.len()), ("caller", 1));
}

#[tokio::test]
async fn what_the_servers_own_endpoint_refuses_fails_the_operation() {
    let (w, _) = world_with_endpoint().await;
    w.start("caller").await;
    // What only the call itself can find wrong.
    w.complete(&w.poll().await.task_token, vec![signal_with_start(|r| r.signal_name.clear())]).await;
    let event = w.until_event(EventType::NexusOperationFailed).await;
    let Some(history_event::Attributes::NexusOperationFailedEventAttributes(a)) = event.attributes else { panic!("failed") };
    let cause = a.failure.unwrap().cause.unwrap();
    assert_eq!(cause.message, "InvalidArgument: SignalName is not set on request.");
    assert!(matches!(cause.failure_info, Some(FailureInfo::ServerFailureInfo(info)) if info.non_retryable));
}

#[tokio::test]
async fn an_endpoint_that_fails_too_often_is_left_alone_for_a_minute() {
    let (w, _) = world_with_endpoint().await;
    w.call(|_| {}).await;
    // 1, 2, 4, 8, 16 seconds between them.
    for wait in [1, 2, 4, 8, 16, 32] {
        let task = w.poll_handler().await;
        w.refuse(&task.task_token, handler_failure("UNAVAILABLE", "down")).await.unwrap();
        w.until_operation(PendingNexusOperationState::BackingOff).await;
        w.advance(Span::seconds(wait)).await;
    }
    // The sixth has opened it: the seventh is not made, nor is that of another caller.
    let info = w.until_operation(PendingNexusOperationState::Blocked).await;
    assert_eq!((info.attempt, info.blocked_reason.as_str()), (6, "The circuit breaker is open."));
    assert_eq!(info.last_attempt_failure, Some(handler_failure("UNAVAILABLE", "down")));
    w.start("second").await;
    w.complete(&w.poll().await.task_token, vec![schedule(|_| {})]).await;
    for _ in 0..50 {
        w.settle().await;
    }
    let second = w.describe("second").await.unwrap().pending_nexus_operations.remove(0);
    assert_eq!((second.state(), second.attempt), (PendingNexusOperationState::Blocked, 0));
    w.advance(Span::seconds(28)).await;
    // One of them is the probe; the other waits for it.
    let task = w.poll_handler().await;
    w.answer_start(&task.task_token, started("token", Vec::new())).await.unwrap();
    w.advance(Span::seconds(10)).await;
    let task = w.poll_handler().await;
    w.answer_start(&task.task_token, started("token", Vec::new())).await.unwrap();
    w.until_operation(PendingNexusOperationState::Started).await;
}

#[tokio::test]
async fn a_cancel_that_has_no_time_to_be_made_forgives_no_failure() {
    let (w, _) = world_with_endpoint().await;
    w.start("other").await;
    let lasts = |a: &mut ScheduleNexusOperationCommandAttributes| a.schedule_to_close_timeout = Span::seconds(32).to_api_option();
    w.complete(&w.poll().await.task_token, vec![schedule(lasts)]).await;
    let task = w.poll_handler().await;
    w.answer_start(&task.task_token, started("token", Vec::new())).await.unwrap();
    w.complete(&w.poll().await.task_token, vec![]).await;
    w.call(|_| {}).await;
    for wait in [1, 2, 4, 8, 16] {
        let task = w.poll_handler().await;
        w.refuse(&task.task_token, handler_failure("UNAVAILABLE", "down")).await.unwrap();
        w.until_operation(PendingNexusOperationState::BackingOff).await;
        w.advance(Span::seconds(wait)).await;
    }
    // A second is left for the other operation: nobody is asked to cancel it.
    w.signal("other", "stop").await.unwrap();
    let cancel = RequestCancelNexusOperationCommandAttributes { scheduled_event_id: 5 };
    let cancel = command(CommandType::RequestCancelNexusOperation, Attributes::RequestCancelNexusOperationCommandAttributes(cancel));
    w.complete(&w.poll().await.task_token, vec![cancel]).await;
    for _ in 0..50 {
        w.settle().await;
    }
    assert!(w.names("other").await.contains(&"NEXUS_OPERATION_CANCEL_REQUEST_FAILED"));
    let task = w.poll_handler().await;
    w.refuse(&task.task_token, handler_failure("UNAVAILABLE", "down")).await.unwrap();
    w.until_operation(PendingNexusOperationState::BackingOff).await;
    w.advance(Span::seconds(32)).await;
    w.until_operation(PendingNexusOperationState::Blocked).await;
}
