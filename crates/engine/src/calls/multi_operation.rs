//! Update-with-start (`ExecuteMultiOperation`; spec 01 §5).

use sempre_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    workflowservice::{
        ExecuteMultiOperationRequest, ExecuteMultiOperationResponse, StartWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
        execute_multi_operation_request::operation::Operation as Asked,
        execute_multi_operation_response::{Response, response::Response as Answered},
    },
};
use sempre_core::{Refusal, Reply, Span, StartInput, Timestamp, WorkflowKey, refusal::Operation, update, validate};
use tokio::sync::oneshot;

use super::{
    named,
    updates::{First, Question, question},
    workflow_of,
};
use crate::{Engine, shard::message::Ask, shared::internal};

/// The text of an update whose run closed before it was accepted.
const ABORTED_BY_CLOSE: &str = "workflow update was aborted by closing workflow";

type Checked = Result<(), Refusal>;

fn invalid(text: &str) -> Refusal {
    Refusal::invalid(text)
}

/// What a start may not ask for here.
fn check_start(start: &StartWorkflowExecutionRequest, namespace: &str) -> Checked {
    if !start.namespace.is_empty() && start.namespace != namespace {
        return Err(invalid("Operation namespace did not match request's namespace."));
    }
    validate::required(&start.workflow_id, validate::WORKFLOW_ID_NOT_SET)?;
    if !start.cron_schedule.is_empty() {
        return Err(invalid("CronSchedule is not allowed."));
    }
    if start.request_eager_execution {
        return Err(invalid("RequestEagerExecution is not supported."));
    }
    if Span::from_api(start.workflow_start_delay.as_ref()).is_ok_and(|delay| !delay.is_zero()) {
        return Err(invalid("WorkflowStartDelay is not supported."));
    }
    Ok(())
}

/// A call whose parts are checked.
struct Call<'c, M> {
    workflow: &'c WorkflowKey,
    start: &'c StartWorkflowExecutionRequest,
    question: &'c Question,
    update_id: &'c str,
    stage: Stage,
    deadline: Option<Timestamp>,
    /// Called when the run is there and the update is on its way.
    made: M,
}

impl Engine {
    /// `ExecuteMultiOperation`; `deadline` is when the caller gives up. `made` is called when the run is there and the update is on its
    /// way to a worker.
    pub async fn execute_multi_operation(
        &self,
        request: ExecuteMultiOperationRequest,
        deadline: Option<Timestamp>,
        made: impl Fn() + Send + Sync,
    ) -> Result<ExecuteMultiOperationResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let operations: Option<[_; 2]> = request.operations.try_into().ok();
        let [first, second] = operations.map(|list| list.map(|o| o.operation)).unwrap_or_default();
        let (Some(Asked::StartWorkflow(mut start)), Some(Asked::UpdateWorkflow(mut update))) = (first, second) else {
            return Err(invalid("Operations have to be exactly [Start, Update]."));
        };
        let start_checked = check_start(&start, &request.namespace);
        let update_checked = self.check_update(&mut update, &request.namespace);
        let update_checked = update_checked.and_then(|stage| match &update.workflow_execution {
            Some(execution) if start_checked.is_ok() && execution.workflow_id != start.workflow_id => {
                Err(invalid("WorkflowId is not consistent with previous operation(s)."))
            }
            _ => Ok(stage),
        });
        let stage = match (start_checked, update_checked) {
            (Ok(()), Ok(stage)) => stage,
            (start, update) => {
                let said = |refusal: Option<Refusal>| refusal.map_or(Operation::NotTried, |r| Operation::Refused(Box::new(r)));
                return Err(Refusal::multi(said(start.err()), said(update.err())));
            }
        };
        self.shared
            .check_reserved(&namespace, &start.workflow_id)
            .await
            .map_err(|r| Refusal::multi(Operation::Refused(Box::new(r)), Operation::NotTried))?;
        let namespace = self.shared.register_unknown(namespace, &start.search_attributes).await?;
        named::said(&namespace, start.search_attributes.as_mut());
        start.namespace.clone_from(&request.namespace);
        if start.request_id.is_empty() {
            start.request_id = self.poll_id();
        }
        let workflow = WorkflowKey { namespace: namespace.id(), workflow_id: start.workflow_id.clone() };
        let (question, update_id) = question(update)?;
        let call = Call { workflow: &workflow, start: &start, question: &question, update_id: &update_id, stage, deadline, made };
        let answer = self.update_or_start(&call).await;
        // The run closed before it accepted the update: a second try may start a new one.
        let answer = match answer {
            Err(refusal) if was_aborted_by_close(&refusal) => self.update_or_start(&call).await,
            answer => answer,
        };
        match answer {
            Err(refusal) if was_aborted_by_close(&refusal) => {
                Err(Refusal::multi(Operation::NotTried, Operation::Refused(Box::new(Refusal::Aborted(ABORTED_BY_CLOSE.into())))))
            }
            answer => answer,
        }
    }

    fn check_update(&self, update: &mut UpdateWorkflowExecutionRequest, namespace: &str) -> Result<Stage, Refusal> {
        if !update.namespace.is_empty() && update.namespace != namespace {
            return Err(invalid("Operation namespace did not match request's namespace."));
        }
        workflow_of(Default::default(), update.workflow_execution.clone())?;
        let stage = update::validate(update, || self.poll_id(), self.shared.settings.limits_of(namespace))?;
        if !update.first_execution_run_id.is_empty() {
            return Err(invalid("FirstExecutionRunId is not allowed."));
        }
        if update.workflow_execution.as_ref().is_some_and(|execution| !execution.run_id.is_empty()) {
            return Err(invalid("RunId is not allowed."));
        }
        Ok(stage)
    }

    async fn update_or_start<M: Fn() + Send + Sync>(&self, call: &Call<'_, M>) -> Result<ExecuteMultiOperationResponse, Refusal> {
        let Call { workflow, start, question, update_id, stage, deadline, made } = call;
        let Question::Send(update) = question else { return Err(internal("an update to send")) };
        let (sender, news) = oneshot::channel();
        let input = StartInput { request: Box::new((*start).clone()), signal: None, child_of: None, watcher: None };
        let ask = Ask::UpdateWithStart(Box::new((input, update.clone())), sender);
        let (run, reply, _) = self.shared.ask_reply((*workflow).clone(), None, ask).await?;
        made();
        let Reply::UpdateWithStart { started, update: status } = reply else { return Err(internal("an update-with-start")) };
        let first = First { run, status, news };
        let reached = self.follow_from(Some(first), workflow, None, question, *stage, &self.patience(*deadline)).await;
        let reached = reached.map_err(|refusal| {
            let start = if started.started { Operation::Done } else { Operation::NotTried };
            Refusal::multi(start, Operation::Refused(Box::new(refusal)))
        })?;
        let update = reached.response(&start.namespace, workflow.workflow_id.clone(), (*update_id).to_owned());
        let answers = [Answered::StartWorkflow(*started), Answered::UpdateWorkflow(update)];
        Ok(ExecuteMultiOperationResponse { responses: answers.map(|answer| Response { response: Some(answer) }).into() })
    }
}

/// An update of a run that was there already was aborted because that run closed.
fn was_aborted_by_close(refusal: &Refusal) -> bool {
    let Refusal::MultiOperation(multi) = refusal else { return false };
    let by_close = |update: &Refusal| matches!(update, Refusal::NotFound(text) if text == ABORTED_BY_CLOSE);
    multi.start == Operation::NotTried && matches!(&multi.update, Operation::Refused(update) if by_close(update))
}
