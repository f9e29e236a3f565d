//! Clients: each starts one workflow and calls about it; who gets no answer asks again with the same request id.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::FutureExt;
use sempre_api::v1::{
    common::{RetryPolicy, WorkflowExecution, WorkflowType},
    enums::{UpdateWorkflowExecutionLifecycleStage, WorkflowIdConflictPolicy},
    query::WorkflowQuery,
    update::WaitPolicy,
    workflowservice::{
        execute_multi_operation_request::{Operation as MultiOperation, operation::Operation as MultiAsked},
        execute_multi_operation_response::response::Response as MultiAnswer,
        *,
    },
};
use sempre_core::Span;
use sempre_engine::HistoryReader;

use crate::{
    acts::{activities, ask, batches, execution, pauses, resets, updates},
    ending::{name, runs_of},
    executor::WORLD,
    network::{Answer, Call, call},
    oracle::{Asked, Start},
    random::{Random, mix},
    script::{Input, payloads, priority, queue, text_of},
    worker::{self, missing},
    world::{CALLERS, NAMESPACE, World, lock},
};

/// Calls begin within this time.
const WITHIN_MS: u64 = 20_000;

/// Starts the clients of the plan.
pub fn start_all(world: &Arc<World>) {
    for n in 0..world.plan.workflows {
        let random = Random::new(world.plan.seed, CALLERS + n);
        world.spawn_busy("client", client(world.clone(), n, random));
    }
}

async fn client(world: Arc<World>, n: u64, mut random: Random) {
    let workflow = format!("w{n}");
    let wait = Span(random.below(WITHIN_MS * 1000) as i64 * 1000);
    world.time.sleep(wait).await;
    // Its runs may be followed by others, and have no child that waits for their end.
    let goes_on = random.permille(550);
    let run = start(&world, &mut random, &workflow, goes_on).await;
    for k in 0..world.plan.calls {
        let pause = Span(random.below(8_000_000) as i64 * 1000);
        world.time.sleep(pause).await;
        // By its id alone, or by the run.
        let named = run.clone().filter(|_| random.permille(500)).unwrap_or_default();
        let acts = if world.plan.wide == 0 { 16 } else { 29 };
        match random.below(acts) {
            0..=5 => signal(&world, &mut random, &workflow, &named, k).await,
            6 => cancel(&world, &mut random, &workflow, &named, k).await,
            7 => terminate(&world, &mut random, &workflow, &named, k).await,
            8 | 9 => query(&world, &mut random, &workflow).await,
            10 | 11 => describe(&world, &mut random, &workflow, run.as_deref()).await,
            12 | 13 => history(&world, &mut random, &workflow, &named).await,
            14 | 15 => list(&world, &mut random, &workflow, run.is_some()).await,
            16..=20 => updates::update(&world, &mut random, &workflow, &named, k).await,
            21 | 22 => pauses::pause(&world, &mut random, &workflow, &named, k).await,
            23 | 24 => activities::operate(&world, &mut random, &workflow, &named, k).await,
            25 | 26 if goes_on => resets::reset(&world, &mut random, &workflow, &named, k).await,
            27 if world.nodes() == 1 => batches::job(&world, &mut random, &workflow, k).await,
            28 => again(&world, &mut random, &workflow, goes_on, k).await,
            _ => query(&world, &mut random, &workflow).await,
        }
    }
}

/// A start, in one of the ways there are.
#[derive(Clone)]
enum How {
    Plain(Box<StartWorkflowExecutionRequest>),
    Signal(Box<SignalWithStartWorkflowExecutionRequest>),
    Update(ExecuteMultiOperationRequest, String),
}

/// What a start was answered with.
struct Started {
    run: String,
    eager: Option<PollWorkflowTaskQueueResponse>,
    update: Option<UpdateWorkflowExecutionResponse>,
}

fn call_of(how: &How, world: &Arc<World>) -> Call<Started> {
    match how.clone() {
        How::Plain(request) => Call::new("start", move |engine| {
            let request = request.clone();
            async move {
                let done = engine.start_workflow(*request).await?;
                Ok(Started { run: done.run_id, eager: done.eager_workflow_task, update: None })
            }
        }),
        How::Signal(request) => Call::new("signal with start", move |engine| {
            let request = request.clone();
            async move { Ok(Started { run: engine.signal_with_start(*request).await?.run_id, eager: None, update: None }) }
        }),
        How::Update(request, _) => {
            let world = world.clone();
            Call::new("update with start", move |engine| {
                let (request, deadline) = (request.clone(), world.time.server_deadline(Span::seconds(10)));
                async move {
                    let mut started = Started { run: String::new(), eager: None, update: None };
                    for answer in engine.execute_multi_operation(request, Some(deadline), || {}).await?.responses {
                        match answer.response {
                            Some(MultiAnswer::StartWorkflow(done)) => started.run = done.run_id,
                            Some(MultiAnswer::UpdateWorkflow(done)) => started.update = Some(done),
                            None => {}
                        }
                    }
                    Ok(started)
                }
            })
        }
    }
}

