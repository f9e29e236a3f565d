//! Completion callbacks of updates: 08 §5.7, and what follows from 02 §7.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, reset::*, updates::*, *};
use sempre_api::v1::{
    command::ContinueAsNewWorkflowExecutionCommandAttributes,
    common::{
        Callback, Link, callback,
        link::{self, workflow_event::Reference},
    },
    enums::{CallbackState, EventType, ResetReapplyExcludeType},
    history::history_event::Attributes,
    protocol::Message,
    update::{Outcome, outcome::Value},
    workflow::callback_info::trigger::Variant,
};
use sempre_core::{
    Refusal, RunId,
    input::UpdateRequest,
    transition::{CallbackCall, CallbackResult, UpdateStatus},
    update_outcome,
};

fn world() -> World {
    let mut world = World::with_callbacks();
    world.begin("wf", []);
    world
}

/// Update `u` with a callback, by this request id.
fn request(request_id: &str, name: &str) -> UpdateRequest {
    let request = sempre_api::v1::update::Request {
        request_id: request_id.into(),
        completion_callbacks: vec![callback(name)],
        ..update_request("u")
    };
    UpdateRequest { request: Box::new(request), first_run_id: String::new() }
}

fn message(task: &WorkflowTask) -> Message {
    task.response.messages.iter().find(|m| m.protocol_instance_id == "u").cloned().expect("the task brings the update")
}

/// Update `u` of callback `a` is accepted.
fn accepted() -> World {
    let mut world = world();
    world.update_with("wf", request("first", "a")).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&message(&task))], []).unwrap();
    world
}

fn signal_and_poll(world: &mut World) -> WorkflowTask {
    world.signal("wf", "go").unwrap();
    world.poll_workflow(QUEUE).unwrap()
}

fn complete_update(world: &mut World) {
    let task = signal_and_poll(world);
    world.answer_updates(&task, [respond("u", "done")], []).unwrap();
}

/// `host state update` of each callback of a run.
fn infos_of(world: &World, run: RunId) -> Vec<String> {
    let of = |info: &sempre_api::v1::workflow::CallbackInfo| {
        let Some(Variant::UpdateWorkflowExecutionCompleted(trigger)) = info.trigger.clone().unwrap().variant else { panic!("an update") };
        let state = info.state().as_str_name().trim_start_matches("CALLBACK_STATE_").to_lowercase();
        format!("{} {state} {} {}", host(info.callback.as_ref().unwrap()), trigger.update_id, info.request_id)
    };
    world.runs[&run].execution.describe(world.now).callbacks.iter().map(of).collect()
}

fn infos(world: &World) -> Vec<String> {
    infos_of(world, world.current_run("wf"))
}

fn host(callback: &Callback) -> &str {
    let Some(callback::Variant::Nexus(nexus)) = &callback.variant else { panic!("a Nexus callback") };
    nexus.url.trim_start_matches("http://").split(':').next().unwrap()
}

/// What somebody was told, as the engine fills it in: the outcome of a completed update is in its event.
fn told(world: &World, call: &CallbackCall) -> String {
    let outcome = call.outcome.clone().unwrap_or_else(|| {
        let event = world.run("wf").events().remove(call.outcome_event_id as usize - 1);
        let Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a)) = event.attributes else { panic!("UpdateCompleted") };
        update_outcome(a.outcome.unwrap(), 1)
    });
    let text = match (outcome.result.as_ref(), outcome.failure.as_ref()) {
        (Some(payload), None) => String::from_utf8_lossy(&payload.data).into_owned(),
        (None, Some(failure)) => failure.message.clone(),
        other => panic!("one of them: {other:?}"),
    };
    format!("{} {:?} {text}", host(call.callback.as_ref().unwrap()), outcome.state())
}

fn deliver(world: &mut World) -> Vec<String> {
    world.deliver();
    let calls = std::mem::take(&mut world.called_back);
    calls.iter().map(|call| told(world, call)).collect()
}

