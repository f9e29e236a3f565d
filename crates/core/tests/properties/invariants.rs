//! What must hold of a world at any time. The harness checks more at each step: see its header.

use std::collections::{BTreeMap, BTreeSet};

use sempre_api::v1::{
    common::WorkflowExecution,
    enums::{EventType, ParentClosePolicy, TimeoutType},
    failure::failure::FailureInfo,
    history::{HistoryEvent, history_event::Attributes},
};
use sempre_core::{Execution, RunId, Span, Timestamp, transition::QueueKind};

use crate::{
    harness::{Run, World, history::history_text},
    records,
};

/// Every type of event that core writes.
pub(crate) const ALL_EVENTS: &[EventType] = &[
    EventType::WorkflowExecutionStarted,
    EventType::WorkflowExecutionCompleted,
    EventType::WorkflowExecutionFailed,
    EventType::WorkflowExecutionTimedOut,
    EventType::WorkflowExecutionCanceled,
    EventType::WorkflowExecutionTerminated,
    EventType::WorkflowExecutionContinuedAsNew,
    EventType::WorkflowExecutionSignaled,
    EventType::WorkflowExecutionCancelRequested,
    EventType::WorkflowTaskScheduled,
    EventType::WorkflowTaskStarted,
    EventType::WorkflowTaskCompleted,
    EventType::WorkflowTaskTimedOut,
    EventType::WorkflowTaskFailed,
    EventType::ActivityTaskScheduled,
    EventType::ActivityTaskStarted,
    EventType::ActivityTaskCompleted,
    EventType::ActivityTaskFailed,
    EventType::ActivityTaskTimedOut,
    EventType::ActivityTaskCancelRequested,
    EventType::ActivityTaskCanceled,
    EventType::TimerStarted,
    EventType::TimerFired,
    EventType::TimerCanceled,
    EventType::StartChildWorkflowExecutionInitiated,
    EventType::StartChildWorkflowExecutionFailed,
    EventType::ChildWorkflowExecutionStarted,
    EventType::ChildWorkflowExecutionCompleted,
    EventType::ChildWorkflowExecutionFailed,
    EventType::ChildWorkflowExecutionCanceled,
    EventType::ChildWorkflowExecutionTimedOut,
    EventType::ChildWorkflowExecutionTerminated,
    EventType::SignalExternalWorkflowExecutionInitiated,
    EventType::SignalExternalWorkflowExecutionFailed,
    EventType::ExternalWorkflowExecutionSignaled,
    EventType::RequestCancelExternalWorkflowExecutionInitiated,
    EventType::RequestCancelExternalWorkflowExecutionFailed,
    EventType::ExternalWorkflowExecutionCancelRequested,
    EventType::MarkerRecorded,
    EventType::UpsertWorkflowSearchAttributes,
    EventType::WorkflowPropertiesModified,
    EventType::WorkflowExecutionOptionsUpdated,
    EventType::WorkflowExecutionUpdateAdmitted,
    EventType::WorkflowExecutionUpdateAccepted,
    EventType::WorkflowExecutionUpdateCompleted,
    EventType::WorkflowExecutionPaused,
    EventType::WorkflowExecutionUnpaused,
    EventType::WorkflowExecutionTimeSkippingTransitioned,
];

/// Looks at a world again and again; a run that has not changed is not read twice.
#[derive(Default)]
pub(crate) struct Watch {
    seen: BTreeMap<RunId, i64>,
    /// Runs that were sent an update before their first task: it comes at once then, and leaves no event of its own.
    pub hastened: BTreeSet<RunId>,
}

impl Watch {
    pub(crate) fn check(&mut self, world: &World) {
        for (id, run) in &world.runs {
            let transitions = run.execution.state().progress.main.transitions;
            if self.seen.insert(*id, transitions) != Some(transitions) {
                let events = run.events();
                history_is_sound(&run.execution, &events, self.hastened.contains(id));
                if run.execution.is_open() {
                    news_is_seen_to(world, run, &events);
                }
            }
            if run.execution.is_open() {
                something_will_happen(world, run);
                a_run_that_skips_does_not_wait(world, run);
            }
        }
        one_open_run_per_workflow(world);
        offers_are_wanted(world);
        for (sender, entry) in &world.outbox {
            records::message_round_trips(sender, entry);
        }
        world.current.values().for_each(records::current_round_trips);
        if world.outbox.is_empty() {
            close_policies_reached_the_children(world);
        }
    }
}