/// One way to make a start.
fn how(random: &mut Random, mut start: StartWorkflowExecutionRequest, wide: bool, marker: &str) -> How {
    match if wide { random.below(10) } else { 9 } {
        0 | 1 => How::Signal(Box::new(SignalWithStartWorkflowExecutionRequest {
            namespace: start.namespace,
            workflow_id: start.workflow_id,
            workflow_type: start.workflow_type,
            task_queue: start.task_queue,
            input: start.input,
            workflow_execution_timeout: start.workflow_execution_timeout,
            workflow_run_timeout: start.workflow_run_timeout,
            workflow_task_timeout: start.workflow_task_timeout,
            identity: start.identity,
            request_id: start.request_id,
            signal_name: "signal".into(),
            signal_input: Some(payloads(marker)),
            retry_policy: start.retry_policy,
            cron_schedule: start.cron_schedule,
            workflow_start_delay: start.workflow_start_delay,
            ..Default::default()
        })),
        2 | 3 => {
            start.workflow_start_delay = None;
            start.cron_schedule = String::new();
            start.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting as i32;
            let id = format!("uws-{}", start.request_id);
            let update = UpdateWorkflowExecutionRequest {
                namespace: NAMESPACE.into(),
                workflow_execution: Some(execution(&start.workflow_id, "")),
                wait_policy: Some(WaitPolicy { lifecycle_stage: UpdateWorkflowExecutionLifecycleStage::Accepted as i32 }),
                request: Some(updates::request(&id)),
                ..Default::default()
            };
            let operations = [MultiAsked::StartWorkflow(start), MultiAsked::UpdateWorkflow(update)];
            let operations = operations.into_iter().map(|operation| MultiOperation { operation: Some(operation) }).collect();
            How::Update(ExecuteMultiOperationRequest { namespace: NAMESPACE.into(), operations, ..Default::default() }, id)
        }
        4..=6 => {
            start.request_eager_execution = true;
            How::Plain(Box::new(start))
        }
        _ => How::Plain(Box::new(start)),
    }
}

/// The request of a start, with options drawn by chance.
fn request(
    world: &World,
    random: &mut Random,
    workflow: &str,
    request_id: String,
    marker: &str,
    goes_on: bool,
) -> StartWorkflowExecutionRequest {
    let input = Input {
        seed: random.any(),
        depth: 0,
        generation: 0,
        steps: random.between(0, world.plan.steps),
        waits: false,
        goes_on,
        marker: marker.to_owned(),
    };
    let mut request = StartWorkflowExecutionRequest {
        priority: priority(mix(&[input.seed, 1])),
        namespace: NAMESPACE.into(),
        workflow_id: workflow.into(),
        workflow_type: Some(WorkflowType { name: "Simulated".into() }),
        task_queue: Some(queue()),
        input: Some(input.to_payloads()),
        identity: "client".into(),
        request_id,
        ..Default::default()
    };
    if goes_on && random.permille(450) {
        request.retry_policy = Some(RetryPolicy {
            initial_interval: Some(Span::millis(random.between(1, 5000) as i64).to_api()),
            backoff_coefficient: 1.5,
            maximum_attempts: random.between(1, 3) as i32,
            ..Default::default()
        });
    }
    if random.permille(200) {
        request.workflow_run_timeout = Some(Span::millis(random.between(500, 120_000) as i64).to_api());
    }
    if random.permille(150) {
        request.workflow_execution_timeout = Some(Span::millis(random.between(500, 200_000) as i64).to_api());
    }
    if goes_on && world.plan.wide > 0 && random.permille(150) {
        request.cron_schedule = (*random.pick(&["@every 7s", "* * * * *", "@every 1m"]).unwrap_or(&"* * * * *")).into();
        // Only time ends such a chain.
        request.workflow_execution_timeout = Some(Span::seconds(random.between(20, 400) as i64).to_api());
    } else if random.permille(150) {
        request.workflow_start_delay = Some(Span::millis(random.between(1, 30_000) as i64).to_api());
    }
    if random.permille(400) {
        request.workflow_task_timeout = Some(Span::seconds(random.between(1, 10) as i64).to_api());
    }
    request
}

async fn start(world: &Arc<World>, random: &mut Random, workflow: &str, goes_on: bool) -> Option<String> {
    let (id, marker) = (format!("start-{workflow}"), format!("<in-{workflow}>"));
    let request = request(world, random, workflow, id, &marker, goes_on);
    let how = how(random, request, world.plan.wide > 0, &format!("<sws-{workflow}>"));
    make(world, random, workflow, how, marker).await
}

