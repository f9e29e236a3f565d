//! What leaves the server about an attempt of an activity, held against what is durable at that moment.
//!
//! | what leaves | is early if on the disk |
//! |---|---|
//! | an attempt, to a poller | it has not begun |
//! | the answer to its failure, or that it was cancelled | it goes on |
//! | the answer to a heartbeat | it has none |
//! | … that says that the workflow wants it cancelled | the workflow does not want that |
//!
//! What is on the disk may have gone further by then: whatever can only come later is as good.

use std::ops::Bound::{Included, Unbounded};

use bytes::Bytes;
use sempre_core::{Execution, RunKey, TaskToken, keys};
use sempre_store::Table;

use crate::world::{World, lock};

/// One attempt, as its token names it.
struct Attempt {
    run: RunKey,
    scheduled_event_id: i64,
    number: i32,
    started_time: i64,
}

impl Attempt {
    fn of(token: &Bytes) -> Option<Self> {
        let token = TaskToken::parse(token)?;
        let (scheduled_event_id, number, started_time) = (token.scheduled_event_id, token.attempt, token.started_time);
        Some(Self { run: token.run_key()?, scheduled_event_id, number, started_time })
    }

    /// What is durable of its run.
    fn durable(&self, world: &World) -> Option<Execution> {
        let prefix = keys::run(self.run.workflow.slot(), self.run.run);
        let rows = world.disk.with_tables(|tables| {
            let rows = tables.table(Table::State).range::<[u8], _>((Included(&prefix[..]), Unbounded));
            let rows = rows.take_while(|(key, _)| key.starts_with(&prefix));
            let row = |(key, value): (&Bytes, &Bytes)| keys::parse_state(key).map(|(kind, number)| (kind, number, value.clone()));
            rows.filter_map(row).collect::<Vec<_>>()
        });
        // Rows that cannot be read are a finding of the disk's own check.
        (!rows.is_empty()).then(|| Execution::found(self.run.run, rows).ok()).flatten()
    }

    fn told(&self, what: &str) -> String {
        format!("activity {} of {}, attempt {}: {what}", self.scheduled_event_id, self.run.run, self.number)
    }
}

/// An attempt is durable before anybody has it.
pub(crate) fn handed_too_early(world: &World, token: &Bytes) -> Option<String> {
    let attempt = Attempt::of(token)?;
    let Some(run) = attempt.durable(world) else { return Some(attempt.told("its run is not durable")) };
    let state = run.state();
    let Some(known) = state.progress.activities.get(&attempt.scheduled_event_id) else {
        // It has ended, if it had begun.
        return (run.next_event_id() <= attempt.scheduled_event_id).then(|| attempt.told("it is not durable that it is scheduled"));
    };
    let has_begun = known.started_time == attempt.started_time
        || known.attempt > attempt.number
        || known.last_attempt_complete_time >= attempt.started_time
        || known.scheduled_time > attempt.started_time;
    (!has_begun).then(|| attempt.told("it is handed out, and has not begun on the disk"))
}

/// Who hears that an attempt has ended can rely on it.
pub(crate) fn ended_too_early(world: &World, token: &Bytes) -> Option<String> {
    let attempt = Attempt::of(token)?;
    let run = attempt.durable(world)?;
    let known = run.state().progress.activities.get(&attempt.scheduled_event_id)?;
    let closes = run.state().progress.buffer.closes_activity(attempt.scheduled_event_id);
    let goes_on = run.is_open() && !closes && known.started_time == attempt.started_time;
    goes_on.then(|| attempt.told("its end is acknowledged, and it goes on on the disk"))
}

/// A heartbeat that is answered is durable, and so is what its worker hears of a request to cancel.
pub(crate) fn beaten_too_early(world: &World, token: &Bytes, cancel_requested: bool) -> Option<String> {
    let attempt = Attempt::of(token)?;
    let run = attempt.durable(world)?;
    let state = run.state();
    let info = state.derived.activities.get(&attempt.scheduled_event_id).filter(|_| run.is_open())?;
    let known = state.progress.activities.get(&attempt.scheduled_event_id)?;
    if cancel_requested && info.cancel_requested_event_id == 0 {
        return Some(attempt.told("it is to be cancelled, and nothing of that is on the disk"));
    }
    if lock(&world.oracle).clock_went_back {
        // It may be of before its attempt's begin.
        return None;
    }
    // Which one it is does not matter: an older one that was sent twice may come after it.
    let late = known.started_time == attempt.started_time && known.heartbeat_time < attempt.started_time;
    late.then(|| attempt.told("its heartbeat is acknowledged, and none is on the disk"))
}
