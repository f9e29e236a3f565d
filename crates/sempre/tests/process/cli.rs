//! Commands against a server that they started: each family, as text and as JSON.

mod activities;
mod asking;
mod config;
mod flow;
mod following;
mod operators;
mod ours;
mod output;
mod queues;
mod tls;
mod workflows;

use std::{
    io::Write,
    process::{Output, Stdio},
};

use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, command::Attributes},
    common::{Payload, Payloads},
    enums::CommandType,
    taskqueue::TaskQueue,
    workflowservice::{
        PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest,
        workflow_service_client::WorkflowServiceClient,
    },
};
use serde_json::Value;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::support::{Running, command};

/// A server in memory, and the commands that ask it.
struct Server(Running);

impl Server {
    fn start() -> Self {
        Self(Running::start(["server", "start-dev", "--port=0"]))
    }

    /// The address of the server, as a flag.
    fn address(&self) -> String {
        format!("--address={}", self.0.address)
    }

    /// A command line that does not see the tester's own configuration.
    fn command(&self, line: &[&str]) -> std::process::Command {
        let mut command = command(line.iter().map(|word| (*word).to_owned()).chain([self.address()]));
        isolate(&mut command);
        command
    }

    fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().expect("the binary runs")
    }

    /// Runs to the end, which must be good; gives what it printed.
    fn text(&self, line: &[&str]) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// The same as JSON.
    fn json(&self, line: &[&str]) -> Value {
        let text = self.text(&[line, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line:?}: {error}: {text}"))
    }

    /// Runs to an end that must be bad; gives the exit code and the sentence.
    fn failure(&self, line: &[&str]) -> (Option<i32>, String) {
        let output = self.run(line);
        let told = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && !told.contains("panicked"), "{line:?}: {told}");
        (output.status.code(), told.trim_end().trim_start_matches("error: ").to_owned())
    }

    /// Runs with an answer to its question.
    fn answering(&self, line: &[&str], answer: &str) -> Output {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().expect("the binary runs");
        child.stdin.take().expect("piped").write_all(answer.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    async fn client(&self) -> WorkflowServiceClient<Channel> {
        let endpoint = Endpoint::new(format!("http://{}", self.0.address)).expect("a URL");
        WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"))
    }
}

/// Takes away what the tester's own environment says.
fn isolate(command: &mut std::process::Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TEMPORAL_")) {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent").env("USER", "tester").env("HOSTNAME", "here");
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.to_owned(), ..Default::default() })
}

/// Takes the next workflow task of a queue.
async fn poll(client: &mut WorkflowServiceClient<Channel>, name: &str) -> PollWorkflowTaskQueueResponse {
    let mut request = Request::new(PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(name),
        identity: "tester".into(),
        ..Default::default()
    });
    request.set_timeout(std::time::Duration::from_secs(20));
    client.poll_workflow_task_queue(request).await.expect("a task").into_inner()
}

/// One value as workers send it.
fn payloads(json: &'static str) -> Option<Payloads> {
    let payload = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".as_slice().into())].into(),
        data: json.as_bytes().into(),
        ..Default::default()
    };
    Some(Payloads { payloads: vec![payload] })
}

/// Completes a task with commands.
async fn respond(client: &mut WorkflowServiceClient<Channel>, task: PollWorkflowTaskQueueResponse, commands: Vec<Command>) {
    let done = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("completes");
}

/// Completes the workflow of a task with a result.
async fn complete(client: &mut WorkflowServiceClient<Channel>, task: PollWorkflowTaskQueueResponse, json: &'static str) {
    let result = CompleteWorkflowExecutionCommandAttributes { result: payloads(json) };
    let command = Command {
        command_type: CommandType::CompleteWorkflowExecution as i32,
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(result)),
        ..Default::default()
    };
    respond(client, task, vec![command]).await;
}

/// The end of a command that was left to run: it must be good; gives what it printed.
fn ended(child: std::process::Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
