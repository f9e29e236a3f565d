use alloc::{boxed::Box, string::ToString, vec, vec::Vec};

use sempre_api::v1::{
    common::{Memo, Payload, Payloads, SearchAttributes, WorkflowType},
    enums::{ScheduleOverlapPolicy as Policy, WorkflowExecutionStatus as Status},
    failure::Failure,
    schedule::{IntervalSpec, SchedulePolicies, ScheduleSpec, StructuredCalendarSpec, TriggerImmediatelyRequest},
    workflow::NewWorkflowExecutionInfo,
};

use super::*;
use crate::schedule::{
    Ended, LEFT_OUT_MAX, RECENT_MAX, StartFailure,
    parse::range,
    start_request,
    state::{LeftOut, Running, Starting, Stop},
    watch_of, workflow_id,
    zone::Zone,
};

struct NoZones;

impl Zones for NoZones {
    fn named(&self, _: &str) -> Option<Box<dyn Zone>> {
        None
    }

    fn read(&self, _: &[u8]) -> Option<Box<dyn Zone>> {
        None
    }
}

/// Every name is UTC.
struct AllZones;

impl Zones for AllZones {
    fn named(&self, _: &str) -> Option<Box<dyn Zone>> {
        Some(Box::new(crate::schedule::Utc))
    }

    fn read(&self, _: &[u8]) -> Option<Box<dyn Zone>> {
        None
    }
}

const MINUTE: i64 = 60;
const NONE: [u64; 0] = [];

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

/// Every minute, from second 0 on.
fn definition(policy: Policy) -> Definition {
    let every = IntervalSpec { interval: Some(Span::seconds(MINUTE).to_api()), phase: None };
    Definition {
        schedule_id: "s".into(),
        uid: "uid".into(),
        spec: Some(ScheduleSpec { interval: vec![every], ..Default::default() }),
        action: Some(NewWorkflowExecutionInfo {
            workflow_id: "wf".into(),
            workflow_type: Some(WorkflowType { name: "T".into() }),
            ..Default::default()
        }),
        policies: Some(SchedulePolicies { overlap_policy: policy as i32, ..Default::default() }),
        ..Default::default()
    }
}

fn schedule_of(definition: Definition, state: ScheduleState) -> Schedule {
    Schedule::new(definition, state, &NoZones, at(0)).expect("valid")
}

/// Whoever looks finds the runs open.
fn sure(s: &mut Schedule, now: Timestamp) {
    if s.wants_check() {
        s.check_begins();
        s.checked(vec![], &[], now);
    }
}

fn schedule(policy: Policy) -> Schedule {
    schedule_of(definition(policy), ScheduleState::default())
}

/// Carries out what is to be started; gives the numbers.
fn run_starts(s: &mut Schedule, now: Timestamp) -> Vec<u64> {
    let starts: Vec<_> = s.starts(now).map(|starting| (starting.number, workflow_id(&s.definition, starting).into_owned())).collect();
    for (number, id) in &starts {
        s.started(*number, id, &alloc::format!("run-{number}"), now);
    }
    starts.into_iter().map(|(number, _)| number).collect()
}

fn end(s: &mut Schedule, number: u64, status: Status, now: Timestamp) {
    s.ended(number, how(status), now);
}

fn how(status: Status) -> Ended {
    let failure = Failure { message: "broken".into(), ..Default::default() };
    Ended {
        workflow_id: "wf".into(),
        run_id: "last".into(),
        status: status as i32,
        result: (status == Status::Completed).then(|| Payloads { payloads: vec![Payload::default()] }),
        failure: (status == Status::Failed).then_some(failure),
    }
}

/// Advances to a minute and starts what is to be started.
fn minute(s: &mut Schedule, minute: i64) -> Vec<u64> {
    let now = at(minute * MINUTE);
    s.advance(now);
    sure(s, now);
    run_starts(s, now)
}

#[test]
fn nothing_is_due_before_its_time_and_it_says_when() {
    let mut s = schedule(Policy::Skip);
    assert_eq!(s.wake_at(at(0)), Some(at(60)));
    s.advance(at(59));
    assert_eq!(s.starts(at(59)).count(), 0);
    assert_eq!(minute(&mut s, 1), [1]);
    assert_eq!(s.wake_at(at(60)), Some(at(120)));
    let recent = &s.state.recent[0];
    assert_eq!((recent.scheduled, recent.workflow_id.as_str()), (at(60).0, "wf-1970-01-01T00:01:00Z"));
    assert_eq!(s.state.action_count, 1);
}

#[test]
fn skip_leaves_out_what_comes_while_one_runs() {
    let mut s = schedule(Policy::Skip);
    assert_eq!(minute(&mut s, 1), [1]);
    assert_eq!((minute(&mut s, 2), minute(&mut s, 3)), (vec![], vec![]));
    assert_eq!(s.state.overlap_skipped, 2);
    end(&mut s, 1, Status::Completed, at(200));
    assert_eq!(run_starts(&mut s, at(200)), NONE, "what was skipped does not come back");
    assert_eq!(minute(&mut s, 4), [2]);
}

