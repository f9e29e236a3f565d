//! Updates: sent to a run, followed until they reach the stage the caller wants (spec 02 §7).

use std::sync::atomic::Ordering;

use prost::Message as _;
use sempre_api::v1::{
    common::{
        Link, WorkflowExecution,
        link::{
            self, Variant,
            workflow_event::{EventReference, Reference, RequestIdReference},
        },
    },
    enums::{EventType, UpdateWorkflowExecutionLifecycleStage as Stage},
    history::{HistoryEvent, history_event::Attributes},
    update::{Outcome, UpdateRef},
    workflowservice::{
        PollWorkflowExecutionUpdateRequest, PollWorkflowExecutionUpdateResponse, UpdateWorkflowExecutionRequest,
        UpdateWorkflowExecutionResponse,
    },
};
use sempre_core::{
    Input, Refusal, Reply, RunId, RunKey, Span, Timestamp, WorkflowKey,
    input::UpdateRequest,
    transition::{UpdateNews, UpdateStatus},
    update,
};
use tokio::sync::oneshot;

use super::{looked_up, workflow_of};
use crate::{
    Engine,
    history::{read::PAGE_BYTES, slice::PageLimit},
    shard::message::Ask,
    shared::{STOPPING, Shared, internal},
};

/// Why the answer to a rejected update links to the run and to no event.
const REJECTED: &str = "Update rejected";
/// What is told of an update of which nothing is known any more.
const ABORTED: &str = "workflow update was aborted";
/// Pause before an update is sent again that its run has forgotten.
const AGAIN: Span = Span::millis(20);
/// How often the pause doubles for a caller whom nobody tells: more wait than are remembered, or the shard has started over.
const DOUBLINGS_MAX: u32 = 6;

/// How far an update has come.
pub(super) struct Reached {
    pub(super) run: RunId,
    pub(super) stage: Stage,
    pub(super) outcome: Option<Outcome>,
    event: Option<Event>,
}

/// What the answer links to.
enum Event {
    /// The UpdateAccepted event of this id.
    Accepted(i64),
    /// The event that has this request id, of the update itself or attached to it.
    Request(String),
    /// None: the update was rejected.
    None,
}

impl Reached {
    fn completed(run: RunId, outcome: Outcome) -> Self {
        Self { run, stage: Stage::Completed, outcome: Some(outcome), event: None }
    }

    fn link(&self, namespace: &str, workflow_id: &str) -> Option<Link> {
        let event_type = EventType::WorkflowExecutionUpdateAccepted as i32;
        let (namespace, workflow_id, run_id) = (namespace.to_owned(), workflow_id.to_owned(), self.run.to_string());
        let reference = match self.event.as_ref()? {
            Event::Accepted(event_id) => Reference::EventRef(EventReference { event_id: *event_id, event_type }),
            Event::Request(id) => Reference::RequestIdRef(RequestIdReference { request_id: id.clone(), event_type }),
            Event::None => {
                let reason = REJECTED.to_owned();
                let variant = Some(Variant::Workflow(link::Workflow { namespace, workflow_id, run_id, reason }));
                return Some(Link { variant });
            }
        };
        let event = link::WorkflowEvent { namespace, workflow_id, run_id, reference: Some(reference) };
        Some(Link { variant: Some(Variant::WorkflowEvent(event)) })
    }

    fn reference(&self, workflow_id: String, update_id: String) -> UpdateRef {
        let workflow_execution = Some(WorkflowExecution { workflow_id, run_id: self.run.to_string() });
        UpdateRef { workflow_execution, update_id }
    }

    pub(super) fn response(self, namespace: &str, workflow_id: String, update_id: String) -> UpdateWorkflowExecutionResponse {
        UpdateWorkflowExecutionResponse {
            link: self.link(namespace, &workflow_id),
            update_ref: Some(self.reference(workflow_id, update_id)),
            stage: self.stage as i32,
            outcome: self.outcome,
        }
    }
}

/// What is asked about an update, as often as needed.
pub(super) enum Question {
    /// Send it, or find it.
    Send(UpdateRequest),
    /// Find it.
    Find(String),
}

impl Question {
    /// An accepted update is not sent again: a run that refuses updates now still completes it.
    fn input(&self, accepted: bool) -> Input {
        match self {
            Self::Send(request) if !accepted => Input::Update(Box::new(request.clone())),
            _ => Input::PollUpdate { update_id: self.update_id().into() },
        }
    }

