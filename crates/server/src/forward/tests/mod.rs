//! Servers in this process, each a node with an engine of its own over one store; where the shards are is said by hand.
#![expect(clippy::disallowed_methods, reason = "servers under test run beside the test, in real time")]

mod callers;
mod calls;
mod messages;
mod moves;
mod reach;
mod strangers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering::Relaxed},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{
    FutureExt,
    future::{BoxFuture, ready},
};
use http_body_util::{BodyExt, Full};
use prost::Message;
use sempre_api::v1::{common::WorkflowType, taskqueue::TaskQueue, workflowservice::StartWorkflowExecutionRequest};
use sempre_core::{NamespaceId, WorkflowKey, ids::Uuid};
use sempre_engine::visibility::{Index, memory::MemoryIndex};
use sempre_store::{CommitBatch, CommitError, Fence, OpRef, Pending, Rows, Store, StoreError, StoreStats, Table, memory::MemoryStore};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tonic::Status;

use super::*;
use crate::{Server, ServerError, ServerSettings, Service, access::WORKFLOW};

/// Shards that are spread.
const SHARDS: u32 = 4;
/// From here on numbers are of what there is once.
const SINGLE_FIRST: u32 = u32::MAX - 1023;

/// The store as one node has it: it acquires what is placed at it; of what there is once each has its own, as nodes are not made to share it.
struct NodeStore {
    store: Arc<MemoryStore>,
    placed: Arc<Mutex<BTreeMap<u32, usize>>>,
    me: usize,
}

impl NodeStore {
    fn number(&self, shard: u32) -> u32 {
        if shard < SINGLE_FIRST { shard } else { shard - 2048 * self.me as u32 }
    }
}

impl Store for NodeStore {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        if shard < SINGLE_FIRST && self.placed.lock().unwrap().get(&shard) != Some(&self.me) {
            return ready(Err(StoreError::Elsewhere { shard })).boxed();
        }
        self.store.acquire(self.number(shard))
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        let Fence { shard, epoch } = batch.fence();
        if shard < SINGLE_FIRST {
            return self.store.commit(batch);
        }
        let mut own = CommitBatch::new(Fence { shard: self.number(shard), epoch });
        for op in batch.ops() {
            match op {
                OpRef::Put { table, key, value } => own.put(table, key, value),
                OpRef::Delete { table, key } => own.delete(table, key),
            }
        }
        self.store.commit(own)
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.store.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        self.store.scan(table, from, to, limit)
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        self.store.stream(prefix, from, max_bytes)
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn sempre_store::Snapshot>, StoreError>> {
        self.store.snapshot()
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}

/// What one node knows; the others may know something else.
#[derive(Clone, Default)]
struct Picture {
    version: u64,
    nodes: Vec<Arc<Node>>,
    /// `None`: nobody. What is not here is the last node's.
    shards: BTreeMap<u32, Option<usize>>,
    processes: BTreeMap<u64, usize>,
}

struct TestOwners {
    me: usize,
    picture: watch::Sender<Picture>,
    looks: AtomicU64,
}

impl Owners for TestOwners {
    fn find(&self, of: Of) -> Found {
        let picture = self.picture.borrow();
        let who = match of {
            Of::Shard(shard) => picture.shards.get(&shard).copied().unwrap_or(Some(picture.nodes.len() - 1)),
            Of::Process(process) => Some(picture.processes.get(&process).copied().unwrap_or(self.me)),
        };
        let owner = match who {
            None => Owner::Nobody,
            Some(who) if who == self.me => Owner::Here,
            Some(who) => Owner::At(Arc::clone(&picture.nodes[who])),
        };
        Found { owner, version: picture.version }
    }

    fn version(&self) -> u64 {
        self.picture.borrow().version
    }

    fn others(&self) -> Vec<Arc<Node>> {
        let picture = self.picture.borrow();
        picture.nodes.iter().enumerate().filter(|(node, _)| *node != self.me).map(|(_, node)| Arc::clone(node)).collect()
    }

    fn serves(&self, key: &KeyPrint) -> bool {
        self.is_node(key)
    }

    fn is_node(&self, key: &KeyPrint) -> bool {
        self.picture.borrow().nodes.iter().any(|node| node.key == *key)
    }

    fn newer(&self, version: u64) -> BoxFuture<'_, ()> {
        let mut picture = self.picture.subscribe();
        async move { drop(picture.wait_for(|picture| picture.version > version).await) }.boxed()
    }

    fn look(&self) {
        self.looks.fetch_add(1, Relaxed);
    }
}

fn start(id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Order".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        request_id: format!("request-{id}"),
        ..Default::default()
    }
}

/// A change of a picture: this node has the shard, or nobody.
fn at(shard: u32, who: Option<usize>) -> impl Fn(&mut Picture) {
    move |picture| {
        picture.shards.insert(shard, who);
    }
}

/// One of the nodes.
struct TestNode {
    service: Service,
    /// Where clients call it.
    address: SocketAddr,
    key: NodeKey,
    owners: Arc<TestOwners>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServerError>>,
}

/// Nodes, of which the last has everything at the begin.
struct Nodes {
    nodes: Vec<TestNode>,
    placed: Arc<Mutex<BTreeMap<u32, usize>>>,
    namespace: NamespaceId,
}

impl Nodes {
    async fn new(count: usize) -> Self {
        Self::with(count, |_| {}).await
    }

