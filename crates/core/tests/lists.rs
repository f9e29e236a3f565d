//! What lists show of a run, and when it is written: spec 06 §1.
//!
//! That a record which is not written again still says what is, the harness checks after every step of every test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, *};
use prost::Message;
use sempre_api::v1::{
    command::{
        Command, FailWorkflowExecutionCommandAttributes, ModifyWorkflowPropertiesCommandAttributes,
        UpsertWorkflowSearchAttributesCommandAttributes,
    },
    common::{Memo, Payload, SearchAttributes},
    enums::{WorkflowExecutionStatus as Status, WorkflowTaskFailedCause},
    failure::Failure,
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{
    Input,
    input::{ActivityTarget, PauseRequest},
    visibility::Record,
};

fn record(world: &World) -> (&Record, usize) {
    let run = world.run("wf");
    (&run.record, run.records)
}

fn typed(kind: &'static str, json: &str) -> Payload {
    with(payload(json), |p| drop(p.metadata.insert("type".into(), kind.into())))
}

fn upsert(name: &str, value: Payload) -> Command {
    let search_attributes = Some(SearchAttributes { indexed_fields: [(name.into(), value)].into() });
    UpsertWorkflowSearchAttributesCommandAttributes { search_attributes }.command()
}

fn memo(name: &str, value: Payload) -> Command {
    let upserted_memo = Some(Memo { fields: [(name.into(), value)].into() });
    ModifyWorkflowPropertiesCommandAttributes { upserted_memo }.command()
}

#[test]
fn a_record_is_written_at_the_start_and_at_the_end_and_not_in_between() {
    let mut world = World::new();
    let started = world.now;
    world
        .start_with(StartWorkflowExecutionRequest {
            memo: Some(Memo { fields: [("m".into(), payload("1"))].into() }),
            search_attributes: Some(SearchAttributes { indexed_fields: [("Number".into(), typed("Int", "7"))].into() }),
            ..start_request("wf")
        })
        .unwrap();
    let run = world.current_run("wf");
    let (first, _) = record(&world);
    let expected = Record {
        namespace_id: world.namespace.id.0.0.to_vec().into(),
        workflow_id: "wf".into(),
        run_id: run.0.0.to_vec().into(),
        workflow_type: "Type".into(),
        task_queue: QUEUE.into(),
        status: Status::Running as i32,
        start_time: started.0,
        execution_time: started.0,
        close_time: 0,
        history_length: 2,
        history_size_bytes: first.history_size_bytes,
        state_transition_count: 1,
        first_run_id: run.to_string(),
        memo: [("m".into(), payload("1"))].into(),
        search_attributes: [("Number".into(), typed("Int", "7"))].into(),
        ..Record::default()
    };
    assert_eq!((first, first.history_size_bytes > 0), (&expected, true));
    assert_eq!(Record::decode(first.encode_to_vec().as_slice()).unwrap(), expected);
    assert!(first.is_open() && first.execution_duration().is_none());

    world.work([activity("a").command(), timer("t", secs(60))]);
    let activity = world.poll_activity().unwrap();
    world.heartbeat(&activity, "1").unwrap();
    world.complete_activity(&activity, "done").unwrap();
    world.signal("wf", "s").unwrap();
    world.work([]);
    world.advance(secs(60));
    assert_eq!(record(&world).1, 1, "nothing that lists show has changed");

    let version = world.run("wf").execution.version();
    world.work([complete()]);
    assert!(world.run("wf").execution.version() > version);
    let (last, written) = record(&world);
    assert_eq!((written, last.status, last.close_time), (2, Status::Completed as i32, world.now.0));
    assert_eq!(last.execution_duration(), Some(secs(60).0));
    assert_eq!(last.history_length, world.run("wf").execution.next_event_id() - 1);
}

#[test]
fn upserts_of_memo_and_search_attributes_are_written() {
    let mut world = World::new();
    world.start("wf");
    world.work([upsert("Word", typed("Keyword", "\"x\""))]);
    assert_eq!(record(&world).1, 2);
    assert_eq!(record(&world).0.search_attributes["Word"], typed("Keyword", "\"x\""));
    world.signal("wf", "s").unwrap();
    world.work([memo("m", payload("1"))]);
    assert_eq!((record(&world).1, record(&world).0.memo.len()), (3, 1));
    // Taken back with the rest of the completion: nothing to show.
    world.signal("wf", "s").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let _ = world.complete_with(&task, [upsert("Word", payload("null")), cancel_timer("none")], |_| {});
    assert_eq!(record(&world).0.search_attributes["Word"], typed("Keyword", "\"x\""));
}

#[test]
fn pauses_and_reported_problems_are_written() {
    let mut world = World::new();
    world.limits.task_problems_reported = 2;
    world.start("wf");
    for failures in 1..=3 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
        world.advance(secs(60));
        let reported = record(&world).0.search_attributes.contains_key("TemporalReportedProblems");
        assert_eq!(reported, failures >= 2, "after {failures} failures");
    }
    world.work([activity("a").command()]);
    assert!(record(&world).0.search_attributes.is_empty(), "the task was completed");

    let request = || Box::new(PauseRequest { identity: "op".into(), reason: "why".into(), request_id: String::new() });
    world.apply("wf", Input::Pause(request())).unwrap();
    assert_eq!(record(&world).0.status, Status::Paused as i32);
    assert!(record(&world).0.search_attributes.contains_key("TemporalPauseInfo"));
    world.apply("wf", Input::Unpause(request())).unwrap();
    assert_eq!((record(&world).0.status, record(&world).0.search_attributes.len()), (Status::Running as i32, 0));

    let which = || sempre_core::input::ActivitySelector::Id("a".into());
    world.apply("wf", Input::PauseActivity(which(), request())).unwrap();
    assert!(record(&world).0.search_attributes.contains_key("TemporalPauseInfo"));
    let target = ActivityTarget::Id("a".into());
    world.apply("wf", Input::CompleteActivity { target, result: None, identity: WORKER.into() }).unwrap();
    assert!(record(&world).0.search_attributes.is_empty(), "what was paused is over");
}

