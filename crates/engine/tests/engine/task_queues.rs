//! Task queues from outside: who polls, what waits, how fast it goes, and workers that leave.
#![allow(deprecated, reason = "what older clients ask for is there as well")]

use sempre_api::v1::{
    command::{ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, Priority, WorkerVersionCapabilities},
    deployment::WorkerDeploymentOptions,
    enums::{CommandType, DescribeTaskQueueMode, RateLimitSource, TaskQueueType},
    history::history_event::Attributes as EventAttributes,
    taskqueue::{PollerScalingDecision, RateLimit, TaskQueue, TaskQueueMetadata, TaskQueueVersionSelection},
    workflowservice::{update_task_queue_config_request::RateLimitUpdate, *},
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;
use tokio::task::JoinHandle;

use crate::support::*;

const ACTIVITY: i32 = TaskQueueType::Activity as i32;

fn describe(task_type: TaskQueueType) -> DescribeTaskQueueRequest {
    DescribeTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(queue()),
        task_queue_type: task_type as i32,
        report_stats: true,
        report_config: true,
        ..Default::default()
    }
}

fn activity(id: &str, priority_key: i32) -> sempre_api::v1::command::Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "A".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(3600).to_api()),
        priority: Some(Priority { priority_key, ..Default::default() }),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

fn rate_update(rate: Option<f32>) -> UpdateTaskQueueConfigRequest {
    UpdateTaskQueueConfigRequest {
        namespace: NAMESPACE.into(),
        identity: "operator".into(),
        task_queue: QUEUE.into(),
        task_queue_type: ACTIVITY,
        update_queue_rate_limit: Some(RateLimitUpdate {
            rate_limit: rate.map(|requests_per_second| RateLimit { requests_per_second }),
            reason: "test".into(),
        }),
        ..Default::default()
    }
}

