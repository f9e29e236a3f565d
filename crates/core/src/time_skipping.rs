//! Time skipping of single runs (spec 08 §6.2).
//!
//! Such a run has a clock of its own: the wall clock and what it has skipped. All times in its history, its state and its
//! deadlines are of that clock; what leaves for others (deadline rows, places in queues, ends of retention) is turned back
//! into the wall clock's. [`crate::step::Step::now`] is the run's time, [`crate::step::Step::wall`] everybody's.
//!
//! | at the end of a step, the run is enabled and | then |
//! |---|---|
//! | closed, paused, held back, or has something in hand ([`is_idle`]) | nothing |
//! | something is due already | nothing: it is done first |
//! | idle, a fast-forward ends before the next thing that is due, or nothing is | skips there and is not enabled any more |
//! | idle, something is due later | skips there |
//! | idle, and waits for nothing | nothing |
//!
//! A fast-forward also ends when its time has come in any other way, in whatever state the run is.

use alloc::{borrow::Cow, boxed::Box};

use sempre_api::v1::{
    common::{TimeSkippingConfig, TimeSkippingFastForwardInfo, TimeSkippingInfo, TimeSkippingStatePropagation},
    enums::PendingActivityState,
    history::{HistoryEvent, WorkflowExecutionTimeSkippingTransitionedEventAttributes, history_event::Attributes},
};

use crate::{
    Execution, Limits, Refusal, Span, Timestamp, describe, flow,
    state::{State, TimeSkipping},
    step::Step,
};

/// Any request with a configuration where the feature is off.
pub const DISABLED: &str = "The Time-Skipping feature is not enabled for namespace.";
/// A fast-forward without a name, or a poll for one.
pub const ID_NOT_SET: &str = "Time skipping config invalid: fast_forward_id must be set";
const DURATION_NOT_POSITIVE: &str = "Time skipping config invalid: fast_forward duration must be positive";
const FAST_FORWARD_WITHOUT_ENABLED: &str = "time_skipping_config: cannot set fast_forward when enabled is false";

/// Refuses a configuration that no run could have.
pub fn check(config: Option<&TimeSkippingConfig>, limits: &Limits) -> Result<(), Refusal> {
    let Some(config) = config else { return Ok(()) };
    check_enabled(limits)?;
    let Some(ahead) = &config.fast_forward_config else { return Ok(()) };
    if Span::from_api(ahead.duration.as_ref()).ok().and_then(Span::some).is_none() {
        return Err(Refusal::invalid(DURATION_NOT_POSITIVE));
    }
    if ahead.id.trim().is_empty() {
        return Err(Refusal::invalid(ID_NOT_SET));
    }
    crate::validate::at_most(&ahead.id, "fast_forward_id length exceeds limit.", limits)?;
    if config.enabled { Ok(()) } else { Err(Refusal::invalid(FAST_FORWARD_WITHOUT_ENABLED)) }
}

/// Refuses where the feature is off.
pub fn check_enabled(limits: &Limits) -> Result<(), Refusal> {
    if limits.time_skipping { Ok(()) } else { Err(Refusal::Unimplemented(DISABLED.into())) }
}

/// A checked configuration as the run has it.
pub(crate) fn normal(mut config: TimeSkippingConfig, limits: &Limits) -> TimeSkippingConfig {
    if config.max_session_skip_count <= 0 {
        config.max_session_skip_count = limits.skips_max.max(1);
    }
    config
}

/// How far the run's time is ahead.
pub(crate) fn skipped(state: &State) -> Span {
    Span(state.derived.main.time_skipping.as_ref().map_or(0, |own| own.skipped))
}

/// A time of the run by the wall clock.
pub(crate) fn on_the_wall(state: &State, at: Timestamp) -> Timestamp {
    at - skipped(state)
}

