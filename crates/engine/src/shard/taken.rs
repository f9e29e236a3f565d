//! An offer on its way from a poll to the shard that decides about it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use futures::FutureExt;
use sempre_core::Span;

use super::message::Started;
use crate::{
    matching::{
        Arrival,
        held::{HeldOffer, Queued},
    },
    shared::Shared,
};

/// How long an offer whose run could not be asked stays out of its line.
const POSTPONED: Span = Span::seconds(1);

/// See the module. Dropped undecided, it goes back to its queue after a while: at once it would be first in
/// line again, and all polls would run into the same run.
pub(crate) struct TakenOffer {
    held: Option<Held>,
    shared: Arc<Shared>,
}

enum Held {
    /// Out of a queue of this node.
    Here(HeldOffer<Started>),
    /// Out of one of another node, which has it still.
    Claimed(Queued),
}

impl Held {
    fn queued(&self) -> &Queued {
        match self {
            Self::Here(held) => held.queued(),
            Self::Claimed(queued) => queued,
        }
    }

    fn decided(self) -> Queued {
        match self {
            Self::Here(held) => held.decided(),
            Self::Claimed(queued) => queued,
        }
    }
}

impl TakenOffer {
    pub(crate) fn new(held: HeldOffer<Started>, shared: Arc<Shared>) -> Self {
        Self { held: Some(Held::Here(held)), shared }
    }

    /// One of a queue whose home is another node.
    pub(crate) fn claimed(queued: Queued, shared: Arc<Shared>) -> Self {
        Self { held: Some(Held::Claimed(queued)), shared }
    }

    /// Its queue is at another node, which looks after it.
    pub(crate) fn is_claimed(&self) -> bool {
        matches!(self.held, Some(Held::Claimed(_)))
    }

    pub(crate) fn queued(&self) -> &Queued {
        self.held.as_ref().expect("only the consuming methods take it").queued()
    }

    /// The run has decided: started or not wanted. The offer is done with.
    pub(crate) fn decided(mut self) -> Queued {
        self.held.take().expect("only the consuming methods take it").decided()
    }

    /// Nothing was wrong with it: it goes back to its place at once.
    pub(crate) fn give_back(mut self) {
        drop(self.held.take());
    }
}

impl Drop for TakenOffer {
    fn drop(&mut self) {
        let Some(Held::Here(held)) = self.held.take() else { return };
        let queued = held.decided();
        if self.shared.stopping.load(Ordering::Acquire) {
            // Its row is there for the next process.
            return;
        }
        let matching = self.shared.matching.clone();
        let sleep = self.shared.clock.sleep_until(self.shared.now() + POSTPONED);
        self.shared.spawner.spawn("sempre postponed offer", sleep.map(move |()| matching.enqueue(queued, Arrival::Back)).boxed());
    }
}

impl fmt::Debug for TakenOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TakenOffer").field(&self.held.as_ref().map(Held::queued)).finish()
    }
}
