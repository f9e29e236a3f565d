//! Workers poll one node, and are given the tasks of all runs.

use std::time::{Duration, Instant};

use sempre_api::v1::{
    deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion},
    enums::WorkerVersioningMode,
    taskqueue::TaskQueue,
    workflowservice::{DeleteWorkerDeploymentVersionRequest, ListWorkerDeploymentsRequest, PollWorkflowTaskQueueRequest},
};
use sempre_core::{Refusal, Span, transition::QueueKind};
use sempre_engine::singles;

use super::{
    clients::{Clients, NAMESPACE},
    host::{Host, OUTSIDE, SHARDS, Town},
    moves::{begin, some_more},
};

const LEASE: Duration = Duration::from_secs(2);

#[test]
fn workers_of_one_node_do_the_work_of_all_and_have_it_at_once() {
    let Some(town) = Town::new(LEASE) else { return };
    let first = Host::join(&town, "a");
    town.until("the first has everything", Town::is_settled);
    let clients = Clients::new(&town, &first.member);
    let mut hosts = vec![first, Host::join(&town, "b"), Host::join(&town, "c")];
    town.until("the shards are shared", Town::is_settled);
    // The home of the queue that nobody serves: one poll at a time, and a run of each shard in turn.
    let queue = TaskQueue { name: "nobody".into(), ..Default::default() };
    let home = clients.home_of("nobody", QueueKind::Workflow);
    let mut took: Vec<Duration> = Vec::new();
    for n in 0..2 * SHARDS {
        let id = clients.id_of(n % SHARDS, &format!("quick-{n}"));
        let engine = town.owner(home).unwrap();
        let request = PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: Some(queue.clone()), ..Default::default() };
        let (task, since) = OUTSIDE.block_on(async {
            let poll = tokio::spawn(async move { (engine.poll_workflow_task(request, None).await, Instant::now()) });
            clients.start_idle(&id).await;
            let since = Instant::now();
            let (task, at) = poll.await.unwrap();
            (task.unwrap(), at.saturating_duration_since(since))
        });
        assert_eq!(task.workflow_execution.unwrap().workflow_id, id);
        took.push(since);
    }
    took.sort();
    println!(
        "a waiting poll had the task {:?} after the start was answered, {:?} at the latest",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() / 2] < Duration::from_millis(200), "{took:?}");
    // Workers of one node alone, while others come and go, and homes with them.
    let worked = Host::join(&town, "d");
    clients.serve(&worked.member);
    let load = clients.go(4);
    some_more(&town, &clients, 8);
    hosts.remove(0).drain();
    some_more(&town, &clients, 8);
    hosts.remove(0).kill();
    some_more(&town, &clients, 8);
    println!("{}", clients.stop(load));
    hosts.into_iter().chain([worked]).for_each(Host::drain);
}

#[test]
fn a_version_is_put_on_record_wherever_its_workers_poll() {
    let Some((town, clients, hosts)) = begin(&["a", "b"], LEASE) else { return };
    let owner = town.owner(singles::DEPLOYMENTS).unwrap();
    let is_away = |name: &String| town.owner(clients.home_of(name, QueueKind::Workflow)).unwrap().process() != owner.process();
    let name = (0..).map(|n| format!("queue-{n}")).find(is_away).unwrap();
    let home = town.owner(clients.home_of(&name, QueueKind::Workflow)).unwrap();
    let options = WorkerDeploymentOptions {
        deployment_name: "orders".into(),
        build_id: "1".into(),
        worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
    };
    let request = PollWorkflowTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(TaskQueue { name, ..Default::default() }),
        deployment_options: Some(options),
        ..Default::default()
    };
    let deadline = home.wall_now() + Span::seconds(2);
    let polled = OUTSIDE.block_on(home.poll_workflow_task(request, Some(deadline))).unwrap();
    assert!(polled.task_token.is_empty());
    let request = ListWorkerDeploymentsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let known = OUTSIDE.block_on(owner.list_deployments(request)).unwrap().worker_deployments;
    assert_eq!(known.iter().map(|deployment| deployment.name.as_str()).collect::<Vec<_>>(), ["orders"]);
    // Its polls are known at the home, which is asked.
    let version = WorkerDeploymentVersion { deployment_name: "orders".into(), build_id: "1".into() };
    let request = || DeleteWorkerDeploymentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_version: Some(version.clone()),
        ..Default::default()
    };
    let refused = OUTSIDE.block_on(owner.delete_deployment_version(request())).unwrap_err();
    assert!(matches!(&refused, Refusal::FailedPrecondition(text) if text.ends_with("has active pollers")), "{refused:?}");
    hosts.into_iter().for_each(Host::drain);
}
