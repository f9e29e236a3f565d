//! What of a run is in hand: offered to workers, or with one. Time that is skipped stands still meanwhile (spec 08 §6.1).

use crate::Execution;

/// What of a run is in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// A workflow task.
    pub task: bool,
    /// So many activities.
    pub activities: u32,
}

impl Execution {
    /// What of the run is in hand. An activity that waits for its next attempt is not, nor is anything of a pause.
    pub fn busy(&self) -> Busy {
        if !self.is_open() {
            return Busy::default();
        }
        let progress = &self.state.progress;
        let activities = progress.activities.values().filter(|activity| activity.is_started() || activity.offered_at != 0).count();
        Busy { task: progress.main.task.is_some() && !self.is_paused(), activities: u32::try_from(activities).unwrap_or(u32::MAX) }
    }
}
