//! Nexus operations as their caller sees them: spec 08 §5.2–5.4.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    common::{
        Link,
        link::{self, WorkflowEvent, workflow_event},
    },
    enums::{EventType, NexusOperationCancellationState, PendingNexusOperationState, ResetReapplyExcludeType, TimeoutType},
    failure::{CanceledFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
    history::history_event::Attributes,
    workflow::PendingNexusOperationInfo,
};
use sempre_core::{
    Input, Refusal, Reply, Timestamp,
    input::OperationCompletion,
    state::callback::{Outcome, OutcomeState},
    transition::{OperationCancelResult, OperationResult},
};

/// Events of a first task whose only command scheduled the operation: its Scheduled event is number 5.
const SCHEDULED: &str = "
    1 WorkflowExecutionStarted
    2 WorkflowTaskScheduled
    3 WorkflowTaskStarted {scheduled 2}
    4 WorkflowTaskCompleted {scheduled 2, started 3}
    5 NexusOperationScheduled {at endpoint/service/operation, wtc 4}
";

fn pending(world: &World) -> Vec<PendingNexusOperationInfo> {
    world.run("w").execution.describe(world.now).pending_nexus_operations
}

fn a_link() -> Link {
    let reference = workflow_event::EventReference { event_id: 1, event_type: EventType::WorkflowExecutionStarted as i32 };
    let event = WorkflowEvent {
        namespace: "other".into(),
        workflow_id: "handler".into(),
        run_id: "run".into(),
        reference: Some(workflow_event::Reference::EventRef(reference)),
    };
    Link { variant: Some(link::Variant::WorkflowEvent(event)) }
}

fn handler_failure(message: &str) -> Box<Failure> {
    let info = NexusHandlerFailureInfo { r#type: "BAD_REQUEST".into(), ..Default::default() };
    Box::new(Failure { message: message.into(), failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), ..Default::default() })
}

/// A completion as the callback of the first request to start would bring it.
fn completion(world: &World, outcome: Outcome) -> OperationCompletion {
    let info = world.operations_started.first().expect("a request to start").scheduled();
    OperationCompletion {
        scheduled_event_id: 5,
        request_id: info.request_id,
        token: "token".into(),
        start_time: Some(world.now - secs(1)),
        links: vec![a_link()],
        outcome,
    }
}

fn succeeded() -> Outcome {
    Outcome { result: Some(payload("result")), ..Default::default() }
}

fn tell(world: &mut World, completion: OperationCompletion) -> Result<Reply, Refusal> {
    world.apply("w", Input::CompleteOperation(Box::new(completion)))
}

fn complete_operation(world: &mut World, outcome: Outcome) -> Result<Reply, Refusal> {
    let completion = completion(world, outcome);
    tell(world, completion)
}

fn assert_ends(world: &World, rest: &str) {
    assert_history(world, "w", &format!("{SCHEDULED}{rest}"));
}

/// 08 §5.4 step 4: the answer to the start is the result
#[test]
fn an_operation_that_is_done_at_once_has_no_start() {
    let mut world = World::new();
    world.begin("w", [with(operation(), |a| a.nexus_header = [("Key".to_string(), "value".to_string())].into()).command()]);
    assert_eq!(pending(&world)[0].state(), PendingNexusOperationState::Scheduled);
    world.restart();
    world.operation_answers.push_back(OperationResult::Completed { result: Some(payload("result")), links: vec![a_link()] });
    world.deliver();
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 NexusOperationScheduled {at endpoint/service/operation, wtc 4}
        6 NexusOperationCompleted {scheduled 5, result result}
        7 WorkflowTaskScheduled
    ",
    );
    let events = world.run("w").events();
    let Some(Attributes::NexusOperationScheduledEventAttributes(scheduled)) = &events[4].attributes else { panic!("event 5") };
    assert_eq!((scheduled.endpoint_id.as_str(), scheduled.nexus_header["key"].as_str()), ("endpoint-id", "value"));
    let Some(Attributes::NexusOperationCompletedEventAttributes(completed)) = &events[5].attributes else { panic!("event 6") };
    assert_eq!(completed.request_id, scheduled.request_id);
    assert_eq!(events[5].links, [a_link()]);
    let call = &world.operations_started[0];
    assert_eq!(call.scheduled(), **scheduled);
    let Some(link::Variant::WorkflowEvent(to)) = &call.link.as_ref().unwrap().variant else { panic!("a link to an event") };
    assert!(matches!(&to.reference, Some(workflow_event::Reference::EventRef(e)) if e.event_id == 5));
    assert!(pending(&world).is_empty() && world.outbox.is_empty());
}

