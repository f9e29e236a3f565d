//! Workflow tasks that fail again and again are told of: search attribute `TemporalReportedProblems` (spec 02 §1.4).
//!
//! It is not in history: the next completion takes it away again.

use alloc::format;

use bytes::Bytes;
use sempre_api::v1::{
    common::Payload,
    enums::{TimeoutType, WorkflowTaskFailedCause},
};

use crate::{state::progress::TaskProblem, step::Step};

/// The search attribute.
pub(crate) const SEARCH_ATTRIBUTE: &str = "TemporalReportedProblems";

/// A task has failed; [`super::count_failure`] has counted it.
pub(crate) fn failed(step: &mut Step<'_, '_>, cause: WorkflowTaskFailedCause) {
    report(step, TaskProblem { timed_out: false, kind: cause as i32 });
}

/// A task has timed out.
pub(crate) fn timed_out(step: &mut Step<'_, '_>, timeout: TimeoutType) {
    report(step, TaskProblem { timed_out: true, kind: timeout as i32 });
}

fn report(step: &mut Step<'_, '_>, problem: TaskProblem) {
    let reported_from = step.cx.limits.task_problems_reported;
    let main = &mut step.run.state.progress.main;
    if reported_from > 0 && main.task_problems >= reported_from {
        main.problem = Some(problem);
    }
}

/// Value of the search attribute: a list of two keywords.
pub(crate) fn payload(problem: &TaskProblem) -> Payload {
    let (category, cause) = if problem.timed_out {
        let timeout = TimeoutType::try_from(problem.kind).unwrap_or_default();
        ("WorkflowTaskTimedOut", format!("WorkflowTaskTimedOutCause{timeout:?}"))
    } else {
        let cause = WorkflowTaskFailedCause::try_from(problem.kind).unwrap_or_default();
        ("WorkflowTaskFailed", format!("WorkflowTaskFailedCause{cause:?}"))
    };
    Payload {
        metadata: [("encoding".into(), Bytes::from_static(b"json/plain")), ("type".into(), Bytes::from_static(b"KeywordList"))]
            .into_iter()
            .collect(),
        data: format!("[\"category={category}\",\"cause={cause}\"]").into_bytes().into(),
        ..Default::default()
    }
}
