//! Which methods of the API are built: one table, for `sempre api-coverage` and for the test that calls every method.

/// The built methods, by service.
pub const BUILT: &[(&str, &[&str])] = &[
    (
        "temporal.api.workflowservice.v1.WorkflowService",
        &[
            "CountActivityExecutions",
            "CountNexusOperationExecutions",
            "CountSchedules",
            "CountWorkers",
            "CountWorkflowExecutions",
            "CreateSchedule",
            "CreateWorkerDeployment",
            "CreateWorkerDeploymentVersion",
            "DeleteActivityExecution",
            "DeleteNexusOperationExecution",
            "DeleteSchedule",
            "DeleteWorkerDeployment",
            "DeleteWorkerDeploymentVersion",
            "DeleteWorkflowExecution",
            "DeprecateNamespace",
            "DescribeActivityExecution",
            "DescribeBatchOperation",
            "DescribeNamespace",
            "DescribeNexusOperationExecution",
            "DescribeSchedule",
            "DescribeTaskQueue",
            "DescribeWorker",
            "DescribeWorkerDeployment",
            "DescribeWorkerDeploymentVersion",
            "DescribeWorkflowExecution",
            "ExecuteMultiOperation",
            "GetClusterInfo",
            "GetSearchAttributes",
            "GetSystemInfo",
            "GetWorkerBuildIdCompatibility",
            "GetWorkerTaskReachability",
            "GetWorkerVersioningRules",
            "GetWorkflowExecutionHistory",
            "GetWorkflowExecutionHistoryReverse",
            "ListActivityExecutions",
            "ListArchivedWorkflowExecutions",
            "ListBatchOperations",
            "ListClosedWorkflowExecutions",
            "ListNamespaces",
            "ListNexusOperationExecutions",
            "ListOpenWorkflowExecutions",
            "ListScheduleMatchingTimes",
            "ListSchedules",
            "ListTaskQueuePartitions",
            "ListWorkerDeployments",
            "ListWorkers",
            "ListWorkflowExecutions",
            "PatchSchedule",
            "PauseActivity",
            "PauseActivityExecution",
            "PauseWorkflowExecution",
            "PollActivityExecution",
            "PollActivityTaskQueue",
            "PollNexusOperationExecution",
            "PollNexusTaskQueue",
            "PollWorkflowExecutionTimeSkipping",
            "SignalWithStartWorkflowExecution",
            "StartWorkflowExecution",
            "UpdateWorkflowExecutionOptions",
            "PollWorkflowExecutionUpdate",
            "PollWorkflowTaskQueue",
            "QueryWorkflow",
            "RecordActivityTaskHeartbeat",
            "RecordActivityTaskHeartbeatById",
            "RecordWorkerHeartbeat",
            "RegisterNamespace",
            "RequestCancelActivityExecution",
            "RequestCancelNexusOperationExecution",
            "RequestCancelWorkflowExecution",
            "ResetActivity",
            "ResetActivityExecution",
            "ResetStickyTaskQueue",
            "ResetWorkflowExecution",
            "RespondActivityTaskCanceled",
            "RespondActivityTaskCanceledById",
            "RespondActivityTaskCompleted",
            "RespondActivityTaskCompletedById",
            "RespondActivityTaskFailed",
            "RespondActivityTaskFailedById",
            "RespondNexusTaskCompleted",
            "RespondNexusTaskFailed",
            "RespondQueryTaskCompleted",
            "RespondWorkflowTaskCompleted",
            "RespondWorkflowTaskFailed",
            "ScanWorkflowExecutions",
            "SetWorkerDeploymentCurrentVersion",
            "SetWorkerDeploymentManager",
            "SetWorkerDeploymentRampingVersion",
            "ShutdownWorker",
            "SignalWorkflowExecution",
            "StartActivityExecution",
            "StartBatchOperation",
            "StartNexusOperationExecution",
            "StopBatchOperation",
            "TerminateActivityExecution",
            "TerminateNexusOperationExecution",
            "TerminateWorkflowExecution",
            "UnpauseActivity",
            "UnpauseActivityExecution",
            "UnpauseWorkflowExecution",
            "UpdateActivityExecutionOptions",
            "UpdateActivityOptions",
            "UpdateNamespace",
            "UpdateSchedule",
            "UpdateTaskQueueConfig",
            "UpdateWorkerBuildIdCompatibility",
            "UpdateWorkerDeploymentVersionMetadata",
            "UpdateWorkerVersioningRules",
            "UpdateWorkflowExecution",
        ],
    ),
    (
        "temporal.api.operatorservice.v1.OperatorService",
        &[
            "AddOrUpdateRemoteCluster",
            "AddSearchAttributes",
            "CreateNexusEndpoint",
            "DeleteNamespace",
            "DeleteNexusEndpoint",
            "GetNexusEndpoint",
            "ListClusters",
            "ListNexusEndpoints",
            "ListSearchAttributes",
            "RemoveRemoteCluster",
            "RemoveSearchAttributes",
            "UpdateNexusEndpoint",
        ],
    ),
    // Where time is virtual.
    (
        "temporal.api.testservice.v1.TestService",
        &["GetCurrentTime", "LockTimeSkipping", "Sleep", "SleepUntil", "UnlockTimeSkipping", "UnlockTimeSkippingWithSleep"],
    ),
    ("grpc.health.v1.Health", &["Check", "Watch"]),
    ("sempre.v1.AlertService", &["DeleteAlertRule", "ListAlertRules", "ListAlerts", "ListNotices", "SetAlertRule", "TestAlertRule"]),
    (
        "sempre.v1.FlowService",
        &["DeleteFlowRule", "DescribeFlowRule", "DescribeWaitingStart", "ListFlowRules", "ListWaitingStarts", "SetFlowRule"],
    ),
    ("sempre.v1.AccessService", &["CreateApiKey", "DescribeCaller", "ListApiKeys", "RevokeApiKey"]),
    ("sempre.v1.InspectService", &["DescribeNamespaceLimits", "ListActivityAttempts", "ListPolledQueues", "ListSkippedActions"]),
    ("sempre.v1.SteerService", &["ForkWorkflowExecution", "PreviewBatchOperation", "RunActivityNow", "StartBatchFork"]),
    ("sempre.v1.StorageService", &["Backup"]),
    ("sempre.v1.VersionService", &["CheckDeploymentVersion", "ListPatches"]),
    ("sempre.v1.OperateService", &["DescribeCluster", "DescribeVisibility", "RebuildVisibility", "RenameSearchAttribute"]),
];

