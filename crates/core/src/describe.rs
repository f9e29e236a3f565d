//! DescribeWorkflowExecution (spec 01 §17, 03 §11).
//!
//! Search attributes are given by their stored names: the caller translates them to aliases.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use sempre_api::v1::{
    common::{Memo, Payload, SearchAttributes, WorkflowType},
    enums::{EventType, PendingActivityState, PendingWorkflowTaskState, TaskQueueKind},
    taskqueue::TaskQueue,
    workflow::{
        PendingActivityInfo, PendingChildExecutionInfo, PendingWorkflowTaskInfo, RequestIdInfo, WorkflowExecutionConfig,
        WorkflowExecutionExtendedInfo, WorkflowExecutionInfo,
        pending_activity_info::{
            PauseInfo,
            pause_info::{Manual, PausedBy, Rule},
        },
    },
    workflowservice::DescribeWorkflowExecutionResponse,
};

use crate::{
    Execution, Timestamp,
    activity::options::Options,
    alone, callbacks, flow, nexus, pause,
    state::{ActivityInfo, ActivityPause, ActivityProgress},
    task::problems,
    time_skipping, versioning,
    visibility::{health, waits},
};

/// How Temporal says that a run does not expire: the first moment of the year 1.
const NEVER: sempre_api::Timestamp = sempre_api::Timestamp { seconds: -62_135_596_800, nanos: 0 };

impl Execution {
    /// All that DescribeWorkflowExecution tells about the run when it is `now` by the wall clock.
    pub fn describe(&self, now: Timestamp) -> DescribeWorkflowExecutionResponse {
        let now = self.own_time(now);
        DescribeWorkflowExecutionResponse {
            execution_config: Some(self.config()),
            workflow_execution_info: Some(self.info()),
            pending_activities: self.pending_activities(now),
            pending_children: self.pending_children(),
            pending_workflow_task: self.pending_workflow_task(),
            workflow_extended_info: Some(self.extended_info(now)),
            callbacks: callbacks::describe(&self.state),
            pending_nexus_operations: nexus::describe(&self.state),
        }
    }

    fn config(&self) -> WorkflowExecutionConfig {
        let start = &self.state.derived.start;
        let event = start.event();
        WorkflowExecutionConfig {
            task_queue: Some(TaskQueue { name: start.task_queue().into(), kind: TaskQueueKind::Normal as i32, ..Default::default() }),
            workflow_execution_timeout: event.workflow_execution_timeout,
            workflow_run_timeout: event.workflow_run_timeout,
            default_workflow_task_timeout: event.workflow_task_timeout,
            user_metadata: start.user_metadata.clone(),
        }
    }

    fn info(&self) -> WorkflowExecutionInfo {
        let derived = &self.state.derived;
        let (start, main, fields) = (&derived.start, &derived.main, &derived.attributes);
        let event = start.event();
        let execution_time = derived.execution_time();
        let close_time = (main.close_time != 0).then_some(Timestamp(main.close_time));
        WorkflowExecutionInfo {
            execution: Some(self.key.to_api()),
            r#type: Some(WorkflowType { name: start.workflow_type().into() }),
            start_time: Some(derived.start_time().to_api()),
            close_time: close_time.map(Timestamp::to_api),
            status: self.status() as i32,
            history_length: main.next_event_id - 1,
            parent_namespace_id: event.parent_workflow_namespace_id.clone(),
            parent_execution: event.parent_workflow_execution.clone(),
            execution_time: Some(execution_time.to_api()),
            memo: Some(Memo { fields: fields.memo.clone() }),
            search_attributes: Some(SearchAttributes { indexed_fields: self.search_attributes() }),
            task_queue: start.task_queue().into(),
            state_transition_count: self.state.progress.main.transitions,
            history_size_bytes: main.history_size,
            execution_duration: close_time.map(|close| close.since(execution_time).to_api()),
            root_execution: Some(event.root_workflow_execution.clone().unwrap_or_else(|| self.key.to_api())),
            first_run_id: event.first_execution_run_id.clone(),
            priority: derived.priority().cloned(),
            versioning_info: versioning::described(&self.state),
            worker_deployment_name: versioning::deployment_name(&self.state),
            auto_reset_points: derived.reset_points.to_api(&alloc::format!("{}", self.key.run), None),
            ..Default::default()
        }
    }

