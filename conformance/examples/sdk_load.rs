//! Workloads A and B of docs/benchmarks.md by the official Rust SDK: a worker and a starter in one program. `bench/sdk/rust` runs it; here it
//! is only built, because here the SDK is.
#![allow(clippy::disallowed_methods, reason = "a client of a server in another process: it waits by the wall clock")]
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

#[path = "../../bench/sdk/drive.rs"]
mod drive;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use drive::{Failure, Plan, Workload, drive};
use temporalio_client::{WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult};

const USAGE: &str = "usage: sdk_load HOST:PORT short|steps IN_FLIGHT SECONDS STEPS";

struct Work;

#[activities]
impl Work {
    #[activity]
    async fn step(self: Arc<Self>, _ctx: ActivityContext) -> Result<String, ActivityError> {
        Ok("done".to_owned())
    }
}

fn activity() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(10))
}

#[workflow]
#[derive(Default)]
struct Short;

#[workflow_methods]
impl Short {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        Ok(ctx.execute_activity(Work::step, (), activity()).await?)
    }
}

#[workflow]
#[derive(Default)]
struct Steps;

#[workflow_methods]
impl Steps {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, count: u32) -> WorkflowResult<String> {
        for _ in 0..count {
            ctx.execute_activity(Work::step, (), activity()).await?;
        }
        Ok("done".to_owned())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Result<(), Failure> {
    let [address, plan @ ..] = words else { return Err(USAGE.into()) };
    let plan = Plan::parse(plan).ok_or(USAGE)?;
    let client = sempre_conformance::connect(address).await.map_err(|error| error.to_string())?;
    let queue = format!("bench-{:x}", std::process::id());
    let options = WorkerOptions::new(queue.clone()).register_workflow::<Short>()?.register_workflow::<Steps>()?.register_activities(Work);
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&runtime, client.clone(), options.build())?;
    let stop = worker.shutdown_handle();
    let workload = plan.workload;
    let load = async {
        let done = drive(&plan, move |key| {
            let (client, options) = (client.clone(), WorkflowStartOptions::new(queue.clone(), key.clone()).build());
            async move {
                let result = match workload {
                    Workload::Short => {
                        client.start_workflow(Short::run, (), options).await?.get_result(WorkflowGetResultOptions::default()).await?
                    }
                    Workload::Steps(count) => {
                        client.start_workflow(Steps::run, count, options).await?.get_result(WorkflowGetResultOptions::default()).await?
                    }
                };
                if result == "done" { Ok(()) } else { Err(format!("{key} came to {result:?}").into()) }
            }
        })
        .await;
        stop();
        done
    };
    let (worked, done) = tokio::join!(worker.run(), load);
    done?;
    worked.map_err(|error| error.to_string())?;
    Ok(())
}
