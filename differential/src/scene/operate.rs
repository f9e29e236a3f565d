//! Updates, resets, and what operators do to activities, as a script asks for them.

use sempre_api::v1::{
    command::Command,
    common::WorkflowExecution,
    enums::UpdateWorkflowExecutionLifecycleStage,
    protocol,
    update::{self, Input, Meta, UpdateRef, WaitPolicy},
    workflowservice::*,
};
use tonic::{Response, Status};

use super::{NAMESPACE, Scene, Stop, Task, payloads};

impl Scene {
    fn update_request(&self, name: &str, id: &str, stage: UpdateWorkflowExecutionLifecycleStage) -> UpdateWorkflowExecutionRequest {
        UpdateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(self.execution(name)),
            wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
            request: Some(update::Request {
                meta: Some(Meta { update_id: id.into(), identity: "client".into() }),
                input: Some(Input { name: "handler".into(), args: payloads("\"arg\""), header: None }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// An update beside the script; see [`Scene::updated`].
    #[must_use]
    pub fn update_beside(
        &self,
        name: &str,
        id: &str,
        stage: UpdateWorkflowExecutionLifecycleStage,
        change: impl FnOnce(&mut UpdateWorkflowExecutionRequest),
    ) -> tokio::task::JoinHandle<Result<Response<UpdateWorkflowExecutionResponse>, Status>> {
        let mut request = self.update_request(name, id, stage);
        change(&mut request);
        let mut client = self.client();
        tokio::spawn(async move { client.update_workflow_execution(Self::request(request)).await })
    }

    /// What became of an update beside the script.
    pub async fn updated(
        &self,
        what: &str,
        call: tokio::task::JoinHandle<Result<Response<UpdateWorkflowExecutionResponse>, Status>>,
    ) -> Result<UpdateWorkflowExecutionResponse, Stop> {
        let result = call.await.map_err(|error| Stop(error.to_string()))?;
        // Newer than the reference's API: a link in the answer.
        let result = result.map(|response| response.map(|answer| UpdateWorkflowExecutionResponse { link: None, ..answer }));
        Ok(self.record(what, result)?)
    }

    fn poll_update_request(
        &self,
        name: &str,
        id: &str,
        stage: UpdateWorkflowExecutionLifecycleStage,
    ) -> PollWorkflowExecutionUpdateRequest {
        PollWorkflowExecutionUpdateRequest {
            namespace: NAMESPACE.into(),
            update_ref: Some(UpdateRef { workflow_execution: Some(self.execution(name)), update_id: id.into() }),
            identity: "client".into(),
            wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
        }
    }

    /// Polls for an update.
    pub async fn poll_update(
        &self,
        name: &str,
        id: &str,
        stage: UpdateWorkflowExecutionLifecycleStage,
    ) -> Result<PollWorkflowExecutionUpdateResponse, Status> {
        let request = self.poll_update_request(name, id, stage);
        let result = self.client().poll_workflow_execution_update(Self::request(request)).await;
        self.record("poll update", result)
    }

    /// A poll for an update beside the script.
    #[must_use]
    pub fn poll_update_beside(
        &self,
        name: &str,
        id: &str,
        stage: UpdateWorkflowExecutionLifecycleStage,
    ) -> tokio::task::JoinHandle<Result<Response<PollWorkflowExecutionUpdateResponse>, Status>> {
        let (mut client, request) = (self.client(), self.poll_update_request(name, id, stage));
        tokio::spawn(async move { client.poll_workflow_execution_update(Self::request(request)).await })
    }

    /// Completes a task with messages, each after a command that places it, and with other commands behind.
    pub async fn answer_updates(
        &self,
        task: &Task,
        messages: impl IntoIterator<Item = protocol::Message>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        let messages: Vec<protocol::Message> = messages.into_iter().collect();
        let all: Vec<Command> = messages.iter().map(crate::messages::place).chain(commands).collect();
        self.complete_with(task, all, |request| request.messages = messages).await
    }

    /// An update-with-start (completed) beside the script; the start may be changed.
    #[must_use]
    pub fn update_with_start_beside(
        &self,
        name: &str,
        id: &str,
        change: impl FnOnce(&mut StartWorkflowExecutionRequest),
    ) -> tokio::task::JoinHandle<Result<Response<ExecuteMultiOperationResponse>, Status>> {
        use execute_multi_operation_request::{Operation, operation};
        let mut start = self.start_request(name);
        start.request_id = self.id(&format!("with-start-{name}"));
        start.set_workflow_id_conflict_policy(sempre_api::v1::enums::WorkflowIdConflictPolicy::Fail);
        change(&mut start);
        let update = self.update_request(name, id, UpdateWorkflowExecutionLifecycleStage::Completed);
        let operations = [operation::Operation::StartWorkflow(start), operation::Operation::UpdateWorkflow(update)];
        let operations = operations.map(|operation| Operation { operation: Some(operation) }).into();
        let request = ExecuteMultiOperationRequest { namespace: NAMESPACE.into(), operations, ..Default::default() };
        let mut client = self.client();
        tokio::spawn(async move { client.execute_multi_operation(Self::request(request)).await })
    }

    /// What became of it.
    pub async fn update_with_start(
        &self,
        what: &str,
        call: tokio::task::JoinHandle<Result<Response<ExecuteMultiOperationResponse>, Status>>,
    ) -> Result<(), Stop> {
        use execute_multi_operation_response::response::Response as Answer;
        let result = call.await.map_err(|error| Stop(error.to_string()))?;
        let result = result.map(|response| {
            response.map(|mut all| {
                // Newer than the reference's API.
                for answer in &mut all.responses {
                    match &mut answer.response {
                        Some(Answer::StartWorkflow(start)) => start.first_execution_run_id.clear(),
                        Some(Answer::UpdateWorkflow(update)) => update.link = None,
                        None => {}
                    }
                }
                all
            })
        });
        self.record(what, result)?;
        Ok(())
    }

    /// Resets the current run to before this event; the request may be changed.
    pub async fn reset(
        &self,
        name: &str,
        finish: i64,
        change: impl FnOnce(&mut ResetWorkflowExecutionRequest),
    ) -> Result<ResetWorkflowExecutionResponse, Status> {
        let mut request = ResetWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(self.execution(name)),
            reason: "again".into(),
            workflow_task_finish_event_id: finish,
            request_id: self.id(&format!("reset-{name}")),
            identity: "operator".into(),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().reset_workflow_execution(Self::request(request)).await;
        let response = self.record(&format!("reset {name} {finish}"), result)?;
        self.met(&WorkflowExecution { workflow_id: self.id(name), run_id: response.run_id.clone() });
        Ok(response)
    }

    /// Pauses an activity.
    pub async fn pause_activity(&self, name: &str, id: &str) -> Result<PauseActivityResponse, Status> {
        let request = PauseActivityRequest {
            namespace: NAMESPACE.into(),
            execution: Some(self.execution(name)),
            identity: "operator".into(),
            reason: "look".into(),
            activity: Some(pause_activity_request::Activity::Id(id.into())),
            ..Default::default()
        };
        let result = self.client().pause_activity(Self::request(request)).await;
        self.record(&format!("pause activity {id}"), result)
    }

    /// Lets a paused activity go on; the request may be changed.
    pub async fn unpause_activity(
        &self,
        name: &str,
        id: &str,
        change: impl FnOnce(&mut UnpauseActivityRequest),
    ) -> Result<UnpauseActivityResponse, Status> {
        let mut request = UnpauseActivityRequest {
            namespace: NAMESPACE.into(),
            execution: Some(self.execution(name)),
            identity: "operator".into(),
            activity: Some(unpause_activity_request::Activity::Id(id.into())),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().unpause_activity(Self::request(request)).await;
        self.record(&format!("unpause activity {id}"), result)
    }

    /// Resets an activity; the request may be changed.
    pub async fn reset_activity(
        &self,
        name: &str,
        id: &str,
        change: impl FnOnce(&mut ResetActivityRequest),
    ) -> Result<ResetActivityResponse, Status> {
        let mut request = ResetActivityRequest {
            namespace: NAMESPACE.into(),
            execution: Some(self.execution(name)),
            identity: "operator".into(),
            activity: Some(reset_activity_request::Activity::Id(id.into())),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().reset_activity(Self::request(request)).await;
        self.record(&format!("reset activity {id}"), result)
    }

    /// Changes an activity's options.
    pub async fn activity_options(
        &self,
        name: &str,
        id: &str,
        change: impl FnOnce(&mut UpdateActivityOptionsRequest),
    ) -> Result<UpdateActivityOptionsResponse, Status> {
        let mut request = UpdateActivityOptionsRequest {
            namespace: NAMESPACE.into(),
            execution: Some(self.execution(name)),
            identity: "operator".into(),
            activity: Some(update_activity_options_request::Activity::Id(id.into())),
            ..Default::default()
        };
        change(&mut request);
        let result = self.client().update_activity_options(Self::request(request)).await;
        self.record(&format!("options of activity {id}"), result)
    }
}
