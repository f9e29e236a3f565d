//! A bank account that is a workflow: deposits, withdrawals, a message that is sent twice, a chain of runs, the end.
//!
//! `cargo run --release -p sempre-patterns --example account`
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

mod stage;

use std::{error::Error, num::NonZeroU32, process::ExitCode};

use sempre_patterns::entity::{Carried, Entity, EntityOptions, Message, Snapshot};
use serde::{Deserialize, Serialize};
use stage::{Outcome, tell};
use temporalio_client::{
    Client, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowStartOptions,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult};

const QUEUE: &str = "bank";
/// Few, so that the story sees the chain. An account in earnest leaves it at a thousand.
const MESSAGES_PER_RUN: NonZeroU32 = NonZeroU32::new(4).expect("it is not zero");

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Balance {
    cents: u64,
}

#[workflow]
struct Account {
    entity: Entity<Balance>,
}

#[workflow_methods]
impl Account {
    #[init]
    fn new(_ctx: &WorkflowContextView, carried: Carried<Balance>) -> Self {
        Self { entity: Entity::new(carried) }
    }

    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Balance> {
        let entity = ctx.state(|account| account.entity.clone());
        entity.live(ctx, EntityOptions { messages_per_run: MESSAGES_PER_RUN, ..EntityOptions::default() }).await
    }

    #[update]
    fn deposit(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<u64>) -> u64 {
        self.entity.once(message, |balance, cents| {
            balance.cents += cents;
            balance.cents
        })
    }

    #[update]
    fn withdraw(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<u64>) -> Result<u64, Box<dyn Error + Send + Sync>> {
        self.entity.try_once(message, |balance, cents| match balance.cents.checked_sub(cents) {
            Some(left) => {
                balance.cents = left;
                Ok(left)
            }
            None => Err(format!("there are only {} cents", balance.cents).into()),
        })
    }

    #[signal]
    fn close(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.entity.close();
    }

    #[query]
    fn snapshot(&self, _ctx: &WorkflowContextView) -> Snapshot<Balance> {
        self.entity.snapshot()
    }
}

fn main() -> ExitCode {
    match WorkerOptions::new(QUEUE).register_workflow::<Account>() {
        Ok(options) => tell(options.build(), story),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn story(client: Client) -> Outcome {
    println!("An account is opened. It is a workflow; its id is the number of the account.");
    client.start_workflow(Account::run, Balance::default().into(), WorkflowStartOptions::new(QUEUE, "account-7").build()).await?;
    let account = client.get_workflow_handle::<Account>("account-7");
    let options = WorkflowExecuteUpdateOptions::default;
    let deposit = async |id: &str, cents: u64| account.execute_update(Account::deposit, Message::new(id, cents), options()).await;

    println!("  deposit 5000, message d1:      balance {}", deposit("d1", 5000).await?);
    println!("  the answer got lost; d1 again: balance {} (it has its effect once)", deposit("d1", 5000).await?);
    let refused = account.execute_update(Account::withdraw, Message::new("w1", 9999), options()).await;
    println!("  withdraw 9999:                 {}", if refused.is_err() { "refused, there is not so much" } else { "paid?" });
    let left = account.execute_update(Account::withdraw, Message::new("w2", 1500), options()).await?;
    println!("  withdraw 1500:                 balance {left}");

    let first = account.describe(WorkflowDescribeOptions::default()).await?.run_id().to_owned();
    println!("Eight small deposits. After each {MESSAGES_PER_RUN} messages the account goes on as a new run with an empty history.");
    for n in 0..8 {
        deposit(&format!("s{n}"), 10).await?;
    }
    let now = account.describe(WorkflowDescribeOptions::default()).await?;
    println!("  run {first} is now {}, {} events long", now.run_id(), now.history_length());
    println!("  s0 is sent again, to a run that never saw it: balance {} (as it was then)", deposit("s0", 10).await?);
    let snapshot = account.query(Account::snapshot, (), WorkflowQueryOptions::default()).await?;
    println!("  a query: {snapshot:?}");

    account.signal(Account::close, (), Default::default()).await?;
    let last = account.get_result(WorkflowGetResultOptions::default()).await?;
    println!("The account is closed with {} cents.", last.cents);
    let right = refused.is_err() && now.run_id() != first && snapshot.messages == 10 && last.cents == 3580;
    if right { Ok(()) } else { Err("a number is wrong".into()) }
}
