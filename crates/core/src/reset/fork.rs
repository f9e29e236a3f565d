//! Reading the events that a new run begins with, and those that are applied to it again.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use bytes::{Bytes, BytesMut};
use prost::Message;
use sempre_api::v1::{
    common::Payloads,
    history::{HistoryEvent, history_event::Attributes},
};

use super::{Exclude, ResetRequest, reapply};
use crate::{
    Execution, Refusal, RunId, RunKey,
    state::{Derived, Progress, ResetChild, ResetInfo, State, buffer::is_closing, rows::Dirty},
    transition::HistoryBatch,
    update,
};

/// Bytes of events that one reset may apply again.
pub(super) const REAPPLY_BYTES_MAX: usize = 8 << 20;
/// Bytes of state that the new run may begin with: its rows are one commit, with everything above.
pub(super) const STATE_BYTES_MAX: usize = 12 << 20;
/// Children that are remembered as started after the reset point.
pub(super) const CHILDREN_MAX: usize = 1000;

/// The request ids by which the start of the base run is known again.
pub(super) struct Names {
    start_request_id: String,
    chain_request_id: String,
    chain_signaled: bool,
}

impl Names {
    /// Those of a base run.
    pub(super) fn of(base: &Execution) -> Self {
        let main = &base.state.progress.main;
        let (start_request_id, chain_request_id) = (main.start_request_id.clone(), main.chain_request_id.clone());
        let chain_signaled = base.signal_ids.contains(&chain_request_id);
        Self { start_request_id, chain_request_id, chain_signaled }
    }
}

/// Why a fork cannot go on.
#[derive(Clone, Debug, PartialEq)]
pub enum ForkError {
    /// The bytes are not the events expected next.
    Damaged,
    /// The reset is too large.
    Refused(Refusal),
}

/// A new run in the making: reads the history of its base, then of the runs that followed it.
///
/// General: it knows where the copy ends and what is collected, not what is made of it.
#[derive(Debug)]
pub struct Fork {
    key: RunKey,
    base: RunId,
    /// First event that is not copied.
    cut: i64,
    exclude: Exclude,
    /// Events of the base run after it, and all of later runs, are not applied again.
    until: Option<i64>,
    /// Input instead of the base run's.
    input: Option<Payloads>,
    /// The copy ends where events were written together, or with the start of a task.
    at_boundary: bool,
    derived: Derived,
    dirty: Dirty,
    signal_ids: BTreeSet<String>,
    parts: Parts,
    bytes: usize,
    children_after: BTreeMap<(String, String), RunId>,
    /// The run being read, and the event expected next.
    reading: (RunId, i64),
    /// The last event read continued the chain in this run.
    next_run: Option<RunId>,
}

/// What a new run needs beside its state.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Events to apply again, oldest first.
    pub(super) events: Vec<HistoryEvent>,
    /// Initiated events whose answer is not among the copied events, by event id.
    pub(super) requests: BTreeMap<i64, HistoryEvent>,
    /// Who had the activities whose start is copied and whose end is not, by scheduled event id.
    pub(super) activity_identities: BTreeMap<i64, String>,
}

impl Fork {
    /// A run of key `key` that shall begin with the events of `base` before the request's finish event.
    pub fn new(key: RunKey, base: RunId, request: &ResetRequest) -> Self {
        Self {
            key,
            base,
            cut: request.finish_event_id,
            exclude: request.exclude,
            until: request.fork.as_ref().and_then(|fork| fork.until),
            input: request.fork.as_ref().and_then(|fork| fork.input.clone()),
            at_boundary: false,
            derived: Derived::default(),
            dirty: Dirty::default(),
            signal_ids: BTreeSet::new(),
            parts: Parts::default(),
            bytes: 0,
            children_after: BTreeMap::new(),
            reading: (base, 1),
            next_run: None,
        }
    }

    /// The new run.
    pub fn run(&self) -> RunId {
        self.key.run
    }

    /// Which run is read, and the event expected next.
    pub fn reading(&self) -> (RunId, i64) {
        self.reading
    }

    /// Whether the run being read is read further than the reset point needs.
    pub fn needs_more_than_the_copy(&self) -> bool {
        !self.exclude.all()
    }

