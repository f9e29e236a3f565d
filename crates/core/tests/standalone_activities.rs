//! Activities that belong to no workflow (spec 03 §12): their states, their ends, what is shown of them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{history::*, *};
use sempre_api::v1::{
    activity::{ActivityExecutionInfo, ActivityExecutionOutcome, activity_execution_outcome::Value},
    common::{ActivityType, Link, OnConflictOptions, RetryPolicy, SearchAttributes, link},
    enums::{
        ActivityExecutionStatus as Status, ActivityIdConflictPolicy as Conflict, ActivityIdReusePolicy as Reuse,
        PendingActivityState as State, RetryState,
    },
    failure::{Failure, failure::FailureInfo},
    taskqueue::TaskQueue,
    workflowservice::StartActivityExecutionRequest,
};
use sempre_core::{
    Input, Refusal, Reply,
    input::{ActivitySelector, ActivityTarget, CancelActivityRun, OptionsUpdate, Poller, Sdk, SignalRequest, TerminateActivityRun},
    limits::ATTACHED_LINKS_MAX,
    standalone::{self, Described, Shows},
    transition::QueueKind,
    visibility::NAMESPACE_DIVISION,
};

const ALL: Shows = Shows { input: true, outcome: true, heartbeat: true, failure: true };

fn request(id: &str) -> StartActivityExecutionRequest {
    StartActivityExecutionRequest {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "type".into() }),
        task_queue: Some(TaskQueue { name: QUEUE.into(), ..Default::default() }),
        start_to_close_timeout: duration(10),
        input: payloads("input"),
        identity: "client".into(),
        ..Default::default()
    }
}

/// The id that the runs of activity `id` are filed under.
fn filed(world: &World, id: &str) -> String {
    standalone::key(world.namespace.id, id).workflow_id
}

fn described(world: &World, id: &str) -> Described {
    world.run(&filed(world, id)).execution.describe_activity(ALL, world.now).unwrap()
}

fn info(world: &World) -> ActivityExecutionInfo {
    *described(world, "a").info
}

fn status(world: &World) -> (Status, State) {
    let info = info(world);
    (info.status(), info.run_state())
}

fn outcome(world: &World) -> ActivityExecutionOutcome {
    *described(world, "a").outcome.expect("it has ended")
}

