//! Start-up with many open workflows in the folder: time to serving, and memory after it.
//!
//! Makes the workflows through the API (half of them wait on a timer of a day after their first task, half have
//! their first task still in the backlog), stops the server, starts it again, and measures.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

use std::{
    error::Error,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use sempre_api::v1::{
    command::{Command, StartTimerCommandAttributes, command::Attributes},
    enums::CommandType,
    workflowservice::RespondWorkflowTaskCompletedRequest,
};
use sempre_bench::{
    api::{self, Client, NAMESPACE},
    process::{Launch, Server, Usage, find_binary, free_port},
};

/// Measures start-up and memory with many open workflows in the folder.
#[derive(Parser)]
struct Arguments {
    /// Open workflows.
    #[arg(long, default_value_t = 100_000)]
    workflows: u64,
    /// Times the server is started again.
    #[arg(long, default_value_t = 5)]
    starts: u32,
    /// Fail when serving takes longer than this many milliseconds.
    #[arg(long, default_value_t = 300)]
    start_ms_max: u128,
    /// Fail when more memory than this many MiB is resident two seconds after the start.
    #[arg(long, default_value_t = 100)]
    rss_mib_max: u64,
    /// Stop the server with SIGKILL instead of SIGTERM before each start.
    #[arg(long)]
    kill: bool,
    /// The `sempre` executable (default: SEMPRE_BIN, or the one beside this).
    #[arg(long)]
    server: Option<PathBuf>,
}

type Failure = Box<dyn Error + Send + Sync>;

const QUEUE: &str = "startup";
const BACKLOG_QUEUE: &str = "startup-backlog";

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(Launch {
        store: None,
        binary: find_binary(arguments.server.as_deref())?,
        data_dir: folder.path().join("data"),
        port: free_port()?,
        wrapper: Vec::new(),
        arguments: Vec::new(),
        log: None,
    })?;
    let client = api::client(&format!("127.0.0.1:{}", server.launch.port))?;
    let begun = Instant::now();
    fill(&client, arguments.workflows).await?;
    println!("{} open workflows made in {:.1} s", arguments.workflows, begun.elapsed().as_secs_f64());
    let mut slow = Vec::new();
    for round in 1..=arguments.starts {
        let launch = if arguments.kill { server.kill()? } else { server.stop()? };
        server = Server::start(launch)?;
        let begun = Instant::now();
        // Serving means answering, not only listening.
        let events = api::history(&mut client.clone(), "startup-0", "").await?;
        let answered = server.started_in + begun.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let rss = Usage::of(server.pid())?.rss_kib / 1024;
        println!(
            "start {round}: listening after {} ms, first answer ({} events) after {} ms, RSS {rss} MiB",
            server.started_in.as_millis(),
            events.len(),
            answered.as_millis()
        );
        if answered.as_millis() > arguments.start_ms_max || rss > arguments.rss_mib_max {
            slow.push(round);
        }
    }
    // The backlog is still there: a worker that comes now gets a task.
    let task = client.clone().poll_workflow_task_queue(api::poll_workflow(BACKLOG_QUEUE)).await?.into_inner();
    if task.task_token.is_empty() {
        return Err("the backlog gave no task after the restart".into());
    }
    if !slow.is_empty() {
        return Err(format!("over {} ms or {} MiB in starts {slow:?}", arguments.start_ms_max, arguments.rss_mib_max).into());
    }
    println!("OK");
    Ok(())
}

/// Starts the workflows, and carries every second one through its first task.
async fn fill(client: &Client, workflows: u64) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let starters: Vec<_> = (0..64)
        .map(|_| {
            let (mut client, next) = (client.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= workflows {
                        return Ok::<_, Failure>(());
                    }
                    let queue = if number % 2 == 0 { QUEUE } else { BACKLOG_QUEUE };
                    let id = format!("startup-{number}");
                    client.start_workflow_execution(api::start_request(&id, queue, &id, Duration::from_secs(10))).await?;
                }
            })
        })
        .collect();
    let done = Arc::new(AtomicU64::new(0));
    let wanted = workflows.div_ceil(2);
    let workers: Vec<_> = (0..32).map(|_| tokio::spawn(worker(client.clone(), done.clone()))).collect();
    for starter in starters {
        starter.await??;
    }
    while done.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if workers.iter().any(|w| w.is_finished()) {
            return Err("a worker failed".into());
        }
    }
    for worker in workers {
        worker.abort();
    }
    Ok(())
}

async fn worker(mut client: Client, done: Arc<AtomicU64>) -> Result<(), Failure> {
    loop {
        let task = client.poll_workflow_task_queue(api::poll_workflow(QUEUE)).await?.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        let timer = Command {
            command_type: CommandType::StartTimer as i32,
            attributes: Some(Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
                timer_id: "day".into(),
                start_to_fire_timeout: Some(api::duration(Duration::from_secs(24 * 3600))),
            })),
            ..Default::default()
        };
        client
            .respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest {
                namespace: NAMESPACE.into(),
                task_token: task.task_token,
                commands: vec![timer],
                identity: "bench-worker".into(),
                ..Default::default()
            })
            .await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
}
