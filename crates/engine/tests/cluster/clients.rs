//! Who starts, signals and looks at workflows, and the workers of them. Clients call whoever has a run, by the picture; workers poll a node,
//! which sends the poll on to the home of its queue.

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
        Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
        SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes, StartTimerCommandAttributes,
        command::Attributes,
    },
    common::{ActivityType, WorkflowExecution, WorkflowType},
    enums::{CommandType, EventType, TaskQueueKind, WorkflowExecutionStatus},
    history::{HistoryEvent, history_event::Attributes as Event},
    taskqueue::TaskQueue,
    workflowservice::*,
};
use sempre_core::{
    NamespaceId, Refusal, Span, WorkflowKey,
    ids::Uuid,
    transition::{QueueKind, QueueName},
};
use sempre_engine::Engine;
use tokio::task::JoinSet;

use super::host::{LONGEST, Member, OUTSIDE, SHARDS, Town};

pub(crate) const NAMESPACE: &str = "town";
/// Types of workflows.
const TEST: &str = "Test";
const CHILD: &str = "Child";
/// How long a client waits for one answer: a node that stands still gives none.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// As long as a poll waits, and a little more.
const POLL_MAX: Duration = Duration::from_secs(6);

/// What clients know.
pub(crate) struct Clients {
    pub(crate) town: Arc<Town>,
    namespace: NamespaceId,
    /// Runs whose start was acknowledged, by workflow id, and how many of their signals were.
    runs: Mutex<BTreeMap<String, u32>>,
    next: AtomicU64,
    stops: AtomicBool,
    /// Calls that had to be repeated.
    repeated: AtomicU64,
    /// Lists that were answered, each by some node.
    lists: AtomicU64,
    /// The longest time that a call took, with all its repetitions.
    longest: Mutex<Duration>,
}

pub(crate) fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "work".into(), kind: TaskQueueKind::Normal as i32, ..Default::default() })
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }
}

fn first_commands(id: &str) -> Vec<Command> {
    let child = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: format!("{id}-child"),
        workflow_type: Some(WorkflowType { name: CHILD.into() }),
        task_queue: queue(),
        workflow_task_timeout: Some(Span::seconds(2).to_api()),
        ..Default::default()
    };
    let timer = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: Some(Span::millis(300).to_api()) };
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: queue(),
        start_to_close_timeout: Some(Span::seconds(3).to_api()),
        ..Default::default()
    };
    vec![
        command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(timer)),
        command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(activity))),
        command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(child))),
    ]
}

fn complete() -> Vec<Command> {
    let result = CompleteWorkflowExecutionCommandAttributes::default();
    vec![command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(result))]
}

/// What a workflow does: a timer, an activity and a child at once; when all have ended and it was signalled by a client and by its child, it
/// completes. The child, which is of any shard, signals its parent, then completes. Others complete at once.
fn commands(id: &str, events: &[HistoryEvent]) -> Vec<Command> {
    let count = |kind: EventType| events.iter().filter(|event| event.event_type == kind as i32).count();
    let has = |kind: EventType| count(kind) > 0;
    let Some(Event::WorkflowExecutionStartedEventAttributes(started)) = &events[0].attributes else { panic!("{:?}", events[0]) };
    match started.workflow_type.as_ref().unwrap().name.as_str() {
        TEST if !has(EventType::TimerStarted) => first_commands(id),
        TEST if has(EventType::TimerFired)
            && has(EventType::ActivityTaskCompleted)
            && has(EventType::ChildWorkflowExecutionCompleted)
            && count(EventType::WorkflowExecutionSignaled) > 1 =>
        {
            complete()
        }
        TEST => Vec::new(),
        CHILD if !has(EventType::SignalExternalWorkflowExecutionInitiated) => {
            let parent = started.parent_workflow_execution.clone();
            let signal =
                SignalExternalWorkflowExecutionCommandAttributes { execution: parent, signal_name: CHILD.into(), ..Default::default() };
            let signal = Attributes::SignalExternalWorkflowExecutionCommandAttributes(signal);
            vec![command(CommandType::SignalExternalWorkflowExecution, signal)]
        }
        CHILD if !has(EventType::ExternalWorkflowExecutionSignaled) => Vec::new(),
        _ => complete(),
    }
}

fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), ..Default::default() })
}

