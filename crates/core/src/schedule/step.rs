//! What a schedule does: takes its times, and what clients say of it (spec 07 §3–5). Overlaps are decided in
//! `overlaps`, news of starts and runs are heard in `news`.
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
use sempre_api::v1::schedule::{BackfillRequest, SchedulePatch, ScheduleState};

use super::{
    BACKFILLS_A_STEP, BACKFILLS_MAX, BUFFER_MAX, IDLE_RETENTION, REQUESTS_MAX, TIMES_A_STEP, UNUSABLE_AGAIN,
    spec::{Next, Spec, Time},
    state::{Backfill, Buffered, Definition, State, Why},
    zone::Zones,
};
use crate::{Refusal, Span, Timestamp};

/// Window of schedules that name none.
pub const CATCHUP_DEFAULT: Span = Span::seconds(365 * 24 * 3600);
/// Shortest window.
pub const CATCHUP_MIN: Span = Span::seconds(10);
/// Too many ranges to fill at once.
pub const TOO_MANY_BACKFILLS: &str = "too many concurrent backfillers";

/// A schedule in memory.
pub struct Schedule {
    /// Its first row.
    pub definition: Definition,
    /// Its second row.
    pub state: State,
    spec: Spec,
    unusable: Option<String>,
}

impl Schedule {
    /// A new schedule.
    pub fn new(definition: Definition, state: ScheduleState, zones: &dyn Zones, now: Timestamp) -> Result<Self, String> {
        let state = State { conflict_token: 1, cursor: now.0, touched: now.0, ..given(state) };
        Self::load(definition, state, zones).usable()
    }

    /// Out of its rows. They were checked when they were written: what cannot be used now is a matter of the machine,
    /// such as a time zone that it does not know.
    pub fn load(definition: Definition, state: State, zones: &dyn Zones) -> Self {
        let seed = alloc::format!("{}-{}", definition.namespace_text(), definition.schedule_id);
        let (spec, unusable) = match Spec::new(definition.spec.as_ref().unwrap_or(&Default::default()), seed, zones) {
            Ok(spec) => (spec, None),
            Err(why) => (Spec::never(), Some(why)),
        };
        Self { definition, state, spec, unusable }
    }

    fn usable(self) -> Result<Self, String> {
        match self.unusable {
            Some(why) => Err(why),
            None => Ok(self),
        }
    }

    /// Why its spec cannot be used. No times are taken then, and none is passed by; all else goes on.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
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
    pub(super) fn may_act(&self) -> bool {
        !self.state.paused && (!self.state.limited || self.state.remaining > 0)
    }

    // --- time ---

    /// Takes what is due, a bounded part of it: [`Schedule::wake_at`] says whether there is more.
    pub fn advance(&mut self, now: Timestamp) {
        if self.unusable.is_none() {
            self.take_times(now);
            self.take_backfills(now);
        }
        self.take_buffer(now);
    }

    fn take_times(&mut self, now: Timestamp) {
        if !self.may_act() {
            return self.skip_to(now);
        }
        if self.is_unsure() {
            return;
        }
        let window = self.catchup_window();
        for _ in 0..TIMES_A_STEP {
            match self.spec.next(Timestamp(self.state.cursor)) {
                Next::At(time) if time.actual <= now => {
                    self.state.cursor = time.nominal.0;
                    if now.since(time.actual) > window {
                        self.state.missed_catchup_window += 1;
                        self.leave_out(Why::Late, time.actual.0, now);
                    } else {
                        let (nominal, actual) = (time.nominal.0, time.actual.0);
                        self.buffer(Buffered { nominal, actual, ..Default::default() }, now);
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

    fn take_backfills(&mut self, now: Timestamp) {
        if self.is_unsure() {
            return;
        }
        for _ in 0..BACKFILLS_A_STEP {
            if self.state.buffered.len() >= BUFFER_MAX / 2 {
                return;
            }
            let Some(backfill) = self.state.backfills.first_mut() else { return };
            match self.spec.next(Timestamp(backfill.cursor)) {
                Next::At(Time { nominal, actual }) if actual.0 <= backfill.end => {
                    backfill.cursor = nominal.0;
                    let policy = backfill.policy;
                    self.buffer(Buffered { nominal: nominal.0, actual: actual.0, policy, manual: true, ..Default::default() }, now);
                }
                Next::NotUntil(at) if at.0 <= backfill.end => backfill.cursor = at.0,
                _ => drop(self.state.backfills.remove(0)),
            }
        }
    }

    /// When [`Schedule::advance`] is to be called next. `None`: not before somebody calls.
    pub fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let unsure = self.is_unsure();
        let takes = self.may_act() && !unsure;
        let next = if takes { self.spec.next(Timestamp(self.state.cursor)) } else { Next::Never };
        let due = match next {
            _ if self.unusable.is_some() => Some(now + UNUSABLE_AGAIN),
            Next::At(time) => Some(time.actual),
            Next::NotUntil(at) => Some(at),
            Next::Never => None,
        };
        // One whose time has come is under way, or is from the next step on: its outcome wakes. A first try has time to come, too,
        // where the clock was set back since it was decided.
        let tries = self.in_turn().filter(|starting| starting.try_at > now.0).map(|starting| Timestamp(starting.try_at));
        let room = !unsure && self.unusable.is_none() && self.state.buffered.len() < BUFFER_MAX / 2;
        let fills = room && !self.state.backfills.is_empty();
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
        none_left && self.unusable.is_none() && self.is_idle() && now >= Timestamp(self.state.touched) + IDLE_RETENTION
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

    pub(super) fn pause(&mut self, notes: String) {
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
            let policy = trigger.overlap_policy;
            self.buffer(Buffered { nominal: at, actual: at, policy, manual: true, ..Default::default() }, now);
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
            // Of the action that was.
            start_refusal: String::new(),
            ..self.state.clone()
        };
        *self = Self::load(definition, state, zones).usable()?;
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

#[cfg(test)]
mod tests;
