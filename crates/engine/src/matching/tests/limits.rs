//! Queues that give out tasks at a rate, and what queues count.

use super::*;
use crate::matching::{
    limiter::{RateSource, SYSTEM_RATE},
    rates::Settings,
};

fn at_rate(rate: Option<f64>) -> Settings {
    Settings { rate, ..Settings::default() }
}

fn activities(name: &str) -> QueueName {
    QueueName { kind: QueueKind::Activity, ..queue(name, false) }
}

impl World {
    fn poll_at(&self, queue: &QueueName, rate: Option<f64>) -> Polled<Started> {
        self.matching.poll(queue, poller("p"), &Caller { rate, ..Caller::default() })
    }

    fn wait_at(&self, queue: &QueueName, rate: Option<f64>) -> Waiting<Started> {
        match self.poll_at(queue, rate) {
            Polled::Wait(waiting) => waiting,
            Polled::Handed(handed) => panic!("handed {handed:?}"),
        }
    }

    fn rate(&self, queue: &QueueName) -> (f64, RateSource) {
        self.matching.view(queue).unwrap().rate
    }
}

#[test]
fn one_a_second_takes_nine_seconds_for_ten() {
    let w = world(100);
    let q = activities("q");
    for n in 0..10 {
        w.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    let mut polls: Vec<_> = Vec::new();
    let mut taken = Vec::new();
    for second in 0..=9 {
        // Two polls wait at any time: one too many.
        while polls.len() < 2 {
            match w.poll_at(&q, Some(1.0)) {
                Polled::Wait(waiting) => polls.push(waiting),
                Polled::Handed(Handed::Offer(held)) => taken.push(held.decided().offer.run.workflow.workflow_id),
                Polled::Handed(other) => panic!("{other:?}"),
            }
        }
        taken.extend(polls.iter_mut().filter_map(handed));
        assert_eq!(taken.len(), second + 1, "after {second} seconds");
        polls.clear();
        let limited = w.matching.view(&q).unwrap().limited;
        assert_eq!(limited, second < 9);
        w.advance(1);
    }
    let expected: Vec<_> = (0..10).map(|n| format!("w{n}")).collect();
    assert_eq!(taken, expected);
}

/// Polls of versions, and of none beside versions, are rung for like those of a queue that knows no versions.
#[test]
fn polls_of_versions_that_wait_for_the_rate_are_served_when_it_allows() {
    use super::routes::{line, pinned, route};
    let w = world(100);
    let serve = |name: &str, to: Option<&str>, made: &dyn Fn(&QueueName, u32) -> Offer| {
        let q = activities(name);
        w.matching.set_route(&q, route(to, None));
        for n in 0..3 {
            w.matching.offer(made(&q, n));
        }
        let polled = to.map_or_else(|| q.clone(), |build| line(&q, build));
        let Polled::Handed(Handed::Offer(first)) = w.poll_at(&polled, Some(1.0)) else { panic!("{name}: nothing at once") };
        assert_eq!(first.decided().offer.run.workflow.workflow_id, "w0", "{name}");
        let mut polls = [w.wait_at(&polled, Some(1.0)), w.wait_at(&polled, Some(1.0))];
        for (n, expected) in ["w1", "w2"].into_iter().enumerate() {
            assert_eq!(handed(&mut polls[n]), None, "{name}");
            w.advance(1);
            assert_eq!(handed(&mut polls[n]).as_deref(), Some(expected), "{name}");
        }
    };
    let plain = |q: &QueueName, n: u32| offer(q, n, 3, i64::from(n));
    serve("routed", Some("1"), &plain);
    serve("pinned", Some("1"), &|q, n| pinned(q, "1", n, i64::from(n)));
    serve("to none", None, &plain);
}

#[test]
fn a_task_that_nobody_got_costs_no_rate() {
    let w = world(100);
    let q = activities("q");
    for n in 0..3 {
        w.matching.offer(offer(&q, n, 3, i64::from(n)));
    }
    let taken = |polled: Polled<Started>| match polled {
        Polled::Handed(Handed::Offer(held)) => held,
        Polled::Handed(_) | Polled::Wait(_) => panic!("no offer"),
    };
    // The worker went away: the next has the task at the same moment, and only one.
    drop(taken(w.poll_at(&q, Some(1.0))));
    let unwanted = taken(w.poll_at(&q, Some(1.0))).decided().offer;
    assert_eq!(unwanted.run.workflow.workflow_id, "w0");
    let mut waiting = w.wait_at(&q, Some(1.0));
    assert_eq!(handed(&mut waiting), None);
    // The run did not want it: who waits has the next.
    w.matching.not_needed(&unwanted);
    assert_eq!(handed(&mut waiting), Some("w1".into()));
    assert_eq!(handed(&mut w.wait_at(&q, Some(1.0))), None);
}

#[test]
fn polls_that_wait_are_served_in_order_when_the_rate_allows() {
    let w = world(100);
    let (slow, free) = (activities("slow"), activities("free"));
    let mut polls: Vec<_> = (0..4).map(|_| w.wait_at(&slow, Some(2.0))).collect();
    for n in 0..4 {
        w.matching.offer(offer(&slow, n, 3, i64::from(n)));
        w.matching.offer(offer(&free, 10 + n, 3, i64::from(n)));
    }
    let got = |polls: &mut Vec<Waiting<Started>>| polls.iter_mut().map(handed).collect::<Vec<_>>();
    assert_eq!(got(&mut polls)[..2], [Some("w0".into()), Some("w1".into())]);
    // Others are not held up.
    assert_eq!((0..4).filter_map(|_| w.take(&free)).count(), 4);
    // Neither a new task nor a new poll goes before those that wait.
    assert!(w.matching.reserve(&offer(&slow, 99, 3, 99)).is_none());
    let mut late = w.wait_at(&slow, Some(2.0));
    w.advance_by(Span::millis(500));
    assert_eq!(polls.iter_mut().skip(2).filter_map(handed).collect::<Vec<_>>(), ["w2"]);
    w.advance_by(Span::millis(500));
    assert_eq!(handed(&mut polls[3]).as_deref(), Some("w3"));
    assert!(handed(&mut late).is_none());
    // With nothing in line, a new task waits for the rate as well.
    assert!(w.matching.reserve(&offer(&slow, 99, 3, 99)).is_none());
    w.advance_by(Span::millis(500));
    let reserved = w.matching.reserve(&offer(&slow, 99, 3, 99)).unwrap();
    w.matching.unreserve(reserved);
    assert!(w.matching.reserve(&offer(&slow, 99, 3, 99)).is_some(), "one that was not used is not lost");
}

#[test]
fn zero_stops_until_the_next_poll_says_otherwise() {
    let w = world(100);
    let q = activities("q");
    w.matching.offer(offer(&q, 1, 3, 1));
    let mut first = w.wait_at(&q, Some(0.0));
    w.advance(1000);
    assert!(handed(&mut first).is_none());
    assert_eq!(w.rate(&q), (0.0, RateSource::Worker));
    // The last poll's word holds; the one that waits is served first.
    let mut second = w.wait_at(&q, None);
    assert_eq!(handed(&mut first).as_deref(), Some("w1"));
    assert!(handed(&mut second).is_none());
    assert_eq!(w.rate(&q), (SYSTEM_RATE, RateSource::System));
}

#[test]
fn a_rate_set_by_hand_goes_before_the_workers_and_holds_for_queues_opened_later() {
    let w = world(100);
    let q = activities("q");
    w.matching.set_up(&q, at_rate(Some(0.0)));
    assert_eq!(w.matching.rate_of_unused(&q), (0.0, RateSource::Api));
    w.matching.offer(offer(&q, 1, 3, 1));
    let mut poll = w.wait_at(&q, Some(5.0));
    assert_eq!(w.rate(&q), (0.0, RateSource::Api));
    assert!(handed(&mut poll).is_none());
    w.matching.set_up(&q, at_rate(Some(3.0)));
    assert_eq!(handed(&mut poll).as_deref(), Some("w1"));
    w.matching.set_up(&q, at_rate(None));
    assert_eq!(w.rate(&q), (5.0, RateSource::Worker));
}

#[test]
fn a_limited_backlog_is_paged_in_and_comes_in_order() {
    let q = activities("q");
    let store = backlog(&q, 300);
    let w = new_world(20);
    w.matching.set_up(&q, at_rate(Some(10.0)));
    block_on(w.matching.load(&store, (0, 1024))).unwrap();
    w.matching.finish_loading();
    let mut taken = Vec::new();
    let mut polls = Vec::new();
    let mut tenths = 0;
    while taken.len() < 300 {
        while polls.len() < 3 {
            match w.poll_at(&q, None) {
                Polled::Wait(waiting) => polls.push(waiting),
                Polled::Handed(Handed::Offer(held)) => taken.push(held.decided().offer.run.workflow.workflow_id),
                Polled::Handed(other) => panic!("{other:?}"),
            }
            w.page_in(&store, &q);
        }
        polls.retain_mut(|poll| match handed(poll) {
            Some(id) => {
                taken.push(id);
                false
            }
            None => true,
        });
        w.advance_by(Span::millis(100));
        tenths += 1;
        assert!(tenths < 1000, "{} taken", taken.len());
    }
    let expected: Vec<_> = (0..300).map(|n| format!("w{n}")).collect();
    assert!(taken == expected);
    assert!(tenths >= 290, "{tenths}");
    assert_eq!(w.counted(&q), 0);
}

#[test]
fn fifty_thousand_in_line_at_a_rate_and_over_a_restart() {
    const COUNT: u32 = 50_000;
    const RATE: usize = 4_000;
    let q = activities("q");
    let store = backlog(&q, COUNT);
    let mut taken: Vec<u32> = Vec::new();
    for stop in [20_000, COUNT as usize] {
        // A new process: what has been taken is no longer in the store.
        let w = new_world(5_000);
        w.matching.set_up(&q, at_rate(Some(RATE as f64)));
        block_on(w.matching.load(&store, (0, 1024))).unwrap();
        w.matching.finish_loading();
        let mut seconds = 0;
        let mut gone = Vec::new();
        while taken.len() < stop {
            let before = taken.len();
            // As many polls as there are tasks to get, and one that has to wait.
            while let Polled::Handed(handed) = w.poll_at(&q, None) {
                let Handed::Offer(held) = handed else { panic!("{handed:?}") };
                let queued = held.decided();
                taken.push(queued.offer.run.workflow.workflow_id[1..].parse().unwrap());
                gone.push(queued.offer);
                w.page_in(&store, &q);
            }
            assert!(taken.len() - before <= RATE, "in second {seconds}");
            assert_eq!(w.counted(&q), u64::from(COUNT) - taken.len() as u64);
            w.advance(1);
            seconds += 1;
            assert!(seconds < 100);
        }
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch: block_on(store.acquire(0)).unwrap() });
        gone.iter().for_each(|o| batch.delete(Table::Offer, &keys::offer(o.run.workflow.slot(), &o.key)));
        block_on(store.commit(batch)).unwrap();
    }
    assert!(taken.iter().copied().eq(0..COUNT), "all of them, in order, once");
}

