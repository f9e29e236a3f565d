//! What a run remembers of resets: of the one that made it, of the one that was made from it, and of those that made runs before it.

use alloc::{format, string::String, vec::Vec};

use prost::Message;

use crate::RunId;

/// Resets before a run that it remembers.
const EARLIER_RESETS_MAX: usize = 8;

/// Row of kind 15. A run that no reset made, that is the base of none, and that follows no run of a reset has none.
#[derive(Clone, PartialEq, Message)]
pub struct ResetInfo {
    /// Request id of the reset that made this run; empty = none did.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The runs that wrote the events this run began with, in order of events.
    #[prost(message, repeated, tag = "2")]
    pub earlier_runs: Vec<EarlierRun>,
    /// Children that earlier runs started after the reset point: when this run starts one of them, the running one gives way.
    #[prost(message, repeated, tag = "3")]
    pub children_after: Vec<ResetChild>,
    /// The run that the last reset from this run has made; empty = none.
    #[prost(string, tag = "4")]
    pub reset_run_id: String,
    /// First event of this run that `reset_run_id` does not share; 0 = none.
    #[prost(int64, tag = "5")]
    pub reset_event_id: i64,
    /// Request id of that reset.
    #[prost(string, tag = "6")]
    pub reset_request_id: String,
    /// This run was open, and that reset ended it: its children up to the reset point belong to the new run.
    #[prost(bool, tag = "7")]
    pub ended_by_reset: bool,
    /// Resets that made runs which were the current one before this, the newest last: who has no answer asks again, and may
    /// name the workflow only. The oldest are forgotten.
    #[prost(message, repeated, tag = "8")]
    pub earlier_resets: Vec<EarlierReset>,
}

/// A reset that made a run before this one.
#[derive(Clone, PartialEq, Message)]
pub struct EarlierReset {
    /// Its request id.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The run that it made, textual.
    #[prost(string, tag = "2")]
    pub run_id: String,
    /// The last event that it kept.
    #[prost(int64, tag = "3")]
    pub kept_event_id: i64,
}

/// A run that wrote events of a history that a reset has copied.
#[derive(Clone, PartialEq, Message)]
pub struct EarlierRun {
    /// The run, textual.
    #[prost(string, tag = "1")]
    pub run_id: String,
    /// The last event it wrote; the first is that after the entry before.
    #[prost(int64, tag = "2")]
    pub last_event_id: i64,
}

/// A child that was started after the reset point.
#[derive(Clone, PartialEq, Message)]
pub struct ResetChild {
    /// Its workflow type.
    #[prost(string, tag = "1")]
    pub workflow_type: String,
    /// Its workflow id.
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    /// The run that started it, textual.
    #[prost(string, tag = "3")]
    pub parent_run_id: String,
}

impl ResetInfo {
    /// The last event that the run was made with, if a reset made it; else 0.
    pub fn kept_event_id(&self) -> i64 {
        self.earlier_runs.last().map_or(0, |run| run.last_event_id)
    }

    /// The resets that a run remembers which takes the place of another as the current one, `own`.
    pub(crate) fn resets_up_to(of: Option<&Self>, own: RunId) -> Vec<EarlierReset> {
        let Some(reset) = of else { return Vec::new() };
        let mut all = reset.earlier_resets.clone();
        if !reset.request_id.is_empty() {
            all.push(EarlierReset { request_id: reset.request_id.clone(), run_id: format!("{own}"), kept_event_id: reset.kept_event_id() });
        }
        all.drain(..all.len().saturating_sub(EARLIER_RESETS_MAX));
        all
    }

    /// The run that wrote an event, textual; `None` when this run did.
    pub fn writer_of(&self, event_id: i64) -> Option<&str> {
        self.earlier_runs.iter().find(|run| event_id <= run.last_event_id).map(|run| run.run_id.as_str())
    }

    /// The writers of this run's first events up to `last_event_id`, as a run that copies those has them. `own` is this run.
    pub fn writers_up_to(of: Option<&Self>, own: String, last_event_id: i64) -> Vec<EarlierRun> {
        let mut writers: Vec<EarlierRun> = Vec::new();
        for run in of.map_or(&[][..], |reset| &reset.earlier_runs) {
            if writers.last().is_some_and(|last| last.last_event_id >= last_event_id) {
                break;
            }
            writers.push(EarlierRun { run_id: run.run_id.clone(), last_event_id: run.last_event_id.min(last_event_id) });
        }
        if writers.last().is_none_or(|last| last.last_event_id < last_event_id) {
            writers.push(EarlierRun { run_id: own, last_event_id });
        }
        writers
    }
}
