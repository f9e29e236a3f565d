//! What workers answer to Nexus tasks (spec 08 §5.5).

use bytes::Bytes;
use sempre_api::v1::{
    failure::failure::FailureInfo,
    nexus::{Response, StartOperationResponse, response, start_operation_response},
    workflowservice::{
        RespondNexusTaskCompletedRequest, RespondNexusTaskCompletedResponse, RespondNexusTaskFailedRequest, RespondNexusTaskFailedResponse,
    },
};
use sempre_core::Refusal;

use crate::{
    Engine,
    nexus::{
        calls::{Answer, NexusToken},
        operations::TOKEN_MAX,
    },
};

/// What an answer is told that nobody waits for.
const NOT_FOUND: &str = "Nexus task not found or already expired";

impl Engine {
    /// `RespondNexusTaskCompleted`. An operation's failure must be in its new form, `failure`.
    #[allow(deprecated, reason = "old workers name only the operation's id")]
    pub async fn respond_nexus_task_completed(
        &self,
        request: RespondNexusTaskCompletedRequest,
    ) -> Result<RespondNexusTaskCompletedResponse, Refusal> {
        let response = request.response.unwrap_or_default();
        if let Response { variant: Some(response::Variant::StartOperation(StartOperationResponse { variant: Some(variant) })) } = &response
            && let start_operation_response::Variant::AsyncSuccess(started) = variant
        {
            let token = if started.operation_token.is_empty() { &started.operation_id } else { &started.operation_token };
            if token.is_empty() {
                return Err(Refusal::invalid("missing opration token in response"));
            }
            if token.len() > TOKEN_MAX {
                let text = format!("operation token length exceeds allowed limit ({}/{TOKEN_MAX})", token.len());
                return Err(Refusal::InvalidArgument(text));
            }
        }
        self.answer_nexus(&request.task_token, &request.namespace, Answer::Completed(Box::new(response)))?;
        Ok(RespondNexusTaskCompletedResponse {})
    }

    /// `RespondNexusTaskFailed`. The failure must be in its new form, `failure`.
    pub async fn respond_nexus_task_failed(
        &self,
        request: RespondNexusTaskFailedRequest,
    ) -> Result<RespondNexusTaskFailedResponse, Refusal> {
        let failure = request.failure.ok_or_else(|| Refusal::invalid("request must contain error or failure"))?;
        if !matches!(failure.failure_info, Some(FailureInfo::NexusHandlerFailureInfo(_))) {
            return Err(Refusal::invalid("request Failure must contain error or failure with NexusHandlerFailureInfo"));
        }
        self.answer_nexus(&request.task_token, &request.namespace, Answer::Failed(Box::new(failure)))?;
        Ok(RespondNexusTaskFailedResponse {})
    }

    fn answer_nexus(&self, token: &Bytes, namespace: &str, answer: Answer) -> Result<(), Refusal> {
        if token.is_empty() {
            return Err(Refusal::invalid("Task token not set on request."));
        }
        let token = NexusToken::parse(token).ok_or_else(|| Refusal::invalid("Error deserializing task token."))?;
        self.check_token_namespace(token.namespace(), namespace)?;
        if token.process == self.process() && self.shared.nexus_calls.answer(token.task, token.namespace(), answer) {
            return Ok(());
        }
        Err(Refusal::not_found(NOT_FOUND))
    }
}
