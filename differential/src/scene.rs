//! One scenario at work: calls a server as clients and workers do, and writes down what came back.
//!
//! Names are short in a scenario (`a`) and unique on the server (prefix of the scene); the transcript shows the short
//! ones again. Every scene has task queues of its own.
#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

mod deploy;
mod operate;
mod standalone;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use sempre_api::{
    google,
    v1::{
        command::Command,
        common::{Payloads, WorkflowExecution, WorkflowType},
        enums::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause},
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        history::{HistoryEvent, history_event::Attributes},
        operatorservice::operator_service_client::OperatorServiceClient,
        query::WorkflowQuery,
        taskqueue::{StickyExecutionAttributes, TaskQueue},
        workflowservice::{workflow_service_client::WorkflowServiceClient, *},
    },
};
use tonic::{Request, Response, Status, transport::Channel};

use crate::facts;

/// The namespace used.
pub const NAMESPACE: &str = "default";
/// How long a poll waits for what must come.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(20);

/// A client of the API.
pub type Client = WorkflowServiceClient<Channel>;

/// Why a scenario ended early; part of its transcript.
#[derive(Debug)]
pub struct Stop(String);

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self(status.message().to_owned())
    }
}

/// What scenarios return.
pub type Done = Result<(), Stop>;

/// A workflow task in the script's hands.
#[derive(Clone, Debug)]
pub struct Task {
    /// The poll's answer.
    pub poll: PollWorkflowTaskQueueResponse,
}

/// An activity task in the script's hands.
#[derive(Clone, Debug)]
pub struct ActivityTask {
    /// The poll's answer.
    pub poll: PollActivityTaskQueueResponse,
}

#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    /// Short workflow id → run ids met.
    runs: BTreeMap<String, Vec<String>>,
}

/// One scenario at work. Clones write into the same transcript.
#[derive(Clone)]
pub struct Scene {
    client: Client,
    operator: OperatorServiceClient<Channel>,
    prefix: String,
    notes: Arc<Mutex<Notes>>,
}

