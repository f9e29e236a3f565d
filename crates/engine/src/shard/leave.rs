//! How a shard leaves while the engine goes on: given up, or taken by another.
//!
//! | given up | |
//! |---|---|
//! | at once | nobody finds its inbox any more; its offers go from the task queues; nothing of its own is begun: no deadline, no message |
//! | then | what has been taken on is finished and answered; who comes after that is told [`Refusal::Elsewhere`] |
//! | then | the index of runs takes what waits of its runs, and the rows kept for that go; an index that fails is not waited for: the rows stay |
//! | at last | who waits for something of its runs asks again; what its runs count for, and their places in lines, are forgotten |
//!
//! A shard that another has taken has only the last step: its commits are refused. Rows of lists that stay are shown by whoever has the
//! shard next. Where a commit fails on the way, the shard is acquired again first, so that its fate is decided, and the index gets
//! what its rows say.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use sempre_core::{Refusal, Span};
use sempre_store::StoreError;
use tokio::sync::{mpsc, oneshot};

use super::{
    batch::Output,
    message::{Message, RunMessage},
    runner::Runner,
};
use crate::{matching::queries::Outcome, shared::Shared, usage::rows::Tallies};

/// Between two looks at whether the index of runs has what it is waited for.
const LOOK: Span = Span::millis(100);

/// What a shard that leaves has to remember.
pub(super) struct Leaving {
    /// Who waits for its end.
    told: Vec<oneshot::Sender<()>>,
    /// Has the index of runs take what waits, at once; `None` once it has.
    flush: Option<BoxFuture<'static, ()>>,
    /// It has, and had time to say so.
    is_flushed: bool,
    /// Another has it: nothing can be committed any more.
    is_lost: bool,
}

/// Has the index of runs take what waits. It begins when it is polled first: by then the last commit is durable.
fn flush(shared: &Arc<Shared>) -> BoxFuture<'static, ()> {
    let shared = shared.clone();
    async move { shared.listing.visibility.flush().await }.boxed()
}

/// Until there may be news of the index of runs.
pub(super) async fn until_listed(leaving: &mut Option<Leaving>, shared: &Arc<Shared>) {
    let Some(leaving) = leaving else { return std::future::pending().await };
    let look = shared.wall.sleep_until(shared.wall_now() + LOOK);
    let Some(flush) = &mut leaving.flush else {
        look.await;
        leaving.is_flushed = true;
        return;
    };
    tokio::select! {
        biased;
        () = flush => leaving.flush = None,
        () = look => {}
    }
}

impl Runner {
    /// What callers are told from now on.
    pub(super) fn elsewhere(&self) -> Refusal {
        Refusal::Elsewhere { shard: self.shard }
    }

    /// Who waits for the shard's commits is told its epoch behind them. One that was lost has none: its commits have failed.
    pub(super) fn tell_settled(&mut self, asks: oneshot::Sender<u64>) {
        if !self.leaving.as_ref().is_some_and(|leaving| leaving.is_lost) {
            self.open.outputs.push(Output::Settled(asks, self.fence.epoch));
        }
    }

    /// Begins to leave.
    pub(super) fn give_up(&mut self, told: oneshot::Sender<()>) {
        if let Some(leaving) = &mut self.leaving {
            return leaving.told.push(told);
        }
        self.go(Leaving { told: vec![told], flush: Some(flush(&self.shared)), is_flushed: false, is_lost: false });
    }

    /// A commit has failed on the way out, and the shard is owned again: its rows wait for the index again.
    pub(super) fn list_again(&mut self) {
        if let Some(leaving) = &mut self.leaving {
            (leaving.flush, leaving.is_flushed) = (Some(flush(&self.shared)), false);
        }
    }

    /// Another has the shard: leaves with nothing in hand.
    pub(super) fn be_gone(&mut self) {
        let told = self.leaving.take().map(|leaving| leaving.told).unwrap_or_default();
        self.go(Leaving { told, flush: None, is_flushed: true, is_lost: true });
        self.listed.clear();
        self.taken = false;
        // What the lost batch had changed would be written by the next.
        self.set_usage(Tallies::new());
        self.shared.flow.leave(&self.shared.shards.here, self.shard, true);
    }

    fn go(&mut self, leaving: Leaving) {
        self.leaving = Some(leaving);
        self.shared.shards.here.go(self.shard);
        for queue in self.shared.matching.withdraw_absent() {
            self.shared.page_in(&queue);
        }
    }

    /// It is here already, unless it leaves: then the asker is not answered, and asks again.
    pub(super) fn take_up_again(&mut self, told: oneshot::Sender<Result<(), StoreError>>) {
        if self.leaving.is_none() {
            // The asker may have gone.
            let _ = told.send(Ok(()));
        }
    }

    /// A message that came when the shard was on its way out: news for a run is still written down, if that can be.
    pub(super) fn handle_last(&mut self, message: Box<RunMessage>) {
        match message.reply {
            Some(reply) => {
                // The caller may have gone.
                let _ = reply.send(Err(self.elsewhere()));
            }
            None if self.leaving.as_ref().is_some_and(|leaving| leaving.is_lost) => {}
            None => self.handle(message),
        }
    }

    /// The index has all that waited of the shard's runs, and the rows for that are gone; or it takes nothing.
    pub(super) fn is_unlisted(&self) -> bool {
        (self.listed.is_empty() && !self.taken)
            || self.leaving.as_ref().is_some_and(|leaving| leaving.is_flushed)
            || self.shared.listing.visibility.failure().is_some()
    }

    /// Forgets what is in memory of the shard's runs, and says that it is done.
    pub(super) fn leave(mut self) -> mpsc::Receiver<Message> {
        let shared = self.shared.clone();
        // Where the index has it, nothing waits; of a shard that was lost, the other shows what there is.
        shared.listing.let_go(&shared.shards.here, self.shard);
        for id in self.buffered_queries.drain() {
            shared.queries.resolve(id, Outcome::Answer(Err(Refusal::Elsewhere { shard: self.shard }), 0));
        }
        self.forget_in_hand();
        // Dropped watchers look again, and are told.
        self.watchers.clear();
        self.updates.lose_all();
        self.set_usage(Tallies::new());
        shared.flow.leave(&shared.shards.here, self.shard, false);
        if self.leaving.as_ref().is_some_and(|leaving| leaving.is_lost) {
            shared.stats.shards_lost.add(1);
        } else {
            shared.stats.shards_given_up.add(1);
            tracing::info!(shard = self.shard, "the shard is given up");
        }
        for told in self.leaving.take().into_iter().flat_map(|leaving| leaving.told) {
            // The asker may have gone.
            let _ = told.send(());
        }
        self.inbox
    }
}
