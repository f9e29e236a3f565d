//! `task-queue list-partition`.

use clap::Args;
use sempre_api::v1::workflowservice::ListTaskQueuePartitionsRequest;

use super::queue;
use crate::cli::{
    Failure,
    output::{Cell, Table},
    session::Session,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The task queue
    #[arg(short, long, value_name = "NAME")]
    task_queue: String,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = ListTaskQueuePartitionsRequest { namespace: session.namespace(), task_queue: queue(&options.task_queue) };
    let answer = session.client().await?.workflow.list_task_queue_partitions(request).await?.into_inner();
    session.out.message(&answer)?;
    for (title, partitions) in [
        ("Workflow Task Queue Partitions", &answer.workflow_task_queue_partitions),
        ("Activity Task Queue Partitions", &answer.activity_task_queue_partitions),
    ] {
        session.out.title(title)?;
        let rows: Vec<_> =
            partitions.iter().map(|of| [&of.key, &of.owner_host_name].map(|text| Cell::from(text.as_str())).to_vec()).collect();
        session.out.table(&mut Table::new(&["Key", "OwnerHostName"]), &rows)?;
    }
    Ok(())
}
