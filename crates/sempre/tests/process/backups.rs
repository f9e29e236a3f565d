//! Backups of a server under load, and what is made of them.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sempre_api::v1::{
    common::{WorkflowExecution, WorkflowType},
    taskqueue::TaskQueue,
    workflowservice::{DescribeWorkflowExecutionRequest, StartWorkflowExecutionRequest, workflow_service_client::WorkflowServiceClient},
};
use tonic::transport::{Channel, Endpoint};

use crate::support::{Running, Scratch, failure, output};

async fn client(server: &Running) -> WorkflowServiceClient<Channel> {
    let endpoint = Endpoint::new(format!("http://{}", server.address)).expect("a URL");
    WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"))
}

async fn start(client: &mut WorkflowServiceClient<Channel>, id: usize) {
    let request = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.to_string(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: id.to_string(),
        ..Default::default()
    };
    client.start_workflow_execution(request).await.expect("started");
}

async fn exists(client: &mut WorkflowServiceClient<Channel>, id: usize) -> bool {
    let execution = Some(WorkflowExecution { workflow_id: id.to_string(), ..Default::default() });
    let request = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution };
    client.describe_workflow_execution(request).await.is_ok()
}

fn done<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let output = output(args);
    let (told, complaint) = (String::from_utf8(output.stdout).expect("text"), String::from_utf8(output.stderr).expect("text"));
    assert_eq!(output.status.code(), Some(0), "{told}{complaint}");
    told
}

fn create(server: &Running, file: &Path, more: &[&str]) -> Vec<std::ffi::OsString> {
    let args = ["backup".as_ref(), "create".as_ref(), "--address".as_ref(), server.address.as_ref(), file.as_os_str()];
    args.into_iter().map(Into::into).chain(more.iter().map(Into::into)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test waits for the end of its load")]
async fn a_backup_under_load_restored_elsewhere_lacks_nothing_that_was_acknowledged_before_it() {
    let scratch = Scratch::new();
    let server = Running::on(&scratch.path("data"));
    let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load = tokio::spawn({
        let (mut client, acknowledged, stop) = (client(&server).await, acknowledged.clone(), stop.clone());
        async move {
            while !stop.load(Ordering::SeqCst) {
                start(&mut client, acknowledged.load(Ordering::SeqCst)).await;
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    while acknowledged.load(Ordering::SeqCst) < 200 {
        tokio::task::yield_now().await;
    }
    let before = acknowledged.load(Ordering::SeqCst);
    let file = scratch.path("backup");
    let told = done(create(&server, &file, &[]));
    assert!(told.contains("is whole: "), "{told}");
    stop.store(true, Ordering::SeqCst);
    load.await.expect("the load ends");
    drop(server);

    assert!(done(["backup".as_ref(), "verify".as_ref(), file.as_os_str()]).starts_with("whole: taken "));
    let restored = scratch.path("restored");
    let told = done(["restore".as_ref(), file.as_os_str(), restored.as_os_str()]);
    assert!(told.contains("0 problems") && told.contains("is ready"), "{told}");
    let told = done(["doctor".as_ref(), restored.as_os_str()]);
    assert!(told.contains("cold store: whole") && told.contains("is healthy"), "{told}");

    let server = Running::on(&restored);
    let mut client = client(&server).await;
    for id in 0..before {
        assert!(exists(&mut client, id).await, "{id} of {before} was acknowledged before the backup");
    }
    // It goes on as any other.
    start(&mut client, before + 1_000_000).await;
}

#[test]
fn what_cannot_be_done_is_told_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let (data, file) = (scratch.path("data"), scratch.path("backup"));
    let server = Running::on(&data);
    done(create(&server, &file, &[]));
    assert!(failure(create(&server, &file, &[])).contains("is there already"));
    done(create(&server, &file, &["--force"]));
    drop(server);

    let into = |file: &Path, folder: &Path| failure(["restore".as_ref(), file.as_os_str(), folder.as_os_str()]);
    assert!(into(&file, &data).contains("is there already"));

    let whole = fs::read(&file).expect("a backup");
    let bad = scratch.path("bad");
    let new = scratch.path("new");
    fs::write(&bad, &whole[..whole.len() - 10]).expect("writable");
    assert!(into(&bad, &new).contains("is not whole"));
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&bad, &changed).expect("writable");
    assert!(into(&bad, &new).contains("is damaged"));
    fs::write(&bad, "something else").expect("writable");
    assert!(into(&bad, &new).contains("not a backup"));
    assert!(failure(["backup".as_ref(), "verify".as_ref(), bad.as_os_str()]).contains("not a backup"));
    let left: Vec<_> = fs::read_dir(scratch.path(".")).expect("readable").map(|entry| entry.expect("readable").file_name()).collect();
    assert_eq!(left.len(), 3, "data, backup, bad: {left:?}");

    assert!(failure(["doctor".as_ref(), bad.as_os_str()]).contains("is not a data folder"));
}

#[test]
fn the_new_name_of_a_search_attribute_is_in_the_backup() {
    let scratch = Scratch::new();
    let (data, file, restored) = (scratch.path("data"), scratch.path("backup"), scratch.path("restored"));
    let server = Running::on(&data);
    let at = |server: &Running, args: &[&str]| done(args.iter().chain(&["--address", &server.address]));
    at(&server, &["operator", "search-attribute", "create", "--name", "Color", "--type", "Keyword"]);
    let start = ["workflow", "start", "--type", "T", "--task-queue", "q", "-w", "red-one", "--search-attribute", "Color=\"red\""];
    at(&server, &start);
    at(&server, &["operator", "search-attribute", "rename", "--name", "Color", "--new-name", "Hue"]);
    done(create(&server, &file, &[]));
    drop(server);
    done(["restore".as_ref(), file.as_os_str(), restored.as_os_str()]);
    let server = Running::on(&restored);
    for query in ["Hue = 'red'", "Color = 'red'"] {
        assert!(at(&server, &["workflow", "list", "--query", query]).contains("red-one"), "{query}");
    }
    assert!(at(&server, &["operator", "search-attribute", "list"]).contains("Hue"));
}

#[test]
fn a_doctor_sees_a_damaged_cold_store() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let server = Running::on(&data);
    #[cfg(unix)]
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let cold = data.join("cold.sqlite");
    let mut bytes = fs::read(&cold).expect("a cold store");
    // Behind the schema: pages of tables.
    let at = bytes.len() / 2 / 8192 * 8192;
    bytes[at..at + 4096].fill(0xEE);
    fs::write(&cold, &bytes).expect("writable");
    let told = failure(["doctor".as_ref(), data.as_os_str()]);
    assert!(told.contains("damaged"), "{told}");
    assert!(fs::read(&cold).expect("still there") == bytes, "it was changed");
}