/// 08 §5.4 steps 4, 6
#[test]
fn an_operation_that_goes_on_ends_by_its_completion() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.operation_answers.push_back(OperationResult::Started { token: "token".into(), links: vec![a_link()] });
    world.deliver();
    world.restart();
    let info = pending(&world).remove(0);
    assert_eq!((info.state(), info.operation_token.as_str(), info.attempt), (PendingNexusOperationState::Started, "token", 1));
    complete_operation(&mut world, succeeded()).unwrap();
    assert_ends(
        &world,
        "
        6 NexusOperationStarted {scheduled 5, token token}
        7 WorkflowTaskScheduled
        8 NexusOperationCompleted {scheduled 5, result result}
    ",
    );
    assert_eq!(world.run("w").events()[5].links, [a_link()]);
    let again = complete_operation(&mut world, succeeded());
    assert_eq!(again.unwrap_err(), Refusal::not_found("operation not found"));
}

/// 08 §5.3: the failures of each end
#[test]
fn every_end_is_an_event() {
    let canceled = Failure { failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())), ..failure("canceled") };
    for (state, cause, event) in [
        (OutcomeState::Failed, failure("no"), "8 NexusOperationFailed"),
        (OutcomeState::Canceled, canceled, "8 NexusOperationCanceled"),
        (OutcomeState::Canceled, failure("old form"), "8 NexusOperationCanceled"),
    ] {
        let mut world = World::new();
        world.begin("w", [operation().command()]);
        world.deliver();
        complete_operation(&mut world, Outcome { state: state as i32, failure: Some(cause.clone()), ..Default::default() }).unwrap();
        let message = &cause.message;
        assert_ends(
            &world,
            &format!(
                "
                6 NexusOperationStarted {{scheduled 5, token token}}
                7 WorkflowTaskScheduled
                {event} {{scheduled 5, failure 'nexus operation completed unsuccessfully', cause '{message}'}}
            "
            ),
        );
        let failure = match world.run("w").events().pop().unwrap().attributes {
            Some(Attributes::NexusOperationFailedEventAttributes(a)) => a.failure.unwrap(),
            Some(Attributes::NexusOperationCanceledEventAttributes(a)) => a.failure.unwrap(),
            other => panic!("{other:?}"),
        };
        let Some(FailureInfo::NexusOperationExecutionFailureInfo(info)) = failure.failure_info else { panic!("of an operation") };
        assert_eq!((info.scheduled_event_id, info.operation_token.as_str(), info.endpoint.as_str()), (5, "token", "endpoint"));
        let canceled = matches!(failure.cause.unwrap().failure_info, Some(FailureInfo::CanceledFailureInfo(_)));
        assert_eq!(canceled, state == OutcomeState::Canceled);
    }
}

/// 08 §5.4 step 4
#[test]
fn an_operation_fails_by_the_answer_to_its_start() {
    for (answer, line) in [
        (
            OperationResult::Failed(Box::new(failure("no"))),
            "6 NexusOperationFailed {scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'no'}",
        ),
        (
            OperationResult::Refused(handler_failure("bad")),
            "6 NexusOperationFailed {scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'bad'}",
        ),
        (
            OperationResult::Canceled(Box::new(failure("gone"))),
            "6 NexusOperationCanceled {scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'gone'}",
        ),
        (
            OperationResult::NoTime(TimeoutType::ScheduleToStart as i32),
            "6 NexusOperationTimedOut {scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'operation timed out', ScheduleToStart}",
        ),
    ] {
        let mut world = World::new();
        world.begin("w", [operation().command()]);
        world.operation_answers.push_back(answer);
        world.deliver();
        assert_ends(&world, &format!("{line}\n7 WorkflowTaskScheduled"));
    }
}

