//! What the examples share: a server in this process, a worker, and a story that is told while they run.

#![allow(dead_code, reason = "each example uses a part")]

use std::process::ExitCode;

use sempre_embedded::Sempre;
use temporalio_client::Client;
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Runs the story with a client of a server that keeps nothing, and a worker beside it. With a server elsewhere only these lines differ.
pub(crate) fn tell(options: WorkerOptions, story: impl AsyncFnOnce(Client) -> Outcome) -> ExitCode {
    play(async |client| deployed(&client, options, story(client.clone())).await)
}

/// Runs the story with a client of a server that keeps nothing.
pub(crate) fn play(story: impl AsyncFnOnce(Client) -> Outcome) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let told = runtime.block_on(async {
        let sempre = Sempre::in_memory().await?;
        story(sempre.client("default").await?).await?;
        sempre.shutdown().await;
        Outcome::Ok(())
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The story did not end as it should: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A worker for as long as this part of the story takes.
pub(crate) async fn deployed<T>(client: &Client, options: WorkerOptions, story: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let sdk = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&sdk, client.clone(), options)?;
    let stop = worker.shutdown_handle();
    let work = async { Outcome::Ok(worker.run().await?) };
    let plot = async {
        let told = story.await;
        stop();
        told
    };
    let ((), told) = tokio::try_join!(work, plot)?;
    Ok(told)
}
