//! Series that move when the store fails, when it lets everybody wait, and when a caller goes at the wrong moment.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all, ready},
};
use rusqlite::Connection;
use sempre_api::v1::{taskqueue::TaskQueue, workflowservice::PollWorkflowTaskQueueRequest};
use sempre_server::{Server, ServerSettings};
use sempre_store::{
    CommitBatch, CommitError, Pending, Rows, Snapshot, Store, StoreError, StoreStats, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tonic::{Code, Request};

use crate::{
    messages::start,
    metrics::{Folder, read},
    support::{TestServer, until},
};

/// What is made to move here.
pub(crate) const FAULTS: [&str; 6] = [
    "sempre_commit_failures_total",
    "persistence_errors",
    "sempre_store_checkpoint_failures_total",
    "sempre_lost_polls_total",
    "sempre_starts_waiting",
    "sempre_starts_refused_total",
];

/// A store in memory that refuses commits, or lets them wait for their acknowledgement.
struct Faulty {
    inner: MemoryStore,
    /// Commits that are refused from now on.
    refuse: AtomicUsize,
    hold: watch::Sender<bool>,
    /// Commits that had to wait.
    held: AtomicUsize,
}

impl Faulty {
    fn new() -> Arc<Self> {
        let (hold, _) = watch::channel(false);
        Arc::new(Self { inner: MemoryStore::new(), refuse: AtomicUsize::new(0), hold, held: AtomicUsize::new(0) })
    }
}

impl Store for Faulty {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        self.inner.acquire(shard)
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return ready(Err(CommitError::Rejected { reason: "test".into() })).boxed();
        }
        let durable = self.inner.commit(batch);
        let mut hold = self.hold.subscribe();
        if *hold.borrow() {
            self.held.fetch_add(1, Ordering::SeqCst);
        }
        async move {
            hold.wait_for(|hold| !hold).await.expect("the store is there");
            durable.await
        }
        .boxed()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.inner.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        self.inner.scan(table, from, to, limit)
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        self.inner.stream(prefix, from, max_bytes)
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        self.inner.snapshot()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        self.inner.close()
    }
}

struct World {
    store: Arc<Faulty>,
    server: TestServer,
    metrics: SocketAddr,
}

impl World {
    async fn new() -> Self {
        let store = Faulty::new();
        let settings = ServerSettings {
            address: ([127, 0, 0, 1], 0).into(),
            metrics_address: Some(([127, 0, 0, 1], 0).into()),
            ..ServerSettings::default()
        };
        let server = TestServer::serve(Server::bind(settings, store.clone()).await.expect("a server")).await;
        let metrics = server.metrics.expect("a port of metrics");
        Self { store, server, metrics }
    }

    async fn start(&self, id: &str) -> Result<(), Code> {
        let request =
            sempre_api::v1::workflowservice::StartWorkflowExecutionRequest { workflow_id: id.into(), request_id: id.into(), ..start(10) };
        self.server.workflow().start_workflow_execution(request).await.map(drop).map_err(|refused| refused.code())
    }

    async fn told(&self) -> BTreeMap<String, f64> {
        read(self.metrics).await.0
    }
}

/// Reads until what is read is so; after a minute the test has failed, with what was read last.
async fn until_read<T: Debug>(what: impl AsyncFn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    let mut last = None;
    while let Ok(now) = timeout_at(end, what()).await {
        if is_so(&now) {
            return now;
        }
        // Also where reading never has to wait.
        assert!(Instant::now() < end, "it did not become so: {now:?}");
        last = Some(now);
    }
    panic!("it did not become so: {last:?}")
}

fn poll() -> Request<PollWorkflowTaskQueueRequest> {
    let task_queue = Some(TaskQueue { name: "queue".into(), ..TaskQueue::default() });
    let mut poll = Request::new(PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() });
    poll.set_timeout(Duration::from_secs(60));
    poll
}

#[tokio::test]
async fn a_commit_that_is_refused_is_counted() {
    let w = World::new().await;
    let failures = async || {
        let told = w.told().await;
        (told["sempre_commit_failures_total"], told["persistence_errors"])
    };
    assert_eq!((w.start("before").await, failures().await), (Ok(()), (0.0, 0.0)));
    w.store.refuse.store(1, Ordering::SeqCst);
    assert_eq!((w.start("refused").await, failures().await), (Err(Code::Unavailable), (1.0, 1.0)));
    assert_eq!((w.start("after").await, failures().await), (Ok(()), (1.0, 1.0)));
}