/// 08 §5.4 step 4: same request id, 1 s doubling
#[test]
fn a_start_that_does_not_arrive_is_repeated() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.operation_answers.extend([
        OperationResult::Undelivered(handler_failure("busy")),
        OperationResult::Undelivered(handler_failure("busy")),
        OperationResult::Started { token: "token".into(), links: vec![] },
    ]);
    world.deliver();
    world.restart();
    let info = pending(&world).remove(0);
    assert_eq!((info.state(), info.attempt), (PendingNexusOperationState::BackingOff, 1));
    assert_eq!(info.next_attempt_schedule_time, Some((world.now + secs(1)).to_api()));
    assert_eq!(info.last_attempt_failure.unwrap().message, "busy");
    world.advance(secs(1));
    assert_eq!(pending(&world)[0].state(), PendingNexusOperationState::Scheduled);
    world.deliver();
    world.advance(Timestamp(1_999_000_000).since(Timestamp(0)));
    assert!(world.outbox.is_empty(), "the second wait is twice as long");
    world.advance(Timestamp(1_000_000).since(Timestamp(0)));
    world.deliver();
    assert_eq!(world.operations_started.iter().map(|call| call.attempt).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(world.operations_started.windows(2).all(|calls| calls[0].scheduled() == calls[1].scheduled()));
    assert_ends(&world, "6 NexusOperationStarted {scheduled 5, token token}\n7 WorkflowTaskScheduled");
    assert_eq!(pending(&world)[0].attempt, 3);
}

#[test]
fn an_answer_told_twice_is_one_start() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver_nth_told_twice(0);
    assert_ends(&world, "6 NexusOperationStarted {scheduled 5, token token}\n7 WorkflowTaskScheduled");
}

/// 08 §5.4 step 6: the end is told before the start is answered
#[test]
fn an_end_that_comes_before_the_start_brings_the_start() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver_one_unheard();
    let start_time = world.now - secs(1);
    complete_operation(&mut world, succeeded()).unwrap();
    let ends = "
        6 NexusOperationStarted {scheduled 5, token token}
        7 NexusOperationCompleted {scheduled 5, result result}
        8 WorkflowTaskScheduled
    ";
    assert_ends(&world, ends);
    let started = world.run("w").events().remove(5);
    assert_eq!((started.event_time, started.links), (Some(start_time.to_api()), vec![a_link()]));
    world.deliver();
    assert_ends(&world, ends);
    assert!(world.outbox.is_empty());
}

/// 08 §5.4 step 6
#[test]
fn a_completion_of_another_request_is_not_found() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver();
    let mut other = completion(&world, succeeded());
    other.request_id = "other".into();
    assert_eq!(tell(&mut world, other).unwrap_err(), Refusal::not_found("operation not found"));
    let mut other = completion(&world, succeeded());
    other.scheduled_event_id = 4;
    assert_eq!(tell(&mut world, other).unwrap_err(), Refusal::not_found("operation not found"));
    world.terminate("w", "enough").unwrap();
    assert_eq!(complete_operation(&mut world, succeeded()).unwrap_err(), Refusal::closed());
}

/// Spec 01 §2.2–2.3 for operations: news wait, closings come last, and the operation is not pending for who asks
#[test]
fn news_of_operations_wait_for_the_running_task() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.signal("w", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.deliver();
    assert_eq!(pending(&world)[0].state(), PendingNexusOperationState::Started);
    complete_operation(&mut world, succeeded()).unwrap();
    world.signal("w", "more").unwrap();
    world.restart();
    assert!(pending(&world).is_empty());
    assert!(complete_operation(&mut world, succeeded()).is_err(), "it has ended");
    world.complete(&task, [cancel_operation(5)]);
    assert_ends(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 NexusOperationCancelRequested {scheduled 5, wtc 9}
        11 NexusOperationStarted {scheduled 5, token token}
        12 WorkflowExecutionSignaled {name more}
        13 NexusOperationCompleted {scheduled 5, result result}
        14 WorkflowTaskScheduled
    ",
    );
    assert!(world.outbox.is_empty(), "an operation that has ended is not cancelled");
}

/// 08 §5.4 step 7
#[test]
fn a_started_operation_is_asked_to_cancel() {
    let mut world = World::new();
    world.begin("w", [with(operation(), |a| a.nexus_header = [("k".to_string(), "v".to_string())].into()).command()]);
    world.deliver();
    world.operation_cancel_answers.push_back(OperationCancelResult::Undelivered(handler_failure("busy")));
    world.work([cancel_operation(5)]);
    let cancellation = |world: &World| pending(world)[0].cancellation_info.clone().unwrap();
    assert_eq!(cancellation(&world).state(), NexusOperationCancellationState::Scheduled);
    world.deliver();
    world.restart();
    assert_eq!((cancellation(&world).state(), cancellation(&world).attempt), (NexusOperationCancellationState::BackingOff, 1));
    world.advance(secs(1));
    world.deliver();
    assert_eq!(cancellation(&world).state(), NexusOperationCancellationState::Succeeded);
    let call = world.operations_canceled.last().unwrap();
    assert_eq!((call.token.as_str(), call.attempt, call.scheduled().input), ("token", 1, None));
    assert_eq!(call.scheduled().nexus_header["k"], "v");
    let canceled = Outcome { state: OutcomeState::Canceled as i32, failure: Some(failure("canceled")), ..Default::default() };
    complete_operation(&mut world, canceled).unwrap();
    assert_ends(
        &world,
        "
        6 NexusOperationStarted {scheduled 5, token token}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 NexusOperationCancelRequested {scheduled 5, wtc 9}
        11 NexusOperationCancelRequestCompleted {requested 10, scheduled 5}
        12 WorkflowTaskScheduled
        13 NexusOperationCanceled {scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'canceled'}
    ",
    );
    assert!(world.run("w").events()[10].worker_may_ignore);
}

