//! What the examples share: a server in this process, a worker, and a story that is told while they run.

use std::process::ExitCode;

use sempre_embedded::Sempre;
use temporalio_client::Client;
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Runs the story with a client of a server that keeps nothing, and a worker beside it. With a server elsewhere only these lines differ.
pub(crate) fn tell(options: WorkerOptions, story: impl AsyncFnOnce(Client) -> Outcome) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let told = runtime.block_on(async {
        let sempre = Sempre::in_memory().await?;
        let client = sempre.client("default").await?;
        let sdk = Runtime::from_current_tokio(RuntimeOptions::default())?;
        let mut worker = Worker::new(&sdk, client.clone(), options)?;
        let stop = worker.shutdown_handle();
        let work = async { Outcome::Ok(worker.run().await?) };
        let plot = async {
            let told = story(client).await;
            stop();
            told
        };
        tokio::try_join!(work, plot)?;
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
