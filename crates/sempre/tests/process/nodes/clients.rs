//! Who starts, signals and awaits workflows at any node, and the workers of them, which all poll one node, and another when that one does not
//! answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::{
    command::{
        Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
        SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes, StartTimerCommandAttributes,
        command::Attributes,
    },
    common::{ActivityType, WorkflowExecution, WorkflowType},
    enums::{CommandType, EventType},
    history::{HistoryEvent, history_event::Attributes as Event},
    taskqueue::TaskQueue,
    workflowservice::*,
};
use sempre_core::Span;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use super::{
    told,
    town::{LONGEST, NODES, Town, a_little, may_be_repeated},
};

pub(crate) const NAMESPACE: &str = "default";
/// Signals of each workflow by clients, which it awaits.
const SIGNALS: usize = 3;
/// Workers of either kind.
const WORKERS: usize = 6;
/// Types of workflows.
const TEST: &str = "Test";
const CHILD: &str = "Child";

/// What clients know.
pub(crate) struct Clients {
    town: Arc<Town>,
    /// Runs whose start was acknowledged, with their run ids.
    runs: Mutex<BTreeMap<String, String>>,
    next: AtomicU64,
    stops: AtomicBool,
    /// The place of the node that all workers poll.
    polled: AtomicUsize,
    /// The longest time that a call took, with all its repetitions.
    longest: Mutex<Duration>,
    /// How long runs took, from before their start to their end.
    ran: Mutex<Vec<Duration>>,
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..Default::default() })
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }
}

fn count(events: &[HistoryEvent], kind: EventType) -> usize {
    events.iter().filter(|event| event.event_type == kind as i32).count()
}

fn first_commands(id: &str) -> Vec<Command> {
    let timer = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: Some(Span::millis(300).to_api()) };
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: queue("work"),
        start_to_close_timeout: Some(Span::seconds(4).to_api()),
        ..Default::default()
    };
    let child = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: child_of(id),
        workflow_type: Some(WorkflowType { name: CHILD.into() }),
        task_queue: queue("work"),
        workflow_task_timeout: Some(Span::seconds(3).to_api()),
        ..Default::default()
    };
    vec![
        command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(timer)),
        command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(activity))),
        command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(child))),
    ]
}

/// Of whatever shard.
fn child_of(id: &str) -> String {
    format!("{id}-child")
}

/// What a workflow does: a timer, an activity and a child at once; when all have ended and it has all its signals, one of its child among them,
/// it completes. The child signals its parent, then completes.
fn commands(id: &str, events: &[HistoryEvent]) -> Vec<Command> {
    let has = |kind: EventType| count(events, kind) > 0;
    let Some(Event::WorkflowExecutionStartedEventAttributes(started)) = &events[0].attributes else { panic!("{id} begins otherwise") };
    let is_child = started.workflow_type.as_ref().expect("a type").name == CHILD;
    let ends = match is_child {
        false if !has(EventType::TimerStarted) => return first_commands(id),
        true if !has(EventType::SignalExternalWorkflowExecutionInitiated) => {
            let execution = started.parent_workflow_execution.clone();
            let signal = SignalExternalWorkflowExecutionCommandAttributes { execution, signal_name: CHILD.into(), ..Default::default() };
            let signal = Attributes::SignalExternalWorkflowExecutionCommandAttributes(signal);
            return vec![command(CommandType::SignalExternalWorkflowExecution, signal)];
        }
        false => {
            let ended = [EventType::TimerFired, EventType::ActivityTaskCompleted, EventType::ChildWorkflowExecutionCompleted];
            ended.into_iter().all(has) && count(events, EventType::WorkflowExecutionSignaled) == SIGNALS + 1
        }
        true => has(EventType::ExternalWorkflowExecutionSignaled),
    };
    let result = CompleteWorkflowExecutionCommandAttributes::default();
    let complete = command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(result));
    if ends { vec![complete] } else { Vec::new() }
}

pub(crate) fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), ..Default::default() })
}

/// A start, acknowledged by some node; gives the run id.
pub(crate) async fn start(town: &Town, id: &str, task_queue: &str) -> Result<String, Status> {
    let request = StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: TEST.into() }),
        task_queue: queue(task_queue),
        workflow_task_timeout: Some(Span::seconds(3).to_api()),
        request_id: format!("start-{id}"),
        ..Default::default()
    };
    let started = town.call(id, |mut client| {
        let request = request.clone();
        async move { client.start_workflow_execution(request).await }
    });
    Ok(started.await?.into_inner().run_id)
}

