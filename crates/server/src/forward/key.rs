//! Which shard a call belongs to: one line for each method of each service, and what is read out of a request for it.
//!
//! | how | the call belongs to |
//! |---|---|
//! | [`How::Anywhere`] | no shard: any node answers, from the copies of what there is once that all have, or from the index |
//! | [`How::Workflow`], [`How::Activity`], [`How::Operation`], [`How::ActivityOf`] | that of a workflow id, or of what is filed under one |
//! | [`How::Token`] | that of the run that a task token names |
//! | [`How::Asker`] | the process that asked: a token of a query or of a Nexus task |
//! | [`How::Queue`] | the home of a task queue |
//! | [`How::Single`] | the one shard of something that there is once |
//! | [`How::All`] | each node: it is about something that any of them may have a part of |
//!
//! A request that does not name what it should, or a namespace that is not there, belongs nowhere: any node refuses it, with the same
//! text. The message is not decoded. A method without a line fails a test, and is answered where it comes.

use std::collections::HashMap;

use bytes::Bytes;
use sempre_api::json::descriptors;
use sempre_core::{
    NamespaceId, SlotId,
    ids::Uuid,
    nexus::alone as operation,
    standalone as activity,
    transition::{QueueKind, QueueName},
};
use sempre_engine::{Engine, singles};

use super::owners::Of;
use crate::{
    access::{
        WORKFLOW,
        scan::{self, Path},
        table::path_of,
    },
    classes::Kind,
    reflection,
};

/// `TASK_QUEUE_KIND_STICKY`.
const STICKY: u64 = sempre_api::v1::enums::TaskQueueKind::Sticky as u64;

const OPERATOR: &str = "temporal.api.operatorservice.v1.OperatorService";
const TEST: &str = "temporal.api.testservice.v1.TestService";
const HEALTH: &str = "grpc.health.v1.Health";
const ACCESS: &str = "sempre.v1.AccessService";
const ALERT: &str = "sempre.v1.AlertService";
const FLOW: &str = "sempre.v1.FlowService";
const INSPECT: &str = "sempre.v1.InspectService";
const OPERATE: &str = "sempre.v1.OperateService";
const STEER: &str = "sempre.v1.SteerService";
const STORAGE: &str = "sempre.v1.StorageService";
const VERSION: &str = "sempre.v1.VersionService";