#[test]
fn buffer_one_keeps_one() {
    let mut s = schedule(Policy::BufferOne);
    minute(&mut s, 1);
    minute(&mut s, 2);
    minute(&mut s, 3);
    assert_eq!((s.state.buffered.len(), s.state.overlap_skipped), (1, 1));
    end(&mut s, 1, Status::Failed, at(190));
    assert_eq!(run_starts(&mut s, at(190)), [2]);
    assert_eq!(s.state.recent[1].scheduled, at(120).0, "the first that waited");
}

#[test]
fn buffer_all_goes_one_after_another() {
    let mut s = schedule(Policy::BufferAll);
    minute(&mut s, 1);
    assert_eq!(minute(&mut s, 4), NONE, "three wait");
    assert_eq!(s.state.buffered.len(), 3);
    for number in 1..4 {
        end(&mut s, number, Status::Completed, at(250));
        assert_eq!(run_starts(&mut s, at(250)), [number + 1]);
    }
    assert_eq!((s.state.buffered.len(), s.state.overlap_skipped), (0, 0));
}

#[test]
fn the_buffer_is_bounded_and_what_is_dropped_is_counted() {
    let mut s = schedule(Policy::BufferAll);
    minute(&mut s, 1);
    let now = at(1200 * MINUTE);
    while s.wake_at(now) <= Some(now) {
        s.advance(now);
    }
    assert_eq!(s.state.buffered.len(), BUFFER_MAX);
    assert_eq!(s.state.buffer_dropped, 199);
}

#[test]
fn cancel_and_terminate_other_stop_the_one_that_runs_and_wait_for_its_end() {
    for (policy, wanted, done) in
        [(Policy::CancelOther, Stop::Cancel, Stop::Canceled), (Policy::TerminateOther, Stop::Terminate, Stop::Terminated)]
    {
        let mut s = schedule(policy);
        assert_eq!(minute(&mut s, 1), [1]);
        assert_eq!(s.stops().count(), 0);
        assert_eq!(minute(&mut s, 2), NONE);
        assert_eq!(s.stops().map(|r| (r.number, r.stop())).collect::<Vec<_>>(), [(1, wanted)]);
        s.stopped(1);
        assert_eq!(s.state.running[0].stop(), done);
        assert_eq!((minute(&mut s, 3), s.stops().count()), (vec![], 0), "asked once");
        assert_eq!((s.state.buffered.len(), s.state.overlap_skipped), (1, 1), "the newest waits");
        end(&mut s, 1, Status::Canceled, at(190));
        assert_eq!(run_starts(&mut s, at(190)), [2]);
        assert_eq!(s.state.recent[1].scheduled, at(180).0);
    }
}

#[test]
fn one_that_was_asked_to_cancel_may_still_be_terminated() {
    let mut s = schedule(Policy::CancelOther);
    minute(&mut s, 1);
    minute(&mut s, 2);
    s.stopped(1);
    trigger(&mut s, Policy::TerminateOther, at(130));
    assert_eq!(s.stops().map(Running::stop).collect::<Vec<_>>(), [Stop::Terminate]);
}

#[test]
fn allow_all_starts_at_once_and_nothing_waits_for_it() {
    let mut s = schedule(Policy::AllowAll);
    assert_eq!(minute(&mut s, 3), [1, 2, 3]);
    assert_eq!((s.state.running.len(), s.state.recent.len()), (0, 3));
    let fourth = starting_of(&mut s, 4);
    let (_, callback) = start_request(&s, &fourth, "ns");
    assert_eq!(callback, None);
}

fn starting_of(s: &mut Schedule, minute: i64) -> Starting {
    s.advance(at(minute * MINUTE));
    s.starts(at(minute * MINUTE)).next().expect("one").clone()
}

#[test]
fn a_start_says_who_when_and_what_was_before() {
    let mut s = schedule(Policy::Skip);
    minute(&mut s, 1);
    end(&mut s, 1, Status::Completed, at(70));
    let second = starting_of(&mut s, 2);
    let (request, callback) = start_request(&s, &second, "ns");
    assert_eq!((request.workflow_id.as_str(), request.request_id.as_str()), ("wf-1970-01-01T00:02:00Z", "uid-2"));
    assert_eq!(request.identity, "temporal-scheduler-ns-s");
    assert_eq!(request.workflow_id_reuse_policy().as_str_name(), "WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE");
    let fields = request.search_attributes.expect("set").indexed_fields;
    assert_eq!(fields["TemporalScheduledStartTime"].data, "\"1970-01-01T00:02:00Z\"".as_bytes());
    assert_eq!(fields["TemporalScheduledStartTime"].metadata["type"], "Datetime".as_bytes());
    assert_eq!(fields["TemporalScheduledById"].data, "\"s\"".as_bytes());
    assert!(request.last_completion_result.is_some() && request.continued_failure.is_none());
    let watch = watch_of(&callback.expect("one")).expect("ours");
    assert_eq!((watch.schedule_id.as_str(), watch.uid.as_str(), watch.number), ("s", "uid", 2));

    run_starts(&mut s, at(120));
    end(&mut s, 2, Status::Failed, at(130));
    let third = starting_of(&mut s, 3);
    let (request, _) = start_request(&s, &third, "ns");
    assert!(request.last_completion_result.is_some(), "of the last that completed");
    assert_eq!(request.continued_failure.expect("set").message, "broken");
    run_starts(&mut s, at(180));
    end(&mut s, 3, Status::Completed, at(190));
    let fourth = starting_of(&mut s, 4);
    assert_eq!(start_request(&s, &fourth, "ns").0.continued_failure, None, "cleared by a success");
}

