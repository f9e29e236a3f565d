//! Overlaps: which of the starts that wait are begun, left out, or wait on (spec 07 §3.1).
//!
//! | a start that waits finds | SKIP | BUFFER_ONE | BUFFER_ALL | CANCEL_OTHER, TERMINATE_OTHER | ALLOW_ALL |
//! |---|---|---|---|---|---|
//! | nothing | begins | begins | begins | begins | begins |
//! | a start that is to begin in this step | left out | waits, if none does | waits | takes its place | begins |
//! | a start under way | left out | waits, if none does | waits | waits, in the place of others of its kind | begins |
//! | a run | left out | waits, if none does | waits | the same, and the run is stopped | begins |
//!
//! A run that is thought to be open may have closed, and not have told yet: where that matters the start waits for a
//! [`Check`] first, so that who has seen the end of a run and asks for the next one gets it.

use alloc::{collections::BTreeSet, vec::Vec};

use sempre_api::v1::enums::ScheduleOverlapPolicy as Policy;

use super::{
    BUFFER_MAX, LEFT_OUT_MAX,
    news::Ended,
    start::workflow_id,
    state::{Buffered, Check, LeftOut, Running, Starting, Stop, Why},
    step::Schedule,
};
use crate::{Span, Timestamp};

/// Longest time for which a start that is due is tried, and one that a client asked for.
const TRY_MAX: Span = Span::seconds(3600);
const TRY_MANUAL_MAX: Span = Span::seconds(60);

impl Schedule {
    /// A start is to be decided about.
    pub(super) fn buffer(&mut self, start: Buffered, now: Timestamp) {
        if self.state.buffered.len() >= BUFFER_MAX {
            self.state.buffer_dropped += 1;
            self.leave_out(Why::BufferFull, start.actual, now);
        } else {
            self.state.buffered.push(Buffered { check: Check::Wanted as i32, ..start });
        }
    }

    /// Remembers that an action was not taken.
    pub(super) fn leave_out(&mut self, why: Why, due: i64, now: Timestamp) {
        let all = &mut self.state.left_out;
        if let Some(last) = all.last_mut().filter(|last| last.why() == why) {
            last.count += 1;
            (last.first, last.last, last.decided) = (last.first.min(due), last.last.max(due), now.0);
            return;
        }
        if all.len() >= LEFT_OUT_MAX {
            all.remove(0);
        }
        all.push(LeftOut { why: why as i32, count: 1, first: due, last: due, decided: now.0 });
    }

    fn overlap(&mut self, start: &Buffered, now: Timestamp) {
        self.state.overlap_skipped += 1;
        self.leave_out(Why::Overlap, start.actual, now);
    }

    fn policy(&self, start: &Buffered) -> Policy {
        let own = Policy::try_from(start.policy).unwrap_or_default();
        let general = self.definition.policies.as_ref().map(|policies| policies.overlap_policy()).unwrap_or_default();
        [own, general].into_iter().find(|policy| *policy != Policy::Unspecified).unwrap_or(Policy::Skip)
    }