/// A signal, acknowledged by some node, but not that at this place.
pub(crate) async fn signal(town: &Town, place: Option<usize>, id: &str, name: &str) -> Result<(), Status> {
    let request = SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: execution(id),
        signal_name: name.into(),
        request_id: format!("signal-{id}-{name}"),
        ..Default::default()
    };
    let signalled = town.call_but(place, id, |mut client| {
        let request = request.clone();
        async move { client.signal_workflow_execution(request).await }
    });
    signalled.await.map(drop)
}

/// All events of a run, by some node.
pub(crate) async fn history(town: &Town, id: &str) -> Result<Vec<HistoryEvent>, Status> {
    let request = GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: execution(id), ..Default::default() };
    let got = town.call(id, |mut client| {
        let request = request.clone();
        async move { client.get_workflow_execution_history(request).await }
    });
    Ok(got.await?.into_inner().history.expect("a history").events().expect("events"))
}

impl Clients {
    /// With workers, until they are told to stop.
    pub(crate) fn new(town: &Arc<Town>) -> (Arc<Clients>, JoinSet<()>) {
        let clients = Arc::new(Clients {
            town: Arc::clone(town),
            runs: Mutex::default(),
            next: AtomicU64::new(0),
            stops: AtomicBool::new(false),
            polled: AtomicUsize::new(0),
            longest: Mutex::default(),
            ran: Mutex::default(),
        });
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(work(Arc::clone(&clients)));
            workers.spawn(act(Arc::clone(&clients)));
        }
        (clients, workers)
    }

    /// Where workers poll now.
    fn polled(&self) -> usize {
        self.polled.load(Ordering::Acquire)
    }

    /// All poll the next one, as this one does not answer.
    fn poll_another_than(&self, place: usize) {
        // Another worker may have said so.
        let _ = self.polled.compare_exchange(place, (place + 1) % NODES, Ordering::AcqRel, Ordering::Acquire);
    }

    fn took(&self, begun: Instant) {
        let mut longest = self.longest.lock().expect("no panic");
        *longest = longest.max(begun.elapsed());
    }

    /// Clients that start, signal and await workflows, one after the other each.
    pub(crate) fn go(self: &Arc<Self>, clients: usize) -> JoinSet<()> {
        let mut set = JoinSet::new();
        for _ in 0..clients {
            let this = Arc::clone(self);
            set.spawn(async move {
                while !this.stops.load(Ordering::Acquire) {
                    this.one().await.expect("no error that a client must not see");
                }
            });
        }
        set
    }

    async fn one(&self) -> Result<(), Status> {
        let id = format!("run-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (first, begun) = (Instant::now(), Instant::now());
        let run = start(&self.town, &id, "work").await?;
        self.took(begun);
        self.runs.lock().expect("no panic").insert(id.clone(), run);
        for number in 0..SIGNALS {
            let begun = Instant::now();
            signal(&self.town, None, &id, &format!("s{number}")).await?;
            self.took(begun);
        }
        let begun = Instant::now();
        while count(&history(&self.town, &id).await?, EventType::WorkflowExecutionCompleted) == 0 {
            if begun.elapsed() > LONGEST {
                let (own, child) = (history(&self.town, &id).await, history(&self.town, &child_of(&id)).await);
                panic!("{id} does not complete: {own:#?}\nits child: {child:#?}");
            }
            a_little().await;
        }
        self.ran.lock().expect("no panic").push(first.elapsed());
        Ok(())
    }

    /// The longest time that a call of a client took, with all its repetitions.
    pub(crate) fn longest(&self) -> Duration {
        *self.longest.lock().expect("no panic")
    }

    /// Runs that were started so far.
    pub(crate) fn started(&self) -> usize {
        self.runs.lock().expect("no panic").len()
    }

    /// Stops clients and workers, and proves that everything acknowledged is there, once. What was seen, for people.
    pub(crate) async fn stop(&self, mut clients: JoinSet<()>, mut workers: JoinSet<()>) -> String {
        self.stops.store(true, Ordering::Release);
        while let Some(ended) = clients.join_next().await {
            ended.expect("no panic");
        }
        while let Some(ended) = workers.try_join_next() {
            ended.expect("no panic");
        }
        workers.shutdown().await;
        let runs = self.runs.lock().expect("no panic").clone();
        for (id, run) in &runs {
            check(id, run, &history(&self.town, id).await.expect("a history"));
            let child = child_of(id);
            check_child(&child, &history(&self.town, &child).await.expect("a history"));
        }
        let repeated: u64 = self.town.errors().values().sum();
        let ran = told(self.ran.lock().expect("no panic").clone());
        format!("{} runs, {repeated} calls repeated, the longest took {:?}; a run took: {ran}", runs.len(), self.longest())
    }
}

