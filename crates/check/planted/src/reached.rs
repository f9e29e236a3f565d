//! Faults that are not in the workflow's own methods.

use std::{
    fmt,
    ops::Add,
    time::{Instant, SystemTime},
};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

mod deep {
    pub(super) mod deeper {
        pub(crate) fn stamp() -> std::time::SystemTime {
            std::time::SystemTime::now() //~ clock [walk, types] two modules down
        }
    }
    pub(super) use deeper::stamp as mark;
}

fn helper() -> SystemTime {
    deep::mark()
}

/// Nothing calls it in a workflow.
fn unreached() -> SystemTime {
    SystemTime::now()
}

/// Nothing here calls it, but who gives it a context is a workflow.
pub async fn library<W>(ctx: &WorkflowContext<W>) -> Instant {
    ctx.timer(std::time::Duration::from_secs(1)).await;
    Instant::now() //~ clock [walk, types] in a function that takes a workflow's context
}

struct Basket {
    filled: SystemTime,
}

impl Basket {
    fn refill(&mut self) {
        self.filled = SystemTime::now(); //~ clock [walk, types] in a method of a field
    }

    fn inspect(&self) -> bool {
        self.filled > SystemTime::now() //~ clock [walk, types] in a method of a value whose type is not written down
    }
}

trait Priced {
    fn price(&self) -> u64;

    fn rounded(&self) -> u64 {
        self.price() + u64::from(std::process::id()) //~ process [walk, types] in a method that a trait gives
    }
}

impl Priced for Basket {
    fn price(&self) -> u64 {
        std::env::args().count() as u64 //~ process [walk, types] in an implementation, called through the trait
    }
}

fn generic<P: Priced>(priced: &P) -> u64 {
    priced.price()
}

fn dynamic(priced: &dyn Priced) -> u64 {
    priced.rounded()
}

impl Add for Basket {
    type Output = Self;

    fn add(self, _: Self) -> Self {
        Self { filled: SystemTime::now() } //~ clock [] in an operator
    }
}

impl Drop for Basket {
    fn drop(&mut self) {
        drop(SystemTime::now()); //~ clock [] in a drop
    }
}

impl fmt::Display for Basket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", SystemTime::now()) //~ clock [] in a text that a macro asks for
    }
}

macro_rules! stamped {
    ($value:expr) => {
        ($value, std::time::SystemTime::now()) //~ clock [walk, types] in a macro of the crate
    };
}

fn pick() -> Basket {
    Basket { filled: SystemTime::UNIX_EPOCH }
}

#[workflow]
#[derive(Default)]
pub struct Reaching;

#[workflow_methods]
impl Reaching {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u64> {
        let at = helper();
        let mut basket = Basket { filled: at };
        basket.refill();
        let full = [pick()].iter().filter(|basket| basket.inspect()).count();
        let price = generic(&basket) + dynamic(&basket);
        let stamped = stamped!(1);
        let told = format!("{basket}");
        let sum = basket + pick();
        let later = temporalio_sdk::ApplicationFailure::new("innocent");
        drop((full, stamped, told, sum, later));
        Ok(price + Self::own_helper(ctx))
    }

    fn own_helper(ctx: &WorkflowContext<Self>) -> u64 {
        ctx.state(|state| state.deeper_still())
    }
}

impl Reaching {
    fn deeper_still(&self) -> u64 {
        let uuid = uuid::Uuid::new_v4(); //~ random [walk, types] in a method that is called in a closure over the state
        // sempre: allow(clock) a fault that somebody stands for
        let _ = SystemTime::now();
        uuid.as_u128() as u64
    }
}
