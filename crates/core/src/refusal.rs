//! The typed "no": what a request is told when it is not carried out (spec 09 §1).
//!
//! One variant per gRPC code and detail message; `server` makes a status of it and decides nothing.
//! Texts that clients can see are part of the API and stand here or beside their check.

use alloc::{boxed::Box, string::String};

use sempre_api::v1::{enums::ResourceExhaustedCause, failure::Failure};

/// Why an input was not applied. Nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// INVALID_ARGUMENT.
    InvalidArgument(String),
    /// NOT_FOUND: run, activity or task unknown, closed or stale.
    NotFound(String),
    /// NOT_FOUND with NamespaceNotFoundFailure.
    NamespaceNotFound(String),
    /// ALREADY_EXISTS with NamespaceAlreadyExistsFailure.
    NamespaceAlreadyExists(String),
    /// FAILED_PRECONDITION with NamespaceInvalidStateFailure.
    NamespaceInvalidState {
        /// The namespace's name.
        namespace: String,
        /// Its state's short name.
        state: &'static str,
        /// Short names of the states allowed.
        allowed: &'static str,
    },
    /// ALREADY_EXISTS with WorkflowExecutionAlreadyStartedFailure.
    AlreadyStarted {
        /// Text.
        message: String,
        /// Request id of the start that made the run in the way.
        start_request_id: String,
        /// That run.
        run_id: String,
        /// First run of its chain.
        first_run_id: String,
    },
    /// ALREADY_EXISTS with ActivityExecutionAlreadyStartedFailure.
    ActivityAlreadyStarted {
        /// Text.
        message: String,
        /// Request id of the start that made the run in the way.
        start_request_id: String,
        /// That run.
        run_id: String,
    },
    /// ALREADY_EXISTS with NexusOperationExecutionAlreadyStartedFailure.
    OperationAlreadyStarted {
        /// Text.
        message: String,
        /// Request id of the start that made the run in the way.
        start_request_id: String,
        /// That run.
        run_id: String,
    },
    /// ALREADY_EXISTS without details.
    AlreadyExists(String),
    /// RESOURCE_EXHAUSTED, scope namespace.
    ResourceExhausted {
        /// Cause.
        cause: ResourceExhaustedCause,
        /// Text.
        message: String,
    },
    /// RESOURCE_EXHAUSTED, scope system: an inbox or queue of ours is full.
    Overloaded(&'static str),
    /// FAILED_PRECONDITION.
    FailedPrecondition(String),
    /// FAILED_PRECONDITION with WorkflowNotReadyFailure.
    WorkflowNotReady(String),
    /// PERMISSION_DENIED.
    PermissionDenied(String),
    /// INVALID_ARGUMENT with QueryFailedFailure.
    QueryFailed {
        /// The handler's text.
        message: String,
        /// The handler's failure.
        failure: Option<Box<Failure>>,
    },
    /// ABORTED: try again.
    Aborted(String),
    /// ABORTED with WorkflowTaskCompletionBufferLostFailure: send all pages of the completion again.
    BufferLost(String),
    /// MultiOperationExecutionFailure: one of several operations was refused, so none was carried out, or not all.
    MultiOperation(Box<MultiOperation>),
    /// UNIMPLEMENTED.
    Unimplemented(String),
    /// UNAVAILABLE: try again.
    Unavailable(String),
    /// UNAVAILABLE: the run's shard is not at this server. Only where nothing of the call can have been done: it is sent as it is to whoever
    /// has the shard, and what the server makes up for a call (ids, say) it makes up anew there. Else it is [`Refusal::Unavailable`].
    Elsewhere {
        /// The shard.
        shard: u32,
    },
    /// OUT_OF_RANGE: what was asked for is gone.
    OutOfRange(String),
    /// DEADLINE_EXCEEDED.
    DeadlineExceeded(String),
}

/// What became of the operations of an update-with-start.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiOperation {
    /// The start.
    pub start: Operation,
    /// The update.
    pub update: Operation,
}

/// What became of one of several operations.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// It was carried out.
    Done,
    /// It was not tried because of the other.
    NotTried,
    /// It was refused.
    Refused(Box<Refusal>),
}

/// Texts of spec 09 §1.4–1.6 that more than one place says.
pub mod text {
    /// Signal, cancel, terminate, … of a closed run.
    pub const ALREADY_COMPLETED: &str = "workflow execution already completed";
    /// An unknown run.
    pub const EXECUTION_NOT_FOUND: &str = "workflow execution not found";
    /// A workflow task that is gone.
    pub const WORKFLOW_TASK_NOT_FOUND: &str = "Workflow task not found.";
    /// An activity that is gone.
    pub const ACTIVITY_NOT_FOUND: &str = "invalid activityID or activity already timed out or invoking workflow is completed";
    /// A payload over the limit.
    pub const BLOB_TOO_LARGE: &str = "Blob data size exceeds limit.";
    /// Close refused because of buffered events; clients compare the whole text.
    pub const UNHANDLED_COMMAND: &str = "UnhandledCommand";
    /// A signal or update while a refused close is outstanding.
    pub const CLOSING: &str = "workflow operation can not be applied because workflow is closing";

    /// A run whose shard another server has.
    pub fn elsewhere(shard: u32) -> alloc::string::String {
        alloc::format!("shard {shard} is elsewhere, please backoff and retry")
    }
}

impl Refusal {
    /// NOT_FOUND for a closed run.
    pub fn closed() -> Self {
        Self::NotFound(text::ALREADY_COMPLETED.into())
    }

