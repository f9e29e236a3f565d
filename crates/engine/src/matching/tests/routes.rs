//! Queues whose work goes to versions.

use sempre_core::{Route, Routing, Version, deployment::Ramp};

use super::*;

fn version(build: &str) -> Arc<Version> {
    Arc::new(Version { deployment: "d".into(), build_id: build.into() })
}

pub(super) fn route(current: Option<&str>, ramp: Option<(&str, f32)>) -> Option<Arc<Route>> {
    let ramp = ramp.map(|(build, percentage)| Ramp { version: Some(version(build)), percentage, revision: 1 });
    Some(Arc::new(Route { current: current.map(version), ramp, ..Route::default() }))
}

pub(super) fn line(queue: &QueueName, build: &str) -> QueueName {
    queue.line(Some(&version(build)))
}

pub(super) fn pinned(queue: &QueueName, build: &str, n: u32, time: i64) -> Offer {
    let routing = Routing { pinned: Some(version(build)), ramping: false };
    Offer { routing: Some(Arc::new(routing)), ..offer(&line(queue, build), n, 3, time) }
}

/// Else a version whose runs are always busy would begin no new ones.
#[test]
fn a_version_is_given_what_is_more_urgent_then_what_is_older() {
    let w = world(100);
    let (q, line) = (queue("q", false), line(&queue("q", false), "1"));
    w.matching.set_route(&q, route(Some("1"), None));
    let waits = |offer: Offer, since: i64| w.matching.offer(Offer { offered: Timestamp(since), ..offer });
    waits(pinned(&q, "1", 1, 1), 1);
    waits(offer(&q, 2, 3, 2), 2);
    waits(pinned(&q, "1", 3, 3), 3);
    waits(offer(&q, 4, 1, 4), 4);
    waits(offer(&q, 5, 3, 5), 5);
    waits(pinned(&q, "1", 6, 6), 5);
    let order: Vec<_> = (0..7).map_while(|_| w.take(&line)).collect();
    assert_eq!(order, ["w4", "w1", "w2", "w3", "w6", "w5"]);
}

#[test]
fn a_queue_and_its_lines_share_a_lock() {
    let q = queue("q", false);
    for build in ["1", "2", "3", "4"] {
        let line = line(&q, build);
        assert_ne!(line.hash64(), q.hash64());
        assert_eq!(line.hash64() % STRIPES as u64, q.hash64() % STRIPES as u64);
    }
    const { assert!(STRIPES <= 1 << sempre_core::transition::SHARED_HASH_BITS) };
}

#[test]
fn workers_with_a_version_get_nothing_until_the_queue_sends_it_to_them() {
    let w = world(100);
    let q = queue("q", false);
    let mut first = w.wait(&line(&q, "1"));
    w.matching.offer(offer(&q, 1, 3, 1));
    assert_eq!(handed(&mut first), None);
    assert_eq!(w.take(&line(&q, "1")), None);
    w.matching.set_route(&q, route(Some("1"), None));
    assert_eq!(handed(&mut first).as_deref(), Some("w1"), "what waited goes with the change");
    w.matching.offer(offer(&q, 2, 3, 2));
    assert_eq!(w.take(&q), None, "no longer to workers without one");
    assert_eq!(w.take(&line(&q, "2")), None);
    assert_eq!(w.take(&line(&q, "1")).as_deref(), Some("w2"));
    w.matching.set_route(&q, None);
    w.matching.offer(offer(&q, 3, 3, 3));
    assert_eq!(w.take(&line(&q, "1")), None);
    assert_eq!(w.take(&q).as_deref(), Some("w3"));
}

#[test]
fn pinned_tasks_wait_for_their_version_whatever_the_route() {
    let w = world(100);
    let q = queue("q", false);
    w.matching.set_route(&q, route(Some("2"), None));
    w.matching.offer(pinned(&q, "1", 1, 1));
    w.matching.offer(offer(&q, 2, 3, 2));
    assert_eq!(w.take(&line(&q, "2")).as_deref(), Some("w2"));
    assert_eq!(w.take(&line(&q, "2")), None);
    assert_eq!(w.take(&line(&q, "1")).as_deref(), Some("w1"));
    let mut waits = w.wait(&line(&q, "1"));
    w.matching.offer(pinned(&q, "1", 3, 3));
    assert_eq!(handed(&mut waits).as_deref(), Some("w3"));
    // On the way back from a poller that left, it keeps its line.
    w.matching.offer(pinned(&q, "1", 4, 4));
    drop(w.poll(&line(&q, "1")));
    assert_eq!(w.take(&q), None);
    assert_eq!(w.take(&line(&q, "1")).as_deref(), Some("w4"));
}

