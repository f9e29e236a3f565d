//! Commands against the events and effects they have.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec,
};

use sempre_api::{
    History,
    v1::{
        command::*,
        common::{ActivityType, Memo, Payload, Payloads, SearchAttributes, WorkflowExecution, WorkflowType},
        enums::{EventType, ParentClosePolicy, WorkflowIdConflictPolicy},
        failure::Failure,
        history::{
            ActivityTaskCompletedEventAttributes, TimerFiredEventAttributes, WorkflowExecutionSignaledEventAttributes,
            WorkflowExecutionStartedEventAttributes, WorkflowTaskCompletedEventAttributes,
        },
        taskqueue::TaskQueue,
    },
};

use super::*;
use crate::{
    Context, Execution, Limits, NamespaceId, Refusal, Reply, RunId, RunKey, Span, Timestamp, Transition, WorkflowKey, ids::Uuid,
    input::NamespaceView, state::State, transition::OutboxMessage, validate::fakes, visibility::AttributeType,
};

const NOW: Timestamp = Timestamp(1_000_000_000_000);

struct World {
    run: Execution,
    limits: Limits,
    namespace: NamespaceView,
    ids: fakes::Ids,
}

struct Outcome {
    result: Result<(), CommandFailure>,
    events: Vec<HistoryEvent>,
    completion: Completion,
    transition: Transition,
}

impl World {
    fn new() -> Self {
        let key =
            RunKey { workflow: WorkflowKey { namespace: NamespaceId::default(), workflow_id: "w".into() }, run: RunId(Uuid([7; 16])) };
        let state = State { derived: Default::default(), progress: Default::default(), dirty: Default::default() };
        let run = Execution { key, state, signal_ids: BTreeSet::new(), queries: BTreeMap::new(), updates: Vec::new(), pages: None };
        let namespace = NamespaceView {
            id: NamespaceId::default(),
            name: "default".into(),
            retention: Span::seconds(60),
            search_attributes: [("k".into(), AttributeType::Keyword)].into(),
            deployments: Default::default(),
            flow: crate::flow::rule::no_rules(),
            rules: crate::rules::no_rules(),
            search_attribute_names: Default::default(),
            bad_binaries: Default::default(),
        };
        let mut world = Self { run, limits: Limits::default(), namespace, ids: fakes::Ids(0) };
        world.step(|step| {
            let started = WorkflowExecutionStartedEventAttributes {
                workflow_type: Some(WorkflowType { name: "T".into() }),
                task_queue: Some(TaskQueue { name: "q".into(), kind: 1, ..Default::default() }),
                workflow_task_timeout: Some(Span::seconds(10).to_api()),
                attempt: 1,
                ..Default::default()
            };
            step.event(EventAttributes::WorkflowExecutionStartedEventAttributes(Box::new(started)));
        });
        world
    }

    fn step<R>(&mut self, act: impl FnOnce(&mut Step<'_, '_>) -> R) -> (R, Transition) {
        let mut cx = Context {
            now: NOW,
            ids: &mut self.ids,
            limits: &self.limits,
            cron: &fakes::Cron,
            endpoints: &fakes::Endpoints,
            ranks: &crate::transition::NoRanks,
            gate: &crate::flow::NoGate,
            namespace: &self.namespace,
        };
        let mut step = Step::new(&mut self.run, &mut cx);
        let out = act(&mut step);
        (out, step.finish(Ok(Reply::Done)))
    }

    /// A completion with these commands; `before` is done to the run first, in the same step.
    fn complete_after(&mut self, before: impl FnOnce(&mut Step<'_, '_>), commands: Vec<Attributes>) -> Outcome {
        let mut completion = Completion {
            completed_event_id: 0,
            identity: "worker".into(),
            had_buffered: false,
            eager: vec![],
            force_task: false,
            children_started: vec![],
            messages: Default::default(),
            rejected: vec![],
        };
        let (result, transition) = self.step(|step| {
            before(step);
            completion.had_buffered = !step.run.state.progress.buffer.is_empty();
            let done = WorkflowTaskCompletedEventAttributes::default();
            completion.completed_event_id = step.event(EventAttributes::WorkflowTaskCompletedEventAttributes(Box::new(done)));
            commands.into_iter().try_for_each(|attributes| apply(step, &mut completion, command(attributes)))
        });
        let frames = transition.history.iter().map(|b| b.frames.clone()).collect();
        let events = History { chunks: frames }.events().expect("frames");
        Outcome { result, events, completion, transition }
    }

