//! Two workflows: one durable step, and many of them one after the other.

use restate_sdk::prelude::*;

use crate::Failure;

struct Short;

#[restate_sdk::workflow]
impl Short {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>) -> HandlerResult<String> {
        Ok(ctx.run(step).await?)
    }
}

struct Steps;

#[restate_sdk::workflow]
impl Steps {
    #[handler]
    async fn run(&self, ctx: WorkflowContext<'_>, steps: u32) -> HandlerResult<String> {
        for _ in 0..steps {
            ctx.run(step).await?;
        }
        Ok("done".to_owned())
    }
}

/// What an activity is elsewhere: done once, its result kept before the workflow goes on.
async fn step() -> HandlerResult<String> {
    Ok("done".to_owned())
}

pub(crate) async fn serve(address: &str) -> Result<(), Failure> {
    let endpoint = Endpoint::builder().bind(Short).bind(Steps).build();
    HttpServer::new(endpoint).listen_and_serve(address.parse()?).await;
    Ok(())
}
