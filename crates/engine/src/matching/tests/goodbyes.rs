//! Workers that leave.

use super::*;
use crate::matching::caller::Instance;

fn caller(key: &str) -> Caller {
    Caller { instance: Instance::new(NamespaceId(Uuid([1; 16])), key), ..Caller::default() }
}

impl World {
    fn wait_as(&self, queue: &QueueName, key: &str) -> Waiting<Started> {
        match self.matching.poll(queue, poller(key), &caller(key)) {
            Polled::Wait(waiting) => waiting,
            Polled::Handed(handed) => panic!("handed {handed:?}"),
        }
    }

    fn ends_at_once(&self, queue: &QueueName, key: &str) -> bool {
        matches!(self.matching.poll(queue, poller(key), &caller(key)), Polled::Handed(Handed::Closed))
    }

    fn end(&self, key: &str) {
        self.matching.end_polls(caller(key).instance.unwrap());
    }
}

fn ended(waiting: &mut Waiting<Started>) -> bool {
    matches!(waiting.handed().now_or_never(), Some(Some(Handed::Closed)))
}

#[test]
fn all_polls_of_the_worker_end_and_nobody_elses() {
    let w = world(100);
    let (a, b) = (queue("a", false), queue("b", true));
    let (mut first, mut second, mut sticky) = (w.wait_as(&a, "one"), w.wait_as(&a, "one"), w.wait_as(&b, "one"));
    let (mut other, mut nameless) = (w.wait_as(&a, "two"), w.wait(&a));
    w.end("one");
    assert!(ended(&mut first) && ended(&mut second) && ended(&mut sticky));
    assert!(other.handed().now_or_never().is_none() && nameless.handed().now_or_never().is_none());
    w.matching.offer(offer(&a, 1, 3, 1));
    assert_eq!(handed(&mut other).as_deref(), Some("w1"));
}

#[test]
fn late_polls_of_the_worker_end_at_once_for_half_a_minute() {
    let w = world(100);
    let q = queue("q", false);
    w.end("one");
    w.matching.offer(offer(&q, 1, 3, 1));
    assert!(w.ends_at_once(&q, "one"));
    w.advance(29);
    assert!(w.ends_at_once(&q, "one"), "and take no task");
    assert!(!w.ends_at_once(&q, "two"));
    w.advance(2);
    assert!(!w.ends_at_once(&q, "one"));
    assert!(Instance::new(NamespaceId::default(), "").is_none(), "workers without a key are not confused");
}

#[test]
fn a_poll_that_was_reserved_ends_when_its_task_does_not_come() {
    let w = world(100);
    let q = queue("q", false);
    let (mut kept, mut lost) = (w.wait_as(&q, "one"), w.wait_as(&q, "one"));
    let (first, second) = (w.matching.reserve(&offer(&q, 99, 3, 99)).unwrap(), w.matching.reserve(&offer(&q, 99, 3, 99)).unwrap());
    w.end("one");
    assert!(kept.handed().now_or_never().is_none());
    first.hand(7);
    w.matching.unreserve(second);
    assert!(matches!(kept.handed().now_or_never(), Some(Some(Handed::Started(7)))), "it was started for this worker");
    assert!(ended(&mut lost));
}

#[test]
fn a_worker_that_left_is_not_shown() {
    let w = world(100);
    let q = queue("q", false);
    let (one, two) = (w.wait_as(&q, "one"), w.wait_as(&q, "two"));
    w.end("one");
    w.matching.forget_poller(&q, "one");
    let shown = |w: &World| w.matching.view(&q).unwrap().pollers.into_iter().map(|(identity, _)| identity).collect::<Vec<_>>();
    assert_eq!(shown(&w), ["two"]);
    drop(one);
    assert_eq!(shown(&w), ["two"], "its poll's end does not bring it back");
    w.matching.forget_poller(&q, "two");
    assert_eq!(shown(&w), ["two"], "it is still there");
    w.end("two");
    w.matching.forget_poller(&q, "two");
    drop(two);
    assert_eq!(shown(&w), [""; 0]);
    assert!(w.matching.poller_seen(&q).is_some(), "a query waits for the worker that comes after them");
}
