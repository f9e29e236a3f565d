//! `Visibility`: what waits and what the index has are one answer, at every moment.

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use futures::{
    FutureExt,
    executor::{LocalPool, block_on},
    future::BoxFuture,
    task::LocalSpawnExt,
};
use sempre_core::{NamespaceId, RunId, RunKey, Span, Timestamp, WorkflowKey, ids::Uuid, visibility::Record};
use sempre_engine::{
    Clock, Spawner,
    visibility::{Change, Index, IndexError, Taken, Update, Visibility, memory::MemoryIndex, sqlite::Tuning},
};
use tokio::sync::oneshot;

use crate::{
    answers::{seeds, sorted},
    data::{filter, namespace, place, ready, record, run, scalar_field},
    indexes::{Make, postgres, sqlite},
};

type Sleeper = (i64, oneshot::Sender<()>);

/// Stands still until it is advanced.
#[derive(Default)]
struct HandClock {
    state: Mutex<(i64, Vec<Sleeper>)>,
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.state.lock().unwrap().0)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock().unwrap();
        let (sender, receiver) = oneshot::channel();
        if at.0 > state.0 {
            state.1.push((at.0, sender));
        }
        receiver.map(|_| ()).boxed()
    }
}

impl HandClock {
    fn advance(&self, by: Span) {
        let mut state = self.state.lock().unwrap();
        state.0 += by.0;
        let now = state.0;
        // Dropping a sender wakes its sleeper.
        state.1.retain(|(at, _)| *at > now);
    }

    fn sleepers(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.1.retain(|(_, sender)| !sender.is_closed());
        state.1.len()
    }
}

/// Keeps the writer task; the test runs it when it wants.
#[derive(Default)]
struct HandSpawner(Mutex<Vec<BoxFuture<'static, ()>>>);

impl Spawner for HandSpawner {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.0.lock().unwrap().push(task);
    }
}