    fn complete(&mut self, commands: Vec<Attributes>) -> Outcome {
        self.complete_after(|_| (), commands)
    }

    fn failure(&mut self, attributes: Attributes) -> (Cause, String, bool) {
        let failure = self.complete(vec![attributes]).result.expect_err("the command is bad");
        (failure.cause, failure.message, failure.terminate)
    }
}

impl Outcome {
    fn types(&self) -> Vec<EventType> {
        self.events.iter().map(|e| e.event_type()).collect()
    }

    fn ok(self) -> Self {
        assert_eq!(self.result, Ok(()));
        self
    }

    /// Attributes of the event after WorkflowTaskCompleted.
    fn written(&self) -> &EventAttributes {
        self.events[1].attributes.as_ref().expect("attributes")
    }
}

fn command(attributes: Attributes) -> Command {
    let summary = Payload { data: "note".into(), ..Default::default() };
    Command {
        command_type: type_of(&attributes) as i32,
        user_metadata: Some(UserMetadata { summary: Some(summary), details: None }),
        event_group_markers: vec![EventGroupMarker::default()],
        attributes: Some(attributes),
    }
}

fn timer(id: &str) -> Attributes {
    let start_to_fire_timeout = Some(Span::seconds(5).to_api());
    Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes { timer_id: id.into(), start_to_fire_timeout })
}

fn cancel_timer(id: &str) -> Attributes {
    Attributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes { timer_id: id.into() })
}

fn activity(id: &str) -> ScheduleActivityTaskCommandAttributes {
    ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "A".into() }),
        task_queue: Some(TaskQueue::default()),
        start_to_close_timeout: Some(Span::seconds(5).to_api()),
        ..Default::default()
    }
}

fn schedule(a: ScheduleActivityTaskCommandAttributes) -> Attributes {
    Attributes::ScheduleActivityTaskCommandAttributes(Box::new(a))
}

fn cancel_activity(scheduled_event_id: i64) -> Attributes {
    Attributes::RequestCancelActivityTaskCommandAttributes(RequestCancelActivityTaskCommandAttributes { scheduled_event_id })
}

fn child(id: &str) -> StartChildWorkflowExecutionCommandAttributes {
    StartChildWorkflowExecutionCommandAttributes {
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "C".into() }),
        ..Default::default()
    }
}

fn start_child(a: StartChildWorkflowExecutionCommandAttributes) -> Attributes {
    Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(a))
}

fn signal(workflow_id: &str, run_id: &str) -> SignalExternalWorkflowExecutionCommandAttributes {
    SignalExternalWorkflowExecutionCommandAttributes {
        execution: Some(WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() }),
        signal_name: "s".into(),
        ..Default::default()
    }
}

fn signal_external(a: SignalExternalWorkflowExecutionCommandAttributes) -> Attributes {
    Attributes::SignalExternalWorkflowExecutionCommandAttributes(a)
}

fn cancel_external(workflow_id: &str) -> Attributes {
    Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(RequestCancelExternalWorkflowExecutionCommandAttributes {
        workflow_id: workflow_id.into(),
        ..Default::default()
    })
}

fn complete_workflow() -> Attributes {
    Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes::default())
}

fn payload(bytes: usize) -> Payload {
    Payload { data: vec![b'x'; bytes].into(), ..Default::default() }
}

fn large() -> Option<Payloads> {
    Some(Payloads { payloads: vec![payload(2 << 20)] })
}

fn fired(step: &mut Step<'_, '_>, timer_id: &str, started_event_id: i64) {
    let timer_id = timer_id.into();
    step.buffer(EventAttributes::TimerFiredEventAttributes(TimerFiredEventAttributes { timer_id, started_event_id }));
}

