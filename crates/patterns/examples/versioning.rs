//! Deploys that open orders live through: a patch in three deploys, a new workflow type, and worker deployments with pinned runs.
//!
//! `cargo run --release -p sempre-patterns --example versioning`
#![allow(clippy::disallowed_methods, reason = "a program for a terminal")]
#![allow(missing_docs, unreachable_pub, reason = "the macros of the SDK make public items for each workflow and activity")]

mod stage;

use std::{process::ExitCode, sync::Arc, time::Duration};

use sempre_patterns::versioning::{Advice, PatchUse};
use stage::{Outcome, deployed, play};
use temporalio_client::{
    Client, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowSignalOptions, WorkflowStartOptions, grpc::WorkflowService,
    tonic::Request,
};
use temporalio_common::{
    protos::temporal::api::workflowservice::v1::SetWorkerDeploymentCurrentVersionRequest,
    worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion},
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

const QUEUE: &str = "orders";
const DEPLOYED: &str = "orders-by-version";
const DEPLOYMENT: &str = "shop";
const PATCH: &str = "fraud check";

struct Shop;

#[activities]
impl Shop {
    /// Does one thing, and says that it is done.
    #[activity]
    async fn step(self: Arc<Self>, _ctx: ActivityContext, done: String) -> Result<String, ActivityError> {
        Ok(done)
    }
}

async fn step<W>(ctx: &WorkflowContext<W>, done: &str) -> WorkflowResult<String> {
    let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
    Ok(ctx.execute_activity(Shop::step, done.to_owned(), options).await?)
}

/// A workflow type as one deploy has it: a block of its own, then the order waits to be told to go on, and is shipped.
macro_rules! order {
    ($module:ident, $order:ident, |$ctx:ident, $done:ident| { $($own:tt)* }) => {
        mod $module {
            use super::*;

            #[workflow]
            #[derive(Default)]
            pub struct $order {
                told: bool,
            }

            #[workflow_methods]
            impl $order {
                #[run]
                pub async fn run($ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
                    let mut $done: Vec<String> = Vec::new();
                    $($own)*
                    $ctx.wait_condition(|order| order.told).await?;
                    $done.push(step($ctx, "shipped").await?);
                    Ok($done.join(", "))
                }

                #[signal]
                pub fn go_on(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
                    self.told = true;
                }

                #[query]
                pub fn waits(&self, _ctx: &WorkflowContextView) -> bool {
                    !self.told
                }
            }
        }
    };
}

// Orders as they were: nobody checks them.
order!(before, Order, |ctx, done| {});

// First deploy: old runs go the old way, new ones the new way.
order!(patched, Order, |ctx, done| {
    if ctx.patched(PATCH) {
        done.push(step(ctx, "checked").await?);
    }
});

// Second deploy, when no open run needs the old way.
order!(deprecated, Order, |ctx, done| {
    ctx.deprecate_patch(PATCH);
    done.push(step(ctx, "checked").await?);
});

// Third deploy, when no open run has the marker.
order!(removed, Order, |ctx, done| {
    done.push(step(ctx, "checked").await?);
});

// Everything is different: another workflow type.
order!(v2, OrderV2, |ctx, done| {
    done.push(step(ctx, "checked").await?);
    done.push(step(ctx, "packed").await?);
});

// Two builds that know nothing of each other, for worker deployments.
order!(build_1, Order, |ctx, done| {
    done.push(step(ctx, "reserved").await?);
});
order!(build_2, Order, |ctx, done| {
    done.push(step(ctx, "booked").await?);
});

/// Begins an order with the code of a module, and waits until it waits.
macro_rules! begin {
    ($client:expr, $order:path, $queue:expr, $id:expr) => {{
        let handle = $client.start_workflow(<$order>::run, (), WorkflowStartOptions::new($queue, $id).build()).await?;
        handle.query(<$order>::waits, (), WorkflowQueryOptions::default()).await?;
    }};
}

/// Has an order go on with the code of a module, to its end.
macro_rules! end {
    ($client:expr, $order:path, $id:expr) => {{
        let handle = $client.get_workflow_handle::<$order>($id);
        handle.signal(<$order>::go_on, (), WorkflowSignalOptions::default()).await?;
        handle.get_result(WorkflowGetResultOptions::default()).await?
    }};
}

