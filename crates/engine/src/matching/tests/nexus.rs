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
