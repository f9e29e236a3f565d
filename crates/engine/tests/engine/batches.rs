use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::FutureExt;
use prost::Message;
use sempre_api::{
    FieldMask,
    sempre::v1::{BatchTarget, PreviewBatchOperationRequest, StartBatchForkRequest},
    v1::{
        batch::*,
        common::{Execution, Priority, ResetOptions, reset_options},
        enums::{BatchOperationState, ExecutionType, ResetType, ResourceExhaustedCause, WorkflowExecutionStatus},
        operatorservice::DeleteNamespaceRequest,
        workflow::WorkflowExecutionOptions,
        workflowservice::{start_batch_operation_request::Operation, *},
    },
};
use sempre_core::{Refusal, RunId, Span};
use sempre_engine::{
    Components, Engine,
    visibility::{Index, memory::MemoryIndex},
};
use sempre_store::Table;

use crate::{lists::Kept, support::*};

pub(crate) fn terminate() -> Operation {
    Operation::TerminationOperation(BatchOperationTermination { details: None, identity: "operator".into() })
}

pub(crate) fn signal(name: &str) -> Operation {
    Operation::SignalOperation(BatchOperationSignal { signal: name.into(), identity: "operator".into(), ..Default::default() })
}

pub(crate) fn job(
    job_id: &str,
    operation: Operation,
    workflows: impl IntoIterator<Item = String>,
    rate: f32,
) -> StartBatchOperationRequest {
    let target = |business_id| Execution { r#type: ExecutionType::Workflow as i32, business_id, run_id: String::new() };
    StartBatchOperationRequest {
        namespace: NAMESPACE.into(),
        job_id: job_id.into(),
        reason: "a reason".into(),
        target_executions: workflows.into_iter().map(target).collect(),
        max_operations_per_second: rate,
        operation: Some(operation),
        ..Default::default()
    }
}

fn workflows(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("w{n}"))
}

async fn describe(w: &World, job_id: &str) -> DescribeBatchOperationResponse {
    let request = DescribeBatchOperationRequest { namespace: NAMESPACE.into(), job_id: job_id.into() };
    soon(w.engine.describe_batch(request)).await.unwrap()
}

/// State, total, complete, failed.
pub(crate) async fn counts(w: &World, job_id: &str) -> (BatchOperationState, i64, i64, i64) {
    let job = describe(w, job_id).await;
    (job.state(), job.total_operation_count, job.complete_operation_count, job.failure_operation_count)
}

async fn stop(w: &World, job_id: &str) -> Result<(), Refusal> {
    let request = StopBatchOperationRequest {
        namespace: NAMESPACE.into(),
        job_id: job_id.into(),
        reason: "enough".into(),
        identity: "operator".into(),
    };
    soon(w.engine.stop_batch(request)).await.map(drop)
}

async fn closed(w: &World, count: usize) -> usize {
    let mut closed = 0;
    for id in workflows(count) {
        let info = w.describe(&id).await.unwrap().workflow_execution_info.unwrap();
        closed += usize::from(info.status == WorkflowExecutionStatus::Terminated as i32);
    }
    closed
}

use BatchOperationState::{Completed, Failed, Running};

#[tokio::test]
async fn a_job_keeps_its_rate_and_goes_on_after_a_crash() {
    let mut w = world().await;
    for id in workflows(25) {
        w.start(&id).await;
    }
    w.engine.start_batch(job("j", terminate(), workflows(25), 10.0)).await.unwrap();
    w.settle().await;
    assert_eq!(counts(&w, "j").await, (Running, 25, 1, 0));
    for _ in 0..5 {
        w.advance(Span::millis(100)).await;
    }
    assert_eq!((counts(&w, "j").await, closed(&w, 25).await), ((Running, 25, 6, 0), 6));
    w.reopen().await;
    w.settle().await;
    assert_eq!(counts(&w, "j").await.0, Running);
    for _ in 0..30 {
        w.advance(Span::millis(100)).await;
    }
    assert_eq!((counts(&w, "j").await, closed(&w, 25).await), ((Completed, 25, 25, 0), 25));
    let described = describe(&w, "j").await;
    assert_eq!((described.reason.as_str(), described.identity.as_str(), described.operation_type), ("a reason", "operator", 13));
    assert!(described.start_time.is_some() && described.close_time.is_some());
    assert_eq!(described.executions.len(), 25);
    let last = w.history("w3").await.pop().unwrap();
    let text = format!("{:?}", last.attributes);
    assert!(text.contains("a reason") && text.contains("operator"), "{text}");
}

