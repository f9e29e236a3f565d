//! Completion callbacks: spec 01 §11, 08 §5.7.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    command::{CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes},
    common::{
        Link, TimeSkippingConfig, callback,
        link::{self, workflow_event::Reference},
    },
    enums::{CallbackState, EventType, WorkflowIdConflictPolicy},
    failure::failure::FailureInfo,
    history::history_event::Attributes,
    workflow::{CallbackInfo, OnConflictOptions},
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{
    Refusal, RunId,
    state::callback::OutcomeState,
    transition::{CallbackCall, CallbackResult},
};

fn request(names: &[&str]) -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| r.completion_callbacks = names.iter().map(|name| callback(name)).collect())
}

fn attach(request_id: &str, names: &[&str]) -> StartWorkflowExecutionRequest {
    with(request(names), |r| {
        r.request_id = request_id.into();
        r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
        r.on_conflict_options = Some(OnConflictOptions { attach_request_id: true, attach_completion_callbacks: true, attach_links: false });
    })
}

fn infos_of(world: &World, run: RunId) -> Vec<CallbackInfo> {
    world.runs[&run].execution.describe(world.now).callbacks
}

fn infos(world: &World) -> Vec<CallbackInfo> {
    infos_of(world, world.current_run("wf"))
}

fn states(world: &World) -> Vec<CallbackState> {
    infos(world).iter().map(CallbackInfo::state).collect()
}

fn host(call: &CallbackCall) -> String {
    let Some(callback::Variant::Nexus(nexus)) = call.callback.clone().unwrap().variant else { panic!("a Nexus callback") };
    nexus.url.trim_start_matches("http://").split(':').next().unwrap().into()
}

fn complete_with(text: &str) -> sempre_api::v1::command::Command {
    CompleteWorkflowExecutionCommandAttributes { result: payloads(text) }.command()
}

fn undelivered(text: &str) -> CallbackResult {
    CallbackResult::Undelivered(text.into())
}

#[test]
fn a_callback_waits_for_the_end_and_is_told_the_result() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    assert_eq!(states(&world), [CallbackState::Standby]);
    world.work([timer("1", secs(5))]);
    assert!(world.outbox.is_empty());
    world.advance(secs(5));
    world.work([complete_with("done")]);
    assert_eq!(states(&world), [CallbackState::Scheduled]);
    world.restart();
    world.deliver();
    let info = infos(&world).remove(0);
    assert_eq!((info.state(), info.attempt), (CallbackState::Succeeded, 1));
    assert_eq!(info.last_attempt_complete_time, Some(world.now.to_api()));
    assert_eq!((info.last_attempt_failure, info.next_attempt_schedule_time), (None, None));
    assert_eq!(info.request_id, world.current["wf"].start_request_id);
    assert_eq!(info.registration_time, world.run("wf").events()[0].event_time);
    let call = world.called_back.remove(0);
    let outcome = call.outcome.unwrap();
    assert_eq!((outcome.state(), outcome.result), (OutcomeState::Succeeded, Some(payload("done"))));
    assert_eq!(outcome.close_time, world.now.0);
    let Some(link::Variant::WorkflowEvent(event)) = call.link.unwrap().variant else { panic!("a workflow link") };
    assert!(
        matches!(event.reference, Some(Reference::EventRef(e)) if e.event_id == 1 && e.event_type() == EventType::WorkflowExecutionStarted)
    );
    assert!(world.called_back.is_empty());
}

#[test]
fn header_names_are_lower_case_and_the_event_has_the_callback() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = world.run("wf").events().remove(0).attributes else {
        panic!("event 1")
    };
    let Some(callback::Variant::Nexus(nexus)) = &started.completion_callbacks[0].variant else { panic!("a Nexus callback") };
    assert_eq!(nexus.header["nexus-callback-token"], "a");
    assert_eq!(infos(&world)[0].callback.as_ref(), Some(&started.completion_callbacks[0]));
}

