//! A world: one server that comes and goes, its disk, its clients and workers, and those who make trouble.
//!
//! | phase | what happens | ends |
//! |---|---|---|
//! | trouble | clients call, workers work, faults of every kind | all clients are done and all faults of the plan have happened |
//! | healing | nothing fails any more, nothing new is asked for | no run is open, or the patience is over |
//! | ending | every history is read from the disk and held against every invariant | |

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use futures::FutureExt;
use sempre_api::v1::{enums::IndexedValueType, operatorservice::AddSearchAttributesRequest};
use sempre_core::{NamespaceId, Span, WorkflowKey, ids::Uuid};
use sempre_engine::{
    Components, Engine, Settings,
    check::{self, Counts, News},
    visibility::{Index, memory::MemoryIndex},
};
use sempre_store::Table;

use crate::{
    acts::{feed, flow, pauses, schedules},
    chaos, client,
    disk::{Disk, Frozen, SimStore},
    ending::Ending,
    executor::{Executor, Group, WORLD},
    index::SlowIndex,
    invariants,
    lists::{self, Lists},
    network::Post,
    nodes::{self, Nodes},
    oracle::Oracle,
    plan::Plan,
    random::{Random, mix},
    script::{STAGE, TASKS},
    time::Time,
    trace::Trace,
    worker,
};

/// The namespace of all workflows.
pub const NAMESPACE: &str = "default";
/// Turns of tasks after which a world is stuck.
const TURNS_MAX: u64 = 6_000_000;
/// Trouble does not last longer.
const TROUBLE: Span = Span::seconds(3600);
/// After the healing, everything must have ended by then.
const PATIENCE: Span = Span::seconds(6 * 3600);
/// Closed runs are kept so long.
const RETENTION: Span = Span::seconds(30 * 86_400);
/// So long after that, all of them must be gone.
const FORGOTTEN: Span = Span::seconds(600);
/// Answers of lists must have come by then.
const LISTING: Span = Span::seconds(1200);
/// How often a node looks whether another has made the namespace.
const NAMESPACE_LOOK: Span = Span::millis(100);
/// How often the healed world is looked at.
const LOOK: Span = Span::seconds(20);

const DISK_STREAM: u64 = 2;
const ORDER_STREAM: u64 = 3;
const ENGINE_STREAM: u64 = 4;
const INDEX_STREAM: u64 = 5;
const HOOK_STREAM: u64 = 6;
const POST_STREAM: u64 = 7;
/// First of the streams of callers.
pub const CALLERS: u64 = 1000;

/// A running server.
#[derive(Clone)]
pub struct Process {
    /// Its tasks.
    pub group: Group,
    /// It.
    pub engine: Engine,
}

/// See the module.
pub struct World {
    /// What it is like.
    pub plan: Plan,
    /// Its tasks.
    pub executor: Executor,
    /// Its time.
    pub time: Time,
    /// What happens.
    pub trace: Arc<Trace>,
    /// What lasts.
    pub disk: Disk,
    /// What is known.
    pub oracle: Mutex<Oracle>,
    /// One for each node.
    servers: Vec<Mutex<Server>>,
    /// Processes so far.
    processes: AtomicU64,
    /// Who has which shard, if there are several nodes.
    pub(crate) nodes: Mutex<Nodes>,
    violations: Mutex<Vec<String>>,
    healed: AtomicBool,
    /// When, by the server's time, ns.
    pub(crate) healed_at: AtomicI64,
    busy: AtomicU64,
    /// Times a shard was taken up again.
    pub taken_up: AtomicU64,
    namespace: Mutex<Option<NamespaceId>>,
    /// Rows of the index of runs: they outlive processes, unless they are lost.
    index: Mutex<Arc<MemoryIndex>>,
}

#[derive(Default)]
struct Server {
    process: Option<Process>,
    store: Option<Arc<SimStore>>,
    /// The newest process, serving or not.
    group: Group,
    /// It has to be started again.
    fallen: bool,
}

/// How a world ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What did not hold.
    pub violations: Vec<String>,
    /// Of all that happened, and of what is on the disk.
    pub hash: u64,
    /// Numbers to show that something happened.
    pub numbers: Numbers,
}