#[test]
fn events_carry_the_notes_and_the_completion() {
    let got = World::new().complete(vec![timer("t")]).ok();
    assert_eq!(got.types(), [EventType::WorkflowTaskCompleted, EventType::TimerStarted]);
    let summary = got.events[1].user_metadata.as_ref().and_then(|m| m.summary.as_ref());
    assert_eq!(summary.map(|s| s.data.as_ref()), Some(b"note".as_ref()));
    let EventAttributes::TimerStartedEventAttributes(a) = got.written() else { panic!("{:?}", got.written()) };
    assert_eq!(a.workflow_task_completed_event_id, 2);
    assert!(got.transition.deadline.is_some());
}

#[test]
fn close_events_carry_the_notes_too() {
    let failed = FailWorkflowExecutionCommandAttributes { failure: Some(Failure::default()) };
    let closes = [
        complete_workflow(),
        Attributes::FailWorkflowExecutionCommandAttributes(failed),
        Attributes::CancelWorkflowExecutionCommandAttributes(Default::default()),
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::default()),
    ];
    for close in closes {
        let got = World::new().complete(vec![close]).ok();
        let event = &got.events[1];
        let summary = event.user_metadata.as_ref().and_then(|m| m.summary.as_ref());
        assert_eq!(summary.map(|s| s.data.as_ref()), Some(b"note".as_ref()), "{:?}", event.event_type());
        assert_eq!(event.event_group_markers.len(), 1, "{:?}", event.event_type());
    }
}

#[test]
fn a_command_without_its_attributes() {
    let mut world = World::new();
    let cases = [
        (CommandType::ScheduleActivityTask, Cause::BadScheduleActivityAttributes, "ScheduleActivityTask"),
        (CommandType::StartTimer, Cause::BadStartTimerAttributes, "StartTimer"),
        (CommandType::ModifyWorkflowProperties, Cause::BadModifyWorkflowPropertiesAttributes, "ModifyWorkflowProperties"),
    ];
    for (kind, cause, name) in cases {
        let bare = Command { command_type: kind as i32, ..Default::default() };
        let mut completion = world.complete(vec![]).completion;
        let (got, _) = world.step(|step| apply(step, &mut completion, bare));
        let message = format!("{name}CommandAttributes is not set on {name}Command.");
        assert_eq!(got, Err(CommandFailure { cause, message, terminate: false }));
    }
}

#[test]
fn activities_are_written_in_normal_form_and_offered() {
    let got = World::new().complete(vec![schedule(activity("a"))]).ok();
    let EventAttributes::ActivityTaskScheduledEventAttributes(a) = got.written() else { panic!("{:?}", got.written()) };
    assert_eq!(a.task_queue.as_ref().map(|q| q.name.as_str()), Some("q"));
    assert_eq!(a.retry_policy.as_ref().map(|p| p.backoff_coefficient), Some(2.0));
    assert_eq!(got.transition.offers.len(), 1);
    assert!(got.completion.eager.is_empty());
}

#[test]
fn eager_activities() {
    let eager = || schedule(ScheduleActivityTaskCommandAttributes { request_eager_execution: true, ..activity("a") });
    let mut world = World::new();
    let got = world.complete(vec![eager()]).ok();
    assert_eq!(got.completion.eager, [3]);
    let mut world = World::new();
    world.limits.eager_activities = false;
    let got = world.complete(vec![eager()]).ok();
    assert_eq!((got.completion.eager.len(), got.transition.offers.len()), (0, 1));
}

#[test]
fn refused_activities() {
    let mut world = World::new();
    let got = world.complete(vec![schedule(activity("a")), schedule(activity("a"))]);
    let failure = got.result.expect_err("the id is taken");
    assert_eq!(
        (failure.cause, failure.message.as_str()),
        (Cause::ScheduleActivityDuplicateId, "invalid history builder state for action: add-activitytask-scheduled-event, ActivityID: a")
    );
    let unset = world.failure(schedule(ScheduleActivityTaskCommandAttributes { activity_type: None, ..activity("b") }));
    assert_eq!(unset, (Cause::BadScheduleActivityAttributes, "activityType is not set".into(), false));
    let input = world.failure(schedule(ScheduleActivityTaskCommandAttributes { input: large(), ..activity("b") }));
    let text = "ScheduleActivityTaskCommandAttributes.Input exceeds size limit.";
    assert_eq!(input, (Cause::BadScheduleActivityAttributes, text.into(), true));
    world.limits.pending_activities_max = 1;
    let text = "the number of pending activities, 1, has reached the per-workflow limit of 1";
    assert_eq!(world.failure(schedule(activity("b"))), (Cause::PendingActivitiesLimitExceeded, text.into(), false));
}

