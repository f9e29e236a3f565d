//! The API as the pages call it: each request type names its method and its answer.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use prost::Message;
use sempre_api::{
    sempre::v1 as sempre,
    v1::{enums::TaskQueueType, operatorservice as operator, workflowservice as workflow},
};
use tonic::Status;

/// What the pages stand on: the server's calls, in process.
pub trait Backend: Send + Sync {
    /// Calls `method`, which is `/service/method`, with an encoded message; gives the encoded answer. `metadata` is that of
    /// the call.
    fn call<'a>(&'a self, method: &'static str, metadata: HeaderMap, message: Vec<u8>) -> BoxFuture<'a, Result<Bytes, Status>>;

    /// Where a history read goes on from this event; `None` for ids that are none.
    fn history_from(&self, run_id: &str, event_id: i64) -> Option<Bytes>;

    /// The task queues of a namespace that have tasks or pollers. No call of the API tells of them.
    fn queues(&self, namespace: &str) -> Vec<QueueSummary>;

    /// Nanoseconds since 1970.
    fn now(&self) -> i64;
}

/// A task queue at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    /// Its name.
    pub name: String,
    /// What it carries.
    pub kind: TaskQueueType,
    /// Tasks that wait.
    pub backlog: u64,
    /// Seconds that the oldest of them has waited.
    pub oldest_seconds: Option<i64>,
    /// Workers that poll it, or have lately.
    pub pollers: usize,
}

/// A request whose method and answer are known by its type.
pub(crate) trait Call: Message + Sized {
    const METHOD: &'static str;
    type Answer: Message + Default;
}

macro_rules! calls {
    ($module:ident, $service:literal: $($method:literal $request:ident $answer:ident),+ $(,)?) => { $(
        impl Call for $module::$request {
            const METHOD: &'static str = concat!("/", $service, "/", $method);
            type Answer = $module::$answer;
        }
    )+ };
}

