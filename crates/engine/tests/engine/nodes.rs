//! Two engines over one store, each with some of the shards, as nodes of a cluster have them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use sempre_api::v1::workflowservice::{DescribeNamespaceRequest, PollWorkflowTaskQueueResponse};
use sempre_core::{
    NamespaceId, Refusal, Span, WorkflowKey,
    ids::Uuid,
    transition::{QueueKind, QueueName},
};
use sempre_engine::{
    Components, Engine, Peers, Sent, Settings,
    visibility::{Index, memory::MemoryIndex},
};
use sempre_store::{CommitBatch, CommitError, Fence, OpRef, Pending, Rows, Store, StoreError, StoreStats, Table};

use crate::support::*;

/// From here on numbers are of what there is once: each node has its own, so that they do not fence each other.
const SINGLES: u32 = u32::MAX - 1024;

/// By shard: the node that may acquire it.
type Placed = Arc<Mutex<BTreeMap<u32, usize>>>;

/// The store as one node has it: it acquires only what is placed at it. That nobody else commits is the fences' work.
struct Node {
    store: Arc<TestStore>,
    placed: Placed,
    me: usize,
    /// The first node has what there is once, and the other a copy, which nobody reads anew.
    has_copies: bool,
}

impl Node {
    fn number(&self, shard: u32) -> u32 {
        if shard < SINGLES || self.has_copies { shard } else { shard - 2048 * self.me as u32 }
    }
}

impl Store for Node {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        let is_mine = match shard < SINGLES {
            true => self.placed.lock().unwrap().get(&shard) == Some(&self.me),
            false => !self.has_copies || self.me == 0,
        };
        if !is_mine {
            return futures::future::ready(Err(StoreError::Elsewhere { shard })).boxed();
        }
        self.store.acquire(self.number(shard))
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        let Fence { shard, epoch } = batch.fence();
        if shard < SINGLES || self.has_copies {
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
        self.store.close()
    }
}

/// Two nodes. The first has both shards at the begin.
pub(crate) struct Nodes {
    pub(crate) a: World,
    pub(crate) b: World,
    /// The index of both.
    pub(crate) index: Arc<MemoryIndex>,
    placed: Placed,
    namespace: NamespaceId,
}

/// The way between the engines of the nodes, and what is to go wrong on it.
#[derive(Default)]
pub(crate) struct Post {
    placed: Placed,
    engines: Mutex<BTreeMap<usize, Engine>>,
    /// So many messages are carried out, and their answers are lost.
    pub(crate) lost: AtomicUsize,
    /// So many do not come at all.
    pub(crate) away: AtomicUsize,
    /// Each message takes less time than the one before.
    pub(crate) overtaking: AtomicBool,
    /// Those that came.
    pub(crate) taken: AtomicUsize,
}

/// The way of one node.
struct PostOf(Arc<Post>);

fn one_of(count: &AtomicUsize) -> bool {
    count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Peers for PostOf {
    fn deliver(&self, shard: u32, message: Bytes) -> BoxFuture<'static, Sent> {
        let post = self.0.clone();
        let steps = if post.overtaking.load(SeqCst) { 200usize.saturating_sub(10 * post.taken.load(SeqCst)) } else { 0 };
        async move {
            if one_of(&post.away) {
                return Sent::Elsewhere;
            }
            let node = if shard < SINGLES { post.placed.lock().unwrap().get(&shard).copied() } else { Some(0) };
            let engine = node.and_then(|node| post.engines.lock().unwrap().get(&node).cloned());
            let Some(engine) = engine else { return Sent::Elsewhere };
            post.taken.fetch_add(1, SeqCst);
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
            match engine.receive(shard, message).await {
                None => Sent::Elsewhere,
                Some(_) if one_of(&post.lost) => Sent::Lost,
                Some(answer) => Sent::Answered(answer),
            }
        }
        .boxed()
    }
}

async fn engine(w: &World, post: Option<&Arc<Post>>, placed: &Placed, index: &Arc<MemoryIndex>, me: usize) -> Engine {
    let node = Arc::new(Node { store: w.store.clone(), placed: placed.clone(), me, has_copies: post.is_some() });
    let opened = std::future::ready(Ok(index.clone() as Arc<dyn Index>));
    let peers = post.map(|post| Arc::new(PostOf(post.clone())) as Arc<dyn Peers>);
    let components = Components { index: Box::new(move |_| Box::pin(opened)), takes_shards: me == 0, peers, ..Components::default() };
    Engine::open_with(node, w.clock.clone(), Arc::new(Tasks), 10 + me as u64, w.settings.clone(), components).await.unwrap()
}

pub(crate) async fn nodes() -> Nodes {
    nodes_with(|_| {}).await
}