/// An open run that may skip, and has nothing in hand, is due now.
fn a_run_that_skips_does_not_wait(world: &World, run: &Run) {
    let state = run.execution.state();
    let (derived, progress) = (&state.derived, &state.progress);
    let enabled = derived.main.time_skipping.as_ref().is_some_and(|own| own.is_enabled());
    let in_hand = progress.main.task.is_some()
        || progress.main.held
        || run.execution.is_paused()
        || !(derived.activities.is_empty() && derived.children.is_empty() && derived.externals.is_empty());
    let waits = !derived.timers.is_empty() || progress.main.first_task_at != 0;
    if enabled && waits && !in_hand {
        assert!(run.deadline.is_some_and(|at| at <= world.now), "a run that could skip waits until {:?}", run.deadline);
    }
}

fn time(event: &HistoryEvent) -> Timestamp {
    event.event_time.as_ref().map(Timestamp::from_api).expect("an event has a time")
}

fn span(duration: Option<&sempre_api::Duration>) -> Option<Span> {
    Span::from_api(duration).expect("a duration of ours").some()
}

fn is_close(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::WorkflowExecutionCompleted
            | EventType::WorkflowExecutionFailed
            | EventType::WorkflowExecutionTimedOut
            | EventType::WorkflowExecutionCanceled
            | EventType::WorkflowExecutionTerminated
            | EventType::WorkflowExecutionContinuedAsNew
    )
}

/// Something that the workflow has to be told.
fn is_news(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::WorkflowExecutionSignaled
            | EventType::WorkflowExecutionCancelRequested
            | EventType::ActivityTaskCompleted
            | EventType::ActivityTaskFailed
            | EventType::ActivityTaskTimedOut
            | EventType::ActivityTaskCanceled
            | EventType::TimerFired
            | EventType::StartChildWorkflowExecutionFailed
            | EventType::ChildWorkflowExecutionStarted
            | EventType::ChildWorkflowExecutionCompleted
            | EventType::ChildWorkflowExecutionFailed
            | EventType::ChildWorkflowExecutionCanceled
            | EventType::ChildWorkflowExecutionTimedOut
            | EventType::ChildWorkflowExecutionTerminated
            | EventType::SignalExternalWorkflowExecutionFailed
            | EventType::ExternalWorkflowExecutionSignaled
            | EventType::RequestCancelExternalWorkflowExecutionFailed
            | EventType::ExternalWorkflowExecutionCancelRequested
    )
}

/// What one history may say.
fn history_is_sound(execution: &Execution, events: &[HistoryEvent], hastened: bool) {
    let closes: Vec<_> = events.iter().filter(|e| is_close(e.event_type())).map(|e| e.event_id).collect();
    if execution.is_open() {
        assert!(closes.is_empty(), "an open run has no close event");
    } else {
        assert_eq!(closes, [events.len() as i64], "a closed run has one close event, the last");
    }
    workflow_tasks_take_turns(events);
    let mut reader = Reader { events, ended: BTreeMap::new(), signals: BTreeSet::new(), updates: BTreeSet::new(), hastened };
    events.iter().for_each(|event| reader.read(event));
}

/// At most one workflow task is pending, and nothing comes between its start and its end.
fn workflow_tasks_take_turns(events: &[HistoryEvent]) {
    let (mut scheduled, mut started) = (None, None);
    for event in events {
        let ends = matches!(
            event.event_type(),
            EventType::WorkflowTaskCompleted | EventType::WorkflowTaskFailed | EventType::WorkflowTaskTimedOut
        );
        assert!(started.is_none() || ends, "event {} comes while a workflow task is started", event.event_id);
        match &event.attributes {
            Some(Attributes::WorkflowTaskScheduledEventAttributes(_)) => {
                assert!(scheduled.is_none(), "event {}: one workflow task at a time", event.event_id);
                scheduled = Some(event);
            }
            Some(Attributes::WorkflowTaskStartedEventAttributes(a)) => {
                assert_eq!(scheduled.map(|e| e.event_id), Some(a.scheduled_event_id));
                started = Some(event);
            }
            Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) => {
                assert_eq!(scheduled.map(|e| e.event_id), Some(a.scheduled_event_id));
                assert_eq!(started.map(|e| e.event_id), Some(a.started_event_id));
            }
            Some(Attributes::WorkflowTaskTimedOutEventAttributes(a)) => {
                let offer: &HistoryEvent = scheduled.expect("what times out was scheduled");
                let Some(Attributes::WorkflowTaskScheduledEventAttributes(s)) = &offer.attributes else { panic!("not a Scheduled event") };
                let not_before = match (a.timeout_type(), started) {
                    (TimeoutType::ScheduleToStart, None) => time(offer) + Span::seconds(5),
                    (TimeoutType::StartToClose, Some(start)) => {
                        time(start) + span(s.start_to_close_timeout.as_ref()).expect("a task has a timeout")
                    }
                    (kind, _) => panic!("event {}: no task waits for {kind:?}", event.event_id),
                };
                assert!(time(event) >= not_before, "event {}: a workflow task timed out early", event.event_id);
            }
            _ => {}
        }
        if ends {
            (scheduled, started) = (None, None);
        }
    }
}

