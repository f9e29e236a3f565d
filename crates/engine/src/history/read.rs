//! Reads of history: pages for workers and clients, long polls, the close event (spec 04 §7).

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use sempre_api::{
    History,
    v1::{
        common::WorkflowExecution,
        enums::{EventType, HistoryEventFilterType, TimeoutType},
        failure::{Failure, TimeoutFailureInfo, failure::FailureInfo},
        history::{HistoryEvent, WorkflowExecutionContinuedAsNewEventAttributes, history_event::Attributes},
        workflowservice::{
            GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse, GetWorkflowExecutionHistoryReverseRequest,
            GetWorkflowExecutionHistoryReverseResponse,
        },
    },
};
use sempre_core::{NamespaceId, Refusal, RunId, RunKey, Timestamp, WorkflowKey, keys, transition::HistoryWindow};
use tokio::sync::oneshot;

use super::{
    slice::{Page, PageLimit, reversed},
    token::HistoryToken,
};
use crate::{
    shard::message::{Ask, Body, View, ViewRequest},
    shared::{Shared, internal},
};

/// Events of one page (`frontend.historyMaxPageSize`).
const PAGE_EVENTS_MAX: usize = 256;
/// Bytes of one page; one larger event is a page of its own.
pub(crate) const PAGE_BYTES: usize = 2 << 20;
/// The first page that goes with a task.
pub(crate) const TASK_PAGE: PageLimit = PageLimit { events: PAGE_EVENTS_MAX, bytes: PAGE_BYTES };

/// Who reads history, as far as it changes the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryReader {
    /// The client is `temporal-cli` or `temporal-ui`: no events of a task that exists in memory only.
    pub stored_events_only: bool,
    /// Header `supported-features` names `follows-next-run-id`: close events are shown as they are.
    pub follows_next_run_id: bool,
}

fn missing() -> Refusal {
    Refusal::not_found("Requested workflow history not found, may have passed retention period.")
}

fn frames(events: &[HistoryEvent]) -> Bytes {
    let mut frames = BytesMut::new();
    for event in events {
        sempre_api::encode_event(event, &mut frames);
    }
    frames.freeze()
}

fn page_limit(requested: i32) -> PageLimit {
    let events = usize::try_from(requested).ok().filter(|n| (1..=PAGE_EVENTS_MAX).contains(n)).unwrap_or(PAGE_EVENTS_MAX);
    PageLimit { events, bytes: PAGE_BYTES }
}

impl Shared {
    /// Reads a page of committed history from the store.
    pub(crate) async fn read_page(&self, run: &RunKey, from: i64, end: i64, limit: PageLimit) -> Result<Page, Refusal> {
        let prefix = keys::run(run.workflow.slot(), run.run);
        let mut page = Page::new(from, end, limit);
        while !page.is_done() {
            let before = page.next;
            let rows = self.store.stream(&prefix, before as u64, limit.bytes).await.map_err(|error| {
                tracing::warn!(%error, run = %run.run, "history could not be read");
                Refusal::Unavailable("history could not be read".into())
            })?;
            for (_, row) in &rows {
                page.add(row).map_err(|_| {
                    tracing::error!(run = %run.run, "stored history is damaged");
                    Refusal::Unavailable("internal history service error".into())
                })?;
            }
            if page.next == before && !page.is_done() {
                return Err(missing());
            }
        }
        Ok(page)
    }

    /// History and page token that go with a task. `page` is what was in memory.
    pub(crate) async fn task_history(&self, run: &RunKey, window: HistoryWindow, page: Option<Page>) -> Result<(History, Bytes), Refusal> {
        let page = match page {
            Some(page) => page,
            None => self.read_page(run, window.from, window.next, TASK_PAGE).await?,
        };
        let virtual_frames = frames(&window.virtual_events);
        let complete = page.is_complete();
        let mut chunks = page.chunks;
        if complete {
            if !virtual_frames.is_empty() {
                chunks.push(virtual_frames);
            }
            return Ok((self.shown_history(run.workflow.namespace, History { chunks }), Bytes::new()));
        }
        let token = HistoryToken::of_task(run.run, page.next, window.next, virtual_frames);
        Ok((self.shown_history(run.workflow.namespace, History { chunks }), token.to_bytes()))
    }

    pub(crate) async fn view(&self, workflow: &WorkflowKey, run: Option<RunId>, request: ViewRequest) -> Result<(RunId, View), Refusal> {
        let answer = self.ask(workflow.clone(), run, Ask::View(request)).await?;
        match answer.body {
            Body::View(view) => Ok((answer.run, view)),
            _ => Err(internal("a view")),
        }
    }

