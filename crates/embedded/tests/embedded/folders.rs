//! Data that outlives its server, and who may serve it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use prost::Message;
use sempre_api::v1::{
    common::WorkflowExecution,
    taskqueue::TaskQueue,
    workflowservice::{PollWorkflowTaskQueueRequest, SignalWorkflowExecutionRequest},
};
use sempre_embedded::{Sempre, StartError};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, UntypedWorkflow, Url, WorkflowDescribeOptions, WorkflowExecutionStatus,
    WorkflowGetResultOptions, WorkflowSignalOptions,
};

use crate::workflows::{Outcome, Waits, start, with_worker};

/// A folder of its own, gone at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sempre-embedded-{}-{name}", std::process::id()));
        // Left by a run that was killed.
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_goes_on_in_the_next_server_of_its_folder() -> Outcome {
    let folder = Folder::new("goes-on");
    let sempre = Sempre::open(&folder.0).await?;
    let client = sempre.client("default").await?;
    with_worker(&client, async {
        client.start_workflow(Waits::run, (), start("waits")).await?;
        Ok(())
    })
    .await?;
    let Err(StartError::Store(_)) = Sempre::open(&folder.0).await else { panic!("a folder has one server at a time") };
    sempre.shutdown().await;

    let sempre = Sempre::open(&folder.0).await?;
    let client = sempre.client("default").await?;
    let handle = client.get_workflow_handle::<Waits>("waits");
    handle.signal(Waits::tell, (), WorkflowSignalOptions::default()).await?;
    with_worker(&client, async {
        assert_eq!(handle.get_result(WorkflowGetResultOptions::default()).await?, "told");
        Ok(())
    })
    .await?;
    sempre.shutdown().await;
    drop((sempre, client, handle));
    Ok(())
}

/// The `sempre` program: that of the environment, else the one that was built beside this test.
fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("SEMPRE_BIN") {
        return given.into();
    }
    let own = std::env::current_exe().expect("a test is a program");
    let built = own.ancestors().nth(2).expect("tests are two folders deep").join("sempre");
    assert!(built.is_file(), "{} is not there: build it, or name one with SEMPRE_BIN", built.display());
    built
}

/// The program, serving a folder; killed in the end.
struct Program(Child);

impl Program {
    /// Serves on a free port; says where.
    fn serve(folder: &Path) -> Outcome<(Self, String)> {
        let mut command = Command::new(program());
        command.args(["server", "start", "--port", "0", "--data-dir"]).arg(folder).stdout(Stdio::piped());
        let mut child = Self(command.spawn()?);
        let told = BufReader::new(child.0.stdout.take().expect("it is piped"));
        for line in told.lines() {
            if let Some(address) = line?.strip_prefix("Server:") {
                return Ok((child, address.trim().to_owned()));
            }
        }
        Err("the program ended without saying where it serves".into())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_can_be_served_by_the_program_and_taken_back() -> Outcome {
    let folder = Folder::new("program");
    let sempre = Sempre::open(&folder.0).await?;
    let client = sempre.client("mine").await?;
    client.start_workflow(Waits::run, (), start("waits")).await?;
    sempre.shutdown().await;
    drop((sempre, client));

    let (serving, address) = Program::serve(&folder.0)?;
    let connection = Connection::connect(ConnectionOptions::new(Url::parse(&format!("http://{address}"))?).build()).await?;
    let client = Client::new(connection, ClientOptions::new("mine").build())?;
    with_worker(&client, async {
        let handle = client.get_workflow_handle::<Waits>("waits");
        handle.signal(Waits::tell, (), WorkflowSignalOptions::default()).await?;
        assert_eq!(handle.get_result(WorkflowGetResultOptions::default()).await?, "told");
        Ok(())
    })
    .await?;
    drop((serving, client));

    let sempre = Sempre::open(&folder.0).await?;
    let client = sempre.client("mine").await?;
    let about = client.get_workflow_handle::<UntypedWorkflow>("waits").describe(WorkflowDescribeOptions::default()).await?;
    assert_eq!(about.status(), WorkflowExecutionStatus::Completed);
    sempre.shutdown().await;
    drop((sempre, client));
    let checked = Command::new(program()).args(["store", "check"]).arg(&folder.0).output()?;
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    Ok(())
}

/// One call of gRPC, as the service takes it: its status, and what comes behind the five bytes that say how long the answer is.
async fn call(sempre: &Sempre, rpc: &str, message: &impl Message) -> Outcome<(String, Bytes)> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.encoded_len().try_into()?);
    message.encode(&mut body)?;
    let request = http::Request::post(format!("http://embedded/temporal.api.workflowservice.v1.WorkflowService/{rpc}"));
    let request = request.version(http::Version::HTTP_2).header("content-type", "application/grpc").header("grpc-timeout", "60S");
    let request = request.body(Full::new(body.freeze()))?;
    let (head, body) = sempre.service().call(request).await.into_parts();
    let body = body.collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).or(head.headers.get("grpc-status"));
    let status = status.ok_or("a status")?.to_str()?.to_owned();
    let mut answer = body.to_bytes();
    Ok((status, if answer.is_empty() { answer } else { answer.split_off(5) }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_an_open_poll_empty_and_then_signals_are_refused() -> Outcome {
    let sempre = Sempre::in_memory().await?;
    let client = sempre.client("default").await?;
    client.start_workflow(Waits::run, (), start("waits")).await?;
    let poll = PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "nothing comes here".into(), ..TaskQueue::default() }),
        ..PollWorkflowTaskQueueRequest::default()
    };
    let stops = async {
        while sempre.engine().stats().pollers.get() == 0 {
            tokio::task::yield_now().await;
        }
        sempre.shutdown().await;
    };
    // The poll by itself would wait for a minute.
    let both = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(call(&sempre, "PollWorkflowTaskQueue", &poll), stops) });
    let (polled, ()) = both.await?;
    assert_eq!(polled?, ("0".to_owned(), Bytes::new()));

    let signal = SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(WorkflowExecution { workflow_id: "waits".into(), ..WorkflowExecution::default() }),
        signal_name: "tell".into(),
        ..SignalWorkflowExecutionRequest::default()
    };
    let unavailable = "14";
    assert_eq!(call(&sempre, "SignalWorkflowExecution", &signal).await?.0, unavailable);
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_is_there_without_a_shutdown() -> Outcome {
    let folder = Folder::new("no-shutdown");
    let sempre = Sempre::open(&folder.0).await?;
    let client = sempre.client("mine").await?;
    client.start_workflow(Waits::run, (), start("waits")).await?;
    drop((sempre, client));
    // The last one that knows of it lets go of the folder in its own time.
    let sempre = loop {
        match Sempre::open(&folder.0).await {
            Ok(sempre) => break sempre,
            Err(StartError::Store(_)) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    };
    let client = sempre.client("mine").await?;
    let handle = client.get_workflow_handle::<UntypedWorkflow>("waits");
    let about = handle.describe(WorkflowDescribeOptions::default()).await?;
    assert_eq!(about.workflow_type(), "Waits");
    sempre.shutdown().await;
    Ok(())
}