#[test]
fn an_activity_whose_end_is_buffered_is_not_pending() {
    let mut world = World::new();
    world.limits.pending_activities_max = 1;
    world.complete(vec![schedule(activity("a"))]).ok();
    let ended = |step: &mut Step<'_, '_>| {
        let attributes = ActivityTaskCompletedEventAttributes { scheduled_event_id: 3, ..Default::default() };
        step.buffer(EventAttributes::ActivityTaskCompletedEventAttributes(attributes));
    };
    let got = world.complete_after(ended, vec![cancel_activity(3), schedule(activity("a"))]).ok();
    let expected = [
        EventType::WorkflowTaskCompleted,
        EventType::ActivityTaskCancelRequested,
        EventType::ActivityTaskScheduled,
        EventType::ActivityTaskCompleted,
    ];
    assert_eq!(got.types()[..4], expected);
    assert!(!got.completion.force_task);
    assert_eq!(world.run.state.derived.activity_ids.get("a"), Some(&6));
}

#[test]
fn cancelling_an_unstarted_activity_ends_it() {
    let mut world = World::new();
    let got = world.complete(vec![schedule(activity("a")), cancel_activity(3)]).ok();
    let expected = [
        EventType::WorkflowTaskCompleted,
        EventType::ActivityTaskScheduled,
        EventType::ActivityTaskCancelRequested,
        EventType::ActivityTaskCanceled,
    ];
    assert_eq!(got.types(), expected);
    assert!(got.completion.force_task);
    let cause = Cause::BadRequestCancelActivityAttributes;
    assert_eq!(
        world.failure(cancel_activity(3)),
        (cause, "invalid history builder state for action: add-activitytask-cancel-requested-event, ScheduledEventID: 3".into(), false)
    );
    let text = "ScheduledEventId is not set on RequestCancelActivityTaskCommand.";
    assert_eq!(world.failure(cancel_activity(0)), (cause, text.into(), false));
}

#[test]
fn timers_start_and_end() {
    let mut world = World::new();
    let got = world.complete(vec![timer("t"), cancel_timer("t"), timer("t")]).ok();
    let expected = [EventType::WorkflowTaskCompleted, EventType::TimerStarted, EventType::TimerCanceled, EventType::TimerStarted];
    assert_eq!(got.types(), expected);
    assert_eq!(
        world.failure(timer("t")),
        (Cause::StartTimerDuplicateId, "invalid history builder state for action: add-timer-started-event, TimerID: t".into(), false)
    );
    assert_eq!(world.failure(timer("")).1, "TimerId is not set on StartTimerCommand.");
    let negative =
        StartTimerCommandAttributes { timer_id: "u".into(), start_to_fire_timeout: Some(sempre_api::Duration { seconds: -1, nanos: 0 }) };
    assert_eq!(
        world.failure(Attributes::StartTimerCommandAttributes(negative)).1,
        "An invalid StartToFireTimeout is set on StartTimerCommand: negative duration. TimerId=u"
    );
    assert_eq!(
        world.failure(cancel_timer("u")),
        (Cause::BadCancelTimerAttributes, "invalid history builder state for action: add-timer-canceled-event, TimerID: u".into(), false)
    );
    let long = "x".repeat(1001);
    assert!(world.failure(timer(&long)).1.ends_with("Length=1001 Limit=1000"));
}

#[test]
fn cancelling_a_buffered_timer_lifts_the_block_of_a_close() {
    let mut world = World::new();
    world.complete(vec![timer("t")]).ok();
    let got = world.complete_after(|s| fired(s, "t", 3), vec![complete_workflow()]);
    let unhandled = CommandFailure { cause: Cause::UnhandledCommand, message: String::new(), terminate: false };
    assert_eq!(got.result, Err(unhandled));

    let mut world = World::new();
    world.complete(vec![timer("t")]).ok();
    let got = world.complete_after(|s| fired(s, "t", 3), vec![cancel_timer("t"), complete_workflow()]).ok();
    let expected = [EventType::WorkflowTaskCompleted, EventType::TimerCanceled, EventType::WorkflowExecutionCompleted];
    assert_eq!(got.types(), expected);

    let mut world = World::new();
    world.complete(vec![timer("t")]).ok();
    let both = |step: &mut Step<'_, '_>| {
        fired(step, "t", 3);
        step.buffer(EventAttributes::WorkflowExecutionSignaledEventAttributes(WorkflowExecutionSignaledEventAttributes::default()));
    };
    let got = world.complete_after(both, vec![cancel_timer("t"), complete_workflow()]);
    assert_eq!(got.result.expect_err("the signal still waits").cause, Cause::UnhandledCommand);
}