    /// With other settings.
    async fn with(count: usize, change: impl Fn(&mut ServerSettings)) -> Self {
        let any = || ([127, 0, 0, 1], 0).into();
        let (store, index) = (Arc::new(MemoryStore::new()), Arc::new(MemoryIndex::new()));
        let placed: Arc<Mutex<BTreeMap<u32, usize>>> = Arc::new(Mutex::new((0..SHARDS).map(|shard| (shard, count - 1)).collect()));
        let mut ports = Vec::new();
        for _ in 0..count {
            ports.push(NodePort::bind(any()).await.unwrap());
        }
        let named = |(me, port): (usize, &NodePort)| {
            Arc::new(Node { id: Uuid([me as u8 + 1; 16]), address: port.address().to_string(), key: port.key_print() })
        };
        let picture = Picture { version: 1, nodes: ports.iter().enumerate().map(named).collect(), ..Picture::default() };
        let mut nodes = Vec::new();
        for (me, port) in ports.into_iter().enumerate() {
            let mut settings = ServerSettings { address: any(), ..ServerSettings::default() };
            settings.engine.shards = SHARDS;
            // Notices have one line of numbers, which no two engines can share.
            settings.engine.notices_kept = 0;
            change(&mut settings);
            let key = port.key();
            let store = Arc::new(NodeStore { store: Arc::clone(&store), placed: Arc::clone(&placed), me });
            let opened = ready(Ok(index.clone() as Arc<dyn Index>));
            let owners = Arc::new(TestOwners { me, picture: watch::Sender::new(picture.clone()), looks: AtomicU64::new(0) });
            let server = Server::bind_among(settings, store, Some(Box::new(move |_| opened.boxed())), port, owners.clone()).await.unwrap();
            let (service, address) = (server.service().clone(), server.local_addr());
            let (stop, stopped) = oneshot::channel();
            let served = tokio::spawn(server.serve(async {
                // A dropped sender stops the server too.
                let _ = stopped.await;
            }));
            nodes.push(TestNode { service, address, key, owners, stop, served });
        }
        let last = nodes.last().unwrap().service.engine().clone();
        for shard in 0..SHARDS {
            last.take_up(shard).await.unwrap();
        }
        let namespace = last.namespace_named("default").unwrap();
        Self { nodes, placed, namespace }
    }

    fn forward(&self, node: usize) -> &Forward {
        self.nodes[node].service.router().forward().unwrap()
    }

    /// Calls that a node has sent to others, and taken from them.
    fn sent_and_taken(&self, node: usize) -> (u64, u64) {
        let counts = &self.forward(node).counts;
        (counts.sent.load(Relaxed), counts.taken.load(Relaxed))
    }

    /// Bytes that calls hold at a node.
    fn held(&self, node: usize) -> u64 {
        let (waiting, working) = self.nodes[node].service.router().room().used();
        waiting + working
    }

    /// A node has another picture, of the next version.
    fn know(&self, node: usize, change: impl FnOnce(&mut Picture)) {
        self.nodes[node].owners.picture.send_modify(|picture| {
            change(picture);
            picture.version += 1;
        });
    }

    /// All nodes have another picture.
    fn all_know(&self, change: impl Fn(&mut Picture)) {
        let version = self.nodes.iter().map(|node| node.owners.picture.borrow().version).max().unwrap();
        for node in &self.nodes {
            node.owners.picture.send_modify(|picture| {
                change(picture);
                picture.version = version + 1;
            });
        }
    }

    fn shard_of(&self, id: &str) -> u32 {
        let key = WorkflowKey { namespace: self.namespace, workflow_id: id.into() };
        self.nodes[0].service.engine().shard_of(key.slot()) as u32
    }

    /// One node gives the shard up, and nobody has it.
    async fn give_up(&self, shard: u32, from: usize) {
        self.nodes[from].service.engine().give_up(shard).await.unwrap();
        self.placed.lock().unwrap().remove(&shard);
    }

    /// A node takes the shard up, and nobody knows of it.
    async fn take_up(&self, shard: u32, to: usize) {
        self.placed.lock().unwrap().insert(shard, to);
        self.nodes[to].service.engine().take_up(shard).await.unwrap();
    }

    /// Calls a method of the workflow service at a node.
    async fn call<A: Message + Default>(&self, node: usize, method: &str, request: &impl Message) -> Result<A, Status> {
        self.call_within(node, method, request, "60S").await
    }

    async fn call_within<A: Message + Default>(
        &self,
        node: usize,
        method: &str,
        request: &impl Message,
        timeout: &str,
    ) -> Result<A, Status> {
        let path = format!("/{WORKFLOW}/{method}");
        let answer = raw(&self.nodes[node].service, &path, &request.encode_to_vec(), &[("grpc-timeout", timeout)]).await;
        answer.map(|bytes| A::decode(bytes).unwrap())
    }

    /// Stops a node.
    async fn stop(&mut self, node: usize) {
        let node = self.nodes.remove(node);
        node.stop.send(()).unwrap();
        node.served.await.unwrap().unwrap();
    }
}

/// One call with bytes for a request, as a client of this server makes it; gives the bytes of the answer.
async fn raw(service: &Service, path: &str, message: &[u8], headers: &[(&'static str, &str)]) -> Result<Bytes, Status> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let mut request = http::Request::post(path).version(http::Version::HTTP_2).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, body) = service.call(request.body(Full::new(frame.freeze())).unwrap()).await.into_parts();
    assert!(!parts.headers.keys().any(|name| name.as_str().starts_with("sempre-")), "{:?}", parts.headers);
    assert_eq!(parts.status, 200);
    let body = body.collect().await?;
    // A stream may have no message.
    let message = |bytes: Bytes| bytes.slice(PREFIX_BYTES.min(bytes.len())..);
    let status = body.trailers().and_then(Status::from_header_map).or_else(|| Status::from_header_map(&parts.headers));
    match status.expect("a status") {
        status if status.code() == tonic::Code::Ok => Ok(message(body.to_bytes())),
        refused => Err(refused),
    }
}

/// Waits until something is so; a bug waits for ever, and the test runner ends it.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
