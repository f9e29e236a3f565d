//! Termination (spec 01 §6.1).

use crate::{Refusal, Reply, cancel, close, input::TerminateRequest, step::Step, task, validate};

/// Closes the run now, without asking the workflow.
pub(crate) fn terminate(step: &mut Step<'_, '_>, request: TerminateRequest) -> Result<Result<Reply, Refusal>, Refusal> {
    validate::links(&request.links)?;
    step.require_open()?;
    cancel::check_chain(step, &request.first_run_id)?;
    if let Some(parent) = &request.parent {
        cancel::check_parent(step, parent, request.reset_parent)?;
    }
    task::force_close(step);
    step.flush();
    close::terminate(step, request.reason, request.details, request.identity, request.links);
    Ok(Ok(Reply::Done))
}
