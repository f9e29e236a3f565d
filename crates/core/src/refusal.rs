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
    /// UNAVAILABLE: the run's shard is not at this server. Nothing was tried.
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
