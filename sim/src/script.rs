//! What a simulated workflow does: a deterministic reading of its history, driven by the number in its input.
//!
//! Whatever happens, a workflow ends: it takes a bounded number of tasks, never waits for nothing, and a *waiter*, which waits for
//! ever, is only started as a child whose parent's close ends it.

use std::collections::BTreeMap;

use bytes::Bytes;
use sempre_api::v1::{
    command::{Command, command::Attributes, *},
    common::{ActivityType, Payload, Payloads, Priority, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType},
    enums::{CommandType, ParentClosePolicy, TaskQueueKind},
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes as Event},
    taskqueue::TaskQueue,
};
use sempre_core::Span;

use crate::random::{Random, mix};

/// The queue of all workers.
pub const QUEUE: &str = "queue";
/// A search attribute of type Keyword, and what it can say.
pub const STAGE: &str = "Stage";
/// See [`STAGE`].
pub const STAGES: [&str; 3] = ["first", "second", "third"];
/// A search attribute of type Int: the tasks that a workflow had taken when it last said so.
pub const TASKS: &str = "Tasks";
/// How deep children may have children.
const DEPTH_MAX: u64 = 2;
/// How often a chain may continue as new.
const GENERATIONS_MAX: u64 = 2;

/// The input of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it does.
    pub seed: u64,
    /// Parents above it.
    pub depth: u64,
    /// Runs of its chain before it.
    pub generation: u64,
    /// Tasks after which it ends.
    pub steps: u64,
    /// It waits until it is ended from outside.
    pub waits: bool,
    /// Its run may be followed by others, so that its close says nothing to its children.
    pub goes_on: bool,
    /// Names it, so that it can be found on the disk.
    pub marker: String,
}

impl Input {
    /// As a payload.
    #[must_use]
    pub fn to_payloads(&self) -> Payloads {
        payloads(&format!(
            "{} {} {} {} {} {} {}",
            self.seed,
            self.depth,
            self.generation,
            self.steps,
            u8::from(self.waits),
            u8::from(self.goes_on),
            self.marker
        ))
    }

    fn parse(payloads: Option<&Payloads>) -> Option<Self> {
        let text = text_of(payloads);
        let mut parts = text.split(' ');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (seed, depth, generation, steps, waits, goes_on) = (number()?, number()?, number()?, number()?, number()?, number()?);
        Some(Self { seed, depth, generation, steps, waits: waits == 1, goes_on: goes_on == 1, marker: parts.next()?.to_owned() })
    }
}

/// A text as payloads.
#[must_use]
pub fn payloads(text: &str) -> Payloads {
    Payloads { payloads: vec![Payload { data: Bytes::copy_from_slice(text.as_bytes()), ..Default::default() }] }
}

/// The text of payloads.
#[must_use]
pub fn text_of(payloads: Option<&Payloads>) -> String {
    let first = payloads.and_then(|payloads| payloads.payloads.first());
    first.map(|payload| String::from_utf8_lossy(&payload.data).into_owned()).unwrap_or_default()
}

/// The queue of all workers.
#[must_use]
pub fn queue() -> TaskQueue {
    TaskQueue { name: QUEUE.into(), kind: TaskQueueKind::Normal as i32, ..Default::default() }
}

