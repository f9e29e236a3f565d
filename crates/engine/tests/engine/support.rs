//! A world: an engine, its clock, its store, and the few calls that most tests make.

use std::{
    collections::VecDeque,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes, command::Attributes},
    common::{Payload, Payloads, WorkflowExecution, WorkflowType},
    enums::{CommandType, EventType, TaskQueueKind},
    history::HistoryEvent,
    taskqueue::{StickyExecutionAttributes, TaskQueue},
    workflowservice::*,
};
use sempre_core::{
    Refusal, RunId, Span, Timestamp,
    transition::{CallbackCall, CallbackResult},
};
use sempre_engine::{
    AlertCall, AlertSender, CallbackSender, Clock, Components, Engine, HistoryReader, OpenError, Settings, Spawner, VirtualTime,
    check::{self, Counts, News},
    visibility::{Index, postgres::PostgresIndex},
};
use sempre_postgres_cluster::Cluster;
use sempre_store::{
    CommitBatch, CommitError, OpRef, Pending, Rows, Store, StoreError, StoreStats, Table,
    memory::MemoryStore,
    postgres::{Beside, PostgresOptions, PostgresStore},
};
use tokio::sync::oneshot;

type Sleeper = (Timestamp, oneshot::Sender<()>);

/// A clock that stands still until it is advanced.
pub(crate) struct HandClock {
    state: Mutex<(Timestamp, Vec<Sleeper>)>,
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap().0
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock().unwrap();
        if at <= state.0 {
            return futures::future::ready(()).boxed();
        }
        let (sender, receiver) = oneshot::channel();
        state.1.push((at, sender));
        receiver.map(|_| ()).boxed()
    }
}

impl HandClock {
    pub(crate) fn advance(&self, span: Span) {
        let mut state = self.state.lock().unwrap();
        state.0 = state.0 + span;
        let now = state.0;
        let (due, rest) = std::mem::take(&mut state.1).into_iter().partition(|(at, _)| *at <= now);
        state.1 = rest;
        for (_, sender) in due {
            // The sleeper may have gone.
            let _ = sender.send(());
        }
    }
}

pub(crate) struct Tasks;

impl Spawner for Tasks {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

/// Whom completion callbacks reach.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) calls: Mutex<Vec<CallbackCall>>,
    /// Answers to the next calls; Delivered when there are none.
    pub(crate) answers: Mutex<VecDeque<CallbackResult>>,
    /// Alerts that were sent, and whether they were taken.
    pub(crate) alerts: Mutex<Vec<(AlertCall, bool)>>,
    /// Alerts are not taken.
    pub(crate) takes_no_alerts: AtomicBool,
    /// Alerts of runs of this workflow are not taken.
    pub(crate) takes_none_of: Mutex<Option<&'static str>>,
    /// Nobody answers.
    pub(crate) silent: AtomicBool,
    /// Whoever takes an alert needs a permit to answer.
    pub(crate) alerts_held: Mutex<Option<Arc<tokio::sync::Semaphore>>>,
}

impl CallbackSender for Outside {
    fn send(&self, call: CallbackCall) -> BoxFuture<'static, CallbackResult> {
        self.calls.lock().unwrap().push(call);
        if self.silent.load(Ordering::SeqCst) {
            return futures::future::pending().boxed();
        }
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(CallbackResult::Delivered);
        futures::future::ready(answer).boxed()
    }
}

impl AlertSender for Outside {
    fn send(&self, call: AlertCall) -> BoxFuture<'static, Result<(), String>> {
        let execution = call.alert.run.as_ref().and_then(|run| run.execution.as_ref());
        let is_odd = execution.is_some_and(|run| Some(run.workflow_id.as_str()) == *self.takes_none_of.lock().unwrap());
        let taken = !is_odd && !self.takes_no_alerts.load(Ordering::SeqCst);
        self.alerts.lock().unwrap().push((call, taken));
        if self.silent.load(Ordering::SeqCst) {
            return futures::future::pending().boxed();
        }
        let answer = if taken { Ok(()) } else { Err("down".into()) };
        match self.alerts_held.lock().unwrap().clone() {
            None => futures::future::ready(answer).boxed(),
            Some(permits) => async move {
                permits.acquire().await.expect("never closed").forget();
                answer
            }
            .boxed(),
        }
    }
}

