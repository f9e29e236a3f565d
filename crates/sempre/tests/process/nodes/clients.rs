//! Who starts, signals and awaits workflows at any node, and the workers of them, which poll every node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::{
    command::{
        Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, StartTimerCommandAttributes,
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

use super::town::{LONGEST, NODES, Town, a_little, may_be_repeated};

pub(crate) const NAMESPACE: &str = "default";
/// Signals of each workflow, which it awaits.
const SIGNALS: usize = 3;
/// Workers of either kind at each node.
const WORKERS: usize = 2;

/// What clients know.
pub(crate) struct Clients {
    town: Arc<Town>,
    /// Runs whose start was acknowledged, with their run ids.
    runs: Mutex<BTreeMap<String, String>>,
    next: AtomicU64,
    stops: AtomicBool,
    /// The longest time that a call took, with all its repetitions.
    longest: Mutex<Duration>,
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

/// What the workflow does: a timer and an activity at once; when both have ended and it has all its signals, it completes.
fn commands(events: &[HistoryEvent]) -> Vec<Command> {
    if count(events, EventType::TimerStarted) == 0 {
        let timer = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: Some(Span::millis(300).to_api()) };
        let activity = ScheduleActivityTaskCommandAttributes {
            activity_id: "a".into(),
            activity_type: Some(ActivityType { name: "Act".into() }),
            task_queue: queue("work"),
            start_to_close_timeout: Some(Span::seconds(4).to_api()),
            ..Default::default()
        };
        return vec![
            command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(timer)),
            command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(activity))),
        ];
    }
    let has_ended = count(events, EventType::TimerFired) == 1 && count(events, EventType::ActivityTaskCompleted) == 1;
    if has_ended && count(events, EventType::WorkflowExecutionSignaled) == SIGNALS {
        let result = CompleteWorkflowExecutionCommandAttributes::default();
        return vec![command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(result))];
    }
    Vec::new()
}

pub(crate) fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), ..Default::default() })
}

/// A start, acknowledged by some node; gives the run id.
pub(crate) async fn start(town: &Town, id: &str, task_queue: &str) -> Result<String, Status> {
    let request = StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Test".into() }),
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
    /// With workers at each place, until they are told to stop.
    pub(crate) fn new(town: &Arc<Town>) -> (Arc<Clients>, JoinSet<()>) {
        let clients = Arc::new(Clients {
            town: Arc::clone(town),
            runs: Mutex::default(),
            next: AtomicU64::new(0),
            stops: AtomicBool::new(false),
            longest: Mutex::default(),
        });
        let mut workers = JoinSet::new();
        for place in 0..NODES {
            for _ in 0..WORKERS {
                workers.spawn(work(Arc::clone(&clients), place));
                workers.spawn(act(Arc::clone(&clients), place));
            }
        }
        (clients, workers)
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
        let begun = Instant::now();
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
            assert!(begun.elapsed() < LONGEST, "{id} does not complete");
            a_little().await;
        }
        Ok(())
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
        }
        let longest = *self.longest.lock().expect("no panic");
        format!("{} runs, {} calls repeated, the longest took {longest:?}", runs.len(), self.town.repeated())
    }
}

/// A run that was acknowledged is there with all that was, once each, and has ended.
fn check(id: &str, run: &str, events: &[HistoryEvent]) {
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, (1..=events.len() as i64).collect::<Vec<_>>(), "{id}: ids without gaps");
    for kind in [
        EventType::WorkflowExecutionStarted,
        EventType::TimerStarted,
        EventType::TimerFired,
        EventType::ActivityTaskScheduled,
        EventType::ActivityTaskCompleted,
        EventType::WorkflowExecutionCompleted,
    ] {
        assert_eq!(count(events, kind), 1, "{id}: {kind:?}");
    }
    assert_eq!(events.last().map(|event| event.event_type), Some(EventType::WorkflowExecutionCompleted as i32), "{id}");
    assert_eq!(signals(events), (0..SIGNALS).map(|number| format!("signal-{id}-s{number}")).collect::<Vec<_>>(), "{id}");
    let Some(Event::WorkflowExecutionStartedEventAttributes(started)) = &events[0].attributes else { panic!("{id} begins otherwise") };
    assert_eq!(started.original_execution_run_id, run, "{id}: the run that was acknowledged");
}

/// The request ids of the signals, in their order.
pub(crate) fn signals(events: &[HistoryEvent]) -> Vec<String> {
    let signal = |event: &HistoryEvent| match &event.attributes {
        Some(Event::WorkflowExecutionSignaledEventAttributes(signal)) => Some(signal.request_id.clone()),
        _ => None,
    };
    events.iter().filter_map(signal).collect()
}

/// Polls one node while it is there.
macro_rules! polls {
    ($clients:expr, $place:expr, $method:ident, $request:expr) => {
        loop {
            let Some(mut client) = $clients.town.client_at($place) else {
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
                    a_little().await;
                }
            }
        }
    };
}

async fn work(clients: Arc<Clients>, place: usize) {
    let request = PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue("work"), ..Default::default() };
    loop {
        let task: PollWorkflowTaskQueueResponse = polls!(clients, place, poll_workflow_task_queue, request);
        let commands = commands(&task.history.unwrap_or_default().events().expect("events"));
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

async fn act(clients: Arc<Clients>, place: usize) {
    let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue("work"), ..Default::default() };
    loop {
        let task: PollActivityTaskQueueResponse = polls!(clients, place, poll_activity_task_queue, request);
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
