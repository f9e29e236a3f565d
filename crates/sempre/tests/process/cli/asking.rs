//! Commands that ask the workflow's own code: `workflow query`, `stack`, `metadata`, `update …`. The test answers as a worker.

use prost::Name;
use sempre_api::{
    Any,
    v1::{
        enums::QueryResultType,
        failure::Failure,
        protocol::{Message, message::SequencingId},
        update::{Acceptance, Meta, Outcome, Rejection, Response, outcome::Value as Ended},
        workflowservice::{
            PollWorkflowTaskQueueResponse, RespondQueryTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
            workflow_service_client::WorkflowServiceClient,
        },
    },
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{Server, ended, payloads, poll, respond};

/// A server with a workflow that waits, and a worker.
async fn waiting() -> (Server, WorkflowServiceClient<Channel>) {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    respond(&mut client, task, Vec::new()).await;
    (server, client)
}

/// Takes the query that a command sends; gives its name and arguments.
async fn answer(client: &mut WorkflowServiceClient<Channel>, result: Result<&'static str, &str>) -> (String, Vec<Value>) {
    let task = poll(client, "queue").await;
    let query = task.query.expect("a query");
    let kind = if result.is_ok() { QueryResultType::Answered } else { QueryResultType::Failed };
    let request = RespondQueryTaskCompletedRequest {
        task_token: task.task_token,
        completed_type: kind as i32,
        query_result: result.ok().and_then(payloads),
        error_message: result.err().unwrap_or_default().to_owned(),
        namespace: "default".into(),
        ..Default::default()
    };
    client.respond_query_task_completed(request).await.expect("heard");
    let arguments = query.query_args.unwrap_or_default().payloads;
    (query.query_type, arguments.iter().map(|payload| serde_json::from_slice(&payload.data).expect("JSON")).collect())
}

#[tokio::test]
async fn a_query_is_answered_as_text_and_as_json() {
    let (server, mut client) = waiting().await;
    let line = ["workflow", "query", "-w", "w", "--name", "state", "-i", "7", "-i", r#""x""#];
    let child = server.command(&line).spawn().expect("the binary runs");
    assert_eq!(answer(&mut client, Ok(r#"{"step":3}"#)).await, ("state".into(), vec![json!(7), json!("x")]));
    assert_eq!(ended(child), "Query result:\n  QueryResult  {\"step\":3}\n");

    // The older name of the flag; the message as it is.
    let child = server.command(&["workflow", "query", "-w", "w", "--type", "state", "-o", "jsonl"]).spawn().expect("the binary runs");
    answer(&mut client, Ok("1")).await;
    let message: Value = serde_json::from_str(&ended(child)).expect("one line of JSON");
    assert_eq!((&message["queryResult"], &message["link"]["workflow"]["workflowId"]), (&json!([1]), &json!("w")));

    let child = server.command(&line[..6]).spawn().expect("the binary runs");
    answer(&mut client, Err("no such query: state")).await;
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), "error: no such query: state.\n"));

    server.text(&["workflow", "terminate", "-w", "w"]);
    let rejected = server.failure(&[&line[..6], &["--reject-condition", "not_open"]].concat());
    assert_eq!(rejected, (Some(1), "the query was rejected: the workflow is terminated.".into()));
}

#[tokio::test]
async fn a_stack_and_the_metadata_are_shown() {
    let (server, mut client) = waiting().await;
    let child = server.command(&["workflow", "stack", "-w", "w"]).spawn().expect("the binary runs");
    assert_eq!(answer(&mut client, Ok(r#""main\n  wait:7""#)).await.0, "__stack_trace");
    assert_eq!(ended(child), "Query result:\nmain\n  wait:7\n");

    let metadata = r#"{"definition":{"type":"T","queryDefinitions":[{"name":"state","description":"where it is"}],
        "signalDefinitions":[{"name":"go"}],"updateDefinitions":[{"name":"set"}]},"currentDetails":"at the till"}"#;
    let child = server.command(&["workflow", "metadata", "-w", "w"]).spawn().expect("the binary runs");
    assert_eq!(answer(&mut client, Ok(metadata)).await.0, "__temporal_workflow_metadata");
    let text = ended(child);
    for part in
        ["Query Definitions:\n", "  state  where it is\n", "Signal Definitions:\n", "  go", "  set", "Current Details:\n  at the till\n"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let child = server.command(&["workflow", "metadata", "-w", "w", "-o", "json"]).spawn().expect("the binary runs");
    answer(&mut client, Ok(metadata)).await;
    let shown: Value = serde_json::from_str(&ended(child)).expect("JSON");
    assert_eq!(shown["queryResult"][0]["definition"]["queryDefinitions"][0]["name"], "state");
    let child = server.command(&["workflow", "metadata", "-w", "w"]).spawn().expect("the binary runs");
    answer(&mut client, Ok("7")).await;
    let output = child.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), told.contains("is not the metadata of a workflow")), (Some(1), true), "{told}");
}

fn message<M: Name>(id: &str, what: &str, body: &M) -> Message {
    Message {
        id: format!("{id}/{what}"),
        protocol_instance_id: id.into(),
        body: Some(Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: body.encode_to_vec() }),
        ..Default::default()
    }
}

