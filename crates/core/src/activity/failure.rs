//! Failures that the server makes for activities, and the trimming of those that workers send (spec 03 §3, §6, 09 §2.1).

use alloc::{format, string::String};

use prost::Message;
use sempre_api::v1::{
    common::Payloads,
    enums::TimeoutType,
    failure::{Failure, TimeoutFailureInfo, failure::FailureInfo},
};

use crate::{retry, state::ActivityProgress};

/// Source of failures that the server makes.
const SOURCE: &str = "Server";
/// An activity's result is over the limit.
pub(super) const RESULT_TOO_LARGE: &str = "Complete result exceeds size limit.";
/// Cancel details are over the limit.
pub(super) const CANCEL_DETAILS_TOO_LARGE: &str = "Cancel details exceed size limit.";
/// Heartbeat details are over the limit.
pub(super) const HEARTBEAT_TOO_LARGE: &str = "Heartbeat details exceed size limit.";
/// A retry would begin after the schedule-to-close deadline.
const NO_TIME_TO_RETRY: &str = "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying";

/// The failure of a timeout.
pub(super) fn timeout(kind: TimeoutType) -> Failure {
    let name = retry::timeout_name(kind);
    timed_out(format!("activity {name} timeout"), kind)
}

/// The failure of an activity that has no time left for another attempt.
pub(super) fn no_time_to_retry() -> Failure {
    timed_out(NO_TIME_TO_RETRY.into(), TimeoutType::ScheduleToClose)
}

/// The failure as the closing event has it: with the last attempt's failure and the last heartbeat.
pub(super) fn closing_timeout(mut failure: Failure, progress: &ActivityProgress) -> Failure {
    failure.cause.clone_from(&progress.last_failure);
    if let Some(FailureInfo::TimeoutFailureInfo(info)) = &mut failure.failure_info {
        info.last_heartbeat_details.clone_from(&progress.heartbeat_details);
    }
    failure
}

fn timed_out(message: String, kind: TimeoutType) -> Failure {
    Failure {
        message,
        source: SOURCE.into(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo { timeout_type: kind as i32, last_heartbeat_details: None })),
        ..Default::default()
    }
}

/// A worker's failure over `limit` bytes becomes the cause of a server failure, cut down to fit.
pub(super) fn limited(failure: Failure, limit: usize) -> Failure {
    if failure.encoded_len() <= limit { failure } else { retry::too_large_failure(retry::FAILURE_TOO_LARGE, Some(failure)) }
}

/// True when the payloads are over `limit` bytes.
pub(super) fn too_large(payloads: Option<&Payloads>, limit: usize) -> bool {
    payloads.is_some_and(|p| p.encoded_len() > limit)
}
