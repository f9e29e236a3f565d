//! History as text: one line per event, with the attributes that matter.

use sempre_api::v1::{
    common::{Payload, Payloads, WorkflowExecution},
    deployment::WorkerDeploymentVersion,
    enums::{
        ContinueAsNewInitiator, EventType, RetryState, SignalExternalWorkflowExecutionFailedCause, StartChildWorkflowExecutionFailedCause,
        TaskQueueKind, TimeoutType, VersioningBehavior, WorkflowTaskFailedCause,
    },
    failure::{Failure, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes},
    update::outcome::Value as Outcome,
    workflow::{VersioningOverride, versioning_override::Override},
};
use sempre_core::{RunId, Span, Timestamp};

use super::World;

/// The current run's history is this.
#[track_caller]
pub fn assert_history(world: &World, workflow_id: &str, expected: &str) {
    assert_same(&history_text(world, world.current_run(workflow_id)), expected);
}

/// The history of the workflow id's `number`th run (from 1) is this.
#[track_caller]
pub fn assert_history_of(world: &World, workflow_id: &str, number: usize, expected: &str) {
    assert_same(&history_text(world, world.chains[workflow_id][number - 1]), expected);
}

#[track_caller]
fn assert_same(actual: &str, expected: &str) {
    let lines = |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect::<Vec<_>>();
    let (actual, expected) = (lines(actual), lines(expected));
    assert!(actual == expected, "history is\n{}\n\nexpected\n{}\n", actual.join("\n"), expected.join("\n"));
}

/// The run's history as text.
pub fn history_text(world: &World, run: RunId) -> String {
    world.runs[&run].events().iter().map(|event| format!("{:>2} {}\n", event.event_id, line(world, event))).collect()
}

/// Name and attributes of one event.
pub fn line(world: &World, event: &HistoryEvent) -> String {
    let event_time = event.event_time.as_ref().map(Timestamp::from_api).unwrap_or_default();
    let mut facts = Facts { world, event_time, list: Vec::new() };
    facts.of(event.attributes.as_ref().expect("an event has attributes"));
    let name = format!("{:?}", EventType::try_from(event.event_type).expect("a known type"));
    if facts.list.is_empty() { name } else { format!("{name} {{{}}}", facts.list.join(", ")) }
}

struct Facts<'w> {
    world: &'w World,
    event_time: Timestamp,
    list: Vec<String>,
}