#[tokio::test]
async fn a_job_whose_end_a_broken_store_does_not_take_ends_in_the_next_process() {
    let mut w = world().await;
    // Targets that are not there: nobody writes anything but the job.
    w.engine.start_batch(job("j", signal("s"), workflows(2), 1.0)).await.unwrap();
    w.settle().await;
    assert_eq!(counts(&w, "j").await, (Running, 2, 1, 0));
    w.store.broken.store(true, Ordering::SeqCst);
    w.advance(Span::seconds(1)).await;
    assert_eq!(soon(w.engine.fatal()).await, "the store has failed: broken", "a process that stayed would try for ever");
    w.store.broken.store(false, Ordering::SeqCst);
    w.reopen().await;
    w.advance(Span::seconds(1)).await;
    w.advance(Span::seconds(1)).await;
    assert_eq!(counts(&w, "j").await, (Completed, 2, 2, 0));
}

#[tokio::test]
async fn pages_that_are_done_are_not_counted_or_done_again_after_a_crash() {
    let mut w = world().await;
    for id in workflows(130) {
        w.start(&id).await;
    }
    w.engine.start_batch(job("j", signal("s"), workflows(130), 100.0)).await.unwrap();
    for _ in 0..115 {
        w.advance(Span::millis(10)).await;
    }
    let (state, total, complete, failed) = counts(&w, "j").await;
    assert!(state == Running && total == 130 && failed == 0 && (101..130).contains(&complete), "{complete}");
    w.reopen().await;
    assert_eq!(counts(&w, "j").await, (Running, 130, 100, 0), "as noted; the rest is looked at again");
    for _ in 0..40 {
        w.advance(Span::millis(10)).await;
    }
    assert_eq!(counts(&w, "j").await, (Completed, 130, 130, 0));
    for id in workflows(130) {
        let signals = w.names(&id).await.into_iter().filter(|name| *name == "WORKFLOW_EXECUTION_SIGNALED").count();
        assert_eq!(signals, 1, "{id}: once, whatever happened");
    }
}

#[tokio::test]
async fn a_listed_target_without_a_run_is_the_one_of_when_the_job_began() {
    let mut w = world().await;
    for id in workflows(3) {
        w.start(&id).await;
    }
    w.engine.start_batch(job("j", terminate(), workflows(4), 1.0)).await.unwrap();
    w.settle().await;
    assert_eq!(counts(&w, "j").await, (Running, 4, 1, 0));
    // Somebody starts the terminated one anew, one that never was, and the server crashes: the page is done again.
    for id in ["w0", "w3"] {
        w.try_start(StartWorkflowExecutionRequest { request_id: format!("again-{id}"), ..start_request(id) }).await.unwrap();
    }
    w.reopen().await;
    for _ in 0..8 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!(counts(&w, "j").await, (Completed, 4, 4, 0));
    let status = async |id: &str| w.describe(id).await.unwrap().workflow_execution_info.unwrap().status();
    use WorkflowExecutionStatus::{Running as Open, Terminated};
    assert_eq!((status("w0").await, status("w3").await), (Open, Open), "nobody asked for them");
    assert_eq!((status("w1").await, status("w2").await), (Terminated, Terminated));
}

#[tokio::test]
async fn a_stopped_job_acts_no_more_and_stays_stopped() {
    let mut w = world().await;
    for id in workflows(20) {
        w.start(&id).await;
    }
    w.engine.start_batch(job("j", terminate(), workflows(20), 10.0)).await.unwrap();
    w.advance(Span::millis(100)).await;
    stop(&w, "j").await.unwrap();
    assert_eq!(counts(&w, "j").await, (Failed, 20, 2, 0));
    assert_eq!(stop(&w, "j").await.unwrap_err(), Refusal::not_found("workflow execution already completed"));
    w.reopen().await;
    w.advance(Span::seconds(10)).await;
    assert_eq!((counts(&w, "j").await, closed(&w, 20).await), ((Failed, 20, 2, 0), 2));
    assert_eq!(stop(&w, "x").await.unwrap_err(), Refusal::not_found("workflow not found for ID: x"));
}

