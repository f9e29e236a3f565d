//! `task-queue …`, `worker …`, `activity …`.

use sempre_api::v1::{worker::WorkerHeartbeat, workflowservice::RecordWorkerHeartbeatRequest};

use super::{Server, poll};

#[tokio::test]
async fn task_queues() {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "v"]);
    poll(&mut server.client().await, "queue").await;
    let described = server.json(&["task-queue", "describe", "-t", "queue"]);
    assert_eq!(described["pollers"][0]["identity"], "tester");
    assert_eq!(described["stats"][0]["approximateBacklogCount"], 1);
    let text = server.text(&["task-queue", "describe", "-t", "queue", "--task-queue-type", "workflow"]);
    assert!(text.starts_with("Task Queue Statistics:\n  Type") && text.contains("tester"), "{text}");
    assert!(server.text(&["task-queue", "list-partition", "-t", "queue"]).contains("queue"));
    let set = ["task-queue", "config", "set", "-t", "queue", "--task-queue-type", "activity", "--queue-rps-limit", "5"];
    server.text(&[&set[..], &["--queue-rps-limit-reason", "slow bank"]].concat());
    let got = server.text(&["task-queue", "config", "get", "-t", "queue", "--task-queue-type", "activity"]);
    assert!(got.contains("5 a second, set ") && got.contains("by sempre-cli:tester@here: slow bank\n"), "{got}");
}

#[tokio::test]
async fn workers() {
    let server = Server::start();
    let heartbeat = WorkerHeartbeat {
        worker_instance_key: "key-1".into(),
        worker_identity: "w@h".into(),
        task_queue: "queue".into(),
        status: 1,
        ..Default::default()
    };
    let request = RecordWorkerHeartbeatRequest { namespace: "default".into(), worker_heartbeat: vec![heartbeat], ..Default::default() };
    server.client().await.record_worker_heartbeat(request).await.expect("heard");
    assert!(server.text(&["worker", "list"]).contains("key-1"));
    assert_eq!(server.json(&["worker", "list"])[0]["workerIdentity"], "w@h");
    assert_eq!(server.text(&["worker", "count"]), "Total: 1\n");
    assert!(server.text(&["worker", "describe", "--worker-instance-key", "key-1"]).contains("Running"));
}

#[test]
fn worker_deployments() {
    let server = Server::start();
    let deployment = |line: &[&str]| server.text(&[&["worker", "deployment"], line].concat());
    let one = ["--deployment-name", "pay", "--build-id", "1"];
    assert_eq!(deployment(&["create", "--name", "pay"]), "Worker deployment created\n");
    assert_eq!(deployment(&[&["create-version"], &one[..]].concat()), "Worker deployment version created\n");
    assert_eq!(deployment(&[&["set-current-version", "--yes"], &one[..]].concat()), "Current version set\n");
    let two = ["--deployment-name", "pay", "--build-id", "2", "--percentage", "5", "--yes", "--allow-no-pollers"];
    assert_eq!(deployment(&[&["set-ramping-version"], &two[..]].concat()), "Ramping version set\n");
    assert_eq!(deployment(&[&["update-version-metadata", "--metadata", "who=\"me\""], &one[..]].concat()), "Metadata updated\n");
    let listed = deployment(&["list"]);
    assert!(listed.contains("pay") && listed.contains("2 5 %"), "{listed}");
    let described = server.json(&["worker", "deployment", "describe", "--name", "pay"]);
    assert_eq!(described["workerDeploymentInfo"]["routingConfig"]["currentDeploymentVersion"]["buildId"], "1");
    let version = deployment(&[&["describe-version"], &one[..]].concat());
    assert!(version.contains("Current") && version.contains("who=\"me\""), "{version}");
    assert_eq!(
        deployment(&["manager-identity", "set", "--deployment-name", "pay", "--manager-identity", "boss"]),
        "Manager identity set\n"
    );
    let (_, told) = server
        .failure(&[&["worker", "deployment", "set-current-version", "--yes", "--unversioned", "--deployment-name", "pay"][..]].concat());
    assert!(told.contains("ManagerIdentity 'boss' is set"), "{told}");
    assert_eq!(deployment(&["manager-identity", "unset", "--deployment-name", "pay"]), "Manager identity set\n");
    assert_eq!(deployment(&["set-ramping-version", "--deployment-name", "pay", "--delete", "--yes"]), "Ramping version unset\n");
    let (_, told) = server.failure(&[&["worker", "deployment", "delete-version"], &one[..]].concat());
    assert!(told.contains("version 'pay:1' cannot be deleted since it is current or ramping"), "{told}");
}

#[test]
fn an_activity_that_is_not_there() {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    for line in [
        &["activity", "complete", "-a", "x", "-w", "w", "--result", "1"][..],
        &["activity", "fail", "-a", "x", "-w", "w", "--reason", "r"],
        &["activity", "pause", "-a", "x", "-w", "w"],
        &["activity", "unpause", "-a", "x", "-w", "w"],
        &["activity", "reset", "-a", "x", "-w", "w"],
        &["activity", "update-options", "-a", "x", "-w", "w", "--heartbeat-timeout", "1m"],
    ] {
        let (code, told) = server.failure(line);
        assert_eq!(code, Some(1), "{line:?}: {told}");
        assert!(told.to_lowercase().contains("activity"), "{line:?}: {told}");
    }
    let (code, told) = server.failure(&["activity", "update-options", "-a", "x", "-w", "w"]);
    assert_eq!((code, told.starts_with("no option is given")), (Some(2), true), "{told}");
}
