//! Batch jobs over several workflows.

use std::sync::Arc;

use futures::FutureExt;
use sempre_api::v1::{
    batch::{BatchOperationCancellation, BatchOperationSignal, BatchOperationTermination},
    common::Execution,
    enums::{BatchOperationState, ExecutionType},
    workflowservice::{DescribeBatchOperationRequest, StartBatchOperationRequest, start_batch_operation_request::Operation},
};
use sempre_core::Span;

use super::ask;
use crate::{
    executor::WORLD,
    network::{Answer, Call},
    oracle::Job,
    random::Random,
    script::payloads,
    world::{NAMESPACE, World, lock},
};

/// A job over some workflows, by their ids or by a query; somebody waits for its end.
pub(crate) async fn job(world: &Arc<World>, random: &mut Random, workflow: &str, k: u64) {
    let id = format!("job-{workflow}-{k}");
    let marker = format!("<{id}>");
    let operation = match random.below(8) {
        0 => Operation::TerminationOperation(BatchOperationTermination { details: None, identity: "operator".into() }),
        1 => Operation::CancellationOperation(BatchOperationCancellation { identity: "operator".into() }),
        _ => Operation::SignalOperation(BatchOperationSignal {
            signal: "batch".into(),
            input: Some(payloads(&marker)),
            identity: "operator".into(),
            ..Default::default()
        }),
    };
    let signals = matches!(operation, Operation::SignalOperation(_));
    let mut request = StartBatchOperationRequest {
        namespace: NAMESPACE.into(),
        job_id: id.clone(),
        reason: "simulated".into(),
        operation: Some(operation),
        ..Default::default()
    };
    if random.permille(500) {
        request.visibility_query = "ExecutionStatus = 'Running' AND WorkflowType = 'Simulated'".into();
    } else {
        let target = |n: u64| Execution { r#type: ExecutionType::Workflow as i32, business_id: format!("w{n}"), run_id: String::new() };
        request.target_executions = (0..world.plan.workflows).map(target).collect();
    }
    let by_query = !request.visibility_query.is_empty();
    let answer = ask(world, random, || {
        let request = request.clone();
        Call::new("batch job", move |engine| {
            let request = request.clone();
            async move { engine.start_batch(request).await }
        })
    })
    .await;
    let acknowledged = matches!(answer, Answer::Done(_));
    lock(&world.oracle).jobs.insert(id.clone(), Job { marker, signals, by_query, acknowledged, ended: None });
    if acknowledged {
        lock(&world.oracle).waiting += 1;
        let random = Random::new(random.any(), 1);
        world.executor.spawn(WORLD, "job", wait(world.clone(), random, id).boxed());
    }
}

/// Waits for the end of a job that is known to be there.
async fn wait(world: Arc<World>, mut random: Random, id: String) {
    loop {
        let request = DescribeBatchOperationRequest { namespace: NAMESPACE.into(), job_id: id.clone() };
        let answer = ask(&world, &mut random, || {
            let request = request.clone();
            Call::new("describe job", move |engine| {
                let request = request.clone();
                async move { engine.describe_batch(request).await }
            })
        })
        .await;
        match answer {
            Answer::Done(job) if job.state() != BatchOperationState::Running => {
                world.tell(format_args!("{id}: {:?}, {} of {}", job.state(), job.complete_operation_count, job.total_operation_count));
                let mut oracle = lock(&world.oracle);
                if let Some(known) = oracle.jobs.get_mut(&id) {
                    known.ended = Some((job.total_operation_count, job.complete_operation_count, job.failure_operation_count));
                }
                oracle.waiting -= 1;
                return;
            }
            Answer::Refused(refusal) => {
                world.violation(format!("{id} was begun and cannot be described: {refusal:?}"));
                return;
            }
            Answer::Done(_) | Answer::Unknown => world.time.sleep(Span::seconds(5)).await,
        }
    }
}