    /// What the caller is told if an update that a run has heard of is refused so when it is asked for again. It may be accepted, even if no
    /// news of that came; and if its id is the server's own, whoever is sent it would take it for another.
    fn again(&self, refusal: Refusal) -> Refusal {
        match (self, refusal) {
            (Self::Send(_), Refusal::Elsewhere { .. }) => Refusal::Unavailable(ABORTED.into()),
            (_, refusal) => refusal,
        }
    }

    /// The event by which an accepted update is known to have heard this question. Request ids are kept for callbacks.
    fn event(&self) -> Option<Event> {
        match self {
            Self::Send(request) if !request.request.completion_callbacks.is_empty() => {
                Some(Event::Request(request.request.request_id.clone()))
            }
            _ => None,
        }
    }

    fn update_id(&self) -> &str {
        match self {
            Self::Send(request) => request.request.meta.as_ref().map_or("", |meta| &meta.update_id),
            Self::Find(update_id) => update_id,
        }
    }
}

/// An answer about an update, and where news of it come.
pub(super) struct First {
    pub(super) run: RunId,
    pub(super) status: UpdateStatus,
    pub(super) news: oneshot::Receiver<UpdateNews>,
}

/// Until when a caller waits.
pub(super) struct Patience {
    /// Then it is told how far the update is.
    until: Timestamp,
    /// Then it has given up.
    deadline: Option<Timestamp>,
}

impl Patience {
    fn end(&self) -> Timestamp {
        self.deadline.map_or(self.until, |deadline| deadline.min(self.until))
    }
}

impl Engine {
    /// `UpdateWorkflowExecution`; `deadline` is when the caller gives up.
    pub async fn update_workflow(
        &self,
        mut request: UpdateWorkflowExecutionRequest,
        deadline: Option<Timestamp>,
    ) -> Result<UpdateWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, run) = workflow_of(namespace.id(), request.workflow_execution.take())?;
        let limits = self.shared.settings.limits_of(&request.namespace);
        let stage = update::validate(&mut request, || self.poll_id(), limits)?;
        let name = request.namespace.clone();
        let (question, update_id) = question(request)?;
        let patience = self.patience(deadline);
        let reached = self.follow_update(&workflow, run, &question, stage, &patience).await?;
        Ok(reached.response(&name, workflow.workflow_id, update_id))
    }

    /// `PollWorkflowExecutionUpdate`; `deadline` is when the caller gives up.
    pub async fn poll_update(
        &self,
        request: PollWorkflowExecutionUpdateRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollWorkflowExecutionUpdateResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (update, stage) = update::validate_poll(request)?;
        let (workflow, run) = looked_up(namespace.id(), update.workflow_execution)?;
        let question = Question::Find(update.update_id.clone());
        let patience = self.patience(deadline);
        let reached = self.follow_update(&workflow, run, &question, stage, &patience).await?;
        Ok(PollWorkflowExecutionUpdateResponse {
            update_ref: Some(reached.reference(workflow.workflow_id, update.update_id)),
            stage: reached.stage as i32,
            outcome: reached.outcome,
        })
    }

    pub(super) fn patience(&self, deadline: Option<Timestamp>) -> Patience {
        Patience { until: self.wall_now() + self.shared.settings.history_wait, deadline }
    }

    /// Asks, and waits until the update has reached the stage, or as long as the caller is to wait (spec 02 §7.4).
    pub(super) async fn follow_update(
        &self,
        workflow: &WorkflowKey,
        run: Option<RunId>,
        question: &Question,
        wanted: Stage,
        patience: &Patience,
    ) -> Result<Reached, Refusal> {
        self.follow_from(None, workflow, run, question, wanted, patience).await
    }

    /// As [`Engine::follow_update`]; the first answer may be there already.
    pub(super) async fn follow_from(
        &self,
        mut first: Option<First>,
        workflow: &WorkflowKey,
        run: Option<RunId>,
        question: &Question,
        wanted: Stage,
        patience: &Patience,
    ) -> Result<Reached, Refusal> {
        let shared = &self.shared;
        let (mut target, mut accepted, mut untold) = (run, false, 0);
        // A run has heard of it.
        let mut sent = false;
        loop {
            let First { run: run_id, status, news: receiver } = match first.take() {
                Some(first) => first,
                None => {
                    let (sender, news) = oneshot::channel();
                    let asked = shared.ask_reply(workflow.clone(), target, Ask::Update(question.input(accepted), sender)).await;
                    let (run, reply, _) = asked.map_err(|refusal| if sent { question.again(refusal) } else { refusal })?;
                    let Reply::Update(status) = reply else { return Err(internal("an update")) };
                    First { run, status, news }
                }
            };
            let stage = match status {
                UpdateStatus::Completed { event_id } => {
                    let completed = shared.update_completed(&RunKey { workflow: workflow.clone(), run: run_id }, event_id).await?;
                    let event = Some(Event::Accepted(completed.accepted_event_id));
                    return Ok(Reached { event, ..Reached::completed(run_id, completed.outcome) });
                }
                UpdateStatus::Failed(outcome) => return Ok(Reached::completed(run_id, *outcome)),
                UpdateStatus::Accepted => Stage::Accepted,
                UpdateStatus::Admitted => Stage::Admitted,
            };
            sent = true;
            accepted = stage == Stage::Accepted;
            if accepted {
                target = Some(run_id);
            }
            let event = if accepted { question.event() } else { None };
            let reached = Reached { run: run_id, stage, outcome: None, event };
            if stage as i32 >= wanted as i32 {
                return Ok(reached);
            }
            let news = tokio::select! {
                biased;
                () = shared.wall.sleep_until(patience.end()) => {
                    let given_up = patience.deadline.is_some_and(|deadline| deadline < patience.until);
                    return if given_up { Err(Refusal::DeadlineExceeded("context deadline exceeded".into())) } else { Ok(reached) };
                }
                news = receiver => news,
            };
            if news.is_err() && shared.stopping.load(Ordering::Acquire) {
                return Err(Refusal::Unavailable(STOPPING.into()));
            }
            let Ok(news) = news else {
                let pause = Span(AGAIN.0 << untold);
                untold = (untold + 1).min(DOUBLINGS_MAX);
                shared.wall.sleep_until(patience.end().min(self.wall_now() + pause)).await;
                continue;
            };
            match news {
                UpdateNews::Completed(outcome) => return Ok(Reached { event: question.event(), ..Reached::completed(run_id, *outcome) }),
                UpdateNews::Rejected(outcome) => {
                    return Ok(Reached { event: Some(Event::None), ..Reached::completed(run_id, *outcome) });
                }
                UpdateNews::Accepted if wanted != Stage::Completed => {
                    return Ok(Reached { stage: Stage::Accepted, event: question.event(), ..reached });
                }
                UpdateNews::Accepted => (target, accepted) = (Some(run_id), true),
                UpdateNews::Aborted(refusal) => return Err(refusal),
                // The next run of the chain is current now, unless the caller means this one.
                UpdateNews::Continued(_) if run.is_none() && matches!(question, Question::Send(_)) => target = None,
                UpdateNews::Continued(refusal) => return Err(refusal),
                UpdateNews::Lost if shared.stopping.load(Ordering::Acquire) => return Err(Refusal::Unavailable(STOPPING.into())),
                UpdateNews::Lost if stage == Stage::Accepted || matches!(question, Question::Send(_)) => {
                    shared.wall.sleep_until(patience.end().min(self.wall_now() + AGAIN)).await;
                }
                UpdateNews::Lost => return Err(Refusal::Unavailable(ABORTED.into())),
            }
        }
    }
}