/// 08 §5.7: what each kind of end is told as
#[test]
fn every_end_is_told() {
    type End = fn(&mut World);
    let cases: [(End, OutcomeState, &str); 4] = [
        (
            |w| {
                w.work([fail("no")]);
            },
            OutcomeState::Failed,
            "no",
        ),
        (
            |w| {
                w.terminate("wf", "enough").unwrap();
            },
            OutcomeState::Failed,
            "operation terminated",
        ),
        (|w| w.advance(secs(100)), OutcomeState::Failed, "operation exceeded internal timeout"),
        (
            |w| {
                w.request_cancel("wf", "enough").unwrap();
                w.work([cancel()]);
            },
            OutcomeState::Canceled,
            "operation canceled",
        ),
    ];
    for (end, state, message) in cases {
        let mut world = World::with_callbacks();
        world.start_with(with(request(&["a"]), |r| r.workflow_run_timeout = duration(100))).unwrap();
        end(&mut world);
        world.deliver();
        let outcome = world.called_back.remove(0).outcome.unwrap();
        let failure = outcome.failure.clone().unwrap();
        assert_eq!((outcome.state(), failure.message.as_str(), outcome.result), (state, message, None));
        let fits = match message {
            "no" => matches!(failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(_))),
            "operation terminated" => matches!(failure.failure_info, Some(FailureInfo::TerminatedFailureInfo(_))),
            "operation canceled" => matches!(failure.failure_info, Some(FailureInfo::CanceledFailureInfo(_))),
            _ => matches!(failure.failure_info, Some(FailureInfo::TimeoutFailureInfo(_))),
        };
        assert!(fits, "{failure:?}");
    }
}

#[test]
fn what_cannot_be_delivered_is_tried_again_ever_later() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    world.work([complete()]);
    for (attempt, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        world.callback_answers.push_back(undelivered("busy"));
        world.deliver();
        let info = infos(&world).remove(0);
        assert_eq!((info.state(), info.attempt), (CallbackState::BackingOff, attempt));
        assert_eq!(info.next_attempt_schedule_time, Some((world.now + secs(wait)).to_api()));
        let failure = info.last_attempt_failure.unwrap();
        assert_eq!(failure.message, "busy");
        assert!(matches!(failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(a)) if !a.non_retryable));
        world.restart();
        world.advance(sempre_core::Span(secs(wait).0 - 1_000_000));
        assert!(world.outbox.is_empty(), "not before its time");
        world.advance(sempre_core::Span::millis(1));
        assert_eq!(states(&world), [CallbackState::Scheduled]);
    }
    world.deliver();
    let info = infos(&world).remove(0);
    assert_eq!((info.state(), info.attempt, info.last_attempt_failure), (CallbackState::Succeeded, 5, None));
    assert_eq!(world.called_back.len(), 5);
}

/// The circuit breaker of a host: what is put off is no attempt, and is tried again by itself
#[test]
fn a_host_that_seems_to_be_down_is_not_asked() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    world.work([complete()]);
    world.callback_answers.push_back(CallbackResult::Blocked(world.now + secs(60)));
    world.deliver();
    let info = infos(&world).remove(0);
    assert_eq!((info.state(), info.attempt, info.blocked_reason.as_str()), (CallbackState::Blocked, 0, "The circuit breaker is open."));
    assert_eq!((info.next_attempt_schedule_time, info.last_attempt_failure), (None, None));
    world.restart();
    world.advance(secs(60));
    assert_eq!(states(&world), [CallbackState::Scheduled]);
    world.deliver();
    let info = infos(&world).remove(0);
    assert_eq!((info.state(), info.attempt, info.blocked_reason.as_str()), (CallbackState::Succeeded, 1, ""));
}

#[test]
fn a_host_that_seems_to_be_down_is_left_alone_by_a_run_whose_clock_is_ahead() {
    let mut world = World::with_callbacks();
    world.limits.time_skipping = true;
    let config = TimeSkippingConfig { enabled: true, ..Default::default() };
    world.start_with(with(request(&["a"]), |r| r.time_skipping_config = Some(config))).unwrap();
    world.work([timer("t", secs(86_400))]);
    world.advance(secs(0));
    world.work([complete()]);
    world.callback_answers.push_back(CallbackResult::Blocked(world.now + secs(60)));
    world.deliver();
    assert_eq!(states(&world), [CallbackState::Blocked]);
    world.advance(secs(59));
    assert_eq!(states(&world), [CallbackState::Blocked], "not before");
    world.advance(secs(1));
    assert_eq!(states(&world), [CallbackState::Scheduled]);
}