const ABORTED: &str = "Workflow Update failed because the Workflow completed before the Update completed.";

#[test]
fn a_callback_is_told_the_outcome_when_the_update_is_completed() {
    let mut world = world();
    world.update_with("wf", request("first", "a")).unwrap();
    assert!(infos(&world).is_empty(), "in memory only");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&message(&task))], []).unwrap();
    assert_eq!(infos(&world), ["a standby u first"]);
    world.restart();
    assert_eq!(deliver(&mut world), [""; 0]);
    complete_update(&mut world);
    assert_eq!(infos(&world), ["a scheduled u first"]);
    world.restart();
    world.deliver();
    let call = world.called_back.remove(0);
    assert_eq!(told(&world, &call), "a Succeeded done");
    assert_eq!(call.outcome, None, "the outcome stays in its event");
    let Some(link::Variant::WorkflowEvent(event)) = call.link.unwrap().variant else { panic!("a link to an event") };
    let Some(Reference::RequestIdRef(reference)) = event.reference else { panic!("a request id reference") };
    assert_eq!((reference.request_id.as_str(), reference.event_type()), ("first", EventType::WorkflowExecutionUpdateAccepted));
    assert_eq!(infos(&world), ["a succeeded u first"]);
    // The run is not over: its end tells nobody again.
    world.signal("wf", "end").unwrap();
    world.work([complete()]);
    assert_eq!(deliver(&mut world), [""; 0]);
    let run = world.run("wf").events();
    let request = run.iter().find_map(|event| match &event.attributes {
        Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => a.accepted_request.clone(),
        _ => None,
    });
    assert_eq!(request.unwrap().completion_callbacks, [callback("a")]);
}

#[test]
fn the_request_id_of_an_update_with_callbacks_names_its_event() {
    let world = accepted();
    let infos = world.run("wf").execution.describe(world.now).workflow_extended_info.unwrap().request_id_infos;
    let of = |id: &str| (infos[id].event_type(), infos[id].event_id, infos[id].buffered);
    assert_eq!(of("first"), (EventType::WorkflowExecutionUpdateAccepted, 8, false));
    assert_eq!(infos.len(), 2);
    assert!(!world.current["wf"].attached_request_ids.contains(&"first".into()), "a start by this request id is another request");
}

#[test]
fn a_later_call_attaches_to_an_accepted_update_once() {
    let mut world = accepted();
    for _ in 0..2 {
        assert_eq!(world.update_with("wf", request("second", "b")), Ok(UpdateStatus::Accepted));
    }
    // The first one, repeated with another address.
    world.update_with("wf", request("first", "c")).unwrap();
    assert_eq!(infos(&world), ["a standby u first", "b standby u second"]);
    assert!(world.poll_workflow(QUEUE).is_none(), "the workflow need not hear of it");
    complete_update(&mut world);
    assert_eq!(deliver(&mut world), ["a Succeeded done", "b Succeeded done"]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 WorkflowExecutionUpdateAccepted {id u, sequencing 5}
        9 WorkflowExecutionOptionsUpdated {update u, attached second, callbacks 1}
        10 WorkflowExecutionSignaled {name go}
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted {scheduled 11}
        13 WorkflowTaskCompleted {scheduled 11, started 12}
        14 WorkflowExecutionUpdateCompleted {id u, accepted 8, success done}
    ",
    );
}