#[test]
fn a_refused_cancel_does_not_end_the_operation() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver();
    world.operation_cancel_answers.push_back(OperationCancelResult::Refused(handler_failure("no such thing")));
    world.work([cancel_operation(5)]);
    world.deliver();
    let info = pending(&world).remove(0).cancellation_info.unwrap();
    assert_eq!(
        (info.state(), info.last_attempt_failure.unwrap().message.as_str()),
        (NexusOperationCancellationState::Failed, "no such thing")
    );
    complete_operation(&mut world, succeeded()).unwrap();
    assert_ends(
        &world,
        "
        6 NexusOperationStarted {scheduled 5, token token}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 NexusOperationCancelRequested {scheduled 5, wtc 9}
        11 NexusOperationCancelRequestFailed {requested 10, scheduled 5, failure 'no such thing'}
        12 WorkflowTaskScheduled
        13 NexusOperationCompleted {scheduled 5, result result}
    ",
    );
}

/// 08 §5.4 step 7: it waits for the handler's token
#[test]
fn a_cancel_before_the_start_goes_out_after_it() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.signal("w", "go").unwrap();
    world.work([cancel_operation(5)]);
    assert_eq!(pending(&world)[0].cancellation_info.as_ref().unwrap().state(), NexusOperationCancellationState::Unspecified);
    assert_eq!(world.outbox.len(), 1, "only the start");
    world.deliver_one();
    assert_eq!(world.outbox.len(), 1, "now the cancel");
    world.deliver();
    assert_ends(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 NexusOperationCancelRequested {scheduled 5, wtc 9}
        11 NexusOperationStarted {scheduled 5, token token}
        12 WorkflowTaskScheduled
        13 NexusOperationCancelRequestCompleted {requested 10, scheduled 5}
    ",
    );
    assert_eq!(world.operations_canceled[0].token, "token");
}

/// 08 §5.4 step 5
#[test]
fn each_timeout_ends_the_operation() {
    type Change = fn(&mut sempre_api::v1::command::ScheduleNexusOperationCommandAttributes);
    let cases: [(Change, bool, &str); 3] = [
        (|a| a.schedule_to_close_timeout = duration(5), true, "ScheduleToClose"),
        (|a| a.schedule_to_start_timeout = duration(5), false, "ScheduleToStart"),
        (|a| a.start_to_close_timeout = duration(5), true, "StartToClose"),
    ];
    for (change, starts, kind) in cases {
        let mut world = World::new();
        world.begin("w", [with(operation(), change).command()]);
        let mut before = "";
        if starts {
            world.deliver();
            before = "6 NexusOperationStarted {scheduled 5, token token}\n7 WorkflowTaskScheduled\n";
        }
        world.advance(secs(4));
        assert_ends(&world, before);
        world.advance(secs(1));
        let at = if starts { 8 } else { 6 };
        let after = if starts { "" } else { "7 WorkflowTaskScheduled" };
        assert_ends(
            &world,
            &format!(
                "{before}
                {at} NexusOperationTimedOut {{scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'operation timed out', {kind}}}
                {after}"
            ),
        );
        world.deliver();
        assert!(world.outbox.is_empty() && pending(&world).is_empty());
    }
}

#[test]
fn a_started_operation_waits_longer_than_its_schedule_to_start() {
    let mut world = World::new();
    world.begin("w", [with(operation(), |a| a.schedule_to_start_timeout = duration(5)).command()]);
    world.deliver();
    world.advance(secs(100));
    assert_ends(&world, "6 NexusOperationStarted {scheduled 5, token token}\n7 WorkflowTaskScheduled");
}