/// A world with run `w0`, which cannot be read, and a job `j` that tries to terminate it.
async fn world_with_an_unreadable_target() -> World {
    let mut w = world().await;
    let run_id = w.start("w0").await;
    *w.store.unreadable.lock().unwrap() = RunId::parse(&run_id);
    w.reopen().await;
    let mut job = job("j", terminate(), workflows(1), 0.0);
    // Of a target that names its run nothing is looked up when the job begins.
    job.target_executions[0].run_id = run_id;
    w.engine.start_batch(job).await.unwrap();
    w.settle().await;
    assert_eq!(counts(&w, "j").await, (Running, 1, 0, 0));
    w
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_counts_as_failed_right_after_the_last_try() {
    let w = world_with_an_unreadable_target().await;
    for pause in [100, 200, 400, 800, 1600, 3200].into_iter().chain([5000; 22]) {
        w.advance(Span::millis(pause)).await;
        assert_eq!(counts(&w, "j").await, (Running, 1, 0, 0));
    }
    w.advance(Span::seconds(5)).await;
    assert_eq!(counts(&w, "j").await, (Completed, 1, 0, 1));
}

#[tokio::test]
async fn a_stopped_job_does_not_try_again_what_could_not_be_reached() {
    let w = world_with_an_unreadable_target().await;
    stop(&w, "j").await.unwrap();
    *w.store.unreadable.lock().unwrap() = None;
    w.advance(Span::seconds(30)).await;
    assert_eq!((counts(&w, "j").await, closed(&w, 1).await), ((Failed, 1, 0, 0), 0));
}

#[tokio::test]
async fn several_jobs_run_at_once_up_to_a_limit_and_ids_are_used_once() {
    let mut settings = settings();
    settings.batch_jobs_max = 2;
    let mut w = world_with(settings).await;
    for id in workflows(4) {
        w.start(&id).await;
    }
    for id in ["a", "b"] {
        w.engine.start_batch(job(id, signal(id), workflows(4), 1.0)).await.unwrap();
    }
    let full = w.engine.start_batch(job("c", signal("c"), workflows(4), 1.0)).await.unwrap_err();
    let text = "Max concurrent batch operations is reached".to_owned();
    assert_eq!(full, Refusal::ResourceExhausted { cause: ResourceExhaustedCause::ConcurrentLimit, message: text });
    let known = w.engine.start_batch(job("a", signal("c"), workflows(4), 1.0)).await.unwrap_err();
    assert_eq!(known, Refusal::AlreadyExists("batch job with ID a already exists".into()));
    w.settle().await;
    assert_eq!((counts(&w, "a").await, counts(&w, "b").await), ((Running, 4, 1, 0), (Running, 4, 1, 0)));
    for _ in 0..4 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!((counts(&w, "a").await.0, counts(&w, "b").await.0), (Completed, Completed));
    for n in 0..3 {
        w.engine.start_batch(job(&format!("c{n}"), signal("c"), ["w0".to_owned()], 0.0)).await.unwrap();
        w.settle().await;
    }
    let known = w.engine.start_batch(job("b", signal("c"), workflows(4), 1.0)).await.unwrap_err();
    assert!(matches!(known, Refusal::AlreadyExists(_)));
    let list = async |w: &World, token| {
        let request = ListBatchOperationsRequest { namespace: NAMESPACE.into(), page_size: 2, next_page_token: token };
        let page = w.engine.list_batches(request).await.unwrap();
        (page.operation_info.into_iter().map(|info| info.job_id).collect::<Vec<_>>(), page.next_page_token)
    };
    w.reopen().await;
    let (first, token) = list(&w, Default::default()).await;
    let (second, token) = list(&w, token).await;
    let (third, token) = list(&w, token).await;
    assert_eq!((first, second, third), (vec!["c2".into(), "c1".into()], vec!["c0".into(), "b".into()], vec!["a".to_owned()]));
    assert!(token.is_empty());
    // Retention: a day.
    w.advance(Span::seconds(24 * 3600)).await;
    assert!(list(&w, Default::default()).await.0.is_empty());
    w.engine.start_batch(job("a", signal("c"), workflows(4), 0.0)).await.unwrap();
    assert_eq!(list(&w, Default::default()).await.0, ["a"]);
    let rows = w.store.rows(Table::Meta).iter().filter(|(key, _)| key[0] == b'b' || key[0] == b'o').count();
    assert_eq!(rows, 2, "what counts for nothing any more is forgotten");
}

#[tokio::test]
async fn what_is_gone_counts_as_done_and_what_refuses_as_failed() {
    let w = world().await;
    w.start("a").await;
    let unknown = ["a".to_owned(), "gone".to_owned()];
    w.engine.start_batch(job("j", terminate(), unknown, 0.0)).await.unwrap();
    w.advance(Span::seconds(1)).await;
    assert_eq!(counts(&w, "j").await, (Completed, 2, 2, 0));
    w.start("b").await;
    let nowhere = Operation::ResetOperation(BatchOperationReset {
        options: Some(ResetOptions { target: Some(reset_options::Target::WorkflowTaskId(999)), ..Default::default() }),
        ..Default::default()
    });
    w.engine.start_batch(job("k", nowhere, ["b".to_owned(), "gone".to_owned()], 0.0)).await.unwrap();
    w.advance(Span::seconds(1)).await;
    assert_eq!(counts(&w, "k").await, (Completed, 2, 1, 1));
}

/// Runs one operation on workflow "w" until its job has ended; gives the counts.
async fn once(w: &World, operation: Operation) -> (BatchOperationState, i64, i64, i64) {
    let id = format!("job-{:?}", w.engine.now());
    w.engine.start_batch(job(&id, operation, ["w".to_owned()], 0.0)).await.unwrap();
    w.advance(Span::seconds(1)).await;
    counts(w, &id).await
}

const ONE: (BatchOperationState, i64, i64, i64) = (Completed, 1, 1, 0);

#[tokio::test]
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
async fn every_operation_does_what_its_call_does() {
    let w = world().await;
    w.start("w").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![timer("t", Span::seconds(90_000))]).await;
    w.signal("w", "first").await.unwrap();
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    // 1 started, 2-4 a task, 5 timer, 6 signal, 7-9 a task.
    assert_eq!(once(&w, signal("s")).await, ONE);
    assert_eq!(w.names("w").await[9], "WORKFLOW_EXECUTION_SIGNALED");
    let cancel = Operation::CancellationOperation(BatchOperationCancellation { identity: "operator".into() });
    assert_eq!(once(&w, cancel).await, ONE);
    assert!(w.names("w").await.contains(&"WORKFLOW_EXECUTION_CANCEL_REQUESTED"));

    let options = Operation::UpdateWorkflowOptionsOperation(BatchOperationUpdateWorkflowExecutionOptions {
        identity: "operator".into(),
        workflow_execution_options: Some(WorkflowExecutionOptions {
            priority: Some(Priority { priority_key: 2, ..Default::default() }),
            ..Default::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["priority".into()] }),
    });
    assert_eq!(once(&w, options).await, ONE);
    assert!(w.names("w").await.contains(&"WORKFLOW_EXECUTION_OPTIONS_UPDATED"));

    let reset = |options, reset_type: ResetType| {
        Operation::ResetOperation(BatchOperationReset { options, reset_type: reset_type as i32, ..Default::default() })
    };
    let target = |target| Some(ResetOptions { target: Some(target), ..Default::default() });
    assert_eq!(once(&w, reset(target(reset_options::Target::LastWorkflowTask(())), ResetType::Unspecified)).await, ONE);
    assert_eq!(w.names("w").await[7..9], ["WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_FAILED"]);
    assert_eq!(once(&w, reset(None, ResetType::FirstWorkflowTask)).await, ONE);
    assert_eq!(w.names("w").await[2..4], ["WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_FAILED"]);
    assert_eq!(once(&w, reset(target(reset_options::Target::WorkflowTaskId(4)), ResetType::Unspecified)).await, ONE);
    let none = reset(target(reset_options::Target::BuildId("unknown".into())), ResetType::Unspecified);
    assert_eq!(once(&w, none).await, (Completed, 1, 0, 1));

    let unpause = Operation::UnpauseActivitiesOperation(BatchOperationUnpauseActivities {
        activity: Some(batch_operation_unpause_activities::Activity::MatchAll(true)),
        ..Default::default()
    });
    assert_eq!(once(&w, unpause).await, ONE);
    let reset_activities = Operation::ResetActivitiesOperation(BatchOperationResetActivities {
        activity: Some(batch_operation_reset_activities::Activity::Type("none".into())),
        ..Default::default()
    });
    assert_eq!(once(&w, reset_activities).await, ONE);
    let update = Operation::UpdateActivityOptionsOperation(BatchOperationUpdateActivityOptions {
        restore_original: true,
        activity: Some(batch_operation_update_activity_options::Activity::MatchAll(true)),
        ..Default::default()
    });
    assert_eq!(once(&w, update).await, ONE);

    let fork = StartBatchForkRequest {
        namespace: NAMESPACE.into(),
        job_id: "fork".into(),
        reason: "a reason".into(),
        executions: vec![BatchTarget { workflow_id: "w".into(), run_id: String::new() }],
        event_id: 1,
        input: Some(payloads("another").encode_to_vec().into()),
        ..Default::default()
    };
    w.engine.start_batch_fork(fork).await.unwrap();
    w.advance(Span::seconds(1)).await;
    assert_eq!(counts(&w, "fork").await, ONE);
    assert_eq!(w.names("w").await.len(), 5);
    assert_eq!(describe(&w, "fork").await.executions[0].business_id, "w");

    let delete = Operation::DeletionOperation(BatchOperationDeletion { identity: "operator".into() });
    assert_eq!(once(&w, delete).await, ONE);
    assert!(w.describe("w").await.is_err());
}