#[test]
fn a_start_keeps_the_workflow_id_that_it_was_decided_with() {
    let mut s = schedule(Policy::Skip);
    let first = starting_of(&mut s, 1);
    let mut other = s.definition.clone();
    other.action.as_mut().expect("one").workflow_id = "other".into();
    let state = ScheduleState::default();
    s.update(other, state, &NoZones, at(61)).expect("valid");
    let again = s.starts(at(61)).next().expect("it is still to be made").clone();
    assert_eq!(start_request(&s, &again, "ns").0.workflow_id, start_request(&s, &first, "ns").0.workflow_id);
    let old = Starting { workflow_id: String::new(), ..again };
    assert_eq!(start_request(&s, &old, "ns").0.workflow_id, "other-1970-01-01T00:01:00Z", "written before: that of the action");
}

#[test]
fn the_workflow_id_can_be_kept() {
    let mut definition = definition(Policy::Skip);
    definition.policies.get_or_insert_default().keep_original_workflow_id = true;
    let mut s = schedule_of(definition, ScheduleState::default());
    let first = starting_of(&mut s, 1);
    let (request, _) = start_request(&s, &first, "ns");
    assert_eq!(request.workflow_id, "wf");
    assert_eq!(request.workflow_id_reuse_policy().as_str_name(), "WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE");
}

#[test]
fn times_beyond_the_window_are_missed() {
    let mut definition = definition(Policy::AllowAll);
    definition.policies.get_or_insert_default().catchup_window = Some(Span::seconds(90).to_api());
    let mut s = schedule_of(definition, ScheduleState::default());
    // At 10 min 30 s: 9 min and 10 min are in the window.
    let now = at(630);
    s.advance(now);
    assert_eq!(run_starts(&mut s, now).len(), 2);
    assert_eq!(s.state.missed_catchup_window, 8);
}

#[test]
fn without_a_window_a_year_is_caught_up_step_by_step() {
    let mut s = schedule(Policy::AllowAll);
    let now = at(500 * MINUTE);
    let mut steps = 0;
    let mut started = 0;
    while s.wake_at(now) <= Some(now) {
        s.advance(now);
        started += run_starts(&mut s, now).len();
        steps += 1;
    }
    assert_eq!((started, steps), (500, 5));
    assert_eq!(Schedule::catchup_window(&schedule(Policy::Skip)), CATCHUP_DEFAULT);
}

fn patch(s: &mut Schedule, change: impl FnOnce(&mut SchedulePatch), now: Timestamp) {
    let mut patch = SchedulePatch::default();
    change(&mut patch);
    s.patch(&patch, now).expect("taken");
    sure(s, now);
}

fn trigger(s: &mut Schedule, policy: Policy, now: Timestamp) {
    let trigger = TriggerImmediatelyRequest { overlap_policy: policy as i32, scheduled_time: None };
    patch(s, |p| p.trigger_immediately = Some(trigger), now);
}

#[test]
fn a_paused_schedule_passes_its_times_by_and_goes_on_with_the_next() {
    let mut s = schedule(Policy::AllowAll);
    assert_eq!(s.state.conflict_token, 1);
    patch(&mut s, |p| p.pause = "hold".into(), at(130));
    assert_eq!(run_starts(&mut s, at(130)).len(), 2, "what was due before is started");
    assert_eq!((s.state.paused, s.state.notes.as_str(), s.state.conflict_token), (true, "hold", 2));
    assert_eq!(s.wake_at(at(130)), None);
    assert_eq!(s.future(at(130), 2), [at(180), at(240)]);
    patch(&mut s, |p| p.unpause = "go".into(), at(100_000_001));
    assert_eq!((s.state.paused, s.state.notes.as_str()), (false, "go"));
    assert_eq!(s.starts(at(100_000_001)).count(), 0);
    assert_eq!(s.wake_at(at(100_000_001)), Some(at(100_000_020)));
}

#[test]
fn a_trigger_works_while_paused_and_does_not_count_against_the_limit() {
    let state = ScheduleState { paused: true, limited_actions: true, remaining_actions: 0, ..Default::default() };
    let mut s = schedule_of(definition(Policy::Skip), state);
    trigger(&mut s, Policy::Unspecified, at(30));
    let starting = s.starts(at(30)).next().expect("one").clone();
    assert_eq!(workflow_id(&s.definition, &starting), "wf-1970-01-01T00:00:30Z");
    let (request, _) = start_request(&s, &starting, "ns");
    assert_eq!(request.workflow_id_reuse_policy().as_str_name(), "WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE");
    run_starts(&mut s, at(30));
    trigger(&mut s, Policy::Unspecified, at(31));
    assert_eq!((s.state.overlap_skipped, s.state.remaining), (1, 0), "its overlap policy holds");
    trigger(&mut s, Policy::AllowAll, at(32));
    assert_eq!(run_starts(&mut s, at(32)), [2]);
}