#[test]
fn what_is_attached_before_the_acceptance_follows_it_into_history() {
    let mut world = world();
    world.update_with("wf", request("first", "a")).unwrap();
    world.update_with("wf", request("second", "b")).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update_with("wf", request("third", "c")).unwrap();
    world.update_with("wf", request("second", "b")).unwrap();
    world.answer_updates(&task, [accept(&message(&task)), respond("u", "done")], []).unwrap();
    assert_eq!(deliver(&mut world), ["a Succeeded done", "b Succeeded done", "c Succeeded done"]);
    let events = history_text(&world, world.current_run("wf"));
    let tail: Vec<&str> = events.lines().skip(7).map(str::trim).collect();
    assert_eq!(
        tail,
        [
            "8 WorkflowExecutionUpdateAccepted {id u, sequencing 5}",
            "9 WorkflowExecutionOptionsUpdated {update u, attached second, callbacks 1}",
            "10 WorkflowExecutionOptionsUpdated {update u, attached third, callbacks 1}",
            "11 WorkflowExecutionUpdateCompleted {id u, accepted 8, success done}",
        ]
    );
}

/// The callback waits in the buffer while the very task runs that completes the update.
#[test]
fn a_callback_attached_while_the_last_task_runs_is_told_too() {
    let mut world = accepted();
    let task = signal_and_poll(&mut world);
    world.update_with("wf", request("late", "b")).unwrap();
    world.restart();
    assert_eq!(infos(&world), ["a standby u first"]);
    world.answer_updates(&task, [respond("u", "done")], []).unwrap();
    assert_eq!(deliver(&mut world), ["a Succeeded done", "b Succeeded done"]);
}

#[test]
fn a_completed_update_attaches_nothing() {
    let mut world = accepted();
    complete_update(&mut world);
    deliver(&mut world);
    let events = world.run("wf").events().len();
    assert!(matches!(world.update_with("wf", request("late", "b")), Ok(UpdateStatus::Completed { .. })));
    assert_eq!((world.run("wf").events().len(), infos(&world).len()), (events, 1));
}

/// 02 §7.3: to history it never happened; its callers were told
#[test]
fn a_rejected_update_tells_its_callers_and_no_callback() {
    let mut world = world();
    world.update_with("wf", request("first", "a")).unwrap();
    world.update_with("wf", request("second", "b")).unwrap();
    let rows = world.run("wf").stored().0.clone();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_without_commands(&task, [reject(&message(&task), "no")]).unwrap();
    assert_eq!(*world.run("wf").stored().0, rows);
    assert_eq!(world.take_update_news(), ["u: failure no"]);
    assert_eq!(deliver(&mut world), [""; 0]);
    assert!(infos(&world).is_empty());
}

#[test]
fn an_update_that_fails_tells_its_failure() {
    let mut world = accepted();
    let task = signal_and_poll(&mut world);
    let failed = Outcome { value: Some(Value::Failure(failure("sorry"))) };
    let meta = Some(sempre_api::v1::update::Meta { update_id: "u".into(), ..Default::default() });
    let response = sempre_api::v1::update::Response { meta, outcome: Some(failed) };
    world.answer_updates(&task, [harness::updates::message("u", "u/complete", &response)], []).unwrap();
    assert_eq!(deliver(&mut world), ["a Failed sorry"]);
}

/// The end of the run is the end of its updates, whatever follows it
#[test]
fn the_end_of_a_run_tells_callbacks_of_its_updates() {
    type End = fn(&mut World);
    let ends: [End; 4] = [
        |w| drop(w.terminate("wf", "enough").unwrap()),
        |w| {
            let task = signal_and_poll(w);
            w.complete(&task, [complete()]);
        },
        |w| {
            let task = signal_and_poll(w);
            w.complete(&task, [ContinueAsNewWorkflowExecutionCommandAttributes::default().command()]);
        },
        |w| w.advance(secs(1000)),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let mut world = World::with_callbacks();
        world.start_with(with(start_request("wf"), |r| r.workflow_run_timeout = duration(1000))).unwrap();
        world.work([]);
        world.update_with("wf", request("first", "a")).unwrap();
        let task = world.poll_workflow(QUEUE).unwrap();
        world.answer_updates(&task, [accept(&message(&task))], []).unwrap();
        world.update_with("wf", request("second", "b")).unwrap();
        let run = world.current_run("wf");
        end(&mut world);
        assert_eq!(infos_of(&world, run), ["a scheduled u first", "b scheduled u second"], "end {number}");
        assert_eq!(deliver(&mut world), [format!("a Failed {ABORTED}"), format!("b Failed {ABORTED}")], "end {number}");
        let last = world.current_run("wf");
        assert!(last == run || infos_of(&world, last).is_empty(), "the next run has none of them");
    }
}

