//! One run's state machine: inputs in, transitions out.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use bytes::Bytes;
use sempre_api::v1::{command::command::Attributes, enums::WorkflowExecutionStatus, history::HistoryEvent, query::WorkflowQuery};

use crate::{
    Context, Input, Refusal, RunKey, Timestamp, Transition, activity, alone, cancel,
    child::{self, ChildHeir, ChildStart},
    deadline, external, flow, nexus, options, pause, query, retry, signal, size, standalone,
    state::{State, Task, rows::LoadError, rows::RowChange},
    step::Step,
    task, terminate, time_skipping,
    transition::{OfferKey, QueueKind, QueueName},
    update, versioning, wake,
};

/// One run.
#[derive(Debug)]
pub struct Execution {
    pub(crate) key: RunKey,
    pub(crate) state: State,
    /// Request ids of all signals of the run (spec 04 §2): grows only, rows of its own.
    pub(crate) signal_ids: BTreeSet<String>,
    /// Queries that wait for a workflow task, by the engine's id. Memory only: the engine keeps a run
    /// with waiting queries in its cache.
    pub(crate) queries: BTreeMap<u64, Box<WorkflowQuery>>,
    /// Updates that are admitted and not accepted, in order of admission. Memory only, except those that an event has
    /// admitted: these are found again in the derived half.
    pub(crate) updates: Vec<update::Waiting>,
    /// Pages of the started task's completion that have come so far. Memory only: the worker sends them again.
    pub(crate) pages: Option<Box<task::pages::Pages>>,
}

impl Execution {
    /// Applies one input. `Err`: nothing has changed.
    pub fn apply(&mut self, mut input: Input, cx: &mut Context<'_>) -> Result<Transition, Refusal> {
        cut_failures(&mut input);
        alone::admits(self, &input)?;
        let mut step = Step::new(self, cx);
        step.begin = size::Begin::new(&step, &input);
        let reply = match input {
            Input::Signal(request) => signal::signal(&mut step, *request),
            Input::RequestCancel(request) => cancel::request_cancel(&mut step, *request),
            Input::Terminate(request) => terminate::terminate(&mut step, *request),
            Input::StartWorkflowTask { scheduled_event_id, stamp, sticky, poller } => {
                task::start::start(&mut step, scheduled_event_id, stamp, sticky, poller)
            }
            Input::CompleteWorkflowTask(token, request) => task::complete::complete(&mut step, &token, *request),
            Input::FailWorkflowTask(token, request) => task::fail::fail(&mut step, &token, *request),
            Input::WorkflowTaskLost { request_id } => task::lost::workflow_task(&mut step, &request_id),
            Input::ActivityTaskLost { scheduled_event_id, request_id } => activity::lost(&mut step, scheduled_event_id, &request_id),
            Input::StartActivityTask { scheduled_event_id, stamp, poller } => activity::start(&mut step, scheduled_event_id, stamp, poller),
            Input::CompleteActivity { target, result, identity } => activity::complete(&mut step, &target, result, identity),
            Input::FailActivity { target, failure, last_heartbeat_details, identity } => {
                activity::fail(&mut step, &target, failure, last_heartbeat_details, identity)
            }
            Input::CancelActivity { target, details, identity } => activity::cancel(&mut step, &target, details, identity),
            Input::Heartbeat { target, details, identity } => activity::heartbeat(&mut step, &target, details, identity),
            Input::Pause(request) => pause::pause(&mut step, *request),
            Input::Unpause(request) => pause::unpause(&mut step, *request),
            Input::PauseActivity(which, request) => activity::operate::pause(&mut step, &which, &request),
            Input::UnpauseActivity(which, request) => activity::operate::unpause(&mut step, &which, &request),
            Input::ResetActivity(which, request) => activity::operate::reset(&mut step, &which, &request),
            Input::RunActivityNow(which) => activity::operate::run_now(&mut step, &which),
            Input::UpdateActivityOptions(which, request) => activity::options::update(&mut step, &which, *request),
            Input::CancelActivityRun(request) => standalone::cancel(&mut step, *request),
            Input::TerminateActivityRun(request) => standalone::terminate(&mut step, *request),
            Input::CancelOperationRun(request) => nexus::alone::cancel(&mut step, *request),
            Input::TerminateOperationRun(request) => nexus::alone::terminate(&mut step, *request),
            Input::ResetSticky => task::reset_sticky(&mut step),
            Input::Query { id, query, reject_condition, until } => query::query(&mut step, id, query, reject_condition, until),
            Input::DropQuery { id } => query::drop_query(&mut step, id),
            Input::Update(request) => update::update(&mut step, *request),
            Input::PollUpdate { update_id } => update::poll(&mut step, &update_id),
            Input::Wake => wake::wake(&mut step),
            Input::ReleaseFirstTask => task::release_first(&mut step),
            Input::FlowRelease => flow::hold::release(&mut step),
            Input::CompleteOperation(completion) => nexus::completed(&mut step, *completion),
            Input::ChildClosed(news) => child::closed(&mut step, *news),
            Input::UpdateOptions(request) => options::request(&mut step, *request),
            Input::Delivered { outbox_id, delivery } => external::delivered(&mut step, outbox_id, delivery),
        }?;
        Ok(step.finish(reply))
    }

