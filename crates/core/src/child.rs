//! Children as their parent sees them (spec 04 §4).
//!
//! | child of the parent | news | next |
//! |---|---|---|
//! | initiated | started | started: Started event, the child's first task is released |
//! | initiated | refused | gone: StartFailed event |
//! | initiated | closed | gone: Started and closing event |
//! | started | closed | gone: closing event |
//! | any | the parent closes | the close policy is applied to started children |
//! | any | the parent is reset | it belongs to the new run if it was initiated before the reset point |
//! | started | the parent was made by a reset | it is asked whether it has ended ([`crate::chain_end`]) |
//! | initiated | started, after the parent closed | the close policy is applied then |

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::v1::{
    common::{WorkflowExecution, WorkflowType},
    enums::ParentClosePolicy,
    history::{
        ChildWorkflowExecutionCanceledEventAttributes, ChildWorkflowExecutionCompletedEventAttributes,
        ChildWorkflowExecutionFailedEventAttributes, ChildWorkflowExecutionStartedEventAttributes,
        ChildWorkflowExecutionTerminatedEventAttributes, ChildWorkflowExecutionTimedOutEventAttributes, HistoryEvent,
        StartChildWorkflowExecutionFailedEventAttributes, history_event::Attributes,
    },
};

use crate::{
    Refusal, Reply, RunId,
    chain_end::AskedChild,
    input::ChildClosed,
    planted::{self, Bug},
    state::{ChildInfo, State, rows::Kind},
    step::Step,
    task,
    transition::OutboxMessage,
};

/// The parent does not wait for this child (any more).
const NOT_PENDING: &str = "Pending child execution not found.";

/// A child's chain has ended. Its Started event is written first if the parent has not heard of the start yet.
///
/// A run that was reset passes on the news of children that the new run shares with it.
pub(crate) fn closed(step: &mut Step<'_, '_>, news: ChildClosed) -> Result<Result<Reply, Refusal>, Refusal> {
    if !step.run.is_open()
        && let Some(run) = taken_over(&step.run.state, news.initiated_event_id)
    {
        return Ok(Ok(Reply::ResetTo(run)));
    }
    step.require_open()?;
    let unknown = || Refusal::not_found(NOT_PENDING);
    let child = pending(&step.run.state, news.initiated_event_id).ok_or_else(unknown)?.clone();
    if child.workflow_id != news.child.workflow_id {
        return Err(unknown());
    }
    let started = started_run(&step.run.state, &child).map(String::from);
    if started.as_ref().is_some_and(|run| *run != news.first_run_id) {
        return Err(unknown());
    }
    let closing = closing_event(&child, news.child, *news.close_event)
        .ok_or_else(|| Refusal::invalid("the child's last event does not close a chain"))?;
    if started.is_none() {
        record_start(step, &child, news.first_run_id);
    }
    step.buffer(closing);
    task::schedule_if_needed(step);
    Ok(Ok(Reply::Done))
}

/// The child runs: tells the workflow, then lets the child's first task go. A start that is known already
/// (delivered twice, or learnt from the child's end) changes nothing.
pub(crate) fn started(step: &mut Step<'_, '_>, initiated_event_id: i64, run_id: String) {
    if planted::is(Bug::ChildStartsUnheard) {
        return;
    }
    let Some(child) = pending(&step.run.state, initiated_event_id).cloned() else { return };
    if started_run(&step.run.state, &child).is_some() {
        return;
    }
    if !step.run.is_open() {
        // The parent closed before it could record the start: the policy is applied to the child as it stands.
        if !planted::is(Bug::LateChildrenForgotten) {
            apply_policy(step, &child, &run_id);
        }
        // A terminated child needs no task; any other one must not be held back for ever.
        if policy(&child) != ParentClosePolicy::Terminate {
            step.message(OutboxMessage::ReleaseChild { workflow_id: child.workflow_id.clone(), run_id });
        }
        return;
    }
    record_start(step, &child, run_id.clone());
    step.message(OutboxMessage::ReleaseChild { workflow_id: child.workflow_id.clone(), run_id });
    if earlier_parent(&step.run.state, initiated_event_id).is_some() {
        // It may be the child of an earlier run, and over.
        ask_for_end(step, initiated_event_id);
    }
    task::schedule_if_needed(step);
}