/// A run that was acknowledged is there with all that was, once each, and has ended.
fn check(id: &str, run: &str, events: &[HistoryEvent]) {
    check_events(
        id,
        events,
        &[
            EventType::WorkflowExecutionStarted,
            EventType::TimerStarted,
            EventType::TimerFired,
            EventType::ActivityTaskScheduled,
            EventType::ActivityTaskCompleted,
            EventType::StartChildWorkflowExecutionInitiated,
            EventType::ChildWorkflowExecutionStarted,
            EventType::ChildWorkflowExecutionCompleted,
            EventType::WorkflowExecutionCompleted,
        ],
    );
    assert_eq!(count(events, EventType::WorkflowExecutionSignaled), SIGNALS + 1, "{id}: its child has signalled it once");
    assert_eq!(signals(events), (0..SIGNALS).map(|number| format!("signal-{id}-s{number}")).collect::<Vec<_>>(), "{id}");
    let Some(Event::WorkflowExecutionStartedEventAttributes(started)) = &events[0].attributes else { panic!("{id} begins otherwise") };
    assert_eq!(started.original_execution_run_id, run, "{id}: the run that was acknowledged");
}

/// A child was there once, has signalled its parent, and has ended.
fn check_child(id: &str, events: &[HistoryEvent]) {
    check_events(
        id,
        events,
        &[
            EventType::WorkflowExecutionStarted,
            EventType::SignalExternalWorkflowExecutionInitiated,
            EventType::ExternalWorkflowExecutionSignaled,
            EventType::WorkflowExecutionCompleted,
        ],
    );
}

/// Events of these kinds are there once, the last one of them at the end.
fn check_events(id: &str, events: &[HistoryEvent], once: &[EventType]) {
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, (1..=events.len() as i64).collect::<Vec<_>>(), "{id}: ids without gaps");
    for &kind in once {
        assert_eq!(count(events, kind), 1, "{id}: {kind:?}");
    }
    assert_eq!(events.last().map(|event| event.event_type), once.last().map(|kind| *kind as i32), "{id}");
}

/// The request ids of the signals of clients, in their order.
pub(crate) fn signals(events: &[HistoryEvent]) -> Vec<String> {
    let signal = |event: &HistoryEvent| match &event.attributes {
        Some(Event::WorkflowExecutionSignaledEventAttributes(signal)) if signal.external_workflow_execution.is_none() => {
            Some(signal.request_id.clone())
        }
        _ => None,
    };
    events.iter().filter_map(signal).collect()
}

/// Polls one node while it answers, then another.
macro_rules! polls {
    ($clients:expr, $method:ident, $request:expr) => {
        loop {
            let place = $clients.polled();
            let Some(mut client) = $clients.town.client_at(place) else {
                $clients.poll_another_than(place);
                a_little().await;
                continue;
            };
            let mut request = Request::new($request.clone());
            request.set_timeout(Duration::from_millis(2500));
            match client.$method(request).await {
                Ok(task) if task.get_ref().task_token.is_empty() => {}
                Ok(task) => break task.into_inner(),
                Err(status) => {
                    let is_usual = may_be_repeated(&status) || status.code() == Code::DeadlineExceeded;
                    assert!(is_usual, "a worker must not see {status:?}");
                    $clients.poll_another_than(place);
                    a_little().await;
                }
            }
        }
    };
}

async fn work(clients: Arc<Clients>) {
    let request = PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue("work"), ..Default::default() };
    loop {
        let task: PollWorkflowTaskQueueResponse = polls!(clients, poll_workflow_task_queue, request);
        let id = task.workflow_execution.expect("a run").workflow_id;
        let commands = commands(&id, &task.history.unwrap_or_default().events().expect("events"));
        let request = RespondWorkflowTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token,
            commands,
            ..Default::default()
        };
        let answered = clients.town.call("a workflow task", |mut client| {
            let request = request.clone();
            async move { client.respond_workflow_task_completed(request).await.map(drop) }
        });
        is_done(answered.await);
    }
}

async fn act(clients: Arc<Clients>) {
    let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue("work"), ..Default::default() };
    loop {
        let task: PollActivityTaskQueueResponse = polls!(clients, poll_activity_task_queue, request);
        let request =
            RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: task.task_token, ..Default::default() };
        let answered = clients.town.call("an activity task", |mut client| {
            let request = request.clone();
            async move { client.respond_activity_task_completed(request).await.map(drop) }
        });
        is_done(answered.await);
    }
}

/// A worker whose answer came late, or was repeated, is told that there is no such task any more, or that something has come in between.
#[track_caller]
fn is_done(answered: Result<(), Status>) {
    if let Err(status) = answered {
        assert!(matches!(status.code(), Code::NotFound | Code::InvalidArgument), "a worker must not see {status:?}");
    }
}
