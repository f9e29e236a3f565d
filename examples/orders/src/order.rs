//! The order: a saga of steps that are undone in reverse when a later one fails, and the activities that do them.

use std::sync::Arc;
use std::time::Duration;

use sempre_patterns::saga::{Saga, SagaOptions};
use serde::{Deserialize, Serialize};
use temporalio_common::RetryPolicy;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityOptions, ApplicationFailure, WorkflowContext, WorkflowResult, workflows};
use tokio::sync::watch;

use crate::ledger::Ledger;

/// What the customer wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) item: String,
    pub(crate) cents: u64,
    pub(crate) destination: String,
    /// Time in which the customer may change their mind before the parcel leaves.
    pub(crate) grace: Duration,
    pub(crate) gift_wrap: bool,
}

/// The saga: reserve, charge, (wrap and wait), ship.
#[workflow]
#[derive(Default)]
pub(crate) struct OrderSaga;

#[workflow_methods]
impl OrderSaga {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, order: Order) -> WorkflowResult<String> {
        let options = SagaOptions::new(Duration::from_secs(60)).step(step_options());
        let outcome = Saga::run(ctx, options, async |saga| {
            saga.step("reserve").undo_by(Shop::release_inventory, order.clone()).run(Shop::reserve_inventory, order.clone()).await?;
            saga.step("charge").undo_by(Shop::refund_payment, order.clone()).run(Shop::charge_payment, order.clone()).await?;
            if order.gift_wrap {
                let wrap = saga.step("wrap").run(Shop::wrap_gift, order.clone());
                let (wrapped, _) = workflows::join!(wrap, ctx.timer(order.grace));
                wrapped?;
            }
            saga.step("ship").run(Shop::ship, order.clone()).await
        });
        Ok(outcome.await?.value)
    }
}

fn step_options() -> ActivityOptions {
    let retry = RetryPolicy::builder().initial_interval(Duration::from_millis(200)).maximum_attempts(10);
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(60)).retry_policy(retry.build()).build()
}

/// The steps of an order, each with a side effect in the ledger.
pub(crate) struct Shop {
    pub(crate) ledger: Arc<Ledger>,
    /// The step whose work is under way or done, for the one who wants to pull the plug at the right moment.
    pub(crate) progress: watch::Sender<Progress>,
}

/// How far gift wrapping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    NotYet,
    Wrapping,
    Wrapped,
}

const WRAPPING_DURATION: Duration = Duration::from_millis(800);

#[activities]
impl Shop {
    #[activity(name = "reserve-inventory")]
    pub(crate) async fn reserve_inventory(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        self.step(&ctx, &order, &format!("{} is set aside", order.item))
    }

    #[activity(name = "charge-payment")]
    pub(crate) async fn charge_payment(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        self.step(&ctx, &order, &format!("{}.{:02} euros are charged", order.cents / 100, order.cents % 100))
    }

    /// The slow step: it is under way when the server dies.
    #[activity(name = "wrap-gift")]
    pub(crate) async fn wrap_gift(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        if self.begin(&ctx, &order)? {
            self.progress.send_replace(Progress::Wrapping);
            tokio::time::sleep(WRAPPING_DURATION).await;
            self.done(&ctx, &order, &format!("{} is wrapped", order.item))?;
        }
        self.progress.send_replace(Progress::Wrapped);
        Ok(())
    }

    #[activity(name = "ship")]
    pub(crate) async fn ship(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<String, ActivityError> {
        if order.destination == "Atlantis" {
            let refusal =
                ApplicationFailure::builder("the carrier does not go to Atlantis").type_name("NoSuchPlace".to_owned()).non_retryable(true);
            println!("     ship               {}: refused, the carrier does not go to Atlantis", order.id);
            return Err(ActivityError::application(refusal.build()));
        }
        self.step(&ctx, &order, &format!("{} is on its way to {}", order.item, order.destination))?;
        Ok(format!("parcel-of-{}", order.id))
    }

    #[activity(name = "refund-payment")]
    pub(crate) async fn refund_payment(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        self.step(&ctx, &order, "the money is given back")
    }

    #[activity(name = "release-inventory")]
    pub(crate) async fn release_inventory(self: Arc<Self>, ctx: ActivityContext, order: Order) -> Result<(), ActivityError> {
        self.step(&ctx, &order, &format!("{} is back on the shelf", order.item))
    }
}

impl Shop {
    fn step(&self, ctx: &ActivityContext, order: &Order, told: &str) -> Result<(), ActivityError> {
        if self.begin(ctx, order)? {
            self.done(ctx, order, told)?;
        }
        Ok(())
    }

    fn begin(&self, ctx: &ActivityContext, order: &Order) -> Result<bool, ActivityError> {
        let info = ctx.info();
        Ok(self.ledger.begin(&order.id, &info.activity_type, info.attempt)?)
    }

    fn done(&self, ctx: &ActivityContext, order: &Order, told: &str) -> Result<(), ActivityError> {
        let step = &ctx.info().activity_type;
        self.ledger.done(&order.id, step)?;
        println!("     {step:<18} {}: {told}", order.id);
        Ok(())
    }
}
