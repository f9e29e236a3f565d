//! Shopping carts that are workflows: filled by update-or-signal, paid once, and given up by themselves when nobody comes back.
//!
//! `cargo run --release -p sempre-patterns --example cart`
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

mod stage;

use std::{collections::BTreeMap, error::Error, process::ExitCode, sync::Arc, time::Duration};

use sempre_patterns::entity::{Carried, Entity, EntityOptions, Message, Snapshot};
use serde::{Deserialize, Serialize};
use stage::{Outcome, tell};
use temporalio_client::{Client, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

const QUEUE: &str = "shop";
/// Short, so that the story sees a cart expire. A shop leaves it at weeks: a cart that waits costs nothing.
const IDLE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Contents {
    /// What, how many, and cents for each. Ordered: workflow code has no use for a `HashMap`.
    lines: BTreeMap<String, (u32, u64)>,
    /// What was paid.
    paid: Option<u64>,
}

impl Contents {
    fn total(&self) -> u64 {
        self.lines.values().map(|(count, cents)| u64::from(*count) * cents).sum()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    article: String,
    count: u32,
    cents: u64,
}

struct Till;

#[activities]
impl Till {
    /// Takes the money. In earnest it hands the cart's id to the bank as the key that makes it safe to do twice.
    #[activity]
    async fn charge(self: Arc<Self>, _ctx: ActivityContext, cents: u64) -> Result<u64, ActivityError> {
        Ok(cents)
    }
}

#[workflow]
struct Cart {
    entity: Entity<Contents>,
    /// The checkout is under way.
    paying: bool,
}

#[workflow_methods]
impl Cart {
    #[init]
    fn new(_ctx: &WorkflowContextView, carried: Carried<Contents>) -> Self {
        Self { entity: Entity::new(carried), paying: false }
    }

    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Contents> {
        let entity = ctx.state(|cart| cart.entity.clone());
        entity.live(ctx, EntityOptions { idle: Some(IDLE), ..EntityOptions::default() }).await
    }

    /// Puts something in; says what the cart costs now.
    #[update]
    fn add(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<Line>) -> Result<u64, Box<dyn Error + Send + Sync>> {
        if self.paying {
            return Err("the cart is being paid".into());
        }
        self.entity.try_once(message, |contents, line| {
            let entry = contents.lines.entry(line.article).or_insert((0, line.cents));
            entry.0 += line.count;
            Ok(contents.total())
        })
    }

    /// Pays, and ends the cart. A handler that waits: the cart does not end before it has.
    #[update]
    async fn checkout(ctx: &mut WorkflowContext<Self>, id: String) -> Result<u64, Box<dyn Error + Send + Sync>> {
        if ctx.state(|cart| cart.paying) {
            return Err("the cart is being paid".into());
        }
        ctx.state_mut(|cart| cart.paying = true);
        let cents = ctx.state(|cart| cart.entity.look(Contents::total));
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        let charged = ctx.execute_activity(Till::charge, cents, options).await;
        ctx.state_mut(|cart| cart.paying = false);
        let charged = charged?;
        ctx.state_mut(|cart| {
            cart.entity.once(Message::new(id, charged), |contents, charged| contents.paid = Some(charged));
            cart.entity.close();
        });
        Ok(charged)
    }

    #[query]
    fn snapshot(&self, _ctx: &WorkflowContextView) -> Snapshot<Contents> {
        self.entity.snapshot()
    }
}

fn main() -> ExitCode {
    match WorkerOptions::new(QUEUE).register_activities(Till).register_workflow::<Cart>() {
        Ok(options) => tell(options.build(), story),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn line(article: &str, count: u32, cents: u64) -> Line {
    Line { article: article.to_owned(), count, cents }
}

async fn story(client: Client) -> Outcome {
    let start = |id: &str| WorkflowStartOptions::new(QUEUE, id).build();
    let update = WorkflowExecuteUpdateOptions::default;
    println!("Ada and Bob each take a cart. A cart is a workflow; its id is the customer's.");
    client.start_workflow(Cart::run, Contents::default().into(), start("cart-ada")).await?;
    client.start_workflow(Cart::run, Contents::default().into(), start("cart-bob")).await?;
    let ada = client.get_workflow_handle::<Cart>("cart-ada");
    let bob = client.get_workflow_handle::<Cart>("cart-bob");

    println!(
        "  Ada puts in two teapots:     {} cents",
        ada.execute_update(Cart::add, Message::new("a1", line("teapot", 2, 1900)), update()).await?
    );
    println!(
        "  Bob puts in a kettle:        {} cents",
        bob.execute_update(Cart::add, Message::new("b1", line("kettle", 1, 4500)), update()).await?
    );
    let again = ada.execute_update(Cart::add, Message::new("a1", line("teapot", 2, 1900)), update()).await?;
    println!("  Ada's click is sent again:   {again} cents (it has its effect once)");
    let total = ada.execute_update(Cart::add, Message::new("a2", line("cup", 4, 350)), update()).await?;
    println!("  Ada puts in four cups:       {total} cents");
    let snapshot = ada.query(Cart::snapshot, (), WorkflowQueryOptions::default()).await?;
    println!("  a query for the page:        {:?}", snapshot.state.lines);

    let paid = ada.execute_update(Cart::checkout, "pay-1".to_owned(), update()).await?;
    println!("Ada pays {paid} cents, and her cart is done.");
    let ended = ada.get_result(WorkflowGetResultOptions::default()).await?;
    println!("Bob has gone home. After {IDLE:?} without a message his cart ends by itself …");
    let left = bob.get_result(WorkflowGetResultOptions::default()).await?;
    println!("… with {:?} in it, and nothing paid. A letter could be written now.", left.lines);
    let right = again == 3800 && paid == 5200 && ended.paid == Some(5200) && left.paid.is_none() && left.total() == 4500;
    if right { Ok(()) } else { Err("a number is wrong".into()) }
}
