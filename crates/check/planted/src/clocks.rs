//! Clocks.

use std::time::{Duration, Instant as Stopwatch, SystemTime};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};

type Moment = std::time::SystemTime;

#[workflow]
pub struct Clocks {
    begun: u64,
}

#[workflow_methods]
impl Clocks {
    #[init]
    fn new(_ctx: &WorkflowContextView) -> Self {
        let begun = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap(); //~ clock [walk, types] the system's time, in `#[init]`
        Self { begun: begun.as_secs() }
    }

    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u64> {
        let watch = Stopwatch::now(); //~ clock [walk, types] a stopwatch, imported under another name
        let _ = Moment::now(); //~ clock [walk, types] the system's time, by an alias of the type
        let _ = core::hint::black_box(std::time::Instant::now()); //~ clock [walk, types] a stopwatch, within an argument
        ctx.timer(Duration::from_secs(1)).await;
        let spent = watch.elapsed(); //~ clock [walk, types] the time that has passed on a stopwatch
        let age = ctx.workflow_time().map(|time| time.elapsed()); //~ clock [walk, types] how long ago the workflow's own time was
        let clock: fn() -> SystemTime = SystemTime::now; //~ clock [walk, types] a clock that is handed on as a function
        let told = format!("{:?}", SystemTime::now()); //~ clock [walk, types] a clock in the arguments of a macro
        drop((age, clock, told));
        Ok(spent.as_secs())
    }

    #[signal]
    pub fn touch(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        use std::time::*;
        self.begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(); //~ clock [walk, types] the system's time, by a glob import in a block
    }

    #[query]
    pub fn age(&self, _ctx: &WorkflowContextView) -> u64 {
        let now = || SystemTime::now(); //~ clock [walk, types] a clock in a closure of a query
        now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - self.begun
    }
}