/// With what waits in the buffer.
fn effective(state: &State) -> Option<Cow<'_, TimeSkipping>> {
    let own = state.derived.main.time_skipping.as_deref();
    let mut waiting = state.progress.buffer.events.iter().filter(|event| TimeSkipping::is_changed_by(event)).peekable();
    if waiting.peek().is_none() {
        return own.map(Cow::Borrowed);
    }
    let changed = waiting.fold(own.cloned().map(Box::new), TimeSkipping::apply);
    changed.map(|own| Cow::Owned(*own))
}

/// The configuration as it stands.
pub(crate) fn config(state: &State) -> Option<TimeSkippingConfig> {
    effective(state)?.config.as_deref().cloned()
}

/// When a fast-forward under way is over, whatever else happens.
pub(crate) fn next_deadline(state: &State) -> Option<Timestamp> {
    effective(state)?.pending_fast_forward()
}

/// A fast-forward whose time has come is over, whatever is in hand.
pub(crate) fn wake(step: &mut Step<'_, '_>) {
    if next_deadline(&step.run.state).is_some_and(|target| target <= step.now()) {
        buffer(step, None, true);
    }
}

/// At the end of a step: skips if there is nothing to do until then.
pub(crate) fn look(step: &mut Step<'_, '_>) {
    let now = step.now();
    let Some((target, completes)) = next(step.run, now) else { return };
    buffer(step, target, completes);
    step.flush();
}

fn buffer(step: &mut Step<'_, '_>, target: Option<Timestamp>, disabled_after_fast_forward: bool) {
    let (now, wall) = (step.now(), step.wall());
    step.buffer_event(HistoryEvent {
        event_time: Some(now.to_api()),
        worker_may_ignore: true,
        attributes: Some(Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(
            WorkflowExecutionTimeSkippingTransitionedEventAttributes {
                target_time: target.map(Timestamp::to_api),
                disabled_after_fast_forward,
                wall_clock_time: Some(wall.to_api()),
            },
        )),
        ..Default::default()
    });
}

/// Where the run skips to, if it skips now, and whether that is the end of its fast-forward.
fn next(run: &Execution, now: Timestamp) -> Option<(Option<Timestamp>, bool)> {
    let own = run.state.derived.main.time_skipping.as_deref().filter(|own| own.is_enabled())?;
    if !is_idle(run, now) {
        return None;
    }
    let due = next_due(&run.state);
    if due.is_some_and(|due| due <= now) {
        return None;
    }
    match (own.pending_fast_forward(), due) {
        (Some(end), _) if end <= now => Some((None, true)),
        (Some(end), due) if due.is_none_or(|due| end <= due) => Some((Some(end), true)),
        (_, due) => due.map(|due| (Some(due), false)),
    }
}

/// Nobody has anything in hand, and nothing outside is waited for that could come at any moment.
fn is_idle(run: &Execution, now: Timestamp) -> bool {
    let (derived, progress) = (&run.state.derived, &run.state.progress);
    let activity_waits = |id: &i64| {
        let Some((info, progress)) = derived.activities.get(id).zip(progress.activities.get(id)) else { return false };
        let scheduled = describe::activity_state(info, progress) == PendingActivityState::Scheduled;
        scheduled && progress.waits_for_retry() && progress.attempt > 1 && progress.due() > now
    };
    run.is_open()
        && !run.is_paused()
        && progress.main.task.is_none()
        && !progress.main.held
        && !progress.main.flow.as_deref().is_some_and(|flow| flow.is_waiting())
        && derived.operations.is_empty()
        && derived.children.is_empty()
        && derived.externals.is_empty()
        && progress.buffer.is_empty()
        && derived.activities.keys().all(activity_waits)
}

/// The earliest of what an idle run waits for.
fn next_due(state: &State) -> Option<Timestamp> {
    let (derived, progress) = (&state.derived, &state.progress);
    let timers = derived.timers.values().map(|timer| Timestamp(timer.fire_at));
    let retries = progress.activities.values().map(|activity| activity.due());
    let first_task = (progress.main.first_task_at != 0).then_some(Timestamp(progress.main.first_task_at));
    // A run that has not begun does not skip to its end.
    let end = if derived.main.had_task { flow::hold::run_expiration(state) } else { None };
    timers.chain(retries).chain(first_task).chain(end).min()
}

