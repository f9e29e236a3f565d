//! What a run that is well waits for, as search attributes: for lists and for DescribeWorkflowExecution.
//!
//! | attribute | type | meaning |
//! |---|---|---|
//! | `SempreWaitingFor` | Keyword | see below; a run without it has a workflow task, is paused or closed, or has not waited for long |
//! | `SempreWaitingSince` | Datetime | its last workflow task was completed then |
//! | `SempreWaitingUntil` | Datetime | the next timer fires then, or the first task is due; none: only something else ends the wait |
//! | `SempreFlowRules` | KeywordList | the flow rules that are about it, whether it waits for them or not |
//!
//! | waits for | when there is, and nothing above it |
//! |---|---|
//! | `flow-rule` | its turn: a flow rule holds it back (told at once) |
//! | `start` | a first task that is not due yet (start delay, cron, retry) |
//! | `activity` | a pending activity |
//! | `child-workflow` | a pending child |
//! | `external-workflow` | a signal or cancel request to another workflow that was not delivered yet |
//! | `timer` | a timer: whether the workflow would go on for a signal as well, only its code knows |
//! | `signal` | nothing: only a signal, an update or a cancel request makes it go on |
//!
//! They are told when the run has waited for [`crate::limits::Limits::waits_told_after`], and taken back with its next
//! workflow task: a run that goes from step to step quickly costs nothing, one that waits for long two records.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};

use sempre_api::v1::common::Payload;

use super::{AttributeType, format_datetime, health::payload, json_string};
use crate::{Span, Timestamp, flow, pause, state::State, step::Step};

/// What it waits for.
pub const WAITING_FOR: &str = "SempreWaitingFor";
/// Since when.
pub const WAITING_SINCE: &str = "SempreWaitingSince";
/// The flow rules that are about it.
pub const FLOW_RULES: &str = "SempreFlowRules";
/// When it goes on by itself.
pub const WAITING_UNTIL: &str = "SempreWaitingUntil";

/// No worker has anything to do for the run's workflow, and it is not held back. A speculative task is nobody's news.
fn is_waiting(state: &State) -> bool {
    let main = &state.progress.main;
    let has_task = main.task.as_ref().is_some_and(|task| !task.speculative);
    state.derived.is_open() && !has_task && !main.held && !flow::hold::is_held(state) && !pause::is_paused(state)
}

/// At the end of a transition that changes the run: notes when a wait begins and ends, and when it is to be told.
pub(crate) fn look(step: &mut Step<'_, '_>) {
    let (now, after) = (step.now(), step.cx.limits.waits_told_after);
    let waits = is_waiting(&step.run.state);
    let main = &mut step.run.state.progress.main;
    if waits && main.waiting_since == 0 {
        main.waiting_since = now.0;
        main.tell_wait_at = if after == Span::ZERO { 0 } else { (now + after).0 };
    } else if !waits && main.waiting_since != 0 {
        (main.waiting_since, main.tell_wait_at, main.wait_told) = (0, 0, false);
    } else if main.tell_wait_at != 0 && main.tell_wait_at <= now.0 {
        (main.tell_wait_at, main.wait_told) = (0, true);
    } else {
        return;
    }
    step.run.state.dirty.main();
}

/// Adds what an open run waits for, once that is told.
pub(crate) fn add(state: &State, fields: &mut BTreeMap<String, Payload>) {
    let (derived, main) = (&state.derived, &state.progress.main);
    let datetime = |at: i64| payload(AttributeType::Datetime, json_string(&format_datetime(Timestamp(at))));
    if let Some(flow) = main.flow.as_deref().filter(|flow| !flow.members.is_empty()) {
        let rules: Vec<String> = flow.members.iter().map(|member| json_string(&member.rule)).collect();
        fields.insert(FLOW_RULES.into(), payload(AttributeType::KeywordList, format!("[{}]", rules.join(","))));
        if flow.is_waiting() {
            fields.insert(WAITING_FOR.into(), payload(AttributeType::Keyword, json_string("flow-rule")));
            fields.insert(WAITING_SINCE.into(), datetime(flow.since));
        }
    }
    if !main.wait_told {
        return;
    }
    let what = if main.first_task_at != 0 {
        "start"
    } else if !derived.activities.is_empty() {
        "activity"
    } else if !derived.children.is_empty() {
        "child-workflow"
    } else if !derived.externals.is_empty() {
        "external-workflow"
    } else if !derived.timers.is_empty() {
        "timer"
    } else {
        "signal"
    };
    fields.insert(WAITING_FOR.into(), payload(AttributeType::Keyword, json_string(what)));
    fields.insert(WAITING_SINCE.into(), datetime(main.waiting_since));
    let first = (main.first_task_at != 0).then_some(main.first_task_at);
    if let Some(until) = derived.timers.values().map(|timer| timer.fire_at).chain(first).min() {
        fields.insert(WAITING_UNTIL.into(), datetime(until));
    }
}
