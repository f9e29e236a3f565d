//! Which nodes are reached: probes, and what becomes of calls to a node that does not answer them.

use sempre_api::v1::workflowservice::PollWorkflowTaskQueueRequest;
use sempre_engine::{Peers, Sent as Told};
use tonic::Code;

use super::{
    moves::{METHOD, address, describe, is_of_owner, lead, silent_way},
    *,
};
use crate::forward::reach::{PATH, told};

/// Shorter than that of a server, so that tests are quick.
const SILENCE: Duration = Duration::from_millis(600);

/// Lines of the first node, beside its own, and who reaches whom by them.
struct Asks {
    lines: Arc<Lines>,
    reach: Arc<Reach>,
    task: JoinHandle<()>,
}

impl Drop for Asks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asks {
    fn of(n: &Nodes) -> Self {
        let owners: Arc<dyn Owners> = n.nodes[0].owners.clone();
        let lines = Arc::new(Lines::new(n.nodes[0].key.clone(), Arc::clone(&owners)));
        let reach = Arc::new(Reach::new(owners, Arc::clone(&lines), SILENCE));
        let task = tokio::spawn(Arc::clone(&reach).run());
        Self { lines, reach, task }
    }
}

/// The second node as the first knows it.
fn other(n: &Nodes) -> Arc<Node> {
    Arc::clone(&n.nodes[0].owners.picture.borrow().nodes[1])
}

fn poll() -> http::Request<Full<Bytes>> {
    let (mut parts, ()) = http::Request::post(format!("/{WORKFLOW}/PollWorkflowTaskQueue")).body(()).unwrap().into_parts();
    parts.headers.insert("content-type", "application/grpc".parse().unwrap());
    parts.headers.insert("grpc-timeout", "60S".parse().unwrap());
    let task_queue = Some(TaskQueue { name: "q".into(), ..Default::default() });
    let message = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() }.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    call::to_node(&parts, frame.freeze(), Kind::OTHER, Sender { hop: 1, version: 1 }, None).unwrap()
}

#[tokio::test]
async fn a_node_that_answers_says_whether_it_has_answers_too() {
    let n = Nodes::new(2).await;
    let (asks, node) = (Asks::of(&n), other(&n));
    let apart = |is_reached| vec![Apart { node: Arc::clone(&node), is_reached }];
    until(|| asks.reach.apart(&[Arc::clone(&node)]) == apart(true)).await;
    let second = tokio::spawn(Arc::clone(n.forward(1).reach()).run());
    until(|| asks.reach.apart(&[Arc::clone(&node)]).is_empty()).await;
    // Of one that it does not know it has heard nothing.
    let stranger = Arc::new(Node { key: NodeKey::generate().unwrap().print(), ..(*node).clone() });
    assert_eq!(asks.reach.apart(&[Arc::clone(&stranger)]), [Apart { node: stranger, is_reached: false }]);
    assert_eq!(asks.reach.unreached(), 0);
    second.abort();
}

/// What a node of before says to a probe, which it takes for a call.
#[tokio::test]
async fn a_node_that_does_not_know_probes_is_reached() {
    let n = Nodes::new(2).await;
    let probe = call::between_nodes("/sempre.node/Unheard", Bytes::new(), Sender { hop: 1, version: 1 });
    let Sent::Answered(answered) = n.forward(0).lines.probe(&other(&n), probe).await else { panic!("no answer") };
    assert_eq!(told(answered), None, "it does not say");
    let known = call::between_nodes(PATH, Bytes::new(), Sender { hop: 1, version: 1 });
    let Sent::Answered(answered) = n.forward(0).lines.probe(&other(&n), known).await else { panic!("no answer") };
    assert_eq!(told(answered), Some(false));
}

#[tokio::test]
async fn calls_to_a_node_that_falls_silent_are_lost_and_no_more_are_sent_until_it_answers() {
    let n = Nodes::new(2).await;
    let (fall_silent, silent) = watch::channel(false);
    let way = silent_way(address(&n), silent).await;
    lead(&n, &way);
    let (asks, node) = (Asks::of(&n), other(&n));
    until(|| asks.lines.open() > 1).await;
    let mut waits = Box::pin(asks.lines.send(&node, poll()));
    while n.held(1) == 0 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    let mut unreached = asks.reach.watch();
    assert!(unreached.borrow_and_update().is_empty());
    fall_silent.send_replace(true);
    let begun = Instant::now();
    assert!(matches!(waits.await, Sent::Lost(_)));
    assert!(begun.elapsed() < Duration::from_secs(4), "pings take longer than that: {:?}", begun.elapsed());
    assert_eq!(*unreached.borrow_and_update(), [node.id].into());
    assert_eq!(asks.reach.apart(&[Arc::clone(&node)]), [Apart { node: Arc::clone(&node), is_reached: false }]);
    // No connection is waited for.
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(matches!(asks.lines.send(&node, poll()).await, Sent::Not(_)));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // When that has lasted for as long as an owner is waited for, nobody waits any more.
    while !matches!(asks.lines.send(&node, poll()).await, Sent::GivenUp) {
        tokio::task::yield_now().await;
    }
    fall_silent.send_replace(false);
    unreached.wait_for(|unreached| unreached.is_empty()).await.unwrap();
    let probe = call::between_nodes(PATH, Bytes::new(), Sender { hop: 1, version: 1 });
    assert!(matches!(asks.lines.send(&node, probe).await, Sent::Answered(_)));
}

#[tokio::test]
async fn a_node_that_stood_still_itself_takes_nobody_for_silent() {
    let n = Nodes::new(2).await;
    let (fall_silent, silent) = watch::channel(false);
    let way = silent_way(address(&n), silent).await;
    lead(&n, &way);
    let (asks, node) = (Asks::of(&n), other(&n));
    until(|| asks.reach.apart(&[Arc::clone(&node)]).iter().all(|apart| apart.is_reached)).await;
    fall_silent.send_replace(true);
    let mut unreached = asks.reach.watch();
    // All tasks of this test stand still.
    std::thread::sleep(SILENCE * 2);
    let woken = Instant::now();
    unreached.wait_for(|unreached| !unreached.is_empty()).await.unwrap();
    // At least two more probes.
    assert!(woken.elapsed() > SILENCE / 4, "{:?}", woken.elapsed());
}

#[tokio::test]
async fn a_call_for_a_node_that_is_not_reached_looks_for_another_and_a_message_is_told_so() {
    let n = Nodes::new(2).await;
    let (lines, node, counts) = (&n.forward(0).lines, other(&n), &n.forward(0).counts);
    lines.set_unreached(&node, true);
    assert_eq!(n.forward(0).messages().deliver(3, Bytes::new()).await, Told::Elsewhere);
    let request = describe("x");
    let mut waits = Box::pin(n.call::<moves::Described>(0, METHOD, &request));
    while counts.again.load(Relaxed) < 3 {
        assert!(futures::poll!(&mut waits).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(n.nodes[0].owners.looks.load(Relaxed) > 1, "it asks for a newer picture");
    assert_eq!((lines.open(), n.sent_and_taken(1)), (0, (0, 0)));
    lines.set_unreached(&node, false);
    is_of_owner(waits.await);
}

#[tokio::test]
async fn clients_know_of_no_probes() {
    let n = Nodes::new(1).await;
    let refused = raw(&n.nodes[0].service, PATH, b"", &[("sempre-hop", "1"), ("sempre-picture", "1")]).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
}
