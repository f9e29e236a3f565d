//! What engines have each other do, over the connections between nodes.

use sempre_api::v1::{
    command::{Command, SignalExternalWorkflowExecutionCommandAttributes, command::Attributes},
    common::{Payloads, WorkflowExecution},
    enums::{CommandType, EventType, QueryResultType},
    query::WorkflowQuery,
    workflowservice::{
        GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse, QueryWorkflowRequest,
        QueryWorkflowResponse, RespondQueryTaskCompletedRequest, RespondQueryTaskCompletedResponse, RespondWorkflowTaskCompletedRequest,
        RespondWorkflowTaskCompletedResponse, StartWorkflowExecutionResponse,
    },
};
use sempre_engine::{Engine, Peers, Sent as Told};
use tonic::Code;

use super::{
    moves::{address, lead, silent_way},
    *,
};
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

/// Two nodes that have a run each: the sender at the first. Gives their ids, and the sender's task.
async fn two() -> (Nodes, String, String, Bytes) {
    let n = Nodes::new(2).await;
    let sender = "sender".to_owned();
    let shard = n.shard_of(&sender);
    let target = (0..).map(|k| format!("target-{k}")).find(|id| n.shard_of(id) != shard).unwrap();
    n.give_up(shard, 1).await;
    n.take_up(shard, 0).await;
    n.all_know(at(shard, Some(0)));
    n.nodes[0].service.engine().start_workflow(start(&sender)).await.unwrap();
    let task = n.call::<PollWorkflowTaskQueueResponse>(0, "PollWorkflowTaskQueue", &poll()).await.unwrap();
    n.nodes[1].service.engine().start_workflow(start(&target)).await.unwrap();
    (n, sender, target, task.task_token)
}

fn poll() -> PollWorkflowTaskQueueRequest {
    let task_queue = Some(TaskQueue { name: "q".into(), ..Default::default() });
    PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() }
}

/// The sender signals the target with this task.
async fn send(n: &Nodes, task_token: Bytes, target: &str) {
    let request = RespondWorkflowTaskCompletedRequest { task_token, commands: vec![signal(target)], ..Default::default() };
    n.nodes[0].service.engine().respond_workflow_task_completed(request).await.unwrap();
}

async fn until_told(n: &Nodes, sender: &str) {
    let engine = n.nodes[0].service.engine();
    while count(engine, sender, EventType::ExternalWorkflowExecutionSignaled).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_signal_between_runs_goes_from_node_to_node_and_is_counted() {
    let (n, sender, target, task) = two().await;
    let calls = (n.sent_and_taken(0), n.sent_and_taken(1));
    let counts = |node: usize| {
        let counts = &n.forward(node).counts;
        (counts.messages_sent.load(Relaxed), counts.messages_taken.load(Relaxed))
    };
    let before = (counts(0), counts(1));
    send(&n, task, &target).await;
    until_told(&n, &sender).await;
    assert_eq!(count(n.nodes[1].service.engine(), &target, EventType::WorkflowExecutionSignaled).await, 1);
    assert_eq!((n.sent_and_taken(0), n.sent_and_taken(1)), calls, "it is no client's call");
    // Offers to the home of the queue may have gone as well.
    assert!(counts(0).0 > before.0.0 && counts(1).1 > before.1.1);
    let of = |node: usize| {
        let service = &n.nodes[node].service;
        let metrics = Metrics::new(service.engine().clone(), service.router().clone(), None);
        async move { metrics.text().await }
    };
    let (sent, taken) = (of(0).await, of(1).await);
    for (told, line) in [
        (&sent, format!("sempre_node_messages_sent_total {}", counts(0).0)),
        (&sent, "sempre_node_messages_lost_total 0".into()),
        (&taken, format!("sempre_node_messages_taken_total {}", counts(1).1)),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}\n{told}");
    }
    until(|| n.held(1) == 0).await;
}