/// See the module. Texts are paths of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Anywhere,
    Workflow(&'static str),
    /// An activity that belongs to no workflow.
    Activity(&'static str),
    /// A Nexus operation that belongs to no workflow.
    Operation(&'static str),
    /// An activity of the workflow at the first path; if that is empty, the one at the second, which belongs to none.
    ActivityOf(&'static str, &'static str),
    Token,
    Asker,
    Queue(What),
    Single(u32),
    All,
}

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// That of `task_queue`, of this kind.
    Polled(QueueKind),
    /// That of `task_queue`, of the kind that `task_queue_type` says.
    Asked,
}

use How::{Activity, ActivityOf, All, Anywhere, Asker, Operation, Queue, Single, Token, Workflow};

/// Service, how the key is found, the methods.
const TABLE: &[(&str, How, &[&str])] = &[
    // About this server, or about what every node has a copy of.
    (HEALTH, Anywhere, &["Check", "Watch"]),
    (reflection::V1, Anywhere, &["ServerReflectionInfo"]),
    (reflection::V1_ALPHA, Anywhere, &["ServerReflectionInfo"]),
    // Nodes share no virtual time.
    (TEST, Anywhere, &["LockTimeSkipping", "UnlockTimeSkipping", "Sleep", "SleepUntil", "UnlockTimeSkippingWithSleep", "GetCurrentTime"]),
    (STORAGE, Anywhere, &["Backup"]),
    (OPERATE, Anywhere, &["DescribeCluster", "DescribeVisibility", "RebuildVisibility"]),
    (ACCESS, Anywhere, &["DescribeCaller", "ListApiKeys"]),
    (ALERT, Anywhere, &["ListAlertRules"]),
    (FLOW, Anywhere, &["DescribeFlowRule", "ListFlowRules", "ListWaitingStarts"]),
    (INSPECT, Anywhere, &["DescribeNamespaceLimits", "ListPolledQueues"]),
    (STEER, Anywhere, &["PreviewBatchOperation"]),
    (VERSION, Anywhere, &["CheckDeploymentVersion", "ListPatches"]),
    (
        OPERATOR,
        Anywhere,
        &[
            "ListSearchAttributes",
            "AddOrUpdateRemoteCluster",
            "RemoveRemoteCluster",
            "ListClusters",
            "GetNexusEndpoint",
            "ListNexusEndpoints",
        ],
    ),
    (
        WORKFLOW,
        Anywhere,
        &[
            "GetSystemInfo",
            "GetClusterInfo",
            "GetSearchAttributes",
            "DescribeNamespace",
            "ListNamespaces",
            "ListOpenWorkflowExecutions",
            "ListClosedWorkflowExecutions",
            "ListWorkflowExecutions",
            "ListArchivedWorkflowExecutions",
            "ScanWorkflowExecutions",
            "CountWorkflowExecutions",
            "ListActivityExecutions",
            "CountActivityExecutions",
            "ListNexusOperationExecutions",
            "CountNexusOperationExecutions",
            "ListSchedules",
            "CountSchedules",
            "ListTaskQueuePartitions",
            "ListWorkerDeployments",
            "DescribeWorkflowRule",
            "ListWorkflowRules",
            // Of the workers that send their heartbeats to this node.
            "RecordWorkerHeartbeat",
            "ListWorkers",
            "CountWorkers",
            "DescribeWorker",
            "FetchWorkerConfig",
            "UpdateWorkerConfig",
            // Refused to everybody, or with nothing to tell.
            "UpdateWorkerBuildIdCompatibility",
            "GetWorkerBuildIdCompatibility",
            "UpdateWorkerVersioningRules",
            "GetWorkerVersioningRules",
            "GetWorkerTaskReachability",
            "DescribeDeployment",
            "ListDeployments",
            "GetDeploymentReachability",
            "GetCurrentDeployment",
            "SetCurrentDeployment",
        ],
    ),
    // Runs.
    (WORKFLOW, Workflow("workflow_id"), &["StartWorkflowExecution", "SignalWithStartWorkflowExecution"]),
    (WORKFLOW, Workflow("workflow_id"), &["PauseWorkflowExecution", "UnpauseWorkflowExecution"]),
    (STEER, Workflow("workflow_id"), &["ForkWorkflowExecution"]),
    (FLOW, Workflow("workflow_id"), &["DescribeWaitingStart"]),
    // All operations of one call are for one workflow, or it is refused.
    (WORKFLOW, Workflow("operations.start_workflow.workflow_id"), &["ExecuteMultiOperation"]),
    (
        WORKFLOW,
        Workflow("execution.workflow_id"),
        &[
            "GetWorkflowExecutionHistory",
            "GetWorkflowExecutionHistoryReverse",
            "QueryWorkflow",
            "DescribeWorkflowExecution",
            "ResetStickyTaskQueue",
            "UpdateActivityOptions",
            "PauseActivity",
            "UnpauseActivity",
            "ResetActivity",
            "TriggerWorkflowRule",
        ],
    ),
    (
        WORKFLOW,
        Workflow("workflow_execution.workflow_id"),
        &[
            "SignalWorkflowExecution",
            "RequestCancelWorkflowExecution",
            "TerminateWorkflowExecution",
            "ResetWorkflowExecution",
            "DeleteWorkflowExecution",
            "UpdateWorkflowExecution",
            "UpdateWorkflowExecutionOptions",
            "PollWorkflowExecutionTimeSkipping",
        ],
    ),
    (WORKFLOW, Workflow("update_ref.workflow_execution.workflow_id"), &["PollWorkflowExecutionUpdate"]),
    (
        WORKFLOW,
        Activity("activity_id"),
        &[
            "StartActivityExecution",
            "DescribeActivityExecution",
            "PollActivityExecution",
            "RequestCancelActivityExecution",
            "TerminateActivityExecution",
            "DeleteActivityExecution",
        ],
    ),
    (
        WORKFLOW,
        ActivityOf("workflow_id", "activity_id"),
        &[
            "PauseActivityExecution",
            "UnpauseActivityExecution",
            "ResetActivityExecution",
            "UpdateActivityExecutionOptions",
            "RecordActivityTaskHeartbeatById",
            "RespondActivityTaskCompletedById",
            "RespondActivityTaskFailedById",
            "RespondActivityTaskCanceledById",
        ],
    ),
    (STEER, ActivityOf("workflow_id", "activity_id"), &["RunActivityNow"]),
    (INSPECT, ActivityOf("workflow_id", "activity_id"), &["ListActivityAttempts"]),
    (
        WORKFLOW,
        Operation("operation_id"),
        &[
            "StartNexusOperationExecution",
            "DescribeNexusOperationExecution",
            "PollNexusOperationExecution",
            "RequestCancelNexusOperationExecution",
            "TerminateNexusOperationExecution",
            "DeleteNexusOperationExecution",
        ],
    ),
    // Tasks.
    (
        WORKFLOW,
        Token,
        &[
            "RespondWorkflowTaskCompleted",
            "RespondWorkflowTaskFailed",
            "RecordActivityTaskHeartbeat",
            "RespondActivityTaskCompleted",
            "RespondActivityTaskFailed",
            "RespondActivityTaskCanceled",
        ],
    ),
    (WORKFLOW, Asker, &["RespondQueryTaskCompleted", "RespondNexusTaskCompleted", "RespondNexusTaskFailed"]),
    (WORKFLOW, Queue(What::Polled(QueueKind::Workflow)), &["PollWorkflowTaskQueue"]),
    (WORKFLOW, Queue(What::Polled(QueueKind::Activity)), &["PollActivityTaskQueue"]),
    (WORKFLOW, Queue(What::Polled(QueueKind::Nexus)), &["PollNexusTaskQueue"]),
    (WORKFLOW, Queue(What::Asked), &["DescribeTaskQueue"]),
    // Its polls wait at the homes of all queues that it has polled.
    (WORKFLOW, All, &["ShutdownWorker"]),
    // What there is once.
    (
        WORKFLOW,
        Single(singles::NAMESPACES),
        &["RegisterNamespace", "UpdateNamespace", "DeprecateNamespace", "CreateWorkflowRule", "DeleteWorkflowRule"],
    ),
    (OPERATOR, Single(singles::NAMESPACES), &["AddSearchAttributes", "RemoveSearchAttributes", "DeleteNamespace"]),
    (OPERATE, Single(singles::NAMESPACES), &["RenameSearchAttribute"]),
    (WORKFLOW, Single(singles::META), &["UpdateTaskQueueConfig"]),
    (
        WORKFLOW,
        Single(singles::SCHEDULES),
        &["CreateSchedule", "DescribeSchedule", "UpdateSchedule", "PatchSchedule", "ListScheduleMatchingTimes", "DeleteSchedule"],
    ),
    (INSPECT, Single(singles::SCHEDULES), &["ListSkippedActions"]),
    (OPERATOR, Single(singles::NEXUS_ENDPOINTS), &["CreateNexusEndpoint", "UpdateNexusEndpoint", "DeleteNexusEndpoint"]),
    // How far a job is, its node knows.
    (
        WORKFLOW,
        Single(singles::BATCH_JOBS),
        &["StartBatchOperation", "StopBatchOperation", "DescribeBatchOperation", "ListBatchOperations"],
    ),
    (STEER, Single(singles::BATCH_JOBS), &["StartBatchFork"]),
    (
        WORKFLOW,
        Single(singles::DEPLOYMENTS),
        &[
            "DescribeWorkerDeployment",
            "DescribeWorkerDeploymentVersion",
            "CreateWorkerDeployment",
            "CreateWorkerDeploymentVersion",
            "SetWorkerDeploymentCurrentVersion",
            "SetWorkerDeploymentRampingVersion",
            "SetWorkerDeploymentManager",
            "DeleteWorkerDeployment",
            "DeleteWorkerDeploymentVersion",
            "UpdateWorkerDeploymentVersionMetadata",
            "UpdateWorkerDeploymentVersionComputeConfig",
            "ValidateWorkerDeploymentVersionComputeConfig",
        ],
    ),
    (FLOW, Single(singles::FLOW_RULES), &["SetFlowRule", "DeleteFlowRule"]),
    (ACCESS, Single(singles::API_KEYS), &["CreateApiKey", "RevokeApiKey"]),
    (ALERT, Single(singles::ALERT_RULES), &["SetAlertRule", "DeleteAlertRule"]),
    (ALERT, Single(singles::ALERTS), &["TestAlertRule", "ListAlerts"]),
    (ALERT, Single(singles::NOTICES), &["ListNotices"]),
];

/// A line of the table that names a key, with the places of what is read.
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    namespace: Path,
    found: Found,
}

