//! What is different in a node among several: which queues are here ([`crate::homes`]), and offers of runs that other nodes have.

use std::sync::{Arc, PoisonError};

use sempre_core::transition::{Offer, QueueName};

use super::{Absent, Arrival, Handed, Matching, held::Queued};
use crate::homes::Homes;

impl<S: Send + 'static> Matching<S> {
    /// The way to the home of a queue that has this hash, if that is not here.
    pub(super) fn home_elsewhere(&self, hash: u64) -> Option<&Arc<Homes>> {
        self.homes.as_ref().filter(|homes| !homes.is_here(hash))
    }

    /// The offer may wait here. In a node among several it is the queue's home that counts, else the run's shard.
    pub(super) fn keeps(&self, offer: &Offer) -> bool {
        match &self.homes {
            Some(homes) => homes.is_here(offer.key.queue),
            None => self.here.has_workflow(&offer.run.workflow),
        }
    }

    /// An offer that another node tells of. One for a worker that is not there goes to the normal queue.
    pub(crate) fn take_told(self: &Arc<Self>, queued: Queued, arrival: Arrival) {
        if queued.offer.queue.sticky && !self.sticky_available(&queued.offer.queue) {
            return self.go_on(queued, arrival);
        }
        self.place(queued, arrival, Absent::GoesOn);
    }

    /// An offer of a sticky queue, of whatever run, goes to the normal queue, wherever that is.
    pub(super) fn go_on(self: &Arc<Self>, mut queued: Queued, arrival: Arrival) {
        queued.make_normal();
        match self.home_elsewhere(queued.offer.key.queue) {
            Some(homes) => homes.relay(queued, arrival),
            None => self.place(queued, arrival, Absent::GoesOn),
        }
    }

    /// An offer that was found in the store when its queue's home came here. Its worker has had no chance to poll here yet.
    pub(crate) fn recover(self: &Arc<Self>, queued: Queued, arrival: Arrival) {
        self.place(queued, arrival, Absent::Opens);
    }

    /// Forgets the queues whose homes are not here any more; their polls end, and come again where they are now.
    pub(super) fn forget_absent(&self, homes: &Homes) {
        for stripe in &self.stripes {
            stripe.lock().unwrap_or_else(PoisonError::into_inner).retain(|queue| {
                let stays = homes.is_here(queue.name.hash64());
                if !stays {
                    self.stats.backlog.sub(queue.len() as u64);
                    for waiter in queue.waiters.drain(..) {
                        // The poll may have gone.
                        let _ = waiter.sender.send(Handed::Closed);
                    }
                }
                stays
            });
        }
    }

    /// Polls of this queue find its tasks here.
    pub(crate) fn is_home_of(&self, name: &QueueName) -> bool {
        self.home_elsewhere(name.hash64()).is_none()
    }
}
