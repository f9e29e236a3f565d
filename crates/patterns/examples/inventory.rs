//! The stock of an article that is a workflow: many want it at once, and it is never sold twice.
//!
//! `cargo run --release -p sempre-patterns --example inventory`
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

mod stage;

use std::{collections::BTreeMap, error::Error, num::NonZeroU32, process::ExitCode};

use sempre_patterns::entity::{Carried, Entity, EntityOptions, Message, Snapshot};
use serde::{Deserialize, Serialize};
use stage::{Outcome, tell};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowStartOptions,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult};

const QUEUE: &str = "warehouse";
/// Few, so that the stock goes on as a new run in the midst of the rush.
const MESSAGES_PER_RUN: NonZeroU32 = NonZeroU32::new(5).expect("it is not zero");

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stock {
    free: u32,
    /// By order.
    reserved: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wish {
    order: String,
    count: u32,
}

#[workflow]
struct Article {
    entity: Entity<Stock>,
}

#[workflow_methods]
impl Article {
    #[init]
    fn new(_ctx: &WorkflowContextView, carried: Carried<Stock>) -> Self {
        Self { entity: Entity::new(carried) }
    }

    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Stock> {
        let entity = ctx.state(|article| article.entity.clone());
        entity.live(ctx, EntityOptions { messages_per_run: MESSAGES_PER_RUN, ..EntityOptions::default() }).await
    }

    /// Puts some aside for an order; says how many are left.
    #[update]
    fn reserve(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<Wish>) -> Result<u32, Box<dyn Error + Send + Sync>> {
        self.entity.try_once(message, |stock, wish| {
            let left = stock.free.checked_sub(wish.count).ok_or_else(|| format!("only {} are left", stock.free))?;
            stock.free = left;
            *stock.reserved.entry(wish.order).or_default() += wish.count;
            Ok(left)
        })
    }

    /// The order does not want them any more: what a saga calls to undo `reserve`. Says how many are free now.
    #[update]
    fn release(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<String>) -> u32 {
        self.entity.once(message, |stock, order| {
            stock.free += stock.reserved.remove(&order).unwrap_or_default();
            stock.free
        })
    }

    #[signal]
    fn deliver(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<u32>) {
        self.entity.once(message, |stock, count| stock.free += count);
    }

    #[signal]
    fn close(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.entity.close();
    }

    #[query]
    fn snapshot(&self, _ctx: &WorkflowContextView) -> Snapshot<Stock> {
        self.entity.snapshot()
    }
}

fn main() -> ExitCode {
    match WorkerOptions::new(QUEUE).register_workflow::<Article>() {
        Ok(options) => tell(options.build(), story),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn story(client: Client) -> Outcome {
    println!("Twenty lamps are on the shelf. The stock of lamps is a workflow.");
    let stock = Stock { free: 20, ..Stock::default() };
    client.start_workflow(Article::run, stock.into(), WorkflowStartOptions::new(QUEUE, "article-lamp").build()).await?;
    let lamp = client.get_workflow_handle::<Article>("article-lamp");
    let first = lamp.describe(WorkflowDescribeOptions::default()).await?.run_id().to_owned();
    let reserve = async |order: usize, id: String| {
        let wish = Wish { order: format!("order-{order}"), count: 3 };
        loop {
            // One that met the run as it went on as a new one is sent again, with the same id.
            match lamp.execute_update(Article::reserve, Message::new(&id, wish.clone()), WorkflowExecuteUpdateOptions::default()).await {
                Err(error) if error.to_string().contains("completed") => {}
                other => return other,
            }
        }
    };

    println!("Ten orders want three each, all at once.");
    let wishes = futures::future::join_all((0..10).map(|order| reserve(order, format!("reserve-{order}")))).await;
    let served: Vec<usize> = (0..10).filter(|order| wishes[*order].is_ok()).collect();
    println!("  {} are served, {} are told that there is not so much", served.len(), 10 - served.len());
    let snapshot = lamp.query(Article::snapshot, (), WorkflowQueryOptions::default()).await?;
    let set_aside: u32 = snapshot.state.reserved.values().sum();
    println!("  set aside {set_aside}, left {}: together {}", snapshot.state.free, set_aside + snapshot.state.free);
    let now = lamp.describe(WorkflowDescribeOptions::default()).await?;
    println!("  meanwhile the stock went on as a new run, {} events long", now.history_length());

    let waits = (0..10).find(|order| !served.contains(order)).ok_or("all were served")?;
    let gives = *served.first().ok_or("nobody was served")?;
    let release = || {
        lamp.execute_update(Article::release, Message::new("release-1", format!("order-{gives}")), WorkflowExecuteUpdateOptions::default())
    };
    println!("One order is cancelled: {} are free. Told again: {} (it has its effect once).", release().await?, release().await?);
    let left = reserve(waits, "reserve-late".to_owned()).await?;
    println!("An order that was refused asks again and gets its three; {left} are left.");
    lamp.signal(Article::deliver, Message::new("delivery-1", 100), Default::default()).await?;
    lamp.signal(Article::close, (), Default::default()).await?;
    let last = lamp.get_result(WorkflowGetResultOptions::default()).await?;
    println!("A hundred are delivered, and the article is given up with {} on the shelf.", last.free);
    let right = served.len() == 6 && set_aside == 18 && now.run_id() != first && left == 2 && last.free == 102;
    if right { Ok(()) } else { Err("a number is wrong".into()) }
}