/// What the next run of the chain begins with: all of it.
pub(crate) fn to_next_run(state: &State) -> (Option<TimeSkippingConfig>, Option<TimeSkippingStatePropagation>) {
    let Some(own) = effective(state) else { return (None, None) };
    let passed_on = TimeSkippingStatePropagation {
        initial_skipped_duration: Some(Span(own.skipped).to_api()),
        fast_forward_target_time: own.fast_forward.map(|ahead| Timestamp(ahead.target).to_api()),
        initial_skip_count: own.skips,
    };
    (own.config.as_deref().cloned(), Some(passed_on))
}

/// What a child begins with: the time, and leave to skip unless that is not passed on. Fast-forwards are the parent's own.
pub(crate) fn to_child(state: &State) -> (Option<TimeSkippingConfig>, Option<TimeSkippingStatePropagation>) {
    let Some(own) = effective(state) else { return (None, None) };
    let time = Span(own.skipped).to_api_option();
    let passed_on = time.map(|skipped| TimeSkippingStatePropagation { initial_skipped_duration: Some(skipped), ..Default::default() });
    let config = own.config.as_deref().filter(|config| !config.disable_propagation);
    (config.map(|config| TimeSkippingConfig { fast_forward_config: None, ..config.clone() }), passed_on)
}

/// By how much a start is ahead of the wall clock.
pub(crate) fn inherited(state: Option<&TimeSkippingStatePropagation>) -> Span {
    Span::from_api(state.and_then(|state| state.initial_skipped_duration.as_ref())).unwrap_or_default()
}

/// How a fast-forward stands, for those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastForwardStatus {
    /// There is none of that name.
    Unknown,
    /// Its time has come.
    Completed,
    /// The run is closed. Another one may go on in its place.
    Closed,
    /// The run does not skip any more.
    Disabled,
    /// It is under way.
    Pending,
}

impl Execution {
    /// How the fast-forward of that name stands, and what is known of the run's fast-forward.
    pub fn fast_forward(&self, id: &str) -> (FastForwardStatus, Option<TimeSkippingFastForwardInfo>) {
        let own = effective(&self.state);
        let info = own.as_deref().and_then(fast_forward_info);
        let status = match &info {
            Some(info) if info.fast_forward_id == id && info.has_completed => FastForwardStatus::Completed,
            Some(info) if info.fast_forward_id == id && !self.is_open() => FastForwardStatus::Closed,
            Some(info) if info.fast_forward_id == id && own.is_some_and(|own| own.is_enabled()) => FastForwardStatus::Pending,
            Some(info) if info.fast_forward_id == id => FastForwardStatus::Disabled,
            _ => FastForwardStatus::Unknown,
        };
        (status, info)
    }

    /// The run's own time when it is `now` by the wall clock.
    pub fn own_time(&self, now: Timestamp) -> Timestamp {
        now + skipped(&self.state)
    }
}

/// For DescribeWorkflowExecution. `now`: the run's.
pub(crate) fn described(state: &State, now: Timestamp) -> Option<TimeSkippingInfo> {
    let own = effective(state)?;
    Some(TimeSkippingInfo {
        current_time: Some(now.to_api()),
        effective_config: own.config.as_deref().cloned(),
        fast_forward_info: fast_forward_info(&own),
        current_session_skip_count: own.skips,
    })
}

fn fast_forward_info(own: &TimeSkipping) -> Option<TimeSkippingFastForwardInfo> {
    let ahead = own.fast_forward?;
    let asked = own.config.as_ref()?.fast_forward_config.as_ref()?;
    Some(TimeSkippingFastForwardInfo {
        fast_forward_duration: asked.duration,
        fast_forward_id: asked.id.clone(),
        target_time: Some(Timestamp(ahead.target).to_api()),
        has_completed: ahead.completed,
    })
}
