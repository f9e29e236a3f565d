//! `sempre batch …`: the operations that the server carries out on many workflows.

use clap::{Args, Subcommand};
use sempre_api::v1::{
    enums::{BatchOperationState, BatchOperationType},
    workflowservice::{DescribeBatchOperationRequest, ListBatchOperationsRequest, StopBatchOperationRequest},
};

use super::{
    Failure,
    flags::CommonFlags,
    flags::Family,
    output::{Cell, Table, short_name},
    session::{self, Session},
};

#[derive(Subcommand)]
pub(crate) enum BatchCommand {
    /// Show how far an operation is
    Describe(Describe),
    /// List the operations
    List(List),
    /// Stop an operation; what it has done stays done
    Terminate(Terminate),
}

#[derive(Args)]
pub(crate) struct Describe {
    /// The operation
    #[arg(long, value_name = "ID")]
    job_id: String,
}

#[derive(Args)]
pub(crate) struct List {
    /// Stop after this many; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct Terminate {
    /// The operation
    #[arg(long, value_name = "ID")]
    job_id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) fn run(common: CommonFlags, family: Family<BatchCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match family.command {
        BatchCommand::Describe(options) => describe(session, options.job_id).await,
        BatchCommand::List(options) => list(session, options.limit).await,
        BatchCommand::Terminate(options) => {
            let request = StopBatchOperationRequest {
                namespace: session.namespace(),
                job_id: options.job_id.clone(),
                reason: options.reason,
                identity: session.identity(),
            };
            session.client().await?.workflow.stop_batch_operation(request).await?;
            session.out.line(format!("Terminated Batch Job '{}'", options.job_id))
        }
    })
}

fn state(state: i32) -> String {
    short_name(BatchOperationState::try_from(state).unwrap_or_default().as_str_name(), "BATCH_OPERATION_STATE_")
}

async fn describe(session: &mut Session, job_id: String) -> Result<(), Failure> {
    let request = DescribeBatchOperationRequest { namespace: session.namespace(), job_id };
    let answer = session.client().await?.workflow.describe_batch_operation(request).await?.into_inner();
    session.out.message(&answer)?;
    let kind = BatchOperationType::try_from(answer.operation_type).unwrap_or_default();
    let (start, close) = (session.out.time(answer.start_time.as_ref()), session.out.time(answer.close_time.as_ref()));
    session.out.card(&[
        ("State", state(answer.state).into()),
        ("Type", short_name(kind.as_str_name(), "BATCH_OPERATION_TYPE_").into()),
        ("StartTime", start.into()),
        ("CloseTime", close.into()),
        ("CompletedCount", format!("{}/{}", answer.complete_operation_count, answer.total_operation_count).into()),
        ("FailureCount", format!("{}/{}", answer.failure_operation_count, answer.total_operation_count).into()),
        ("Identity", answer.identity.into()),
        ("Reason", answer.reason.into()),
        ("Query", answer.query.into()),
    ])
}

async fn list(session: &mut Session, limit: usize) -> Result<(), Failure> {
    let (mut left, mut token) = (if limit == 0 { usize::MAX } else { limit }, bytes::Bytes::new());
    let mut table = Table::new(&["JobId", "State", "StartTime", "CloseTime"]);
    session.out.begin_list()?;
    loop {
        let request = ListBatchOperationsRequest { namespace: session.namespace(), next_page_token: token, ..Default::default() };
        let mut page = session.client().await?.workflow.list_batch_operations(request).await?.into_inner();
        page.operation_info.truncate(left);
        left -= page.operation_info.len();
        let mut rows = Vec::new();
        for job in &page.operation_info {
            session.out.message(job)?;
            let (start, close) = (session.out.time(job.start_time.as_ref()), session.out.time(job.close_time.as_ref()));
            rows.push([job.job_id.clone(), state(job.state), start, close].map(Cell::from).to_vec());
        }
        if !rows.is_empty() {
            session.out.table(&mut table, &rows)?;
        }
        token = page.next_page_token;
        if token.is_empty() || left == 0 {
            return session.out.end_list();
        }
    }
}
