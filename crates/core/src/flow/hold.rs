//! What rules do to one run: held back, in line, let go.

use alloc::boxed::Box;

use sempre_api::v1::workflowservice::StartWorkflowExecutionRequest;

use super::progress::{FlowChange, FlowProgress, Member};
use crate::{Context, Execution, Refusal, Reply, Timestamp, close, command::Notes, state::State, step::Step, task};

/// The first task waits until the run is let go.
pub(crate) fn is_held(state: &State) -> bool {
    state.progress.main.flow.as_deref().is_some_and(|flow| flow.held)
}

/// What the run's row in table Flow says; `None`: it has none.
pub(crate) fn row(run: &Execution) -> Option<&FlowProgress> {
    run.state.progress.main.flow.as_deref().filter(|flow| !flow.members.is_empty() && run.is_open())
}

/// At the end of a step: a held run whose first task is due comes into the line. What its row was before tells whether it
/// has changed.
pub(crate) fn look(step: &mut Step<'_, '_>, before: Option<&FlowProgress>) -> Option<FlowChange> {
    if before.is_none() && step.run.state.progress.main.flow.is_none() {
        return None;
    }
    let now = step.wall();
    let main = &mut step.run.state.progress.main;
    if main.first_task_at == 0
        && !main.held
        && let Some(flow) = main.flow.as_deref_mut().filter(|flow| flow.held && flow.since == 0)
        && step.run.state.derived.is_open()
    {
        flow.since = now.0;
        step.listed();
    }
    match (before, row(step.run)) {
        (before, Some(now)) if before != Some(now) => Some(FlowChange::Is(Box::new(now.clone()))),
        (Some(_), None) => Some(FlowChange::Gone),
        _ => None,
    }
}

/// Its turn has come ([`crate::Input::FlowRelease`]). Twice is once.
pub(crate) fn release(step: &mut Step<'_, '_>) -> Result<Result<Reply, Refusal>, Refusal> {
    step.require_open()?;
    let now = step.now();
    let rules = &step.cx.namespace.flow;
    let by_cron = !step.run.state.derived.start.event().cron_schedule.is_empty();
    let Some(flow) = step.run.state.progress.main.flow.as_deref_mut().filter(|flow| flow.is_waiting()) else {
        return Ok(Ok(Reply::Obsolete));
    };
    flow.held = false;
    flow.let_go = now.0;
    let known = |member: &Member| rules.iter().find(|rule| rule.uid == member.uid());
    flow.again = flow.members.iter().filter(|member| by_cron && known(member).is_some_and(|rule| !rule.counts_open())).cloned().collect();
    flow.members.retain(|member| known(member).is_some_and(|rule| rule.counts_open()));
    step.listed();
    task::schedule_if_needed(step);
    Ok(Ok(Reply::Done))
}

/// A cancel request of a run that waits ends it: its code has not begun, and nobody would ask it before its turn.
pub(crate) fn cancel(step: &mut Step<'_, '_>) {
    if is_held(&step.run.state) {
        step.flush();
        close::cancel_workflow(step, 0, None, Notes::default());
    }
}

/// A start of the same workflow id comes while this run waits for others of a debounce: the newer one stands for both. A
/// signal of a signal-with-start goes to this run, as to any open one.
pub(crate) fn gives_way(run: &Execution, request: &StartWorkflowExecutionRequest, is_child: bool, cx: &Context<'_>) -> bool {
    let Some(flow) = row(run).filter(|flow| flow.is_waiting()) else { return false };
    let rules = cx.namespace.flow.iter().filter(|rule| rule.debounce().is_some());
    rules.filter_map(|rule| rule.member(request, cx.namespace, is_child)).any(|member| flow.members.contains(&member))
}

/// What the next run of the chain begins with: the place of this one. One that cron starts comes into the lines of all its
/// rules when its time has come.
pub(crate) fn handed_on(state: &State, by_cron: bool) -> Option<Box<FlowProgress>> {
    let flow = state.progress.main.flow.as_deref().filter(|flow| flow.is_of_rules())?;
    let FlowProgress { members, again, since, .. } = flow.clone();
    Some(Box::new(if by_cron {
        FlowProgress { members: [members, again].concat(), held: true, ..FlowProgress::default() }
    } else {
        FlowProgress { members, again, since, ..FlowProgress::default() }
    }))
}

/// When the run times out: its own time does not pass while it waits, that of the chain does.
pub(crate) fn run_expiration(state: &State) -> Option<Timestamp> {
    match state.progress.main.flow.as_deref() {
        Some(flow) if flow.held => state.derived.execution_expiration(),
        Some(flow) if flow.let_go != 0 => state.derived.run_expiration_from(Timestamp(flow.let_go)),
        _ => state.derived.run_expiration(),
    }
}
