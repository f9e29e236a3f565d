//! Shards move, pictures differ, nodes die.

use sempre_api::v1::{
    common::WorkflowExecution,
    workflowservice::{
        DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse,
        PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
        ShutdownWorkerRequest, ShutdownWorkerResponse, SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse,
        StartWorkflowExecutionResponse,
    },
};
use sempre_core::transition::{QueueKind, QueueName};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::Code;

use super::*;

pub(super) const METHOD: &str = "DescribeWorkflowExecution";

pub(super) fn describe(id: &str) -> DescribeWorkflowExecutionRequest {
    let execution = Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() });
    DescribeWorkflowExecutionRequest { namespace: "default".into(), execution }
}

pub(super) type Described = DescribeWorkflowExecutionResponse;

/// What the owner of the shard says of a workflow that is not there.
#[track_caller]
pub(super) fn is_of_owner(answer: Result<Described, Status>) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
}

#[tokio::test]
async fn a_call_waits_for_an_owner_while_its_shard_moves() {
    let n = Nodes::new(3).await;
    let shard = n.shard_of("x");
    n.all_know(at(shard, None));
    n.give_up(shard, 2).await;
    let request = describe("x");
    let mut waits = Box::pin(n.call::<Described>(0, METHOD, &request));
    while n.nodes[0].owners.looks.load(Relaxed) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    n.take_up(shard, 1).await;
    n.all_know(at(shard, Some(1)));
    is_of_owner(waits.await);
    assert_eq!((n.sent_and_taken(0), n.sent_and_taken(1)), ((1, 0), (0, 1)));
}

