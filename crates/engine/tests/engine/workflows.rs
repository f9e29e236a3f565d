use sempre_api::v1::{
    command::{ContinueAsNewWorkflowExecutionCommandAttributes, command::Attributes},
    common::WorkflowType,
    enums::{CommandType, WorkflowExecutionStatus, WorkflowIdConflictPolicy},
    workflow::OnConflictOptions,
    workflowservice::*,
};
use sempre_core::{Refusal, Span};
use sempre_store::Table;

use crate::support::*;

#[tokio::test]
async fn start_poll_complete() {
    let w = world().await;
    let run = w.start("a").await;
    let task = w.poll().await;
    assert_eq!(task.workflow_execution, Some(execution("a", &run)));
    let events = task.history.unwrap().events().unwrap();
    assert_eq!(names(&events), ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]);
    assert!(task.next_page_token.is_empty());
    w.complete(&task.task_token, done()).await;
    assert_eq!(
        w.names("a").await,
        [
            "WORKFLOW_EXECUTION_STARTED",
            "WORKFLOW_TASK_SCHEDULED",
            "WORKFLOW_TASK_STARTED",
            "WORKFLOW_TASK_COMPLETED",
            "WORKFLOW_EXECUTION_COMPLETED"
        ]
    );
    let info = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(info.status, WorkflowExecutionStatus::Completed as i32);
    assert!(w.store.rows(Table::Offer).is_empty());
    assert_eq!(w.try_complete(&task.task_token, done()).await.unwrap_err(), Refusal::NotFound("Workflow task not found.".into()));
}

#[tokio::test]
async fn start_and_first_dispatch_are_one_commit_when_a_poller_waits() {
    let w = world().await;
    let poll = w.poll_beside();
    w.settle().await;
    let before = w.engine.stats().commits.get();
    w.start("a").await;
    let task = soon(poll).await.unwrap();
    assert_eq!(task.started_event_id, 3);
    assert_eq!(w.engine.stats().commits.get() - before, 1);
    assert_eq!(w.engine.stats().sync_matches.get(), 1);
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn eager_start_answers_with_the_first_task() {
    let w = world().await;
    let response = w.try_start(StartWorkflowExecutionRequest { request_eager_execution: true, ..start_request("a") }).await.unwrap();
    let task = response.eager_workflow_task.unwrap();
    assert_eq!(names(&task.history.clone().unwrap().events().unwrap()).len(), 3);
    // The answer got lost: the same request brings the same task, as long as nobody has answered it.
    let again = w.try_start(StartWorkflowExecutionRequest { request_eager_execution: true, ..start_request("a") }).await.unwrap();
    let same = again.eager_workflow_task.unwrap();
    assert_eq!((again.run_id, &same.task_token), (response.run_id, &task.task_token));
    assert_eq!(same.history.unwrap().events().unwrap(), task.history.unwrap().events().unwrap());
    w.complete(&task.task_token, done()).await;
    let late = w.try_start(StartWorkflowExecutionRequest { request_eager_execution: true, ..start_request("a") }).await.unwrap();
    assert!(late.started && late.eager_workflow_task.is_none());
}

/// 01 §3.3.1–2: the pointer remembers attached request ids, also across a restart and after the run's end.
#[tokio::test]
async fn an_attached_request_id_outlives_the_process_and_the_run() {
    let mut w = world().await;
    let run = w.start("a").await;
    let attach = StartWorkflowExecutionRequest {
        request_id: "other".into(),
        workflow_id_conflict_policy: WorkflowIdConflictPolicy::UseExisting as i32,
        on_conflict_options: Some(OnConflictOptions { attach_request_id: true, ..Default::default() }),
        ..start_request("a")
    };
    let first = w.try_start(attach.clone()).await.unwrap();
    assert_eq!((first.run_id.as_str(), first.started), (run.as_str(), false));
    w.reopen().await;
    assert_eq!(w.try_start(attach.clone()).await.unwrap(), first);
    let infos = w.describe("a").await.unwrap().workflow_extended_info.unwrap().request_id_infos;
    assert_eq!(infos["other"].event_id, 3);
    w.complete(&w.poll().await.task_token, done()).await;
    w.reopen().await;
    let closed = w.try_start(attach).await.unwrap();
    assert_eq!((closed.run_id.clone(), closed.status()), (run, WorkflowExecutionStatus::Completed));
}

#[tokio::test]
async fn a_repeated_start_has_one_effect_and_another_one_is_refused() {
    let w = world().await;
    let run = w.start("a").await;
    assert_eq!(w.start("a").await, run);
    let other = StartWorkflowExecutionRequest { request_id: "other".into(), ..start_request("a") };
    let refusal = w.try_start(other.clone()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::AlreadyStarted { run_id, .. } if run_id == run));
    let instead =
        StartWorkflowExecutionRequest { workflow_id_conflict_policy: WorkflowIdConflictPolicy::TerminateExisting as i32, ..other };
    let second = w.try_start(instead).await.unwrap().run_id;
    assert_ne!(second, run);
    let request = DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: Some(execution("a", &run)) };
    let info = w.engine.describe_workflow(request).await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(info.status, WorkflowExecutionStatus::Terminated as i32);
    let task = w.poll().await;
    assert_eq!(task.workflow_execution.unwrap().run_id, second, "the first run's task is gone");
}