/// A store that outlives its engine, and can be told to fail.
pub(crate) struct TestStore {
    pub(crate) inner: Box<dyn Store>,
    /// What leads to the index, if that lies beside the store.
    beside: Option<Beside>,
    /// Calls that a store elsewhere has not answered.
    under_way: Arc<AtomicUsize>,
    /// Commits to refuse.
    pub(crate) refuse: AtomicUsize,
    /// Acquisitions to refuse, because the disk is full.
    pub(crate) full: AtomicUsize,
    /// Acquisitions are not answered.
    pub(crate) silent: AtomicBool,
    /// Commits panic.
    pub(crate) panics: AtomicBool,
    /// State of this run cannot be read.
    pub(crate) unreadable: Mutex<Option<RunId>>,
    /// Rows of schedules cannot be read.
    pub(crate) no_schedules: AtomicBool,
    /// Commits to carry out and then call unknown.
    pub(crate) doubt: AtomicUsize,
    /// Refuse everything from now on, for good.
    pub(crate) broken: AtomicBool,
    /// Commits whose rows of State are read at once, and which are refused when there is a permit.
    pub(crate) read_then_refused: AtomicUsize,
    /// Those rows.
    early: Arc<Mutex<Rows>>,
    /// Acknowledgements wait for a permit each.
    pub(crate) held: AtomicBool,
    pub(crate) permits: Arc<tokio::sync::Semaphore>,
    /// Reads and acquisitions take a turn of the scheduler.
    pub(crate) slow: AtomicBool,
    /// Reads of single rows of Meta to refuse.
    pub(crate) meta_unreadable: AtomicUsize,
    /// Reads of notices to refuse.
    pub(crate) notices_unreadable: AtomicUsize,
    /// Reads of what lists show to refuse.
    pub(crate) lists_unreadable: AtomicUsize,
    /// Snapshots end with an error after their first rows.
    pub(crate) snapshot_breaks: AtomicBool,
}

/// In memory; in the slice that runs on PostgreSQL, and where that is installed, in a schema of its own of a server that the tests
/// share, with what leads to the index there.
fn inner_store() -> (Box<dyn Store>, Option<Beside>) {
    static SERVER: LazyLock<Option<(Cluster, tokio::runtime::Runtime)>> = LazyLock::new(|| {
        let cluster = Cluster::start()?.expect("it starts");
        Some((cluster, tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()))
    });
    if !crate::ON_POSTGRES {
        return (Box::new(MemoryStore::default()), None);
    }
    let Some((cluster, runtime)) = &*SERVER else {
        eprintln!("the engine's tests on PostgreSQL run in memory instead");
        return (Box::new(MemoryStore::default()), None);
    };
    let options = PostgresOptions::parse(&cluster.address(), None).unwrap();
    let store = futures::executor::block_on(PostgresStore::open(options, runtime.handle().clone())).unwrap();
    let beside = store.beside();
    (Box::new(store), Some(beside))
}

/// A call of a store elsewhere that is not answered.
struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A snapshot of which only the begin can be read.
struct Broken(Option<Box<dyn sempre_store::Snapshot>>);

impl sempre_store::Snapshot for Broken {
    fn next(&mut self, _: usize) -> Result<sempre_store::SnapshotRows, StoreError> {
        match self.0.take() {
            Some(mut whole) => whole.next(1),
            None => Err(StoreError::Rejected { reason: "test".into() }),
        }
    }
}

impl Default for TestStore {
    fn default() -> Self {
        let (inner, beside) = inner_store();
        Self {
            inner,
            beside,
            under_way: Arc::default(),
            refuse: AtomicUsize::default(),
            full: AtomicUsize::default(),
            silent: AtomicBool::default(),
            panics: AtomicBool::default(),
            unreadable: Mutex::default(),
            no_schedules: AtomicBool::default(),
            doubt: AtomicUsize::default(),
            broken: AtomicBool::default(),
            read_then_refused: AtomicUsize::default(),
            early: Arc::default(),
            held: AtomicBool::default(),
            permits: Arc::new(tokio::sync::Semaphore::new(0)),
            slow: AtomicBool::default(),
            meta_unreadable: AtomicUsize::default(),
            notices_unreadable: AtomicUsize::default(),
            lists_unreadable: AtomicUsize::default(),
            snapshot_breaks: AtomicBool::default(),
        }
    }
}

fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl TestStore {
    /// Counts a call while it is under way; in memory none is.
    fn counted<'a, T: Send + 'a>(&self, call: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        if self.beside.is_none() {
            return call;
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(self.under_way.clone());
        async move {
            let _under_way = under_way;
            call.await
        }
        .boxed()
    }

    /// Waits for the wall clock's next moment if a store elsewhere has something to answer. False: it has not.
    async fn wait_for_answers(&self) -> bool {
        let waits = self.under_way.load(Ordering::SeqCst) > 0;
        if waits {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits
    }

    async fn turn(&self) {
        if self.slow.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    }

    fn show_then_refuse(&self, batch: &CommitBatch) -> Pending<Result<(), CommitError>> {
        let puts = batch.ops().filter_map(|op| match op {
            OpRef::Put { table: Table::State, key, value } => Some((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))),
            _ => None,
        });
        self.early.lock().unwrap().extend(puts);
        let (early, permits) = (self.early.clone(), self.permits.clone());
        async move {
            permits.acquire().await.expect("never closed").forget();
            early.lock().unwrap().clear();
            Err(CommitError::Rejected { reason: "test".into() })
        }
        .boxed()
    }

    pub(crate) fn rows(&self, table: Table) -> Rows {
        futures::executor::block_on(self.inner.scan(table, &[], &[0xff; 40], usize::MAX)).unwrap()
    }
}

impl Store for TestStore {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        if self.broken.load(Ordering::SeqCst) {
            return futures::future::ready(Err(StoreError::Failed { reason: "broken".into() })).boxed();
        }
        if take(&self.full) {
            return futures::future::ready(Err(StoreError::Rejected { reason: "disk full: test".into() })).boxed();
        }
        if self.silent.load(Ordering::SeqCst) {
            return futures::future::pending().boxed();
        }
        if self.slow.load(Ordering::SeqCst) {
            let acquired = self.counted(self.inner.acquire(shard));
            return async move {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                acquired.await
            }
            .boxed();
        }
        self.counted(self.inner.acquire(shard))
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        if self.broken.load(Ordering::SeqCst) {
            return futures::future::ready(Err(CommitError::Failed { reason: "broken".into() })).boxed();
        }
        assert!(!self.panics.load(Ordering::SeqCst), "a panic that the test wants");
        if take(&self.refuse) {
            return futures::future::ready(Err(CommitError::Rejected { reason: "test".into() })).boxed();
        }
        if take(&self.read_then_refused) {
            return self.show_then_refuse(&batch);
        }
        let done = self.counted(self.inner.commit(batch));
        if self.held.load(Ordering::SeqCst) {
            let permits = self.permits.clone();
            return async move {
                permits.acquire().await.expect("never closed").forget();
                done.await
            }
            .boxed();
        }
        if take(&self.doubt) {
            return done.map(|_| Err(CommitError::Unknown { reason: "test".into() })).boxed();
        }
        done
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn sempre_store::Snapshot>, StoreError>> {
        let snapshot = self.inner.snapshot();
        if self.snapshot_breaks.load(Ordering::SeqCst) {
            return snapshot.map(|whole| Ok(Box::new(Broken(Some(whole?))) as Box<dyn sempre_store::Snapshot>)).boxed();
        }
        snapshot
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let key = key.to_vec();
        let read = async move {
            self.turn().await;
            if table == Table::Schedule && self.no_schedules.load(Ordering::SeqCst) {
                return Err(StoreError::Rejected { reason: "test".into() });
            }
            if table == Table::Meta && take(&self.meta_unreadable) {
                return Err(StoreError::Rejected { reason: "test".into() });
            }
            self.inner.get(table, &key).await
        };
        self.counted(read.boxed())
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let (from, to) = (from.to_vec(), to.to_vec());
        let read = async move {
            self.turn().await;
            if table == Table::Visibility && take(&self.lists_unreadable) {
                return Err(StoreError::Rejected { reason: "test".into() });
            }
            if table == Table::Notice && take(&self.notices_unreadable) {
                return Err(StoreError::Rejected { reason: "test".into() });
            }
            let unreadable = *self.unreadable.lock().unwrap();
            if table == Table::State && unreadable.is_some_and(|run| from.windows(16).any(|w| w == run.0.0)) {
                return Err(StoreError::Rejected { reason: "test".into() });
            }
            let mut rows = self.inner.scan(table, &from, &to, limit).await?;
            if table == Table::State {
                rows.extend(self.early.lock().unwrap().iter().filter(|(key, _)| key[..] >= from[..] && key[..] < to[..]).cloned());
                rows.sort();
                rows.truncate(limit);
            }
            Ok(rows)
        };
        self.counted(read.boxed())
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        let prefix = prefix.to_vec();
        let read = async move {
            self.turn().await;
            self.inner.stream(&prefix, from, max_bytes).await
        };
        self.counted(read.boxed())
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        // The data stays for the next engine of the test.
        futures::future::ready(Ok(())).boxed()
    }
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) store: Arc<TestStore>,
    pub(crate) settings: Settings,
    pub(crate) outside: Arc<Outside>,
}