#[test]
fn a_fired_timers_id_is_free_again() {
    let mut world = World::new();
    world.complete(vec![timer("t")]).ok();
    let got = world.complete_after(|s| fired(s, "t", 3), vec![timer("t")]).ok();
    assert_eq!(got.types(), [EventType::WorkflowTaskCompleted, EventType::TimerStarted, EventType::TimerFired]);
    assert_eq!(world.run.state.derived.timer_ids.get("t"), Some(&5));
}

#[test]
fn markers() {
    let mut world = World::new();
    let marker = |name: &str, details: Option<Payloads>| {
        Attributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
            marker_name: name.into(),
            details: details.into_iter().map(|d| ("data".into(), d)).collect(),
            ..Default::default()
        })
    };
    assert_eq!(world.complete(vec![marker("m", None)]).ok().types()[1], EventType::MarkerRecorded);
    let unset = (Cause::BadRecordMarkerAttributes, "MarkerName is not set on RecordMarkerCommand.".into(), false);
    assert_eq!(world.failure(marker("", None)), unset);
    let text = "RecordMarkerCommandAttributes.Details exceeds size limit.";
    assert_eq!(world.failure(marker("m", large())), (Cause::BadRecordMarkerAttributes, text.into(), true));
}

#[test]
fn a_child_is_asked_for_as_a_client_would() {
    let mut world = World::new();
    let mut asked = child("c");
    let null = Payload { metadata: [("encoding".into(), "binary/null".into())].into(), ..Default::default() };
    asked.memo = Some(Memo { fields: [("a".into(), payload(1)), ("b".into(), null)].into() });
    let got = world.complete(vec![start_child(asked)]).ok();
    let EventAttributes::StartChildWorkflowExecutionInitiatedEventAttributes(a) = got.written() else { panic!("{:?}", got.written()) };
    assert_eq!((a.namespace.as_str(), a.parent_close_policy()), ("default", ParentClosePolicy::Terminate));
    assert_eq!(a.workflow_task_timeout, Some(Span::seconds(10).to_api()));
    assert_eq!(a.task_queue.as_ref().map(|q| q.name.as_str()), Some("q"));
    assert_eq!(a.memo.as_ref().map(|m| m.fields.len()), Some(1));
    let OutboxMessage::StartChild(message) = &got.transition.outbox[0].message else { panic!("no message") };
    assert_eq!(message.initiated_event_id, 3);
    assert_eq!(message.root, world.run.key.to_api());
    assert_eq!(message.request.request_id, format!("{}:3:0", world.run.key.run));
    assert_eq!(message.request.workflow_id_conflict_policy(), WorkflowIdConflictPolicy::Fail);
    assert_eq!(message.request.memo.as_ref().map(|m| m.fields.len()), Some(1));
    assert_eq!(got.completion.children_started, ["c"]);
}

#[test]
fn refused_children() {
    let mut world = World::new();
    let cause = Cause::BadStartChildExecutionAttributes;
    let unset = world.failure(start_child(child("")));
    let text = "Required field WorkflowId is not set on StartChildWorkflowExecutionCommand.";
    assert!(unset.0 == cause && unset.1.starts_with(text), "{unset:?}");
    let input = world.failure(start_child(StartChildWorkflowExecutionCommandAttributes { input: large(), ..child("c") }));
    let text = "StartChildWorkflowExecutionCommandAttributes. Input exceeds size limit.";
    assert_eq!(input, (cause, text.to_string(), true));
    #[expect(deprecated, reason = "the check is what is tested")]
    let elsewhere = StartChildWorkflowExecutionCommandAttributes { namespace: "other".into(), ..child("c") };
    let text = "cross namespace commands are not allowed";
    assert_eq!(world.failure(start_child(elsewhere)), (cause, text.into(), false));
    let cron = StartChildWorkflowExecutionCommandAttributes { cron_schedule: "x".into(), ..child("c") };
    let text =
        "invalid CronSchedule on StartChildWorkflowExecutionCommand: invalid CronSchedule.. WorkflowId=c WorkflowType=C Namespace=default";
    assert_eq!(world.failure(start_child(cron)), (cause, text.into(), false));
    world.limits.pending_children_max = 0;
    let text = "the number of pending child workflow executions, 0, has reached the per-workflow limit of 0";
    assert_eq!(world.failure(start_child(child("c"))), (Cause::PendingChildWorkflowsLimitExceeded, text.into(), false));
}

