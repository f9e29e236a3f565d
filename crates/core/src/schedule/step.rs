//! What a schedule does: takes its times, decides about overlaps, hears of starts and ends (spec 07 §3–5).
//!
//! | a start is | until | then |
//! |---|---|---|
//! | due | [`Schedule::advance`] sees it | buffered; or missed, when it comes too late; or passed by, when paused |
//! | buffered | no run is in its way, by its overlap policy | starting; or dropped |
//! | starting | the outcome of the call is known | running, or forgotten when its runs may overlap; tried again; given up |
//! | running | the end of its chain is told | forgotten; its result goes to the next |
//!
//! The owner of the rows calls, writes, and only then carries out what [`Schedule::starts`] and [`Schedule::stops`] give.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;
use prost::Message as _;
use sempre_api::v1::{
    common::Payloads,
    enums::{ScheduleOverlapPolicy as Policy, WorkflowExecutionStatus as Status},
    failure::Failure,
    schedule::{BackfillRequest, SchedulePatch, ScheduleState},
};

use super::{
    BACKFILLS_A_STEP, BACKFILLS_MAX, BUFFER_MAX, IDLE_RETENTION, RECENT_MAX, REQUESTS_MAX, TIMES_A_STEP,
    spec::{Next, Spec, Time},
    state::{Backfill, Buffered, Definition, Recent, Running, Starting, State, Stop},
    zone::Zones,
};
use crate::{Refusal, Span, Timestamp};

/// Window of schedules that name none.
pub const CATCHUP_DEFAULT: Span = Span::seconds(365 * 24 * 3600);
/// Shortest window.
pub const CATCHUP_MIN: Span = Span::seconds(10);
/// Longest time for which a start that is due is tried, and one that a client asked for.
const TRY_MAX: Span = Span::seconds(3600);
const TRY_MANUAL_MAX: Span = Span::seconds(60);
/// Wait after a start that failed; doubles.
const BACKOFF_FIRST: Span = Span::seconds(1);
const BACKOFF_MAX: Span = Span::seconds(60);
/// Too many ranges to fill at once.
pub const TOO_MANY_BACKFILLS: &str = "too many concurrent backfillers";

/// A schedule in memory.
pub struct Schedule {
    /// Its first row.
    pub definition: Definition,
    /// Its second row.
    pub state: State,
    spec: Spec,
}

/// How the chain of a started run has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// Workflow id.
    pub workflow_id: String,
    /// A run of the chain.
    pub run_id: String,
    /// `WorkflowExecutionStatus`.
    pub status: i32,
    /// Result, if completed.
    pub result: Option<Payloads>,
    /// Failure, if failed.
    pub failure: Option<Failure>,
}

impl Schedule {
    /// A new schedule.
    pub fn new(definition: Definition, state: ScheduleState, zones: &dyn Zones, now: Timestamp) -> Result<Self, String> {
        let state = State { conflict_token: 1, cursor: now.0, touched: now.0, ..given(state) };
        Self::load(definition, state, zones)
    }

    /// Out of its rows.
    pub fn load(definition: Definition, state: State, zones: &dyn Zones) -> Result<Self, String> {
        let seed = alloc::format!("{}-{}", definition.namespace_text(), definition.schedule_id);
        let spec = Spec::new(definition.spec.as_ref().unwrap_or(&Default::default()), seed, zones)?;
        Ok(Self { definition, state, spec })
    }

    /// When the schedule is due.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How late an action may be taken.
    pub fn catchup_window(&self) -> Span {
        let given = self.definition.policies.as_ref().and_then(|policies| policies.catchup_window.as_ref());
        Span::from_api(given).unwrap_or_default().some().map_or(CATCHUP_DEFAULT, |window| window.max(CATCHUP_MIN))
    }

    /// The spec's times are taken.
    fn may_act(&self) -> bool {
        !self.state.paused && (!self.state.limited || self.state.remaining > 0)
    }

    // --- time ---

    /// Takes what is due, a bounded part of it: [`Schedule::wake_at`] says whether there is more.
    pub fn advance(&mut self, now: Timestamp) {
        self.take_times(now);
        self.take_backfills();
        self.take_buffer(now);
    }

    fn take_times(&mut self, now: Timestamp) {
        if !self.may_act() {
            return self.skip_to(now);
        }
        let window = self.catchup_window();
        for _ in 0..TIMES_A_STEP {
            match self.spec.next(Timestamp(self.state.cursor)) {
                Next::At(time) if time.actual <= now => {
                    self.state.cursor = time.nominal.0;
                    if now.since(time.actual) > window {
                        self.state.missed_catchup_window += 1;
                    } else {
                        self.buffer(Buffered { nominal: time.nominal.0, actual: time.actual.0, policy: 0, manual: false });
                    }
                }
                Next::NotUntil(at) if at <= now => self.state.cursor = at.0,
                _ => return,
            }
        }
    }

