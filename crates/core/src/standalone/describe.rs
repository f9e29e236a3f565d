//! How an activity without workflow is shown: DescribeActivityExecution, and what lists know of it.

use alloc::{boxed::Box, collections::BTreeMap, format, string::String};

use sempre_api::v1::{
    activity::{ActivityExecutionInfo, ActivityExecutionListInfo, ActivityExecutionOutcome},
    common::{ActivityType, Payload, Payloads, SearchAttributes},
    enums::{ActivityExecutionStatus, PendingActivityState, TimeoutType, WorkflowExecutionStatus},
};

use super::{SCHEDULED_EVENT_ID, activity_id, part};
use crate::{
    Execution, Span, Timestamp,
    activity::Options,
    describe::{activity_state, time},
    visibility::{NAMESPACE_DIVISION, Record},
};

/// The parts of a description that have to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// What it was started with.
    pub input: bool,
    /// How it has ended.
    pub outcome: bool,
    /// Details of the last heartbeat.
    pub heartbeat: bool,
    /// Why the last attempt failed.
    pub failure: bool,
}

/// An activity as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// Everything that is always shown.
    pub info: Box<ActivityExecutionInfo>,
    /// If asked for.
    pub input: Option<Payloads>,
    /// If asked for and it has ended.
    pub outcome: Option<Box<ActivityExecutionOutcome>>,
    /// Grows with each change.
    pub version: u64,
    /// It has not ended.
    pub is_open: bool,
}

/// The status that a run's is for an activity.
fn status(run: i32) -> ActivityExecutionStatus {
    match WorkflowExecutionStatus::try_from(run).unwrap_or(WorkflowExecutionStatus::Unspecified) {
        WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused => ActivityExecutionStatus::Running,
        WorkflowExecutionStatus::Completed => ActivityExecutionStatus::Completed,
        WorkflowExecutionStatus::Failed => ActivityExecutionStatus::Failed,
        WorkflowExecutionStatus::Canceled => ActivityExecutionStatus::Canceled,
        WorkflowExecutionStatus::Terminated => ActivityExecutionStatus::Terminated,
        WorkflowExecutionStatus::TimedOut => ActivityExecutionStatus::TimedOut,
        WorkflowExecutionStatus::ContinuedAsNew | WorkflowExecutionStatus::Unspecified => ActivityExecutionStatus::Unspecified,
    }
}

impl Execution {
    /// The description of an activity that belongs to no workflow. `None` for a workflow.
    pub fn describe_activity(&self, shows: Shows, now: Timestamp) -> Option<Described> {
        let (derived, main) = (&self.state.derived, &self.state.progress.main);
        let own = part(&self.state)?;
        let info = derived.activities.get(&SCHEDULED_EVENT_ID)?;
        let progress = self.state.progress.activities.get(&SCHEDULED_EVENT_ID)?;
        let (scheduled, options, is_open) = (info.scheduled(), Options::of(info, progress), self.is_open());
        let waits = is_open && !progress.is_started() && progress.pause.is_none() && progress.attempt > 1 && progress.due() > now;
        let run_state = if is_open { activity_state(info, progress) } else { PendingActivityState::Unspecified };
        let close_time = (!is_open).then_some(Timestamp(derived.main.close_time));
        let earlier = progress.attempts.last().map_or(0, |attempt| attempt.started_time);
        let last_identity = if progress.identity.is_empty() { &progress.last_identity } else { &progress.identity };
        let described = ActivityExecutionInfo {
            activity_id: scheduled.activity_id.clone(),
            run_id: format!("{}", self.key.run),
            activity_type: scheduled.activity_type.clone(),
            status: status(derived.main.status) as i32,
            run_state: run_state as i32,
            task_queue: options.task_queue().into(),
            schedule_to_close_timeout: options.duration(TimeoutType::ScheduleToClose),
            schedule_to_start_timeout: options.duration(TimeoutType::ScheduleToStart),
            start_to_close_timeout: options.duration(TimeoutType::StartToClose),
            heartbeat_timeout: options.duration(TimeoutType::Heartbeat),
            retry_policy: options.retry_policy().cloned(),
            heartbeat_details: progress.heartbeat_details.clone().filter(|_| shows.heartbeat),
            last_heartbeat_time: time(progress.heartbeat_time),
            last_started_time: time(if progress.is_started() { progress.started_time } else { earlier }),
            attempt: progress.attempt.max(1),
            execution_duration: close_time.map(|close| close.since(Timestamp(info.scheduled_time)).to_api()),
            schedule_time: time(info.scheduled_time),
            expiration_time: options.expiration().map(Timestamp::to_api),
            close_time: close_time.map(Timestamp::to_api),
            last_failure: progress.last_failure.as_deref().cloned().filter(|_| shows.failure),
            last_worker_identity: last_identity.clone(),
            current_retry_interval: waits.then(|| progress.due().since(Timestamp(progress.last_attempt_complete_time)).to_api()),
            last_attempt_complete_time: time(progress.last_attempt_complete_time),
            next_attempt_schedule_time: waits.then(|| progress.due().to_api()),
            priority: options.priority().cloned(),
            state_transition_count: main.transitions,
            state_size_bytes: derived.main.history_size,
            search_attributes: Some(SearchAttributes { indexed_fields: derived.attributes.search.clone() }),
            header: scheduled.header.clone(),
            user_metadata: derived.start.user_metadata.clone(),
            canceled_reason: own.cancel_reason.clone(),
            links: derived.start.links.iter().chain(&own.attached_links).cloned().collect(),
            sdk_name: own.sdk_name.clone(),
            sdk_version: own.sdk_version.clone(),
            total_heartbeat_count: own.heartbeats,
            start_delay: Span(own.start_delay).to_api_option(),
            execution_time: Some(derived.execution_time().to_api()),
            ..Default::default()
        };
        Some(Described {
            info: Box::new(described),
            input: scheduled.input.clone().filter(|_| shows.input),
            outcome: own.outcome.clone().filter(|_| shows.outcome),
            version: self.version(),
            is_open,
        })
    }
}

impl Record {
    /// An item of a list of activities.
    pub fn to_api_activity(&self) -> ActivityExecutionListInfo {
        let own = |(name, _): &(&String, &Payload)| name.as_str() != NAMESPACE_DIVISION;
        let fields: BTreeMap<String, Payload> =
            self.search_attributes.iter().filter(own).map(|(name, payload)| (name.clone(), payload.clone())).collect();
        let close = (!self.is_open()).then_some(Timestamp(self.close_time));
        let key = self.run_key().unwrap_or_default();
        ActivityExecutionListInfo {
            activity_id: activity_id(&key.workflow).unwrap_or_default().into(),
            run_id: format!("{}", key.run),
            activity_type: Some(ActivityType { name: self.workflow_type.clone() }),
            schedule_time: Some(Timestamp(self.start_time).to_api()),
            close_time: close.map(Timestamp::to_api),
            status: status(self.status) as i32,
            search_attributes: Some(SearchAttributes { indexed_fields: fields }),
            task_queue: self.task_queue.clone(),
            // Lists have it of closed ones only, like all numbers that change without being listed.
            state_transition_count: if self.is_open() { 0 } else { self.state_transition_count },
            state_size_bytes: self.history_size_bytes,
            execution_duration: close.map(|close| close.since(Timestamp(self.start_time)).to_api()),
            execution_time: Some(Timestamp(self.execution_time).to_api()),
        }
    }
}
