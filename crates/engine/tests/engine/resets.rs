//! Resets: what the engine does around core's decision.

use sempre_api::{
    sempre::v1::ForkWorkflowExecutionRequest,
    v1::{
        command::{ContinueAsNewWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes, command::Attributes},
        common::{Priority, WorkflowType},
        enums::{CommandType, WorkflowExecutionStatus},
        history::{HistoryEvent, history_event},
        workflow::WorkflowExecutionOptions,
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};
use sempre_engine::HistoryReader;
use sempre_store::Table;
use std::sync::atomic::Ordering;

use crate::support::*;

fn reset_request(workflow_id: &str, run_id: &str, finish: i64, request_id: &str) -> ResetWorkflowExecutionRequest {
    ResetWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow_id, run_id)),
        reason: "again".into(),
        workflow_task_finish_event_id: finish,
        request_id: request_id.into(),
        ..Default::default()
    }
}

async fn try_reset(w: &World, request: ResetWorkflowExecutionRequest) -> Result<String, Refusal> {
    soon(w.engine.reset_workflow(request)).await.map(|response| response.run_id)
}

async fn reset(w: &World, workflow_id: &str, finish: i64) -> String {
    try_reset(w, reset_request(workflow_id, "", finish, &format!("reset-{finish}"))).await.unwrap()
}

async fn signal_with_bytes(w: &World, workflow_id: &str, name: &str, bytes: usize) -> Result<(), Refusal> {
    let request = SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow_id, "")),
        signal_name: name.into(),
        input: Some(payloads(&"x".repeat(bytes))),
        ..Default::default()
    };
    soon(w.engine.signal_workflow(request)).await.map(drop)
}

/// All events of a run.
async fn all(w: &World, workflow_id: &str, run_id: &str) -> Vec<HistoryEvent> {
    let mut events = Vec::new();
    let mut token = Default::default();
    loop {
        let request = GetWorkflowExecutionHistoryRequest {
            execution: Some(execution(workflow_id, run_id)),
            next_page_token: token,
            ..history_request(workflow_id)
        };
        let page = soon(w.engine.get_history(request, HistoryReader::default(), None)).await.unwrap();
        events.extend(page.history.unwrap().events().unwrap());
        token = page.next_page_token;
        if token.is_empty() {
            return events;
        }
    }
}

fn signals(events: &[HistoryEvent]) -> Vec<String> {
    let name = |e: &HistoryEvent| match &e.attributes {
        Some(history_event::Attributes::WorkflowExecutionSignaledEventAttributes(a)) => Some(a.signal_name.clone()),
        _ => None,
    };
    events.iter().filter_map(name).collect()
}

fn continue_as_new() -> Vec<sempre_api::v1::command::Command> {
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes::default();
    vec![command(
        CommandType::ContinueAsNewWorkflowExecution,
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(attributes)),
    )]
}

#[tokio::test]
async fn an_open_run_is_reset_and_the_new_one_is_served() {
    let mut w = world().await;
    let old = w.start("a").await;
    let first = w.poll().await;
    w.complete(&first.task_token, vec![timer("t", Span::seconds(60))]).await;
    w.signal("a", "s").await.unwrap();
    let poll = w.poll_beside();
    let lost = soon(poll).await.unwrap();
    let new = reset(&w, "a", 4).await;
    assert_ne!(old, new);
    let begun: Vec<u64> = w.engine.stats().types.all().iter().map(|kind| kind.begun.get()).collect();
    assert_eq!(begun, [2], "a run that a reset makes has begun like any other");
    assert!(w.try_complete(&lost.task_token, done()).await.is_err());
    let expected = [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_FAILED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_TASK_SCHEDULED",
    ];
    assert_eq!(w.names("a").await, expected);
    let described = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(described.execution.unwrap().run_id, new);
    // From the store alone too.
    w.reopen().await;
    assert_eq!(w.names("a").await, expected);
    assert_eq!(names(&all(&w, "a", &old).await).last(), Some(&"WORKFLOW_EXECUTION_TERMINATED"));
    let task = w.poll().await;
    assert_eq!(names(&task.history.unwrap().events().unwrap()).len(), 7);
    w.complete(&task.task_token, done()).await;
    let described = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(described.status, WorkflowExecutionStatus::Completed as i32);
}

