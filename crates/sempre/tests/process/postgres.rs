//! `--store postgres://…`; skipped, with a line that says so, where PostgreSQL is not installed.
#![expect(clippy::disallowed_methods, reason = "a test that hangs is ended by the wall clock")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sempre_api::v1::{
    common::WorkflowType,
    taskqueue::TaskQueue,
    workflowservice::{
        CountWorkflowExecutionsRequest, ListWorkflowExecutionsRequest, PollWorkflowTaskQueueRequest, StartWorkflowExecutionRequest,
        workflow_service_client::WorkflowServiceClient,
    },
};
use sempre_postgres_cluster::Cluster;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Running, Scratch, failure, output};

fn cluster() -> Option<Cluster> {
    Cluster::start().map(|started| started.expect("PostgreSQL starts"))
}

fn start(address: &str, folder: &Path) -> Running {
    let folder = folder.to_str().expect("text");
    Running::start(["server", "start", "--port=0", "--http-port=off", "--store", address, "--data-dir", folder])
}

async fn client(server: &Running) -> WorkflowServiceClient<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address)).expect("a URL");
    WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"))
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "queue".into(), ..Default::default() })
}

async fn begin(client: &mut WorkflowServiceClient<Channel>, id: &str) {
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

/// Polls, and gives the workflow id of the task.
async fn poll(client: &mut WorkflowServiceClient<Channel>) -> String {
    let request = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() };
    let mut request = tonic::Request::new(request);
    request.set_timeout(Duration::from_secs(30));
    client.poll_workflow_task_queue(request).await.expect("polled").into_inner().workflow_execution.expect("a task").workflow_id
}

/// As the index says at once: it is never made anew.
async fn count(client: &mut WorkflowServiceClient<Channel>) -> i64 {
    let request = CountWorkflowExecutionsRequest { namespace: "default".into(), query: String::new() };
    client.count_workflow_executions(request).await.expect("counted").into_inner().count
}

/// After a copy the index has to be made, which is waited for, up to a point.
async fn count_of_copy(client: &mut WorkflowServiceClient<Channel>) -> i64 {
    let request = CountWorkflowExecutionsRequest { namespace: "default".into(), query: String::new() };
    for _ in 0..20 {
        match client.count_workflow_executions(request.clone()).await {
            Ok(counted) => return counted.into_inner().count,
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
        }
    }
    panic!("no index");
}

/// The workflow ids of a list, the latest first.
async fn list(client: &mut WorkflowServiceClient<Channel>, query: &str) -> Vec<String> {
    let request = ListWorkflowExecutionsRequest { namespace: "default".into(), query: query.into(), ..Default::default() };
    let runs = client.list_workflow_executions(request).await.expect("listed").into_inner().executions;
    runs.into_iter().map(|run| run.execution.expect("named").workflow_id).collect()
}

#[tokio::test]
async fn a_killed_server_goes_on_from_the_database() {
    let Some(cluster) = cluster() else { return };
    let (scratch, address) = (Scratch::new(), cluster.address());
    let folder = scratch.path("index");
    let server = start(&address, &folder);
    let place = server.banner.iter().find(|line| line.starts_with("Data:")).expect("told");
    assert!(place.contains("schema test_0 of postgres://"), "{place}");
    let mut one = client(&server).await;
    begin(&mut one, "a").await;
    begin(&mut one, "b").await;
    assert_eq!(count(&mut one).await, 2);
    let check = |what: &[&str]| {
        let output = output(what);
        let told = String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        told
    };
    assert!(check(&["store", "check", &address]).starts_with("2 runs (2 open)"), "while the server goes on");
    let second = failure(["server", "start", "--port=0", "--store", &address, "--data-dir", folder.to_str().expect("text")]);
    assert!(second.contains("is in use by another server (process "), "{second}");
    #[cfg(unix)]
    server.signal("KILL");
    drop(server);

    let begun = Instant::now();
    let server = start(&address, &folder);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut two = client(&server).await;
    assert_eq!(count(&mut two).await, 2);
    let mut polled = [poll(&mut two).await, poll(&mut two).await];
    polled.sort();
    assert_eq!(polled, ["a", "b"]);
    #[cfg(unix)]
    server.signal("TERM");
    assert_eq!(tokio::task::spawn_blocking(|| server.wait()).await.expect("no panic"), Some(0));

    // On another machine, the index is the same one.
    let other = scratch.path("other");
    let server = start(&address, &other);
    let mut three = client(&server).await;
    assert_eq!(count(&mut three).await, 2);
    begin(&mut three, "c").await;
    assert_eq!(list(&mut three, "WorkflowType = 'Type' AND ExecutionStatus = 'Running'").await, ["c", "b", "a"]);
    drop(server);
    assert!(!folder.exists() && !other.exists(), "nothing is kept beside the database");

    let told = check(&["doctor", &address]);
    assert!(told.contains("database: PostgreSQL ") && told.contains("0 problems") && told.contains("is healthy"), "{told}");
}