    /// Passes by what is due. A time whose jitter has yet to pass is not.
    fn skip_to(&mut self, now: Timestamp) {
        self.state.cursor = self.skipped(now).0;
    }

    fn skipped(&self, now: Timestamp) -> Timestamp {
        let mut cursor = Timestamp(self.state.cursor).max(now - self.spec.jitter());
        for _ in 0..TIMES_A_STEP {
            match self.spec.next(cursor) {
                Next::At(time) if time.actual <= now => cursor = time.nominal,
                _ => return cursor,
            }
        }
        cursor.max(now)
    }

    fn take_backfills(&mut self) {
        for _ in 0..BACKFILLS_A_STEP {
            if self.state.buffered.len() >= BUFFER_MAX / 2 {
                return;
            }
            let Some(backfill) = self.state.backfills.first_mut() else { return };
            match self.spec.next(Timestamp(backfill.cursor)) {
                Next::At(Time { nominal, actual }) if actual.0 <= backfill.end => {
                    backfill.cursor = nominal.0;
                    let policy = backfill.policy;
                    self.buffer(Buffered { nominal: nominal.0, actual: actual.0, policy, manual: true });
                }
                Next::NotUntil(at) if at.0 <= backfill.end => backfill.cursor = at.0,
                _ => drop(self.state.backfills.remove(0)),
            }
        }
    }

