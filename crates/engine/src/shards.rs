//! Which shards are here, and how they are reached.
//!
//! | a shard is | who sends to it | its task ([`crate::shard::keeper`]) |
//! |---|---|---|
//! | absent | is told that it is elsewhere | refuses what was on its way |
//! | here | finds its inbox | serves it |
//! | leaving | as while it is absent | finishes what it has taken on |
//!
//! Inboxes are there for as long as the engine: what changes is a number by shard, so that asking costs a load.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use sempre_core::{Refusal, SlotId, WorkflowKey};
use sempre_store::{Fence, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::{Engine, once, shard::message::Message};

/// Which shards are here, for those who only ask that.
pub(crate) struct Here {
    /// By shard: the epoch under which it serves; 0, which is never given, while it does not.
    epochs: Box<[AtomicU64]>,
    /// How many do not.
    absent: AtomicUsize,
}

/// The epochs of all shards at one moment.
pub(crate) struct Lives(Box<[u64]>);

impl Here {
    /// So many shards, all absent.
    pub(crate) fn new(shards: u32) -> Self {
        let epochs: Box<[AtomicU64]> = (0..shards.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { absent: AtomicUsize::new(epochs.len()), epochs }
    }

    /// How many shards there are, here or elsewhere.
    pub(crate) fn shards(&self) -> usize {
        self.epochs.len()
    }

    /// The shard that has a slot.
    pub(crate) fn shard_of(&self, slot: SlotId) -> usize {
        usize::from(slot.0) % self.epochs.len()
    }

    fn epoch(&self, shard: usize) -> u64 {
        self.epochs[shard].load(Ordering::Acquire)
    }

    /// The shard serves.
    pub(crate) fn is(&self, shard: usize) -> bool {
        self.epoch(shard) != 0
    }

    /// The shard that has the slot serves.
    pub(crate) fn has(&self, slot: SlotId) -> bool {
        self.is(self.shard_of(slot))
    }

    /// As [`Here::has`], of a workflow's slot, which is not made out while all shards are here.
    pub(crate) fn has_workflow(&self, workflow: &WorkflowKey) -> bool {
        self.absent.load(Ordering::Acquire) == 0 || self.has(workflow.slot())
    }

    /// A shard serves from now on under this epoch.
    pub(crate) fn come(&self, fence: Fence) {
        if self.epochs[fence.shard as usize].swap(fence.epoch, Ordering::AcqRel) == 0 {
            self.absent.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// It serves no longer.
    pub(crate) fn go(&self, shard: u32) {
        if self.epochs[shard as usize].swap(0, Ordering::AcqRel) != 0 {
            self.absent.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The epochs now, for [`Here::goes_on`].
    pub(crate) fn lives(&self) -> Lives {
        Lives(self.epochs.iter().map(|epoch| epoch.load(Ordering::Acquire)).collect())
    }

    /// The slot's shard serves as it did then: it was not given up meanwhile, nor did it begin again.
    pub(crate) fn goes_on(&self, then: &Lives, slot: SlotId) -> bool {
        let shard = self.shard_of(slot);
        then.0[shard] != 0 && then.0[shard] == self.epoch(shard)
    }
}

/// See the module.
pub(crate) struct Shards {
    pub(crate) here: Arc<Here>,
    inboxes: Box<[mpsc::Sender<Message>]>,
}

impl Shards {
    /// So many shards, all absent, with the other ends of their inboxes.
    pub(crate) fn new(shards: u32, inbox_max: usize) -> (Self, Vec<mpsc::Receiver<Message>>) {
        let here = Here::new(shards);
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..here.shards()).map(|_| mpsc::channel(inbox_max)).unzip();
        (Self { here: Arc::new(here), inboxes: inboxes.into() }, receivers)
    }

    /// How many there are, here or elsewhere.
    pub(crate) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Of all of them, wherever they are.
    pub(crate) fn inboxes(&self) -> &[mpsc::Sender<Message>] {
        &self.inboxes
    }

    /// Of the shard that has a slot, wherever it is.
    pub(crate) fn inbox_of(&self, slot: SlotId) -> &mpsc::Sender<Message> {
        &self.inboxes[self.here.shard_of(slot)]
    }

    /// Refuses if the shard that has the slot is not here.
    pub(crate) fn check(&self, slot: SlotId) -> Result<(), Refusal> {
        let shard = self.here.shard_of(slot);
        if self.here.is(shard) { Ok(()) } else { Err(Refusal::Elsewhere { shard: shard as u32 }) }
    }
}

impl Engine {
    /// The shards that serve here, in their order.
    pub fn shards(&self) -> Vec<u32> {
        let here = &self.shared.shards.here;
        (0..here.shards()).filter(|shard| here.is(*shard)).map(|shard| shard as u32).collect()
    }

    /// Others may have shards of the same data.
    #[must_use]
    pub fn is_one_of_several(&self) -> bool {
        self.shared.lease.is_some()
    }

    /// Takes up a shard: acquires it, reads what has to be known before anything else, and serves. What it owes is read beside. Of
    /// one that serves already nothing is done. Single shards ([`Engine::singles`]) are taken up and given up as well.
    ///
    /// A failure changes nothing: the shard stays absent, and may be taken up by another call.
    pub async fn take_up(&self, shard: u32) -> Result<(), StoreError> {
        if once::is_single(shard) {
            return self.take_up_single(shard).await;
        }
        self.tell(shard, Message::TakeUp).await?
    }

    /// Gives up a shard: from the call on nothing new is taken on for it, and callers are told [`Refusal::Elsewhere`]. Resolves
    /// when what had been taken on is done, nothing of it is left in memory, and no commit is under way: then the store may give it
    /// to somebody else.
    pub async fn give_up(&self, shard: u32) -> Result<(), StoreError> {
        if once::is_single(shard) {
            return self.give_up_single(shard).await;
        }
        self.tell(shard, Message::GiveUp).await
    }

    async fn tell<T>(&self, shard: u32, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, StoreError> {
        let inbox = self.shared.shards.inboxes().get(shard as usize);
        let inbox = inbox.ok_or_else(|| StoreError::Rejected { reason: format!("there is no shard {shard}") })?;
        let (told, done) = oneshot::channel();
        inbox.send(message(told)).await.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| match self.shared.stopping.load(Ordering::Acquire) {
            true => StoreError::Closed,
            false => StoreError::Rejected { reason: format!("shard {shard} is being taken up or given up by somebody else") },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(shard: u32, epoch: u64) -> Fence {
        Fence { shard, epoch }
    }

    #[test]
    fn a_shard_that_went_and_came_does_not_go_on() {
        let here = Here::new(2);
        assert!(!here.has(SlotId(0)) && !here.has_workflow(&WorkflowKey::default()));
        here.come(fence(0, 1));
        here.come(fence(1, 1));
        assert!(here.has(SlotId(2)) && here.has_workflow(&WorkflowKey::default()));
        let then = here.lives();
        assert!(here.goes_on(&then, SlotId(0)) && here.goes_on(&then, SlotId(1)));
        here.go(1);
        here.go(1);
        assert!(here.has(SlotId(0)) && !here.has(SlotId(1)) && !here.goes_on(&then, SlotId(1)));
        let without = here.lives();
        here.come(fence(1, 2));
        assert!(here.has(SlotId(1)) && !here.goes_on(&then, SlotId(1)) && !here.goes_on(&without, SlotId(1)));
        assert!(here.goes_on(&then, SlotId(0)) && here.has_workflow(&WorkflowKey::default()), "all are counted once");
        // It begins again under another epoch.
        here.come(fence(0, 5));
        assert!(here.has(SlotId(0)) && !here.goes_on(&then, SlotId(0)));
    }

    #[test]
    fn who_sends_to_a_shard_finds_its_inbox_or_is_told_that_it_is_elsewhere() {
        let (shards, mut inboxes) = Shards::new(3, 4);
        assert_eq!(shards.check(SlotId(4)), Err(Refusal::Elsewhere { shard: 1 }));
        shards.here.come(fence(1, 9));
        assert_eq!(shards.check(SlotId(4)), Ok(()));
        assert!(shards.inbox_of(SlotId(4)).try_send(Message::Taken).is_ok());
        assert!(inboxes[1].try_recv().is_ok() && inboxes[0].try_recv().is_err());
    }
}
