//! The plot: an order that is taken back, and an order that outlives the server.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use temporalio_client::errors::WorkflowGetResultError;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, RetryOptions, Url, WorkflowFetchHistoryOptions, WorkflowGetResultOptions,
    WorkflowHandle, WorkflowStartOptions,
};
use temporalio_common::HasWorkflowDefinition;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::sync::watch;

use crate::Outcome;
use crate::account::{check_steps, name, print_files, print_history};
use crate::ledger::Ledger;
use crate::order::{Order, OrderSaga, Progress, Shop};
use crate::server::Server;

const TASK_QUEUE: &str = "orders";
const GRACE: Duration = Duration::from_secs(2);

/// Runs the whole demo with its data in `data_dir`.
pub(crate) async fn demo(data_dir: &Path) -> Outcome {
    println!("An order saga that outlives the death of its server.\n");
    let mut server = Server::start(&data_dir.join("server"), &data_dir.join("server.log")).await?;
    println!("   shop and worker   process {} (official Temporal Rust SDK, unmodified)", std::process::id());
    println!("   server            process {}, gRPC on {}", server.pid(), server.address());
    println!("   data              {}", data_dir.display());

    let client = connect(&server).await?;
    let ledger = Arc::new(Ledger::open(&data_dir.join("ledger.txt"))?);
    let (progress, seen) = watch::channel(Progress::NotYet);
    let options = WorkerOptions::new(TASK_QUEUE)
        .register_workflow::<OrderSaga>()?
        .register_activities(Shop { ledger: ledger.clone(), progress })
        .build();
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&runtime, client.clone(), options)?;
    let stop = worker.shutdown_handle();

    let plot = async {
        plot(&client, &mut server, &ledger, seen, data_dir).await?;
        stop();
        Ok(())
    };
    let work = async { Ok::<_, Box<dyn std::error::Error>>(worker.run().await?) };
    tokio::try_join!(work, plot)?;
    Ok(())
}

async fn plot(client: &Client, server: &mut Server, ledger: &Ledger, seen: watch::Receiver<Progress>, data_dir: &Path) -> Outcome {
    let before = order_that_is_taken_back(client, ledger).await?;
    order_that_outlives_the_server(client, server, ledger, seen, data_dir).await?;

    println!("\n3. And the first order? Its history, written by the process that was killed:");
    let after = history(&client.get_workflow_handle::<OrderSaga>("order-1")).await?;
    if after != before {
        return Err("the history of order-1 has changed".into());
    }
    println!("     {} events, all as they were.", after.len());
    Ok(())
}

async fn order_that_is_taken_back(client: &Client, ledger: &Ledger) -> Outcome<Vec<HistoryEvent>> {
    println!("\n1. order-1: a teapot to Atlantis. The last step will fail for good.\n");
    let order = Order {
        id: "order-1".to_owned(),
        item: "teapot".to_owned(),
        cents: 4200,
        destination: "Atlantis".to_owned(),
        grace: Duration::ZERO,
        gift_wrap: false,
    };
    let handle = client.start_workflow(OrderSaga::run, order, options("order-1")).await?;
    match handle.get_result(WorkflowGetResultOptions::default()).await {
        Err(WorkflowGetResultError::Failed(error)) => {
            let cause = error.cause().map(|cause| cause.failure().message.clone());
            println!("\n   The order failed ({}),", cause.unwrap_or_else(|| error.to_string()));
            println!("   and what had been done was taken back in reverse order.");
        }
        other => return Err(format!("order-1 should have failed: {other:?}").into()),
    }
    let events = history(&handle).await?;
    print_history("history of order-1", &events);
    let steps = ["reserve-inventory", "charge-payment", "ship", "refund-payment", "release-inventory"];
    check_steps("order-1", &steps, &events, ledger)?;
    Ok(events)
}

async fn order_that_outlives_the_server(
    client: &Client,
    server: &mut Server,
    ledger: &Ledger,
    mut seen: watch::Receiver<Progress>,
    data_dir: &Path,
) -> Outcome {
    println!("\n2. order-2: a gift to Lisbon. The server will die while the gift is being wrapped.\n");
    let order = Order {
        id: "order-2".to_owned(),
        item: "music box".to_owned(),
        cents: 9900,
        destination: "Lisbon".to_owned(),
        grace: GRACE,
        gift_wrap: true,
    };
    let handle = client.start_workflow(OrderSaga::run, order, options("order-2")).await?;
    seen.wait_for(|progress| *progress >= Progress::Wrapping).await?;
    let written = history(&handle).await?;

    println!("\n     kill -9 {}   (wrapping is under way, a timer of {} s is running)", server.pid(), GRACE.as_secs());
    server.kill()?;
    let still_wrapping = *seen.borrow() == Progress::Wrapping;
    println!("     what it leaves behind in {}:", data_dir.display());
    print_files(data_dir)?;
    seen.wait_for(|progress| *progress == Progress::Wrapped).await?;
    if still_wrapping {
        println!("     There is no server now; the worker holds the result until there is one.");
    }

    let begin = Instant::now();
    server.restart().await?;
    println!("\n     server            process {}, same folder, listening after {} ms\n", server.pid(), begin.elapsed().as_millis());
    let parcel = handle.get_result(WorkflowGetResultOptions::default()).await?;
    println!("\n   The order is done: {parcel}, {} ms after the restart.", begin.elapsed().as_millis());

    let events = history(&handle).await?;
    if !events.starts_with(&written) {
        return Err("the history does not go on from where it was".into());
    }
    let title = format!("history of order-2 (the first {} events were written by the killed process)", written.len());
    print_history(&title, &events);
    let steps = ["reserve-inventory", "charge-payment", "wrap-gift", "ship"];
    check_steps("order-2", &steps, &events, ledger)?;
    match events.last().map(name).as_deref() {
        Some("WorkflowExecutionCompleted") => Ok(()),
        other => Err(format!("order-2 ended with {other:?}").into()),
    }
}

fn options(id: &str) -> WorkflowStartOptions {
    WorkflowStartOptions::new(TASK_QUEUE, id).build()
}

async fn history<W: HasWorkflowDefinition>(handle: &WorkflowHandle<Client, W>) -> Outcome<Vec<HistoryEvent>> {
    Ok(handle.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await?)
}

/// Calls made while the server is away are repeated until it is back.
async fn connect(server: &Server) -> Outcome<Client> {
    let patient = RetryOptions::builder()
        .max_interval(Duration::from_millis(500))
        .max_elapsed_time(Some(Duration::from_secs(60)))
        .max_retries(1000)
        .build();
    let options = ConnectionOptions::new(format!("http://{}", server.address()).parse::<Url>()?)
        .identity(format!("shop-{}", std::process::id()))
        .retry_options(patient)
        .build();
    // A server may listen before it is able to answer.
    let mut tries = 0;
    let connection = loop {
        match Connection::connect(options.clone()).await {
            Ok(connection) => break connection,
            Err(error) if tries == 200 => return Err(error.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    Ok(Client::new(connection, ClientOptions::new("default").build())?)
}
