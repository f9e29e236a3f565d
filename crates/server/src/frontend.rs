//! What every handler shares: the engine, and the checks that come before a request's body (spec 09 §4.4).

use std::sync::Arc;

use http::HeaderMap;
use sempre_api::sempre::v1::{
    CheckDeploymentVersionRequest, DeleteAlertRuleRequest, DeleteFlowRuleRequest, DescribeFlowRuleRequest, DescribeNamespaceLimitsRequest,
    DescribeWaitingStartRequest, ForkWorkflowExecutionRequest, ListActivityAttemptsRequest, ListAlertRulesRequest, ListAlertsRequest,
    ListFlowRulesRequest, ListNoticesRequest, ListPatchesRequest, ListPolledQueuesRequest, ListSkippedActionsRequest,
    ListWaitingStartsRequest, PreviewBatchOperationRequest, RenameSearchAttributeRequest, RunActivityNowRequest, SetAlertRuleRequest,
    SetFlowRuleRequest, StartBatchForkRequest, TestAlertRuleRequest,
};
use sempre_api::v1::{
    operatorservice::{AddSearchAttributesRequest, DeleteNamespaceRequest, ListSearchAttributesRequest, RemoveSearchAttributesRequest},
    workflowservice::{
        CountActivityExecutionsRequest, CountNexusOperationExecutionsRequest, CountSchedulesRequest, CountWorkersRequest,
        CountWorkflowExecutionsRequest, CreateScheduleRequest, CreateWorkerDeploymentRequest, CreateWorkerDeploymentVersionRequest,
        CreateWorkflowRuleRequest, DeleteActivityExecutionRequest, DeleteNexusOperationExecutionRequest, DeleteScheduleRequest,
        DeleteWorkerDeploymentRequest, DeleteWorkerDeploymentVersionRequest, DeleteWorkflowExecutionRequest, DeleteWorkflowRuleRequest,
        DeprecateNamespaceRequest, DescribeActivityExecutionRequest, DescribeBatchOperationRequest, DescribeDeploymentRequest,
        DescribeNamespaceRequest, DescribeNexusOperationExecutionRequest, DescribeScheduleRequest, DescribeTaskQueueRequest,
        DescribeWorkerDeploymentRequest, DescribeWorkerDeploymentVersionRequest, DescribeWorkerRequest, DescribeWorkflowExecutionRequest,
        DescribeWorkflowRuleRequest, ExecuteMultiOperationRequest, FetchWorkerConfigRequest, GetCurrentDeploymentRequest,
        GetDeploymentReachabilityRequest, GetWorkerBuildIdCompatibilityRequest, GetWorkerTaskReachabilityRequest,
        GetWorkerVersioningRulesRequest, GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryReverseRequest,
        ListActivityExecutionsRequest, ListArchivedWorkflowExecutionsRequest, ListBatchOperationsRequest,
        ListClosedWorkflowExecutionsRequest, ListDeploymentsRequest, ListNexusOperationExecutionsRequest,
        ListOpenWorkflowExecutionsRequest, ListScheduleMatchingTimesRequest, ListSchedulesRequest, ListTaskQueuePartitionsRequest,
        ListWorkerDeploymentsRequest, ListWorkersRequest, ListWorkflowExecutionsRequest, ListWorkflowRulesRequest, PatchScheduleRequest,
        PauseActivityExecutionRequest, PauseActivityRequest, PauseWorkflowExecutionRequest, PollActivityExecutionRequest,
        PollActivityTaskQueueRequest, PollNexusOperationExecutionRequest, PollNexusTaskQueueRequest,
        PollWorkflowExecutionTimeSkippingRequest, PollWorkflowExecutionUpdateRequest, PollWorkflowTaskQueueRequest, QueryWorkflowRequest,
        RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatRequest, RecordWorkerHeartbeatRequest, RegisterNamespaceRequest,
        RequestCancelActivityExecutionRequest, RequestCancelNexusOperationExecutionRequest, RequestCancelWorkflowExecutionRequest,
        ResetActivityExecutionRequest, ResetActivityRequest, ResetStickyTaskQueueRequest, ResetWorkflowExecutionRequest,
        RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCanceledRequest, RespondActivityTaskCompletedByIdRequest,
        RespondActivityTaskCompletedRequest, RespondActivityTaskFailedByIdRequest, RespondActivityTaskFailedRequest,
        RespondNexusTaskCompletedRequest, RespondNexusTaskFailedRequest, RespondQueryTaskCompletedRequest,
        RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest, ScanWorkflowExecutionsRequest, SetCurrentDeploymentRequest,
        SetWorkerDeploymentCurrentVersionRequest, SetWorkerDeploymentManagerRequest, SetWorkerDeploymentRampingVersionRequest,
        ShutdownWorkerRequest, SignalWithStartWorkflowExecutionRequest, SignalWorkflowExecutionRequest, StartActivityExecutionRequest,
        StartBatchOperationRequest, StartNexusOperationExecutionRequest, StartWorkflowExecutionRequest, StopBatchOperationRequest,
        TerminateActivityExecutionRequest, TerminateNexusOperationExecutionRequest, TerminateWorkflowExecutionRequest,
        TriggerWorkflowRuleRequest, UnpauseActivityExecutionRequest, UnpauseActivityRequest, UnpauseWorkflowExecutionRequest,
        UpdateActivityExecutionOptionsRequest, UpdateActivityOptionsRequest, UpdateNamespaceRequest, UpdateScheduleRequest,
        UpdateTaskQueueConfigRequest, UpdateWorkerBuildIdCompatibilityRequest, UpdateWorkerConfigRequest,
        UpdateWorkerDeploymentVersionComputeConfigRequest, UpdateWorkerDeploymentVersionMetadataRequest,
        UpdateWorkerVersioningRulesRequest, UpdateWorkflowExecutionOptionsRequest, UpdateWorkflowExecutionRequest,
        ValidateWorkerDeploymentVersionComputeConfigRequest,
    },
};
use sempre_core::{Refusal, Span, Timestamp, input::Sdk};
use sempre_engine::{Engine, HistoryReader};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    access::Access,
    audit::Audit,
    client_version, coverage, deadline,
    faults::Faults,
    long_calls::{LongCall, LongCalls},
    room::Room,
    server::ServerSettings,
    status,
    system::SystemFacts,
    telemetry::trace::{Subject, SubjectOf},
};