#[test]
fn what_cannot_be_delivered_is_tried_again_while_the_run_goes_on() {
    let mut world = accepted();
    complete_update(&mut world);
    for wait in [1, 2] {
        world.callback_answers.push_back(CallbackResult::Undelivered("busy".into()));
        world.deliver();
        assert_eq!(infos(&world), ["a backing_off u first"]);
        world.restart();
        world.advance(secs(wait));
        assert_eq!(infos(&world), ["a scheduled u first"]);
    }
    world.called_back.clear();
    assert_eq!(deliver(&mut world), ["a Succeeded done"]);
    assert_eq!(world.run("wf").execution.describe(world.now).callbacks[0].state(), CallbackState::Succeeded);
}

/// 02 §7.6: a reset admits the update again, with its callbacks, and those attached since
#[test]
fn a_reset_takes_the_callbacks_along() {
    let mut world = accepted();
    world.update_with("wf", request("second", "b")).unwrap();
    let old = world.current_run("wf");
    world.reset("wf", 4);
    assert_eq!(infos_of(&world, old), ["a standby u first", "b standby u second"]);
    assert_eq!(infos(&world), ["a standby u first", "b standby u second"]);
    assert_eq!(deliver(&mut world), [""; 0]);
    let task = world.poll_workflow(QUEUE).unwrap();
    let events = world.run("wf").events();
    let admitted = events.iter().find(|e| e.event_type() == EventType::WorkflowExecutionUpdateAdmitted).unwrap().event_id;
    let acceptance = sempre_api::v1::update::Acceptance {
        accepted_request_message_id: "u/request".into(),
        accepted_request_sequencing_event_id: admitted,
        accepted_request: None,
    };
    let accept = harness::updates::message("u", "u/accept", &acceptance);
    world.answer_updates(&task, [accept, respond("u", "again")], []).unwrap();
    assert_eq!(deliver(&mut world), ["a Succeeded again", "b Succeeded again"]);
}

#[test]
fn a_reset_update_that_is_rejected_then_tells_so() {
    let mut world = accepted();
    world.reset("wf", 4);
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update_with("wf", request("late", "b")).unwrap();
    let rejection = sempre_api::v1::update::Rejection { failure: Some(failure("not now")), ..Default::default() };
    world.answer_without_commands(&task, [harness::updates::message("u", "u/reject", &rejection)]).unwrap();
    assert_eq!(infos(&world), ["a scheduled u first", "b scheduled u late"]);
    world.restart();
    world.callback_answers.push_back(CallbackResult::Undelivered("busy".into()));
    assert_eq!(deliver(&mut world), ["a Failed not now", "b Failed not now"]);
    world.restart();
    world.advance(secs(1));
    assert_eq!(deliver(&mut world), ["a Failed not now"], "the reason is kept as long as it is needed");
    world.work([complete()]);
    assert_eq!(deliver(&mut world), [""; 0]);
}

#[test]
fn a_reset_without_updates_ends_them() {
    let mut world = accepted();
    world.update_with("wf", request("second", "b")).unwrap();
    let old = world.current_run("wf");
    let request =
        with(reset_request(&mut world, "wf", 4), |r| r.reset_reapply_exclude_types = vec![ResetReapplyExcludeType::Update as i32]);
    world.reset_with(request).unwrap();
    assert_eq!(infos_of(&world, old), ["a scheduled u first", "b scheduled u second"]);
    assert!(infos(&world).is_empty());
    assert_eq!(deliver(&mut world), [format!("a Failed {ABORTED}"), format!("b Failed {ABORTED}")]);
}