/// Payloads of one JSON text.
#[must_use]
pub fn payloads(text: &str) -> Option<Payloads> {
    let metadata = [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into();
    let payload = sempre_api::v1::common::Payload { metadata, data: Bytes::copy_from_slice(text.as_bytes()), ..Default::default() };
    Some(Payloads { payloads: vec![payload] })
}

/// A span of whole seconds.
#[must_use]
pub fn secs(seconds: i64) -> Option<sempre_api::Duration> {
    Some(sempre_api::Duration { seconds, nanos: 0 })
}

/// An application failure.
#[must_use]
pub fn failure(message: &str) -> Failure {
    failure_with(message, |_| {})
}

/// An application failure with more to it.
#[must_use]
pub fn failure_with(message: &str, change: impl FnOnce(&mut ApplicationFailureInfo)) -> Failure {
    let mut info = ApplicationFailureInfo::default();
    change(&mut info);
    Failure { message: message.into(), failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}

impl Scene {
    /// A scene whose names begin with `prefix`.
    #[must_use]
    pub fn new(channel: Channel, prefix: String) -> Self {
        let operator = OperatorServiceClient::new(channel.clone());
        let client = WorkflowServiceClient::new(channel).max_decoding_message_size(64 << 20);
        Self { client, operator, prefix, notes: Arc::default() }
    }

    /// For calls that have no short form.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// For calls of operators.
    #[must_use]
    pub fn operator(&self) -> OperatorServiceClient<Channel> {
        self.operator.clone()
    }

    /// Workflow id of a short name.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A workflow by its short name, any run.
    #[must_use]
    pub fn execution(&self, name: &str) -> WorkflowExecution {
        WorkflowExecution { workflow_id: self.id(name), run_id: String::new() }
    }

    /// The scene's main queue.
    #[must_use]
    pub fn queue(&self) -> Option<TaskQueue> {
        self.queue_named("q")
    }

    /// Another queue of the scene.
    #[must_use]
    pub fn queue_named(&self, name: &str) -> Option<TaskQueue> {
        Some(TaskQueue { name: self.id(name), kind: TaskQueueKind::Normal as i32, ..Default::default() })
    }

    fn sticky_queue(&self) -> Option<TaskQueue> {
        Some(TaskQueue { name: self.id("sticky"), kind: TaskQueueKind::Sticky as i32, normal_name: self.id("q") })
    }

    /// Writes a line into the transcript.
    pub fn note(&self, line: impl Into<String>) {
        self.notes.lock().expect("no panic holds it").lines.push(line.into());
    }

    /// Writes down how a call ended; its answer with all facts.
    pub fn record<T: Debug>(&self, what: &str, result: Result<Response<T>, Status>) -> Result<T, Status> {
        self.record_as(what, result, facts::of)
    }

    fn record_as<T: Debug>(&self, what: &str, result: Result<Response<T>, Status>, show: impl FnOnce(&T) -> String) -> Result<T, Status> {
        match result {
            Ok(response) => {
                let response = response.into_inner();
                let shown = show(&response);
                self.note(format!("{what}: ok {shown}").trim_end().to_owned());
                Ok(response)
            }
            Err(status) => {
                self.note(format!("{what}: {:?} {}{}", status.code(), status.message(), details(&status)));
                Err(status)
            }
        }
    }

    fn met(&self, execution: &WorkflowExecution) {
        let Some(name) = execution.workflow_id.strip_prefix(&format!("{}-", self.prefix)) else { return };
        let mut notes = self.notes.lock().expect("no panic holds it");
        let runs = notes.runs.entry(name.to_owned()).or_default();
        if !execution.run_id.is_empty() && !runs.contains(&execution.run_id) {
            runs.push(execution.run_id.clone());
        }
    }

    /// The history of this workflow is part of the result, though the script itself does not start it.
    pub fn watch(&self, name: &str) {
        self.met(&self.execution(name));
    }

    fn request<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL);
        request
    }

    /// Waits.
    pub async fn sleep(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    // --- clients ---

    /// A plain start request.
    #[must_use]
    pub fn start_request(&self, name: &str) -> StartWorkflowExecutionRequest {
        StartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: self.id(name),
            workflow_type: Some(WorkflowType { name: "Type".into() }),
            task_queue: self.queue(),
            input: payloads("\"in\""),
            identity: "starter".into(),
            request_id: self.id(&format!("start-{name}")),
            ..Default::default()
        }
    }

    /// Starts plainly.
    pub async fn start(&self, name: &str) -> Result<StartWorkflowExecutionResponse, Status> {
        self.start_with(name, |_| {}).await
    }

    /// Starts; the request may be changed.
    pub async fn start_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut StartWorkflowExecutionRequest),
    ) -> Result<StartWorkflowExecutionResponse, Status> {
        let mut request = self.start_request(name);
        change(&mut request);
        let result = self.client().start_workflow_execution(Self::request(request)).await;
        // Newer than the reference's API.
        let result = result
            .map(|response| response.map(|answer| StartWorkflowExecutionResponse { first_execution_run_id: String::new(), ..answer }));
        let response = self.record_as(&format!("start {name}"), result, |response| {
            let mut rest = response.clone();
            let eager = rest.eager_workflow_task.take().map_or_else(String::new, |task| format!(" eager {}", shown_task(&task)));
            facts::of(&rest) + &eager
        })?;
        self.met(&WorkflowExecution { workflow_id: self.id(name), run_id: response.run_id.clone() });
        Ok(response)
    }

    /// Signals.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<SignalWorkflowExecutionResponse, Status> {
        self.signal_with(name, signal, |_| {}).await
    }

    /// Signals; the request may be changed.
    pub async fn signal_with(
        &self,
        name: &str,
        signal: &str,
        change: impl FnOnce(&mut SignalWorkflowExecutionRequest),
    ) -> Result<SignalWorkflowExecutionResponse, Status> {
        let mut request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(self.execution(name)),
            signal_name: signal.into(),
            input: payloads("\"signal\""),
            identity: "client".into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().signal_workflow_execution(Self::request(request)).await;
        // Newer than the reference's API: a link in the answer.
        let result = result.map(|response| response.map(|_| SignalWorkflowExecutionResponse::default()));
        self.record(&format!("signal {name} {signal}"), result)
    }

    /// Signals, and starts if need be.
    pub async fn signal_with_start(
        &self,
        name: &str,
        change: impl FnOnce(&mut SignalWithStartWorkflowExecutionRequest),
    ) -> Result<SignalWithStartWorkflowExecutionResponse, Status> {
        let mut request = SignalWithStartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: self.id(name),
            workflow_type: Some(WorkflowType { name: "Type".into() }),
            task_queue: self.queue(),
            input: payloads("\"in\""),
            identity: "client".into(),
            request_id: self.id(&format!("signal-start-{name}")),
            signal_name: "hello".into(),
            signal_input: payloads("\"signal\""),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().signal_with_start_workflow_execution(Self::request(request)).await;
        let result = result.map(|response| {
            response.map(|answer| SignalWithStartWorkflowExecutionResponse {
                first_execution_run_id: String::new(),
                signal_link: None,
                ..answer
            })
        });
        let response = self.record(&format!("signal-with-start {name}"), result)?;
        self.met(&WorkflowExecution { workflow_id: self.id(name), run_id: response.run_id.clone() });
        Ok(response)
    }

    /// Asks for cancellation.
    pub async fn cancel(&self, name: &str) -> Result<RequestCancelWorkflowExecutionResponse, Status> {
        self.cancel_with(name, |_| {}).await
    }

    /// Asks for cancellation; the request may be changed.
    pub async fn cancel_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut RequestCancelWorkflowExecutionRequest),
    ) -> Result<RequestCancelWorkflowExecutionResponse, Status> {
        let mut request = RequestCancelWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(self.execution(name)),
            identity: "client".into(),
            reason: "enough".into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().request_cancel_workflow_execution(Self::request(request)).await;
        self.record(&format!("cancel {name}"), result)
    }

    /// Terminates.
    pub async fn terminate(&self, name: &str) -> Result<TerminateWorkflowExecutionResponse, Status> {
        self.terminate_with(name, |_| {}).await
    }

    /// Terminates; the request may be changed.
    pub async fn terminate_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut TerminateWorkflowExecutionRequest),
    ) -> Result<TerminateWorkflowExecutionResponse, Status> {
        let mut request = TerminateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(self.execution(name)),
            identity: "client".into(),
            reason: "stop".into(),
            details: payloads("\"why\""),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().terminate_workflow_execution(Self::request(request)).await;
        self.record(&format!("terminate {name}"), result)
    }

    /// A query request.
    #[must_use]
    pub fn query_request(&self, name: &str) -> QueryWorkflowRequest {
        QueryWorkflowRequest {
            namespace: NAMESPACE.into(),
            execution: Some(self.execution(name)),
            query: Some(WorkflowQuery { query_type: "state".into(), query_args: payloads("\"arg\""), ..Default::default() }),
            ..Default::default()
        }
    }

    /// Queries and waits for the answer.
    pub async fn query(&self, name: &str, change: impl FnOnce(&mut QueryWorkflowRequest)) -> Result<QueryWorkflowResponse, Status> {
        let mut request = self.query_request(name);
        change(&mut request);
        let result = self.client().query_workflow(Self::request(request)).await.map(without_link);
        self.record(&format!("query {name}"), result)
    }

    /// A query beside the script; wait for it with [`Scene::answered`].
    #[must_use]
    pub fn query_beside(
        &self,
        name: &str,
        change: impl FnOnce(&mut QueryWorkflowRequest),
    ) -> tokio::task::JoinHandle<Result<Response<QueryWorkflowResponse>, Status>> {
        let mut request = self.query_request(name);
        change(&mut request);
        let mut client = self.client();
        tokio::spawn(async move { client.query_workflow(Self::request(request)).await.map(without_link) })
    }

    /// What became of a call beside the script.
    pub async fn answered<T: Debug>(&self, what: &str, call: tokio::task::JoinHandle<Result<Response<T>, Status>>) -> Result<T, Stop> {
        let result = call.await.map_err(|error| Stop(error.to_string()))?;
        Ok(self.record(what, result)?)
    }

    /// Describes, with all facts.
    pub async fn describe(&self, name: &str) -> Result<DescribeWorkflowExecutionResponse, Status> {
        let request = DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: Some(self.execution(name)) };
        let result = self.client().describe_workflow_execution(Self::request(request)).await;
        let result = result.map(|response| {
            response.map(|mut answer| {
                // Newer than the reference's API.
                answer.callbacks.iter_mut().for_each(|callback| callback.request_id.clear());
                if let Some(search) = answer.workflow_execution_info.as_mut().and_then(|info| info.search_attributes.as_mut()) {
                    search.indexed_fields.retain(|name, value| !without_meaning(name, value));
                }
                answer
            })
        });
        self.record(&format!("describe {name}"), result)
    }

    /// Waits for the close event of the current run.
    pub async fn closed(&self, name: &str) -> Result<(), Stop> {
        let mut token = Bytes::new();
        for _ in 0..4 {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: NAMESPACE.into(),
                execution: Some(self.execution(name)),
                wait_new_event: true,
                history_event_filter_type: sempre_api::v1::enums::HistoryEventFilterType::CloseEvent as i32,
                next_page_token: token.clone(),
                ..Default::default()
            };
            let answer = self.client().get_workflow_execution_history(Self::request(request)).await?.into_inner();
            let events = answer.history.unwrap_or_default().events().map_err(|error| Stop(error.to_string()))?;
            if let Some(event) = events.last() {
                self.note(format!("closed {name}: {}", line(event)));
                return Ok(());
            }
            token = answer.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Err(Stop(format!("{name} does not close")))
    }

    // --- workers ---

    /// The next workflow task of the main queue.
    pub async fn task(&self) -> Result<Task, Stop> {
        self.task_on(self.queue()).await
    }

    /// A poll of the sticky queue beside the script; see [`Scene::taken`].
    #[must_use]
    pub fn sticky_beside(&self) -> tokio::task::JoinHandle<Result<Response<PollWorkflowTaskQueueResponse>, Status>> {
        let (mut client, mut request) = (self.client(), Request::new(Self::poll_request(self.sticky_queue())));
        request.set_timeout(PATIENCE);
        tokio::spawn(async move { client.poll_workflow_task_queue(request).await })
    }

    /// The task that a poll beside the script brought.
    pub async fn taken(
        &self,
        poll: tokio::task::JoinHandle<Result<Response<PollWorkflowTaskQueueResponse>, Status>>,
    ) -> Result<Task, Stop> {
        let answer = poll.await.map_err(|error| Stop(error.to_string()))?;
        self.polled(answer).await?.ok_or_else(|| Stop("no workflow task came".into()))
    }

    fn poll_request(queue: Option<TaskQueue>) -> PollWorkflowTaskQueueRequest {
        PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue, identity: "worker".into(), ..Default::default() }
    }

    fn patient<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        request
    }

    /// The next workflow task of a queue.
    pub async fn task_on(&self, queue: Option<TaskQueue>) -> Result<Task, Stop> {
        // The reference may hold a task back from the first poll (partitions of a queue): asks twice.
        if let Some(task) = self.poll_task(queue.clone()).await? {
            return Ok(task);
        }
        self.poll_task(queue).await?.ok_or_else(|| Stop("no workflow task came".into()))
    }

    /// A poll of the main queue as a script wants it, and its answer as it is.
    pub async fn poll_with(&self, change: impl FnOnce(&mut PollWorkflowTaskQueueRequest)) -> Result<PollWorkflowTaskQueueResponse, Status> {
        let mut request = Self::poll_request(self.queue());
        change(&mut request);
        self.record("poll", self.client().poll_workflow_task_queue(Self::request(request)).await)
    }

    async fn poll_task(&self, queue: Option<TaskQueue>) -> Result<Option<Task>, Stop> {
        let mut request = Request::new(Self::poll_request(queue));
        request.set_timeout(PATIENCE);
        let answer = self.client().poll_workflow_task_queue(request).await;
        self.polled(answer).await
    }

    async fn polled(&self, answer: Result<Response<PollWorkflowTaskQueueResponse>, Status>) -> Result<Option<Task>, Stop> {
        match answer {
            Ok(answer) if answer.get_ref().task_token.is_empty() => Ok(None),
            Ok(mut answer) => {
                self.read_on(answer.get_mut()).await?;
                let poll = self.record_as("task", Ok(answer), shown_task)?;
                self.met(&poll.workflow_execution.clone().unwrap_or_default());
                Ok(Some(Task { poll }))
            }
            Err(status) if matches!(status.code(), tonic::Code::Cancelled | tonic::Code::DeadlineExceeded) => Ok(None),
            Err(status) => Err(self.record::<()>("task", Err(status)).expect_err("it is one").into()),
        }
    }

    /// The pages of a task's history after the first. How many events a page has is the server's business: the reference
    /// counts what was written at once as one.
    async fn read_on(&self, poll: &mut PollWorkflowTaskQueueResponse) -> Result<(), Stop> {
        while !poll.next_page_token.is_empty() {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: NAMESPACE.into(),
                execution: poll.workflow_execution.clone(),
                next_page_token: std::mem::take(&mut poll.next_page_token),
                ..Default::default()
            };
            let page = self.client().get_workflow_execution_history(Self::request(request)).await?.into_inner();
            poll.history.get_or_insert_default().chunks.extend(page.history.unwrap_or_default().chunks);
            poll.next_page_token = page.next_page_token;
        }
        Ok(())
    }

    /// Completes a task.
    pub async fn complete(
        &self,
        task: &Task,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        self.complete_with(task, commands, |_| {}).await
    }

    /// Completes a task and keeps the run on the sticky queue (schedule-to-start 1 s).
    pub async fn complete_sticky(
        &self,
        task: &Task,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        let sticky = StickyExecutionAttributes { worker_task_queue: self.sticky_queue(), schedule_to_start_timeout: secs(1) };
        self.complete_with(task, commands, |r| r.sticky_attributes = Some(sticky)).await
    }

    /// Completes a task; the request may be changed.
    pub async fn complete_with(
        &self,
        task: &Task,
        commands: impl IntoIterator<Item = Command>,
        change: impl FnOnce(&mut RespondWorkflowTaskCompletedRequest),
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        let mut request = RespondWorkflowTaskCompletedRequest {
            task_token: task.poll.task_token.clone(),
            commands: commands.into_iter().collect(),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().respond_workflow_task_completed(Self::request(request)).await;
        self.record_as("complete", result, |response| {
            let mut shown = Vec::new();
            if let Some(task) = &response.workflow_task {
                shown.push(format!("inline {}", shown_task(task)));
            }
            shown.extend(response.activity_tasks.iter().map(|task| format!("eager {}", facts::of(task))));
            if response.reset_history_event_id != 0 {
                shown.push(format!("reset_history_event_id={}", response.reset_history_event_id));
            }
            shown.join(" ")
        })
    }

    /// Takes the next task and completes it.
    pub async fn work(&self, commands: impl IntoIterator<Item = Command>) -> Result<Task, Stop> {
        let task = self.task().await?;
        self.complete(&task, commands).await?;
        Ok(task)
    }

    /// Fails a task as a worker.
    pub async fn fail_task(&self, task: &Task, cause: WorkflowTaskFailedCause) -> Result<RespondWorkflowTaskFailedResponse, Status> {
        let request = RespondWorkflowTaskFailedRequest {
            task_token: task.poll.task_token.clone(),
            cause: cause as i32,
            failure: Some(failure("the task failed")),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let result = self.client().respond_workflow_task_failed(Self::request(request)).await;
        self.record("fail task", result)
    }

    /// Answers the direct query of a task.
    pub async fn answer_query(&self, task: &Task, answer: Result<&str, &str>) -> Result<RespondQueryTaskCompletedResponse, Status> {
        let mut request = RespondQueryTaskCompletedRequest {
            task_token: task.poll.task_token.clone(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        match answer {
            Ok(text) => {
                request.completed_type = QueryResultType::Answered as i32;
                request.query_result = payloads(text);
            }
            Err(text) => {
                request.completed_type = QueryResultType::Failed as i32;
                request.error_message = text.into();
            }
        }
        let result = self.client().respond_query_task_completed(Self::request(request)).await;
        self.record("answer query", result)
    }

    /// The next activity task.
    pub async fn activity(&self) -> Result<ActivityTask, Stop> {
        let message = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: self.queue(),
            identity: "worker".into(),
            ..Default::default()
        };
        let mut request = Request::new(message);
        request.set_timeout(PATIENCE);
        let result = self.client().poll_activity_task_queue(request).await;
        let poll = self.record("activity", result)?;
        if poll.task_token.is_empty() { Err(Stop("no activity task came".into())) } else { Ok(ActivityTask { poll }) }
    }

    /// Completes an activity.
    pub async fn complete_activity(&self, task: &ActivityTask) -> Result<RespondActivityTaskCompletedResponse, Status> {
        let request = RespondActivityTaskCompletedRequest {
            task_token: task.poll.task_token.clone(),
            result: payloads("\"out\""),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let result = self.client().respond_activity_task_completed(Self::request(request)).await;
        self.record("complete activity", result)
    }

    /// Fails an activity.
    pub async fn fail_activity(&self, task: &ActivityTask, failure: Failure) -> Result<RespondActivityTaskFailedResponse, Status> {
        let request = RespondActivityTaskFailedRequest {
            task_token: task.poll.task_token.clone(),
            failure: Some(failure),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let result = self.client().respond_activity_task_failed(Self::request(request)).await;
        self.record("fail activity", result)
    }

    /// Says that an activity was cancelled.
    pub async fn cancel_activity(&self, task: &ActivityTask) -> Result<RespondActivityTaskCanceledResponse, Status> {
        let request = RespondActivityTaskCanceledRequest {
            task_token: task.poll.task_token.clone(),
            details: payloads("\"cancelled\""),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let result = self.client().respond_activity_task_canceled(Self::request(request)).await;
        self.record("cancel activity", result)
    }

    /// Heartbeats an activity.
    pub async fn heartbeat(&self, task: &ActivityTask) -> Result<RecordActivityTaskHeartbeatResponse, Status> {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: task.poll.task_token.clone(),
            details: payloads("\"beat\""),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let result = self.client().record_activity_task_heartbeat(Self::request(request)).await;
        self.record("heartbeat", result)
    }

    // --- the result ---

    /// Says why the script ended early.
    pub(crate) fn stopped(&self, stop: &Stop) {
        self.note(format!("stopped: {}", stop.0));
    }

    /// Transcript and histories of all runs, with short names.
    pub async fn result(self) -> String {
        let names: Vec<String> = self.notes.lock().expect("no panic holds it").runs.keys().cloned().collect();
        let mut sections = Vec::new();
        let mut renames = BTreeMap::new();
        for name in names {
            let mut runs = self.chain(&name).await;
            runs.sort_by_key(|(_, events)| events.first().and_then(|e| e.event_time).map(|t| (t.seconds, t.nanos)));
            for (number, (run, events)) in runs.into_iter().enumerate() {
                renames.insert(run, format!("{name}/{}", number + 1));
                let lines = alike_once(events.iter().map(line).collect());
                sections.push(format!("\n{name}/{}\n{}\n", number + 1, lines.join("\n")));
            }
        }
        let transcript = self.notes.lock().expect("no panic holds it").lines.join("\n");
        let text = format!("{transcript}\n{}", sections.concat());
        // Also where a name may have no dot.
        let text = text.replace(&format!("{}-", self.prefix), "").replace(&format!("{}-", self.prefix.replace('.', "-")), "");
        // One or two spaces between the fields of a message in a text: different in each build of the reference.
        let text = text.replace("\"  kind:", "\" kind:");
        shorten(&rename_uuids(&text, &renames))
    }

    /// All runs of a workflow id that were met or that these name, with their histories.
    async fn chain(&self, name: &str) -> Vec<(String, Vec<HistoryEvent>)> {
        let mut open: Vec<String> = self.notes.lock().expect("no panic holds it").runs.get(name).cloned().unwrap_or_default();
        // The current run may be one that nobody has met.
        open.push(String::new());
        let mut done: Vec<(String, Vec<HistoryEvent>)> = Vec::new();
        while let Some(run) = open.pop() {
            if done.iter().any(|(id, _)| *id == run) {
                continue;
            }
            let own = if run.is_empty() { self.current(name).await } else { run };
            let Some(events) = self.history(name, &own).await else { continue };
            let mut others = Vec::new();
            for event in &events {
                let next = match &event.attributes {
                    Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) => &a.continued_execution_run_id,
                    Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(a)) => &a.new_execution_run_id,
                    Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) => &a.new_execution_run_id,
                    Some(Attributes::WorkflowExecutionFailedEventAttributes(a)) => &a.new_execution_run_id,
                    Some(Attributes::WorkflowExecutionTimedOutEventAttributes(a)) => &a.new_execution_run_id,
                    _ => continue,
                };
                others.push(next.clone());
            }
            if !done.iter().any(|(id, _)| *id == own) {
                done.push((own, events));
            }
            open.extend(others.into_iter().filter(|run| !run.is_empty()));
        }
        done
    }

    /// Run id of the current run; empty if there is none.
    pub async fn current(&self, name: &str) -> String {
        let request = DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: Some(self.execution(name)) };
        let answer = self.client().describe_workflow_execution(Self::request(request)).await;
        let info = answer.ok().and_then(|answer| answer.into_inner().workflow_execution_info);
        info.and_then(|info| info.execution).map_or_else(String::new, |execution| execution.run_id)
    }

    async fn history(&self, name: &str, run: &str) -> Option<Vec<HistoryEvent>> {
        let mut events = Vec::new();
        let mut token = Bytes::new();
        loop {
            let mut request = Self::request(GetWorkflowExecutionHistoryRequest {
                namespace: NAMESPACE.into(),
                execution: Some(WorkflowExecution { workflow_id: self.id(name), run_id: run.into() }),
                next_page_token: token,
                ..Default::default()
            });
            // Shows close events as they are, and no events of tasks in memory.
            let headers = request.metadata_mut();
            headers.insert("supported-features", tonic::metadata::MetadataValue::from_static("follows-next-run-id"));
            headers.insert("client-name", tonic::metadata::MetadataValue::from_static("temporal-cli"));
            headers.insert("client-version", tonic::metadata::MetadataValue::from_static("1.0.0"));
            let answer = self.client().get_workflow_execution_history(request).await.ok()?.into_inner();
            events.extend(answer.history.unwrap_or_default().events().ok()?);
            token = answer.next_page_token;
            if token.is_empty() {
                return Some(events);
            }
        }
    }
}

/// Search attributes that make no difference: what Sempre says beside the API, and that a worker of no version has no
/// build id, which the reference says of nearly every run.
fn without_meaning(name: &str, value: &sempre_api::v1::common::Payload) -> bool {
    name.starts_with("Sempre") || name == "BuildIds" && value.data.as_ref() == br#"["unversioned"]"#
}

/// Newer than the reference's API: a link in the answer.
fn without_link(response: Response<QueryWorkflowResponse>) -> Response<QueryWorkflowResponse> {
    response.map(|answer| QueryWorkflowResponse { link: None, ..answer })
}

/// One event: id, name, facts.
pub(crate) fn line(event: &HistoryEvent) -> String {
    let name = event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_");
    let mut rest = event.clone();
    if let Some(Attributes::WorkflowExecutionSignaledEventAttributes(a)) = &mut rest.attributes {
        // Newer than the reference's API.
        a.request_id.clear();
    }
    let attributes = rest.attributes.as_ref().map(facts::of).unwrap_or_default();
    (rest.attributes, rest.event_id, rest.event_type) = (None, 0, 0);
    format!("{:>3} {name} {attributes} {}", event.event_id, facts::of(&rest)).trim_end().to_owned()
}

fn shown_task(poll: &PollWorkflowTaskQueueResponse) -> String {
    let mut rest = poll.clone();
    let events = rest.history.take().unwrap_or_default().events().unwrap_or_default();
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    let range = match (ids.first(), ids.last()) {
        (Some(first), Some(last)) => format!("{first}..{last}"),
        _ => "none".into(),
    };
    // Queries are named by ids of the server's.
    let queries: Vec<String> = std::mem::take(&mut rest.queries).values().map(facts::of).collect();
    let queries = if queries.is_empty() { String::new() } else { format!(" queries[{}]", queries.join("; ")) };
    format!("events {range} {}{queries}", facts::of(&rest))
}

fn details(status: &Status) -> String {
    let details = google::rpc::Status::decode(status.details()).unwrap_or_default().details;
    let names: Vec<&str> = details.iter().map(|any| any.type_url.rsplit('.').next().unwrap_or_default()).collect();
    if names.is_empty() { String::new() } else { format!(" [{}]", names.join(", ")) }
}

/// Many events after each other that differ only in their ids: the first of them, and their number.
fn alike_once(lines: Vec<String>) -> Vec<String> {
    let facts = |line: &String| line.trim_start().split_once(' ').map(|(_, facts)| facts.to_owned());
    let mut out = Vec::new();
    for group in lines.chunk_by(|a, b| facts(a) == facts(b)) {
        match group {
            [first, ..] if group.len() >= 50 => out.push(format!("{first} (and {} more)", group.len() - 1)),
            few => out.extend_from_slice(few),
        }
    }
    out
}

/// Known run ids by their names, all other ids as `<id>`.
fn rename_uuids(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.char_indices().map(|(at, _)| at).find(|at| rest.get(*at..at + 36).is_some_and(is_uuid)) {
        out.push_str(&rest[..at]);
        out.push_str(names.get(&rest[at..at + 36]).map_or("<id>", String::as_str));
        rest = &rest[at + 36..];
    }
    out.push_str(rest);
    out
}

/// Many equal characters in a row as `c*number`.
fn shorten(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(c) = rest.next() {
        let mut number = 1;
        while rest.next_if_eq(&c).is_some() {
            number += 1;
        }
        if number < 50 { out.extend(std::iter::repeat_n(c, number)) } else { out += &format!("{c}*{number}") }
    }
    out
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_get_their_names() {
        let run = "0197a000-0000-7000-8000-000000000001";
        let names = [(run.to_owned(), "a/1".to_owned())].into();
        let text = format!("x {run} y 0197a000-0000-7000-8000-000000000002:9");
        assert_eq!(rename_uuids(&text, &names), "x a/1 y <id>:9");
    }
}
