//! `sempre dev -- COMMAND`, with workers that are lines of shell.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use sempre_api::v1::{
    command::{Command as WorkflowCommand, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::ActivityType,
    enums::CommandType,
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    taskqueue::TaskQueue,
    workflowservice::{
        PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest, RespondActivityTaskFailedRequest, RespondWorkflowTaskCompletedRequest,
        RespondWorkflowTaskFailedRequest, workflow_service_client::WorkflowServiceClient,
    },
};
use tonic::transport::{Channel, Endpoint};

use crate::support::{Scratch, command, output};

/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `sempre dev`; its worker is gone when the test is.
struct Dev {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The test may have seen enough.
            let _ = sender.send(line);
        }
    });
    lines
}

impl Dev {
    fn start(flags: &[&str], shell: &str) -> Self {
        let worker = ["--", "sh", "-c", shell];
        let mut command = command(["dev", "--port=0"].iter().chain(flags).chain(&worker));
        command.env("TEMPORAL_API_KEY", "secret").env("TEMPORAL_TLS", "true").env("TEMPORAL_NAMESPACE", "elsewhere");
        let mut child = command.spawn().expect("the binary runs");
        let lines = lines_of(child.stdout.take().expect("piped"));
        let mut dev = Self { child, lines, address: String::new() };
        let told = dev.until("where it listens", |line| line.starts_with("Server:"));
        dev.address = told.trim_start_matches("Server:").trim().to_owned();
        dev
    }

    /// The next line that fits.
    fn until(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if fits(&line) {
                return line;
            }
            seen += &line;
            seen.push('\n');
        }
        // Killed first, so that its errors end.
        let _ = self.child.kill();
        let mut errors = String::new();
        let _ = self.child.stderr.take().map(|mut told| told.read_to_string(&mut errors));
        panic!("never: {what}; {seen}{errors}");
    }

    fn line(&mut self, wanted: &str) {
        self.until(wanted, |line| line == wanted);
    }

    fn signal(&self, name: &str) {
        assert!(kill(name, self.child.id().to_string()), "it is there");
    }

    /// Waits for the end; gives the exit code and the rest of what was said.
    fn wait(mut self) -> (Option<i32>, Vec<String>, String) {
        let mut errors = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut errors).expect("text");
        let code = self.child.wait().expect("a child").code();
        (code, self.lines.try_iter().collect(), errors)
    }

    fn ask(&self, args: &[&str]) -> String {
        let output = output(args.iter().copied().chain(["--address", &self.address]));
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    async fn client(&self) -> WorkflowServiceClient<Channel> {
        let endpoint = Endpoint::new(format!("http://{}", self.address)).expect("a URL");
        WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // Twice: the worker is killed.
        kill("INT", self.child.id().to_string());
        kill("INT", self.child.id().to_string());
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, process: String) -> bool {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process]).stderr(std::process::Stdio::null()).status();
    sent.expect("kill is there").success()
}

#[test]
fn the_worker_is_told_of_the_server_and_started_again_when_a_file_changes() {
    let scratch = Scratch::new();
    let folder = scratch.path("code");
    fs::create_dir_all(folder.join("target")).expect("writable");
    fs::write(folder.join("worker.txt"), "first").expect("writable");
    let shell = format!(
        "echo oh >&2; echo at $TEMPORAL_ADDRESS in $TEMPORAL_NAMESPACE key=$TEMPORAL_API_KEY tls=$TEMPORAL_TLS; cat {}/worker.txt; echo; exec sleep 1000",
        folder.display()
    );
    let mut dev = Dev::start(&["--watch", folder.to_str().expect("text")], &shell);
    let at = format!("worker | at {} in default key= tls=", dev.address);
    dev.line(&at);
    dev.line("worker | first");
    // Not watched.
    fs::write(folder.join("target/made"), "x").expect("writable");
    fs::write(folder.join("worker.txt"), "second").expect("writable");
    let told = format!("dev    | {}/worker.txt has changed, the worker is started again", folder.display());
    assert_eq!(dev.until("a change", |line| line.starts_with("dev")), told);
    dev.line(&at);
    dev.line("worker | second");
    dev.signal("INT");
    let (code, rest, errors) = dev.wait();
    assert_eq!((code, rest.is_empty()), (Some(0), true), "{rest:?}");
    assert_eq!(errors, "worker | oh\n".repeat(2));
}

#[test]
fn a_worker_that_fails_is_started_again_after_a_pause_and_one_that_is_done_is_not() {
    let scratch = Scratch::new();
    let mark = scratch.path("mark");
    let shell = format!("test -e {0} && exit 0; touch {0}; echo once; exit 3", mark.display());
    let mut dev = Dev::start(&["--no-watch"], &shell);
    dev.line("worker | once");
    dev.line("dev    | the worker has ended (exit status: 3); it is started again in 1 s");
    dev.line("dev    | the worker has ended; the server goes on");
    assert!(dev.ask(&["operator", "cluster", "health"]).contains("SERVING"));
    dev.signal("TERM");
    assert_eq!(dev.wait().0, Some(0));
}