/// [`How`] with numbers of fields instead of names.
enum Found {
    Workflow(Path),
    Activity(Path),
    Operation(Path),
    ActivityOf(Path, Path),
    /// Id of the namespace, workflow id.
    Token(Path, Path),
    Asker(Path),
    Queue(Path, Form),
    Single(u32),
    All,
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    One(Of),
    /// All nodes.
    All,
}

/// What a queue is beside its name.
struct Form {
    /// Where it says that it is a sticky one.
    sticky: Path,
    kind: KindOf,
}

enum KindOf {
    Polled(QueueKind),
    Asked(Path),
}

/// The table by the paths of methods, without those that are answered anywhere.
pub(crate) struct Rules(HashMap<String, Rule>);

impl Rules {
    pub(crate) fn new() -> Self {
        let mut rules = HashMap::new();
        for (service, how, methods) in TABLE {
            for method in *methods {
                if let Some(rule) = rule(service, method, *how) {
                    rules.insert(format!("/{service}/{method}"), rule);
                }
            }
        }
        Self(rules)
    }

    /// How the key of `/service/method` is found. `None`: its calls are answered where they come.
    pub(crate) fn of(&self, path: &str) -> Option<&Rule> {
        self.0.get(path)
    }
}

impl Rule {
    /// Whom a request (without the prefix of its frame) is for. `None`: whoever has it.
    pub(crate) fn key(&self, message: &Bytes, engine: &Engine) -> Option<Key> {
        // What is no message is the codec's to refuse.
        self.read(message, engine).ok().flatten()
    }

