//! WorkflowService: each method admits the request and asks the engine.
//!
//! What is not here answers UNIMPLEMENTED by the generated default; `coverage` lists what is.

use sempre_api::v1::workflowservice::{
    CountActivityExecutionsRequest, CountActivityExecutionsResponse, CountNexusOperationExecutionsRequest,
    CountNexusOperationExecutionsResponse, CountSchedulesRequest, CountSchedulesResponse, CountWorkersRequest, CountWorkersResponse,
    CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, CreateScheduleRequest, CreateScheduleResponse,
    CreateWorkerDeploymentRequest, CreateWorkerDeploymentResponse, CreateWorkerDeploymentVersionRequest,
    CreateWorkerDeploymentVersionResponse, CreateWorkflowRuleRequest, CreateWorkflowRuleResponse, DeleteActivityExecutionRequest,
    DeleteActivityExecutionResponse, DeleteNexusOperationExecutionRequest, DeleteNexusOperationExecutionResponse, DeleteScheduleRequest,
    DeleteScheduleResponse, DeleteWorkerDeploymentRequest, DeleteWorkerDeploymentResponse, DeleteWorkerDeploymentVersionRequest,
    DeleteWorkerDeploymentVersionResponse, DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse, DeleteWorkflowRuleRequest,
    DeleteWorkflowRuleResponse, DeprecateNamespaceRequest, DeprecateNamespaceResponse, DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse, DescribeBatchOperationRequest, DescribeBatchOperationResponse, DescribeDeploymentRequest,
    DescribeDeploymentResponse, DescribeNamespaceRequest, DescribeNamespaceResponse, DescribeNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionResponse, DescribeScheduleRequest, DescribeScheduleResponse, DescribeTaskQueueRequest,
    DescribeTaskQueueResponse, DescribeWorkerDeploymentRequest, DescribeWorkerDeploymentResponse, DescribeWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionResponse, DescribeWorkerRequest, DescribeWorkerResponse, DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse, DescribeWorkflowRuleRequest, DescribeWorkflowRuleResponse, ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse, FetchWorkerConfigRequest, FetchWorkerConfigResponse, GetClusterInfoRequest, GetClusterInfoResponse,
    GetCurrentDeploymentRequest, GetCurrentDeploymentResponse, GetDeploymentReachabilityRequest, GetDeploymentReachabilityResponse,
    GetSearchAttributesRequest, GetSearchAttributesResponse, GetSystemInfoRequest, GetSystemInfoResponse,
    GetWorkerBuildIdCompatibilityRequest, GetWorkerBuildIdCompatibilityResponse, GetWorkerTaskReachabilityRequest,
    GetWorkerTaskReachabilityResponse, GetWorkerVersioningRulesRequest, GetWorkerVersioningRulesResponse,
    GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse, ListActivityExecutionsRequest, ListActivityExecutionsResponse,
    ListArchivedWorkflowExecutionsRequest, ListArchivedWorkflowExecutionsResponse, ListBatchOperationsRequest, ListBatchOperationsResponse,
    ListClosedWorkflowExecutionsRequest, ListClosedWorkflowExecutionsResponse, ListDeploymentsRequest, ListDeploymentsResponse,
    ListNamespacesRequest, ListNamespacesResponse, ListNexusOperationExecutionsRequest, ListNexusOperationExecutionsResponse,
    ListOpenWorkflowExecutionsRequest, ListOpenWorkflowExecutionsResponse, ListScheduleMatchingTimesRequest,
    ListScheduleMatchingTimesResponse, ListSchedulesRequest, ListSchedulesResponse, ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse, ListWorkerDeploymentsRequest, ListWorkerDeploymentsResponse, ListWorkersRequest, ListWorkersResponse,
    ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse, ListWorkflowRulesRequest, ListWorkflowRulesResponse,
    PatchScheduleRequest, PatchScheduleResponse, PauseActivityExecutionRequest, PauseActivityExecutionResponse, PauseActivityRequest,
    PauseActivityResponse, PauseWorkflowExecutionRequest, PauseWorkflowExecutionResponse, PollActivityExecutionRequest,
    PollActivityExecutionResponse, PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollNexusOperationExecutionRequest,
    PollNexusOperationExecutionResponse, PollNexusTaskQueueRequest, PollNexusTaskQueueResponse, PollWorkflowExecutionTimeSkippingRequest,
    PollWorkflowExecutionTimeSkippingResponse, PollWorkflowExecutionUpdateRequest, PollWorkflowExecutionUpdateResponse,
    PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, QueryWorkflowRequest, QueryWorkflowResponse,
    RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatByIdResponse, RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse, RecordWorkerHeartbeatRequest, RecordWorkerHeartbeatResponse, RegisterNamespaceRequest,
    RegisterNamespaceResponse, RequestCancelActivityExecutionRequest, RequestCancelActivityExecutionResponse,
    RequestCancelNexusOperationExecutionRequest, RequestCancelNexusOperationExecutionResponse, RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse, ResetActivityExecutionRequest, ResetActivityExecutionResponse, ResetActivityRequest,
    ResetActivityResponse, ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse, ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse, RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest, RespondActivityTaskCanceledResponse, RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse, RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest, RespondActivityTaskFailedByIdResponse, RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse, RespondNexusTaskCompletedRequest, RespondNexusTaskCompletedResponse, RespondNexusTaskFailedRequest,
    RespondNexusTaskFailedResponse, RespondQueryTaskCompletedRequest, RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse, ScanWorkflowExecutionsRequest, ScanWorkflowExecutionsResponse, SetCurrentDeploymentRequest,
    SetCurrentDeploymentResponse, SetWorkerDeploymentCurrentVersionRequest, SetWorkerDeploymentCurrentVersionResponse,
    SetWorkerDeploymentManagerRequest, SetWorkerDeploymentManagerResponse, SetWorkerDeploymentRampingVersionRequest,
    SetWorkerDeploymentRampingVersionResponse, ShutdownWorkerRequest, ShutdownWorkerResponse, SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse, SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse,
    StartActivityExecutionRequest, StartActivityExecutionResponse, StartBatchOperationRequest, StartBatchOperationResponse,
    StartNexusOperationExecutionRequest, StartNexusOperationExecutionResponse, StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse, StopBatchOperationRequest, StopBatchOperationResponse, TerminateActivityExecutionRequest,
    TerminateActivityExecutionResponse, TerminateNexusOperationExecutionRequest, TerminateNexusOperationExecutionResponse,
    TerminateWorkflowExecutionRequest, TerminateWorkflowExecutionResponse, TriggerWorkflowRuleRequest, TriggerWorkflowRuleResponse,
    UnpauseActivityExecutionRequest, UnpauseActivityExecutionResponse, UnpauseActivityRequest, UnpauseActivityResponse,
    UnpauseWorkflowExecutionRequest, UnpauseWorkflowExecutionResponse, UpdateActivityExecutionOptionsRequest,
    UpdateActivityExecutionOptionsResponse, UpdateActivityOptionsRequest, UpdateActivityOptionsResponse, UpdateNamespaceRequest,
    UpdateNamespaceResponse, UpdateScheduleRequest, UpdateScheduleResponse, UpdateTaskQueueConfigRequest, UpdateTaskQueueConfigResponse,
    UpdateWorkerBuildIdCompatibilityRequest, UpdateWorkerBuildIdCompatibilityResponse, UpdateWorkerConfigRequest,
    UpdateWorkerConfigResponse, UpdateWorkerDeploymentVersionComputeConfigRequest, UpdateWorkerDeploymentVersionComputeConfigResponse,
    UpdateWorkerDeploymentVersionMetadataRequest, UpdateWorkerDeploymentVersionMetadataResponse, UpdateWorkerVersioningRulesRequest,
    UpdateWorkerVersioningRulesResponse, UpdateWorkflowExecutionOptionsRequest, UpdateWorkflowExecutionOptionsResponse,
    UpdateWorkflowExecutionRequest, UpdateWorkflowExecutionResponse, ValidateWorkerDeploymentVersionComputeConfigRequest,
    ValidateWorkerDeploymentVersionComputeConfigResponse, workflow_service_server::WorkflowService,
};
use sempre_core::{Refusal, Span};
use tonic::{Request, Response};

