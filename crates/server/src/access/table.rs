//! Which call needs what: one line for each method of each service, and one for each other path that is answered over HTTP.
//!
//! | need | who is let through |
//! |---|---|
//! | [`Need::Nothing`] | everybody, known or not |
//! | [`Need::Caller`] | whoever is known |
//! | [`Need::System`] | who has one of the roles everywhere |
//! | [`Need::Namespace`] | who has one of the roles in the namespace that the request names |
//!
//! A method without a line fails a test, and is refused to all but those who may do everything.

use std::{collections::HashMap, sync::Arc};

use sempre_api::json::{descriptors, reflect::MessageDescriptor};

use super::{roles::Roles, scan::Path};
use crate::reflection;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    Caller,
    System(Roles),
    Namespace(Roles),
}

use Need::{Caller, Namespace, Nothing, System};

pub(crate) const WORKFLOW: &str = "temporal.api.workflowservice.v1.WorkflowService";
const OPERATOR: &str = "temporal.api.operatorservice.v1.OperatorService";
const TEST: &str = "temporal.api.testservice.v1.TestService";

/// Service, what its methods need, the methods.
pub(crate) const TABLE: &[(&str, Need, &[&str])] = &[
    // Probes ask before anybody has a key, and SDKs ask what the server can do before they send one. Neither tells anything
    // of what is on the server.
    ("grpc.health.v1.Health", Nothing, &["Check"]),
    (WORKFLOW, Nothing, &["GetSystemInfo"]),
    // A stream: it takes room for as long as it is open.
    ("grpc.health.v1.Health", Caller, &["Watch"]),
    (reflection::V1, Caller, &["ServerReflectionInfo"]),
    (reflection::V1_ALPHA, Caller, &["ServerReflectionInfo"]),
    ("sempre.v1.AccessService", Caller, &["DescribeCaller"]),
    (WORKFLOW, Caller, &["GetClusterInfo", "GetSearchAttributes"]),
    (TEST, Caller, &["GetCurrentTime"]),
    // The server as a whole.
    (WORKFLOW, System(Roles::READ), &["ListNamespaces"]),
    (OPERATOR, System(Roles::READ), &["ListClusters", "GetNexusEndpoint", "ListNexusEndpoints"]),
    ("sempre.v1.OperateService", System(Roles::READ), &["DescribeCluster", "DescribeVisibility"]),
    (
        OPERATOR,
        System(Roles::ADMIN),
        &["AddOrUpdateRemoteCluster", "RemoveRemoteCluster", "CreateNexusEndpoint", "UpdateNexusEndpoint", "DeleteNexusEndpoint"],
    ),
    ("sempre.v1.OperateService", System(Roles::ADMIN), &["RebuildVisibility"]),
    ("sempre.v1.StorageService", System(Roles::ADMIN), &["Backup"]),
    ("sempre.v1.AccessService", System(Roles::ADMIN), &["CreateApiKey", "ListApiKeys", "RevokeApiKey"]),
    (TEST, System(Roles::ADMIN), &["LockTimeSkipping", "UnlockTimeSkipping", "Sleep", "SleepUntil", "UnlockTimeSkippingWithSleep"]),
    // What workers need to know, and others may.
    (
        WORKFLOW,
        Namespace(Roles::READ_OR_WORKER),
        &["DescribeNamespace", "GetWorkflowExecutionHistory", "DescribeTaskQueue", "FetchWorkerConfig"],
    ),
    // Looking.
    (
        WORKFLOW,
        Namespace(Roles::READ),
        &[
            "GetWorkflowExecutionHistoryReverse",
            "ListOpenWorkflowExecutions",
            "ListClosedWorkflowExecutions",
            "ListWorkflowExecutions",
            "ListArchivedWorkflowExecutions",
            "ScanWorkflowExecutions",
            "CountWorkflowExecutions",
            "QueryWorkflow",
            "DescribeWorkflowExecution",
            "ListTaskQueuePartitions",
            "DescribeSchedule",
            "ListScheduleMatchingTimes",
            "ListSchedules",
            "CountSchedules",
            "GetWorkerBuildIdCompatibility",
            "GetWorkerVersioningRules",
            "GetWorkerTaskReachability",
            "DescribeDeployment",
            "DescribeWorkerDeploymentVersion",
            "ListDeployments",
            "GetDeploymentReachability",
            "GetCurrentDeployment",
            "DescribeWorkerDeployment",
            "ListWorkerDeployments",
            "ValidateWorkerDeploymentVersionComputeConfig",
            "PollWorkflowExecutionUpdate",
            "DescribeBatchOperation",
            "ListBatchOperations",
            "DescribeWorkflowRule",
            "ListWorkflowRules",
            "ListWorkers",
            "CountWorkers",
            "DescribeWorker",
            "DescribeActivityExecution",
            "DescribeNexusOperationExecution",
            "PollActivityExecution",
            "PollNexusOperationExecution",
            "ListActivityExecutions",
            "ListNexusOperationExecutions",
            "CountActivityExecutions",
            "CountNexusOperationExecutions",
            "PollWorkflowExecutionTimeSkipping",
        ],
    ),
    (OPERATOR, Namespace(Roles::READ), &["ListSearchAttributes"]),
    (
        "sempre.v1.InspectService",
        Namespace(Roles::READ),
        &["DescribeNamespaceLimits", "ListActivityAttempts", "ListPolledQueues", "ListSkippedActions"],
    ),
    ("sempre.v1.VersionService", Namespace(Roles::READ), &["ListPatches"]),
    ("sempre.v1.AlertService", Namespace(Roles::READ), &["ListAlertRules", "ListAlerts", "ListNotices"]),
    ("sempre.v1.FlowService", Namespace(Roles::READ), &["DescribeFlowRule", "DescribeWaitingStart", "ListFlowRules", "ListWaitingStarts"]),
    ("sempre.v1.SteerService", Namespace(Roles::READ), &["PreviewBatchOperation"]),
    // Working. Checks of a version replay histories in workers, which are asked as for queries.
    (
        WORKFLOW,
        Namespace(Roles::WORKER),
        &[
            "PollWorkflowTaskQueue",
            "RespondWorkflowTaskCompleted",
            "RespondWorkflowTaskFailed",
            "RespondQueryTaskCompleted",
            "ResetStickyTaskQueue",
            "PollActivityTaskQueue",
            "RecordActivityTaskHeartbeat",
            "RecordActivityTaskHeartbeatById",
            "RespondActivityTaskCompleted",
            "RespondActivityTaskCompletedById",
            "RespondActivityTaskFailed",
            "RespondActivityTaskFailedById",
            "RespondActivityTaskCanceled",
            "RespondActivityTaskCanceledById",
            "PollNexusTaskQueue",
            "RespondNexusTaskCompleted",
            "RespondNexusTaskFailed",
            "ShutdownWorker",
            "RecordWorkerHeartbeat",
        ],
    ),
    // Changing runs, schedules and what decides which workers have them.
    (
        WORKFLOW,
        Namespace(Roles::WRITE),
        &[
            "StartWorkflowExecution",
            "ExecuteMultiOperation",
            "RequestCancelWorkflowExecution",
            "SignalWorkflowExecution",
            "SignalWithStartWorkflowExecution",
            "ResetWorkflowExecution",
            "TerminateWorkflowExecution",
            "DeleteWorkflowExecution",
            "CreateSchedule",
            "UpdateSchedule",
            "PatchSchedule",
            "DeleteSchedule",
            "UpdateWorkerBuildIdCompatibility",
            "UpdateWorkerVersioningRules",
            "SetCurrentDeployment",
            "SetWorkerDeploymentCurrentVersion",
            "DeleteWorkerDeployment",
            "DeleteWorkerDeploymentVersion",
            "SetWorkerDeploymentRampingVersion",
            "CreateWorkerDeployment",
            "CreateWorkerDeploymentVersion",
            "UpdateWorkerDeploymentVersionComputeConfig",
            "UpdateWorkerDeploymentVersionMetadata",
            "SetWorkerDeploymentManager",
            "UpdateWorkflowExecution",
            "StartBatchOperation",
            "StopBatchOperation",
            "UpdateActivityOptions",
            "UpdateWorkflowExecutionOptions",
            "PauseActivity",
            "UnpauseActivity",
            "ResetActivity",
            "CreateWorkflowRule",
            "DeleteWorkflowRule",
            "TriggerWorkflowRule",
            "UpdateWorkerConfig",
            "PauseWorkflowExecution",
            "UnpauseWorkflowExecution",
            "StartActivityExecution",
            "StartNexusOperationExecution",
            "RequestCancelActivityExecution",
            "RequestCancelNexusOperationExecution",
            "TerminateActivityExecution",
            "DeleteActivityExecution",
            "PauseActivityExecution",
            "ResetActivityExecution",
            "UnpauseActivityExecution",
            "UpdateActivityExecutionOptions",
            "TerminateNexusOperationExecution",
            "DeleteNexusOperationExecution",
        ],
    ),
    ("sempre.v1.SteerService", Namespace(Roles::WRITE), &["ForkWorkflowExecution", "RunActivityNow", "StartBatchFork"]),
    ("sempre.v1.VersionService", Namespace(Roles::WRITE), &["CheckDeploymentVersion"]),
    // Changing the namespace.
    (WORKFLOW, Namespace(Roles::ADMIN), &["RegisterNamespace", "UpdateNamespace", "DeprecateNamespace", "UpdateTaskQueueConfig"]),
    (OPERATOR, Namespace(Roles::ADMIN), &["AddSearchAttributes", "RemoveSearchAttributes", "DeleteNamespace"]),
    ("sempre.v1.OperateService", Namespace(Roles::ADMIN), &["RenameSearchAttribute"]),
    ("sempre.v1.AlertService", Namespace(Roles::ADMIN), &["DeleteAlertRule", "SetAlertRule", "TestAlertRule"]),
    ("sempre.v1.FlowService", Namespace(Roles::ADMIN), &["DeleteFlowRule", "SetFlowRule"]),
];