    /// The same request may be answered otherwise later. What was asked for may have been done all the same, so that it is to be asked for
    /// under the same request id, or to be no harm when it is done twice.
    ///
    /// A completion whose pages were lost is not: all its pages have to come again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::ResourceExhausted { .. }
            | Self::Overloaded(_)
            | Self::Aborted(_)
            | Self::Unavailable(_)
            | Self::Elsewhere { .. }
            | Self::DeadlineExceeded(_) => true,
            Self::MultiOperation(multi) => [&multi.start, &multi.update].into_iter().any(|operation| match operation {
                Operation::Refused(refusal) => refusal.may_pass(),
                Operation::Done | Operation::NotTried => false,
            }),
            Self::InvalidArgument(_)
            | Self::NotFound(_)
            | Self::NamespaceNotFound(_)
            | Self::NamespaceAlreadyExists(_)
            | Self::NamespaceInvalidState { .. }
            | Self::AlreadyStarted { .. }
            | Self::ActivityAlreadyStarted { .. }
            | Self::OperationAlreadyStarted { .. }
            | Self::AlreadyExists(_)
            | Self::FailedPrecondition(_)
            | Self::WorkflowNotReady(_)
            | Self::PermissionDenied(_)
            | Self::QueryFailed { .. }
            | Self::BufferLost(_)
            | Self::Unimplemented(_)
            | Self::OutOfRange(_) => false,
        }
    }

    /// INVALID_ARGUMENT.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument(message.into())
    }

    /// The refusal of an update-with-start.
    pub fn multi(start: Operation, update: Operation) -> Self {
        Self::MultiOperation(Box::new(MultiOperation { start, update }))
    }

    /// NOT_FOUND.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(message.into())
    }

    /// RESOURCE_EXHAUSTED / BUSY_WORKFLOW.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::ResourceExhausted { cause: ResourceExhaustedCause::BusyWorkflow, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec, vec::Vec};

    use super::*;

    /// A refusal of every kind, and whether it may pass.
    fn every() -> Vec<(Refusal, bool)> {
        let text = || String::from("text");
        let multi = |refusal: Refusal| Refusal::multi(Operation::NotTried, Operation::Refused(Box::new(refusal)));
        vec![
            (Refusal::InvalidArgument(text()), false),
            (Refusal::NotFound(text()), false),
            (Refusal::NamespaceNotFound(text()), false),
            (Refusal::NamespaceAlreadyExists(text()), false),
            (Refusal::NamespaceInvalidState { namespace: text(), state: "Deleted", allowed: "Registered" }, false),
            (Refusal::AlreadyStarted { message: text(), start_request_id: text(), run_id: text(), first_run_id: text() }, false),
            (Refusal::ActivityAlreadyStarted { message: text(), start_request_id: text(), run_id: text() }, false),
            (Refusal::OperationAlreadyStarted { message: text(), start_request_id: text(), run_id: text() }, false),
            (Refusal::AlreadyExists(text()), false),
            (Refusal::busy("text"), true),
            (Refusal::Overloaded("text"), true),
            (Refusal::FailedPrecondition(text()), false),
            (Refusal::WorkflowNotReady(text()), false),
            (Refusal::PermissionDenied(text()), false),
            (Refusal::QueryFailed { message: text(), failure: None }, false),
            (Refusal::Aborted(text()), true),
            (Refusal::BufferLost(text()), false),
            (multi(Refusal::Unavailable(text())), true),
            (multi(Refusal::NotFound(text())), false),
            (Refusal::multi(Operation::Refused(Box::new(Refusal::busy("text"))), Operation::NotTried), true),
            (Refusal::multi(Operation::Done, Operation::NotTried), false),
            (Refusal::Unimplemented(text()), false),
            (Refusal::Unavailable(text()), true),
            (Refusal::Elsewhere { shard: 7 }, true),
            (Refusal::OutOfRange(text()), false),
            (Refusal::DeadlineExceeded(text()), true),
        ]
    }

    /// The place of its kind among all, so that none is left out above.
    fn place(refusal: &Refusal) -> usize {
        match refusal {
            Refusal::InvalidArgument(_) => 0,
            Refusal::NotFound(_) => 1,
            Refusal::NamespaceNotFound(_) => 2,
            Refusal::NamespaceAlreadyExists(_) => 3,
            Refusal::NamespaceInvalidState { .. } => 4,
            Refusal::AlreadyStarted { .. } => 5,
            Refusal::ActivityAlreadyStarted { .. } => 6,
            Refusal::OperationAlreadyStarted { .. } => 7,
            Refusal::AlreadyExists(_) => 8,
            Refusal::ResourceExhausted { .. } => 9,
            Refusal::Overloaded(_) => 10,
            Refusal::FailedPrecondition(_) => 11,
            Refusal::WorkflowNotReady(_) => 12,
            Refusal::PermissionDenied(_) => 13,
            Refusal::QueryFailed { .. } => 14,
            Refusal::Aborted(_) => 15,
            Refusal::BufferLost(_) => 16,
            Refusal::MultiOperation(_) => 17,
            Refusal::Unimplemented(_) => 18,
            Refusal::Unavailable(_) => 19,
            Refusal::Elsewhere { .. } => 20,
            Refusal::OutOfRange(_) => 21,
            Refusal::DeadlineExceeded(_) => 22,
        }
    }

    #[test]
    fn what_may_pass_is_asked_again() {
        for (refusal, may_pass) in every() {
            assert_eq!(refusal.may_pass(), may_pass, "{refusal:?}");
        }
        let places: BTreeSet<usize> = every().iter().map(|(refusal, _)| place(refusal)).collect();
        assert_eq!(places, (0..=22).collect(), "every kind is there");
    }
}
