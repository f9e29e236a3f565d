//! What workers and clients answer to activity tasks, by token or by id.

use sempre_api::v1::{
    common::WorkflowExecution,
    failure::{Failure, failure::FailureInfo},
    workflowservice::{
        RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatByIdResponse, RecordActivityTaskHeartbeatRequest,
        RecordActivityTaskHeartbeatResponse, RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCanceledByIdResponse,
        RespondActivityTaskCanceledRequest, RespondActivityTaskCanceledResponse, RespondActivityTaskCompletedByIdRequest,
        RespondActivityTaskCompletedByIdResponse, RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse,
        RespondActivityTaskFailedByIdRequest, RespondActivityTaskFailedByIdResponse, RespondActivityTaskFailedRequest,
        RespondActivityTaskFailedResponse,
    },
};
use sempre_core::{Input, Refusal, Reply, RunId, WorkflowKey, input::ActivityTarget};

use super::workflow_of_activity;
use crate::{Engine, shared::internal};

/// Which run and which activity a call means.
type Target = (WorkflowKey, Option<RunId>, ActivityTarget);

fn check_failure(failure: Option<&Failure>) -> Result<(), Refusal> {
    let application = |f: &Failure| matches!(f.failure_info, Some(FailureInfo::ApplicationFailureInfo(_)));
    if failure.is_some_and(|f| f.failure_info.is_some() && !application(f)) {
        return Err(Refusal::invalid("Failure must have ApplicationFailureInfo."));
    }
    Ok(())
}

impl Engine {
    fn by_token(&self, token: &bytes::Bytes, namespace: &str, identity: &str) -> Result<Target, Refusal> {
        let (token, key) = self.task_token(token, namespace)?;
        self.check_identity(identity)?;
        Ok((key.workflow, Some(key.run), ActivityTarget::Token(token)))
    }

    fn by_id(&self, namespace: &str, workflow_id: String, run_id: &str, activity_id: String, identity: &str) -> Result<Target, Refusal> {
        let namespace = self.namespace(namespace)?;
        if activity_id.is_empty() {
            return Err(Refusal::invalid("ActivityId is not set on request."));
        }
        // Without a workflow id it means one that is of no workflow, if there are such.
        if workflow_id.is_empty() && self.shared.settings.standalone_activities {
            self.check_identity(identity)?;
            let (workflow, run) = self.activity(&namespace.view.name, &activity_id, run_id)?;
            return Ok((workflow, run, ActivityTarget::Id(activity_id)));
        }
        let execution = WorkflowExecution { workflow_id, run_id: run_id.to_owned() };
        let (workflow, run) = workflow_of_activity(namespace.id(), Some(execution))?;
        self.check_identity(identity)?;
        Ok((workflow, run, ActivityTarget::Id(activity_id)))
    }

    /// `RespondActivityTaskCompleted`.
    pub async fn respond_activity_task_completed(
        &self,
        request: RespondActivityTaskCompletedRequest,
    ) -> Result<RespondActivityTaskCompletedResponse, Refusal> {
        let (workflow, run, target) = self.by_token(&request.task_token, &request.namespace, &request.identity)?;
        let input = Input::CompleteActivity { target, result: request.result, identity: request.identity };
        self.shared.apply(workflow, run, input).await?;
        Ok(RespondActivityTaskCompletedResponse::default())
    }

    /// `RespondActivityTaskCompletedById`.
    pub async fn respond_activity_task_completed_by_id(
        &self,
        request: RespondActivityTaskCompletedByIdRequest,
    ) -> Result<RespondActivityTaskCompletedByIdResponse, Refusal> {
        let (workflow, run, target) =
            self.by_id(&request.namespace, request.workflow_id, &request.run_id, request.activity_id, &request.identity)?;
        let input = Input::CompleteActivity { target, result: request.result, identity: request.identity };
        self.shared.apply(workflow, run, input).await?;
        Ok(RespondActivityTaskCompletedByIdResponse::default())
    }

