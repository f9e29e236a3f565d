//! `workflow …`.

use sempre_api::{
    Duration,
    v1::{
        common::{FastForwardConfig, TimeSkippingConfig, WorkflowType},
        taskqueue::TaskQueue,
        workflowservice::StartWorkflowExecutionRequest,
    },
};

use super::{Server, complete, poll, respond};

const START: &[&str] = &["workflow", "start", "--type", "Order", "-t", "queue", "-w"];

#[tokio::test]
async fn a_workflow_from_start_to_result() {
    let server = Server::start();
    let started = server.json(&[START, &["order", "-i", r#"{"sku":7}"#, "--memo", "who=\"me\""]].concat());
    assert_eq!((started["workflowId"].as_str(), started["taskQueue"].as_str()), (Some("order"), Some("queue")));
    let run_id = started["runId"].as_str().expect("a run").to_owned();

    // Running already: the run there is, unless that is a failure.
    assert_eq!(server.json(&[START, &["order"]].concat())["runId"], run_id);
    let (code, told) = server.failure(&[START, &["order", "--fail-existing"]].concat());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.starts_with("Workflow execution is already running."), "{told}");

    let described = server.json(&["workflow", "describe", "-w", "order"]);
    assert_eq!(described["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_RUNNING");
    assert_eq!(described["workflowExecutionInfo"]["memo"]["fields"]["who"], "me");
    let text = server.text(&["workflow", "describe", "-w", "order"]);
    assert!(text.starts_with("Execution Info:\n  WorkflowId"), "{text}");
    assert!(text.contains("Type                  Order\n") && text.contains("Pending Activities: 0\n"), "{text}");

    server.text(&["workflow", "signal", "-w", "order", "--name", "go", "-i", "1"]);
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, r#"{"paid":true}"#).await;

    let result = server.json(&["workflow", "result", "-w", "order"]);
    assert_eq!((result["status"].as_str(), result["result"]["paid"].as_bool()), (Some("COMPLETED"), Some(true)));
    let closed = server.json(&["workflow", "describe", "-w", "order"]);
    assert_eq!(closed["result"]["paid"], true);
    assert_eq!(closed["closeEvent"]["eventType"], "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED");

    let shown = server.text(&["workflow", "show", "-w", "order"]);
    assert!(shown.contains("WorkflowExecutionStarted\n") && shown.contains("Status          COMPLETED\n"), "{shown}");
    let events = server.json(&["workflow", "show", "-w", "order"]);
    let events = events["events"].as_array().expect("events").clone();
    assert_eq!(events[0]["eventId"], "1");
    // Histories are for replayers: payloads stay whole.
    let input = &events[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0];
    assert_eq!(input["metadata"]["encoding"], "anNvbi9wbGFpbg==");
    let reverse = server.json(&["workflow", "show", "-w", "order", "--reverse"]);
    assert_eq!(reverse["events"][0]["eventId"], events.last().expect("events")["eventId"]);
    let detailed = server.text(&["workflow", "show", "-w", "order", "--detailed"]);
    assert!(detailed.contains("] WorkflowExecutionSignaled ---------------\n"), "{detailed}");
    assert!(detailed.contains("signalName") && detailed.contains("go\n"), "{detailed}");
}

#[tokio::test]
async fn execute_follows_to_the_end() {
    let server = Server::start();
    let line = [&["workflow", "execute"], &START[2..], &["fast", "-i", "1"]].concat();
    let child = server.command(&line).spawn().expect("the binary runs");
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "42").await;
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let order =
        ["Running execution:", "Progress:", "WorkflowExecutionStarted", "WorkflowExecutionCompleted", "Results:", "COMPLETED", "42"];
    let mut rest = text.as_str();
    for wanted in order {
        let at = rest.find(wanted).unwrap_or_else(|| panic!("{wanted} is missing in {text}"));
        rest = &rest[at..];
    }
}

#[test]
fn a_workflow_that_does_not_complete_fails_the_command() {
    let server = Server::start();
    server.text(&[START, &["doomed"]].concat());
    server.text(&["workflow", "terminate", "-w", "doomed", "--reason", "enough"]);
    let (code, told) = server.failure(&["workflow", "result", "-w", "doomed"]);
    assert_eq!((code, told.as_str()), (Some(1), "the workflow did not complete: terminated, enough."));
}

#[test]
fn requests_are_made() {
    let server = Server::start();
    server.text(&[START, &["a"]].concat());
    server.text(&["workflow", "pause", "-w", "a", "--reason", "lunch"]);
    assert!(server.text(&["workflow", "describe", "-w", "a"]).contains("Reason      lunch\n"));
    server.text(&["workflow", "unpause", "-w", "a"]);
    server.text(&["workflow", "cancel", "-w", "a"]);
    let events = server.json(&["workflow", "show", "-w", "a"]).to_string();
    for kind in ["PAUSED", "UNPAUSED", "CANCEL_REQUESTED"] {
        assert!(events.contains(&format!("EVENT_TYPE_WORKFLOW_EXECUTION_{kind}")), "{kind}: {events}");
    }
    let signaled =
        server.json(&["workflow", "signal-with-start", "--signal-name", "s", "--signal-input", "1", "--type", "T", "-t", "q", "-w", "b"]);
    assert_eq!(signaled["workflowId"], "b");
    assert!(server.json(&["workflow", "show", "-w", "b"]).to_string().contains("EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED"));
}

#[tokio::test]
async fn a_reset_finds_its_point() {
    let server = Server::start();
    server.text(&[START, &["again"]].concat());
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "1").await;
    for (point, event) in [("LastWorkflowTask", 4), ("FirstWorkflowTask", 7)] {
        let text = server.text(&["workflow", "reset", "-w", "again", "--type", point, "--reason", "test"]);
        assert!(text.starts_with(&format!("Resetting workflow again to event ID {event}\nNew run: ")), "{text}");
        let task = poll(&mut client, "queue").await;
        complete(&mut client, task, "2").await;
    }
    let (code, told) = server.failure(&["workflow", "reset", "-w", "again", "-t", "LastContinuedAsNew", "--reason", "r"]);
    assert_eq!(code, Some(1));
    assert!(told.starts_with("the run does not continue another"), "{told}");
}

#[test]
fn deleting_asks_first() {
    let server = Server::start();
    server.text(&[START, &["gone"]].concat());
    let no = server.answering(&["workflow", "delete", "-w", "gone"], "n\n");
    assert_eq!(no.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&no.stderr), "error: not confirmed; nothing was changed.\n");
    assert_eq!(String::from_utf8_lossy(&no.stdout), "Delete workflow gone with its history? [y/N] ");
    let (_, told) = server.failure(&["workflow", "delete", "-w", "gone", "-o", "json"]);
    assert_eq!(told, "this needs a confirmation, which can be given as text only: add --yes.");
    assert!(server.answering(&["workflow", "delete", "-w", "gone"], "y\n").status.success());
}

