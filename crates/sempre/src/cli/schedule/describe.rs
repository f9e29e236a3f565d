//! `schedule describe`.

use sempre_api::{
    json::{self, Payloads},
    v1::{enums::ScheduleOverlapPolicy, schedule::schedule_action::Action, workflowservice::DescribeScheduleRequest},
};

use super::{Id, spec};
use crate::cli::{Failure, output::short_name, session::Session, values};

pub(super) async fn run(session: &mut Session, id: &Id) -> Result<(), Failure> {
    let request = DescribeScheduleRequest { namespace: session.namespace(), schedule_id: id.schedule_id.clone() };
    let answer = session.client().await?.workflow.describe_schedule(request).await?.into_inner();
    // Payloads in full, as Temporal's CLI writes schedules.
    session.out.value(&json::to_value(&answer, Payloads::Full))?;
    let (schedule, info) = (answer.schedule.unwrap_or_default(), answer.info.unwrap_or_default());
    let (spec, policies, state) =
        (schedule.spec.unwrap_or_default(), schedule.policies.unwrap_or_default(), schedule.state.unwrap_or_default());
    let Some(Action::StartWorkflow(workflow)) = schedule.action.and_then(|action| action.action) else {
        return Err(Failure::new("the schedule has no action that this command knows"));
    };
    let time = |time: Option<&_>| session.out.time(time);
    let running: Vec<_> = info.running_workflows.iter().map(|run| run.workflow_id.as_str()).collect();
    let policy = ScheduleOverlapPolicy::try_from(policies.overlap_policy).unwrap_or_default();
    let remaining = if state.limited_actions { state.remaining_actions.to_string() } else { String::new() };
    let last = info.recent_actions.last().and_then(|action| action.schedule_time.as_ref());
    let memo = answer.memo.map(|memo| session.out.json_of(&memo)["fields"].to_string()).unwrap_or_default();
    let attributes = answer.search_attributes.map(|of| session.out.json_of(&of)["indexedFields"].to_string()).unwrap_or_default();
    let card = [
        ("ScheduleId", id.schedule_id.as_str().into()),
        ("Workflow", workflow.workflow_type.unwrap_or_default().name.into()),
        ("WorkflowId", workflow.workflow_id.into()),
        ("TaskQueue", workflow.task_queue.unwrap_or_default().name.into()),
        ("Spec", spec::words(&spec).join("; ").into()),
        ("StartAt", time(spec.start_time.as_ref()).into()),
        ("EndAt", time(spec.end_time.as_ref()).into()),
        ("Jitter", spec.jitter.as_ref().map(values::duration_text).unwrap_or_default().into()),
        ("TimeZoneName", spec.timezone_name.into()),
        ("OverlapPolicy", short_name(policy.as_str_name(), "SCHEDULE_OVERLAP_POLICY_").into()),
        ("CatchupWindow", policies.catchup_window.as_ref().map(values::duration_text).unwrap_or_default().into()),
        ("PauseOnFailure", policies.pause_on_failure.to_string().into()),
        ("Notes", state.notes.into()),
        ("Paused", state.paused.to_string().into()),
        ("RemainingActions", remaining.into()),
        ("NextRunTime", time(info.future_action_times.first()).into()),
        ("LastRunTime", time(last).into()),
        ("RunningWorkflows", running.join(", ").into()),
        ("CreatedAt", time(info.create_time.as_ref()).into()),
        ("LastUpdateAt", time(info.update_time.as_ref()).into()),
        ("ActionCount", info.action_count.to_string().into()),
        ("MissedCatchupWindow", info.missed_catchup_window.to_string().into()),
        ("SkippedOverlap", info.overlap_skipped.to_string().into()),
        ("SearchAttributes", attributes.into()),
        ("Memo", memo.into()),
    ];
    session.out.card(&card)
}
