//! What is done to runs of all nodes from one of them: by schedules, by batch jobs, and when a namespace is deleted.

use std::time::Duration;

use sempre_api::v1::{
    batch::BatchOperationSignal,
    common::WorkflowType,
    enums::{BatchOperationState, ScheduleOverlapPolicy as Policy},
    schedule::{IntervalSpec, Schedule, ScheduleAction, SchedulePolicies, ScheduleSpec, ScheduleState, schedule_action::Action},
    workflow::NewWorkflowExecutionInfo,
    workflowservice::{start_batch_operation_request::Operation, *},
};
use sempre_core::Span;
use sempre_engine::singles;

use super::{
    clients::{NAMESPACE, queue},
    host::{Host, OUTSIDE, SHARDS, Town},
    moves::{begin, some_more},
};

const LEASE: Duration = Duration::from_secs(2);

/// Starts a run at each interval, if the one before has ended: that, too, has to come here from wherever it was.
fn every_second() -> Schedule {
    let interval = IntervalSpec { interval: Some(Span::seconds(1).to_api()), phase: None };
    let action = NewWorkflowExecutionInfo {
        workflow_id: "scheduled".into(),
        workflow_type: Some(WorkflowType { name: "Short".into() }),
        task_queue: queue(),
        workflow_task_timeout: Some(Span::seconds(2).to_api()),
        ..Default::default()
    };
    Schedule {
        spec: Some(ScheduleSpec { interval: vec![interval], ..Default::default() }),
        action: Some(ScheduleAction { action: Some(Action::StartWorkflow(action)) }),
        policies: Some(SchedulePolicies { overlap_policy: Policy::BufferAll as i32, ..Default::default() }),
        state: Some(ScheduleState::default()),
    }
}

#[test]
fn a_schedule_starts_runs_of_all_nodes_and_hears_of_their_ends_also_when_it_moves() {
    let Some((town, clients, mut hosts)) = begin(&["a", "b", "c"], LEASE) else { return };
    let create = CreateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: "s".into(),
        schedule: Some(every_second()),
        request_id: "create".into(),
        ..Default::default()
    };
    let created = clients.call_at(singles::SCHEDULES, "s", |engine| {
        let create = create.clone();
        async move { engine.create_schedule(create).await.map(drop) }
    });
    OUTSIDE.block_on(created).unwrap();
    let describe = || {
        let described = clients.call_at(singles::SCHEDULES, "s", |engine| async move {
            let request = DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: "s".into() };
            engine.describe_schedule(request).await
        });
        OUTSIDE.block_on(described).unwrap().info.unwrap()
    };
    town.until("some runs were started", |_| describe().action_count >= 4);
    // The node of schedules dies, then another drains.
    let at = hosts.iter().position(|host| host.member.serves().contains(&singles::SCHEDULES)).unwrap();
    hosts.remove(at).kill();
    let before = describe().action_count;
    town.until("it goes on", |_| describe().action_count >= before + 3);
    hosts.remove(0).drain();
    let before = describe().action_count;
    town.until("it goes on", |_| describe().action_count >= before + 2);
    let info = describe();
    let started: Vec<String> =
        info.recent_actions.iter().map(|action| action.start_workflow_result.as_ref().unwrap().workflow_id.clone()).collect();
    let shards: std::collections::BTreeSet<u32> = started.iter().map(|id| clients.shard(id)).collect();
    assert!(shards.len() > 2, "{started:?}");
    // All but those of now have ended, and it has heard of that.
    assert!(info.running_workflows.len() <= 1 && info.buffer_size <= 2, "{info:?}");
    assert_eq!(info.overlap_skipped, 0);
    hosts.into_iter().for_each(Host::drain);
}

#[test]
fn a_batch_job_acts_on_the_runs_of_all_nodes_also_when_it_moves() {
    let Some((town, clients, mut hosts)) = begin(&["a", "b", "c"], LEASE) else { return };
    let load = clients.go(2);
    some_more(&town, &clients, 2);
    let ids: Vec<String> = (0..3 * SHARDS).map(|n| clients.id_of(n % SHARDS, &format!("idle-{n}"))).collect();
    OUTSIDE.block_on(async {
        for id in &ids {
            clients.start_idle(id).await;
        }
    });
    let signal = BatchOperationSignal { signal: "batch".into(), identity: "operator".into(), ..Default::default() };
    let start = StartBatchOperationRequest {
        namespace: NAMESPACE.into(),
        job_id: "job".into(),
        reason: "a reason".into(),
        visibility_query: "WorkflowId STARTS_WITH 'idle-'".into(),
        max_operations_per_second: 12.0,
        operation: Some(Operation::SignalOperation(signal)),
        ..Default::default()
    };
    let started = clients.call_at(singles::BATCH_JOBS, "job", |engine| {
        let start = start.clone();
        async move { engine.start_batch(start).await.map(drop) }
    });
    OUTSIDE.block_on(started).unwrap();
    let describe = |_: &Town| {
        let described = clients.call_at(singles::BATCH_JOBS, "job", |engine| async move {
            let request = DescribeBatchOperationRequest { namespace: NAMESPACE.into(), job_id: "job".into() };
            engine.describe_batch(request).await
        });
        OUTSIDE.block_on(described).unwrap()
    };
    // In the midst of it the node of batch jobs dies; another has what was noted.
    OUTSIDE.block_on(async { tokio::time::sleep(Duration::from_millis(800)).await });
    let at = hosts.iter().position(|host| host.member.serves().contains(&singles::BATCH_JOBS)).unwrap();
    hosts.remove(at).kill();
    town.until("the job has ended", |town| describe(town).state() != BatchOperationState::Running);
    let job = describe(&town);
    assert_eq!((job.state(), job.failure_operation_count), (BatchOperationState::Completed, 0), "{job:?}");
    for id in &ids {
        let events = OUTSIDE.block_on(clients.history(id));
        let signals = events.iter().filter(|event| event.event_type == sempre_api::v1::enums::EventType::WorkflowExecutionSignaled as i32);
        assert_eq!(signals.count(), 1, "{id}");
    }
    println!("{}", clients.stop(load));
    hosts.into_iter().for_each(Host::drain);
}
