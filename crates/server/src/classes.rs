//! What each method is for, where calls must be told apart: whose go first, and whose wait for something else than this server.

use sempre_engine::CallClass;

use CallClass::{Advance, Change, Complete, List, Look, Other, Poll, Start};

use crate::access::WORKFLOW;

const HEALTH: &str = "grpc.health.v1.Health";
const STEER: &str = "sempre.v1.SteerService";
const TEST: &str = "temporal.api.testservice.v1.TestService";

/// What a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) class: CallClass,
    /// Its calls wait for a worker, for a task or for time to pass: how long they take says nothing of this server.
    pub(crate) waits: bool,
    /// Anybody may make them, whoever he is: what they hold must be nobody else's.
    pub(crate) by_anybody: bool,
}

const fn works(class: CallClass) -> Kind {
    Kind { class, waits: false, by_anybody: false }
}

const fn waits(class: CallClass) -> Kind {
    Kind { class, waits: true, by_anybody: false }
}

const fn by_anybody(kind: Kind) -> Kind {
    Kind { by_anybody: true, ..kind }
}

/// Service, what its methods are for, the methods. What is not here is [`Kind::OTHER`].
const TABLE: &[(&str, Kind, &[&str])] = &[
    // Probes: a server with much to do must not look as if it were not there, neither to `grpc.health.v1.Health` nor to the first call of
    // every SDK.
    (HEALTH, by_anybody(works(Complete)), &["Check"]),
    (WORKFLOW, by_anybody(works(Complete)), &["GetSystemInfo"]),
    (
        WORKFLOW,
        works(Complete),
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
        WORKFLOW,
        works(Start),
        &["StartWorkflowExecution", "SignalWithStartWorkflowExecution", "StartActivityExecution", "StartNexusOperationExecution"],
    ),
    (WORKFLOW, waits(Start), &["ExecuteMultiOperation"]),
    (STEER, works(Start), &["ForkWorkflowExecution"]),
    (STEER, works(Change), &["RunActivityNow"]),
    (WORKFLOW, works(Advance), &["SignalWorkflowExecution"]),
    (WORKFLOW, waits(Advance), &["UpdateWorkflowExecution"]),
    (
        WORKFLOW,
        works(Change),
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
            "ShutdownWorker",
            "ResetStickyTaskQueue",
        ],
    ),
    (
        WORKFLOW,
        waits(Change),
        &["GetWorkflowExecutionHistory", "PollWorkflowExecutionUpdate", "PollActivityExecution", "PollNexusOperationExecution"],
    ),
    (
        WORKFLOW,
        works(Look),
        &[
            "DescribeNamespace",
            "DescribeWorkflowExecution",
            "DescribeTaskQueue",
            "DescribeSchedule",
            "ListScheduleMatchingTimes",
            "GetWorkflowExecutionHistoryReverse",
            "RecordWorkerHeartbeat",
        ],
    ),
    (WORKFLOW, waits(Look), &["DescribeActivityExecution", "DescribeNexusOperationExecution", "QueryWorkflow"]),
    (WORKFLOW, waits(Poll), &["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue"]),
    (
        WORKFLOW,
        works(List),
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
        ],
    ),
    (STEER, works(List), &["PreviewBatchOperation"]),
    (WORKFLOW, waits(Other), &["PollWorkflowExecutionTimeSkipping"]),
    ("sempre.v1.AlertService", waits(Other), &["ListNotices"]),
    ("sempre.v1.VersionService", waits(Other), &["CheckDeploymentVersion"]),
    ("sempre.v1.StorageService", waits(Other), &["Backup"]),
    (HEALTH, waits(Other), &["Watch"]),
    (TEST, waits(Other), &["Sleep", "SleepUntil", "UnlockTimeSkippingWithSleep"]),
];

impl Kind {
    /// Of what has no line.
    pub(crate) const OTHER: Self = works(Other);

    /// Of a method of a service, by their names.
    pub(crate) fn of(service: &str, method: &str) -> Self {
        let line = TABLE.iter().find(|(of, _, methods)| *of == service && methods.contains(&method));
        line.map_or(Self::OTHER, |(_, kind, _)| *kind)
    }

    /// Its calls may end with DEADLINE_EXCEEDED although their callers have set no bound: what they wait for does not come, or the
    /// index takes too long for what they list or count.
    #[cfg(feature = "http")]
    pub(crate) fn may_be_late(self) -> bool {
        self.waits || self.class == List
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_is_of_methods_that_have_no_other() {
        let methods: BTreeSet<(&str, &str)> = sempre_api::METHODS.iter().copied().collect();
        let mut seen = BTreeSet::new();
        for (service, _, of_line) in TABLE {
            for method in *of_line {
                assert!(methods.contains(&(*service, *method)), "{service} has no {method}");
                assert!(seen.insert((*service, *method)), "{service}/{method} has two lines");
            }
        }
    }

    #[test]
    fn what_workers_answer_is_of_the_first_class() {
        let answers =
            sempre_api::METHODS.iter().filter(|(_, method)| method.starts_with("Respond") || method.starts_with("RecordActivity"));
        for (service, method) in answers {
            assert_eq!(Kind::of(service, method), works(Complete), "{service}/{method}");
        }
        for method in ["PollWorkflowTaskQueue", "PollActivityTaskQueue", "PollNexusTaskQueue"] {
            assert_eq!(Kind::of(WORKFLOW, method), waits(Poll));
        }
    }

    #[test]
    fn what_needs_no_credentials_takes_nobody_elses_room() {
        use crate::access::table::{Need, TABLE};
        for (service, need, methods) in TABLE {
            for method in *methods {
                assert_eq!(Kind::of(service, method).by_anybody, matches!(need, Need::Nothing), "{service}/{method}");
            }
        }
    }

    #[test]
    fn a_probe_is_one_by_its_service_too() {
        assert_eq!(
            (Kind::of(HEALTH, "Check"), Kind::of(WORKFLOW, "GetSystemInfo")),
            (by_anybody(works(Complete)), by_anybody(works(Complete)))
        );
        assert_eq!((Kind::of(WORKFLOW, "Check"), Kind::of(HEALTH, "GetSystemInfo")), (Kind::OTHER, Kind::OTHER));
        assert_eq!(Kind::of("", ""), Kind::OTHER);
    }
}