    /// The namespace that a request names, if there is one.
    pub(crate) fn namespace(&self, message: &Bytes, engine: &Engine) -> Option<NamespaceId> {
        engine.namespace_named(text(message, &self.namespace).ok()?)
    }

    fn read(&self, message: &Bytes, engine: &Engine) -> Result<Option<Key>, scan::Malformed> {
        let slot = match &self.found {
            Found::All => return Ok(Some(Key::All)),
            Found::Single(shard) => return Ok(Some(Key::One(Of::Shard(*shard)))),
            Found::Asker(token) => {
                let process = engine.asker_of_token(&message.slice_ref(last(message, token)?));
                return Ok(process.map(|process| Key::One(Of::Process(process))));
            }
            Found::Token(namespace, id) => {
                let namespace: Option<[u8; 16]> = last(message, namespace)?.try_into().ok();
                let id = text(message, id)?;
                namespace.filter(|_| !id.is_empty()).map(|namespace| SlotId::of(NamespaceId(Uuid(namespace)), id))
            }
            found => match engine.namespace_named(text(message, &self.namespace)?) {
                Some(namespace) => found.slot(namespace, message)?,
                None => None,
            },
        };
        Ok(slot.map(|slot| Key::One(Of::Shard(engine.shard_of(slot) as u32))))
    }
}

