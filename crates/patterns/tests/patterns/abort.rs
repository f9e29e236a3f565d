//! Sagas and entities in processes that abort, server and worker and client and all, between any two events.

use std::{
    path::Path,
    process::{Command, Output},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sempre_embedded::Sempre;
use serde::{Deserialize, Serialize};
use temporalio_client::{Client, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};

use crate::{
    entity::{Book, Scribe, chain, dictate, lines},
    life::{Outcome, Points, QUEUE, half_came_about, tasks_completed},
    saga::{Ended, Plan, SMOOTH, Trip, check},
    world::{Fails, World},
};

const FOLDER: &str = "SEMPRE_PATTERNS_FOLDER";
const STORY: &str = "SEMPRE_PATTERNS_STORY";
const ABORT_AT: &str = "SEMPRE_PATTERNS_ABORT_AT";
/// Real time passes here; what a dead process had in hand is given up after so long.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Beyond this a process hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pairs of processes at once.
const LANES: usize = 4;

/// What a process carries to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Story {
    Trip(Plan),
    Book,
}

/// Server, worker and client of one process over the data of those before it; carries the story to its end and looks whether all is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the tests below run it, in processes that abort"]
async fn one_process() -> Outcome {
    let folder = std::env::var(FOLDER)?;
    let folder = Path::new(&folder);
    let abort_at = std::env::var(ABORT_AT).ok().map(|point| point.parse()).transpose()?;
    let sempre = Sempre::open(folder.join("server")).await?;
    let points = Points::aborting(abort_at);
    let client = sempre.client_over("default", points.clone().wire()).await?;
    let before = tasks_completed(&client).await?;
    let told = async {
        match serde_json::from_str(&std::env::var(STORY)?)? {
            Story::Trip(plan) => trip(&client, folder, &plan).await,
            Story::Book => book(&client, folder).await,
        }
    };
    tokio::time::timeout(PATIENCE, told).await.map_err(|_| "it hangs")??;
    points.none_is_missed(tasks_completed(&client).await? - before);
    println!("points {}", points.count());
    sempre.shutdown().await;
    Ok(())
}

async fn trip(client: &Client, folder: &Path, plan: &Plan) -> Outcome {
    let world = World::open(&folder.join("world.sqlite"));
    let handle = client.get_workflow_handle::<Trip>("trip");
    // The first process starts it. A later one finds it.
    if handle.describe(Default::default()).await.is_err() {
        let start = WorkflowStartOptions::new(QUEUE, "trip").task_timeout(ATTEMPT).build();
        client.start_workflow(Trip::run, plan.clone(), start).await?;
    }
    let mut options = worker();
    options.register_activities(world.clone()).register_workflow::<Trip>()?;
    let result = at_work(client, options, async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await) }).await?;
    check(plan, &Ended { result, effects: world.effects(), points: Vec::new(), deaths: 0, events: Vec::new() });
    Ok(())
}

/// The client knows nothing of what it has sent before the process died, but whether that was all: it sends all of it again.
async fn book(client: &Client, folder: &Path) -> Outcome {
    let all_sent = folder.join("all-sent");
    let handle = client.get_workflow_handle::<Scribe>("book");
    if handle.describe(Default::default()).await.is_err() {
        let start = WorkflowStartOptions::new(QUEUE, "book").task_timeout(ATTEMPT).build();
        client.start_workflow(Scribe::run, Book { pause: ATTEMPT / 20, ..Book::default() }.into(), start).await?;
    }
    let body = async {
        if !all_sent.exists() {
            dictate(&handle).await?;
            std::fs::write(&all_sent, "")?;
        }
        // A process before this one may have closed it.
        if let Err(error) = handle.execute_update(Scribe::close, (), WorkflowExecuteUpdateOptions::default()).await {
            println!("not closed now: {error}");
        }
        let book = handle.get_result(WorkflowGetResultOptions::default()).await?;
        assert_eq!(book.lines, lines());
        let lengths = chain(&handle, client).await?;
        assert!(lengths.len() >= 2, "{lengths:?}");
        Ok(())
    };
    let mut options = worker();
    options.register_workflow::<Scribe>()?;
    at_work(client, options, body).await
}

fn worker() -> WorkerOptions {
    WorkerOptions::new(QUEUE).sticky_queue_schedule_to_start_timeout(ATTEMPT).build()
}

