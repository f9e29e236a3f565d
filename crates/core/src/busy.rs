//! What of a run is in hand: offered to workers, or with one. Time that is skipped stands still meanwhile (spec 08 §6.1).

use crate::Execution;

/// What of a run is in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// A workflow task that a worker has.
    pub task: bool,
    /// Activities, and a workflow task that no worker has.
    pub others: u32,
}

impl Execution {
    /// What of the run is in hand. An activity that waits for its next attempt is not, nor is anything of a pause.
    pub fn busy(&self) -> Busy {
        if !self.is_open() {
            return Busy::default();
        }
        let progress = &self.state.progress;
        let activities = progress.activities.values().filter(|activity| activity.is_started() || activity.offered_at != 0).count();
        let task = progress.main.task.as_deref().filter(|_| !self.is_paused());
        let started = task.is_some_and(|task| task.is_started() && !task.lost);
        let offered = usize::from(task.is_some() && !started);
        Busy { task: started, others: u32::try_from(activities + offered).unwrap_or(u32::MAX) }
    }
}
