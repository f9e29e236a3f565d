//! Workflow tasks that fail again and again are told of: search attribute `TemporalReportedProblems` (spec 02 §1.4).
//!
//! It is not in history: the next completion takes it away again.

use alloc::{format, string::String};

use bytes::Bytes;
use sempre_api::v1::{
    common::Payload,
    enums::{TimeoutType, WorkflowTaskFailedCause},
};

use crate::{
    state::progress::{ProgressMain, TaskProblem},
    step::Step,
    visibility::health,
};

/// The search attribute.
pub(crate) const SEARCH_ATTRIBUTE: &str = "TemporalReportedProblems";

/// A task has failed; [`super::count_failure`] has counted it.
pub(crate) fn failed(step: &mut Step<'_, '_>, cause: WorkflowTaskFailedCause, message: &str) {
    report(step, TaskProblem { timed_out: false, kind: cause as i32 }, message);
}

/// A task has timed out.
pub(crate) fn timed_out(step: &mut Step<'_, '_>, timeout: TimeoutType) {
    report(step, TaskProblem { timed_out: true, kind: timeout as i32 }, "");
}

fn report(step: &mut Step<'_, '_>, problem: TaskProblem, message: &str) {
    let reported_from = step.cx.limits.task_problems_reported;
    let main = &mut step.run.state.progress.main;
    // A failure that does not count (of a worker's cache) is none to tell of.
    if main.task_problems > 0 {
        main.last_problem = Some(problem);
        main.last_problem_message = health::cut(message).into();
    }
    if reported_from > 0 && main.task_problems >= reported_from {
        main.problem = Some(problem);
    }
    if health::is_told(step.run.state.progress.main.task_problems) {
        step.listed();
    }
}

/// A task was completed.
pub(crate) fn over(main: &mut ProgressMain) {
    main.task_problems = 0;
    main.problem = None;
    main.last_problem = None;
    main.last_problem_message = String::new();
}

/// The cause in words.
pub(crate) fn name(problem: &TaskProblem) -> String {
    if problem.timed_out {
        format!("{:?} timeout of a workflow task", TimeoutType::try_from(problem.kind).unwrap_or_default())
    } else {
        format!("{:?}", WorkflowTaskFailedCause::try_from(problem.kind).unwrap_or_default())
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
