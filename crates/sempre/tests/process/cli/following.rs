//! Commands that go on with a run: `show --follow`, `result`, `trace`; and what the formats make of lists.

use sempre_api::v1::{
    command::{
        Command, ContinueAsNewWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes, command::Attributes,
    },
    common::WorkflowType,
    enums::CommandType,
};
use serde_json::Value;

use super::{Server, complete, ended, poll, queue, respond};

const START: &[&str] = &["workflow", "start", "--type", "T", "-t", "queue", "-w"];

const LINES: &[&str] = &["  parent  T started\n", "    child  Child started\n", "    child  completed\n", "  parent  completed\n"];

fn anew() -> Command {
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: "T".into() }),
        task_queue: queue("queue"),
        ..Default::default()
    };
    Command {
        command_type: CommandType::ContinueAsNewWorkflowExecution as i32,
        attributes: Some(Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(attributes))),
        ..Default::default()
    }
}

fn child() -> Command {
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: "child".into(),
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        task_queue: queue("children"),
        ..Default::default()
    };
    Command {
        command_type: CommandType::StartChildWorkflowExecution as i32,
        attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(attributes))),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_chain_is_followed_to_its_end() {
    let server = Server::start();
    let run = server.json(&[START, &["w"]].concat())["runId"].as_str().expect("a run").to_owned();
    let of = |line: &[&str]| server.command(&[&["workflow"], line, &["-w", "w", "-r", &run]].concat()).spawn().expect("the binary runs");
    let follow = of(&["show", "--follow"]);
    let json = of(&["show", "-f", "-o", "jsonl"]);
    let result = of(&["result", "-o", "json"]);
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    respond(&mut client, task, vec![anew()]).await;
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "9").await;
    let text = ended(follow);
    let mut rest = text.as_str();
    for part in [
        "WorkflowExecutionStarted",
        "WorkflowExecutionContinuedAsNew",
        "WorkflowExecutionStarted",
        "WorkflowExecutionCompleted",
        "COMPLETED",
        "9",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is missing in {text}"));
        rest = &rest[at + part.len()..];
    }
    let lines = ended(json);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    let history: Value = serde_json::from_str(&lines).expect("JSON");
    assert!(history["events"].as_array().is_some_and(|events| events.len() >= 5), "{history}");
    let result: Value = serde_json::from_str(&ended(result)).expect("JSON");
    assert_eq!(result["result"], 9);
}

#[tokio::test]
async fn a_trace_shows_children_further_in_also_of_what_is_over() {
    let server = Server::start();
    server.text(&[START, &["parent"]].concat());
    let trace = server.command(&["workflow", "trace", "-w", "parent"]).spawn().expect("the binary runs");
    let shallow = server.command(&["workflow", "trace", "-w", "parent", "--depth", "0"]).spawn().expect("the binary runs");
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    respond(&mut client, task, vec![child()]).await;
    let task = poll(&mut client, "children").await;
    complete(&mut client, task, "1").await;
    // The start of the child, and its end.
    let task = poll(&mut client, "queue").await;
    let both = task.history.as_ref().is_some_and(|history| {
        history
            .clone()
            .events()
            .expect("events")
            .iter()
            .any(|event| format!("{:?}", event.event_type()).contains("ChildWorkflowExecutionCompleted"))
    });
    if both {
        complete(&mut client, task, "2").await;
    } else {
        respond(&mut client, task, Vec::new()).await;
        let task = poll(&mut client, "queue").await;
        complete(&mut client, task, "2").await;
    }
    let after = server.text(&["workflow", "trace", "-w", "parent"]);
    for (text, line) in [ended(trace), after].iter().flat_map(|text| LINES.iter().map(move |line| (text, line))) {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = ended(shallow);
    assert!(!text.contains("    child") && text.contains("  parent  completed\n"), "{text}");
    let (code, _) = server.failure(&["workflow", "trace", "-w", "parent", "-o", "json"]);
    assert_eq!(code, Some(2));
}

#[test]
fn lists_in_every_format() {
    let server = Server::start();
    for id in ["a", "b"] {
        server.text(&[START, &[id]].concat());
    }
    let list = |format: &str| server.text(&["workflow", "list", "-o", format]);
    assert_eq!(list("none"), "");
    let lines = list("jsonl");
    let ids: Vec<_> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["execution"]["workflowId"].clone()).collect();
    assert_eq!(ids, ["b", "a"]);
    let all: Value = serde_json::from_str(&list("json")).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    for format in ["text", "table", "card", "TEXT"] {
        let text = list(format);
        assert!(text.lines().count() == 3 && text.contains("WorkflowId"), "{format}: {text}");
    }
    // An empty list is a list.
    assert_eq!(server.json(&["workflow", "list", "-q", "WorkflowId = 'none'"]), serde_json::json!([]));
    assert_eq!(server.text(&["workflow", "list", "-q", "WorkflowId = 'none'", "-o", "jsonl"]), "");
    let times = server.text(&["workflow", "list", "--time-format", "iso"]);
    assert!(times.contains('T') && times.contains('Z'), "{times}");
}