calls! { workflow, "temporal.api.workflowservice.v1.WorkflowService":
    "DeleteActivityExecution" DeleteActivityExecutionRequest DeleteActivityExecutionResponse,
    "DescribeActivityExecution" DescribeActivityExecutionRequest DescribeActivityExecutionResponse,
    "ListActivityExecutions" ListActivityExecutionsRequest ListActivityExecutionsResponse,
    "PauseActivityExecution" PauseActivityExecutionRequest PauseActivityExecutionResponse,
    "RequestCancelActivityExecution" RequestCancelActivityExecutionRequest RequestCancelActivityExecutionResponse,
    "ResetActivityExecution" ResetActivityExecutionRequest ResetActivityExecutionResponse,
    "TerminateActivityExecution" TerminateActivityExecutionRequest TerminateActivityExecutionResponse,
    "UnpauseActivityExecution" UnpauseActivityExecutionRequest UnpauseActivityExecutionResponse,
    "CountWorkflowExecutions" CountWorkflowExecutionsRequest CountWorkflowExecutionsResponse,
    "CreateSchedule" CreateScheduleRequest CreateScheduleResponse,
    "DeleteSchedule" DeleteScheduleRequest DeleteScheduleResponse,
    "DeleteWorkflowExecution" DeleteWorkflowExecutionRequest DeleteWorkflowExecutionResponse,
    "DeleteWorkerDeploymentVersion" DeleteWorkerDeploymentVersionRequest DeleteWorkerDeploymentVersionResponse,
    "DescribeBatchOperation" DescribeBatchOperationRequest DescribeBatchOperationResponse,
    "DescribeNamespace" DescribeNamespaceRequest DescribeNamespaceResponse,
    "DescribeSchedule" DescribeScheduleRequest DescribeScheduleResponse,
    "DescribeTaskQueue" DescribeTaskQueueRequest DescribeTaskQueueResponse,
    "DescribeWorker" DescribeWorkerRequest DescribeWorkerResponse,
    "DescribeWorkerDeployment" DescribeWorkerDeploymentRequest DescribeWorkerDeploymentResponse,
    "DescribeWorkflowExecution" DescribeWorkflowExecutionRequest DescribeWorkflowExecutionResponse,
    "GetWorkflowExecutionHistory" GetWorkflowExecutionHistoryRequest GetWorkflowExecutionHistoryResponse,
    "GetWorkflowExecutionHistoryReverse" GetWorkflowExecutionHistoryReverseRequest GetWorkflowExecutionHistoryReverseResponse,
    "ListBatchOperations" ListBatchOperationsRequest ListBatchOperationsResponse,
    "ListNamespaces" ListNamespacesRequest ListNamespacesResponse,
    "ListSchedules" ListSchedulesRequest ListSchedulesResponse,
    "ListWorkerDeployments" ListWorkerDeploymentsRequest ListWorkerDeploymentsResponse,
    "ListWorkers" ListWorkersRequest ListWorkersResponse,
    "ListWorkflowExecutions" ListWorkflowExecutionsRequest ListWorkflowExecutionsResponse,
    "PatchSchedule" PatchScheduleRequest PatchScheduleResponse,
    "PauseActivity" PauseActivityRequest PauseActivityResponse,
    "PauseWorkflowExecution" PauseWorkflowExecutionRequest PauseWorkflowExecutionResponse,
    "PollWorkflowExecutionUpdate" PollWorkflowExecutionUpdateRequest PollWorkflowExecutionUpdateResponse,
    "QueryWorkflow" QueryWorkflowRequest QueryWorkflowResponse,
    "RequestCancelWorkflowExecution" RequestCancelWorkflowExecutionRequest RequestCancelWorkflowExecutionResponse,
    "ResetActivity" ResetActivityRequest ResetActivityResponse,
    "ResetWorkflowExecution" ResetWorkflowExecutionRequest ResetWorkflowExecutionResponse,
    "RespondActivityTaskCompletedById" RespondActivityTaskCompletedByIdRequest RespondActivityTaskCompletedByIdResponse,
    "RespondActivityTaskFailedById" RespondActivityTaskFailedByIdRequest RespondActivityTaskFailedByIdResponse,
    "SetWorkerDeploymentCurrentVersion" SetWorkerDeploymentCurrentVersionRequest SetWorkerDeploymentCurrentVersionResponse,
    "SetWorkerDeploymentRampingVersion" SetWorkerDeploymentRampingVersionRequest SetWorkerDeploymentRampingVersionResponse,
    "SignalWorkflowExecution" SignalWorkflowExecutionRequest SignalWorkflowExecutionResponse,
    "StartBatchOperation" StartBatchOperationRequest StartBatchOperationResponse,
    "StartWorkflowExecution" StartWorkflowExecutionRequest StartWorkflowExecutionResponse,
    "StopBatchOperation" StopBatchOperationRequest StopBatchOperationResponse,
    "TerminateWorkflowExecution" TerminateWorkflowExecutionRequest TerminateWorkflowExecutionResponse,
    "UnpauseActivity" UnpauseActivityRequest UnpauseActivityResponse,
    "UnpauseWorkflowExecution" UnpauseWorkflowExecutionRequest UnpauseWorkflowExecutionResponse,
    "UpdateActivityOptions" UpdateActivityOptionsRequest UpdateActivityOptionsResponse,
    "UpdateSchedule" UpdateScheduleRequest UpdateScheduleResponse,
    "UpdateWorkflowExecution" UpdateWorkflowExecutionRequest UpdateWorkflowExecutionResponse,
}

calls! { operator, "temporal.api.operatorservice.v1.OperatorService":
    "ListSearchAttributes" ListSearchAttributesRequest ListSearchAttributesResponse,
}

calls! { sempre, "sempre.v1.AlertService":
    "DeleteAlertRule" DeleteAlertRuleRequest DeleteAlertRuleResponse,
    "ListAlertRules" ListAlertRulesRequest ListAlertRulesResponse,
    "ListAlerts" ListAlertsRequest ListAlertsResponse,
    "SetAlertRule" SetAlertRuleRequest SetAlertRuleResponse,
    "TestAlertRule" TestAlertRuleRequest TestAlertRuleResponse,
}

calls! { sempre, "sempre.v1.FlowService":
    "DescribeWaitingStart" DescribeWaitingStartRequest DescribeWaitingStartResponse,
}

calls! { sempre, "sempre.v1.InspectService":
    "ListActivityAttempts" ListActivityAttemptsRequest ListActivityAttemptsResponse,
    "ListSkippedActions" ListSkippedActionsRequest ListSkippedActionsResponse,
}

calls! { sempre, "sempre.v1.SteerService":
    "ForkWorkflowExecution" ForkWorkflowExecutionRequest ForkWorkflowExecutionResponse,
    "PreviewBatchOperation" PreviewBatchOperationRequest PreviewBatchOperationResponse,
    "RunActivityNow" RunActivityNowRequest RunActivityNowResponse,
}
