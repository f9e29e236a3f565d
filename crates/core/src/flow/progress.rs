//! What a run knows of the rules that are about it, and its row in table Flow.

use alloc::{boxed::Box, string::String, vec::Vec};

use bytes::Bytes;
use prost::Message;

use crate::{RunId, RunKey, ids::Uuid, keys::RunRecord};

/// A rule that is about a run.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Member {
    /// The rule's uid, 16 bytes: another rule of the same name is another rule.
    #[prost(bytes = "bytes", tag = "1")]
    pub uid: Bytes,
    /// Its name.
    #[prost(string, tag = "2")]
    pub rule: String,
    /// The run's value of the rule's key; empty if the rule has none.
    #[prost(string, tag = "3")]
    pub key: String,
}

impl Member {
    /// The rule's uid; the nil one when damaged.
    pub fn uid(&self) -> Uuid {
        Uuid(self.uid.as_ref().try_into().unwrap_or_default())
    }
}

/// See the module. Part of a run's state; `None` in runs that no rule is about.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FlowProgress {
    /// The rules. A run that was let go keeps those that count open runs.
    #[prost(message, repeated, tag = "1")]
    pub members: Vec<Member>,
    /// The first task waits until it is let go.
    #[prost(bool, tag = "2")]
    pub held: bool,
    /// When it came into the line, ns; 0 = it is not there yet. Its place, whatever becomes of the rules.
    #[prost(int64, tag = "3")]
    pub since: i64,
    /// When it was let go, ns; 0 = it has not waited.
    #[prost(int64, tag = "4")]
    pub let_go: i64,
    /// Of a debounce: when the first of the starts came that this one stands for, ns.
    #[prost(int64, tag = "5")]
    pub burst: i64,
    /// Of a chain that cron starts: rules that count no open runs, but are about each of its starts.
    #[prost(message, repeated, tag = "6")]
    pub again: Vec<Member>,
}

impl FlowProgress {
    /// Rules have something to do with the run, or with those that follow it.
    pub fn is_of_rules(&self) -> bool {
        !(self.members.is_empty() && self.again.is_empty())
    }

    /// It waits in line.
    pub fn is_waiting(&self) -> bool {
        self.held && self.since != 0
    }
}

/// What a transition does to a run's row in table Flow.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowChange {
    /// It is this.
    Is(Box<FlowProgress>),
    /// There is none any more.
    Gone,
}

/// A row of table Flow: an open run that rules are about.
#[derive(Clone, PartialEq, Message)]
pub struct FlowRecord {
    /// The workflow it belongs to.
    #[prost(message, optional, tag = "1")]
    pub workflow: Option<RunRecord>,
    /// As in the run's state.
    #[prost(message, optional, tag = "2")]
    pub progress: Option<FlowProgress>,
}

impl FlowRecord {
    /// The row of a run.
    pub fn new(run: &RunKey, progress: &FlowProgress) -> Self {
        Self { workflow: Some(RunRecord::new(&run.workflow)), progress: Some(progress.clone()) }
    }

    /// Back to a run. `None` when damaged.
    pub fn parts(self, run: RunId) -> Option<(RunKey, FlowProgress)> {
        Some((RunKey { workflow: self.workflow?.workflow()?, run }, self.progress?))
    }
}