/// What a field outside of the request's own namespace names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// A namespace that is written to.
    Namespace,
    /// A Nexus endpoint that is called.
    Endpoint,
}

/// Fields by which a method reaches other namespaces: method, path of the field, what it names.
pub(crate) const REACHING: &[(&str, &str, Other)] = &[
    ("RespondWorkflowTaskCompleted", "commands.start_child_workflow_execution_command_attributes.namespace", Other::Namespace),
    ("RespondWorkflowTaskCompleted", "commands.signal_external_workflow_execution_command_attributes.namespace", Other::Namespace),
    ("RespondWorkflowTaskCompleted", "commands.request_cancel_external_workflow_execution_command_attributes.namespace", Other::Namespace),
    ("RespondWorkflowTaskCompleted", "commands.schedule_nexus_operation_command_attributes.endpoint", Other::Endpoint),
    ("StartNexusOperationExecution", "endpoint", Other::Endpoint),
    ("ExecuteMultiOperation", "operations.start_workflow.namespace", Other::Namespace),
    ("ExecuteMultiOperation", "operations.update_workflow.namespace", Other::Namespace),
];

/// A line of the table, with the places of what is looked at in a request.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) need: Need,
    #[cfg(test)]
    method: &'static str,
    /// Where the namespace's name is.
    pub(crate) name: Option<Path>,
    /// Where its id is, in requests that may name it so.
    pub(crate) id: Option<Path>,
    /// Where a task token is, which says the namespace if its name is left out.
    pub(crate) token: Option<Path>,
    pub(crate) reaching: Vec<(Path, Other)>,
}

