//! `sempre visibility rebuild`: has a running server make the index of runs anew, and tells how far it is.
#![expect(clippy::disallowed_methods, reason = "a command waits by the wall clock")]

use std::time::Duration;

use clap::{Args, Subcommand};
use sempre_api::sempre::v1::{
    DescribeVisibilityRequest, RebuildVisibilityRequest, VisibilityRebuild, operate_service_client::OperateServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use super::Failure;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(crate) enum VisibilityCommand {
    /// Make the index of lists and counts anew from the runs themselves, while the server goes on
    Rebuild(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Address of the server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7233")]
    address: String,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

pub(crate) fn run(command: VisibilityCommand) -> Result<(), Failure> {
    let VisibilityCommand::Rebuild(options) = command;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::new)?;
    runtime.block_on(rebuild(&options))
}

async fn rebuild(options: &Options) -> Result<(), Failure> {
    let address = &options.address;
    let endpoint = Endpoint::new(format!("http://{address}"))
        .map_err(|_| Failure::new(format_args!("{address} is not an address such as 127.0.0.1:7233")))?;
    let channel = endpoint.connect().await.map_err(|_| Failure::new(format_args!("no server answers at {address}")))?;
    let mut client = OperateServiceClient::new(channel);
    let began = client.rebuild_visibility(RebuildVisibilityRequest {}).await.map_err(|status| Failure::new(status.message()))?;
    let began = began.into_inner().rebuild.unwrap_or_default();
    if options.detach {
        println!("the rebuild goes on in the server");
        return Ok(());
    }
    let done = watch(&mut client, &began).await?;
    println!("{} runs are in the index, {} were left out because their rows are damaged", done.runs, done.damaged);
    Ok(())
}

async fn watch(client: &mut OperateServiceClient<Channel>, began: &VisibilityRebuild) -> Result<VisibilityRebuild, Failure> {
    let mut told = 0;
    loop {
        let now = client.describe_visibility(DescribeVisibilityRequest {}).await.map_err(|status| Failure::new(status.message()))?;
        let now = now.into_inner().rebuild.unwrap_or_default();
        if now.finished > began.finished {
            return Ok(now);
        }
        let tenths = now.slots_done * 10 / 1024;
        if tenths > told {
            told = tenths;
            println!("{} % of the slots, {} runs", tenths * 10, now.runs);
        }
        tokio::time::sleep(LOOK).await;
    }
}
