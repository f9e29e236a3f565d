//! What a run remembers of resets: of the one that made it, and of the one that was made from it.

use alloc::{string::String, vec::Vec};

use prost::Message;

/// Row of kind 15. A run that is neither made by a reset nor the base of one has none.
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
