//! Starting a run: id policies, request-id deduplication, the first events (spec 01 §3–4).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use bytes::Bytes;
use sempre_api::v1::{
    common::{Callback, Link, Payload, Payloads, link, link::workflow_event},
    enums::{ContinueAsNewInitiator, EventType, WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
    history::{HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    sdk::UserMetadata,
    workflowservice::{PollWorkflowTaskQueueResponse, StartWorkflowExecutionRequest, StartWorkflowExecutionResponse},
};

use crate::{
    Context, Execution, Input, Refusal, RunId, RunKey, Span, Timestamp, Version, WorkflowKey, alone, attach, close,
    flow::{self, Admission, Admitted, FlowProgress},
    input::{Poller, SignalRequest, TerminateRequest},
    planted::{self, Bug},
    retry, signal,
    state::{
        EarlierReset, ResetInfo, State,
        derived::{memo_of_start, search_of_start},
        rows::Kind,
    },
    step::Step,
    task, time_skipping,
    transition::{CurrentRecord, HistoryWindow, QueueKind, Reply, StartChild, Transition},
    update, validate,
    versioning::{self, VersioningProgress},
};

/// A start, from a client or from a parent.
#[derive(Debug)]
pub struct StartInput {
    /// The request, as a client makes it (for a child: made by core from the command).
    pub request: Box<StartWorkflowExecutionRequest>,
    /// Signal-with-start.
    pub signal: Option<Box<SignalRequest>>,
    /// Set when a parent starts it: no task until the parent has recorded the start. Its `request` is unused.
    pub child_of: Option<Box<StartChild>>,
    /// A part of the server that is to be told of the end of the chain; bounds and rules of callbacks are for clients.
    pub watcher: Option<Box<Callback>>,
}

/// What a start did.
#[derive(Debug)]
pub struct StartOutcome {
    /// The answer ([`Reply::Started`]).
    pub reply: Result<Reply, Refusal>,
    /// What happened to the open current run (terminated, signaled), committed together.
    pub existing: Option<Transition>,
    /// The new run; its transition's own reply is not used.
    pub created: Option<Box<(Execution, Transition)>>,
}

impl StartOutcome {
    /// An answer that made no run.
    fn answer(response: StartWorkflowExecutionResponse, eager: Option<HistoryWindow>) -> Self {
        Self { reply: Ok(Reply::Started { response: Box::new(response), eager }), existing: None, created: None }
    }
}

/// A run about to be made.
pub(crate) struct NewRun {
    /// Its key.
    pub(crate) key: RunKey,
    /// Request id it is remembered by.
    pub(crate) request_id: String,
    /// Request id of the start that began its chain, if another run began it; else empty.
    pub(crate) chain_request_id: String,
    /// That start brought a signal.
    pub(crate) chain_signaled: bool,
    /// Resets that made runs of its chain.
    pub(crate) earlier_resets: Vec<EarlierReset>,
    /// Event 1.
    pub(crate) attributes: WorkflowExecutionStartedEventAttributes,
    /// Links of event 1.
    pub(crate) links: Vec<Link>,
    /// `user_metadata` of event 1.
    pub(crate) user_metadata: Option<UserMetadata>,
    /// No task until the parent has recorded the start.
    pub(crate) held: bool,
    /// The flow rules that are about it.
    pub(crate) flow: Option<Box<FlowProgress>>,
    /// Signal-with-start.
    pub(crate) signal: Option<Box<SignalRequest>>,
    /// Start the first task at once, for this poller.
    pub(crate) eager: Option<Poller>,
}

type EagerTask = (PollWorkflowTaskQueueResponse, HistoryWindow);

/// Started event of a run's first task when nothing came between: Started, TaskScheduled, TaskStarted.
const FIRST_TASK_STARTED_EVENT_ID: i64 = 3;

/// Makes a run: event 1, the signal if any, the first task or its delay.
pub(crate) fn create(new: NewRun, cx: &mut Context<'_>) -> (Execution, Transition, Option<EagerTask>) {
    let mut execution = Execution {
        key: new.key,
        state: State { derived: Default::default(), progress: Default::default(), dirty: Default::default() },
        signal_ids: BTreeSet::new(),
        queries: BTreeMap::new(),
        updates: Vec::new(),
        pages: None,
    };
    let mut step = Step::new(&mut execution, cx);
    step.skipped = time_skipping::inherited(new.attributes.time_skipping_state_propagation.as_ref());
    let now = step.now();
    let main = &mut step.run.state.progress.main;
    main.attempt = 1;
    main.start_request_id = new.request_id;
    main.chain_request_id = new.chain_request_id;
    main.namespace_id = Bytes::copy_from_slice(&step.run.key.workflow.namespace.0.0);
    main.held = new.held;
    main.flow = new.flow;
    main.versioning = versioning::inherit::remembered(&new.attributes)
        .map(|declined| Box::new(VersioningProgress { declined: Some(declined), ..VersioningProgress::default() }));
    if !new.earlier_resets.is_empty() {
        step.run.state.progress.reset = Some(Box::new(ResetInfo { earlier_resets: new.earlier_resets, ..ResetInfo::default() }));
        step.run.state.dirty.mark(Kind::Reset, 0);
    }
    if new.chain_signaled {
        let chain_request_id = step.run.state.progress.main.chain_request_id.clone();
        signal::remember(&mut step, chain_request_id);
    }
    step.write(HistoryEvent {
        event_time: Some(now.to_api()),
        links: new.links,
        user_metadata: new.user_metadata,
        attributes: Some(Attributes::WorkflowExecutionStartedEventAttributes(Box::new(new.attributes))),
        ..Default::default()
    });
    // The first task is held back until the signal (if any) is in history before it.
    let derived = &step.run.state.derived;
    if !derived.start.backoff().is_zero() {
        step.run.state.progress.main.first_task_at = derived.execution_time().0;
    }
    if let Some(signal) = new.signal {
        signal::record(&mut step, SignalRequest { with_start: false, ..*signal });
        step.flush();
    }
    let mut eager = None;
    let held = step.run.state.progress.main.held || flow::hold::is_held(&step.run.state);
    if !held && step.run.state.progress.main.task.is_none() {
        match new.eager {
            Some(poller) if step.run.state.progress.main.first_task_at == 0 => {
                task::schedule(&mut step, task::ScheduleHow::Kept);
                task::start::begin(&mut step, poller);
                eager = Some(task::start::response(&mut step, false, update::Resend::Yes));
            }
            _ => task::schedule_if_needed(&mut step),
        }
    }
    step.out.current = Some(step.current_record());
    let transition = step.finish(Ok(Reply::Done));
    (execution, transition, eager)
}

/// Starts a run, or says why not. `current` is the workflow id's current-run record, `open` that run if it is open.
pub fn start(
    current: Option<&CurrentRecord>,
    open: Option<&mut Execution>,
    key: &WorkflowKey,
    input: StartInput,
    cx: &mut Context<'_>,
) -> Result<StartOutcome, Refusal> {
    alone::check_workflow_id(&key.workflow_id)?;
    let StartInput { mut request, mut signal, child_of, watcher } = input;
    if let Some(child) = &child_of {
        *request = child.request.clone();
    }
    // A parent passes on what was looked at when it got it.
    let passed_on = child_of.as_ref().and_then(|_| request.time_skipping_config.take());
    request.continued_failure.iter_mut().for_each(retry::cut_causes);
    match &mut signal {
        Some(signal) => validate::signal_with_start(&mut request, signal, cx)?,
        None => validate::start(&mut request, cx)?,
    }
    request.time_skipping_config = passed_on.or(request.time_skipping_config);
    let queue = request.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
    versioning::overrides::check(request.versioning_override.as_ref(), &cx.namespace.deployments, queue)?;
    // A child's were looked at when its parent asked for it.
    if child_of.is_none() {
        let search = request.search_attributes.as_mut();
        validate::search_attribute_types(search, cx.namespace, &BTreeMap::new()).map_err(Refusal::InvalidArgument)?;
    }
    request.completion_callbacks.extend(watcher.map(|watcher| *watcher));
    let mut existing = None;
    if let Some(current) = current {
        let mut open = open;
        let undone = open.as_deref().zip(child_of.as_deref()).is_some_and(|(run, child)| is_undone_child(run, child));
        let stands_for = signal.is_none()
            && current.start_request_id != request.request_id
            && request.workflow_id_conflict_policy() != WorkflowIdConflictPolicy::UseExisting
            && open.as_deref().is_some_and(|run| flow::hold::gives_way(run, &request, child_of.is_some(), cx));
        if undone || stands_for {
            request.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting);
        }
        if request.workflow_id_conflict_policy() != WorkflowIdConflictPolicy::TerminateExisting
            && let Some(run) = open.as_deref_mut()
            && let Some(signal) = signal.take()
        {
            return signal_existing(run, current, *signal, cx);
        }
        if current.start_request_id == request.request_id && !planted::is(Bug::StartsForgotten) {
            let eager = open.filter(|_| wants_eager(&request, cx)).and_then(|run| first_task_again(run, &request.request_id, cx));
            let mut outcome = already_started_by_this_request(current, key, cx, signal.as_deref(), eager);
            if let (Some(_), Ok(Reply::Started { response, .. })) = (&child_of, &mut outcome.reply) {
                // A parent knows its child by the first run of the chain.
                response.run_id.clone_from(&current.first_run_id);
            }
            return Ok(outcome);
        }
        if current.chain_was_begun_by(&request.request_id) && !planted::is(Bug::StartsForgotten) {
            let mut outcome = already_started_by_this_request(current, key, cx, signal.as_deref(), None);
            if let Ok(Reply::Started { response, .. }) = &mut outcome.reply {
                // As it was answered the first time; its status is that of the chain.
                response.run_id.clone_from(&current.first_run_id);
                response.link = Some(started_link(key, &current.first_run_id, cx));
            }
            return Ok(outcome);
        }
        if current.attached_request_ids.contains(&request.request_id) {
            let link = attach::link(key, &current.run().to_string(), &request.request_id, cx);
            let response = StartWorkflowExecutionResponse { status: current.status, ..existing_response(current, link) };
            return Ok(StartOutcome::answer(response, None));
        }
        if let Some(run) = open {
            match request.workflow_id_conflict_policy() {
                WorkflowIdConflictPolicy::UseExisting => return use_existing(run, current, *request, cx),
                WorkflowIdConflictPolicy::TerminateExisting => {}
                _ => return Err(already_running(current, key)),
            }
            existing = Some(run);
        } else {
            check_reuse(current, key, request.workflow_id_reuse_policy())?;
        }
    }
    // What runs goes on: its children are not asked.
    if child_of.is_none() {
        cx.gate.room(cx.namespace, cx.limits, existing.is_some())?;
    }
    let run = cx.ids.run_id(cx.now);
    // The last that may refuse: the gate remembers who it has let in.
    let flow = admitted(run, key, &request, child_of.is_some(), cx)?;
    let terminated = match existing {
        Some(run_in_the_way) => Some(terminate_existing(run_in_the_way, run, cx)?),
        None => None,
    };
    let signal_request_id = signal.as_ref().map(|signal| signal.request_id.clone());
    let mut new = NewRun { flow, ..new_run(run, key, *request, signal, child_of, cx) };
    if new.flow.as_deref().is_some_and(|flow| flow.held) {
        new.eager = None;
        new.attributes.eager_execution_accepted = false;
    }
    let eager_asked = new.eager.is_some();
    let (execution, transition, eager) = create(new, cx);
    debug_assert!(
        !eager_asked || eager.is_some() || execution.state.progress.main.first_task_at != 0 || flow::hold::is_held(&execution.state)
    );
    let first_run_id = execution.first_run_id().into();
    let (eager_workflow_task, window) = eager.unzip();
    let link = signal_request_id.map_or_else(
        || started_link(key, &run.to_string(), cx),
        |id| request_link(key, &run.to_string(), &id, EventType::WorkflowExecutionSignaled, cx),
    );
    let response = StartWorkflowExecutionResponse {
        run_id: run.to_string(),
        first_execution_run_id: first_run_id,
        started: true,
        status: WorkflowExecutionStatus::Running as i32,
        eager_workflow_task,
        link: Some(link),
    };
    Ok(StartOutcome {
        reply: Ok(Reply::Started { response: Box::new(response), eager: window }),
        existing: terminated,
        created: Some(Box::new((execution, transition))),
    })
}

/// The open run is a child whose start a reset of the parent has undone.
fn is_undone_child(open: &Execution, child: &StartChild) -> bool {
    let Some(run) = child.replaces_child_of else { return false };
    let parent = open.state.derived.start.event().parent_workflow_execution.as_ref();
    parent.is_some_and(|parent| *parent == RunKey { workflow: child.parent.workflow.clone(), run }.to_api())
}

fn new_run(
    run: RunId,
    key: &WorkflowKey,
    request: StartWorkflowExecutionRequest,
    signal: Option<Box<SignalRequest>>,
    child_of: Option<Box<StartChild>>,
    cx: &mut Context<'_>,
) -> NewRun {
    let run_id = run.to_string();
    let time = child_of.as_ref().and_then(|child| child.time);
    let now = cx.now + time_skipping::inherited(time.as_ref());
    let backoff = first_backoff(&request, now, cx);
    let execution_timeout = Span::from_api(request.workflow_execution_timeout.as_ref()).unwrap_or_default();
    // Rounded up to whole milliseconds.
    let expiration = execution_timeout.some().map(|timeout| Timestamp::from_millis(((now + timeout).0 + 999_999).div_euclid(1_000_000)));
    let eager = (request.request_eager_execution && cx.limits.eager_start && backoff.is_zero() && child_of.is_none() && signal.is_none())
        .then(|| eager_poller(&request, key, cx))
        .flatten();
    let initiator =
        if request.cron_schedule.is_empty() { ContinueAsNewInitiator::Unspecified } else { ContinueAsNewInitiator::CronSchedule };
    let mut attributes = WorkflowExecutionStartedEventAttributes {
        workflow_type: request.workflow_type,
        task_queue: request.task_queue,
        input: request.input,
        workflow_execution_timeout: request.workflow_execution_timeout,
        workflow_run_timeout: request.workflow_run_timeout,
        workflow_task_timeout: request.workflow_task_timeout,
        initiator: initiator as i32,
        continued_failure: request.continued_failure,
        last_completion_result: request.last_completion_result,
        original_execution_run_id: run_id.clone(),
        identity: request.identity,
        first_execution_run_id: run_id,
        retry_policy: request.retry_policy,
        attempt: 1,
        workflow_execution_expiration_time: expiration.map(Timestamp::to_api),
        cron_schedule: request.cron_schedule,
        first_workflow_task_backoff: backoff.to_api_option(),
        memo: memo_of_start(request.memo),
        search_attributes: search_of_start(request.search_attributes),
        header: request.header,
        workflow_id: key.workflow_id.clone(),
        priority: request.priority,
        eager_execution_accepted: eager.is_some(),
        completion_callbacks: request.completion_callbacks,
        time_skipping_config: request.time_skipping_config,
        time_skipping_state_propagation: time,
        ..Default::default()
    };
    attributes.versioning_override = request.versioning_override.as_ref().and_then(versioning::overrides::normal);
    let held = child_of.is_some();
    if let Some(child) = child_of {
        attributes.inherited_pinned_version = child.inherited.pinned;
        attributes.inherited_auto_upgrade_info = child.inherited.auto_upgrade;
        attributes.parent_workflow_namespace = child.parent_namespace;
        attributes.parent_workflow_namespace_id = child.parent.workflow.namespace.to_string();
        attributes.parent_workflow_execution = Some(child.parent.to_api());
        attributes.parent_initiated_event_id = child.initiated_event_id;
        attributes.root_workflow_execution = Some(child.root);
    }
    NewRun {
        key: RunKey { workflow: key.clone(), run },
        request_id: request.request_id,
        chain_request_id: String::new(),
        chain_signaled: false,
        earlier_resets: Vec::new(),
        attributes,
        links: request.links,
        user_metadata: request.user_metadata,
        held,
        flow: None,
        signal,
        eager,
    }
}

/// Asks the flow rules that are about the start, if there are any: the run counts from here on, or waits.
fn admitted(
    run: RunId,
    key: &WorkflowKey,
    request: &StartWorkflowExecutionRequest,
    is_child: bool,
    cx: &Context<'_>,
) -> Result<Option<Box<FlowProgress>>, Refusal> {
    let rules = &cx.namespace.flow;
    if rules.is_empty() {
        return Ok(None);
    }
    let members = flow::members(rules, request, cx.namespace, is_child);
    if members.is_empty() {
        return Ok(None);
    }
    let run = RunKey { workflow: key.clone(), run };
    let delayed = is_child || !first_backoff(request, cx.now, cx).is_zero();
    match cx.gate.admit(&Admission { now: cx.now, run: &run, members: &members, delayed })? {
        Admitted::Goes(counted) => {
            let mut again = members;
            again.retain(|member| !request.cron_schedule.is_empty() && !counted.contains(member));
            let flow = FlowProgress { members: counted, since: cx.now.0, again, ..FlowProgress::default() };
            Ok(flow.is_of_rules().then(|| Box::new(flow)))
        }
        // It comes into the line when nothing else holds it.
        Admitted::Waits { burst } => Ok(Some(Box::new(FlowProgress { members, held: true, burst, ..FlowProgress::default() }))),
    }
}

/// Who takes the first task with the answer; nobody if the queue sends it to another version's workers.
fn eager_poller(request: &StartWorkflowExecutionRequest, key: &WorkflowKey, cx: &Context<'_>) -> Option<Poller> {
    if request.versioning_override.is_some() {
        return None;
    }
    let version = Version::of_worker(request.eager_worker_deployment_options.as_ref()).map(Arc::new);
    let queue = request.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
    let (target, _) = cx.namespace.deployments.target(QueueKind::Workflow, queue, &key.workflow_id, false);
    (target == version.as_ref()).then(|| Poller {
        identity: request.identity.clone(),
        request_id: request.request_id.clone(),
        version,
        ..Poller::default()
    })
}

/// Start delay, or the time to the first cron tick (spec 01 §3.2, §9).
fn first_backoff(request: &StartWorkflowExecutionRequest, now: Timestamp, cx: &Context<'_>) -> Span {
    if request.cron_schedule.is_empty() {
        return Span::from_api(request.workflow_start_delay.as_ref()).unwrap_or_default();
    }
    close::next_cron(cx.cron, &request.cron_schedule, now, now).unwrap_or_default()
}

/// The start may be answered with the first task at once (spec 01 §3.4).
fn wants_eager(request: &StartWorkflowExecutionRequest, cx: &Context<'_>) -> bool {
    request.request_eager_execution && cx.limits.eager_start && first_backoff(request, cx.now, cx).is_zero()
}

/// The first task, for a caller who asks again: only while it still is that task (spec 01 §3.3.1).
fn first_task_again(run: &mut Execution, request_id: &str, cx: &mut Context<'_>) -> Option<EagerTask> {
    let task = run.state.progress.main.task.as_deref()?;
    let first = task.started_event_id == FIRST_TASK_STARTED_EVENT_ID && task.attempt <= 1 && task.request_id == request_id;
    first.then(|| task::start::response(&mut Step::new(run, cx), false, update::Resend::Yes))
}

fn already_started_by_this_request(
    current: &CurrentRecord,
    key: &WorkflowKey,
    cx: &Context<'_>,
    signal: Option<&SignalRequest>,
    eager: Option<EagerTask>,
) -> StartOutcome {
    let run_id = current.run().to_string();
    let (eager_workflow_task, window) = eager.unzip();
    let link = match signal {
        Some(signal) => request_link(key, &run_id, &signal.request_id, EventType::WorkflowExecutionSignaled, cx),
        None => started_link(key, &run_id, cx),
    };
    let response = StartWorkflowExecutionResponse {
        run_id,
        first_execution_run_id: current.first_run_id.clone(),
        started: signal.is_none(),
        status: current.status,
        eager_workflow_task,
        link: Some(link),
    };
    StartOutcome::answer(response, window)
}

/// The answer to a call that found the run open and left it so.
pub(crate) fn existing_response(current: &CurrentRecord, link: Link) -> StartWorkflowExecutionResponse {
    StartWorkflowExecutionResponse {
        run_id: current.run().to_string(),
        first_execution_run_id: current.first_run_id.clone(),
        started: false,
        status: current.status,
        eager_workflow_task: None,
        link: Some(link),
    }
}

fn signal_existing(
    run: &mut Execution,
    current: &CurrentRecord,
    signal: SignalRequest,
    cx: &mut Context<'_>,
) -> Result<StartOutcome, Refusal> {
    let (key, run_id) = (run.key.workflow.clone(), run.key.run.to_string());
    let link = request_link(&key, &run_id, &signal.request_id, EventType::WorkflowExecutionSignaled, cx);
    let transition = run.apply(Input::Signal(Box::new(SignalRequest { with_start: true, ..signal })), cx)?;
    Ok(StartOutcome { existing: Some(transition), ..StartOutcome::answer(existing_response(current, link), None) })
}

fn use_existing(
    run: &mut Execution,
    current: &CurrentRecord,
    request: StartWorkflowExecutionRequest,
    cx: &mut Context<'_>,
) -> Result<StartOutcome, Refusal> {
    let (key, run_id) = (run.key.workflow.clone(), run.key.run.to_string());
    let Some(options) = request.on_conflict_options else {
        let link = started_link(&key, &run_id, cx);
        return Ok(StartOutcome::answer(existing_response(current, link), None));
    };
    let link =
        if options.attach_request_id { attach::link(&key, &run_id, &request.request_id, cx) } else { started_link(&key, &run_id, cx) };
    let transition = attach::attach(run, attach::Attached::new(request, options), cx)?;
    Ok(StartOutcome { existing: Some(transition), ..StartOutcome::answer(existing_response(current, link), None) })
}

fn terminate_existing(run: &mut Execution, new: RunId, cx: &mut Context<'_>) -> Result<Transition, Refusal> {
    let details = Payload {
        metadata: [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into_iter().collect(),
        data: format!("\"terminated by new runID: {new}\"").into_bytes().into(),
        ..Default::default()
    };
    let request = TerminateRequest {
        reason: "TerminateIfRunning WorkflowIdReusePolicy".into(),
        details: Some(Payloads { payloads: alloc::vec![details] }),
        identity: task::SERVER_IDENTITY.into(),
        ..Default::default()
    };
    run.apply(Input::Terminate(Box::new(request)), cx)
}

pub(crate) fn already_running(current: &CurrentRecord, key: &WorkflowKey) -> Refusal {
    already_started(current, format!("Workflow execution is already running. WorkflowId: {}, RunId: {}.", key.workflow_id, current.run()))
}

fn check_reuse(current: &CurrentRecord, key: &WorkflowKey, policy: WorkflowIdReusePolicy) -> Result<(), Refusal> {
    use WorkflowExecutionStatus as Status;
    let status = Status::try_from(current.status).unwrap_or(Status::Unspecified);
    let (id, run) = (&key.workflow_id, current.run());
    match policy {
        WorkflowIdReusePolicy::AllowDuplicateFailedOnly
            if !matches!(status, Status::Failed | Status::Canceled | Status::Terminated | Status::TimedOut) =>
        {
            Err(already_started(
                current,
                format!(
                    "Workflow execution already finished successfully. WorkflowId: {id}, RunId: {run}. Workflow Id reuse policy: allow duplicate workflow Id if last run failed."
                ),
            ))
        }
        WorkflowIdReusePolicy::RejectDuplicate => Err(already_started(
            current,
            format!(
                "Workflow execution already finished. WorkflowId: {id}, RunId: {run}. Workflow Id reuse policy: reject duplicate workflow Id."
            ),
        )),
        _ => Ok(()),
    }
}

fn already_started(current: &CurrentRecord, message: String) -> Refusal {
    Refusal::AlreadyStarted {
        message,
        start_request_id: current.start_request_id.clone(),
        run_id: current.run().to_string(),
        first_run_id: current.first_run_id.clone(),
    }
}

/// A link to the run's first event.
pub(crate) fn started_link(key: &WorkflowKey, run_id: &str, cx: &Context<'_>) -> Link {
    let started = workflow_event::EventReference { event_id: 1, event_type: EventType::WorkflowExecutionStarted as i32 };
    event_link(key, run_id, workflow_event::Reference::EventRef(started), cx)
}

/// A link to the event that a request id stands for (it may not have its event id yet).
pub(crate) fn request_link(key: &WorkflowKey, run_id: &str, request_id: &str, event_type: EventType, cx: &Context<'_>) -> Link {
    let reference = workflow_event::RequestIdReference { request_id: request_id.into(), event_type: event_type as i32 };
    event_link(key, run_id, workflow_event::Reference::RequestIdRef(reference), cx)
}

pub(crate) fn event_link(key: &WorkflowKey, run_id: &str, reference: workflow_event::Reference, cx: &Context<'_>) -> Link {
    Link {
        variant: Some(link::Variant::WorkflowEvent(link::WorkflowEvent {
            namespace: cx.namespace.name.clone(),
            workflow_id: key.workflow_id.clone(),
            run_id: run_id.into(),
            reference: Some(reference),
        })),
    }
}