#[tokio::test]
async fn a_task_whose_poller_has_gone_while_it_was_committed_is_counted() {
    let w = World::new().await;
    let mut client = w.server.workflow();
    let gone = tokio::spawn(async move { client.poll_workflow_task_queue(poll()).await });
    until(|| w.server.engine.stats().pollers.get() == 1).await;
    w.store.hold.send_replace(true);
    let (started, ()) = tokio::join!(w.start("wf"), async {
        until(|| w.store.held.load(Ordering::SeqCst) > 0).await;
        gone.abort();
        // The server has heard of it.
        let none = "service_pending_requests{operation=\"PollWorkflowTaskQueue\",service_name=\"frontend\"} 0";
        until_read(async || read(w.metrics).await.1, |text| text.lines().any(|line| line == none)).await;
        assert!(w.told().await["sempre_lost_polls_total"] == 0.0, "nothing is lost before there is something");
        w.store.hold.send_replace(false);
    });
    assert_eq!(started, Ok(()));
    until_read(async || w.told().await["sempre_lost_polls_total"], |lost| *lost >= 1.0).await;
    let task = w.server.workflow().poll_workflow_task_queue(poll()).await.expect("a task").into_inner();
    assert_eq!(task.workflow_execution.map(|execution| execution.workflow_id).as_deref(), Some("wf"));
    assert!(w.told().await["sempre_lost_polls_total"] == 1.0);
}

#[tokio::test]
async fn starts_that_stand_before_the_gate_are_told_and_those_that_are_refused_there_are_counted() {
    /// More than are let in.
    const STARTS: usize = 300;
    let w = World::new().await;
    let gate = async || {
        let told = w.told().await;
        (told["sempre_starts_waiting"], told["sempre_starts_refused_total"])
    };
    assert_eq!(gate().await, (0.0, 0.0));
    w.store.hold.send_replace(true);
    let ids: Vec<String> = (0..STARTS).map(|n| format!("w{n}")).collect();
    let (ends, ()) = tokio::join!(join_all(ids.iter().map(|id| w.start(id))), async {
        until_read(&gate, |(waiting, _)| *waiting > 0.0).await;
        until_read(&gate, |(_, refused)| *refused > 0.0).await;
        w.store.hold.send_replace(false);
    });
    let refused = ends.iter().filter(|end| **end == Err(Code::ResourceExhausted)).count();
    assert_eq!(refused + ends.iter().filter(|end| end.is_ok()).count(), STARTS, "{ends:?}");
    assert_eq!(gate().await, (0.0, refused as f64));
}

#[tokio::test]
async fn a_checkpoint_that_fails_is_counted_and_the_next_one_does_what_it_should_have_done() {
    let folder = Folder::new("checkpoint");
    let data = folder.0.join("data");
    let settings = ServerSettings {
        address: ([127, 0, 0, 1], 0).into(),
        metrics_address: Some(([127, 0, 0, 1], 0).into()),
        ..ServerSettings::default()
    };
    let options = EmbeddedOptions { idle_checkpoint: Duration::from_millis(10), ..EmbeddedOptions::default() };
    let store = Arc::new(EmbeddedStore::open(&data, options).expect("a store"));
    let server = TestServer::serve(Server::bind(settings, store).await.expect("a server")).await;
    let metrics = server.metrics.expect("a port of metrics");
    // What SQLite would say on a disk that is full.
    let beside = Connection::open(data.join("cold.sqlite")).expect("the cold store");
    let full = "CREATE TRIGGER full BEFORE INSERT ON state BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END";
    beside.busy_timeout(Duration::from_secs(60)).expect("patience");
    beside.execute_batch(full).expect("a trigger");
    assert!(read(metrics).await.0["sempre_store_checkpoint_failures_total"] == 0.0);
    server.workflow().start_workflow_execution(start(10)).await.expect("starts");
    until_read(async || read(metrics).await.0["sempre_store_checkpoint_failures_total"], |failures| *failures > 0.0).await;
    let done = read(metrics).await.0["sempre_store_checkpoints_total"];
    beside.execute_batch("DROP TRIGGER full").expect("it is gone");
    until_read(async || read(metrics).await.0["sempre_store_checkpoints_total"], |checkpoints| *checkpoints > done).await;
    let rows: i64 = beside.query_row("SELECT count(*) FROM state", [], |row| row.get(0)).expect("a count");
    assert!(rows > 0, "the run is in the cold store");
}