    /// Takes the state rows that changed since the last call.
    pub fn take_rows(&mut self) -> Vec<RowChange> {
        self.state.take_rows()
    }

    /// Puts a run together from its rows. They must be of the workflow that `key` names.
    pub fn load(key: RunKey, rows: Vec<(u8, u64, Bytes)>) -> Result<Self, LoadError> {
        let (state, signal_ids) = State::load(rows)?;
        let own_namespace = state.progress.main.namespace_id == key.workflow.namespace.0.0[..];
        if !own_namespace || state.derived.start.event().workflow_id != key.workflow.workflow_id {
            return Err(LoadError::OtherWorkflow);
        }
        let updates = update::admitted_by_events(&state);
        Ok(Self { key, state, signal_ids, queries: BTreeMap::new(), updates, pages: None })
    }

    /// Which run this is.
    pub fn key(&self) -> &RunKey {
        &self.key
    }

    /// What it knows of the start of the child that it has asked for by this event.
    pub fn child_start(&self, initiated_event_id: i64) -> ChildStart {
        child::start_of(&self.state, initiated_event_id)
    }

    /// Whether it lets a child go that was started for a run which a reset has ended and in whose place it is.
    pub fn child_heir(&self, initiated_event_id: i64, run_id: &str) -> ChildHeir {
        child::heir_says(&self.state, initiated_event_id, run_id)
    }

    /// Has no close event yet.
    pub fn is_open(&self) -> bool {
        self.state.derived.is_open()
    }

    /// Status as the API has it.
    pub fn status(&self) -> WorkflowExecutionStatus {
        match self.state.derived.status() {
            WorkflowExecutionStatus::Running if self.is_paused() => WorkflowExecutionStatus::Paused,
            WorkflowExecutionStatus::Paused if !self.is_paused() => WorkflowExecutionStatus::Running,
            status => status,
        }
    }

    /// The normal queue of its workflow tasks, or that queue's line for the version that the run is pinned to.
    pub fn normal_queue(&self) -> QueueName {
        let version = versioning::workflow_routing(&self.state).and_then(|routing| routing.pinned.clone());
        let name = self.state.derived.start.task_queue().into();
        QueueName { namespace: self.key.workflow.namespace, name, kind: QueueKind::Workflow, sticky: false, version }
    }

    /// A task of the run waits for a worker at the place of this offer, under whatever queue's name. Attempts that follow one
    /// another may have the same place.
    pub fn waits_at(&self, offer: &OfferKey, activity: bool) -> bool {
        let progress = &self.state.progress;
        let waits = if activity {
            progress.activities.get(&offer.scheduled_event_id).map(|activity| (activity.offered_at, activity.ranked))
        } else {
            let task = progress.main.task.as_deref().filter(|task| task.scheduled_event_id == offer.scheduled_event_id);
            task.map(|task| (task.offered_at, task.ranked))
        };
        self.is_open() && waits.is_some_and(|(time, ranked)| time != 0 && time == offer.time.0 && ranked == offer.is_ranked())
    }

    /// Is open and paused: no workflow task is scheduled, no activity offered, no update admitted (spec 01 §15).
    pub fn is_paused(&self) -> bool {
        self.is_open() && pause::is_paused(&self.state)
    }

    /// A signal with this request id has come to the run.
    pub fn saw_signal(&self, request_id: &str) -> bool {
        self.signal_ids.contains(request_id)
    }

    /// The run in whose place it goes on.
    pub fn continues(&self) -> Option<crate::RunId> {
        crate::RunId::parse(&self.state.derived.start.event().continued_execution_run_id)
    }

    /// Id the next event gets: one more than the last stored event's.
    pub fn next_event_id(&self) -> i64 {
        self.state.derived.main.next_event_id
    }

