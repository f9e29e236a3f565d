//! Runs that have no workflow: activities ([`crate::standalone`]) and Nexus operations ([`crate::nexus::alone`]) that
//! clients start by themselves. What both have in common is here: how they are told from workflows; how they begin ([`start`]) and are
//! terminated ([`close`]).
//!
//! Such a run is filed under a workflow id that no workflow can have, so that it has nothing to do with a workflow of the
//! same id, and lists of workflows leave it out by its division.

pub(crate) mod close;
pub(crate) mod start;

use alloc::{collections::BTreeMap, string::String};

use bytes::Bytes;
use sempre_api::v1::common::Payload;

use crate::{
    Execution, Input, Refusal, WorkflowKey, nexus,
    refusal::text::EXECUTION_NOT_FOUND,
    standalone,
    visibility::{NAMESPACE_DIVISION, json_string},
};

/// What the ids of all such runs begin with, and no other.
const RESERVED: char = '\0';

/// What a run is that has no workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// An activity.
    Activity,
    /// A Nexus operation.
    Operation,
}

impl Alone {
    /// By the key that its runs are filed under; `None` for a workflow.
    pub fn of(key: &WorkflowKey) -> Option<Self> {
        if !key.workflow_id.starts_with(RESERVED) {
            return None;
        }
        if standalone::activity_id(key).is_some() {
            return Some(Self::Activity);
        }
        nexus::alone::operation_id(key).map(|_| Self::Operation)
    }

    /// The division of its records in lists.
    fn division(self) -> &'static str {
        match self {
            Self::Activity => standalone::DIVISION,
            Self::Operation => nexus::alone::DIVISION,
        }
    }

    fn admits(self, input: &Input) -> bool {
        match self {
            Self::Activity => standalone::admits(input),
            Self::Operation => nexus::alone::admits(input),
        }
    }
}

/// The id that users know it by.
pub fn id(key: &WorkflowKey) -> &str {
    let own = standalone::activity_id(key).or_else(|| nexus::alone::operation_id(key));
    own.unwrap_or(&key.workflow_id)
}

/// NOT_FOUND in the words of such a run; `None` for a workflow.
pub fn not_found(key: &WorkflowKey) -> Option<Refusal> {
    Some(match Alone::of(key)? {
        Alone::Activity => standalone::not_found(key),
        Alone::Operation => nexus::alone::not_found(key),
    })
}

/// A workflow id that a client has chosen must not be one of ours.
pub fn check_workflow_id(workflow_id: &str) -> Result<(), Refusal> {
    if !workflow_id.starts_with(RESERVED) {
        return Ok(());
    }
    standalone::check_workflow_id(workflow_id)?;
    nexus::alone::check_workflow_id(workflow_id)
}

/// Whether an input means something to this run. If not, the run that it means is not there.
pub(crate) fn admits(run: &Execution, input: &Input) -> Result<(), Refusal> {
    let key = &run.key.workflow;
    let refused = match Alone::of(key) {
        Some(alone) if alone.admits(input) => return Ok(()),
        Some(_) => Refusal::not_found(EXECUTION_NOT_FOUND),
        None if matches!(input, Input::CancelActivityRun(_) | Input::TerminateActivityRun(_)) => standalone::not_found(key),
        None if matches!(input, Input::CancelOperationRun(_) | Input::TerminateOperationRun(_)) => nexus::alone::not_found(key),
        None => return Ok(()),
    };
    Err(refused)
}

/// Adds what lists find such a run by, and leave it out by.
pub(crate) fn add_attributes(run: &Execution, fields: &mut BTreeMap<String, Payload>) {
    let Some(alone) = Alone::of(&run.key.workflow) else { return };
    fields.insert(NAMESPACE_DIVISION.into(), keyword(alone.division()));
    if alone == Alone::Operation {
        nexus::alone::add_attributes(&run.state, fields);
    }
}

/// A value of a keyword attribute.
pub(crate) fn keyword(value: &str) -> Payload {
    Payload {
        metadata: [("encoding".into(), Bytes::from_static(b"json/plain")), ("type".into(), Bytes::from_static(b"Keyword"))].into(),
        data: json_string(value).into_bytes().into(),
        ..Default::default()
    }
}
