//! The calls of a starter and of a worker, made by hand.

use std::time::Duration;

use bytes::Bytes;
use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType},
    enums::CommandType,
    history::HistoryEvent,
    taskqueue::TaskQueue,
    workflowservice::{
        GetWorkflowExecutionHistoryRequest, PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest, StartWorkflowExecutionRequest,
        workflow_service_client::WorkflowServiceClient,
    },
};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// The namespace used.
pub const NAMESPACE: &str = "default";
/// Deadline of polls.
const POLL: Duration = Duration::from_secs(20);

/// A client of the API.
pub type Client = WorkflowServiceClient<Channel>;

/// A lazily connected client: it reconnects by itself when the server comes back.
pub fn client(address: &str) -> Result<Client, tonic::transport::Error> {
    client_with_timeout(address, None)
}

/// Such a client whose calls take no longer than that.
pub fn client_with_timeout(address: &str, timeout: Option<Duration>) -> Result<Client, tonic::transport::Error> {
    let mut endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    if let Some(timeout) = timeout {
        endpoint = endpoint.timeout(timeout);
    }
    Ok(WorkflowServiceClient::new(endpoint.connect_lazy()).max_decoding_message_size(64 << 20))
}

/// One payload of JSON text.
pub fn payloads(text: &str) -> Payloads {
    let metadata = [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into_iter().collect();
    Payloads { payloads: vec![Payload { metadata, data: Bytes::copy_from_slice(text.as_bytes()), ..Default::default() }] }
}

/// The text of the first payload.
pub fn text(payloads: Option<&Payloads>) -> String {
    let data = payloads.and_then(|p| p.payloads.first()).map(|p| p.data.clone()).unwrap_or_default();
    String::from_utf8_lossy(&data).into_owned()
}

/// A task queue by name.
pub fn queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.into(), ..Default::default() }
}

/// A start request.
pub fn start_request(workflow_id: &str, queue_name: &str, request_id: &str, task_timeout: Duration) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: workflow_id.into(),
        workflow_type: Some(WorkflowType { name: "bench".into() }),
        task_queue: Some(queue(queue_name)),
        input: Some(payloads("\"a short input, as an order number would be\"")),
        identity: "bench-starter".into(),
        request_id: request_id.into(),
        workflow_task_timeout: Some(duration(task_timeout)),
        ..Default::default()
    }
}

/// A duration as the API writes it.
pub fn duration(span: Duration) -> sempre_api::Duration {
    sempre_api::Duration { seconds: span.as_secs() as i64, nanos: span.subsec_nanos() as i32 }
}

/// A workflow poll.
pub fn poll_workflow(queue_name: &str) -> Request<PollWorkflowTaskQueueRequest> {
    poll_workflow_at(queue(queue_name))
}

/// A workflow poll at a queue of any kind.
pub fn poll_workflow_at(queue: TaskQueue) -> Request<PollWorkflowTaskQueueRequest> {
    let mut request = Request::new(PollWorkflowTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(queue),
        identity: "bench-worker".into(),
        ..Default::default()
    });
    request.set_timeout(POLL);
    request
}

/// An activity poll.
pub fn poll_activity(queue_name: &str) -> Request<PollActivityTaskQueueRequest> {
    let mut request = Request::new(PollActivityTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(queue(queue_name)),
        identity: "bench-worker".into(),
        ..Default::default()
    });
    request.set_timeout(POLL);
    request
}

/// A ScheduleActivityTask command.
pub fn schedule_activity(id: &str, start_to_close: Duration, heartbeat: Option<Duration>) -> Command {
    Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(ScheduleActivityTaskCommandAttributes {
            activity_id: id.into(),
            activity_type: Some(ActivityType { name: "work".into() }),
            task_queue: Some(TaskQueue::default()),
            input: Some(payloads("\"what to do\"")),
            start_to_close_timeout: Some(duration(start_to_close)),
            heartbeat_timeout: heartbeat.map(duration),
            ..Default::default()
        }))),
        ..Default::default()
    }
}

/// A CompleteWorkflowExecution command.
pub fn complete_workflow(result: &str) -> Command {
    Command {
        command_type: CommandType::CompleteWorkflowExecution as i32,
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes {
            result: Some(payloads(result)),
        })),
        ..Default::default()
    }
}

/// The whole history of a run (empty run id: the current one).
pub async fn history(client: &mut Client, workflow_id: &str, run_id: &str) -> Result<Vec<HistoryEvent>, Status> {
    let mut events = Vec::new();
    let mut token = Bytes::new();
    loop {
        let answer = client
            .get_workflow_execution_history(GetWorkflowExecutionHistoryRequest {
                namespace: NAMESPACE.into(),
                execution: Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() }),
                next_page_token: token,
                ..Default::default()
            })
            .await?
            .into_inner();
        if let Some(page) = answer.history {
            events.extend(page.events().map_err(|e| Status::data_loss(format!("history does not decode: {e}")))?);
        }
        token = answer.next_page_token;
        if token.is_empty() {
            return Ok(events);
        }
    }
}