/// Reads events in order, knowing those before.
struct Reader<'e> {
    events: &'e [HistoryEvent],
    /// What has had its end, and how often something else may come.
    ended: BTreeMap<(&'static str, i64), i64>,
    signals: BTreeSet<&'e str>,
    /// Stage and id.
    updates: BTreeSet<(&'static str, &'e str)>,
    hastened: bool,
}

impl<'e> Reader<'e> {
    fn at(&self, id: i64, now: &HistoryEvent) -> &'e HistoryEvent {
        assert!(id > 0 && id < now.event_id, "event {} names event {id}", now.event_id);
        &self.events[id as usize - 1]
    }

    fn once(&mut self, what: &'static str, id: i64, event: &HistoryEvent) {
        let before = self.ended.insert((what, id), event.event_id);
        assert_eq!(before, None, "event {}: {what} of {id} comes once", event.event_id);
    }

    fn read(&mut self, event: &'e HistoryEvent) {
        let Some(attributes) = &event.attributes else { panic!("an event has attributes") };
        match attributes {
            Attributes::WorkflowTaskScheduledEventAttributes(_) if !self.hastened => self.first_task_is_not_early(event),
            Attributes::WorkflowExecutionTimedOutEventAttributes(_) => self.run_timed_out(event),
            Attributes::WorkflowExecutionSignaledEventAttributes(a) => {
                assert!(a.request_id.is_empty() || self.signals.insert(&a.request_id), "a signal comes once: {}", a.request_id);
            }
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(a) => {
                let id = a.request.as_ref().and_then(|r| r.meta.as_ref()).map_or("", |m| &m.update_id);
                assert!(self.updates.insert(("admitted", id)), "update {id} is admitted once");
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                let id = a.protocol_instance_id.as_str();
                assert!(self.updates.insert(("accepted", id)), "update {id} is accepted once");
            }
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
                let id = a.meta.as_ref().map_or("", |m| &m.update_id);
                assert!(self.updates.contains(&("accepted", id)), "update {id} is completed after it was accepted");
                assert!(self.updates.insert(("completed", id)), "update {id} is completed once");
                assert_eq!(self.at(a.accepted_event_id, event).event_type(), EventType::WorkflowExecutionUpdateAccepted);
            }
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(_) => self.once("cancel request", 0, event),
            Attributes::ActivityTaskStartedEventAttributes(a) => self.once("activity start", a.scheduled_event_id, event),
            Attributes::ActivityTaskCancelRequestedEventAttributes(a) => {
                self.once("activity cancel request", a.scheduled_event_id, event);
            }
            Attributes::ActivityTaskCompletedEventAttributes(a) => self.activity_ends(a.scheduled_event_id, a.started_event_id, event),
            Attributes::ActivityTaskFailedEventAttributes(a) => self.activity_ends(a.scheduled_event_id, a.started_event_id, event),
            Attributes::ActivityTaskCanceledEventAttributes(a) => self.activity_ends(a.scheduled_event_id, a.started_event_id, event),
            Attributes::ActivityTaskTimedOutEventAttributes(a) => {
                self.activity_ends(a.scheduled_event_id, a.started_event_id, event);
                self.activity_timed_out(event);
            }
            Attributes::TimerFiredEventAttributes(a) => {
                self.once("timer end", a.started_event_id, event);
                let started = self.at(a.started_event_id, event);
                let Some(Attributes::TimerStartedEventAttributes(s)) = &started.attributes else { panic!("not a timer's start") };
                assert_eq!(s.timer_id, a.timer_id);
                let due = time(started) + span(s.start_to_fire_timeout.as_ref()).expect("a timer has a span");
                assert!(time(event) >= due, "event {}: a timer fired early", event.event_id);
            }
            Attributes::TimerCanceledEventAttributes(a) => self.once("timer end", a.started_event_id, event),
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(a) => {
                self.once("child start", a.initiated_event_id, event);
                self.once("child end", a.initiated_event_id, event);
            }
            Attributes::ChildWorkflowExecutionStartedEventAttributes(a) => self.once("child start", a.initiated_event_id, event),
            Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => {
                self.child_ends(a.initiated_event_id, a.started_event_id, event)
            }
            Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => self.child_ends(a.initiated_event_id, a.started_event_id, event),
            Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => {
                self.child_ends(a.initiated_event_id, a.started_event_id, event)
            }
            Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => {
                self.child_ends(a.initiated_event_id, a.started_event_id, event)
            }
            Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => {
                self.child_ends(a.initiated_event_id, a.started_event_id, event)
            }
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(a) => self.external_ends(a.initiated_event_id, event),
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(a) => self.external_ends(a.initiated_event_id, event),
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => self.external_ends(a.initiated_event_id, event),
            Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
                self.external_ends(a.initiated_event_id, event);
            }
            _ => {}
        }
    }

    fn external_ends(&mut self, initiated: i64, event: &HistoryEvent) {
        self.at(initiated, event);
        self.once("external result", initiated, event);
    }

    fn child_ends(&mut self, initiated: i64, started: i64, event: &HistoryEvent) {
        assert_eq!(self.at(initiated, event).event_type(), EventType::StartChildWorkflowExecutionInitiated);
        assert_eq!(self.ended.get(&("child start", initiated)), Some(&started), "a child's end names its start");
        self.once("child end", initiated, event);
    }

    fn activity_ends(&mut self, scheduled: i64, started: i64, event: &HistoryEvent) {
        assert_eq!(self.at(scheduled, event).event_type(), EventType::ActivityTaskScheduled);
        let start = self.ended.get(&("activity start", scheduled)).copied().unwrap_or(0);
        assert_eq!(start, started, "event {}: an activity's end names its start", event.event_id);
        self.once("activity end", scheduled, event);
    }

    fn activity_timed_out(&self, event: &HistoryEvent) {
        let Some(Attributes::ActivityTaskTimedOutEventAttributes(a)) = &event.attributes else { return };
        let scheduled = self.at(a.scheduled_event_id, event);
        let Some(Attributes::ActivityTaskScheduledEventAttributes(s)) = &scheduled.attributes else { panic!("not a Scheduled event") };
        let failure = a.failure.as_ref().expect("a timeout has a failure");
        let Some(FailureInfo::TimeoutFailureInfo(info)) = &failure.failure_info else { panic!("not a timeout: {failure:?}") };
        let started = || time(self.at(a.started_event_id, event));
        let not_before = match info.timeout_type() {
            TimeoutType::StartToClose => started() + span(s.start_to_close_timeout.as_ref()).expect("that timeout"),
            TimeoutType::Heartbeat => started() + span(s.heartbeat_timeout.as_ref()).expect("that timeout"),
            TimeoutType::ScheduleToStart => time(scheduled) + span(s.schedule_to_start_timeout.as_ref()).expect("that timeout"),
            // Also said when the next attempt would come too late.
            TimeoutType::ScheduleToClose if failure.message.contains("Not enough time") => time(scheduled),
            TimeoutType::ScheduleToClose => time(scheduled) + span(s.schedule_to_close_timeout.as_ref()).expect("that timeout"),
            TimeoutType::Unspecified => panic!("a timeout has a type"),
        };
        assert!(time(event) >= not_before, "event {}: an activity timed out early: {failure:?}", event.event_id);
    }

    fn first_task_is_not_early(&self, event: &HistoryEvent) {
        let before = &self.events[..event.event_id as usize - 1];
        if before.iter().any(|e| is_news(e.event_type()) || e.event_type() == EventType::WorkflowTaskScheduled) {
            return;
        }
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(start)) = &before[0].attributes else { panic!("no start") };
        let delay = span(start.first_workflow_task_backoff.as_ref()).unwrap_or_default();
        assert!(time(event) >= time(&before[0]) + delay, "a first workflow task came early");
    }

    fn run_timed_out(&self, event: &HistoryEvent) {
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(start)) = &self.events[0].attributes else { panic!("no start") };
        let run = span(start.workflow_run_timeout.as_ref()).map(|timeout| time(&self.events[0]) + timeout);
        let chain = start.workflow_execution_expiration_time.as_ref().map(Timestamp::from_api);
        let due = run.into_iter().chain(chain).min().expect("a run without timeouts does not time out");
        assert!(time(event) >= due, "a run timed out early");
    }
}

