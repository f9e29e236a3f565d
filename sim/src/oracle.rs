//! What clients and workers know: what they asked for, and what was acknowledged.
//!
//! A lost answer is *unknown*: the thing may have happened or not, until a later answer tells.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Its workflow id.
    pub workflow: String,
    /// Its request id.
    pub request_id: String,
    /// The run that the server has named.
    pub run: Option<String>,
    /// Text of its input.
    pub marker: String,
    /// The call signals as well, with this text.
    pub signal: Option<String>,
}

/// The outcome of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its result.
    Success(String),
    /// Why not.
    Failure(String),
}

/// What the server has said of an update.
#[derive(Clone, Debug)]
pub struct Update {
    /// The workflow id.
    pub workflow: String,
    /// The run that has it.
    pub run: String,
    /// Its id.
    pub id: String,
    /// It was accepted, or more.
    pub accepted: bool,
    /// Its outcome, if it was told.
    pub said: Option<Said>,
}

/// A batch job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Text of the signal.
    pub marker: String,
    /// It signals.
    pub signals: bool,
    /// Its workflows are those of a query, whose number was counted at the start.
    pub by_query: bool,
    /// The server has said that it is begun.
    pub acknowledged: bool,
    /// All operations, those done, those failed, once it has ended.
    pub ended: Option<(i64, i64, i64)>,
}

/// A schedule.
#[derive(Clone, Debug, Default)]
pub struct Scheduled {
    /// `ScheduleOverlapPolicy`.
    pub policy: i32,
    /// Actions that it may take by its spec.
    pub actions: u64,
    /// Triggers by hand, done or not.
    pub triggers: u64,
    /// One of them lets runs overlap.
    pub overlaps: bool,
    /// Actions that it says it has taken, at its end.
    pub taken: Option<i64>,
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

/// What a notice has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `NoticeKind`.
    pub kind: i32,
    /// The run.
    pub run: String,
    /// Its status.
    pub status: i32,
    /// Events that it has.
    pub events: i64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Starts by request id.
    pub starts: BTreeMap<String, Start>,
    /// Workflow ids that were started again after their first chain: an older start is not known there any more.
    pub started_again: BTreeSet<String>,
    /// Signals.
    pub signals: Vec<Asked>,
    /// Requests to cancel.
    pub cancels: Vec<Asked>,
    /// Terminations.
    pub terminations: Vec<Asked>,
    /// Results of activities.
    pub results: Vec<Asked>,
    /// What was said of updates.
    pub updates: Vec<Update>,
    /// Resets; `run` is the new one.
    pub resets: Vec<Asked>,
    /// Batch jobs by id.
    pub jobs: BTreeMap<String, Job>,
    /// Schedules by id.
    pub schedules: BTreeMap<String, Scheduled>,
    /// Workflow ids of which a run was to be reset: its events may be in several runs.
    pub reset: BTreeSet<String>,
    /// Workflow ids that somebody has paused, or activities of them.
    pub paused: BTreeSet<String>,
    /// Workflow ids of which an activity was to be reset.
    pub activities_reset: BTreeSet<String>,
    /// Workflow ids of which activities were given other options.
    pub options_changed: BTreeSet<String>,
    /// Whoever waits for the end of something.
    pub waiting: u64,
    /// The server's clock has gone back.
    pub clock_went_back: bool,
    /// Completions of workflow tasks.
    pub completions: Vec<Completion>,
    /// How often each task was handed out.
    pub handed: BTreeMap<Handed, u64>,
    /// Notices that a follower was told, by number.
    pub notices: BTreeMap<i64, Told>,
    /// Up to here everything was told, whatever was not is a gap.
    pub notices_to: i64,
    /// Alerts as they came, those that came again as well.
    pub alerts: Vec<sempre_api::sempre::v1::Alert>,
    /// Ends told by notices above this must be alerted of; `None`: there may be no rule.
    pub alerts_from: Option<i64>,
    /// Calls made, those answered, and those of which nobody knows.
    pub calls: u64,
    /// See `calls`.
    pub unknown: u64,
}