#[test]
fn a_trace_ends_with_its_workflow() {
    let server = Server::start();
    server.text(&[START, &["seen"]].concat());
    server.text(&["workflow", "terminate", "-w", "seen", "--reason", "done"]);
    assert_eq!(server.text(&["workflow", "trace", "-w", "seen"]), "  seen  Order started\n  seen  terminated: done\n");
}

#[test]
fn a_history_of_an_older_tool_is_fixed() {
    let server = Server::start();
    let scratch = crate::support::Scratch::new();
    let (old, new) = (scratch.path("old.json"), scratch.path("new.json"));
    std::fs::write(&old, r#"{"events":[{"eventId":"1","eventType":"WorkflowExecutionStarted"}]}"#).expect("written");
    let line = ["workflow", "fix-history-json", "-s", old.to_str().expect("text"), "-t", new.to_str().expect("text")];
    server.text(&line);
    let fixed: serde_json::Value = serde_json::from_slice(&std::fs::read(&new).expect("written")).expect("JSON");
    assert_eq!(fixed["events"][0]["eventType"], "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED");
    assert!(server.text(&line[..4]).contains("EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"));
}

#[tokio::test]
async fn a_run_that_skips_time_is_described_with_its_own_clock() {
    let server = Server::start();
    let mut client = server.client().await;
    let fast_forward_config = Some(FastForwardConfig { id: "ahead".into(), duration: Some(Duration { seconds: 3600, nanos: 0 }) });
    let request = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "Order".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: "r".into(),
        time_skipping_config: Some(TimeSkippingConfig { enabled: true, fast_forward_config, ..Default::default() }),
        ..Default::default()
    };
    client.start_workflow_execution(request).await.expect("a server for development lets runs skip time");
    let task = poll(&mut client, "queue").await;
    respond(&mut client, task, Vec::new()).await;
    let text = server.text(&["workflow", "describe", "-w", "w"]);
    let (_, own) = text.split_once("Time Skipping Info:\n").expect("its clock");
    let own = own.lines().take_while(|line| line.starts_with("  ")).collect::<Vec<_>>();
    let names: Vec<_> = own.iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["CurrentTime", "Enabled", "SessionSkips", "FastForwardId", "FastForwardTarget", "FastForwardCompleted"]);
    let value = |n: usize| own[n].trim_start().split_once(' ').expect("a value").1.trim();
    assert_eq!((value(1), value(2), value(3), value(5)), ("false", "1 of 200", "ahead", "true"), "{text}");
}