    /// The user's search attributes and those that the server sets beside history.
    pub(crate) fn search_attributes(&self) -> BTreeMap<String, Payload> {
        let mut fields = self.state.derived.attributes.search.clone();
        if let Some(problem) = &self.state.progress.main.problem {
            fields.insert(problems::SEARCH_ATTRIBUTE.into(), problems::payload(problem));
        }
        if let Some(paused) = pause::search_attribute(&self.key.workflow.workflow_id, &self.state) {
            fields.insert(pause::SEARCH_ATTRIBUTE.into(), paused);
        }
        versioning::attributes::add(&self.state, &mut fields);
        if self.is_open() {
            health::add(&self.state, &mut fields);
            waits::add(&self.state, &mut fields);
        } else {
            health::add_end(&self.state, &mut fields);
        }
        alone::add_attributes(self, &mut fields);
        fields
    }

    fn extended_info(&self, now: Timestamp) -> WorkflowExecutionExtendedInfo {
        let derived = &self.state.derived;
        WorkflowExecutionExtendedInfo {
            execution_expiration_time: derived.execution_expiration().map(Timestamp::to_api),
            run_expiration_time: Some(flow::hold::run_expiration(&self.state).map_or(NEVER, Timestamp::to_api)),
            cancel_requested: derived.main.cancel_requested || self.state.progress.buffer.cancel_requested(),
            original_start_time: Some(derived.start.time().to_api()),
            reset_run_id: self.state.progress.reset.as_ref().map_or_else(String::new, |reset| reset.reset_run_id.clone()),
            last_reset_time: time(derived.main.reset_time),
            request_id_infos: self.request_id_infos(),
            pause_info: pause::described(&self.state),
            time_skipping_info: time_skipping::described(&self.state, now),
        }
    }

    /// The request ids that name this run, with the events that carry them.
    fn request_id_infos(&self) -> BTreeMap<String, RequestIdInfo> {
        let progress = &self.state.progress;
        let info = |event_type, event_id, buffered| RequestIdInfo { event_type, event_id, buffered };
        let started = (progress.main.start_request_id.clone(), info(EventType::WorkflowExecutionStarted as i32, 1, false));
        let attached = self.state.derived.request_ids.iter();
        let attached = attached.map(|(event_id, id)| (id.request_id.clone(), info(id.event_type, *event_id, false)));
        let updated = EventType::WorkflowExecutionOptionsUpdated as i32;
        let to_updates = progress.buffer.update_options().map(|update| update.attached_request_id.as_str());
        let buffered = progress.buffer.attached_request_ids().chain(to_updates).map(|id| (id.into(), info(updated, 0, true)));
        let signaled = EventType::WorkflowExecutionSignaled as i32;
        let signals = progress.buffer.linked_signals().map(|id| (id.into(), info(signaled, 0, true)));
        // One id for two things is that of the start.
        signals.chain(buffered).chain(attached).chain(core::iter::once(started)).collect()
    }

    fn pending_activities(&self, now: Timestamp) -> Vec<PendingActivityInfo> {
        if !self.is_open() {
            return Vec::new();
        }
        let (derived, progress) = (&self.state.derived, &self.state.progress);
        derived
            .activities
            .iter()
            .filter(|(id, _)| !progress.buffer.closes_activity(**id))
            .filter_map(|(id, info)| Some(pending_activity(info, progress.activities.get(id)?, now)))
            .collect()
    }