/// Asks a child whose start is known whether its chain has ended: an earlier run may have been told, and have been closed.
pub(crate) fn ask_for_end(step: &mut Step<'_, '_>, initiated_event_id: i64) {
    if planted::is(Bug::StartedChildrenNotAsked) {
        return;
    }
    let state = &step.run.state;
    let Some(child) = pending(state, initiated_event_id) else { return };
    let Some(first_run_id) = started_run(state, child).map(String::from) else { return };
    let (workflow_id, workflow_type) = (child.workflow_id.clone(), child.workflow_type.clone());
    step.message(OutboxMessage::AskChild(Box::new(AskedChild { initiated_event_id, workflow_id, workflow_type, first_run_id })));
}

/// A run that was started in the place of a child whose end the parent has heard of before, or of another run: when the
/// answer to a start was lost, somebody else took the workflow id and the start was repeated. Nobody waits for it.
pub(crate) fn is_unknown(state: &State, initiated_event_id: i64, run_id: &str) -> bool {
    pending(state, initiated_event_id).is_none_or(|child| started_run(state, child).is_some_and(|known| known != run_id))
}

/// The run made by the reset that has ended this one, if it asks for the same child: it lets it go, and not this one.
pub(crate) fn heir(state: &State, initiated_event_id: i64) -> Option<RunId> {
    let by_reset = !state.derived.is_open() && state.progress.reset.as_ref().is_some_and(|reset| reset.ended_by_reset);
    let unheard = |child: &ChildInfo| started_run(state, child).is_none();
    taken_over(state, initiated_event_id).filter(|_| by_reset && pending(state, initiated_event_id).is_some_and(unheard))
}

/// What a run that was made by a reset says to a run of a child that was started for the one in whose place it is: that one asked for
/// the child, was ended before it heard of its start, and asks who lets it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildHeir {
    /// It has let it go, or will.
    LetsGo,
    /// It knows another run as that child, or was told that there is none: this one is to be ended.
    Ends,
    /// It has asked for the child itself, and not heard of it yet: it is to be asked again.
    Undecided,
    /// It was closed before it heard of it: the policy of who asks is to be applied.
    Closed,
    /// It was reset as well: that run is to be asked.
    ResetTo(RunId),
}

/// See [`ChildHeir`].
pub(crate) fn heir_says(state: &State, initiated_event_id: i64, run_id: &str) -> ChildHeir {
    let Some(child) = pending(state, initiated_event_id) else { return ChildHeir::Ends };
    match (started_run(state, child), heir(state, initiated_event_id)) {
        (Some(known), _) if known == run_id => ChildHeir::LetsGo,
        (Some(_), _) => ChildHeir::Ends,
        (None, Some(run)) => ChildHeir::ResetTo(run),
        (None, None) if state.derived.is_open() => ChildHeir::Undecided,
        (None, None) => ChildHeir::Closed,
    }
}

/// What a parent knows of the start of a child that it has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildStart {
    /// Nothing: it is still to be made, or to be heard of.
    Awaited,
    /// That it was made.
    Known,
    /// That it has ended, or was refused.
    Over,
    /// Nothing, as a reset has ended it: this run is to be asked.
    ResetTo(RunId),
}

/// See [`ChildStart`].
pub(crate) fn start_of(state: &State, initiated_event_id: i64) -> ChildStart {
    match pending(state, initiated_event_id) {
        None => ChildStart::Over,
        Some(child) if started_run(state, child).is_some() => ChildStart::Known,
        Some(_) => heir(state, initiated_event_id).map_or(ChildStart::Awaited, ChildStart::ResetTo),
    }
}

