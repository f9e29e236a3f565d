//! Chance.

use rand::{Rng, SeedableRng, rngs::StdRng};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};
use uuid::Uuid;

#[workflow]
#[derive(Default)]
pub struct Chance;

#[workflow_methods]
impl Chance {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u64> {
        let one: u64 = rand::random(); //~ random [walk, types] a random number
        let id = Uuid::new_v4(); //~ random [walk, types] a random id
        let mut rng = rand::rng(); //~ random [walk, types] the thread's generator
        let state = std::hash::RandomState::new(); //~ random [walk, types] the seed of hashes
        let at = &one as *const u64 as usize; //~ random [] the address of a value
        // A generator with a seed of the workflow's own is innocent.
        let mut seeded = StdRng::seed_from_u64(ctx.random());
        drop((id, state, at, ctx.uuid4()));
        Ok(seeded.next_u64() ^ rng.next_u64())
    }
}