#[test]
fn each_side_of_a_ramp_gets_its_own_and_does_not_wait_for_the_other() {
    let w = world(10_000);
    let q = queue("q", false);
    let route = route(Some("1"), Some(("2", 40.0)));
    w.matching.set_route(&q, route.clone());
    for n in 1..=200 {
        w.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    let ramped: Vec<String> = std::iter::from_fn(|| w.take(&line(&q, "2"))).collect();
    let rest: Vec<String> = std::iter::from_fn(|| w.take(&line(&q, "1"))).collect();
    let side = |id: &String| route.as_ref().unwrap().target(id, false).0.unwrap().build_id.clone();
    assert!(ramped.iter().all(|id| side(id) == "2") && rest.iter().all(|id| side(id) == "1"));
    assert_eq!(ramped.len() + rest.len(), 200);
    assert!((50..110).contains(&ramped.len()), "{}", ramped.len());
    // A first task that is to go to the ramping version goes there whatever the percentage.
    let ramping = Some(Arc::new(Routing { pinned: None, ramping: true }));
    for n in 300..320 {
        w.matching.offer(Offer { routing: ramping.clone(), ..offer(&q, n, 3, i64::from(n)) });
    }
    assert_eq!(w.take(&line(&q, "1")), None);
    assert_eq!(std::iter::from_fn(|| w.take(&line(&q, "2"))).count(), 20);
}

#[test]
fn a_new_task_goes_straight_to_a_poll_of_the_right_line() {
    let w = world(100);
    let q = queue("q", false);
    w.matching.set_route(&q, route(Some("1"), None));
    let mut plain = w.wait(&q);
    let mut one = w.wait(&line(&q, "1"));
    let reserved = w.matching.reserve(&offer(&q, 1, 3, 1)).expect("the poll of version 1");
    w.matching.unreserve(reserved);
    w.matching.reserve(&offer(&q, 1, 3, 1)).unwrap().hand(7);
    assert!(matches!(one.handed().now_or_never(), Some(Some(Handed::Started(7)))));
    assert!(w.matching.reserve(&offer(&q, 2, 3, 2)).is_none());
    assert_eq!(handed(&mut plain), None);
    assert!(w.matching.reserve(&pinned(&q, "1", 3, 3)).is_none());
}

#[test]
fn a_full_window_of_one_side_does_not_starve_the_other() {
    let q = queue("q", false);
    let ramp = route(Some("1"), Some(("2", 50.0)));
    let side = |n: u32| ramp.as_ref().unwrap().target(&format!("w{n}"), false).0.unwrap().build_id == "2";
    // A long line of one side, and one task of the other at its end.
    let mut line_up: Vec<u32> = (1..).filter(|n| !side(*n)).take(40).collect();
    let last = (1..).find(|n| side(*n)).unwrap();
    line_up.push(last);
    let store = MemoryStore::new();
    let epoch = store.acquire(0).now_or_never().unwrap().unwrap();
    let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
    for (time, n) in line_up.iter().enumerate() {
        put(&mut batch, &offer(&q, *n, 3, time as i64 + 1));
    }
    store.commit(batch).now_or_never().unwrap().unwrap();
    let w = new_world(10);
    block_on(w.matching.load(&store, (0, sempre_core::ids::SLOT_COUNT))).unwrap();
    w.matching.finish_loading();
    w.matching.set_route(&q, ramp.clone());
    let mut poll = w.wait(&line(&q, "2"));
    for _ in 0..10 {
        w.page_in(&store, &q);
    }
    assert_eq!(handed(&mut poll), Some(format!("w{last}")));
}

#[test]
fn all_lines_are_shown_as_one_queue() {
    let w = world(100);
    let q = queue("q", false);
    w.matching.offer(offer(&q, 1, 3, 1));
    w.matching.offer(pinned(&q, "1", 2, 2));
    let _waits = w.wait(&line(&q, "2"));
    assert_eq!(w.counted(&q), 2);
    assert_eq!(w.matching.view(&q).unwrap().pollers.len(), 1);
    assert_eq!(w.matching.view(&line(&q, "1")).unwrap().levels[0].backlog, 1);
    assert!(w.matching.polled_lately(&line(&q, "2")) && !w.matching.polled_lately(&line(&q, "1")));
}

#[test]
fn workers_of_a_version_hear_of_what_the_queue_sends_to_them() {
    let w = world(10_000);
    let q = queue("q", false);
    w.matching.set_route(&q, route(Some("1"), None));
    drop(w.wait(&line(&q, "1")));
    for n in 1..=10 {
        w.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    w.matching.offer(pinned(&q, "1", 11, 11));
    w.matching.offer(pinned(&q, "2", 12, 12));
    w.advance(1);
    let advice = |name: &QueueName| w.matching.advise(name, w.clock.now());
    assert_eq!((advice(&line(&q, "1")).backlog, advice(&line(&q, "1")).polls), (11, Some(1)));
    assert_eq!(advice(&line(&q, "2")).backlog, 1);
    // Each side of a ramp hears of its own.
    w.matching.set_route(&q, route(Some("1"), Some(("2", 50.0))));
    let (one, two) = (advice(&line(&q, "1")).backlog, advice(&line(&q, "2")).backlog);
    assert!(one > 1 && two > 1 && one + two == 12, "{one} {two}");
}

#[test]
fn both_sides_of_a_ramp_have_ranked_tasks_in_turn() {
    let w = world(10_000);
    let q = queue("q", false);
    let ramp = route(Some("1"), Some(("2", 50.0)));
    w.matching.set_route(&q, ramp.clone());
    for n in 0..400 {
        let fairness = Fairness { key: format!("k{}", n % 2), weight: if n % 2 == 0 { 1.0 } else { 3.0 } };
        let mut task = offer(&q, n, 3, 0);
        task.key.time = w.matching.rank(&q, 3, &fairness);
        task.key.priority |= sempre_core::transition::RANKED;
        w.matching.offer(Offer { fairness: Some(Box::new(fairness)), ..task });
    }
    for build in ["1", "2"] {
        let taken: Vec<u32> = std::iter::from_fn(|| w.take(&line(&q, build))).map(|id| id[1..].parse().unwrap()).collect();
        let heavy = taken[..60].iter().filter(|n| *n % 2 == 1).count();
        assert!((35..=55).contains(&heavy), "three of four: {heavy} of 60");
        assert!(taken.len() > 120);
    }
    assert_eq!(w.counted(&q), 0);
}

#[test]
fn a_version_is_shown_its_own_line_and_its_share_of_the_queue() {
    let w = world(10);
    let q = queue("q", false);
    w.matching.set_route(&q, route(Some("1"), None));
    for n in 1..=100 {
        w.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    w.matching.offer(pinned(&q, "1", 101, 101));
    w.matching.offer(pinned(&q, "2", 102, 102));
    let shown = |build: &str| {
        let view = w.matching.view_of_version(&q, &version(build));
        view.map(|view| view.levels.iter().map(|level| (level.priority, level.backlog, level.oldest)).collect::<Vec<_>>())
    };
    assert_eq!(shown("1"), Some(vec![(3, 101, Some(Timestamp(1)))]));
    assert_eq!(shown("2"), Some(vec![(3, 1, Some(Timestamp(102)))]), "not what goes to the current version");
    assert_eq!(shown("3"), None);
    let ramp = route(Some("1"), Some(("2", 30.0)));
    w.matching.set_route(&q, ramp.clone());
    let of = |build: &str| shown(build).unwrap()[0].1;
    let here = (1..=10).filter(|n| ramp.as_ref().unwrap().target(&format!("w{n}"), false).0 == Some(&version("2"))).count() as u64;
    // Of what is in memory it is known where it goes, of the ninety in the store a share is taken.
    assert_eq!((of("1"), of("2")), (1 + (10 - here) + 63, 1 + here + 27));
    let all = w.matching.view(&q).unwrap();
    assert_eq!(all.levels[0].backlog, 102);
    // A pinned task more changes what its version is shown, and nobody else.
    w.matching.offer(pinned(&q, "4", 103, 103));
    assert_eq!((of("2"), of("4")), (1 + here + 27, 1));
    // Pollers are those of the version.
    let _waits = (w.wait(&q), w.wait(&line(&q, "5")));
    assert_eq!(w.matching.view_of_version(&q, &version("1")).unwrap().pollers.len(), 0);
    assert_eq!(w.matching.view_of_version(&q, &version("5")).unwrap().pollers.len(), 1);
}