/// 08 §5.2: schedule-to-close is at most the run's timeout, the others at most that
#[test]
fn timeouts_are_bounded_by_the_run() {
    let mut world = World::new();
    world.start_with(with(start_request("w"), |r| r.workflow_run_timeout = duration(60))).unwrap();
    world.work([
        with(operation(), |a| {
            a.schedule_to_close_timeout = duration(100);
            a.schedule_to_start_timeout = duration(70);
        })
        .command(),
        operation().command(),
    ]);
    let events = world.run("w").events();
    let timeouts = |at: usize| match &events[at].attributes {
        Some(Attributes::NexusOperationScheduledEventAttributes(a)) => {
            (a.schedule_to_close_timeout, a.schedule_to_start_timeout, a.start_to_close_timeout)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(timeouts(4), (duration(60), duration(60), None));
    assert_eq!(timeouts(5), (duration(60), None, None));
}

/// Nothing is asked for a run that is closed, and what comes back is not wanted
#[test]
fn a_closed_run_asks_for_nothing() {
    let mut world = World::new();
    world.begin("w", [operation().command(), operation().command()]);
    world.deliver_one();
    assert_eq!(world.outbox.len(), 1);
    world.work([cancel_operation(5), operation().command(), complete()]);
    assert!(world.outbox.is_empty(), "{:?}", world.outbox);
    assert!(pending(&world).is_empty());
    assert_eq!(complete_operation(&mut world, succeeded()).unwrap_err(), Refusal::closed());
}

/// The next run of a chain has none of the operations of the one before
#[test]
fn operations_do_not_go_on_in_the_next_run() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver();
    world.work([continue_as_new().command()]);
    assert!(pending(&world).is_empty());
    assert_eq!(complete_operation(&mut world, succeeded()).unwrap_err(), Refusal::not_found("operation not found"));
}

/// A close that is undone has not withdrawn anything
#[test]
fn a_refused_close_leaves_requests_as_they_are() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.signal("w", "go").unwrap();
    world.limits.transaction_size_max = 100;
    let task = world.poll_workflow(QUEUE).unwrap();
    let large = sempre_api::v1::command::CompleteWorkflowExecutionCommandAttributes { result: payloads(&"x".repeat(200)) };
    let refused = world.complete_with(&task, [large.command()], |_| {});
    assert!(refused.is_err() && !world.run("w").execution.is_open(), "too large a step ends the run: {refused:?}");
    assert!(world.outbox.is_empty(), "and it is closed with all it asked for");
}

/// 01 §12.3: what is not known of an operation is asked again, by the same request id
#[test]
fn a_reset_starts_a_pending_operation_again() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.signal("w", "go").unwrap();
    world.work([marker("m")]);
    let first = world.outbox[0].1.clone();
    world.reset("w", 9);
    assert_eq!(world.outbox.len(), 1, "the base run's request is withdrawn");
    world.deliver();
    let call = &world.operations_started[0];
    let sempre_core::transition::OutboxMessage::StartOperation(of_base) = first.message else { panic!("a start") };
    assert_eq!((call.attempt, call.scheduled()), (0, of_base.scheduled()));
    assert_eq!(pending(&world)[0].state(), PendingNexusOperationState::Started);
    complete_operation(&mut world, succeeded()).unwrap();
    assert!(pending(&world).is_empty());
}

/// 01 §12.3: its start and its end are told again, unless that is excluded
#[test]
fn a_reset_tells_news_of_operations_again() {
    let started_and_done = || {
        let mut world = World::new();
        world.begin("w", [operation().command()]);
        world.signal("w", "go").unwrap();
        world.work([marker("m")]);
        world.deliver();
        complete_operation(&mut world, succeeded()).unwrap();
        world
    };
    let begin = "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
    ";
    let mut world = started_and_done();
    world.reset("w", 9);
    assert_ends(
        &world,
        &format!(
            "{begin}
            10 NexusOperationStarted {{scheduled 5, token token}}
            11 NexusOperationCompleted {{scheduled 5, result result}}
            12 WorkflowTaskScheduled"
        ),
    );
    assert!(world.outbox.is_empty());

    let mut world = started_and_done();
    let request = with(reset::reset_request(&mut world, "w", 9), |r| {
        r.reset_reapply_exclude_types = vec![ResetReapplyExcludeType::Nexus as i32];
    });
    world.reset_with(request).unwrap();
    assert_ends(&world, &format!("{begin}10 WorkflowTaskScheduled"));
    world.deliver();
    assert_eq!(world.operations_started.len(), 2, "it is asked for again");
}