    fn pending_children(&self) -> Vec<PendingChildExecutionInfo> {
        if !self.is_open() {
            return Vec::new();
        }
        let buffer = &self.state.progress.buffer;
        let children = self.state.derived.children.values();
        children
            .filter(|child| !buffer.closes_child(child.initiated_event_id))
            .map(|child| PendingChildExecutionInfo {
                workflow_id: child.workflow_id.clone(),
                run_id: match buffer.child_started(child.initiated_event_id) {
                    Some(run_id) if child.run_id.is_empty() => run_id.into(),
                    _ => child.run_id.clone(),
                },
                workflow_type_name: child.workflow_type.clone(),
                initiated_id: child.initiated_event_id,
                parent_close_policy: child.parent_close_policy,
            })
            .collect()
    }

    fn pending_workflow_task(&self) -> Option<PendingWorkflowTaskInfo> {
        let task = self.state.progress.main.task.as_ref().filter(|_| self.is_open())?;
        let state = if task.is_started() && !task.lost { PendingWorkflowTaskState::Started } else { PendingWorkflowTaskState::Scheduled };
        Some(PendingWorkflowTaskInfo {
            state: state as i32,
            scheduled_time: time(task.scheduled_time),
            original_scheduled_time: time(task.original_scheduled_time),
            started_time: time(task.started_time),
            attempt: task.attempt,
        })
    }
}

#[allow(deprecated, reason = "last_worker_version_stamp is old, but old workers send it")]
fn pending_activity(info: &ActivityInfo, progress: &ActivityProgress, now: Timestamp) -> PendingActivityInfo {
    let scheduled = info.scheduled();
    let options = Options::of(info, progress);
    let state = activity_state(info, progress);
    let waits = !progress.is_started() && progress.pause.is_none() && progress.due() > now;
    let interval = progress.due().since(Timestamp(progress.last_attempt_complete_time));
    let last_identity = if progress.identity.is_empty() { &progress.last_identity } else { &progress.identity };
    PendingActivityInfo {
        activity_id: scheduled.activity_id.clone(),
        activity_type: scheduled.activity_type.clone(),
        state: state as i32,
        heartbeat_details: progress.heartbeat_details.clone(),
        last_heartbeat_time: time(progress.heartbeat_time),
        last_started_time: time(progress.started_time),
        attempt: progress.attempt.max(1),
        maximum_attempts: options.retry_policy().map_or(0, |policy| policy.maximum_attempts),
        scheduled_time: time(progress.scheduled_time),
        expiration_time: options.expiration().map(Timestamp::to_api),
        last_failure: progress.last_failure.as_deref().cloned(),
        last_worker_identity: last_identity.clone(),
        last_worker_version_stamp: progress.worker_version.clone(),
        current_retry_interval: waits.then(|| interval.to_api()),
        last_attempt_complete_time: time(progress.last_attempt_complete_time),
        next_attempt_schedule_time: waits.then(|| progress.due().to_api()),
        priority: options.priority().cloned(),
        paused: progress.pause.is_some(),
        pause_info: progress.pause.as_deref().map(|pause| PauseInfo { pause_time: time(pause.time), paused_by: Some(paused_by(pause)) }),
        activity_options: Some(options.described()),
        ..Default::default()
    }
}

/// Who has paused an activity: somebody, or a workflow rule.
fn paused_by(pause: &ActivityPause) -> PausedBy {
    let (identity, reason) = (pause.identity.clone(), pause.reason.clone());
    match pause.rule_id.as_str() {
        "" => PausedBy::Manual(Manual { identity, reason }),
        rule_id => PausedBy::Rule(Rule { rule_id: rule_id.into(), identity, reason }),
    }
}

/// Where a pending activity stands.
pub(crate) fn activity_state(info: &ActivityInfo, progress: &ActivityProgress) -> PendingActivityState {
    match (info.cancel_requested_event_id != 0, progress.is_started(), progress.pause.is_some()) {
        (true, ..) => PendingActivityState::CancelRequested,
        (false, true, false) => PendingActivityState::Started,
        (false, true, true) => PendingActivityState::PauseRequested,
        (false, false, false) => PendingActivityState::Scheduled,
        (false, false, true) => PendingActivityState::Paused,
    }
}

/// A stored time; `None` for 0 = never.
pub(crate) fn time(nanos: i64) -> Option<sempre_api::Timestamp> {
    (nanos != 0).then(|| Timestamp(nanos).to_api())
}