#[tokio::test]
async fn a_start_that_waits_for_an_owner_keeps_no_other_out() {
    let n = Nodes::new(2).await;
    let gate = n.nodes[0].service.router().start_gate();
    let inside = || gate.turns() - gate.free();
    let again = || n.forward(0).counts.again.load(Relaxed);
    let shard = n.shard_of("x");
    // Nobody has it; then this node by the picture, whose engine has not taken it up; then it has.
    n.know(0, at(shard, None));
    n.give_up(shard, 1).await;
    let request = start("x");
    let mut waits = Box::pin(n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &request));
    for who in [Some(0), Some(0)] {
        let tried = again();
        while again() == tried {
            assert!(futures::poll!(&mut waits).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(inside(), 0);
        n.know(0, at(shard, who));
    }
    n.take_up(shard, 0).await;
    waits.await.unwrap();
    assert_eq!(inside(), 0);
    // One whose turn does not come is refused, as at the gate itself.
    n.know(0, at(shard, None));
    n.give_up(shard, 0).await;
    let request = StartWorkflowExecutionRequest { request_id: "other".into(), ..request };
    let mut waits = Box::pin(n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &request));
    let tried = again();
    while again() == tried {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    let mut others = Vec::new();
    while gate.free() > 0 {
        others.push(gate.enter(None, 1, OWNER_WAIT_MAX).await.unwrap());
    }
    // One that is done elsewhere needs no turn here.
    let other = (0..).map(|k| format!("y{k}")).find(|id| n.shard_of(id) != shard).unwrap();
    n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &start(&other)).await.unwrap();
    n.know(0, at(shard, Some(0)));
    assert_eq!(waits.await.unwrap_err().message(), "too many starts wait, try again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_none_is_done_twice_while_shards_move() {
    const CALLERS: usize = 8;
    const STARTS: usize = 25;
    let n = Arc::new(Nodes::new(3).await);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let n = Arc::clone(&n);
        callers.spawn(async move {
            let mut runs = BTreeMap::new();
            for k in 0..STARTS {
                let request = start(&format!("{caller}-{k}"));
                let started = n.call::<StartWorkflowExecutionResponse>(caller % 3, "StartWorkflowExecution", &request).await;
                runs.insert(request.workflow_id.clone(), started.expect("a start does not fail").run_id);
                // Without a request id: sent twice, it would be two.
                let signal = SignalWorkflowExecutionRequest {
                    namespace: "default".into(),
                    workflow_execution: describe(&request.workflow_id).execution,
                    signal_name: "s".into(),
                    ..Default::default()
                };
                let signalled = n.call::<SignalWorkflowExecutionResponse>((caller + 1) % 3, "SignalWorkflowExecution", &signal).await;
                signalled.expect("a signal does not fail");
            }
            runs
        });
    }
    let mut moves = 0;
    let mut runs = BTreeMap::new();
    while runs.len() < CALLERS * STARTS {
        // Each shard in its turn, there and back.
        let shard = moves % SHARDS;
        let (from, to) = if (moves / SHARDS).is_multiple_of(2) { (2, 1) } else { (1, 2) };
        n.all_know(at(shard, None));
        n.give_up(shard, from).await;
        n.take_up(shard, to).await;
        n.all_know(at(shard, Some(to)));
        moves += 1;
        while let Some(done) = callers.try_join_next() {
            runs.extend(done.expect("a caller ends"));
        }
    }
    assert!(moves >= SHARDS, "{moves}");
    for (id, run) in &runs {
        let described: Described = n.call(0, METHOD, &describe(id)).await.unwrap();
        let info = described.workflow_execution_info.unwrap();
        assert_eq!((&info.execution.unwrap().run_id, info.history_length), (run, 3), "{id}");
    }
    let list = ListWorkflowExecutionsRequest { namespace: "default".into(), page_size: 1000, ..Default::default() };
    loop {
        // What the index has not taken yet, only the owner knows.
        let listed: ListWorkflowExecutionsResponse = n.call(0, "ListWorkflowExecutions", &list).await.unwrap();
        assert!(listed.executions.len() <= CALLERS * STARTS);
        if listed.executions.len() == CALLERS * STARTS {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!((0..3).map(|node| n.forward(node).counts.lost.load(Relaxed)).sum::<u64>(), 0);
}

#[tokio::test]
async fn a_worker_that_goes_has_no_poll_at_any_node() {
    const QUEUES: u64 = 8;
    let n = Arc::new(Nodes::new(3).await);
    for shard in 0..SHARDS / 2 {
        n.give_up(shard, 2).await;
        n.take_up(shard, 1).await;
        n.all_know(at(shard, Some(1)));
    }
    let mut polls = JoinSet::new();
    for k in 0..QUEUES {
        let n = Arc::clone(&n);
        polls.spawn(async move {
            let poll = PollActivityTaskQueueRequest {
                namespace: "default".into(),
                task_queue: Some(TaskQueue { name: format!("q{k}"), ..Default::default() }),
                worker_instance_key: "worker".into(),
                ..Default::default()
            };
            n.call::<PollActivityTaskQueueResponse>(0, "PollActivityTaskQueue", &poll).await
        });
    }
    let taken = |node: usize| n.sent_and_taken(node).1;
    until(|| taken(1) + taken(2) == QUEUES).await;
    assert!(taken(1) > 0 && taken(2) > 0);
    let begun = Instant::now();
    let gone = ShutdownWorkerRequest {
        namespace: "default".into(),
        worker_instance_key: "worker".into(),
        task_queue: "q0".into(),
        ..Default::default()
    };
    n.call::<ShutdownWorkerResponse>(0, "ShutdownWorker", &gone).await.unwrap();
    while let Some(poll) = polls.join_next().await {
        assert!(poll.unwrap().unwrap().task_token.is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "they end by themselves after a minute: {:?}", begun.elapsed());

    // One that cannot be reached may have polls of it.
    let n = Nodes::new(2).await;
    n.know(0, |picture| {
        let node = Node { address: "127.0.0.1:1".into(), ..(*picture.nodes[1]).clone() };
        picture.nodes[1] = Arc::new(node);
    });
    let refused = n.call::<ShutdownWorkerResponse>(0, "ShutdownWorker", &gone).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, NOT_ALL));
}

#[tokio::test]
async fn a_poll_goes_where_the_home_of_its_queue_goes() {
    let n = Nodes::new(3).await;
    let name = QueueName { namespace: n.namespace, name: "q".into(), kind: QueueKind::Workflow, sticky: false, version: None };
    let shard = n.nodes[0].service.engine().shard_of(name.home()) as u32;
    let request = poll();
    let mut waits = Box::pin(n.call::<PollWorkflowTaskQueueResponse>(0, "PollWorkflowTaskQueue", &request));
    while n.held(2) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    n.all_know(at(shard, None));
    n.give_up(shard, 2).await;
    n.take_up(shard, 1).await;
    n.all_know(at(shard, Some(1)));
    while n.held(1) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    until(|| n.held(2) == 0).await;
    let id = (0..).map(|k| format!("x{k}")).find(|id| n.shard_of(id) == shard).unwrap();
    n.call::<StartWorkflowExecutionResponse>(1, "StartWorkflowExecution", &start(&id)).await.unwrap();
    let task = waits.await.unwrap();
    assert_eq!(task.workflow_execution.unwrap().workflow_id, id);
}

#[tokio::test]
async fn calls_that_are_given_up_break_no_others() {
    const AT_ONCE: u64 = 500;
    const ROUNDS: u64 = 24;
    let n = Arc::new(Nodes::new(2).await);
    // One on each connection.
    let mut polls = JoinSet::new();
    for _ in 0..4 {
        let n = Arc::clone(&n);
        polls.spawn(async move { n.call::<PollWorkflowTaskQueueResponse>(0, "PollWorkflowTaskQueue", &poll()).await });
    }
    until(|| n.sent_and_taken(1).1 == 4).await;
    let held = || (n.held(0), n.held(1));
    let idle = held();
    for _ in 0..ROUNDS {
        until(|| held() == idle).await;
        let taken = n.sent_and_taken(1).1;
        let mut calls = JoinSet::new();
        for _ in 0..AT_ONCE {
            let n = Arc::clone(&n);
            calls.spawn(async move { n.call::<Described>(0, METHOD, &describe("x")).await });
        }
        // Answers are on their way.
        until(|| n.sent_and_taken(1).1 >= taken + AT_ONCE / 2).await;
        calls.shutdown().await;
    }
    is_of_owner(n.call(0, METHOD, &describe("x")).await);
    assert!(polls.try_join_next().is_none(), "a connection broke");
    assert_eq!(n.forward(0).counts.lost.load(Relaxed), 0);
}

#[tokio::test]
async fn a_node_that_stops_has_nobody_wait_for_an_owner() {
    let mut n = Nodes::new(2).await;
    n.know(0, |picture| picture.shards.extend((0..SHARDS).map(|shard| (shard, None))));
    let service = n.nodes[0].service.clone();
    let waiting = tokio::spawn(async move {
        let path = format!("/{WORKFLOW}/PollWorkflowTaskQueue");
        raw(&service, &path, &poll().encode_to_vec(), &[("grpc-timeout", "60S")]).await
    });
    until(|| n.nodes[0].owners.looks.load(Relaxed) > 0).await;
    n.stop(0).await;
    assert_eq!(waiting.await.unwrap().unwrap(), Bytes::new());
}

#[tokio::test]
async fn a_node_that_stops_finishes_the_calls_that_are_on_their_way_to_others() {
    let mut n = Nodes::new(2).await;
    n.know(0, |picture| picture.shards.extend((0..SHARDS).map(|shard| (shard, None))));
    let node = n.nodes.remove(0);
    let service = node.service.clone();
    let starting =
        tokio::spawn(
            async move { raw(&service, &format!("/{WORKFLOW}/StartWorkflowExecution"), &start("order").encode_to_vec(), &[]).await },
        );
    until(|| node.owners.looks.load(Relaxed) > 0).await;
    node.stop.send(()).unwrap();
    let forward = node.service.router().forward().unwrap();
    until(|| *forward.stopping.borrow() != Stopping::Not).await;
    node.owners.picture.send_modify(|picture| {
        picture.shards.clear();
        picture.version += 1;
    });
    starting.await.unwrap().unwrap();
    node.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_not_tried_without_end() {
    let n = Nodes::new(2).await;
    n.know(0, |picture| {
        let node = Node { address: "127.0.0.1:1".into(), ..(*picture.nodes[1]).clone() };
        picture.nodes[1] = Arc::new(node);
    });
    n.call::<Described>(0, METHOD, &describe("x")).await.unwrap_err();
    let tries = n.forward(0).counts.again.load(Relaxed);
    // At 50, 150, 350 ms, and each 400 ms or so from then on.
    assert!((10..=25).contains(&tries), "{tries}");
    assert!(n.nodes[0].owners.looks.load(Relaxed) >= tries, "each of them is a reason to look");
}

#[tokio::test]
async fn a_call_without_an_owner_is_unavailable_after_five_seconds() {
    let n = Nodes::new(2).await;
    let shard = n.shard_of("x");
    n.all_know(at(shard, None));
    let begun = Instant::now();
    let refused = n.call::<Described>(0, METHOD, &describe("x")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, NO_OWNER));
    let took = begun.elapsed();
    assert!(took >= OWNER_WAIT_MAX && took < OWNER_WAIT_MAX * 2, "{took:?}");
    assert_eq!(n.forward(0).counts.unowned.load(Relaxed), 1);
    // Others are not held up by it.
    let other = (0..).map(|k| format!("y{k}")).find(|id| n.shard_of(id) != shard).unwrap();
    is_of_owner(n.call(0, METHOD, &describe(&other)).await);
}

#[tokio::test]
async fn an_owner_by_the_picture_that_has_not_taken_its_shard_up_is_waited_for() {
    let n = Nodes::new(2).await;
    let shard = n.shard_of("x");
    n.give_up(shard, 1).await;
    // Both pictures say that it is at the second node: at the first, which sends there, and at that one itself.
    for node in [0, 1] {
        let again = n.forward(node).counts.again.load(Relaxed);
        let request = describe("x");
        let mut waits = Box::pin(n.call::<Described>(node, METHOD, &request));
        while n.forward(node).counts.again.load(Relaxed) == again {
            assert!(futures::poll!(&mut waits).is_pending());
            tokio::task::yield_now().await;
        }
        n.take_up(shard, 1).await;
        is_of_owner(waits.await);
        n.give_up(shard, 1).await;
    }
}

#[tokio::test]
async fn a_node_with_an_older_picture_is_told_by_the_one_that_it_asks() {
    let n = Nodes::new(2).await;
    let shard = n.shard_of("x");
    n.give_up(shard, 1).await;
    n.take_up(shard, 0).await;
    // The second has heard of it; the first, which has the shard now, has not.
    n.know(1, at(shard, Some(0)));
    let request = describe("x");
    let mut waits = Box::pin(n.call::<Described>(0, METHOD, &request));
    while n.nodes[0].owners.looks.load(Relaxed) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    n.know(0, at(shard, Some(0)));
    is_of_owner(waits.await);
}

#[tokio::test]
async fn who_knows_better_sends_a_call_on_and_nobody_after_him() {
    let n = Nodes::new(4).await;
    let shard = n.shard_of("x");
    // Each knows better than the one before: 0 → 1 → 2 → 3.
    let chain = |n: &Nodes| {
        for node in 0..3 {
            n.know(node, |picture| {
                picture.shards.insert(shard, Some(node + 1));
                picture.version = 10 * (node as u64 + 1);
            });
        }
    };
    chain(&n);
    let request = describe("x");
    let mut waits = Box::pin(n.call::<Described>(0, METHOD, &request));
    while n.nodes[0].owners.looks.load(Relaxed) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(n.sent_and_taken(3), (0, 0), "it would have been the third");
    assert!(n.sent_and_taken(1).0 > 0 && n.sent_and_taken(2).1 > 0 && n.sent_and_taken(2).0 == 0);
    n.know(0, |picture| {
        picture.shards.insert(shard, Some(2));
        picture.version = 15;
    });
    // From the third node on to the fourth: that is two.
    is_of_owner(waits.await);
    assert_eq!(n.sent_and_taken(3), (0, 1));
}

/// A way to a node that can be cut, and that can fall silent.
pub(super) struct Way {
    address: String,
    open: JoinSet<()>,
}

impl Way {
    /// To `to`; with `None` it takes connections and says nothing.
    async fn new(to: Option<String>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut open = JoinSet::new();
        open.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let to = to.clone();
                connections.spawn(async move {
                    let Some(to) = to else { return std::future::pending().await };
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, open }
    }
}

/// Where the second node is.
pub(super) fn address(n: &Nodes) -> String {
    n.nodes[1].owners.picture.borrow().nodes[1].address.clone()
}

/// Whoever calls the second node goes this way.
pub(super) fn lead(n: &Nodes, way: &Way) {
    n.know(0, |picture| {
        let node = Node { address: way.address.clone(), ..(*picture.nodes[1]).clone() };
        picture.nodes[1] = Arc::new(node);
    });
}

fn poll() -> PollWorkflowTaskQueueRequest {
    PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_with_its_connection_is_unavailable_at_once() {
    let n = Nodes::new(2).await;
    let mut way = Way::new(Some(address(&n))).await;
    lead(&n, &way);
    let request = poll();
    let mut waits = Box::pin(n.call::<PollWorkflowTaskQueueResponse>(0, "PollWorkflowTaskQueue", &request));
    while n.held(1) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    way.open.shutdown().await;
    let refused = waits.await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, LOST));
    assert_eq!(n.forward(0).counts.lost.load(Relaxed), 1);
    until(|| n.held(1) == 0).await;
    // Nothing answers there now; another way is found with the next picture.
    let request = describe("x");
    let mut waits = Box::pin(n.call::<Described>(0, METHOD, &request));
    let again = n.forward(0).counts.again.load(Relaxed);
    while n.forward(0).counts.again.load(Relaxed) == again {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    let way = Way::new(Some(address(&n))).await;
    lead(&n, &way);
    is_of_owner(waits.await);
}

#[tokio::test]
async fn a_node_that_takes_connections_and_says_nothing_is_given_up() {
    let n = Nodes::new(2).await;
    let way = Way::new(None).await;
    lead(&n, &way);
    let begun = Instant::now();
    let refused = n.call::<Described>(0, METHOD, &describe("x")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, NO_OWNER));
    assert!(begun.elapsed() < OWNER_WAIT_MAX * 2, "{:?}", begun.elapsed());
    assert_eq!(n.sent_and_taken(1), (0, 0));
}

/// Takes a node's connections on until it is told to fall silent, and then reads nothing more, as a process that is stopped.
pub(super) async fn silent_way(to: String, silent: watch::Receiver<bool>) -> Way {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut open = JoinSet::new();
    open.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, mut silent) = (to.clone(), silent.clone());
            connections.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let fell_silent = tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => false,
                    told = silent.wait_for(|silent| *silent) => told.is_ok(),
                };
                if fell_silent {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    Way { address, open }
}

#[tokio::test]
async fn a_node_that_falls_silent_is_given_up_by_pings() {
    let n = Nodes::new(2).await;
    let (fall_silent, silent) = watch::channel(false);
    let way = silent_way(address(&n), silent).await;
    lead(&n, &way);
    let request = poll();
    let mut waits = Box::pin(n.call::<PollWorkflowTaskQueueResponse>(0, "PollWorkflowTaskQueue", &request));
    while n.held(1) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    fall_silent.send_replace(true);
    let refused = waits.await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, LOST));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