#[tokio::test]
async fn signals_wake_an_idle_run() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    let poll = w.poll_beside();
    w.settle().await;
    w.signal("a", "go").await.unwrap();
    let task = soon(poll).await.unwrap();
    assert!(names(&task.history.unwrap().events().unwrap()).contains(&"WORKFLOW_EXECUTION_SIGNALED"));
    w.complete(&task.task_token, done()).await;
    assert_eq!(w.signal("a", "late").await.unwrap_err(), Refusal::closed());
    assert_eq!(w.signal("b", "x").await.unwrap_err(), Refusal::NotFound("workflow not found for ID: b".into()));
}

#[tokio::test]
async fn signal_with_start_starts_then_signals() {
    let w = world().await;
    let request = SignalWithStartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "a".into(),
        workflow_type: Some(WorkflowType { name: "Test".into() }),
        task_queue: Some(queue()),
        signal_name: "s".into(),
        request_id: "r1".into(),
        ..Default::default()
    };
    let first = soon(w.engine.signal_with_start(request.clone())).await.unwrap();
    assert!(first.started);
    let again = SignalWithStartWorkflowExecutionRequest { request_id: "r2".into(), ..request };
    let second = soon(w.engine.signal_with_start(again)).await.unwrap();
    assert_eq!((second.started, second.run_id), (false, first.run_id));
    assert_eq!(w.names("a").await.iter().filter(|n| **n == "WORKFLOW_EXECUTION_SIGNALED").count(), 2);
}

#[tokio::test]
async fn a_timer_fires_when_its_time_has_come_and_not_before() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![timer("t", Span::seconds(5))]).await;
    let poll = w.poll_beside();
    w.advance(Span::millis(4999)).await;
    assert!(!poll.is_finished());
    w.advance(Span::millis(1)).await;
    let task = soon(poll).await.unwrap();
    assert!(names(&task.history.unwrap().events().unwrap()).contains(&"TIMER_FIRED"));
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    assert_eq!(w.store.rows(Table::Deadline).len(), 1, "retention only");
}

#[tokio::test]
async fn a_task_that_is_not_answered_times_out_and_is_offered_again() {
    let w = world().await;
    w.start("a").await;
    let lost = w.poll().await;
    let poll = w.poll_beside();
    w.advance(Span::seconds(10)).await;
    let task = soon(poll).await.unwrap();
    assert_eq!(task.attempt, 2);
    let events = task.history.unwrap().events().unwrap();
    assert_eq!(names(&events).last(), Some(&"WORKFLOW_TASK_STARTED"), "the transient task's events follow");
    assert_eq!(w.try_complete(&lost.task_token, done()).await.unwrap_err(), Refusal::NotFound("Workflow task not found.".into()));
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn continue_as_new_makes_the_next_run_in_the_same_commit() {
    let w = world().await;
    let first = w.start("a").await;
    let task = w.poll().await;
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: "Test".into() }),
        task_queue: Some(queue()),
        input: Some(payloads("next")),
        ..Default::default()
    };
    let poll = w.poll_beside();
    w.complete(
        &task.task_token,
        vec![command(
            CommandType::ContinueAsNewWorkflowExecution,
            Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(attributes)),
        )],
    )
    .await;
    // Runs of one chain are at least a second apart.
    w.advance(Span::seconds(1)).await;
    let task = soon(poll).await.unwrap();
    assert_ne!(task.workflow_execution.as_ref().unwrap().run_id, first);
    w.complete(&task.task_token, done()).await;
    let info = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(info.status, WorkflowExecutionStatus::Completed as i32);
}

#[tokio::test]
async fn a_cron_run_has_a_successor() {
    let w = world().await;
    w.try_start(StartWorkflowExecutionRequest { cron_schedule: "@every 30s".into(), ..start_request("a") }).await.unwrap();
    let poll = w.poll_beside();
    w.advance(Span::seconds(31)).await;
    let first = soon(poll).await.unwrap();
    w.complete(&first.task_token, done()).await;
    let poll = w.poll_beside();
    w.advance(Span::seconds(31)).await;
    let second = soon(poll).await.unwrap();
    assert_ne!(second.workflow_execution, first.workflow_execution);
    let bad = StartWorkflowExecutionRequest { cron_schedule: "nonsense".into(), ..start_request("b") };
    assert_eq!(w.try_start(bad).await.unwrap_err(), Refusal::invalid("invalid CronSchedule."));
}

