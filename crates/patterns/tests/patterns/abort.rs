//! Sagas in processes that abort, server and worker and all, between any two events.

use std::{
    path::Path,
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sempre_embedded::Sempre;
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};

use crate::{
    life::{Outcome, Points, QUEUE},
    saga::{Ended, Plan, SMOOTH, Trip, check},
    world::{Fails, World},
};

const FOLDER: &str = "SEMPRE_PATTERNS_FOLDER";
const ABORT_AT: &str = "SEMPRE_PATTERNS_ABORT_AT";
/// Real time passes here; what a dead process had in hand is given up after so long.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Pairs of processes at once.
const LANES: usize = 4;

fn plan() -> Plan {
    Plan { attempt: ATTEMPT, fails: Some(("ticket".into(), Fails::AfterItsEffect)), ..SMOOTH }
}

/// Server and worker of one process over the data of those before it; carries the saga to its end and looks whether all is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test below runs it, in processes that abort"]
async fn one_process() -> Outcome {
    let folder = std::env::var(FOLDER)?;
    let abort_at = std::env::var(ABORT_AT).ok().map(|point| point.parse()).transpose()?;
    let (sempre, world) = (Sempre::open(Path::new(&folder).join("server")).await?, World::open(&Path::new(&folder).join("world.sqlite")));
    let points = Points::aborting(abort_at);
    let client = sempre.client_over("default", points.clone().wire()).await?;
    let handle = client.get_workflow_handle::<Trip>("trip");
    // The first process starts it. A later one finds it.
    if handle.describe(Default::default()).await.is_err() {
        let start = WorkflowStartOptions::new(QUEUE, "trip").task_timeout(ATTEMPT).build();
        client.start_workflow(Trip::run, plan(), start).await?;
    }
    let options = WorkerOptions::new(QUEUE)
        .sticky_queue_schedule_to_start_timeout(ATTEMPT)
        .register_activities(world.clone())
        .register_workflow::<Trip>()?
        .build();
    let mut worker = Worker::new(&Runtime::from_current_tokio(RuntimeOptions::default())?, client.clone(), options)?;
    let stop = worker.shutdown_handle();
    let body = async {
        let result = handle.get_result(WorkflowGetResultOptions::default()).await;
        stop();
        result
    };
    let (worked, result) = tokio::join!(worker.run(), body);
    worked?;
    check(&plan(), &Ended { result, effects: world.effects(), points: Vec::new(), events: Vec::new() });
    println!("points {}", points.count());
    sempre.shutdown().await;
    Ok(())
}

fn process(folder: &Path, abort_at: Option<usize>) -> Outcome<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["abort::one_process", "--exact", "--ignored", "--nocapture"]).env(FOLDER, folder);
    if let Some(point) = abort_at {
        command.env(ABORT_AT, point.to_string());
    }
    Ok(command.output()?)
}

/// A process that aborts at a point, if it is given, and one that ends it. Says how many points the last one passed.
fn processes(folder: &Path, abort_at: Option<usize>) -> Outcome<usize> {
    std::fs::create_dir_all(folder)?;
    if abort_at.is_some() {
        let aborted = process(folder, abort_at)?;
        // A run may have fewer points than the one that was counted: then it has ended.
        if aborted.status.code().is_some_and(|code| code != 0) {
            return Err(format!("failed before it aborted: {}", String::from_utf8_lossy(&aborted.stderr)).into());
        }
    }
    let ended = process(folder, None)?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if !ended.status.success() {
        return Err(format!("{}\n{text}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr)).into());
    }
    std::fs::remove_dir_all(folder)?;
    let points = text.split("points ").nth(1).and_then(|rest| rest.lines().next()).ok_or("no count")?;
    Ok(points.trim().parse()?)
}

#[test]
fn begun_steps_are_undone_once_wherever_the_process_aborts() -> Outcome {
    let folder = std::env::temp_dir().join(format!("sempre-patterns-abort-{}", std::process::id()));
    let points = processes(&folder.join("smooth"), None)?;
    assert!(points > 20, "{points}");
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(point) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|point| *point < points) {
                    if let Err(error) = processes(&folder.join(point.to_string()), Some(point)) {
                        wrong.lock().unwrap().push(format!("aborted at {point}: {error}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner()?;
    assert!(wrong.is_empty(), "data in {}: {}", folder.display(), wrong.join("\n"));
    println!("aborted at each of {points} points");
    Ok(std::fs::remove_dir_all(&folder)?)
}
