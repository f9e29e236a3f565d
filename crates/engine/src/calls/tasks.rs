//! What workers answer to workflow tasks.

use sempre_api::v1::{
    command::{Command, command::Attributes},
    workflowservice::{
        RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse, RespondWorkflowTaskFailedRequest,
        RespondWorkflowTaskFailedResponse,
    },
};
use sempre_core::{Input, Refusal, Reply};

use super::{named, search_attributes::set_by};
use crate::{Engine, shared::internal};

impl Engine {
    /// `RespondWorkflowTaskCompleted`.
    pub async fn respond_workflow_task_completed(
        &self,
        mut request: RespondWorkflowTaskCompletedRequest,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Refusal> {
        let (token, key) = self.task_token(&request.task_token, &request.namespace)?;
        self.check_identity(&request.identity)?;
        if let Some(namespace) = self.shared.namespaces.by_id(key.workflow.namespace) {
            let namespace = self.shared.register_unknown(namespace, request.commands.iter().filter_map(set_by)).await?;
            named::said_by(&namespace, &mut request.commands);
        }
        // Whether a command may reach a namespace is core's to decide; that there is one of this name, core cannot know.
        for name in request.commands.iter().filter_map(other_namespace) {
            self.shared.namespaces.find(name)?;
        }
        let (_, reply, page) = self.shared.apply_to(key.clone(), Input::CompleteWorkflowTask(token, Box::new(request))).await?;
        let Reply::WorkflowTaskCompleted { mut response, inline } = reply else { return Err(internal("a completed task")) };
        if let (Some(window), Some(task)) = (inline, &mut response.workflow_task) {
            let (history, next_page_token) = self.shared.task_history(&key, window, page).await?;
            task.history = Some(history);
            task.next_page_token = next_page_token;
        }
        Ok(*response)
    }

    /// `RespondWorkflowTaskFailed`.
    pub async fn respond_workflow_task_failed(
        &self,
        request: RespondWorkflowTaskFailedRequest,
    ) -> Result<RespondWorkflowTaskFailedResponse, Refusal> {
        let (token, key) = self.task_token(&request.task_token, &request.namespace)?;
        self.check_identity(&request.identity)?;
        self.shared.apply_to(key, Input::FailWorkflowTask(token, Box::new(request))).await?;
        Ok(RespondWorkflowTaskFailedResponse::default())
    }
}

/// The namespace that a command names.
#[expect(deprecated, reason = "old workers name one")]
fn other_namespace(command: &Command) -> Option<&str> {
    let name = match command.attributes.as_ref()? {
        Attributes::StartChildWorkflowExecutionCommandAttributes(a) => &a.namespace,
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(a) => &a.namespace,
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(a) => &a.namespace,
        _ => return None,
    };
    (!name.is_empty()).then_some(name)
}