#[tokio::test]
async fn a_closed_run_is_deleted_after_its_retention() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    // Up to half an hour of spread may follow.
    w.advance(Span::seconds(24 * 3600 + 1801)).await;
    w.until("every row of the run is gone", || {
        [Table::Current, Table::State, Table::History, Table::Offer, Table::Outbox, Table::Deadline]
            .iter()
            .all(|t| w.store.rows(*t).is_empty())
    })
    .await;
    assert!(matches!(w.describe("a").await.unwrap_err(), Refusal::NotFound(_)));
    w.try_start(StartWorkflowExecutionRequest { request_id: "again".into(), ..start_request("a") }).await.unwrap();
}

#[tokio::test]
async fn delete_terminates_and_removes() {
    let w = world().await;
    w.start("a").await;
    let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution("a", "")) };
    soon(w.engine.delete_workflow(request)).await.unwrap();
    w.until("every row of the run is gone", || {
        [Table::Current, Table::State, Table::History, Table::Offer, Table::Outbox, Table::Deadline]
            .iter()
            .all(|t| w.store.rows(*t).is_empty())
    })
    .await;
    assert!(matches!(w.describe("a").await.unwrap_err(), Refusal::NotFound(_)));
}

#[tokio::test]
async fn many_runs_share_commits() {
    let w = world().await;
    let before = w.engine.stats().commits.get();
    let starts = (0..200).map(|n| w.try_start(start_request(&format!("w{n}"))));
    for result in futures::future::join_all(starts).await {
        result.unwrap();
    }
    assert!(w.engine.stats().commits.get() - before <= 20, "200 starts at once in {} commits", w.engine.stats().commits.get() - before);
}

#[tokio::test]
async fn a_cache_that_holds_almost_nothing_changes_nothing() {
    let mut settings = settings();
    settings.cache_bytes_max = 1;
    let w = world_with(settings).await;
    w.store.slow.store(true, std::sync::atomic::Ordering::SeqCst);
    for n in 0..20 {
        w.start(&format!("w{n}")).await;
    }
    for _ in 0..20 {
        let task = w.poll().await;
        w.complete(&task.task_token, vec![timer("t", Span::seconds(5))]).await;
    }
    w.advance(Span::seconds(5)).await;
    for _ in 0..20 {
        let task = w.poll().await;
        assert_eq!(names(&task.history.unwrap().events().unwrap()).len(), 8);
        w.complete(&task.task_token, done()).await;
    }
    assert!(w.engine.stats().cache_evictions.get() > 0);
    for n in 0..20 {
        assert_eq!(w.names(&format!("w{n}")).await.last(), Some(&"WORKFLOW_EXECUTION_COMPLETED"));
    }
}

/// 01 §6.1–2: a chain is named by its first run, whatever run is named beside
#[tokio::test]
async fn cancels_and_terminations_of_a_chain_find_its_current_run() {
    let mut settings = settings();
    settings.limits.continue_as_new_interval_min = Span::ZERO;
    let w = world_with(settings).await;
    let first = w.start("a").await;
    let task = w.poll().await;
    let next = ContinueAsNewWorkflowExecutionCommandAttributes::default();
    let next =
        command(CommandType::ContinueAsNewWorkflowExecution, Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(next)));
    w.complete(&task.task_token, vec![next]).await;
    let cancel = |run: &str, first: &str| RequestCancelWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", run)),
        first_execution_run_id: first.into(),
        ..Default::default()
    };
    let terminate = |run: &str, first: &str| TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", run)),
        first_execution_run_id: first.into(),
        ..Default::default()
    };
    let unknown = "00000000-0000-4000-8000-000000000001";
    let other = Refusal::NotFound("workflow execution not found".into());
    assert_eq!(w.engine.request_cancel(cancel(&first, unknown)).await.unwrap_err(), other);
    assert_eq!(w.engine.terminate(terminate(&first, unknown)).await.unwrap_err(), other);
    w.engine.request_cancel(cancel(&first, &first)).await.unwrap();
    assert!(w.names("a").await.contains(&"WORKFLOW_EXECUTION_CANCEL_REQUESTED"), "the run that goes on was asked");
    w.engine.terminate(terminate(unknown, &first)).await.unwrap();
    let info = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(info.status, WorkflowExecutionStatus::Terminated as i32);
    let done = Refusal::NotFound("workflow execution already completed".into());
    assert_eq!(w.engine.terminate(terminate("", unknown)).await.unwrap_err(), done);
    w.engine.request_cancel(cancel("", unknown)).await.unwrap();
}
