//! Starts that meet a run of theirs or of others: eager first tasks asked for again, attached request ids and links
//! (spec 01 §3.3–3.4, §4).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    common::{Link, link, link::workflow_event::Reference},
    enums::{EventType, WorkflowExecutionStatus, WorkflowIdConflictPolicy},
    workflow::OnConflictOptions,
    workflowservice::{StartWorkflowExecutionRequest, StartWorkflowExecutionResponse},
};
use sempre_core::{Refusal, StartInput, input::SignalRequest};

fn eager(request_id: &str) -> StartInput {
    let request = with(start_request("wf"), |r| {
        r.request_eager_execution = true;
        r.request_id = request_id.into();
    });
    StartInput { request: Box::new(request), signal: None, child_of: None, watcher: None }
}

fn attach(request_id: &str, options: OnConflictOptions) -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| {
        r.request_id = request_id.into();
        r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
        r.on_conflict_options = Some(options);
    })
}

const REQUEST_ID: OnConflictOptions =
    OnConflictOptions { attach_request_id: true, attach_completion_callbacks: false, attach_links: false };
const LINKS: OnConflictOptions = OnConflictOptions { attach_links: true, attach_request_id: false, attach_completion_callbacks: false };

fn reference(response: &StartWorkflowExecutionResponse) -> (String, EventType) {
    let Some(link::Variant::WorkflowEvent(event)) = response.link.clone().unwrap().variant else { panic!("a workflow link") };
    assert_eq!((event.namespace.as_str(), event.workflow_id.as_str()), ("default", "wf"));
    assert_eq!(event.run_id, response.run_id);
    match event.reference.unwrap() {
        Reference::EventRef(event) => (format!("event {}", event.event_id), event.event_type()),
        Reference::RequestIdRef(request) => (request.request_id.clone(), request.event_type()),
    }
}

fn link_to(workflow_id: &str) -> Link {
    let event = link::WorkflowEvent { namespace: "default".into(), workflow_id: workflow_id.into(), run_id: "r".into(), reference: None };
    Link { variant: Some(link::Variant::WorkflowEvent(event)) }
}

/// The request ids that describe shows: id, event type, event id, buffered.
fn request_ids(world: &World) -> Vec<(String, EventType, i64, bool)> {
    let description = world.run("wf").execution.describe(world.now);
    let infos = description.workflow_extended_info.unwrap().request_id_infos;
    infos.into_iter().map(|(id, info)| (id, info.event_type(), info.event_id, info.buffered)).collect()
}