#[tokio::test]
async fn a_poller_that_waits_gets_the_task_of_the_new_run_with_its_whole_history() {
    let w = world().await;
    w.start("a").await;
    let first = w.poll().await;
    w.complete(&first.task_token, done()).await;
    let poll = w.poll_beside();
    w.settle().await;
    reset(&w, "a", 4).await;
    let task = soon(poll).await.unwrap();
    let events = task.history.unwrap().events().unwrap();
    assert_eq!(
        names(&events),
        [
            "WORKFLOW_EXECUTION_STARTED",
            "WORKFLOW_TASK_SCHEDULED",
            "WORKFLOW_TASK_STARTED",
            "WORKFLOW_TASK_FAILED",
            "WORKFLOW_TASK_SCHEDULED",
            "WORKFLOW_TASK_STARTED"
        ]
    );
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn the_chain_is_read_to_its_end_also_when_nothing_is_in_memory() {
    let mut w = world().await;
    let base = w.start("a").await;
    let task = w.poll().await;
    w.signal("a", "one").await.unwrap();
    w.complete(&task.task_token, vec![]).await;
    let task = w.poll().await;
    w.complete(&task.task_token, continue_as_new()).await;
    w.advance(Span::seconds(2)).await;
    w.signal("a", "two").await.unwrap();
    let task = w.poll().await;
    // Buffered while the task is with the worker.
    w.signal("a", "three").await.unwrap();
    w.reopen().await;
    w.store.slow.store(true, Ordering::SeqCst);
    let new = try_reset(&w, reset_request("a", &base, 4, "r")).await.unwrap();
    assert_eq!(signals(&all(&w, "a", &new).await), ["one", "two", "three"]);
    assert!(w.try_complete(&task.task_token, done()).await.is_err());
    let run = sempre_core::RunId::default().to_string();
    let unknown = try_reset(&w, reset_request("a", &run, 4, "q")).await;
    let text = format!("workflow execution not found for workflow ID \"a\" and run ID \"{run}\"");
    assert_eq!(unknown, Err(Refusal::NotFound(text)));
    let nobody = try_reset(&w, reset_request("nobody", "", 4, "q")).await;
    assert_eq!(nobody, Err(Refusal::not_found("workflow not found for ID: nobody")));
}

#[tokio::test]
async fn the_same_request_twice_at_once_is_one_reset() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    w.store.slow.store(true, Ordering::SeqCst);
    let beside = {
        let engine = w.engine.clone();
        tokio::spawn(async move { engine.reset_workflow(reset_request("a", "", 4, "r")).await.unwrap().run_id })
    };
    let own = try_reset(&w, reset_request("a", "", 4, "r")).await.unwrap();
    assert_eq!(own, soon(beside).await.unwrap());
    assert_eq!(own, try_reset(&w, reset_request("a", "", 4, "r")).await.unwrap());
}

#[tokio::test]
async fn no_acknowledged_signal_is_lost_while_a_run_is_reset() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    for n in 0..300 {
        signal_with_bytes(&w, "a", &format!("before-{n}"), 10_000).await.unwrap();
    }
    w.store.slow.store(true, Ordering::SeqCst);
    let engine = w.engine.clone();
    let signaller = tokio::spawn(async move {
        for n in 0..300 {
            let request = SignalWorkflowExecutionRequest {
                namespace: NAMESPACE.into(),
                workflow_execution: Some(execution("a", "")),
                signal_name: format!("during-{n}"),
                request_id: format!("during-{n}"),
                ..Default::default()
            };
            engine.signal_workflow(request).await.unwrap();
        }
    });
    for round in 0..4 {
        try_reset(&w, reset_request("a", "", 4, &format!("r{round}"))).await.unwrap();
    }
    soon(signaller).await.unwrap();
    let got = signals(&all(&w, "a", "").await);
    assert_eq!(got.len(), 600, "each once");
    let expected: Vec<_> = (0..300).map(|n| format!("before-{n}")).chain((0..300).map(|n| format!("during-{n}"))).collect();
    assert_eq!(got, expected, "in their order");
}

/// 4 MiB of events before the reset point, a waiting task behind them.
async fn large(w: &World) -> i64 {
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    for n in 0..80 {
        signal_with_bytes(w, "a", &format!("s{n}"), 50_000).await.unwrap();
    }
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    task.started_event_id + 1
}