fn failed(world: &World) -> Failure {
    match outcome(world).value {
        Some(Value::Failure(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

fn cancel(world: &mut World, request_id: &str) -> Result<Reply, Refusal> {
    let id = filed(world, "a");
    let request = CancelActivityRun { identity: "boss".into(), request_id: request_id.into(), reason: "enough".into() };
    world.apply(&id, Input::CancelActivityRun(Box::new(request)))
}

fn terminate(world: &mut World, request_id: &str) -> Result<Reply, Refusal> {
    let id = filed(world, "a");
    let request = TerminateActivityRun { identity: "boss".into(), request_id: request_id.into(), reason: "stop".into() };
    world.apply(&id, Input::TerminateActivityRun(Box::new(request)))
}

fn task_gone<T: std::fmt::Debug>(answer: Result<T, Refusal>) {
    assert_eq!(answer.err(), Some(Refusal::not_found("activity not found for ID: a")));
}

fn started(request: StartActivityExecutionRequest) -> World {
    let mut world = World::new();
    world.start_activity(request).unwrap();
    world
}

#[track_caller]
fn assert_events(world: &World, expected: &str) {
    assert_history(world, &filed(world, "a"), expected);
}

#[test]
fn it_is_started_done_and_shown() {
    let mut world = World::new();
    let given = StartActivityExecutionRequest {
        search_attributes: Some(SearchAttributes { indexed_fields: [("Word".to_owned(), payload("\"w\""))].into() }),
        heartbeat_timeout: duration(4),
        ..request("a")
    };
    let begin = world.now;
    let response = world.start_activity(given).unwrap();
    assert!(response.started);
    let expected = link::Activity { namespace: "default".into(), activity_id: "a".into(), run_id: response.run_id.clone() };
    assert_eq!(response.link, Some(Link { variant: Some(link::Variant::Activity(expected)) }));
    assert_eq!(status(&world), (Status::Running, State::Scheduled));
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    let given = &task.response;
    assert_eq!((given.activity_id.as_str(), given.activity_run_id.as_str(), given.attempt), ("a", response.run_id.as_str(), 1));
    assert_eq!((&given.workflow_execution, &given.workflow_type), (&None, &None));
    assert_eq!((given.input.clone(), given.workflow_namespace.as_str()), (payloads("input"), "default"));
    assert_eq!(status(&world), (Status::Running, State::Started));
    assert!(!world.heartbeat(&task, "half").unwrap());
    world.advance(secs(2));
    world.complete_activity(&task, "yes").unwrap();
    assert_eq!(outcome(&world).value, Some(Value::Result(payloads("yes").unwrap())));
    let info = info(&world);
    assert_eq!((info.status(), info.run_state()), (Status::Completed, State::Unspecified));
    assert_eq!((info.activity_id.as_str(), info.run_id.as_str(), info.task_queue.as_str()), ("a", response.run_id.as_str(), QUEUE));
    assert_eq!(info.schedule_time, Some(begin.to_api()));
    assert_eq!(info.close_time, Some((begin + secs(3)).to_api()));
    assert_eq!((info.execution_duration, info.last_started_time), (duration(3), Some((begin + secs(1)).to_api())));
    assert_eq!((info.total_heartbeat_count, info.heartbeat_details.clone()), (1, payloads("half")));
    assert_eq!((info.last_worker_identity.as_str(), info.attempt), (WORKER, 1));
    let names: Vec<_> = info.search_attributes.unwrap().indexed_fields.into_keys().collect();
    assert_eq!(names, ["Word"], "what sorts it in lists is not shown");
    assert_eq!(described(&world, "a").input, payloads("input"));
    let quiet = world.run(&filed(&world, "a")).execution.describe_activity(Shows::default(), world.now).unwrap();
    assert_eq!((quiet.input, quiet.outcome, quiet.info.heartbeat_details), (None, None, None));
    task_gone(world.complete_activity(&task, "again"));
    assert_events(
        &world,
        "
        1 WorkflowExecutionStarted
        2 ActivityTaskScheduled {id a, wtc 0}
        3 WorkflowExecutionCompleted {wtc 0}
    ",
    );
}

#[test]
fn ids_are_used_by_their_policies() {
    let mut world = World::new();
    let first = world.start_activity(StartActivityExecutionRequest { request_id: "r".into(), ..request("a") }).unwrap();
    let again = world.start_activity(StartActivityExecutionRequest { request_id: "r".into(), ..request("a") }).unwrap();
    assert_eq!((&again.run_id, again.started), (&first.run_id, false), "the same request has one effect");
    let taken = Refusal::ActivityAlreadyStarted {
        message: "activity execution already started".into(),
        start_request_id: "r".into(),
        run_id: first.run_id.clone(),
    };
    assert_eq!(world.start_activity(request("a")).unwrap_err(), taken);
    let found =
        world.start_activity(StartActivityExecutionRequest { id_conflict_policy: Conflict::UseExisting as i32, ..request("a") }).unwrap();
    assert_eq!((&found.run_id, found.started), (&first.run_id, false));
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "yes").unwrap();
    for policy in [Reuse::RejectDuplicate, Reuse::AllowDuplicateFailedOnly] {
        let refused = world.start_activity(StartActivityExecutionRequest { id_reuse_policy: policy as i32, ..request("a") });
        assert_eq!(refused.unwrap_err(), taken);
    }
    let second = world.start_activity(request("a")).unwrap();
    assert!(second.run_id != first.run_id);
    terminate(&mut world, "t").unwrap();
    let failed_only = StartActivityExecutionRequest { id_reuse_policy: Reuse::AllowDuplicateFailedOnly as i32, ..request("a") };
    assert!(world.start_activity(failed_only).unwrap().started);
    // A workflow of the same id is somebody else.
    world.start("a");
    assert!(world.run("a").execution.is_open());
    let reserved = with(start_request("x"), |r| r.workflow_id = filed(&world, "a"));
    assert_eq!(world.start_with(reserved).unwrap_err(), Refusal::invalid("WorkflowId is reserved for activities."));
}

/// What a start attaches to the activity that it finds open, if it says so.
#[test]
fn a_later_start_attaches_its_request_id_and_links() {
    let mut world = started(StartActivityExecutionRequest { request_id: "first".into(), ..request("a") });
    let run = info(&world).run_id;
    let linked = |job: &str| Link { variant: Some(link::Variant::BatchJob(link::BatchJob { job_id: job.into() })) };
    let found = |request_id: &str, options: Option<OnConflictOptions>| StartActivityExecutionRequest {
        request_id: request_id.into(),
        id_conflict_policy: Conflict::UseExisting as i32,
        links: vec![linked(request_id)],
        on_conflict_options: options,
        ..request("a")
    };
    let attach = OnConflictOptions { attach_request_id: true, attach_links: true, ..Default::default() };
    let before = world.run(&filed(&world, "a")).execution.state().clone();
    for nothing in [None, Some(OnConflictOptions::default())] {
        assert!(!world.start_activity(found("second", nothing)).unwrap().started);
        assert_eq!(*world.run(&filed(&world, "a")).execution.state(), before, "nothing is attached unasked");
    }
    let second = world.start_activity(found("second", Some(attach))).unwrap();
    assert_eq!((second.run_id.as_str(), second.started), (run.as_str(), false));
    assert_eq!(info(&world).links, [linked("second")]);
    // It is known again, whatever it says then, and when the activity is closed too.
    let again = world.start_activity(StartActivityExecutionRequest { request_id: "second".into(), ..request("a") }).unwrap();
    assert_eq!((again.run_id.as_str(), again.started), (run.as_str(), false));
    let links_only = OnConflictOptions { attach_links: true, ..Default::default() };
    world.start_activity(found("third", Some(links_only))).unwrap();
    assert_eq!(info(&world).links, [linked("second"), linked("third")]);
    let taken = world.start_activity(StartActivityExecutionRequest { request_id: "third".into(), ..request("a") });
    assert!(matches!(taken, Err(Refusal::ActivityAlreadyStarted { .. })), "{taken:?}");
    for number in 0..ATTACHED_LINKS_MAX {
        world.start_activity(found(&number.to_string(), Some(links_only))).unwrap();
    }
    let links = info(&world).links;
    assert_eq!((links.len(), &links[0]), (ATTACHED_LINKS_MAX, &linked("0")), "the oldest are forgotten");
    terminate(&mut world, "t").unwrap();
    let closed = world.start_activity(StartActivityExecutionRequest { request_id: "second".into(), ..request("a") }).unwrap();
    assert_eq!((closed.run_id.as_str(), closed.started), (run.as_str(), false));
}

#[test]
fn the_sdk_of_the_last_worker_is_shown() {
    let policy = RetryPolicy { initial_interval: duration(1), ..Default::default() };
    let mut world = started(StartActivityExecutionRequest { retry_policy: Some(policy), ..request("a") });
    let shown = |world: &World| (info(world).sdk_name, info(world).sdk_version);
    assert_eq!(shown(&world), Default::default());
    let take = |world: &mut World, name: &str, version: &str| {
        let offer = world.take_offer(QUEUE, QueueKind::Activity).unwrap();
        let poller = Poller { sdk: Sdk { name: name.into(), version: version.into() }, ..world.poller() };
        world.start_activity_task(&offer, poller).unwrap()
    };
    let first = take(&mut world, "temporal-go", "1.30.0");
    assert_eq!(shown(&world), ("temporal-go".into(), "1.30.0".into()));
    world.fail_activity(&first, failure("no")).unwrap();
    assert_eq!(shown(&world), ("temporal-go".into(), "1.30.0".into()), "until another takes it");
    world.advance(secs(1));
    let second = take(&mut world, "", "");
    assert_eq!(shown(&world), Default::default());
    world.complete_activity(&second, "yes").unwrap();
}

#[test]
fn a_failure_is_retried_until_attempts_run_out() {
    let policy = RetryPolicy { initial_interval: duration(1), backoff_coefficient: 2.0, maximum_attempts: 2, ..Default::default() };
    let mut world = started(StartActivityExecutionRequest { retry_policy: Some(policy), ..request("a") });
    let first = world.poll_activity().unwrap();
    world.fail_activity(&first, failure("one")).unwrap();
    assert_eq!(status(&world), (Status::Running, State::Scheduled));
    let waiting = info(&world);
    assert_eq!((waiting.attempt, waiting.current_retry_interval), (2, duration(1)));
    assert_eq!(waiting.next_attempt_schedule_time, Some((world.now + secs(1)).to_api()));
    assert_eq!(waiting.last_failure.unwrap().message, "one");
    assert_eq!((waiting.last_worker_identity.as_str(), waiting.last_started_time), (WORKER, Some(world.now.to_api())));
    task_gone(world.complete_activity(&first, "late"));
    world.advance(secs(1));
    let second = world.poll_activity().unwrap();
    assert_eq!(second.response.attempt, 2);
    world.fail_activity(&second, failure("two")).unwrap();
    assert_eq!((status(&world).0, failed(&world).message.as_str()), (Status::Failed, "two"));
    assert_eq!(outcome(&world).retry_state(), RetryState::MaximumAttemptsReached);
    assert_eq!((info(&world).attempt, info(&world).last_failure.unwrap().message.as_str()), (2, "two"));
}

#[test]
fn a_failure_without_reason_has_one() {
    let policy = RetryPolicy { maximum_attempts: 1, ..Default::default() };
    let mut world = started(StartActivityExecutionRequest { retry_policy: Some(policy), ..request("a") });
    let task = world.poll_activity().unwrap();
    let id = filed(&world, "a");
    let fail = Input::FailActivity { target: task.target(), failure: None, last_heartbeat_details: None, identity: WORKER.into() };
    world.apply(&id, fail).unwrap();
    assert_eq!(failed(&world).message, "activity task failed without failure details");
}

#[test]
fn its_four_timeouts() {
    let once = || Some(RetryPolicy { maximum_attempts: 1, ..Default::default() });
    let mut world = started(StartActivityExecutionRequest { schedule_to_start_timeout: duration(3), ..request("a") });
    world.advance(secs(3));
    assert_eq!((status(&world).0, failed(&world).message.as_str()), (Status::TimedOut, "activity ScheduleToStart timeout"));

    let mut world = started(StartActivityExecutionRequest { schedule_to_close_timeout: duration(5), ..request("a") });
    let task = world.poll_activity().unwrap();
    assert_eq!(info(&world).expiration_time, Some((world.now + secs(5)).to_api()));
    world.advance(secs(5));
    // Start-to-close ends at the same moment: the activity ends once.
    assert_eq!(status(&world).0, Status::TimedOut);
    assert_eq!(outcome(&world).retry_state(), RetryState::Timeout);
    assert_eq!(world.run(&filed(&world, "a")).events().len(), 3);
    task_gone(world.heartbeat(&task, "late"));

    let mut world = started(StartActivityExecutionRequest { retry_policy: once(), ..request("a") });
    world.poll_activity().unwrap();
    world.advance(secs(10));
    assert_eq!((status(&world).0, failed(&world).message.as_str()), (Status::TimedOut, "activity StartToClose timeout"));
    assert_eq!(info(&world).last_failure.unwrap().message, "activity StartToClose timeout");

    let beats = StartActivityExecutionRequest { retry_policy: once(), heartbeat_timeout: duration(2), ..request("a") };
    let mut world = started(beats);
    let task = world.poll_activity().unwrap();
    world.advance(secs(1));
    world.heartbeat(&task, "beat").unwrap();
    world.advance(secs(2));
    let failure = failed(&world);
    assert_eq!((status(&world).0, failure.message.as_str()), (Status::TimedOut, "activity Heartbeat timeout"));
    let Some(FailureInfo::TimeoutFailureInfo(timeout)) = failure.failure_info else { panic!("no timeout") };
    assert_eq!(timeout.last_heartbeat_details, payloads("beat"));

    // A timeout of an attempt is retried.
    let mut world = started(request("a"));
    world.poll_activity().unwrap();
    world.advance(secs(10));
    assert_eq!((status(&world), info(&world).attempt), ((Status::Running, State::Scheduled), 2));
    world.advance(secs(1));
    assert_eq!(world.poll_activity().unwrap().response.attempt, 2);
}

#[test]
fn a_delayed_start_waits_and_its_time_counts_from_then() {
    let given = StartActivityExecutionRequest { start_delay: duration(7), schedule_to_close_timeout: duration(5), ..request("a") };
    let mut world = started(given);
    let begin = world.now;
    assert!(world.poll_activity().is_none());
    let waiting = info(&world);
    assert_eq!((waiting.start_delay, waiting.execution_time), (duration(7), Some((begin + secs(7)).to_api())));
    assert_eq!(waiting.expiration_time, Some((begin + secs(12)).to_api()));
    assert_eq!((waiting.schedule_time, waiting.current_retry_interval), (Some(begin.to_api()), None));
    world.advance(secs(7));
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.attempt, 1);
    world.advance(secs(5));
    assert_eq!(status(&world).0, Status::TimedOut);
    let refused = World::new().start_activity(StartActivityExecutionRequest { start_delay: duration(-1), ..request("a") });
    assert!(matches!(refused, Err(Refusal::InvalidArgument(text)) if text.starts_with("invalid StartDelay")));
}

#[test]
fn a_cancel_request_ends_what_nobody_has() {
    let mut world = started(request("a"));
    cancel(&mut world, "r").unwrap();
    assert_eq!(status(&world), (Status::Canceled, State::Unspecified));
    let failure = failed(&world);
    let Some(FailureInfo::CanceledFailureInfo(canceled)) = failure.failure_info else { panic!("not canceled") };
    assert_eq!((failure.message.as_str(), canceled.identity.as_str()), ("Activity canceled", "boss"));
    assert_eq!(canceled.details, payloads("\"enough\""));
    assert_eq!(info(&world).canceled_reason, "enough");
    assert!(world.poll_activity().is_none(), "its offer is gone");
    assert_eq!(cancel(&mut world, "other").unwrap_err(), Refusal::FailedPrecondition("invalid transition from Canceled".into()));
    assert_events(
        &world,
        "
        1 WorkflowExecutionStarted
        2 ActivityTaskScheduled {id a, wtc 0}
        3 ActivityTaskCancelRequested {scheduled 2, wtc 0}
        4 WorkflowExecutionCanceled {wtc 0}
    ",
    );
}

#[test]
fn a_cancel_request_reaches_the_worker_that_has_it() {
    let mut world = started(request("a"));
    let task = world.poll_activity().unwrap();
    let early = Refusal::FailedPrecondition("invalid transition from Started".into());
    assert_eq!(world.cancel_activity(&task, "early").unwrap_err(), early);
    cancel(&mut world, "r").unwrap();
    cancel(&mut world, "r").unwrap();
    let refused = Refusal::FailedPrecondition("cancellation already requested with request ID r".into());
    assert_eq!(cancel(&mut world, "other").unwrap_err(), refused);
    assert_eq!(status(&world), (Status::Running, State::CancelRequested));
    assert!(world.heartbeat(&task, "x").unwrap());
    world.cancel_activity(&task, "details").unwrap();
    let Some(FailureInfo::CanceledFailureInfo(canceled)) = failed(&world).failure_info else { panic!("not canceled") };
    assert_eq!((canceled.identity.as_str(), canceled.details), ("boss", payloads("details")));

    // One that does not listen may still complete; one that fails is not tried again.
    let mut world = started(request("a"));
    let task = world.poll_activity().unwrap();
    cancel(&mut world, "r").unwrap();
    world.complete_activity(&task, "yes").unwrap();
    assert_eq!(status(&world).0, Status::Completed);
    let mut world = started(request("a"));
    let task = world.poll_activity().unwrap();
    cancel(&mut world, "r").unwrap();
    world.fail_activity(&task, failure("no")).unwrap();
    assert_eq!((status(&world).0, outcome(&world).retry_state()), (Status::Failed, RetryState::CancelRequested));
}

#[test]
fn a_termination_ends_it_at_once() {
    let mut world = started(request("a"));
    let task = world.poll_activity().unwrap();
    terminate(&mut world, "r").unwrap();
    terminate(&mut world, "r").unwrap();
    let refused = Refusal::FailedPrecondition("already terminated with request ID r".into());
    assert_eq!(terminate(&mut world, "other").unwrap_err(), refused);
    assert_eq!(status(&world).0, Status::Terminated);
    let failure = failed(&world);
    let Some(FailureInfo::TerminatedFailureInfo(terminated)) = failure.failure_info else { panic!("not terminated") };
    assert_eq!((failure.message.as_str(), terminated.identity.as_str()), ("stop", "boss"));
    task_gone(world.complete_activity(&task, "late"));
}

#[test]
fn a_result_by_id_needs_no_attempt() {
    let mut world = started(request("a"));
    let id = filed(&world, "a");
    let by_id = |id: &str| ActivityTarget::Id(id.into());
    let beat = Input::Heartbeat { target: by_id("a"), details: None, identity: WORKER.into() };
    task_gone(world.apply(&id, beat));
    let complete = Input::CompleteActivity { target: by_id("a"), result: payloads("by id"), identity: "hand".into() };
    world.apply(&id, complete).unwrap();
    assert_eq!(outcome(&world).value, Some(Value::Result(payloads("by id").unwrap())));
    assert!(world.poll_activity().is_none());
}

#[test]
fn operators_pause_reset_and_change_it() {
    let mut world = started(request("a"));
    let id = filed(&world, "a");
    let own = || ActivitySelector::Id("a".into());
    world.apply(&id, Input::PauseActivity(own(), operator("p"))).unwrap();
    assert_eq!(status(&world), (Status::Running, State::Paused));
    assert!(world.poll_activity().is_none());
    world.apply(&id, Input::UnpauseActivity(own(), Box::default())).unwrap();
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("one")).unwrap();
    let update = OptionsUpdate {
        options: Some(sempre_api::v1::activity::ActivityOptions { heartbeat_timeout: duration(2), ..Default::default() }),
        mask: Some(vec!["heartbeat_timeout".into()]),
        ..Default::default()
    };
    world.apply(&id, Input::UpdateActivityOptions(own(), Box::new(update))).unwrap();
    assert_eq!(info(&world).heartbeat_timeout, duration(2));
    world.apply(&id, Input::ResetActivity(own(), Box::default())).unwrap();
    assert_eq!(info(&world).attempt, 1);
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "yes").unwrap();
    assert!(world.apply(&id, Input::PauseActivity(own(), operator("p"))).is_err());
}