#[tokio::test]
async fn a_preview_acts_on_nothing() {
    let w = world().await;
    for id in workflows(30) {
        w.start(&id).await;
    }
    let preview = async |request: StartBatchOperationRequest, sample_size| {
        let start = request.encode_to_vec().into();
        w.engine.preview_batch(PreviewBatchOperationRequest { namespace: NAMESPACE.into(), start, sample_size }).await
    };
    let shown = preview(job("j", terminate(), workflows(30), 0.0), 0).await.unwrap();
    assert_eq!((shown.total, shown.sample.len(), shown.sample[9].workflow_id.as_str()), (30, 10, "w9"));
    let refused = preview(job("", terminate(), workflows(30), 0.0), 0).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("JobId is not set on request."));
    w.advance(Span::seconds(10)).await;
    assert_eq!(closed(&w, 30).await, 0);
    let list = w.engine.list_batches(ListBatchOperationsRequest { namespace: NAMESPACE.into(), ..Default::default() }).await.unwrap();
    assert!(list.operation_info.is_empty());
}

#[tokio::test]
async fn jobs_go_with_their_namespace() {
    let w = world().await;
    let register = RegisterNamespaceRequest {
        namespace: "n".into(),
        workflow_execution_retention_period: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    w.engine.register_namespace(register).await.unwrap();
    let request = StartBatchOperationRequest { namespace: "n".into(), ..job("j", terminate(), workflows(50), 0.1) };
    w.engine.start_batch(request).await.unwrap();
    w.engine.delete_namespace(DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    w.advance(Span::seconds(1)).await;
    w.advance(Span::seconds(10)).await;
    let jobs = || w.store.rows(Table::Meta).iter().filter(|(key, _)| key[0] == b'b' || key[0] == b'o').count();
    assert_eq!(jobs(), 0);
    w.advance(Span::seconds(100)).await;
    assert_eq!(jobs(), 0);
}

#[tokio::test]
async fn a_job_whose_caller_leaves_is_begun_and_one_whose_stop_is_left_stops() {
    let w = world().await;
    for id in workflows(3) {
        w.start(&id).await;
    }
    // Polled once: it waits for its commit by then, or has not even begun.
    assert!(w.engine.start_batch(job("j", terminate(), workflows(3), 0.0)).now_or_never().is_none());
    for _ in 0..5 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!(counts(&w, "j").await, (Completed, 3, 3, 0));
    for id in workflows(3) {
        w.try_start(StartWorkflowExecutionRequest { request_id: format!("again-{id}"), ..start_request(&id) }).await.unwrap();
    }
    w.engine.start_batch(job("k", terminate(), workflows(3), 1.0)).await.unwrap();
    w.settle().await;
    let request = StopBatchOperationRequest { namespace: NAMESPACE.into(), job_id: "k".into(), reason: "r".into(), ..Default::default() };
    assert!(w.engine.stop_batch(request).now_or_never().is_none());
    w.advance(Span::seconds(10)).await;
    assert_eq!(counts(&w, "k").await, (Failed, 3, 1, 0));
}

#[tokio::test]
async fn a_stop_that_cannot_be_written_changes_nothing() {
    let w = world().await;
    for id in workflows(3) {
        w.start(&id).await;
    }
    w.engine.start_batch(job("j", terminate(), workflows(3), 1.0)).await.unwrap();
    w.settle().await;
    w.store.refuse.store(1, Ordering::SeqCst);
    assert_eq!(stop(&w, "j").await.unwrap_err(), Refusal::Unavailable("a batch job could not be written".into()));
    for _ in 0..3 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!((counts(&w, "j").await, closed(&w, 3).await), ((Completed, 3, 3, 0), 3));
}

#[tokio::test]
async fn an_order_that_cannot_be_read_now_is_read_again() {
    let mut w = world().await;
    w.start("w0").await;
    w.start("w1").await;
    w.engine.start_batch(job("j", terminate(), workflows(2), 1.0)).await.unwrap();
    w.settle().await;
    w.reopen().await;
    w.store.meta_unreadable.store(3, Ordering::SeqCst);
    for _ in 0..4 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!(w.store.meta_unreadable.load(Ordering::SeqCst), 0, "it was asked for");
    assert_eq!(counts(&w, "j").await, (Completed, 2, 2, 0));
}

/// The index gives a page up when it takes too long: the machine was busy, or no page will ever be read in time.
#[tokio::test]
async fn a_page_that_takes_too_long_is_read_again_a_few_times() {
    let mut w = world().await;
    for id in workflows(3) {
        w.start(&id).await;
    }
    let too_long = Arc::new(AtomicUsize::new(0));
    let kept = Kept(Arc::new(MemoryIndex::new()), too_long.clone());
    let opened = std::future::ready(Ok(Arc::new(kept) as Arc<dyn Index>));
    let components = Components { index: Box::new(move |_| Box::pin(opened)), ..Components::default() };
    w.engine = Engine::open_with(w.store.clone(), w.clock.clone(), Arc::new(Tasks), 3, settings(), components).await.unwrap();
    let by_query = |job_id: &str, operation| StartBatchOperationRequest {
        visibility_query: "WorkflowType = 'Test'".into(),
        ..job(job_id, operation, [], 0.0)
    };
    let go = async || {
        for _ in 0..20 {
            w.advance(Span::seconds(5)).await;
        }
    };
    let tries = || usize::MAX - too_long.load(Ordering::SeqCst);

    too_long.store(usize::MAX, Ordering::SeqCst);
    soon(w.engine.start_batch(by_query("never", terminate()))).await.unwrap();
    go().await;
    assert_eq!((counts(&w, "never").await, tries()), ((Failed, 3, 0, 0), 8));

    too_long.store(usize::MAX, Ordering::SeqCst);
    soon(w.engine.start_batch(by_query("stopped", terminate()))).await.unwrap();
    w.advance(Span::millis(100)).await;
    let before = tries();
    assert!((1..8).contains(&before), "{before}");
    stop(&w, "stopped").await.unwrap();
    go().await;
    assert_eq!((counts(&w, "stopped").await, tries()), ((Failed, 3, 0, 0), before), "it is not read any more");

    too_long.store(7, Ordering::SeqCst);
    soon(w.engine.start_batch(by_query("late", terminate()))).await.unwrap();
    go().await;
    assert_eq!((counts(&w, "late").await, closed(&w, 3).await), ((Completed, 3, 3, 0), 3));
}

/// Thirty runs that have had their first task, and the order to reset them to it.
async fn thirty_to_reset(w: &World) -> Operation {
    for id in workflows(30) {
        w.start(&id).await;
        let task = w.poll().await;
        w.complete(&task.task_token, vec![]).await;
    }
    Operation::ResetOperation(BatchOperationReset {
        options: Some(ResetOptions { target: Some(reset_options::Target::FirstWorkflowTask(())), ..Default::default() }),
        ..Default::default()
    })
}

/// A reset ends a run and makes one: a query that names neither open nor closed runs finds both again.
#[tokio::test]
async fn a_reset_by_query_leaves_what_it_has_made_and_ended_alone() {
    let mut w = world().await;
    let reset = thirty_to_reset(&w).await;
    let by_query = |job_id: &str, rate| StartBatchOperationRequest {
        visibility_query: "WorkflowType = 'Test'".into(),
        target_executions: Vec::new(),
        ..job(job_id, reset.clone(), [], rate)
    };
    let runs = async |w: &World| w.engine.count_runs(NAMESPACE, "WorkflowType = 'Test'").await.unwrap();
    w.engine.start_batch(by_query("j", 0.0)).await.unwrap();
    // One a second, and all of them are found twice.
    for _ in 0..80 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!((counts(&w, "j").await, runs(&w).await), ((Completed, 30, 30, 0), 60), "each once");
    // A crash in the first page: the new runs are the first that the query finds.
    let query = "WorkflowType = 'Test' AND ExecutionStatus = 'Running'";
    let again = StartBatchOperationRequest { visibility_query: query.into(), ..by_query("k", 10.0) };
    w.engine.start_batch(again).await.unwrap();
    for _ in 0..10 {
        w.advance(Span::millis(100)).await;
    }
    let before = runs(&w).await;
    assert!((61..90).contains(&before), "{before}");
    w.reopen().await;
    for _ in 0..60 {
        w.advance(Span::millis(100)).await;
    }
    let (state, total, complete, failed) = counts(&w, "k").await;
    assert_eq!((state, total, failed, runs(&w).await), (Completed, 30, 0, 90), "{complete}");
}

/// What a reset has made may have gone on in a new run before the query finds it.
#[tokio::test]
async fn a_reset_by_query_leaves_the_successors_of_what_it_has_made_alone() {
    let mut w = world().await;
    let reset = thirty_to_reset(&w).await;
    let query = "WorkflowType = 'Test' AND ExecutionStatus = 'Running'";
    w.engine.start_batch(StartBatchOperationRequest { visibility_query: query.into(), ..job("j", reset, [], 10.0) }).await.unwrap();
    for _ in 0..10 {
        w.advance(Span::millis(100)).await;
    }
    let runs = async |w: &World| w.engine.count_runs(NAMESPACE, "WorkflowType = 'Test'").await.unwrap();
    let made = runs(&w).await - 30;
    assert!((1..30).contains(&made), "{made}");
    for _ in 0..made {
        let task = w.poll().await;
        w.complete(&task.task_token, vec![continue_as_new()]).await;
    }
    // The job reads its page again, and they are the first.
    w.reopen().await;
    for _ in 0..60 {
        w.advance(Span::millis(100)).await;
    }
    let (state, total, complete, failed) = counts(&w, "j").await;
    assert_eq!((state, total, failed, runs(&w).await), (Completed, 30, 0, 60 + made), "{complete}");
}

#[tokio::test]
async fn no_job_begins_in_a_namespace_that_is_gone() {
    let w = world().await;
    let register = RegisterNamespaceRequest {
        namespace: "n".into(),
        workflow_execution_retention_period: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    w.engine.register_namespace(register).await.unwrap();
    // The start waits for the right to write behind a change whose commit is held.
    w.store.held.store(true, Ordering::SeqCst);
    let other = w.engine.start_batch(job("other", terminate(), workflows(1), 0.0));
    let mut other = std::pin::pin!(other);
    assert!(other.as_mut().now_or_never().is_none());
    w.settle().await;
    let request = StartBatchOperationRequest { namespace: "n".into(), ..job("j", terminate(), workflows(1), 0.0) };
    let mut late = std::pin::pin!(w.engine.start_batch(request));
    assert!(late.as_mut().now_or_never().is_none());
    w.settle().await;
    w.store.held.store(false, Ordering::SeqCst);
    w.engine.delete_namespace(DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    w.store.permits.add_permits(1);
    other.await.unwrap();
    assert!(matches!(soon(late).await, Err(Refusal::NamespaceNotFound(_))));
    w.advance(Span::seconds(1)).await;
}

/// Activities that belong to no workflow.
mod activities {
    use sempre_api::v1::{
        common::ActivityType,
        enums::{ActivityExecutionStatus as Status, BatchOperationType},
    };
    use sempre_engine::Settings;

    use super::*;

    async fn start(w: &World, id: &str) -> String {
        let request = StartActivityExecutionRequest {
            namespace: NAMESPACE.into(),
            activity_id: id.into(),
            activity_type: Some(ActivityType { name: "Act".into() }),
            task_queue: Some(queue()),
            start_to_close_timeout: Some(Span::seconds(30).to_api()),
            ..Default::default()
        };
        soon(w.engine.start_activity(request)).await.unwrap().run_id
    }

    /// `None`: there is none.
    async fn status(w: &World, id: &str) -> Option<Status> {
        let request = DescribeActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: id.into(), ..Default::default() };
        match soon(w.engine.describe_activity(request, None)).await {
            Ok(described) => Some(described.info.unwrap().status()),
            Err(Refusal::NotFound(_)) => None,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    fn terminate() -> Operation {
        Operation::TerminateActivitiesOperation(BatchOperationTerminateActivities { identity: "operator".into(), reason: "why".into() })
    }

    fn cancel() -> Operation {
        Operation::CancelActivitiesOperation(BatchOperationCancelActivities { identity: "operator".into(), reason: String::new() })
    }

    fn delete() -> Operation {
        Operation::DeleteActivitiesOperation(BatchOperationDeleteActivities {})
    }

    fn selected(job_id: &str, operation: Operation, query: &str) -> StartBatchOperationRequest {
        StartBatchOperationRequest { visibility_query: query.into(), ..job(job_id, operation, [], 0.0) }
    }

    fn listed(job_id: &str, operation: Operation, ids: &[&str]) -> StartBatchOperationRequest {
        let target = |id: &&str| Execution { r#type: ExecutionType::Activity as i32, business_id: (*id).into(), run_id: String::new() };
        StartBatchOperationRequest { target_executions: ids.iter().map(target).collect(), ..job(job_id, operation, [], 0.0) }
    }

    /// Starts the job and waits for its end.
    async fn run(w: &World, request: StartBatchOperationRequest) -> DescribeBatchOperationResponse {
        let id = request.job_id.clone();
        soon(w.engine.start_batch(request)).await.unwrap();
        for _ in 0..100 {
            w.advance(Span::millis(100)).await;
            if describe(w, &id).await.state() != Running {
                break;
            }
        }
        describe(w, &id).await
    }

    #[tokio::test]
    async fn a_query_selects_activities_and_no_workflows() {
        let w = world().await;
        w.start("a1").await;
        for id in ["a1", "a2", "b"] {
            start(&w, id).await;
        }
        let preview = PreviewBatchOperationRequest {
            namespace: NAMESPACE.into(),
            start: selected("-", cancel(), "ActivityType = 'Act'").encode_to_vec().into(),
            sample_size: 2,
        };
        assert_eq!(soon(w.engine.preview_batch(preview)).await.unwrap().total, 3);
        let done = run(&w, selected("terminate", terminate(), "ActivityId STARTS_WITH 'a'")).await;
        assert_eq!(
            (done.state(), done.total_operation_count, done.complete_operation_count, done.failure_operation_count),
            (Completed, 2, 2, 0)
        );
        assert_eq!(done.operation_type, BatchOperationType::TerminateActivity as i32);
        assert_eq!([status(&w, "a1").await, status(&w, "b").await], [Some(Status::Terminated), Some(Status::Running)]);
        let outcome = PollActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a1".into(), ..Default::default() };
        let outcome = format!("{:?}", soon(w.engine.poll_activity(outcome, None)).await.unwrap().outcome);
        assert!(outcome.contains("why") && outcome.contains("operator"), "{outcome}");
        // Only what is open can be ended.
        let done = run(&w, selected("cancel", cancel(), "ActivityType = 'Act'")).await;
        assert_eq!((done.total_operation_count, done.complete_operation_count, status(&w, "b").await), (1, 1, Some(Status::Canceled)));
        let done = run(&w, selected("delete", delete(), "ActivityType = 'Act'")).await;
        assert_eq!((done.total_operation_count, done.complete_operation_count), (3, 3));
        assert_eq!([status(&w, "a1").await, status(&w, "a2").await, status(&w, "b").await], [None; 3]);
        assert_eq!(w.describe("a1").await.unwrap().workflow_execution_info.unwrap().status, WorkflowExecutionStatus::Running as i32);
    }

    #[tokio::test]
    async fn listed_activities_are_those_of_when_the_job_began() {
        let w = world().await;
        for id in ["a", "b"] {
            start(&w, id).await;
        }
        let done = run(&w, listed("first", terminate(), &["a"])).await;
        assert_eq!((done.state(), done.complete_operation_count, done.failure_operation_count), (Completed, 1, 0));
        // Closed, open, none at all: all three are done with.
        let done = run(&w, listed("second", terminate(), &["a", "b", "c"])).await;
        assert_eq!((done.state(), done.complete_operation_count, done.failure_operation_count), (Completed, 3, 0));
        assert_eq!(status(&w, "b").await, Some(Status::Terminated));
        let kinds: Vec<_> = done.executions.iter().map(|e| (e.r#type(), e.business_id.as_str())).collect();
        assert_eq!(kinds, [(ExecutionType::Activity, "a"), (ExecutionType::Activity, "b"), (ExecutionType::Activity, "c")]);
    }

    #[tokio::test]
    #[allow(deprecated, reason = "the old way to name targets")]
    async fn targets_of_another_type_and_activities_that_are_off_are_refused() {
        let w = world().await;
        let invalid = |text: &str| Refusal::InvalidArgument(text.into());
        let wrong = job("j", cancel(), ["a".to_owned()], 0.0);
        let text = "target_executions[0] has type Workflow, but operation *workflowservice.StartBatchOperationRequest_CancelActivitiesOperation requires Activity";
        assert_eq!(soon(w.engine.start_batch(wrong)).await.unwrap_err(), invalid(text));
        let wrong = listed("j", super::terminate(), &["a"]);
        let text = "target_executions[0] has type Activity, but operation *workflowservice.StartBatchOperationRequest_TerminationOperation requires Workflow";
        assert_eq!(soon(w.engine.start_batch(wrong)).await.unwrap_err(), invalid(text));
        let wrong = StartBatchOperationRequest { executions: vec![execution("a", "")], ..job("j", delete(), [], 0.0) };
        let refused = soon(w.engine.start_batch(wrong)).await.unwrap_err();
        assert!(matches!(&refused, Refusal::InvalidArgument(text) if text.ends_with("use target_executions")), "{refused:?}");
        let w = world_with(Settings { standalone_activities: false, ..settings() }).await;
        let text =
            "The operation type *workflowservice.StartBatchOperationRequest_DeleteActivitiesOperation is not supported for this namespace";
        assert_eq!(soon(w.engine.start_batch(listed("j", delete(), &["a"]))).await.unwrap_err(), invalid(text));
    }
}
