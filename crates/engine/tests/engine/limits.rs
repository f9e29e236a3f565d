//! Limits of namespaces, and that what is counted for them is right whatever happens.

use std::sync::atomic::Ordering::SeqCst;

use sempre_api::v1::{
    enums::{ResourceExhaustedCause, WorkflowIdConflictPolicy},
    update,
    workflow::OnConflictOptions,
    workflowservice::{
        DeleteWorkflowExecutionRequest, DescribeNamespaceRequest, ExecuteMultiOperationRequest, SignalWithStartWorkflowExecutionRequest,
        SignalWorkflowExecutionRequest, StartActivityExecutionRequest, UpdateWorkflowExecutionRequest, execute_multi_operation_request,
        execute_multi_operation_request::operation::Operation as Asked,
    },
};
use sempre_core::{Refusal, Span, refusal::Operation};
use sempre_engine::{CallClass, Limited, NamespaceLimits, Rates, Settings};
use sempre_store::{CommitBatch, Fence, Table};

use crate::support::*;

const RETENTION: Span = Span::seconds(24 * 3600);

fn limited(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

/// How much of a limit the namespace uses, and how often it was refused for it.
fn used(w: &World, of: Limited) -> (u64, u64) {
    let uses = w.engine.namespace_uses().into_iter().find(|uses| uses.namespace == NAMESPACE).unwrap();
    let found = uses.limits.into_iter().find(|limit| limit.of == of).unwrap();
    (found.used, found.refused)
}

fn exhausted<T: std::fmt::Debug>(result: Result<T, Refusal>, wanted: ResourceExhaustedCause) -> String {
    match result {
        Err(Refusal::ResourceExhausted { cause, message }) if cause == wanted => message,
        other => panic!("{other:?}"),
    }
}

/// Rows of Meta that say what shards have of namespaces.
fn rows(w: &World) -> usize {
    w.store.rows(Table::Meta).iter().filter(|(key, _)| key.first() == Some(&b'u') && key.len() == 21).count()
}

#[tokio::test]
async fn clients_start_no_more_runs_than_may_be_open() {
    let mut w = world_with(limited(|settings| settings.limits.open_runs_max = 2)).await;
    let mut first = start_request("a");
    first.request_id = "first".into();
    let run = w.try_start(first.clone()).await.unwrap().run_id;
    w.start("b").await;
    let text = exhausted(w.try_start(start_request("c")).await, ResourceExhaustedCause::ConcurrentLimit);
    assert_eq!(text, "namespace \"default\" has 2 open runs, the limit is 2");
    let activity = StartActivityExecutionRequest {
        namespace: NAMESPACE.into(),
        activity_id: "alone".into(),
        activity_type: Some(sempre_api::v1::common::ActivityType { name: "A".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(5).to_api()),
        ..Default::default()
    };
    exhausted(soon(w.engine.start_activity(activity)).await, ResourceExhaustedCause::ConcurrentLimit);
    assert_eq!(w.try_start(first).await.unwrap().run_id, run, "a call that is repeated is answered as before");
    let mut instead = start_request("b");
    instead.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting);
    w.try_start(instead).await.expect("one that takes another's place makes them no more");
    assert_eq!(used(&w, Limited::OpenRuns), (2, 2));
    // What is open is known after a restart, and after a crash.
    w.reopen().await;
    exhausted(w.try_start(start_request("c")).await, ResourceExhaustedCause::ConcurrentLimit);
    w.crash().await;
    assert_eq!(used(&w, Limited::OpenRuns), (2, 0));
    // One that has ended makes room.
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    assert_eq!(used(&w, Limited::OpenRuns), (1, 0));
    w.start("c").await;
}

#[tokio::test]
async fn clients_add_nothing_to_a_namespace_that_is_full() {
    let w = world_with(limited(|settings| settings.limits.storage_bytes_max = 4000)).await;
    let mut large = start_request("a");
    large.input = Some(payloads(&"x".repeat(5000)));
    w.try_start(large).await.unwrap();
    let (bytes, _) = used(&w, Limited::StorageBytes);
    assert!((5000..6000).contains(&bytes), "{bytes}");
    exhausted(w.try_start(start_request("b")).await, ResourceExhaustedCause::PersistenceStorageLimit);
    exhausted(w.signal("a", "more").await, ResourceExhaustedCause::PersistenceStorageLimit);
    assert_eq!(used(&w, Limited::StorageBytes), (bytes, 2));
    // Workers go on.
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    assert!(used(&w, Limited::StorageBytes).0 > bytes);
    let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution("a", "")) };
    soon(w.engine.delete_workflow(request)).await.unwrap();
    w.until("the run is deleted", || used(&w, Limited::StorageBytes).0 == 0).await;
    w.settle().await;
    assert_eq!(rows(&w), 0, "a namespace without runs has no row");
    w.start("b").await;
}

