//! Requests to Nexus handlers that wait.

use super::*;
use crate::{
    ids::SeededIds,
    matching::nexus::WAITING_MAX,
    nexus::calls::{NexusCalls, NexusTask},
};

impl World {
    /// The number of the next request.
    fn take_nexus(&self, queue: &QueueName) -> Option<u64> {
        match self.poll(queue) {
            Polled::Handed(Handed::Nexus(held)) => Some(held.into_task().number()),
            Polled::Wait(mut waiting) => match waiting.receiver.try_recv() {
                Ok(Handed::Nexus(held)) => Some(held.into_task().number()),
                _ => None,
            },
            _ => None,
        }
    }
}

#[test]
fn requests_go_to_the_version_that_the_queue_sends_its_work_to() {
    use sempre_core::{Route, Version, deployment::Ramp};
    let w = world(10);
    let q = QueueName { kind: QueueKind::Nexus, ..queue("q", false) };
    let version = |build: &str| Arc::new(Version { deployment: "d".into(), build_id: build.into() });
    let line = |build: &str| q.line(Some(&version(build)));
    let route = |current: &str, ramp: Option<f32>| {
        let ramp = ramp.map(|percentage| Ramp { version: Some(version("2")), percentage, revision: 1 });
        Some(Arc::new(Route { current: Some(version(current)), ramp, ..Route::default() }))
    };
    let calls = NexusCalls::new(SeededIds::new(1, 1));
    let ask = || {
        let caller = calls.listen(q.namespace);
        assert!(w.matching.nexus(NexusTask::of(q.clone(), caller.wanted())));
        caller
    };
    let first = ask();
    assert_eq!(w.take_nexus(&line("1")), None, "nothing is sent to versions yet");
    // What waits goes with the change, to the poll that waits.
    let mut waiting = w.wait(&line("1"));
    w.matching.set_route(&q, route("1", None));
    match waiting.handed().now_or_never() {
        Some(Some(Handed::Nexus(held))) => assert_eq!(held.into_task().number(), first.id()),
        other => panic!("{other:?}"),
    }
    let second = ask();
    assert_eq!((w.take_nexus(&q), w.take_nexus(&line("2"))), (None, None));
    w.matching.set_route(&q, route("2", None));
    assert_eq!((w.take_nexus(&line("1")), w.take_nexus(&line("2"))), (None, Some(second.id())));
    // One that comes back from a poller that has gone is given to the version that has it now.
    let third = ask();
    let Polled::Handed(held) = w.poll(&line("2")) else { panic!("it waits") };
    w.matching.set_route(&q, route("1", None));
    drop(held);
    assert_eq!((w.take_nexus(&line("2")), w.take_nexus(&line("1"))), (None, Some(third.id())));
    // Of a ramp each version has its own, the same ones each time.
    w.matching.set_route(&q, route("1", Some(50.0)));
    let many: Vec<_> = (0..100).map(|_| ask()).collect();
    let ramp = route("1", Some(50.0)).unwrap();
    let is_ramped = |id: u64| ramp.target(&id.to_string(), false).0 == Some(&version("2"));
    let expected: Vec<u64> = many.iter().map(|caller| caller.id()).filter(|id| is_ramped(*id)).collect();
    let got: Vec<u64> = std::iter::from_fn(|| w.take_nexus(&line("2"))).collect();
    assert!(got == expected && (25..75).contains(&got.len()), "{}", got.len());
    w.matching.set_route(&q, None);
    assert_eq!(std::iter::from_fn(|| w.take_nexus(&q)).count(), 100 - got.len());
    assert_eq!(w.counted(&q), 0);
}

#[test]
fn a_queue_holds_so_many_requests_and_those_that_are_given_up_take_no_room() {
    let world = world(10);
    let queue = QueueName { kind: QueueKind::Nexus, ..queue("q", false) };
    let calls = NexusCalls::new(SeededIds::new(1, 1));
    let mut callers: Vec<_> = (0..WAITING_MAX).map(|_| calls.listen(queue.namespace)).collect();
    for caller in &callers {
        assert!(world.matching.nexus(NexusTask::of(queue.clone(), caller.wanted())));
    }
    let last = calls.listen(queue.namespace);
    assert!(!world.matching.nexus(NexusTask::of(queue.clone(), last.wanted())), "one too many");
    let kept = callers.split_off(WAITING_MAX - 2);
    drop(callers);
    assert!(world.matching.nexus(NexusTask::of(queue.clone(), last.wanted())));
    let expected: Vec<u64> = kept.iter().chain([&last]).map(|caller| caller.id()).collect();
    let got: Vec<u64> = std::iter::from_fn(|| world.take_nexus(&queue)).collect();
    assert_eq!(got, expected);
}
