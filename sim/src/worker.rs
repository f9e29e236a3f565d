//! Workers: they poll, run scripts and activities, and answer; some of them badly, late, or never.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{self, Either},
};
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::{QueryResultType, TaskQueueKind, WorkflowTaskFailedCause},
    history::HistoryEvent,
    query::WorkflowQueryResult,
    taskqueue::{StickyExecutionAttributes, TaskQueue},
    workflowservice::*,
};
use sempre_core::{RunId, Span, keys};
use sempre_engine::HistoryReader;

use crate::{
    attempts,
    ending::last_event,
    executor::WORLD,
    handlers::{self, Answers},
    network::{Answer, Call, call},
    oracle::{Asked, Completion, Handed},
    random::{Random, mix},
    script::{self, Facts, QUEUE, failure, payloads, queue},
    world::{CALLERS, NAMESPACE, World, lock},
};

/// Tries of an answer whose fate is unknown.
const TRIES: u32 = 6;
/// From this attempt on an activity succeeds.
const ATTEMPTS_BAD: i32 = 4;
/// Stream of what is answered late.
const LATE_STREAM: u64 = 5000;

/// Starts the workers of the plan. Each has a poller of either kind, and dies as often as its share says.
pub fn start_all(world: &Arc<World>) {
    for n in 0..world.plan.workers {
        let random = Random::new(world.plan.seed, CALLERS + 800 + n);
        world.executor.spawn(WORLD, "worker", worker(world.clone(), n, random).boxed());
    }
}

/// A worker's process: lives, dies with all it has in hand, and comes back.
async fn worker(world: Arc<World>, n: u64, mut random: Random) {
    let deaths = world.plan.worker_deaths / world.plan.workers.max(1);
    for life in 0.. {
        let (one, two) = (Random::new(random.any(), 1), Random::new(random.any(), 2));
        let name = format!("worker-{n}-{life}");
        let work = future::join3(
            workflows(world.clone(), name.clone(), None, one.clone()),
            workflows(world.clone(), name.clone(), Some(format!("sticky-{name}")), Random::new(random.any(), 3)),
            activities(world.clone(), name.clone(), two),
        );
        if life >= deaths {
            work.await;
            return;
        }
        let life = world.time.sleep(Span::millis(random.between(10, 40_000) as i64));
        if let Either::Right(_) = future::select(Box::pin(work), life).await {
            world.tell(format_args!("{name} dies"));
        }
        let away = Span::millis(random.between(1, 5000) as i64);
        world.time.sleep(away).await;
    }
}

fn faults(world: &World) -> u32 {
    if world.is_healed() { 0 } else { world.plan.worker_faults }
}

/// Says something to the server until it has heard it, or says no. True when it was done by this call.
pub(crate) async fn insist<T: Send + 'static>(world: &Arc<World>, random: &mut Random, make: impl Fn() -> Call<T>) -> Option<T> {
    for _ in 0..TRIES {
        match call(world, random, make()).await {
            Answer::Done(done) => return Some(done),
            Answer::Refused(refusal) if !refusal.may_pass() => return None,
            Answer::Refused(_) | Answer::Unknown => {}
        }
        let pause = Span::millis(random.between(20, 1500) as i64);
        world.time.sleep(pause).await;
    }
    None
}

// --- workflow tasks ---

async fn workflows(world: Arc<World>, name: String, sticky: Option<String>, mut random: Random) {
    loop {
        let task_queue = match &sticky {
            None => queue(),
            Some(name) => TaskQueue { name: name.clone(), kind: TaskQueueKind::Sticky as i32, normal_name: QUEUE.into() },
        };
        let request = PollWorkflowTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: Some(task_queue),
            identity: name.clone(),
            ..Default::default()
        };
        let at = world.clone();
        let poll = Call::new("poll workflow task", move |engine| {
            let request = request.clone();
            async move { engine.poll_workflow_task(request, None).await }
        });
        match call(&world, &mut random, poll.poll().looked(move |task| started_too_early(&at, task))).await {
            Answer::Done(task) if !task.task_token.is_empty() => workflow_task(&world, &name, &mut random, task).await,
            Answer::Done(_) => {}
            Answer::Refused(_) | Answer::Unknown => world.time.sleep(Span::millis(200)).await,
        }
    }
}

