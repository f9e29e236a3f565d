//! Forks: a run goes on from any of its events. The cut is found here, by reading; the rest is a reset.

use prost::Message;
use sempre_api::{
    sempre::v1::{ForkWorkflowExecutionRequest, ForkWorkflowExecutionResponse},
    v1::{common::Payloads, history::HistoryEvent},
};
use sempre_core::{
    Refusal, RunId, RunKey, WorkflowKey, keys,
    refusal::text,
    reset::{Cut, Exclude, ForkOrder, ResetRequest},
    validate,
};

use super::by_ids;
use crate::{
    Engine,
    shard::message::ViewRequest,
    shared::{Shared, give_way, internal},
};

/// Bytes of history read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What a fork is to do with one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForkOptions {
    /// The last event that has been; 0 = the last there is.
    pub(crate) event_id: i64,
    pub(crate) input: Option<Payloads>,
    pub(crate) apply_later_events: bool,
    pub(crate) reason: String,
    pub(crate) request_id: String,
}

impl ForkOptions {
    /// Input as it comes, checked.
    pub(crate) fn input(encoded: Option<&bytes::Bytes>, limits: &sempre_core::Limits) -> Result<Option<Payloads>, Refusal> {
        let Some(encoded) = encoded else { return Ok(None) };
        if encoded.len() > limits.blob_size_max {
            return Err(Refusal::invalid(text::BLOB_TOO_LARGE));
        }
        Payloads::decode(encoded.clone()).map(Some).map_err(|_| Refusal::invalid("the input is not an encoded Payloads message"))
    }
}

impl Engine {
    /// `SteerService.ForkWorkflowExecution`.
    pub async fn fork_workflow(&self, request: ForkWorkflowExecutionRequest) -> Result<ForkWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let limits = &self.shared.settings.limits;
        let (workflow, run) = by_ids(namespace.id(), request.workflow_id, &request.run_id)?;
        self.check_identity(&request.identity)?;
        validate::required(&request.request_id, "RequestId is not set on request.")?;
        validate::at_most(&request.request_id, "RequestId length exceeds limit.", limits)?;
        let options = ForkOptions {
            event_id: request.event_id,
            input: ForkOptions::input(request.input.as_ref(), limits)?,
            apply_later_events: request.apply_later_events,
            reason: request.reason,
            request_id: request.request_id,
        };
        let (run_id, kept_event_id) = self.shared.fork(workflow, run, options).await?;
        Ok(ForkWorkflowExecutionResponse { run_id, kept_event_id })
    }
}

impl Shared {
    /// Forks a run; gives the new run's id and the last event kept.
    pub(crate) async fn fork(&self, workflow: WorkflowKey, run: Option<RunId>, options: ForkOptions) -> Result<(String, i64), Refusal> {
        let (base, view) = self.view(&workflow, run, ViewRequest::default()).await?;
        // The current run may be what this very request has made, or have followed it.
        if let Some(resets) = view.resets {
            if resets.made_by == options.request_id {
                return Ok((base.to_string(), resets.kept_event_id));
            }
            if let Some(made) = resets.earlier.into_iter().find(|earlier| earlier.request_id == options.request_id) {
                return Ok((made.run_id, made.kept_event_id));
            }
        }
        let last = view.next_event_id - 1;
        if options.event_id < 0 || options.event_id > last {
            return Err(Refusal::invalid(format!("event ID must be between 1 and the last one of the run, {last}")));
        }
        let event_id = if options.event_id == 0 { last } else { options.event_id };
        let mut cut = Cut::new(event_id, options.input.is_some());
        let key = RunKey { workflow: workflow.clone(), run: base };
        self.read_events(&key, view.next_event_id, |event| cut.read(event)).await?;
        let finish_event_id = cut.found().ok_or_else(|| Refusal::invalid("there is no event to keep"))?;
        let request = ResetRequest {
            finish_event_id,
            reason: options.reason,
            request_id: options.request_id,
            exclude: Exclude::default(),
            operations: Vec::new(),
            fork: Some(ForkOrder { until: (!options.apply_later_events).then_some(event_id), input: options.input }),
        };
        let _permit = self.resets.acquire().await.map_err(|_| internal("a permit"))?;
        let run_id = self.reset(workflow, Some(base), request).await?;
        Ok((run_id, finish_event_id - 1))
    }

    /// Shows the events of a run in their order, those before `end`, for as long as `more` says so.
    pub(crate) async fn read_events(&self, key: &RunKey, end: i64, mut more: impl FnMut(&HistoryEvent) -> bool) -> Result<(), Refusal> {
        let prefix = keys::run(key.workflow.slot(), key.run);
        let mut next = 1;
        while next < end {
            let rows = self.store.stream(&prefix, next as u64, PIECE_BYTES).await.map_err(|error| {
                tracing::warn!(%error, run = %key.run, "history could not be read");
                Refusal::Unavailable("history could not be read".into())
            })?;
            let from = next;
            for (_, row) in rows {
                let events = sempre_api::History { chunks: vec![row] }.events().map_err(|_| {
                    tracing::error!(run = %key.run, "stored history is damaged");
                    Refusal::Unavailable("internal history service error".into())
                })?;
                for event in events {
                    if event.event_id < next {
                        continue;
                    }
                    next = event.event_id + 1;
                    if event.event_id >= end || !more(&event) {
                        return Ok(());
                    }
                }
            }
            if next == from {
                return Err(Refusal::not_found("Requested workflow history not found, may have passed retention period."));
            }
            give_way().await;
        }
        Ok(())
    }
}