    /// First run of the chain, textual.
    pub fn first_run_id(&self) -> &str {
        &self.state.derived.start.event().first_execution_run_id
    }

    /// Time of the deadline row that the store should have, by the wall clock.
    pub fn armed_deadline(&self) -> Option<Timestamp> {
        Some(Timestamp(self.state.progress.main.armed)).filter(|t| t.0 != 0)
    }

    /// When the retention of a closed run ends, by the wall clock; `None` while it is open.
    pub fn retention_end(&self) -> Option<Timestamp> {
        let end = (!self.is_open()).then_some(Timestamp(self.state.progress.main.delete_at)).filter(|t| t.0 != 0);
        end.map(|end| time_skipping::on_the_wall(&self.state, end))
    }

    /// What its row in table Flow says: the flow rules that are about it. `None`: it has no row.
    pub fn flow(&self) -> Option<&flow::FlowProgress> {
        flow::hold::row(self)
    }

    /// Holds what is not in the store (waiting queries, admitted updates, a speculative task, pages of a completion): the
    /// engine keeps it in memory.
    pub fn has_memory_state(&self) -> bool {
        !self.queries.is_empty() || self.has_updates_in_memory() || self.speculative().is_some() || self.pages.is_some()
    }

    /// Rough size in memory of the pages of a completion that have come so far. Not part of [`Execution::weight`]: they
    /// have a budget of their own, because no eviction makes room for them.
    pub fn pages_weight(&self) -> usize {
        self.pages.as_ref().map_or(0, |pages| pages.weight())
    }

    /// Holds updates that are not in the store. Those who wait for them send them again if they are lost, so a run
    /// need not stay in memory for updates that nobody waits for: see [`Execution::forget_updates`].
    pub fn has_updates_in_memory(&self) -> bool {
        self.updates.iter().any(update::Waiting::is_in_memory_only)
    }

    /// Forgets the updates that only memory has, except those of which `watched` says that somebody waits for them and
    /// those that the started workflow task was given. Nothing that is stored changes.
    pub fn forget_updates(&mut self, mut watched: impl FnMut(&str) -> bool) {
        update::forget_unwatched(self, &mut watched);
    }

    /// When the run must be given [`Input::Wake`] although no deadline row says so: its speculative task times out.
    pub fn memory_deadline(&self) -> Option<Timestamp> {
        self.speculative().and_then(|_| deadline::task(&self.state)).map(|(at, _)| time_skipping::on_the_wall(&self.state, at))
    }

    fn speculative(&self) -> Option<&Task> {
        self.state.progress.main.task.as_deref().filter(|task| task.speculative)
    }

    /// Rough size in memory, for the cache's budget.
    pub fn weight(&self) -> usize {
        let state = &self.state;
        let payloads: usize = state.derived.activities.values().map(|a| 400 + prost::Message::encoded_len(a.as_ref())).sum();
        1500 + self.key.workflow.workflow_id.len()
            + payloads
            + 300 * state.progress.activities.len()
            + 160 * state.derived.timers.len()
            + state.derived.operations.values().map(|o| 600 + prost::Message::encoded_len(o.as_ref())).sum::<usize>()
            + 400 * state.derived.children.len()
            + 300 * state.derived.externals.len()
            + 80 * self.signal_ids.len()
            + 250 * state.derived.updates.len()
            + self.updates.iter().map(update::Waiting::bytes).sum::<usize>()
            + state.progress.buffer.bytes()
    }

    /// Events of a transient or speculative workflow task, which history does not have (spec 04 §7.2).
    pub fn virtual_events(&self) -> Vec<HistoryEvent> {
        task::virtual_events(&self.state)
    }

    /// The state, for tests and the simulator.
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// Cuts chains of causes that could not be read back ([`retry::CAUSES_MAX`]) in every failure that becomes an event.
fn cut_failures(input: &mut Input) {
    match input {
        Input::FailActivity { failure: Some(failure), .. } => retry::cut_causes(failure),
        Input::FailWorkflowTask(_, request) => request.failure.iter_mut().for_each(retry::cut_causes),
        Input::CompleteWorkflowTask(_, request) => {
            for command in &mut request.commands {
                let failure = match &mut command.attributes {
                    Some(Attributes::FailWorkflowExecutionCommandAttributes(a)) => a.failure.as_mut(),
                    Some(Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a)) => a.failure.as_mut(),
                    Some(Attributes::RecordMarkerCommandAttributes(a)) => a.failure.as_mut(),
                    _ => None,
                };
                failure.into_iter().for_each(retry::cut_causes);
            }
        }
        _ => {}
    }
}