struct World {
    visibility: Arc<Visibility>,
    clock: Arc<HandClock>,
    pool: LocalPool,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl World {
    fn new(index: Arc<dyn Index>) -> Self {
        let (clock, spawner, taken) = (Arc::new(HandClock::default()), HandSpawner::default(), Arc::<Mutex<Vec<Taken>>>::default());
        let told = taken.clone();
        let on_taken = Box::new(move |mut runs| told.lock().unwrap().append(&mut runs));
        let visibility = Arc::new(Visibility::new(index, clock.clone(), &spawner, on_taken));
        let pool = LocalPool::new();
        for task in spawner.0.into_inner().unwrap() {
            pool.spawner().spawn_local(task).unwrap();
        }
        Self { visibility, clock, pool, taken }
    }

    /// Runs the writer until it waits.
    fn settle(&mut self) {
        self.pool.run_until_stalled();
    }

    fn advance(&mut self, ms: i64) {
        self.settle();
        self.clock.advance(Span::millis(ms));
        self.settle();
    }

    fn count(&self) -> u64 {
        block_on(self.visibility.count(namespace(1), None)).unwrap()
    }

    fn take_told(&self) -> Vec<u64> {
        std::mem::take(&mut *self.taken.lock().unwrap()).into_iter().map(|taken| taken.version).collect()
    }
}

fn update(of: NamespaceId, run: RunId, version: u64, record: Option<Record>) -> Update {
    let workflow_id = record.as_ref().map_or_else(|| "gone".to_owned(), |record| record.workflow_id.clone());
    Update { key: RunKey { workflow: WorkflowKey { namespace: of, workflow_id }, run }, version, record: record.map(Arc::new) }
}

fn open(n: u8, version: u64) -> Update {
    let mut rng = Rng::with_seed(u64::from(n) + (version << 8));
    update(namespace(1), run(n), version, Some(record(&mut rng, namespace(1), run(n))))
}

#[test]
fn records_are_seen_at_once_and_leave_together_when_the_oldest_is_a_quarter_of_a_second_old() {
    let index = Arc::new(MemoryIndex::new());
    ready(index.as_ref());
    let mut world = World::new(index.clone());
    world.settle();
    assert_eq!(world.clock.sleepers(), 0, "no timer while nothing waits");
    world.visibility.put(vec![open(1, 1), open(2, 2)]);
    assert_eq!(world.count(), 2);
    world.advance(200);
    world.visibility.put(vec![open(1, 3), open(3, 4)]);
    world.settle();
    assert_eq!((world.count(), block_on(index.stats()).unwrap().records), (3, 0));
    world.advance(49);
    assert_eq!(block_on(index.stats()).unwrap().records, 0);
    world.advance(1);
    assert_eq!((world.count(), block_on(index.stats()).unwrap().records), (3, 3));
    assert_eq!(world.take_told(), [3, 2, 4], "the newest of each run, by age");
    assert_eq!((world.visibility.waiting(), world.clock.sleepers()), ((0, 0), 0));
}

#[test]
fn a_full_batch_does_not_wait() {
    let index = Arc::new(MemoryIndex::new());
    ready(index.as_ref());
    let mut world = World::new(index.clone());
    let mut rng = Rng::with_seed(1);
    let id = |n: u16| RunId(Uuid([[0; 14].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap()));
    let updates = (0..1500).map(|n| update(namespace(1), id(n), 1, Some(record(&mut rng, namespace(1), id(n))))).collect();
    world.visibility.put(updates);
    world.settle();
    assert_eq!((block_on(index.stats()).unwrap().records, world.visibility.waiting().0, world.count()), (1024, 476, 1500));
    world.advance(250);
    assert_eq!((block_on(index.stats()).unwrap().records, world.visibility.waiting().0), (1500, 0));
}

#[test]
fn there_is_no_room_while_too_much_waits() {
    let index = Arc::new(MemoryIndex::new());
    ready(index.as_ref());
    index.set_failing(true);
    let mut world = World::new(index.clone());
    let mut rng = Rng::with_seed(1);
    let big = |rng: &mut Rng, n| Record { task_queue: "q".repeat(1 << 20), ..record(rng, namespace(1), run(n)) };
    for n in 0..40 {
        let record = big(&mut rng, n);
        world.visibility.put(vec![update(namespace(1), run(n), 1, Some(record))]);
    }
    assert!(!world.visibility.has_room(), "40 MiB are too much");
    assert_eq!(world.visibility.room().now_or_never(), None);
    world.advance(250);
    assert!(!world.visibility.has_room(), "the index fails");
    assert_eq!((world.count(), world.take_told()), (40, vec![]));
    index.set_failing(false);
    world.advance(20_000);
    assert!(world.visibility.has_room());
    assert_eq!(world.visibility.room().now_or_never(), Some(()));
    assert_eq!((world.count(), block_on(index.stats()).unwrap().records, world.take_told().len()), (40, 40, 40));
}

#[test]
fn close_brings_what_waits_and_flush_does_not_wait_for_the_clock() {
    let index = Arc::new(MemoryIndex::new());
    ready(index.as_ref());
    let mut world = World::new(index.clone());
    world.visibility.put(vec![open(1, 1)]);
    let visibility = world.visibility.clone();
    world.pool.run_until(visibility.flush());
    assert_eq!(world.take_told(), [1]);
    world.visibility.put(vec![open(2, 2)]);
    world.pool.run_until(visibility.close());
    assert_eq!(world.take_told(), [2]);
    assert_eq!(block_on(world.visibility.count(namespace(1), None)), Err(IndexError::Closed));
}

#[test]
fn a_namespace_that_is_purged_leaves_nothing_behind() {
    let index = Arc::new(MemoryIndex::new());
    ready(index.as_ref());
    let mut world = World::new(index.clone());
    world.visibility.put(vec![open(1, 1)]);
    world.advance(250);
    world.visibility.put(vec![open(2, 2), update(namespace(2), run(2), 3, None)]);
    block_on(world.visibility.purge(namespace(1))).unwrap();
    assert_eq!((world.count(), world.visibility.waiting().0, block_on(index.stats()).unwrap().records), (0, 1, 0));
    world.advance(250);
    assert_eq!(world.take_told(), [1, 3]);
}

#[test]
fn a_rebuild_drops_what_was_not_put_again() {
    let index = Arc::new(MemoryIndex::new());
    ready(index.as_ref());
    let mut world = World::new(index);
    world.visibility.put(vec![open(1, 5), open(2, 5)]);
    world.advance(250);
    let visibility = world.visibility.clone();
    world.pool.run_until(visibility.begin_rebuild()).unwrap();
    world.visibility.put(vec![open(1, 4)]);
    world.pool.run_until(visibility.flush());
    world.pool.run_until(visibility.finish_rebuild()).unwrap();
    assert_eq!(world.count(), 1, "a rebuild may put older versions than the index had");
    assert_eq!(block_on(visibility.get(namespace(1), run(2))).unwrap(), None);
}

/// Random puts, at random moments in the index or not, against a plain index that has everything at once.
fn one_answer(few: u64, make: Make) {
    for seed in 0..seeds(few) {
        let mut rng = Rng::with_seed(seed);
        let Some(made) = make(Tuning::default()) else { return };
        let index = made.index.clone();
        let plain = MemoryIndex::new();
        ready(index.as_ref());
        ready(&plain);
        let mut world = World::new(index);
        for version in 1..60 {
            let (of, run) = (namespace(rng.u8(1..3)), run(rng.u8(..25)));
            let record = (rng.u8(..5) > 0).then(|| record(&mut rng, of, run));
            let change = match &record {
                Some(record) => Change::Put { version, record: Arc::new(record.clone()) },
                None => Change::Delete { namespace: of, run },
            };
            world.visibility.put(vec![update(of, run, version, record)]);
            block_on(plain.apply(vec![change])).unwrap();
            match rng.u8(..6) {
                0 => {
                    let visibility = world.visibility.clone();
                    world.pool.run_until(visibility.flush());
                }
                1 => world.clock.advance(Span::millis(rng.i64(0..200))),
                // The batch is on its way while the next ones are put.
                2 => drop(world.pool.try_run_one()),
                _ => {}
            }
            let story = format!("seed {seed}, version {version}");
            let depth = rng.u8(..3);
            let filter = Some(filter(&mut rng, depth)).filter(|_| rng.bool());
            let of = namespace(rng.u8(1..3));
            let none = Default::default();
            let all = block_on(plain.list(of, filter.as_ref(), None, 1000, &none)).unwrap();
            let limit = rng.usize(1..30);
            let page = block_on(world.visibility.list(of, filter.as_ref(), None, limit)).unwrap();
            assert_eq!(page, all[..limit.min(all.len())], "{filter:?}, {story}");
            if let Some(last) = page.last() {
                let rest = block_on(world.visibility.list(of, filter.as_ref(), Some(&place(last)), 1000)).unwrap();
                assert_eq!(rest, all[page.len()..], "{filter:?}, {story}");
            }
            assert_eq!(block_on(world.visibility.count(of, filter.as_ref())).unwrap(), all.len() as u64, "{filter:?}, {story}");
            let by = scalar_field(&mut rng);
            let groups = block_on(world.visibility.count_by(of, filter.as_ref(), &by)).unwrap();
            assert!(groups.is_sorted_by(|a, b| a.1 >= b.1));
            assert_eq!(sorted(groups), sorted(block_on(plain.count_by(of, filter.as_ref(), &by, &none)).unwrap()), "{filter:?}, {story}");
        }
    }
}

#[test]
fn what_waits_and_what_the_index_has_are_one_answer() {
    one_answer(15, sqlite);
}

#[test]
fn what_waits_and_what_an_index_in_postgres_has_are_one_answer() {
    one_answer(4, postgres);
}