/// A failure of user code.
#[must_use]
pub fn failure(text: &str, non_retryable: bool) -> Failure {
    let info = ApplicationFailureInfo { r#type: "Simulated".into(), non_retryable, ..Default::default() };
    Failure { message: text.into(), failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}

/// What a history says about where its workflow is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    input: Option<Input>,
    run: String,
    tasks: u64,
    activities: BTreeMap<i64, bool>,
    timers: BTreeMap<String, ()>,
    children: BTreeMap<i64, (String, bool)>,
    externals: BTreeMap<i64, ()>,
    had_waiters: bool,
    cancel_requested: bool,
}

impl Facts {
    /// Reads a history.
    #[must_use]
    pub fn of(events: &[HistoryEvent]) -> Self {
        let mut facts = Self::default();
        events.iter().for_each(|event| facts.event(event));
        facts
    }

    fn event(&mut self, event: &HistoryEvent) {
        let Some(attributes) = &event.attributes else { return };
        match attributes {
            Event::WorkflowExecutionStartedEventAttributes(a) => {
                self.input = Input::parse(a.input.as_ref());
                self.run = a.original_execution_run_id.clone();
            }
            Event::WorkflowTaskCompletedEventAttributes(_) => self.tasks += 1,
            Event::WorkflowExecutionCancelRequestedEventAttributes(_) => self.cancel_requested = true,
            Event::ActivityTaskScheduledEventAttributes(_) => {
                self.activities.insert(event.event_id, false);
            }
            Event::ActivityTaskCancelRequestedEventAttributes(a) => {
                self.activities.insert(a.scheduled_event_id, true);
            }
            Event::ActivityTaskCompletedEventAttributes(a) => drop(self.activities.remove(&a.scheduled_event_id)),
            Event::ActivityTaskFailedEventAttributes(a) => drop(self.activities.remove(&a.scheduled_event_id)),
            Event::ActivityTaskTimedOutEventAttributes(a) => drop(self.activities.remove(&a.scheduled_event_id)),
            Event::ActivityTaskCanceledEventAttributes(a) => drop(self.activities.remove(&a.scheduled_event_id)),
            Event::TimerStartedEventAttributes(a) => drop(self.timers.insert(a.timer_id.clone(), ())),
            Event::TimerFiredEventAttributes(a) => drop(self.timers.remove(&a.timer_id)),
            Event::TimerCanceledEventAttributes(a) => drop(self.timers.remove(&a.timer_id)),
            Event::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
                let waits = Input::parse(a.input.as_ref()).is_some_and(|input| input.waits);
                self.had_waiters |= waits;
                self.children.insert(event.event_id, (a.workflow_id.clone(), waits));
            }
            Event::StartChildWorkflowExecutionFailedEventAttributes(a) => drop(self.children.remove(&a.initiated_event_id)),
            Event::ChildWorkflowExecutionCompletedEventAttributes(a) => drop(self.children.remove(&a.initiated_event_id)),
            Event::ChildWorkflowExecutionFailedEventAttributes(a) => drop(self.children.remove(&a.initiated_event_id)),
            Event::ChildWorkflowExecutionCanceledEventAttributes(a) => drop(self.children.remove(&a.initiated_event_id)),
            Event::ChildWorkflowExecutionTimedOutEventAttributes(a) => drop(self.children.remove(&a.initiated_event_id)),
            Event::ChildWorkflowExecutionTerminatedEventAttributes(a) => drop(self.children.remove(&a.initiated_event_id)),
            Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
            | Event::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => {
                self.externals.insert(event.event_id, ());
            }
            Event::SignalExternalWorkflowExecutionFailedEventAttributes(a) => drop(self.externals.remove(&a.initiated_event_id)),
            Event::ExternalWorkflowExecutionSignaledEventAttributes(a) => drop(self.externals.remove(&a.initiated_event_id)),
            Event::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => drop(self.externals.remove(&a.initiated_event_id)),
            Event::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => drop(self.externals.remove(&a.initiated_event_id)),
            _ => {}
        }
    }

    /// Something will happen by itself.
    #[must_use]
    pub fn waits_for_something(&self) -> bool {
        !self.activities.is_empty()
            || !self.timers.is_empty()
            || !self.externals.is_empty()
            || self.children.values().any(|(_, waits)| !waits)
    }
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }
}

fn timer(id: String, span: Span) -> Command {
    let attributes = StartTimerCommandAttributes { timer_id: id, start_to_fire_timeout: Some(span.to_api()) };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(attributes))
}

/// What a workflow says to its history. `others` are workflow ids that it may send to.
#[must_use]
pub fn decide(facts: &Facts, others: u64) -> Vec<Command> {
    let Some(input) = &facts.input else { return vec![complete("no input")] };
    let mut r = Random::new(mix(&[input.seed, input.generation]), facts.tasks);
    if input.waits {
        return match (facts.cancel_requested, facts.tasks) {
            (true, _) => vec![cancel()],
            (_, 0) => vec![timer("for-ever".into(), Span::seconds(10 * 365 * 86_400))],
            _ => vec![],
        };
    }
    if facts.tasks >= input.steps || facts.cancel_requested && r.permille(700) {
        return vec![close(facts, input, &mut r)];
    }
    let mut commands = Vec::new();
    let mut waits = facts.waits_for_something();
    for n in 0..r.between(0, 3) {
        let id = format!("{}-{n}", facts.tasks);
        let (more, waited_for) = step(facts, input, &id, others, &mut r);
        waits |= waited_for;
        commands.push(more);
    }
    if !waits || r.permille(60) {
        commands.push(close(facts, input, &mut r));
    }
    commands
}

