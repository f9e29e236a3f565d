#![allow(clippy::unwrap_used, reason = "tests fail by unwrap")]

mod fair;
mod goodbyes;
mod limits;
mod nexus;
mod routes;
mod shards;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use prost::Message as _;
use sempre_core::{
    NamespaceId, RunId, RunKey, Timestamp, WorkflowKey,
    ids::Uuid,
    input::Poller,
    keys::{self, OfferRecord},
    transition::{Offer, OfferKey, QueueKind, QueueName},
};
use sempre_store::{CommitBatch, CommitError, Fence, Pending, Rows, Store, StoreError, StoreStats, Table, memory::MemoryStore};

use super::{
    levels::Levels,
    window::{Claim, Window},
    *,
};

#[derive(Default)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let now = self.0.clone();
        std::future::poll_fn(move |_| if now.load(Ordering::Relaxed) >= at.0 { Poll::Ready(()) } else { Poll::Pending }).boxed()
    }
}

/// Keeps tasks until they are run by hand.
#[derive(Default)]
struct Tasks(Mutex<Vec<BoxFuture<'static, ()>>>);

impl Spawner for Tasks {
    fn spawn(&self, _: &'static str, task: BoxFuture<'static, ()>) {
        self.0.lock().unwrap().push(task);
    }
}

type Started = u32;

struct World {
    clock: Arc<Hand>,
    tasks: Arc<Tasks>,
    matching: Arc<Matching<Started>>,
}

/// A world that has not read its backlog.
fn new_world(window: usize) -> World {
    new_world_at(window, 0)
}

/// One shard, which is here.
fn all_here() -> Arc<Here> {
    let here = Here::new(1);
    here.come(Fence { shard: 0, epoch: 1 });
    Arc::new(here)
}

/// The same, that begins at this time.
fn new_world_at(window: usize, now: i64) -> World {
    let (clock, tasks) = (Arc::new(Hand(Arc::new(AtomicI64::new(now)))), Arc::new(Tasks::default()));
    let matching = Matching::new(clock.clone(), tasks.clone(), Arc::default(), all_here(), None, window);
    World { clock, tasks, matching }
}

fn world(window: usize) -> World {
    let world = new_world(window);
    world.matching.finish_loading();
    world
}

fn queue(name: &str, sticky: bool) -> QueueName {
    QueueName { namespace: NamespaceId(Uuid([1; 16])), name: name.into(), kind: QueueKind::Workflow, sticky, version: None }
}

fn offer(queue: &QueueName, n: u32, priority: u8, time: i64) -> Offer {
    let mut run = [0; 16];
    run[12..].copy_from_slice(&n.to_be_bytes());
    let run = RunKey { workflow: WorkflowKey { namespace: queue.namespace, workflow_id: format!("w{n}") }, run: RunId(Uuid(run)) };
    let key = OfferKey { queue: queue.hash64(), priority, time: Timestamp(time), run: run.run, scheduled_event_id: 2 };
    Offer {
        key,
        queue: queue.clone(),
        normal_name: "normal".into(),
        run,
        stamp: 1,
        volatile: false,
        routing: None,
        fairness: None,
        offered: Timestamp(time),
    }
}

fn poller(identity: &str) -> Poller {
    Poller { identity: identity.into(), ..Poller::default() }
}

impl World {
    /// Pages once what runs low of a queue; whether anything did.
    fn page_in(&self, store: &dyn Store, queue: &QueueName) -> bool {
        let claim = self.matching.claim_page(queue);
        claim.is_some_and(|claim| {
            block_on(self.matching.page(store, queue, claim));
            true
        })
    }

    fn poll(&self, queue: &QueueName) -> Polled<Started> {
        self.matching.poll(queue, poller("p"), &Caller::default())
    }

    /// A poll that finds an offer; its workflow id.
    fn take(&self, queue: &QueueName) -> Option<String> {
        match self.poll(queue) {
            Polled::Handed(Handed::Offer(held)) => Some(held.decided().offer.run.workflow.workflow_id),
            _ => None,
        }
    }

    fn wait(&self, queue: &QueueName) -> Waiting<Started> {
        match self.poll(queue) {
            Polled::Wait(waiting) => waiting,
            Polled::Handed(handed) => panic!("handed {handed:?}"),
        }
    }

    fn advance(&self, seconds: i64) {
        self.advance_by(Span::seconds(seconds));
    }

    fn advance_by(&self, span: Span) {
        self.clock.0.fetch_add(span.0, Ordering::Relaxed);
        let tasks = std::mem::take(&mut *self.tasks.0.lock().unwrap());
        for mut task in tasks {
            if task.as_mut().now_or_never().is_none() {
                self.tasks.0.lock().unwrap().push(task);
            }
        }
    }

    /// Waiting and stored offers, as they are shown.
    fn counted(&self, queue: &QueueName) -> u64 {
        self.matching.view(queue).map_or(0, |view| view.levels.iter().map(|level| level.backlog).sum())
    }
}

fn handed(waiting: &mut Waiting<Started>) -> Option<String> {
    match waiting.handed().now_or_never()?? {
        Handed::Offer(held) => Some(held.decided().offer.run.workflow.workflow_id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tasks_that_workers_leave_and_catch_up_with_are_counted_while_they_poll() {
    let world = world(10);
    let (normal, sticky) = (queue("normal", false), queue("sticky", true));
    let counted = || (world.matching.stats.tasks_left.get(), world.matching.stats.tasks_caught_up.get());
    world.matching.offer(offer(&normal, 1, 3, 1));
    assert_eq!(counted(), (0, 0), "it has no workers");
    assert!(world.take(&normal).is_some());
    assert_eq!(counted(), (0, 1));
    world.matching.offer(offer(&normal, 2, 3, 2));
    assert_eq!(counted(), (1, 1));
    assert!(world.take(&normal).is_some());
    assert_eq!(counted(), (1, 2));
    drop(world.wait(&sticky));
    world.matching.offer(offer(&sticky, 3, 3, 3));
    assert!(world.take(&sticky).is_some());
    assert_eq!(counted(), (1, 2), "those of a sticky queue are not of starts");
    world.advance(2);
    world.matching.offer(offer(&normal, 4, 3, 4));
    assert_eq!(counted(), (1, 2), "its workers have gone");
}

#[test]
fn offers_leave_by_priority_then_age() {
    let w = world(100);
    let q = queue("q", false);
    for (n, priority, time) in [(1, 3, 10), (2, 5, 1), (3, 1, 30), (4, 3, 5), (5, 1, 20)] {
        w.matching.offer(offer(&q, n, priority, time));
    }
    let order: Vec<_> = std::iter::from_fn(|| w.take(&q)).collect();
    assert_eq!(order, ["w5", "w3", "w4", "w1", "w2"]);
}

#[test]
fn pollers_are_served_in_order_and_gone_ones_are_skipped() {
    let w = world(100);
    let q = queue("q", false);
    let gone = w.wait(&q);
    let mut first = w.wait(&q);
    let mut second = w.wait(&q);
    drop(gone);
    w.matching.offer(offer(&q, 1, 3, 1));
    w.matching.offer(offer(&q, 2, 3, 2));
    assert_eq!(handed(&mut first).as_deref(), Some("w1"));
    assert_eq!(handed(&mut second).as_deref(), Some("w2"));
}

#[test]
fn an_offer_on_its_way_to_a_poller_that_leaves_comes_back() {
    let w = world(100);
    let q = queue("q", false);
    let leaving = w.wait(&q);
    w.matching.offer(offer(&q, 1, 3, 1));
    assert_eq!(w.matching.backlog(&q), 0, "it is in the channel of the poll");
    drop(leaving);
    assert_eq!(w.take(&q).as_deref(), Some("w1"));

    // The same for one that a poll has taken and not decided about.
    w.matching.offer(offer(&q, 2, 3, 1));
    let Polled::Handed(Handed::Offer(held)) = w.poll(&q) else { panic!("an offer waits") };
    let mut next = w.wait(&q);
    drop(held);
    assert_eq!(handed(&mut next).as_deref(), Some("w2"));
}

#[test]
fn a_reserved_poller_gets_the_started_task_or_its_place_back() {
    let w = world(100);
    let q = queue("q", false);
    assert!(w.matching.reserve(&offer(&q, 99, 3, 99)).is_none());
    let mut first = w.wait(&q);
    let mut second = w.wait(&q);
    let reserved = w.matching.reserve(&offer(&q, 99, 3, 99)).unwrap();
    assert!(!first.leave(), "somebody holds this poll");
    w.matching.unreserve(reserved);
    w.matching.reserve(&offer(&q, 99, 3, 99)).unwrap().hand(7);
    assert!(matches!(first.handed().now_or_never(), Some(Some(Handed::Started(7)))));
    // A failed commit drops the reservation: the poll learns that it must ask again.
    drop(w.matching.reserve(&offer(&q, 99, 3, 99)).unwrap());
    assert!(matches!(second.handed().now_or_never(), Some(None)));
}

#[test]
fn no_new_task_overtakes_a_backlog() {
    let w = world(100);
    let q = queue("q", false);
    w.matching.offer(offer(&q, 1, 3, 1));
    assert!(w.matching.reserve(&offer(&q, 99, 3, 99)).is_none());
    assert_eq!(w.take(&q).as_deref(), Some("w1"));
}

#[test]
fn a_withdrawn_offer_is_not_handed_out() {
    let w = world(100);
    let q = queue("q", false);
    let o = offer(&q, 1, 3, 1);
    w.matching.offer(o.clone());
    w.matching.withdraw(&o.key);
    assert_eq!(w.take(&q), None);
}

#[test]
fn sticky_queues_without_worker_are_not_used() {
    let w = world(100);
    let (sticky, normal) = (queue("sticky", true), queue("normal", false));
    assert!(!w.matching.sticky_available(&sticky));
    // Not loaded: the offer goes to the normal queue.
    w.matching.offer(offer(&sticky, 1, 3, 1));
    assert_eq!(w.take(&normal).as_deref(), Some("w1"));
    // A poller was there and left.
    drop(w.wait(&sticky));
    assert!(w.matching.sticky_available(&sticky));
    w.advance(9);
    assert!(w.matching.sticky_available(&sticky));
    w.advance(2);
    assert!(!w.matching.sticky_available(&sticky));
    // One that waits is there, however long.
    let waiting = w.wait(&sticky);
    w.advance(50);
    assert!(w.matching.sticky_available(&sticky));
    drop(waiting);
    // The worker says goodbye: what waits for it moves on, under its old row.
    w.matching.offer(offer(&sticky, 2, 3, 1));
    w.matching.unload_sticky(&sticky);
    assert!(!w.matching.sticky_available(&sticky));
    let Polled::Handed(Handed::Offer(held)) = w.poll(&normal) else { panic!("it moved") };
    let queued = held.decided();
    assert_eq!((queued.row.queue, queued.offer.queue.sticky), (sticky.hash64(), false));
}

#[test]
fn pollers_are_shown_for_five_minutes_and_idle_queues_are_forgotten() {
    let w = world(100);
    let q = queue("q", false);
    let waiting = w.wait(&q);
    w.advance(400);
    let shown = w.matching.view(&q).unwrap().pollers;
    assert_eq!(shown.iter().map(|(identity, p)| (identity.as_str(), p.seen)).collect::<Vec<_>>(), [("p", w.clock.now())]);
    drop(waiting);
    w.advance(299);
    assert_eq!(w.matching.view(&q).unwrap().pollers.len(), 1);
    w.advance(2);
    assert!(w.matching.view(&q).unwrap().pollers.is_empty());
    w.advance(31);
    drop(w.wait(&queue("other", false)));
    assert_eq!(w.matching.poller_seen(&q), None, "the sweep forgot it");
}

#[test]
fn close_answers_waiting_polls_and_new_ones() {
    let w = world(100);
    let q = queue("q", false);
    let mut waiting = w.wait(&q);
    w.matching.close();
    assert!(matches!(waiting.handed().now_or_never(), Some(Some(Handed::Closed))));
    assert!(matches!(w.poll(&q), Polled::Handed(Handed::Closed)));
}

/// A store with `count` offers of one queue, made in an order that has nothing to do with their slots.
fn backlog(q: &QueueName, count: u32) -> MemoryStore {
    let store = MemoryStore::new();
    let epoch = store.acquire(0).now_or_never().unwrap().unwrap();
    let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
    for n in 0..count {
        put(&mut batch, &offer(q, n, 3, i64::from(n)));
    }
    // Another queue's offers lie between.
    put(&mut batch, &offer(&queue("other", false), count, 3, 0));
    store.commit(batch).now_or_never().unwrap().unwrap();
    store
}

fn put(batch: &mut CommitBatch, o: &Offer) {
    batch.put(Table::Offer, &keys::offer(o.run.workflow.slot(), &o.key), &OfferRecord::new(o).encode_to_vec());
}

#[test]
fn ten_thousand_offers_come_back_in_order_through_a_small_window() {
    let q = queue("q", false);
    let store = backlog(&q, 10_000);
    let w = new_world(500);
    let mut early = w.wait(&q);
    block_on(w.matching.load(&store, (0, 1024))).unwrap();
    assert!(handed(&mut early).is_none(), "nothing is handed out before all is read: the order would be wrong");
    drop(early);
    w.matching.finish_loading();
    assert!(w.matching.backlog(&q) <= 500);
    assert_eq!(w.counted(&q), 10_000);
    let mut taken = Vec::new();
    loop {
        while let Some(id) = w.take(&q) {
            taken.push(id);
            assert_eq!(w.counted(&q), 10_000 - taken.len() as u64);
            if w.page_in(&store, &q) {
                assert_eq!(w.counted(&q), 10_000 - taken.len() as u64, "paging moves, it does not add");
            }
        }
        if !w.page_in(&store, &q) {
            break;
        }
    }
    let expected: Vec<_> = (0..10_000).map(|n| format!("w{n}")).collect();
    assert_eq!(taken.len(), expected.len());
    assert!(taken == expected, "first difference at {:?}", taken.iter().zip(&expected).position(|(a, b)| a != b));
}

#[test]
fn offers_that_come_while_a_page_is_read_are_not_missed() {
    let q = queue("q", false);
    let store = backlog(&q, 50);
    let w = world(40);
    block_on(w.matching.load(&store, (0, 1024))).unwrap();
    while w.matching.backlog(&q) > 5 {
        w.take(&q);
    }
    let claim = w.matching.claim_page(&q).unwrap();
    // Committed and offered after the read began, behind everything in memory.
    w.matching.offer(offer(&q, 1000, 3, 1_000_000));
    block_on(w.matching.page(&store, &q, claim));
    let mut last = None;
    loop {
        match w.take(&q) {
            Some(id) => last = Some(id),
            None if w.page_in(&store, &q) => {}
            None => break,
        }
    }
    assert_eq!(last.as_deref(), Some("w1000"));
}

#[test]
fn a_page_whose_bound_has_moved_meanwhile_is_read_again() {
    let q = queue("q", false);
    let store = Arc::new(backlog(&q, 50));
    let w = world(40);
    block_on(w.matching.load(&*store, (0, 1024))).unwrap();
    while w.matching.backlog(&q) > 5 {
        w.take(&q);
    }
    let claim = w.matching.claim_page(&q).unwrap();
    let slow = Slow(store.clone(), AtomicBool::new(false));
    let mut page = std::pin::pin!(w.matching.page(&slow, &q, claim));
    assert!(page.as_mut().now_or_never().is_none(), "the read has begun");
    // Before all others: they push the window's end forward in the line, and those pushed out are in no window.
    let mut batch = CommitBatch::new(Fence { shard: 0, epoch: block_on(store.acquire(0)).unwrap() });
    for n in 100..140 {
        let urgent = offer(&q, n, 1, i64::from(n));
        put(&mut batch, &urgent);
        w.matching.offer(urgent);
    }
    block_on(store.commit(batch)).unwrap();
    slow.1.store(true, Ordering::Relaxed);
    block_on(page);
    let mut taken = Vec::new();
    loop {
        match w.take(&q) {
            Some(id) => taken.push(id),
            None if w.page_in(&*store, &q) => {}
            None => break,
        }
    }
    // Nobody has decided about those taken first: their rows are still there.
    let expected: Vec<_> = (100..140).chain(0..50).map(|n| format!("w{n}")).collect();
    assert_eq!(taken, expected);
}

#[test]
fn a_read_for_another_claim_ends_nothing() {
    let q = queue("q", false);
    let (mut window, mut levels) = (Window::new(false), Levels::default());
    for n in 0..3 {
        let offer = offer(&q, n, 3, i64::from(n));
        window.insert(Queued { row: offer.key.clone(), offer }, Side::Current, 1, &mut levels, Timestamp(0));
    }
    let end = window.end();
    window.pop(Side::Current, &window.first(Side::Current).map(|(place, _)| *place).unwrap(), &mut levels);
    assert!(window.claim_page(Claim(2), false, 1) && !window.claim_page(Claim(3), false, 1));
    assert!(!window.page_read(Claim(1), end, false) && window.is_paging());
    assert!(window.page_read(Claim(2), end, false) && !window.is_paging());
}

/// A store whose scans wait until it is told.
struct Slow(Arc<MemoryStore>, AtomicBool);

impl Store for Slow {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        self.0.acquire(shard)
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        self.0.commit(batch)
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn sempre_store::Snapshot>, StoreError>> {
        self.0.snapshot()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.0.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let (from, to) = (from.to_vec(), to.to_vec());
        async move {
            std::future::poll_fn(|_| if self.1.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }).await;
            self.0.scan(table, &from, &to, limit).await
        }
        .boxed()
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        self.0.stream(prefix, from, max_bytes)
    }

    fn stats(&self) -> StoreStats {
        self.0.stats()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        self.0.close()
    }
}

#[test]
fn rows_of_a_queue_with_the_same_hash_stay_out_of_a_page() {
    let q = queue("q", false);
    let store = backlog(&q, 50);
    let w = world(40);
    block_on(w.matching.load(&store, (0, 1024))).unwrap();
    let mut foreign = offer(&queue("other", false), 1000, 3, 1_000_000);
    foreign.key.queue = q.hash64();
    let mut batch = CommitBatch::new(Fence { shard: 0, epoch: block_on(store.acquire(0)).unwrap() });
    put(&mut batch, &foreign);
    block_on(store.commit(batch)).unwrap();
    let mut taken = 0;
    loop {
        match w.take(&q) {
            Some(id) => {
                assert_ne!(id, "w1000");
                taken += 1;
            }
            None if w.page_in(&store, &q) => {}
            None => break,
        }
    }
    assert_eq!(taken, 50);
}

#[test]
fn queues_that_share_a_hash_share_nothing_else() {
    let mut queues = queue::Queues::<Started>::new();
    let (a, b) = (queue("a", false), queue("b", false));
    let o = offer(&a, 1, 3, 1);
    let row = o.key.clone();
    let (queue, new) = queues.open(7, &a, Timestamp(0));
    assert!(new);
    queue.insert(Queued { offer: o, row }, 10, Timestamp(0));
    assert!(queues.get(7, &b).is_none());
    assert_eq!(queues.open(7, &b, Timestamp(0)).0.len(), 0);
    assert_eq!(queues.get(7, &a).unwrap().len(), 1);
    assert_eq!(queues.remove(7, &b).unwrap().name.name, "b");
    assert!(queues.remove(7, &b).is_none());
    queues.retain(|queue| queue.len() > 0);
    assert_eq!(queues.with_hash(7).count(), 1);
}

/// The memory store's futures are ready at once.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing here waits")
}

/// A task in memory only has no row: what the window does not hold would be gone.
#[test]
fn volatile_offers_behind_a_full_window_come_in_with_it() {
    let world = world(2);
    let q = queue("q", false);
    let store = backlog(&q, 6);
    for n in 0..6 {
        world.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    // One in the midst of what the store has, one behind it, and one that a later offer pushes out of the window.
    let volatile = |n: u32, time: i64| Offer { volatile: true, ..offer(&q, n, 3, time) };
    world.matching.offer(volatile(104, 4));
    world.matching.offer(volatile(109, 9));
    world.matching.offer(volatile(100, 0));
    let withdrawn = volatile(108, 8);
    world.matching.offer(withdrawn.clone());
    world.matching.withdraw(&withdrawn.key);
    let mut taken = Vec::new();
    while taken.len() < 9 {
        world.page_in(&store, &q);
        taken.push(world.take(&q).expect("there are more"));
    }
    assert_eq!(taken, ["w0", "w100", "w1", "w2", "w3", "w4", "w104", "w5", "w109"]);
    assert!(world.take(&q).is_none());
}

#[test]
fn volatile_offers_of_a_sticky_queue_go_to_the_normal_one_with_its_worker() {
    let world = world(1);
    let sticky = queue("sticky", true);
    drop(world.wait(&sticky));
    world.matching.offer(Offer { volatile: true, ..offer(&sticky, 1, 3, 1) });
    world.matching.offer(Offer { volatile: true, ..offer(&sticky, 2, 3, 2) });
    world.matching.unload_sticky(&sticky);
    let normal = queue("normal", false);
    assert_eq!(world.take(&normal).as_deref(), Some("w1"));
    let store = MemoryStore::default();
    world.page_in(&store, &normal);
    assert_eq!(world.take(&normal).as_deref(), Some("w2"));
}
