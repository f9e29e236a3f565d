//! How the chain of a child has ended, for a parent that asks: a run that a reset made waits for children whose news went to
//! runs before it, and those may have been closed when it came. What was not taken then is not told again by itself.
//!
//! The caller reads the runs. It begins with the current run of the child's workflow id if that is of the child's chain, else
//! with the chain's first, and follows [`ChainLink`]:
//!
//! | the way leads to | the parent hears |
//! |---|---|
//! | a run that is open | nothing: its end will be told, and passed on to whoever has taken the parent's place |
//! | a run that ended the chain | what that run's own news said ([`news`]) |
//! | a run that is gone (retention, deletion) | that the child has failed, [`END_NOT_KNOWN`] |
//!
//! No run is taken for gone whose chain still runs: the current run of the id would be of that chain.

use alloc::{
    boxed::Box,
    string::{String, ToString},
};

use sempre_api::v1::{
    common::WorkflowExecution,
    enums::EventType,
    failure::{Failure, ServerFailureInfo, failure::FailureInfo},
    history::{HistoryEvent, WorkflowExecutionFailedEventAttributes, history_event::Attributes},
};

use crate::{Execution, RunId, input::ChildClosed};

/// What a parent is told of a child of which nothing is left.
pub const END_NOT_KNOWN: &str = "the child has ended; how is not known any more";

/// Where the chain of a run is, as far as that run knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainLink {
    /// In this run, which is open.
    Open,
    /// In that run, or a later one.
    GoesOn(RunId),
    /// At its end, which is this run's last event.
    Ended,
}

impl Execution {
    /// Where its chain is. What a reset has made of a run comes after all that followed the run before.
    pub fn chain_link(&self) -> ChainLink {
        let reset = self.state.progress.reset.as_ref().and_then(|reset| RunId::parse(&reset.reset_run_id));
        match reset.or_else(|| RunId::parse(&self.state.derived.main.successor_run_id)) {
            _ if self.is_open() => ChainLink::Open,
            Some(next) => ChainLink::GoesOn(next),
            None => ChainLink::Ended,
        }
    }
}

/// The child that a parent asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedChild {
    /// The parent's Initiated event.
    pub initiated_event_id: i64,
    /// The child's workflow id (same namespace).
    pub workflow_id: String,
    /// Its workflow type.
    pub workflow_type: String,
    /// First run of its chain, textual.
    pub first_run_id: String,
}

/// The news for the parent: the run that ended the chain, and its last event; `None` when they are gone.
pub fn news(child: &AskedChild, end: Option<(RunId, HistoryEvent)>) -> ChildClosed {
    let (run_id, close_event) = match end {
        Some((run, event)) => (run.to_string(), event),
        None => (child.first_run_id.clone(), not_known()),
    };
    ChildClosed {
        initiated_event_id: child.initiated_event_id,
        child: WorkflowExecution { workflow_id: child.workflow_id.clone(), run_id },
        first_run_id: child.first_run_id.clone(),
        workflow_type: child.workflow_type.clone(),
        close_event: Box::new(close_event),
    }
}

/// The last event of a run that nobody can read any more.
fn not_known() -> HistoryEvent {
    let failure = Failure {
        message: END_NOT_KNOWN.into(),
        source: "Server".into(),
        failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: true })),
        ..Default::default()
    };
    HistoryEvent {
        event_type: EventType::WorkflowExecutionFailed as i32,
        attributes: Some(Attributes::WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes {
            failure: Some(failure),
            ..Default::default()
        })),
        ..Default::default()
    }
}