/// One command, and whether something comes of it by itself.
fn step(facts: &Facts, input: &Input, id: &str, others: u64, r: &mut Random) -> (Command, bool) {
    match r.below(14) {
        0..=3 => (activity(input, id, r), true),
        4 | 5 => (timer(format!("t{id}"), Span::millis(r.between(1, 600_000) as i64)), true),
        6 => match facts.timers.keys().next() {
            // Not the last thing waited for.
            Some(timer) if facts.timers.len() > 1 => {
                let attributes = CancelTimerCommandAttributes { timer_id: timer.clone() };
                (command(CommandType::CancelTimer, Attributes::CancelTimerCommandAttributes(attributes)), true)
            }
            _ => (marker(id), false),
        },
        7 => match facts.activities.iter().find(|(_, canceled)| !**canceled) {
            Some((scheduled, _)) => {
                let attributes = RequestCancelActivityTaskCommandAttributes { scheduled_event_id: *scheduled };
                let attributes = Attributes::RequestCancelActivityTaskCommandAttributes(attributes);
                (command(CommandType::RequestCancelActivityTask, attributes), true)
            }
            None => (marker(id), false),
        },
        8 | 9 if input.depth < DEPTH_MAX => child(facts, input, id, r),
        10 => {
            let execution = WorkflowExecution { workflow_id: format!("w{}", r.below(others + 1)), run_id: String::new() };
            let attributes = SignalExternalWorkflowExecutionCommandAttributes {
                execution: Some(execution),
                signal_name: "from another run".into(),
                input: Some(payloads(&format!("<ext-{}-{id}>", facts.run))),
                ..Default::default()
            };
            let attributes = Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes);
            (command(CommandType::SignalExternalWorkflowExecution, attributes), true)
        }
        11 if r.permille(300) => {
            let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
                workflow_id: format!("w{}", r.below(others + 1)),
                ..Default::default()
            };
            let attributes = Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes);
            (command(CommandType::RequestCancelExternalWorkflowExecution, attributes), true)
        }
        // Both are read by lists only.
        12 | 13 if !mix(&[input.seed, facts.tasks]).is_multiple_of(3) => (upsert(facts, input), false),
        12 => {
            let fields = [("step".to_owned(), Payload { data: Bytes::from(id.to_owned()), ..Default::default() })];
            let memo = sempre_api::v1::common::Memo { fields: fields.into_iter().collect() };
            let attributes = ModifyWorkflowPropertiesCommandAttributes { upserted_memo: Some(memo) };
            let attributes = Attributes::ModifyWorkflowPropertiesCommandAttributes(attributes);
            (command(CommandType::ModifyWorkflowProperties, attributes), false)
        }
        _ => (marker(id), false),
    }
}

/// Sets both search attributes, or takes one of them away.
fn upsert(facts: &Facts, input: &Input) -> Command {
    let chance = mix(&[input.seed, facts.tasks, 3]);
    let stage = (!chance.is_multiple_of(3)).then(|| format!("\"{}\"", STAGES[(chance / 3 % STAGES.len() as u64) as usize]));
    let tasks = (!(chance / 9).is_multiple_of(3)).then(|| facts.tasks.to_string());
    let value = |value: Option<String>| Payload {
        metadata: [("encoding".to_owned(), Bytes::from_static(b"json/plain"))].into(),
        data: Bytes::from(value.unwrap_or_else(|| "null".into())),
        ..Default::default()
    };
    let fields = [(STAGE.to_owned(), value(stage)), (TASKS.to_owned(), value(tasks))];
    let set = SearchAttributes { indexed_fields: fields.into_iter().collect() };
    let attributes = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: Some(set) };
    command(CommandType::UpsertWorkflowSearchAttributes, Attributes::UpsertWorkflowSearchAttributesCommandAttributes(attributes))
}

fn marker(id: &str) -> Command {
    let attributes = RecordMarkerCommandAttributes { marker_name: format!("m{id}"), ..Default::default() };
    command(CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(attributes))
}

/// Every other task names something of where it stands in its queue: a level, a key that others name too, a weight.
pub(crate) fn priority(chance: u64) -> Option<Priority> {
    let key = chance / 2 % 5;
    let fairness_key = if key == 0 { String::new() } else { format!("key-{key}") };
    let priority_key = i32::try_from(chance / 10 % 4).unwrap_or_default();
    let fairness_weight = (chance / 40 % 4) as f32 * 0.7;
    chance.is_multiple_of(2).then_some(Priority { priority_key, fairness_key, fairness_weight })
}

