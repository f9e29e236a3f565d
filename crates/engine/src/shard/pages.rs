//! The budget of completions that have come in part: their pages wait in memory for the last one, and no eviction may
//! drop them meanwhile.

use sempre_core::{Refusal, RunId, RunKey};

use super::runner::Runner;

const TOO_MANY: &str = "too many workflow task completions wait for their last page";

impl Runner {
    /// There is room for one page more of this run.
    pub(crate) fn take_page(&mut self, place: usize, run: RunId, bytes: usize) -> Result<(), Refusal> {
        let shards = self.shared.shards.count();
        if self.pages_weight() + bytes > self.shared.settings.completion_pages_bytes_max / shards {
            return Err(Refusal::Overloaded(TOO_MANY));
        }
        self.paged.insert(RunKey { workflow: self.cache.at(place).key.clone(), run });
        Ok(())
    }

    /// What the pages of all runs weigh. Forgets the runs that have none any more.
    fn pages_weight(&mut self) -> usize {
        let Self { cache, paged, .. } = self;
        let mut sum = 0;
        paged.retain(|key| {
            let Some(place) = cache.find(&key.workflow) else { return false };
            let execution = cache.at(place).run(key.run).and_then(|run| run.execution.as_ref());
            let weight = execution.map_or(0, |execution| execution.pages_weight());
            sum += weight;
            weight > 0
        });
        sum
    }
}
