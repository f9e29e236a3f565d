//! Reading the history of a run, page by page, to its end or along with the run.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::{EventType, HistoryEventFilterType},
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::{GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryReverseRequest},
};
use tonic::{Code, Status};

use super::{Failure, client::Client, output::Hue, output::short_name};

/// Events asked for at once.
const PAGE_SIZE: i32 = 250;
/// A poll that loses its server is made again this often before the loss is told.
const RETRIES_MAX: u32 = 10;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Which events, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// All there are, oldest first.
    All,
    /// All there are, newest first.
    Reverse,
    /// All, waiting for more until the run is closed.
    Follow,
    /// The last one of a run, waiting for it.
    Close,
}

/// The events of one run.
pub(crate) struct Events {
    client: Client,
    namespace: String,
    execution: WorkflowExecution,
    read: Read,
    token: Bytes,
    begun: bool,
    buffer: VecDeque<HistoryEvent>,
}

impl Events {
    pub(crate) fn new(client: Client, namespace: String, execution: WorkflowExecution, read: Read) -> Self {
        Self { client, namespace, execution, read, token: Bytes::new(), begun: false, buffer: VecDeque::new() }
    }

    /// The next event; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<HistoryEvent>, Failure> {
        let mut lost = 0;
        loop {
            if let Some(event) = self.buffer.pop_front() {
                return Ok(Some(event));
            }
            if self.begun && self.token.is_empty() {
                return Ok(None);
            }
            match self.page().await {
                Ok(()) => {}
                Err(status) if self.waits() && lost < RETRIES_MAX && is_passing(&status) => {
                    lost += 1;
                    pause().await;
                }
                Err(status) => return Err(status.into()),
            }
        }
    }

    fn waits(&self) -> bool {
        matches!(self.read, Read::Follow | Read::Close)
    }

    async fn page(&mut self) -> Result<(), Status> {
        let (namespace, execution, token) = (self.namespace.clone(), Some(self.execution.clone()), self.token.clone());
        let (history, next) = if self.read == Read::Reverse {
            let request =
                GetWorkflowExecutionHistoryReverseRequest { namespace, execution, next_page_token: token, maximum_page_size: PAGE_SIZE };
            let page = self.client.workflow.get_workflow_execution_history_reverse(request).await?.into_inner();
            (page.history, page.next_page_token)
        } else {
            let filter = if self.read == Read::Close { HistoryEventFilterType::CloseEvent } else { HistoryEventFilterType::AllEvent };
            let request = GetWorkflowExecutionHistoryRequest {
                namespace,
                execution,
                next_page_token: token,
                maximum_page_size: PAGE_SIZE,
                wait_new_event: self.waits(),
                history_event_filter_type: filter as i32,
                ..Default::default()
            };
            let page = self.client.workflow.get_workflow_execution_history(request).await?.into_inner();
            (page.history, page.next_page_token)
        };
        let events = history.unwrap_or_default().events().map_err(|error| Status::internal(format!("odd history: {error}")))?;
        self.buffer.extend(events);
        self.token = next;
        self.begun = true;
        Ok(())
    }
}

/// The server may be back in a moment.
fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled) || status.message().contains("transport error")
}

#[expect(clippy::disallowed_methods, reason = "waits for a server to come back, by the wall clock")]
async fn pause() {
    tokio::time::sleep(RETRY_AFTER).await;
}

/// The event that closed a run and all that it continued as; waits for it.
pub(crate) async fn close_event(client: &Client, namespace: &str, execution: &WorkflowExecution) -> Result<HistoryEvent, Failure> {
    let mut execution = execution.clone();
    loop {
        let mut events = Events::new(client.clone(), namespace.to_owned(), execution.clone(), Read::Close);
        let event = events.next().await?.ok_or_else(|| Failure::new("the history of the run has no end"))?;
        match continued_as(&event) {
            Some(run_id) => execution.run_id = run_id,
            None => return Ok(event),
        }
    }
}

/// The run that a run continued as.
pub(crate) fn continued_as(event: &HistoryEvent) -> Option<String> {
    match event.attributes.as_ref()? {
        Attributes::WorkflowExecutionContinuedAsNewEventAttributes(attributes) => Some(attributes.new_execution_run_id.clone()),
        _ => None,
    }
}

/// `WorkflowTaskStarted`.
pub(crate) fn name(event: &HistoryEvent) -> String {
    short_name(event.event_type().as_str_name(), "EVENT_TYPE_")
}

/// What kind of news an event is.
pub(crate) fn hue(kind: EventType) -> Option<Hue> {
    use EventType as E;
    match kind {
        E::WorkflowExecutionFailed
        | E::WorkflowTaskFailed
        | E::ActivityTaskFailed
        | E::ChildWorkflowExecutionFailed
        | E::StartChildWorkflowExecutionFailed
        | E::RequestCancelExternalWorkflowExecutionFailed
        | E::SignalExternalWorkflowExecutionFailed
        | E::NexusOperationFailed => Some(Hue::Bad),
        E::WorkflowExecutionTimedOut
        | E::WorkflowTaskTimedOut
        | E::ActivityTaskTimedOut
        | E::ChildWorkflowExecutionTimedOut
        | E::WorkflowExecutionTerminated
        | E::WorkflowExecutionCanceled
        | E::TimerCanceled
        | E::ChildWorkflowExecutionCanceled => Some(Hue::Odd),
        E::WorkflowExecutionCompleted | E::ChildWorkflowExecutionCompleted => Some(Hue::Good),
        E::WorkflowExecutionStarted | E::ChildWorkflowExecutionStarted => Some(Hue::Running),
        _ => None,
    }
}
