//! What open runs need of a patch.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sempre_embedded::{Carry, Wire, testing::TestEnvironment};
use sempre_patterns::versioning::{Advice, PatchUse};
use temporalio_client::{
    Client, WorkflowGetResultOptions, WorkflowHandle, WorkflowSignalOptions, WorkflowStartOptions, callback_based::GrpcRequest,
    grpc::WorkflowService, tonic::Request,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::PauseWorkflowExecutionRequest;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowResult};

use crate::life::{Outcome, QUEUE, with_deaths};

/// Meets the patch, if it is told to, then waits.
#[workflow]
#[derive(Default)]
struct Patched {
    ended: bool,
}

#[workflow_methods]
impl Patched {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, meets: bool) -> WorkflowResult<()> {
        if meets {
            ctx.patched("it's new");
        }
        ctx.wait_condition(|it| it.ended).await?;
        Ok(())
    }

    #[signal]
    fn end(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.ended = true;
    }
}

/// Begins a run, which meets the patch or does not, then waits.
async fn begin(test: &TestEnvironment, id: &str, meets: bool) -> Outcome<WorkflowHandle<Client, Patched>> {
    test.client().start_workflow(Patched::run, meets, WorkflowStartOptions::new(QUEUE, id).build()).await?;
    test.idle().await;
    Ok(test.client().get_workflow_handle::<Patched>(id))
}

async fn end(handle: &WorkflowHandle<Client, Patched>) -> Outcome {
    handle.signal(Patched::end, (), WorkflowSignalOptions::default()).await?;
    Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
}

async fn advice(client: &Client) -> Outcome<(PatchUse, Advice)> {
    let used = PatchUse::count(client, Patched::name(), "it's new").await?;
    Ok((used, used.advice()))
}

/// With a worker.
async fn at_work(test: &TestEnvironment, body: impl Future<Output = Outcome>) -> Outcome {
    let options = || WorkerOptions::new(QUEUE).register_workflow::<Patched>().unwrap().build();
    with_deaths(test, &[], options, body).await?;
    test.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_is_kept_then_deprecated_then_removed() -> Outcome {
    let test = TestEnvironment::start().await?;
    at_work(&test, async {
        let (old, new) = (begin(&test, "old", false).await?, begin(&test, "new", true).await?);
        assert_eq!(advice(test.client()).await?, (PatchUse { with: 1, without: 1 }, Advice::Keep));
        end(&old).await?;
        assert_eq!(advice(test.client()).await?, (PatchUse { with: 1, without: 0 }, Advice::Deprecate));
        end(&new).await?;
        assert_eq!(advice(test.client()).await?, (PatchUse { with: 0, without: 0 }, Advice::Remove));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_still_needs_its_branch() -> Outcome {
    let test = TestEnvironment::start().await?;
    at_work(&test, async {
        for (id, meets) in [("old", false), ("new", true)] {
            begin(&test, id, meets).await?;
            let pause = PauseWorkflowExecutionRequest {
                namespace: "default".to_owned(),
                workflow_id: id.to_owned(),
                request_id: format!("pause of {id}"),
                ..PauseWorkflowExecutionRequest::default()
            };
            test.client().clone().pause_workflow_execution(Request::new(pause)).await?;
        }
        assert_eq!(advice(test.client()).await?, (PatchUse { with: 1, without: 1 }, Advice::Keep));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_closes_while_runs_are_counted_hides_no_other() -> Outcome {
    let test = TestEnvironment::start().await?;
    at_work(&test, async {
        begin(&test, "old", false).await?;
        let new = begin(&test, "new", true).await?;
        // What was counted first does not hold any more when the second count is made.
        let (counts, client) = (Arc::new(AtomicUsize::new(0)), test.client().clone());
        let wire: Wire = Arc::new(move |request: GrpcRequest, carry: Carry| {
            let second = request.rpc == "CountWorkflowExecutions" && counts.fetch_add(1, Ordering::Relaxed) == 1;
            let new = client.get_workflow_handle::<Patched>("new");
            Box::pin(async move {
                if second {
                    end(&new).await.expect("it waits for that");
                }
                carry(request).await
            })
        });
        let (_, told) = advice(&test.server().client_over("default", wire).await?).await?;
        assert_eq!(told, Advice::Keep);
        let ended = new.get_result(WorkflowGetResultOptions::default()).await;
        assert!(ended.is_ok(), "it closed meanwhile: {ended:?}");
        Ok(())
    })
    .await
}