#[test]
fn limited_actions_run_out() {
    let state = ScheduleState { limited_actions: true, remaining_actions: 2, ..Default::default() };
    let mut s = schedule_of(definition(Policy::AllowAll), state);
    assert_eq!(s.future(at(0), 10).len(), 2);
    assert_eq!(minute(&mut s, 1), [1]);
    assert_eq!((s.state.remaining, s.state.conflict_token), (1, 2));
    assert_eq!(minute(&mut s, 3), [2], "of two that are due one is left");
    assert_eq!((s.state.remaining, s.future(at(180), 10)), (0, vec![]));
    assert_eq!(minute(&mut s, 4), NONE);
    assert_eq!(s.wake_at(at(240)), Some(at(180) + IDLE_RETENTION));
}

#[test]
fn a_failed_or_timed_out_run_pauses_when_asked_for() {
    let cases = [
        (Status::Failed, "paused due to workflow failure: wf: broken"),
        (Status::TimedOut, "paused due to workflow timeout: wf"),
        (Status::Canceled, ""),
        (Status::Terminated, ""),
        (Status::Completed, ""),
    ];
    for (status, notes) in cases {
        let mut definition = definition(Policy::Skip);
        definition.policies.get_or_insert_default().pause_on_failure = true;
        let mut s = schedule_of(definition, ScheduleState::default());
        minute(&mut s, 1);
        end(&mut s, 1, status, at(70));
        assert_eq!((s.state.paused, s.state.notes.as_str()), (!notes.is_empty(), notes));
        assert_eq!(s.state.recent[0].status, status as i32);
        assert_eq!(s.state.conflict_token, if notes.is_empty() { 1 } else { 2 });
    }
    let mut s = schedule(Policy::Skip);
    minute(&mut s, 1);
    end(&mut s, 1, Status::Failed, at(70));
    assert!(!s.state.paused, "only when asked for");
}

#[test]
fn an_end_that_is_told_before_its_start_counts_for_both() {
    let mut s = schedule(Policy::BufferOne);
    s.advance(at(60));
    end(&mut s, 1, Status::Completed, at(61));
    assert_eq!((s.state.action_count, s.state.running.len(), s.state.starting.len()), (1, 0, 0));
    s.started(1, "wf", "run-1", at(62));
    end(&mut s, 1, Status::Completed, at(63));
    assert_eq!((s.state.action_count, s.state.recent.len()), (1, 1), "told again, nothing happens");
}

#[test]
fn a_start_that_fails_is_tried_again_while_there_is_time() {
    let mut s = schedule(Policy::Skip);
    s.advance(at(60));
    s.start_failed(1, StartFailure::Unknown, at(60));
    assert_eq!((s.starts(at(60)).count(), s.wake_at(at(60))), (0, Some(at(61))));
    assert_eq!((s.starts(at(61)).count(), s.wake_at(at(61))), (1, Some(at(120))), "under way: not woken again and again for it");
    s.start_failed(1, StartFailure::Unknown, at(61));
    assert_eq!((s.starts(at(62)).count(), s.starts(at(63)).count()), (0, 1));
    let over = at(60 + 3600);
    assert_eq!(s.starts(over).map(|starting| starting.is_looked_for(over)).collect::<Vec<_>>(), [true]);
    s.start_failed(1, StartFailure::Unknown, over);
    assert_eq!((s.starts(over).count(), s.starts(over + Span::seconds(4)).count()), (0, 1), "it may be there: looked for again");
    s.start_failed(1, StartFailure::NotThere, over);
    assert_eq!((s.state.starting.len(), s.state.missed_catchup_window, s.state.start_refusal.as_str()), (0, 1, ""), "the world's fault");
    s.advance(at(5000));
    let number = s.starts(at(5000)).next().expect("the next").number;
    s.start_failed(number, StartFailure::Refused("no such thing"), at(5000));
    assert_eq!((s.state.starting.len(), s.state.missed_catchup_window), (0, 1), "for good: not tried again");
    assert_eq!(s.state.start_refusal, "no such thing");
    trigger(&mut s, Policy::Unspecified, at(5010));
    assert_eq!(run_starts(&mut s, at(5010)).len(), 1);
    assert_eq!(s.state.start_refusal, "");
}

#[test]
fn a_start_that_was_decided_before_the_clock_was_set_back_waits_for_its_time() {
    let mut s = schedule(Policy::Skip);
    s.advance(at(60));
    assert_eq!((s.starts(at(20)).count(), s.wake_at(at(20))), (0, Some(at(60))));
    assert_eq!((s.starts(at(60)).count(), s.wake_at(at(60))), (1, Some(at(120))), "under way");
}

#[test]
fn a_refusal_is_shown_until_the_schedule_is_mended_or_starts_again() {
    #[expect(deprecated, reason = "the one place for it")]
    let error = |s: &Schedule| crate::schedule::describe(s, at(60)).info.expect("set").invalid_schedule_error;
    let refused = || {
        let mut s = schedule(Policy::BufferAll);
        s.advance(at(60));
        s.start_failed(1, StartFailure::Refused("no such thing"), at(60));
        assert_eq!(error(&s), "no such thing");
        s.advance(at(120));
        s
    };
    let mut s = refused();
    s.start_failed(2, StartFailure::Unknown, at(120));
    assert_eq!(error(&s), "no such thing", "nothing is known of it yet");
    s.update(definition(Policy::BufferAll), ScheduleState::default(), &NoZones, at(121)).expect("valid");
    assert_eq!(error(&s), "");
    let mut s = refused();
    s.already_started(2, at(120));
    assert_eq!(error(&s), "");
}

