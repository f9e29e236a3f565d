//! A world of runs for tests: core's inputs by hand, a manual clock, and the bookkeeping an engine would do.
//!
//! Every step is checked: a refusal changes nothing; history rebuilds to the derived half; the rows load to the
//! same run (with which the world goes on); event ids have no gaps; offers, deadlines and messages are
//! taken back exactly once. A transition that claims to need no commit must have nothing to commit.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of the harness")]

pub mod commands;
pub mod flow;
pub mod history;
pub mod options;
pub mod outbox;
pub mod own_time;
pub mod reset;
pub mod updates;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    command::Command,
    common::{Callback, Payload, Payloads, WorkflowType, callback},
    deployment::WorkerDeploymentOptions,
    enums::{VersioningBehavior, WorkerVersioningMode, WorkflowTaskFailedCause},
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    history::HistoryEvent,
    taskqueue::{StickyExecutionAttributes, TaskQueue},
    workflowservice::{
        PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest,
        RespondWorkflowTaskFailedRequest, StartActivityExecutionRequest, StartActivityExecutionResponse,
        StartNexusOperationExecutionRequest, StartNexusOperationExecutionResponse, StartWorkflowExecutionRequest,
        StartWorkflowExecutionResponse,
    },
};
use sempre_core::{
    Context, Execution, IdSource, Input, Limits, NamespaceId, NamespaceView, Refusal, RunId, RunKey, Span, StartInput, StartOutcome,
    TaskToken, Timestamp, Transition, Version, WorkflowKey,
    cron::{CronTable, InvalidCron},
    ids::Uuid,
    input::{ActivityTarget, CancelRequest, PauseRequest, Poller, SignalRequest, TerminateRequest, UpdateRequest},
    nexus::{self, EndpointTable},
    standalone, start,
    state::{Derived, rows::Dirty},
    transition::{
        CallbackCall, CallbackResult, CurrentRecord, HistoryWindow, Offer, OperationCall, OperationCancelResult, OperationResult,
        OutboxEntry, QueryRoute, QueueKind, Reply, UpdateNews, UpdateStatus,
    },
    update::update_with_start,
    validate::AddressRule,
    visibility::{self, AttributeType, Record},
};

/// The queue of workflows and activities that name none.
pub const QUEUE: &str = "queue";
/// The worker that polls.
pub const WORKER: &str = "worker";

/// A span of whole seconds.
pub const fn secs(seconds: i64) -> Span {
    Span::seconds(seconds)
}

/// As the API writes it.
pub fn duration(seconds: i64) -> Option<sempre_api::Duration> {
    Some(secs(seconds).to_api())
}

/// One payload with this text.
pub fn payload(text: &str) -> Payload {
    Payload {
        metadata: [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into(),
        data: Bytes::copy_from_slice(text.as_bytes()),
        ..Default::default()
    }
}

/// What the namespace of these tests defines.
fn search_attributes() -> BTreeMap<String, AttributeType> {
    let types = [("Number", AttributeType::Int), ("Key", AttributeType::Int), ("Word", AttributeType::Keyword)];
    types.map(|(name, kind)| (name.to_owned(), kind)).into()
}

/// Payloads of one with this text.
pub fn payloads(text: &str) -> Option<Payloads> {
    Some(Payloads { payloads: vec![payload(text)] })
}

/// An application failure.
pub fn failure(message: &str) -> Failure {
    Failure {
        message: message.into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
        ..Default::default()
    }
}

/// An application failure with more to it.
pub fn failure_with(message: &str, change: impl FnOnce(&mut ApplicationFailureInfo)) -> Failure {
    let mut info = ApplicationFailureInfo::default();
    change(&mut info);
    Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..failure(message) }
}

/// Changes a value in place.
pub fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

#[derive(Default)]
struct CountingIds(u64);

impl IdSource for CountingIds {
    fn random(&mut self) -> [u8; 16] {
        self.0 += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }
}

/// Ticks at every whole minute, whatever the text; `never` has no tick, `bad` does not parse.
struct EveryMinute;

impl CronTable for EveryMinute {
    fn next(&self, spec: &str, after: Timestamp) -> Result<Option<Timestamp>, InvalidCron> {
        const MINUTE: i64 = 60_000_000_000;
        match spec {
            "bad" => Err(InvalidCron),
            "never" => Ok(None),
            _ => Ok(Some(Timestamp((after.0.div_euclid(MINUTE) + 1) * MINUTE))),
        }
    }
}

/// The endpoint that commands may name.
pub const ENDPOINT: &str = "endpoint";

/// [`ENDPOINT`] only.
struct Endpoints;