#[test]
fn waits_are_at_most_an_hour() {
    let mut world = World::with_callbacks();
    world.namespace.retention = secs(30 * 86_400);
    world.start_with(request(&["a"])).unwrap();
    world.work([complete()]);
    for _ in 0..14 {
        world.callback_answers.push_back(undelivered("busy"));
        world.deliver();
        world.advance(secs(3600));
    }
    world.callback_answers.push_back(undelivered("busy"));
    world.deliver();
    assert_eq!(infos(&world)[0].next_attempt_schedule_time, Some((world.now + secs(3600)).to_api()));
}

#[test]
fn what_is_refused_is_not_tried_again() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a", "b"])).unwrap();
    world.work([complete()]);
    world.callback_answers.push_back(CallbackResult::Refused("gone".into()));
    world.deliver();
    assert_eq!(states(&world), [CallbackState::Failed, CallbackState::Succeeded]);
    let failure = infos(&world).remove(0).last_attempt_failure.unwrap();
    assert!(matches!(failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(a)) if a.non_retryable));
    world.advance(secs(3600));
    assert!(world.outbox.is_empty());
}

/// An answer that is heard twice counts once
#[test]
fn an_attempt_counts_once() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    world.work([complete()]);
    world.callback_answers.push_back(undelivered("busy"));
    world.deliver_nth_told_twice(0);
    assert_eq!(infos(&world)[0].attempt, 1);
    world.advance(secs(1));
    world.deliver();
    assert_eq!(states(&world), [CallbackState::Succeeded]);
}

/// 01 §11, §10: not told of a run that goes on; the next run has it
#[test]
fn continue_as_new_carries_callbacks_on() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    world.start_with(attach("other", &["b"])).unwrap();
    world.work([ContinueAsNewWorkflowExecutionCommandAttributes::default().command()]);
    world.deliver();
    assert!(world.called_back.is_empty());
    let first = world.chains["wf"][0];
    assert!(infos_of(&world, first).iter().all(|info| info.state() == CallbackState::Standby));
    assert_eq!(states(&world), [CallbackState::Standby; 2]);
    world.work([complete_with("done")]);
    world.deliver();
    assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(states(&world), [CallbackState::Succeeded; 2]);
}

/// 01 §8, §10
#[test]
fn the_next_run_of_a_chain_has_the_links_of_the_first() {
    let event = link::WorkflowEvent { namespace: "n".into(), workflow_id: "w".into(), run_id: "r".into(), reference: None };
    let link = Link { variant: Some(link::Variant::WorkflowEvent(event)) };
    let mut world = World::with_callbacks();
    world.start_with(with(request(&[]), |r| r.links = vec![link.clone()])).unwrap();
    world.work([ContinueAsNewWorkflowExecutionCommandAttributes::default().command()]);
    assert_eq!(world.run("wf").events().remove(0).links, [link]);
}

/// 01 §8, §11
#[test]
fn a_retry_carries_callbacks_on() {
    let mut world = World::with_callbacks();
    world.start_with(with(request(&["a"]), |r| r.retry_policy = retry(2))).unwrap();
    world.work([fail("first")]);
    world.deliver();
    assert!(world.called_back.is_empty());
    world.advance(secs(1));
    world.work([fail("second")]);
    world.deliver();
    assert_eq!(world.called_back.len(), 1);
    assert_eq!(world.called_back[0].outcome.clone().unwrap().failure.unwrap().message, "second");
}

