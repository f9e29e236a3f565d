//! What looks like a fault and is none.

use std::{collections::HashMap, sync::Arc, time::Duration};

use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

/// A name like one of std's, and a clock of its own.
pub struct SystemTime;

impl SystemTime {
    pub fn now() -> u64 {
        7
    }
}

mod thread {
    pub(super) fn spawn(number: u64) -> u64 {
        number
    }
}

pub struct Clerk {
    calls: std::sync::atomic::AtomicU64,
    rates: HashMap<String, u64>,
}

#[activities]
impl Clerk {
    /// Activities may do what they like.
    #[activity]
    pub async fn inspect(self: Arc<Self>, _ctx: ActivityContext, _name: String) -> Result<u64, ActivityError> {
        let begun = std::time::Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let listed = std::fs::read_dir("/").map_or(0, |entries| entries.count() as u64);
        Ok(listed + begun.elapsed().as_secs() + self.rates.values().sum::<u64>() + self.helper())
    }

    fn helper(&self) -> u64 {
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + rand::random::<u64>()
    }
}

#[workflow]
#[derive(Default)]
pub struct Innocent;

#[workflow_methods]
impl Innocent {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<u64> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(1));
        let inspected = ctx.execute_activity(Clerk::inspect, name.clone(), options).await?;
        let now = SystemTime::now() + thread::spawn(1);
        // A variable is no function of the same name.
        let rng = 3;
        let text = "std::time::SystemTime::now()";
        let list: Vec<u64> = vec![rng, now];
        println!("{name} {text} {}", list.iter().sum::<u64>());
        let time = ctx.workflow_time().map_or(0, |time| time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()));
        temporalio_sdk::workflows::join_all([ctx.timer(Duration::from_secs(1))]).await;
        Ok(inspected + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tests_may_too() {
        let before = std::time::SystemTime::now();
        drop((before, Innocent));
    }
}
