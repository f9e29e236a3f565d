use futures::FutureExt;
use sempre_api::v1::{
    common::{ActivityType, WorkflowType},
    enums::{IndexedValueType, NamespaceState, TaskQueueType},
    namespace::{BadBinaries, BadBinaryInfo, NamespaceConfig, UpdateNamespaceInfo},
    operatorservice::*,
    schedule::{Schedule, ScheduleAction, schedule_action::Action},
    taskqueue::{RateLimit, TaskQueue},
    workflow::NewWorkflowExecutionInfo,
    workflowservice::*,
};
use sempre_core::{
    Refusal, Span,
    ids::Uuid,
    visibility::{PREDEFINED, SYSTEM},
};
use sempre_engine::Clock;
use sempre_store::{CommitBatch, Fence, Table};

use crate::support::*;

fn register(name: &str, retention: i64) -> RegisterNamespaceRequest {
    RegisterNamespaceRequest {
        namespace: name.into(),
        workflow_execution_retention_period: Some(Span::seconds(retention).to_api()),
        ..Default::default()
    }
}

#[tokio::test]
async fn register_describe_update_list_deprecate_delete() {
    let mut w = world().await;
    let e = &w.engine;
    assert_eq!(e.register_namespace(register("", 3600)).await.unwrap_err(), Refusal::invalid("Namespace not set on request."));
    let short = e.register_namespace(register("n", 3599)).await.unwrap_err();
    assert_eq!(short, Refusal::invalid("A valid retention period is not set on request."));
    e.register_namespace(register("n", 3600)).await.unwrap();
    let twice = e.register_namespace(register("n", 3600)).await.unwrap_err();
    assert_eq!(twice, Refusal::NamespaceAlreadyExists("Namespace \"n\" already exists".into()));
    let by_name = e.describe_namespace(DescribeNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    let id = by_name.namespace_info.clone().unwrap().id;
    let by_id = e.describe_namespace(DescribeNamespaceRequest { id: id.clone(), ..Default::default() }).await.unwrap();
    assert_eq!(by_name, by_id);
    let list = e.list_namespaces(ListNamespacesRequest { page_size: 1, ..Default::default() }).await.unwrap();
    assert_eq!((list.namespaces.len(), list.next_page_token.is_empty()), (1, false));
    let rest = e.list_namespaces(ListNamespacesRequest { next_page_token: list.next_page_token, ..Default::default() }).await.unwrap();
    assert_eq!((rest.namespaces.len(), rest.next_page_token.is_empty()), (1, true));
    e.deprecate_namespace(DeprecateNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    let refused = w.try_start(StartWorkflowExecutionRequest { namespace: "n".into(), ..start_request("a") }).await.unwrap_err();
    assert_eq!(refused, Refusal::NamespaceInvalidState { namespace: "n".into(), state: "Deprecated", allowed: "Registered" });
    // Only starts of workflows are refused (spec 09 §4.4).
    let activity = StartActivityExecutionRequest {
        namespace: "n".into(),
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        ..Default::default()
    };
    w.engine.start_activity(activity).await.unwrap();
    let schedule = CreateScheduleRequest {
        namespace: "n".into(),
        schedule_id: "s".into(),
        request_id: "r".into(),
        schedule: Some(Schedule {
            action: Some(ScheduleAction {
                action: Some(Action::StartWorkflow(NewWorkflowExecutionInfo {
                    workflow_id: "w".into(),
                    workflow_type: Some(WorkflowType { name: "T".into() }),
                    task_queue: Some(queue()),
                    ..Default::default()
                })),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    w.engine.create_schedule(schedule).await.unwrap();
    let deleted = w.engine.delete_namespace(DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    assert_eq!(deleted.deleted_namespace, format!("n-deleted-{id}"));
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    w.reopen().await;
    let again = w.engine.describe_namespace(DescribeNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    let info = again.namespace_info.unwrap();
    assert_ne!(info.id, id);
    assert_eq!(info.state, NamespaceState::Registered as i32);
    let unknown = w.try_start(StartWorkflowExecutionRequest { namespace: "m".into(), ..start_request("a") }).await.unwrap_err();
    assert_eq!(unknown, Refusal::NamespaceNotFound("m".into()));
}

#[tokio::test]
async fn search_attributes_are_registered_per_namespace() {
    let w = world().await;
    let add = |name: &str, kind: i32| AddSearchAttributesRequest {
        search_attributes: [(name.to_owned(), kind)].into(),
        namespace: NAMESPACE.into(),
    };
    let keyword = IndexedValueType::Keyword as i32;
    w.engine.add_search_attributes(add("Color", keyword)).await.unwrap();
    w.engine.add_search_attributes(add("Color", IndexedValueType::Int as i32)).await.unwrap();
    let reserved = w.engine.add_search_attributes(add("WorkflowId", keyword)).await.unwrap_err();
    assert_eq!(reserved, Refusal::invalid("Search attribute WorkflowId is reserved by system."));
    for name in ["BuildIds", "TemporalChangeVersion", "TemporalMine", "NamespaceId", "Memo", "VisibilityTaskKey"] {
        let reserved = w.engine.add_search_attributes(add(name, keyword)).await.unwrap_err();
        assert_eq!(reserved, Refusal::invalid(format!("Search attribute {name} is reserved by system.")));
    }
    assert_eq!(w.engine.add_search_attributes(add("X", 99)).await.unwrap_err(), Refusal::invalid("Unknown search attribute type: 99."));
    let list = || ListSearchAttributesRequest { namespace: NAMESPACE.into() };
    let known = w.engine.list_search_attributes(list()).await.unwrap();
    assert_eq!(known.custom_attributes, [("Color".to_owned(), keyword)].into());
    assert_eq!(known.system_attributes.len(), SYSTEM.len() + PREDEFINED.len());
    assert_eq!(known.system_attributes["StartTime"], IndexedValueType::Datetime as i32);
    assert_eq!(known.system_attributes["TemporalExternalPayloadCount"], IndexedValueType::Int as i32);
    let remove = |name: &str| RemoveSearchAttributesRequest { search_attributes: vec![name.into()], namespace: NAMESPACE.into() };
    assert_eq!(
        w.engine.remove_search_attributes(remove("Nope")).await.unwrap_err(),
        Refusal::not_found("Search attribute Nope doesn't exist.")
    );
    assert_eq!(
        w.engine.remove_search_attributes(remove("BuildIds")).await.unwrap_err(),
        Refusal::invalid("Unable to remove non-custom search attributes: BuildIds.")
    );
    let none = Refusal::invalid("SearchAttributes are not set on request.");
    assert_eq!(
        w.engine.add_search_attributes(AddSearchAttributesRequest { namespace: NAMESPACE.into(), ..Default::default() }).await,
        Err(none.clone())
    );
    assert_eq!(
        w.engine.remove_search_attributes(RemoveSearchAttributesRequest { namespace: NAMESPACE.into(), ..Default::default() }).await,
        Err(none)
    );
    w.engine.remove_search_attributes(remove("Color")).await.unwrap();
    assert!(w.engine.list_search_attributes(list()).await.unwrap().custom_attributes.is_empty());
}

async fn id_of(w: &World, name: &str) -> String {
    let described = w.engine.describe_namespace(DescribeNamespaceRequest { namespace: name.into(), ..Default::default() }).await;
    described.unwrap().namespace_info.unwrap().id
}

async fn delete(w: &World, name: &str, delay: Span) -> String {
    let request = DeleteNamespaceRequest {
        namespace: name.into(),
        namespace_delete_delay: (delay > Span::ZERO).then(|| delay.to_api()),
        ..Default::default()
    };
    w.engine.delete_namespace(request).await.unwrap().deleted_namespace
}

/// Rows that name a namespace, by table.
fn rows_of(w: &World, id: &str) -> Vec<(Table, usize)> {
    let id = Uuid::parse(id).unwrap().0;
    let names = |bytes: &[u8]| bytes.windows(16).any(|part| part == id);
    let count = |table| w.store.rows(table).iter().filter(|(key, value)| names(key) || names(value)).count();
    Table::ALL.into_iter().map(|table| (table, count(table))).filter(|(_, count)| *count > 0).collect()
}

async fn start_in(w: &World, namespace: &str, workflow_id: &str) -> String {
    let request = StartWorkflowExecutionRequest { namespace: namespace.into(), ..start_request(workflow_id) };
    w.try_start(StartWorkflowExecutionRequest { request_id: format!("{:?}", w.clock.now()), ..request }).await.unwrap().run_id
}

async fn terminate_in(w: &World, namespace: &str, workflow_id: &str) {
    let request = TerminateWorkflowExecutionRequest {
        namespace: namespace.into(),
        workflow_execution: Some(execution(workflow_id, "")),
        ..Default::default()
    };
    soon(w.engine.terminate(request)).await.unwrap();
}

/// Open runs, closed ones, chains of closed ones, settings of a queue.
async fn fill(w: &World, namespace: &str) {
    for n in 0..20 {
        let workflow_id = format!("w{n}");
        for _ in 0..n % 3 {
            start_in(w, namespace, &workflow_id).await;
            terminate_in(w, namespace, &workflow_id).await;
            w.clock_tick();
        }
        if n % 2 == 0 {
            start_in(w, namespace, &workflow_id).await;
        }
    }
    let settings = UpdateTaskQueueConfigRequest {
        namespace: namespace.into(),
        task_queue: QUEUE.into(),
        task_queue_type: TaskQueueType::Activity as i32,
        update_queue_rate_limit: Some(update_task_queue_config_request::RateLimitUpdate {
            rate_limit: Some(RateLimit { requests_per_second: 3.0 }),
            reason: "slow".into(),
        }),
        ..Default::default()
    };
    w.engine.update_task_queue_config(settings).await.unwrap();
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_all_its_data_and_nothing_else() {
    let w = world().await;
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    let id = id_of(&w, "n").await;
    fill(&w, "n").await;
    fill(&w, NAMESPACE).await;
    let default = id_of(&w, NAMESPACE).await;
    // What the index of runs has not taken yet goes by itself.
    w.advance(Span::seconds(1)).await;
    let kept = rows_of(&w, &default);
    assert!(rows_of(&w, &id).len() >= 5);
    let name = delete(&w, "n", Span::ZERO).await;
    assert_eq!(delete(&w, &name, Span::ZERO).await, name, "twice is once");
    for _ in 0..40 {
        w.advance(Span::millis(50)).await;
    }
    let mut left = rows_of(&w, &id);
    assert_eq!(left.pop().map(|(table, _)| table), Some(Table::Notice), "what happened to them is told for that long");
    assert_eq!(left, [(Table::Meta, 1), (Table::Namespace, 1)], "the runs go at once, the rest when calls under way have ended");
    let deleted = w.engine.describe_namespace(DescribeNamespaceRequest { namespace: name.clone(), ..Default::default() }).await.unwrap();
    assert_eq!(deleted.namespace_info.unwrap().state, NamespaceState::Deleted as i32);
    w.advance(Span::seconds(10)).await;
    assert_eq!(rows_of(&w, &id), []);
    let gone = w.engine.describe_namespace(DescribeNamespaceRequest { namespace: name.clone(), ..Default::default() }).await.unwrap_err();
    assert_eq!(gone, Refusal::NamespaceNotFound(name));
    assert_eq!(w.engine.stats().runs_removed.get(), 29);
    assert_eq!(rows_of(&w, &default), kept);
    assert_eq!(w.poll().await.workflow_execution.unwrap().workflow_id, "w0");
}

#[tokio::test]
async fn the_removal_of_a_namespace_stops_when_namespaces_are_another_nodes_and_goes_on_when_they_come_back() {
    let w = world().await;
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    fill(&w, "n").await;
    delete(&w, "n", Span::ZERO).await;
    w.settle().await;
    let removed = || w.engine.stats().runs_removed.get();
    let before = removed();
    assert!((1..29).contains(&before), "the clock stands still in the middle of it");
    soon(w.engine.give_up(u32::MAX)).await.unwrap();
    for _ in 0..40 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!(removed(), before);
    soon(w.engine.take_up(u32::MAX)).await.unwrap();
    for _ in 0..40 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!(removed(), 29);
}

#[tokio::test]
async fn the_removal_of_a_namespace_goes_on_after_a_restart() {
    let mut w = world().await;
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    let id = id_of(&w, "n").await;
    fill(&w, "n").await;
    delete(&w, "n", Span::seconds(3600)).await;
    w.settle().await;
    let removed = w.engine.stats().runs_removed.get();
    assert!((1..29).contains(&removed), "the clock stands still in the middle of it");
    w.reopen().await;
    // The name is another namespace's by now.
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    start_in(&w, "n", "w1").await;
    for _ in 0..40 {
        w.advance(Span::millis(50)).await;
    }
    assert_eq!(w.engine.stats().runs_removed.get(), 29 - removed);
    w.advance(Span::seconds(10)).await;
    assert_eq!(rows_of(&w, &id), [(Table::Namespace, 1)], "the record waits for its delay");
    w.advance(Span::seconds(1800)).await;
    w.reopen().await;
    w.advance(Span::seconds(1700)).await;
    assert_eq!(rows_of(&w, &id), [(Table::Namespace, 1)]);
    w.advance(Span::seconds(200)).await;
    assert_eq!(rows_of(&w, &id), []);
    let described = DescribeWorkflowExecutionRequest { namespace: "n".into(), execution: Some(execution("w1", "")) };
    assert!(w.engine.describe_workflow(described).await.is_ok());
}

#[tokio::test]
async fn nothing_starts_and_nothing_is_deprecated_in_a_deleted_namespace() {
    let w = world().await;
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    let name = delete(&w, "n", Span::seconds(100_000)).await;
    let refused = w.try_start(StartWorkflowExecutionRequest { namespace: name.clone(), ..start_request("a") }).await.unwrap_err();
    assert_eq!(refused, Refusal::NamespaceInvalidState { namespace: name.clone(), state: "Deleted", allowed: "Registered" });
    let deprecated = w.engine.deprecate_namespace(DeprecateNamespaceRequest { namespace: name, ..Default::default() }).await;
    assert_eq!(deprecated.unwrap_err(), Refusal::invalid("Invalid namespace state update."));
}

#[allow(deprecated, reason = "the checksums of binaries are what old workers send")]
#[tokio::test]
async fn an_update_merges_data_and_keeps_bad_binaries_within_their_limit() {
    let w = world().await;
    let update = |change: fn(&mut UpdateNamespaceRequest)| {
        let mut request = UpdateNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
        change(&mut request);
        w.engine.update_namespace(request)
    };
    let data = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let first = |r: &mut UpdateNamespaceRequest| {
        r.update_info = Some(UpdateNamespaceInfo {
            description: "of tests".into(),
            owner_email: "a@example.com".into(),
            data: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            ..Default::default()
        });
    };
    update(first).await.unwrap();
    let second = update(|r| {
        r.update_info = Some(UpdateNamespaceInfo { data: [("b".to_owned(), "3".to_owned())].into(), ..Default::default() });
        r.config = Some(NamespaceConfig { workflow_execution_retention_ttl: Some(Span::seconds(7200).to_api()), ..Default::default() });
    });
    let updated = second.await.unwrap();
    let info = updated.namespace_info.unwrap();
    assert_eq!(
        (info.description.as_str(), info.owner_email.as_str(), info.data),
        ("of tests", "a@example.com", data(&[("a", "1"), ("b", "3")]))
    );
    assert_eq!(updated.config.unwrap().workflow_execution_retention_ttl, Some(Span::seconds(7200).to_api()));
    let short = update(|r| {
        r.config = Some(NamespaceConfig { workflow_execution_retention_ttl: Some(Span::seconds(60).to_api()), ..Default::default() });
    });
    assert_eq!(short.await.unwrap_err(), Refusal::invalid("A valid retention period is not set on request."));
    let state = update(|r| {
        r.update_info = Some(UpdateNamespaceInfo { state: NamespaceState::Deleted as i32, ..Default::default() });
    });
    assert_eq!(state.await.unwrap_err(), Refusal::invalid("Invalid namespace state update."));

    fn bad(r: &mut UpdateNamespaceRequest, from: usize, to: usize) {
        let info = BadBinaryInfo { reason: "bad".into(), operator: "o".into(), create_time: None };
        let binaries = (from..to).map(|n| (format!("sum-{n}"), info.clone())).collect();
        r.config = Some(NamespaceConfig { bad_binaries: Some(BadBinaries { binaries }), ..Default::default() });
    }
    let ten = update(|r| bad(r, 0, 10)).await.unwrap().config.unwrap().bad_binaries.unwrap().binaries;
    assert_eq!((ten.len(), ten["sum-0"].create_time.is_some()), (10, true));
    let more = update(|r| bad(r, 10, 11)).await.unwrap_err();
    assert_eq!(more, Refusal::invalid("Total resetBinaries cannot exceed the max limit: 10"));
    let poll = |sum: &str| PollWorkflowTaskQueueRequest { binary_checksum: sum.into(), ..poll_request() };
    let refused = w.engine.poll_workflow_task(poll("sum-3"), None).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("Binary sum-3 already marked as bad deployment."));
    w.start("a").await;
    let task = w.engine.poll_workflow_task(poll("sum-11"), None).await.unwrap();
    let complete = |sum: &str| RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        commands: done(),
        binary_checksum: sum.into(),
        ..Default::default()
    };
    let refused = w.engine.respond_workflow_task_completed(complete("sum-3")).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("BadBinary: binary sum-3 is marked as bad deployment"));
    let nine = update(|r| r.delete_bad_binary = "sum-3".into()).await.unwrap().config.unwrap().bad_binaries.unwrap().binaries;
    assert!(nine.len() == 9 && !nine.contains_key("sum-3"));
    let none = update(|r| r.delete_bad_binary = "sum-3".into()).await.unwrap_err();
    assert_eq!(none, Refusal::invalid("Bad binary checksum sum-3 doesn't exists."));
    // It is good again.
    let task = w.engine.poll_workflow_task(poll("sum-3"), None).await.unwrap();
    assert_eq!(task.attempt, 2);
}

#[tokio::test]
async fn the_end_of_retention_is_fixed_when_a_run_closes() {
    let w = world().await;
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    let retain = |seconds: i64| {
        w.engine.update_namespace(UpdateNamespaceRequest {
            namespace: "n".into(),
            config: Some(NamespaceConfig { workflow_execution_retention_ttl: Some(Span::seconds(seconds).to_api()), ..Default::default() }),
            ..Default::default()
        })
    };
    start_in(&w, "n", "before").await;
    terminate_in(&w, "n", "before").await;
    retain(7200).await.unwrap();
    start_in(&w, "n", "after").await;
    terminate_in(&w, "n", "after").await;
    retain(3600).await.unwrap();
    let there = async |id: &str| {
        let request = DescribeWorkflowExecutionRequest { namespace: "n".into(), execution: Some(execution(id, "")) };
        w.engine.describe_workflow(request).await.is_ok()
    };
    w.advance(Span::seconds(3599)).await;
    assert!(there("before").await && there("after").await);
    w.advance(Span::seconds(1)).await;
    assert!(!there("before").await && there("after").await);
    w.advance(Span::seconds(3600)).await;
    assert!(!there("after").await);
    assert_eq!(w.store.rows(Table::State), []);
}

#[tokio::test]
async fn many_runs_that_expire_at_once_do_not_hold_up_a_timer_or_a_call() {
    let mut settings = settings();
    settings.shards = 1;
    settings.cache_bytes_max = 1 << 20;
    let mut w = world_with(settings).await;
    const RUNS: usize = 2500;
    for n in 0..RUNS {
        w.start(&format!("w{n}")).await;
        terminate_in(&w, NAMESPACE, &format!("w{n}")).await;
    }
    w.start("timer").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![timer("t", Span::seconds(24 * 3600))]).await;
    // Nothing of it is in memory.
    w.reopen().await;
    let runs = |w: &World| w.store.rows(Table::Current).len() - 1;
    assert_eq!(runs(&w), RUNS);
    w.clock.advance(Span::seconds(24 * 3600));
    let fired = w.poll().await;
    assert_eq!(fired.workflow_execution.unwrap().workflow_id, "timer");
    w.until("the budget of a second is used up", || runs(&w) == RUNS - 2000).await;
    w.settle().await;
    assert_eq!(runs(&w), RUNS - 2000, "and no more");
    w.start("call").await;
    w.advance(Span::seconds(1)).await;
    w.until("the next second", || runs(&w) == 1).await;
}

#[tokio::test]
async fn a_namespace_whose_deleter_leaves_is_removed() {
    let w = world().await;
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    w.settle().await;
    let request = DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() };
    assert!(w.engine.delete_namespace(request).now_or_never().is_none());
    w.advance(Span::seconds(1)).await;
    w.advance(Span::seconds(10)).await;
    let list = ListNamespacesRequest {
        namespace_filter: Some(sempre_api::v1::namespace::NamespaceFilter { include_deleted: true }),
        ..Default::default()
    };
    assert_eq!(w.engine.list_namespaces(list).await.unwrap().namespaces.len(), 1);
}

/// 09 §5.2: names are as long as they may be here
#[tokio::test]
async fn the_longest_name_is_a_setting() {
    let mut settings = settings();
    settings.limits.id_length_max = 10;
    settings.bad_binaries_max = 1;
    let w = world_with(settings).await;
    let long = "x".repeat(11);
    let name = Refusal::invalid("Namespace length exceeds limit.");
    assert_eq!(w.engine.register_namespace(register(&long, 3600)).await.unwrap_err(), name);
    assert_eq!(w.try_start(StartWorkflowExecutionRequest { namespace: long.clone(), ..start_request("a") }).await.unwrap_err(), name);
    let poll = PollWorkflowTaskQueueRequest { identity: long.clone(), ..poll_request() };
    assert_eq!(w.engine.poll_workflow_task(poll, None).await.unwrap_err(), Refusal::invalid("Identity length exceeds limit."));
    let poll = PollWorkflowTaskQueueRequest { task_queue: Some(TaskQueue { name: long.clone(), ..queue() }), ..poll_request() };
    assert_eq!(w.engine.poll_workflow_task(poll, None).await.unwrap_err(), Refusal::invalid("taskQueue length exceeds limit"));
    let config = UpdateTaskQueueConfigRequest {
        namespace: NAMESPACE.into(),
        task_queue: long.clone(),
        task_queue_type: TaskQueueType::Activity as i32,
        ..Default::default()
    };
    assert_eq!(w.engine.update_task_queue_config(config).await.unwrap_err(), Refusal::invalid("taskQueue length exceeds limit"));
    let binaries = ["a", "b"].map(|sum| (sum.to_owned(), BadBinaryInfo::default())).into();
    let config = NamespaceConfig { bad_binaries: Some(BadBinaries { binaries }), ..Default::default() };
    let update = UpdateNamespaceRequest { namespace: NAMESPACE.into(), config: Some(config), ..Default::default() };
    let more = w.engine.update_namespace(update).await.unwrap_err();
    assert_eq!(more, Refusal::invalid("Total resetBinaries cannot exceed the max limit: 1"));
}

#[tokio::test]
async fn metrics_are_told_of_so_many_namespaces_and_of_the_same() {
    const TOLD: usize = 50;
    let w = world().await;
    for number in 0..TOLD + 5 {
        w.engine.ensure_namespace(&format!("n{number}"), Span::seconds(3600)).await.unwrap();
    }
    let open: Vec<_> = w.engine.open_runs().await.unwrap().into_iter().map(|of| of.namespace).collect();
    let used: Vec<_> = w.engine.namespace_uses().into_iter().map(|of| of.namespace).collect();
    assert_eq!((open.len(), &open), (TOLD, &used));
}

/// Its name would be free, and whoever made it anew would find none of the runs.
#[tokio::test]
async fn a_server_does_not_begin_without_the_record_of_a_namespace() {
    let mut w = world().await;
    w.start("w").await;
    soon(w.engine.shutdown()).await;
    let (key, whole) = w
        .store
        .rows(Table::Namespace)
        .into_iter()
        .find(|(_, row)| row.windows(NAMESPACE.len()).any(|name| name == NAMESPACE.as_bytes()))
        .unwrap();
    let store = w.store.clone();
    let put = async |value: &[u8]| {
        let epoch = store.inner.acquire(77).await.unwrap();
        let mut batch = CommitBatch::new(Fence { shard: 77, epoch });
        batch.put(Table::Namespace, &key, value);
        store.inner.commit(batch).await.unwrap();
    };
    // Not a record, and that of another.
    for damaged in [vec![0xff], vec![]] {
        put(&damaged).await;
        let error = w.try_reopen().await.unwrap_err().to_string();
        assert!(error.starts_with("the record of the namespace with the id ") && error.contains("cannot be read"), "{error}");
        assert_eq!(w.store.rows(Table::Namespace).into_iter().find(|(other, _)| *other == key).unwrap().1, damaged);
    }
    put(&whole).await;
    w.try_reopen().await.unwrap();
    assert_eq!(w.describe("w").await.unwrap().workflow_execution_info.unwrap().execution.unwrap().workflow_id, "w");
}
