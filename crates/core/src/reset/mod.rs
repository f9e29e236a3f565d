//! ResetWorkflowExecution (spec 01 §12): a new run that begins with a copy of another run's first events.
//!
//! 1. [`ResetRequest::new`] checks what can be checked without a run, [`check`] the rest. A reset that has been made is known again by
//!    its request id from the run it made, from its base, and from the runs that came after in its place.
//! 2. [`Fork`] reads the base run's events: those before the reset point become the new run's, those after it, and
//!    those of the runs that followed by continue-as-new, give what is to be applied again.
//! 3. [`reset`] ends the current run and makes the new one, for one commit: the task at the reset point has failed,
//!    what was pending there is under way again, the collected events are applied, a task is scheduled.
//!
//! | at the reset point | in the new run |
//! |---|---|
//! | workflow task scheduled or started | WorkflowTaskFailed (RESET_WORKFLOW) |
//! | activity scheduled | offered anew, with the full timeouts |
//! | activity started (in history) | ActivityTaskFailed |
//! | timer | keeps its time; one that has passed fires |
//! | child initiated | asked for again by the same request id: the child that runs, or a new one |
//! | child started | pending: its end is passed on by the base run; one that has ended already is asked for its end |
//! | signal or cancel request to another run | sent again by the same request id |
//! | Nexus operation scheduled | asked for again by the same request id |
//! | Nexus operation started | pending: its end finds the new run |
//!
//! Nothing here reads a store: the caller hands in frames, row by row.

mod begin;
mod fork;
mod point;
mod reapply;

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::v1::{
    enums::{ResetReapplyExcludeType, ResetReapplyType},
    workflow::{PostResetOperation, post_reset_operation::Variant},
    workflowservice::ResetWorkflowExecutionRequest,
};

use crate::{
    Context, Execution, Limits, Refusal, Reply, Transition, callbacks, close, nexus, options,
    state::{ResetInfo, rows::Kind},
    step::Step,
    task, update, validate,
};

pub use fork::{Fork, ForkError};
pub use point::{Cut, ForkOrder, TaskEnds};

/// Who ends the current run.
const RESETTER_IDENTITY: &str = "history-resetter";

/// A reset as it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResetRequest {
    /// First event of the base run that the new run does not have.
    pub finish_event_id: i64,
    /// Why.
    pub reason: String,
    /// Idempotency key.
    pub request_id: String,
    /// What is not applied again.
    pub exclude: Exclude,
    /// What is done to the new run before its first task.
    pub operations: Vec<PostResetOperation>,
    /// A fork: the finish event may be any ([`Cut`]).
    pub fork: Option<ForkOrder>,
}

/// Kinds of events that are not applied again (spec 01 §12.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclude {
    /// Signals.
    pub signals: bool,
    /// Updates.
    pub updates: bool,
    /// Nexus events.
    pub nexus: bool,
}

impl Exclude {
    /// Nothing at all is applied again, not even what cannot be excluded by itself.
    pub fn all(self) -> bool {
        self.signals && self.updates && self.nexus
    }
}

impl ResetRequest {
    /// From the API's request; refuses what no run could make right.
    #[allow(deprecated, reason = "reset_reapply_type: old clients send it")]
    pub fn new(request: ResetWorkflowExecutionRequest, limits: &Limits) -> Result<Self, Refusal> {
        validate::required(&request.request_id, "RequestId is not set on request.")?;
        validate::at_most(&request.request_id, "RequestId length exceeds limit.", limits)?;
        let mut exclude = Exclude::default();
        match ResetReapplyType::try_from(request.reset_reapply_type) {
            Ok(ResetReapplyType::Signal) => exclude.updates = true,
            Ok(ResetReapplyType::None) => (exclude.signals, exclude.updates) = (true, true),
            Ok(_) => {}
            Err(_) => return Err(Refusal::invalid(format!("unknown reset reapply type: {}", request.reset_reapply_type))),
        }
        for excluded in request.reset_reapply_exclude_types() {
            match excluded {
                ResetReapplyExcludeType::Signal => exclude.signals = true,
                ResetReapplyExcludeType::Update => exclude.updates = true,
                ResetReapplyExcludeType::Nexus => exclude.nexus = true,
                _ => {}
            }
        }
        for operation in &request.post_reset_operations {
            match &operation.variant {
                Some(Variant::SignalWorkflow(signal)) => {
                    validate::signal(&signal.signal_name, "", "", signal.input.as_ref(), limits)?;
                    validate::links(&signal.links)?;
                }
                Some(Variant::UpdateWorkflowOptions(update)) => {
                    options::check(update.workflow_execution_options.as_ref(), update.update_mask.as_ref(), limits)?;
                }
                None => return Err(Refusal::invalid("unsupported post reset operation: <nil>")),
            }
        }
        Ok(Self {
            finish_event_id: request.workflow_task_finish_event_id,
            reason: request.reason,
            request_id: request.request_id,
            exclude,
            operations: request.post_reset_operations,
            fork: None,
        })
    }
}

/// The run that this very request has made already, textual; or the refusal of a reset point outside the base run.
/// `base` is `None` when it is the current run.
pub fn check(base: Option<&Execution>, current: &Execution, request: &ResetRequest) -> Result<Option<String>, Refusal> {
    let based = base.unwrap_or(current);
    // Before anything else: the run that is the current one by now may not have the event at all.
    if let Some(made) = made(based, current, &request.request_id) {
        return Ok(Some(made));
    }
    // A fork may keep everything there is.
    let end = based.next_event_id() + i64::from(request.fork.is_some());
    if request.finish_event_id <= 1 || request.finish_event_id >= end {
        return Err(Refusal::invalid("Workflow task finish ID must be > 1 && <= workflow last event ID."));
    }
    Ok(None)
}