pub(crate) const NAMESPACE: &str = "default";
pub(crate) const QUEUE: &str = "queue";
/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn settings() -> Settings {
    let mut settings = Settings { shards: 2, ..Settings::default() };
    // Tests of it switch it on.
    settings.limits.waits_told_after = Span::ZERO;
    settings
}

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this should not take long")
}

pub(crate) async fn world() -> World {
    world_with(settings()).await
}

pub(crate) async fn world_with(settings: Settings) -> World {
    let clock = Arc::new(HandClock { state: Mutex::new((Timestamp::from_millis(1_700_000_000_000), Vec::new())) });
    let store = Arc::new(TestStore::default());
    let outside = Arc::new(Outside::default());
    let opened = Engine::open_with(store.clone(), clock.clone(), Arc::new(Tasks), 1, settings.clone(), components(&outside, &store));
    let engine = opened.await.unwrap();
    engine.ensure_namespace(NAMESPACE, Span::seconds(24 * 3600)).await.unwrap();
    World { engine, clock, store, settings, outside }
}

/// A world in virtual time, locked so often. Its wall clock stands still.
pub(crate) async fn world_in_virtual_time(locks: u32) -> (World, VirtualTime) {
    let clock = Arc::new(HandClock { state: Mutex::new((Timestamp::from_millis(1_700_000_000_000), Vec::new())) });
    let time = VirtualTime::unlocked(clock.clone());
    (0..locks).for_each(|_| time.lock());
    let (store, outside, settings) = (Arc::new(TestStore::default()), Arc::new(Outside::default()), settings());
    let opened =
        Engine::open_with(store.clone(), Arc::new(time.clone()), Arc::new(Tasks), 1, settings.clone(), components(&outside, &store));
    let engine = opened.await.unwrap();
    engine.ensure_namespace(NAMESPACE, Span::seconds(24 * 3600)).await.unwrap();
    (World { engine, clock, store, settings, outside }, time)
}

/// What is given by hand: callbacks go to `outside`, and the index is where the store is.
fn components(outside: &Arc<Outside>, store: &TestStore) -> Components {
    let mut components = Components { callbacks: outside.clone(), alerts: outside.clone(), ..Components::default() };
    if let Some(beside) = store.beside.clone() {
        let open = |owner| async move { Ok(Arc::new(PostgresIndex::open(beside, owner).await?) as Arc<dyn Index>) }.boxed();
        components.index = Box::new(open);
    }
    components
}

impl Drop for World {
    /// At any moment the store holds what one commit left: what no test looks at must be right too.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(problems(&*self.store.inner).1, [""; 0], "the store does not hold together");
        }
    }
}

/// What a check of the store counts and finds. It reads range by range, ten thousand times: of a store elsewhere it reads a copy.
pub(crate) fn problems(store: &dyn Store) -> (Counts, Vec<String>) {
    let copied = MemoryStore::default();
    let store = if crate::ON_POSTGRES {
        let snapshot = futures::executor::block_on(store.snapshot()).unwrap();
        futures::executor::block_on(sempre_store::copy::copy(snapshot, &copied, |_| {})).unwrap();
        &copied
    } else {
        store
    };
    let mut found = Vec::new();
    let mut tell = |news: News<'_>| {
        if let News::Problem(problem) = news {
            found.push(problem.to_string());
        }
    };
    let counts = check::check(store, &mut tell).now_or_never().unwrap().unwrap();
    (counts, found)
}

impl World {
    /// Moves the clock, then lets the engine settle.
    pub(crate) async fn advance(&self, span: Span) {
        self.settle().await;
        self.clock.advance(span);
        self.settle().await;
    }