/// What the workflow has not been told is told by a task: pending, or held back for a reason that will pass.
fn news_is_seen_to(world: &World, run: &Run, events: &[HistoryEvent]) {
    let main = &run.execution.state().progress.main;
    if main.task.is_some() || main.held || main.first_task_at != 0 || run.execution.is_paused() {
        return;
    }
    assert!(run.execution.state().progress.buffer.is_empty(), "without a started task nothing waits in the buffer");
    let last = events.iter().rev().find(|e| is_news(e.event_type()) || e.event_type() == EventType::WorkflowTaskCompleted);
    let told = last.is_some_and(|e| e.event_type() == EventType::WorkflowTaskCompleted);
    assert!(told, "nobody tells the workflow\n{}", history_text(world, run.execution.key().run));
}

/// An open run waits for something that can come: each thing that is pending has an offer, a deadline, or a message.
fn something_will_happen(world: &World, run: &Run) {
    let state = run.execution.state();
    let (derived, progress, main) = (&state.derived, &state.progress, &state.progress.main);
    let id = run.execution.key().run;
    let offered = |kind: QueueKind, scheduled: i64, stamp: u32| {
        world.offers.iter().any(|o| o.run.run == id && o.queue.kind == kind && o.key.scheduled_event_id == scheduled && o.stamp == stamp)
    };
    let armed_by = |at: i64, what: &str| {
        assert!(run.deadline.is_some_and(|armed| armed.0 <= at), "{what} has no deadline: {:?} {at}", run.deadline);
    };
    match main.task.as_deref() {
        Some(task) if task.speculative => {
            assert!(run.execution.memory_deadline().is_some() || !task.is_started(), "a started speculative task times out");
        }
        Some(task) if task.is_started() => {
            armed_by(task.started_time + task.timeout, "a started workflow task");
        }
        // It gets a task when it is let go.
        _ if run.execution.is_paused() => {}
        Some(task) => {
            assert!(offered(QueueKind::Workflow, task.scheduled_event_id, task.stamp), "a workflow task is not offered");
            if let Some(wait) = task.sticky() {
                armed_by(task.scheduled_time + wait.0, "a sticky workflow task");
            }
        }
        None if main.first_task_at != 0 => {
            if !main.held {
                armed_by(main.first_task_at, "a delayed first task");
            }
        }
        None if main.held => assert!(!world.outbox.is_empty(), "no message will release the first task"),
        None => assert!(derived.main.completed_tasks > 0, "an idle run has completed a task"),
    }
    for (started, timer) in &derived.timers {
        if !progress.buffer.fires_timer(*started) {
            armed_by(timer.fire_at, "a timer");
        }
    }
    for (scheduled, activity) in &progress.activities {
        if progress.buffer.closes_activity(*scheduled) {
            continue;
        }
        let info = &derived.activities[scheduled];
        // Paused: no dispatch and no timers (03 §9).
        if activity.pause.is_some() {
            continue;
        }
        if run.execution.is_paused() && !activity.is_started() {
            // Dispatched when the run goes on.
        } else if activity.waits_for_retry() {
            armed_by(activity.scheduled_time, "a retry");
        } else if activity.is_started() {
            let timeouts = [info.timeout(|a| &a.start_to_close_timeout), info.timeout(|a| &a.schedule_to_close_timeout)];
            assert!(timeouts.iter().any(Option::is_some), "an attempt has a timeout");
            if let Some(timeout) = timeouts[0] {
                armed_by(activity.started_time + timeout.0, "an attempt");
            }
        } else {
            assert!(offered(QueueKind::Activity, *scheduled, activity.stamp), "an attempt is not offered");
        }
        if let Some(timeout) = info.timeout(|a| &a.schedule_to_close_timeout) {
            // A reset gives it its time again.
            armed_by((activity.first_scheduled(info) + timeout).0, "an activity");
        }
    }
    assert!(derived.activities.keys().eq(progress.activities.keys()), "each pending activity has its progress");
    for initiated in derived.externals.keys().filter(|id| !progress.buffer.answers_external(**id)) {
        let sent = world.outbox.iter().any(|(from, _)| from.run == id);
        assert!(sent, "the request of event {initiated} is on its way");
    }
}