#[test]
fn requests_to_other_workflows() {
    let mut world = World::new();
    let got = world.complete(vec![signal_external(signal("x", "")), cancel_external("x")]).ok();
    let expected = [
        EventType::WorkflowTaskCompleted,
        EventType::SignalExternalWorkflowExecutionInitiated,
        EventType::RequestCancelExternalWorkflowExecutionInitiated,
    ];
    assert_eq!(got.types(), expected);
    assert!(matches!(&got.transition.outbox[0].message, OutboxMessage::Signal(s) if s.workflow_id == "x" && s.initiated_event_id == 3));
    assert!(matches!(&got.transition.outbox[1].message, OutboxMessage::Cancel(c) if c.workflow_id == "x" && c.initiated_event_id == 4));
    assert!(!got.completion.force_task);
}

#[test]
fn a_run_does_not_reach_itself() {
    let mut world = World::new();
    let got = world.complete(vec![signal_external(signal("w", "")), cancel_external("w"), timer("t")]).ok();
    let expected = [
        EventType::WorkflowTaskCompleted,
        EventType::SignalExternalWorkflowExecutionInitiated,
        EventType::RequestCancelExternalWorkflowExecutionInitiated,
        EventType::TimerStarted,
        EventType::SignalExternalWorkflowExecutionFailed,
        EventType::RequestCancelExternalWorkflowExecutionFailed,
    ];
    assert_eq!(got.types(), expected);
    assert!(got.transition.outbox.is_empty() && got.completion.force_task);

    let got = World::new().complete(vec![signal_external(signal("w", "")), complete_workflow()]).ok();
    assert_eq!(got.types()[2..], [EventType::WorkflowExecutionCompleted], "its own request does not hold up the close");
}

#[test]
fn refused_requests_to_other_workflows() {
    let mut world = World::new();
    let cause = Cause::BadSignalWorkflowExecutionAttributes;
    let got = world.failure(signal_external(signal("x", "no-uuid")));
    assert!(got.0 == cause && got.1.starts_with("Invalid RunId set on SignalExternalWorkflowExecutionCommand. "), "{got:?}");
    let large = SignalExternalWorkflowExecutionCommandAttributes { input: large(), ..signal("x", "") };
    let text = "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit.";
    assert_eq!(world.failure(signal_external(large)), (cause, text.into(), true));
    let got = world.complete(vec![start_child(child("c")), cancel_external("c")]).result.expect_err("same task");
    assert_eq!(got.cause, Cause::BadRequestCancelExternalWorkflowExecutionAttributes);
    assert!(got.message.starts_with("Start and RequestCancel for child workflow is not allowed in same workflow task."));

    let mut world = World::new();
    world.limits.pending_signals_max = 1;
    world.limits.pending_cancels_max = 0;
    let got = world.complete(vec![signal_external(signal("x", "")), signal_external(signal("x", ""))]).result;
    let failure = got.expect_err("one is pending");
    assert_eq!(failure.cause, Cause::PendingSignalsLimitExceeded);
    let text = "the number of pending signals to external workflows, 1, has reached the per-workflow limit of 1";
    assert_eq!(failure.message, text);
    let text = "the number of pending requests to cancel external workflows, 0, has reached the per-workflow limit of 0";
    assert_eq!(world.failure(cancel_external("x")), (Cause::PendingRequestCancelLimitExceeded, text.into(), false));
}

