//! Payments by activities that run more than once: an answer that is lost, a customer who pays twice, a refund, and an attempt that comes late.
//!
//! `cargo run --release -p sempre-patterns --example payments`
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

mod stage;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use sempre_patterns::idempotent::{Attempt, Class, DedupStore, Fenced, Key, class_of, once, sqlite::SqliteDedup};
use serde::{Deserialize, Serialize};
use stage::{Outcome, tell};
use temporalio_client::{Client, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

const QUEUE: &str = "payments";
const ATTEMPT: Duration = Duration::from_secs(10);
/// How soon the till tries again. Short, for the story.
const PAUSE: Duration = Duration::from_millis(200);

/// What is to be paid. The key is the business's own name of the effect: whoever pays this invoice means the same payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bill {
    key: Key,
    cents: u64,
    /// The connection to the bank breaks after the bank has taken the money, and before it has answered.
    answer_lost: bool,
}

/// A bank that remembers under which key it has taken money, and nothing else: asked twice, it takes it twice.
#[derive(Default)]
struct Bank {
    taken: Mutex<Vec<(Key, u64)>>,
    given_back: Mutex<Vec<usize>>,
}

impl Bank {
    /// Takes money; gives a receipt.
    fn take(&self, key: &Key, cents: u64) -> usize {
        let mut taken = self.taken.lock().expect("nobody panics with it");
        taken.push((key.clone(), cents));
        println!("    the bank takes {cents} cents for {key}: receipt {}", taken.len());
        taken.len()
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let taken = self.taken.lock().expect("nobody panics with it");
        taken.iter().position(|(known, _)| known == key).map(|place| place + 1)
    }

    fn give_back(&self, receipt: usize) {
        println!("    the bank gives back what it took with receipt {receipt}");
        self.given_back.lock().expect("nobody panics with it").push(receipt);
    }
}

/// The till, with its memory in a database. In earnest it is a file (`SqliteDedup::open`), or PostgreSQL where several machines have tills.
struct Till {
    store: SqliteDedup,
    bank: Arc<Bank>,
}

#[activities]
impl Till {
    #[activity]
    async fn charge(self: Arc<Self>, ctx: ActivityContext, bill: Bill) -> Result<usize, ActivityError> {
        let first = ctx.info().attempt == 1;
        println!("  attempt {} to charge {}", ctx.info().attempt, bill.key);
        once(&self.store, &bill.key, async |attempt| {
            println!("    the memory says: {}", if attempt == Attempt::First { "nobody has begun" } else { "somebody has begun" });
            // Nobody knows how far that one came: check, then act.
            if attempt == Attempt::Again
                && let Some(receipt) = self.bank.find(&bill.key)
            {
                println!("    the bank knows the key: receipt {receipt}");
                return Ok(receipt);
            }
            let receipt = self.bank.take(&bill.key, bill.cents);
            if bill.answer_lost && first {
                return Err(Class::retry_after(PAUSE, "the connection broke"));
            }
            Ok(receipt)
        })
        .await
    }

    /// Gives back what was taken, if anything was, and forbids that it is taken from now on.
    #[activity]
    async fn refund(self: Arc<Self>, _ctx: ActivityContext, key: Key) -> Result<(), ActivityError> {
        let taken = match self.store.fence(&key).await? {
            Fenced::Untouched => None,
            Fenced::Begun => self.bank.find(&key),
            Fenced::Done(receipt) => Some(serde_json::from_slice(&receipt)?),
        };
        if let Some(receipt) = taken {
            // This too must happen once.
            once(&self.store, &Key::new(format!("{key} refunded")), async |_| {
                self.bank.give_back(receipt);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn options() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(ATTEMPT)
}

#[workflow]
#[derive(Default)]
struct Payment;

#[workflow_methods]
impl Payment {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, bill: Bill) -> WorkflowResult<String> {
        Ok(match ctx.execute_activity(Till::charge, bill, options()).await {
            Ok(receipt) => format!("paid, receipt {receipt}"),
            Err(error) => format!("refused: {}", class_of(&error).map_or("cancelled", Class::type_name)),
        })
    }
}

#[workflow]
#[derive(Default)]
struct Refund;

#[workflow_methods]
impl Refund {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, key: Key) -> WorkflowResult<()> {
        Ok(ctx.execute_activity(Till::refund, key, options()).await?)
    }
}

fn main() -> ExitCode {
    let bank = Arc::new(Bank::default());
    let worker = || -> Outcome<WorkerOptions> {
        let till = Till { store: SqliteDedup::in_memory()?, bank: bank.clone() };
        let options = WorkerOptions::new(QUEUE).register_activities(till);
        Ok(options.register_workflow::<Payment>()?.register_workflow::<Refund>()?.build())
    };
    match worker() {
        Ok(options) => tell(options, async |client| story(client, &bank).await),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn story(client: Client, bank: &Bank) -> Outcome {
    let pay = async |id: &str, bill: &Bill| -> Outcome<String> {
        let handle = client.start_workflow(Payment::run, bill.clone(), WorkflowStartOptions::new(QUEUE, id).build()).await?;
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
    };
    let bill = Bill { key: Key::new("invoice-7"), cents: 4200, answer_lost: true };

    println!("Invoice 7 is paid. The bank takes the money; its answer is lost.");
    let first = pay("by card", &bill).await?;
    println!("  {first}");

    println!("The customer has seen an error page, and pays the invoice again.");
    let second = pay("once more", &bill).await?;
    println!("  {second}: the memory has it, the bank is not asked");

    println!("The goods come back. The refund fences the payment, and gives the money back.");
    let refund = client.start_workflow(Refund::run, bill.key.clone(), WorkflowStartOptions::new(QUEUE, "refund").build()).await?;
    refund.get_result(WorkflowGetResultOptions::default()).await?;

    println!("An attempt to charge, from a worker that was cut off all the while, comes only now.");
    let late = pay("late", &bill).await?;
    println!("  {late}: what has been undone is not done any more");

    let (taken, back) = (bank.taken.lock().map_err(|_| "poisoned")?.len(), bank.given_back.lock().map_err(|_| "poisoned")?.len());
    println!("The bank has taken {taken} time and given back {back} time.");
    let right = first == second && (taken, back) == (1, 1) && late == "refused: BusinessRule";
    if right { Ok(()) } else { Err("something happened twice, or not at all".into()) }
}