/// The run that a reset with this request id has made, textual.
fn made(based: &Execution, current: &Execution, request_id: &str) -> Option<String> {
    let reset = current.state.progress.reset.as_deref();
    if reset.is_some_and(|reset| reset.request_id == request_id) || current.state.progress.main.start_request_id == request_id {
        return Some(format!("{}", current.key.run));
    }
    // The new run may have been followed by others since.
    let by = based.state.progress.reset.as_deref().filter(|reset| reset.reset_request_id == request_id);
    let earlier = || reset?.earlier_resets.iter().find(|earlier| earlier.request_id == request_id);
    by.map(|reset| &reset.reset_run_id).or_else(|| earlier().map(|earlier| &earlier.run_id)).cloned()
}

/// What a reset did, for one commit.
#[derive(Debug)]
pub struct ResetOutcome {
    /// What happened to the base run, if it is not the current one.
    pub base: Option<Transition>,
    /// What happened to the current run: terminated if it was open; untouched if it was closed and is not the base.
    pub current: Option<Transition>,
    /// The new run; the current pointer is in its transition.
    pub created: Box<(Execution, Transition)>,
}

/// Makes the new run and ends the current one. `base` is `None` when it is the current run.
///
/// The fork must have read the base run up to its end, and on to the end of its chain ([`Fork::is_behind`]), the events of
/// each step of a run together.
/// `Err`: nothing has changed.
pub fn reset(
    fork: Fork,
    base: Option<&mut Execution>,
    current: &mut Execution,
    request: &ResetRequest,
    cx: &mut Context<'_>,
) -> Result<ResetOutcome, Refusal> {
    if request.fork.is_none() && !fork.is_at_boundary() {
        return Err(Refusal::invalid(format!(
            "StateRebuilder unable to Rebuild mutable state to event ID: {}, version: 0, this event must be at the boundary",
            request.finish_event_id - 1
        )));
    }
    let new_run_id = format!("{}", fork.run());
    let based = base.as_deref().unwrap_or(current);
    let base_run_id = format!("{}", based.key.run);
    let names = fork::Names::of(based);
    let info = ResetInfo {
        request_id: request.request_id.clone(),
        earlier_runs: ResetInfo::writers_up_to(based.state.progress.reset.as_deref(), base_run_id.clone(), request.finish_event_id - 1),
        children_after: fork.children_after(),
        earlier_resets: ResetInfo::resets_up_to(current.state.progress.reset.as_deref(), current.key.run),
        ..Default::default()
    };
    // Events that wait in the current run's buffer get into its history by its end.
    let late = fork.late_events(current);

    let (mut execution, parts) = fork.into_execution(names, info)?;
    let mut step = Step::new(&mut execution, cx);
    begin::fail_task(&mut step, request, base_run_id)?;
    step.listed();
    if current.is_open() {
        // It goes on in the place of the current one. Its time counts from here, or from when it is let go.
        let mut place = current.state.progress.main.flow.clone();
        if let Some(place) = place.as_deref_mut() {
            place.let_go = 0;
        }
        step.run.state.progress.main.flow = place;
    }
    begin::take_over_activities(&mut step, &request.reason, &parts);
    for event in parts.events.iter().chain(&late) {
        reapply::apply(&mut step, event, request.exclude);
    }
    begin::ask_again(&mut step, parts.requests);
    nexus::take_over(&mut step);
    for operation in &request.operations {
        match &operation.variant {
            Some(Variant::SignalWorkflow(signal)) => reapply::signal_after(&mut step, signal.clone()),
            Some(Variant::UpdateWorkflowOptions(update)) => {
                options::update(&mut step, update.workflow_execution_options.as_ref(), update.update_mask.as_ref(), String::new())?;
            }
            None => {}
        }
    }
    task::schedule_if_needed(&mut step);
    step.out.current = Some(step.current_record());
    let transition = step.finish(Ok(Reply::Done));

    let is_base = base.is_none();
    let was_open = current.is_open();
    let ended = (was_open || is_base).then(|| {
        let mut step = Step::new(current, cx);
        if is_base {
            remember(&mut step, &new_run_id, request, was_open);
        }
        if was_open {
            task::force_close(&mut step);
            step.flush();
            close::terminate_by_reset(&mut step, request.reason.clone(), RESETTER_IDENTITY.into(), is_base);
            callbacks::ended_by_reset(&mut step, &execution.state);
            callbacks::updates_closed(&mut step, |update_id| update::status(&execution, update_id).is_some());
        }
        step.finish(Ok(Reply::Done))
    });
    let base = base.map(|base| {
        let mut step = Step::new(base, cx);
        remember(&mut step, &new_run_id, request, false);
        step.finish(Ok(Reply::Done))
    });
    Ok(ResetOutcome { base, current: ended, created: Box::new((execution, transition)) })
}

/// The base run points to the new one.
fn remember(step: &mut Step<'_, '_>, new_run_id: &str, request: &ResetRequest, ended: bool) {
    let reset = step.run.state.progress.reset.get_or_insert_default();
    reset.reset_run_id = new_run_id.into();
    reset.reset_event_id = request.finish_event_id;
    reset.reset_request_id.clone_from(&request.request_id);
    reset.ended_by_reset |= ended;
    step.run.state.dirty.mark(Kind::Reset, 0);
    step.touch();
}