    /// When [`Schedule::advance`] is to be called next. `None`: not before somebody calls.
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let next = if self.may_act() { self.spec.next(Timestamp(self.state.cursor)) } else { Next::Never };
        let due = match next {
            Next::At(time) => Some(time.actual),
            Next::NotUntil(at) => Some(at),
            Next::Never => None,
        };
        let tries = self.state.starting.iter().filter(|starting| starting.failures > 0).map(|starting| Timestamp(starting.try_at));
        let fills = !self.state.backfills.is_empty() && self.state.buffered.len() < BUFFER_MAX / 2;
        let end = (due.is_none() && self.is_idle()).then(|| Timestamp(self.state.touched) + IDLE_RETENTION);
        due.into_iter().chain(tries).chain(fills.then_some(now)).chain(end).min()
    }

    fn is_idle(&self) -> bool {
        let state = &self.state;
        let waits = state.buffered.is_empty() && state.starting.is_empty() && state.running.is_empty() && state.backfills.is_empty();
        waits && !state.paused
    }

    /// It has had nothing to do for so long that it is to be forgotten.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let none_left = !self.may_act() || self.spec.next(Timestamp(self.state.cursor)) == Next::Never;
        none_left && self.is_idle() && now >= Timestamp(self.state.touched) + IDLE_RETENTION
    }

    /// The next actual times, at most so many and so far as known.
    pub fn future(&self, now: Timestamp, most: usize) -> Vec<Timestamp> {
        let most = if self.state.limited { most.min(usize::try_from(self.state.remaining).unwrap_or(0)) } else { most };
        let mut cursor = self.skipped(now);
        let mut times = Vec::new();
        while times.len() < most
            && let Next::At(time) = self.spec.next(cursor)
        {
            times.push(time.actual);
            cursor = time.nominal;
        }
        times
    }

    // --- overlaps ---

    fn buffer(&mut self, start: Buffered) {
        if self.state.buffered.len() >= BUFFER_MAX {
            self.state.buffer_dropped += 1;
        } else {
            self.state.buffered.push(start);
        }
    }

    fn policy(&self, start: &Buffered) -> Policy {
        let own = Policy::try_from(start.policy).unwrap_or_default();
        let general = self.definition.policies.as_ref().map(|policies| policies.overlap_policy()).unwrap_or_default();
        [own, general].into_iter().find(|policy| *policy != Policy::Unspecified).unwrap_or(Policy::Skip)
    }

    /// Decides about what waits.
    fn take_buffer(&mut self, now: Timestamp) {
        let mut busy = !self.state.running.is_empty() || self.state.starting.iter().any(|starting| !starting.overlapping);
        let mut kept: Vec<Buffered> = Vec::new();
        for start in core::mem::take(&mut self.state.buffered) {
            let policy = self.policy(&start);
            let overlapping = policy == Policy::AllowAll;
            if self.state.starting.len() >= BUFFER_MAX {
                kept.push(start);
            } else if overlapping || !busy {
                busy |= self.begin(start, overlapping, now) && !overlapping;
            } else {
                match policy {
                    Policy::BufferAll => kept.push(start),
                    Policy::BufferOne if kept.is_empty() => kept.push(start),
                    Policy::CancelOther | Policy::TerminateOther => {
                        // The newest is the one that is wanted.
                        let before = kept.len();
                        kept.retain(|other| !matches!(self.policy(other), Policy::CancelOther | Policy::TerminateOther));
                        self.state.overlap_skipped += (before - kept.len()) as i64;
                        kept.push(start);
                        self.stop_others(policy);
                    }
                    _ => self.state.overlap_skipped += 1,
                }
            }
        }
        self.state.buffered = kept;
    }

    fn stop_others(&mut self, policy: Policy) {
        let stop = if policy == Policy::CancelOther { Stop::Cancel } else { Stop::Terminate };
        for running in &mut self.state.running {
            // One that was asked to cancel may still be terminated.
            let at_most = if stop == Stop::Cancel { Stop::No } else { Stop::Canceled };
            if running.stop() <= at_most {
                running.set_stop(stop);
            }
        }
    }

    /// Decides to start. `false`: it is not wanted any more.
    fn begin(&mut self, start: Buffered, overlapping: bool, now: Timestamp) -> bool {
        if !start.manual {
            if !self.may_act() {
                return false;
            }
            if self.state.limited {
                self.state.remaining -= 1;
                self.state.conflict_token += 1;
            }
        }
        let tries = if start.manual { TRY_MANUAL_MAX } else { self.catchup_window().min(TRY_MAX) };
        self.state.starts += 1;
        let number = self.state.starts;
        let starting = Starting { number, start, overlapping, failures: 0, try_at: now.0, give_up_at: (now + tries).0 };
        self.state.starting.push(starting);
        true
    }

    /// The starts to carry out now.
    pub fn starts(&self, now: Timestamp) -> impl Iterator<Item = &Starting> {
        self.state.starting.iter().filter(move |starting| starting.try_at <= now.0)
    }

    /// The runs to stop.
    pub fn stops(&self) -> impl Iterator<Item = &Running> {
        self.state.running.iter().filter(|running| matches!(running.stop(), Stop::Cancel | Stop::Terminate))
    }

    // --- news ---

    fn take_starting(&mut self, number: u64) -> Option<Starting> {
        let at = self.state.starting.iter().position(|starting| starting.number == number)?;
        Some(self.state.starting.remove(at))
    }

    /// A start was carried out.
    pub fn started(&mut self, number: u64, workflow_id: &str, run_id: &str, now: Timestamp) {
        let Some(starting) = self.take_starting(number) else { return };
        let state = &mut self.state;
        state.touched = now.0;
        state.action_count += 1;
        state.start_refusal.clear();
        if state.recent.len() >= RECENT_MAX {
            state.recent.remove(0);
        }
        let (workflow_id, run_id) = (String::from(workflow_id), String::from(run_id));
        state.recent.push(Recent {
            number,
            scheduled: starting.start.actual,
            started: now.0,
            workflow_id: workflow_id.clone(),
            run_id: run_id.clone(),
            status: Status::Running as i32,
        });
        if !starting.overlapping {
            state.running.push(Running { number, workflow_id, run_id, stop: Stop::No as i32 });
        }
        self.take_buffer(now);
    }

    /// A start met a run that is there already and not its own: it counts as dealt with.
    pub fn already_started(&mut self, number: u64, now: Timestamp) {
        if self.take_starting(number).is_some() {
            self.take_buffer(now);
        }
    }

    /// A start was refused: for good, or it is tried again while there is time.
    pub fn start_failed(&mut self, number: u64, text: &str, for_good: bool, now: Timestamp) {
        let Some(starting) = self.state.starting.iter_mut().find(|starting| starting.number == number) else { return };
        self.state.start_refusal = text.into();
        if !for_good && now.0 < starting.give_up_at {
            starting.failures = starting.failures.saturating_add(1);
            starting.try_at = (now + backoff(starting.failures)).0.min(starting.give_up_at);
            return;
        }
        if !for_good && !starting.start.manual {
            self.state.missed_catchup_window += 1;
        }
        self.take_starting(number);
        self.take_buffer(now);
    }

    /// A run was asked to stop, or is gone.
    pub fn stopped(&mut self, number: u64) {
        if let Some(running) = self.state.running.iter_mut().find(|running| running.number == number) {
            match running.stop() {
                Stop::Cancel => running.set_stop(Stop::Canceled),
                Stop::Terminate => running.set_stop(Stop::Terminated),
                Stop::No | Stop::Canceled | Stop::Terminated => {}
            }
        }
    }

    /// The chain of a started run has ended.
    pub fn ended(&mut self, number: u64, ended: Ended, now: Timestamp) {
        // Its end may be told before the outcome of its start.
        self.started(number, &ended.workflow_id, &ended.run_id, now);
        self.seen(number, ended.status);
        let Some(at) = self.state.running.iter().position(|running| running.number == number) else { return };
        self.state.running.remove(at);
        self.state.touched = now.0;
        let status = Status::try_from(ended.status).unwrap_or_default();
        let pauses = self.definition.policies.as_ref().is_some_and(|policies| policies.pause_on_failure);
        match status {
            Status::Completed => {
                self.state.last_completion_result = ended.result;
                self.state.continued_failure = None;
            }
            Status::Failed => {
                let text = ended.failure.as_ref().map_or("", |failure| &failure.message);
                if pauses {
                    self.pause(alloc::format!("paused due to workflow failure: {}: {text}", ended.workflow_id));
                }
                self.state.continued_failure = ended.failure;
            }
            Status::TimedOut if pauses => {
                self.pause(alloc::format!("paused due to workflow timeout: {}", ended.workflow_id));
            }
            _ => {}
        }
        self.take_buffer(now);
    }

    /// The status of a recent start has become known.
    pub fn seen(&mut self, number: u64, status: i32) {
        if let Some(recent) = self.state.recent.iter_mut().find(|recent| recent.number == number) {
            recent.status = status;
        }
    }

    // --- clients ---

    /// A call that was carried out already is not carried out again.
    pub fn is_repeated(&self, request_id: &str) -> bool {
        self.state.requests.iter().any(|known| known == request_id)
    }

    /// A call was carried out.
    pub fn remember(&mut self, request_id: String) {
        if request_id.is_empty() {
            return;
        }
        if self.state.requests.len() >= REQUESTS_MAX {
            self.state.requests.remove(0);
        }
        self.state.requests.push(request_id);
    }

    fn pause(&mut self, notes: String) {
        self.state.paused = true;
        self.state.notes = notes;
        self.state.conflict_token += 1;
    }

    /// PatchSchedule.
    pub fn patch(&mut self, patch: &SchedulePatch, now: Timestamp) -> Result<(), Refusal> {
        if self.state.backfills.len() + patch.backfill_request.len() > BACKFILLS_MAX {
            return Err(Refusal::FailedPrecondition(TOO_MANY_BACKFILLS.into()));
        }
        self.state.touched = now.0;
        self.advance(now);
        if let Some(trigger) = &patch.trigger_immediately {
            let at = trigger.scheduled_time.as_ref().map_or(now, Timestamp::from_api).0;
            self.buffer(Buffered { nominal: at, actual: at, policy: trigger.overlap_policy, manual: true });
        }
        self.state.backfills.extend(patch.backfill_request.iter().map(backfill));
        if !patch.pause.is_empty() {
            self.pause(patch.pause.clone());
        }
        if !patch.unpause.is_empty() {
            self.skip_to_if_paused(now);
            self.state.paused = false;
            self.state.notes.clone_from(&patch.unpause);
            self.state.conflict_token += 1;
        }
        self.advance(now);
        Ok(())
    }

    fn skip_to_if_paused(&mut self, now: Timestamp) {
        if !self.may_act() {
            self.skip_to(now);
        }
    }

    /// UpdateSchedule: spec, action, policies and state are replaced. What waits and what runs stays.
    pub fn update(&mut self, definition: Definition, state: ScheduleState, zones: &dyn Zones, now: Timestamp) -> Result<(), String> {
        self.advance(now);
        let given = given(state);
        let state = State {
            notes: given.notes,
            paused: given.paused,
            limited: given.limited,
            remaining: given.remaining,
            conflict_token: self.state.conflict_token + 1,
            update_time: now.0,
            cursor: now.0,
            touched: now.0,
            ..self.state.clone()
        };
        *self = Self::load(definition, state, zones)?;
        self.advance(now);
        Ok(())
    }

    /// The token that an update may name.
    pub fn conflict_token(&self) -> Bytes {
        Bytes::copy_from_slice(&self.state.conflict_token.to_be_bytes())
    }

    /// Bytes of both rows.
    pub fn size(&self) -> usize {
        self.definition.encoded_len() + self.state.encoded_len()
    }
}

fn given(state: ScheduleState) -> State {
    State {
        notes: state.notes,
        paused: state.paused,
        limited: state.limited_actions,
        remaining: state.remaining_actions.max(0),
        ..Default::default()
    }
}

fn backfill(request: &BackfillRequest) -> Backfill {
    let time = |time: &Option<sempre_api::Timestamp>| time.as_ref().map_or(0, |time| Timestamp::from_api(time).0);
    // The start is included.
    Backfill { cursor: time(&request.start_time).saturating_sub(1_000_000), end: time(&request.end_time), policy: request.overlap_policy }
}

fn backoff(failures: u32) -> Span {
    Span(BACKOFF_FIRST.0 << failures.clamp(1, 7).saturating_sub(1)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