/// Takes a task with an update and answers it by these.
async fn updated(client: &mut WorkflowServiceClient<Channel>, id: &str, answers: fn(&PollWorkflowTaskQueueResponse, &str) -> Vec<Message>) {
    let task = poll(client, "queue").await;
    let messages = answers(&task, id);
    let done = RespondWorkflowTaskCompletedRequest { task_token: task.task_token.clone(), messages, ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("heard");
}

fn accepted(task: &PollWorkflowTaskQueueResponse, id: &str) -> Message {
    let request = task.messages.iter().find(|message| message.protocol_instance_id == id).expect("the update");
    let Some(SequencingId::EventId(event_id)) = request.sequencing_id else { panic!("not sequenced") };
    let body = Acceptance {
        accepted_request_message_id: request.id.clone(),
        accepted_request_sequencing_event_id: event_id,
        accepted_request: None,
    };
    message(id, "accept", &body)
}

fn outcome(id: &str, value: Ended) -> Message {
    let body = Response { meta: Some(Meta { update_id: id.into(), ..Default::default() }), outcome: Some(Outcome { value: Some(value) }) };
    message(id, "complete", &body)
}

fn failure(text: &str) -> Failure {
    Failure { message: text.into(), ..Default::default() }
}

#[tokio::test]
async fn updates_are_sent_waited_for_and_described() {
    let (server, mut client) = waiting().await;
    let sent = |line: &[&str]| server.command(&[&["workflow", "update"], line].concat()).spawn().expect("the binary runs");

    let child = sent(&["execute", "-w", "w", "--name", "set", "--update-id", "u1", "-i", "5"]);
    updated(&mut client, "u1", |task, id| vec![accepted(task, id), outcome(id, Ended::Success(payloads("6").expect("one")))]).await;
    assert_eq!(ended(child), "  Name      set\n  UpdateId  u1\n  Result    6\n");

    let child = sent(&["start", "-w", "w", "--name", "set", "--update-id", "u2", "--wait-for-stage", "accepted", "-o", "jsonl"]);
    updated(&mut client, "u2", |task, id| vec![accepted(task, id)]).await;
    assert_eq!(ended(child), "{\"name\":\"set\",\"updateId\":\"u2\"}\n");
    let of = ["-w", "w", "--update-id", "u2"];
    let describe = || server.json(&[&["workflow", "update", "describe"][..], &of].concat());
    assert_eq!(describe(), json!({ "updateId": "u2", "stage": "Accepted" }));
    let child = sent(&[&["result"][..], &of, &["-o", "json"]].concat());
    server.text(&["workflow", "signal", "-w", "w", "--name", "go"]);
    updated(&mut client, "u2", |_, id| vec![outcome(id, Ended::Success(payloads(r#"{"a":1}"#).expect("one")))]).await;
    let shown: Value = serde_json::from_str(&ended(child)).expect("JSON");
    assert_eq!(shown, json!({ "updateId": "u2", "result": { "a": 1 } }));
    assert_eq!(describe(), json!({ "updateId": "u2", "result": { "a": 1 }, "stage": "Completed" }));

    for (id, answers, told) in [
        (
            "u3",
            (|task, id| vec![accepted(task, id), outcome(id, Ended::Failure(failure("no stock")))]) as fn(&_, &_) -> _,
            "error: the update failed: no stock.\n",
        ),
        (
            "u4",
            |_, id| vec![message(id, "reject", &Rejection { failure: Some(failure("not now")), ..Default::default() })],
            "error: the update failed: not now.\n",
        ),
    ] {
        let child = sent(&["execute", "-w", "w", "--name", "set", "--update-id", id]);
        updated(&mut client, id, answers).await;
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(1), told));
    }
    let failed = server.failure(&["workflow", "update", "result", "-w", "w", "--update-id", "u3"]);
    assert_eq!(failed, (Some(1), "the update failed.".into()));
    let unknown = server.failure(&["workflow", "update", "describe", "-w", "w", "--update-id", "other"]);
    assert_eq!(unknown, (Some(1), "update \"other\" not found.".into()));
}

#[tokio::test]
async fn an_update_comes_with_the_start_of_its_workflow() {
    let server = Server::start();
    let mut client = server.client().await;
    let line = |command: &'static str, id: &'static str| {
        let line = ["workflow", command, "--type", "T", "-t", "queue", "-w", id, "--id-conflict-policy", "Fail", "--update-name", "set"];
        [&line[..], &["--update-id", "u", "--update-input", "1"]].concat()
    };
    let child = server.command(&line("execute-update-with-start", "a")).spawn().expect("the binary runs");
    updated(&mut client, "u", |task, id| vec![accepted(task, id), outcome(id, Ended::Success(payloads("2").expect("one")))]).await;
    let text = ended(child);
    assert!(text.contains("  WorkflowId    a\n") && text.contains("2\n"), "{text}");
    let child = server.command(&[&line("start-update-with-start", "b")[..], &["--update-wait-for-stage", "accepted"]].concat()).spawn();
    updated(&mut client, "u", |task, id| vec![accepted(task, id)]).await;
    let text = ended(child.expect("the binary runs"));
    assert!(text.contains("WorkflowId") && text.contains(" b\n"), "{text}");
}
