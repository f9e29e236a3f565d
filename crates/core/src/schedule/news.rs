//! What a schedule hears of its starts and of the runs they made (spec 07 §3.3–3.4).

use alloc::string::String;

use sempre_api::v1::{common::Payloads, enums::WorkflowExecutionStatus as Status, failure::Failure};

use super::{
    RECENT_MAX,
    state::{Recent, Running, Starting, Stop, Why},
    step::Schedule,
};
use crate::{Span, Timestamp};

/// Wait after a start that failed; doubles.
const BACKOFF_FIRST: Span = Span::seconds(1);
const BACKOFF_MAX: Span = Span::seconds(60);

/// How the chain of a started run has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// Workflow id.
    pub workflow_id: String,
    /// A run of the chain.
    pub run_id: String,
    /// `WorkflowExecutionStatus`.
    pub status: i32,
    /// Result, if completed.
    pub result: Option<Payloads>,
    /// Failure, if failed.
    pub failure: Option<Failure>,
}

/// How a start has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure<'a> {
    /// It was refused for good, with these words, with which the schedule is shown.
    Refused(&'a str),
    /// It may have been carried out or not. It is tried again while there is time, then looked for ([`Starting::is_looked_for`]).
    Unknown,
    /// It was looked for, and is not there: its time is over.
    NotThere,
}

impl Schedule {
    fn take_starting(&mut self, number: u64) -> Option<Starting> {
        let at = self.state.starting.iter().position(|starting| starting.number == number)?;
        Some(self.state.starting.remove(at))
    }

    /// A start was carried out.
    pub fn started(&mut self, number: u64, workflow_id: &str, run_id: &str, now: Timestamp) {
        let Some(starting) = self.take_starting(number) else { return };
        let state = &mut self.state;
        state.touched = now.0;
        state.action_count += 1;
        state.start_refusal.clear();
        let (workflow_id, run_id) = (String::from(workflow_id), String::from(run_id));
        state.recent.push(Recent {
            number,
            scheduled: starting.start.actual,
            started: now.0,
            workflow_id: workflow_id.clone(),
            run_id: run_id.clone(),
            status: Status::Running as i32,
        });
        // Of several under way any may be the first that is heard of.
        state.recent.sort_by_key(|recent| recent.number);
        let old = state.recent.len().saturating_sub(RECENT_MAX);
        state.recent.drain(..old);
        if !starting.overlapping {
            state.running.push(Running { number, workflow_id, run_id, stop: Stop::No as i32 });
        }
        self.take_buffer(now);
    }

    /// A start met a run that is there already and not its own: it counts as dealt with.
    pub fn already_started(&mut self, number: u64, now: Timestamp) {
        if let Some(starting) = self.take_starting(number) {
            self.state.start_refusal.clear();
            self.leave_out(Why::AlreadyStarted, starting.start.actual, now);
            self.take_buffer(now);
        }
    }

    /// A start has failed.
    pub fn start_failed(&mut self, number: u64, failure: StartFailure<'_>, now: Timestamp) {
        let Some(starting) = self.state.starting.iter_mut().find(|starting| starting.number == number) else { return };
        let why = match failure {
            StartFailure::Unknown => {
                starting.failures = starting.failures.saturating_add(1);
                let next = (now + backoff(starting.failures)).0;
                // Once its time is over it is looked for, be that when it may.
                starting.try_at = if now.0 < starting.give_up_at { next.min(starting.give_up_at) } else { next };
                return;
            }
            StartFailure::Refused(text) => {
                self.state.start_refusal = text.into();
                Why::Refused
            }
            StartFailure::NotThere => {
                if !starting.start.manual {
                    self.state.missed_catchup_window += 1;
                }
                Why::GaveUp
            }
        };
        let due = starting.start.actual;
        self.leave_out(why, due, now);
        self.take_starting(number);
        self.take_buffer(now);
    }

    /// A run was asked to stop, or is gone.
    pub fn stopped(&mut self, number: u64) {
        if let Some(running) = self.state.running.iter_mut().find(|running| running.number == number) {
            match running.stop() {
                Stop::Cancel => running.set_stop(Stop::Canceled),
                Stop::Terminate => running.set_stop(Stop::Terminated),
                Stop::No | Stop::Canceled | Stop::Terminated => {}
            }
        }
    }

    /// The chain of a started run has ended.
    pub fn ended(&mut self, number: u64, ended: Ended, now: Timestamp) {
        // Its end may be told before the outcome of its start.
        self.started(number, &ended.workflow_id, &ended.run_id, now);
        self.seen(number, ended.status);
        let Some(at) = self.state.running.iter().position(|running| running.number == number) else { return };
        self.state.running.remove(at);
        self.state.touched = now.0;
        let status = Status::try_from(ended.status).unwrap_or_default();
        // Who has paused it meanwhile keeps his notes.
        let pauses = !self.state.paused && self.definition.policies.as_ref().is_some_and(|policies| policies.pause_on_failure);
        match status {
            Status::Completed => {
                self.state.last_completion_result = ended.result;
                self.state.continued_failure = None;
            }
            Status::Failed => {
                let text = ended.failure.as_ref().map_or("", |failure| &failure.message);
                if pauses {
                    self.pause(alloc::format!("paused due to workflow failure: {}: {text}", ended.workflow_id));
                }
                self.state.continued_failure = ended.failure;
            }
            Status::TimedOut if pauses => {
                self.pause(alloc::format!("paused due to workflow timeout: {}", ended.workflow_id));
            }
            _ => {}
        }
        self.take_buffer(now);
    }

    /// The status of a recent start has become known.
    pub fn seen(&mut self, number: u64, status: i32) {
        if let Some(recent) = self.state.recent.iter_mut().find(|recent| recent.number == number) {
            recent.status = status;
        }
    }
}

fn backoff(failures: u32) -> Span {
    Span(BACKOFF_FIRST.0 << failures.clamp(1, 7).saturating_sub(1)).min(BACKOFF_MAX)
}
