//! What each method is for, where calls must be told apart: whose go first, and whose wait for something else than this server.

use sempre_engine::CallClass;

use CallClass::{Advance, Change, Complete, List, Look, Other, Poll, Start};

/// What a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) class: CallClass,
    /// Its calls wait for a worker, for a task or for time to pass: how long they take says nothing of this server.
    pub(crate) waits: bool,
}

/// Methods by class. What is not here is [`Other`].
const TABLE: &[(CallClass, &[&str])] = &[
    (
        Complete,
        &[
            "RespondWorkflowTaskCompleted",
            "RespondWorkflowTaskFailed",
            "RespondActivityTaskCompleted",
            "RespondActivityTaskCompletedById",
            "RespondActivityTaskFailed",
            "RespondActivityTaskFailedById",
            "RespondActivityTaskCanceled",
            "RespondActivityTaskCanceledById",
            "RespondNexusTaskCompleted",
            "RespondNexusTaskFailed",
            "RespondQueryTaskCompleted",
            "RecordActivityTaskHeartbeat",
            "RecordActivityTaskHeartbeatById",
        ],
    ),
    (
        Start,
        &[
            "StartWorkflowExecution",
            "SignalWithStartWorkflowExecution",
            "ExecuteMultiOperation",
            "StartActivityExecution",
            "StartNexusOperationExecution",
            "ForkWorkflowExecution",
        ],
    ),
    (Advance, &["SignalWorkflowExecution", "UpdateWorkflowExecution"]),
    (
        Change,
        &[
            "RequestCancelWorkflowExecution",
            "TerminateWorkflowExecution",
            "ResetWorkflowExecution",
            "DeleteWorkflowExecution",
            "RequestCancelActivityExecution",
            "TerminateActivityExecution",
            "DeleteActivityExecution",
            "RequestCancelNexusOperationExecution",
            "TerminateNexusOperationExecution",
            "DeleteNexusOperationExecution",
            "PauseWorkflowExecution",
            "UnpauseWorkflowExecution",
            "PauseActivity",
            "UnpauseActivity",
            "ResetActivity",
            "UpdateActivityOptions",
            "PauseActivityExecution",
            "UnpauseActivityExecution",
            "ResetActivityExecution",
            "UpdateActivityExecutionOptions",
            "UpdateWorkflowExecutionOptions",
            "CreateSchedule",
            "UpdateSchedule",
            "PatchSchedule",
            "DeleteSchedule",
            "GetWorkflowExecutionHistory",
            "PollWorkflowExecutionUpdate",
            "PollActivityExecution",
            "PollNexusOperationExecution",
            "ShutdownWorker",
            "ResetStickyTaskQueue",
        ],
    ),
    (
        Look,
        &[
            "DescribeNamespace",
            "DescribeWorkflowExecution",
            "DescribeActivityExecution",
            "DescribeNexusOperationExecution",
            "DescribeTaskQueue",
            "DescribeSchedule",
            "ListScheduleMatchingTimes",
            "GetWorkflowExecutionHistoryReverse",
            "QueryWorkflow",
            "RecordWorkerHeartbeat",
        ],
    ),
    (Poll, &["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue"]),
    (
        List,
        &[
            "ListOpenWorkflowExecutions",
            "ListClosedWorkflowExecutions",
            "ListWorkflowExecutions",
            "ListArchivedWorkflowExecutions",
            "ScanWorkflowExecutions",
            "CountWorkflowExecutions",
            "ListSchedules",
            "CountSchedules",
            "ListActivityExecutions",
            "CountActivityExecutions",
            "ListNexusOperationExecutions",
            "CountNexusOperationExecutions",
            "PreviewBatchOperation",
        ],
    ),
];

/// Methods whose calls wait, beside the polls for tasks.
const WAITING: &[&str] = &[
    "QueryWorkflow",
    "UpdateWorkflowExecution",
    "ExecuteMultiOperation",
    "GetWorkflowExecutionHistory",
    "PollWorkflowExecutionUpdate",
    "PollActivityExecution",
    "PollNexusOperationExecution",
    "PollWorkflowExecutionTimeSkipping",
    "DescribeActivityExecution",
    "DescribeNexusOperationExecution",
    "ListNotices",
    "CheckDeploymentVersion",
    "Backup",
    "Watch",
    "Sleep",
    "SleepUntil",
    "UnlockTimeSkippingWithSleep",
];

/// What tells whether the server is there: a server with much to do must not look as if it were not (`grpc.health.v1.Health`, and the
/// first call of every SDK).
const PROBES: &[&str] = &["Check", "GetSystemInfo"];

impl Kind {
    /// Of a method, by its name: no two services have methods of one name that are not of the same kind.
    pub(crate) fn of(method: &str) -> Self {
        if PROBES.contains(&method) {
            return Self { class: Complete, waits: false };
        }
        let class = TABLE.iter().find(|(_, methods)| methods.contains(&method)).map_or(Other, |(class, _)| *class);
        Self { class, waits: class == Poll || WAITING.contains(&method) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_a_method_and_has_one_class() {
        let methods: BTreeSet<&str> = sempre_api::METHODS.iter().map(|(_, method)| *method).collect();
        let mut seen = BTreeSet::new();
        for method in TABLE.iter().flat_map(|(_, methods)| *methods) {
            assert!(methods.contains(method), "{method} is no method");
            assert!(seen.insert(*method), "{method} has two classes");
        }
        for method in WAITING {
            assert!(methods.contains(method), "{method} is no method");
        }
    }

    #[test]
    fn what_workers_answer_is_of_the_first_class() {
        let answers = sempre_api::METHODS.iter().map(|(_, method)| *method);
        for method in answers.filter(|method| method.starts_with("Respond") || method.starts_with("RecordActivity")) {
            assert_eq!(Kind::of(method), Kind { class: Complete, waits: false }, "{method}");
        }
        for method in ["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue"] {
            assert_eq!(Kind::of(method), Kind { class: Poll, waits: true });
        }
    }
}