#[test]
fn a_queue_counts_what_comes_what_goes_and_what_waits() {
    let w = world(2);
    let q = queue("q", false);
    w.advance(100);
    let now = w.clock.now().0;
    // The window holds two; the rest is in the store only.
    for (n, priority) in [(1, 3), (2, 3), (3, 3), (4, 5), (5, 1)] {
        w.matching.offer(offer(&q, n, priority, now + i64::from(n)));
    }
    w.advance(10);
    let levels = |w: &World| w.matching.view(&q).unwrap().levels;
    let shown: Vec<_> = levels(&w).iter().map(|l| (l.priority, l.backlog, l.oldest.map(|t| t.0 - now))).collect();
    assert_eq!(shown, [(1, 1, Some(5)), (3, 3, Some(1)), (5, 1, Some(4))]);
    assert_eq!(levels(&w).iter().map(|l| (l.add_rate * 10.0).round() as i64).collect::<Vec<_>>(), [1, 3, 1]);
    // One that lies in the store is withdrawn.
    w.matching.withdraw(&offer(&q, 4, 5, now + 4).key);
    assert_eq!(w.counted(&q), 4);
    assert_eq!(w.take(&q).as_deref(), Some("w5"));
    assert_eq!(w.counted(&q), 3);
    assert!(levels(&w)[0].dispatch_rate > 0.0);
    w.advance(40);
    assert!(levels(&w).iter().all(|l| l.add_rate == 0.0 && l.dispatch_rate == 0.0));

    // A task that a waiting poll takes at once has come and gone.
    let q = queue("sync", false);
    drop(w.wait(&q));
    let _poll = w.wait(&q);
    w.advance(1);
    w.matching.reserve(&offer(&q, 99, 3, 99)).unwrap().hand(1);
    w.advance(1);
    let level = w.matching.view(&q).unwrap().levels.remove(0);
    assert!(level.add_rate > 0.0 && level.dispatch_rate > 0.0 && level.backlog == 0);
}

#[test]
fn advice_follows_waits_and_backlogs() {
    let w = world(100);
    let q = queue("q", false);
    let since = w.clock.now();
    drop(w.wait(&q));
    assert_eq!(w.matching.advise(&q, since).polls, None, "nothing to say");
    w.advance(1);
    assert_eq!(w.matching.advise(&q, since).polls, Some(-1), "it waited in vain");
    let since = w.clock.now();
    w.matching.offer(offer(&q, 1, 3, since.0));
    w.matching.offer(offer(&q, 2, 3, since.0));
    w.advance_by(Span::millis(100));
    assert_eq!(w.matching.advise(&q, since).polls, Some(1), "more comes than goes");
    w.take(&q);
    w.take(&q);
    w.advance(60);
    let since = w.clock.now();
    assert_eq!(w.matching.advise(&q, since), scaling::Advice::default());
    let sticky = queue("sticky", true);
    drop(w.wait(&sticky));
    w.matching.offer(offer(&sticky, 3, 3, since.0));
    assert_eq!(w.matching.advise(&sticky, since), scaling::Advice { backlog: 1, polls: None }, "too fresh");
    w.advance_by(Span::millis(201));
    assert_eq!(w.matching.advise(&sticky, w.clock.now()).polls, Some(1));
}