/// As [`nodes`], with other settings.
pub(crate) async fn nodes_with(change: impl FnOnce(&mut Settings)) -> Nodes {
    nodes_by(None, change).await
}

/// Two nodes that have each other do things. The second has the second shard.
pub(crate) async fn neighbours() -> (Nodes, Arc<Post>) {
    neighbours_with(|_| {}).await
}

/// As [`neighbours`], with other settings.
pub(crate) async fn neighbours_with(change: impl FnOnce(&mut Settings)) -> (Nodes, Arc<Post>) {
    let post = Arc::new(Post::default());
    let n = nodes_by(Some(&post), change).await;
    post.engines.lock().unwrap().extend([(0, n.a.engine.clone()), (1, n.b.engine.clone())]);
    n.give(1, &n.a, &n.b).await;
    (n, post)
}

async fn nodes_by(post: Option<&Arc<Post>>, change: impl FnOnce(&mut Settings)) -> Nodes {
    // Notices have one line of numbers, which no two engines can share.
    let mut settings = Settings { notices_kept: 0, ..settings() };
    change(&mut settings);
    let mut a = world_with(settings.clone()).await;
    let index = Arc::new(MemoryIndex::new());
    let placed = post.map(|post| post.placed.clone()).unwrap_or_default();
    placed.lock().unwrap().extend((0..settings.shards).map(|shard| (shard, 0)));
    a.engine = engine(&a, post, &placed, &index, 0).await;
    let engine = engine(&a, post, &placed, &index, 1).await;
    let b = World { engine, clock: a.clock.clone(), store: a.store.clone(), settings, outside: a.outside.clone() };
    let request = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let described = soon(a.engine.describe_namespace(request)).await.unwrap();
    let namespace = NamespaceId(Uuid::parse(&described.namespace_info.unwrap().id).unwrap());
    Nodes { a, b, index, placed, namespace }
}

impl Nodes {
    /// From now on this node may acquire the shard, and the other may not.
    pub(crate) fn place(&self, shard: u32, to: &World) {
        self.placed.lock().unwrap().insert(shard, usize::from(std::ptr::eq(to, &raw const self.b)));
    }

    /// A workflow id of this shard that begins so.
    pub(crate) fn id(&self, shard: u32, begin: &str) -> String {
        let of_shard = |id: &String| {
            let key = WorkflowKey { namespace: self.namespace, workflow_id: id.clone() };
            self.a.engine.shard_of(key.slot()) == shard as usize
        };
        (0..).map(|n| format!("{begin}-{n}")).find(of_shard).unwrap()
    }

    /// The shard that is the home of a queue.
    pub(crate) fn home_shard(&self, name: &str, kind: QueueKind, sticky: bool) -> u32 {
        let queue = QueueName { namespace: self.namespace, name: name.into(), kind, sticky, version: None };
        self.a.engine.shard_of(queue.home()) as u32
    }

    /// Who has a shard.
    pub(crate) fn owner(&self, shard: u32) -> &World {
        if self.placed.lock().unwrap()[&shard] == 0 { &self.a } else { &self.b }
    }

    /// Who is the home of the queue that tests poll for workflow tasks, and who is not.
    pub(crate) fn home(&self) -> (&World, &World) {
        let home = self.owner(self.home_shard(&queue().name, QueueKind::Workflow, false));
        (home, if std::ptr::eq(home, &raw const self.a) { &self.b } else { &self.a })
    }

    /// Who has a run.
    pub(crate) fn owner_of(&self, workflow_id: &str) -> &World {
        let key = WorkflowKey { namespace: self.namespace, workflow_id: workflow_id.into() };
        self.owner(self.a.engine.shard_of(key.slot()) as u32)
    }

    /// The next workflow task, at the home of its queue; with who has its run.
    pub(crate) async fn poll(&self) -> (PollWorkflowTaskQueueResponse, &World) {
        let task = self.home().0.poll().await;
        let owner = self.owner_of(&task.workflow_execution.as_ref().unwrap().workflow_id);
        (task, owner)
    }

    /// One node gives the shard up, the other takes it up.
    pub(crate) async fn give(&self, shard: u32, from: &World, to: &World) {
        soon(from.engine.give_up(shard)).await.unwrap();
        self.place(shard, to);
        soon(to.engine.take_up(shard)).await.unwrap();
        to.settle().await;
    }

    pub(crate) async fn advance(&self, span: Span) {
        self.a.advance(span).await;
    }
}

/// A call that was told that the shard is elsewhere.
#[track_caller]
pub(crate) fn elsewhere<T: std::fmt::Debug>(result: Result<T, Refusal>, shard: u32) {
    match result {
        Err(Refusal::Elsewhere { shard: of }) => assert_eq!(of, shard),
        other => panic!("{other:?}"),
    }
}