/// See [`Outcome`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Runs.
    pub runs: u64,
    /// Events.
    pub events: u64,
    /// Turns of tasks.
    pub turns: u64,
    /// Processes of the server.
    pub processes: u64,
    /// Calls.
    pub calls: u64,
    /// Calls without an answer.
    pub unknown: u64,
    /// Commits whose outcome was unknown.
    pub commits_unknown: u64,
    /// Commits that failed.
    pub commits_refused: u64,
    /// Commits of nodes that had lost the shard.
    pub commits_fenced: u64,
    /// Virtual time, s.
    pub seconds: u64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What workflows say of themselves to lists.
fn attributes() -> AddSearchAttributesRequest {
    let names = [(STAGE, IndexedValueType::Keyword), (TASKS, IndexedValueType::Int)];
    let search_attributes = names.map(|(name, kind)| (name.to_owned(), kind as i32)).into();
    AddSearchAttributesRequest { namespace: NAMESPACE.into(), search_attributes }
}

/// Runs the world of a plan from its beginning to its end.
#[must_use]
pub fn run(plan: &Plan, print: bool) -> Outcome {
    let plan = plan.possible();
    let world = Arc::new(World {
        plan: plan.clone(),
        executor: Executor::default(),
        time: Time::default(),
        trace: Arc::new(Trace::new(print)),
        disk: Disk::default(),
        oracle: Mutex::default(),
        servers: (0..plan.nodes.max(1)).map(|_| Mutex::default()).collect(),
        processes: AtomicU64::new(0),
        nodes: Mutex::default(),
        violations: Mutex::default(),
        healed: AtomicBool::new(false),
        healed_at: AtomicI64::new(0),
        busy: AtomicU64::new(0),
        taken_up: AtomicU64::new(0),
        namespace: Mutex::default(),
        index: Mutex::new(Arc::new(MemoryIndex::new())),
    });
    let outcome = world.clone().live(print);
    // Tasks hold the world, and the world holds them.
    for node in 0..world.servers.len() {
        world.crash(node, "the end");
    }
    world.executor.clear();
    outcome
}

impl World {
    fn live(self: Arc<Self>, print: bool) -> Outcome {
        let mut order = Random::new(self.plan.seed, ORDER_STREAM);
        let mut turns = 0;
        nodes::start(&self);
        for node in 0..self.servers.len() {
            self.start_server(node);
        }
        worker::start_all(&self);
        client::start_all(&self);
        schedules::start_all(&self);
        flow::start_all(&self);
        feed::start_all(&self);
        chaos::start(&self);
        self.go_on(&mut order, &mut turns, TROUBLE, |world| world.busy.load(Ordering::SeqCst) == 0);
        self.heal();
        let end = self.time.since_begin() + PATIENCE.0;
        let mut done = false;
        while !done && self.is_well() && turns < TURNS_MAX && self.time.since_begin() < end {
            self.go_on(&mut order, &mut turns, LOOK, |_| false);
            let (counts, _) = self.look();
            flow::count(&self);
            let waiting = lock(&self.oracle).waiting;
            done = counts.open == 0 && counts.offers == 0 && counts.messages == 0 && waiting == 0 && !feed::is_owed(&self);
        }
        let mut numbers = Numbers { turns, ..Numbers::default() };
        if print && !self.is_well() {
            println!("{}", Ending::read(&self, None).histories());
        }
        if self.is_well() {
            self.check_disk("at the end");
            let lists = self.read_lists(&mut order, &mut turns);
            let ending = Ending::read(&self, lists);
            numbers.runs = ending.runs.len() as u64;
            numbers.events = ending.runs.iter().map(|run| run.events.len() as u64).sum();
            if !done {
                let waiting = lock(&self.oracle).waiting;
                let open = ending.open_runs();
                self.violation(format!(
                    "work that never ends: open runs: [{open}]; callers that wait for a job's or a schedule's end: {waiting}"
                ));
            }
            for violation in invariants::check(&ending) {
                self.violation(violation);
            }
            if print {
                println!("{}", ending.histories());
            }
            numbers.seconds = (self.time.since_begin() / 1_000_000_000) as u64;
            if self.is_well() {
                self.forget(&mut order, &mut turns);
            }
        }
        let oracle = lock(&self.oracle);
        (numbers.calls, numbers.unknown) = (oracle.calls, oracle.unknown);
        drop(oracle);
        numbers.processes = self.processes.load(Ordering::SeqCst);
        numbers.commits_fenced = self.disk.fenced();
        (numbers.commits_unknown, numbers.commits_refused) = self.disk.faults();
        let violations = std::mem::take(&mut *lock(&self.violations));
        Outcome { violations, hash: mix(&[self.trace.hash(), self.disk.hash(), turns]), numbers }
    }

