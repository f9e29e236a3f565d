//! What operators do to pending activities of a run (spec 03 §9): by the calls that name a run and some of its activities,
//! and by the newer ones that name one activity.

use sempre_api::{
    sempre::v1::{RunActivityNowRequest, RunActivityNowResponse},
    v1::{
        activity::ActivityOptions,
        common::WorkflowExecution,
        workflowservice::{
            PauseActivityExecutionRequest, PauseActivityExecutionResponse, PauseActivityRequest, PauseActivityResponse,
            ResetActivityExecutionRequest, ResetActivityExecutionResponse, ResetActivityRequest, ResetActivityResponse,
            UnpauseActivityExecutionRequest, UnpauseActivityExecutionResponse, UnpauseActivityRequest, UnpauseActivityResponse,
            UpdateActivityExecutionOptionsRequest, UpdateActivityExecutionOptionsResponse, UpdateActivityOptionsRequest,
            UpdateActivityOptionsResponse, pause_activity_request, reset_activity_request, unpause_activity_request,
            update_activity_options_request,
        },
    },
};
use sempre_core::{
    Input, Refusal, Reply, RunId, Span, WorkflowKey,
    input::{ActivitySelector, OptionsUpdate, PauseRequest, ResetActivity, UnpauseActivity},
};

use super::workflow_of_activity;
use crate::{Engine, shared::internal};

fn selector(which: Option<ActivitySelector>) -> Result<ActivitySelector, Refusal> {
    which.ok_or_else(|| Refusal::invalid("Either Activity.Id or Activity.Type should be set on request."))
}

fn all(wanted: bool) -> Option<ActivitySelector> {
    wanted.then_some(ActivitySelector::All)
}

fn jitter(given: Option<&sempre_api::Duration>) -> Result<Span, Refusal> {
    Span::from_api(given).map_err(|why| Refusal::invalid(format!("invalid Jitter: {why}")))
}

impl Engine {
    /// `PauseActivity`.
    pub async fn pause_activity(&self, request: PauseActivityRequest) -> Result<PauseActivityResponse, Refusal> {
        use pause_activity_request::Activity;
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of_activity(namespace.id(), request.execution)?;
        let which = selector(request.activity.map(|activity| match activity {
            Activity::Id(id) => ActivitySelector::Id(id),
            Activity::Type(name) => ActivitySelector::Type(name),
        }))?;
        let pause = PauseRequest { identity: request.identity, reason: request.reason, request_id: request.request_id };
        self.shared.apply(workflow, run, Input::PauseActivity(which, Box::new(pause))).await?;
        Ok(PauseActivityResponse {})
    }

    /// `UnpauseActivity`.
    pub async fn unpause_activity(&self, request: UnpauseActivityRequest) -> Result<UnpauseActivityResponse, Refusal> {
        use unpause_activity_request::Activity;
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of_activity(namespace.id(), request.execution)?;
        let which = selector(request.activity.and_then(|activity| match activity {
            Activity::Id(id) => Some(ActivitySelector::Id(id)),
            Activity::Type(name) => Some(ActivitySelector::Type(name)),
            Activity::UnpauseAll(wanted) => all(wanted),
        }))?;
        self.check_identity(&request.identity)?;
        let unpause = UnpauseActivity {
            reset_attempts: request.reset_attempts,
            reset_heartbeat: request.reset_heartbeat,
            jitter: jitter(request.jitter.as_ref())?,
            request_id: String::new(),
        };
        self.shared.apply(workflow, run, Input::UnpauseActivity(which, Box::new(unpause))).await?;
        Ok(UnpauseActivityResponse {})
    }

    /// `ResetActivity`.
    pub async fn reset_activity(&self, request: ResetActivityRequest) -> Result<ResetActivityResponse, Refusal> {
        use reset_activity_request::Activity;
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of_activity(namespace.id(), request.execution)?;
        let which = selector(request.activity.and_then(|activity| match activity {
            Activity::Id(id) => Some(ActivitySelector::Id(id)),
            Activity::Type(name) => Some(ActivitySelector::Type(name)),
            Activity::MatchAll(wanted) => all(wanted),
        }))?;
        self.check_identity(&request.identity)?;
        let reset = ResetActivity {
            reset_heartbeat: request.reset_heartbeat,
            keep_paused: request.keep_paused,
            jitter: jitter(request.jitter.as_ref())?,
            restore_original_options: request.restore_original_options,
            request_id: String::new(),
        };
        self.shared.apply(workflow, run, Input::ResetActivity(which, Box::new(reset))).await?;
        Ok(ResetActivityResponse {})
    }

    /// `UpdateActivityOptions`.
    pub async fn update_activity_options(&self, request: UpdateActivityOptionsRequest) -> Result<UpdateActivityOptionsResponse, Refusal> {
        use update_activity_options_request::Activity;
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of_activity(namespace.id(), request.execution)?;
        let which = selector(request.activity.and_then(|activity| match activity {
            Activity::Id(id) => Some(ActivitySelector::Id(id)),
            Activity::Type(name) => Some(ActivitySelector::Type(name)),
            Activity::MatchAll(wanted) => all(wanted),
        }))?;
        self.check_identity(&request.identity)?;
        let update = OptionsUpdate {
            options: request.activity_options,
            mask: request.update_mask.map(|mask| mask.paths),
            restore_original: request.restore_original,
            request_id: String::new(),
        };
        let options = self.update_options(workflow, run, which, update).await?;
        Ok(UpdateActivityOptionsResponse { activity_options: Some(options) })
    }