    /// The last event read continued the chain: go on with that run. `None`: the chain ends here.
    pub fn follow(&mut self) -> Option<RunId> {
        let next = self.next_run.take().filter(|_| self.needs_more_than_the_copy())?;
        self.reading = (next, 1);
        Some(next)
    }

    /// The run being read is `run` and has events that were not read yet.
    pub fn is_behind(&self, run: &Execution) -> bool {
        let end = if self.needs_more_than_the_copy() { run.next_event_id() } else { self.cut };
        self.reading.0 == run.key.run && self.reading.1 < end
    }

    /// Events in the buffer of a run that is about to be ended, if the chain was read up to it: the last to apply again.
    pub(super) fn late_events(&self, run: &Execution) -> Vec<HistoryEvent> {
        if !self.needs_more_than_the_copy() || self.reading.0 != run.key.run {
            return Vec::new();
        }
        let (closings, others): (Vec<_>, Vec<_>) =
            run.state.progress.buffer.events.iter().cloned().partition(|e| e.attributes.as_ref().is_some_and(is_closing));
        let mut events = others;
        events.extend(closings);
        events.retain(|event| if reapply::is_of_pending(event) { self.reading.0 == self.base } else { self.until.is_none() });
        events
    }

    /// Whether a worker may be given what is copied: events that were written together cannot be parted, but for the start
    /// of a task, which is written with others when the task was in memory only.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.at_boundary
    }

    /// Takes the next events: whole frames in order as they were written together, events read before are skipped. Returns
    /// those of them that belong to the new run's history.
    pub fn read(&mut self, frames: &Bytes) -> Result<Option<HistoryBatch>, ForkError> {
        let mut rest = frames.clone();
        let mut copied: Option<(usize, usize, i64)> = None;
        // The first event with another input, instead of its frame.
        let mut replaced = Bytes::new();
        loop {
            let at = frames.len() - rest.len();
            let Some(frame) = sempre_api::next_frame(&mut rest).map_err(|_| ForkError::Damaged)? else { break };
            let length = frame.len();
            let body = sempre_api::frame_body(frame).map_err(|_| ForkError::Damaged)?;
            let event = HistoryEvent::decode(body).map_err(|_| ForkError::Damaged)?;
            if event.event_id < self.reading.1 {
                continue;
            }
            if event.event_id != self.reading.1 {
                return Err(ForkError::Damaged);
            }
            self.reading.1 += 1;
            // Successors are read only after the copy is complete.
            if self.derived.main.next_event_id < self.cut {
                let (event, begin, bytes) = match self.input.take() {
                    Some(input) => {
                        let event = with_input(event, input);
                        let mut frame = BytesMut::new();
                        sempre_api::encode_event(&event, &mut frame);
                        replaced = frame.freeze();
                        (event, at + length, replaced.len())
                    }
                    None => (event, at, length),
                };
                let (from, _, first) = copied.unwrap_or((begin, 0, event.event_id));
                copied = Some((from, at + length, first));
                self.copy(event, bytes);
            } else {
                self.collect(event)?;
            }
        }
        if let Some((_, to, _)) = copied {
            self.at_boundary = to == frames.len() || self.derived.main.task_started_event_id == self.derived.main.next_event_id - 1;
        }
        Ok(copied.map(|(from, to, first_event_id)| HistoryBatch {
            first_event_id,
            last_event_id: self.derived.main.next_event_id - 1,
            frames: if replaced.is_empty() { frames.slice(from..to) } else { [&replaced[..], &frames[from..to]].concat().into() },
        }))
    }

    fn copy(&mut self, event: HistoryEvent, bytes: usize) {
        self.derived.apply_event(&event, bytes, &mut self.dirty);
        let id = event.event_id;
        match &event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(a)) if !a.request_id.is_empty() => {
                self.signal_ids.insert(a.request_id.clone());
            }
            Some(Attributes::ActivityTaskStartedEventAttributes(a)) => {
                self.parts.activity_identities.insert(a.scheduled_event_id, a.identity.clone());
            }
            Some(
                Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_),
            ) => {
                self.parts.requests.insert(id, event);
            }
            _ => {}
        }
        let pending = self.derived.children.len() + self.derived.externals.len();
        if self.parts.requests.len() > 2 * pending + 64 {
            self.forget_answered();
        }
        if self.parts.activity_identities.len() > 2 * self.derived.activities.len() + 64 {
            self.parts.activity_identities.retain(|id, _| self.derived.activities.contains_key(id));
        }
    }

    /// Drops requests that were answered among the copied events.
    fn forget_answered(&mut self) {
        let derived = &self.derived;
        self.parts.requests.retain(|id, _| derived.children.contains_key(id) || derived.externals.contains_key(id));
    }

    /// An event after the reset point.
    fn collect(&mut self, event: HistoryEvent) -> Result<(), ForkError> {
        self.next_run = None;
        match &event.attributes {
            Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(a)) => {
                self.next_run = RunId::parse(&a.new_execution_run_id);
            }
            Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a)) if self.needs_more_than_the_copy() => {
                let workflow_type = a.workflow_type.as_ref().map_or_else(String::new, |t| t.name.clone());
                self.children_after.insert((workflow_type, a.workflow_id.clone()), self.reading.0);
                if self.children_after.len() > CHILDREN_MAX {
                    let text = format!("WorkflowResetter encountered max allowed children [{CHILDREN_MAX}] while resetting.");
                    return Err(ForkError::Refused(Refusal::invalid(text)));
                }
            }
            _ => {}
        }
        // Children of a successor have numbers of their own.
        let wanted = if reapply::is_of_pending(&event) {
            self.reading.0 == self.base
        } else {
            self.until.is_none_or(|until| self.reading.0 == self.base && event.event_id <= until)
        };
        if wanted && reapply::is_eligible(&event, self.exclude) {
            self.bytes += event.encoded_len();
            if self.bytes > REAPPLY_BYTES_MAX {
                let text = format!("the events after the reset point that would be applied again exceed {REAPPLY_BYTES_MAX} bytes");
                return Err(ForkError::Refused(Refusal::invalid(text)));
            }
            self.parts.events.push(event);
        }
        Ok(())
    }

    pub(super) fn children_after(&self) -> Vec<ResetChild> {
        let child = |((workflow_type, workflow_id), run): (&(String, String), &RunId)| ResetChild {
            workflow_type: workflow_type.clone(),
            workflow_id: workflow_id.clone(),
            parent_run_id: format!("{run}"),
        };
        self.children_after.iter().map(child).collect()
    }

    /// The run as its copied events left it, without anything under way.
    pub(super) fn into_execution(mut self, names: Names, info: ResetInfo) -> Result<(Execution, Parts), Refusal> {
        if self.derived.main.next_event_id != self.cut {
            return Err(Refusal::Unavailable("the history of the base run was not read".into()));
        }
        self.forget_answered();
        let mut progress = Progress::default();
        progress.main.attempt = 1;
        if names.chain_signaled {
            self.signal_ids.insert(names.chain_request_id.clone());
        }
        progress.main.start_request_id = names.start_request_id;
        progress.main.chain_request_id = names.chain_request_id;
        progress.main.namespace_id = Bytes::copy_from_slice(&self.key.workflow.namespace.0.0);
        for id in &self.signal_ids {
            progress.main.signal_rows += 1;
            self.dirty.signal_ids.push((progress.main.signal_rows, id.clone()));
        }
        progress.reset = Some(Box::new(info));
        self.dirty.mark(crate::state::rows::Kind::Reset, 0);
        let state = State { derived: self.derived, progress, dirty: self.dirty };
        let execution = Execution {
            key: self.key,
            updates: update::admitted_by_events(&state),
            state,
            signal_ids: self.signal_ids,
            queries: BTreeMap::new(),
            pages: None,
        };
        let bytes = execution.state.size() + self.parts.requests.values().map(Message::encoded_len).sum::<usize>();
        if bytes > STATE_BYTES_MAX {
            return Err(Refusal::invalid(format!("what is pending at the reset point exceeds {STATE_BYTES_MAX} bytes")));
        }
        Ok((execution, self.parts))
    }
}

/// The Started event with another input.
fn with_input(mut event: HistoryEvent, input: Payloads) -> HistoryEvent {
    if let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = &mut event.attributes {
        started.input = Some(input);
    }
    event
}
