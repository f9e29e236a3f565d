//! Workload A: short workflows with one activity, N in flight, against a durable server.
//!
//! The generator makes the seven calls of such a workflow by hand (start; poll and complete a workflow
//! task, an activity, a workflow task), so that the server is measured and not an SDK.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use sempre_api::v1::workflowservice::{RespondActivityTaskCompletedRequest, RespondWorkflowTaskCompletedRequest};
use sempre_bench::{
    api::{self, Client, NAMESPACE},
    process::{Launch, Server, Usage, cpu_seconds_with_children, disk_bytes_written, find_binary, free_port},
};
use sempre_store::postgres::cluster::Cluster;
use serde::Serialize;
use tokio::sync::oneshot;

/// Short workflows with one activity, N in flight, against a durable server.
#[derive(Parser)]
struct Arguments {
    /// Workflows in flight, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    in_flight: Vec<usize>,
    /// Seconds a measurement lasts, after one second of warming up.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Times each measurement is repeated, in rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The `sempre` executable (default: SEMPRE_BIN, or the one beside this).
    #[arg(long)]
    server: Option<PathBuf>,
    /// Measure a server that runs already, at HOST:PORT, instead of starting one.
    #[arg(long)]
    address: Option<String>,
    /// Process id of that server, for its CPU, memory and disk figures.
    #[arg(long, requires = "address")]
    pid: Option<u32>,
    /// Where the data folder is made (default: the system's temporary folder).
    #[arg(long)]
    folder: Option<PathBuf>,
    /// A program to run the server under, such as `strace -f -o trace.txt`.
    #[arg(long, default_value = "")]
    wrapper: String,
    /// Compare a server on this data folder with one on an empty folder, in turn (`bench/full-store` fills one).
    #[arg(long, conflicts_with_all = ["address", "json"])]
    full: Option<PathBuf>,
    /// Compare a server on a PostgreSQL server of its own with one on a folder, in turn.
    #[arg(long, conflicts_with_all = ["address", "json", "full"])]
    postgres: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    in_flight: usize,
    workflows: u64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_cpu_ms_per_workflow: f64,
    disk_bytes_per_workflow: f64,
    rss_mib: f64,
    rss_peak_mib: f64,
    /// Of a database that has the data.
    database_cpu_ms_per_workflow: f64,
    /// Statements of commits that it was sent.
    statements_per_workflow: f64,
}

/// Where a server has its data.
enum Data<'a> {
    /// A new folder.
    Empty,
    Folder(&'a Path),
    Postgres(&'a Cluster),
}

/// State of one measurement, shared by starters and workers.
struct Load {
    queue: String,
    /// Who waits for the end of which workflow.
    waiting: Mutex<HashMap<String, oneshot::Sender<()>>>,
    latencies_us: Mutex<Vec<u64>>,
    counting: AtomicBool,
    stop: AtomicBool,
    started: AtomicU64,
}

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(arguments))
}

/// Rounds on an empty and on the given folder, in turn: what else the machine does hits both alike.
async fn compare(arguments: &Arguments, full: &Path) -> Result<(), Failure> {
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load().trim());
    println!("| in flight | round | empty/s | full/s | ratio | CPU ms empty | CPU ms full | ratio | p99 ms empty | p99 ms full |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for &in_flight in &arguments.in_flight {
        let (mut speed, mut cpu) = (Vec::new(), Vec::new());
        for round in 0..arguments.rounds {
            let empty = measure(arguments, in_flight, Data::Empty).await?;
            let full = measure(arguments, in_flight, Data::Folder(full)).await?;
            speed.push(full.per_second / empty.per_second);
            cpu.push(empty.server_cpu_ms_per_workflow / full.server_cpu_ms_per_workflow);
            println!(
                "| {in_flight} | {} | {:.0} | {:.0} | {:.3} | {:.3} | {:.3} | {:.3} | {:.1} | {:.1} |",
                round + 1,
                empty.per_second,
                full.per_second,
                speed[round],
                empty.server_cpu_ms_per_workflow,
                full.server_cpu_ms_per_workflow,
                cpu[round],
                empty.p99_ms,
                full.p99_ms
            );
        }
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "in flight {in_flight}: median ratio of workflows/s {:.3}, of workflows per CPU {:.3}",
            median(&mut speed),
            median(&mut cpu)
        );
    }
    println!("load after: {}", load().trim());
    Ok(())
}

