//! ResetWorkflowExecution and UpdateWorkflowExecutionOptions on the wire.

use std::time::Duration;

use prost::Message;
use sempre_api::{
    FieldMask,
    sempre::v1::{ForkWorkflowExecutionRequest, steer_service_client::SteerServiceClient},
    v1::{
        common::{Payload, Payloads, Priority, WorkflowExecution, WorkflowType},
        enums::EventType,
        history::history_event::Attributes,
        taskqueue::TaskQueue,
        workflow::WorkflowExecutionOptions,
        workflowservice::{
            GetWorkflowExecutionHistoryRequest, ResetWorkflowExecutionRequest, RespondWorkflowTaskCompletedRequest,
            StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest, UpdateWorkflowExecutionOptionsRequest,
        },
    },
};
use tonic::Code;

use crate::{polls::poll, support::TestServer};

fn target() -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() })
}

fn reset(finish: i64) -> ResetWorkflowExecutionRequest {
    ResetWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: target(),
        reason: "a bad deploy".into(),
        workflow_task_finish_event_id: finish,
        request_id: "r".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_workflow_is_reset() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: "start".into(),
        ..Default::default()
    };
    client.start_workflow_execution(start).await.expect("starts");
    let task = client.poll_workflow_task_queue(poll(Some(Duration::from_secs(10)))).await.expect("a task").into_inner();
    let done = RespondWorkflowTaskCompletedRequest { namespace: "default".into(), task_token: task.task_token, ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("completes");

    for (request, code, text) in [
        (
            ResetWorkflowExecutionRequest { request_id: String::new(), ..reset(4) },
            Code::InvalidArgument,
            "RequestId is not set on request.",
        ),
        (reset(5), Code::InvalidArgument, "Workflow task finish ID must be > 1 && <= workflow last event ID."),
        (
            reset(2),
            Code::InvalidArgument,
            "StateRebuilder unable to Rebuild mutable state to event ID: 1, version: 0, this event must be at the boundary",
        ),
    ] {
        let status = client.reset_workflow_execution(request).await.expect_err("refused");
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let run_id = client.reset_workflow_execution(reset(4)).await.expect("resets").into_inner().run_id;
    assert_eq!(client.reset_workflow_execution(reset(4)).await.expect("told again").into_inner().run_id, run_id);

    let options = UpdateWorkflowExecutionOptionsRequest {
        namespace: "default".into(),
        workflow_execution: target(),
        workflow_execution_options: Some(WorkflowExecutionOptions {
            priority: Some(Priority { priority_key: 2, ..Default::default() }),
            ..Default::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["priority.priority_key".into()] }),
        identity: "client".into(),
    };
    let updated = client.update_workflow_execution_options(options).await.expect("updates").into_inner();
    assert_eq!(updated.workflow_execution_options.and_then(|o| o.priority).map(|p| p.priority_key), Some(2));

    let history = GetWorkflowExecutionHistoryRequest { namespace: "default".into(), execution: target(), ..Default::default() };
    let history = client.get_workflow_execution_history(history).await.expect("history").into_inner().history.expect("set");
    let types: Vec<_> = history.events().expect("events").iter().map(|e| e.event_type()).collect();
    assert_eq!(
        types,
        [
            EventType::WorkflowExecutionStarted,
            EventType::WorkflowTaskScheduled,
            EventType::WorkflowTaskStarted,
            EventType::WorkflowTaskFailed,
            EventType::WorkflowTaskScheduled,
            EventType::WorkflowExecutionOptionsUpdated,
        ]
    );
    let task = client.poll_workflow_task_queue(poll(Some(Duration::from_secs(10)))).await.expect("a task").into_inner();
    assert_eq!(task.workflow_execution.map(|e| e.run_id), Some(run_id));
}

#[tokio::test]
async fn a_closed_run_is_forked_with_another_input() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let input = |text: &str| Payloads { payloads: vec![Payload { data: text.as_bytes().to_vec().into(), ..Default::default() }] };
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        input: Some(input("first")),
        request_id: "start".into(),
        ..Default::default()
    };
    client.start_workflow_execution(start).await.expect("starts");
    let terminate = TerminateWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: target(), ..Default::default() };
    client.terminate_workflow_execution(terminate).await.expect("terminates");

    let fork = |event_id| ForkWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        event_id,
        input: Some(input("second").encode_to_vec().into()),
        reason: "what if".into(),
        request_id: "f".into(),
        ..Default::default()
    };
    let mut steer = SteerServiceClient::new(server.channel.clone());
    let mut broken = fork(0);
    broken.input = Some(b"\xff".as_slice().into());
    for (request, code, text) in [
        (ForkWorkflowExecutionRequest { request_id: String::new(), ..fork(0) }, Code::InvalidArgument, "RequestId is not set on request."),
        (fork(4), Code::InvalidArgument, "event ID must be between 1 and the last one of the run, 3"),
        (fork(-1), Code::InvalidArgument, "event ID must be between 1 and the last one of the run, 3"),
        (broken, Code::InvalidArgument, "the input is not an encoded Payloads message"),
        (ForkWorkflowExecutionRequest { workflow_id: "x".into(), ..fork(0) }, Code::NotFound, "workflow not found for ID: x"),
        (ForkWorkflowExecutionRequest { namespace: "x".into(), ..fork(0) }, Code::NotFound, "Namespace x is not found."),
    ] {
        let status = steer.fork_workflow_execution(request).await.expect_err("refused");
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let forked = steer.fork_workflow_execution(fork(0)).await.expect("forks").into_inner();
    assert_eq!(forked.kept_event_id, 2, "the task was scheduled, then the run was terminated");
    let again = steer.fork_workflow_execution(fork(0)).await.expect("told again").into_inner();
    assert_eq!(again.run_id, forked.run_id);
    let task = client.poll_workflow_task_queue(poll(Some(Duration::from_secs(10)))).await.expect("a task").into_inner();
    assert_eq!(task.workflow_execution.expect("set").run_id, forked.run_id);
    let events = task.history.expect("history").events().expect("events");
    let kinds: Vec<_> = events.iter().map(|event| event.event_type()).collect();
    use EventType::*;
    let expected = [WorkflowExecutionStarted, WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskFailed];
    assert_eq!(kinds, [&expected[..], &[WorkflowTaskScheduled, WorkflowTaskStarted]].concat());
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = &events[0].attributes else { panic!("a start") };
    assert_eq!(started.input, Some(input("second")));
}