/// A started task's events are durable before anybody has it.
fn started_too_early(world: &World, task: &PollWorkflowTaskQueueResponse) -> Option<String> {
    if task.task_token.is_empty() || task.query.is_some() {
        return None;
    }
    let execution = task.workflow_execution.as_ref()?;
    let (workflow, run) = (world.workflow(&execution.workflow_id)?, RunId::parse(&execution.run_id)?);
    let written = task.attempt == 1 && task.messages.is_empty();
    let least = if written { task.started_event_id } else { task.started_event_id - 2 };
    let last = last_event(&world.disk, &keys::run(workflow.slot(), run));
    (last < least).then(|| format!("{execution:?} has {last} durable events and a task with event {least}"))
}

pub(crate) async fn workflow_task(world: &Arc<World>, name: &str, random: &mut Random, task: PollWorkflowTaskQueueResponse) {
    let Some(execution) = task.workflow_execution.clone() else { return };
    if task.query.is_none() && task.messages.is_empty() {
        let handed = Handed::Workflow(execution.run_id.clone(), task.started_event_id, task.attempt);
        *lock(&world.oracle).handed.entry(handed).or_default() += 1;
    }
    world.tell(format_args!(
        "{name}: task {} of {} {} attempt {}",
        task.started_event_id, execution.workflow_id, execution.run_id, task.attempt
    ));
    let think = Span(random.between(10, 50_000) as i64 * 1000);
    world.time.sleep(think).await;
    let bad = random.permille(faults(world));
    if bad && random.permille(400) {
        world.tell(format_args!("{name}: forgets the task"));
        return;
    }
    if bad && random.permille(300) {
        // Too late, perhaps.
        let late = Span::millis(random.between(1000, 30_000) as i64);
        world.time.sleep(late).await;
    }
    let Some(events) = whole_history(world, random, &execution, &task).await else { return };
    if task.query.is_some() {
        return answer_query(world, random, &task.task_token).await;
    }
    if bad && random.permille(300) {
        return fail_task(world, random, task.task_token).await;
    }
    let facts = Facts::of(&events);
    let answers = if bad && random.permille(200) { Answers::default() } else { handlers::answer(&events, &task.messages, random) };
    // A workflow that only rejects may have nothing else to say, and then nothing is left of the task.
    let says_nothing = answers.only_rejects && facts.waits_for_something() && random.permille(600);
    let decided = if says_nothing { Vec::new() } else { script::decide(&facts, world.plan.workflows) };
    let mut names = script::names_of(&decided);
    names.extend(answers.names);
    let mut commands = answers.commands;
    commands.extend(decided);
    // Nor is it of one that forgets the updates it was brought for, and has nothing to say: they are rejected for it.
    let leaves_trace = !says_nothing && (!commands.is_empty() || !answers.messages.is_empty());
    let sticky = random.permille(400);
    let request = RespondWorkflowTaskCompletedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token.clone(),
        commands,
        messages: answers.messages,
        identity: name.to_owned(),
        sticky_attributes: sticky.then(|| StickyExecutionAttributes {
            worker_task_queue: Some(TaskQueue {
                name: format!("sticky-{name}"),
                kind: TaskQueueKind::Sticky as i32,
                normal_name: QUEUE.into(),
            }),
            schedule_to_start_timeout: Some(Span::seconds(5).to_api()),
        }),
        query_results: task
            .queries
            .keys()
            .map(|id| {
                let result = WorkflowQueryResult {
                    result_type: QueryResultType::Answered as i32,
                    answer: Some(payloads("answer")),
                    ..Default::default()
                };
                (id.clone(), result)
            })
            .collect(),
        return_new_workflow_task: random.permille(300),
        ..Default::default()
    };
    let done = insist(world, random, || {
        let (request, at, execution, names) = (request.clone(), world.clone(), execution.clone(), names.clone());
        Call::new("complete workflow task", move |engine| {
            let request = request.clone();
            async move { engine.respond_workflow_task_completed(request).await }
        })
        .looked(move |_| names.iter().find_map(|name| missing(&at, &execution, name)))
    })
    .await;
    let Some(done) = done else { return };
    if leaves_trace {
        lock(&world.oracle).completions.push(Completion { run: execution.run_id.clone(), started: task.started_event_id, names });
    }
    // Eager tasks that come with the answer.
    for eager in done.activity_tasks {
        activity(world, name, random, eager).await;
    }
    if let Some(next) = done.workflow_task
        && !next.task_token.is_empty()
    {
        Box::pin(workflow_task(world, name, random, next)).await;
    }
}

