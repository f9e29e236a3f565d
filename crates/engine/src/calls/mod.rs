//! The facade: one method per call of the API. Finds the namespace and the run, asks the shard, shapes the answer.

pub(crate) mod access;
mod activities;
mod alerts;
mod alone;
mod attempts;
mod batch;
pub(crate) mod declared_alerts;
mod deployments;
mod describe_queue;
mod drainage;
pub(crate) mod endpoints;
mod flow;
pub(crate) mod fork;
pub(crate) mod gauges;
pub(crate) mod index;
pub(crate) mod lists;
pub(crate) mod live;
mod multi_operation;
pub(crate) mod named;
mod namespace;
mod nexus;
mod notices;
mod operations;
mod operators;
mod pause;
mod polls;
pub(crate) mod query;
pub(crate) mod queue_config;
mod reset;
pub(crate) mod schedules;
mod search_attributes;
mod standalone;
mod tasks;
mod time_skipping;
mod updates;
pub(crate) mod watch;
mod workers;
mod workflow_rules;
mod workflows;

use bytes::Bytes;
use sempre_api::v1::common::WorkflowExecution;
use sempre_core::{NamespaceId, Refusal, RunId, RunKey, TaskToken, WorkflowKey, validate};

use crate::{Engine, namespaces::Namespace};

const NO_WORKFLOW_ID: &str = "WorkflowId is not set on request.";
/// A run id that is none, where the call names the run by itself or by an activity of it.
const BAD_RUN_ID: &str = "RunId is not valid UUID.";

/// The workflow, and the run if one is named.
pub(crate) fn workflow_of(namespace: NamespaceId, execution: Option<WorkflowExecution>) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
    let execution = execution.ok_or_else(|| Refusal::invalid("Execution is not set on request."))?;
    by_ids(namespace, execution.workflow_id, &execution.run_id)
}

fn by_ids(namespace: NamespaceId, workflow_id: String, run_id: &str) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
    ids_or(namespace, workflow_id, run_id, (NO_WORKFLOW_ID, "Invalid RunId."))
}

/// As [`workflow_of`], with the texts of calls whose ids the reference looks at where it looks for the run.
fn looked_up(namespace: NamespaceId, execution: Option<WorkflowExecution>) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
    let execution = execution.unwrap_or_default();
    let texts = ("Can't load workflow execution.  WorkflowId not set.", BAD_RUN_ID);
    ids_or(namespace, execution.workflow_id, &execution.run_id, texts)
}

/// As [`workflow_of`], with the texts of calls about activities of workflows.
fn workflow_of_activity(namespace: NamespaceId, execution: Option<WorkflowExecution>) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
    let execution = execution.unwrap_or_default();
    ids_or(namespace, execution.workflow_id, &execution.run_id, (NO_WORKFLOW_ID, BAD_RUN_ID))
}

/// The texts are for no workflow id, and for a run id that is none.
fn ids_or(
    namespace: NamespaceId,
    workflow_id: String,
    run_id: &str,
    (no_workflow, bad_run): (&'static str, &'static str),
) -> Result<(WorkflowKey, Option<RunId>), Refusal> {
    if workflow_id.is_empty() {
        return Err(Refusal::invalid(no_workflow));
    }
    sempre_core::alone::check_workflow_id(&workflow_id)?;
    let run = match run_id {
        "" => None,
        text => Some(RunId::parse(text).ok_or_else(|| Refusal::invalid(bad_run))?),
    };
    Ok((WorkflowKey { namespace, workflow_id }, run))
}

impl Engine {
    pub(crate) fn namespace(&self, name: &str) -> Result<std::sync::Arc<Namespace>, Refusal> {
        self.shared.namespaces.usable(name)
    }

    /// The identity of a worker or client within its length (`limit.maxIDLength`).
    fn check_identity(&self, identity: &str) -> Result<(), Refusal> {
        validate::at_most(identity, "Identity length exceeds limit.", &self.shared.settings.limits)
    }

    /// The token of a worker's call, checked against the namespace of the request (empty: the token's).
    fn task_token(&self, bytes: &Bytes, namespace: &str) -> Result<(TaskToken, RunKey), Refusal> {
        if !namespace.is_empty() {
            self.namespace(namespace)?;
        }
        if bytes.is_empty() {
            return Err(Refusal::invalid("Task token not set on request."));
        }
        let parsed = TaskToken::parse(bytes).and_then(|token| token.run_key().map(|run| (token, run)));
        let (token, run) = parsed.ok_or_else(|| Refusal::invalid("Error deserializing task token."))?;
        self.check_token_namespace(run.workflow.namespace, namespace)?;
        Ok((token, run))
    }

    fn check_token_namespace(&self, token: NamespaceId, namespace: &str) -> Result<(), Refusal> {
        if namespace.is_empty() {
            let found = self.shared.namespaces.by_id(token).ok_or_else(|| Refusal::NamespaceNotFound(format!("{token}")))?;
            return self.namespace(&found.view.name).map(drop);
        }
        if self.namespace(namespace)?.id() != token {
            return Err(Refusal::invalid("Operation requested with a token from a different namespace."));
        }
        Ok(())
    }
}
