//! Schedules as the API shows them (spec 07 §6–8).

use alloc::{format, string::String, vec::Vec};

use sempre_api::{
    sempre::v1::{SkipReason, SkippedActions},
    v1::{
        common::{Memo, Payload, SearchAttributes, WorkflowExecution},
        enums::WorkflowExecutionStatus,
        schedule::{
            Range, Schedule as Shown, ScheduleAction, ScheduleActionResult, ScheduleInfo, ScheduleListEntry, ScheduleListInfo,
            ScheduleSpec, ScheduleState, schedule_action::Action,
        },
        workflowservice::DescribeScheduleResponse,
    },
};

use super::{
    FUTURE_MAX, MATCHING_MAX,
    spec::Next,
    state::{Definition, LeftOut, Recent, Why},
    step::Schedule,
};
use crate::{
    Refusal, Timestamp,
    visibility::{AttributeType, Record},
};

/// What is said of a schedule that is there and is never due.
pub const UNUSABLE: &str = "the schedule cannot be used";
/// Entries of a list show so many calendars, intervals and exclusions.
const LIST_SPEC_MAX: usize = 10;
/// And so many recent actions and times to come.
const LIST_TIMES_MAX: usize = 5;

fn result(recent: &Recent) -> ScheduleActionResult {
    ScheduleActionResult {
        schedule_time: Some(Timestamp(recent.scheduled).to_api()),
        actual_time: Some(Timestamp(recent.started).to_api()),
        start_workflow_result: Some(WorkflowExecution { workflow_id: recent.workflow_id.clone(), run_id: recent.run_id.clone() }),
        start_workflow_status: recent.status,
    }
}

fn times(times: Vec<Timestamp>) -> Vec<sempre_api::Timestamp> {
    times.into_iter().map(Timestamp::to_api).collect()
}

/// A spec with all that its ranges leave out: one without an end is a single value, one without a step takes each.
/// Rows keep what was given; clients compare what they are shown with what they have written in full.
fn shown(mut spec: ScheduleSpec) -> ScheduleSpec {
    let fill = |ranges: &mut Vec<Range>| {
        for range in ranges {
            range.end = range.end.max(range.start);
            range.step = range.step.max(1);
        }
    };
    for calendar in spec.structured_calendar.iter_mut().chain(&mut spec.exclude_structured_calendar) {
        fill(&mut calendar.second);
        fill(&mut calendar.minute);
        fill(&mut calendar.hour);
        fill(&mut calendar.day_of_month);
        fill(&mut calendar.month);
        fill(&mut calendar.year);
        fill(&mut calendar.day_of_week);
    }
    spec
}

/// The memo; none if there is nothing in it.
fn memo(definition: &Definition) -> Option<Memo> {
    definition.memo.clone().filter(|memo| !memo.fields.is_empty())
}

/// Its own search attributes; none if it has none.
fn search_attributes(definition: &Definition) -> Option<SearchAttributes> {
    definition.search_attributes.clone().filter(|attributes| !attributes.indexed_fields.is_empty())
}

/// DescribeSchedule.
#[expect(deprecated, reason = "the one place for the reason why nothing is started")]
pub fn describe(schedule: &Schedule, now: Timestamp) -> DescribeScheduleResponse {
    let (definition, state) = (&schedule.definition, &schedule.state);
    let described = Shown {
        spec: definition.spec.clone().map(shown),
        action: Some(ScheduleAction { action: definition.action.clone().map(Action::StartWorkflow) }),
        policies: definition.policies,
        state: Some(ScheduleState {
            notes: state.notes.clone(),
            paused: state.paused,
            limited_actions: state.limited,
            remaining_actions: state.remaining,
        }),
    };
    let running =
        state.running.iter().map(|running| WorkflowExecution { workflow_id: running.workflow_id.clone(), run_id: running.run_id.clone() });
    let info = ScheduleInfo {
        action_count: state.action_count,
        missed_catchup_window: state.missed_catchup_window,
        overlap_skipped: state.overlap_skipped,
        buffer_dropped: state.buffer_dropped,
        // Those that are decided and not carried out, too: a client that sees nothing wait must be able to believe it.
        buffer_size: (state.buffered.len() + state.starting.len()) as i64,
        running_workflows: running.collect(),
        recent_actions: state.recent.iter().map(result).collect(),
        future_action_times: times(schedule.future(now, FUTURE_MAX)),
        create_time: Some(Timestamp(definition.create_time).to_api()),
        update_time: (state.update_time != 0).then(|| Timestamp(state.update_time).to_api()),
        invalid_schedule_error: schedule.unusable().unwrap_or(&state.start_refusal).into(),
        state_size_bytes: schedule.size() as i64,
    };
    DescribeScheduleResponse {
        schedule: Some(described),
        info: Some(info),
        memo: memo(definition),
        search_attributes: search_attributes(definition),
        conflict_token: schedule.conflict_token(),
    }
}