/// What must be durable of a run, and is not.
pub(crate) fn missing(world: &World, execution: &WorkflowExecution, text: &str) -> Option<String> {
    let (workflow, run) = (world.workflow(&execution.workflow_id)?, RunId::parse(&execution.run_id)?);
    let there = world.disk.holds(&keys::run(workflow.slot(), run), text.as_bytes());
    (!there).then(|| format!("{execution:?} has no durable {text}"))
}

/// The history of a task, all pages. A sticky task brings only a part: the worker asks for the rest.
async fn whole_history(
    world: &Arc<World>,
    random: &mut Random,
    execution: &WorkflowExecution,
    task: &PollWorkflowTaskQueueResponse,
) -> Option<Vec<HistoryEvent>> {
    let mut events = task.history.as_ref().map(|history| history.events().unwrap_or_default()).unwrap_or_default();
    let mut token = task.next_page_token.clone();
    if events.first().is_none_or(|event| event.event_id != 1) {
        // The cache of a worker that has forgotten the run.
        events.clear();
        token = Bytes::new();
    } else if token.is_empty() {
        return Some(events);
    }
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.into(),
            execution: Some(execution.clone()),
            next_page_token: token.clone(),
            ..Default::default()
        };
        let page = insist(world, random, || {
            let request = request.clone();
            Call::new("history", move |engine| {
                let request = request.clone();
                async move { engine.get_history(request, HistoryReader::default(), None).await }
            })
        })
        .await?;
        events.extend(page.history.map(|history| history.events().unwrap_or_default()).unwrap_or_default());
        token = page.next_page_token;
        if token.is_empty() {
            // A later read may see more than the task: what came after it was started is not yet this task's.
            events.retain(|event| task.started_event_id == 0 || event.event_id <= task.started_event_id);
            return Some(events);
        }
    }
}