#[test]
fn what_is_shown_is_written_in_full() {
    let given = |year: i32| StructuredCalendarSpec {
        second: range(0, 0, 0),
        minute: [range(5, 0, 0), range(7, 0, 0)].concat(),
        hour: range(9, 17, 2),
        day_of_month: range(1, 31, 0),
        month: range(3, 3, 0),
        year: range(year, 0, 0),
        day_of_week: range(1, 0, 3),
        comment: "c".into(),
    };
    let full = |year: i32| StructuredCalendarSpec {
        second: range(0, 0, 1),
        minute: [range(5, 5, 1), range(7, 7, 1)].concat(),
        hour: range(9, 17, 2),
        day_of_month: range(1, 31, 1),
        month: range(3, 3, 1),
        year: range(year, year, 1),
        day_of_week: range(1, 1, 3),
        comment: "c".into(),
    };
    let spec = |calendar: &dyn Fn(i32) -> StructuredCalendarSpec| ScheduleSpec {
        structured_calendar: vec![calendar(2030)],
        exclude_structured_calendar: vec![calendar(2031)],
        ..Default::default()
    };
    let mut definition = Definition { spec: Some(spec(&given)), ..definition(Policy::Skip) };
    let shown = |definition: &Definition| {
        let s = schedule_of(definition.clone(), ScheduleState::default());
        assert_eq!(s.definition.spec, Some(spec(&given)), "the row stays");
        let (described, entry) = (crate::schedule::describe(&s, at(0)), crate::schedule::list_entry(&s, at(0)));
        assert_eq!((&described.memo, &described.search_attributes), (&entry.memo, &entry.search_attributes));
        let specs = [described.schedule.and_then(|schedule| schedule.spec), entry.info.and_then(|info| info.spec)];
        assert_eq!(specs, [Some(spec(&full)), Some(spec(&full))]);
        (described.memo, described.search_attributes)
    };
    assert_eq!(shown(&definition), (None, None));
    (definition.memo, definition.search_attributes) = (Some(Memo::default()), Some(SearchAttributes::default()));
    assert_eq!(shown(&definition), (None, None), "cleared");
    let fields = || [("a".into(), Payload::default())].into_iter().collect();
    definition.memo = Some(Memo { fields: fields() });
    definition.search_attributes = Some(SearchAttributes { indexed_fields: fields() });
    assert_eq!(shown(&definition), (definition.memo.clone(), definition.search_attributes.clone()));
}

#[test]
fn starts_under_one_workflow_id_are_carried_out_one_after_another() {
    let numbers = |s: &Schedule, now| s.starts(now).map(|starting| starting.number).collect::<Vec<_>>();
    let mut definition = definition(Policy::AllowAll);
    definition.spec = None;
    for keeps in [false, true] {
        definition.policies.get_or_insert_default().keep_original_workflow_id = keeps;
        let mut s = schedule_of(definition.clone(), ScheduleState::default());
        for now in [at(10), at(10), at(11)] {
            trigger(&mut s, Policy::Unspecified, now);
        }
        let others: &[u64] = if keeps { &[] } else { &[3] };
        assert_eq!(numbers(&s, at(11)), [&[1], others].concat());
        s.start_failed(1, StartFailure::Unknown, at(11));
        assert_eq!((numbers(&s, at(11)), s.wake_at(at(11))), (others.to_vec(), Some(at(12))), "it may be there");
        assert_eq!(numbers(&s, at(12)), [&[1], others].concat());
        s.started(1, "wf", "run-1", at(12));
        assert_eq!(numbers(&s, at(12)), [&[2], others].concat());
        s.already_started(2, at(12));
        assert_eq!(numbers(&s, at(12)), [3]);
    }
}

#[test]
fn a_start_is_shown_as_waiting_until_it_is_carried_out() {
    let shown = |s: &Schedule| {
        let info = crate::schedule::describe(s, at(60)).info.expect("set");
        (info.buffer_size, info.action_count, info.running_workflows.len())
    };
    let mut s = schedule(Policy::BufferAll);
    s.advance(at(60));
    assert_eq!(shown(&s), (1, 0, 0), "decided");
    s.start_failed(1, StartFailure::Unknown, at(60));
    assert_eq!(shown(&s), (1, 0, 0), "tried again later");
    s.started(1, "wf", "run-1", at(61));
    assert_eq!(shown(&s), (0, 1, 1));
    s.advance(at(120));
    assert_eq!(shown(&s), (1, 1, 1), "waits for the run");
}

#[test]
fn what_is_there_already_is_dealt_with() {
    let mut s = schedule(Policy::BufferAll);
    s.advance(at(60));
    s.already_started(1, at(60));
    assert_eq!((s.state.starting.len(), s.state.running.len(), s.state.action_count), (0, 0, 0));
    assert_eq!(minute(&mut s, 2), [2]);
}

fn fill(start: i64, end: i64, policy: Policy) -> BackfillRequest {
    let time = |seconds| Some(at(seconds).to_api());
    BackfillRequest { start_time: time(start), end_time: time(end), overlap_policy: policy as i32 }
}

