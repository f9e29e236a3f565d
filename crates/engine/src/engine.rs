//! The facade: stands until the parts behind it do.
#![allow(unused_variables, missing_docs)]
use std::sync::Arc;
use sempre_core::{Refusal, Timestamp, Span};
use sempre_store::Store;
use crate::{Clock, Settings, Spawner, Stats};

/// See the crate.
#[derive(Clone)]
pub struct Engine { stats: Arc<Stats> }

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] sempre_store::StoreError),
}

/// Who reads history, as far as it changes the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryReader {
    /// Client is `temporal-cli` or `temporal-ui`: no events of a transient task.
    pub stored_events_only: bool,
    /// Header `supported-features` names `follows-next-run-id`: close events are shown as they are.
    pub follows_next_run_id: bool,
}

impl Engine {
    pub async fn open(store: Arc<dyn Store>, clock: Arc<dyn Clock>, spawner: Arc<dyn Spawner>, seed: u64, settings: Settings) -> Result<Engine, OpenError> {
        Ok(Engine { stats: Arc::default() })
    }
    pub async fn shutdown(&self) {}
    /// Resolves with the reason when the engine cannot go on; the process should exit.
    pub async fn fatal(&self) -> String { std::future::pending().await }
    pub fn stats(&self) -> &Stats { &self.stats }
    pub fn now(&self) -> Timestamp { Timestamp(0) }
    /// Makes sure that a namespace exists (dev-server flags).
    pub async fn ensure_namespace(&self, name: &str, retention: Span) -> Result<(), Refusal> { Ok(()) }
    pub async fn get_history(&self, request: sempre_api::v1::workflowservice::GetWorkflowExecutionHistoryRequest, reader: HistoryReader, deadline: Option<Timestamp>) -> Result<sempre_api::v1::workflowservice::GetWorkflowExecutionHistoryResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }

    pub async fn start_workflow(&self, request: sempre_api::v1::workflowservice::StartWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::StartWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn signal_with_start(&self, request: sempre_api::v1::workflowservice::SignalWithStartWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::SignalWithStartWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn signal_workflow(&self, request: sempre_api::v1::workflowservice::SignalWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::SignalWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn request_cancel(&self, request: sempre_api::v1::workflowservice::RequestCancelWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::RequestCancelWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn terminate(&self, request: sempre_api::v1::workflowservice::TerminateWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::TerminateWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn describe_workflow(&self, request: sempre_api::v1::workflowservice::DescribeWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::DescribeWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn delete_workflow(&self, request: sempre_api::v1::workflowservice::DeleteWorkflowExecutionRequest) -> Result<sempre_api::v1::workflowservice::DeleteWorkflowExecutionResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn get_history_reverse(&self, request: sempre_api::v1::workflowservice::GetWorkflowExecutionHistoryReverseRequest) -> Result<sempre_api::v1::workflowservice::GetWorkflowExecutionHistoryReverseResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn poll_workflow_task(&self, request: sempre_api::v1::workflowservice::PollWorkflowTaskQueueRequest, deadline: Option<Timestamp>) -> Result<sempre_api::v1::workflowservice::PollWorkflowTaskQueueResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn poll_activity_task(&self, request: sempre_api::v1::workflowservice::PollActivityTaskQueueRequest, deadline: Option<Timestamp>) -> Result<sempre_api::v1::workflowservice::PollActivityTaskQueueResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_workflow_task_completed(&self, request: sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest) -> Result<sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_workflow_task_failed(&self, request: sempre_api::v1::workflowservice::RespondWorkflowTaskFailedRequest) -> Result<sempre_api::v1::workflowservice::RespondWorkflowTaskFailedResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_activity_task_completed(&self, request: sempre_api::v1::workflowservice::RespondActivityTaskCompletedRequest) -> Result<sempre_api::v1::workflowservice::RespondActivityTaskCompletedResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_activity_task_completed_by_id(&self, request: sempre_api::v1::workflowservice::RespondActivityTaskCompletedByIdRequest) -> Result<sempre_api::v1::workflowservice::RespondActivityTaskCompletedByIdResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_activity_task_failed(&self, request: sempre_api::v1::workflowservice::RespondActivityTaskFailedRequest) -> Result<sempre_api::v1::workflowservice::RespondActivityTaskFailedResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_activity_task_failed_by_id(&self, request: sempre_api::v1::workflowservice::RespondActivityTaskFailedByIdRequest) -> Result<sempre_api::v1::workflowservice::RespondActivityTaskFailedByIdResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_activity_task_canceled(&self, request: sempre_api::v1::workflowservice::RespondActivityTaskCanceledRequest) -> Result<sempre_api::v1::workflowservice::RespondActivityTaskCanceledResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_activity_task_canceled_by_id(&self, request: sempre_api::v1::workflowservice::RespondActivityTaskCanceledByIdRequest) -> Result<sempre_api::v1::workflowservice::RespondActivityTaskCanceledByIdResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn record_activity_heartbeat(&self, request: sempre_api::v1::workflowservice::RecordActivityTaskHeartbeatRequest) -> Result<sempre_api::v1::workflowservice::RecordActivityTaskHeartbeatResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn record_activity_heartbeat_by_id(&self, request: sempre_api::v1::workflowservice::RecordActivityTaskHeartbeatByIdRequest) -> Result<sempre_api::v1::workflowservice::RecordActivityTaskHeartbeatByIdResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn query_workflow(&self, request: sempre_api::v1::workflowservice::QueryWorkflowRequest, deadline: Option<Timestamp>) -> Result<sempre_api::v1::workflowservice::QueryWorkflowResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn respond_query_task_completed(&self, request: sempre_api::v1::workflowservice::RespondQueryTaskCompletedRequest) -> Result<sempre_api::v1::workflowservice::RespondQueryTaskCompletedResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn reset_sticky(&self, request: sempre_api::v1::workflowservice::ResetStickyTaskQueueRequest) -> Result<sempre_api::v1::workflowservice::ResetStickyTaskQueueResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn shutdown_worker(&self, request: sempre_api::v1::workflowservice::ShutdownWorkerRequest) -> Result<sempre_api::v1::workflowservice::ShutdownWorkerResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn describe_task_queue(&self, request: sempre_api::v1::workflowservice::DescribeTaskQueueRequest) -> Result<sempre_api::v1::workflowservice::DescribeTaskQueueResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn register_namespace(&self, request: sempre_api::v1::workflowservice::RegisterNamespaceRequest) -> Result<sempre_api::v1::workflowservice::RegisterNamespaceResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn describe_namespace(&self, request: sempre_api::v1::workflowservice::DescribeNamespaceRequest) -> Result<sempre_api::v1::workflowservice::DescribeNamespaceResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn list_namespaces(&self, request: sempre_api::v1::workflowservice::ListNamespacesRequest) -> Result<sempre_api::v1::workflowservice::ListNamespacesResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn update_namespace(&self, request: sempre_api::v1::workflowservice::UpdateNamespaceRequest) -> Result<sempre_api::v1::workflowservice::UpdateNamespaceResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn deprecate_namespace(&self, request: sempre_api::v1::workflowservice::DeprecateNamespaceRequest) -> Result<sempre_api::v1::workflowservice::DeprecateNamespaceResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn add_search_attributes(&self, request: sempre_api::v1::operatorservice::AddSearchAttributesRequest) -> Result<sempre_api::v1::operatorservice::AddSearchAttributesResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn remove_search_attributes(&self, request: sempre_api::v1::operatorservice::RemoveSearchAttributesRequest) -> Result<sempre_api::v1::operatorservice::RemoveSearchAttributesResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn list_search_attributes(&self, request: sempre_api::v1::operatorservice::ListSearchAttributesRequest) -> Result<sempre_api::v1::operatorservice::ListSearchAttributesResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
    pub async fn delete_namespace(&self, request: sempre_api::v1::operatorservice::DeleteNamespaceRequest) -> Result<sempre_api::v1::operatorservice::DeleteNamespaceResponse, Refusal> { Err(Refusal::Unimplemented(String::new())) }
}