/// The index is of the same moment as the data, also when that moment comes back.
#[tokio::test]
#[cfg(unix)]
async fn a_database_that_is_restored_has_the_index_of_its_own_state() {
    let Some(cluster) = cluster() else { return };
    let (scratch, address) = (Scratch::new(), cluster.address());
    let stop = async |server: Running| {
        server.signal("TERM");
        assert_eq!(tokio::task::spawn_blocking(|| server.wait()).await.expect("no panic"), Some(0));
    };
    let dump = cluster.folder().join("dump");
    let tool = |name: &str, arguments: &[&str]| {
        let mut command = cluster.command(name);
        command.args(["-U", "admin", "-d", "work", "-h"]).arg(cluster.folder()).args(["-p", &cluster.port().to_string(), "-f"]).arg(&dump);
        let output = command.args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let server = start(&address, &scratch.path("data"));
    let mut one = client(&server).await;
    begin(&mut one, "a").await;
    begin(&mut one, "b").await;
    stop(server).await;
    let server = start(&address, &scratch.path("data"));
    let mut two = client(&server).await;
    begin(&mut two, "c").await;
    // While it works: some of what is there is in the index, some is not yet.
    tool("pg_dump", &["-n", "test_0"]);
    begin(&mut two, "d").await;
    assert_eq!(list(&mut two, "").await, ["d", "c", "b", "a"]);
    stop(server).await;

    cluster.sql("DROP SCHEMA test_0 CASCADE").expect("dropped");
    tool("psql", &["-q", "-v", "ON_ERROR_STOP=1"]);
    let server = start(&address, &scratch.path("data"));
    let mut three = client(&server).await;
    assert_eq!((list(&mut three, "").await, count(&mut three).await), (vec!["c".to_owned(), "b".into(), "a".into()], 3));
    begin(&mut three, "e").await;
    assert_eq!(list(&mut three, "WorkflowId >= 'b'").await, ["e", "c", "b"]);
    stop(server).await;
}

#[tokio::test]
#[cfg(unix)]
async fn data_moves_from_a_folder_to_a_database_and_back() {
    let Some(cluster) = cluster() else { return };
    let (scratch, address) = (Scratch::new(), cluster.address());
    let (folder, back) = (scratch.path("data"), scratch.path("back"));
    let stop = async |server: Running| {
        server.signal("TERM");
        assert_eq!(tokio::task::spawn_blocking(|| server.wait()).await.expect("no panic"), Some(0));
    };
    let server = Running::on(&folder);
    let mut one = client(&server).await;
    begin(&mut one, "a").await;
    begin(&mut one, "b").await;
    let copy = |from: &str, to: &str| {
        let output = output(["store", "copy", from, to]);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (folder, back) = (folder.to_str().expect("text"), back.to_str().expect("text"));
    let (code, told) = copy(folder, &address);
    assert!(code == Some(1) && told.contains("is in use by another process"), "{told}");
    stop(server).await;
    let (code, told) = copy(folder, &address);
    assert!(code == Some(0) && told.contains("copied and compared") && told.contains("0 problems"), "{told}");
    let (code, told) = copy(folder, &address);
    assert!(code == Some(1) && told.contains("holds data already. Nothing was changed"), "{told}");

    let server = start(&address, &scratch.path("index"));
    let mut two = client(&server).await;
    assert_eq!(count_of_copy(&mut two).await, 2);
    assert_eq!(poll(&mut two).await, "a");
    begin(&mut two, "c").await;
    stop(server).await;
    let (code, told) = copy(&address, back);
    assert!(code == Some(0) && told.contains("0 problems"), "{told}");
    let (code, told) = copy(&address, back);
    assert!(code == Some(1) && told.contains("is there already"), "{told}");
    let server = Running::on(back.as_ref());
    let mut three = client(&server).await;
    assert_eq!(count_of_copy(&mut three).await, 3);
    let mut polled = [poll(&mut three).await, poll(&mut three).await];
    polled.sort();
    assert_eq!(polled, ["b", "c"]);
    stop(server).await;
}

#[tokio::test]
async fn clients_only_wait_while_the_database_is_away() {
    let Some(cluster) = cluster() else { return };
    let scratch = Scratch::new();
    let server = start(&cluster.address(), &scratch.path("index"));
    let mut client = client(&server).await;
    begin(&mut client, "before").await;
    cluster.stop("fast").expect("stopped");
    let mut waiting = client.clone();
    let during = tokio::spawn(async move { begin(&mut waiting, "during").await });
    tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || cluster.start_again().expect("started")
    })
    .await
    .expect("no panic");
    during.await.expect("answered");
    begin(&mut client, "after").await;
    assert_eq!(count(&mut client).await, 3);
}

#[test]
fn what_cannot_be_used_is_told_without_the_password() {
    let scratch = Scratch::new();
    let folder = scratch.path("index");
    let start = |address: &str| {
        ["server", "start", "--port=0", "--store", address, "--data-dir", folder.to_str().expect("text")].map(str::to_owned)
    };
    let told = failure(start("mysql://u@localhost/d"));
    assert!(told.contains("begins with postgres://"), "{told}");
    // What everybody can read in the list of processes is warned of.
    let ended = output(start("postgres://u:secret@127.0.0.1:1/d"));
    let told = String::from_utf8(ended.stderr).expect("text");
    assert_eq!((ended.status.code(), told.lines().count()), (Some(1), 2), "{told}");
    assert!(told.contains("the list of processes shows the password") && !told.contains("secret"), "{told}");
    assert!(told.contains("error: cannot connect to schema sempre of postgres://127.0.0.1:1/d"), "{told}");
    let long = ["server", "start", "--store=postgres://u@127.0.0.1:1/d", "--dynamic-config-value=limit.maxIDLength=3000"];
    assert!(failure(long).contains("limit.maxIDLength is 3000, and with PostgreSQL it can be 2048 at most"));
    assert!(!folder.exists(), "nothing was made");
}