/// The question that a checked request asks, and the update's id.
pub(super) fn question(request: UpdateWorkflowExecutionRequest) -> Result<(Question, String), Refusal> {
    let update = request.request.ok_or_else(|| internal("a checked update"))?;
    let update_id = update.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default();
    let request = UpdateRequest { request: Box::new(update), first_run_id: request.first_execution_run_id };
    Ok((Question::Send(request), update_id))
}

/// What an UpdateCompleted event says.
pub(crate) struct UpdateCompleted {
    pub(crate) outcome: Outcome,
    /// When, ns.
    pub(crate) time: i64,
    accepted_event_id: i64,
}

impl Shared {
    /// Reads an UpdateCompleted event.
    pub(crate) async fn update_completed(&self, run: &RunKey, event_id: i64) -> Result<UpdateCompleted, Refusal> {
        let page = self.read_page(run, event_id, event_id + 1, PageLimit { events: 1, bytes: PAGE_BYTES }).await?;
        let frame = page.chunks.first().cloned().unwrap_or_default();
        let event = sempre_api::frame_body(frame).ok().and_then(|body| HistoryEvent::decode(body).ok());
        let time = event.as_ref().and_then(|event| event.event_time.as_ref()).map_or(0, |time| Timestamp::from_api(time).0);
        match event.and_then(|event| event.attributes) {
            Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a)) => {
                Ok(UpdateCompleted { outcome: a.outcome.unwrap_or_default(), time, accepted_event_id: a.accepted_event_id })
            }
            _ => Err(internal("an UpdateCompleted event")),
        }
    }
}
