//! What must hold when a world has ended, one file each. What must hold at every moment is checked on the way: a started task and
//! an answer that leaves are held against the durable rows ([`crate::network`]), and every crash has the whole disk looked through
//! ([`crate::world::World::check_disk`]: rebuilt state, offers, deadlines, pointers).

mod acknowledged;
mod activities;
mod attributes;
mod batches;
mod children;
mod close_policy;
mod deadlines;
mod event_ids;
mod handed_once;
mod lists;
pub(crate) mod notices;
mod pauses;
mod request_ids;
mod resets;
mod schedules;
mod updates;
mod workflow_tasks;

use crate::ending::Ending;

/// The name of an invariant, and what looks for its breaches.
pub type Invariant = (&'static str, fn(&Ending) -> Vec<String>);

/// All of them.
pub const ALL: &[Invariant] = &[
    ("nothing acknowledged is lost", acknowledged::check),
    ("a request id has one effect", request_ids::check),
    ("event ids have no gaps, and one close event is the last", event_ids::check),
    ("one workflow task is pending at most", workflow_tasks::check),
    ("an activity is closed once at most", activities::check),
    ("a deadline never acts early", deadlines::check),
    ("a task is started by one poller per attempt", handed_once::check),
    ("updates are accepted once and answered once, as was said", updates::check),
    ("a paused run has no workflow task", pauses::check),
    ("a reset makes one run that begins as its base", resets::check),
    ("what a run is told of others is true", children::check),
    ("a parent's close does to its children what their policies say", close_policy::check),
    ("a schedule takes the actions that it says", schedules::check),
    ("a batch job does what it says", batches::check),
    ("lists show what the runs are", lists::check),
    ("a run shows the search attributes that it was given", attributes::check),
    ("changes of runs are told once and in order, and so are alerts", notices::check),
];

/// Every breach.
#[must_use]
pub fn check(ending: &Ending) -> Vec<String> {
    ALL.iter().flat_map(|(name, check)| check(ending).into_iter().map(move |what| format!("{name}: {what}"))).collect()
}