#[tokio::test]
async fn a_large_history_is_copied_in_pieces_and_appears_at_once() {
    let mut w = world().await;
    let finish = large(&w).await;
    let base = all(&w, "a", "").await;
    let deadlines = w.store.rows(Table::Deadline).len();
    let new = reset(&w, "a", finish).await;
    let events = all(&w, "a", &new).await;
    let shared = usize::try_from(finish - 1).unwrap();
    assert_eq!(events[..shared], base[..shared], "the copied events are the same");
    w.settle().await;
    assert_eq!(w.store.rows(Table::Deadline).len(), deadlines + 1, "one for the end of the old run, none for the stage");
    w.advance(Span::seconds(601)).await;
    w.reopen().await;
    assert_eq!(all(&w, "a", &new).await, events, "nothing was given up");
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_crash_between_the_pieces_and_the_run_leaves_nothing() {
    let mut w = world().await;
    let finish = large(&w).await;
    let run = w.describe("a").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().run_id;
    let history = w.store.rows(Table::History).len();
    let rows = |w: &World| w.store.rows(Table::History).len();
    // The first piece is durable, then the engine is closed under the reset.
    w.store.slow.store(true, Ordering::SeqCst);
    let engine = w.engine.clone();
    let order = tokio::spawn(async move { engine.reset_workflow(reset_request("a", "", finish, "r")).await });
    w.until("a piece is staged", || rows(&w) > history).await;
    order.abort();
    w.reopen().await;
    w.store.slow.store(false, Ordering::SeqCst);
    let described = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(described.execution.unwrap().run_id, run, "the reset cannot be seen");
    assert!(rows(&w) > history);
    w.advance(Span::seconds(601)).await;
    w.settle().await;
    assert_eq!(rows(&w), history, "the pieces are given up");
    // It can be done again.
    let new = try_reset(&w, reset_request("a", "", finish, "r")).await.unwrap();
    assert_eq!(all(&w, "a", &new).await.len() as i64, finish + 1);
}

#[tokio::test]
async fn a_commit_that_fails_or_is_unknown_leaves_all_or_nothing() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    w.store.refuse.store(1, Ordering::SeqCst);
    let refused = try_reset(&w, reset_request("a", "", 4, "r")).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unavailable(_)), "{refused:?}");
    w.settle().await;
    assert_eq!(w.names("a").await.len(), 4);
    w.store.doubt.store(1, Ordering::SeqCst);
    let refused = try_reset(&w, reset_request("a", "", 4, "r")).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unavailable(_)), "{refused:?}");
    w.advance(Span::seconds(1)).await;
    // It was done; asking again tells so.
    let run = try_reset(&w, reset_request("a", "", 4, "r")).await.unwrap();
    assert_eq!(w.describe("a").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().run_id, run);
    assert_eq!(w.names("a").await.len(), 5);
}

#[tokio::test]
async fn the_end_of_a_child_reaches_the_run_that_was_made_from_its_parent() {
    let w = world().await;
    w.start("parent").await;
    let task = w.poll().await;
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: "child".into(),
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        task_queue: Some(queue()),
        ..Default::default()
    };
    let start =
        command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(attributes)));
    w.complete(&task.task_token, vec![start]).await;
    let (a, b) = (w.poll().await, w.poll().await);
    let of = |task: &PollWorkflowTaskQueueResponse| task.workflow_execution.clone().unwrap().workflow_id;
    let (parent, child) = if of(&a) == "parent" { (a, b) } else { (b, a) };
    w.complete(&parent.task_token, vec![]).await;
    reset(&w, "parent", parent.started_event_id + 1).await;
    let parent = w.poll().await;
    w.complete(&parent.task_token, vec![]).await;
    reset(&w, "parent", parent.started_event_id + 1).await;
    let parent = w.poll().await;
    w.complete(&parent.task_token, vec![]).await;
    w.complete(&child.task_token, done()).await;
    let parent = w.poll().await;
    assert_eq!(of(&parent), "parent");
    assert!(names(&parent.history.unwrap().events().unwrap()).contains(&"CHILD_WORKFLOW_EXECUTION_COMPLETED"));
}

#[tokio::test]
async fn options_are_changed_and_answered() {
    let w = world().await;
    w.start("a").await;
    let request = UpdateWorkflowExecutionOptionsRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        workflow_execution_options: Some(WorkflowExecutionOptions {
            priority: Some(Priority { priority_key: 1, ..Default::default() }),
            ..Default::default()
        }),
        update_mask: Some(sempre_api::FieldMask { paths: vec!["priority".into()] }),
        identity: "client".into(),
    };
    let answer = soon(w.engine.update_workflow_options(request)).await.unwrap();
    assert_eq!(answer.workflow_execution_options.unwrap().priority.unwrap().priority_key, 1);
    assert_eq!(w.names("a").await.last(), Some(&"WORKFLOW_EXECUTION_OPTIONS_UPDATED"));
    // The task that waited moved with it, and is there once.
    w.start("b").await;
    let first = w.poll().await;
    assert_eq!((first.workflow_execution.unwrap().workflow_id.as_str(), first.attempt), ("a", 1));
    w.complete(&first.task_token, done()).await;
    assert_eq!(w.poll().await.workflow_execution.unwrap().workflow_id, "b");
    assert!(w.store.rows(Table::Offer).is_empty());
}

/// Runs that have history rows, and those of them that have state rows too.
fn runs_in_store(w: &World) -> (Vec<[u8; 16]>, Vec<[u8; 16]>) {
    let run = |key: &[u8]| -> [u8; 16] { key[2..18].try_into().unwrap() };
    let of = |table| {
        let mut runs: Vec<_> = w.store.rows(table).iter().map(|(key, _)| run(key)).collect();
        runs.dedup();
        runs
    };
    let states = of(Table::State);
    let (whole, staged) = of(Table::History).into_iter().partition(|run| states.contains(run));
    (whole, staged)
}