    /// For the next engine.
    pub(crate) fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
    }

    /// Moves the clock by a millisecond without waiting for anything.
    pub(crate) fn clock_tick(&self) {
        self.clock.advance(Span::millis(1));
    }

    /// Moves the clock without waiting for anything.
    pub(crate) fn clock_advance(&self, span: Span) {
        self.clock.advance(span);
    }

    /// Waits until schedules have started so many runs.
    pub(crate) async fn until_started(&self, runs: u64) {
        for _ in 0..1000 {
            if self.engine.stats().scheduled_starts.get() >= runs {
                break;
            }
            self.settle().await;
        }
        assert_eq!(self.engine.stats().scheduled_starts.get(), runs);
    }

    /// The process is gone, what it had under way with it; a new one opens the store.
    pub(crate) async fn crash(&mut self) {
        let (store, clock, components) = (self.store.clone(), self.clock.clone(), components(&self.outside, &self.store));
        let opened = Engine::open_with(store, clock, Arc::new(Tasks), 3, self.settings.clone(), components);
        self.engine = opened.await.unwrap();
    }

    /// Gives every task of the engine turns until nothing moves.
    pub(crate) async fn settle(&self) {
        let mut quiet = 0;
        for _ in 0..1000 {
            for _ in 0..300 {
                tokio::task::yield_now().await;
            }
            quiet = if self.store.wait_for_answers().await { 0 } else { quiet + 1 };
            if quiet == 2 || self.store.beside.is_none() || self.store.held.load(Ordering::SeqCst) {
                break;
            }
        }
    }

    pub(crate) async fn reopen(&mut self) {
        soon(self.engine.shutdown()).await;
        self.try_reopen().await.unwrap();
    }

    /// Opens an engine anew; the last one has been shut down.
    pub(crate) async fn try_reopen(&mut self) -> Result<(), OpenError> {
        let (store, clock, components) = (self.store.clone(), self.clock.clone(), components(&self.outside, &self.store));
        let opened = Engine::open_with(store, clock, Arc::new(Tasks), 2, self.settings.clone(), components);
        self.engine = opened.await?;
        Ok(())
    }

    /// Waits until `done` says so.
    pub(crate) async fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if done() {
                return;
            }
            tokio::task::yield_now().await;
            self.store.wait_for_answers().await;
        }
        panic!("never: {what}");
    }

    pub(crate) async fn start(&self, workflow_id: &str) -> String {
        self.try_start(start_request(workflow_id)).await.unwrap().run_id
    }

    pub(crate) async fn try_start(&self, request: StartWorkflowExecutionRequest) -> Result<StartWorkflowExecutionResponse, Refusal> {
        soon(self.engine.start_workflow(request)).await
    }

    pub(crate) async fn poll(&self) -> PollWorkflowTaskQueueResponse {
        soon(self.engine.poll_workflow_task(poll_request(), None)).await.unwrap()
    }

    /// A poll that runs beside the test.
    pub(crate) fn poll_beside(&self) -> tokio::task::JoinHandle<PollWorkflowTaskQueueResponse> {
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.poll_workflow_task(poll_request(), None).await.unwrap() })
    }

    pub(crate) fn poll_sticky_beside(&self) -> tokio::task::JoinHandle<PollWorkflowTaskQueueResponse> {
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.poll_workflow_task(poll_sticky_request(), None).await.unwrap() })
    }

    pub(crate) async fn poll_activity(&self) -> PollActivityTaskQueueResponse {
        soon(self.engine.poll_activity_task(poll_activity_request(), None)).await.unwrap()
    }

    /// A poll for activities that runs beside the test.
    pub(crate) fn poll_activity_beside(&self) -> tokio::task::JoinHandle<PollActivityTaskQueueResponse> {
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.poll_activity_task(poll_activity_request(), None).await.unwrap() })
    }

    pub(crate) async fn complete(&self, token: &Bytes, commands: Vec<Command>) -> RespondWorkflowTaskCompletedResponse {
        self.try_complete(token, commands).await.unwrap()
    }

    pub(crate) async fn try_complete(
        &self,
        token: &Bytes,
        commands: Vec<Command>,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Refusal> {
        let request =
            RespondWorkflowTaskCompletedRequest { task_token: token.clone(), commands, identity: "worker".into(), ..Default::default() };
        soon(self.engine.respond_workflow_task_completed(request)).await
    }

    /// Completes and keeps the run on the worker.
    pub(crate) async fn complete_sticky(&self, token: &Bytes, commands: Vec<Command>) {
        let sticky_attributes = Some(StickyExecutionAttributes {
            worker_task_queue: Some(sticky_queue()),
            schedule_to_start_timeout: Some(Span::seconds(10).to_api()),
        });
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: token.clone(),
            commands,
            identity: "worker".into(),
            sticky_attributes,
            ..Default::default()
        };
        soon(self.engine.respond_workflow_task_completed(request)).await.unwrap();
    }

    pub(crate) async fn signal(&self, workflow_id: &str, name: &str) -> Result<(), Refusal> {
        let request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(execution(workflow_id, "")),
            signal_name: name.into(),
            identity: "client".into(),
            ..Default::default()
        };
        soon(self.engine.signal_workflow(request)).await.map(drop)
    }

    pub(crate) async fn describe(&self, workflow_id: &str) -> Result<DescribeWorkflowExecutionResponse, Refusal> {
        let request = DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: Some(execution(workflow_id, "")) };
        soon(self.engine.describe_workflow(request)).await
    }

    pub(crate) async fn history(&self, workflow_id: &str) -> Vec<HistoryEvent> {
        let request = history_request(workflow_id);
        let response = soon(self.engine.get_history(request, HistoryReader::default(), None)).await.unwrap();
        assert!(response.next_page_token.is_empty());
        response.history.unwrap().events().unwrap()
    }

    /// The names of a run's events, one a line.
    pub(crate) async fn names(&self, workflow_id: &str) -> Vec<&'static str> {
        names(&self.history(workflow_id).await)
    }
}

