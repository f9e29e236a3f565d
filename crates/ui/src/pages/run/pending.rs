//! What a run has in hand: its workflow task, activities, children, Nexus operations, callbacks.

use maud::{Markup, html};
use sempre_api::v1::{
    enums::{CallbackState, PendingActivityState, PendingNexusOperationState, PendingWorkflowTaskState},
    workflow::PendingActivityInfo,
    workflowservice::DescribeWorkflowExecutionResponse,
};

use super::Place;
use crate::{
    show::{self, badge, words},
    visit::Visit,
};

/// Activities that are shown whole; a run may have thousands.
const SHOWN: usize = 200;

/// All of it; nothing where there is nothing.
pub(super) fn part(visit: &Visit, place: &Place, description: &DescribeWorkflowExecutionResponse) -> Markup {
    let nothing = description.pending_activities.is_empty()
        && description.pending_children.is_empty()
        && description.pending_nexus_operations.is_empty()
        && description.pending_workflow_task.is_none()
        && description.callbacks.is_empty();
    html! {
        div #pending data-live {
            @if !nothing {
                section.panel {
                    h2 { "Pending" }
                    (task(visit, description))
                    @if !description.pending_activities.is_empty() { (activities(visit, place, &description.pending_activities)) }
                    (others(visit, place, description))
                }
            }
        }
    }
}

fn task(visit: &Visit, description: &DescribeWorkflowExecutionResponse) -> Markup {
    let Some(task) = &description.pending_workflow_task else { return html! {} };
    let started = task.state() == PendingWorkflowTaskState::Started;
    html! {
        p.pending-line data-key="task" {
            (badge(if task.attempt > 1 { "red" } else { "blue" }, "Workflow task"))
            @if started { " A worker has it since " (visit.times.show(task.started_time.as_ref())) } @else { " Scheduled " (visit.times.show(task.scheduled_time.as_ref())) }
            @if task.attempt > 1 { ", attempt " (task.attempt) }
        }
    }
}

fn activities(visit: &Visit, place: &Place, all: &[PendingActivityInfo]) -> Markup {
    html! {
        div.table-wrap {
            table.pending {
                thead { tr { th { "Activity" } th { "State" } th { "Attempt" } th { "Next" } th { "Last failure" } th { "Worker" } th { span.visually-hidden { "Actions" } } } }
                tbody { @for activity in all.iter().take(SHOWN) { (row(visit, place, activity)) } }
            }
        }
        @if all.len() > SHOWN { p.muted { "and " (show::count((all.len() - SHOWN) as i64)) " more" } }
    }
}

fn row(visit: &Visit, place: &Place, activity: &PendingActivityInfo) -> Markup {
    let times = &visit.times;
    let name = activity.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
    let (tone, state) = match (activity.paused, activity.state()) {
        (true, _) => ("yellow", "Paused"),
        (_, PendingActivityState::Started) => ("blue", "Running"),
        (_, PendingActivityState::CancelRequested) => ("yellow", "Cancel requested"),
        (_, _) if activity.attempt > 1 => ("orange", "Retrying"),
        _ => ("gray", "Scheduled"),
    };
    let link = |action: &str| {
        visit.link_with(
            &["namespaces", place.namespace, "workflows", place.id, place.run, "do", action],
            &[("activity", activity.activity_id.as_str())],
        )
    };
    html! {
        tr data-key=(format!("activity {}", activity.activity_id)) {
            th scope="row" data-label="Activity" { (show::id(name)) " " span.muted { "id " a href=(place.link(visit, &["activities", &activity.activity_id])) { (activity.activity_id) } } }
            td data-label="State" { (badge(tone, state)) @if activity.last_heartbeat_time.is_some() { " " span.muted { "heartbeat " (times.show(activity.last_heartbeat_time.as_ref())) } } }
            td data-label="Attempt" { (activity.attempt) @if activity.maximum_attempts > 0 { " of " (activity.maximum_attempts) } }
            td data-label="Next" {
                @if activity.paused && activity.state() != PendingActivityState::Started { span.muted { "–" } }
                @else if activity.state() == PendingActivityState::Scheduled { (times.show(activity.next_attempt_schedule_time.as_ref().or(activity.scheduled_time.as_ref()))) }
                @else { span.muted { "started " (times.show(activity.last_started_time.as_ref())) } }
            }
            td data-label="Last failure" { @if let Some(failure) = &activity.last_failure { details.inline-details { summary { (show::headline(failure)) } (show::failure(failure)) } } }
            td data-label="Worker" { (show::id(&activity.last_worker_identity)) }
            td.row-actions {
                details.menu.right { summary.button aria-label=(format!("Actions of activity {}", activity.activity_id)) { "⋯" } div.menu-body { ul.menu-list {
                    @if activity.paused { li { a href=(link("activity-unpause")) data-dialog { "Unpause" } } }
                    @else { li { a href=(link("activity-pause")) data-dialog { "Pause" } } }
                    @if !activity.paused && activity.state() == PendingActivityState::Scheduled { li { a href=(link("activity-run-now")) data-dialog { "Run now" } } }
                    li { a href=(link("activity-reset")) data-dialog { "Reset (begin anew now)" } }
                    li { a href=(link("activity-options")) data-dialog { "Change options" } }
                    li { a href=(link("activity-complete")) data-dialog { "Complete" } }
                    li { a href=(link("activity-fail")) data-dialog data-tone="red" { "Fail" } }
                } } }
            }
        }
    }
}

fn others(visit: &Visit, place: &Place, description: &DescribeWorkflowExecutionResponse) -> Markup {
    html! {
        @for child in &description.pending_children {
            p.pending-line data-key=(format!("child {}", child.initiated_id)) { (badge("blue", "Child workflow")) " " (child.workflow_type_name) " "
                a.id href=(visit.link(&["namespaces", place.namespace, "workflows", &child.workflow_id, &child.run_id])) title=(child.workflow_id) { (child.workflow_id) } }
        }
        @for operation in &description.pending_nexus_operations {
            @let state = PendingNexusOperationState::try_from(operation.state).unwrap_or_default();
            p.pending-line data-key=(format!("nexus {}", operation.scheduled_event_id)) {
                (badge("blue", "Nexus operation")) " " (operation.service) "." (operation.operation) " at " (operation.endpoint) ", "
                (words(state.as_str_name(), "PENDING_NEXUS_OPERATION_STATE_").to_lowercase()) ", attempt " (operation.attempt)
                @if !operation.blocked_reason.is_empty() { ", " (operation.blocked_reason) }
                @if operation.next_attempt_schedule_time.is_some() { ", next " (visit.times.show(operation.next_attempt_schedule_time.as_ref())) }
                @if let Some(failure) = &operation.last_attempt_failure { (show::failure(failure)) }
            }
        }
        @for callback in &description.callbacks {
            @let state = CallbackState::try_from(callback.state).unwrap_or_default();
            p.pending-line { (badge("gray", "Callback")) " " (words(state.as_str_name(), "CALLBACK_STATE_")) ", attempt " (callback.attempt)
                @if let Some(failure) = &callback.last_attempt_failure { (show::failure(failure)) } }
        }
    }
}