/// 01 §8, §3.3.2: what was attached while a task was under way is the next run's, too
#[test]
fn a_retry_after_a_timeout_has_what_was_attached_beside_a_task() {
    let mut world = World::with_callbacks();
    world.start_with(with(request(&["a"]), |r| (r.retry_policy, r.workflow_run_timeout) = (retry(2), duration(5)))).unwrap();
    let _taken = world.poll_workflow(QUEUE).unwrap();
    world.start_with(attach("other", &["b"])).unwrap();
    world.advance(secs(5));
    world.advance(secs(1));
    world.work([complete_with("done")]);
    world.deliver();
    assert_eq!(world.chains["wf"].len(), 2);
    assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["a", "b"]);
}

/// 01 §12.2: a successor has what was attached to the run before, and so has the new run; nobody hears of an end meanwhile
#[test]
fn a_reset_of_a_run_before_its_successor_takes_callbacks_along() {
    for by_retry in [false, true] {
        let mut world = World::with_callbacks();
        world.start_with(with(request(&["a"]), |r| r.retry_policy = retry(2))).unwrap();
        world.start_with(attach("other", &["b"])).unwrap();
        world.work([if by_retry { fail("first") } else { ContinueAsNewWorkflowExecutionCommandAttributes::default().command() }]);
        assert_eq!(world.chains["wf"].len(), 2);
        let finish = world.runs[&world.chains["wf"][0]]
            .events()
            .iter()
            .find(|event| event.event_type() == EventType::WorkflowTaskCompleted)
            .unwrap()
            .event_id;
        world.reset_run("wf", 1, finish);
        world.deliver();
        assert!(world.called_back.is_empty(), "{:?}", world.called_back.iter().map(host).collect::<Vec<_>>());
        world.work([complete_with("done")]);
        world.deliver();
        assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["a", "b"]);
    }
}

/// 01 §12.3: where nothing is applied again, the new run does not know of what was attached since
#[test]
fn a_reset_that_leaves_callbacks_behind_tells_them() {
    use sempre_api::v1::enums::ResetReapplyExcludeType::{Nexus, Signal, Update};
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    world.work([timer("1", secs(5))]);
    world.start_with(attach("other", &["b"])).unwrap();
    let mut reset = reset::reset_request(&mut world, "wf", 4);
    reset.reset_reapply_exclude_types = vec![Signal as i32, Update as i32, Nexus as i32];
    world.reset_with(reset).unwrap();
    world.deliver();
    assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["b"]);
    let told = world.called_back[0].outcome.clone().unwrap().failure.unwrap();
    assert_eq!(told.message, "operation terminated");
    world.work([complete_with("done")]);
    world.deliver();
    assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["b", "a"]);
}

/// 01 §12.2: the run that is the current one by then ends with the reset of an older one, and its callers hear of it
#[test]
fn a_reset_of_an_older_run_tells_the_callbacks_of_the_one_it_ends() {
    let mut world = World::with_callbacks();
    world.begin("wf", [complete()]);
    world.start_with(request(&["a"])).unwrap();
    world.work([]);
    world.reset_run("wf", 1, 4);
    world.deliver();
    assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["a"]);
    assert_eq!(world.called_back[0].outcome.clone().unwrap().failure.unwrap().message, "operation terminated");
}

/// 01 §12.2: a run that a reset ends is not the end; the new run tells
#[test]
fn a_reset_takes_callbacks_along() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    world.work([timer("1", secs(5))]);
    world.start_with(attach("other", &["b"])).unwrap();
    let old = world.current_run("wf");
    world.reset("wf", 4);
    assert_ne!(world.current_run("wf"), old);
    assert!(infos_of(&world, old).iter().all(|info| info.state() == CallbackState::Standby));
    assert_eq!(states(&world), [CallbackState::Standby; 2]);
    world.work([complete_with("done")]);
    world.deliver();
    assert_eq!(world.called_back.iter().map(host).collect::<Vec<_>>(), ["a", "b"]);
}

