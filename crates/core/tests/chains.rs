//! Chains of runs: continue-as-new, retry, cron, run and execution timeouts, retention (spec 01 §7–10).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{common::RetryPolicy, enums::WorkflowExecutionStatus, workflowservice::StartWorkflowExecutionRequest};
use sempre_core::{Input, Refusal, Span};

fn cron() -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| r.cron_schedule = "* * * * *".into())
}

fn retried(maximum_attempts: i32) -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| r.retry_policy = Some(RetryPolicy { maximum_attempts, ..Default::default() }))
}

/// 01 §10
#[test]
fn continue_as_new_makes_the_next_run_in_one_step() {
    let mut world = World::new();
    world.begin("wf", [continue_as_new().command()]);
    assert_history_of(
        &world,
        "wf",
        1,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionContinuedAsNew {wtc 4, next wf/2}
    ",
    );
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {Workflow}
        2 WorkflowTaskScheduled
    ",
    );
    let first = world.chains["wf"][0];
    assert_eq!(world.runs[&first].execution.status(), WorkflowExecutionStatus::ContinuedAsNew);
    let info = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap();
    assert_eq!(info.first_run_id, first.to_string());
    assert_eq!(world.current["wf"].first_run_id, first.to_string());
}

/// 01 §10: at most about one run per second
#[test]
fn rapid_continue_as_new_is_slowed_down() {
    let mut world = World::new();
    world.limits.continue_as_new_interval_min = secs(1);
    world.start("wf");
    world.advance(Span::millis(400));
    world.work([continue_as_new().command()]);
    assert!(world.poll_workflow(QUEUE).is_none());
    assert_history(&world, "wf", "1 WorkflowExecutionStarted {Workflow, backoff 0.6s}");
    world.advance(Span::millis(600));
    assert!(world.poll_workflow(QUEUE).is_some());
}

/// 01 §10
#[test]
fn what_continue_as_new_leaves_out_comes_from_the_old_run() {
    let mut world = World::new();
    world
        .start_with(with(start_request("wf"), |r| {
            r.workflow_run_timeout = duration(50);
            r.workflow_execution_timeout = duration(100);
            r.memo = Some(sempre_api::v1::common::Memo { fields: [("m".into(), payload("1"))].into() });
            r.retry_policy = Some(RetryPolicy::default());
        }))
        .unwrap();
    world.work([continue_as_new().command()]);
    let described = world.run("wf").execution.describe(world.now);
    let config = described.execution_config.unwrap();
    assert_eq!(config.workflow_run_timeout, duration(50));
    assert_eq!(config.workflow_execution_timeout, duration(100));
    assert!(described.workflow_execution_info.unwrap().memo.unwrap().fields.is_empty(), "the memo is the command's");
    // The retry policy too: a failure ends the chain.
    world.work([fail("no")]);
    assert_eq!(world.chains["wf"].len(), 2);
    assert_eq!(world.run("wf").execution.status(), WorkflowExecutionStatus::Failed);
}

/// 01 §8
#[test]
fn a_failed_run_is_retried_with_a_wait() {
    let mut world = World::new();
    world.start_with(retried(3)).unwrap();
    world.work([fail("no 1")]);
    assert_history_of(
        &world,
        "wf",
        1,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionFailed {wtc 4, failure 'no 1', InProgress, next wf/2}
    ",
    );
    world.advance(secs(1));
    world.work([fail("no 2")]);
    world.advance(secs(2));
    world.work([fail("no 3")]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {Retry, attempt 3, backoff 2.0s, continued failure 'no 2'}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionFailed {wtc 4, failure 'no 3', MaximumAttemptsReached}
    ",
    );
}

/// 01 §8
#[test]
fn a_failure_marked_so_is_not_retried() {
    let mut world = World::new();
    world.start_with(retried(0)).unwrap();
    let command = sempre_api::v1::command::FailWorkflowExecutionCommandAttributes {
        failure: Some(failure_with("fatal", |f| f.non_retryable = true)),
    };
    world.work([command.command()]);
    let events = world.run("wf").events();
    assert_eq!(line(&world, &events[4]), "WorkflowExecutionFailed {wtc 4, failure 'fatal', NonRetryableFailure}");
}

/// 01 §8: the chain's time
#[test]
fn a_retry_beyond_the_chains_time_is_not_made() {
    let mut world = World::new();
    world
        .start_with(with(retried(0), |r| {
            r.workflow_execution_timeout = duration(5);
            r.retry_policy = Some(RetryPolicy { initial_interval: duration(10), ..Default::default() });
        }))
        .unwrap();
    world.work([fail("no")]);
    let events = world.run("wf").events();
    assert_eq!(line(&world, &events[4]), "WorkflowExecutionFailed {wtc 4, failure 'no', Timeout}");
}

