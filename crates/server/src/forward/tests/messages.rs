//! What engines have each other do, over the connections between nodes.

use sempre_api::v1::{
    command::{Command, SignalExternalWorkflowExecutionCommandAttributes, command::Attributes},
    common::WorkflowExecution,
    enums::{CommandType, EventType},
    workflowservice::{GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest},
};
use sempre_engine::{Engine, Peers, Sent as Told};
use tonic::Code;

use super::*;
use crate::{forward::messages::PATH, metrics::Metrics};

fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() })
}

/// A command that signals another workflow.
fn signal(id: &str) -> Command {
    let attributes =
        SignalExternalWorkflowExecutionCommandAttributes { execution: execution(id), signal_name: "s".into(), ..Default::default() };
    Command {
        command_type: CommandType::SignalExternalWorkflowExecution as i32,
        attributes: Some(Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

async fn count(engine: &Engine, id: &str, kind: EventType) -> usize {
    let request = GetWorkflowExecutionHistoryRequest { namespace: "default".into(), execution: execution(id), ..Default::default() };
    let history = engine.get_history(request, Default::default(), None).await.unwrap().history.unwrap();
    history.events().unwrap().iter().filter(|event| event.event_type == kind as i32).count()
}

/// Two nodes that have a run each: the sender at the first. Gives their ids.
async fn two() -> (Nodes, String, String) {
    let n = Nodes::new(2).await;
    let sender = "sender".to_owned();
    let shard = n.shard_of(&sender);
    let target = (0..).map(|k| format!("target-{k}")).find(|id| n.shard_of(id) != shard).unwrap();
    n.give_up(shard, 1).await;
    n.take_up(shard, 0).await;
    n.all_know(at(shard, Some(0)));
    for (node, id) in [(0, &sender), (1, &target)] {
        n.nodes[node].service.engine().start_workflow(start(id)).await.unwrap();
    }
    (n, sender, target)
}

/// The sender signals the target with its first task.
async fn send(n: &Nodes, target: &str) {
    let engine = n.nodes[0].service.engine();
    let task_queue = Some(TaskQueue { name: "q".into(), ..Default::default() });
    let poll = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() };
    let task = engine.poll_workflow_task(poll, None).await.unwrap();
    let commands = vec![signal(target)];
    let request = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
    engine.respond_workflow_task_completed(request).await.unwrap();
}

async fn until_told(n: &Nodes, sender: &str) {
    let engine = n.nodes[0].service.engine();
    while count(engine, sender, EventType::ExternalWorkflowExecutionSignaled).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_signal_between_runs_goes_from_node_to_node_and_is_counted() {
    let (n, sender, target) = two().await;
    send(&n, &target).await;
    until_told(&n, &sender).await;
    assert_eq!(count(n.nodes[1].service.engine(), &target, EventType::WorkflowExecutionSignaled).await, 1);
    assert_eq!((n.sent_and_taken(0), n.sent_and_taken(1)), ((0, 0), (0, 0)), "it is no client's call");
    let of = |node: usize| {
        let service = &n.nodes[node].service;
        let metrics = Metrics::new(service.engine().clone(), service.router().clone(), None);
        async move { metrics.text().await }
    };
    let (sent, taken) = (of(0).await, of(1).await);
    for (told, line) in [
        (&sent, "sempre_node_messages_sent_total 1"),
        (&sent, "sempre_node_messages_lost_total 0"),
        (&taken, "sempre_node_messages_taken_total 1"),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    until(|| n.held(1) == 0).await;
}

#[tokio::test]
async fn a_message_finds_its_shard_when_pictures_are_old_or_nobody_has_it() {
    let (n, sender, target) = two().await;
    let shard = n.shard_of(&target);
    // Nobody has it; then the picture says that the second has it, which gave it up; then it has it again.
    n.know(0, at(shard, None));
    n.give_up(shard, 1).await;
    send(&n, &target).await;
    until(|| n.nodes[0].owners.looks.load(Relaxed) > 0).await;
    let taken = || n.forward(1).counts.messages_taken.load(Relaxed);
    assert_eq!(taken(), 0);
    n.know(0, at(shard, Some(1)));
    until(|| taken() > 0).await;
    assert_eq!(count(n.nodes[0].service.engine(), &sender, EventType::ExternalWorkflowExecutionSignaled).await, 0);
    n.take_up(shard, 1).await;
    until_told(&n, &sender).await;
    assert_eq!(count(n.nodes[1].service.engine(), &target, EventType::WorkflowExecutionSignaled).await, 1);
}

#[tokio::test]
async fn what_is_for_a_node_that_cannot_be_reached_was_not_done_and_what_it_does_not_answer_is_lost() {
    let n = Nodes::new(2).await;
    let messages = n.forward(0).messages();
    let shard = 3;
    assert!(matches!(messages.deliver(shard, Bytes::new()).await, Told::Answered(_)), "it says that it cannot read that");
    n.give_up(shard, 1).await;
    assert_eq!(messages.deliver(shard, Bytes::new()).await, Told::Elsewhere);
    n.know(0, at(shard, Some(0)));
    assert_eq!(messages.deliver(shard, Bytes::new()).await, Told::Elsewhere, "this node's engine has it, or will");
    // Another program has the port.
    let other = NodeKey::generate().unwrap().print();
    n.know(0, |picture| {
        at(shard, Some(1))(picture);
        picture.nodes[1] = Arc::new(Node { key: other, ..(*picture.nodes[1]).clone() });
    });
    assert_eq!(messages.deliver(shard, Bytes::new()).await, Told::Elsewhere);
    assert_eq!(n.forward(0).counts.messages_lost.load(Relaxed), 0);
    // Without a shard it is no message.
    let n = Nodes::new(2).await;
    let node = (*n.nodes[0].owners.picture.borrow().nodes[1]).clone();
    let bare = call::between_nodes(PATH, Bytes::new(), Sender { hop: 1, version: 1 });
    assert!(matches!(n.forward(0).lines.send(&node, bare).await, Sent::Answered(Answered::Junk(http::StatusCode::BAD_REQUEST))));
    // One that is too long is not taken, whatever it is.
    let long = Bytes::from(vec![0; 17 << 20]);
    assert_eq!(n.forward(0).messages().deliver(shard, long).await, Told::Lost);
    assert_eq!(n.forward(0).counts.messages_lost.load(Relaxed), 1);
    until(|| n.held(1) == 0).await;
}

#[tokio::test]
async fn clients_know_of_no_messages() {
    let n = Nodes::new(1).await;
    let refused = raw(&n.nodes[0].service, PATH, b"", &[("sempre-shard", "0"), ("sempre-hop", "1"), ("sempre-picture", "1")]).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
}
