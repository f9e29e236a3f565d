//! Several servers in one process; clients from outside.

use std::net::Ipv4Addr;

use sempre_embedded::Sempre;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, UntypedWorkflow, Url, WorkflowDescribeOptions, WorkflowGetResultOptions,
    WorkflowSignalOptions,
};

use crate::workflows::{Outcome, Waits, start, with_worker};

#[tokio::test]
async fn two_in_one_process_know_nothing_of_each_other() -> Outcome {
    let (one, other) = (Sempre::in_memory().await?, Sempre::in_memory().await?);
    let (first, second) = (one.client("default").await?, other.client("default").await?);
    first.start_workflow(Waits::run, (), start("waits")).await?;
    let handle = second.get_workflow_handle::<UntypedWorkflow>("waits");
    assert!(handle.describe(WorkflowDescribeOptions::default()).await.is_err());
    one.shutdown().await;
    second.start_workflow(Waits::run, (), start("waits")).await?;
    other.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn one_that_listens_has_clients_of_both_kinds() -> Outcome {
    let sempre = Sempre::builder().namespace("shop").listen((Ipv4Addr::LOCALHOST, 0).into()).start().await?;
    let address = sempre.address().expect("it listens");
    let outside = Connection::connect(ConnectionOptions::new(Url::parse(&format!("http://{address}"))?).build()).await?;
    let outside = Client::new(outside, ClientOptions::new("shop").build())?;
    let inside = sempre.client("shop").await?;
    with_worker(&inside, async {
        let handle = outside.start_workflow(Waits::run, (), start("waits")).await?;
        handle.signal(Waits::tell, (), WorkflowSignalOptions::default()).await?;
        assert_eq!(handle.get_result(WorkflowGetResultOptions::default()).await?, "told");
        Ok(())
    })
    .await?;
    sempre.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    Ok(())
}
