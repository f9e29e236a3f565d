//! Starts whose commits fail, are in doubt, or come before a crash: each is made once, and known.

use super::*;

#[tokio::test]
async fn a_time_is_neither_lost_nor_taken_twice_when_commits_fail() {
    for (refuse, doubt) in [(1, 0), (3, 0), (0, 1), (0, 2), (0, 3), (0, 5)] {
        let w = world().await;
        create(&w, "s", every_minute(Policy::AllowAll)).await;
        w.settle().await;
        w.store.refuse.store(refuse, Ordering::SeqCst);
        w.store.doubt.store(doubt, Ordering::SeqCst);
        w.advance(Span::seconds(40)).await;
        for _ in 0..20 {
            // Retries wait for a moment.
            w.advance(Span::seconds(1)).await;
        }
        w.store.refuse.store(0, Ordering::SeqCst);
        w.store.doubt.store(0, Ordering::SeqCst);
        for _ in 0..5 {
            w.advance(Span::seconds(1)).await;
        }
        until_actions(&w, "s", 1).await;
        assert_eq!(w.names("wf-2023-11-14T22:14:00Z").await[0], "WORKFLOW_EXECUTION_STARTED", "refuse {refuse}, doubt {doubt}");
        let runs = w.store.rows(Table::Current).len();
        assert_eq!(runs, 1);
        w.advance(Span::seconds(60)).await;
        until_actions(&w, "s", 2).await;
    }
}

/// A crash at any commit between the decision to start and its outcome: the engine is left and a new one opened.
#[tokio::test]
async fn a_crash_between_decision_and_outcome_starts_once() {
    for permits in 0..4 {
        let mut w = world().await;
        create(&w, "s", every_minute(Policy::BufferAll)).await;
        w.settle().await;
        // So many commits are acknowledged, then nothing more is heard of.
        w.store.held.store(true, Ordering::SeqCst);
        w.store.permits.add_permits(permits);
        w.advance(Span::seconds(40)).await;
        w.settle().await;
        w.store.held.store(false, Ordering::SeqCst);
        w.crash().await;
        w.settle().await;
        until_actions(&w, "s", 1).await;
        assert_eq!(w.store.rows(Table::Current).len(), 1);
        // The run is tracked: the next waits for its end.
        w.advance(Span::seconds(60)).await;
        assert_eq!(describe(&w, "s").await.info.unwrap().buffer_size, 1, "after {permits} commits");
        finish_one(&w).await;
        until_actions(&w, "s", 2).await;
        w.until("nothing is owed", || owed_rows(&w) == 0).await;
    }
}

/// Two backfills name the same time, so the second one meets the run of the first. A crash before that is written makes
/// the schedule ask again, and the run in the way is still not the second one's: nobody would tell of its end.
#[tokio::test]
async fn a_start_that_met_a_run_before_a_crash_does_not_take_it_for_its_own() {
    for permits in 0..4 {
        let mut w = world().await;
        let mut schedule = every_minute(Policy::Skip);
        schedule.state = Some(ScheduleState { paused: true, ..Default::default() });
        create(&w, "s", schedule).await;
        let time = Some(sempre_core::Timestamp::from_millis(1_600_000_020_000).to_api());
        let fill = |policy: Policy| {
            let fill = BackfillRequest { start_time: time, end_time: time, overlap_policy: policy as i32 };
            SchedulePatch { backfill_request: vec![fill], ..Default::default() }
        };
        patch(&w, "s", fill(Policy::AllowAll)).await;
        until_actions(&w, "s", 1).await;
        w.settle().await;
        w.store.held.store(true, Ordering::SeqCst);
        w.store.permits.add_permits(permits);
        // Its answer waits for the start.
        let (engine, patch_request) = (w.engine.clone(), patch_request("s", fill(Policy::BufferAll)));
        let unheard = tokio::spawn(async move { engine.patch_schedule(patch_request).await });
        w.settle().await;
        w.store.held.store(false, Ordering::SeqCst);
        w.crash().await;
        unheard.abort();
        w.settle().await;
        w.until("nothing is owed", || owed_rows(&w) == 0).await;
        let info = describe(&w, "s").await.info.unwrap();
        assert_eq!((info.action_count, info.running_workflows), (1, vec![]), "after {permits} commits");
        finish_one(&w).await;
        patch(&w, "s", trigger(Policy::BufferAll)).await;
        until_actions(&w, "s", 2).await;
    }
}

/// Asks for a start whose commit comes to pass and is called unknown. The call waits for the start.
async fn start_in_doubt(w: &World, policy: Policy) -> tokio::task::JoinHandle<Result<PatchScheduleResponse, Refusal>> {
    w.settle().await;
    w.store.held.store(true, Ordering::SeqCst);
    let (engine, patch) = (w.engine.clone(), patch_request("s", trigger(policy)));
    let asking = tokio::spawn(async move { engine.patch_schedule(patch).await });
    w.settle().await;
    // The decision is written; the next commit is that of the run.
    w.store.held.store(false, Ordering::SeqCst);
    w.store.doubt.store(1, Ordering::SeqCst);
    w.store.permits.add_permits(1);
    w.until("the run is there", || w.store.rows(Table::Current).len() == 1).await;
    w.settle().await;
    assert_eq!(w.store.doubt.load(Ordering::SeqCst), 0);
    asking
}

/// Asks for a start whose commit is refused.
async fn start_refused(w: &World) -> tokio::task::JoinHandle<Result<PatchScheduleResponse, Refusal>> {
    w.settle().await;
    w.store.held.store(true, Ordering::SeqCst);
    let (engine, patch) = (w.engine.clone(), patch_request("s", trigger(Policy::Unspecified)));
    let asking = tokio::spawn(async move { engine.patch_schedule(patch).await });
    w.settle().await;
    w.store.held.store(false, Ordering::SeqCst);
    w.store.refuse.store(1, Ordering::SeqCst);
    w.store.permits.add_permits(1);
    w.until("the start is refused", || w.store.refuse.load(Ordering::SeqCst) == 0).await;
    asking
}