/// 01 §3.3.1: the answer got lost, the caller asks again
#[test]
fn an_eager_start_asked_for_again_brings_the_same_task() {
    let mut world = World::new();
    let (first, task) = world.start_input(eager("mine")).unwrap();
    let (again, same) = world.start_input(eager("mine")).unwrap();
    assert_eq!((again.run_id, again.started, again.status), (first.run_id, true, first.status));
    let (task, same) = (task.unwrap(), same.unwrap());
    assert_eq!((&same.token, &same.response, &same.events), (&task.token, &task.response, &task.events));
    world.complete(&same, [complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionCompleted {wtc 4}
    ",
    );
}

/// 01 §3.3.1
#[test]
fn an_eager_task_that_timed_out_is_not_handed_out_again() {
    let mut world = World::new();
    assert!(world.start_input(eager("mine")).unwrap().1.is_some());
    world.advance(secs(10));
    let (again, task) = world.start_input(eager("mine")).unwrap();
    assert!(again.started && task.is_none());
    // It goes on through the queue.
    assert!(world.poll_workflow(QUEUE).is_some());
}

/// 01 §3.3.1: a task is in one worker's hands
#[test]
fn a_first_task_that_a_poll_has_is_not_handed_out_to_who_starts_again() {
    let mut world = World::new();
    world.limits.eager_start = false;
    assert!(world.start_input(eager("mine")).unwrap().1.is_none());
    let polled = world.poll_workflow(QUEUE).unwrap();
    world.limits.eager_start = true;
    let (again, task) = world.start_input(eager("mine")).unwrap();
    assert!(again.started && task.is_none(), "it has the ids of an eager task, but was started by another request");
    world.complete(&polled, [complete()]);
}

/// 01 §3.3.1
#[test]
fn an_eager_task_that_was_completed_is_not_handed_out_again() {
    let mut world = World::new();
    let task = world.start_input(eager("mine")).unwrap().1.unwrap();
    world.complete(&task, []);
    assert!(world.start_input(eager("mine")).unwrap().1.is_none());
    world.terminate("wf", "enough").unwrap();
    let (again, task) = world.start_input(eager("mine")).unwrap();
    assert!(again.started && task.is_none());
    assert_eq!(again.status(), WorkflowExecutionStatus::Terminated);
}

/// 01 §3.4
#[test]
fn eager_start_is_not_granted_when_it_is_off_or_the_first_task_waits() {
    let mut world = World::new();
    world.limits.eager_start = false;
    assert!(world.start_input(eager("off")).unwrap().1.is_none());
    let started = world.run("wf").events().remove(0);
    assert!(
        matches!(started.attributes, Some(sempre_api::v1::history::history_event::Attributes::WorkflowExecutionStartedEventAttributes(a)) if !a.eager_execution_accepted)
    );
    let mut world = World::new();
    let mut delayed = eager("delayed");
    delayed.request.workflow_start_delay = duration(5);
    assert!(world.start_input(delayed).unwrap().1.is_none());
    assert!(world.poll_workflow(QUEUE).is_none());
    world.advance(secs(5));
    assert!(world.poll_workflow(QUEUE).is_some());
}

/// 01 §3.4: the starter takes the task away from nobody, and loses it like any worker
#[test]
fn an_eager_task_that_nobody_answers_is_dispatched_again() {
    let mut world = World::new();
    world.start_input(eager("mine")).unwrap();
    world.advance(secs(10));
    world.work([complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskTimedOut {scheduled 2, started 3, StartToClose}
        5 WorkflowTaskScheduled {attempt 2}
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 WorkflowExecutionCompleted {wtc 7}
    ",
    );
}

/// 01 §3.3.2: one event, no workflow task; the same request finds what it attached
#[test]
fn a_request_id_is_attached_once() {
    let mut world = World::new();
    world.start("wf");
    world.work([]);
    let answer = world.start_with(attach("other", REQUEST_ID)).unwrap();
    assert!(!answer.started);
    assert_eq!(reference(&answer), ("other".into(), EventType::WorkflowExecutionOptionsUpdated));
    assert_eq!(world.start_with(attach("other", REQUEST_ID)).unwrap(), answer);
    assert!(world.poll_workflow(QUEUE).is_none());
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionOptionsUpdated {attached other}
    ",
    );
    let event = world.run("wf").events().remove(4);
    assert!(event.worker_may_ignore);
    let started = (world.current["wf"].start_request_id.clone(), EventType::WorkflowExecutionStarted, 1, false);
    let attached = ("other".to_string(), EventType::WorkflowExecutionOptionsUpdated, 5, false);
    assert_eq!(request_ids(&world), [attached, started]);
}

/// 01 §3.3.1: also when the run has closed, whatever the policies say
#[test]
fn an_attached_request_id_stands_for_the_closed_run() {
    let mut world = World::new();
    world.start("wf");
    let open = world.start_with(attach("other", REQUEST_ID)).unwrap();
    world.terminate("wf", "enough").unwrap();
    world.restart();
    let closed = world.start_with(with(start_request("wf"), |r| r.request_id = "other".into())).unwrap();
    assert_eq!((closed.run_id.clone(), closed.started), (open.run_id, false));
    assert_eq!(closed.status(), WorkflowExecutionStatus::Terminated);
    assert_eq!(reference(&closed).1, EventType::WorkflowExecutionOptionsUpdated);
    assert_eq!(world.chains["wf"].len(), 1);
}

/// 01 §2.2, §2.3: buffered while a task is started; the id follows the event
#[test]
fn an_attached_request_id_is_known_before_its_event_has_an_id() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.start_with(attach("other", REQUEST_ID)).unwrap();
    world.restart();
    world.start_with(attach("other", REQUEST_ID)).unwrap();
    let buffered = ("other".to_string(), EventType::WorkflowExecutionOptionsUpdated, 0, true);
    assert_eq!(request_ids(&world)[0], buffered);
    world.complete(&task, []);
    let written = ("other".to_string(), EventType::WorkflowExecutionOptionsUpdated, 5, false);
    assert_eq!(request_ids(&world)[0], written);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionOptionsUpdated {attached other}
        6 WorkflowTaskScheduled
    ",
    );
}

/// 01 §3.3.2: links alone leave the answer's link where it was
#[test]
fn links_are_attached() {
    let mut world = World::new();
    world.start("wf");
    let request = with(attach("other", LINKS), |r| r.links = vec![link_to("caller")]);
    let answer = world.start_with(request).unwrap();
    assert_eq!(reference(&answer), ("event 1".into(), EventType::WorkflowExecutionStarted));
    let event = world.run("wf").events().remove(2);
    assert_eq!((event.event_type(), event.links), (EventType::WorkflowExecutionOptionsUpdated, vec![link_to("caller")]));
    assert_eq!(request_ids(&world).len(), 1);
}

/// 01 §3.3.2: what is not selected is not attached, but that a call came is written
#[test]
fn nothing_selected_attaches_nothing() {
    let mut world = World::new();
    world.start("wf");
    let request = with(attach("other", OnConflictOptions::default()), |r| r.links = vec![link_to("caller")]);
    assert_eq!(reference(&world.start_with(request).unwrap()).0, "event 1");
    let event = world.run("wf").events().remove(2);
    assert_eq!((event.event_type(), event.links), (EventType::WorkflowExecutionOptionsUpdated, vec![]));
}