    /// Decides about what waits.
    pub(super) fn take_buffer(&mut self, now: Timestamp) {
        let runs = !self.state.running.is_empty();
        let busy = runs || self.state.starting.iter().any(|starting| !starting.overlapping);
        let mut next: Option<Buffered> = None;
        let mut kept: Vec<Buffered> = Vec::new();
        for mut start in core::mem::take(&mut self.state.buffered) {
            let policy = self.policy(&start);
            if self.state.starting.len() >= BUFFER_MAX {
                kept.push(start);
            } else if policy == Policy::AllowAll {
                self.begin(start, true, now);
            } else if !busy && next.is_none() {
                next = Some(start).filter(|start| self.is_wanted(start));
            } else if runs && policy != Policy::BufferAll && start.check() != Check::Done {
                kept.push(start);
            } else {
                start.set_check(Check::Done);
                match policy {
                    Policy::BufferAll => kept.push(start),
                    Policy::BufferOne if kept.iter().all(|other| self.policy(other) == Policy::AllowAll) => kept.push(start),
                    Policy::CancelOther | Policy::TerminateOther if !busy => {
                        if let Some(replaced) = next.replace(start) {
                            self.overlap(&replaced, now);
                        }
                    }
                    Policy::CancelOther | Policy::TerminateOther => {
                        // The newest is the one that is wanted.
                        let stops = |other: &Buffered| matches!(self.policy(other), Policy::CancelOther | Policy::TerminateOther);
                        let (older, others) = kept.into_iter().partition::<Vec<_>, _>(stops);
                        kept = others;
                        older.iter().for_each(|start| self.overlap(start, now));
                        kept.push(start);
                        self.stop_others(policy);
                    }
                    _ => self.overlap(&start, now),
                }
            }
        }
        self.state.buffered = kept;
        if let Some(next) = next {
            self.begin(next, false, now);
        }
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

    /// A client's start, or one of the spec while those are taken.
    fn is_wanted(&self, start: &Buffered) -> bool {
        start.manual || self.may_act()
    }

    /// Decides to start, if it is still wanted.
    fn begin(&mut self, start: Buffered, overlapping: bool, now: Timestamp) {
        if !self.is_wanted(&start) {
            return;
        }
        if !start.manual && self.state.limited {
            self.state.remaining -= 1;
            self.state.conflict_token += 1;
        }
        let tries = if start.manual { TRY_MANUAL_MAX } else { self.catchup_window().min(TRY_MAX) };
        self.state.starts += 1;
        let number = self.state.starts;
        let mut starting = Starting {
            number,
            start,
            overlapping,
            failures: 0,
            try_at: now.0,
            give_up_at: (now + tries).0,
            workflow_id: Default::default(),
        };
        starting.workflow_id = workflow_id(&self.definition, &starting).into_owned();
        self.state.starting.push(starting);
    }

    // --- looking at what runs ---

    /// Starts wait until it is known what runs. No more times are taken meanwhile.
    pub fn is_unsure(&self) -> bool {
        !self.state.running.is_empty() && self.state.buffered.iter().any(|start| start.check() != Check::Done)
    }

    /// Runs are to be looked at: the answer is given to [`Schedule::checked`].
    pub fn wants_check(&self) -> bool {
        self.is_unsure()
    }

    /// The runs are looked at now: what is decided then is about the starts that wait now.
    pub fn check_begins(&mut self) {
        self.state.buffered.iter_mut().filter(|start| start.check() == Check::Wanted).for_each(|start| start.set_check(Check::UnderWay));
    }

    /// Of the runs, by the numbers of their starts, `ended` are over, whether or not they tell so themselves; `gone` are
    /// not there any more, and the others are open.
    pub fn checked(&mut self, ended: Vec<(u64, Ended)>, gone: &[u64], now: Timestamp) {
        self.state.running.retain(|running| !gone.contains(&running.number));
        // Before anything is decided because of one that is over, too.
        for (number, ended) in ended {
            self.ended(number, ended, now);
        }
        self.state.buffered.iter_mut().filter(|start| start.check() == Check::UnderWay).for_each(|start| start.set_check(Check::Done));
        self.take_buffer(now);
    }

    /// The runs are to be looked at anew: what has become of the last try is not known.
    pub fn check_failed(&mut self) {
        self.state.buffered.iter_mut().filter(|start| start.check() == Check::UnderWay).for_each(|start| start.set_check(Check::Wanted));
    }

    // --- what is to be carried out ---

    /// The starts whose turn it is: of those under one workflow id the first. An id knows the requests of its last run only, so
    /// what is in doubt about one start is settled before another has the id.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Starting> {
        let mut taken = BTreeSet::new();
        self.state.starting.iter().filter(move |starting| taken.insert(workflow_id(&self.definition, starting)))
    }

    /// The starts to carry out now.
    pub fn starts(&self, now: Timestamp) -> impl Iterator<Item = &Starting> {
        self.in_turn().filter(move |starting| starting.try_at <= now.0)
    }

    /// The runs to stop.
    pub fn stops(&self) -> impl Iterator<Item = &Running> {
        self.state.running.iter().filter(|running| matches!(running.stop(), Stop::Cancel | Stop::Terminate))
    }

    /// Something is to be carried out: who reads the rows next must know.
    pub fn owes(&self) -> bool {
        !self.state.starting.is_empty() || self.stops().next().is_some() || self.wants_check()
    }

    /// Nothing of the first `starts` starts is under way for the first time, and nothing waits for a look at what runs:
    /// what a client has asked for is done, or left out, or waits for a run to end.
    pub fn is_settled(&self, starts: u64) -> bool {
        let first_try = |starting: &Starting| starting.number <= starts && starting.failures == 0;
        !self.is_unsure() && !self.state.starting.iter().any(first_try)
    }
}
