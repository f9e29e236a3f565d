//! What open runs need of a patch.

use sempre_embedded::testing::TestEnvironment;
use sempre_patterns::versioning::{Advice, PatchUse};
use temporalio_client::{Client, WorkflowGetResultOptions, WorkflowHandle, WorkflowSignalOptions, WorkflowStartOptions};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patch_is_kept_then_deprecated_then_removed() -> Outcome {
    let test = TestEnvironment::start().await?;
    let client = test.client();
    let end = async |handle: WorkflowHandle<Client, _>| -> Outcome {
        handle.signal(Patched::end, (), WorkflowSignalOptions::default()).await?;
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
    };
    let advice = async || -> Outcome<(PatchUse, Advice)> {
        let used = PatchUse::count(client, Patched::name(), "it's new").await?;
        Ok((used, used.advice()))
    };
    let body = async {
        let old = client.start_workflow(Patched::run, false, WorkflowStartOptions::new(QUEUE, "old").build()).await?;
        let new = client.start_workflow(Patched::run, true, WorkflowStartOptions::new(QUEUE, "new").build()).await?;
        test.idle().await;
        assert_eq!(advice().await?, (PatchUse { with: 1, without: 1 }, Advice::Keep));
        end(old).await?;
        assert_eq!(advice().await?, (PatchUse { with: 1, without: 0 }, Advice::Deprecate));
        end(new).await?;
        assert_eq!(advice().await?, (PatchUse { with: 0, without: 0 }, Advice::Remove));
        Ok(())
    };
    let options = || WorkerOptions::new(QUEUE).register_workflow::<Patched>().unwrap().build();
    with_deaths(&test, &[], options, body).await?;
    test.shutdown().await;
    Ok(())
}