    /// `GetWorkflowExecutionHistory`.
    pub(crate) async fn get_history(
        &self,
        namespace: NamespaceId,
        request: GetWorkflowExecutionHistoryRequest,
        reader: HistoryReader,
        deadline: Option<Timestamp>,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Refusal> {
        let mut response = self.stored_history(namespace, request, reader, deadline).await?;
        response.history = response.history.map(|history| self.shown_history(namespace, history));
        Ok(response)
    }

    async fn stored_history(
        &self,
        namespace: NamespaceId,
        request: GetWorkflowExecutionHistoryRequest,
        reader: HistoryReader,
        deadline: Option<Timestamp>,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Refusal> {
        let (workflow, run, token) = target(namespace, request.execution, &request.next_page_token)?;
        let limit = page_limit(request.maximum_page_size);
        if let Some(token) = token.as_ref().filter(|t| t.task_end > 0) {
            return self.task_page(RunKey { workflow, run: token.run() }, token, limit).await;
        }
        let from = token.as_ref().map_or(1, |t| t.next);
        let until = self.wait_until(self.settings.history_wait, deadline);
        if request.history_event_filter_type == HistoryEventFilterType::CloseEvent as i32 {
            return self.close_event(workflow, run, request.wait_new_event, reader, until).await;
        }
        let mut run = run;
        let view = loop {
            let (watch, changed) = oneshot::channel();
            let ask = ViewRequest { from, events_max: limit.events, watch: request.wait_new_event.then_some(watch), until_closed: false };
            let (id, view) = self.view(&workflow, run, ask).await?;
            run = Some(id);
            if !request.wait_new_event || !view.open || view.next_event_id > from || !self.wait(changed, until).await {
                break view;
            }
        };
        let key = RunKey { workflow, run: run.unwrap_or_default() };
        if from > view.next_event_id {
            return Err(Refusal::invalid("Invalid NextPageToken."));
        }
        let page = match view.page {
            Some(page) => page,
            None => self.read_page(&key, from, view.next_event_id, limit).await?,
        };
        let last = page.is_complete();
        let next = page.next;
        let mut chunks = page.chunks;
        let more = !last || view.open && request.wait_new_event;
        if last
            && view.open
            && !request.wait_new_event
            && !reader.stored_events_only
            && !chunks.is_empty()
            && !view.virtual_events.is_empty()
        {
            chunks.push(frames(&view.virtual_events));
        }
        Ok(GetWorkflowExecutionHistoryResponse {
            history: Some(History { chunks }),
            next_page_token: if more { HistoryToken::new(key.run, next).to_bytes() } else { Bytes::new() },
            ..Default::default()
        })
    }

    /// Waits for a change. False at the end of the wait.
    pub(crate) async fn wait(&self, changed: oneshot::Receiver<()>, until: Timestamp) -> bool {
        if self.wall_now() >= until || self.stopping.load(std::sync::atomic::Ordering::Acquire) {
            return false;
        }
        tokio::select! {
            biased;
            // A dropped sender means as much as a change: look again.
            change = changed => change.is_ok() || self.pause(until).await,
            () = self.wall.sleep_until(until) => false,
        }
    }

    /// After a watcher was dropped (full, or the shard started over): not at once again.
    async fn pause(&self, until: Timestamp) -> bool {
        let soon = self.wall_now() + sempre_core::Span::millis(100);
        self.wall.sleep_until(soon.min(until)).await;
        self.wall_now() < until
    }

    /// A later page of a task's history.
    async fn task_page(&self, run: RunKey, token: &HistoryToken, limit: PageLimit) -> Result<GetWorkflowExecutionHistoryResponse, Refusal> {
        // The shard knows the run by its whole key; rows in the store are found without the workflow's.
        let (_, view) = self.view(&run.workflow, Some(run.run), ViewRequest::default()).await?;
        if token.next > token.task_end || token.task_end > view.next_event_id {
            return Err(Refusal::invalid("Invalid NextPageToken."));
        }
        let page = self.read_page(&run, token.next, token.task_end, limit).await?;
        let complete = page.is_complete();
        let next = page.next;
        let mut chunks = page.chunks;
        if complete && !token.virtual_frames.is_empty() {
            chunks.push(token.virtual_frames.clone());
        }
        let next_page_token = if complete { Bytes::new() } else { token.at(next).to_bytes() };
        Ok(GetWorkflowExecutionHistoryResponse { history: Some(History { chunks }), next_page_token, ..Default::default() })
    }

    async fn close_event(
        &self,
        workflow: WorkflowKey,
        run: Option<RunId>,
        wait: bool,
        reader: HistoryReader,
        until: Timestamp,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Refusal> {
        let mut run = run;
        let view = loop {
            let (watch, changed) = oneshot::channel();
            let ask = ViewRequest { watch: wait.then_some(watch), until_closed: true, ..Default::default() };
            let (id, view) = self.view(&workflow, run, ask).await?;
            run = Some(id);
            if !wait || !view.open || !self.wait(changed, until).await {
                break view;
            }
        };
        let key = RunKey { workflow, run: run.unwrap_or_default() };
        let mut response = GetWorkflowExecutionHistoryResponse { history: Some(History::default()), ..Default::default() };
        if view.open {
            if wait {
                response.next_page_token = HistoryToken::new(key.run, 1).to_bytes();
            }
            return Ok(response);
        }
        let page = self.read_page(&key, view.next_event_id - 1, view.next_event_id, TASK_PAGE).await?;
        let history = History { chunks: page.chunks };
        response.history = Some(if reader.follows_next_run_id { history } else { follow(history)? });
        Ok(response)
    }

    /// `GetWorkflowExecutionHistoryReverse`.
    pub(crate) async fn get_history_reverse(
        &self,
        namespace: NamespaceId,
        request: GetWorkflowExecutionHistoryReverseRequest,
    ) -> Result<GetWorkflowExecutionHistoryReverseResponse, Refusal> {
        let mut response = self.stored_history_reverse(namespace, request).await?;
        response.history = response.history.map(|history| self.shown_history(namespace, history));
        Ok(response)
    }

    async fn stored_history_reverse(
        &self,
        namespace: NamespaceId,
        request: GetWorkflowExecutionHistoryReverseRequest,
    ) -> Result<GetWorkflowExecutionHistoryReverseResponse, Refusal> {
        let (workflow, run, token) = target(namespace, request.execution, &request.next_page_token)?;
        let limit = page_limit(request.maximum_page_size);
        let (run, view) = self.view(&workflow, run, ViewRequest::default()).await?;
        let key = RunKey { workflow, run };
        let last = token.map_or(view.next_event_id - 1, |t| t.next.min(view.next_event_id - 1));
        if last < 1 {
            return Ok(GetWorkflowExecutionHistoryReverseResponse { history: Some(History::default()), ..Default::default() });
        }
        let mut first = (last - limit.events as i64 + 1).max(1);
        let page = loop {
            let page = self.read_page(&key, first, last + 1, PageLimit { events: limit.events, bytes: PAGE_BYTES }).await?;
            if page.is_complete() {
                break page;
            }
            // The bytes did not suffice: take the newer half.
            first += (last - first + 1) / 2;
        };
        let chunks = reversed(&page.chunks).map_err(|_| missing())?;
        let next_page_token = if first > 1 { HistoryToken::new(key.run, first - 1).to_bytes() } else { Bytes::new() };
        Ok(GetWorkflowExecutionHistoryReverseResponse { history: Some(History { chunks }), next_page_token })
    }
}

type Target = (WorkflowKey, Option<RunId>, Option<HistoryToken>);

/// The run that a request and its token mean.
fn target(namespace: NamespaceId, execution: Option<WorkflowExecution>, token: &Bytes) -> Result<Target, Refusal> {
    let execution = execution.ok_or_else(|| Refusal::invalid("Execution is not set on request."))?;
    let (workflow, mut run) = crate::calls::workflow_of(namespace, Some(execution))?;
    let token = HistoryToken::parse(token)?;
    if let Some(token) = &token {
        if run.is_some_and(|run| run != token.run()) {
            return Err(Refusal::invalid("RunId in the request does not match the NextPageToken."));
        }
        run = Some(token.run());
    }
    Ok((workflow, run, token))
}

#[allow(deprecated, reason = "old clients look for it")]
/// Shows a close event with a successor as a continue-as-new, for clients that do not follow other links.
fn follow(history: History) -> Result<History, Refusal> {
    let Some(chunk) = history.chunks.first() else { return Ok(history) };
    let body = sempre_api::frame_body(chunk.clone()).map_err(|_| missing())?;
    let mut event = HistoryEvent::decode(body).map_err(|_| missing())?;
    let continued = match &mut event.attributes {
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) if !a.new_execution_run_id.is_empty() => {
            WorkflowExecutionContinuedAsNewEventAttributes {
                new_execution_run_id: std::mem::take(&mut a.new_execution_run_id),
                last_completion_result: a.result.take(),
                ..Default::default()
            }
        }
        Some(Attributes::WorkflowExecutionFailedEventAttributes(a)) if !a.new_execution_run_id.is_empty() => {
            WorkflowExecutionContinuedAsNewEventAttributes {
                new_execution_run_id: std::mem::take(&mut a.new_execution_run_id),
                failure: a.failure.take(),
                ..Default::default()
            }
        }
        Some(Attributes::WorkflowExecutionTimedOutEventAttributes(a)) if !a.new_execution_run_id.is_empty() => {
            WorkflowExecutionContinuedAsNewEventAttributes {
                new_execution_run_id: std::mem::take(&mut a.new_execution_run_id),
                failure: Some(Failure {
                    message: "workflow timeout".into(),
                    failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
                        timeout_type: TimeoutType::StartToClose as i32,
                        ..Default::default()
                    })),
                    ..Default::default()
                }),
                ..Default::default()
            }
        }
        _ => return Ok(history),
    };
    event.event_type = EventType::WorkflowExecutionContinuedAsNew as i32;
    event.attributes = Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(Box::new(continued)));
    Ok(History::from_events([&event]))
}