/// Another start of the same workflow id, or a signal or an update to what runs there.
async fn again(world: &Arc<World>, random: &mut Random, workflow: &str, goes_on: bool, k: u64) {
    lock(&world.oracle).started_again.insert(workflow.to_owned());
    let (id, marker) = (format!("again-{workflow}-{k}"), format!("<in-{workflow}-{k}>"));
    let mut request = request(world, random, workflow, id, &marker, goes_on);
    request.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting as i32;
    let how = how(random, request, true, &format!("<sws-{workflow}-{k}>"));
    make(world, random, workflow, how, marker).await;
}

async fn make(world: &Arc<World>, random: &mut Random, workflow: &str, how: How, marker: String) -> Option<String> {
    let (request_id, signal, is_first) = match &how {
        How::Plain(request) => (request.request_id.clone(), None, request.workflow_id_conflict_policy == 0),
        How::Signal(request) => (request.request_id.clone(), Some(text_of(request.signal_input.as_ref())), false),
        How::Update(_, id) => (id.clone(), None, false),
    };
    let known =
        Start { workflow: workflow.to_owned(), request_id: request_id.clone(), run: None, marker: marker.clone(), signal: signal.clone() };
    lock(&world.oracle).starts.insert(request_id.clone(), known);
    let answer = ask(world, random, || {
        let (at, workflow, marker, signal, first) = (world.clone(), workflow.to_owned(), marker.clone(), signal.clone(), is_first);
        call_of(&how, world).looked(move |done: &Started| {
            let execution = execution(&workflow, &done.run);
            let of_start = if first { missing(&at, &execution, &marker) } else { None };
            let of_update = done
                .update
                .as_ref()
                .and_then(|done| updates::unjustified(&at, done.update_ref.as_ref(), done.stage, done.outcome.as_ref()));
            let of_signal =
                signal.as_ref().filter(|marker| !is_in_some_run(&at, &workflow, marker)).map(|marker| format!("no durable {marker}"));
            of_start.or(of_update).or(of_signal)
        })
    })
    .await;
    let run = match answer {
        Answer::Done(done) => {
            if let Some(update) = done.update {
                updates::note(world, workflow, update.update_ref.as_ref(), update.stage, update.outcome.as_ref());
            }
            if let Some(task) = done.eager {
                let (at, random) = (world.clone(), Random::new(random.any(), 1));
                let work = async move {
                    let mut random = random;
                    worker::workflow_task(&at, "eager-starter", &mut random, task).await;
                };
                world.executor.spawn(WORLD, "eager", work.boxed());
            }
            Some(done.run)
        }
        Answer::Refused(refusal) => {
            // A chain of the same id may have come in between, and its runs may be closed, full or paused when an update comes.
            if is_first {
                world.violation(format!("the start of {workflow} was refused: {refusal:?}"));
            }
            None
        }
        Answer::Unknown => None,
    };
    world.tell(format_args!("{workflow} is started by {request_id}: {run:?}"));
    if let Some(start) = lock(&world.oracle).starts.get_mut(&request_id) {
        start.run.clone_from(&run);
    }
    run
}

/// A text is durable in one of the workflow's runs.
fn is_in_some_run(world: &World, workflow: &str, text: &str) -> bool {
    let runs = runs_of(world, &execution(workflow, ""));
    runs.iter().any(|run| missing(world, &execution(workflow, &run.id), text).is_none())
}

fn asked(workflow: &str, run: &str, what: &str, k: u64) -> Asked {
    Asked {
        workflow: workflow.into(),
        run: (!run.is_empty()).then(|| run.into()),
        marker: format!("<{what}-{workflow}-{k}>"),
        request_id: format!("{what}-{workflow}-{k}"),
        acknowledged: false,
    }
}

async fn signal(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    let mut asked = asked(workflow, run, "sig", k);
    let request = SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow, run)),
        signal_name: "signal".into(),
        input: Some(payloads(&asked.marker)),
        identity: "client".into(),
        request_id: asked.request_id.clone(),
        ..Default::default()
    };
    let answer = ask(world, random, || {
        let (request, at, execution, marker) = (request.clone(), world.clone(), execution(workflow, run), asked.marker.clone());
        Call::new("signal", move |engine| {
            let request = request.clone();
            async move { engine.signal_workflow(request).await }
        })
        .looked(move |_| if execution.run_id.is_empty() { None } else { missing(&at, &execution, &marker) })
    })
    .await;
    asked.acknowledged = matches!(answer, Answer::Done(_));
    world.tell(format_args!("{} acknowledged: {}", asked.request_id, asked.acknowledged));
    lock(&world.oracle).signals.push(asked);
}