impl EndpointTable for Endpoints {
    fn id_of(&self, name: &str) -> Option<String> {
        (name == ENDPOINT).then(|| "endpoint-id".into())
    }
}

/// A run and what the store would hold of it.
pub struct Run {
    pub execution: Execution,
    rows: BTreeMap<(u8, u64), Bytes>,
    frames: Vec<Bytes>,
    /// Last events of what was written together.
    ends: Vec<usize>,
    pub deadline: Option<Timestamp>,
    /// The last transition was not one to commit: what it did to the pending task is in memory only.
    volatile: bool,
    /// What lists show of it, and how often that was written.
    pub record: Record,
    pub records: usize,
}

impl Run {
    /// What the store holds of it: state rows, and the frames of its history.
    pub fn stored(&self) -> (&BTreeMap<(u8, u64), Bytes>, &[Bytes]) {
        (&self.rows, &self.frames)
    }

    /// Its history as it was written.
    pub fn batches(&self) -> Vec<Bytes> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(from, to)| self.frames[from..*to].concat().into()).collect()
    }

    /// Forgets what is in memory only.
    fn restart(&mut self) {
        let rows = self.rows.iter().map(|((kind, number), value)| (*kind, *number, value.clone())).collect();
        self.execution = Execution::load(self.execution.key().clone(), rows).expect("rows load");
    }

    pub fn events(&self) -> Vec<HistoryEvent> {
        let body = |frame: &Bytes| sempre_api::frame_body(frame.clone()).expect("a frame");
        self.frames.iter().map(|f| HistoryEvent::decode(body(f)).expect("an event")).collect()
    }
}

/// A workflow task in a worker's hands.
#[derive(Clone, Debug)]
pub struct WorkflowTask {
    pub workflow_id: String,
    pub token: TaskToken,
    pub response: PollWorkflowTaskQueueResponse,
    /// All events it brings.
    pub events: Vec<HistoryEvent>,
}

/// An activity attempt in a worker's hands.
#[derive(Clone, Debug)]
pub struct ActivityTask {
    pub workflow_id: String,
    pub token: TaskToken,
    pub response: PollActivityTaskQueueResponse,
}

impl ActivityTask {
    pub fn target(&self) -> ActivityTarget {
        ActivityTarget::Token(self.token.clone())
    }
}

/// What a completion brought back.
#[derive(Debug)]
pub struct Completed {
    pub inline: Option<WorkflowTask>,
    pub activities: Vec<ActivityTask>,
}

/// Runs, clock, queues.
pub struct World {
    pub now: Timestamp,
    pub limits: Limits,
    pub namespace: NamespaceView,
    ids: CountingIds,
    pub runs: BTreeMap<RunId, Run>,
    /// All runs of a workflow id, oldest first.
    pub chains: BTreeMap<String, Vec<RunId>>,
    pub current: BTreeMap<String, CurrentRecord>,
    pub offers: Vec<Offer>,
    /// Messages not delivered yet.
    pub outbox: Vec<(RunKey, OutboxEntry)>,
    /// Completion callbacks as they were sent.
    pub called_back: Vec<CallbackCall>,
    /// What those outside answer to the next of them; Delivered when nothing is said.
    pub callback_answers: VecDeque<CallbackResult>,
    /// Requests to start Nexus operations, and to cancel them, as they were sent.
    pub operations_started: Vec<OperationCall>,
    pub operations_canceled: Vec<OperationCall>,
    /// What the handler answers to the next of them; it starts them, and takes cancels, when nothing is said.
    pub operation_answers: VecDeque<OperationResult>,
    pub operation_cancel_answers: VecDeque<OperationCancelResult>,
    pub query_answers: Vec<(u64, Result<Option<Payloads>, Refusal>)>,
    pub queries_released: Vec<(u64, QueryRoute)>,
    /// News of updates, by update id.
    pub update_news: Vec<(String, UpdateNews)>,
    pub polls: u64,
    /// The version of the workers that poll from now on.
    pub worker: Option<Arc<Version>>,
    /// What they say of the workflow type.
    pub behavior: VersioningBehavior,
    /// The lines of flow rules.
    pub gate: flow::Lines,
    /// Rows of table Flow.
    pub flow_rows: BTreeMap<RunId, sempre_core::flow::FlowProgress>,
}

/// What a worker of this version says that it is.
fn options_of(version: &Version) -> WorkerDeploymentOptions {
    WorkerDeploymentOptions {
        deployment_name: version.deployment.clone(),
        build_id: version.build_id.clone(),
        worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
    }
}