/// Rounds on a folder and on PostgreSQL, in turn.
async fn compare_postgres(arguments: &Arguments) -> Result<(), Failure> {
    let cluster = Cluster::start().ok_or("PostgreSQL is not installed")??;
    println!(
        "| in flight | round | folder/s | PostgreSQL/s | ratio | CPU ms folder | CPU ms server + database | ratio | p50 ms folder | p50 ms PostgreSQL | statements/workflow |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for &in_flight in &arguments.in_flight {
        for round in 0..arguments.rounds {
            let folder = measure(arguments, in_flight, Data::Empty).await?;
            let postgres = measure(arguments, in_flight, Data::Postgres(&cluster)).await?;
            let (server, database) = (postgres.server_cpu_ms_per_workflow, postgres.database_cpu_ms_per_workflow);
            println!(
                "| {in_flight} | {} | {:.0} | {:.0} | {:.3} | {:.3} | {server:.3} + {database:.3} | {:.3} | {:.2} | {:.2} | {:.2} |",
                round + 1,
                folder.per_second,
                postgres.per_second,
                postgres.per_second / folder.per_second,
                folder.server_cpu_ms_per_workflow,
                folder.server_cpu_ms_per_workflow / (server + database),
                folder.p50_ms,
                postgres.p50_ms,
                postgres.statements_per_workflow,
            );
        }
    }
    Ok(())
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    if arguments.postgres {
        return compare_postgres(&arguments).await;
    }
    if let Some(full) = &arguments.full {
        return compare(&arguments, full).await;
    }
    let mut all = Vec::new();
    for round in 0..arguments.rounds {
        for &in_flight in &arguments.in_flight {
            let figures = measure(&arguments, in_flight, Data::Empty).await?;
            if !arguments.json {
                println!(
                    "round {} in flight {:>4}: {:>7.0} workflows/s  p50 {:>7.2} ms  p99 {:>7.2} ms  server CPU {:.3} ms/workflow  disk {:.0} B/workflow  RSS {:.0} MiB (peak {:.0})",
                    round + 1,
                    in_flight,
                    figures.per_second,
                    figures.p50_ms,
                    figures.p99_ms,
                    figures.server_cpu_ms_per_workflow,
                    figures.disk_bytes_per_workflow,
                    figures.rss_mib,
                    figures.rss_peak_mib
                );
            }
            all.push(figures);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        summary(&arguments, &all);
    }
    Ok(())
}

/// Median and range over the rounds, as a Markdown table.
fn summary(arguments: &Arguments, all: &[Figures]) {
    println!("\n| in flight | workflows/s | p50 ms | p99 ms | server CPU ms/workflow | disk B/workflow | RSS MiB |");
    println!("|---|---|---|---|---|---|---|");
    for &in_flight in &arguments.in_flight {
        let of: Vec<&Figures> = all.iter().filter(|f| f.in_flight == in_flight).collect();
        let cell = |figure: fn(&Figures) -> f64, digits: usize| {
            let mut values: Vec<f64> = of.iter().map(|f| figure(f)).collect();
            values.sort_by(f64::total_cmp);
            let at = |index: usize| values.get(index).copied().unwrap_or_default();
            format!("{:.digits$} ({:.digits$}–{:.digits$})", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
        };
        println!(
            "| {in_flight} | {} | {} | {} | {} | {} | {} |",
            cell(|f| f.per_second, 0),
            cell(|f| f.p50_ms, 2),
            cell(|f| f.p99_ms, 2),
            cell(|f| f.server_cpu_ms_per_workflow, 3),
            cell(|f| f.disk_bytes_per_workflow, 0),
            cell(|f| f.rss_mib, 0),
        );
    }
}

async fn measure(arguments: &Arguments, in_flight: usize, data: Data<'_>) -> Result<Figures, Failure> {
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let schema = match data {
        Data::Postgres(cluster) => Some((cluster, format!("bench_{:x}", fastrand::u64(..)))),
        _ => None,
    };
    let server = match &arguments.address {
        Some(_) => None,
        None => Some(Server::start(Launch {
            binary: find_binary(arguments.server.as_deref())?,
            data_dir: match data {
                Data::Folder(path) => path.to_path_buf(),
                _ => folder.path().join("data"),
            },
            store: schema.as_ref().map(|(cluster, schema)| cluster.address_of(schema)),
            port: free_port()?,
            wrapper: arguments.wrapper.split_whitespace().map(str::to_string).collect(),
        })?),
    };
    let address = match (&arguments.address, &server) {
        (Some(address), _) => address.clone(),
        (None, Some(server)) => format!("127.0.0.1:{}", server.launch.port),
        (None, None) => return Err("no server".into()),
    };
    let pid = arguments.pid.or(server.as_ref().map(Server::pid));
    let load = Arc::new(Load {
        queue: format!("bench-{in_flight}-{}", fastrand::u64(..)),
        waiting: Mutex::default(),
        latencies_us: Mutex::default(),
        counting: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        started: AtomicU64::new(0),
    });
    let client = api::client(&address)?;
    let workers = in_flight.clamp(2, 64);
    let mut tasks = Vec::new();
    for _ in 0..workers {
        tasks.push(tokio::spawn(workflow_worker(load.clone(), client.clone())));
        tasks.push(tokio::spawn(activity_worker(load.clone(), client.clone())));
    }
    for _ in 0..in_flight {
        tasks.push(tokio::spawn(starter(load.clone(), client.clone())));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let usage = |pid: Option<u32>| pid.map_or(Ok(Usage::default()), Usage::of);
    // CPU seconds of the database and statements of commits.
    let database = || -> Result<(f64, f64), Failure> {
        let Some((cluster, schema)) = &schema else { return Ok((0.0, 0.0)) };
        let statements = cluster.sql(&format!("SELECT sum(seq) FROM {schema}.shard"))?;
        Ok((cpu_seconds_with_children(cluster.pid()?)?, statements.parse()?))
    };
    let before = usage(pid)?;
    let (database_before, statements_before) = database()?;
    let disk_before = disk_bytes_written(folder.path()).unwrap_or(0);
    load.counting.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    load.counting.store(false, Ordering::Relaxed);
    let elapsed = begun.elapsed().as_secs_f64();
    let after = usage(pid)?;
    let (database_after, statements_after) = database()?;
    let disk_after = disk_bytes_written(folder.path()).unwrap_or(0);
    load.stop.store(true, Ordering::Relaxed);
    for task in &tasks {
        task.abort();
    }
    let mut latencies = std::mem::take(&mut *load.latencies_us.lock().map_err(|_| "a starter panicked")?);
    latencies.sort_unstable();
    let workflows = latencies.len() as u64;
    if workflows == 0 {
        return Err("no workflow was completed".into());
    }
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize] as f64 / 1000.0;
    let each = |total: f64| total / workflows as f64;
    Ok(Figures {
        in_flight,
        workflows,
        per_second: workflows as f64 / elapsed,
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        server_cpu_ms_per_workflow: each((after.cpu_seconds - before.cpu_seconds) * 1000.0),
        disk_bytes_per_workflow: each((disk_after - disk_before) as f64),
        rss_mib: after.rss_kib as f64 / 1024.0,
        rss_peak_mib: after.rss_peak_kib as f64 / 1024.0,
        database_cpu_ms_per_workflow: each((database_after - database_before) * 1000.0),
        statements_per_workflow: each(statements_after - statements_before),
    })
}

/// Starts a workflow, waits for its end, and again.
async fn starter(load: Arc<Load>, mut client: Client) -> Result<(), Failure> {
    while !load.stop.load(Ordering::Relaxed) {
        let id = format!("wf-{}-{}", load.queue, load.started.fetch_add(1, Ordering::Relaxed));
        let (done, end) = oneshot::channel();
        load.waiting.lock().map_err(|_| "a worker panicked")?.insert(id.clone(), done);
        let begun = Instant::now();
        let request = api::start_request(&id, &load.queue, &format!("r-{id}"), Duration::from_secs(10));
        client.start_workflow_execution(request).await?;
        end.await?;
        if load.counting.load(Ordering::Relaxed) {
            let latency = begun.elapsed().as_micros() as u64;
            load.latencies_us.lock().map_err(|_| "a starter panicked")?.push(latency);
        }
    }
    Ok(())
}

/// First task: schedule the activity. Second: complete the workflow.
async fn workflow_worker(load: Arc<Load>, mut client: Client) -> Result<(), Failure> {
    while !load.stop.load(Ordering::Relaxed) {
        let task = client.poll_workflow_task_queue(api::poll_workflow(&load.queue)).await?.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        let first = task.previous_started_event_id == 0;
        let command = if first { api::schedule_activity("1", Duration::from_secs(10), None) } else { api::complete_workflow("\"done\"") };
        client
            .respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest {
                namespace: NAMESPACE.into(),
                task_token: task.task_token,
                commands: vec![command],
                identity: "bench-worker".into(),
                ..Default::default()
            })
            .await?;
        if !first && let Some(execution) = task.workflow_execution {
            let waiting = load.waiting.lock().map_err(|_| "a starter panicked")?.remove(&execution.workflow_id);
            if let Some(waiting) = waiting {
                // The starter may have been stopped meanwhile.
                let _ = waiting.send(());
            }
        }
    }
    Ok(())
}

async fn activity_worker(load: Arc<Load>, mut client: Client) -> Result<(), Failure> {
    while !load.stop.load(Ordering::Relaxed) {
        let task = client.poll_activity_task_queue(api::poll_activity(&load.queue)).await?.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        client
            .respond_activity_task_completed(RespondActivityTaskCompletedRequest {
                namespace: NAMESPACE.into(),
                task_token: task.task_token,
                result: Some(api::payloads("\"done\"")),
                identity: "bench-worker".into(),
                ..Default::default()
            })
            .await?;
    }
    Ok(())
}
