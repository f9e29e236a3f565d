//! `workflow why`: what a run waits for, in one sentence.

use clap::Args;
use sempre_api::{
    Timestamp,
    sempre::v1::{DescribeWaitingStartRequest, WaitingStart},
    v1::{
        enums::{PendingActivityState, PendingWorkflowTaskState, TaskQueueType, WorkflowExecutionStatus},
        history::history_event::Attributes,
        workflow::{PendingActivityInfo, WorkflowExecutionInfo},
        workflowservice::DescribeWorkflowExecutionResponse,
    },
};
use serde_json::json;

use super::{Reference, describe};
use crate::cli::{
    Failure, flow,
    history::{Events, Read},
    output::short_name,
    session::Session,
    task_queue,
};

/// Set in runs that flow rules are about.
const FLOW_RULES: &str = "SempreFlowRules";

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
}

/// What is known of a run beside its description.
#[derive(Default)]
struct Around {
    /// Pollers of the queue that the pending task waits in, if it waits in one.
    pollers: Option<(String, usize)>,
    /// Why the last workflow task failed.
    task_failure: Option<String>,
    /// When the next timer fires.
    next_timer: Option<Timestamp>,
    /// The flow rule that it waits for.
    flow: Option<WaitingStart>,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let description = describe::ask(session, options.reference.execution()).await?;
    let around = look_around(session, &description).await?;
    let time = |time: &Timestamp| session.out.time(Some(time));
    let sentence = sentence(&description, &around, &time);
    if session.out.is_json() {
        return session.out.record(vec![("why", json!(sentence))]);
    }
    session.out.line(sentence)
}

async fn look_around(session: &mut Session, description: &DescribeWorkflowExecutionResponse) -> Result<Around, Failure> {
    let mut around = Around::default();
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    if !is_open(&info) {
        return Ok(around);
    }
    if info.search_attributes.as_ref().is_some_and(|fields| fields.indexed_fields.contains_key(FLOW_RULES)) {
        let execution = info.execution.clone().unwrap_or_default();
        let request =
            DescribeWaitingStartRequest { namespace: session.namespace(), workflow_id: execution.workflow_id, run_id: execution.run_id };
        around.flow = session.client().await?.flow.describe_waiting_start(request).await?.into_inner().start;
        if around.flow.is_some() {
            return Ok(around);
        }
    }
    let queue = match (&description.pending_workflow_task, waiting(description)) {
        (Some(_), _) => Some((info.task_queue.clone(), TaskQueueType::Workflow)),
        (None, Some(activity)) => {
            let own = activity.activity_options.as_ref().and_then(|options| options.task_queue.as_ref());
            Some((own.map_or_else(|| info.task_queue.clone(), |queue| queue.name.clone()), TaskQueueType::Activity))
        }
        (None, None) => None,
    };
    if let Some((name, kind)) = queue {
        let pollers = task_queue::ask(session, &name, kind, false).await?.pollers.len();
        around.pollers = Some((name, pollers));
    }
    let execution = info.execution.unwrap_or_default();
    if description.pending_workflow_task.as_ref().is_some_and(|task| task.attempt > 1) {
        let mut events = Events::new(session.client().await?, session.namespace(), execution, Read::Reverse);
        while let Some(event) = events.next().await? {
            if let Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) = event.attributes {
                around.task_failure = failed.failure.map(|failure| failure.message);
                break;
            }
        }
    } else if description.pending_workflow_task.is_none()
        && description.pending_activities.is_empty()
        && description.pending_children.is_empty()
    {
        // Timers are in history only.
        let mut open = std::collections::BTreeMap::new();
        let mut events = Events::new(session.client().await?, session.namespace(), execution, Read::All);
        while let Some(event) = events.next().await? {
            match event.attributes {
                Some(Attributes::TimerStartedEventAttributes(timer)) => {
                    let due = event
                        .event_time
                        .zip(timer.start_to_fire_timeout)
                        .map(|(at, length)| Timestamp { seconds: at.seconds + length.seconds, nanos: 0 });
                    open.insert(event.event_id, due);
                }
                Some(Attributes::TimerFiredEventAttributes(timer)) => drop(open.remove(&timer.started_event_id)),
                Some(Attributes::TimerCanceledEventAttributes(timer)) => drop(open.remove(&timer.started_event_id)),
                _ => {}
            }
        }
        around.next_timer = open.into_values().flatten().min_by_key(|time| time.seconds);
    }
    Ok(around)
}

fn is_open(info: &WorkflowExecutionInfo) -> bool {
    matches!(info.status(), WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused)
}