/// The child was refused.
#[allow(deprecated, reason = "control is old, but part of the event")]
pub(crate) fn not_started(step: &mut Step<'_, '_>, initiated_event_id: i64, cause: i32) {
    if !step.run.is_open() {
        return;
    }
    let Some(child) = pending(&step.run.state, initiated_event_id).cloned() else { return };
    if started_run(&step.run.state, &child).is_some() {
        return;
    }
    step.buffer(Attributes::StartChildWorkflowExecutionFailedEventAttributes(StartChildWorkflowExecutionFailedEventAttributes {
        namespace: child.namespace.clone(),
        namespace_id: child.namespace_id.clone(),
        workflow_id: child.workflow_id.clone(),
        workflow_type: Some(WorkflowType { name: child.workflow_type.clone() }),
        cause,
        initiated_event_id,
        ..Default::default()
    }));
    task::schedule_if_needed(step);
}

/// The run has closed: applies the parent close policies of the pending children (spec 01 §14).
///
/// Call it before the buffer is dropped, which may hold starts. Children whose start is not known yet are seen
/// to when it is delivered ([`started`]). Children, signals and cancels asked for in the very transition that
/// closes the run are not delivered at all (spec 04 §3.2, §4.2 step 5).
pub(crate) fn apply_close_policies(step: &mut Step<'_, '_>) {
    step.out
        .outbox
        .retain(|entry| !matches!(entry.message, OutboxMessage::StartChild(_) | OutboxMessage::Signal(_) | OutboxMessage::Cancel(_)));
    let state = &step.run.state;
    let started: Vec<(ChildInfo, String)> = state
        .derived
        .children
        .values()
        .filter(|child| !state.progress.buffer.closes_child(child.initiated_event_id))
        .filter_map(|child| Some((child.as_ref().clone(), started_run(state, child)?.into())))
        .collect();
    for (child, first_run_id) in started {
        apply_policy(step, &child, &first_run_id);
    }
}

fn apply_policy(step: &mut Step<'_, '_>, child: &ChildInfo, first_run_id: &str) {
    let (workflow_id, first_run_id) = (child.workflow_id.clone(), first_run_id.into());
    let parent = earlier_parent(&step.run.state, child.initiated_event_id);
    match policy(child) {
        ParentClosePolicy::Abandon if planted::is(Bug::AbandonedChildrenCanceled) => {
            step.message(OutboxMessage::CancelChild { workflow_id, first_run_id, parent });
        }
        ParentClosePolicy::Abandon => {}
        ParentClosePolicy::RequestCancel if planted::is(Bug::ChildrenNotCanceled) => {}
        ParentClosePolicy::Terminate if planted::is(Bug::ChildrenNotTerminated) => {}
        ParentClosePolicy::RequestCancel if planted::is(Bug::ChildrenTerminatedForCancel) => {
            step.message(OutboxMessage::TerminateChild { workflow_id, first_run_id, parent });
        }
        ParentClosePolicy::RequestCancel => step.message(OutboxMessage::CancelChild { workflow_id, first_run_id, parent }),
        ParentClosePolicy::Terminate | ParentClosePolicy::Unspecified => {
            step.message(OutboxMessage::TerminateChild { workflow_id, first_run_id, parent });
        }
    }
}

/// Request id of a child's start; `writer` is the run that wrote the Initiated event. The same when a reset asks again.
pub(crate) fn request_id(writer: &str, initiated_event_id: i64) -> String {
    format!("{writer}:{initiated_event_id}:0")
}

/// The run that a reset made from this one and that shares the child with it.
fn taken_over(state: &State, initiated_event_id: i64) -> Option<RunId> {
    let reset = state.progress.reset.as_ref().filter(|reset| initiated_event_id < reset.reset_event_id)?;
    RunId::parse(&reset.reset_run_id)
}

/// The run that a child of this one knows as its parent, if this run was made by a reset after the child was initiated.
fn earlier_parent(state: &State, initiated_event_id: i64) -> Option<RunId> {
    state.progress.reset.as_ref()?.writer_of(initiated_event_id).and_then(RunId::parse)
}

/// As [`earlier_parent`], for the pending child with this workflow id.
pub(crate) fn known_parent_of(step: &Step<'_, '_>, workflow_id: &str) -> Option<RunId> {
    let state = &step.run.state;
    state.progress.reset.as_ref()?;
    let child = state.derived.children.values().rev().find(|child| child.workflow_id == workflow_id)?;
    earlier_parent(state, child.initiated_event_id)
}