fn activity(input: &Input, id: &str, r: &mut Random) -> Command {
    let mut attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: format!("a{id}"),
        activity_type: Some(ActivityType { name: "Work".into() }),
        task_queue: Some(queue()),
        input: Some(payloads(&format!("{}", mix(&[input.seed, r.any()])))),
        start_to_close_timeout: Some(Span::millis(r.between(500, 60_000) as i64).to_api()),
        request_eager_execution: r.permille(200),
        priority: priority(mix(&[input.seed, id.bytes().map(u64::from).sum(), 2])),
        ..Default::default()
    };
    if r.permille(300) {
        attributes.heartbeat_timeout = Some(Span::millis(r.between(1000, 20_000) as i64).to_api());
    }
    if r.permille(200) {
        attributes.schedule_to_start_timeout = Some(Span::millis(r.between(1000, 60_000) as i64).to_api());
    }
    if r.permille(200) {
        attributes.schedule_to_close_timeout = Some(Span::millis(r.between(1000, 200_000) as i64).to_api());
    }
    if r.permille(700) {
        attributes.retry_policy = Some(RetryPolicy {
            initial_interval: Some(Span::millis(r.between(1, 5000) as i64).to_api()),
            backoff_coefficient: 2.0,
            maximum_interval: Some(Span::seconds(60).to_api()),
            maximum_attempts: r.below(4) as i32,
            ..Default::default()
        });
    }
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

fn child(facts: &Facts, input: &Input, id: &str, r: &mut Random) -> (Command, bool) {
    let policy = *r
        .pick(&[ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon])
        .unwrap_or(&ParentClosePolicy::Terminate);
    let waits = policy != ParentClosePolicy::Abandon && !input.goes_on && r.permille(500);
    let workflow_id = format!("c-{}-{id}", facts.run);
    let inner = Input {
        seed: mix(&[input.seed, r.any()]),
        depth: input.depth + 1,
        generation: 0,
        steps: r.between(0, input.steps),
        waits,
        goes_on: true,
        marker: format!("<in-{workflow_id}>"),
    };
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id,
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        task_queue: Some(queue()),
        input: Some(inner.to_payloads()),
        parent_close_policy: policy as i32,
        ..Default::default()
    };
    (
        command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(attributes))),
        !waits,
    )
}

fn complete(text: &str) -> Command {
    let attributes = CompleteWorkflowExecutionCommandAttributes { result: Some(payloads(text)) };
    command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(attributes))
}

fn cancel() -> Command {
    let attributes = CancelWorkflowExecutionCommandAttributes::default();
    command(CommandType::CancelWorkflowExecution, Attributes::CancelWorkflowExecutionCommandAttributes(attributes))
}

fn close(facts: &Facts, input: &Input, r: &mut Random) -> Command {
    if facts.cancel_requested && r.permille(600) {
        return cancel();
    }
    match r.below(8) {
        0 | 1 => {
            let attributes = FailWorkflowExecutionCommandAttributes { failure: Some(failure("simulated", r.permille(300))) };
            command(CommandType::FailWorkflowExecution, Attributes::FailWorkflowExecutionCommandAttributes(attributes))
        }
        2 | 3 if input.goes_on && !facts.had_waiters && input.generation < GENERATIONS_MAX => {
            let next = Input { generation: input.generation + 1, ..input.clone() };
            let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
                workflow_type: Some(WorkflowType { name: "Continued".into() }),
                task_queue: Some(queue()),
                input: Some(next.to_payloads()),
                ..Default::default()
            };
            let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(attributes));
            command(CommandType::ContinueAsNewWorkflowExecution, attributes)
        }
        _ => complete(&format!("<done-{}>", facts.run)),
    }
}

/// Ids by which a completion's commands are found again in history.
#[must_use]
pub fn names_of(commands: &[Command]) -> Vec<String> {
    let name = |command: &Command| match command.attributes.as_ref()? {
        Attributes::ScheduleActivityTaskCommandAttributes(a) => Some(a.activity_id.clone()),
        Attributes::StartTimerCommandAttributes(a) => Some(a.timer_id.clone()),
        Attributes::RecordMarkerCommandAttributes(a) => Some(a.marker_name.clone()),
        Attributes::StartChildWorkflowExecutionCommandAttributes(a) => Some(a.workflow_id.clone()),
        _ => None,
    };
    commands.iter().filter_map(name).collect()
}