/// What a handler gives back.
pub(crate) type Answer<T> = Result<Response<T>, Status>;

/// The handlers' shared state.
#[derive(Clone)]
pub(crate) struct Frontend {
    pub(crate) engine: Engine,
    pub(crate) facts: SystemFacts,
    /// The address of this server.
    pub(crate) host: Arc<str>,
    id_length_max: usize,
    /// The retention of namespaces that are made by the first call that names them.
    any_namespace: Option<Span>,
    pub(crate) long_calls: Arc<LongCalls>,
    /// Memory for calls.
    pub(crate) room: Arc<Room>,
    /// What goes wrong, for tests.
    pub(crate) faults: Option<Faults>,
    /// Who decides whether callers may call. `None`: they may.
    pub(crate) access: Option<Access>,
    /// Where it is written down what callers do. `None`: nowhere.
    pub(crate) audit: Option<Audit>,
    /// Of one of several nodes, what knows the others.
    #[cfg(feature = "postgres")]
    pub(crate) node: Option<Arc<sempre_engine::node::Node>>,
}

/// A request that passed the checks before its body.
pub(crate) struct Admitted<R> {
    pub(crate) body: R,
    headers: HeaderMap,
    now: Timestamp,
}

impl Frontend {
    pub(crate) fn new(engine: Engine, settings: &ServerSettings, access: Option<Access>, audit: Option<Audit>) -> Self {
        let facts = SystemFacts::new(settings, engine.cluster_id().to_owned());
        let host = settings.address.to_string().into();
        let any_namespace = settings.any_namespace.then_some(settings.retention);
        let long_calls = LongCalls::new(settings.engine.long_calls_max);
        let faults = Faults::new(settings.faults, &engine);
        let id_length_max = settings.engine.limits.id_length_max;
        let room = Room::new(settings.call_bytes_max);
        Self {
            engine,
            facts,
            host,
            id_length_max,
            any_namespace,
            long_calls,
            room,
            faults,
            access,
            audit,
            #[cfg(feature = "postgres")]
            node: None,
        }
    }