#[test]
fn search_attributes_and_memo() {
    let mut world = World::new();
    world.limits.memo_size_max = 100;
    let upsert = |fields: &[(&str, usize)]| {
        let text = |n: usize| Payload { data: format!("\"{}\"", "x".repeat(n - 2)).into(), ..Default::default() };
        let indexed_fields = fields.iter().map(|(k, n)| (k.to_string(), text(*n))).collect();
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(UpsertWorkflowSearchAttributesCommandAttributes {
            search_attributes: Some(SearchAttributes { indexed_fields }),
        })
    };
    let modify = |fields: &[(&str, usize)]| {
        let fields = fields.iter().map(|(k, n)| (k.to_string(), payload(*n))).collect();
        Attributes::ModifyWorkflowPropertiesCommandAttributes(ModifyWorkflowPropertiesCommandAttributes {
            upserted_memo: Some(Memo { fields }),
        })
    };
    let got = world.complete(vec![upsert(&[("k", 3)]), modify(&[("m", 60)])]).ok();
    assert_eq!(got.types()[1..], [EventType::UpsertWorkflowSearchAttributes, EventType::WorkflowPropertiesModified]);
    assert_eq!(world.failure(upsert(&[])).0, Cause::BadSearchAttributes);
    let got = world.failure(upsert(&[("k", 3000)]));
    assert_eq!(got, (Cause::BadSearchAttributes, "search attribute k value size 3000 exceeds size limit 2048".into(), true));
    let cause = Cause::BadModifyWorkflowPropertiesAttributes;
    let text = "ModifyWorkflowPropertiesCommandAttributes exceeds size limit.";
    assert_eq!(world.failure(modify(&[("m", 200)])), (cause, text.into(), true));
    let text = "ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit.";
    assert_eq!(world.failure(modify(&[("n", 60)])), (cause, text.into(), true), "together with what is there");
    assert_eq!(world.complete(vec![modify(&[("m", 61)])]).result, Ok(()), "in place of what is there");
}

#[test]
fn closing() {
    let cancel = Attributes::CancelWorkflowExecutionCommandAttributes(CancelWorkflowExecutionCommandAttributes::default());
    let fail =
        Attributes::FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes { failure: Some(Failure::default()) });
    let again = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::default());
    let cases = [
        (complete_workflow(), EventType::WorkflowExecutionCompleted),
        (cancel, EventType::WorkflowExecutionCanceled),
        (fail, EventType::WorkflowExecutionFailed),
        (again, EventType::WorkflowExecutionContinuedAsNew),
    ];
    for (close, expected) in cases {
        let mut world = World::new();
        let got = world.complete(vec![close.clone()]).ok();
        assert_eq!(got.types(), [EventType::WorkflowTaskCompleted, expected]);
        assert!(!world.run.is_open());

        let signal = |step: &mut Step<'_, '_>| {
            step.buffer(EventAttributes::WorkflowExecutionSignaledEventAttributes(Default::default()));
        };
        let got = World::new().complete_after(signal, vec![close]).result;
        let unhandled = CommandFailure { cause: Cause::UnhandledCommand, message: String::new(), terminate: false };
        assert_eq!(got, Err(unhandled), "{expected:?}");
    }
}

#[test]
fn refused_closes() {
    let mut world = World::new();
    let result = CompleteWorkflowExecutionCommandAttributes { result: large() };
    let text = "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.";
    let got = world.failure(Attributes::CompleteWorkflowExecutionCommandAttributes(result));
    assert_eq!(got, (Cause::BadScheduleActivityAttributes, text.into(), true));
    let got = world.failure(Attributes::FailWorkflowExecutionCommandAttributes(Default::default()));
    let text = "Failure is not set on FailWorkflowExecutionCommand.";
    assert_eq!(got, (Cause::BadFailWorkflowExecutionAttributes, text.into(), false));
    let again = ContinueAsNewWorkflowExecutionCommandAttributes { input: large(), ..Default::default() };
    let got = world.failure(Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(again)));
    let text = "ContinueAsNewWorkflowExecutionCommandAttributes. Input exceeds size limit.";
    assert_eq!(got, (Cause::BadContinueAsNewAttributes, text.into(), true));
}

#[test]
fn what_is_not_built_fails_the_task() {
    let mut world = World::new();
    let message = Attributes::ProtocolMessageCommandAttributes(ProtocolMessageCommandAttributes::default());
    assert_eq!(world.failure(message).0, Cause::BadUpdateWorkflowExecutionMessage);
}