#[test]
fn a_backfill_takes_all_times_of_its_range_whatever_the_state_says() {
    let state = ScheduleState { paused: true, ..Default::default() };
    let mut definition = definition(Policy::Skip);
    definition.policies.get_or_insert_default().catchup_window = Some(Span::seconds(10).to_api());
    let mut s = schedule_of(definition, state);
    let now = at(1_000_000_000);
    patch(&mut s, |p| p.backfill_request = vec![fill(600, 600 + 249 * MINUTE, Policy::AllowAll)], now);
    let mut started = run_starts(&mut s, now).len();
    while s.wake_at(now) <= Some(now) && s.wake_at(now).is_some() {
        s.advance(now);
        started += run_starts(&mut s, now).len();
    }
    assert_eq!((started, s.state.backfills.len()), (250, 0), "both ends are included");
    assert_eq!(s.state.recent[9].workflow_id, "wf-1970-01-01T04:19:00Z");
}

#[test]
fn a_long_backfill_waits_for_room() {
    let mut s = schedule(Policy::Skip);
    let now = at(1_000_000_020);
    s.state.cursor = now.0;
    patch(&mut s, |p| p.backfill_request = vec![fill(60, 2000 * MINUTE, Policy::BufferAll)], now);
    while s.wake_at(now) <= Some(now) {
        s.advance(now);
    }
    assert_eq!((s.state.buffered.len(), s.state.buffer_dropped, s.state.backfills.len()), (BUFFER_MAX / 2, 0, 1));
    let mut done = 0;
    while let Some(number) = run_starts(&mut s, now).first() {
        end(&mut s, *number, Status::Completed, now);
        s.advance(now);
        done += 1;
    }
    assert_eq!((done, s.state.backfills.len()), (2000, 0));
    let many = SchedulePatch { backfill_request: vec![fill(0, 60, Policy::Skip); BACKFILLS_MAX + 1], ..Default::default() };
    assert_eq!(s.patch(&many, now), Err(Refusal::FailedPrecondition("too many concurrent backfillers".into())));
}

