//! What a run waits for, and why, in one sentence: of its description and what is known around it.
//!
//! Asks nobody; the command `workflow why` and the page of a run ask, and say the same.

use sempre_api::{
    Timestamp,
    sempre::v1::{FlowReason, WaitingStart},
    v1::{
        enums::{PendingActivityState, PendingWorkflowTaskState, TaskQueueType, WorkflowExecutionStatus},
        workflow::{PendingActivityInfo, WorkflowExecutionInfo},
        workflowservice::DescribeWorkflowExecutionResponse,
    },
};

/// What is known of a run beside its description.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Pollers of the queue that the pending task waits in, if it waits in one.
    pub pollers: Option<(String, usize)>,
    /// Why the last workflow task failed.
    pub task_failure: Option<String>,
    /// When the next timer fires.
    pub next_timer: Option<Timestamp>,
    /// The flow rule that it waits for.
    pub flow: Option<WaitingStart>,
}

/// Who reads the sentence: how a pause is ended is said in their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Somebody at a command line.
    Terminal,
    /// Somebody before a page.
    Page,
}

impl Reader {
    fn unpause(self, what: &str) -> String {
        match self {
            Self::Terminal => format!("`sempre {what} unpause` lets it go on"),
            Self::Page => "unpausing lets it go on".to_owned(),
        }
    }
}

/// The queue whose pollers count: that of the pending task.
pub fn queue(description: &DescribeWorkflowExecutionResponse) -> Option<(String, TaskQueueType)> {
    let own = description.workflow_execution_info.as_ref().map(|info| info.task_queue.clone()).unwrap_or_default();
    match (&description.pending_workflow_task, waiting(description)) {
        (Some(_), _) => Some((own, TaskQueueType::Workflow)),
        (None, Some(activity)) => {
            let named = activity.activity_options.as_ref().and_then(|options| options.task_queue.as_ref());
            Some((named.map_or(own, |queue| queue.name.clone()), TaskQueueType::Activity))
        }
        (None, None) => None,
    }
}

/// Nothing but a timer, a signal or an update is waited for: history tells of timers.
pub fn may_wait_for_timer(description: &DescribeWorkflowExecutionResponse) -> bool {
    description.pending_workflow_task.is_none() && description.pending_activities.is_empty() && description.pending_children.is_empty()
}

/// The last workflow task failed: history tells why.
pub fn has_failing_task(description: &DescribeWorkflowExecutionResponse) -> bool {
    description.pending_workflow_task.as_ref().is_some_and(|task| task.attempt > 1)
}

/// It has not closed.
pub fn is_open(info: &WorkflowExecutionInfo) -> bool {
    matches!(info.status(), WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused)
}

/// The activity that tells most: one that fails, one that nobody takes, the first.
fn waiting(description: &DescribeWorkflowExecutionResponse) -> Option<&PendingActivityInfo> {
    let activities = &description.pending_activities;
    let failing = activities.iter().filter(|activity| activity.last_failure.is_some()).max_by_key(|activity| activity.attempt);
    let scheduled = activities.iter().find(|activity| activity.state() == PendingActivityState::Scheduled);
    failing.or(scheduled).or(activities.first())
}