impl Default for World {
    fn default() -> Self {
        let id = NamespaceId(Uuid([7; 16]));
        Self {
            now: Timestamp::from_millis(1_700_000_040_000),
            limits: Limits { continue_as_new_interval_min: Span::ZERO, waits_told_after: Span::ZERO, ..Limits::default() },
            namespace: NamespaceView {
                id,
                name: "default".into(),
                retention: secs(86_400),
                search_attributes: search_attributes(),
                deployments: Arc::default(),
                flow: sempre_core::flow::rule::no_rules(),
                rules: sempre_core::rules::no_rules(),
                search_attribute_names: Default::default(),
                bad_binaries: Default::default(),
            },
            ids: CountingIds::default(),
            runs: BTreeMap::new(),
            chains: BTreeMap::new(),
            current: BTreeMap::new(),
            offers: Vec::new(),
            outbox: Vec::new(),
            called_back: Vec::new(),
            callback_answers: VecDeque::new(),
            operations_started: Vec::new(),
            operations_canceled: Vec::new(),
            operation_answers: VecDeque::new(),
            operation_cancel_answers: VecDeque::new(),
            query_answers: Vec::new(),
            queries_released: Vec::new(),
            update_news: Vec::new(),
            polls: 0,
            worker: None,
            behavior: VersioningBehavior::Unspecified,
            gate: flow::Lines::default(),
            flow_rows: BTreeMap::new(),
        }
    }
}

macro_rules! context {
    ($world:expr) => {
        &mut Context {
            now: $world.now,
            ids: &mut $world.ids,
            limits: &$world.limits,
            cron: &EveryMinute,
            endpoints: &Endpoints,
            ranks: &sempre_core::transition::NoRanks,
            gate: &$world.gate,
            namespace: &$world.namespace,
        }
    };
}

/// A start request for workflow id `id` with type `Type` on [`QUEUE`]; the request id is new each time.
pub fn start_request(id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: QUEUE.into(), ..Default::default() }),
        identity: "starter".into(),
        ..Default::default()
    }
}

impl World {
    pub fn new() -> Self {
        Self::default()
    }

    /// A world whose callbacks may go anywhere.
    pub fn with_callbacks() -> Self {
        let mut world = Self::new();
        world.limits.callback_addresses = vec![AddressRule { pattern: "*".into(), allow_insecure: true }];
        world
    }

    pub fn key(&self, workflow_id: &str) -> WorkflowKey {
        WorkflowKey { namespace: self.namespace.id, workflow_id: workflow_id.into() }
    }

    /// Run id of the workflow id's current run.
    pub fn current_run(&self, workflow_id: &str) -> RunId {
        self.current.get(workflow_id).unwrap_or_else(|| panic!("no run of {workflow_id}")).run()
    }

    pub fn run(&self, workflow_id: &str) -> &Run {
        &self.runs[&self.current_run(workflow_id)]
    }

    // --- starts ---

    /// Starts `id` plainly; the first task is offered.
    pub fn start(&mut self, id: &str) {
        self.start_with(start_request(id)).expect("a plain start");
    }

    /// Starts with the given request.
    pub fn start_with(&mut self, request: StartWorkflowExecutionRequest) -> Result<StartWorkflowExecutionResponse, Refusal> {
        self.start_input(StartInput { request: Box::new(request), signal: None, child_of: None, watcher: None })
            .map(|(response, _)| response)
    }

    /// Signal-with-start.
    pub fn signal_with_start(
        &mut self,
        request: StartWorkflowExecutionRequest,
        signal: SignalRequest,
    ) -> Result<StartWorkflowExecutionResponse, Refusal> {
        self.start_input(StartInput { request: Box::new(request), signal: Some(Box::new(signal)), child_of: None, watcher: None })
            .map(|(response, _)| response)
    }