/// The activity that tells most: one that fails, one that nobody takes, the first.
fn waiting(description: &DescribeWorkflowExecutionResponse) -> Option<&PendingActivityInfo> {
    let activities = &description.pending_activities;
    let failing = activities.iter().filter(|activity| activity.last_failure.is_some()).max_by_key(|activity| activity.attempt);
    let scheduled = activities.iter().find(|activity| activity.state() == PendingActivityState::Scheduled);
    failing.or(scheduled).or(activities.first())
}

fn sentence(description: &DescribeWorkflowExecutionResponse, around: &Around, time: &dyn Fn(&Timestamp) -> String) -> String {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let when = |at: &Option<Timestamp>| at.as_ref().map(|at| format!(" {}", time(at))).unwrap_or_default();
    if !is_open(&info) {
        let status = short_name(info.status().as_str_name(), "WORKFLOW_EXECUTION_STATUS_");
        return format!("It waits for nothing: it closed{} as {status}.", when(&info.close_time));
    }
    if let Some(pause) = description.workflow_extended_info.as_ref().and_then(|info| info.pause_info.as_ref()) {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(", for this reason: {}", pause.reason) };
        return format!(
            "It was paused{} by {}{reason}; `sempre workflow unpause` lets it go on.",
            when(&pause.paused_time),
            pause.identity
        );
    }
    if let Some(start) = &around.flow {
        let key = if start.key.is_empty() { String::new() } else { format!(" for {}", start.key) };
        let not_before = start.not_before.as_ref().map(|at| format!(", not before {}", time(at))).unwrap_or_default();
        return format!(
            "It waits for its turn{}, in place {} of flow rule {}{key}: {}{not_before}.",
            start.waiting_since.as_ref().map(|at| format!(" since {}", time(at))).unwrap_or_default(),
            start.place,
            start.rule,
            flow::reason(start)
        );
    }
    let nobody = around.pollers.as_ref().filter(|(_, pollers)| *pollers == 0).map(|(queue, _)| queue.as_str());
    if let Some(task) = &description.pending_workflow_task {
        if task.attempt > 1 {
            let cause = around.task_failure.as_deref().map(|cause| format!(": {}", first_line(cause))).unwrap_or_default();
            return format!("Its workflow task fails again and again, attempt {} is next{cause}.", task.attempt);
        }
        return match (task.state(), nobody) {
            (PendingWorkflowTaskState::Started, _) => {
                format!("A worker took its workflow task{} and has not answered yet.", when(&task.started_time))
            }
            (_, Some(queue)) => {
                format!("Its workflow task, scheduled{}, waits for a worker: nobody polls task queue {queue}.", when(&task.scheduled_time))
            }
            _ => format!(
                "Its workflow task, scheduled{}, waits for a free worker of task queue {}.",
                when(&task.scheduled_time),
                info.task_queue
            ),
        };
    }
    if let Some(activity) = waiting(description) {
        return of_activity(activity, description.pending_activities.len(), nobody, time);
    }
    if let Some(child) = description.pending_children.first() {
        let others = others(description.pending_children.len());
        return format!("It waits for its child workflow {} ({}){others}.", child.workflow_id, child.workflow_type_name);
    }
    if let Some(operation) = description.pending_nexus_operations.first() {
        let others = others(description.pending_nexus_operations.len());
        return format!("It waits for Nexus operation {}.{}{others}.", operation.service, operation.operation);
    }
    match &around.next_timer {
        Some(timer) => format!("It waits for a timer, which fires {}, or for a signal or update.", time(timer)),
        None => "It waits for a signal or an update: nothing else is pending.".to_owned(),
    }
}

fn of_activity(activity: &PendingActivityInfo, count: usize, nobody: Option<&str>, time: &dyn Fn(&Timestamp) -> String) -> String {
    let name = activity.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
    let what = format!("It waits for activity {name} (id {}){}", activity.activity_id, others(count));
    if activity.paused {
        return format!("{what}, which is paused; `sempre activity unpause` lets it go on.");
    }
    let failure = activity.last_failure.as_ref().map(|failure| first_line(&failure.message).to_owned());
    let failed = failure.map(|message| format!(", whose last attempt failed: {message}")).unwrap_or_default();
    match (activity.state(), nobody) {
        (PendingActivityState::Started, _) => {
            let when = activity.last_started_time.as_ref().map(|at| format!(" {}", time(at))).unwrap_or_default();
            format!("{what}, attempt {} of which worker {} took{when}{failed}.", activity.attempt, activity.last_worker_identity)
        }
        (PendingActivityState::CancelRequested, _) => format!("{what}, which was asked to cancel{failed}."),
        (_, Some(queue)) => format!("{what}, and nobody polls task queue {queue} for activities{failed}."),
        (_, None) => {
            let next = activity.next_attempt_schedule_time.as_ref().map(|at| format!(", due {}", time(at))).unwrap_or_default();
            format!("{what}, attempt {} of which is next{next}{failed}.", activity.attempt)
        }
    }
}