fn shown(world: &World, name: &str) -> Option<String> {
    let payload = record(world).0.search_attributes.get(name)?;
    assert!(payload.metadata.contains_key("type"));
    Some(String::from_utf8(payload.data.to_vec()).unwrap())
}

#[test]
fn workflow_tasks_that_fail_are_told_at_each_doubling() {
    let mut world = World::new();
    world.limits.task_problems_reported = 0;
    world.start("wf");
    let mut written = Vec::new();
    for failures in 1..=9 {
        let task = world.poll_workflow(QUEUE).unwrap();
        let before = record(&world).1;
        world.fail_task(&task, WorkflowTaskFailedCause::NonDeterministicError).unwrap();
        if record(&world).1 > before {
            written.push(failures);
            assert_eq!(shown(&world, "SempreWorkflowTaskFailures"), Some(failures.to_string()));
        }
        world.advance(secs(1000));
    }
    assert_eq!(written, [1, 2, 4, 8]);
    assert_eq!(shown(&world, "SempreHealth").as_deref(), Some("\"workflow-task-failing\""));
    assert_eq!(shown(&world, "SempreLastFailure").as_deref(), Some("\"NonDeterministicError: task failed\""));
    let described = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap().search_attributes.unwrap();
    assert_eq!(described.indexed_fields["SempreWorkflowTaskFailures"].data, "9");
    world.work([]);
    assert!(record(&world).0.search_attributes.is_empty(), "a task was completed");
}

#[test]
fn activities_that_are_tried_again_are_told_at_each_doubling() {
    let mut world = World::new();
    world.start("wf");
    world.work([with(activity("a"), |a| a.retry_policy = retry(0)).command(), activity("b").command()]);
    let other = world.poll_activity().unwrap();
    let (mut written, started) = (Vec::new(), record(&world).1);
    for attempt in 2..=9 {
        let task = if attempt == 2 && other.response.activity_id == "a" { other.clone() } else { world.poll_activity().unwrap() };
        let before = record(&world).1;
        world.fail_activity(&task, failure("no \"route\"")).unwrap();
        if record(&world).1 > before {
            written.push(attempt);
            assert_eq!(shown(&world, "SempreActivityAttempt"), Some(attempt.to_string()));
        }
        world.advance(secs(1));
        while world.offers.is_empty() {
            world.advance(secs(1));
        }
        world.offers.retain(|offer| offer.key.scheduled_event_id == task.token.scheduled_event_id);
    }
    assert_eq!((started, written), (1, vec![2, 4, 8]));
    assert_eq!(shown(&world, "SempreHealth").as_deref(), Some("\"activity-retrying\""));
    assert_eq!(shown(&world, "SempreLastFailure").as_deref(), Some("\"Activity: no \\\"route\\\"\""));
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "done").unwrap();
    assert_eq!(shown(&world, "SempreHealth"), None);
}