    /// As one of several nodes, if it is one.
    #[cfg(feature = "postgres")]
    pub(crate) fn with_node(self, node: Option<Arc<sempre_engine::node::Node>>) -> Self {
        Self { node, ..self }
    }

    /// Namespace given and not too long, versions fit. That the namespace exists is the engine's first check.
    pub(crate) async fn admit<R: InNamespace>(&self, request: Request<R>) -> Result<Admitted<R>, Status> {
        let (metadata, extensions, body) = request.into_parts();
        let namespace = body.namespace();
        if let Some(span) = extensions.get::<SubjectOf>() {
            span.say(|| body.subject());
        }
        if namespace.len() > self.id_length_max {
            return Err(status::from_refusal(Refusal::invalid("Namespace length exceeds limit.")));
        }
        if namespace.is_empty() && body.namespace_required() {
            let text = if body.registers_namespace() { "Namespace not set on request." } else { "Namespace is empty." };
            return Err(status::from_refusal(Refusal::invalid(text)));
        }
        let headers = metadata.into_headers();
        if let Err(refused) = client_version::check(&headers) {
            return Err(self.unknown_namespace(namespace).await.unwrap_or(refused));
        }
        if let Some(retention) = self.any_namespace.filter(|_| !namespace.is_empty() && !body.registers_namespace()) {
            self.engine.ensure_namespace(namespace, retention).await.map_err(status::from_refusal)?;
        }
        Ok(Admitted { body, headers, now: self.engine.wall_now() })
    }

    /// Refuses a method as Temporal's server does, once the namespace is known ([`crate::coverage::REFUSED`]).
    pub(crate) async fn refuse<R: InNamespace, T>(&self, method: &str, request: Request<R>) -> Answer<T> {
        let call = self.admit(request).await?;
        if let Some(unknown) = self.unknown_namespace(call.body.namespace()).await {
            return Err(unknown);
        }
        let text = coverage::refused("temporal.api.workflowservice.v1.WorkflowService", method).unwrap_or_default();
        answer(Err(Refusal::Unimplemented(text.into())))
    }

    /// As [`Frontend::admit`], and the deadline by which a poll must be answered.
    pub(crate) async fn admit_poll<R: InNamespace>(&self, request: Request<R>) -> Result<(R, Timestamp), Status> {
        let call = self.admit(request).await?;
        match deadline::poll_timeout(&call.headers) {
            Ok(span) => Ok((call.body, call.now + span)),
            Err(refusal) => {
                let unknown = self.unknown_namespace(call.body.namespace()).await;
                Err(unknown.unwrap_or_else(|| status::from_refusal(refusal)))
            }
        }
    }

    /// A call that may take long: it holds one of its namespace's places until what is returned is dropped.
    pub(crate) fn long<R: InNamespace>(&self, body: &R, method: &'static str) -> Result<LongCall, Status> {
        self.long_calls.begin(body.namespace(), method)
    }

    /// An unknown namespace is told before anything else that is wrong. Only asked when something is.
    async fn unknown_namespace(&self, namespace: &str) -> Option<Status> {
        let request = DescribeNamespaceRequest { namespace: namespace.to_owned(), ..DescribeNamespaceRequest::default() };
        match self.engine.describe_namespace(request).await {
            Err(refusal @ Refusal::NamespaceNotFound(_)) => Some(status::from_refusal(refusal)),
            _ => None,
        }
    }
}

impl<R> Admitted<R> {
    /// When the caller stops waiting, if it said so.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        deadline::timeout(&self.headers).map(|span: Span| self.now + span)
    }

    /// Who reads history, as far as it changes the answer.
    pub(crate) fn history_reader(&self) -> HistoryReader {
        let header = |name| self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        HistoryReader {
            stored_events_only: matches!(header("client-name"), "temporal-cli" | "temporal-ui"),
            follows_next_run_id: header("supported-features").split(',').any(|f| f.trim() == "follows-next-run-id"),
        }
    }
}

/// Longest name or version of an SDK that is believed, bytes.
const SDK_BYTES_MAX: usize = 255;

