//! Why a saga did not go through.

use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, ChildWorkflowExecutionError, ChildWorkflowStartError};
use temporalio_sdk::{WorkflowCancellationError, WorkflowTermination};

use super::Report;

/// Type of the failure with which a workflow ends whose saga failed.
const FAILURE_TYPE: &str = "SagaFailed";

/// What ends the body of a saga early. `?` makes it of the errors of the SDK.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// A step failed for good.
    #[error("step `{step}`: {}", super::reason(.error))]
    Step {
        /// Its name.
        step: String,
        /// With what.
        #[source]
        error: Box<ActivityExecutionError>,
    },
    /// The workflow was cancelled.
    #[error("cancelled: {}", .reason.as_deref().unwrap_or("no reason given"))]
    Cancelled {
        /// What the one who cancelled it said.
        reason: Option<String>,
    },
    /// The body gave up by itself: a rule of the business.
    #[error(transparent)]
    GaveUp(Box<ApplicationFailure>),
    /// Something else of the SDK failed in the body.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl From<ApplicationFailure> for SagaError {
    fn from(failure: ApplicationFailure) -> Self {
        Self::GaveUp(Box::new(failure))
    }
}

impl From<WorkflowCancellationError> for SagaError {
    fn from(error: WorkflowCancellationError) -> Self {
        Self::Cancelled { reason: error.reason().map(str::to_owned) }
    }
}

macro_rules! from_other {
    ($($error:ty),*) => {$(
        impl From<$error> for SagaError {
            fn from(error: $error) -> Self {
                Self::Other(Box::new(error))
            }
        }
    )*};
}

from_other!(ActivityExecutionError, ChildWorkflowStartError, ChildWorkflowExecutionError);

/// A saga that did not go through, after its compensations. As the end of a workflow (by `?`):
///
/// - cancelled, and no compensation failed: the workflow is cancelled, with the report as details. It also tells of steps without a
///   compensation: those that are [`done`](Report::done), and those of which it is [`unknown`](Report::unknown);
/// - else it fails with type `SagaFailed`, the cause and the report as message, and the report as details. It is not begun again
///   by a retry policy of the workflow if something could not be undone.
#[derive(Debug, thiserror::Error)]
#[error("{cause}; {report}")]
pub struct Failed {
    /// Why.
    #[source]
    pub cause: SagaError,
    /// What became of each step.
    pub report: Report,
}

impl From<Failed> for WorkflowTermination {
    fn from(failed: Failed) -> Self {
        let whole = failed.report.not_undone().next().is_none();
        if whole && matches!(failed.cause, SagaError::Cancelled { .. }) {
            return Self::cancelled_with_details(failed.report);
        }
        let failure =
            ApplicationFailure::builder(failed.to_string()).type_name(FAILURE_TYPE.to_owned()).non_retryable(!whole).details(failed.report);
        Self::failed_application(failure.build())
    }
}