#[test]
fn what_is_for_workflows_does_not_reach_it() {
    let mut world = started(request("a"));
    let id = filed(&world, "a");
    let signal = SignalRequest { name: "s".into(), request_id: "r".into(), ..Default::default() };
    assert!(matches!(world.signal_with(&id, signal), Err(Refusal::NotFound(_))));
    assert!(matches!(world.terminate(&id, "x"), Err(Refusal::NotFound(_))));
    world.start("wf");
    let request = CancelActivityRun::default();
    assert!(matches!(world.apply("wf", Input::CancelActivityRun(Box::new(request))), Err(Refusal::NotFound(_))));
}

#[test]
fn lists_know_it_by_its_own_names_and_it_goes_when_its_retention_ends() {
    let mut world = started(request("a"));
    let record = world.run(&filed(&world, "a")).execution.record();
    assert_eq!((record.workflow_id.as_str(), record.workflow_type.as_str(), record.activity), ("a", "type", true));
    assert!(record.search_attributes.contains_key(NAMESPACE_DIVISION));
    assert_eq!(record.run_key().unwrap(), *world.run(&filed(&world, "a")).execution.key());
    let listed = record.to_api_activity();
    assert_eq!(
        (listed.activity_id.as_str(), listed.status(), listed.search_attributes.clone().unwrap().indexed_fields.len()),
        ("a", Status::Running, 0)
    );
    assert_eq!(listed.state_transition_count, 0);
    terminate(&mut world, "r").unwrap();
    let closed = world.run(&filed(&world, "a")).execution.record().to_api_activity();
    assert_eq!((closed.status(), closed.close_time), (Status::Terminated, Some(world.now.to_api())));
    let run = world.current_run(&filed(&world, "a"));
    world.advance(world.namespace.retention);
    assert!(!world.runs.contains_key(&run), "its retention is over");
}
