//! `sempre store check` on folders that servers left.

use std::path::Path;

use sempre_api::v1::{
    common::WorkflowType,
    taskqueue::TaskQueue,
    workflowservice::{PollWorkflowTaskQueueRequest, StartWorkflowExecutionRequest, workflow_service_client::WorkflowServiceClient},
};
use sempre_store::{
    CommitBatch, Fence, Store, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
};
use tonic::transport::Endpoint;

use crate::support::{Running, Scratch, failure, output};

/// A folder with two open runs; one has a task in a worker's hands, one waits. The server was killed.
async fn folder(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.path("data");
    let server = Running::on(&folder);
    let endpoint = Endpoint::new(format!("http://{}", server.address)).expect("a URL");
    let mut client = WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"));
    let queue = || Some(TaskQueue { name: "queue".into(), ..Default::default() });
    for id in ["a", "b"] {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: id.into(),
            workflow_type: Some(WorkflowType { name: "Type".into() }),
            task_queue: queue(),
            request_id: id.into(),
            ..Default::default()
        };
        client.start_workflow_execution(request).await.expect("started");
    }
    let mut request =
        tonic::Request::new(PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() });
    request.set_timeout(std::time::Duration::from_secs(20));
    let task = client.poll_workflow_task_queue(request).await.expect("polled").into_inner();
    assert_eq!(task.started_event_id, 3);
    assert!(failure(["store".as_ref(), "check".as_ref(), folder.as_os_str()]).contains("in use"), "a server uses it");
    #[cfg(unix)]
    server.signal("KILL");
    drop(server);
    folder
}

fn check(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let args = ["store".as_ref(), "check".as_ref(), folder.as_os_str()].into_iter().chain(more.iter().map(|arg| arg.as_ref()));
    let output = output(args);
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

#[tokio::test]
async fn a_folder_that_a_killed_server_left_is_whole() {
    let scratch = Scratch::new();
    let folder = folder(&scratch).await;
    for _ in 0..2 {
        let (code, told) = check(&folder, &[]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.starts_with("2 runs (2 open), 5 events of "), "{told}");
        assert!(told.contains("2 current-run pointers, 1 offers, 1 deadlines, 0 messages, 0 schedules\n0 problems, "), "{told}");
    }
    // Nothing was changed: a server goes on with it.
    Running::on(&folder);
}

#[tokio::test]
async fn a_row_that_was_tampered_with_is_found() {
    let scratch = Scratch::new();
    let folder = folder(&scratch).await;
    tamper(&folder).await;
    let (code, told) = check(&folder, &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(": events: event 1 is missing: event 3 follows the one before it\n"), "{told}");
    let (_, told) = check(&folder, &["--json"]);
    let lines: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["what"], &lines[1]["problems"]), (&"events".into(), &1.into()), "{told}");
    let sentence = failure(["store".as_ref(), "check".as_ref(), folder.as_os_str()]);
    assert!(sentence.ends_with(": there is 1 problem."), "{sentence}");
}

/// Takes the first history row of the run that a worker has.
async fn tamper(folder: &Path) {
    let store = EmbeddedStore::open(folder, EmbeddedOptions::default()).expect("a folder");
    let rows = store.scan(Table::History, &[], &[0xff; 40], usize::MAX).await.expect("rows");
    let keys: Vec<_> = rows.iter().map(|(key, _)| key.as_ref()).collect();
    // Rows of one run are neighbours; the run with two rows is the one whose task was started.
    let pair = keys.windows(2).find(|pair| pair[0][..18] == pair[1][..18]).expect("a run with two rows");
    let epoch = store.acquire(0).await.expect("acquired");
    let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
    batch.delete(Table::History, pair[0]);
    store.commit(batch).await.expect("committed");
    store.close().await.expect("closed");
}

#[test]
fn other_folders_are_refused_and_left_alone() {
    let scratch = Scratch::new();
    let folder = scratch.path("nothing");
    let sentence = failure(["store".as_ref(), "check".as_ref(), folder.as_os_str()]);
    assert!(sentence.contains("is not a data folder"), "{sentence}");
    assert!(!folder.exists());
}
