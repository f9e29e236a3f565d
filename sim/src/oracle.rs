//! What clients and workers know: what they asked for, and what was acknowledged.
//!
//! A lost answer is *unknown*: the thing may have happened or not, until a later answer tells.

use std::collections::BTreeMap;

/// One request with an effect that can be found again by its marker.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The workflow id.
    pub workflow: String,
    /// The run, if one was named.
    pub run: Option<String>,
    /// A text that only this request brings.
    pub marker: String,
    /// Its request id.
    pub request_id: String,
    /// The server has said that it is done.
    pub acknowledged: bool,
}

/// A start.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its request id.
    pub request_id: String,
    /// The run that the server has named.
    pub run: Option<String>,
    /// Text of its input.
    pub marker: String,
    /// Its run may be followed by others.
    pub goes_on: bool,
}

/// An acknowledged completion of a workflow task.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The run.
    pub run: String,
    /// Its Started event.
    pub started: i64,
    /// Ids of the commands.
    pub names: Vec<String>,
}

/// What a poller was handed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handed {
    /// Run, Started event, attempt.
    Workflow(String, i64, i32),
    /// Run, activity id, attempt.
    Activity(String, String, i32),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Starts by workflow id.
    pub starts: BTreeMap<String, Start>,
    /// Signals.
    pub signals: Vec<Asked>,
    /// Requests to cancel.
    pub cancels: Vec<Asked>,
    /// Terminations.
    pub terminations: Vec<Asked>,
    /// Results of activities.
    pub results: Vec<Asked>,
    /// Completions of workflow tasks.
    pub completions: Vec<Completion>,
    /// How often each task was handed out.
    pub handed: BTreeMap<Handed, u64>,
    /// Calls made, those answered, and those of which nobody knows.
    pub calls: u64,
    /// See `calls`.
    pub unknown: u64,
}