/// Events without rows of their run are found again by the deadline of their stage, at every commit on the way.
#[tokio::test]
async fn copied_events_never_stand_in_the_store_without_what_finds_them_again() {
    let w = world_with(sempre_engine::Settings { commits_in_flight_max: 1, ..settings() }).await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    for n in 0..40 {
        signal_with_bytes(&w, "a", &format!("s{n}"), 200_000).await.unwrap();
    }
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    let finish = task.started_event_id + 1;
    w.store.held.store(true, Ordering::SeqCst);
    let engine = w.engine.clone();
    let resetting = tokio::spawn(async move { engine.reset_workflow(reset_request("a", "", finish, "r")).await });
    let (mut looks, mut partial) = (0, 0);
    while !resetting.is_finished() {
        w.settle().await;
        let (_, staged) = runs_in_store(&w);
        let deadlines = w.store.rows(Table::Deadline);
        for run in &staged {
            assert!(deadlines.iter().any(|(key, _)| key.windows(16).any(|part| part == run)), "nobody would find {run:?} again");
        }
        partial += staged.len();
        looks += 1;
        assert!(looks < 1000, "the reset goes on");
        w.store.permits.add_permits(1);
    }
    w.store.held.store(false, Ordering::SeqCst);
    w.store.permits.add_permits(100);
    resetting.await.unwrap().unwrap();
    assert!(partial > 1, "the events went in several commits before the run");
    let (whole, staged) = runs_in_store(&w);
    assert_eq!((whole.len(), staged.len()), (2, 0));
}

/// The runs of a reset are in use while its commits go, whatever the cache may hold.
#[tokio::test]
async fn a_reset_of_an_older_run_is_whole_although_nothing_stays_in_memory() {
    let w = world_with(sempre_engine::Settings { cache_bytes_max: 1, shards: 1, ..settings() }).await;
    let first = w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    for n in 0..20 {
        signal_with_bytes(&w, "a", &format!("s{n}"), 200_000).await.unwrap();
    }
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    let second = w.try_start(StartWorkflowExecutionRequest { request_id: "again".into(), ..start_request("a") }).await.unwrap().run_id;
    let engine = w.engine.clone();
    let (base, finish) = (first.clone(), task.started_event_id + 1);
    let resetting = tokio::spawn(async move { engine.reset_workflow(reset_request("a", &base, finish, "r")).await });
    for n in 0..20 {
        w.start(&format!("other-{n}")).await;
    }
    let third = soon(resetting).await.unwrap().unwrap().run_id;
    assert!(w.engine.stats().cache_evictions.get() > 20);
    assert_eq!(signals(&all(&w, "a", &third).await).len(), 20);
    assert_eq!(names(&all(&w, "a", &second).await).last(), Some(&"WORKFLOW_EXECUTION_TERMINATED"));
    assert_eq!(names(&all(&w, "a", &first).await).last(), Some(&"WORKFLOW_EXECUTION_COMPLETED"));
    assert_eq!(w.describe("a").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().run_id, third);
}

#[tokio::test]
async fn a_fork_that_is_asked_for_again_is_answered_as_before() {
    let w = world().await;
    w.start("w").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![timer("t", Span::seconds(90_000))]).await;
    for name in ["a", "b"] {
        w.signal("w", name).await.unwrap();
    }
    // The whole of the history, and no run named: the second time the current run is the new one.
    let last = w.history("w").await.len() as i64;
    let request = ForkWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "w".into(),
        event_id: last,
        reason: "again".into(),
        request_id: "fork-1".into(),
        ..Default::default()
    };
    let first = soon(w.engine.fork_workflow(request.clone())).await.unwrap();
    assert_eq!(soon(w.engine.fork_workflow(request.clone())).await.unwrap(), first);
    let early = ForkWorkflowExecutionRequest { event_id: 1, request_id: "fork-2".into(), ..request.clone() };
    let second = soon(w.engine.fork_workflow(early.clone())).await.unwrap();
    assert_ne!(second.run_id, first.run_id);
    let late = ForkWorkflowExecutionRequest { event_id: last, ..early };
    assert_eq!(soon(w.engine.fork_workflow(late.clone())).await.unwrap(), second, "an event that the new run has not");
    // From the runs that followed, too.
    let task = w.poll().await;
    w.complete(&task.task_token, continue_as_new()).await;
    assert_eq!(soon(w.engine.fork_workflow(late)).await.unwrap(), second);
    assert_eq!(soon(w.engine.fork_workflow(request)).await.unwrap(), first);
}