/// A cancel asked for before the reset point, and not answered there, goes out again
#[test]
fn a_reset_repeats_an_unanswered_cancel() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver();
    world.work([cancel_operation(5)]);
    world.signal("w", "go").unwrap();
    world.deliver();
    world.work([marker("m")]);
    assert_eq!(world.operations_canceled.len(), 1);
    let finish = world.run("w").events().iter().rev().find(|e| e.event_type() == EventType::WorkflowTaskCompleted).unwrap().event_id;
    let cut = world.run("w").events().iter().find(|e| e.event_type() == EventType::NexusOperationCancelRequestCompleted).unwrap().event_id;
    assert!(cut < finish);
    world.reset("w", finish);
    assert!(world.outbox.is_empty(), "the answer is known");
    world.reset_run("w", 1, 9);
    world.deliver();
    assert_eq!(world.operations_canceled.len(), 1, "the request came after the point");
    assert_eq!(pending(&world)[0].state(), PendingNexusOperationState::Started);
}

/// An operation may go on after its caller was reset: its end finds the new run
#[test]
fn the_end_of_an_operation_of_before_the_point_is_the_new_runs() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver();
    world.work([marker("m")]);
    world.reset("w", 9);
    assert!(world.outbox.is_empty(), "it is started");
    complete_operation(&mut world, succeeded()).unwrap();
    assert_ends(
        &world,
        "
        6 NexusOperationStarted {scheduled 5, token token}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 WorkflowTaskScheduled
        11 NexusOperationCompleted {scheduled 5, result result}
    ",
    );
}

/// The circuit breaker of an endpoint: what is put off is no attempt, and is tried again by itself
#[test]
fn an_operation_whose_endpoint_seems_to_be_down_is_put_off() {
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    let until = world.now + secs(60);
    world.operation_answers.push_back(OperationResult::Blocked(until));
    world.deliver();
    world.restart();
    let info = pending(&world).remove(0);
    assert_eq!((info.state(), info.attempt), (PendingNexusOperationState::Blocked, 0));
    assert_eq!((info.blocked_reason.as_str(), info.next_attempt_schedule_time), ("The circuit breaker is open.", None));
    world.advance(secs(59));
    assert!(world.outbox.is_empty());
    world.advance(secs(1));
    assert_eq!(pending(&world)[0].state(), PendingNexusOperationState::Scheduled);
    assert_eq!(pending(&world)[0].blocked_reason, "");
    world.deliver();
    assert_eq!((pending(&world)[0].state(), pending(&world)[0].attempt), (PendingNexusOperationState::Started, 1));
    let ids: Vec<_> = world.operations_started.iter().map(|call| (call.attempt, call.scheduled().request_id)).collect();
    assert_eq!(ids[0], ids[1], "the same attempt");
    // And so with a cancel.
    let until = world.now + secs(30);
    world.operation_cancel_answers.push_back(OperationCancelResult::Blocked(until));
    world.work([cancel_operation(5)]);
    world.deliver();
    world.restart();
    let cancellation = pending(&world)[0].cancellation_info.clone().unwrap();
    assert_eq!((cancellation.state(), cancellation.attempt), (NexusOperationCancellationState::Blocked, 0));
    assert_eq!(cancellation.blocked_reason, "The circuit breaker is open.");
    world.advance(secs(30));
    world.deliver();
    assert_eq!(pending(&world)[0].cancellation_info.clone().unwrap().state(), NexusOperationCancellationState::Succeeded);
}

#[test]
fn what_is_put_off_still_times_out_and_ends() {
    let mut world = World::new();
    world.begin("w", [with(operation(), |a| a.schedule_to_close_timeout = duration(10)).command()]);
    let until = world.now + secs(60);
    world.operation_answers.push_back(OperationResult::Blocked(until));
    world.deliver();
    world.advance(secs(10));
    assert_ends(
        &world,
        "
        6 NexusOperationTimedOut {scheduled 5, failure 'nexus operation completed unsuccessfully', cause 'operation timed out', ScheduleToClose}
        7 WorkflowTaskScheduled
    ",
    );
    // An end that is told between the request and its being put off.
    let mut world = World::new();
    world.begin("w", [operation().command()]);
    world.deliver_one_unheard();
    complete_operation(&mut world, succeeded()).unwrap();
    assert!(pending(&world).is_empty());
}