    async fn fail(
        &self,
        (workflow, run, target): Target,
        failure: Option<Failure>,
        last_heartbeat_details: Option<sempre_api::v1::common::Payloads>,
        identity: String,
    ) -> Result<Vec<Failure>, Refusal> {
        check_failure(failure.as_ref())?;
        let input = Input::FailActivity { target, failure: failure.map(Box::new), last_heartbeat_details, identity };
        match self.shared.apply(workflow, run, input).await?.1 {
            Reply::ActivityFailed { failures } => Ok(failures),
            Reply::Done => Ok(Vec::new()),
            _ => Err(internal("a failed activity")),
        }
    }

    /// `RespondActivityTaskFailed`.
    pub async fn respond_activity_task_failed(
        &self,
        request: RespondActivityTaskFailedRequest,
    ) -> Result<RespondActivityTaskFailedResponse, Refusal> {
        let target = self.by_token(&request.task_token, &request.namespace, &request.identity)?;
        let failures = self.fail(target, request.failure, request.last_heartbeat_details, request.identity).await?;
        Ok(RespondActivityTaskFailedResponse { failures })
    }

    /// `RespondActivityTaskFailedById`.
    pub async fn respond_activity_task_failed_by_id(
        &self,
        request: RespondActivityTaskFailedByIdRequest,
    ) -> Result<RespondActivityTaskFailedByIdResponse, Refusal> {
        let target = self.by_id(&request.namespace, request.workflow_id, &request.run_id, request.activity_id, &request.identity)?;
        let failures = self.fail(target, request.failure, request.last_heartbeat_details, request.identity).await?;
        Ok(RespondActivityTaskFailedByIdResponse { failures })
    }

    /// `RespondActivityTaskCanceled`.
    pub async fn respond_activity_task_canceled(
        &self,
        request: RespondActivityTaskCanceledRequest,
    ) -> Result<RespondActivityTaskCanceledResponse, Refusal> {
        let (workflow, run, target) = self.by_token(&request.task_token, &request.namespace, &request.identity)?;
        let input = Input::CancelActivity { target, details: request.details, identity: request.identity };
        self.shared.apply(workflow, run, input).await?;
        Ok(RespondActivityTaskCanceledResponse::default())
    }

    /// `RespondActivityTaskCanceledById`.
    pub async fn respond_activity_task_canceled_by_id(
        &self,
        request: RespondActivityTaskCanceledByIdRequest,
    ) -> Result<RespondActivityTaskCanceledByIdResponse, Refusal> {
        let (workflow, run, target) =
            self.by_id(&request.namespace, request.workflow_id, &request.run_id, request.activity_id, &request.identity)?;
        let input = Input::CancelActivity { target, details: request.details, identity: request.identity };
        self.shared.apply(workflow, run, input).await?;
        Ok(RespondActivityTaskCanceledByIdResponse::default())
    }

    async fn heartbeat(
        &self,
        (workflow, run, target): Target,
        details: Option<sempre_api::v1::common::Payloads>,
        identity: String,
    ) -> Result<(bool, bool, bool), Refusal> {
        match self.shared.apply(workflow, run, Input::Heartbeat { target, details, identity }).await?.1 {
            Reply::Heartbeat { cancel_requested, paused, reset } => Ok((cancel_requested, paused, reset)),
            _ => Err(internal("a heartbeat")),
        }
    }

    /// `RecordActivityTaskHeartbeat`.
    pub async fn record_activity_heartbeat(
        &self,
        request: RecordActivityTaskHeartbeatRequest,
    ) -> Result<RecordActivityTaskHeartbeatResponse, Refusal> {
        let target = self.by_token(&request.task_token, &request.namespace, &request.identity)?;
        let (cancel_requested, activity_paused, activity_reset) = self.heartbeat(target, request.details, request.identity).await?;
        Ok(RecordActivityTaskHeartbeatResponse { cancel_requested, activity_paused, activity_reset })
    }

    /// `RecordActivityTaskHeartbeatById`.
    pub async fn record_activity_heartbeat_by_id(
        &self,
        request: RecordActivityTaskHeartbeatByIdRequest,
    ) -> Result<RecordActivityTaskHeartbeatByIdResponse, Refusal> {
        let target = self.by_id(&request.namespace, request.workflow_id, &request.run_id, request.activity_id, &request.identity)?;
        let (cancel_requested, activity_paused, activity_reset) = self.heartbeat(target, request.details, request.identity).await?;
        Ok(RecordActivityTaskHeartbeatByIdResponse { cancel_requested, activity_paused, activity_reset })
    }
}
