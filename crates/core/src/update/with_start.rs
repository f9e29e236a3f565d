//! Update-with-start: an update for the run that is there, or for one that is started for it, in one step (spec 01 §5).

use alloc::boxed::Box;

use sempre_api::v1::{enums::WorkflowIdConflictPolicy, workflowservice::StartWorkflowExecutionResponse};

use super::{Waiting, id_of, status};
use crate::{
    Context, Execution, Input, Refusal, Reply, StartInput, Transition, WorkflowKey,
    input::UpdateRequest,
    refusal::Operation,
    start::{already_running, existing_response, start, started_link},
    transition::{CurrentRecord, UpdateStatus},
    validate,
};

/// What an update-with-start did.
#[derive(Debug)]
pub struct UpdateWithStart {
    /// The answer to the start; its run is the update's.
    pub started: Box<StartWorkflowExecutionResponse>,
    /// How far the update is.
    pub update: UpdateStatus,
    /// What happened to the current run.
    pub existing: Option<Transition>,
    /// The new run; its transition's own reply is not used.
    pub created: Option<Box<(Execution, Transition)>>,
}

/// Updates the current run if that is what is wanted, or starts a run whose first workflow task brings the update.
/// `current` is the workflow id's current-run record, `run` that run, open or closed. Refusals are
/// [`Refusal::MultiOperation`].
pub fn update_with_start(
    current: Option<&CurrentRecord>,
    run: Option<&mut Execution>,
    key: &WorkflowKey,
    mut input: StartInput,
    update: UpdateRequest,
    cx: &mut Context<'_>,
) -> Result<UpdateWithStart, Refusal> {
    let not_started = |refusal| Refusal::multi(Operation::Refused(Box::new(refusal)), Operation::NotTried);
    let not_updated = |refusal| Refusal::multi(Operation::NotTried, Operation::Refused(Box::new(refusal)));
    validate::start(&mut input.request, cx).map_err(not_started)?;
    let mut run = run;
    if let (Some(current), Some(run)) = (current, run.as_deref_mut()) {
        let known = status(run, id_of(&update.request));
        let link = started_link(key, &alloc::format!("{}", run.key.run), cx);
        let started = Box::new(existing_response(current, link));
        if let Some(update @ UpdateStatus::Completed { .. }) = known {
            return Ok(UpdateWithStart { started, update, existing: None, created: None });
        }
        // An earlier run of the chain may have had this very update: it is not this run's.
        if run.is_open() && current.chain_was_begun_by(&input.request.request_id) && known.is_none() {
            return Err(not_started(already_running(current, key)));
        }
        let repeated = current.start_request_id == input.request.request_id;
        let shared = input.request.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::UseExisting;
        if run.is_open() && (repeated || known.is_some() || shared) {
            let mut transition = run.apply(Input::Update(Box::new(update)), cx).map_err(not_updated)?;
            return match core::mem::replace(&mut transition.reply, Ok(Reply::Done)) {
                Ok(Reply::Update(update)) => Ok(UpdateWithStart { started, update, existing: Some(transition), created: None }),
                Ok(_) => Err(not_updated(Refusal::Unavailable("Workflow was not updated".into()))),
                Err(refusal) => Err(not_updated(refusal)),
            };
        }
    }
    let open = run.filter(|run| run.is_open());
    let outcome = start(current, open, key, input, cx).map_err(not_started)?;
    let (Ok(Reply::Started { response, .. }), Some(mut created)) = (outcome.reply, outcome.created) else {
        // The start was one that had been made before, of a run that is closed.
        return Err(not_started(Refusal::Unavailable("Workflow was not started: StartDeduped".into())));
    };
    created.0.updates.push(Waiting::new(update.request));
    Ok(UpdateWithStart { started: response, update: UpdateStatus::Admitted, existing: outcome.existing, created: Some(created) })
}
