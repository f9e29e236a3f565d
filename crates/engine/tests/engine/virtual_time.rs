//! The engine in virtual time. The wall clock stands still in all of these: whatever passes was skipped.

use sempre_api::v1::{
    command::{
        Command, CompleteWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
        StartChildWorkflowExecutionCommandAttributes, command::Attributes,
    },
    common::{ActivityType, RetryPolicy, WorkflowType},
    enums::{CommandType, ParentClosePolicy, ScheduleOverlapPolicy, WorkflowExecutionStatus as Status},
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    query::WorkflowQuery,
    schedule::{IntervalSpec, Schedule, ScheduleAction, SchedulePolicies, ScheduleSpec, schedule_action::Action},
    workflow::NewWorkflowExecutionInfo,
    workflowservice::*,
};
use sempre_core::{Span, Timestamp};
use sempre_engine::{Clock, Engine, OpenError, Unbalanced, VirtualTime};

use crate::support::*;

const DAY: Span = Span::seconds(24 * 3600);

fn days(n: i64) -> Span {
    Span(DAY.0 * n)
}

fn activity(id: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(3600).to_api()),
        heartbeat_timeout: Some(Span::seconds(20).to_api()),
        retry_policy: Some(RetryPolicy {
            initial_interval: Some(Span::seconds(7200).to_api()),
            backoff_coefficient: 1.0,
            ..Default::default()
        }),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

fn fail() -> Command {
    let failure = Some(Failure { message: "no".into(), ..Default::default() });
    let attributes = FailWorkflowExecutionCommandAttributes { failure };
    command(CommandType::FailWorkflowExecution, Attributes::FailWorkflowExecutionCommandAttributes(attributes))
}

async fn complete_activity(w: &World) {
    let task_token = w.poll_activity().await.task_token;
    let completed = RespondActivityTaskCompletedRequest { task_token, result: Some(payloads("yes")), ..Default::default() };
    soon(w.engine.respond_activity_task_completed(completed)).await.unwrap();
}

fn since(time: &VirtualTime, begin: Timestamp) -> Span {
    time.now().since(begin)
}

async fn status(w: &World, id: &str) -> i32 {
    w.describe(id).await.unwrap().workflow_execution_info.unwrap().status
}

#[tokio::test]
async fn a_year_of_monthly_activities_takes_no_time() {
    let (w, time) = world_in_virtual_time(0).await;
    let begin = time.now();
    w.start("year").await;
    for month in 0..12 {
        let task = w.poll().await;
        w.complete(&task.task_token, vec![timer(&format!("t{month}"), days(30)), activity(&format!("a{month}"))]).await;
        complete_activity(&w).await;
        assert_eq!(since(&time, begin), days(30 * month), "nothing is skipped while the activity runs");
        w.complete(&w.poll().await.task_token, vec![]).await;
    }
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    assert_eq!(since(&time, begin), days(360));
    let history = w.history("year").await;
    let last = Timestamp::from_api(history.last().unwrap().event_time.as_ref().unwrap());
    assert_eq!(last.since(begin), days(360), "times of events are virtual");
}

#[tokio::test]
async fn locked_time_stands_and_an_unlock_lets_it_go() {
    let (w, time) = world_in_virtual_time(1).await;
    let begin = time.now();
    w.start("a").await;
    w.complete(&w.poll().await.task_token, vec![timer("t", days(1))]).await;
    w.settle().await;
    assert_eq!(since(&time, begin), Span::ZERO);
    // Time that passes by itself counts.
    w.clock_advance(Span::seconds(3600));
    w.settle().await;
    assert_eq!(w.names("a").await.last(), Some(&"TIMER_STARTED"));
    time.unlock().unwrap();
    w.complete(&w.poll().await.task_token, done()).await;
    assert_eq!(since(&time, begin), DAY);
    assert_eq!(time.unlock(), Err(Unbalanced));
}

#[tokio::test]
async fn a_sleep_runs_what_is_due_before_its_end_and_nothing_after() {
    let (w, time) = world_in_virtual_time(1).await;
    let (begin, poll) = (time.now(), w.poll_beside());
    w.settle().await;
    w.start("a").await;
    let task = soon(poll).await.unwrap();
    w.complete(&task.task_token, vec![timer("before", days(9)), timer("after", days(11))]).await;
    let poll = w.poll_beside();
    let sleeper = time.clone();
    let sleep = tokio::spawn(async move { sleeper.unlock_for(days(10)).await });
    let task = soon(poll).await.unwrap();
    assert_eq!(since(&time, begin), days(9), "the task is in hand");
    assert!(!sleep.is_finished());
    w.complete(&task.task_token, vec![]).await;
    soon(sleep).await.unwrap().unwrap();
    w.settle().await;
    assert_eq!(since(&time, begin), days(10));
    let fired = w.names("a").await.into_iter().filter(|name| *name == "TIMER_FIRED").count();
    assert_eq!(fired, 1);
}