impl Clients {
    /// The first node makes the namespace; those who come later read it.
    pub(crate) fn new(town: &Arc<Town>, first: &Member) -> Arc<Clients> {
        let namespace = OUTSIDE.block_on(async {
            first.engine.ensure_namespace(NAMESPACE, Span::seconds(86_400)).await.unwrap();
            let request = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
            let described = first.engine.describe_namespace(request).await.unwrap();
            NamespaceId(Uuid::parse(&described.namespace_info.unwrap().id).unwrap())
        });
        Arc::new(Clients {
            town: town.clone(),
            namespace,
            runs: Mutex::default(),
            next: AtomicU64::new(0),
            stops: AtomicBool::new(false),
            repeated: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            longest: Mutex::default(),
        })
    }

    /// The shard of a run.
    pub(crate) fn shard(&self, id: &str) -> u32 {
        u32::from(WorkflowKey { namespace: self.namespace, workflow_id: id.into() }.slot().0) % SHARDS
    }

    /// A workflow id of this shard that begins so.
    pub(crate) fn id_of(&self, shard: u32, begin: &str) -> String {
        (0..).map(|n| format!("{begin}-{n}")).find(|id| self.shard(id) == shard).unwrap()
    }

    /// Calls whoever has the run, again and again until there is an answer.
    pub(crate) async fn call<T, F: Future<Output = Result<T, Refusal>>>(&self, id: &str, ask: impl Fn(Engine) -> F) -> Result<T, Refusal> {
        self.call_at(self.shard(id), id, ask).await
    }