/// 01 §3.3.2–3: nothing is open, so the reuse policy decides
#[test]
fn a_closed_run_takes_no_attachments() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    let answer = world.start_with(attach("other", REQUEST_ID)).unwrap();
    assert!(answer.started);
    assert_eq!(reference(&answer), ("event 1".into(), EventType::WorkflowExecutionStarted));
    assert_eq!(world.chains["wf"].len(), 2);
}

/// 09 §2.3: the newest 25
#[test]
fn a_run_forgets_the_oldest_of_too_many_request_ids() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    for number in 0..30 {
        if number == 10 {
            world.complete(&task, []);
        }
        world.start_with(attach(&format!("id-{number:02}"), REQUEST_ID)).unwrap();
    }
    let attached = &world.current["wf"].attached_request_ids;
    assert_eq!((attached.len(), attached[0].as_str(), attached[24].as_str()), (25, "id-05", "id-29"));
    assert_eq!(request_ids(&world).len(), 26);
    let before = world.run("wf").events().len();
    world.start_with(attach("id-29", REQUEST_ID)).unwrap();
    assert_eq!(world.run("wf").events().len(), before);
}

/// 01 §3.1.10
#[test]
fn callbacks_are_attached_with_a_request_id_only() {
    let mut world = World::new();
    let options = OnConflictOptions { attach_completion_callbacks: true, ..Default::default() };
    let refused = world.start_with(attach("other", options));
    assert_eq!(refused, Err(Refusal::invalid("attaching request ID is required for attaching completion callbacks")));
}

fn named(name: &str) -> SignalRequest {
    SignalRequest { name: name.into(), with_start: true, ..Default::default() }
}

/// 01 §4
#[test]
fn signal_with_start_names_its_signal_by_the_request_id() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_id = "mine".into());
    let new = world.signal_with_start(request.clone(), named("go")).unwrap();
    assert!(new.started);
    assert_eq!(reference(&new), ("mine".into(), EventType::WorkflowExecutionSignaled));
    let again = world.signal_with_start(request, named("go")).unwrap();
    assert!(!again.started);
    assert_eq!(reference(&again), reference(&new));
    let other = world.signal_with_start(with(start_request("wf"), |r| r.request_id = "other".into()), named("on")).unwrap();
    assert_eq!((reference(&other).0.as_str(), other.started), ("other", false));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionSignaled {name go}
        3 WorkflowTaskScheduled
        4 WorkflowExecutionSignaled {name on}
    ",
    );
}

/// 01 §4: the signal of the same id is another thing than the start
#[test]
fn signal_with_start_with_the_id_of_a_plain_start_signals() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_id = "mine".into());
    world.start_with(request.clone()).unwrap();
    world.signal_with_start(request.clone(), named("go")).unwrap();
    world.signal_with_start(request, named("go")).unwrap();
    assert_eq!(world.run("wf").events().len(), 3);
}

/// 01 §4
#[test]
fn signal_with_start_over_a_closed_run_of_its_own_request() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_id = "mine".into());
    world.signal_with_start(request.clone(), named("go")).unwrap();
    world.work([complete()]);
    let again = world.signal_with_start(request, named("go")).unwrap();
    assert_eq!((again.started, again.status()), (false, WorkflowExecutionStatus::Completed));
    assert_eq!(world.chains["wf"].len(), 1);
}

/// 01 §4, 09 §1.4
#[test]
fn texts_of_refused_signals_with_start() {
    type Change = fn(&mut StartWorkflowExecutionRequest, &mut SignalRequest);
    let cases: [(Change, &str); 8] = [
        (|r, _| r.workflow_id = "x".repeat(1001), "WorkflowId length exceeds limit."),
        (|_, s| s.name = String::new(), "SignalName is not set on request."),
        (|_, s| s.name = "x".repeat(1001), "SignalName length exceeds limit."),
        (|r, _| r.workflow_type = None, "WorkflowType is not set on request."),
        (
            |r, _| r.workflow_type = Some(sempre_api::v1::common::WorkflowType { name: "x".repeat(1001) }),
            "WorkflowType length exceeds limit.",
        ),
        (|r, _| r.request_id = "x".repeat(1001), "RequestId length exceeds limit."),
        (
            |r, _| r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::Fail),
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
        ),
        (|r, _| r.links = vec![Link::default()], "unsupported link variant"),
    ];
    for (change, text) in cases {
        let (mut request, mut signal) = (start_request("wf"), named("go"));
        change(&mut request, &mut signal);
        let refused = World::new().signal_with_start(request, signal);
        assert_eq!(refused, Err(Refusal::invalid(text)));
    }
}