#[tokio::test]
async fn polls_of_callers_outlast_a_jump() {
    let (w, time) = world_in_virtual_time(1).await;
    let poll = w.poll_beside();
    w.settle().await;
    soon(time.unlock_for(days(365))).await.unwrap();
    w.settle().await;
    assert!(!poll.is_finished());
    w.start("late").await;
    let task = soon(poll).await.unwrap();
    assert!(!task.task_token.is_empty());
    // And it ends by the wall clock.
    w.complete(&task.task_token, done()).await;
    let poll = w.poll_beside();
    w.advance(Span::seconds(61)).await;
    assert!(soon(poll).await.unwrap().task_token.is_empty());
}

#[tokio::test]
async fn back_off_of_an_activity_is_skipped_and_its_attempts_are_not() {
    let (w, time) = world_in_virtual_time(0).await;
    let begin = time.now();
    w.start("a").await;
    w.complete(&w.poll().await.task_token, vec![activity("act")]).await;
    let first = w.poll_activity().await;
    let info = FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default());
    let failure = Some(Failure { message: "no".into(), failure_info: Some(info), ..Default::default() });
    let failed = RespondActivityTaskFailedRequest { task_token: first.task_token, failure, ..Default::default() };
    soon(w.engine.respond_activity_task_failed(failed)).await.unwrap();
    let second = w.poll_activity().await;
    assert_eq!((second.attempt, since(&time, begin)), (2, Span::seconds(7200)));
    w.settle().await;
    assert_eq!(since(&time, begin), Span::seconds(7200));
    // Its heartbeat is missed when so much time has passed for everybody.
    w.advance(Span::seconds(21)).await;
    assert_eq!(w.poll_activity().await.attempt, 3);
}

#[tokio::test]
async fn an_activity_that_sleeps_misses_its_heartbeat() {
    let (w, time) = world_in_virtual_time(1).await;
    let begin = time.now();
    w.start("a").await;
    w.complete(&w.poll().await.task_token, vec![activity("act")]).await;
    let _running = w.poll_activity().await;
    // A client waits for the result, the activity for the end of its own sleep.
    time.unlock().unwrap();
    w.settle().await;
    assert_eq!(since(&time, begin), Span::ZERO);
    soon(time.unlock_for(Span::seconds(40))).await.unwrap();
    // The next attempt comes after its back-off: 20 s and two hours.
    assert_eq!(w.poll_activity().await.attempt, 2);
    assert_eq!(since(&time, begin), Span::seconds(7220));
}

#[tokio::test]
async fn who_sleeps_while_no_worker_is_there_sees_the_timers_fire() {
    let (w, time) = world_in_virtual_time(1).await;
    w.start("a").await;
    w.complete(&w.poll().await.task_token, vec![timer("t", Span::seconds(3600))]).await;
    // Nobody takes the task of the signal. A client waits for the result, and sleeps.
    w.signal("a", "hello").await.unwrap();
    time.unlock().unwrap();
    w.settle().await;
    assert_eq!(w.names("a").await.last(), Some(&"WORKFLOW_TASK_SCHEDULED"));
    soon(time.unlock_for(Span::seconds(5400))).await.unwrap();
    assert_eq!(w.names("a").await.last(), Some(&"TIMER_FIRED"));
    w.complete(&w.poll().await.task_token, done()).await;
}

#[tokio::test]
async fn waits_of_children_hold_nothing_and_messages_between_runs_hold_time() {
    let (w, time) = world_in_virtual_time(0).await;
    let begin = time.now();
    let mut request = start_request("parent");
    request.workflow_execution_timeout = Some(days(1000).to_api());
    w.try_start(request).await.unwrap();
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: "child".into(),
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        task_queue: Some(queue()),
        parent_close_policy: ParentClosePolicy::Abandon as i32,
        ..Default::default()
    };
    let start_child =
        command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(attributes)));
    w.complete(&w.poll().await.task_token, vec![start_child]).await;
    for _ in 0..2 {
        let task = w.poll().await;
        let child = task.workflow_execution.unwrap().workflow_id == "child";
        w.complete(&task.task_token, if child { vec![timer("t", days(100))] } else { vec![] }).await;
    }
    let child = w.poll().await;
    assert_eq!(since(&time, begin), days(100));
    w.complete(&child.task_token, done()).await;
    let parent = w.poll().await;
    assert_eq!(since(&time, begin), days(100), "the parent's only deadline lies far ahead, and was not jumped to");
    assert!(names(&parent.history.unwrap().events().unwrap()).contains(&"CHILD_WORKFLOW_EXECUTION_COMPLETED"));
    w.complete(&parent.task_token, done()).await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_signal_meets_its_timeout_at_once() {
    let (w, time) = world_in_virtual_time(0).await;
    let begin = time.now();
    let mut request = start_request("a");
    request.workflow_run_timeout = Some(days(2).to_api());
    request.workflow_start_delay = Some(DAY.to_api());
    w.try_start(request).await.unwrap();
    w.complete(&w.poll().await.task_token, vec![]).await;
    for _ in 0..1000 {
        if status(&w, "a").await == Status::TimedOut as i32 {
            break;
        }
        w.settle().await;
    }
    assert_eq!((status(&w, "a").await, since(&time, begin)), (Status::TimedOut as i32, days(3)));
}