    /// What lists say now.
    fn read_lists(self: &Arc<Self>, order: &mut Random, turns: &mut u64) -> Option<Lists> {
        let found = Arc::new(Mutex::new(None));
        let task = {
            let (world, found) = (self.clone(), found.clone());
            async move {
                let lists = lists::read(world.clone()).await;
                if lists.is_none() {
                    world.violation("lists give no answer".into());
                }
                *lock(&found) = lists;
            }
        };
        self.executor.spawn(WORLD, "reader of lists", task.boxed());
        self.go_on(order, turns, LISTING, |_| lock(&found).is_some());
        lock(&found).take()
    }

    /// Nobody calls any more, and the time for which closed runs are kept passes: nothing is left of them.
    fn forget(self: &Arc<Self>, order: &mut Random, turns: &mut u64) {
        self.tell(format_args!("the time of retention passes"));
        self.executor.kill(WORLD);
        self.time.set_ahead(RETENTION);
        let kept = |world: &Self| {
            world.disk.with_tables(|tables| {
                let of_runs = [
                    Table::Current,
                    Table::State,
                    Table::History,
                    Table::Offer,
                    Table::Outbox,
                    Table::Deadline,
                    Table::Visibility,
                    Table::Flow,
                ];
                of_runs.into_iter().map(|table| (table, tables.table(table).len())).filter(|(_, rows)| *rows > 0).collect::<Vec<_>>()
            })
        };
        self.go_on(order, turns, FORGOTTEN, |world| kept(world).is_empty());
        let kept = kept(self);
        if !kept.is_empty() {
            self.violation(format!("rows that retention leaves: {kept:?}"));
        }
        let listed = lock(&self.index).stats().now_or_never().and_then(Result::ok).unwrap_or_default().records;
        if listed > 0 {
            self.violation(format!("{listed} runs are in the index of runs after their retention"));
        }
    }

    /// Lets tasks go on until `done`, for `span` at most.
    fn go_on(self: &Arc<Self>, order: &mut Random, turns: &mut u64, span: Span, done: impl Fn(&Self) -> bool) {
        let end = self.time.since_begin() + span.0;
        while !done(self) && self.is_well() && self.time.since_begin() < end {
            if *turns >= TURNS_MAX {
                return self.violation(format!("{TURNS_MAX} turns and no end"));
            }
            if let Some(turn) = self.executor.turn(order) {
                *turns += 1;
                self.trace.numbers(&[turn.task, turn.ready as u64, self.time.now() as u64]);
                for panic in self.executor.take_panics() {
                    self.violation(format!("a panic in {panic}"));
                }
                // Work takes time, so that timers come in the middle of it.
                self.time.pass(Span(order.below(20_000) as i64));
            } else if let Some(wait) = self.time.until_next() {
                self.time.pass(Span(wait.0 + 1).min(Span(end - self.time.since_begin() + 1)));
            } else {
                return self.violation("nothing is ready and nobody sleeps".into());
            }
            self.start_again_if_fallen();
        }
    }

    /// Nothing has gone wrong yet; the first violation is the one to look at.
    pub fn is_well(&self) -> bool {
        lock(&self.violations).is_empty()
    }

    /// Something does not hold.
    pub fn violation(&self, what: String) {
        self.trace.line(self.time.now(), format_args!("VIOLATION: {what}"));
        lock(&self.violations).push(what);
    }

