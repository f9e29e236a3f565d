//! The task of one shard, for as long as the engine: serves it while it is here ([`Runner`]), answers for it while it is not.
//!
//! | while it is absent | |
//! |---|---|
//! | a call that was on its way | is told [`Refusal::Elsewhere`] |
//! | who waits for its commits | is told that there are none |
//! | told to take it up | acquires it, reads what has to be known before anything else, serves; what it owes is read beside |
//! | that fails | is told, and stays absent |

use std::{pin::pin, sync::Arc};

use sempre_core::Refusal;
use sempre_store::{Fence, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::{
    message::Message,
    recover::{Again, try_to_own},
    runner::Runner,
};
use crate::{shared::Shared, usage::rows};

/// A shard at the begin of its engine.
pub(crate) enum Begin {
    /// It was acquired.
    Here(Box<Runner>),
    /// It is not here.
    Absent(mpsc::Receiver<Message>),
}

/// Runs until told to stop, or until the shard has failed.
pub(crate) async fn keep(shared: Arc<Shared>, shard: u32, mut begin: Begin) {
    loop {
        let runner = match begin {
            Begin::Here(runner) => *runner,
            Begin::Absent(inbox) => match absent(&shared, shard, inbox).await {
                Some(runner) => runner,
                None => return,
            },
        };
        match runner.run().await {
            Some(inbox) => begin = Begin::Absent(inbox),
            None => return,
        }
    }
}

/// Answers for a shard that is not here, until it is. `None`: told to stop.
async fn absent(shared: &Arc<Shared>, shard: u32, mut inbox: mpsc::Receiver<Message>) -> Option<Runner> {
    loop {
        match inbox.recv().await? {
            Message::Stop => return None,
            Message::TakeUp(told) => match acquire_timed(shared, shard, &mut inbox).await? {
                Ok(again) => return Some(begin(shared, shard, again, inbox, told)),
                Err(error) => {
                    // Rows may have been shown before another could not be read.
                    shared.listing.let_go(&shared.shards.here, shard);
                    // The asker may have gone.
                    let _ = told.send(Err(error));
                }
            },
            Message::GiveUp(told) => {
                // As above; it is not here.
                let _ = told.send(());
            }
            other => refuse(shard, other),
        }
    }
}

/// As [`acquire`], and counts it.
async fn acquire_timed(shared: &Arc<Shared>, shard: u32, inbox: &mut mpsc::Receiver<Message>) -> Option<Result<Again, StoreError>> {
    let begun = shared.wall_now();
    let acquired = acquire(shared, shard, inbox).await?;
    if acquired.is_ok() {
        shared.stats.shards_taken_up.add(1);
        shared.stats.take_up_waits.observe(shared.wall_now().since(begun));
    }
    Some(acquired)
}

/// Acquires the shard, while what comes is refused. `None`: told to stop.
async fn acquire(shared: &Arc<Shared>, shard: u32, inbox: &mut mpsc::Receiver<Message>) -> Option<Result<Again, StoreError>> {
    let mut acquired = pin!(async {
        let again = try_to_own(shared.clone(), shard, &mut None).await?;
        rows::begin(&*shared.store, Fence { shard, epoch: again.epoch }).await?;
        Ok::<_, StoreError>(again)
    });
    loop {
        tokio::select! {
            biased;
            acquired = &mut acquired => return Some(acquired),
            message = inbox.recv() => match message? {
                Message::Stop => return None,
                other => refuse(shard, other),
            },
        }
    }
}

/// The shard serves from here on.
fn begin(
    shared: &Arc<Shared>,
    shard: u32,
    again: Again,
    inbox: mpsc::Receiver<Message>,
    told: oneshot::Sender<Result<(), StoreError>>,
) -> Runner {
    let Again { epoch, usage, listed } = again;
    let mut runner = Runner::new(shared.clone(), shard, epoch, inbox, listed);
    runner.set_usage(usage);
    shared.flow.begin_loading();
    shared.shards.here.come(Fence { shard, epoch });
    runner.read_all(true);
    if let Some(homes) = &shared.homes {
        homes.come(shard);
    }
    tracing::info!(shard, epoch, "the shard is taken up");
    // The asker may have gone.
    let _ = told.send(Ok(()));
    runner
}

/// Answers what had found the inbox before the shard went, or before it is here.
fn refuse(shard: u32, message: Message) {
    match message {
        Message::Run(mut message) => {
            if let Some(reply) = message.reply.take() {
                // The caller may have gone.
                let _ = reply.send(Err(Refusal::Elsewhere { shard }));
            }
        }
        Message::Settled(asks) => {
            // Nobody may wait any more.
            let _ = asks.send(0);
        }
        // Rows are read again by whoever has the shard. Who wants it taken or given up meanwhile is not answered, and asks again.
        Message::Redeliver(..) | Message::Reread(_) | Message::Taken | Message::TakeUp(_) | Message::GiveUp(_) | Message::Stop => {}
    }
}