/// Methods that are built in part: what they refuse with UNIMPLEMENTED, or cannot give. They do not count as built.
pub const PARTLY: &[(&str, &str, &str)] = &[];

/// Methods that a self-hosted server of Temporal (1.31.2, as it comes) refuses to everybody, and this one with the same words; its
/// answers were recorded from it. They answer UNIMPLEMENTED and do not count as built.
///
/// Workflow rules are built, and off as they are there (`frontend.workflowRulesAPIsEnabled`); there nobody can trigger one. What starts
/// workers in a cloud is switched off there (`workercontroller.enabled`), so that those calls wait for somebody who never comes; they are
/// refused here at once, in our words.
pub const REFUSED: &[(&str, &str, &str)] = &[
    (WORKFLOW, "DescribeDeployment", PREVIEW_DEPLOYMENTS),
    (WORKFLOW, "ListDeployments", PREVIEW_DEPLOYMENTS),
    (WORKFLOW, "GetDeploymentReachability", PREVIEW_DEPLOYMENTS),
    (WORKFLOW, "GetCurrentDeployment", PREVIEW_DEPLOYMENTS),
    (WORKFLOW, "SetCurrentDeployment", PREVIEW_DEPLOYMENTS),
    (WORKFLOW, "CreateWorkflowRule", "method CreateWorkflowRule not supported"),
    (WORKFLOW, "DescribeWorkflowRule", "method DescribeWorkflowRule not supported"),
    (WORKFLOW, "DeleteWorkflowRule", "method DeleteWorkflowRule not supported"),
    (WORKFLOW, "ListWorkflowRules", "method ListWorkflowRules not supported"),
    (WORKFLOW, "TriggerWorkflowRule", "method TriggerWorkflowRule not supported"),
    (WORKFLOW, "FetchWorkerConfig", "FetchWorkerConfig command is not enabled."),
    (WORKFLOW, "UpdateWorkerConfig", "UpdateWorkerConfig command is not enabled."),
    (WORKFLOW, "UpdateWorkerDeploymentVersionComputeConfig", COMPUTE),
    (WORKFLOW, "ValidateWorkerDeploymentVersionComputeConfig", COMPUTE),
];

const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";
const COMPUTE: &str = "compute configurations are not supported by this server";
const PREVIEW_DEPLOYMENTS: &str = "Deployments are deprecated and no longer supported, use Worker Deployments instead";

/// What a method that is refused as by Temporal's server answers.
pub fn refused(service: &str, method: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(in_service, name, _)| (*in_service, *name) == (service, method)).map(|(_, _, text)| *text)
}

/// One method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Full name of its service.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// False when it answers UNIMPLEMENTED to everything, or is built in part.
    pub built: bool,
    /// What a method that is built in part lacks.
    pub lacks: Option<&'static str>,
    /// What one answers that Temporal's server refuses, too.
    pub refused: Option<&'static str>,
}

/// Every method of the API, in the order of the API's files.
pub fn methods() -> impl Iterator<Item = Method> {
    sempre_api::METHODS.iter().map(|&(service, name)| {
        let lacks = PARTLY.iter().find(|(in_service, method, _)| (*in_service, *method) == (service, name)).map(|(_, _, lacks)| *lacks);
        Method { service, name, built: is_built(service, name), lacks, refused: refused(service, name) }
    })
}

fn is_built(service: &str, method: &str) -> bool {
    BUILT.iter().any(|(name, methods)| *name == service && methods.contains(&method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_only_methods_that_exist() {
        for (service, methods) in BUILT {
            for method in *methods {
                assert!(sempre_api::METHODS.contains(&(service, method)), "{service}/{method}");
            }
        }
        for (service, method, _) in PARTLY.iter().chain(REFUSED) {
            assert!(sempre_api::METHODS.contains(&(service, method)) && !is_built(service, method), "{service}/{method}");
        }
    }
}
