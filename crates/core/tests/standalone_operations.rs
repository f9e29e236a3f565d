//! Nexus operations that belong to no workflow (spec 08 §5.8): their states, their ends, what is shown of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{history::*, *};
use sempre_api::v1::{
    common::{Callback, Link, SearchAttributes, callback, link},
    enums::{
        CallbackState, NexusOperationCancellationState as CancelState, NexusOperationExecutionStatus as Status,
        NexusOperationIdConflictPolicy as Conflict, NexusOperationIdReusePolicy as Reuse, NexusOperationWaitStage as Stage,
        PendingNexusOperationState as State, TimeoutType,
    },
    failure::{CanceledFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
    nexus::NexusOperationExecutionInfo,
    nexusoperation::OnConflictOptions,
    workflowservice::StartNexusOperationExecutionRequest,
};
use sempre_core::{
    Input, Refusal, Reply, Timestamp,
    input::{CancelOperationRun, OperationCompletion, SignalRequest, TerminateOperationRun},
    limits::ATTACHED_LINKS_MAX,
    nexus::alone::{self, Described, Outcome, Shows},
    state::callback::{Outcome as Told, OutcomeState},
    transition::{OperationCancelResult, OperationResult},
    visibility::NAMESPACE_DIVISION,
};

const ALL: Shows = Shows { input: true, outcome: true };

fn request(id: &str) -> StartNexusOperationExecutionRequest {
    StartNexusOperationExecutionRequest {
        operation_id: id.into(),
        endpoint: "endpoint".into(),
        service: "service".into(),
        operation: "operation".into(),
        input: Some(payload("input")),
        identity: "client".into(),
        ..Default::default()
    }
}

/// The id that the runs of operation `id` are filed under.
fn filed(world: &World, id: &str) -> String {
    alone::key(world.namespace.id, id).workflow_id
}

fn described(world: &World, id: &str) -> Described {
    world.run(&filed(world, id)).execution.describe_operation(ALL, world.now).unwrap()
}

fn info(world: &World) -> NexusOperationExecutionInfo {
    *described(world, "o").info
}

fn status(world: &World) -> (Status, State) {
    let info = info(world);
    (info.status(), info.state())
}

fn outcome(world: &World) -> Outcome {
    *described(world, "o").outcome.expect("it has ended")
}

fn failed(world: &World) -> Failure {
    *outcome(world).failure.expect("it has failed")
}

fn timed_out(kind: TimeoutType) -> Failure {
    let info = sempre_api::v1::failure::TimeoutFailureInfo { timeout_type: kind as i32, ..Default::default() };
    Failure { message: "operation timed out".into(), failure_info: Some(FailureInfo::TimeoutFailureInfo(info)), ..Default::default() }
}

fn cancel(world: &mut World, request_id: &str) -> Result<Reply, Refusal> {
    let id = filed(world, "o");
    let request = CancelOperationRun { request_id: request_id.into(), reason: "enough".into() };
    world.apply(&id, Input::CancelOperationRun(Box::new(request)))
}

fn terminate(world: &mut World, request_id: &str) -> Result<Reply, Refusal> {
    let id = filed(world, "o");
    let request = TerminateOperationRun { identity: "boss".into(), request_id: request_id.into(), reason: "stop".into() };
    world.apply(&id, Input::TerminateOperationRun(Box::new(request)))
}

/// Its end, as the callback of its request to start would bring it.
fn tell(world: &mut World, outcome: Told) -> Result<Reply, Refusal> {
    let id = filed(world, "o");
    let request_id = world.operations_started.first().expect("a request to start").scheduled().request_id;
    let completion = OperationCompletion {
        scheduled_event_id: 2,
        request_id,
        token: "token".into(),
        start_time: Some(world.now - secs(1)),
        links: vec![a_link("end")],
        outcome,
    };
    world.apply(&id, Input::CompleteOperation(Box::new(completion)))
}

fn succeeded() -> Told {
    Told { result: Some(payload("result")), ..Default::default() }
}

fn a_link(id: &str) -> Link {
    let job = link::BatchJob { job_id: id.into() };
    Link { variant: Some(link::Variant::BatchJob(job)) }
}

fn handler_failure(kind: &str) -> Box<Failure> {
    let info = NexusHandlerFailureInfo { r#type: kind.into(), ..Default::default() };
    Box::new(Failure { message: kind.into(), failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), ..Default::default() })
}

fn started(request: StartNexusOperationExecutionRequest) -> World {
    let mut world = World::new();
    world.start_operation(request).unwrap();
    world
}

#[track_caller]
fn assert_events(world: &World, expected: &str) {
    assert_history(world, &filed(world, "o"), expected);
}

#[test]
fn one_that_is_done_at_once() {
    let mut world = World::new();
    let given = StartNexusOperationExecutionRequest {
        search_attributes: Some(SearchAttributes { indexed_fields: [("Word".to_owned(), payload("\"w\""))].into() }),
        nexus_header: [("Key".to_owned(), "value".to_owned())].into(),
        schedule_to_close_timeout: duration(60),
        start_to_close_timeout: duration(100),
        links: vec![a_link("start")],
        ..request("o")
    };
    let begin = world.now;
    let response = world.start_operation(given).unwrap();
    assert!(response.started);
    assert_eq!((status(&world), info(&world).attempt), ((Status::Running, State::Scheduled), 1));
    assert_eq!(described(&world, "o").stage, Stage::Unspecified);
    world.restart();
    world.advance(secs(2));
    world.operation_answers.push_back(OperationResult::Completed { result: Some(payload("result")), links: vec![a_link("done")] });
    world.deliver();
    let call = &world.operations_started[0];
    let expected = link::NexusOperation { namespace: "default".into(), operation_id: "o".into(), run_id: response.run_id.clone() };
    assert_eq!(call.link, Some(Link { variant: Some(link::Variant::NexusOperation(expected)) }));
    let asked = call.scheduled();
    assert_eq!(
        (asked.endpoint_id.as_str(), asked.nexus_header["key"].as_str(), asked.input),
        ("endpoint-id", "value", Some(payload("input")))
    );
    let info = info(&world);
    assert_eq!((info.status(), info.state(), info.attempt), (Status::Completed, State::Unspecified, 1));
    assert_eq!((info.operation_id.as_str(), info.run_id.as_str(), info.identity.as_str()), ("o", response.run_id.as_str(), "client"));
    assert_eq!((info.endpoint.as_str(), info.service.as_str(), info.operation.as_str()), ("endpoint", "service", "operation"));
    assert_eq!((info.schedule_to_close_timeout, info.start_to_close_timeout), (duration(60), duration(60)), "at most until its end");
    assert_eq!((info.schedule_time, info.close_time), (Some(begin.to_api()), Some((begin + secs(2)).to_api())));
    assert_eq!((info.execution_duration, info.expiration_time), (duration(2), Some((begin + secs(60)).to_api())));
    assert_eq!((info.request_id, info.operation_token.as_str()), (asked.request_id, ""));
    assert_eq!(info.links, [a_link("start"), a_link("done")]);
    assert_eq!(info.nexus_header["key"], "value");
    let names: Vec<_> = info.search_attributes.unwrap().indexed_fields.into_keys().collect();
    assert_eq!(names, ["Word"], "what sorts it in lists is not shown");
    let described = described(&world, "o");
    assert_eq!((described.input, described.stage), (Some(payload("input")), Stage::Closed));
    assert_eq!(outcome(&world), Outcome { result: Some(payload("result")), failure: None });
    let quiet = world.run(&filed(&world, "o")).execution.describe_operation(Shows::default(), world.now).unwrap();
    assert_eq!((quiet.input, quiet.outcome), (None, None));
    assert_events(
        &world,
        "
        1 WorkflowExecutionStarted
        2 NexusOperationScheduled {at endpoint/service/operation, wtc 0}
        3 WorkflowExecutionCompleted {wtc 0}
    ",
    );
    assert!(world.outbox.is_empty());
}

#[test]
fn one_that_goes_on_ends_by_its_completion() {
    let mut world = started(StartNexusOperationExecutionRequest { start_to_close_timeout: duration(30), ..request("o") });
    world.operation_answers.push_back(OperationResult::Started { token: "token".into(), links: vec![a_link("handler")] });
    world.advance(secs(3));
    let at = world.now;
    world.deliver();
    world.restart();
    assert_eq!(status(&world), (Status::Running, State::Started));
    assert_eq!((info(&world).operation_token.as_str(), info(&world).attempt), ("token", 1));
    assert_eq!((info(&world).last_attempt_complete_time, info(&world).last_attempt_failure), (Some(at.to_api()), None));
    assert_eq!((described(&world, "o").stage, described(&world, "o").outcome), (Stage::Started, None));
    tell(&mut world, succeeded()).unwrap();
    world.restart();
    assert_eq!(outcome(&world).result, Some(payload("result")));
    assert_eq!(info(&world).links, [a_link("handler")], "a completion has links only when it tells of the start as well");
    assert_events(
        &world,
        "
        1 WorkflowExecutionStarted
        2 NexusOperationScheduled {at endpoint/service/operation, wtc 0}
        3 NexusOperationStarted {scheduled 2, token token}
        4 WorkflowExecutionCompleted {wtc 0}
    ",
    );
    assert_eq!(tell(&mut world, succeeded()).unwrap_err(), Refusal::closed());
}

#[test]
fn a_result_of_nothing_is_a_result() {
    let mut world = started(request("o"));
    world.deliver();
    tell(&mut world, Told::default()).unwrap();
    let result = outcome(&world).result.unwrap();
    assert_eq!((&result.metadata["encoding"][..], result.data.len()), (&b"binary/null"[..], 0));
}

#[test]
fn ends_are_failures_as_they_were_told() {
    let canceled = Failure { failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())), ..failure("gone") };
    for (answer, expected, failure) in [
        (OperationResult::Failed(Box::new(failure("no"))), Status::Failed, failure("no")),
        (OperationResult::Refused(handler_failure("BAD_REQUEST")), Status::Failed, *handler_failure("BAD_REQUEST")),
        (OperationResult::Canceled(Box::new(failure("gone"))), Status::Canceled, canceled.clone()),
        (OperationResult::NoTime(TimeoutType::ScheduleToStart as i32), Status::TimedOut, timed_out(TimeoutType::ScheduleToStart)),
    ] {
        let mut world = started(request("o"));
        world.operation_answers.push_back(answer);
        world.deliver();
        world.restart();
        assert_eq!((status(&world), failed(&world)), ((expected, State::Unspecified), failure.clone()));
        assert_eq!(info(&world).last_attempt_failure, Some(failure), "it is what became of the last attempt, too");
    }
    for (told, expected, failure) in
        [(OutcomeState::Failed, Status::Failed, failure("no")), (OutcomeState::Canceled, Status::Canceled, canceled)]
    {
        let mut world = started(request("o"));
        world.deliver();
        tell(&mut world, Told { state: told as i32, failure: Some(failure.clone()), ..Default::default() }).unwrap();
        assert_eq!((status(&world).0, failed(&world), info(&world).last_attempt_failure), (expected, failure, None));
    }
}