    /// Starts; the eager task, if any, comes with its history.
    pub fn start_input(&mut self, mut input: StartInput) -> Result<(StartWorkflowExecutionResponse, Option<WorkflowTask>), Refusal> {
        if input.request.request_id.is_empty() {
            self.polls += 1;
            input.request.request_id = format!("start-{}", self.polls);
        }
        let id = match &input.child_of {
            Some(child) => child.request.workflow_id.clone(),
            None => input.request.workflow_id.clone(),
        };
        let key = self.key(&id);
        let record = self.current.get(&id).cloned();
        let mut open = record.as_ref().and_then(|r| self.runs.get_mut(&r.run())).filter(|run| run.execution.is_open());
        let before = open.as_ref().map(|run| run.execution.state().clone());
        let outcome = start(record.as_ref(), open.as_mut().map(|run| &mut run.execution), &key, input, context!(self));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                assert_eq!(before, open.map(|run| run.execution.state().clone()), "a refusal changes nothing");
                return Err(refusal);
            }
        };
        if let Some(transition) = outcome.existing {
            let run = record.as_ref().expect("an existing run has a record").run();
            self.commit(run, transition).expect("the run in the way gives way");
        }
        let made = outcome.created.map(|created| {
            let (execution, transition) = *created;
            self.insert(execution, transition)
        });
        match outcome.reply? {
            Reply::Started { mut response, eager } => {
                let task = response
                    .eager_workflow_task
                    .take()
                    .map(|task| self.workflow_task(made.unwrap_or_else(|| self.current_run(&id)), task, eager.expect("its window")));
                Ok((*response, task))
            }
            other => panic!("not an answer to a start: {other:?}"),
        }
    }

    /// Starts an activity that belongs to no workflow. The world knows it by the id that its runs are filed under.
    pub fn start_activity(&mut self, mut request: StartActivityExecutionRequest) -> Result<StartActivityExecutionResponse, Refusal> {
        if request.request_id.is_empty() {
            self.polls += 1;
            request.request_id = format!("start-{}", self.polls);
        }
        let key = standalone::key(self.namespace.id, &request.activity_id);
        match self.start_alone(&key, |current, open, cx| standalone::start(current, open, &key, request, cx))? {
            Reply::ActivityStarted(response) => Ok(*response),
            other => panic!("not an answer to a start: {other:?}"),
        }
    }

    /// Starts a Nexus operation that belongs to no workflow. The world knows it by the id that its runs are filed under.
    pub fn start_operation(
        &mut self,
        mut request: StartNexusOperationExecutionRequest,
    ) -> Result<StartNexusOperationExecutionResponse, Refusal> {
        if request.request_id.is_empty() {
            self.polls += 1;
            request.request_id = format!("start-{}", self.polls);
        }
        let key = nexus::alone::key(self.namespace.id, &request.operation_id);
        match self.start_alone(&key, |current, open, cx| nexus::alone::start(current, open, &key, request, cx))? {
            Reply::OperationStarted(response) => Ok(*response),
            other => panic!("not an answer to a start: {other:?}"),
        }
    }

    fn start_alone(
        &mut self,
        key: &WorkflowKey,
        start: impl FnOnce(Option<&CurrentRecord>, Option<&mut Execution>, &mut Context<'_>) -> Result<StartOutcome, Refusal>,
    ) -> Result<Reply, Refusal> {
        let record = self.current.get(&key.workflow_id).cloned();
        let open = record.as_ref().map(|record| record.run()).filter(|run| self.runs[run].execution.is_open());
        let mut run = open.and_then(|run| self.runs.get_mut(&run));
        let before = run.as_ref().map(|run| run.execution.state().clone());
        let outcome = start(record.as_ref(), run.as_mut().map(|run| &mut run.execution), context!(self));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                assert_eq!(before, run.map(|run| run.execution.state().clone()), "a refusal changes nothing");
                return Err(refusal);
            }
        };
        if let Some(transition) = outcome.existing {
            self.commit(open.expect("it was found open"), transition).expect("it takes what is attached");
        }
        if let Some(created) = outcome.created {
            let (execution, transition) = *created;
            self.insert(execution, transition);
        }
        outcome.reply
    }

    /// Update-with-start.
    pub fn update_with_start(
        &mut self,
        mut request: StartWorkflowExecutionRequest,
        update_id: &str,
    ) -> Result<(StartWorkflowExecutionResponse, UpdateStatus), Refusal> {
        if request.request_id.is_empty() {
            self.polls += 1;
            request.request_id = format!("start-{}", self.polls);
        }
        let key = self.key(&request.workflow_id);
        let record = self.current.get(&request.workflow_id).cloned();
        let mut run = record.as_ref().and_then(|r| self.runs.get_mut(&r.run()));
        let before = run.as_ref().map(|run| run.execution.state().clone());
        let input = StartInput { request: Box::new(request), signal: None, child_of: None, watcher: None };
        let update = UpdateRequest { request: Box::new(updates::update_request(update_id)), first_run_id: String::new() };
        let outcome = update_with_start(record.as_ref(), run.as_mut().map(|run| &mut run.execution), &key, input, update, context!(self));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                assert_eq!(before, run.map(|run| run.execution.state().clone()), "a refusal changes nothing");
                return Err(refusal);
            }
        };
        if let Some(transition) = outcome.existing {
            let run = record.as_ref().expect("an existing run has a record").run();
            self.commit(run, transition).expect("the current run takes the update or gives way");
        }
        if let Some(created) = outcome.created {
            let (execution, transition) = *created;
            self.insert(execution, transition);
        }
        Ok((*outcome.started, outcome.update))
    }

    fn insert(&mut self, execution: Execution, transition: Transition) -> RunId {
        self.insert_with(execution, transition, Vec::new(), Vec::new())
    }

    /// A run that begins with these frames, which were written together up to each of `ends`.
    fn insert_with(&mut self, execution: Execution, transition: Transition, frames: Vec<Bytes>, ends: Vec<usize>) -> RunId {
        let key = execution.key().clone();
        let id = key.run;
        self.chains.entry(key.workflow.workflow_id).or_default().push(id);
        let (rows, record) = (BTreeMap::new(), Record::default());
        let run = Run { execution, rows, frames, ends, deadline: None, volatile: false, record, records: 0 };
        assert!(self.runs.insert(id, run).is_none(), "run ids are new");
        self.commit(id, transition).expect("a new run refuses nothing");
        id
    }

    // --- one step ---

    /// Applies an input to the current run.
    pub fn apply(&mut self, workflow_id: &str, input: Input) -> Result<Reply, Refusal> {
        self.apply_to(self.current_run(workflow_id), input)
    }

    /// Applies an input to a run.
    pub fn apply_to(&mut self, id: RunId, input: Input) -> Result<Reply, Refusal> {
        let run = self.runs.get_mut(&id).expect("the run exists");
        let before = run.execution.state().clone();
        let result = run.execution.apply(input, context!(self));
        match result {
            Ok(transition) => self.commit(id, transition),
            Err(refusal) => {
                let after = self.runs[&id].execution.state();
                assert_eq!(&before, after, "a refusal changes nothing");
                Err(refusal)
            }
        }
    }

    fn commit(&mut self, id: RunId, transition: Transition) -> Result<Reply, Refusal> {
        let run = self.runs.get_mut(&id).expect("the run exists");
        let key = run.execution.key().clone();
        let rows = run.execution.take_rows();
        run.volatile = !transition.durable
            && (run.volatile
                || transition.volatile_offer.is_some()
                || run.execution.memory_deadline().is_some()
                || matches!(transition.reply, Ok(Reply::WorkflowTaskCompleted { .. })));
        if !transition.durable {
            let idle = rows.is_empty()
                && transition.history.is_empty()
                && transition.offers.is_empty()
                && transition.offers_gone.is_empty()
                && transition.outbox.is_empty()
                && transition.outbox_gone.is_empty()
                && transition.deadline.is_none()
                && transition.flow.is_none()
                && transition.successor.is_none();
            assert!(idle, "a transition that is not durable has nothing to commit: {transition:?} {rows:?}");
        }
        for row in rows {
            match row.value {
                Some(value) => run.rows.insert((row.kind, row.number), value),
                None => run.rows.remove(&(row.kind, row.number)),
            };
        }
        for batch in &transition.history {
            let mut rest = batch.frames.clone();
            while let Some(frame) = sempre_api::next_frame(&mut rest).expect("frames") {
                run.frames.push(frame);
            }
            assert_eq!(run.frames.len() as i64, batch.last_event_id, "a batch names its last event");
            run.ends.push(run.frames.len());
        }
        if let Some(change) = transition.deadline {
            assert_eq!(change.old, run.deadline, "a deadline change names the row that is there");
            run.deadline = change.new;
        }
        self.gate.changed(&key, transition.flow.as_ref(), &mut self.flow_rows);
        assert_eq!(self.flow_rows.get(&id), run.execution.flow(), "the row in table Flow says what the run says");
        if transition.delete_run {
            self.runs.remove(&id);
            return transition.reply;
        }
        assert_eq!(run.deadline, run.execution.armed_deadline(), "the deadline row is the armed one");
        if transition.listed {
            assert!(transition.durable, "what lists show is committed");
            run.record = run.execution.record();
            run.records += 1;
        }
        assert_eq!(run.record, with_numbers_of(run.execution.record(), &run.record), "lists show what is");
        run.check();
        if let Some(record) = transition.current {
            self.current.insert(key.workflow.workflow_id.clone(), record);
        }
        for gone in &transition.offers_gone {
            let at = self.offers.iter().position(|o| o.key == *gone && !o.volatile).unwrap_or_else(|| panic!("no such offer: {gone:?}"));
            self.offers.remove(at);
        }
        for offer in transition.volatile_offer.into_iter().map(|offer| *offer).chain(transition.offers) {
            // Taken by a poller already, or it gets a row.
            self.offers.retain(|o| !o.volatile || o.key != offer.key);
            assert!(self.offers.iter().all(|o| o.key != offer.key), "an offer's place is its own");
            self.offers.push(offer);
        }
        for gone in &transition.outbox_gone {
            let at = self.outbox.iter().position(|(from, entry)| *from == key && entry.id == *gone).expect("such a message");
            self.outbox.remove(at);
        }
        self.outbox.extend(transition.outbox.into_iter().map(|entry| (key.clone(), entry)));
        self.query_answers.extend(transition.query_answers);
        self.queries_released.extend(transition.queries_released);
        self.update_news.extend(transition.update_news);
        if let Some(successor) = transition.successor {
            let (execution, transition) = *successor;
            self.insert(execution, transition);
        }
        transition.reply
    }

    // --- the clock ---

    /// Moves the clock, waking every run at its deadline on the way.
    pub fn advance(&mut self, span: Span) {
        let end = self.now + span;
        for _ in 0..10_000 {
            let next = |run: &Run| run.deadline.into_iter().chain(run.execution.memory_deadline()).min();
            let due = self.runs.iter().filter_map(|(id, run)| Some((next(run)?, *id))).min().filter(|(at, _)| *at <= end);
            let Some((at, id)) = due else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.apply_to(id, Input::Wake).expect("waking is never refused");
            let after = self.runs.get(&id).and_then(next);
            // A run that skips time is due again at once.
            let skips = self.runs.get(&id).is_some_and(|run| run.execution.own_time(at) != at);
            assert!(after.is_none_or(|next| next > at || skips), "a deadline that has passed is replaced: {at:?} {after:?}");
        }
        panic!("the world does not come to rest");
    }

    /// Moves the clock without waking anyone: a late engine.
    pub fn sleep(&mut self, span: Span) {
        self.now = self.now + span;
    }

    /// The process dies and comes back: every run is read again.
    pub fn restart(&mut self) {
        self.runs.values_mut().for_each(Run::restart);
        self.offers.retain(|offer| !offer.volatile);
    }

    // --- workers ---

    /// A poll of its own.
    pub fn poller(&mut self) -> Poller {
        self.polls += 1;
        Poller { identity: WORKER.into(), request_id: format!("poll-{}", self.polls), version: self.worker.clone(), ..Poller::default() }
    }

    pub fn take_offer(&mut self, queue: &str, kind: QueueKind) -> Option<Offer> {
        let fits = |o: &&Offer| o.queue.name == queue && o.queue.kind == kind;
        self.offers.iter().filter(fits).min_by(|a, b| a.key.cmp(&b.key)).cloned()
    }

    /// Takes the next workflow task of a queue (sticky ones by their own name).
    pub fn poll_workflow(&mut self, queue: &str) -> Option<WorkflowTask> {
        loop {
            let offer = self.take_offer(queue, QueueKind::Workflow)?;
            let poller = self.poller();
            if offer.volatile {
                self.offers.retain(|o| *o != offer);
            }
            match self.start_workflow_task(&offer, poller) {
                Some(task) => return Some(task),
                None => assert!(offer.volatile, "offers on the table are wanted"),
            }
        }
    }

    /// A poller takes the offer; `None` when it is obsolete.
    pub fn start_workflow_task(&mut self, offer: &Offer, poller: Poller) -> Option<WorkflowTask> {
        let input = Input::StartWorkflowTask {
            scheduled_event_id: offer.key.scheduled_event_id,
            stamp: offer.stamp,
            sticky: offer.queue.sticky,
            poller,
        };
        match self.apply_to(offer.run.run, input).expect("starting is not refused") {
            Reply::WorkflowTask { response, window } => Some(self.workflow_task(offer.run.run, *response, window)),
            Reply::Obsolete => None,
            other => panic!("not an answer to a poll: {other:?}"),
        }
    }

    fn workflow_task(&self, run: RunId, response: PollWorkflowTaskQueueResponse, window: HistoryWindow) -> WorkflowTask {
        let run = &self.runs[&run];
        let mut events = run.events();
        events.retain(|e| e.event_id >= window.from && e.event_id < window.next);
        events.extend(window.virtual_events);
        let last = events.last().expect("a task brings events");
        assert_eq!(last.event_id, response.started_event_id, "history ends with the task's start");
        assert_eq!(last.event_type(), sempre_api::v1::enums::EventType::WorkflowTaskStarted);
        for pair in events.windows(2) {
            assert_eq!(pair[1].event_id, pair[0].event_id + 1, "a task's events have no gaps");
        }
        WorkflowTask {
            workflow_id: run.execution.key().workflow.workflow_id.clone(),
            token: TaskToken::parse(&response.task_token).expect("a token of ours"),
            response,
            events,
        }
    }

    /// Completes the task with these commands.
    pub fn complete(&mut self, task: &WorkflowTask, commands: impl IntoIterator<Item = Command>) -> Completed {
        self.complete_with(task, commands, |_| {}).expect("the completion is accepted")
    }

    /// Completes the task; the request can be changed before.
    pub fn complete_with(
        &mut self,
        task: &WorkflowTask,
        commands: impl IntoIterator<Item = Command>,
        change: impl FnOnce(&mut RespondWorkflowTaskCompletedRequest),
    ) -> Result<Completed, Refusal> {
        let mut request = RespondWorkflowTaskCompletedRequest {
            task_token: task.response.task_token.clone(),
            commands: commands.into_iter().collect(),
            identity: WORKER.into(),
            deployment_options: self.worker.as_ref().map(|version| options_of(version)),
            versioning_behavior: self.behavior as i32,
            ..Default::default()
        };
        change(&mut request);
        let run = task.token.run_key().expect("a token of ours").run;
        match self.apply_to(run, Input::CompleteWorkflowTask(task.token.clone(), Box::new(request)))? {
            Reply::WorkflowTaskCompleted { mut response, inline } => {
                let inline = response.workflow_task.take().map(|t| self.workflow_task(run, t, inline.expect("its window")));
                let workflow_id = task.workflow_id.clone();
                let activities = response.activity_tasks.into_iter().map(|r| activity_task(&workflow_id, r)).collect();
                Ok(Completed { inline, activities })
            }
            other => panic!("not an answer to a completion: {other:?}"),
        }
    }

    /// Fails the task.
    pub fn fail_task(&mut self, task: &WorkflowTask, cause: WorkflowTaskFailedCause) -> Result<Reply, Refusal> {
        let request = RespondWorkflowTaskFailedRequest {
            cause: cause as i32,
            failure: Some(failure("task failed")),
            identity: WORKER.into(),
            ..Default::default()
        };
        let run = task.token.run_key().expect("a token of ours").run;
        self.apply_to(run, Input::FailWorkflowTask(task.token.clone(), Box::new(request)))
    }

    /// Starts `id`, polls its first task and completes it with these commands.
    pub fn begin(&mut self, id: &str, commands: impl IntoIterator<Item = Command>) {
        self.start(id);
        self.work(commands);
    }

    /// Polls the next workflow task of [`QUEUE`] and completes it with these commands.
    pub fn work(&mut self, commands: impl IntoIterator<Item = Command>) -> Completed {
        let task = self.poll_workflow(QUEUE).expect("a workflow task");
        self.complete(&task, commands)
    }

    /// Takes the next activity task of [`QUEUE`].
    pub fn poll_activity(&mut self) -> Option<ActivityTask> {
        let offer = self.take_offer(QUEUE, QueueKind::Activity)?;
        let poller = self.poller();
        Some(self.start_activity_task(&offer, poller).expect("offers on the table are wanted"))
    }

    /// A poller takes the offer; `None` when it is obsolete.
    pub fn start_activity_task(&mut self, offer: &Offer, poller: Poller) -> Option<ActivityTask> {
        let input = Input::StartActivityTask { scheduled_event_id: offer.key.scheduled_event_id, stamp: offer.stamp, poller };
        match self.apply_to(offer.run.run, input).expect("starting is not refused") {
            Reply::ActivityTask(response) => Some(activity_task(&offer.run.workflow.workflow_id, *response)),
            Reply::Obsolete => None,
            other => panic!("not an answer to a poll: {other:?}"),
        }
    }

    pub fn complete_activity(&mut self, task: &ActivityTask, result: &str) -> Result<Reply, Refusal> {
        let input = Input::CompleteActivity { target: task.target(), result: payloads(result), identity: WORKER.into() };
        self.apply(&task.workflow_id, input)
    }

    pub fn fail_activity(&mut self, task: &ActivityTask, failure: Failure) -> Result<Reply, Refusal> {
        let input = Input::FailActivity {
            target: task.target(),
            failure: Some(Box::new(failure)),
            last_heartbeat_details: None,
            identity: WORKER.into(),
        };
        self.apply(&task.workflow_id, input)
    }

    pub fn cancel_activity(&mut self, task: &ActivityTask, details: &str) -> Result<Reply, Refusal> {
        let input = Input::CancelActivity { target: task.target(), details: payloads(details), identity: WORKER.into() };
        self.apply(&task.workflow_id, input)
    }

    /// Heartbeats; true when the workflow wants the activity cancelled.
    pub fn heartbeat(&mut self, task: &ActivityTask, details: &str) -> Result<bool, Refusal> {
        let input = Input::Heartbeat { target: task.target(), details: payloads(details), identity: WORKER.into() };
        match self.apply(&task.workflow_id, input)? {
            Reply::Heartbeat { cancel_requested, .. } => Ok(cancel_requested),
            other => panic!("not an answer to a heartbeat: {other:?}"),
        }
    }

    // --- clients ---

    pub fn signal(&mut self, id: &str, name: &str) -> Result<Reply, Refusal> {
        self.polls += 1;
        let request_id = format!("signal-{}", self.polls);
        self.signal_with(id, SignalRequest { name: name.into(), request_id, identity: "client".into(), ..Default::default() })
    }

    pub fn signal_with(&mut self, id: &str, request: SignalRequest) -> Result<Reply, Refusal> {
        self.apply(id, Input::Signal(Box::new(request)))
    }

    pub fn request_cancel(&mut self, id: &str, reason: &str) -> Result<Reply, Refusal> {
        let request = CancelRequest { reason: reason.into(), identity: "client".into(), ..Default::default() };
        self.apply(id, Input::RequestCancel(Box::new(request)))
    }

    /// Pauses the current run.
    pub fn pause(&mut self, id: &str) {
        self.apply(id, Input::Pause(operator("pause"))).expect("an open run can be paused");
    }

    /// Lets it go on.
    pub fn unpause(&mut self, id: &str) {
        self.apply(id, Input::Unpause(operator("unpause"))).expect("a paused run goes on");
    }

    pub fn terminate(&mut self, id: &str, reason: &str) -> Result<Reply, Refusal> {
        let request = TerminateRequest { reason: reason.into(), identity: "client".into(), ..Default::default() };
        self.apply(id, Input::Terminate(Box::new(request)))
    }
}