/// What filters of schedule lists see: `WorkflowId` (and `ScheduleId`) is the schedule id, `WorkflowType` that of the action,
/// `StartTime` when the schedule was made; its own search attributes, and `TemporalSchedulePaused`.
pub fn record(schedule: &Schedule) -> Record {
    let (definition, state) = (&schedule.definition, &schedule.state);
    let action = definition.action.as_ref();
    let mut search_attributes = definition.search_attributes.clone().unwrap_or_default().indexed_fields;
    let json = |kind: AttributeType, data: &'static [u8]| Payload {
        metadata: [("encoding".into(), "json/plain".into()), ("type".into(), kind.name().into())].into_iter().collect(),
        data: data.into(),
        ..Default::default()
    };
    let paused: &[u8] = if state.paused { b"true" } else { b"false" };
    search_attributes.insert("TemporalSchedulePaused".into(), json(AttributeType::Bool, paused));
    search_attributes.insert("TemporalNamespaceDivision".into(), json(AttributeType::Keyword, b"\"TemporalScheduler\""));
    Record {
        namespace_id: definition.namespace_id.clone(),
        workflow_id: definition.schedule_id.clone(),
        workflow_type: action.and_then(|action| action.workflow_type.as_ref()).map_or_else(Default::default, |kind| kind.name.clone()),
        task_queue: action.and_then(|action| action.task_queue.as_ref()).map_or_else(Default::default, |queue| queue.name.clone()),
        status: WorkflowExecutionStatus::Running as i32,
        start_time: definition.create_time,
        execution_time: definition.create_time,
        search_attributes,
        ..Default::default()
    }
}

/// An entry of ListSchedules.
pub fn list_entry(schedule: &Schedule, now: Timestamp) -> ScheduleListEntry {
    let (definition, state) = (&schedule.definition, &schedule.state);
    let mut spec = definition.spec.clone().unwrap_or_default();
    spec.timezone_data.clear();
    spec.structured_calendar.truncate(LIST_SPEC_MAX);
    spec.exclude_structured_calendar.truncate(LIST_SPEC_MAX);
    spec.interval.truncate(LIST_SPEC_MAX);
    let recent = &state.recent[state.recent.len().saturating_sub(LIST_TIMES_MAX)..];
    ScheduleListEntry {
        schedule_id: definition.schedule_id.clone(),
        memo: memo(definition),
        search_attributes: search_attributes(definition),
        info: Some(ScheduleListInfo {
            spec: Some(shown(spec)),
            workflow_type: definition.action.as_ref().and_then(|action| action.workflow_type.clone()),
            notes: list_notes(schedule),
            paused: state.paused,
            recent_actions: recent.iter().map(result).collect(),
            future_action_times: times(schedule.future(now, LIST_TIMES_MAX)),
            state_size_bytes: schedule.size() as i64,
        }),
    }
}

/// Lists have no other place for what is wrong with a schedule.
fn list_notes(schedule: &Schedule) -> String {
    let notes = &schedule.state.notes;
    match schedule.unusable() {
        Some(why) if notes.is_empty() => format!("{UNUSABLE}: {why}"),
        Some(why) => format!("{UNUSABLE}: {why}; {notes}"),
        None => notes.clone(),
    }
}

/// The entry of a schedule whose rows are damaged.
pub fn list_damaged(schedule_id: &str) -> ScheduleListEntry {
    let info = ScheduleListInfo { notes: format!("{UNUSABLE}: its rows are damaged"), ..Default::default() };
    ScheduleListEntry { schedule_id: schedule_id.into(), info: Some(info), ..Default::default() }
}

/// The actions that were not taken.
pub fn skipped(schedule: &Schedule) -> Vec<SkippedActions> {
    let time = |nanos| Some(Timestamp(nanos).to_api());
    let one = |left: &LeftOut| {
        let reason = match left.why() {
            Why::Unknown => SkipReason::Unspecified,
            Why::Late => SkipReason::MissedCatchupWindow,
            Why::Overlap => SkipReason::Overlap,
            Why::BufferFull => SkipReason::BufferFull,
            Why::GaveUp => SkipReason::GaveUp,
            Why::AlreadyStarted => SkipReason::AlreadyStarted,
            Why::Refused => SkipReason::Refused,
        };
        SkippedActions {
            reason: reason as i32,
            count: left.count as i64,
            first_schedule_time: time(left.first),
            last_schedule_time: time(left.last),
            decided_time: time(left.decided),
        }
    };
    schedule.state.left_out.iter().map(one).collect()
}

/// ListScheduleMatchingTimes: after `start`, up to `end`.
pub fn matching_times(schedule: &Schedule, start: Timestamp, end: Timestamp) -> Result<Vec<sempre_api::Timestamp>, Refusal> {
    if let Some(why) = schedule.unusable() {
        return Err(Refusal::FailedPrecondition(format!("{UNUSABLE}: {why}")));
    }
    let spec = schedule.spec();
    let mut found = Vec::new();
    let mut after = start;
    while found.len() < MATCHING_MAX {
        match spec.next(after) {
            Next::At(time) if time.actual <= end => {
                found.push(time.actual.to_api());
                after = time.nominal;
            }
            Next::NotUntil(at) if at <= end => {
                return Err(Refusal::invalid(
                    "the schedule calendar specification has too many exclusions. Please modify the specification.",
                ));
            }
            _ => break,
        }
    }
    Ok(found)
}