    /// Calls whoever has the shard.
    pub(crate) async fn call_at<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        shard: u32,
        id: &str,
        ask: impl Fn(Engine) -> F,
    ) -> Result<T, Refusal> {
        let begun = Instant::now();
        loop {
            let mut last = None;
            if let Some(engine) = self.town.owner(shard) {
                match tokio::time::timeout(ANSWER_MAX, ask(engine)).await {
                    Ok(Err(refusal)) if refusal.may_pass() => last = Some(refusal),
                    Ok(answer) => {
                        let mut longest = self.longest.lock().unwrap();
                        *longest = longest.max(begun.elapsed());
                        return answer;
                    }
                    Err(_) => {}
                }
            }
            assert!(begun.elapsed() < LONGEST, "{id} at shard {shard}: no answer, last {last:?}");
            self.repeated.fetch_add(1, Ordering::Relaxed);
            self.town.wait_a_little().await;
        }
    }

    /// A workflow with the commands above.
    async fn start(&self, id: &str) {
        self.start_on(id, queue()).await;
        self.runs.lock().unwrap().insert(id.into(), 0);
    }

    /// A run whose tasks nobody takes: it has nothing to do by itself.
    pub(crate) async fn start_idle(&self, id: &str) {
        self.start_on(id, Some(TaskQueue { name: "nobody".into(), ..Default::default() })).await;
    }

    async fn start_on(&self, id: &str, task_queue: Option<TaskQueue>) {
        let request = StartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: id.into(),
            workflow_type: Some(WorkflowType { name: TEST.into() }),
            task_queue,
            workflow_task_timeout: Some(Span::seconds(2).to_api()),
            request_id: format!("start-{id}"),
            ..Default::default()
        };
        self.call(id, |engine| {
            let request = request.clone();
            async move { engine.start_workflow(request).await.map(drop) }
        })
        .await
        .unwrap();
    }

    /// Every node shows in lists what was acknowledged by another; one whose lease may have run out, that dies or stands still shows nothing.
    async fn check_listed(&self, id: &str, status: &str) {
        let members = self.town.members();
        let turn = self.lists.load(Ordering::Relaxed) as usize;
        let Some(member) = members.get(turn % members.len().max(1)) else { return };
        let query = format!("WorkflowId = '{id}' AND ExecutionStatus = '{status}'");
        let request = ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query, ..Default::default() };
        match tokio::time::timeout(ANSWER_MAX * 5, member.engine.list_workflows(request)).await {
            Ok(Ok(listed)) => {
                let ids: Vec<_> = listed.executions.iter().filter_map(|run| Some(run.execution.as_ref()?.workflow_id.as_str())).collect();
                assert_eq!(ids, [id], "{status} at {}", member.id());
                self.lists.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(refusal)) => assert!(refusal.may_pass(), "{refusal:?}"),
            Err(_) => {}
        }
    }

    pub(crate) async fn signal(&self, id: &str, name: &str) {
        let request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(id),
            signal_name: name.into(),
            request_id: format!("signal-{id}-{name}"),
            ..Default::default()
        };
        self.call(id, |engine| {
            let request = request.clone();
            async move { engine.signal_workflow(request).await.map(drop) }
        })
        .await
        .unwrap();
        self.runs.lock().unwrap().entry(id.into()).and_modify(|signals| *signals += 1);
    }

    async fn is_completed(&self, id: &str) -> bool {
        let described = self.call(id, |engine| async move { describe(&engine, id).await }).await.unwrap();
        described.workflow_execution_info.unwrap().status == WorkflowExecutionStatus::Completed as i32
    }

    pub(crate) async fn history(&self, id: &str) -> Vec<HistoryEvent> {
        let request = GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: execution(id), ..Default::default() };
        let got = self.call(id, |engine| {
            let request = request.clone();
            async move { engine.get_history(request, Default::default(), None).await }
        });
        got.await.unwrap().history.unwrap().events().unwrap()
    }

    /// The shard of the home of a queue.
    pub(crate) fn home_of(&self, name: &str, kind: QueueKind) -> u32 {
        let queue = QueueName { namespace: self.namespace, name: name.into(), kind, sticky: false, version: None };
        u32::from(queue.home().0) % SHARDS
    }

    /// Who answers a poll that comes to a node: by its picture, the home of the queue.
    fn polled(&self, member: &Member, kind: QueueKind) -> Option<Engine> {
        let holder = member.membership.picture().holders().get(&self.home_of(&queue().unwrap().name, kind)).copied()??;
        self.town.members().into_iter().find(|member| member.id() == holder).map(|member| member.engine)
    }

    /// Workers that poll a node until it is no member any more.
    pub(crate) fn serve(self: &Arc<Self>, member: &Member) {
        for _ in 0..2 {
            OUTSIDE.spawn(work(self.clone(), member.clone()));
            OUTSIDE.spawn(act(self.clone(), member.clone()));
        }
    }

    /// Clients that start, signal and await workflows, one after the other each, until they are told to stop.
    pub(crate) fn go(self: &Arc<Self>, clients: usize) -> JoinSet<()> {
        let mut set = JoinSet::new();
        for _ in 0..clients {
            let this = self.clone();
            set.spawn_on(
                async move {
                    while !this.stops.load(Ordering::Acquire) {
                        let id = format!("run-{}", this.next.fetch_add(1, Ordering::Relaxed));
                        this.start(&id).await;
                        this.check_listed(&id, "Running").await;
                        this.signal(&id, "go").await;
                        let begun = Instant::now();
                        while !this.is_completed(&id).await {
                            if begun.elapsed() > LONGEST {
                                let (own, child) = (this.history(&id).await, this.history(&format!("{id}-child")).await);
                                panic!("{id} does not complete: {own:#?}\nits child: {child:#?}");
                            }
                            this.town.wait_a_little().await;
                        }
                        this.check_listed(&id, "Completed").await;
                    }
                },
                OUTSIDE.handle(),
            );
        }
        set
    }

    /// Runs that were started so far.
    pub(crate) fn started(&self) -> usize {
        self.runs.lock().unwrap().len()
    }

    /// Stops them, and proves that everything acknowledged is there, once. What was seen, for people.
    pub(crate) fn stop(&self, mut set: JoinSet<()>) -> String {
        self.stops.store(true, Ordering::Release);
        OUTSIDE.block_on(async {
            while let Some(ended) = set.join_next().await {
                ended.unwrap();
            }
        });
        let runs = self.runs.lock().unwrap().clone();
        for (id, signals) in &runs {
            check(id, &OUTSIDE.block_on(self.history(id)), *signals);
            let child = format!("{id}-child");
            check_child(&child, &OUTSIDE.block_on(self.history(&child)));
        }
        let lists = self.lists.load(Ordering::Relaxed);
        let messages = self.town.messages.load(Ordering::Relaxed);
        let (repeated, longest) = (self.repeated.load(Ordering::Relaxed), *self.longest.lock().unwrap());
        format!(
            "{} runs, {lists} lists, {messages} messages between nodes, {repeated} calls repeated, the longest took {longest:?}",
            runs.len()
        )
    }
}

