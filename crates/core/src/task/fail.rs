//! RespondWorkflowTaskFailed (spec 02 §4).

use alloc::{format, string::String};

use sempre_api::v1::{
    enums::WorkflowTaskFailedCause, failure::Failure, history::WorkflowTaskFailedEventAttributes,
    workflowservice::RespondWorkflowTaskFailedRequest,
};

use super::{ScheduleHow, count_failure, fail_started, force_close, named_by, problems, schedule};
use crate::{Refusal, Reply, TaskToken, close, retry, step::Step, visibility::health};

/// The worker could not process the task.
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
pub(crate) fn fail(
    step: &mut Step<'_, '_>,
    token: &TaskToken,
    request: RespondWorkflowTaskFailedRequest,
) -> Result<Result<Reply, Refusal>, Refusal> {
    step.require_open()?;
    named_by(step, token)?;
    let cause = request.cause();
    if cause == WorkflowTaskFailedCause::GrpcMessageTooLarge {
        // The run is ended, and its task with it: the worker's failure is not kept.
        force_close(step);
        close::terminate(step, format!("{cause:?}"), None, super::SERVER_IDENTITY.into(), alloc::vec::Vec::new());
        return Ok(Ok(Reply::Done));
    }
    let failure = request.failure.map(|f| limited(f, step.cx.limits.blob_size_max));
    let message = failure.as_ref().map_or_else(String::new, |failure| health::cut(&failure.message).into());
    fail_started(
        step,
        WorkflowTaskFailedEventAttributes {
            cause: cause as i32,
            failure,
            identity: request.identity,
            binary_checksum: request.binary_checksum,
            worker_version: request.worker_version,
            ..Default::default()
        },
    );
    count_failure(step);
    problems::failed(step, cause, &message);
    schedule(step, ScheduleHow::Offered);
    Ok(Ok(Reply::Done))
}

/// A failure over the limit is replaced by one that says so (spec 02 §4).
fn limited(failure: Failure, bytes_max: usize) -> Failure {
    if prost::Message::encoded_len(&failure) <= bytes_max {
        return failure;
    }
    retry::too_large_failure(retry::FAILURE_TOO_LARGE, Some(failure))
}