#[tokio::test]
async fn a_message_finds_its_shard_when_pictures_are_old_or_nobody_has_it() {
    let (n, sender, target, task) = two().await;
    let shard = n.shard_of(&target);
    // Nobody has it; then the picture says that the second has it, which gave it up; then it has it again.
    n.know(0, at(shard, None));
    n.give_up(shard, 1).await;
    let looks = n.nodes[0].owners.looks.load(Relaxed);
    let taken = || n.forward(1).counts.messages_taken.load(Relaxed);
    send(&n, task, &target).await;
    until(|| n.nodes[0].owners.looks.load(Relaxed) > looks).await;
    let before = taken();
    n.know(0, at(shard, Some(1)));
    until(|| taken() > before).await;
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
async fn a_message_to_a_node_that_is_removed_is_lost_before_its_connection_ends() {
    let n = Nodes::new(2).await;
    let (fall_silent, silent) = watch::channel(false);
    let way = silent_way(address(&n), silent).await;
    lead(&n, &way);
    let messages = n.forward(0).messages();
    assert!(matches!(messages.deliver(3, Bytes::new()).await, Told::Answered(_)));
    fall_silent.send_replace(true);
    let counts = &n.forward(0).counts;
    let mut waits = messages.deliver(3, Bytes::new());
    while counts.messages_sent.load(Relaxed) < 2 {
        assert!(futures::poll!(&mut waits).is_pending());
    }
    let other = NodeKey::generate().unwrap().print();
    n.know(0, |picture| picture.nodes[1] = Arc::new(Node { key: other, ..(*picture.nodes[1]).clone() }));
    let begun = Instant::now();
    assert_eq!((waits.await, counts.messages_lost.load(Relaxed)), (Told::Lost, 1));
    assert!(begun.elapsed() < Duration::from_secs(3), "pings take longer than that: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_worker_of_any_node_has_the_tasks_and_queries_of_all() {
    let n = Nodes::new(3).await;
    // Each node has a shard, and the last has two.
    for (shard, node) in [(0, 0), (1, 1)] {
        n.give_up(shard, 2).await;
        n.take_up(shard, node).await;
        n.all_know(at(shard, Some(node)));
    }
    n.all_know(|picture| {
        picture.processes = n.nodes.iter().enumerate().map(|(node, of)| (of.service.engine().process(), node)).collect();
    });
    let ids: Vec<String> = (0..SHARDS).map(|shard| (0..).map(|k| format!("run-{k}")).find(|id| n.shard_of(id) == shard).unwrap()).collect();
    for (turn, id) in ids.iter().enumerate() {
        n.call::<StartWorkflowExecutionResponse>(turn % 3, "StartWorkflowExecution", &start(id)).await.unwrap();
    }
    let mut given = std::collections::BTreeSet::new();
    for turn in 0..ids.len() {
        let at = (turn + 1) % 3;
        let task = n.call::<PollWorkflowTaskQueueResponse>(at, "PollWorkflowTaskQueue", &poll()).await.unwrap();
        let id = task.workflow_execution.unwrap().workflow_id;
        assert_eq!(task.history.unwrap().events().unwrap().len(), 3, "{id}");
        let complete = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
        n.call::<RespondWorkflowTaskCompletedResponse>(at, "RespondWorkflowTaskCompleted", &complete).await.unwrap();
        given.insert(id);
    }
    assert_eq!(given, ids.iter().cloned().collect());
    for id in &ids {
        let query = QueryWorkflowRequest {
            namespace: "default".into(),
            execution: execution(id),
            query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
            ..Default::default()
        };
        let asked = n.call::<QueryWorkflowResponse>(0, "QueryWorkflow", &query);
        let answered = async {
            let request = poll();
            let task = n.call::<PollWorkflowTaskQueueResponse>(1, "PollWorkflowTaskQueue", &request).await.unwrap();
            assert_eq!((&task.workflow_execution.unwrap().workflow_id, task.query.is_some()), (id, true));
            let answer = RespondQueryTaskCompletedRequest {
                namespace: "default".into(),
                task_token: task.task_token,
                completed_type: QueryResultType::Answered as i32,
                query_result: Some(Payloads::default()),
                ..Default::default()
            };
            n.call::<RespondQueryTaskCompletedResponse>(2, "RespondQueryTaskCompleted", &answer).await.unwrap();
        };
        let (asked, ()) = tokio::join!(asked, answered);
        assert_eq!(asked.unwrap().query_result, Some(Payloads::default()), "{id}");
    }
    until(|| (0..3).all(|node| n.held(node) == 0)).await;
}

#[tokio::test]
async fn clients_know_of_no_messages() {
    let n = Nodes::new(1).await;
    let refused = raw(&n.nodes[0].service, PATH, b"", &[("sempre-shard", "0"), ("sempre-hop", "1"), ("sempre-picture", "1")]).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
}