#[test]
fn a_run_that_has_failed_says_what_of_in_lists_and_when_described() {
    let ended_with = |failure: Failure| {
        let mut world = World::new();
        world.start("wf");
        world.work([FailWorkflowExecutionCommandAttributes { failure: Some(failure) }.command()]);
        assert_eq!((record(&world).0.status, record(&world).1), (Status::Failed as i32, 2));
        let described = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap().search_attributes.unwrap();
        assert_eq!(described.indexed_fields, record(&world).0.search_attributes);
        shown(&world, "SempreLastFailure")
    };
    let caused = |message: &str, cause| with(failure(message), |failure| failure.cause = Some(Box::new(cause)));
    assert_eq!(ended_with(failure("no \"route\"")).as_deref(), Some("\"no \\\"route\\\"\""));
    let deep = caused("child failed", caused("", caused("activity failed", failure("card refused"))));
    assert_eq!(ended_with(deep).as_deref(), Some("\"child failed: activity failed: card refused\""));
    assert_eq!(ended_with(failure("")), None);
    // 512 bytes at most, whole letters only.
    let long = ended_with(caused(&"a".repeat(505), failure("äöüß"))).unwrap();
    assert_eq!(long, format!("\"{}: äö\"", "a".repeat(505)));

    let mut world = World::new();
    world.start("wf");
    world.work([complete()]);
    assert_eq!(shown(&world, "SempreLastFailure"), None);
}

#[test]
fn a_run_that_has_waited_for_a_minute_says_what_for_until_it_goes_on() {
    let mut world = World::new();
    world.limits.waits_told_after = secs(60);
    let told = |world: &World| ["For", "Since", "Until"].map(|what| shown(world, &format!("SempreWaiting{what}")));
    let time = |at: sempre_core::Timestamp| Some(sempre_core::visibility::json_string(&sempre_core::visibility::format_datetime(at)));
    world.start("wf");
    world.advance(secs(300));
    assert_eq!(told(&world), [None, None, None], "its task waits, not the run");

    world.work([activity("a").command(), timer("t", secs(600))]);
    let (since, fires) = (world.now, world.now + secs(600));
    world.advance(secs(59));
    assert_eq!((told(&world), record(&world).1), ([None, None, None], 1));
    world.advance(secs(1));
    assert_eq!(told(&world), [Some("\"activity\"".into()), time(since), time(fires)]);
    assert_eq!(record(&world).1, 2);
    world.advance(secs(60));
    assert_eq!(record(&world).1, 2, "once");
    let activity = world.poll_activity().unwrap();
    world.complete_activity(&activity, "done").unwrap();
    assert_eq!((told(&world), record(&world).1), ([None, None, None], 3), "it goes on");

    world.work([]);
    let since = world.now;
    world.advance(secs(60));
    assert_eq!(told(&world), [Some("\"timer\"".into()), time(since), time(fires)]);
    world.signal("wf", "s").unwrap();
    world.work([cancel_timer("t")]);
    let since = world.now;
    world.advance(secs(60));
    assert_eq!(told(&world), [Some("\"signal\"".into()), time(since), None]);
    let described = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap();
    assert_eq!(described.search_attributes.unwrap().indexed_fields, record(&world).0.search_attributes, "describe too");

    let request = || Box::new(PauseRequest { identity: "op".into(), reason: "why".into(), request_id: String::new() });
    world.apply("wf", Input::Pause(request())).unwrap();
    assert_eq!(told(&world), [None, None, None], "it is held back");
    world.apply("wf", Input::Unpause(request())).unwrap();
    world.signal("wf", "s").unwrap();
    world.work([complete()]);
    world.advance(secs(120));
    assert_eq!(told(&world), [None, None, None], "closed");
}

#[test]
fn a_run_whose_first_task_is_not_due_waits_for_that() {
    let mut world = World::new();
    world.limits.waits_told_after = secs(60);
    let start = StartWorkflowExecutionRequest { workflow_start_delay: Some(secs(3600).to_api()), ..start_request("wf") };
    world.start_with(start).unwrap();
    let due = world.now + secs(3600);
    world.advance(secs(60));
    assert_eq!(shown(&world, "SempreWaitingFor"), Some("\"start\"".into()));
    let until = sempre_core::visibility::json_string(&sempre_core::visibility::format_datetime(due));
    assert_eq!(shown(&world, "SempreWaitingUntil"), Some(until));
    world.advance(secs(3540));
    assert_eq!(shown(&world, "SempreWaitingFor"), None);
}