/// Runs `body` with a worker beside it.
async fn at_work<T>(client: &Client, options: WorkerOptions, body: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let mut worker = Worker::new(&Runtime::from_current_tokio(RuntimeOptions::default())?, client.clone(), options)?;
    let stop = worker.shutdown_handle();
    let body = async {
        let told = body.await;
        stop();
        told
    };
    let (worked, told) = tokio::join!(worker.run(), body);
    worked?;
    told
}

fn process(folder: &Path, story: &Story, abort_at: Option<usize>) -> Outcome<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["abort::one_process", "--exact", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).env(STORY, serde_json::to_string(story)?);
    if let Some(point) = abort_at {
        command.env(ABORT_AT, point.to_string());
    }
    Ok(command.output()?)
}

/// What came of a process that was to abort and one after it.
struct Pair {
    aborted: bool,
    /// How many points the last one passed.
    points: usize,
}

/// A process that aborts at a point, if it is given, and one that carries the story to its end.
fn processes(folder: &Path, story: &Story, abort_at: Option<usize>) -> Outcome<Pair> {
    std::fs::create_dir_all(folder)?;
    let mut aborted = false;
    if abort_at.is_some() {
        let first = process(folder, story, abort_at)?;
        // One that a signal has ended has no code. One that has ended by itself had no such point: runs do not all have as many. It has
        // looked itself whether it has missed one.
        aborted = first.status.code().is_none();
        if !aborted {
            passed(&first)?;
        }
    }
    let points = passed(&process(folder, story, None)?)?;
    std::fs::remove_dir_all(folder)?;
    Ok(Pair { aborted, points })
}

/// How many points a process has passed that has come to its end.
fn passed(ended: &Output) -> Outcome<usize> {
    let text = String::from_utf8_lossy(&ended.stdout);
    if !ended.status.success() {
        return Err(format!("{}\n{text}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr)).into());
    }
    let points = text.split("points ").nth(1).and_then(|rest| rest.lines().next()).ok_or("no count")?;
    Ok(points.trim().parse()?)
}

/// A process that aborts at each point in turn: to the last that a smooth run has, and further until one has no such point.
fn aborts_everywhere(name: &str, story: &Story) -> Outcome {
    let folder = std::env::temp_dir().join(format!("sempre-patterns-abort-{}-{name}", std::process::id()));
    let points = processes(&folder.join("smooth"), story, None)?.points;
    assert!(points > 15, "{points}");
    let (next, over, wrong) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Vec::new()));
    let (aborted, lived) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let point = || {
        let point = next.fetch_add(1, Ordering::Relaxed);
        (point < points || !over.load(Ordering::Relaxed)).then_some(point)
    };
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(point) = point() {
                    match processes(&folder.join(point.to_string()), story, Some(point)) {
                        Ok(pair) if pair.aborted => drop(aborted.fetch_add(1, Ordering::Relaxed)),
                        Ok(_) => {
                            lived.fetch_add(1, Ordering::Relaxed);
                            over.fetch_or(point + 1 >= points, Ordering::Relaxed);
                        }
                        Err(error) => {
                            over.store(true, Ordering::Relaxed);
                            wrong.lock().unwrap().push(format!("aborted at {point}: {error}"));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner()?;
    assert!(wrong.is_empty(), "data in {}: {}", folder.display(), wrong.join("\n"));
    let aborted = aborted.into_inner();
    half_came_about(aborted, aborted + lived.into_inner(), "aborts, at each point in turn,");
    println!("aborted at {aborted} points, a smooth run has {points}: {story:?}");
    Ok(std::fs::remove_dir_all(&folder)?)
}

#[test]
fn all_steps_are_done_once_wherever_the_process_aborts() -> Outcome {
    aborts_everywhere("smooth", &Story::Trip(Plan { attempt: ATTEMPT, ..SMOOTH }))
}

#[test]
fn begun_steps_are_undone_once_wherever_the_process_aborts() -> Outcome {
    let plan = Plan { attempt: ATTEMPT, fails: Some(("ticket".into(), Fails::AfterItsEffect)), ..SMOOTH };
    aborts_everywhere("fails", &Story::Trip(plan))
}

#[test]
fn a_cancelled_saga_undoes_once_wherever_the_process_aborts() -> Outcome {
    aborts_everywhere("cancelled", &Story::Trip(Plan { attempt: ATTEMPT, cancelled_at: Some("car".into()), ..SMOOTH }))
}

#[test]
fn no_message_of_an_entity_is_lost_or_applied_twice_wherever_the_process_aborts() -> Outcome {
    aborts_everywhere("book", &Story::Book)
}
