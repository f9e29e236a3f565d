//! Wakes and polls in an order that the SDK does not know.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult, workflows};

#[workflow]
#[derive(Default)]
pub struct Order;

#[workflow_methods]
impl Order {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        tokio::time::sleep(Duration::from_secs(1)).await; //~ async [walk, types] a sleep of tokio
        let task = tokio::spawn(async { 1 }); //~ async [walk, types] a task of tokio
        let (tell, told) = tokio::sync::oneshot::channel::<u32>(); //~ async [walk, types] a channel of tokio
        let mut one = std::pin::pin!(ctx.timer(Duration::from_secs(1)).fuse());
        let mut two = std::pin::pin!(ctx.timer(Duration::from_secs(2)).fuse());
        futures::select! { //~ async [walk, types] a select that draws who is first
            _ = one => {}
            _ = two => {}
        }
        tokio::select! { //~ async [walk, types] a select of tokio
            _ = ctx.timer(Duration::from_secs(3)) => {}
            _ = ctx.timer(Duration::from_secs(4)) => {}
        }
        let mut all = FuturesUnordered::new(); //~ async [walk, types] futures as they are ready
        all.push(ctx.timer(Duration::from_secs(5)));
        all.next().await;
        futures::future::join_all([ctx.timer(Duration::from_secs(6))]).await; //~ async [walk, types] a join that the SDK does not guard
        // These have an order.
        workflows::join!(ctx.timer(Duration::from_secs(7)), ctx.timer(Duration::from_secs(8)));
        workflows::select! {
            _ = ctx.timer(Duration::from_secs(9)) => {}
            _ = ctx.timer(Duration::from_secs(10)) => { std::thread::yield_now(); } //~ thread [walk, types] a fault in a branch of the SDK's own select
        }
        drop((task, tell, told));
        Ok(0)
    }
}
