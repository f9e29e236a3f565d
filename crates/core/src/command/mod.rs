//! Commands of a completed workflow task, one file each (spec 02 §2.3–2.7).

use alloc::{string::String, vec::Vec};

use sempre_api::v1::{command::Command, enums::WorkflowTaskFailedCause};

use crate::step::Step;

/// What the commands of one completion share.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Id of the WorkflowTaskCompleted event.
    pub(crate) completed_event_id: i64,
    /// Who completed.
    pub(crate) identity: String,
    /// Events were buffered when the task completed: close commands are refused.
    pub(crate) had_buffered: bool,
    /// Scheduled event ids of activities to be started eagerly.
    pub(crate) eager: Vec<i64>,
    /// An unstarted activity was cancelled: a new workflow task is needed.
    pub(crate) force_task: bool,
    /// Workflow ids of children started by this completion.
    pub(crate) children_started: Vec<String>,
}

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

/// Carries out one command. The run may have closed by it; later close commands are ignored by the caller.
pub(crate) fn apply(_step: &mut Step<'_, '_>, _completion: &mut Completion, _command: Command) -> Result<(), CommandFailure> {
    Ok(())
}