/// The sentence. `time` writes a time with the word before it.
pub fn sentence(
    description: &DescribeWorkflowExecutionResponse,
    around: &Around,
    time: &dyn Fn(&Timestamp) -> String,
    reader: Reader,
) -> String {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let when = |at: &Option<Timestamp>| at.as_ref().map(|at| format!(" {}", time(at))).unwrap_or_default();
    if !is_open(&info) {
        let status = status_name(info.status());
        return format!("It waits for nothing: it closed{} as {status}.", when(&info.close_time));
    }
    if let Some(pause) = description.workflow_extended_info.as_ref().and_then(|info| info.pause_info.as_ref()) {
        let reason = if pause.reason.is_empty() { String::new() } else { format!(", for this reason: {}", pause.reason) };
        return format!("It was paused{} by {}{reason}; {}.", when(&pause.paused_time), pause.identity, reader.unpause("workflow"));
    }
    if let Some(start) = &around.flow {
        let key = if start.key.is_empty() { String::new() } else { format!(" for {}", start.key) };
        let not_before = start.not_before.as_ref().map(|at| format!(", {} at the earliest", time(at))).unwrap_or_default();
        return format!(
            "It waits for its turn{}, in place {} of flow rule {}{key}: {}{not_before}.",
            start.waiting_since.as_ref().map(|at| format!(", asked for {}", time(at))).unwrap_or_default(),
            start.place,
            start.rule,
            flow_reason(start)
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
        return of_activity(activity, description.pending_activities.len(), nobody, time, reader);
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

/// Why a start waits, for people.
pub fn flow_reason(start: &WaitingStart) -> String {
    match start.reason() {
        FlowReason::MaxOpen => "as many runs as may be are open".into(),
        FlowReason::Rate => "starts came faster than they may".into(),
        FlowReason::Debounce => "another start may come yet".into(),
        FlowReason::Singleton => format!("workflow {} is open", start.blocked_by_workflow_id),
        FlowReason::Loading => "the server reads what there is after its start".into(),
        FlowReason::Going => "it is about to go".into(),
        FlowReason::Replaced => "a newer start takes its place".into(),
        FlowReason::Unspecified => "unknown".into(),
    }
}

fn of_activity(
    activity: &PendingActivityInfo,
    count: usize,
    nobody: Option<&str>,
    time: &dyn Fn(&Timestamp) -> String,
    reader: Reader,
) -> String {
    let name = activity.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
    let what = format!("It waits for activity {name} (id {}){}", activity.activity_id, others(count));
    if activity.paused {
        return format!("{what}, which is paused; {}.", reader.unpause("activity"));
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

/// `WORKFLOW_EXECUTION_STATUS_TIMED_OUT` → `TimedOut`.
fn status_name(status: WorkflowExecutionStatus) -> String {
    let words = status.as_str_name().trim_start_matches("WORKFLOW_EXECUTION_STATUS_").split('_');
    words.flat_map(|word| word.chars().take(1).chain(word.chars().skip(1).map(|letter| letter.to_ascii_lowercase()))).collect()
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
    use sempre_api::v1::{
        common::ActivityType,
        failure::Failure as ActivityFailure,
        workflow::{PendingChildExecutionInfo, PendingWorkflowTaskInfo, WorkflowExecutionExtendedInfo, WorkflowExecutionPauseInfo},
    };

    use super::*;

    fn open() -> DescribeWorkflowExecutionResponse {
        let info =
            WorkflowExecutionInfo { status: WorkflowExecutionStatus::Running as i32, task_queue: "orders".into(), ..Default::default() };
        DescribeWorkflowExecutionResponse { workflow_execution_info: Some(info), ..Default::default() }
    }

    fn told(description: &DescribeWorkflowExecutionResponse, around: Around) -> String {
        sentence(description, &around, &|time| format!("at {}", time.seconds), Reader::Terminal)
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
        let expected = "It waits for its turn, asked for at 4, in place 3 of flow rule orders for acme: as many runs as may be are open.";
        assert_eq!(told(&description, Around { flow: Some(start), ..Around::default() }), expected);
        let pause = WorkflowExecutionPauseInfo { identity: "me".into(), reason: "lunch".into(), ..Default::default() };
        description.workflow_extended_info = Some(WorkflowExecutionExtendedInfo { pause_info: Some(pause), ..Default::default() });
        let expected = "It was paused by me, for this reason: lunch; `sempre workflow unpause` lets it go on.";
        assert_eq!(told(&description, Around::default()), expected);
        let page = sentence(&description, &Around::default(), &|_| String::new(), Reader::Page);
        assert!(page.ends_with("; unpausing lets it go on."), "{page}");
        let mut closed = open();
        closed.workflow_execution_info.as_mut().unwrap().status = WorkflowExecutionStatus::Completed as i32;
        assert_eq!(told(&closed, Around::default()), "It waits for nothing: it closed as Completed.");
    }
}