/// 01 §7
#[test]
fn a_run_that_times_out_is_retried() {
    let mut world = World::new();
    world.start_with(with(retried(2), |r| r.workflow_run_timeout = duration(5))).unwrap();
    world.advance(secs(5));
    assert_history_of(
        &world,
        "wf",
        1,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTimedOut {InProgress, next wf/2}
    ",
    );
    world.advance(secs(1));
    // The back-off does not count against the run's time.
    world.advance(secs(5));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {Retry, attempt 2, backoff 1.0s, continued failure 'workflow timeout'}
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTimedOut {MaximumAttemptsReached}
    ",
    );
    assert!(world.offers.is_empty());
}

/// 01 §7
#[test]
fn the_execution_timeout_spans_the_chain() {
    let mut world = World::new();
    world
        .start_with(with(retried(0), |r| {
            r.workflow_execution_timeout = duration(12);
            r.workflow_run_timeout = duration(5);
        }))
        .unwrap();
    world.advance(secs(12));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {Retry, attempt 2, backoff 1.0s, continued failure 'workflow timeout'}
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTimedOut {Timeout}
    ",
    );
}

/// 01 §9
#[test]
fn cron_runs_follow_each_other() {
    let mut world = World::new();
    world.advance(secs(10));
    world.start_with(cron()).unwrap();
    assert!(world.poll_workflow(QUEUE).is_none());
    world.advance(secs(50));
    world.work([complete()]);
    assert_history_of(
        &world,
        "wf",
        1,
        "
        1 WorkflowExecutionStarted {CronSchedule, backoff 50.0s}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionCompleted {wtc 4, next wf/2}
    ",
    );
    assert_history(&world, "wf", "1 WorkflowExecutionStarted {CronSchedule, backoff 60.0s, last result done}");
    world.advance(secs(60));
    world.work([fail("no")]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {CronSchedule, backoff 60.0s, continued failure 'no', last result done}
    ",
    );
}

/// 01 §9
#[test]
fn a_cron_run_that_took_too_long_skips_ticks() {
    let mut world = World::new();
    world.start_with(cron()).unwrap();
    world.advance(secs(60));
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [timer("t", secs(150))]);
    world.advance(secs(150));
    world.work([complete()]);
    assert_history(&world, "wf", "1 WorkflowExecutionStarted {CronSchedule, backoff 30.0s, last result done}");
}

/// 01 §9
#[test]
fn terminate_and_cancel_end_a_cron_chain() {
    for end in ["terminate", "cancel"] {
        let mut world = World::new();
        world.start_with(cron()).unwrap();
        world.advance(secs(60));
        if end == "cancel" {
            world.request_cancel("wf", "enough").unwrap();
            world.work([cancel()]);
        } else {
            world.terminate("wf", "enough").unwrap();
        }
        assert_eq!(world.chains["wf"].len(), 1, "{end}");
    }
}

/// 01 §6.1
#[test]
fn a_chain_can_be_addressed_by_its_first_run() {
    let mut world = World::new();
    world.begin("wf", [continue_as_new().command()]);
    let terminate =
        |first_run_id: String| Input::Terminate(Box::new(sempre_core::input::TerminateRequest { first_run_id, ..Default::default() }));
    let second = world.chains["wf"][1].to_string();
    let refusal = world.apply("wf", terminate(second)).unwrap_err();
    assert_eq!(refusal, Refusal::NotFound("workflow execution not found".into()));
    let first = world.chains["wf"][0].to_string();
    world.apply("wf", terminate(first)).unwrap();
    // Of a closed run nobody asks whose it was.
    let closed = world.apply("wf", terminate("other".into())).unwrap_err();
    assert_eq!(closed, Refusal::NotFound("workflow execution already completed".into()));
    let cancel = sempre_core::input::CancelRequest { first_run_id: "other".into(), ..Default::default() };
    world.apply("wf", Input::RequestCancel(Box::new(cancel))).unwrap();
}

/// 01 §3.3.1; Temporal's server forgets the request id with the run that it made, and would start a second chain
#[test]
fn a_start_is_known_again_for_as_long_as_its_chain_is_the_current_one() {
    let request = || with(start_request("wf"), |r| r.request_id = "mine".into());
    let ways: [fn(&mut StartWorkflowExecutionRequest); 3] =
        [|_| {}, |r| r.retry_policy = Some(RetryPolicy::default()), |r| r.cron_schedule = "* * * * *".into()];
    for (n, way) in ways.into_iter().enumerate() {
        let mut world = World::new();
        let request = || with(request(), way);
        let first = world.start_with(request()).unwrap();
        for _ in 0..2 {
            world.advance(secs(60));
            match n {
                0 => world.work([continue_as_new().command()]),
                1 => world.work([fail("again")]),
                _ => world.work([complete()]),
            };
        }
        let again = world.start_with(request()).unwrap();
        let said = (again.run_id.clone(), again.first_execution_run_id.clone(), again.started, again.status());
        assert_eq!(said, (first.run_id.clone(), first.run_id.clone(), true, WorkflowExecutionStatus::Running));
        world.terminate("wf", "enough").unwrap();
        let closed = world.start_with(request()).unwrap();
        assert_eq!((closed.run_id.clone(), closed.status()), (first.run_id, WorkflowExecutionStatus::Terminated));
        assert_eq!(world.chains["wf"].len(), 3, "no other chain");
        // By another name it is another start.
        world.start("wf");
        assert_eq!(world.chains["wf"].len(), 4);
    }
}