/// What one node says of a run.
pub(crate) async fn describe(engine: &Engine, id: &str) -> Result<DescribeWorkflowExecutionResponse, Refusal> {
    engine.describe_workflow(DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: execution(id) }).await
}

/// A run that was acknowledged is there with all that was, once each, and has ended.
fn check(id: &str, events: &[HistoryEvent], signals: u32) {
    // One is the child's.
    let signals = signals as usize + 1;
    let wanted = [
        (EventType::WorkflowExecutionStarted, 1),
        (EventType::WorkflowExecutionSignaled, signals),
        (EventType::StartChildWorkflowExecutionInitiated, 1),
        (EventType::ChildWorkflowExecutionStarted, 1),
        (EventType::ChildWorkflowExecutionCompleted, 1),
        (EventType::TimerStarted, 1),
        (EventType::TimerFired, 1),
        (EventType::ActivityTaskScheduled, 1),
        (EventType::ActivityTaskCompleted, 1),
        (EventType::WorkflowExecutionCompleted, 1),
    ];
    check_events(id, events, &wanted);
}

/// A child was there once, has signalled its parent, and has ended.
fn check_child(id: &str, events: &[HistoryEvent]) {
    let wanted = [
        (EventType::WorkflowExecutionStarted, 1),
        (EventType::SignalExternalWorkflowExecutionInitiated, 1),
        (EventType::ExternalWorkflowExecutionSignaled, 1),
        (EventType::WorkflowExecutionCompleted, 1),
    ];
    check_events(id, events, &wanted);
}

fn check_events(id: &str, events: &[HistoryEvent], wanted: &[(EventType, usize)]) {
    let ids: Vec<i64> = events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids, (1..=events.len() as i64).collect::<Vec<_>>(), "{id}: ids without gaps");
    let count = |kind: EventType| events.iter().filter(|event| event.event_type == kind as i32).count();
    for &(kind, times) in wanted {
        assert_eq!(count(kind), times, "{id}: {kind:?}");
    }
    assert_eq!(events.last().unwrap().event_type, EventType::WorkflowExecutionCompleted as i32, "{id}");
}

async fn work(clients: Arc<Clients>, member: Member) {
    let request = PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue(), ..Default::default() };
    while clients.town.has(member.id()) {
        let Some(home) = clients.polled(&member, QueueKind::Workflow) else {
            clients.town.wait_a_little().await;
            continue;
        };
        // One that stands still answers nothing: the line to it ends.
        let polled = tokio::time::timeout(POLL_MAX, home.poll_workflow_task(request.clone(), None)).await;
        let Ok(Ok(task)) = polled else {
            clients.town.wait_a_little().await;
            continue;
        };
        let Some(execution) = task.workflow_execution else { continue };
        let commands = commands(&execution.workflow_id, &task.history.unwrap_or_default().events().unwrap());
        let request = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
        let answered = clients.call(&execution.workflow_id, |engine| {
            let request = request.clone();
            async move { engine.respond_workflow_task_completed(request).await.map(drop) }
        });
        is_done(answered.await);
    }
}

async fn act(clients: Arc<Clients>, member: Member) {
    let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue(), ..Default::default() };
    while clients.town.has(member.id()) {
        let Some(home) = clients.polled(&member, QueueKind::Activity) else {
            clients.town.wait_a_little().await;
            continue;
        };
        let polled = tokio::time::timeout(POLL_MAX, home.poll_activity_task(request.clone(), None)).await;
        let Ok(Ok(task)) = polled else {
            clients.town.wait_a_little().await;
            continue;
        };
        let Some(execution) = task.workflow_execution else { continue };
        let request = RespondActivityTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
        let answered = clients.call(&execution.workflow_id, |engine| {
            let request = request.clone();
            async move { engine.respond_activity_task_completed(request).await.map(drop) }
        });
        is_done(answered.await);
    }
}

/// A worker whose answer came late, or was repeated, is told that there is no such task any more.
#[track_caller]
fn is_done(answered: Result<(), Refusal>) {
    assert!(matches!(answered, Ok(()) | Err(Refusal::NotFound(_) | Refusal::InvalidArgument(_))), "{answered:?}");
}