/// The table by the paths of methods.
pub(crate) struct Rules(HashMap<String, Arc<Rule>>);

impl Rules {
    pub(crate) fn new() -> Self {
        let mut rules = HashMap::new();
        for (service, need, methods) in TABLE {
            for method in *methods {
                rules.insert(format!("/{service}/{method}"), Arc::new(rule(service, method, *need)));
            }
        }
        Self(rules)
    }

    /// What `/service/method` needs. `None`: there is no such method.
    pub(crate) fn of(&self, path: &str) -> Option<&Arc<Rule>> {
        self.0.get(path)
    }

    #[cfg(test)]
    pub(crate) fn command_paths(&self) -> impl Iterator<Item = &Path> {
        let completed = &self.0[&format!("/{WORKFLOW}/RespondWorkflowTaskCompleted")];
        completed.reaching.iter().filter(|(_, other)| *other == Other::Namespace).map(|(path, _)| path)
    }
}

fn rule(service: &str, method: &'static str, need: Need) -> Rule {
    let mut rule = Rule {
        need,
        #[cfg(test)]
        method,
        name: None,
        id: None,
        token: None,
        reaching: Vec::new(),
    };
    let service = descriptors().get_service_by_name(service);
    let Some(input) = service.and_then(|service| service.methods().find(|found| found.name() == method)).map(|found| found.input()) else {
        return rule;
    };
    if matches!(need, Namespace(_)) {
        let path = |name: &str| path_of(&input, name);
        rule.name = path("namespace");
        rule.id = match method {
            "DescribeNamespace" => path("id"),
            "DeleteNamespace" => path("namespace_id"),
            _ => None,
        };
        rule.token = path("task_token");
    }
    let reaching = REACHING.iter().filter(|(name, ..)| *name == method);
    rule.reaching = reaching.filter_map(|(_, path, other)| Some((path_of(&input, path)?, *other))).collect();
    rule
}