pub(crate) fn names(events: &[HistoryEvent]) -> Vec<&'static str> {
    for (n, event) in events.iter().enumerate().skip(1) {
        assert_eq!(event.event_id, events[n - 1].event_id + 1);
    }
    let name = |e: &HistoryEvent| EventType::try_from(e.event_type).unwrap().as_str_name();
    events.iter().map(|e| name(e).trim_start_matches("EVENT_TYPE_")).collect()
}

pub(crate) fn history_request(workflow_id: &str) -> GetWorkflowExecutionHistoryRequest {
    GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: Some(execution(workflow_id, "")), ..Default::default() }
}

pub(crate) fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() }
}

pub(crate) fn queue() -> TaskQueue {
    TaskQueue { name: QUEUE.into(), kind: TaskQueueKind::Normal as i32, ..Default::default() }
}

pub(crate) fn sticky_queue() -> TaskQueue {
    TaskQueue { name: "sticky-1".into(), kind: TaskQueueKind::Sticky as i32, normal_name: QUEUE.into() }
}

pub(crate) fn poll_request() -> PollWorkflowTaskQueueRequest {
    PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: Some(queue()), identity: "worker".into(), ..Default::default() }
}

pub(crate) fn poll_activity_request() -> PollActivityTaskQueueRequest {
    PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: Some(queue()), identity: "worker".into(), ..Default::default() }
}

pub(crate) fn poll_sticky_request() -> PollWorkflowTaskQueueRequest {
    PollWorkflowTaskQueueRequest { task_queue: Some(sticky_queue()), ..poll_request() }
}

pub(crate) fn start_request(workflow_id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: workflow_id.into(),
        workflow_type: Some(WorkflowType { name: "Test".into() }),
        task_queue: Some(queue()),
        identity: "client".into(),
        request_id: format!("start-{workflow_id}"),
        ..Default::default()
    }
}

pub(crate) fn payloads(text: &str) -> Payloads {
    Payloads { payloads: vec![Payload { data: Bytes::copy_from_slice(text.as_bytes()), ..Default::default() }] }
}

pub(crate) fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }
}

/// The run goes on as a new one of the same type.
pub(crate) fn continue_as_new() -> Command {
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: start_request("").workflow_type,
        task_queue: Some(queue()),
        ..Default::default()
    };
    command(CommandType::ContinueAsNewWorkflowExecution, Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes.into()))
}

pub(crate) fn done() -> Vec<Command> {
    let attributes = CompleteWorkflowExecutionCommandAttributes { result: Some(payloads("done")) };
    vec![command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(attributes))]
}

pub(crate) fn timer(id: &str, span: Span) -> Command {
    let attributes =
        sempre_api::v1::command::StartTimerCommandAttributes { timer_id: id.into(), start_to_fire_timeout: Some(span.to_api()) };
    command(CommandType::StartTimer, Attributes::StartTimerCommandAttributes(attributes))
}