impl World {
    async fn describe_queue(&self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse {
        soon(self.engine.describe_task_queue(request)).await.unwrap()
    }

    async fn refused_description(&self, request: DescribeTaskQueueRequest) -> String {
        match soon(self.engine.describe_task_queue(request)).await {
            Err(Refusal::InvalidArgument(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    /// An activity poll beside the test.
    fn poll_activities(&self, key: &str, rate: Option<f64>) -> JoinHandle<PollActivityTaskQueueResponse> {
        let engine = self.engine.clone();
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: Some(queue()),
            identity: format!("worker-{key}"),
            worker_instance_key: key.into(),
            task_queue_metadata: Some(TaskQueueMetadata { max_tasks_per_second: rate }),
            deployment_options: Some(WorkerDeploymentOptions { build_id: "b1".into(), ..Default::default() }),
            ..Default::default()
        };
        tokio::spawn(async move { engine.poll_activity_task(request, None).await.unwrap() })
    }

    fn poll_workflows(&self, key: &str) -> JoinHandle<PollWorkflowTaskQueueResponse> {
        let engine = self.engine.clone();
        let request = PollWorkflowTaskQueueRequest { worker_instance_key: key.into(), ..poll_request() };
        tokio::spawn(async move { engine.poll_workflow_task(request, None).await.unwrap() })
    }

    /// A run whose workflow task has scheduled activities of these priorities.
    async fn with_activities(&self, priorities: impl IntoIterator<Item = i32>) {
        self.start("a").await;
        let task = self.poll().await;
        let commands = priorities.into_iter().enumerate().map(|(n, priority)| activity(&format!("{n}"), priority)).collect();
        self.complete(&task.task_token, commands).await;
    }
}

#[tokio::test]
async fn a_workers_build_is_in_the_history_and_version_sets_are_refused() {
    let w = world().await;
    w.start("a").await;
    let polls_as = |use_versioning| PollWorkflowTaskQueueRequest {
        worker_version_capabilities: Some(WorkerVersionCapabilities { build_id: "1.0".into(), use_versioning, ..Default::default() }),
        ..poll_request()
    };
    let refused = w.engine.poll_workflow_task(polls_as(true), None).await.unwrap_err();
    let disabled = "Worker versioning v0.1 (Version Set-based, deprecated) is disabled on this namespace.";
    assert_eq!(refused, Refusal::PermissionDenied(disabled.into()));
    let activities = PollActivityTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(queue()),
        worker_version_capabilities: polls_as(true).worker_version_capabilities,
        ..Default::default()
    };
    assert_eq!(w.engine.poll_activity_task(activities, None).await.unwrap_err(), Refusal::PermissionDenied(disabled.into()));
    let task = w.engine.poll_workflow_task(polls_as(false), None).await.unwrap();
    let stamp = match task.history.unwrap().events().unwrap().remove(2).attributes.unwrap() {
        EventAttributes::WorkflowTaskStartedEventAttributes(started) => started.worker_version.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((stamp.build_id.as_str(), stamp.use_versioning), ("1.0", false));
}

#[tokio::test]
async fn describe_shows_pollers_and_backlog() {
    let w = world().await;
    w.start("a").await;
    let description = w.describe_queue(describe(TaskQueueType::Workflow)).await;
    assert_eq!(description.stats.unwrap().approximate_backlog_count, 1);
    assert!(description.pollers.is_empty());
    w.poll().await;
    let description = w.describe_queue(describe(TaskQueueType::Unspecified)).await;
    assert_eq!(description.stats.unwrap().approximate_backlog_count, 0);
    assert_eq!(description.pollers[0].identity, "worker");
    assert_eq!(description.versioning_info.unwrap().current_version, "__unversioned__");
    assert_eq!((description.config, description.task_queue_status), (None, None));
}

#[tokio::test]
async fn describe_shows_what_waits_by_priority() {
    let w = world().await;
    w.with_activities([1, 3, 3, 0, 5]).await;
    w.advance(Span::seconds(4)).await;
    let request = DescribeTaskQueueRequest { include_task_queue_status: true, ..describe(TaskQueueType::Activity) };
    let description = w.describe_queue(request).await;
    let stats = description.stats.unwrap();
    assert_eq!(stats.approximate_backlog_count, 5);
    assert_eq!(stats.approximate_backlog_age, Some(Span::seconds(4).to_api()));
    assert!((stats.tasks_add_rate - 1.25).abs() < 0.01, "{}", stats.tasks_add_rate);
    assert!(stats.tasks_dispatch_rate == 0.0 && !stats.rate_limiting_active);
    let by_priority: Vec<_> = description.stats_by_priority_key.iter().map(|(key, s)| (*key, s.approximate_backlog_count)).collect();
    assert_eq!(by_priority, [(1, 1), (3, 3), (5, 1)]);
    let status = description.task_queue_status.unwrap();
    assert_eq!(status.backlog_count_hint, 5);
    let rate = description.effective_rate_limit.unwrap();
    assert_eq!((rate.rate_limit_source(), f64::from(rate.requests_per_second)), (RateLimitSource::System, status.rate_per_second));
    // All of it goes, in order, and nothing is left.
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(w.poll_activity().await.activity_id);
    }
    assert_eq!(order, ["0", "1", "2", "3", "4"]);
    w.advance(Span::seconds(40)).await;
    let stats = w.describe_queue(describe(TaskQueueType::Activity)).await.stats.unwrap();
    assert_eq!(
        stats,
        sempre_api::v1::taskqueue::TaskQueueStats { approximate_backlog_age: Some(Span::ZERO.to_api()), ..Default::default() }
    );
}

#[tokio::test]
async fn describe_shows_a_worker_within_a_second_and_for_five_minutes() {
    let w = world().await;
    let poll = w.poll_activities("k", Some(7.5));
    w.settle().await;
    let pollers = w.describe_queue(describe(TaskQueueType::Activity)).await.pollers;
    assert_eq!((pollers.len(), pollers[0].identity.as_str(), pollers[0].rate_per_second), (1, "worker-k", 7.5));
    assert_eq!(pollers[0].deployment_options.as_ref().unwrap().build_id, "b1");
    w.advance(Span::seconds(60)).await;
    assert!(soon(poll).await.unwrap().task_token.is_empty());
    let ended = w.engine.now();
    w.advance(Span::seconds(299)).await;
    let pollers = w.describe_queue(describe(TaskQueueType::Activity)).await.pollers;
    assert_eq!(pollers[0].last_access_time, Some(ended.to_api()), "until its poll ended");
    w.advance(Span::seconds(2)).await;
    assert!(w.describe_queue(describe(TaskQueueType::Activity)).await.pollers.is_empty());
}

#[tokio::test]
async fn describe_in_the_enhanced_mode_knows_workers_without_version() {
    let w = world().await;
    w.with_activities([3, 3]).await;
    let request = DescribeTaskQueueRequest {
        api_mode: DescribeTaskQueueMode::Enhanced as i32,
        report_pollers: true,
        report_task_reachability: true,
        ..describe(TaskQueueType::Unspecified)
    };
    let versions = w.describe_queue(request.clone()).await.versions_info;
    assert_eq!(versions.keys().collect::<Vec<_>>(), [""]);
    let types = &versions[""].types_info;
    assert_eq!(types[&1].pollers[0].identity, "worker");
    assert_eq!(types[&2].stats.as_ref().unwrap().approximate_backlog_count, 2);
    assert_eq!(versions[""].task_reachability, 1);
    let other = TaskQueueVersionSelection { build_ids: vec!["x".into()], ..Default::default() };
    let versions = w.describe_queue(DescribeTaskQueueRequest { versions: Some(other), ..request }).await.versions_info;
    assert_eq!(versions["x"].types_info[&2].stats.as_ref().unwrap().approximate_backlog_count, 0);
}

#[tokio::test]
async fn descriptions_that_make_no_sense_are_refused() {
    let w = world().await;
    let named = |name: &str, kind| Some(TaskQueue { name: name.into(), kind, ..Default::default() });
    let base = || describe(TaskQueueType::Workflow);
    let enhanced = || DescribeTaskQueueRequest { api_mode: DescribeTaskQueueMode::Enhanced as i32, ..base() };
    let cases = [
        (DescribeTaskQueueRequest { task_queue: None, ..base() }, "taskQueue is not set"),
        (DescribeTaskQueueRequest { task_queue: named("", 1), ..base() }, "missing task queue name"),
        (
            DescribeTaskQueueRequest { task_queue: named("/_sys/q/1", 1), ..base() },
            "DescribeTaskQueue stats are only supported for the root partition",
        ),
        (
            DescribeTaskQueueRequest { task_queue: named("q", 2), ..base() },
            "DescribeTaskQueue stats are only supported for the root partition",
        ),
        (DescribeTaskQueueRequest { task_queue: named("/_sys/q", 1), ..base() }, "invalid task queue partition name /_sys/q"),
        (
            DescribeTaskQueueRequest { task_queue: named("/_sys/q/1", 1), ..enhanced() },
            "task queue name cannot start with reserved prefix /_sys/",
        ),
        (
            DescribeTaskQueueRequest { task_queue: named("q", 2), ..enhanced() },
            "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal queue.",
        ),
    ];
    for (request, text) in cases {
        assert_eq!(w.refused_description(request).await, text);
    }
    // Other partitions and Nexus queues are empty.
    let empty = DescribeTaskQueueRequest { task_queue: named("/_sys/q/1", 1), report_stats: false, ..base() };
    assert!(w.describe_queue(empty).await.pollers.is_empty());
    assert_eq!(w.describe_queue(describe(TaskQueueType::Nexus)).await.stats.unwrap().approximate_backlog_count, 0);
}

#[tokio::test]
async fn a_queue_is_one_partition() {
    let w = world().await;
    let request = ListTaskQueuePartitionsRequest { namespace: NAMESPACE.into(), task_queue: Some(queue()) };
    let listed = soon(w.engine.list_task_queue_partitions(request, "host:1")).await.unwrap();
    assert_eq!(listed.activity_task_queue_partitions, listed.workflow_task_queue_partitions);
    let [partition] = &listed.workflow_task_queue_partitions[..] else { panic!("{listed:?}") };
    assert_eq!((partition.key.as_str(), partition.owner_host_name.as_str()), (QUEUE, "host:1"));
    let none = ListTaskQueuePartitionsRequest { namespace: NAMESPACE.into(), task_queue: None };
    assert_eq!(w.engine.list_task_queue_partitions(none, "").await.unwrap_err(), Refusal::invalid("taskQueue is not set"));
}

#[tokio::test]
async fn a_worker_that_shuts_down_has_its_polls_ended() {
    let w = world().await;
    let (workflows, activities, other) = (w.poll_workflows("k1"), w.poll_activities("k1", None), w.poll_activities("k2", None));
    w.settle().await;
    let request = ShutdownWorkerRequest {
        namespace: NAMESPACE.into(),
        task_queue: QUEUE.into(),
        worker_instance_key: "k1".into(),
        identity: "worker-k1".into(),
        ..Default::default()
    };
    soon(w.engine.shutdown_worker(request)).await.unwrap();
    assert_eq!(soon(workflows).await.unwrap(), PollWorkflowTaskQueueResponse::default());
    assert_eq!(soon(activities).await.unwrap(), PollActivityTaskQueueResponse::default());
    assert!(!other.is_finished());
    let shown = w.describe_queue(describe(TaskQueueType::Activity)).await.pollers;
    assert_eq!(shown.iter().map(|p| p.identity.as_str()).collect::<Vec<_>>(), ["worker-k2"]);
    // A poll that was on its way ends at once, without the task that waits.
    w.start("a").await;
    assert!(soon(w.poll_workflows("k1")).await.unwrap().task_token.is_empty());
    assert_eq!(w.poll().await.workflow_execution.unwrap().workflow_id, "a");
}

#[tokio::test]
async fn polls_outlive_shutdown_when_that_is_switched_off_or_no_process_is_named() {
    let request = |key: &str, task_queue: &str| ShutdownWorkerRequest {
        namespace: NAMESPACE.into(),
        task_queue: task_queue.into(),
        worker_instance_key: key.into(),
        ..Default::default()
    };
    let off = world_with(Settings { end_polls_on_shutdown: false, ..settings() }).await;
    let on = world().await;
    for (w, request) in [(&off, request("k", QUEUE)), (&on, request("", QUEUE)), (&on, request("k", ""))] {
        let poll = w.poll_workflows("k");
        w.settle().await;
        soon(w.engine.shutdown_worker(request)).await.unwrap();
        w.settle().await;
        assert!(!poll.is_finished());
        poll.abort();
        w.settle().await;
    }
}

#[tokio::test]
async fn ten_activities_at_one_a_second_take_nine_seconds() {
    let w = world().await;
    w.with_activities([3; 10]).await;
    let begun = w.engine.now();
    let mut order = Vec::new();
    while order.len() < 10 {
        let poll = w.poll_activities("k", Some(1.0));
        w.settle().await;
        while !poll.is_finished() {
            let stats = w.describe_queue(describe(TaskQueueType::Activity)).await.stats.unwrap();
            assert!(stats.rate_limiting_active);
            w.advance(Span::millis(100)).await;
        }
        order.push(poll.await.unwrap().activity_id);
    }
    assert_eq!(w.engine.now().since(begun), Span::seconds(9));
    assert_eq!(order, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    let rate = w.describe_queue(describe(TaskQueueType::Activity)).await.effective_rate_limit.unwrap();
    assert_eq!((rate.rate_limit_source(), rate.requests_per_second), (RateLimitSource::Worker, 1.0));
}

#[tokio::test]
async fn a_queue_stopped_by_hand_stays_stopped_after_a_restart() {
    let mut w = world().await;
    let updated = soon(w.engine.update_task_queue_config(rate_update(Some(0.0)))).await.unwrap().config;
    w.with_activities([3]).await;
    for restart in [false, true] {
        if restart {
            w.reopen().await;
        }
        let description = w.describe_queue(describe(TaskQueueType::Activity)).await;
        assert_eq!(description.config, updated);
        let rate = description.effective_rate_limit.unwrap();
        assert_eq!((rate.rate_limit_source(), rate.requests_per_second), (RateLimitSource::Api, 0.0));
        let poll = w.poll_activities("k", Some(100.0));
        w.advance(Span::seconds(30)).await;
        assert!(!poll.is_finished());
        if restart {
            // A poll that waits gets its task as soon as the limit is taken back.
            let config = soon(w.engine.update_task_queue_config(rate_update(None))).await.unwrap().config.unwrap();
            let limit = config.queue_rate_limit.unwrap();
            assert_eq!((limit.rate_limit, limit.metadata.unwrap().update_identity.as_str()), (None, "operator"));
            assert_eq!(soon(poll).await.unwrap().activity_id, "0");
        } else {
            poll.abort();
            w.settle().await;
        }
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let w = world().await;
    let base = || rate_update(Some(1.0));
    let weights = |key: &str, weight| std::collections::BTreeMap::from([(key.to_owned(), weight)]);
    let invalid = [
        (
            UpdateTaskQueueConfigRequest { task_queue_type: TaskQueueType::Workflow as i32, ..base() },
            "Setting rate limit on workflow task queues is not allowed.",
        ),
        (rate_update(Some(-1.0)), "RequestsPerSecond for UpdateQueueRateLimit rate limit must be non-negative."),
        (UpdateTaskQueueConfigRequest { identity: "i".repeat(1001), ..base() }, "Identity field too long (max 1000 characters)."),
        (UpdateTaskQueueConfigRequest { task_queue: String::new(), ..base() }, "missing task queue name"),
        (UpdateTaskQueueConfigRequest { task_queue_type: 0, ..base() }, "TaskQueueType must be workflow, activity or nexus."),
        (
            UpdateTaskQueueConfigRequest { set_fairness_weight_overrides: weights("", 1.0), ..base() },
            "fairness weight override key must not be empty",
        ),
        (
            UpdateTaskQueueConfigRequest { set_fairness_weight_overrides: weights("a", 0.0), ..base() },
            "invalid fairness weight weight for key \"a\": must be greater than zero",
        ),
        (
            UpdateTaskQueueConfigRequest {
                set_fairness_weight_overrides: weights("a", 1.0),
                unset_fairness_weight_overrides: vec!["a".into()],
                ..base()
            },
            "fairness weight override key \"a\" present in both set and unset lists",
        ),
    ];
    for (request, text) in invalid {
        assert_eq!(soon(w.engine.update_task_queue_config(request)).await.unwrap_err(), Refusal::invalid(text));
    }
    assert_eq!(w.describe_queue(describe(TaskQueueType::Activity)).await.config, None);
}

#[tokio::test]
async fn tasks_say_how_many_polls_would_be_right() {
    let w = world().await;
    w.start("a").await;
    w.start("b").await;
    w.advance(Span::millis(300)).await;
    let decision = |delta| Some(PollerScalingDecision { poll_request_delta_suggestion: delta });
    let task = w.poll().await;
    assert_eq!((task.backlog_count_hint, task.poller_scaling_decision), (1, decision(1)));
    w.complete(&task.task_token, done()).await;
    w.advance(Span::seconds(60)).await;
    let task = w.poll().await;
    assert_eq!((task.backlog_count_hint, task.poller_scaling_decision), (0, None), "nothing waits any more");
    w.complete(&task.task_token, done()).await;
    let waiting = w.poll_beside();
    w.advance(Span::seconds(1)).await;
    w.start("c").await;
    assert_eq!(soon(waiting).await.unwrap().poller_scaling_decision, decision(-1));
}

#[tokio::test]
async fn the_data_has_a_name_for_ever() {
    let mut w = world().await;
    let id = w.engine.cluster_id().to_owned();
    assert_eq!(id.len(), 36);
    w.reopen().await;
    assert_eq!(w.engine.cluster_id(), id);
}

fn fair_activity(id: &str, key: &str) -> sempre_api::v1::command::Command {
    let mut command = activity(id, 0);
    if let Some(Attributes::ScheduleActivityTaskCommandAttributes(a)) = &mut command.attributes {
        a.priority = Some(Priority { fairness_key: key.into(), ..Default::default() });
    }
    command
}

#[tokio::test]
async fn keys_share_a_queue_by_the_weights_set_by_hand_also_after_a_restart() {
    let mut w = world().await;
    let weights = UpdateTaskQueueConfigRequest {
        update_queue_rate_limit: None,
        set_fairness_weight_overrides: [("heavy".to_owned(), 3.0), ("gone".to_owned(), 9.0)].into(),
        ..rate_update(None)
    };
    soon(w.engine.update_task_queue_config(weights)).await.unwrap();
    let unset = UpdateTaskQueueConfigRequest {
        update_queue_rate_limit: None,
        unset_fairness_weight_overrides: vec!["gone".into()],
        ..rate_update(None)
    };
    let config = soon(w.engine.update_task_queue_config(unset)).await.unwrap().config.unwrap();
    assert_eq!(config.fairness_weight_overrides, [("heavy".to_owned(), 3.0)].into());
    w.start("a").await;
    let task = w.poll().await;
    let ids = (0..12).map(|n| format!("{n}"));
    let light = ids.clone().map(|id| fair_activity(&format!("light-{id}"), "light"));
    let heavy = ids.map(|id| fair_activity(&format!("heavy-{id}"), "heavy"));
    w.complete(&task.task_token, light.chain(heavy).collect()).await;
    for round in 0..3 {
        let mut heavy = 0;
        for _ in 0..4 {
            heavy += usize::from(w.poll_activity().await.activity_id.starts_with("heavy"));
        }
        assert_eq!(heavy, 3, "round {round}");
        w.reopen().await;
    }
    w.settle().await;
    assert_eq!(w.describe_queue(describe(TaskQueueType::Activity)).await.stats.unwrap().approximate_backlog_count, 12);
    assert_eq!(w.describe_queue(describe(TaskQueueType::Activity)).await.config, Some(config));
    // Those that are cancelled with their run leave no rows.
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    w.settle().await;
    assert_eq!(w.describe_queue(describe(TaskQueueType::Activity)).await.stats.unwrap().approximate_backlog_count, 0);
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
}

#[tokio::test]
async fn each_key_has_a_rate_set_by_hand() {
    let w = world().await;
    let limit = UpdateTaskQueueConfigRequest {
        update_queue_rate_limit: None,
        update_fairness_key_rate_limit_default: rate_update(Some(1.0)).update_queue_rate_limit,
        ..rate_update(None)
    };
    let config = soon(w.engine.update_task_queue_config(limit)).await.unwrap().config.unwrap();
    assert_eq!(config.fairness_keys_rate_limit_default.unwrap().rate_limit.unwrap().requests_per_second, 1.0);
    w.start("a").await;
    let task = w.poll().await;
    let commands = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")].map(|(id, key)| fair_activity(id, key));
    w.complete(&task.task_token, commands.into()).await;
    let mut first = [w.poll_activity().await.activity_id, w.poll_activity().await.activity_id];
    first.sort();
    assert_eq!(first, ["a1", "b1"]);
    let poll = w.poll_activities("k", None);
    w.advance(Span::millis(900)).await;
    assert!(!poll.is_finished());
    w.advance(Span::millis(100)).await;
    assert!(!soon(poll).await.unwrap().activity_id.is_empty());
}
