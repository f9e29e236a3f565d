//! The workloads, a file each.

mod bare;
mod children;
mod fan_out;
mod growth;
mod history;
mod idle;
mod overload;
mod short;
mod signals;
mod steps;
mod storm;

use std::{future::Future, sync::Arc, time::Duration};

use sempre_bench::api::{self, Client};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    Failure,
    options::{Options, Workload},
    report::Outcome,
    target::Running,
};

/// Timeout of workflow tasks.
const TASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of a workflow may take before the measurement is given up.
const END_MAX: Duration = Duration::from_secs(600);

/// Measures one workload once.
pub(crate) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    match options.workload {
        Workload::Short => short::run(options, in_flight, server).await,
        Workload::Bare => bare::run(options, in_flight, server).await,
        Workload::Steps => steps::run(options, in_flight, server).await,
        Workload::Signals => signals::one(options, in_flight, server).await,
        Workload::Entities => signals::many(options, in_flight, server).await,
        Workload::FanOut => fan_out::run(options, in_flight, server).await,
        Workload::Children => children::run(options, in_flight, server).await,
        Workload::Storm => storm::run(options, in_flight, server).await,
        Workload::Idle => idle::run(options, in_flight, server).await,
        Workload::Overload => overload::run(options, in_flight, server).await,
        Workload::Growth => growth::run(options, in_flight, server).await,
        Workload::History => history::run(options, in_flight, server).await,
    }
}

/// Starts a workflow.
async fn start(client: &mut Client, queue: &str, id: &str) -> Result<(), Failure> {
    client.start_workflow_execution(api::start_request(id, queue, &format!("r-{id}"), TASK_TIMEOUT)).await?;
    Ok(())
}

/// Waits for the end of a workflow.
async fn ended(end: oneshot::Receiver<()>) -> Result<(), Failure> {
    match tokio::time::timeout(END_MAX, end).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err("the worker has ended".into()),
        Err(_) => Err(format!("a workflow did not end within {} s", END_MAX.as_secs()).into()),
    }
}

/// Does `work` for all numbers below `count`, `at_once` at a time; the results in the order of their ends.
async fn each<T, F>(count: u64, at_once: usize, work: impl Fn(u64) -> F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(at_once.max(1)));
    let mut tasks = tokio::task::JoinSet::new();
    let mut results = Vec::new();
    for n in 0..count {
        let permit = room.clone().acquire_owned().await?;
        let work = work(n);
        tasks.spawn(async move {
            let result = work.await;
            drop(permit);
            result
        });
        while let Some(done) = tasks.try_join_next() {
            results.push(done??);
        }
    }
    while let Some(done) = tasks.join_next().await {
        results.push(done??);
    }
    Ok(results)
}

/// A word that no other measurement on the same server uses.
fn nonce() -> String {
    format!("{:x}", fastrand::u64(..))
}