/// What SDK the caller says it has.
pub(crate) fn sdk(headers: &MetadataMap) -> Sdk {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| value.len() <= SDK_BYTES_MAX);
    let text = |name| header(name).unwrap_or_default().to_owned();
    Sdk { name: text("client-name"), version: text("client-version") }
}

/// The engine's answer as a handler's.
pub(crate) fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    result.map(Response::new).map_err(status::from_refusal)
}

/// A request about one namespace.
pub(crate) trait InNamespace: Send + Sync {
    /// Its name.
    fn namespace(&self) -> &str;

    /// False when something else may say which namespace is meant.
    fn namespace_required(&self) -> bool {
        true
    }

    /// The namespace must not be there yet.
    fn registers_namespace(&self) -> bool {
        false
    }

    /// What the call is about, for its span.
    fn subject(&self) -> Subject {
        Subject { namespace: self.namespace().to_owned(), ..Subject::default() }
    }
}

macro_rules! in_namespace {
    ($($request:ty),+ $(,)?) => { $(
        impl InNamespace for $request {
            fn namespace(&self) -> &str {
                &self.namespace
            }
        }
    )+ };
}

/// Calls about a task queue.
macro_rules! in_namespace_at_queue {
    ($($request:ty),+ $(,)?) => { $(
        impl InNamespace for $request {
            fn namespace(&self) -> &str {
                &self.namespace
            }

            fn subject(&self) -> Subject {
                let task_queue = self.task_queue.as_ref().map(|queue| queue.name.clone());
                Subject { namespace: self.namespace.clone(), task_queue, ..Subject::default() }
            }
        }
    )+ };
}

/// Calls that start a workflow.
macro_rules! in_namespace_starts {
    ($($request:ty),+ $(,)?) => { $(
        impl InNamespace for $request {
            fn namespace(&self) -> &str {
                &self.namespace
            }

            fn subject(&self) -> Subject {
                Subject {
                    namespace: self.namespace.clone(),
                    workflow_id: Some(self.workflow_id.clone()),
                    workflow_type: self.workflow_type.as_ref().map(|kind| kind.name.clone()),
                    task_queue: self.task_queue.as_ref().map(|queue| queue.name.clone()),
                }
            }
        }
    )+ };
}

/// Calls to a run.
macro_rules! in_namespace_at_run {
    ($($request:ty => $execution:ident),+ $(,)?) => { $(
        impl InNamespace for $request {
            fn namespace(&self) -> &str {
                &self.namespace
            }

            fn subject(&self) -> Subject {
                let workflow_id = self.$execution.as_ref().map(|execution| execution.workflow_id.clone());
                Subject { namespace: self.namespace.clone(), workflow_id, ..Subject::default() }
            }
        }
    )+ };
}

in_namespace_starts![StartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionRequest];

in_namespace_at_queue![
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    StartActivityExecutionRequest,
    DescribeTaskQueueRequest,
];

in_namespace_at_run![
    DescribeWorkflowExecutionRequest => execution,
    GetWorkflowExecutionHistoryRequest => execution,
    QueryWorkflowRequest => execution,
    RequestCancelWorkflowExecutionRequest => workflow_execution,
    ResetWorkflowExecutionRequest => workflow_execution,
    SignalWorkflowExecutionRequest => workflow_execution,
    TerminateWorkflowExecutionRequest => workflow_execution,
    UpdateWorkflowExecutionRequest => workflow_execution,
];

/// Calls with a task token take the namespace from the token when they name none; that there is a token is the
/// engine's to check.
macro_rules! in_namespace_of_token {
    ($($request:ty),+ $(,)?) => { $(
        impl InNamespace for $request {
            fn namespace(&self) -> &str {
                &self.namespace
            }

            fn namespace_required(&self) -> bool {
                false
            }
        }
    )+ };
}

