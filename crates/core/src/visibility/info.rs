//! A record as lists show it.

use sempre_api::v1::{
    common::{Memo, SearchAttributes, WorkflowExecution, WorkflowType},
    workflow::WorkflowExecutionInfo,
};

use super::Record;
use crate::{Span, Timestamp};

impl Record {
    /// An item of a list.
    pub fn to_api(&self) -> WorkflowExecutionInfo {
        let key = self.run_key().unwrap_or_default();
        let named = |workflow_id: &str, run_id: &str| {
            (!workflow_id.is_empty()).then(|| WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() })
        };
        WorkflowExecutionInfo {
            execution: Some(key.to_api()),
            r#type: Some(WorkflowType { name: self.workflow_type.clone() }),
            start_time: Some(Timestamp(self.start_time).to_api()),
            close_time: (!self.is_open()).then(|| Timestamp(self.close_time).to_api()),
            status: self.status,
            history_length: self.history_length,
            parent_namespace_id: self.parent_namespace_id.clone(),
            parent_execution: named(&self.parent_workflow_id, &self.parent_run_id),
            execution_time: Some(Timestamp(self.execution_time).to_api()),
            memo: Some(Memo { fields: self.memo.clone() }),
            search_attributes: Some(SearchAttributes { indexed_fields: self.search_attributes.clone() }),
            task_queue: self.task_queue.clone(),
            state_transition_count: self.state_transition_count,
            history_size_bytes: self.history_size_bytes,
            execution_duration: self.execution_duration().map(|ns| Span(ns).to_api()),
            root_execution: Some(named(&self.root_workflow_id, &self.root_run_id).unwrap_or_else(|| key.to_api())),
            first_run_id: self.first_run_id.clone(),
            ..Default::default()
        }
    }
}
