//! The port for nodes is for nodes, and a node calls whom it means to call.

use sempre_api::v1::workflowservice::PollWorkflowTaskQueueRequest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;

use super::*;

fn request() -> http::Request<Full<Bytes>> {
    let (parts, ()) = http::Request::post(format!("/{WORKFLOW}/GetSystemInfo")).body(()).unwrap().into_parts();
    let kind = Kind::OTHER;
    let mut request = call::to_node(&parts, Bytes::from_static(&[0; 5]), kind, Sender { hop: 1, version: 1 }, None).unwrap();
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request
}

fn node(n: &Nodes, node: usize) -> Node {
    (*n.nodes[0].owners.picture.borrow().nodes[node]).clone()
}

/// What comes of a connection at the port for nodes until it ends.
async fn all(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    bytes
}

#[tokio::test]
async fn a_client_without_tls_gets_no_word() {
    let n = Nodes::new(1).await;
    for said in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", b"\0\0\0\0\0\0\0\0"]
    {
        let mut stream = TcpStream::connect(node(&n, 0).address).await.unwrap();
        stream.write_all(said).await.unwrap();
        // At most an alert of TLS: a record of two bytes.
        let told = all(stream).await;
        assert!(told.len() <= 7 && !told.starts_with(b"HTTP"), "{told:?}");
    }
}

#[tokio::test]
async fn who_shows_no_key_or_one_of_no_node_is_not_let_in() {
    let n = Nodes::new(1).await;
    let to = node(&n, 0);
    for (connector, why) in identity::strangers(to.key) {
        let stream = TcpStream::connect(&to.address).await.unwrap();
        // The client's side may think for a moment that they have come to terms; the server never does.
        if let Ok(stream) = connector.connect("node".try_into().unwrap(), stream).await {
            assert_eq!(all(stream).await, b"", "{why}");
        }
    }
    let stranger = Lines::new(NodeKey::generate().unwrap(), n.nodes[0].owners.clone());
    assert!(matches!(stranger.send(&to, request()).await, Sent::Not(_)));
    assert_eq!(n.sent_and_taken(0), (0, 0));
}

#[tokio::test]
async fn a_node_calls_no_other_in_the_place_of_the_one_it_means() {
    let n = Nodes::new(2).await;
    let lines = &n.forward(0).lines;
    let sent = lines.send(&node(&n, 1), request()).await;
    assert!(matches!(sent, Sent::Answered(Answered::Call(_))));
    // Another program has the address now; or it is the node of before, which has begun anew.
    let other = Node { key: NodeKey::generate().unwrap().print(), ..node(&n, 1) };
    let Sent::Not(reason) = lines.send(&other, request()).await else { panic!("the call was sent") };
    assert!(reason.contains("no connection to node"), "{reason}");
}

#[tokio::test]
async fn a_node_that_has_been_removed_is_a_stranger_though_its_connection_is_open() {
    let n = Nodes::new(2).await;
    let lines = &n.forward(0).lines;
    assert!(matches!(lines.send(&node(&n, 1), request()).await, Sent::Answered(Answered::Call(_))));
    let service = n.nodes[0].service.clone();
    let poll = tokio::spawn(async move {
        let task_queue = Some(TaskQueue { name: "q".into(), ..Default::default() });
        let poll = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() };
        raw(&service, &format!("/{WORKFLOW}/PollWorkflowTaskQueue"), &poll.encode_to_vec(), &[("grpc-timeout", "60S")]).await
    });
    until(|| n.held(1) > 0).await;
    let removed = n.nodes[1].owners.picture.borrow().nodes[0].key;
    n.know(1, |picture| picture.nodes[0] = picture.nodes[1].clone());
    assert!(!n.forward(1).is_node(&removed));
    // What it has begun there ends with its connections, and nothing is kept of it.
    let refused = poll.await.unwrap().unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, LOST));
    until(|| lines.open() == 0 && n.held(1) == 0).await;
    for _ in 0..8 {
        assert!(matches!(lines.send(&node(&n, 1), request()).await, Sent::Not(_)));
    }
}

#[tokio::test]
async fn a_connection_comes_about_though_whoever_has_called_gives_up() {
    let n = Nodes::new(2).await;
    let (lines, to) = (&n.forward(0).lines, node(&n, 1));
    let mut given_up = Box::pin(lines.send(&to, request()));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    until(|| lines.open() == 1).await;
}

#[tokio::test]
async fn what_is_no_call_of_a_node_is_refused_to_nodes_too() {
    let n = Nodes::new(2).await;
    let mut plain = request();
    plain.headers_mut().remove("sempre-hop");
    assert!(matches!(n.forward(0).lines.send(&node(&n, 1), plain).await, Sent::Answered(Answered::NoNode)));
}
