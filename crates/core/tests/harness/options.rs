//! Changes of a run's options, by a call and by a reset.

use sempre_api::{
    FieldMask,
    v1::{
        common::WorkflowExecution,
        workflow::{
            PostResetOperation, WorkflowExecutionOptions,
            post_reset_operation::{UpdateWorkflowOptions, Variant},
        },
        workflowservice::{UpdateWorkflowExecutionOptionsRequest, UpdateWorkflowExecutionOptionsResponse},
    },
};
use sempre_core::{Input, Refusal, Reply, options::OptionsRequest};

use super::World;

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

/// Sets these fields of the options of `w`'s current run.
pub fn options_request(paths: &[&str], options: WorkflowExecutionOptions) -> UpdateWorkflowExecutionOptionsRequest {
    UpdateWorkflowExecutionOptionsRequest {
        workflow_execution: Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() }),
        workflow_execution_options: Some(options),
        update_mask: mask(paths),
        identity: "client".into(),
        ..Default::default()
    }
}

/// A reset sets these fields of the options of the run that it makes.
pub fn options_after_reset(paths: &[&str], options: WorkflowExecutionOptions) -> PostResetOperation {
    let update = UpdateWorkflowOptions { workflow_execution_options: Some(options), update_mask: mask(paths) };
    PostResetOperation { variant: Some(Variant::UpdateWorkflowOptions(update)) }
}

impl World {
    /// Changes options of the current run.
    pub fn update_options(&mut self, request: UpdateWorkflowExecutionOptionsRequest) -> Result<Reply, Refusal> {
        let id = request.workflow_execution.clone().expect("set").workflow_id;
        let input = OptionsRequest { options: request.workflow_execution_options, mask: request.update_mask, identity: request.identity };
        self.apply(&id, Input::UpdateOptions(Box::new(input)))
    }

    /// Sets these fields of the options of `w`'s current run.
    pub fn set_options(
        &mut self,
        paths: &[&str],
        options: WorkflowExecutionOptions,
    ) -> Result<UpdateWorkflowExecutionOptionsResponse, Refusal> {
        match self.update_options(options_request(paths, options))? {
            Reply::Options(answer) => Ok(*answer),
            other => panic!("not an answer: {other:?}"),
        }
    }
}