impl Facts<'_> {
    fn id(&mut self, name: &str, id: i64) {
        self.list.push(format!("{name} {id}"));
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.list.push(format!("{name} {text}"));
        }
    }

    fn payloads(&mut self, name: &str, payloads: &Option<Payloads>) {
        if let Some(payloads) = payloads {
            let texts: Vec<_> = payloads.payloads.iter().map(|p| String::from_utf8_lossy(&p.data).into_owned()).collect();
            self.list.push(format!("{name} {}", texts.join("+")));
        }
    }

    fn failure(&mut self, name: &str, failure: &Option<Failure>) {
        let Some(failure) = failure else { return };
        self.list.push(format!("{name} '{}'", failure.message));
        if let Some(cause) = &failure.cause {
            self.list.push(format!("cause '{}'", cause.message));
        }
        if let Some(FailureInfo::TimeoutFailureInfo(info)) = &failure.failure_info {
            self.payloads("heartbeat", &info.last_heartbeat_details);
        }
    }

    fn version(&mut self, name: &str, version: &Option<WorkerDeploymentVersion>) {
        if let Some(version) = version {
            self.list.push(format!("{name} {}", version.build_id));
        }
    }

    fn versioning_override(&mut self, given: &Option<VersioningOverride>) {
        match given.as_ref().and_then(|given| given.r#override.as_ref()) {
            Some(Override::Pinned(pinned)) => self.version("override pinned to", &pinned.version),
            Some(Override::OneTime(once)) => self.version("override once to", &once.target_deployment_version),
            Some(Override::AutoUpgrade(_)) => self.list.push("override AutoUpgrade".into()),
            None => {}
        }
    }

    fn retry(&mut self, state: i32) {
        self.list.push(format!("{:?}", RetryState::try_from(state).expect("a known retry state")));
    }

    fn next_run(&mut self, run_id: &str) {
        if !run_id.is_empty() {
            self.list.push(format!("next {}", self.run_name(run_id)));
        }
    }

    fn execution(&mut self, name: &str, execution: &Option<WorkflowExecution>) {
        let Some(execution) = execution else { return };
        let run = if execution.run_id.is_empty() { execution.workflow_id.clone() } else { self.run_name(&execution.run_id) };
        self.list.push(format!("{name} {run}"));
    }

    /// `workflow id/number of the run`.
    fn run_name(&self, run_id: &str) -> String {
        let id = RunId::parse(run_id).expect("a run id");
        let place = self.world.chains.iter().find_map(|(name, runs)| Some((name, runs.iter().position(|r| *r == id)? + 1)));
        place.map_or_else(|| format!("?{run_id}"), |(name, number)| format!("{name}/{number}"))
    }

    fn of(&mut self, attributes: &Attributes) {
        match attributes {
            Attributes::WorkflowExecutionStartedEventAttributes(a) => {
                if a.initiator() != ContinueAsNewInitiator::Unspecified {
                    self.list.push(format!("{:?}", a.initiator()));
                }
                if a.attempt != 1 {
                    self.id("attempt", a.attempt.into());
                }
                let backoff = Span::from_api(a.first_workflow_task_backoff.as_ref()).expect("a valid span");
                if !backoff.is_zero() {
                    self.list.push(format!("backoff {:?}s", backoff.0 as f64 / 1e9));
                }
                self.failure("continued failure", &a.continued_failure);
                self.payloads("last result", &a.last_completion_result);
                self.execution("parent", &a.parent_workflow_execution);
                self.versioning_override(&a.versioning_override);
                self.version("pinned to", &a.inherited_pinned_version);
                if let Some(inherited) = &a.inherited_auto_upgrade_info {
                    self.version("upgrades from", &inherited.source_deployment_version);
                    self.id("revision", inherited.source_deployment_revision_number);
                }
                if let Some(declined) = &a.declined_target_version_upgrade {
                    self.version("declined", &declined.deployment_version);
                }
            }
            Attributes::WorkflowTaskScheduledEventAttributes(a) => {
                if a.attempt != 1 {
                    self.id("attempt", a.attempt.into());
                }
                if let Some(queue) = a.task_queue.as_ref().filter(|q| q.kind() == TaskQueueKind::Sticky) {
                    self.text("sticky", &queue.name);
                }
            }
            Attributes::WorkflowTaskStartedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                if a.target_worker_deployment_version_changed {
                    self.list.push("could go elsewhere".into());
                }
            }
            Attributes::WorkflowTaskCompletedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.version("by", &a.deployment_version);
                if a.versioning_behavior() != VersioningBehavior::Unspecified {
                    self.list.push(format!("{:?}", a.versioning_behavior()));
                }
            }
            Attributes::WorkflowTaskFailedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.list.push(format!("{:?}", WorkflowTaskFailedCause::try_from(a.cause).expect("a known cause")));
                self.failure("failure", &a.failure);
                if !a.base_run_id.is_empty() {
                    self.list.push(format!("base {}, new {}", self.run_name(&a.base_run_id), self.run_name(&a.new_run_id)));
                }
            }
            Attributes::WorkflowTaskTimedOutEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.list.push(format!("{:?}", TimeoutType::try_from(a.timeout_type).expect("a known timeout")));
            }
            Attributes::ActivityTaskScheduledEventAttributes(a) => {
                self.text("id", &a.activity_id);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::ActivityTaskStartedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("attempt", a.attempt.into());
                self.text("by", &a.identity);
                self.failure("last failure", &a.last_failure);
            }
            Attributes::ActivityTaskCompletedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.payloads("result", &a.result);
            }
            Attributes::ActivityTaskFailedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.failure("failure", &a.failure);
                self.retry(a.retry_state);
            }
            Attributes::ActivityTaskTimedOutEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.failure("failure", &a.failure);
                self.retry(a.retry_state);
            }
            Attributes::ActivityTaskCancelRequestedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::ActivityTaskCanceledEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("started", a.started_event_id);
                self.id("requested", a.latest_cancel_requested_event_id);
                self.payloads("details", &a.details);
            }
            Attributes::TimerStartedEventAttributes(a) => {
                self.text("id", &a.timer_id);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::TimerFiredEventAttributes(a) => {
                self.text("id", &a.timer_id);
                self.id("started", a.started_event_id);
            }
            Attributes::TimerCanceledEventAttributes(a) => {
                self.text("id", &a.timer_id);
                self.id("started", a.started_event_id);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::MarkerRecordedEventAttributes(a) => {
                self.text("name", &a.marker_name);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::WorkflowExecutionSignaledEventAttributes(a) => {
                self.text("name", &a.signal_name);
                self.execution("from", &a.external_workflow_execution);
            }
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(a) => {
                self.text("cause", &a.cause);
                self.execution("from", &a.external_workflow_execution);
            }
            Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(a) => {
                let target = a.target_time.as_ref().map(Timestamp::from_api);
                if let Some(span) = target.map(|target| target.since(self.event_time)) {
                    self.list.push(format!("by {}s", span.0 / 1_000_000_000));
                }
                if a.disabled_after_fast_forward {
                    self.list.push("ends fast-forward".into());
                }
            }
            Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a) => {
                if let Some(priority) = &a.priority {
                    self.id("priority", priority.priority_key.into());
                    self.text("fairness", &priority.fairness_key);
                }
                if a.time_skipping_config_updated {
                    let config = a.time_skipping_config.as_ref();
                    let now = config.map_or("gone", |config| if config.enabled { "on" } else { "off" });
                    self.text("time skipping", now);
                }
                self.versioning_override(&a.versioning_override);
                self.text("attached", &a.attached_request_id);
                if !a.attached_completion_callbacks.is_empty() {
                    self.list.push(format!("callbacks {}", a.attached_completion_callbacks.len()));
                }
                for update in &a.workflow_update_options {
                    self.text("update", &update.update_id);
                    self.text("attached", &update.attached_request_id);
                    self.list.push(format!("callbacks {}", update.attached_completion_callbacks.len()));
                }
            }
            Attributes::WorkflowExecutionPausedEventAttributes(a) => {
                self.text("by", &a.identity);
                self.text("reason", &a.reason);
            }
            Attributes::WorkflowExecutionUnpausedEventAttributes(a) => {
                self.text("by", &a.identity);
                self.text("reason", &a.reason);
            }
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(a) => {
                self.text("id", a.request.as_ref().and_then(|r| r.meta.as_ref()).map_or("", |m| &m.update_id));
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                self.text("id", &a.protocol_instance_id);
                self.id("sequencing", a.accepted_request_sequencing_event_id);
                if a.accepted_request.is_none() {
                    self.list.push("no request".into());
                }
            }
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
                self.text("id", a.meta.as_ref().map_or("", |m| &m.update_id));
                self.id("accepted", a.accepted_event_id);
                match a.outcome.as_ref().and_then(|o| o.value.as_ref()) {
                    Some(Outcome::Success(p)) => self.payloads("success", &Some(p.clone())),
                    Some(Outcome::Failure(f)) => self.failure("failure", &Some(f.clone())),
                    None => {}
                }
            }
            other => self.of_operations(other),
        }
    }

    fn of_operations(&mut self, attributes: &Attributes) {
        let result = |payload: &Option<Payload>| payload.clone().map(|payload| Payloads { payloads: vec![payload] });
        match attributes {
            Attributes::NexusOperationScheduledEventAttributes(a) => {
                self.text("at", &format!("{}/{}/{}", a.endpoint, a.service, a.operation));
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::NexusOperationStartedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.text("token", &a.operation_token);
            }
            Attributes::NexusOperationCompletedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.payloads("result", &result(&a.result));
            }
            Attributes::NexusOperationFailedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.failure("failure", &a.failure);
            }
            Attributes::NexusOperationCanceledEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.failure("failure", &a.failure);
            }
            Attributes::NexusOperationTimedOutEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.failure("failure", &a.failure);
                let cause = a.failure.as_ref().and_then(|failure| failure.cause.as_ref()).and_then(|cause| cause.failure_info.as_ref());
                if let Some(FailureInfo::TimeoutFailureInfo(info)) = cause {
                    self.list.push(format!("{:?}", info.timeout_type()));
                }
            }
            Attributes::NexusOperationCancelRequestedEventAttributes(a) => {
                self.id("scheduled", a.scheduled_event_id);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::NexusOperationCancelRequestCompletedEventAttributes(a) => {
                self.id("requested", a.requested_event_id);
                self.id("scheduled", a.scheduled_event_id);
            }
            Attributes::NexusOperationCancelRequestFailedEventAttributes(a) => {
                self.id("requested", a.requested_event_id);
                self.id("scheduled", a.scheduled_event_id);
                self.failure("failure", &a.failure);
            }
            other => self.of_children_and_ends(other),
        }
    }

    fn of_children_and_ends(&mut self, attributes: &Attributes) {
        match attributes {
            Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
                self.text("id", &a.workflow_id);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(a) => {
                self.id("initiated", a.initiated_event_id);
                let cause = StartChildWorkflowExecutionFailedCause::try_from(a.cause).expect("a known cause");
                self.list.push(format!("{cause:?}"));
            }
            Attributes::ChildWorkflowExecutionStartedEventAttributes(a) => {
                self.id("initiated", a.initiated_event_id);
                self.execution("run", &a.workflow_execution);
            }
            Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => {
                self.child_end(a.initiated_event_id, a.started_event_id, &a.workflow_execution);
                self.payloads("result", &a.result);
            }
            Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => {
                self.child_end(a.initiated_event_id, a.started_event_id, &a.workflow_execution);
                self.failure("failure", &a.failure);
                self.retry(a.retry_state);
            }
            Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => {
                self.child_end(a.initiated_event_id, a.started_event_id, &a.workflow_execution);
                self.retry(a.retry_state);
            }
            Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => {
                self.child_end(a.initiated_event_id, a.started_event_id, &a.workflow_execution);
            }
            Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => {
                self.child_end(a.initiated_event_id, a.started_event_id, &a.workflow_execution);
            }
            Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                self.execution("to", &a.workflow_execution);
                self.text("name", &a.signal_name);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                self.execution("to", &a.workflow_execution);
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(a) => {
                self.id("initiated", a.initiated_event_id);
                self.execution("to", &a.workflow_execution);
            }
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => {
                self.id("initiated", a.initiated_event_id);
                self.execution("to", &a.workflow_execution);
            }
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(a) => {
                self.id("initiated", a.initiated_event_id);
                self.external_failed(a.cause, a.workflow_task_completed_event_id, &a.workflow_execution);
            }
            Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
                self.id("initiated", a.initiated_event_id);
                self.external_failed(a.cause, a.workflow_task_completed_event_id, &a.workflow_execution);
            }
            Attributes::WorkflowExecutionCompletedEventAttributes(a) => {
                self.id("wtc", a.workflow_task_completed_event_id);
                self.next_run(&a.new_execution_run_id);
            }
            Attributes::WorkflowExecutionFailedEventAttributes(a) => {
                self.id("wtc", a.workflow_task_completed_event_id);
                self.failure("failure", &a.failure);
                self.retry(a.retry_state);
                self.next_run(&a.new_execution_run_id);
            }
            Attributes::WorkflowExecutionTimedOutEventAttributes(a) => {
                self.retry(a.retry_state);
                self.next_run(&a.new_execution_run_id);
            }
            Attributes::WorkflowExecutionCanceledEventAttributes(a) => self.id("wtc", a.workflow_task_completed_event_id),
            Attributes::WorkflowExecutionTerminatedEventAttributes(a) => self.text("reason", &a.reason),
            Attributes::WorkflowExecutionContinuedAsNewEventAttributes(a) => {
                self.id("wtc", a.workflow_task_completed_event_id);
                self.next_run(&a.new_execution_run_id);
            }
            Attributes::UpsertWorkflowSearchAttributesEventAttributes(a) => {
                self.fields(a.search_attributes.as_ref().map(|s| &s.indexed_fields));
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            Attributes::WorkflowPropertiesModifiedEventAttributes(a) => {
                self.fields(a.upserted_memo.as_ref().map(|memo| &memo.fields));
                self.id("wtc", a.workflow_task_completed_event_id);
            }
            other => panic!("no text for {other:?}"),
        }
    }

    fn fields(&mut self, fields: Option<&std::collections::BTreeMap<String, Payload>>) {
        for (name, payload) in fields.into_iter().flatten() {
            self.list.push(format!("{name} {}", String::from_utf8_lossy(&payload.data)));
        }
    }

    fn child_end(&mut self, initiated: i64, started: i64, execution: &Option<WorkflowExecution>) {
        self.id("initiated", initiated);
        self.id("started", started);
        self.execution("run", execution);
    }

    fn external_failed(&mut self, cause: i32, wtc: i64, target: &Option<WorkflowExecution>) {
        // Signal and cancel causes have the same numbers.
        let cause = SignalExternalWorkflowExecutionFailedCause::try_from(cause).expect("a known cause");
        self.list.push(format!("{cause:?}"));
        self.id("wtc", wtc);
        self.execution("to", target);
    }
}
