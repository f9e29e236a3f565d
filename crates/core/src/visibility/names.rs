//! The attributes that every namespace has, and the names that no user may take (spec 06 §4).

use super::{AttributeType, Field, SystemField};
use AttributeType::{Bool, Datetime, Int, Keyword, KeywordList, Text};

/// Fields that every run has; only the server sets them.
pub const SYSTEM: [(&str, SystemField, AttributeType); 16] = [
    ("WorkflowId", SystemField::WorkflowId, Keyword),
    ("RunId", SystemField::RunId, Keyword),
    ("WorkflowType", SystemField::WorkflowType, Keyword),
    ("TaskQueue", SystemField::TaskQueue, Keyword),
    ("ExecutionStatus", SystemField::ExecutionStatus, Keyword),
    ("ParentWorkflowId", SystemField::ParentWorkflowId, Keyword),
    ("ParentRunId", SystemField::ParentRunId, Keyword),
    ("RootWorkflowId", SystemField::RootWorkflowId, Keyword),
    ("RootRunId", SystemField::RootRunId, Keyword),
    ("StartTime", SystemField::StartTime, Datetime),
    ("ExecutionTime", SystemField::ExecutionTime, Datetime),
    ("CloseTime", SystemField::CloseTime, Datetime),
    ("HistoryLength", SystemField::HistoryLength, Int),
    ("HistorySizeBytes", SystemField::HistorySizeBytes, Int),
    ("ExecutionDuration", SystemField::ExecutionDuration, Int),
    ("StateTransitionCount", SystemField::StateTransitionCount, Int),
];

/// Who may set a predefined attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetBy {
    /// Starts and workflows may, as SDKs and tools do.
    Anyone,
    /// Only the server.
    Server,
}

/// Attributes that exist in every namespace, defined by the server and SDKs.
pub const PREDEFINED: [(&str, AttributeType, SetBy); 27] = [
    ("TemporalChangeVersion", KeywordList, SetBy::Anyone),
    ("BinaryChecksums", KeywordList, SetBy::Anyone),
    ("BuildIds", KeywordList, SetBy::Anyone),
    ("BatcherNamespace", Keyword, SetBy::Anyone),
    ("BatcherUser", Keyword, SetBy::Anyone),
    ("TemporalScheduledStartTime", Datetime, SetBy::Anyone),
    ("TemporalScheduledById", Keyword, SetBy::Anyone),
    ("TemporalSchedulePaused", Bool, SetBy::Anyone),
    (NAMESPACE_DIVISION, Keyword, SetBy::Anyone),
    ("TemporalPauseInfo", KeywordList, SetBy::Anyone),
    ("TemporalReportedProblems", KeywordList, SetBy::Anyone),
    ("TemporalUsedWorkerDeploymentVersions", KeywordList, SetBy::Server),
    ("TemporalWorkerDeployment", Keyword, SetBy::Server),
    ("TemporalWorkerDeploymentVersion", Keyword, SetBy::Server),
    ("TemporalWorkflowVersioningBehavior", Keyword, SetBy::Server),
    ("TemporalExternalPayloadCount", Int, SetBy::Server),
    ("TemporalExternalPayloadSizeBytes", Int, SetBy::Server),
    (super::HEALTH, Keyword, SetBy::Server),
    (super::TASK_FAILURES, Int, SetBy::Server),
    (super::ACTIVITY_ATTEMPT, Int, SetBy::Server),
    (super::LAST_FAILURE, Text, SetBy::Server),
    (super::WAITING_FOR, Keyword, SetBy::Server),
    (super::WAITING_SINCE, Datetime, SetBy::Server),
    (super::WAITING_UNTIL, Datetime, SetBy::Server),
    (super::FLOW_RULES, KeywordList, SetBy::Server),
    (super::QUEUE_POLLERS, Int, SetBy::Server),
    (super::QUEUE_BACKLOG_AGE, Int, SetBy::Server),
];

/// Separates records of the system from those of users; lists of workflows see records without it.
pub const NAMESPACE_DIVISION: &str = "TemporalNamespaceDivision";

/// Names of the reference server's own columns.
const COLUMNS: [&str; 4] = ["NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey"];
/// Names that begin with this belong to the server and SDKs.
pub const RESERVED_PREFIX: &str = "Temporal";

/// The type of a predefined attribute and who may set it.
pub fn predefined(name: &str) -> Option<(AttributeType, SetBy)> {
    PREDEFINED.iter().find(|(known, ..)| *known == name).map(|(_, kind, by)| (*kind, *by))
}

/// True for the names of [`SYSTEM`] and [`PREDEFINED`].
pub fn is_built_in(name: &str) -> bool {
    SystemField::from_name(name).is_some() || predefined(name).is_some()
}

/// True for names that a custom attribute must not have.
pub fn is_reserved(name: &str) -> bool {
    is_built_in(name) || COLUMNS.contains(&name) || name.starts_with(RESERVED_PREFIX)
}

impl SystemField {
    /// By its name in queries.
    pub fn from_name(name: &str) -> Option<Self> {
        SYSTEM.iter().find(|(known, ..)| *known == name).map(|(_, field, _)| *field)
    }

    /// Its name in queries.
    pub fn name(self) -> &'static str {
        SYSTEM[self as usize].0
    }

    /// Its type in queries.
    pub fn kind(self) -> AttributeType {
        SYSTEM[self as usize].2
    }
}

impl Field {
    /// Its name in queries.
    pub fn name(&self) -> &str {
        match self {
            Self::System(field) => field.name(),
            Self::Attribute { name, .. } => name,
        }
    }

    /// Its type in queries.
    pub fn kind(&self) -> AttributeType {
        match self {
            Self::System(field) => field.kind(),
            Self::Attribute { kind, .. } => *kind,
        }
    }

    /// The field that separates the system's records from users'.
    pub fn namespace_division() -> Self {
        Self::Attribute { name: NAMESPACE_DIVISION.into(), kind: Keyword }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_system_fields_is_in_their_order() {
        for (at, (name, field, _)) in SYSTEM.iter().enumerate() {
            assert_eq!(*field as usize, at, "{name}");
            assert_eq!(SystemField::from_name(name), Some(*field));
        }
    }

    #[test]
    fn reserved_names() {
        for name in ["RunId", "BuildIds", "NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey", "TemporalAnything", "Temporal"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["runId", "Temporary", "Order", ""] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(!is_built_in("Memo"));
    }
}
