//! Resets: the reading beside the shard (see [`crate::shard::reset`]), and changes of options.

use sempre_api::v1::workflowservice::{
    ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse, UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
};
use sempre_core::{
    Input, Refusal, Reply, RunId, RunKey, WorkflowKey, keys,
    options::{self, OptionsRequest},
    reset::{Fork, ResetRequest},
    transition::HistoryBatch,
    validate,
};

use super::{looked_up, workflow_of};
use crate::{
    Engine,
    shard::{
        message::{Ask, Body, ViewRequest},
        reset::{ResetOrder, ResetPlan, refused},
    },
    shared::{Shared, give_way, internal},
};

/// Bytes of history read, or staged, at once.
const PIECE_BYTES: usize = 1 << 20;
/// Copied events up to this size go with the commit that makes the run; larger ones are staged.
const INLINE_BYTES_MAX: usize = 2 << 20;
/// How often a run that goes on while it is read is read again.
const TRIES_MAX: usize = 20;

impl Engine {
    /// `ResetWorkflowExecution`. A caller that goes away before the end has either reset the workflow or changed nothing.
    pub async fn reset_workflow(&self, mut request: ResetWorkflowExecutionRequest) -> Result<ResetWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let target = request.workflow_execution.take();
        let request = ResetRequest::new(request, &self.shared.settings.limits)?;
        let (workflow, run) = workflow_of(namespace.id(), target)?;
        let _permit = self.shared.resets.acquire().await.map_err(|_| internal("a permit"))?;
        let run_id = self.shared.reset(workflow, run, request).await?;
        Ok(ResetWorkflowExecutionResponse { run_id })
    }

    /// `UpdateWorkflowExecutionOptions`.
    pub async fn update_workflow_options(
        &self,
        request: UpdateWorkflowExecutionOptionsRequest,
    ) -> Result<UpdateWorkflowExecutionOptionsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = request.workflow_execution.unwrap_or_default();
        validate::required(&execution.workflow_id, validate::WORKFLOW_ID_NOT_SET)?;
        options::check(request.workflow_execution_options.as_ref(), request.update_mask.as_ref(), &self.shared.settings.limits)?;
        let (workflow, run) = looked_up(namespace.id(), Some(execution))?;
        let input = OptionsRequest { options: request.workflow_execution_options, mask: request.update_mask, identity: request.identity };
        match self.shared.apply(workflow, run, Input::UpdateOptions(Box::new(input))).await?.1 {
            Reply::Options(answer) => Ok(*answer),
            _ => Err(internal("options")),
        }
    }
}

/// Copied events on their way to the new run.
#[derive(Default)]
struct Copied {
    batches: Vec<HistoryBatch>,
    bytes: usize,
    staged: bool,
}

impl Shared {
    /// Resets a workflow; gives the new run's id.
    pub(crate) async fn reset(&self, workflow: WorkflowKey, base: Option<RunId>, request: ResetRequest) -> Result<String, Refusal> {
        let mut plan = self.plan_reset(&workflow, base, &request).await?;
        let mut fork = Fork::new(RunKey { workflow: workflow.clone(), run: plan.new }, plan.base, &request);
        let mut copied = Copied::default();
        for _ in 0..TRIES_MAX {
            if let Some(made) = plan.made {
                return Ok(made);
            }
            self.read_chain(&workflow, &mut fork, &mut copied).await?;
            let Copied { batches, staged, .. } = copied;
            let order = ResetOrder { request: request.clone(), fork, base: plan.base, current: plan.current, copied: batches, staged };
            let answer = self.ask(workflow.clone(), Some(plan.base), Ask::Reset(Box::new(order))).await?;
            match answer.body {
                Body::ResetBehind(order) => {
                    fork = order.fork;
                    // The copy was complete at the first try.
                    copied = Copied { batches: order.copied, bytes: 0, staged: order.staged };
                }
                _ => return Ok(answer.run.to_string()),
            }
            plan = self.plan_reset(&workflow, Some(plan.base), &request).await?;
        }
        Err(Refusal::busy("the workflow goes on faster than it can be read, please retry"))
    }

    async fn plan_reset(&self, workflow: &WorkflowKey, base: Option<RunId>, request: &ResetRequest) -> Result<ResetPlan, Refusal> {
        match self.ask(workflow.clone(), base, Ask::PlanReset(Box::new(request.clone()))).await?.body {
            Body::ResetPlan(plan) => Ok(plan),
            _ => Err(internal("a plan of a reset")),
        }
    }

    /// Reads the base run and its successors, as far as they go now.
    async fn read_chain(&self, workflow: &WorkflowKey, fork: &mut Fork, copied: &mut Copied) -> Result<(), Refusal> {
        loop {
            let key = RunKey { workflow: workflow.clone(), run: fork.reading().0 };
            let (_, view) = self.view(workflow, Some(key.run), ViewRequest::default()).await?;
            self.read_run(&key, view.next_event_id, fork, copied).await?;
            if fork.follow().is_none() {
                return Ok(());
            }
        }
    }

    async fn read_run(&self, key: &RunKey, end: i64, fork: &mut Fork, copied: &mut Copied) -> Result<(), Refusal> {
        let prefix = keys::run(key.workflow.slot(), key.run);
        while fork.reading().1 < end {
            let from = fork.reading().1;
            let rows = self.store.stream(&prefix, from as u64, PIECE_BYTES).await.map_err(|error| {
                tracing::warn!(%error, run = %key.run, "history could not be read");
                Refusal::Unavailable("history could not be read".into())
            })?;
            for (_, row) in &rows {
                if let Some(batch) = fork.read(row).map_err(|error| refused(error, key))? {
                    copied.bytes += batch.frames.len();
                    copied.batches.push(batch);
                }
            }
            if fork.reading().1 == from {
                return Err(Refusal::not_found("Requested workflow history not found, may have passed retention period."));
            }
            if copied.staged && copied.bytes >= PIECE_BYTES || copied.bytes > INLINE_BYTES_MAX {
                let batches = std::mem::take(&mut copied.batches);
                self.ask(key.workflow.clone(), Some(key.run), Ask::Stage(fork.run(), batches)).await?;
                *copied = Copied { staged: true, ..Copied::default() };
            }
            give_way().await;
        }
        Ok(())
    }
}