#[test]
fn it_is_asked_again_and_shows_why() {
    let mut world = started(request("o"));
    world.operation_answers.push_back(OperationResult::Undelivered(handler_failure("INTERNAL")));
    let at = world.now;
    world.deliver();
    world.restart();
    let waits = info(&world);
    assert_eq!((waits.state(), waits.attempt), (State::BackingOff, 1));
    assert_eq!((waits.last_attempt_failure, waits.last_attempt_complete_time), (Some(*handler_failure("INTERNAL")), Some(at.to_api())));
    assert_eq!(waits.next_attempt_schedule_time, Some((at + secs(1)).to_api()));
    world.advance(secs(1));
    assert_eq!((status(&world).1, info(&world).attempt, info(&world).next_attempt_schedule_time), (State::Scheduled, 2, None));
    world.operation_answers.push_back(OperationResult::Undelivered(handler_failure("INTERNAL")));
    world.deliver();
    world.advance(secs(2));
    world.operation_answers.push_back(OperationResult::Started { token: "t".into(), links: Vec::new() });
    world.deliver();
    assert_eq!((status(&world).1, info(&world).attempt, info(&world).last_attempt_failure), (State::Started, 3, None));
    let ids: Vec<_> = world.operations_started.iter().map(|call| call.scheduled().request_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one request id for all of them");
}

#[test]
fn timeouts_end_it() {
    let given = StartNexusOperationExecutionRequest { schedule_to_start_timeout: duration(5), ..request("o") };
    let mut world = started(given);
    world.advance(secs(5));
    assert_eq!((status(&world).0, failed(&world)), (Status::TimedOut, timed_out(TimeoutType::ScheduleToStart)));
    assert!(world.outbox.is_empty(), "it is not asked any more");

    // What its last attempt said stays beside.
    let mut world = started(StartNexusOperationExecutionRequest { schedule_to_close_timeout: duration(5), ..request("o") });
    world.operation_answers.push_back(OperationResult::Undelivered(handler_failure("INTERNAL")));
    world.deliver();
    world.advance(secs(5));
    assert_eq!((status(&world).0, failed(&world)), (Status::TimedOut, timed_out(TimeoutType::ScheduleToClose)));
    assert_eq!(info(&world).last_attempt_failure, Some(*handler_failure("INTERNAL")));
    assert_eq!(info(&world).next_attempt_schedule_time, None);

    let mut world = started(StartNexusOperationExecutionRequest { start_to_close_timeout: duration(5), ..request("o") });
    world.advance(secs(9));
    world.deliver();
    world.advance(secs(4));
    assert_eq!(status(&world), (Status::Running, State::Started));
    world.advance(secs(1));
    assert_eq!((status(&world).0, failed(&world)), (Status::TimedOut, timed_out(TimeoutType::StartToClose)));
    assert_eq!(tell(&mut world, succeeded()).unwrap_err(), Refusal::closed());
}

#[test]
fn a_completion_before_the_answer_to_the_start() {
    let mut world = started(request("o"));
    world.deliver_one_unheard();
    tell(&mut world, succeeded()).unwrap();
    assert_events(
        &world,
        "
        1 WorkflowExecutionStarted
        2 NexusOperationScheduled {at endpoint/service/operation, wtc 0}
        3 NexusOperationStarted {scheduled 2, token token}
        4 WorkflowExecutionCompleted {wtc 0}
    ",
    );
    let info = info(&world);
    assert_eq!((info.operation_token.as_str(), info.attempt, info.links), ("token", 1, vec![a_link("end")]));
    assert_eq!(info.last_attempt_complete_time, Some((world.now - secs(1)).to_api()));
    world.deliver();
    assert!(world.outbox.is_empty());
}

#[test]
fn a_cancel_request_waits_for_the_token() {
    let mut world = started(request("o"));
    cancel(&mut world, "c").unwrap();
    cancel(&mut world, "c").unwrap();
    let again = cancel(&mut world, "d").unwrap_err();
    assert_eq!(again, Refusal::FailedPrecondition("cancellation already requested with request ID c".into()));
    let cancellation = |world: &World| info(world).cancellation_info.unwrap();
    assert_eq!((cancellation(&world).state(), cancellation(&world).attempt), (CancelState::Unspecified, 0));
    assert_eq!((cancellation(&world).reason.as_str(), cancellation(&world).requested_time), ("enough", Some(world.now.to_api())));
    assert_eq!(status(&world), (Status::Running, State::Scheduled));
    world.deliver_one();
    assert_eq!((cancellation(&world).state(), cancellation(&world).attempt), (CancelState::Scheduled, 1));
    world.operation_cancel_answers.push_back(OperationCancelResult::Undelivered(handler_failure("INTERNAL")));
    world.deliver();
    world.restart();
    assert_eq!((cancellation(&world).state(), cancellation(&world).attempt), (CancelState::BackingOff, 1));
    world.advance(secs(1));
    world.deliver();
    assert_eq!((cancellation(&world).state(), cancellation(&world).attempt), (CancelState::Succeeded, 2));
    assert_eq!(status(&world), (Status::Running, State::Started), "its end is still to come");
    assert_eq!(world.operations_canceled.last().unwrap().token, "token");
    assert_eq!(world.operations_canceled.last().unwrap().scheduled().input, None);
    tell(&mut world, succeeded()).unwrap();
    cancel(&mut world, "c").unwrap();
    assert_eq!(cancel(&mut world, "d").unwrap_err(), Refusal::FailedPrecondition("operation already completed".into()));
    assert_events(
        &world,
        "
        1 WorkflowExecutionStarted
        2 NexusOperationScheduled {at endpoint/service/operation, wtc 0}
        3 NexusOperationCancelRequested {scheduled 2, wtc 0}
        4 NexusOperationStarted {scheduled 2, token token}
        5 NexusOperationCancelRequestCompleted {requested 3, scheduled 2}
        6 WorkflowExecutionCompleted {wtc 0}
    ",
    );
}

#[test]
fn a_cancel_request_that_is_refused_is_told() {
    let mut world = started(request("o"));
    world.deliver();
    world.operation_cancel_answers.push_back(OperationCancelResult::Refused(handler_failure("BAD_REQUEST")));
    cancel(&mut world, "c").unwrap();
    world.deliver();
    world.restart();
    let shown = info(&world).cancellation_info.unwrap();
    assert_eq!((shown.state(), shown.last_attempt_failure), (CancelState::Failed, Some(*handler_failure("BAD_REQUEST"))));
    assert_eq!(status(&world), (Status::Running, State::Started));
}

#[test]
fn termination_ends_it_at_once() {
    let mut world = started(request("o"));
    terminate(&mut world, "t").unwrap();
    terminate(&mut world, "t").unwrap();
    let again = terminate(&mut world, "u").unwrap_err();
    assert_eq!(again, Refusal::FailedPrecondition("already terminated with request ID t".into()));
    world.restart();
    let failure = failed(&world);
    assert_eq!(failure.message, "stop");
    assert!(matches!(failure.failure_info, Some(FailureInfo::TerminatedFailureInfo(info)) if info.identity == "boss"));
    assert_eq!((status(&world), info(&world).attempt), ((Status::Terminated, State::Unspecified), 1));
    assert!(world.outbox.is_empty() && world.operations_started.is_empty(), "nobody is asked any more");
    assert_eq!(cancel(&mut world, "c").unwrap_err(), Refusal::FailedPrecondition("operation already completed".into()));

    let mut world = started(request("o"));
    world.operation_answers.push_back(OperationResult::Completed { result: None, links: Vec::new() });
    world.deliver();
    assert_eq!(terminate(&mut world, "t").unwrap_err(), Refusal::FailedPrecondition("invalid transition from Succeeded".into()));
}

#[test]
fn id_policies() {
    let mut world = started(StartNexusOperationExecutionRequest { request_id: "first".into(), ..request("o") });
    let run_id = info(&world).run_id;
    let taken = Refusal::OperationAlreadyStarted {
        message: format!("nexus operation execution already started: request_id=first, run_id={run_id}"),
        start_request_id: "first".into(),
        run_id: run_id.clone(),
    };
    assert_eq!(world.start_operation(request("o")).unwrap_err(), taken);
    let repeated = world.start_operation(StartNexusOperationExecutionRequest { request_id: "first".into(), ..request("o") }).unwrap();
    assert_eq!((repeated.run_id, repeated.started), (run_id.clone(), false));
    let using = StartNexusOperationExecutionRequest { id_conflict_policy: Conflict::UseExisting as i32, ..request("o") };
    let used = world.start_operation(using).unwrap();
    assert_eq!((used.run_id, used.started), (run_id.clone(), false));
    world.deliver();
    tell(&mut world, succeeded()).unwrap();
    let again = |reuse: Reuse| StartNexusOperationExecutionRequest { id_reuse_policy: reuse as i32, ..request("o") };
    for refused in [Reuse::RejectDuplicate, Reuse::AllowDuplicateFailedOnly] {
        assert_eq!(world.start_operation(again(refused)).unwrap_err(), taken);
    }
    let second = world.start_operation(again(Reuse::AllowDuplicate)).unwrap();
    assert!(second.started && second.run_id != run_id);
    terminate(&mut world, "t").unwrap();
    assert!(world.start_operation(again(Reuse::AllowDuplicateFailedOnly)).unwrap().started);
    terminate(&mut world, "t").unwrap();
    assert!(world.start_operation(again(Reuse::RejectDuplicate)).is_err());
}

#[test]
fn a_later_start_attaches_what_it_says() {
    let mut world = started(StartNexusOperationExecutionRequest { links: vec![a_link("start")], ..request("o") });
    let later = |request_id: &str, link: &str| StartNexusOperationExecutionRequest {
        request_id: request_id.into(),
        id_conflict_policy: Conflict::UseExisting as i32,
        links: vec![a_link(link)],
        on_conflict_options: Some(OnConflictOptions { attach_request_id: true, attach_links: true, ..Default::default() }),
        ..request("o")
    };
    assert!(!world.start_operation(later("second", "second")).unwrap().started);
    // Known by its request id, it attaches nothing again.
    assert!(!world.start_operation(later("second", "other")).unwrap().started);
    world.restart();
    assert_eq!(info(&world).links, [a_link("start"), a_link("second")]);
    for number in 0..ATTACHED_LINKS_MAX {
        world.start_operation(later(&format!("more-{number}"), "more")).unwrap();
    }
    assert_eq!(info(&world).links.len(), 1 + ATTACHED_LINKS_MAX, "the newest are kept");
    let refused = StartNexusOperationExecutionRequest {
        on_conflict_options: Some(OnConflictOptions { attach_completion_callbacks: true, ..Default::default() }),
        ..later("third", "third")
    };
    let text = "attaching request ID is required for attaching completion callbacks";
    assert_eq!(world.start_operation(refused).unwrap_err(), Refusal::invalid(text));
    // A closed one takes nothing: a new one is started.
    terminate(&mut world, "t").unwrap();
    assert!(world.start_operation(later("fourth", "fourth")).unwrap().started);
}

fn callback(name: &str) -> Callback {
    let nexus = callback::Nexus { url: "temporal://system".into(), header: [("name".to_owned(), name.to_owned())].into() };
    Callback { variant: Some(callback::Variant::Nexus(nexus)), links: Vec::new() }
}

#[test]
fn callbacks_are_told_of_its_end() {
    let mut world = started(StartNexusOperationExecutionRequest { completion_callbacks: vec![callback("first")], ..request("o") });
    let later = StartNexusOperationExecutionRequest {
        request_id: "second".into(),
        id_conflict_policy: Conflict::UseExisting as i32,
        completion_callbacks: vec![callback("second")],
        on_conflict_options: Some(OnConflictOptions { attach_request_id: true, attach_completion_callbacks: true, ..Default::default() }),
        ..request("o")
    };
    world.start_operation(later).unwrap();
    let states = |world: &World| -> Vec<_> {
        described(world, "o").callbacks.into_iter().map(|own| own.info.unwrap()).map(|own| (own.state(), own.request_id)).collect()
    };
    let first = world.run(&filed(&world, "o")).execution.state().progress.main.start_request_id.clone();
    assert_eq!(states(&world), [(CallbackState::Standby, first.clone()), (CallbackState::Standby, "second".to_owned())]);
    world.operation_answers.push_back(OperationResult::Failed(Box::new(failure("no"))));
    world.deliver();
    world.restart();
    assert_eq!(states(&world), [(CallbackState::Succeeded, first), (CallbackState::Succeeded, "second".to_owned())]);
    let run_id = info(&world).run_id;
    let own = link::NexusOperation { namespace: "default".into(), operation_id: "o".into(), run_id };
    assert_eq!(world.called_back.len(), 2);
    for call in &world.called_back {
        assert_eq!(call.outcome.as_ref().unwrap().failure, Some(failure("no")));
        assert_eq!(call.link, Some(Link { variant: Some(link::Variant::NexusOperation(own.clone())) }));
    }

    let mut world = started(StartNexusOperationExecutionRequest { completion_callbacks: vec![callback("first")], ..request("o") });
    world.deliver();
    tell(&mut world, succeeded()).unwrap();
    world.deliver();
    assert_eq!(world.called_back[0].outcome.as_ref().unwrap().result, Some(payload("result")));
}

#[test]
fn it_is_gone_after_its_retention() {
    let mut world = started(request("o"));
    terminate(&mut world, "t").unwrap();
    let run = world.current_run(&filed(&world, "o"));
    world.advance(world.namespace.retention);
    assert!(!world.runs.contains_key(&run), "its retention is over");
}

#[test]
fn it_has_a_place_of_its_own_in_lists() {
    let world = started(request("o"));
    let record = world.run(&filed(&world, "o")).execution.record();
    assert!(record.operation && !record.activity);
    assert_eq!((record.workflow_id.as_str(), record.workflow_type.as_str()), ("o", "operation"));
    let division = &record.search_attributes[NAMESPACE_DIVISION];
    assert_eq!((&division.data[..], &division.metadata["type"][..]), (&b"\"SempreNexusOperation\""[..], &b"Keyword"[..]));
    assert_eq!(record.run_key().unwrap(), *world.run(&filed(&world, "o")).execution.key());
    let listed = record.to_api_operation();
    assert_eq!((listed.operation_id.as_str(), listed.status()), ("o", Status::Running));
    assert_eq!((listed.endpoint.as_str(), listed.service.as_str(), listed.operation.as_str()), ("endpoint", "service", "operation"));
    assert!(listed.search_attributes.unwrap().indexed_fields.is_empty());
    assert_eq!((listed.schedule_time, listed.close_time), (Some(world.now.to_api()), None));
}

#[test]
fn inputs_of_others_find_nothing() {
    let mut world = started(request("o"));
    let id = filed(&world, "o");
    let signal = Input::Signal(Box::new(SignalRequest { name: "s".into(), ..Default::default() }));
    assert!(matches!(world.apply(&id, signal), Err(Refusal::NotFound(_))));
    let of_activity = Input::CancelActivityRun(Box::default());
    assert!(matches!(world.apply(&id, of_activity), Err(Refusal::NotFound(_))));
    world.begin("w", []);
    let of_operation = Input::TerminateOperationRun(Box::default());
    assert!(matches!(world.apply("w", of_operation), Err(Refusal::NotFound(_))));
    let reserved = world.start_with(with(start_request("x"), |r| r.workflow_id = id));
    assert_eq!(reserved.unwrap_err(), Refusal::invalid("WorkflowId is reserved for Nexus operations."));
}

#[test]
fn what_a_start_may_say() {
    let mut world = World::new();
    let long = "x".repeat(1001);
    let cases: Vec<(StartNexusOperationExecutionRequest, &str)> = vec![
        (request(""), "operation_id is required"),
        (request(&long), "operation_id exceeds length limit. Length=1001 Limit=1000"),
        (with(request("o"), |r| r.request_id = long.clone()), "request_id exceeds length limit. Length=1001 Limit=1000"),
        (with(request("o"), |r| r.identity = long.clone()), "identity exceeds length limit. Length=1001 Limit=1000"),
        (with(request("o"), |r| r.endpoint.clear()), "endpoint is required"),
        (with(request("o"), |r| r.service.clear()), "service is required"),
        (with(request("o"), |r| r.service = long.clone()), "service exceeds length limit. Length=1001 Limit=1000"),
        (with(request("o"), |r| r.operation.clear()), "operation is required"),
        (with(request("o"), |r| r.operation = long.clone()), "operation exceeds length limit. Length=1001 Limit=1000"),
        (
            with(request("o"), |r| r.nexus_header = [("Request-Timeout".to_owned(), String::new())].into()),
            "nexus_header contains a disallowed key: \"Request-Timeout\"",
        ),
        (with(request("o"), |r| r.nexus_header = [("k".to_owned(), "v".repeat(8192))].into()), "nexus_header exceeds size limit"),
        (with(request("o"), |r| r.id_reuse_policy = 9), "unsupported ID reuse policy: 9"),
        (with(request("o"), |r| r.id_conflict_policy = 9), "unsupported ID conflict policy: 9"),
    ];
    for (given, text) in cases {
        assert_eq!(world.start_operation(given).unwrap_err(), Refusal::InvalidArgument(text.to_owned()));
    }
    for (name, set) in [
        ("schedule_to_close_timeout", (|r| r.schedule_to_close_timeout = duration(-1)) as fn(&mut StartNexusOperationExecutionRequest)),
        ("schedule_to_start_timeout", |r| r.schedule_to_start_timeout = duration(-1)),
        ("start_to_close_timeout", |r| r.start_to_close_timeout = duration(-1)),
    ] {
        let Refusal::InvalidArgument(text) = world.start_operation(with(request("o"), set)).unwrap_err() else { panic!("{name}") };
        assert!(text.starts_with(&format!("{name} is invalid: ")), "{text}");
    }
    let large = with(request("o"), |r| r.input = Some(payload(&"x".repeat(3 << 20))));
    let Refusal::InvalidArgument(text) = world.start_operation(large).unwrap_err() else { panic!("too large") };
    assert!(text.starts_with("input exceeds size limit. Length="), "{text}");
    let unknown = world.start_operation(with(request("o"), |r| r.endpoint = "nowhere".into())).unwrap_err();
    assert_eq!(unknown, Refusal::not_found("could not find Nexus endpoint by name: nowhere"));
    world.limits.operation_timeout_max = secs(20);
    world.start_operation(request("o")).unwrap();
    assert_eq!(info(&world).schedule_to_close_timeout, duration(20), "the server's longest is everybody's");
    assert_eq!(info(&world).schedule_time, Some(Timestamp::to_api(world.now)));
}