fn one_open_run_per_workflow(world: &World) {
    for (workflow_id, chain) in &world.chains {
        let open: Vec<_> = chain.iter().filter(|id| world.runs[id].execution.is_open()).collect();
        assert!(open.len() <= 1, "two open runs of {workflow_id}");
        let record = &world.current[workflow_id];
        assert_eq!(record.run(), *chain.last().expect("a run"), "the pointer names the latest run");
        let run = &world.runs[&record.run()].execution;
        assert_eq!(record.status, run.status() as i32, "the pointer has the run's status");
        assert_eq!(record.first_run_id, run.first_run_id());
    }
}

/// Each offer on the table is of a task that waits for a poller.
fn offers_are_wanted(world: &World) {
    // A speculative task's offer has no row, and may be found obsolete by the poller that takes it.
    for offer in world.offers.iter().filter(|offer| !offer.volatile) {
        records::offer_round_trips(offer);
        let execution = &world.runs[&offer.run.run].execution;
        assert!(execution.is_open(), "an offer of a closed run");
        let (progress, id) = (&execution.state().progress, offer.key.scheduled_event_id);
        let wanted = match offer.queue.kind {
            QueueKind::Workflow => {
                progress.main.task.as_ref().is_some_and(|t| !t.is_started() && t.scheduled_event_id == id && t.stamp == offer.stamp)
            }
            QueueKind::Nexus => unreachable!("Nexus tasks are never offered"),
            QueueKind::Activity => progress.activities.get(&id).is_some_and(|a| !a.is_started() && a.stamp == offer.stamp),
        };
        assert!(wanted, "nobody waits for {offer:?}");
    }
}

