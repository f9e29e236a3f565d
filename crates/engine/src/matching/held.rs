//! What is on its way from a queue to a worker, and goes back if it does not arrive.

use std::{fmt, sync::Arc};

use sempre_core::{
    planted::{self, Bug},
    transition::{Offer, OfferKey},
};

use super::{Arrival, Matching, queries::QueryTask};
use crate::nexus::calls::NexusTask;

/// An offer in a queue, and the row it has in the store (which keeps the key it was written under).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queued {
    pub(crate) offer: Offer,
    pub(crate) row: OfferKey,
}

impl Queued {
    /// Turns an offer of a sticky queue into one of the normal queue; its row stays where it is.
    pub(crate) fn make_normal(&mut self) {
        make_normal(&mut self.offer);
    }
}

/// The same task, offered to anybody.
pub(crate) fn make_normal(offer: &mut Offer) {
    if offer.queue.sticky {
        offer.queue.name.clone_from(&offer.normal_name);
        offer.queue.sticky = false;
        offer.queue.version = offer.routing.as_ref().and_then(|routing| routing.pinned.clone());
        offer.key.queue = offer.queue.hash64();
    }
}

/// An offer in somebody's hands. Dropped before [`HeldOffer::decided`], it goes back to its queue.
pub(crate) struct HeldOffer<S: Send + 'static> {
    queued: Option<Queued>,
    matching: Arc<Matching<S>>,
}

impl<S: Send + 'static> HeldOffer<S> {
    pub(crate) fn new(queued: Queued, matching: Arc<Matching<S>>) -> Self {
        Self { queued: Some(queued), matching }
    }

    pub(crate) fn queued(&self) -> &Queued {
        self.queued.as_ref().expect("only the consuming methods take it")
    }

    /// The run has decided: started or not wanted. The offer is done with.
    pub(crate) fn decided(mut self) -> Queued {
        self.queued.take().expect("only the consuming methods take it")
    }

    pub(super) fn into_queued(self) -> Queued {
        self.decided()
    }
}

impl<S: Send + 'static> Drop for HeldOffer<S> {
    fn drop(&mut self) {
        if let Some(queued) = self.queued.take().filter(|_| !planted::is(Bug::OffersDroppedWithPollers)) {
            self.matching.enqueue(queued, Arrival::Back);
        }
    }
}

impl<S: Send + 'static> fmt::Debug for HeldOffer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldOffer").field(&self.queued).finish()
    }
}

/// A query in somebody's hands. Dropped before [`HeldQuery::told`], it goes back to its queue.
pub(crate) struct HeldQuery<S: Send + 'static> {
    task: Option<QueryTask>,
    matching: Arc<Matching<S>>,
}

impl<S: Send + 'static> HeldQuery<S> {
    pub(crate) fn new(task: QueryTask, matching: Arc<Matching<S>>) -> Self {
        Self { task: Some(task), matching }
    }

    pub(crate) fn task(&self) -> &QueryTask {
        self.task.as_ref().expect("only the consuming methods take it")
    }

    /// A worker's poll is being answered with it.
    pub(crate) fn told(self) {
        drop(self.into_task());
    }

    pub(super) fn into_task(mut self) -> QueryTask {
        self.task.take().expect("only the consuming methods take it")
    }
}

impl<S: Send + 'static> Drop for HeldQuery<S> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take().filter(QueryTask::is_wanted) {
            self.matching.requeue_query(task);
        }
    }
}

impl<S: Send + 'static> fmt::Debug for HeldQuery<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldQuery").field(&self.task).finish()
    }
}

/// A Nexus task in somebody's hands. Dropped before [`HeldNexus::told`], it goes back to its queue.
pub(crate) struct HeldNexus<S: Send + 'static> {
    task: Option<NexusTask>,
    matching: Arc<Matching<S>>,
}

impl<S: Send + 'static> HeldNexus<S> {
    pub(crate) fn new(task: NexusTask, matching: Arc<Matching<S>>) -> Self {
        Self { task: Some(task), matching }
    }

    pub(crate) fn task(&self) -> &NexusTask {
        self.task.as_ref().expect("only the consuming methods take it")
    }

    /// A worker's poll is being answered with it.
    pub(crate) fn told(self) {
        drop(self.into_task());
    }

    pub(super) fn into_task(mut self) -> NexusTask {
        self.task.take().expect("only the consuming methods take it")
    }
}

impl<S: Send + 'static> Drop for HeldNexus<S> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take().filter(NexusTask::is_wanted) {
            self.matching.requeue_nexus(task);
        }
    }
}

impl<S: Send + 'static> fmt::Debug for HeldNexus<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HeldNexus").field(&self.task).finish()
    }
}