/// Numbers of the fields that a path names.
pub(crate) fn path_of(message: &MessageDescriptor, path: &str) -> Option<Path> {
    let mut message = message.clone();
    let mut numbers = Path::new();
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let field = message.get_field_by_name(name)?;
        numbers.push(field.number());
        if names.peek().is_some() {
            message = field.kind().as_message()?.clone();
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_has_one_line() {
        let mut lines = BTreeSet::new();
        for (service, _, methods) in TABLE {
            for method in *methods {
                assert!(lines.insert((*service, *method)), "{service}/{method} has two lines");
            }
        }
        let reflection = [reflection::V1, reflection::V1_ALPHA].map(|service| (service, "ServerReflectionInfo"));
        let methods: BTreeSet<_> = sempre_api::METHODS.iter().copied().chain(reflection).collect();
        let without: Vec<_> = methods.difference(&lines).collect();
        assert!(without.is_empty(), "these methods need a line in the table of {}: {without:?}", file!());
        let unknown: Vec<_> = lines.difference(&methods).collect();
        assert!(unknown.is_empty(), "these are no methods: {unknown:?}");
    }

    #[test]
    fn where_a_namespace_is_needed_the_request_has_one() {
        let rules = Rules::new();
        for (path, rule) in &rules.0 {
            let named = matches!(rule.need, Namespace(_));
            assert_eq!(rule.name.is_some(), named, "{path}");
        }
        let tokens = rules.0.values().filter(|rule| rule.token.is_some()).count();
        assert_eq!(tokens, 9, "calls with a task token");
        let ids: BTreeSet<_> = rules.0.values().filter(|rule| rule.id.is_some()).map(|rule| rule.method).collect();
        assert_eq!(ids, BTreeSet::from(["DeleteNamespace", "DescribeNamespace"]));
        let reaching: usize = rules.0.values().map(|rule| rule.reaching.len()).sum();
        assert_eq!(reaching, REACHING.len(), "every path is one");
    }

    /// Paths of string fields with such names, in a message and in what it holds.
    fn fields(message: &MessageDescriptor, before: &str, inside: &mut Vec<String>, found: &mut Vec<String>) {
        if inside.iter().any(|name| name == message.full_name()) {
            return;
        }
        inside.push(message.full_name().to_owned());
        for field in message.fields() {
            let path = if before.is_empty() { field.name().to_owned() } else { format!("{before}.{}", field.name()) };
            match field.kind().as_message() {
                // Links and failures are for reading: nothing is done to what they name.
                Some(inner) if inner.full_name().starts_with("temporal.api.common.v1.Link") => {}
                Some(inner) if inner.full_name() == "temporal.api.failure.v1.Failure" => {}
                Some(inner) => fields(inner, &path, inside, found),
                None if field.name().contains("namespace") || field.name() == "endpoint" => found.push(path),
                None => {}
            }
        }
        inside.pop();
    }

    #[test]
    fn no_request_names_a_namespace_that_nobody_looks_at() {
        // What looks like one and is not: switches of a namespace that is being made or changed.
        let harmless = ["promote_namespace", "is_global_namespace"];
        let mut missed = Vec::new();
        for (service, need, methods) in TABLE {
            let Some(service) = descriptors().get_service_by_name(service) else { continue };
            for method in service.methods().filter(|method| methods.contains(&method.name())) {
                let mut found = Vec::new();
                fields(&method.input(), "", &mut Vec::new(), &mut found);
                let looked_at = |path: &str| {
                    let own = path == "namespace" || path == "namespace_id";
                    (own && matches!(need, Namespace(_)))
                        || REACHING.iter().any(|(name, reaching, _)| *name == method.name() && *reaching == path)
                        || harmless.contains(&path)
                };
                // Who may do it to the server may do it to all namespaces.
                if !matches!(need, System(_)) {
                    missed.extend(found.into_iter().filter(|path| !looked_at(path)).map(|path| format!("{}: {path}", method.name())));
                }
            }
        }
        assert_eq!(missed, Vec::<String>::new());
    }
}