    /// No faults any more.
    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::SeqCst)
    }

    fn heal(self: &Arc<Self>) {
        self.trace.line(self.time.now(), format_args!("healing"));
        self.healed.store(true, Ordering::SeqCst);
        self.healed_at.store(self.time.server_now(), Ordering::SeqCst);
        pauses::mend(self);
        for server in &self.servers {
            let mut server = lock(server);
            self.executor.set_still(server.group, false);
            if let Some(store) = &server.store {
                store.heal();
            }
            if server.process.is_none() {
                server.fallen = true;
            }
        }
    }

    /// A task that the trouble phase waits for.
    pub fn spawn_busy(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.busy.fetch_add(1, Ordering::SeqCst);
        let world = self.clone();
        let task = async move {
            task.await;
            world.busy.fetch_sub(1, Ordering::SeqCst);
        };
        self.executor.spawn(WORLD, name, task.boxed());
    }

    /// A task that goes on for as long as the world.
    pub fn spawn_beside(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(WORLD, name, task.boxed());
    }

    /// A line of the trace.
    pub fn tell(&self, line: std::fmt::Arguments<'_>) {
        self.trace.line(self.time.now(), line);
    }

    // --- the server ---

    /// A node, while it serves.
    pub fn process(&self, node: usize) -> Option<Process> {
        lock(&self.servers[node]).process.clone()
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.servers.len()
    }

    /// A node chosen by chance, if there are several.
    pub fn some_node(&self, random: &mut Random) -> usize {
        if self.servers.len() == 1 { 0 } else { random.below(self.servers.len() as u64) as usize }
    }

    /// The namespace's id, once it is there.
    pub fn workflow(&self, workflow_id: &str) -> Option<WorkflowKey> {
        let namespace = (*lock(&self.namespace))?;
        Some(WorkflowKey { namespace, workflow_id: workflow_id.to_owned() })
    }

    /// The process that serves and has the workflow's shard, and how often it, or another, has taken a shard up again: while that stays
    /// the same, the shard does not leave.
    pub fn home(&self, workflow: &str) -> Option<(Group, u64)> {
        let Process { group, engine } = self.process(0)?;
        let shard = engine.shard_of(self.workflow(workflow)?.slot()) as u32;
        engine.shards().contains(&shard).then(|| (group, self.taken_up.load(Ordering::SeqCst)))
    }

    /// The server is gone, with all it had under way.
    pub fn crash(&self, node: usize, why: &str) {
        let (group, store) = {
            let mut server = lock(&self.servers[node]);
            server.process = None;
            server.fallen = false;
            (server.group, server.store.take())
        };
        self.tell(format_args!("crash of process {group}: {why}"));
        if let Some(store) = store {
            store.crash();
        }
        self.executor.kill(group);
        if why != "the end" {
            self.check_disk(why);
        }
    }

    /// No process has the disk.
    pub fn is_down(&self) -> bool {
        self.servers.iter().all(|server| lock(server).store.is_none())
    }

    /// The server is started, as the next process, unless there is one.
    pub fn start_server(self: &Arc<Self>, node: usize) {
        let plan = &self.plan;
        let (group, store) = {
            let mut server = lock(&self.servers[node]);
            if server.store.is_some() {
                return;
            }
            server.group = self.processes.fetch_add(1, Ordering::SeqCst) + 1;
            server.fallen = false;
            let faults = if self.is_healed() { plan.disk.healed() } else { plan.disk.clone() };
            let random = Random::new(plan.seed, mix(&[DISK_STREAM, server.group]));
            let of_several = (self.servers.len() > 1).then_some(node);
            let store = SimStore::open(self.disk.clone(), of_several, faults, random, self.time.clone(), self.trace.clone(), server.group);
            server.store = Some(store.clone());
            (server.group, store)
        };
        self.tell(format_args!("start of process {group}"));
        self.executor.spawn(group, "disk", store.clone().run().boxed());
        let world = self.clone();
        self.executor.spawn(group, "server", async move { world.serve(node, group, store).await }.boxed());
    }

    async fn serve(self: Arc<Self>, node: usize, group: Group, store: Arc<SimStore>) {
        let plan = &self.plan;
        // The first makes the namespace.
        while node > 0 && lock(&self.namespace).is_none() {
            self.time.sleep(NAMESPACE_LOOK).await;
        }
        let mut settings = Settings {
            shards: plan.shards,
            cache_bytes_max: plan.cache_bytes,
            commits_in_flight_max: plan.commits_in_flight,
            ..Settings::default()
        };
        // The seeds were found without these wake-ups.
        settings.limits.waits_told_after = Span::ZERO;
        settings.limits.workflow_pause = true;
        let mut random = Random::new(plan.seed, mix(&[INDEX_STREAM, group]));
        if random.permille(plan.index_lost) {
            self.tell(format_args!("the index of runs is lost"));
            *lock(&self.index) = Arc::new(MemoryIndex::new());
        }
        let trouble = (plan.index_lost > 0 && !self.is_healed()).then_some((random, plan.index_lost / 3));
        let index: Arc<dyn Index> = Arc::new(SlowIndex::new(lock(&self.index).clone(), self.time.clone(), trouble));
        let mut components = Components { index: Box::new(move |_| Box::pin(std::future::ready(Ok(index)))), ..Components::default() };
        if plan.feed > 0 {
            settings.limits.callback_addresses = feed::addresses();
            components.alerts = Arc::new(feed::Hook::new(self.clone(), Random::new(plan.seed, mix(&[HOOK_STREAM, group]))));
        }
        if self.servers.len() > 1 {
            // Numbers of notices are one sequence, that of one engine.
            settings.notices_kept = 0;
            components.takes_shards = false;
            let random = Random::new(plan.seed, mix(&[POST_STREAM, group]));
            components.peers = Some(Arc::new(Post::new(&self, random)));
        }
        let clock = Arc::new(self.time.server_clock());
        let spawner = Arc::new(self.executor.spawner(group));
        let seed = mix(&[plan.seed, ENGINE_STREAM, group]);
        let engine = match Engine::open_with(store, clock, spawner, seed, settings, components).await {
            Ok(engine) => engine,
            Err(error) => return self.fallen(node, &format!("it does not open: {error}")),
        };
        if node == 0
            && let Err(refusal) = engine.ensure_namespace(NAMESPACE, RETENTION).await
        {
            return self.fallen(node, &format!("simulated faults leave it without a namespace: {refusal:?}"));
        }
        if node == 0
            && let Err(refusal) = engine.add_search_attributes(attributes()).await
        {
            return self.fallen(node, &format!("simulated faults leave it without search attributes: {refusal:?}"));
        }
        let request = sempre_api::v1::workflowservice::DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
        if let Ok(described) = engine.describe_namespace(request).await {
            let id = described.namespace_info.map(|info| info.id).unwrap_or_default();
            *lock(&self.namespace) = Uuid::parse(&id).map(NamespaceId);
        }
        lock(&self.servers[node]).process = Some(Process { group, engine: engine.clone() });
        self.tell(format_args!("process {group} serves"));
        nodes::follow(&self, node, group, &engine);
        let reason = engine.fatal().await;
        self.fallen(node, &reason);
    }

    /// The process cannot go on by itself; only faults of the disk are an excuse.
    fn fallen(&self, node: usize, reason: &str) {
        self.tell(format_args!("the server has fallen: {reason}"));
        if !reason.contains("simulated") {
            self.violation(format!("the server has fallen: {reason}"));
        }
        let mut server = lock(&self.servers[node]);
        server.process = None;
        server.fallen = true;
    }

    fn start_again_if_fallen(self: &Arc<Self>) {
        for node in 0..self.servers.len() {
            if lock(&self.servers[node]).fallen {
                self.crash(node, "it had fallen");
                self.start_server(node);
            }
        }
    }

    // --- looking at the disk ---

    fn look(&self) -> (Counts, Vec<String>) {
        let mut found = Vec::new();
        let mut tell = |news: News<'_>| {
            if let News::Problem(problem) = news {
                found.push(problem.to_string());
            }
        };
        let frozen = Frozen(self.disk.tables());
        let counts = check::check(&frozen, &mut tell).now_or_never().and_then(Result::ok).unwrap_or_default();
        (counts, found)
    }

    /// What is durable holds together at any moment: every history rebuilds its state, every wait is on its list.
    pub fn check_disk(&self, when: &str) {
        flow::count(self);
        for problem in self.look().1 {
            self.violation(format!("the disk does not hold together ({when}): {problem}"));
        }
    }
}
