//! Schedules that are all due in the same second, over the embedded store and the wall clock, beside another load.
//!
//! `schedule_bench <folder> <schedules> [clients of the other load]`; no wire. Prints how long it took until every
//! schedule had started its run, how late the starts were, and what the other load (short workflows, each client one
//! after another) had before, meanwhile and after. Fails when a schedule has not started exactly one run.
#![allow(clippy::disallowed_methods, reason = "measures wall-clock time")]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, command::Attributes},
    common::{WorkflowExecution, WorkflowType},
    enums::CommandType,
    schedule::{IntervalSpec, Schedule, ScheduleAction, ScheduleSpec, schedule_action::Action},
    taskqueue::TaskQueue,
    workflow::NewWorkflowExecutionInfo,
    workflowservice::*,
};
use sempre_core::{Span, Timestamp};
use sempre_engine::{
    Engine, Settings,
    real::{SystemClock, TokioSpawner},
};
use sempre_store::embedded::{EmbeddedOptions, EmbeddedStore};

const NAMESPACE: &str = "default";
/// How long the other load is looked at after all are started.
const AFTER: Duration = Duration::from_secs(5);
const YEAR: i64 = 365 * 86_400;

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.into(), ..Default::default() })
}

/// Due once, at a second since 1970.
fn schedule(n: usize, due: i64) -> CreateScheduleRequest {
    let every =
        IntervalSpec { interval: Some(Span::seconds(100 * YEAR).to_api()), phase: Some(Span::seconds(due % (100 * YEAR)).to_api()) };
    let action = NewWorkflowExecutionInfo {
        workflow_id: format!("scheduled-{n}"),
        workflow_type: Some(WorkflowType { name: "Scheduled".into() }),
        task_queue: queue("scheduled"),
        ..Default::default()
    };
    CreateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: format!("schedule-{n}"),
        request_id: format!("create-{n}"),
        schedule: Some(Schedule {
            spec: Some(ScheduleSpec { interval: vec![every], ..Default::default() }),
            action: Some(ScheduleAction { action: Some(Action::StartWorkflow(action)) }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn worker(engine: Engine) {
    loop {
        let request = PollWorkflowTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: queue("q"),
            identity: "w".into(),
            ..Default::default()
        };
        let Ok(task) = engine.poll_workflow_task(request, None).await else { return };
        if task.task_token.is_empty() {
            return;
        }
        let done = Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes::default());
        let command = Command { command_type: CommandType::CompleteWorkflowExecution as i32, attributes: Some(done), ..Default::default() };
        let request = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands: vec![command], ..Default::default() };
        if engine.respond_workflow_task_completed(request).await.is_err() {
            return;
        }
    }
}

/// Latencies of the other load, milliseconds.
type Latencies = Arc<Mutex<Vec<f64>>>;

/// Short workflows, one after another; keeps the time of each, from its start to its end.
async fn client(engine: Engine, client: usize, latencies: Latencies, stop: Arc<AtomicBool>) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let begin = Instant::now();
        let id = format!("other-{client}-{n}");
        let start = StartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            request_id: id.clone(),
            workflow_id: id.clone(),
            workflow_type: Some(WorkflowType { name: "Other".into() }),
            task_queue: queue("q"),
            ..Default::default()
        };
        let run_id = engine.start_workflow(start).await.expect("starts").run_id;
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.into(),
            execution: Some(WorkflowExecution { workflow_id: id, run_id }),
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
        latencies.lock().expect("no panic").push(begin.elapsed().as_secs_f64() * 1000.0);
    }
}

/// Of sorted numbers.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

/// Prints a phase of the other load, and begins the next.
fn phase(name: &str, latencies: &Latencies, took: Duration) {
    let mut all = std::mem::take(&mut *latencies.lock().expect("no panic"));
    all.sort_by(f64::total_cmp);
    let rate = all.len() as f64 / took.as_secs_f64();
    let [p50, p99, longest] = [0.5, 0.99, 1.0].map(|part| percentile(&all, part));
    println!("{name}: the other load had {rate:.0} workflows/s, p50 {p50:.1} ms, p99 {p99:.1} ms, longest {longest:.1} ms");
}

fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder");
    let mut number = |default: usize| args.next().map_or(default, |a| a.parse().expect("a number"));
    let (schedules, clients) = (number(60_000), number(16));
    let store = Arc::new(EmbeddedStore::open(Path::new(&folder), EmbeddedOptions::default()).expect("the store opens"));
    let settings = Settings { shards: 2, ..Settings::default() };
    let engine = Engine::open(store, Arc::new(SystemClock::new()), Arc::new(TokioSpawner::current()), 1, settings).await.expect("opens");
    engine.ensure_namespace(NAMESPACE, Span::seconds(86_400)).await.expect("the namespace");

    // Late enough that all are made by then.
    let due = engine.now().0 / 1_000_000_000 + 10 + schedules as i64 / 2000;
    let begin = Instant::now();
    let all: Vec<usize> = (0..schedules).collect();
    for part in all.chunks(512) {
        let created = part.iter().map(|n| engine.create_schedule(schedule(*n, due)));
        for created in futures::future::join_all(created).await {
            created.expect("created");
        }
    }
    println!("{schedules} schedules made in {:?}, RSS {} MB", begin.elapsed(), memory_mb());
    let left = due * 1_000_000_000 - engine.now().0;
    assert!(left > 3_000_000_000, "made too slowly: {left} ns left");

    let mut tasks = tokio::task::JoinSet::new();
    let (latencies, stop) = (Latencies::default(), Arc::new(AtomicBool::new(false)));
    for _ in 0..clients {
        tasks.spawn(worker(engine.clone()));
    }
    for n in 0..clients {
        tasks.spawn(client(engine.clone(), n, latencies.clone(), stop.clone()));
    }
    let wait = Duration::from_nanos((due * 1_000_000_000 - engine.now().0).max(0) as u64);
    tokio::time::sleep(wait).await;
    phase("before", &latencies, wait);

    let begin = Instant::now();
    let started = || engine.stats().scheduled_starts.get() as usize;
    while started() < schedules {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begin.elapsed() < Duration::from_secs(600), "{} of {schedules} started", started());
    }
    let took = begin.elapsed();
    println!("all {schedules} started within {took:?} ({:.0}/s), RSS {} MB", schedules as f64 / took.as_secs_f64(), memory_mb());
    phase("meanwhile", &latencies, took);
    tokio::time::sleep(AFTER).await;
    phase("after", &latencies, AFTER);
    stop.store(true, Ordering::Relaxed);

    let (mut wrong, mut late) = (0, Vec::new());
    for n in 0..schedules {
        let request = DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: format!("schedule-{n}") };
        let info = engine.describe_schedule(request).await.expect("described").info.unwrap_or_default();
        let right = info.action_count == 1 && info.missed_catchup_window + info.overlap_skipped + info.buffer_dropped == 0;
        wrong += usize::from(!right);
        let nanos = |time: &Option<sempre_api::Timestamp>| time.as_ref().map_or(0, |time| Timestamp::from_api(time).0);
        late.extend(info.recent_actions.iter().map(|action| (nanos(&action.actual_time) - nanos(&action.schedule_time)) as f64 / 1e9));
    }
    late.sort_by(f64::total_cmp);
    let [p50, p99, last] = [0.5, 0.99, 1.0].map(|part| percentile(&late, part));
    println!("starts after they were due: p50 {p50:.2} s, p99 {p99:.2} s, last {last:.2} s");
    println!("{wrong} schedules without exactly one start, {} commits failed", engine.stats().commit_failures.get());
    engine.shutdown().await;
    tasks.abort_all();
    assert_eq!(wrong, 0);
}
