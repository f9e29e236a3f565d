//! Starting a run: id policies, request-id deduplication, the first events (spec 01 §3–4).

use alloc::boxed::Box;

use sempre_api::v1::workflowservice::StartWorkflowExecutionRequest;

use crate::{
    Context, Execution, Refusal, WorkflowKey,
    input::SignalRequest,
    transition::{CurrentRecord, Reply, StartChild, Transition},
};

/// A start, from a client or from a parent.
#[derive(Debug)]
pub struct StartInput {
    /// The request, as a client makes it (for a child: made by core from the command).
    pub request: Box<StartWorkflowExecutionRequest>,
    /// Signal-with-start.
    pub signal: Option<Box<SignalRequest>>,
    /// Set when a parent starts it: no task until the parent has recorded the start. Its `request` is unused.
    pub child_of: Option<Box<StartChild>>,
}

/// What a start did.
#[derive(Debug)]
pub struct StartOutcome {
    /// The answer ([`Reply::Started`]).
    pub reply: Result<Reply, Refusal>,
    /// What happened to the open current run (terminated, signaled), committed together.
    pub existing: Option<Transition>,
    /// The new run; its transition's own reply is not used.
    pub created: Option<Box<(Execution, Transition)>>,
}