#[tokio::test]
async fn retries_and_cron_of_workflows_are_jumped_to() {
    let (w, time) = world_in_virtual_time(0).await;
    let begin = time.now();
    let mut request = start_request("retried");
    request.retry_policy = Some(RetryPolicy {
        initial_interval: Some(Span::seconds(1000).to_api()),
        backoff_coefficient: 1.0,
        maximum_attempts: 3,
        ..Default::default()
    });
    w.try_start(request).await.unwrap();
    for attempt in 0..3 {
        let task = w.poll().await;
        assert_eq!(since(&time, begin), Span::seconds(1000 * attempt));
        w.complete(&task.task_token, vec![fail()]).await;
    }
    let mut request = start_request("daily");
    request.cron_schedule = "@every 24h".into();
    let begin = time.now();
    w.try_start(request).await.unwrap();
    for day in 1..=3 {
        let task = w.poll().await;
        let late = since(&time, begin).0 - days(day).0;
        assert!((-DAY.0 / 20..=0).contains(&late), "day {day}: {late} ns");
        w.complete(&task.task_token, done()).await;
    }
}

#[tokio::test]
async fn schedules_start_their_runs_one_after_the_other() {
    let (w, time) = world_in_virtual_time(1).await;
    let interval = IntervalSpec { interval: Some(DAY.to_api()), phase: None };
    let action = NewWorkflowExecutionInfo {
        workflow_id: "daily".into(),
        workflow_type: start_request("").workflow_type,
        task_queue: Some(queue()),
        ..Default::default()
    };
    let schedule = Schedule {
        spec: Some(ScheduleSpec { interval: vec![interval], ..Default::default() }),
        action: Some(ScheduleAction { action: Some(Action::StartWorkflow(action)) }),
        policies: Some(SchedulePolicies { overlap_policy: ScheduleOverlapPolicy::Skip as i32, ..Default::default() }),
        ..Default::default()
    };
    let create = CreateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: "s".into(),
        schedule: Some(schedule),
        request_id: "create".into(),
        ..Default::default()
    };
    soon(w.engine.create_schedule(create)).await.unwrap();
    let engine = w.engine.clone();
    let worker = tokio::spawn(async move {
        let mut runs = 0;
        loop {
            let task = engine.poll_workflow_task(poll_request(), None).await.unwrap();
            let attributes = CompleteWorkflowExecutionCommandAttributes::default();
            let complete =
                command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(attributes));
            let completed =
                RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands: vec![complete], ..Default::default() };
            engine.respond_workflow_task_completed(completed).await.unwrap();
            runs += 1;
            if runs == 30 {
                return;
            }
        }
    });
    soon(time.unlock_for(days(30))).await.unwrap();
    soon(worker).await.unwrap();
    soon(time.idle()).await;
    let request = DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: "s".into() };
    let info = soon(w.engine.describe_schedule(request)).await.unwrap().info.unwrap();
    assert_eq!((info.action_count, info.overlap_skipped, info.missed_catchup_window), (30, 0, 0));
    // Retention is a day, but whoever skips a month wants to see all of it.
    let list = ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(soon(w.engine.list_workflows(list)).await.unwrap().executions.len(), 30);
}

#[tokio::test]
async fn a_query_that_a_worker_has_holds_time() {
    let (w, time) = world_in_virtual_time(1).await;
    let begin = time.now();
    w.start("a").await;
    w.complete(&w.poll().await.task_token, vec![timer("t", days(1))]).await;
    let poll = w.poll_beside();
    w.settle().await;
    let engine = w.engine.clone();
    let request = QueryWorkflowRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        query: Some(WorkflowQuery { query_type: "q".into(), ..Default::default() }),
        ..Default::default()
    };
    let query = tokio::spawn(async move { engine.query_workflow(request, None).await });
    let task = soon(poll).await.unwrap();
    time.unlock().unwrap();
    w.settle().await;
    assert_eq!(since(&time, begin), Span::ZERO);
    let answer = RespondQueryTaskCompletedRequest {
        task_token: task.task_token,
        completed_type: sempre_api::v1::enums::QueryResultType::Answered as i32,
        ..Default::default()
    };
    soon(w.engine.respond_query_task_completed(answer)).await.unwrap();
    soon(query).await.unwrap().unwrap();
    w.complete(&w.poll().await.task_token, done()).await;
    assert_eq!(since(&time, begin), DAY);
}

#[tokio::test]
async fn time_is_not_skipped_over_data_that_was_there_before() {
    let w = world().await;
    w.start("a").await;
    w.engine.shutdown().await;
    let time = VirtualTime::locked(w.clock.clone());
    let opened = Engine::open(w.store.clone(), std::sync::Arc::new(time), std::sync::Arc::new(Tasks), 2, settings()).await;
    let Err(OpenError::Settings(reason)) = opened else { panic!("it was opened") };
    assert_eq!(reason, "time can only be skipped over an empty store");
}
