//! Forks of many runs: our own kind of batch operation.

use sempre_api::{sempre::v1::StartBatchForkRequest, v1::enums::BatchOperationType};
use sempre_core::{Limits, Refusal};

use super::check::{Acts, Checked, TARGETS_MAX, Target};
use crate::calls::fork::ForkOptions;

impl Checked {
    /// Checks a request to fork many runs.
    #[allow(deprecated, reason = "the value that clients know")]
    pub(crate) fn fork(request: &StartBatchForkRequest, limits: &Limits) -> Result<Self, Refusal> {
        let given = [!request.visibility_query.is_empty(), !request.executions.is_empty()];
        if request.reason.is_empty() || given == [false, false] {
            return Err(Refusal::invalid("must provide required parameters: Reason,Namespace, AND one of (Query OR Executions)"));
        }
        if request.job_id.is_empty() {
            return Err(Refusal::invalid("JobId is not set on request."));
        }
        if given == [true, true] {
            return Err(Refusal::invalid("visibility query and executions are mutually exclusive"));
        }
        if request.executions.len() > TARGETS_MAX {
            return Err(Refusal::invalid("Workflow executions count exceeded."));
        }
        if request.event_id < 0 {
            return Err(Refusal::invalid("event ID must not be negative"));
        }
        ForkOptions::input(request.input.as_ref(), limits)?;
        let target = |e: &sempre_api::sempre::v1::BatchTarget| Target {
            workflow_id: e.workflow_id.clone(),
            run_id: e.run_id.clone(),
            ..Target::default()
        };
        Ok(Self {
            job_id: request.job_id.clone(),
            kind: BatchOperationType::Reset,
            acts: Acts::OnWorkflows,
            identity: request.identity.clone(),
            reason: request.reason.clone(),
            query: request.visibility_query.clone(),
            selection: request.visibility_query.clone(),
            targets: request.executions.iter().map(target).collect(),
        })
    }
}
