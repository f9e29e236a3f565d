//! Clients: each starts one workflow and calls about it; who gets no answer asks again with the same request id.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sempre_api::v1::{
    common::{RetryPolicy, WorkflowExecution, WorkflowType},
    query::WorkflowQuery,
    workflowservice::*,
};
use sempre_core::{Refusal, Span};
use sempre_engine::HistoryReader;

use crate::{
    ending::{name, runs_of},
    network::{Answer, Call, call, is_trouble},
    oracle::{Asked, Start},
    random::Random,
    script::{Input, payloads, queue},
    worker::missing,
    world::{CALLERS, NAMESPACE, World, lock},
};

/// Calls begin within this time.
const WITHIN_MS: u64 = 20_000;
/// Tries of a call whose fate is unknown; then it stays unknown.
const TRIES: u64 = 8;

/// Starts the clients of the plan.
pub fn start_all(world: &Arc<World>) {
    for n in 0..world.plan.workflows {
        let random = Random::new(world.plan.seed, CALLERS + n);
        world.spawn_busy("client", client(world.clone(), n, random));
    }
}

fn execution(workflow: &str, run: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow.into(), run_id: run.into() }
}

/// Asks until there is an answer, or the patience is over.
async fn ask<T: Send + 'static>(world: &Arc<World>, random: &mut Random, make: impl Fn() -> Call<T>) -> Answer<T> {
    for _ in 0..TRIES {
        match call(world, random, make()).await {
            Answer::Refused(refusal) if is_trouble(&refusal) => {}
            Answer::Unknown => {}
            known => return known,
        }
        if random.permille(150) {
            return Answer::Unknown;
        }
        let pause = Span::millis(random.between(20, 3000) as i64);
        world.time.sleep(pause).await;
    }
    Answer::Unknown
}

async fn client(world: Arc<World>, n: u64, mut random: Random) {
    let workflow = format!("w{n}");
    let wait = Span(random.below(WITHIN_MS * 1000) as i64 * 1000);
    world.time.sleep(wait).await;
    let run = start(&world, &mut random, &workflow).await;
    for k in 0..world.plan.calls {
        let pause = Span(random.below(8_000_000) as i64 * 1000);
        world.time.sleep(pause).await;
        // By its id alone, or by the run.
        let named = run.clone().filter(|_| random.permille(500)).unwrap_or_default();
        match random.below(16) {
            0..=5 => signal(&world, &mut random, &workflow, &named, k).await,
            6 => cancel(&world, &mut random, &workflow, &named, k).await,
            7 => terminate(&world, &mut random, &workflow, &named, k).await,
            8 | 9 => query(&world, &mut random, &workflow).await,
            10 | 11 => describe(&world, &mut random, &workflow, run.as_deref()).await,
            12 | 13 => history(&world, &mut random, &workflow, &named).await,
            _ => list(&world, &mut random, &workflow, run.is_some()).await,
        }
    }
}

async fn start(world: &Arc<World>, random: &mut Random, workflow: &str) -> Option<String> {
    let retries = random.permille(250);
    let goes_on = retries || random.permille(400);
    let marker = format!("<in-{workflow}>");
    let input = Input {
        seed: random.any(),
        depth: 0,
        generation: 0,
        steps: random.between(0, world.plan.steps),
        waits: false,
        goes_on,
        marker: marker.clone(),
    };
    let mut request = StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: workflow.into(),
        workflow_type: Some(WorkflowType { name: "Simulated".into() }),
        task_queue: Some(queue()),
        input: Some(input.to_payloads()),
        identity: "client".into(),
        request_id: format!("start-{workflow}"),
        ..Default::default()
    };
    if retries {
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
    if random.permille(150) {
        request.workflow_start_delay = Some(Span::millis(random.between(1, 30_000) as i64).to_api());
    }
    if random.permille(400) {
        request.workflow_task_timeout = Some(Span::seconds(random.between(1, 10) as i64).to_api());
    }
    let known = Start { request_id: request.request_id.clone(), run: None, marker: marker.clone(), goes_on };
    lock(&world.oracle).starts.insert(workflow.to_owned(), known);
    let answer = ask(world, random, || {
        let (request, at, workflow, marker) = (request.clone(), world.clone(), workflow.to_owned(), marker.clone());
        Call::new("start", move |engine| {
            let request = request.clone();
            async move { engine.start_workflow(request).await }
        })
        .looked(move |done: &StartWorkflowExecutionResponse| missing(&at, &execution(&workflow, &done.run_id), &marker))
    })
    .await;
    let run = match answer {
        Answer::Done(done) => Some(done.run_id),
        // A request id is known for as long as the run that it made is the current one.
        Answer::Refused(Refusal::AlreadyStarted { .. }) if goes_on => None,
        Answer::Refused(refusal) => {
            world.violation(format!("the start of {workflow} was refused: {refusal:?}"));
            None
        }
        Answer::Unknown => None,
    };
    world.tell(format_args!("{workflow} is started: {run:?}"));
    if let Some(start) = lock(&world.oracle).starts.get_mut(workflow) {
        start.run.clone_from(&run);
    }
    run
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

/// Lists show a run as soon as the call that started it has returned.
async fn list(world: &Arc<World>, random: &mut Random, workflow: &str, started: bool) {
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
    {
        world.violation(format!("{workflow} was started, and lists do not show it"));
    }
}