/// An operator's request to pause or unpause, under this request id.
pub fn operator(request_id: &str) -> Box<PauseRequest> {
    Box::new(PauseRequest { identity: "operator".into(), reason: "why".into(), request_id: request_id.into() })
}

/// A callback to this host.
pub fn callback(host: &str) -> Callback {
    let header = [("Nexus-Callback-Token".to_string(), host.to_string())].into();
    let nexus = callback::Nexus { url: format!("http://{host}:80/back"), header };
    Callback { variant: Some(callback::Variant::Nexus(nexus)), links: Vec::new() }
}

/// Sticky attributes of a completion: the worker keeps the run on its queue.
pub fn sticky(queue: &str) -> Option<StickyExecutionAttributes> {
    Some(StickyExecutionAttributes {
        worker_task_queue: Some(TaskQueue { name: queue.into(), ..Default::default() }),
        schedule_to_start_timeout: duration(5),
    })
}

/// The record with the numbers that change with every event as `old` has them.
fn with_numbers_of(record: Record, old: &Record) -> Record {
    let mut record = record;
    for name in [visibility::TASK_FAILURES, visibility::ACTIVITY_ATTEMPT, visibility::LAST_FAILURE] {
        if let (Some(now), Some(then)) = (record.search_attributes.get_mut(name), old.search_attributes.get(name)) {
            now.clone_from(then);
        }
    }
    Record {
        history_length: old.history_length,
        history_size_bytes: old.history_size_bytes,
        state_transition_count: old.state_transition_count,
        ..record
    }
}

