//! Short workflows (one activity) over the embedded store and the wall clock: throughput, latency, start-up.
//!
//! `engine_bench <folder> <workflows> <workers> [open runs]`; no wire, so what is measured is engine, core and store.
#![allow(clippy::disallowed_methods, reason = "measures wall-clock time")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use sempre_api::v1::{
    command::{
        Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, StartTimerCommandAttributes,
        command::Attributes,
    },
    common::{ActivityType, WorkflowType},
    enums::CommandType,
    taskqueue::TaskQueue,
    workflowservice::*,
};
use sempre_core::Span;
use sempre_engine::{
    Engine, Settings,
    real::{SystemClock, TokioSpawner},
};
use sempre_store::embedded::{EmbeddedOptions, EmbeddedStore};

const NAMESPACE: &str = "default";

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..Default::default() })
}

fn command(kind: CommandType, attributes: Attributes) -> Vec<Command> {
    vec![Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }]
}

fn activity() -> Vec<Command> {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "1".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: queue("q"),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

fn start(id: String, queue_name: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        request_id: id.clone(),
        workflow_id: id,
        workflow_type: Some(WorkflowType { name: "Bench".into() }),
        task_queue: queue(queue_name),
        ..Default::default()
    }
}

async fn open(path: &Path, seed: u64) -> Engine {
    let begin = Instant::now();
    let store = Arc::new(EmbeddedStore::open(path, EmbeddedOptions::default()).expect("the store opens"));
    let stored = begin.elapsed();
    let settings = Settings { shards: 2, ..Settings::default() };
    let engine = Engine::open(store, Arc::new(SystemClock::new()), Arc::new(TokioSpawner::current()), seed, settings)
        .await
        .expect("the engine opens");
    engine.ensure_namespace(NAMESPACE, Span::seconds(86_400)).await.expect("the namespace");
    println!("store open {stored:?}, serving after {:?}", begin.elapsed());
    engine
}

async fn workflow_worker(engine: Engine, queue_name: &'static str, timers: bool) {
    loop {
        let request = PollWorkflowTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: queue(queue_name),
            identity: "w".into(),
            ..Default::default()
        };
        let Ok(task) = engine.poll_workflow_task(request, None).await else { return };
        if task.task_token.is_empty() {
            return;
        }
        let commands = if timers {
            let timer = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: Some(Span::seconds(86_400).to_api()) };
            command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(timer))
        } else if task.previous_started_event_id == 0 {
            activity()
        } else {
            let done = CompleteWorkflowExecutionCommandAttributes::default();
            command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(done))
        };
        let request = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
        if engine.respond_workflow_task_completed(request).await.is_err() {
            // The engine is being shut down.
            return;
        }
    }
}

async fn activity_worker(engine: Engine) {
    loop {
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: queue("q"),
            identity: "a".into(),
            ..Default::default()
        };
        let Ok(task) = engine.poll_activity_task(request, None).await else { return };
        if task.task_token.is_empty() {
            return;
        }
        let request = RespondActivityTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
        if engine.respond_activity_task_completed(request).await.is_err() {
            return;
        }
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

async fn run(engine: &Engine, prefix: &str, count: usize, clients: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let (begin, cpu, before) = (Instant::now(), cpu_seconds(), engine.stats().commits.get());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (engine, next, prefix) = (engine.clone(), next.clone(), prefix.to_owned());
        tasks.spawn(async move {
            let mut worst = std::time::Duration::ZERO;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return worst;
                }
                let id = format!("{prefix}-{n}");
                let begin = Instant::now();
                let run = engine.start_workflow(start(id.clone(), "q")).await.expect("starts").run_id;
                let execution = Some(sempre_api::v1::common::WorkflowExecution { workflow_id: id, run_id: run });
                let mut request = GetWorkflowExecutionHistoryRequest {
                    namespace: NAMESPACE.into(),
                    execution,
                    wait_new_event: true,
                    history_event_filter_type: 2,
                    ..Default::default()
                };
                loop {
                    let response = engine.get_history(request.clone(), Default::default(), None).await.expect("history");
                    if response.next_page_token.is_empty() {
                        break;
                    }
                    request.next_page_token = response.next_page_token;
                }
                worst = worst.max(begin.elapsed());
            }
        });
    }
    let mut worst = std::time::Duration::ZERO;
    while let Some(one) = tasks.join_next().await {
        worst = worst.max(one.expect("no client panics"));
    }
    let (elapsed, cpu) = (begin.elapsed(), cpu_seconds() - cpu);
    let stats = engine.stats();
    println!(
        "{count} workflows, {clients} clients: {:.0}/s, {:.0} µs CPU each (clients and workers included), worst {worst:?}, {} commits, sync matches {}, backlog matches {}, RSS {} MB",
        count as f64 / elapsed.as_secs_f64(),
        cpu * 1e6 / count as f64,
        stats.commits.get() - before,
        stats.sync_matches.get(),
        stats.backlog_matches.get(),
        memory_mb(),
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder");
    let mut number = |default: usize| args.next().map_or(default, |a| a.parse().expect("a number"));
    let (count, workers, open_runs) = (number(20_000), number(64), number(0));
    let path = Path::new(&folder);
    let engine = open(path, 1).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(workflow_worker(engine.clone(), "q", false));
        tasks.spawn(activity_worker(engine.clone()));
    }
    run(&engine, "one", count / 20, 1).await;
    run(&engine, "many", count, workers).await;
    if open_runs > 0 {
        for _ in 0..64 {
            tasks.spawn(workflow_worker(engine.clone(), "idle", true));
        }
        let begin = Instant::now();
        for from in (0..open_runs).step_by(256) {
            let starts = (from..open_runs.min(from + 256)).map(|n| engine.start_workflow(start(format!("open-{n}"), "idle")));
            for started in futures::future::join_all(starts).await {
                started.expect("starts");
            }
        }
        println!("{open_runs} open runs in {:?}, RSS {} MB", begin.elapsed(), memory_mb());
    }
    engine.shutdown().await;
    while tasks.join_next().await.is_some() {}
    drop(engine);
    let engine = open(path, 2).await;
    println!("reopened, RSS {} MB", memory_mb());
    for _ in 0..workers {
        tasks.spawn(workflow_worker(engine.clone(), "q", false));
        tasks.spawn(activity_worker(engine.clone()));
    }
    run(&engine, "again", count / 4, workers).await;
    engine.shutdown().await;
}