/// The run is there, and the schedule does not know it yet: it must not look as if it had nothing left to do.
#[tokio::test]
async fn a_start_in_doubt_is_shown_as_waiting_and_then_counted_once() {
    for crash in [false, true] {
        let mut w = world().await;
        create(&w, "s", by_hand(Policy::Skip)).await;
        let asking = start_in_doubt(&w, Policy::Unspecified).await;
        let info = describe(&w, "s").await.info.unwrap();
        assert_eq!((info.action_count, info.running_workflows.len(), info.buffer_size), (0, 0, 1), "crash: {crash}");
        if crash {
            w.crash().await;
            asking.abort();
        } else {
            w.advance(Span::seconds(1)).await;
            soon(asking).await.unwrap().unwrap();
        }
        let info = until_actions(&w, "s", 1).await.info.unwrap();
        assert_eq!((info.recent_actions.len(), info.running_workflows.len(), info.buffer_size), (1, 1, 0), "crash: {crash}");
        assert_eq!(w.store.rows(Table::Current).len(), 1);
        finish_one(&w).await;
        w.until("nothing is owed", || owed_rows(&w) == 0).await;
        let info = describe(&w, "s").await.info.unwrap();
        assert_eq!((info.action_count, info.running_workflows.len(), info.buffer_size), (1, 0, 0), "crash: {crash}");
    }
}

/// Longer than a start that a client has asked for is tried.
async fn seventy_seconds(w: &World) {
    for _ in 0..70 {
        w.advance(Span::seconds(1)).await;
    }
}

/// Runs cannot be started for longer than a client's start is tried. A run that is there all the same is known, and one that is not is not made.
#[tokio::test]
async fn a_start_whose_time_is_over_is_looked_for_before_it_is_given_up() {
    for is_there in [true, false] {
        let w = world().await;
        create(&w, "s", by_hand(Policy::Skip)).await;
        // The shard is not owned again after the commit of the start.
        w.store.full.store(usize::MAX, Ordering::SeqCst);
        let asking = if is_there { start_in_doubt(&w, Policy::Unspecified).await } else { start_refused(&w).await };
        seventy_seconds(&w).await;
        assert_eq!(describe(&w, "s").await.info.unwrap().buffer_size, 1, "nobody knows");
        w.store.full.store(0, Ordering::SeqCst);
        seventy_seconds(&w).await;
        w.until("nothing is owed", || owed_rows(&w) == 0).await;
        asking.abort();
        let info = describe(&w, "s").await.info.unwrap();
        let counts = (info.action_count, info.running_workflows.len(), info.buffer_size, w.store.rows(Table::Current).len());
        assert_eq!(counts, if is_there { (1, 1, 0, 1) } else { (0, 0, 0, 0) }, "there: {is_there}");
    }
}

/// The run has gone on as another meanwhile, and was deleted itself.
#[tokio::test]
async fn a_start_in_doubt_is_known_from_the_run_that_followed_it() {
    let w = world().await;
    create(&w, "s", by_hand(Policy::Skip)).await;
    let asking = start_in_doubt(&w, Policy::Unspecified).await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![continue_as_new()]).await;
    let first = task.workflow_execution.unwrap();
    let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(first.clone()) };
    soon(w.engine.delete_workflow(request)).await.unwrap();
    w.settle().await;
    assert_eq!(w.store.rows(Table::Current).len(), 1);
    // Shards are away until nobody would try the start again.
    w.store.full.store(usize::MAX, Ordering::SeqCst);
    w.store.refuse.store(1, Ordering::SeqCst);
    assert!(w.signal(&first.workflow_id, "lost").await.is_err());
    seventy_seconds(&w).await;
    w.store.full.store(0, Ordering::SeqCst);
    seventy_seconds(&w).await;
    w.until("nothing is owed", || owed_rows(&w) == 0).await;
    asking.abort();
    let info = describe(&w, "s").await.info.unwrap();
    assert_eq!((info.action_count, info.running_workflows.len(), info.buffer_size), (1, 1, 0));
    assert_eq!(info.running_workflows[0].run_id, first.run_id);
}

/// Two starts of the same second have one workflow id. What is in doubt about the first is settled before the second has
/// the id, or else nobody knows the first one's run any more.
#[tokio::test]
async fn a_start_in_doubt_is_settled_before_the_next_of_its_workflow_id() {
    let w = world().await;
    create(&w, "s", by_hand(Policy::AllowAll)).await;
    let first = start_in_doubt(&w, Policy::Unspecified).await;
    finish_one(&w).await;
    let (engine, patch) = (w.engine.clone(), patch_request("s", trigger(Policy::Unspecified)));
    let second = tokio::spawn(async move { engine.patch_schedule(patch).await });
    w.advance(Span::seconds(1)).await;
    soon(first).await.unwrap().unwrap();
    soon(second).await.unwrap().unwrap();
    let info = until_actions(&w, "s", 2).await.info.unwrap();
    let started: Vec<_> = info.recent_actions.iter().map(|action| action.start_workflow_result.clone().unwrap()).collect();
    assert_eq!(started[0].workflow_id, started[1].workflow_id);
    assert_ne!(started[0].run_id, started[1].run_id);
    let statuses: Vec<_> = info.recent_actions.iter().map(|action| action.start_workflow_status()).collect();
    assert_eq!((statuses, info.buffer_size), (vec![Status::Completed, Status::Running], 0));
}