async fn answer_query(world: &Arc<World>, random: &mut Random, token: &Bytes) {
    let request = RespondQueryTaskCompletedRequest {
        task_token: token.clone(),
        completed_type: QueryResultType::Answered as i32,
        query_result: Some(payloads("answer")),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    insist(world, random, || {
        let request = request.clone();
        Call::new("answer query", move |engine| {
            let request = request.clone();
            async move { engine.respond_query_task_completed(request).await }
        })
    })
    .await;
}

async fn fail_task(world: &Arc<World>, random: &mut Random, token: Bytes) {
    let request = RespondWorkflowTaskFailedRequest {
        task_token: token,
        cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure as i32,
        failure: Some(failure("simulated", false)),
        identity: "worker".into(),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    insist(world, random, || {
        let request = request.clone();
        Call::new("fail workflow task", move |engine| {
            let request = request.clone();
            async move { engine.respond_workflow_task_failed(request).await }
        })
    })
    .await;
}

// --- activity tasks ---

async fn activities(world: Arc<World>, name: String, mut random: Random) {
    loop {
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: Some(queue()),
            identity: name.clone(),
            ..Default::default()
        };
        let poll = Call::new("poll activity task", move |engine| {
            let request = request.clone();
            async move { engine.poll_activity_task(request, None).await }
        });
        let at = world.clone();
        let begun = move |task: &PollActivityTaskQueueResponse| attempts::handed_too_early(&at, &task.task_token);
        match call(&world, &mut random, poll.poll().looked(begun)).await {
            Answer::Done(task) if !task.task_token.is_empty() => activity(&world, &name, &mut random, task).await,
            Answer::Done(_) => {}
            Answer::Refused(_) | Answer::Unknown => world.time.sleep(Span::millis(200)).await,
        }
    }
}

async fn activity(world: &Arc<World>, name: &str, random: &mut Random, task: PollActivityTaskQueueResponse) {
    let Some(execution) = task.workflow_execution.clone() else { return };
    let handed = Handed::Activity(execution.run_id.clone(), task.activity_id.clone(), task.attempt);
    *lock(&world.oracle).handed.entry(handed).or_default() += 1;
    world.tell(format_args!("{name}: activity {} of {} attempt {}", task.activity_id, execution.workflow_id, task.attempt));
    let good = world.is_healed() || task.attempt >= ATTEMPTS_BAD;
    let think = Span(random.between(10, 2_000_000) as i64 * 1000);
    world.time.sleep(think).await;
    if !good && random.permille(120) {
        world.tell(format_args!("{name}: forgets activity {}", task.activity_id));
        let scheduled = task.scheduled_time.map_or(0, |at| at.nanos as u64);
        let mut late = Random::new(world.plan.seed, mix(&[LATE_STREAM, scheduled, task.attempt as u64]));
        if late.permille(world.plan.late_answers) {
            let (at, name) = (world.clone(), name.to_owned());
            world.spawn_beside("late answer", async move {
                // By now another attempt may have been given out.
                let wait = Span::millis(late.between(500, 60_000) as i64);
                at.time.sleep(wait).await;
                complete(&at, &name, &mut late, &task).await;
            });
        }
        return;
    }
    let mut canceled = false;
    for _ in 0..random.below(3) {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: task.task_token.clone(),
            details: Some(payloads("alive")),
            identity: name.to_owned(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let beat = insist(world, random, || {
            let (request, at, token) = (request.clone(), world.clone(), task.task_token.clone());
            Call::new("heartbeat", move |engine| {
                let request = request.clone();
                async move { engine.record_activity_heartbeat(request).await }
            })
            .looked(move |answer| attempts::beaten_too_early(&at, &token, answer.cancel_requested))
        });
        match beat.await {
            Some(answer) => canceled |= answer.cancel_requested,
            None if !random.permille(200) => return,
            None => {}
        }
        let pause = Span(random.between(10, 3_000_000) as i64 * 1000);
        world.time.sleep(pause).await;
    }
    if canceled && random.permille(700) {
        let request = RespondActivityTaskCanceledRequest {
            task_token: task.task_token.clone(),
            identity: name.to_owned(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        insist(world, random, || {
            let (request, at, token) = (request.clone(), world.clone(), task.task_token.clone());
            Call::new("activity canceled", move |engine| {
                let request = request.clone();
                async move { engine.respond_activity_task_canceled(request).await }
            })
            .looked(move |_| attempts::ended_too_early(&at, &token))
        })
        .await;
        return;
    }
    if !good && random.permille(250) {
        let request = RespondActivityTaskFailedRequest {
            task_token: task.task_token.clone(),
            failure: Some(failure("simulated", random.permille(200))),
            identity: name.to_owned(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        insist(world, random, || {
            let (request, at, token) = (request.clone(), world.clone(), task.task_token.clone());
            Call::new("activity failed", move |engine| {
                let request = request.clone();
                async move { engine.respond_activity_task_failed(request).await }
            })
            .looked(move |_| attempts::ended_too_early(&at, &token))
        })
        .await;
        return;
    }
    complete(world, name, random, &task).await;
}

async fn complete(world: &Arc<World>, name: &str, random: &mut Random, task: &PollActivityTaskQueueResponse) {
    let Some(execution) = task.workflow_execution.clone() else { return };
    let marker = format!("<res-{}-{}-{}-{}>", execution.run_id, task.activity_id, task.attempt, random.any());
    let request = RespondActivityTaskCompletedRequest {
        task_token: task.task_token.clone(),
        result: Some(payloads(&marker)),
        identity: name.to_owned(),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    let done = insist(world, random, || {
        let (request, at, execution, marker) = (request.clone(), world.clone(), execution.clone(), marker.clone());
        Call::new("activity completed", move |engine| {
            let request = request.clone();
            async move { engine.respond_activity_task_completed(request).await }
        })
        .looked(move |_| missing(&at, &execution, &marker))
    })
    .await;
    lock(&world.oracle).results.push(Asked {
        workflow: execution.workflow_id,
        run: Some(execution.run_id),
        marker,
        request_id: String::new(),
        acknowledged: done.is_some(),
    });
}