/// The run that the reset point was in has told it
#[test]
fn an_update_completed_before_the_reset_point_is_not_told_again() {
    let mut world = accepted();
    complete_update(&mut world);
    deliver(&mut world);
    let task = signal_and_poll(&mut world);
    let finish = task.response.started_event_id + 1;
    world.complete(&task, []);
    world.reset("wf", finish);
    assert!(infos(&world).is_empty());
    world.work([complete()]);
    assert_eq!(deliver(&mut world), [""; 0]);
}

#[test]
fn an_update_has_so_many_callbacks_and_no_more() {
    let mut world = world();
    world.limits.update_callbacks_max = 3;
    world.update_with("wf", request("1", "a")).unwrap();
    world.update_with("wf", request("2", "b")).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&message(&task))], []).unwrap();
    world.update_with("wf", request("3", "c")).unwrap();
    let text = "cannot attach more than 3 callbacks to an update (3 callbacks already attached)";
    assert_eq!(world.update_with("wf", request("4", "d")), Err(Refusal::FailedPrecondition(text.into())));
    world.limits.updates_callbacks_max = 3;
    let mut other = request("5", "e");
    other.request.meta.as_mut().unwrap().update_id = "other".into();
    let text = "cannot attach more than 3 callbacks to the updates of a workflow (3 callbacks already attached)";
    assert_eq!(world.update_with("wf", other), Err(Refusal::FailedPrecondition(text.into())));
}

/// A worker may bring back an update that was forgotten, but not to call addresses that clients may not name
#[test]
fn a_worker_cannot_have_any_address_called() {
    let mut world = world();
    world.limits.callback_addresses.clear();
    let task = {
        world.signal("wf", "go").unwrap();
        world.poll_workflow(QUEUE).unwrap()
    };
    let acceptance = sempre_api::v1::update::Acceptance {
        accepted_request_message_id: "u/request".into(),
        accepted_request_sequencing_event_id: 5,
        accepted_request: Some(*request("first", "a").request),
    };
    let refused = world.answer_updates(&task, [harness::updates::message("u", "u/accept", &acceptance)], []).unwrap_err();
    let text = format!("{refused:?}");
    assert!(text.contains("url does not match any configured callback address: http://a:80/back"), "{text}");
    assert!(infos(&world).is_empty());
}

#[test]
fn links_of_an_update_are_links_of_its_events() {
    let event = |id: &str| {
        let event = link::WorkflowEvent { namespace: "n".into(), workflow_id: id.into(), run_id: "r".into(), reference: None };
        Link { variant: Some(link::Variant::WorkflowEvent(event)) }
    };
    let linked = |request_id: &str| {
        let mut request = request(request_id, "a");
        request.request.links = vec![event(request_id)];
        request
    };
    let mut world = world();
    world.update_with("wf", linked("first")).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&message(&task))], []).unwrap();
    world.update_with("wf", linked("second")).unwrap();
    let links: Vec<_> = world.run("wf").events().into_iter().skip(7).map(|event| event.links).collect();
    assert_eq!(links, [[event("first")], [event("second")]]);
}

/// Whoever asks by a Nexus operation is named by the callback alone
#[test]
fn links_of_an_updates_callback_are_links_of_its_acceptance() {
    let event = |id: &str| {
        let event = link::WorkflowEvent { namespace: "n".into(), workflow_id: id.into(), run_id: "r".into(), reference: None };
        Link { variant: Some(link::Variant::WorkflowEvent(event)) }
    };
    let mut asked = request("first", "a");
    asked.request.links = vec![event("own")];
    asked.request.completion_callbacks[0].links = vec![event("own"), event("caller")];
    let mut world = world();
    world.update_with("wf", asked).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&message(&task))], []).unwrap();
    let accepted = world.run("wf").events().into_iter().find(|event| event.event_type() == EventType::WorkflowExecutionUpdateAccepted);
    assert_eq!(accepted.unwrap().links, [event("own"), event("caller")]);
}