fn activity_task(workflow_id: &str, response: PollActivityTaskQueueResponse) -> ActivityTask {
    ActivityTask { workflow_id: workflow_id.into(), token: TaskToken::parse(&response.task_token).expect("a token of ours"), response }
}

impl Run {
    /// History rebuilds the derived half; the rows give the same run. Goes on with the loaded one.
    fn check(&mut self) {
        let mut rebuilt = Derived::default();
        for (event, frame) in self.events().iter().zip(&self.frames) {
            assert_eq!(event.event_id, rebuilt.main.next_event_id.max(1), "event ids have no gaps");
            rebuilt.apply_event(event, frame.len(), &mut Dirty::default());
        }
        assert_eq!(rebuilt, self.execution.state().derived, "history rebuilds the derived half");
        let rows = self.rows.iter().map(|((kind, number), value)| (*kind, *number, value.clone())).collect();
        let loaded = Execution::load(self.execution.key().clone(), rows).expect("rows load");
        assert_eq!(loaded.state().derived, self.execution.state().derived, "rows hold the derived half");
        let mut progress = self.execution.state().progress.clone();
        // What belongs to a speculative task is in memory only, and so is what became of it until the next commit.
        progress.main.task.take_if(|task| task.speculative);
        if self.volatile {
            progress.main.stamp = loaded.state().progress.main.stamp;
            progress.main.sticky.clone_from(&loaded.state().progress.main.sticky);
        }
        assert_eq!(loaded.state().progress, progress, "rows hold the progress half");
        if !self.execution.has_memory_state() && !self.volatile {
            self.execution = loaded;
        }
    }
}