async fn advice(client: &Client) -> Outcome<Advice> {
    let used = PatchUse::count(client, before::Order::name(), PATCH).await?;
    println!("  open orders: {} with the patch, {} without", used.with, used.without);
    println!("  what may be done: {:?}", used.advice());
    Ok(used.advice())
}

async fn patch_in_three_deploys(client: &Client) -> Outcome {
    let worker = || WorkerOptions::new(QUEUE).register_activities(Shop);
    println!("An order is open. Nobody checks orders for fraud yet.");
    deployed(client, worker().register_workflow::<before::Order>()?.build(), async {
        begin!(client, before::Order, QUEUE, "old");
        Ok(())
    })
    .await?;

    println!("First deploy: `if ctx.patched(…)`. A new order meets the patch, the old one is past it.");
    deployed(client, worker().register_workflow::<patched::Order>()?.build(), async {
        begin!(client, patched::Order, QUEUE, "new");
        advice(client).await?;
        println!("  old: {}", end!(client, patched::Order, "old"));
        println!("The old order has ended.");
        advice(client).await?;
        Ok(())
    })
    .await?;

    println!("Second deploy: `ctx.deprecate_patch(…)`. The open order replays its marker.");
    deployed(client, worker().register_workflow::<deprecated::Order>()?.build(), async {
        println!("  new: {}", end!(client, deprecated::Order, "new"));
        advice(client).await?;
        Ok(())
    })
    .await?;

    println!("Third deploy: the patch is gone.");
    deployed(client, worker().register_workflow::<removed::Order>()?.register_workflow::<v2::OrderV2>()?.build(), async {
        begin!(client, removed::Order, QUEUE, "newest");
        println!("  newest: {}", end!(client, removed::Order, "newest"));
        println!("Where everything is different there is a new workflow type, which the same worker has.");
        begin!(client, v2::OrderV2, QUEUE, "two");
        println!("  V2: {}", end!(client, v2::OrderV2, "two"));
        Ok(())
    })
    .await
}

/// A worker of a build, whose runs stay with it.
fn of_build(build: &str) -> WorkerDeploymentOptions {
    let version = WorkerDeploymentVersion::builder().deployment_name(DEPLOYMENT).build_id(build).build();
    WorkerDeploymentOptions::new(version).use_worker_versioning(true).default_versioning_behavior(VersioningBehavior::Pinned).build()
}

/// New runs begin on this build from now on. A build is known once its worker has polled.
async fn make_current(client: &Client, build: &str) -> Outcome {
    let request = SetWorkerDeploymentCurrentVersionRequest {
        namespace: "default".to_owned(),
        deployment_name: DEPLOYMENT.to_owned(),
        build_id: build.to_owned(),
        ignore_missing_task_queues: true,
        ..SetWorkerDeploymentCurrentVersionRequest::default()
    };
    let mut refused = None;
    for _ in 0..100 {
        match client.clone().set_worker_deployment_current_version(Request::new(request.clone())).await {
            Ok(_) => return Ok(()),
            Err(status) => refused = Some(status),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("build {build} cannot be made the current one: {refused:?}").into())
}

async fn pinned(client: &Client) -> Outcome {
    println!("Worker deployments: build 1 has an open order when build 2 comes. Both have workers.");
    let worker = |build: &str| WorkerOptions::new(DEPLOYED).deployment_options(of_build(build)).register_activities(Shop);
    deployed(client, worker("1").register_workflow::<build_1::Order>()?.build(), async {
        make_current(client, "1").await?;
        begin!(client, build_1::Order, DEPLOYED, "on build 1");
        deployed(client, worker("2").register_workflow::<build_2::Order>()?.build(), async {
            make_current(client, "2").await?;
            begin!(client, build_2::Order, DEPLOYED, "on build 2");
            let (first, second) = (end!(client, build_1::Order, "on build 1"), end!(client, build_2::Order, "on build 2"));
            println!("  pinned: the order of build 1 is {first}; that of build 2 is {second}.");
            Ok(())
        })
        .await
    })
    .await
}

fn main() -> ExitCode {
    play(async |client| {
        patch_in_three_deploys(&client).await?;
        pinned(&client).await
    })
}