#[test]
fn a_chain_keeps_the_name_of_its_start_over_a_reset() {
    let mut world = World::new();
    let request = || with(start_request("wf"), |r| r.request_id = "mine".into());
    let first = world.start_with(request()).unwrap();
    world.work([continue_as_new().command()]);
    world.work([]);
    world.reset("wf", 4);
    assert_eq!(world.start_with(request()).unwrap().run_id, first.run_id);
    assert_eq!(world.chains["wf"].len(), 3);
}

/// 01 §4
#[test]
fn a_signal_with_start_signals_its_chain_once() {
    let mut world = World::new();
    let request = || with(start_request("wf"), |r| r.request_id = "mine".into());
    let signal = || sempre_core::input::SignalRequest { name: "go".into(), ..Default::default() };
    world.signal_with_start(request(), signal()).unwrap();
    world.work([continue_as_new().command()]);
    world.work([continue_as_new().command()]);
    let again = world.signal_with_start(request(), signal()).unwrap();
    assert!(!again.started);
    world.work([complete()]);
    let closed = world.signal_with_start(request(), signal()).unwrap();
    assert_eq!((closed.started, closed.status()), (false, WorkflowExecutionStatus::Completed));
    assert_eq!(world.chains["wf"].len(), 3);
    assert!(!history_text(&world, world.chains["wf"][2]).contains("Signaled"));
}

/// 01 §5: the update belongs to one run
#[test]
fn an_update_with_start_is_not_made_again_in_another_run_of_its_chain() {
    let mut world = World::new();
    let request = || with(start_request("wf"), |r| r.request_id = "mine".into());
    world.start_with(request()).unwrap();
    world.work([continue_as_new().command()]);
    let Err(Refusal::MultiOperation(_)) = world.update_with_start(request(), "u") else { panic!("it is refused") };
    world.work([complete()]);
    let Err(Refusal::MultiOperation(_)) = world.update_with_start(request(), "u") else { panic!("it is refused") };
    assert_eq!(world.chains["wf"].len(), 2);
}

/// 04 §7.5
#[test]
fn a_closed_run_is_deleted_after_its_retention() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    world.advance(Span(world.namespace.retention.0 - 1));
    assert_eq!(world.runs.len(), 1);
    world.advance(Span(1));
    assert!(world.runs.is_empty());
}

/// 01 §17
#[test]
fn describe_tells_of_a_run_that_never_expires_as_the_reference_does() {
    let mut world = World::new();
    world.start("wf");
    let never = world.run("wf").execution.describe(world.now).workflow_extended_info.unwrap().run_expiration_time.unwrap();
    assert_eq!(never.seconds, -62_135_596_800, "0001-01-01T00:00:00Z");
}

#[test]
fn the_next_run_knows_the_first_completion_of_workers_that_name_no_build() {
    let mut world = World::new();
    world.begin("wf", [continue_as_new().command()]);
    let info = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap();
    let points = info.auto_reset_points.unwrap().points;
    assert_eq!(points.len(), 1);
    assert_eq!((points[0].run_id.clone(), points[0].first_workflow_task_completed_id), (world.chains["wf"][0].to_string(), 4));
    assert!(points[0].expire_time.is_some() && points[0].resettable);
}

#[test]
fn describe_tells_of_times() {
    let mut world = World::new();
    let begun = world.now;
    world
        .start_with(with(start_request("wf"), |r| {
            r.workflow_start_delay = duration(5);
            r.workflow_run_timeout = duration(60);
        }))
        .unwrap();
    world.advance(secs(5));
    world.advance(secs(2));
    world.work([complete()]);
    let described = world.run("wf").execution.describe(world.now);
    let info = described.workflow_execution_info.unwrap();
    assert_eq!(info.start_time, Some(begun.to_api()));
    assert_eq!(info.execution_time, Some((begun + secs(5)).to_api()));
    assert_eq!(info.close_time, Some(world.now.to_api()));
    assert_eq!(info.execution_duration, duration(2));
    assert_eq!(info.history_length, 5);
    assert_eq!(info.status(), WorkflowExecutionStatus::Completed);
    assert_eq!(info.state_transition_count, 4);
    let sizes: usize = world.run("wf").events().iter().map(|e| sempre_api::History::from_events([e]).size()).sum();
    assert_eq!(info.history_size_bytes as usize, sizes);
    let extended = described.workflow_extended_info.unwrap();
    assert_eq!(extended.run_expiration_time, Some((begun + secs(65)).to_api()));
    assert!(described.pending_workflow_task.is_none());
}
