//! Offers of runs whose shards are elsewhere.

use super::*;

/// Two shards, both here, and a world that asks them.
fn world_of_two(window: usize) -> (World, Arc<Here>) {
    let here = Arc::new(Here::new(2));
    (0..2).for_each(|shard| here.come(Fence { shard, epoch: 1 }));
    let (clock, tasks) = (Arc::new(Hand::default()), Arc::new(Tasks::default()));
    let matching = Matching::new(clock.clone(), tasks.clone(), Arc::default(), here.clone(), None, window);
    matching.finish_loading();
    (World { clock, tasks, matching }, here)
}

/// Of these offers of a queue, those of a shard.
fn of_shard(here: &Here, q: &QueueName, offers: impl IntoIterator<Item = u32>, shard: usize) -> Vec<String> {
    let workflows = offers.into_iter().map(|n| offer(q, n, 3, 0).run.workflow);
    workflows.filter(|workflow| here.shard_of(workflow.slot()) == shard).map(|workflow| workflow.workflow_id).collect()
}

/// All that polls and reads of the store find.
fn drain(w: &World, store: &MemoryStore, q: &QueueName) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match w.take(q) {
            Some(id) => all.push(id),
            None if w.page_in(store, q) => {}
            None => return all,
        }
    }
}

#[test]
fn the_offers_of_a_shard_that_goes_leave_the_line_and_are_not_read_again() {
    let q = queue("q", false);
    let store = backlog(&q, 100);
    let (w, here) = world_of_two(10);
    block_on(w.matching.load(&store, (0, 1024))).unwrap();
    here.go(1);
    assert_eq!(w.matching.withdraw_absent(), std::slice::from_ref(&q), "the store has more of it");
    assert_eq!(drain(&w, &store, &q), of_shard(&here, &q, 0..100, 0));
    assert_eq!(w.counted(&q), 0);
    // Back again, they are offered by a read of its rows; those of the other shard were taken.
    here.come(Fence { shard: 1, epoch: 2 });
    for slot in (1..1024).step_by(2) {
        block_on(w.matching.load(&store, (slot, slot + 1))).unwrap();
    }
    let all = drain(&w, &store, &q);
    let wanted = of_shard(&here, &q, 0..100, 1);
    assert!(wanted.iter().all(|id| all.contains(id)), "{all:?}");
}

#[test]
fn an_offer_in_the_hands_of_a_poll_does_not_come_back_when_its_shard_has_gone() {
    let (w, here) = world_of_two(10);
    let q = queue("q", false);
    let shard = here.shard_of(offer(&q, 1, 3, 1).run.workflow.slot()) as u32;
    w.matching.offer(offer(&q, 1, 3, 1));
    let Polled::Handed(Handed::Offer(held)) = w.poll(&q) else { panic!("an offer waits") };
    here.go(shard);
    assert!(w.matching.withdraw_absent().is_empty());
    drop(held);
    // One that was made while it was on its way out.
    w.matching.offer(offer(&q, 1, 3, 2));
    assert_eq!((w.take(&q), w.counted(&q)), (None, 0));
}

#[test]
fn a_page_whose_reading_began_before_a_shard_went_brings_none_of_its_offers() {
    let q = queue("q", false);
    let store = Arc::new(backlog(&q, 5000));
    let (w, here) = world_of_two(4000);
    block_on(w.matching.load(&*store, (0, 1024))).unwrap();
    while w.matching.backlog(&q) > 1 {
        w.take(&q);
    }
    let claim = w.matching.claim_page(&q).unwrap();
    let slow = Slow(store.clone(), AtomicBool::new(false));
    let mut page = Box::pin(w.matching.page(&slow, &q, claim));
    assert!(page.as_mut().now_or_never().is_none(), "it reads the first slot, which is of the first shard");
    // Offers that come behind the window meanwhile belong to the page.
    let late = |shard: usize| (5000..).find(|n| !of_shard(&here, &q, [*n], shard).is_empty()).unwrap();
    let late = [late(0), late(1)];
    for n in late {
        w.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    here.go(0);
    w.matching.withdraw_absent();
    slow.1.store(true, Ordering::Relaxed);
    block_on(page);
    assert_eq!(drain(&w, &store, &q), of_shard(&here, &q, (3999..5000).chain(late), 1));
}