#[test]
fn nexus_operations() {
    let mut world = World::new();
    let a = ScheduleNexusOperationCommandAttributes {
        endpoint: "endpoint".into(),
        service: "s".into(),
        operation: "o".into(),
        schedule_to_close_timeout: Some(sempre_api::Duration { seconds: 10, nanos: 0 }),
        schedule_to_start_timeout: Some(sempre_api::Duration { seconds: 11, nanos: 0 }),
        start_to_close_timeout: Some(sempre_api::Duration { seconds: 9, nanos: 0 }),
        nexus_header: [("Key".to_string(), "Value".to_string())].into(),
        ..Default::default()
    };
    let refused = |world: &mut World, change: &dyn Fn(&mut ScheduleNexusOperationCommandAttributes)| {
        let mut a = a.clone();
        change(&mut a);
        let (cause, text, terminate) = world.failure(Attributes::ScheduleNexusOperationCommandAttributes(a));
        assert!(!terminate);
        (cause, text)
    };
    let bad = Cause::BadScheduleNexusOperationAttributes;
    let name = "ScheduleNexusOperationCommandAttributes.";
    assert_eq!(refused(&mut world, &|a| a.endpoint = "other".into()), (bad, "endpoint \"other\" not found".into()));
    type Change = fn(&mut ScheduleNexusOperationCommandAttributes);
    let cases: [(Change, &str); 8] = [
        (|a| a.service = "s".repeat(1001), "Service exceeds length limit of 1000"),
        (|a| a.operation = "o".repeat(1001), "Operation exceeds length limit of 1000"),
        (
            |a| a.schedule_to_close_timeout = Some(sempre_api::Duration { seconds: -1, nanos: 0 }),
            "ScheduleToCloseTimeout is invalid: negative duration",
        ),
        (
            |a| a.schedule_to_start_timeout = Some(sempre_api::Duration { seconds: -1, nanos: 0 }),
            "ScheduleToStartTimeout is invalid: negative duration",
        ),
        (
            |a| a.start_to_close_timeout = Some(sempre_api::Duration { seconds: -1, nanos: 0 }),
            "StartToCloseTimeout is invalid: negative duration",
        ),
        (
            |a| a.nexus_header = [("Request-Timeout".to_string(), "1s".to_string())].into(),
            "NexusHeader contains a disallowed header key: \"Request-Timeout\"",
        ),
        (|a| a.nexus_header = [("k".to_string(), "v".repeat(8192))].into(), "NexusHeader exceeds size limit"),
        (|a| a.endpoint = "__temporal_system".into(), "NexusHeader must be empty when using __temporal_system endpoint"),
    ];
    for (change, text) in cases {
        assert_eq!(refused(&mut world, &change), (bad, format!("{name}{text}")));
    }
    world.limits.pending_operations_max = 0;
    let text = "workflow has reached the pending nexus operation limit of 0 for this namespace";
    assert_eq!(refused(&mut world, &|_| {}), (Cause::PendingNexusOperationsLimitExceeded, text.into()));
    let unknown = RequestCancelNexusOperationCommandAttributes { scheduled_event_id: 7 };
    let text = "requested cancelation for a non-existing or already completed operation with scheduled event ID of 7";
    assert_eq!(
        world.failure(Attributes::RequestCancelNexusOperationCommandAttributes(unknown)),
        (Cause::BadRequestCancelNexusOperationAttributes, text.into(), false)
    );
}

#[test]
fn notes_that_are_too_long_fail_the_task() {
    let mut world = World::new();
    let mut completion = world.complete(vec![]).completion;
    let mut command = command(timer("t"));
    command.user_metadata = Some(UserMetadata { summary: Some(payload(500)), details: None });
    let (got, _) = world.step(|step| apply(step, &mut completion, command));
    let message = "user_metadata.summary exceeds size limit. Length=503 Limit=400".into();
    assert_eq!(got, Err(CommandFailure { cause: Cause::BadStartTimerAttributes, message, terminate: false }));
}

#[test]
fn refusals_of_the_sequence_leave_the_task_alone() {
    let commands = [command(complete_workflow()), command(timer("t"))];
    assert!(matches!(check_sequence(&commands), Err(Refusal::InvalidArgument(_))));
}
