//! Why a workflow task fails because of a command (spec 02 §2.3).

use alloc::string::String;

use sempre_api::v1::enums::WorkflowTaskFailedCause;

/// Why the workflow task fails because of a command (spec 02 §2.3).
#[derive(Debug, PartialEq)]
pub(crate) struct CommandFailure {
    /// The cause.
    pub(crate) cause: WorkflowTaskFailedCause,
    /// Detail after `<Cause>: `; empty for a plain cause.
    pub(crate) message: String,
    /// The run is terminated too.
    pub(crate) terminate: bool,
}

impl CommandFailure {
    /// The task fails; the worker may do better next time.
    pub(crate) fn new(cause: WorkflowTaskFailedCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), terminate: false }
    }

    /// Something is too large to ever be stored: the run is terminated too (spec 09 §2.2).
    pub(crate) fn too_large(cause: WorkflowTaskFailedCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), terminate: true }
    }
}