/// With all messages delivered, no child of a closed parent goes on against its close policy, and none is held back.
fn close_policies_reached_the_children(world: &World) {
    for chain in world.chains.values() {
        let Some(child) = chain.last().map(|id| &world.runs[id]).filter(|run| run.execution.is_open()) else { continue };
        let start = child.execution.state().derived.start.event();
        let Some(parent) = &start.parent_workflow_execution else { continue };
        let parent = run_of(world, parent);
        if parent.execution.is_open() || was_reset(world, parent) || was_reset_after(child, parent) {
            continue;
        }
        // Its parent had heard of its end before it was reset: it waits for it no more, and its close is nothing to it.
        let state = &parent.execution.state().derived;
        if child.execution.state().derived.main.reset_time != 0 && !state.children.contains_key(&start.parent_initiated_event_id) {
            continue;
        }
        let events = parent.events();
        let initiated = &events[start.parent_initiated_event_id as usize - 1];
        let Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(asked)) = &initiated.attributes else {
            panic!("a child was initiated")
        };
        let text = || {
            let of = |run: &Run| history_text(world, run.execution.key().run);
            format!("parent\n{}child\n{}", of(parent), of(child))
        };
        match asked.parent_close_policy() {
            ParentClosePolicy::Abandon => {}
            ParentClosePolicy::RequestCancel => {
                let own =
                    chain.iter().map(|id| &world.runs[id]).filter(|run| run.execution.first_run_id() == child.execution.first_run_id());
                let told = own.flat_map(|run| {
                    run.execution
                        .state()
                        .derived
                        .main
                        .cancel_requested
                        .then_some(())
                        .or_else(|| run.execution.state().progress.buffer.cancel_requested().then_some(()))
                });
                assert!(told.count() > 0, "a child was not asked to cancel\n{}", text());
            }
            _ => panic!("a child goes on without its parent\n{}", text()),
        }
    }
}

/// A later run of the workflow was made by a reset: the children may be that one's.
fn was_reset(world: &World, run: &Run) -> bool {
    let key = run.execution.key();
    let later = world.chains[&key.workflow.workflow_id].iter().skip_while(|id| **id != key.run).skip(1);
    later.into_iter().any(|id| world.runs[id].execution.state().derived.main.reset_time != 0)
}

/// The child was reset when its parent was closed already: whoever did so wants it to go on.
fn was_reset_after(child: &Run, parent: &Run) -> bool {
    let own = &parent.execution.state().derived.main;
    // Run ids begin with the wall clock's milliseconds; a run's own time may be ahead of it.
    let closed = Timestamp(own.close_time) - Span(own.time_skipping.as_ref().map_or(0, |own| own.skipped));
    let made = child.execution.key().run.0.0[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
    child.execution.state().derived.main.reset_time != 0 && made >= closed.millis()
}

fn run_of<'w>(world: &'w World, execution: &WorkflowExecution) -> &'w Run {
    &world.runs[&RunId::parse(&execution.run_id).expect("a run id")]
}