    /// The activity that one of the newer calls names: of a workflow, or without a workflow id one that belongs to none.
    fn named(
        &self,
        namespace: &str,
        (workflow_id, run_id): (String, &str),
        activity_id: String,
        identity: &str,
    ) -> Result<(WorkflowKey, Option<RunId>, ActivitySelector), Refusal> {
        if workflow_id.is_empty() {
            let (workflow, run) = self.activity(namespace, &activity_id, run_id)?;
            self.check_identity(identity)?;
            return Ok((workflow, run, ActivitySelector::Id(activity_id)));
        }
        let namespace = self.namespace(namespace)?;
        let execution = WorkflowExecution { workflow_id, run_id: run_id.to_owned() };
        let (workflow, run) = workflow_of_activity(namespace.id(), Some(execution))?;
        self.check_identity(identity)?;
        Ok((workflow, run, ActivitySelector::Id(activity_id)))
    }

    /// `PauseActivityExecution`.
    pub async fn pause_activity_execution(
        &self,
        request: PauseActivityExecutionRequest,
    ) -> Result<PauseActivityExecutionResponse, Refusal> {
        let target = (request.workflow_id, &request.run_id[..]);
        let (workflow, run, which) = self.named(&request.namespace, target, request.activity_id, &request.identity)?;
        let pause = PauseRequest { identity: request.identity, reason: request.reason, request_id: request.request_id };
        self.shared.apply(workflow, run, Input::PauseActivity(which, Box::new(pause))).await?;
        Ok(PauseActivityExecutionResponse {})
    }

    /// `UnpauseActivityExecution`.
    pub async fn unpause_activity_execution(
        &self,
        request: UnpauseActivityExecutionRequest,
    ) -> Result<UnpauseActivityExecutionResponse, Refusal> {
        let target = (request.workflow_id, &request.run_id[..]);
        let (workflow, run, which) = self.named(&request.namespace, target, request.activity_id, &request.identity)?;
        let unpause =
            UnpauseActivity { jitter: jitter(request.jitter.as_ref())?, request_id: request.request_id, ..UnpauseActivity::default() };
        self.shared.apply(workflow, run, Input::UnpauseActivity(which, Box::new(unpause))).await?;
        Ok(UnpauseActivityExecutionResponse {})
    }

    /// `ResetActivityExecution`.
    pub async fn reset_activity_execution(
        &self,
        request: ResetActivityExecutionRequest,
    ) -> Result<ResetActivityExecutionResponse, Refusal> {
        let target = (request.workflow_id, &request.run_id[..]);
        let (workflow, run, which) = self.named(&request.namespace, target, request.activity_id, &request.identity)?;
        let reset = ResetActivity {
            reset_heartbeat: request.reset_heartbeat,
            keep_paused: request.keep_paused,
            jitter: jitter(request.jitter.as_ref())?,
            restore_original_options: request.restore_original_options,
            request_id: request.request_id,
        };
        self.shared.apply(workflow, run, Input::ResetActivity(which, Box::new(reset))).await?;
        Ok(ResetActivityExecutionResponse {})
    }

    /// `SteerService.RunActivityNow`.
    pub async fn run_activity_now(&self, request: RunActivityNowRequest) -> Result<RunActivityNowResponse, Refusal> {
        let target = (request.workflow_id, &request.run_id[..]);
        let (workflow, run, which) = self.named(&request.namespace, target, request.activity_id, &request.identity)?;
        self.shared.apply(workflow, run, Input::RunActivityNow(which)).await?;
        Ok(RunActivityNowResponse {})
    }

    /// `UpdateActivityExecutionOptions`.
    pub async fn update_activity_execution_options(
        &self,
        request: UpdateActivityExecutionOptionsRequest,
    ) -> Result<UpdateActivityExecutionOptionsResponse, Refusal> {
        let target = (request.workflow_id, &request.run_id[..]);
        let (workflow, run, which) = self.named(&request.namespace, target, request.activity_id, &request.identity)?;
        let update = OptionsUpdate {
            options: request.activity_options,
            mask: request.update_mask.map(|mask| mask.paths),
            restore_original: request.restore_original,
            request_id: request.request_id,
        };
        let options = self.update_options(workflow, run, which, update).await?;
        Ok(UpdateActivityExecutionOptionsResponse { activity_options: Some(options) })
    }

    async fn update_options(
        &self,
        workflow: WorkflowKey,
        run: Option<RunId>,
        which: ActivitySelector,
        update: OptionsUpdate,
    ) -> Result<ActivityOptions, Refusal> {
        match self.shared.apply(workflow, run, Input::UpdateActivityOptions(which, Box::new(update))).await?.1 {
            Reply::ActivityOptions(options) => Ok(*options),
            _ => Err(internal("an update of activity options")),
        }
    }
}