#[test]
fn an_update_replaces_what_is_said_and_keeps_what_runs() {
    let mut s = schedule(Policy::BufferAll);
    minute(&mut s, 1);
    minute(&mut s, 2);
    let mut hourly = definition(Policy::BufferAll);
    hourly.spec.get_or_insert_default().interval[0].interval = Some(Span::seconds(3600).to_api());
    let state = ScheduleState { notes: "n".into(), ..Default::default() };
    s.update(hourly, state, &NoZones, at(130)).expect("valid");
    assert_eq!((s.state.running.len(), s.state.buffered.len(), s.state.notes.as_str()), (1, 1, "n"));
    assert_eq!((s.state.conflict_token, s.state.update_time), (2, at(130).0));
    assert_eq!(s.conflict_token().as_ref(), [0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(s.wake_at(at(130)), Some(at(3600)));
}

#[test]
fn a_request_is_carried_out_once() {
    let mut s = schedule(Policy::Skip);
    s.remember("".into());
    assert!(!s.is_repeated("") && !s.is_repeated("a"));
    s.remember("a".into());
    assert!(s.is_repeated("a"));
    (0..REQUESTS_MAX).for_each(|n| s.remember(n.to_string()));
    assert!(!s.is_repeated("a"), "forgotten by now");
}

#[test]
fn an_idle_schedule_is_over_after_a_week_and_a_paused_one_is_not() {
    let mut once = definition(Policy::Skip);
    once.spec.get_or_insert_default().end_time = Some(at(60).to_api());
    let mut s = schedule_of(once.clone(), ScheduleState::default());
    assert_eq!(minute(&mut s, 1), [1]);
    assert_eq!(s.wake_at(at(60)), None, "a run is open");
    end(&mut s, 1, Status::Completed, at(100));
    assert_eq!(s.wake_at(at(100)), Some(at(100) + IDLE_RETENTION));
    assert!(!s.is_over(at(99) + IDLE_RETENTION) && s.is_over(at(100) + IDLE_RETENTION));
    trigger(&mut s, Policy::Skip, at(200));
    let numbers = run_starts(&mut s, at(200));
    end(&mut s, numbers[0], Status::Completed, at(200));
    assert!(!s.is_over(at(100) + IDLE_RETENTION) && s.is_over(at(200) + IDLE_RETENTION));
    let paused = schedule_of(once, ScheduleState { paused: true, ..Default::default() });
    assert_eq!((paused.wake_at(at(0)), paused.is_over(at(100_000_000))), (None, false));
}

#[test]
fn a_jittered_time_is_not_lost_by_what_happens_between() {
    let mut jittered = definition(Policy::AllowAll);
    jittered.spec.get_or_insert_default().jitter = Some(Span::seconds(50).to_api());
    let mut s = schedule_of(jittered, ScheduleState::default());
    let mut seen = 0;
    // Looked at every second, with a pause that ends before the actual time.
    for second in 0..=20 * MINUTE {
        let now = at(second);
        s.advance(now);
        seen += run_starts(&mut s, now).len();
        if second % MINUTE == 0 && s.wake_at(now) > Some(now + Span::seconds(1)) {
            patch(&mut s, |p| p.pause = "p".into(), now);
            patch(&mut s, |p| p.unpause = "u".into(), now);
            seen += run_starts(&mut s, now).len();
        }
    }
    assert!((19..=20).contains(&seen), "{seen}");
    assert_eq!(s.state.missed_catchup_window, 0);
}

#[test]
fn what_runs_is_looked_at_before_a_start_is_left_out() {
    let mut s = schedule(Policy::Skip);
    minute(&mut s, 1);
    s.advance(at(120));
    assert!(s.wants_check() && s.owes());
    assert_eq!((s.state.overlap_skipped, s.state.buffered.len()), (0, 1), "not decided");
    assert_eq!(s.wake_at(at(120)), None, "no more is taken before that is known");
    s.check_begins();
    // One that comes after the look has begun wants another one.
    let late = SchedulePatch { trigger_immediately: Some(TriggerImmediatelyRequest::default()), ..Default::default() };
    s.patch(&late, at(121)).expect("taken");
    s.checked(vec![], &[], at(122));
    assert_eq!((s.state.overlap_skipped, s.state.buffered.len()), (1, 1));
    s.check_begins();
    // Found closed, before its end is told: the start goes on with what it left.
    s.checked(vec![(1, how(Status::Completed))], &[], at(124));
    assert!(!s.wants_check());
    assert_eq!(s.state.overlap_skipped, 1);
    let starting = s.starts(at(124)).next().expect("one").clone();
    assert!(start_request(&s, &starting, "ns").0.last_completion_result.is_some());
    assert_eq!(run_starts(&mut s, at(124)), [2]);
    assert!(!s.is_unsure());
    end(&mut s, 1, Status::Completed, at(125));
    assert_eq!(s.state.running.len(), 1, "told again, it changes nothing");
    assert_eq!(s.wake_at(at(124)), Some(at(180)));
}

#[test]
fn of_several_runs_that_are_over_none_is_in_the_way() {
    let mut s = schedule(Policy::AllowAll);
    assert_eq!((minute(&mut s, 1), minute(&mut s, 2)), (vec![1], vec![2]));
    let (mut runs, overlapping) = (Vec::new(), s.state.running.len());
    for number in 1..=2 {
        runs.push(Running { number, workflow_id: "wf".into(), run_id: "r".into(), ..Default::default() });
    }
    assert_eq!(overlapping, 0, "nobody waits for those that may overlap");
    s.state.running = runs;
    s.definition.policies = Some(SchedulePolicies { overlap_policy: Policy::Skip as i32, ..Default::default() });
    s.advance(at(180));
    s.check_begins();
    s.checked(vec![(1, how(Status::Completed)), (2, how(Status::Completed))], &[], at(181));
    assert_eq!((s.state.overlap_skipped, run_starts(&mut s, at(181))), (0, vec![3]));
}

#[test]
fn a_run_that_is_gone_is_in_nobodys_way() {
    let mut s = schedule(Policy::Skip);
    minute(&mut s, 1);
    s.advance(at(120));
    s.check_begins();
    s.checked(vec![], &[1], at(121));
    assert_eq!(run_starts(&mut s, at(121)), [2]);
    assert_eq!(s.state.overlap_skipped, 0);
}

#[test]
fn a_look_that_failed_is_taken_again() {
    let mut s = schedule(Policy::Skip);
    minute(&mut s, 1);
    s.advance(at(120));
    s.check_begins();
    s.check_failed();
    s.advance(at(130));
    assert!(s.wants_check());
    sure(&mut s, at(130));
    assert_eq!((s.state.overlap_skipped, s.state.buffered.len()), (1, 0));
}

#[test]
fn of_many_that_are_due_at_once_cancel_other_begins_the_newest_only() {
    for policy in [Policy::CancelOther, Policy::TerminateOther] {
        let mut s = schedule(policy);
        assert_eq!(minute(&mut s, 5), [1]);
        assert_eq!(s.state.recent[0].scheduled, at(300).0);
        assert_eq!((s.state.overlap_skipped, s.stops().count()), (4, 0));
    }
}

#[test]
fn each_policy_after_many_times_at_once() {
    // Started at once, waiting, left out, of ten.
    let cases = [
        (Policy::Unspecified, (1, 0, 9)),
        (Policy::Skip, (1, 0, 9)),
        (Policy::BufferOne, (1, 1, 8)),
        (Policy::BufferAll, (1, 9, 0)),
        (Policy::CancelOther, (1, 0, 9)),
        (Policy::TerminateOther, (1, 0, 9)),
        (Policy::AllowAll, (10, 0, 0)),
    ];
    for (policy, expected) in cases {
        let mut s = schedule(policy);
        let started = minute(&mut s, 10).len();
        assert_eq!((started, s.state.buffered.len(), s.state.overlap_skipped), expected, "{policy:?}");
        let first = if matches!(policy, Policy::CancelOther | Policy::TerminateOther) { 600 } else { 60 };
        assert_eq!(s.state.recent[0].scheduled, at(first).0, "{policy:?}");
        assert_eq!(s.future(at(600), 1), [at(660)]);
    }
}

#[test]
fn what_was_not_done_is_listed_with_its_reason() {
    let mut definition = definition(Policy::Skip);
    definition.policies.get_or_insert_default().catchup_window = Some(Span::seconds(90).to_api());
    let mut s = schedule_of(definition, ScheduleState::default());
    // At 10 min 30 s: 8 are late, the ninth is started, the tenth meets it.
    s.advance(at(630));
    run_starts(&mut s, at(630));
    let late = LeftOut { why: Why::Late as i32, count: 8, first: at(60).0, last: at(480).0, decided: at(630).0 };
    let met = LeftOut { why: Why::Overlap as i32, count: 1, first: at(600).0, last: at(600).0, decided: at(630).0 };
    assert_eq!(s.state.left_out, [late, met.clone()]);
    minute(&mut s, 11);
    assert_eq!(s.state.left_out[1], LeftOut { count: 2, last: at(660).0, decided: at(660).0, ..met });
    end(&mut s, 1, Status::Completed, at(665));
    let starting = starting_of(&mut s, 12);
    s.start_failed(starting.number, StartFailure::Refused("no"), at(721));
    let starting = starting_of(&mut s, 13);
    s.already_started(starting.number, at(781));
    let starting = starting_of(&mut s, 14);
    s.start_failed(starting.number, StartFailure::NotThere, Timestamp(starting.give_up_at));
    let reasons: Vec<_> = s.state.left_out.iter().map(|left| (left.why(), left.count)).collect();
    assert_eq!(reasons, [(Why::Late, 8), (Why::Overlap, 2), (Why::Refused, 1), (Why::AlreadyStarted, 1), (Why::GaveUp, 1)]);
    for n in 0..20 {
        s.leave_out(if n % 2 == 0 { Why::Late } else { Why::Overlap }, n, at(n));
    }
    assert_eq!(s.state.left_out.len(), LEFT_OUT_MAX);
}

#[test]
fn recent_actions_are_in_the_order_in_which_they_were_decided() {
    let mut s = schedule(Policy::AllowAll);
    s.advance(at(14 * MINUTE));
    for number in (1..=14).rev() {
        s.started(number, "wf", "run", at(14 * MINUTE));
    }
    let numbers: Vec<u64> = s.state.recent.iter().map(|recent| recent.number).collect();
    assert_eq!(numbers, (5..=14).collect::<Vec<_>>());
    assert_eq!((numbers.len(), s.state.action_count), (RECENT_MAX, 14));
}

#[test]
fn notes_of_one_who_paused_it_stay_when_a_run_fails() {
    let mut definition = definition(Policy::Skip);
    definition.policies.get_or_insert_default().pause_on_failure = true;
    let mut s = schedule_of(definition, ScheduleState::default());
    minute(&mut s, 1);
    patch(&mut s, |p| p.pause = "mine".into(), at(65));
    let token = s.conflict_token();
    end(&mut s, 1, Status::Failed, at(70));
    assert_eq!((s.state.notes.as_str(), s.conflict_token()), ("mine", token));
}

#[test]
fn without_its_zone_a_schedule_waits_and_says_so() {
    let mut definition = definition(Policy::AllowAll);
    definition.spec.get_or_insert_default().timezone_name = "Mars/Base".into();
    let refused = Schedule::new(definition.clone(), ScheduleState::default(), &NoZones, at(0)).err();
    assert_eq!(refused.as_deref(), Some("unknown time zone Mars/Base"));
    let mut s = Schedule::load(definition.clone(), State { conflict_token: 1, ..Default::default() }, &NoZones);
    assert_eq!(s.unusable(), Some("unknown time zone Mars/Base"));
    assert_eq!(minute(&mut s, 100), NONE);
    assert_eq!(s.wake_at(at(6000)), Some(at(6000) + UNUSABLE_AGAIN));
    assert!(!s.is_over(at(0) + IDLE_RETENTION + Span::seconds(1)), "it is not forgotten");
    trigger(&mut s, Policy::Unspecified, at(6001));
    assert_eq!(run_starts(&mut s, at(6001)), [1], "clients can still start it");
    let shown = crate::schedule::describe(&s, at(6001));
    #[expect(deprecated, reason = "the one place for it")]
    let error = shown.info.expect("set").invalid_schedule_error;
    assert_eq!(error, "unknown time zone Mars/Base");
    let notes = |s: &Schedule| crate::schedule::list_entry(s, at(6001)).info.expect("set").notes;
    assert_eq!(notes(&s), "the schedule cannot be used: unknown time zone Mars/Base");
    patch(&mut s, |p| p.pause = "p".into(), at(6002));
    assert_eq!(notes(&s), "the schedule cannot be used: unknown time zone Mars/Base; p");
    patch(&mut s, |p| p.unpause = "u".into(), at(6003));
    let times = crate::schedule::matching_times(&s, at(0), at(1000));
    assert_eq!(times, Err(Refusal::FailedPrecondition("the schedule cannot be used: unknown time zone Mars/Base".into())));

    // With the zone, what was due meanwhile is caught up.
    let mut s = Schedule::load(definition.clone(), State { conflict_token: 1, ..Default::default() }, &NoZones);
    s.advance(at(600));
    let mut mended = Schedule::load(definition, s.state.clone(), &AllZones);
    assert_eq!(minute(&mut mended, 10).len(), 10);
}