use crate::{
    client_version,
    frontend::{self, Answer, Frontend, answer},
    nexus,
    room::Waiter,
};

/// Older forms of versioning, as a server answers that has them switched off (spec 05 §10).
const VERSION_SETS_DISABLED: &str = "Worker versioning v0.1 (Version Set-based, deprecated) is disabled on this namespace.";
const VERSION_RULES_DISABLED: &str = "Worker versioning v0.2 (Rules-based, deprecated) is disabled on this namespace.";

#[tonic::async_trait]
impl WorkflowService for Frontend {
    async fn start_workflow_execution(&self, request: Request<StartWorkflowExecutionRequest>) -> Answer<StartWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.start_workflow(call.body).await)
    }

    async fn signal_with_start_workflow_execution(
        &self,
        request: Request<SignalWithStartWorkflowExecutionRequest>,
    ) -> Answer<SignalWithStartWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.signal_with_start(call.body).await)
    }

    async fn signal_workflow_execution(&self, request: Request<SignalWorkflowExecutionRequest>) -> Answer<SignalWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        if let Some(faults) = &self.faults {
            let workflow_id = call.body.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
            faults.delay_signal(workflow_id).await;
        }
        answer(self.engine.signal_workflow(call.body).await)
    }

    async fn request_cancel_workflow_execution(
        &self,
        request: Request<RequestCancelWorkflowExecutionRequest>,
    ) -> Answer<RequestCancelWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.request_cancel(call.body).await)
    }

    async fn terminate_workflow_execution(
        &self,
        request: Request<TerminateWorkflowExecutionRequest>,
    ) -> Answer<TerminateWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.terminate(call.body).await)
    }

    async fn pause_workflow_execution(&self, request: Request<PauseWorkflowExecutionRequest>) -> Answer<PauseWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.pause_workflow(call.body).await)
    }

    async fn unpause_workflow_execution(
        &self,
        request: Request<UnpauseWorkflowExecutionRequest>,
    ) -> Answer<UnpauseWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.unpause_workflow(call.body).await)
    }

    async fn delete_workflow_execution(&self, request: Request<DeleteWorkflowExecutionRequest>) -> Answer<DeleteWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_workflow(call.body).await)
    }

    async fn describe_workflow_execution(
        &self,
        request: Request<DescribeWorkflowExecutionRequest>,
    ) -> Answer<DescribeWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_workflow(call.body).await)
    }

    async fn get_workflow_execution_history(
        &self,
        request: Request<GetWorkflowExecutionHistoryRequest>,
    ) -> Answer<GetWorkflowExecutionHistoryResponse> {
        let call = self.admit(request).await?;
        let waits = call.body.wait_new_event;
        let _open = waits.then(|| self.long(&call.body, "get_workflow_execution_history")).transpose()?;
        let (reader, deadline) = (call.history_reader(), call.deadline());
        answer(self.engine.get_history(call.body, reader, deadline).await)
    }

    async fn get_workflow_execution_history_reverse(
        &self,
        request: Request<GetWorkflowExecutionHistoryReverseRequest>,
    ) -> Answer<GetWorkflowExecutionHistoryReverseResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.get_history_reverse(call.body).await)
    }

    async fn reset_workflow_execution(&self, request: Request<ResetWorkflowExecutionRequest>) -> Answer<ResetWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.reset_workflow(call.body).await)
    }

    async fn update_workflow_execution_options(
        &self,
        request: Request<UpdateWorkflowExecutionOptionsRequest>,
    ) -> Answer<UpdateWorkflowExecutionOptionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.update_workflow_options(call.body).await)
    }

    async fn query_workflow(&self, request: Request<QueryWorkflowRequest>) -> Answer<QueryWorkflowResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "query_workflow")?;
        let deadline = call.deadline();
        answer(self.engine.query_workflow(call.body, deadline).await)
    }

    async fn update_workflow_execution(&self, request: Request<UpdateWorkflowExecutionRequest>) -> Answer<UpdateWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "update_workflow_execution")?;
        let deadline = call.deadline();
        answer(self.engine.update_workflow(call.body, deadline).await)
    }

    async fn execute_multi_operation(&self, request: Request<ExecuteMultiOperationRequest>) -> Answer<ExecuteMultiOperationResponse> {
        let waiter = request.extensions().get::<Waiter>().cloned();
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "execute_multi_operation")?;
        // It has waited for its turn.
        let waited = waiter.as_ref().map_or(Span::ZERO, |waiter| Span(i64::try_from(waiter.came.elapsed().as_nanos()).unwrap_or(i64::MAX)));
        let deadline = call.deadline().map(|deadline| deadline - waited);
        // From there on it waits for a worker, which keeps no other start out.
        let made = || waiter.iter().for_each(|waiter| waiter.held.give_turn_back());
        answer(self.engine.execute_multi_operation(call.body, deadline, made).await)
    }

    async fn poll_workflow_execution_update(
        &self,
        request: Request<PollWorkflowExecutionUpdateRequest>,
    ) -> Answer<PollWorkflowExecutionUpdateResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "poll_workflow_execution_update")?;
        let deadline = call.deadline();
        answer(self.engine.poll_update(call.body, deadline).await)
    }

    async fn poll_workflow_task_queue(&self, request: Request<PollWorkflowTaskQueueRequest>) -> Answer<PollWorkflowTaskQueueResponse> {
        let (body, deadline) = self.admit_poll(request).await?;
        let _open = self.long(&body, "poll_workflow_task_queue")?;
        let Some(faults) = &self.faults else { return answer(self.engine.poll_workflow_task(body, Some(deadline)).await) };
        let namespace = body.namespace.clone();
        let task = self.engine.poll_workflow_task(body, Some(deadline)).await;
        answer(task.inspect(|task| faults.took_workflow_task(&namespace, task)))
    }

    async fn respond_workflow_task_completed(
        &self,
        request: Request<RespondWorkflowTaskCompletedRequest>,
    ) -> Answer<RespondWorkflowTaskCompletedResponse> {
        let call = self.admit(request).await?;
        let Some(faults) = &self.faults else { return answer(self.engine.respond_workflow_task_completed(call.body).await) };
        if let Err(refusal) = faults.crash(&call.body.task_token) {
            return answer(Err(refusal));
        }
        let namespace = call.body.namespace.clone();
        let completed = self.engine.respond_workflow_task_completed(call.body).await;
        answer(completed.inspect(|completed| faults.took_eager(&namespace, completed)))
    }

    async fn respond_workflow_task_failed(
        &self,
        request: Request<RespondWorkflowTaskFailedRequest>,
    ) -> Answer<RespondWorkflowTaskFailedResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.respond_workflow_task_failed(call.body).await)
    }

    async fn respond_query_task_completed(
        &self,
        request: Request<RespondQueryTaskCompletedRequest>,
    ) -> Answer<RespondQueryTaskCompletedResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.respond_query_task_completed(call.body).await)
    }

    async fn reset_sticky_task_queue(&self, request: Request<ResetStickyTaskQueueRequest>) -> Answer<ResetStickyTaskQueueResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.reset_sticky(call.body).await)
    }

    async fn poll_activity_task_queue(&self, request: Request<PollActivityTaskQueueRequest>) -> Answer<PollActivityTaskQueueResponse> {
        let sdk = frontend::sdk(request.metadata());
        let (body, deadline) = self.admit_poll(request).await?;
        let _open = self.long(&body, "poll_activity_task_queue")?;
        let Some(faults) = &self.faults else { return answer(self.engine.poll_activity_task_as(body, sdk, Some(deadline)).await) };
        let namespace = body.namespace.clone();
        let task = self.engine.poll_activity_task_as(body, sdk, Some(deadline)).await;
        answer(task.inspect(|task| faults.took_activity(&namespace, task)))
    }

    async fn poll_nexus_task_queue(&self, request: Request<PollNexusTaskQueueRequest>) -> Answer<PollNexusTaskQueueResponse> {
        let (body, deadline) = self.admit_poll(request).await?;
        let _open = self.long(&body, "poll_nexus_task_queue")?;
        answer(self.engine.poll_nexus_task(body, Some(deadline)).await)
    }

    async fn respond_nexus_task_completed(
        &self,
        request: Request<RespondNexusTaskCompletedRequest>,
    ) -> Answer<RespondNexusTaskCompletedResponse> {
        let mut call = self.admit(request).await?;
        let checked = nexus::answers::in_todays_form(&mut call.body);
        answer(match checked {
            Ok(()) => self.engine.respond_nexus_task_completed(call.body).await,
            Err(refusal) => Err(refusal),
        })
    }

    async fn respond_nexus_task_failed(&self, request: Request<RespondNexusTaskFailedRequest>) -> Answer<RespondNexusTaskFailedResponse> {
        let mut call = self.admit(request).await?;
        let checked = nexus::answers::failure_in_todays_form(&mut call.body);
        answer(match checked {
            Ok(()) => self.engine.respond_nexus_task_failed(call.body).await,
            Err(refusal) => Err(refusal),
        })
    }

    async fn record_activity_task_heartbeat(
        &self,
        request: Request<RecordActivityTaskHeartbeatRequest>,
    ) -> Answer<RecordActivityTaskHeartbeatResponse> {
        let call = self.admit(request).await?;
        if let Some(faults) = &self.faults
            && faults.loses_heartbeat(&call.body.task_token).await
        {
            return Ok(Response::new(RecordActivityTaskHeartbeatResponse::default()));
        }
        answer(self.engine.record_activity_heartbeat(call.body).await)
    }

    async fn record_activity_task_heartbeat_by_id(
        &self,
        request: Request<RecordActivityTaskHeartbeatByIdRequest>,
    ) -> Answer<RecordActivityTaskHeartbeatByIdResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.record_activity_heartbeat_by_id(call.body).await)
    }

    async fn respond_activity_task_completed(
        &self,
        request: Request<RespondActivityTaskCompletedRequest>,
    ) -> Answer<RespondActivityTaskCompletedResponse> {
        let call = self.admit(request).await?;
        if self.faults.as_ref().is_some_and(|faults| faults.loses_answer(&call.body.task_token)) {
            return Ok(Response::new(RespondActivityTaskCompletedResponse::default()));
        }
        answer(self.engine.respond_activity_task_completed(call.body).await)
    }

    async fn respond_activity_task_completed_by_id(
        &self,
        request: Request<RespondActivityTaskCompletedByIdRequest>,
    ) -> Answer<RespondActivityTaskCompletedByIdResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.respond_activity_task_completed_by_id(call.body).await)
    }

    async fn respond_activity_task_failed(
        &self,
        request: Request<RespondActivityTaskFailedRequest>,
    ) -> Answer<RespondActivityTaskFailedResponse> {
        let call = self.admit(request).await?;
        if self.faults.as_ref().is_some_and(|faults| faults.loses_answer(&call.body.task_token)) {
            return Ok(Response::new(RespondActivityTaskFailedResponse::default()));
        }
        answer(self.engine.respond_activity_task_failed(call.body).await)
    }

    async fn respond_activity_task_failed_by_id(
        &self,
        request: Request<RespondActivityTaskFailedByIdRequest>,
    ) -> Answer<RespondActivityTaskFailedByIdResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.respond_activity_task_failed_by_id(call.body).await)
    }

    async fn respond_activity_task_canceled(
        &self,
        request: Request<RespondActivityTaskCanceledRequest>,
    ) -> Answer<RespondActivityTaskCanceledResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.respond_activity_task_canceled(call.body).await)
    }

    async fn respond_activity_task_canceled_by_id(
        &self,
        request: Request<RespondActivityTaskCanceledByIdRequest>,
    ) -> Answer<RespondActivityTaskCanceledByIdResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.respond_activity_task_canceled_by_id(call.body).await)
    }

    async fn pause_activity(&self, request: Request<PauseActivityRequest>) -> Answer<PauseActivityResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.pause_activity(call.body).await)
    }

    async fn unpause_activity(&self, request: Request<UnpauseActivityRequest>) -> Answer<UnpauseActivityResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.unpause_activity(call.body).await)
    }

    async fn reset_activity(&self, request: Request<ResetActivityRequest>) -> Answer<ResetActivityResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.reset_activity(call.body).await)
    }

    async fn update_activity_options(&self, request: Request<UpdateActivityOptionsRequest>) -> Answer<UpdateActivityOptionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.update_activity_options(call.body).await)
    }

    async fn start_activity_execution(&self, request: Request<StartActivityExecutionRequest>) -> Answer<StartActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.start_activity(call.body).await)
    }

    async fn describe_activity_execution(
        &self,
        request: Request<DescribeActivityExecutionRequest>,
    ) -> Answer<DescribeActivityExecutionResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "describe_activity_execution")?;
        let deadline = call.deadline();
        answer(self.engine.describe_activity(call.body, deadline).await)
    }

    async fn poll_activity_execution(&self, request: Request<PollActivityExecutionRequest>) -> Answer<PollActivityExecutionResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "poll_activity_execution")?;
        let deadline = call.deadline();
        answer(self.engine.poll_activity(call.body, deadline).await)
    }

    async fn poll_workflow_execution_time_skipping(
        &self,
        request: Request<PollWorkflowExecutionTimeSkippingRequest>,
    ) -> Answer<PollWorkflowExecutionTimeSkippingResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "poll_workflow_execution_time_skipping")?;
        let deadline = call.deadline();
        answer(self.engine.poll_time_skipping(call.body, deadline).await)
    }

    async fn list_activity_executions(&self, request: Request<ListActivityExecutionsRequest>) -> Answer<ListActivityExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_activities(call.body).await)
    }

    async fn count_activity_executions(&self, request: Request<CountActivityExecutionsRequest>) -> Answer<CountActivityExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.count_activities(call.body).await)
    }

    async fn request_cancel_activity_execution(
        &self,
        request: Request<RequestCancelActivityExecutionRequest>,
    ) -> Answer<RequestCancelActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.cancel_activity(call.body).await)
    }

    async fn terminate_activity_execution(
        &self,
        request: Request<TerminateActivityExecutionRequest>,
    ) -> Answer<TerminateActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.terminate_activity(call.body).await)
    }

    async fn delete_activity_execution(&self, request: Request<DeleteActivityExecutionRequest>) -> Answer<DeleteActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_activity(call.body).await)
    }

    async fn start_nexus_operation_execution(
        &self,
        request: Request<StartNexusOperationExecutionRequest>,
    ) -> Answer<StartNexusOperationExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.start_operation(call.body).await)
    }

    async fn describe_nexus_operation_execution(
        &self,
        request: Request<DescribeNexusOperationExecutionRequest>,
    ) -> Answer<DescribeNexusOperationExecutionResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "describe_nexus_operation_execution")?;
        let deadline = call.deadline();
        answer(self.engine.describe_operation(call.body, deadline).await)
    }

    async fn poll_nexus_operation_execution(
        &self,
        request: Request<PollNexusOperationExecutionRequest>,
    ) -> Answer<PollNexusOperationExecutionResponse> {
        let call = self.admit(request).await?;
        let _open = self.long(&call.body, "poll_nexus_operation_execution")?;
        let deadline = call.deadline();
        answer(self.engine.poll_operation(call.body, deadline).await)
    }

    async fn list_nexus_operation_executions(
        &self,
        request: Request<ListNexusOperationExecutionsRequest>,
    ) -> Answer<ListNexusOperationExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_operations(call.body).await)
    }

    async fn count_nexus_operation_executions(
        &self,
        request: Request<CountNexusOperationExecutionsRequest>,
    ) -> Answer<CountNexusOperationExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.count_operations(call.body).await)
    }

    async fn request_cancel_nexus_operation_execution(
        &self,
        request: Request<RequestCancelNexusOperationExecutionRequest>,
    ) -> Answer<RequestCancelNexusOperationExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.cancel_operation(call.body).await)
    }

    async fn terminate_nexus_operation_execution(
        &self,
        request: Request<TerminateNexusOperationExecutionRequest>,
    ) -> Answer<TerminateNexusOperationExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.terminate_operation(call.body).await)
    }

    async fn delete_nexus_operation_execution(
        &self,
        request: Request<DeleteNexusOperationExecutionRequest>,
    ) -> Answer<DeleteNexusOperationExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_operation(call.body).await)
    }

    async fn pause_activity_execution(&self, request: Request<PauseActivityExecutionRequest>) -> Answer<PauseActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.pause_activity_execution(call.body).await)
    }

    async fn unpause_activity_execution(
        &self,
        request: Request<UnpauseActivityExecutionRequest>,
    ) -> Answer<UnpauseActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.unpause_activity_execution(call.body).await)
    }

    async fn reset_activity_execution(&self, request: Request<ResetActivityExecutionRequest>) -> Answer<ResetActivityExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.reset_activity_execution(call.body).await)
    }

    async fn update_activity_execution_options(
        &self,
        request: Request<UpdateActivityExecutionOptionsRequest>,
    ) -> Answer<UpdateActivityExecutionOptionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.update_activity_execution_options(call.body).await)
    }

    async fn shutdown_worker(&self, request: Request<ShutdownWorkerRequest>) -> Answer<ShutdownWorkerResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.shutdown_worker(call.body).await)
    }

    async fn record_worker_heartbeat(&self, request: Request<RecordWorkerHeartbeatRequest>) -> Answer<RecordWorkerHeartbeatResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.record_worker_heartbeat(call.body).await)
    }

    async fn list_workflow_executions(&self, request: Request<ListWorkflowExecutionsRequest>) -> Answer<ListWorkflowExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_workflows(call.body).await)
    }

    async fn scan_workflow_executions(&self, request: Request<ScanWorkflowExecutionsRequest>) -> Answer<ScanWorkflowExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.scan_workflows(call.body).await)
    }

    async fn count_workflow_executions(&self, request: Request<CountWorkflowExecutionsRequest>) -> Answer<CountWorkflowExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.count_workflows(call.body).await)
    }

    async fn list_open_workflow_executions(
        &self,
        request: Request<ListOpenWorkflowExecutionsRequest>,
    ) -> Answer<ListOpenWorkflowExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_open_workflows(call.body).await)
    }

    async fn list_closed_workflow_executions(
        &self,
        request: Request<ListClosedWorkflowExecutionsRequest>,
    ) -> Answer<ListClosedWorkflowExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_closed_workflows(call.body).await)
    }

    async fn list_archived_workflow_executions(
        &self,
        request: Request<ListArchivedWorkflowExecutionsRequest>,
    ) -> Answer<ListArchivedWorkflowExecutionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_archived_workflows(call.body).await)
    }

    async fn get_search_attributes(&self, request: Request<GetSearchAttributesRequest>) -> Answer<GetSearchAttributesResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(Ok(self.engine.search_attributes_of_all(request.into_inner())))
    }

    async fn list_workers(&self, request: Request<ListWorkersRequest>) -> Answer<ListWorkersResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_workers(call.body).await)
    }

    async fn count_workers(&self, request: Request<CountWorkersRequest>) -> Answer<CountWorkersResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.count_workers(call.body).await)
    }

    async fn describe_worker(&self, request: Request<DescribeWorkerRequest>) -> Answer<DescribeWorkerResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_worker(call.body).await)
    }

    async fn describe_task_queue(&self, request: Request<DescribeTaskQueueRequest>) -> Answer<DescribeTaskQueueResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_task_queue(call.body).await)
    }

    async fn list_task_queue_partitions(
        &self,
        request: Request<ListTaskQueuePartitionsRequest>,
    ) -> Answer<ListTaskQueuePartitionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_task_queue_partitions(call.body, &self.host).await)
    }

    async fn update_task_queue_config(&self, request: Request<UpdateTaskQueueConfigRequest>) -> Answer<UpdateTaskQueueConfigResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.update_task_queue_config(call.body).await)
    }

    async fn create_schedule(&self, request: Request<CreateScheduleRequest>) -> Answer<CreateScheduleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.create_schedule(call.body).await)
    }

    async fn describe_schedule(&self, request: Request<DescribeScheduleRequest>) -> Answer<DescribeScheduleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_schedule(call.body).await)
    }

    async fn update_schedule(&self, request: Request<UpdateScheduleRequest>) -> Answer<UpdateScheduleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.update_schedule(call.body).await)
    }

    async fn patch_schedule(&self, request: Request<PatchScheduleRequest>) -> Answer<PatchScheduleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.patch_schedule(call.body).await)
    }

    async fn list_schedule_matching_times(
        &self,
        request: Request<ListScheduleMatchingTimesRequest>,
    ) -> Answer<ListScheduleMatchingTimesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_schedule_matching_times(call.body).await)
    }

    async fn delete_schedule(&self, request: Request<DeleteScheduleRequest>) -> Answer<DeleteScheduleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_schedule(call.body).await)
    }

    async fn list_schedules(&self, request: Request<ListSchedulesRequest>) -> Answer<ListSchedulesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_schedules(call.body).await)
    }

    async fn count_schedules(&self, request: Request<CountSchedulesRequest>) -> Answer<CountSchedulesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.count_schedules(call.body).await)
    }

    async fn start_batch_operation(&self, request: Request<StartBatchOperationRequest>) -> Answer<StartBatchOperationResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.start_batch(call.body).await)
    }

    async fn stop_batch_operation(&self, request: Request<StopBatchOperationRequest>) -> Answer<StopBatchOperationResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.stop_batch(call.body).await)
    }

    async fn describe_batch_operation(&self, request: Request<DescribeBatchOperationRequest>) -> Answer<DescribeBatchOperationResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_batch(call.body).await)
    }

    async fn list_batch_operations(&self, request: Request<ListBatchOperationsRequest>) -> Answer<ListBatchOperationsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_batches(call.body).await)
    }

    async fn describe_worker_deployment_version(
        &self,
        request: Request<DescribeWorkerDeploymentVersionRequest>,
    ) -> Answer<DescribeWorkerDeploymentVersionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_deployment_version(call.body).await)
    }

    async fn describe_worker_deployment(
        &self,
        request: Request<DescribeWorkerDeploymentRequest>,
    ) -> Answer<DescribeWorkerDeploymentResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_deployment(call.body).await)
    }

    async fn list_worker_deployments(&self, request: Request<ListWorkerDeploymentsRequest>) -> Answer<ListWorkerDeploymentsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_deployments(call.body).await)
    }

    async fn set_worker_deployment_current_version(
        &self,
        request: Request<SetWorkerDeploymentCurrentVersionRequest>,
    ) -> Answer<SetWorkerDeploymentCurrentVersionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.set_current_version(call.body).await)
    }

    async fn set_worker_deployment_ramping_version(
        &self,
        request: Request<SetWorkerDeploymentRampingVersionRequest>,
    ) -> Answer<SetWorkerDeploymentRampingVersionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.set_ramping_version(call.body).await)
    }

    async fn set_worker_deployment_manager(
        &self,
        request: Request<SetWorkerDeploymentManagerRequest>,
    ) -> Answer<SetWorkerDeploymentManagerResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.set_deployment_manager(call.body).await)
    }

    async fn create_worker_deployment(&self, request: Request<CreateWorkerDeploymentRequest>) -> Answer<CreateWorkerDeploymentResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.create_deployment(call.body).await)
    }

    async fn create_worker_deployment_version(
        &self,
        request: Request<CreateWorkerDeploymentVersionRequest>,
    ) -> Answer<CreateWorkerDeploymentVersionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.create_deployment_version(call.body).await)
    }

    async fn delete_worker_deployment(&self, request: Request<DeleteWorkerDeploymentRequest>) -> Answer<DeleteWorkerDeploymentResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_deployment(call.body).await)
    }

    async fn delete_worker_deployment_version(
        &self,
        request: Request<DeleteWorkerDeploymentVersionRequest>,
    ) -> Answer<DeleteWorkerDeploymentVersionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_deployment_version(call.body).await)
    }

    async fn update_worker_deployment_version_metadata(
        &self,
        request: Request<UpdateWorkerDeploymentVersionMetadataRequest>,
    ) -> Answer<UpdateWorkerDeploymentVersionMetadataResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.update_version_metadata(call.body).await)
    }

    async fn update_worker_build_id_compatibility(
        &self,
        request: Request<UpdateWorkerBuildIdCompatibilityRequest>,
    ) -> Answer<UpdateWorkerBuildIdCompatibilityResponse> {
        self.admit(request).await?;
        answer(Err(Refusal::PermissionDenied(VERSION_SETS_DISABLED.into())))
    }

    async fn get_worker_build_id_compatibility(
        &self,
        request: Request<GetWorkerBuildIdCompatibilityRequest>,
    ) -> Answer<GetWorkerBuildIdCompatibilityResponse> {
        self.admit(request).await?;
        answer(Err(Refusal::PermissionDenied(VERSION_SETS_DISABLED.into())))
    }

    async fn update_worker_versioning_rules(
        &self,
        request: Request<UpdateWorkerVersioningRulesRequest>,
    ) -> Answer<UpdateWorkerVersioningRulesResponse> {
        self.admit(request).await?;
        answer(Err(Refusal::PermissionDenied(VERSION_RULES_DISABLED.into())))
    }

    async fn get_worker_versioning_rules(
        &self,
        request: Request<GetWorkerVersioningRulesRequest>,
    ) -> Answer<GetWorkerVersioningRulesResponse> {
        self.admit(request).await?;
        answer(Err(Refusal::PermissionDenied(VERSION_RULES_DISABLED.into())))
    }

    async fn get_worker_task_reachability(
        &self,
        request: Request<GetWorkerTaskReachabilityRequest>,
    ) -> Answer<GetWorkerTaskReachabilityResponse> {
        self.admit(request).await?;
        answer(Err(Refusal::PermissionDenied(VERSION_RULES_DISABLED.into())))
    }

    async fn describe_deployment(&self, request: Request<DescribeDeploymentRequest>) -> Answer<DescribeDeploymentResponse> {
        self.refuse("DescribeDeployment", request).await
    }

    async fn list_deployments(&self, request: Request<ListDeploymentsRequest>) -> Answer<ListDeploymentsResponse> {
        self.refuse("ListDeployments", request).await
    }

    async fn get_deployment_reachability(
        &self,
        request: Request<GetDeploymentReachabilityRequest>,
    ) -> Answer<GetDeploymentReachabilityResponse> {
        self.refuse("GetDeploymentReachability", request).await
    }

    async fn get_current_deployment(&self, request: Request<GetCurrentDeploymentRequest>) -> Answer<GetCurrentDeploymentResponse> {
        self.refuse("GetCurrentDeployment", request).await
    }

    async fn set_current_deployment(&self, request: Request<SetCurrentDeploymentRequest>) -> Answer<SetCurrentDeploymentResponse> {
        self.refuse("SetCurrentDeployment", request).await
    }

    async fn create_workflow_rule(&self, request: Request<CreateWorkflowRuleRequest>) -> Answer<CreateWorkflowRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.create_workflow_rule(call.body).await)
    }

    async fn describe_workflow_rule(&self, request: Request<DescribeWorkflowRuleRequest>) -> Answer<DescribeWorkflowRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_workflow_rule(&call.body))
    }

    async fn delete_workflow_rule(&self, request: Request<DeleteWorkflowRuleRequest>) -> Answer<DeleteWorkflowRuleResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.delete_workflow_rule(call.body).await)
    }

    async fn list_workflow_rules(&self, request: Request<ListWorkflowRulesRequest>) -> Answer<ListWorkflowRulesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_workflow_rules(&call.body))
    }

    async fn trigger_workflow_rule(&self, request: Request<TriggerWorkflowRuleRequest>) -> Answer<TriggerWorkflowRuleResponse> {
        self.refuse("TriggerWorkflowRule", request).await
    }

    async fn fetch_worker_config(&self, request: Request<FetchWorkerConfigRequest>) -> Answer<FetchWorkerConfigResponse> {
        self.refuse("FetchWorkerConfig", request).await
    }

    async fn update_worker_config(&self, request: Request<UpdateWorkerConfigRequest>) -> Answer<UpdateWorkerConfigResponse> {
        self.refuse("UpdateWorkerConfig", request).await
    }

    async fn update_worker_deployment_version_compute_config(
        &self,
        request: Request<UpdateWorkerDeploymentVersionComputeConfigRequest>,
    ) -> Answer<UpdateWorkerDeploymentVersionComputeConfigResponse> {
        self.refuse("UpdateWorkerDeploymentVersionComputeConfig", request).await
    }

    async fn validate_worker_deployment_version_compute_config(
        &self,
        request: Request<ValidateWorkerDeploymentVersionComputeConfigRequest>,
    ) -> Answer<ValidateWorkerDeploymentVersionComputeConfigResponse> {
        self.refuse("ValidateWorkerDeploymentVersionComputeConfig", request).await
    }

    async fn register_namespace(&self, request: Request<RegisterNamespaceRequest>) -> Answer<RegisterNamespaceResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.register_namespace(call.body).await)
    }

    async fn describe_namespace(&self, request: Request<DescribeNamespaceRequest>) -> Answer<DescribeNamespaceResponse> {
        let call = self.admit(request).await?;
        let mut described = self.engine.describe_namespace(call.body).await;
        if let Ok(info) = described.as_mut().map(|response| response.namespace_info.as_mut()) {
            info.into_iter().for_each(|info| self.facts.complete(info));
        }
        answer(described)
    }

    async fn list_namespaces(&self, request: Request<ListNamespacesRequest>) -> Answer<ListNamespacesResponse> {
        let mut listed = self.engine.list_namespaces(request.into_inner()).await;
        for namespace in listed.iter_mut().flat_map(|response| &mut response.namespaces) {
            namespace.namespace_info.iter_mut().for_each(|info| self.facts.complete(info));
        }
        answer(listed)
    }

    async fn update_namespace(&self, request: Request<UpdateNamespaceRequest>) -> Answer<UpdateNamespaceResponse> {
        let call = self.admit(request).await?;
        let mut described = self.engine.update_namespace(call.body).await;
        if let Ok(info) = described.as_mut().map(|response| response.namespace_info.as_mut()) {
            info.into_iter().for_each(|info| self.facts.complete(info));
        }
        answer(described)
    }

    async fn deprecate_namespace(&self, request: Request<DeprecateNamespaceRequest>) -> Answer<DeprecateNamespaceResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.deprecate_namespace(call.body).await)
    }

    async fn get_system_info(&self, request: Request<GetSystemInfoRequest>) -> Answer<GetSystemInfoResponse> {
        client_version::check(request.metadata().as_ref())?;
        Ok(Response::new(self.facts.system_info()))
    }

    async fn get_cluster_info(&self, request: Request<GetClusterInfoRequest>) -> Answer<GetClusterInfoResponse> {
        client_version::check(request.metadata().as_ref())?;
        Ok(Response::new(self.facts.cluster_info()))
    }
}
