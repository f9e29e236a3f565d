//! A run that has grown over a limit (spec 01 §2.5, 09 §2.3): what the step did is undone, the run is ended with the
//! reason, and who asked is told the same.
//!
//! With [`crate::Limits::pause_over_limits`] the run is paused instead, and its reason says how to go on: until then
//! what clients ask is refused, what the clock, other runs and finished activities bring is recorded.
//!
//! Undoing needs a copy of the state from before the step. It is made only near a limit: a step adds a bounded number
//! of events. News from other runs and from the clock are not undone, only followed by the end: nobody would bring
//! them again.

use alloc::{boxed::Box, format, vec::Vec};

use prost::Message;
use sempre_api::v1::common::{Payload, Payloads};

use crate::{
    Input, Refusal, Reply, close,
    input::PauseRequest,
    limits::TRANSACTION_BYTES_MAX,
    pause,
    step::{Saved, Step},
    task,
};

/// What one step adds to a history at most, nearly always; beyond that its events stay before the end.
const STEP_BYTES: i64 = 8 << 20;
/// As [`STEP_BYTES`], in events.
const STEP_EVENTS: i64 = 4096;

const HISTORY_SIZE: &str = "Workflow history size exceeds limit.";
const HISTORY_COUNT: &str = "Workflow history count exceeds limit.";
const STATE_SIZE: &str = "Workflow mutable state size exceeds limit.";
const TRANSACTION_SIZE: &str = "Transaction size exceeds limit.";

/// Where a step began, as far as its limits need to know.
#[derive(Default)]
pub(crate) struct Begin {
    /// A client or worker asked for the step: it hears of a limit.
    asked: bool,
    /// A poll would get a task: it goes on to the next one, and hears nothing of this run.
    polled: bool,
    /// Heartbeat details came that could be one of too many.
    large_details: bool,
    /// The state before it, when a limit is near.
    saved: Option<Box<Saved>>,
}

impl Begin {
    /// Looks at a step that is about to be made.
    pub(crate) fn new(step: &Step<'_, '_>, input: &Input) -> Self {
        let (main, limits) = (&step.run.state.derived.main, step.cx.limits);
        let result = matches!(input, Input::CompleteActivity { .. } | Input::FailActivity { .. } | Input::CancelActivity { .. });
        let internal = matches!(
            input,
            Input::Delivered { .. } | Input::ChildClosed(_) | Input::ReleaseFirstTask | Input::Wake | Input::DropQuery { .. }
        ) || result && limits.pause_over_limits;
        let details = match input {
            Input::Heartbeat { details, .. } | Input::FailActivity { last_heartbeat_details: details, .. } => details.as_ref(),
            _ => None,
        };
        // Smaller details cannot add up to the limit, not even those of as many activities as may be pending.
        let large_details = details.is_some_and(|d| d.encoded_len().saturating_mul(limits.pending_activities_max) > limits.state_size_max);
        let near = main.history_size + STEP_BYTES > limits.history_size_max as i64
            || main.next_event_id + STEP_EVENTS > limits.history_count_max
            || state_may_be_large(step)
            || large_details;
        let saved = (near && !internal && step.run.is_open()).then(|| step.save());
        let polled = matches!(
            input,
            Input::StartWorkflowTask { .. }
                | Input::StartActivityTask { .. }
                | Input::WorkflowTaskLost { .. }
                | Input::ActivityTaskLost { .. }
        );
        Self { asked: !internal, polled, large_details, saved }
    }
}

/// All of the state but heartbeats has been in an event, so a small history means a small state.
fn state_may_be_large(step: &Step<'_, '_>) -> bool {
    step.run.state.derived.main.history_size > step.cx.limits.state_size_max as i64 / 2
}

/// Ends a run that is over a limit. Gives the answer then.
pub(crate) fn enforce(step: &mut Step<'_, '_>) -> Option<Result<Reply, Refusal>> {
    let (main, limits) = (&step.run.state.derived.main, step.cx.limits);
    let text = if main.history_size > limits.history_size_max as i64 {
        HISTORY_SIZE
    } else if main.next_event_id - 1 > limits.history_count_max {
        HISTORY_COUNT
    } else if (step.begin.large_details || state_may_be_large(step)) && step.run.state.size() > limits.state_size_max {
        STATE_SIZE
    } else {
        return None;
    };
    let Begin { asked, polled, saved, .. } = core::mem::take(&mut step.begin);
    if let Some(saved) = saved {
        step.restore(*saved);
    }
    end(step, text, None);
    if polled {
        return Some(Ok(Reply::Obsolete));
    }
    asked.then(|| Err(Refusal::invalid(text)))
}

/// A completion that would write too much at once: it is undone and the run ended. `saved` is from before it.
pub(crate) fn enforce_transaction(step: &mut Step<'_, '_>, saved: Box<Saved>) -> Result<(), Refusal> {
    let (size, limit) = (step.written_since(&saved), step.cx.limits.transaction_size_max.min(TRANSACTION_BYTES_MAX));
    if size <= limit {
        return Ok(());
    }
    step.restore(*saved);
    let text = format!("transaction size of {size} bytes exceeds limit of {limit} bytes");
    let details = Payload {
        metadata: [("encoding".into(), bytes::Bytes::from_static(b"json/plain"))].into_iter().collect(),
        data: format!("\"{text}\"").into_bytes().into(),
        ..Default::default()
    };
    end(step, TRANSACTION_SIZE, Some(Payloads { payloads: alloc::vec![details] }));
    Err(Refusal::InvalidArgument(text))
}

/// Ends the run, or holds it until somebody has raised the limit.
pub(crate) fn end(step: &mut Step<'_, '_>, reason: &str, details: Option<Payloads>) {
    if step.cx.limits.pause_over_limits {
        return hold(step, reason);
    }
    task::force_close(step);
    close::terminate(step, reason.into(), details, task::SERVER_IDENTITY.into(), Vec::new());
}

fn hold(step: &mut Step<'_, '_>, reason: &str) {
    if pause::is_paused(&step.run.state) {
        return;
    }
    if step.task_started() {
        task::force_close(step);
    }
    let reason = format!("{reason} Raise the limit and unpause the run, or terminate it.");
    pause::pause_run(step, PauseRequest::by_server(reason));
    step.flush();
}