in_namespace![
    DescribeNamespaceLimitsRequest,
    ListNoticesRequest,
    SetAlertRuleRequest,
    DeleteAlertRuleRequest,
    ListAlertRulesRequest,
    TestAlertRuleRequest,
    ListAlertsRequest,
    SetFlowRuleRequest,
    DeleteFlowRuleRequest,
    ListFlowRulesRequest,
    DescribeFlowRuleRequest,
    ListWaitingStartsRequest,
    DescribeWaitingStartRequest,
    DescribeDeploymentRequest,
    ListDeploymentsRequest,
    GetDeploymentReachabilityRequest,
    GetCurrentDeploymentRequest,
    SetCurrentDeploymentRequest,
    CreateWorkflowRuleRequest,
    DescribeWorkflowRuleRequest,
    DeleteWorkflowRuleRequest,
    ListWorkflowRulesRequest,
    TriggerWorkflowRuleRequest,
    FetchWorkerConfigRequest,
    UpdateWorkerConfigRequest,
    UpdateWorkerDeploymentVersionComputeConfigRequest,
    ValidateWorkerDeploymentVersionComputeConfigRequest,
    ListPatchesRequest,
    CheckDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
    SetWorkerDeploymentManagerRequest,
    CreateWorkerDeploymentRequest,
    CreateWorkerDeploymentVersionRequest,
    DeleteWorkerDeploymentRequest,
    DeleteWorkerDeploymentVersionRequest,
    UpdateWorkerDeploymentVersionMetadataRequest,
    UpdateWorkerBuildIdCompatibilityRequest,
    GetWorkerBuildIdCompatibilityRequest,
    UpdateWorkerVersioningRulesRequest,
    GetWorkerVersioningRulesRequest,
    GetWorkerTaskReachabilityRequest,
    DescribeActivityExecutionRequest,
    PollActivityExecutionRequest,
    PollWorkflowExecutionTimeSkippingRequest,
    ListActivityExecutionsRequest,
    CountActivityExecutionsRequest,
    RequestCancelActivityExecutionRequest,
    TerminateActivityExecutionRequest,
    DeleteActivityExecutionRequest,
    StartNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionRequest,
    PollNexusOperationExecutionRequest,
    ListNexusOperationExecutionsRequest,
    CountNexusOperationExecutionsRequest,
    RequestCancelNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionRequest,
    DeleteNexusOperationExecutionRequest,
    CountSchedulesRequest,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeScheduleRequest,
    ListScheduleMatchingTimesRequest,
    ListSchedulesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
    AddSearchAttributesRequest,
    CountWorkersRequest,
    DescribeBatchOperationRequest,
    ListBatchOperationsRequest,
    PreviewBatchOperationRequest,
    StartBatchForkRequest,
    StartBatchOperationRequest,
    StopBatchOperationRequest,
    CountWorkflowExecutionsRequest,
    DescribeWorkerRequest,
    ListWorkersRequest,
    RecordWorkerHeartbeatRequest,
    DeleteWorkflowExecutionRequest,
    DeprecateNamespaceRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    ListActivityAttemptsRequest,
    ListPolledQueuesRequest,
    ListSkippedActionsRequest,
    RenameSearchAttributeRequest,
    ListSearchAttributesRequest,
    ListTaskQueuePartitionsRequest,
    ListArchivedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsRequest,
    ListWorkflowExecutionsRequest,
    ScanWorkflowExecutionsRequest,
    PauseActivityExecutionRequest,
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RemoveSearchAttributesRequest,
    ResetActivityExecutionRequest,
    ResetActivityRequest,
    ResetStickyTaskQueueRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskFailedByIdRequest,
    ShutdownWorkerRequest,
    ExecuteMultiOperationRequest,
    ForkWorkflowExecutionRequest,
    RunActivityNowRequest,
    PollWorkflowExecutionUpdateRequest,
    UnpauseActivityExecutionRequest,
    UnpauseActivityRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateActivityExecutionOptionsRequest,
    UpdateActivityOptionsRequest,
    UpdateNamespaceRequest,
    UpdateTaskQueueConfigRequest,
    UpdateWorkflowExecutionOptionsRequest,
];

in_namespace_of_token![
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondNexusTaskCompletedRequest,
    RespondNexusTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
];

impl InNamespace for RegisterNamespaceRequest {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn registers_namespace(&self) -> bool {
        true
    }
}

impl InNamespace for DescribeNamespaceRequest {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn namespace_required(&self) -> bool {
        self.id.is_empty()
    }
}

impl InNamespace for DeleteNamespaceRequest {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn namespace_required(&self) -> bool {
        self.namespace_id.is_empty()
    }
}
