//! The end of updates that are not answered: the run closes, the workflow task fails (spec 02 §7.5).

use alloc::{boxed::Box, string::String, vec::Vec};

use sempre_api::v1::{
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    update::{Outcome, outcome::Value},
};

use super::tell;
use crate::{
    Execution, Refusal, callbacks,
    refusal::text,
    step::{Continues, Step},
    transition::UpdateNews,
};

/// An outcome of the server's own making: a failure of this type.
pub(super) fn server_failure(kind: &str, message: &str) -> Outcome {
    Outcome {
        value: Some(Value::Failure(Failure {
            message: message.into(),
            source: "Server".into(),
            failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
                r#type: kind.into(),
                non_retryable: true,
                ..Default::default()
            })),
            ..Default::default()
        })),
    }
}

/// The outcome of an update that was accepted and that the run did not live to complete.
pub(crate) fn closed_before_completion() -> Outcome {
    server_failure("AcceptedUpdateCompletedWorkflow", "Workflow Update failed because the Workflow completed before the Update completed.")
}

/// The run has closed; it goes on as another run if `continues`.
///
/// Callbacks of updates do not go on with a chain. Those of a run that a reset ended are the caller's concern.
pub(crate) fn run_closed(step: &mut Step<'_, '_>, continues: Continues) {
    if continues != Continues::ByReset {
        callbacks::updates_closed(step, |_| false);
    }
    for waiting in core::mem::take(&mut step.run.updates) {
        let news = if continues != Continues::No {
            UpdateNews::Continued(Refusal::busy(text::CLOSING))
        } else {
            UpdateNews::Aborted(Refusal::not_found("workflow update was aborted by closing workflow"))
        };
        tell(step, &waiting.id, news);
    }
    let running: Vec<String> = step.run.state.derived.updates.iter().filter(|u| u.is_running()).map(|u| u.update_id.clone()).collect();
    for id in running {
        tell(step, &id, UpdateNews::Completed(Box::new(closed_before_completion())));
    }
}

/// The workflow task has failed because of its commands or messages. Updates that a worker has seen are not tried
/// again, for they may be the reason; others are sent anew by those who wait for them.
pub(crate) fn task_failed(step: &mut Step<'_, '_>) {
    for waiting in core::mem::take(&mut step.run.updates) {
        let news = if waiting.sent {
            UpdateNews::Aborted(Refusal::WorkflowNotReady(
                "Unable to perform workflow execution update due to unexpected workflow task failure.".into(),
            ))
        } else {
            UpdateNews::Lost
        };
        tell(step, &waiting.id, news);
    }
    step.run.updates = super::admitted_by_events(&step.run.state);
}

/// Forgets the updates that only memory has and that nobody waits for, as if the run had been unloaded
/// ([`UpdateNews::Lost`]: there is nobody to tell). A worker at work on its task keeps those that it was sent.
pub(crate) fn forget_unwatched(run: &mut Execution, watched: &mut dyn FnMut(&str) -> bool) {
    let at_work = run.state.progress.main.task.as_deref().is_some_and(|task| task.is_started());
    run.updates.retain_mut(|waiting| {
        if waiting.sent && at_work || waiting.request.is_some() && watched(&waiting.id) {
            return true;
        }
        // Those that an event has admitted stay; the next task brings them.
        waiting.sent = false;
        waiting.request.is_none()
    });
}