/// A child just initiated that an earlier run had started after the reset point: the run it was started by. Once.
pub(crate) fn undone_by_reset(step: &mut Step<'_, '_>, initiated_event_id: i64) -> Option<RunId> {
    let reset = step.run.state.progress.reset.as_mut()?;
    let child = step.run.state.derived.children.get(&initiated_event_id)?;
    let same = reset.children_after.iter().position(|c| c.workflow_id == child.workflow_id && c.workflow_type == child.workflow_type)?;
    let undone = reset.children_after.remove(same);
    step.run.state.dirty.mark(Kind::Reset, 0);
    RunId::parse(&undone.parent_run_id)
}

fn policy(child: &ChildInfo) -> ParentClosePolicy {
    ParentClosePolicy::try_from(child.parent_close_policy).unwrap_or(ParentClosePolicy::Terminate)
}

/// The child if its end is neither in history nor in the buffer.
pub(crate) fn pending(state: &State, initiated_event_id: i64) -> Option<&ChildInfo> {
    let child = state.derived.children.get(&initiated_event_id)?;
    (!state.progress.buffer.closes_child(initiated_event_id)).then_some(child.as_ref())
}

/// First run of the child's chain, if its start is in history or in the buffer.
pub(crate) fn started_run<'s>(state: &'s State, child: &'s ChildInfo) -> Option<&'s str> {
    if child.run_id.is_empty() { state.progress.buffer.child_started(child.initiated_event_id) } else { Some(&child.run_id) }
}

fn record_start(step: &mut Step<'_, '_>, child: &ChildInfo, run_id: String) {
    step.buffer(Attributes::ChildWorkflowExecutionStartedEventAttributes(ChildWorkflowExecutionStartedEventAttributes {
        namespace: child.namespace.clone(),
        namespace_id: child.namespace_id.clone(),
        initiated_event_id: child.initiated_event_id,
        workflow_execution: Some(WorkflowExecution { workflow_id: child.workflow_id.clone(), run_id }),
        workflow_type: Some(WorkflowType { name: child.workflow_type.clone() }),
        header: child.header.clone(),
    }));
}

/// The child's close event as its parent records it; `None` for an event that ends no chain.
fn closing_event(child: &ChildInfo, execution: WorkflowExecution, close: HistoryEvent) -> Option<Attributes> {
    let namespace = child.namespace.clone();
    let namespace_id = child.namespace_id.clone();
    let workflow_execution = Some(execution);
    let workflow_type = Some(WorkflowType { name: child.workflow_type.clone() });
    let initiated_event_id = child.initiated_event_id;
    let started_event_id = child.started_event_id;
    Some(match close.attributes? {
        Attributes::WorkflowExecutionCompletedEventAttributes(a) => {
            Attributes::ChildWorkflowExecutionCompletedEventAttributes(ChildWorkflowExecutionCompletedEventAttributes {
                result: a.result,
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        }
        Attributes::WorkflowExecutionFailedEventAttributes(a) => {
            Attributes::ChildWorkflowExecutionFailedEventAttributes(ChildWorkflowExecutionFailedEventAttributes {
                failure: a.failure,
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
                retry_state: a.retry_state,
            })
        }
        Attributes::WorkflowExecutionTimedOutEventAttributes(a) => {
            Attributes::ChildWorkflowExecutionTimedOutEventAttributes(ChildWorkflowExecutionTimedOutEventAttributes {
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
                retry_state: a.retry_state,
            })
        }
        Attributes::WorkflowExecutionCanceledEventAttributes(a) => {
            Attributes::ChildWorkflowExecutionCanceledEventAttributes(ChildWorkflowExecutionCanceledEventAttributes {
                details: a.details,
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        }
        Attributes::WorkflowExecutionTerminatedEventAttributes(_) => {
            Attributes::ChildWorkflowExecutionTerminatedEventAttributes(ChildWorkflowExecutionTerminatedEventAttributes {
                namespace,
                namespace_id,
                workflow_execution,
                workflow_type,
                initiated_event_id,
                started_event_id,
            })
        }
        _ => return None,
    })
}