fn others(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        1 => " and one more".to_owned(),
        more => format!(" and {more} more"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use sempre_api::{
        sempre::v1::FlowReason,
        v1::{
            common::ActivityType,
            failure::Failure as ActivityFailure,
            workflow::{PendingChildExecutionInfo, PendingWorkflowTaskInfo, WorkflowExecutionExtendedInfo, WorkflowExecutionPauseInfo},
        },
    };

    use super::*;

    fn open() -> DescribeWorkflowExecutionResponse {
        let info =
            WorkflowExecutionInfo { status: WorkflowExecutionStatus::Running as i32, task_queue: "orders".into(), ..Default::default() };
        DescribeWorkflowExecutionResponse { workflow_execution_info: Some(info), ..Default::default() }
    }

    fn told(description: &DescribeWorkflowExecutionResponse, around: Around) -> String {
        sentence(description, &around, &|time| format!("at {}", time.seconds))
    }

    fn pollers(count: usize) -> Around {
        Around { pollers: Some(("orders".into(), count)), ..Around::default() }
    }

    #[test]
    fn workflow_tasks() {
        let mut description = open();
        let scheduled_time = Some(Timestamp { seconds: 5, nanos: 0 });
        let task =
            PendingWorkflowTaskInfo { state: PendingWorkflowTaskState::Scheduled as i32, attempt: 1, scheduled_time, ..Default::default() };
        description.pending_workflow_task = Some(task);
        assert_eq!(
            told(&description, pollers(0)),
            "Its workflow task, scheduled at 5, waits for a worker: nobody polls task queue orders."
        );
        assert_eq!(told(&description, pollers(2)), "Its workflow task, scheduled at 5, waits for a free worker of task queue orders.");
        description.pending_workflow_task = Some(PendingWorkflowTaskInfo { attempt: 3, ..task });
        let around = Around { task_failure: Some("panic: x\nmore".into()), ..pollers(1) };
        assert_eq!(told(&description, around), "Its workflow task fails again and again, attempt 3 is next: panic: x.");
    }

    #[test]
    fn activities() {
        let mut description = open();
        let activity = PendingActivityInfo {
            activity_id: "1".into(),
            activity_type: Some(ActivityType { name: "Pay".into() }),
            state: PendingActivityState::Scheduled as i32,
            attempt: 4,
            last_failure: Some(ActivityFailure { message: "declined.".into(), ..Default::default() }),
            ..Default::default()
        };
        let fine = PendingActivityInfo { last_failure: None, activity_id: "0".into(), ..activity.clone() };
        description.pending_activities = vec![fine, activity];
        let expected = "It waits for activity Pay (id 1) and one more, attempt 4 of which is next, whose last attempt failed: declined.";
        assert_eq!(told(&description, pollers(1)), expected);
        let expected = "It waits for activity Pay (id 1) and one more, and nobody polls task queue orders for activities, whose last attempt failed: declined.";
        assert_eq!(told(&description, pollers(0)), expected);
    }

    #[test]
    fn the_rest() {
        let mut description = open();
        assert_eq!(told(&description, Around::default()), "It waits for a signal or an update: nothing else is pending.");
        let next_timer = Some(Timestamp { seconds: 9, nanos: 0 });
        let expected = "It waits for a timer, which fires at 9, or for a signal or update.";
        assert_eq!(told(&description, Around { next_timer, ..Around::default() }), expected);
        let child = PendingChildExecutionInfo { workflow_id: "c".into(), workflow_type_name: "Ship".into(), ..Default::default() };
        description.pending_children = vec![child];
        assert_eq!(told(&description, Around::default()), "It waits for its child workflow c (Ship).");
        let start = WaitingStart {
            rule: "orders".into(),
            key: "acme".into(),
            place: 3,
            reason: FlowReason::MaxOpen as i32,
            waiting_since: Some(Timestamp { seconds: 4, nanos: 0 }),
            ..Default::default()
        };
        let expected = "It waits for its turn since at 4, in place 3 of flow rule orders for acme: as many runs as may be are open.";
        assert_eq!(told(&description, Around { flow: Some(start), ..Around::default() }), expected);
        let pause = WorkflowExecutionPauseInfo { identity: "me".into(), reason: "lunch".into(), ..Default::default() };
        description.workflow_extended_info = Some(WorkflowExecutionExtendedInfo { pause_info: Some(pause), ..Default::default() });
        let expected = "It was paused by me, for this reason: lunch; `sempre workflow unpause` lets it go on.";
        assert_eq!(told(&description, Around::default()), expected);
        let mut closed = open();
        closed.workflow_execution_info.as_mut().unwrap().status = WorkflowExecutionStatus::Completed as i32;
        assert_eq!(told(&closed, Around::default()), "It waits for nothing: it closed as Completed.");
    }
}
