//! `flow …`, and what `workflow why` says of a start that waits.

use super::{Server, complete, poll};

const START: &[&str] = &["workflow", "start", "--type", "Order", "-t", "queue", "-w"];

#[tokio::test]
async fn a_rule_from_its_making_to_its_end() {
    let server = Server::start();
    let made = server.json(&["flow", "set", "--name", "orders", "--type", "Order", "--max-open", "1", "--rate", "10/1s", "--burst", "5"]);
    assert_eq!((made["version"].as_str(), made["rule"]["maxOpen"].as_i64()), (Some("1"), Some(1)), "{made}");
    for id in ["first", "second", "third"] {
        server.text(&[START, &[id]].concat());
    }
    let list = server.text(&["flow", "list"]);
    assert!(list.contains("orders") && list.contains("type Order") && list.contains("1 open, 10/1s, 5 at once"), "{list}");
    let described = server.json(&["flow", "describe", "--name", "orders"]);
    assert_eq!((described["rule"]["open"].as_str(), described["rule"]["waiting"].as_str()), (Some("1"), Some("2")), "{described}");
    let waiting = server.json(&["flow", "waiting", "--name", "orders"]);
    let starts: Vec<_> =
        waiting.as_array().expect("a list").iter().map(|start| (start["workflowId"].as_str(), start["place"].as_str())).collect();
    assert_eq!(starts, [(Some("second"), Some("1")), (Some("third"), Some("2"))]);
    let why = server.text(&["workflow", "why", "-w", "third"]);
    assert!(why.contains("in place 2 of flow rule orders: as many runs as may be are open."), "{why}");

    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    complete(&mut client, task, "1").await;
    let task = poll(&mut client, "queue").await;
    assert_eq!(task.workflow_execution.as_ref().map(|run| run.workflow_id.as_str()), Some("second"));
    server.text(&["workflow", "cancel", "-w", "third"]);
    let cancelled = server.json(&["workflow", "describe", "-w", "third"]);
    assert_eq!(cancelled["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_CANCELED");

    let (code, told) = server.failure(&["flow", "set", "--name", "orders", "--type", "Order", "--max-open", "2", "--new"]);
    assert_eq!((code, told.as_str()), (Some(1), "there is a flow rule \"orders\" already."));
    let (code, told) = server.failure(&["flow", "set", "--name", "none", "--max-open", "2"]);
    let expected = "flow rule \"none\": it has no condition: set one, or match.all for every start of the namespace.";
    assert_eq!((code, told.as_str()), (Some(1), expected));
    server.text(&["flow", "delete", "--name", "orders"]);
    let (code, told) = server.failure(&["flow", "describe", "--name", "orders"]);
    assert_eq!((code, told.as_str()), (Some(1), "there is no flow rule \"orders\"."));
}
