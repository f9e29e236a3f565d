//! Calls of clients about runs.

use sempre_api::v1::workflowservice::{
    DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse, DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse, RequestCancelWorkflowExecutionRequest, RequestCancelWorkflowExecutionResponse,
    ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse, SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse, SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest, StartWorkflowExecutionResponse, TerminateWorkflowExecutionRequest, TerminateWorkflowExecutionResponse,
};
use sempre_core::{
    Input, Refusal, Reply, RunId, RunKey, StartInput, Timestamp, WorkflowKey,
    input::{CancelRequest, SignalRequest, TerminateRequest},
};

use super::{named, workflow_of};
use crate::{
    Engine, HistoryReader,
    shard::message::{Ask, Body},
    shared::{Shared, internal},
};

/// The run that a call means which may name a chain instead: then it is the current run, whatever run is named beside
/// (spec 01 §6.1, §6.2). That it is of the chain is for core to check.
fn unless_chain(run: Option<RunId>, first_execution_run_id: &str) -> Option<RunId> {
    run.filter(|_| first_execution_run_id.is_empty())
}

impl Shared {
    async fn start(&self, workflow: WorkflowKey, input: StartInput) -> Result<StartWorkflowExecutionResponse, Refusal> {
        if workflow.workflow_id.is_empty() {
            return Err(Refusal::invalid("WorkflowId is not set on request."));
        }
        let (run, reply, page) = self.ask_reply(workflow.clone(), None, Ask::Start(Box::new(input))).await?;
        let Reply::Started { mut response, eager } = reply else { return Err(internal("a start")) };
        if let (Some(window), Some(task)) = (eager, &mut response.eager_workflow_task) {
            let (history, next_page_token) = self.task_history(&RunKey { workflow, run }, window, page).await?;
            task.history = Some(history);
            task.next_page_token = next_page_token;
        }
        Ok(*response)
    }

    /// `SignalWithStartWorkflowExecution`.
    pub(crate) async fn signal_with_start(
        &self,
        mut request: SignalWithStartWorkflowExecutionRequest,
    ) -> Result<SignalWithStartWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespaces.registered(&request.namespace)?;
        self.check_reserved(&namespace, &request.workflow_id).await?;
        let namespace = self.register_unknown(namespace, &request.search_attributes).await?;
        named::said(&namespace, request.search_attributes.as_mut());
        let workflow = WorkflowKey { namespace: namespace.id(), workflow_id: request.workflow_id.clone() };
        let signal = SignalRequest {
            name: request.signal_name,
            input: request.signal_input,
            header: request.header.clone(),
            identity: request.identity.clone(),
            request_id: request.request_id.clone(),
            links: request.links.clone(),
            source: None,
            with_start: true,
        };
        let start = StartWorkflowExecutionRequest {
            namespace: request.namespace,
            workflow_id: request.workflow_id,
            workflow_type: request.workflow_type,
            task_queue: request.task_queue,
            input: request.input,
            workflow_execution_timeout: request.workflow_execution_timeout,
            workflow_run_timeout: request.workflow_run_timeout,
            workflow_task_timeout: request.workflow_task_timeout,
            identity: request.identity,
            request_id: request.request_id,
            workflow_id_reuse_policy: request.workflow_id_reuse_policy,
            workflow_id_conflict_policy: request.workflow_id_conflict_policy,
            retry_policy: request.retry_policy,
            cron_schedule: request.cron_schedule,
            memo: request.memo,
            search_attributes: request.search_attributes,
            header: request.header,
            workflow_start_delay: request.workflow_start_delay,
            user_metadata: request.user_metadata,
            links: request.links,
            versioning_override: request.versioning_override,
            priority: request.priority,
            time_skipping_config: request.time_skipping_config,
            ..Default::default()
        };
        let input = StartInput { request: Box::new(start), signal: Some(Box::new(signal)), child_of: None, watcher: None };
        let response = self.start(workflow, input).await?;
        Ok(SignalWithStartWorkflowExecutionResponse {
            run_id: response.run_id,
            started: response.started,
            signal_link: response.link,
            first_execution_run_id: response.first_execution_run_id,
        })
    }
}

impl Engine {
    /// `StartWorkflowExecution`.
    pub async fn start_workflow(&self, mut request: StartWorkflowExecutionRequest) -> Result<StartWorkflowExecutionResponse, Refusal> {
        let namespace = self.shared.namespaces.registered(&request.namespace)?;
        self.shared.check_reserved(&namespace, &request.workflow_id).await?;
        let namespace = self.shared.register_unknown(namespace, &request.search_attributes).await?;
        named::said(&namespace, request.search_attributes.as_mut());
        let workflow = WorkflowKey { namespace: namespace.id(), workflow_id: request.workflow_id.clone() };
        self.shared.start(workflow, StartInput { request: Box::new(request), signal: None, child_of: None, watcher: None }).await
    }