/// 01 §9: each cron run is an end; the next one does not have them
#[test]
fn cron_does_not_carry_callbacks_on() {
    let mut world = World::with_callbacks();
    world.start_with(with(request(&["a"]), |r| r.cron_schedule = "* * * * *".into())).unwrap();
    world.advance(secs(60));
    world.work([complete_with("done")]);
    world.deliver();
    assert_eq!(world.called_back.len(), 1);
    assert_eq!(infos(&world), []);
    assert_eq!(world.chains["wf"].len(), 2);
}

/// 01 §3.3.2, 08 §5.7: the link names the call that attached it
#[test]
fn an_attached_callback_is_told_with_a_link_to_its_request() {
    let mut world = World::with_callbacks();
    world.start_with(request(&["a"])).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.start_with(attach("other", &["b"])).unwrap();
    world.restart();
    world.start_with(attach("other", &["b"])).unwrap();
    world.complete(&task, []);
    assert_eq!(infos(&world).iter().map(|info| info.request_id.as_str()).collect::<Vec<_>>(), ["start-1", "other"]);
    world.work([complete()]);
    world.deliver();
    let Some(link::Variant::WorkflowEvent(event)) = world.called_back.remove(1).link.unwrap().variant else { panic!("a workflow link") };
    let Some(Reference::RequestIdRef(reference)) = event.reference else { panic!("a request id reference") };
    assert_eq!((reference.request_id.as_str(), reference.event_type()), ("other", EventType::WorkflowExecutionOptionsUpdated));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionOptionsUpdated {attached other, callbacks 1}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskCompleted {scheduled 6, started 7}
        9 WorkflowExecutionCompleted {wtc 8}
    ",
    );
}

/// 01 §11
#[test]
fn a_run_has_so_many_callbacks_and_no_more() {
    let mut world = World::with_callbacks();
    world.limits.callbacks_max = 3;
    world.start_with(request(&["a"])).unwrap();
    world.poll_workflow(QUEUE).unwrap();
    world.start_with(attach("1", &["b"])).unwrap();
    let refused = world.start_with(attach("2", &["c", "d"])).unwrap_err();
    let text = "cannot attach more than 3 callbacks to a workflow (2 callbacks already attached)";
    assert_eq!(refused, Refusal::FailedPrecondition(text.into()));
    world.start_with(attach("3", &["c"])).unwrap();
    let refused = World::new().start_with(request(&["a"; 33])).unwrap_err();
    assert_eq!(refused, Refusal::invalid("cannot attach more than 32 callbacks to a workflow"));
}

/// 01 §3.1.14
#[test]
fn links_of_callbacks_count_with_the_others_and_are_not_kept_twice() {
    let event = |id: &str| {
        let event = link::WorkflowEvent { namespace: "n".into(), workflow_id: id.into(), run_id: "r".into(), reference: None };
        Link { variant: Some(link::Variant::WorkflowEvent(event)) }
    };
    let mut world = World::with_callbacks();
    let of = |count: usize| {
        with(request(&["a"]), |r| {
            r.completion_callbacks[0].links = vec![event("same")];
            r.links = (0..count).map(|n| event(&n.to_string())).chain([event("same")]).collect();
        })
    };
    let refused = world.start_with(of(10)).unwrap_err();
    assert_eq!(refused, Refusal::invalid("cannot attach more than 10 links per request, got 11"));
    world.start_with(of(2)).unwrap();
    assert_eq!(world.run("wf").events().remove(0).links, [event("0"), event("1")]);
}

/// A run that is gone is told of nothing, and leaves nothing behind
#[test]
fn retention_ends_the_waiting() {
    let mut world = World::with_callbacks();
    world.namespace.retention = secs(10);
    world.start_with(request(&["a"])).unwrap();
    world.work([complete()]);
    for _ in 0..4 {
        world.callback_answers.push_back(undelivered("busy"));
        world.deliver();
        world.advance(secs(3));
    }
    assert!(world.runs.is_empty());
}

/// Safe by default: without a rule nothing outside is called
#[test]
fn addresses_must_be_allowed() {
    let refused = World::new().start_with(request(&["a"])).unwrap_err();
    assert_eq!(refused, Refusal::invalid("invalid url: url does not match any configured callback address: http://a:80/back"));
}