#[test]
fn a_command_that_is_not_there_ends_it_with_a_sentence() {
    let output = output(["dev", "--port=0", "--no-watch", "--", "/nonexistent/worker"]);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("error: cannot start /nonexistent/worker: "), "{told}");
    let missing = super::support::failure(["dev", "--port=0", "--watch", "/nonexistent", "--", "true"]);
    assert_eq!(missing, "/nonexistent is not a folder; --watch takes folders.");
}

#[test]
fn a_worker_finishes_before_the_server_stops() {
    // The last word of the worker needs the server; its child does not end by itself.
    let ask = format!("{} operator cluster health --address $TEMPORAL_ADDRESS", env!("CARGO_BIN_EXE_sempre"));
    let shell = format!("trap '{ask}; echo bye; exit 0' INT; echo ready; while :; do sleep 0.1; done");
    let mut dev = Dev::start(&["--no-watch"], &shell);
    dev.line("worker | ready");
    dev.signal("INT");
    let (code, rest, errors) = dev.wait();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(rest, ["worker | SERVING", "worker | bye"]);
}

#[test]
fn a_worker_that_does_not_stop_is_killed_with_all_its_processes() {
    let shell = "trap '' INT; sleep 1000 & echo pids $$ $!; wait; wait";
    for twice in [false, true] {
        let flags: &[&str] = if twice { &["--no-watch", "--stop-timeout=1000s"] } else { &["--no-watch", "--stop-timeout=100ms"] };
        let mut dev = Dev::start(flags, shell);
        let told = dev.until("its processes", |line| line.starts_with("worker | pids "));
        dev.signal("INT");
        if twice {
            dev.signal("INT");
        }
        assert_eq!(dev.wait().0, Some(0));
        for process in told.split_whitespace().skip(3) {
            // One that nobody has buried yet is dead, too.
            let gone = !kill("0", process.to_owned())
                || fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z "));
            assert!(gone, "{process} is there");
        }
    }
}

/// A poll has to say how long it waits.
fn soon<T>(body: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(body);
    request.set_timeout(PATIENCE);
    request
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "queue".into(), ..Default::default() })
}

#[tokio::test]
async fn each_change_of_a_run_is_a_line() {
    let mut dev = Dev::start(&["--no-watch", "--namespace=other"], "exec sleep 1000");
    let start = ["workflow", "start", "--type", "Order", "-t", "queue", "-w"];
    dev.ask(&[&start[..], &["one"]].concat());
    dev.line("run    | one  Order started");
    let mut client = dev.client().await;
    let poll = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() };
    let task = client.poll_workflow_task_queue(soon(poll.clone())).await.expect("a task").into_inner();
    let failure = Some(Failure { message: "no such branch".into(), ..Default::default() });
    let failed = RespondWorkflowTaskFailedRequest { task_token: task.task_token, failure, ..Default::default() };
    client.respond_workflow_task_failed(failed).await.expect("heard");
    let told = dev.until("a failed task", |line| line.starts_with("run    | one  workflow task failed"));
    assert!(told.ends_with("no such branch"), "{told}");

    let task = client.poll_workflow_task_queue(soon(poll)).await.expect("a task").into_inner();
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "pay".into(),
        activity_type: Some(ActivityType { name: "Pay".into() }),
        task_queue: Some(TaskQueue::default()),
        start_to_close_timeout: Some(sempre_api::Duration { seconds: 10, nanos: 0 }),
        ..Default::default()
    };
    let commands = vec![WorkflowCommand {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(activity))),
        ..Default::default()
    }];
    let done = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("heard");
    dev.line("run    | one  is well again");
    let poll = PollActivityTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() };
    let task = client.poll_activity_task_queue(soon(poll)).await.expect("a task").into_inner();
    let failure = Some(Failure {
        message: "card declined".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
        ..Default::default()
    });
    let failed = RespondActivityTaskFailedRequest { task_token: task.task_token, failure, ..Default::default() };
    client.respond_activity_task_failed(failed).await.expect("heard");
    dev.line("run    | one  activity is retried, attempt 2: Pay: card declined");
    dev.ask(&["workflow", "terminate", "-w", "one", "--reason", "enough"]);
    dev.line("run    | one  terminated: enough");
    dev.ask(&[&start[..], &["two", "-n", "other"]].concat());
    dev.line("run    | other/two  Order started");
}

#[test]
fn nothing_is_lost_when_it_is_started_anew_on_a_folder() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let flags = ["--no-watch", "--db-filename", data.to_str().expect("text")];
    let dev = Dev::start(&flags, "exec sleep 1000");
    dev.ask(&["workflow", "start", "--type", "Order", "-t", "queue", "-w", "one"]);
    dev.signal("INT");
    assert_eq!(dev.wait().0, Some(0));
    let mut dev = Dev::start(&flags, "exec sleep 1000");
    assert!(dev.ask(&["workflow", "list"]).contains("one"));
    dev.ask(&["workflow", "terminate", "-w", "one", "--reason", "enough"]);
    assert_eq!(dev.until("a change", |line| line.starts_with("run")), "run    | one  terminated: enough");
}