    /// `SignalWithStartWorkflowExecution`.
    pub async fn signal_with_start(
        &self,
        request: SignalWithStartWorkflowExecutionRequest,
    ) -> Result<SignalWithStartWorkflowExecutionResponse, Refusal> {
        self.shared.signal_with_start(request).await
    }

    /// `SignalWorkflowExecution`.
    pub async fn signal_workflow(&self, mut request: SignalWorkflowExecutionRequest) -> Result<SignalWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.workflow_execution.take())?;
        if request.signal_name.is_empty() {
            return Err(Refusal::invalid("SignalName is not set on request."));
        }
        let input = Input::Signal(Box::new(SignalRequest::from(request)));
        match self.shared.apply(workflow, run, input).await?.1 {
            Reply::Signaled(response) => Ok(response),
            Reply::Done => Ok(SignalWorkflowExecutionResponse::default()),
            _ => Err(internal("a signal")),
        }
    }

    /// `RequestCancelWorkflowExecution`.
    pub async fn request_cancel(
        &self,
        request: RequestCancelWorkflowExecutionRequest,
    ) -> Result<RequestCancelWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.workflow_execution)?;
        let run = unless_chain(run, &request.first_execution_run_id);
        let cancel = CancelRequest {
            reason: request.reason,
            identity: request.identity,
            request_id: request.request_id,
            first_run_id: request.first_execution_run_id,
            links: request.links,
            source: None,
            parent: None,
            reset_parent: None,
        };
        self.shared.apply(workflow, run, Input::RequestCancel(Box::new(cancel))).await?;
        Ok(RequestCancelWorkflowExecutionResponse::default())
    }

    /// `TerminateWorkflowExecution`.
    pub async fn terminate(&self, request: TerminateWorkflowExecutionRequest) -> Result<TerminateWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.workflow_execution)?;
        let run = unless_chain(run, &request.first_execution_run_id);
        let or = |given: String, default: &str| if given.is_empty() { default.to_owned() } else { given };
        let terminate = TerminateRequest {
            reason: or(request.reason, "terminated by user via frontend"),
            details: request.details,
            identity: or(request.identity, "frontend-service"),
            first_run_id: request.first_execution_run_id,
            links: request.links,
            parent: None,
            reset_parent: None,
        };
        self.shared.apply(workflow, run, Input::Terminate(Box::new(terminate))).await?;
        Ok(TerminateWorkflowExecutionResponse::default())
    }

    /// `DescribeWorkflowExecution`.
    pub async fn describe_workflow(&self, request: DescribeWorkflowExecutionRequest) -> Result<DescribeWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.execution)?;
        match self.shared.ask(workflow, run, Ask::Describe).await?.body {
            Body::Description(mut description) => {
                if let Some(info) = description.workflow_execution_info.as_mut().filter(|info| info.close_time.is_none()) {
                    let says = self.queue_attributes(namespace.id(), &info.task_queue);
                    info.search_attributes.get_or_insert_default().indexed_fields.extend(says);
                }
                let info = description.workflow_execution_info.as_mut();
                named::shown(&namespace, info.and_then(|info| info.search_attributes.as_mut()));
                Ok(*description)
            }
            _ => Err(internal("a description")),
        }
    }

    /// `DeleteWorkflowExecution`: terminates an open run first. Answered when its rows are gone.
    pub async fn delete_workflow(&self, request: DeleteWorkflowExecutionRequest) -> Result<DeleteWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.workflow_execution)?;
        self.shared.ask(workflow, run, Ask::Delete).await?;
        Ok(DeleteWorkflowExecutionResponse::default())
    }

    /// `ResetStickyTaskQueue`.
    pub async fn reset_sticky(&self, request: ResetStickyTaskQueueRequest) -> Result<ResetStickyTaskQueueResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.execution)?;
        self.shared.apply(workflow, run, Input::ResetSticky).await?;
        Ok(ResetStickyTaskQueueResponse::default())
    }

    /// `GetWorkflowExecutionHistory`; `deadline` is when the caller gives up.
    pub async fn get_history(
        &self,
        request: GetWorkflowExecutionHistoryRequest,
        reader: HistoryReader,
        deadline: Option<Timestamp>,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?.id();
        self.shared.get_history(namespace, request, reader, deadline).await
    }

    /// `GetWorkflowExecutionHistoryReverse`.
    pub async fn get_history_reverse(
        &self,
        request: GetWorkflowExecutionHistoryReverseRequest,
    ) -> Result<GetWorkflowExecutionHistoryReverseResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?.id();
        self.shared.get_history_reverse(namespace, request).await
    }
}
