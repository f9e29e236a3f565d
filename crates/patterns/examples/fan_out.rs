//! Fans out over many items: a tree of children, each with activities of its own, in batches. Told as a story: how far it is, how long it
//! took, how much memory server and worker had at most, and how long the longest history is.
//!
//! `cargo run --release -p sempre-patterns --example fan_out -- --children 1000 --items 1000 --batch 50`
#![allow(clippy::disallowed_methods, reason = "a program for a terminal")]
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use sempre_embedded::Sempre;
use sempre_patterns::fan_out::{FanOut, Gauge, Policy, Progress, batches};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowDescribeOptions, WorkflowGetResultOptions, WorkflowQueryOptions,
    WorkflowStartOptions,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    runtime::RuntimeOptions,
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const QUEUE: &str = "numbers";
const SERVE: &str = "--serve";

/// How many, and how many at a time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Size {
    children: u64,
    items: u64,
    batch: usize,
    running_children: usize,
    running_activities: usize,
}

/// One child's part: numbers from here.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Part {
    from: u64,
    size: Size,
}

struct Numbers;

#[activities]
impl Numbers {
    /// The work on each item of a batch. Here it is small.
    #[activity]
    async fn squares(_ctx: ActivityContext, numbers: Vec<u64>) -> Result<u128, ActivityError> {
        Ok(numbers.into_iter().map(|n| u128::from(n) * u128::from(n)).sum())
    }
}

#[workflow]
#[derive(Default)]
struct Leaf;

#[workflow_methods]
impl Leaf {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, part: Part) -> WorkflowResult<u128> {
        let numbers = batches(part.from..part.from + part.size.items, part.size.batch);
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
        let fan = FanOut::new(part.size.running_activities);
        Ok(fan.reduce(ctx, Numbers::squares, numbers, options, 0, |sum, squares| *sum += squares).await?)
    }
}

#[workflow]
#[derive(Default)]
struct Tree {
    gauge: Gauge,
}

#[workflow_methods]
impl Tree {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, size: Size) -> WorkflowResult<u128> {
        let gauge = ctx.state(|tree| tree.gauge.clone());
        let parts = (0..size.children).map(|child| Part { from: child * size.items, size }).collect::<Vec<_>>();
        let fan = FanOut::new(size.running_children).policy(Policy::FailFast).gauge(&gauge);
        let workflow = ctx.workflow_id().to_owned();
        let sums = fan.children(ctx, Leaf::run, parts, ChildWorkflowOptions::default(), |place| leaf_id(&workflow, place)).await?;
        Ok(sums.values().sum())
    }

    #[query]
    fn progress(&self, _ctx: &WorkflowContextView) -> Progress {
        self.gauge.read()
    }
}

fn leaf_id(tree: &str, place: usize) -> String {
    format!("{tree}-{place}")
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some(SERVE) => runtime.block_on(serve(args[1].as_ref())),
        _ => options(&args).and_then(|(size, folder)| runtime.block_on(tell(size, &folder))),
    };
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: &[String]) -> Outcome<(Size, PathBuf)> {
    let mut size = Size { children: 20, items: 100, batch: 10, running_children: 8, running_activities: 8 };
    let mut folder = std::env::temp_dir().join(format!("sempre-fan-out-{}", std::process::id()));
    for pair in args.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} needs a value", pair[0]).into()) };
        match name.as_str() {
            "--children" => size.children = value.parse()?,
            "--items" => size.items = value.parse()?,
            "--batch" => size.batch = value.parse()?,
            "--running-children" => size.running_children = value.parse()?,
            "--running-activities" => size.running_activities = value.parse()?,
            "--data-dir" => folder = value.into(),
            _ => return Err(format!("no such option: {name}").into()),
        }
    }
    Ok((size, folder))
}

/// The server, in a process of its own so that its memory can be told apart. It ends when its input does.
async fn serve(folder: &Path) -> Outcome {
    let sempre = Sempre::builder().folder(folder).listen(([127, 0, 0, 1], 0).into()).start().await?;
    println!("{}", sempre.address().ok_or("it does not listen")?);
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    sempre.shutdown().await;
    Ok(())
}

async fn tell(size: Size, folder: &Path) -> Outcome {
    let items = size.children * size.items;
    println!("{items} items: {} children of {} items each, {} items an activity.", size.children, size.items, size.batch);
    let mut server = Command::new(std::env::current_exe()?).arg(SERVE).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let told = story(size, &mut server).await;
    drop(server.stdin.take());
    server.wait()?;
    std::fs::remove_dir_all(folder)?;
    told
}

async fn story(size: Size, server: &mut Child) -> Outcome {
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    println!("Server: process {}, on {}, data in a folder. Worker: process {}.", server.id(), address.trim(), std::process::id());
    let options = ConnectionOptions::new(format!("http://{}", address.trim()).parse::<Url>()?).build();
    let client = Client::new(Connection::connect(options).await?, ClientOptions::new("default").build())?;

    let worker = WorkerOptions::new(QUEUE).register_activities(Numbers).register_workflow::<Tree>()?.register_workflow::<Leaf>()?.build();
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&runtime, client.clone(), worker)?;
    let stop = worker.shutdown_handle();
    let work = async { Ok::<_, Box<dyn Error>>(worker.run().await?) };
    let plot = async {
        let told = plot(size, &client, server.id()).await;
        stop();
        told
    };
    tokio::try_join!(work, plot)?;
    Ok(())
}

async fn plot(size: Size, client: &Client, server: u32) -> Outcome {
    let begin = Instant::now();
    let tree = client.start_workflow(Tree::run, size, WorkflowStartOptions::new(QUEUE, "tree").build()).await?;
    let result = tree.get_result(WorkflowGetResultOptions::default());
    tokio::pin!(result);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let sum = loop {
        tokio::select! {
            sum = &mut result => break sum?,
            _ = second.tick() => {
                let progress = tree.query(Tree::progress, (), WorkflowQueryOptions::default()).await?;
                println!("  {:>4} s  children: {progress}", begin.elapsed().as_secs());
            }
        }
    };
    let took = begin.elapsed();

    let items = size.children * size.items;
    let right: u128 = (0..items).map(|n| u128::from(n) * u128::from(n)).sum();
    if sum != right {
        return Err(format!("the sum of all squares is {right}, not {sum}").into());
    }
    let mut longest = tree.describe(WorkflowDescribeOptions::default()).await?.history_length();
    let of_tree = longest;
    for place in 0..usize::try_from(size.children)? {
        let leaf = client.get_workflow_handle::<Leaf>(leaf_id("tree", place));
        longest = longest.max(leaf.describe(WorkflowDescribeOptions::default()).await?.history_length());
    }
    println!("All {items} items are done, and the sum of their squares is right: {sum}.");
    println!("  wall time        {:.1} s, {:.0} items/s", took.as_secs_f64(), items as f64 / took.as_secs_f64());
    println!("  peak memory      server {} MiB, worker {} MiB", peak_mib(server)?, peak_mib(std::process::id())?);
    println!("  longest history  {longest} events (that of the tree: {of_tree})");
    Ok(())
}

/// The most memory a process has had (`VmHWM` of Linux).
fn peak_mib(process: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024)
}