/// A start that meets an open run adds to it: its signal, its update, what it attaches.
#[tokio::test]
async fn a_start_adds_nothing_to_an_open_run_of_a_full_namespace() {
    let w = world_with(limited(|settings| settings.limits.storage_bytes_max = 4000)).await;
    let signal = |request_id: &str| SignalWithStartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "a".into(),
        workflow_type: start_request("a").workflow_type,
        task_queue: Some(queue()),
        signal_name: "s".into(),
        request_id: request_id.into(),
        ..Default::default()
    };
    w.start("a").await;
    soon(w.engine.signal_with_start(signal("first"))).await.unwrap();
    let mut large = start_request("large");
    large.input = Some(payloads(&"x".repeat(5000)));
    w.try_start(large).await.unwrap();
    let (bytes, _) = used(&w, Limited::StorageBytes);
    let full = ResourceExhaustedCause::PersistenceStorageLimit;
    exhausted(soon(w.engine.signal_with_start(signal("second"))).await, full);
    soon(w.engine.signal_with_start(signal("first"))).await.expect("a call that is repeated is answered as before");
    let repeated = SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        signal_name: "s".into(),
        request_id: "first".into(),
        ..Default::default()
    };
    soon(w.engine.signal_workflow(repeated)).await.expect("a signal, too");

    let mut attaching = start_request("a");
    attaching.request_id = "attached".into();
    attaching.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
    w.try_start(attaching.clone()).await.expect("it adds nothing");
    attaching.on_conflict_options = Some(OnConflictOptions { attach_request_id: true, ..Default::default() });
    exhausted(w.try_start(attaching).await, full);

    let operation = |operation| execute_multi_operation_request::Operation { operation: Some(operation) };
    let mut start = start_request("a");
    start.request_id = "with an update".into();
    start.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
    let update = UpdateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        request: Some(update::Request {
            meta: Some(update::Meta { update_id: "u".into(), identity: "client".into() }),
            input: Some(update::Input { name: "handler".into(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = ExecuteMultiOperationRequest {
        namespace: NAMESPACE.into(),
        operations: vec![operation(Asked::StartWorkflow(start)), operation(Asked::UpdateWorkflow(update))],
        ..Default::default()
    };
    match soon(w.engine.execute_multi_operation(request, None, || {})).await {
        Err(Refusal::MultiOperation(refused)) => match (refused.start, refused.update) {
            (Operation::NotTried, Operation::Refused(refused)) => drop(exhausted::<()>(Err(*refused), full)),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    assert_eq!(used(&w, Limited::StorageBytes), (bytes, 3));
}

#[tokio::test]
async fn what_is_counted_is_what_was_committed() {
    let mut w = world_with(limited(|settings| settings.limits.open_runs_max = 100)).await;
    w.start("a").await;
    let before = used(&w, Limited::StorageBytes);
    w.store.refuse.store(1, SeqCst);
    assert!(w.try_start(start_request("lost")).await.is_err());
    assert_eq!((used(&w, Limited::OpenRuns).0, used(&w, Limited::StorageBytes)), (1, before));
    w.store.doubt.store(1, SeqCst);
    assert!(w.try_start(start_request("there")).await.is_err());
    w.settle().await;
    assert_eq!(used(&w, Limited::OpenRuns).0, 2, "it was committed, though nobody was told");
    w.crash().await;
    assert_eq!(used(&w, Limited::OpenRuns).0, 2);
}

#[tokio::test]
async fn counts_stay_right_with_other_shards() {
    let mut w = world_with(limited(|settings| settings.shards = 4)).await;
    for n in 0..40 {
        w.start(&format!("w{n}")).await;
    }
    assert_eq!(rows(&w), 4);
    for shards in [1, 3, 2] {
        w.settings.shards = shards;
        w.reopen().await;
        assert_eq!(used(&w, Limited::OpenRuns).0, 40);
        let task = w.poll().await;
        w.complete(&task.task_token, done()).await;
        assert_eq!(used(&w, Limited::OpenRuns).0, 39);
        w.start(&format!("more{shards}")).await;
        assert!(rows(&w) <= shards as usize);
    }
}

#[tokio::test]
async fn data_of_an_older_version_is_counted_once() {
    let mut w = world().await;
    for n in 0..5 {
        w.start(&format!("w{n}")).await;
    }
    let counted = (used(&w, Limited::OpenRuns), used(&w, Limited::StorageBytes));
    soon(w.engine.shutdown()).await;
    // As it was before there were such rows; and one is left of an attempt that did not end.
    let epoch = w.store.inner.acquire(77).await.unwrap();
    let mut batch = CommitBatch::new(Fence { shard: 77, epoch });
    let keys: Vec<_> = w.store.rows(Table::Meta).into_iter().map(|(key, _)| key).filter(|key| key.first() == Some(&b'u')).collect();
    assert_eq!(keys[0].len(), 1, "the mark");
    batch.delete(Table::Meta, &keys[0]);
    keys[2..].iter().for_each(|key| batch.delete(Table::Meta, key));
    w.store.inner.commit(batch).await.unwrap();
    w.reopen().await;
    assert_eq!((used(&w, Limited::OpenRuns), used(&w, Limited::StorageBytes)), counted);
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_counted_anew() {
    for damaged in [&[0xff][..], b""] {
        let mut w = world().await;
        for n in 0..5 {
            w.start(&format!("w{n}")).await;
        }
        let counted = (used(&w, Limited::OpenRuns), used(&w, Limited::StorageBytes));
        soon(w.engine.shutdown()).await;
        let epoch = w.store.inner.acquire(77).await.unwrap();
        let mut batch = CommitBatch::new(Fence { shard: 77, epoch });
        let is_of_usage = |key: &[u8]| key.first() == Some(&b'u') && key.len() > 1;
        let key = w.store.rows(Table::Meta).into_iter().map(|(key, _)| key).find(|key| is_of_usage(key)).unwrap();
        // Nothing can be read of the one; the other is nobody's.
        match damaged {
            b"" => batch.put(Table::Meta, &key[..7], &[]),
            damaged => batch.put(Table::Meta, &key, damaged),
        }
        w.store.inner.commit(batch).await.unwrap();
        w.reopen().await;
        assert_eq!((used(&w, Limited::OpenRuns), used(&w, Limited::StorageBytes)), counted);
        w.reopen().await;
        assert_eq!((used(&w, Limited::OpenRuns), used(&w, Limited::StorageBytes)), counted);
    }
}

#[tokio::test]
async fn a_namespace_may_have_limits_of_its_own() {
    let mut settings = settings();
    let mut own = settings.limits.clone();
    own.blob_size_max = 10;
    let rates = Rates { calls: 1.0, burst_ratio: 1.0, ..Rates::default() };
    settings.of_namespaces.insert("small".into(), NamespaceLimits { limits: own, rates });
    let w = world_with(settings).await;
    w.engine.ensure_namespace("small", RETENTION).await.unwrap();
    let start = |namespace: &str| {
        let mut request = start_request("a");
        request.namespace = namespace.into();
        request.input = Some(payloads("more than ten bytes"));
        request
    };
    w.try_start(start(NAMESPACE)).await.unwrap();
    assert_eq!(w.try_start(start("small")).await.unwrap_err(), Refusal::invalid("Blob data size exceeds limit."));
    let request = DescribeNamespaceRequest { namespace: "small".into(), ..Default::default() };
    let info = w.engine.describe_namespace(request).await.unwrap().namespace_info.unwrap();
    assert_eq!(info.limits.unwrap().blob_size_limit_error, 10);
    // Rates go by the wall clock.
    w.engine.count_call("small", CallClass::Poll).unwrap();
    let refused = w.engine.count_call("small", CallClass::Poll);
    assert_eq!(exhausted(refused, ResourceExhaustedCause::RpsLimit), "namespace rate limit exceeded");
    w.engine.count_call(NAMESPACE, CallClass::Poll).unwrap();
    w.engine.count_call("nobody knows it", CallClass::Poll).unwrap();
    w.clock_advance(Span::seconds(1));
    w.engine.count_call("small", CallClass::Poll).unwrap();
}