async fn cancel(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    let mut asked = asked(workflow, run, "can", k);
    let request = RequestCancelWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow, run)),
        identity: "client".into(),
        request_id: asked.request_id.clone(),
        reason: asked.marker.clone(),
        ..Default::default()
    };
    // A run that is closed, or asked already by another, takes the request without a trace.
    let was_open = Arc::new(AtomicBool::new(false));
    let answer = ask(world, random, || {
        let (request, at, execution, was_open) = (request.clone(), world.clone(), execution(workflow, run), was_open.clone());
        let marker = asked.marker.clone();
        Call::new("request cancel", move |engine| {
            let request = request.clone();
            async move { engine.request_cancel(request).await }
        })
        .looked(move |_| {
            let runs = runs_of(&at, &execution);
            let canceled = runs.iter().any(|run| {
                let named = WorkflowExecution { run_id: run.id.clone(), ..execution.clone() };
                // In history, or waiting in the run's state for the end of the workflow task.
                run.events.iter().any(|e| name(e) == "WORKFLOW_EXECUTION_CANCEL_REQUESTED") || missing(&at, &named, &marker).is_none()
            });
            was_open.fetch_or(canceled, Ordering::SeqCst);
            None
        })
    })
    .await;
    asked.acknowledged = matches!(answer, Answer::Done(_)) && was_open.load(Ordering::SeqCst);
    lock(&world.oracle).cancels.push(asked);
}

async fn terminate(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    let mut asked = asked(workflow, run, "ter", k);
    let request = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow, run)),
        identity: "client".into(),
        reason: asked.marker.clone(),
        ..Default::default()
    };
    let answer = ask(world, random, || {
        let (request, at, execution, marker) = (request.clone(), world.clone(), execution(workflow, run), asked.marker.clone());
        Call::new("terminate", move |engine| {
            let request = request.clone();
            async move { engine.terminate(request).await }
        })
        .looked(move |_| if execution.run_id.is_empty() { None } else { missing(&at, &execution, &marker) })
    })
    .await;
    asked.acknowledged = matches!(answer, Answer::Done(_));
    lock(&world.oracle).terminations.push(asked);
}

async fn query(world: &Arc<World>, random: &mut Random, workflow: &str) {
    let request = QueryWorkflowRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(workflow, "")),
        query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
        ..Default::default()
    };
    let at = world.clone();
    call(
        world,
        random,
        Call::new("query", move |engine| {
            let request = request.clone();
            let deadline = at.time.server_deadline(Span::seconds(10));
            async move { engine.query_workflow(request, Some(deadline)).await }
        }),
    )
    .await;
}

/// What was acknowledged is there for whoever reads.
async fn describe(world: &Arc<World>, random: &mut Random, workflow: &str, run: Option<&str>) {
    let request =
        DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: Some(execution(workflow, run.unwrap_or_default())) };
    let answer = ask(world, random, || {
        let request = request.clone();
        Call::new("describe", move |engine| {
            let request = request.clone();
            async move { engine.describe_workflow(request).await }
        })
    })
    .await;
    if let (Answer::Refused(refusal), Some(run)) = (answer, run) {
        world.violation(format!("{workflow} {run} was acknowledged and cannot be described: {refusal:?}"));
    }
}

async fn history(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str) {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(workflow, run)),
        wait_new_event: random.permille(500),
        ..Default::default()
    };
    let wait = Call::new("history", move |engine| {
        let request = request.clone();
        async move { engine.get_history(request, HistoryReader::default(), None).await }
    });
    if let Answer::Done(page) = call(world, random, wait.poll()).await {
        let events = page.history.map(|history| history.events().unwrap_or_default()).unwrap_or_default();
        for (n, event) in events.iter().enumerate() {
            if event.event_id != n as i64 + 1 {
                world.violation(format!("a read of {workflow} shows event {} at place {}", event.event_id, n + 1));
            }
        }
    }
}

/// Lists show a run as soon as the call that started it has returned. Of a shard that has been given up they may not show what the index
/// had not taken by then, until somebody has it.
async fn list(world: &Arc<World>, random: &mut Random, workflow: &str, started: bool) {
    // What another node has written and the index has not taken is in its own lists only.
    let home = world.home(workflow);
    let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: format!("WorkflowId = '{workflow}'") };
    let answer = ask(world, random, || {
        let request = request.clone();
        Call::new("count", move |engine| {
            let request = request.clone();
            async move { engine.count_workflows(request).await }
        })
    })
    .await;
    if let Answer::Done(counted) = answer
        && started
        && counted.count == 0
        && world.nodes() == 1
        && (world.plan.moves == 0 || home.is_some() && world.home(workflow) == home)
    {
        world.violation(format!("{workflow} was started, and lists do not show it"));
    }
}