impl Found {
    /// The slot of what is named in a namespace. `None`: nothing is.
    fn slot(&self, namespace: NamespaceId, message: &[u8]) -> Result<Option<SlotId>, scan::Malformed> {
        let named = |id: &str, slot: &dyn Fn(&str) -> SlotId| (!id.is_empty()).then(|| slot(id));
        let workflow = |id: &str| named(id, &|id| SlotId::of(namespace, id));
        let activity = |id: &str| named(id, &|id| activity::key(namespace, id).slot());
        let queue = |name: &str, kind, sticky| {
            named(name, &|name| QueueName { namespace, name: name.to_owned(), kind, sticky, version: None }.home())
        };
        Ok(match self {
            Self::Workflow(id) => workflow(text(message, id)?),
            Self::Activity(id) => activity(text(message, id)?),
            Self::Operation(id) => named(text(message, id)?, &|id| operation::key(namespace, id).slot()),
            Self::ActivityOf(workflow_id, id) => match text(message, workflow_id)? {
                "" => activity(text(message, id)?),
                workflow_id => workflow(workflow_id),
            },
            Self::Queue(name, form) => {
                let kind = match &form.kind {
                    KindOf::Polled(kind) => *kind,
                    KindOf::Asked(kind) => kind_of(scan::number(message, kind)?),
                };
                let sticky = kind == QueueKind::Workflow && scan::number(message, &form.sticky)? == STICKY;
                queue(text(message, name)?, kind, sticky)
            }
            Self::Token(..) | Self::Asker(_) | Self::Single(_) | Self::All => None,
        })
    }
}

/// Of a field that comes more than once the last counts, as for the decoder.
fn last<'m>(message: &'m [u8], path: &[u32]) -> Result<&'m [u8], scan::Malformed> {
    let mut last: &[u8] = &message[..0];
    scan::strings(message, path, &mut |found| last = found)?;
    Ok(last)
}

/// A name or an id. What is no text is the codec's to refuse.
fn text<'m>(message: &'m [u8], path: &[u32]) -> Result<&'m str, scan::Malformed> {
    last(message, path).map(|bytes| std::str::from_utf8(bytes).unwrap_or_default())
}

/// Of a `TaskQueueType`; workflow tasks, if it says nothing.
fn kind_of(number: u64) -> QueueKind {
    use sempre_api::v1::enums::TaskQueueType as Type;
    match number {
        number if number == Type::Activity as u64 => QueueKind::Activity,
        number if number == Type::Nexus as u64 => QueueKind::Nexus,
        _ => QueueKind::Workflow,
    }
}

fn rule(service: &str, method: &str, how: How) -> Option<Rule> {
    let input = descriptors().get_service_by_name(service)?.methods().find(|found| found.name() == method)?.input();
    let path = |name: &str| path_of(&input, name);
    let queue = |kind| Some(Found::Queue(path("task_queue.name")?, Form { sticky: path("task_queue.kind")?, kind }));
    // As `sempre_core::TaskToken` has them.
    let in_token = |number: u32| Some([path("task_token")?, vec![number]].concat());
    let found = match how {
        Anywhere => return None,
        Single(shard) => Found::Single(shard),
        Workflow(id) => Found::Workflow(path(id)?),
        Activity(id) => Found::Activity(path(id)?),
        Operation(id) => Found::Operation(path(id)?),
        ActivityOf(workflow, id) => Found::ActivityOf(path(workflow)?, path(id)?),
        Token => Found::Token(in_token(1)?, in_token(2)?),
        Asker => Found::Asker(path("task_token")?),
        Queue(What::Polled(kind)) => queue(KindOf::Polled(kind))?,
        Queue(What::Asked) => queue(KindOf::Asked(path("task_queue_type")?))?,
        All => Found::All,
    };
    Some(Rule { kind: Kind::of(service, method), namespace: path("namespace").unwrap_or_default(), found })
}

#[cfg(test)]
mod tests;
