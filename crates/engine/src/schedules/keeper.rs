//! The task of schedules, for as long as the engine: works on them while their single shard is here ([`Runner`]), answers for them
//! while it is not.
//!
//! | while they are elsewhere | |
//! |---|---|
//! | a call | is told [`Refusal::Elsewhere`] |
//! | the end of a run that a schedule has started | is not heard: it is told again |
//! | told to take them up | acquires the rows, works |

use std::sync::Arc;

use sempre_core::Refusal;
use tokio::sync::mpsc;

use super::{Message, OWNER, Runner};
use crate::shared::Shared;

/// Runs until told to stop, or until the engine has failed. With an epoch the rows were just acquired.
pub(crate) async fn keep(shared: Arc<Shared>, mut acquired: Option<u64>, mut inbox: mpsc::Receiver<Message>) {
    loop {
        let epoch = match acquired.take() {
            Some(epoch) => epoch,
            None => match elsewhere(&shared, &mut inbox).await {
                Some(epoch) => epoch,
                None => return,
            },
        };
        match Runner::new(shared.clone(), epoch, inbox).run().await {
            Some(back) => inbox = back,
            None => return,
        }
    }
}

/// Answers while they are elsewhere. `None`: told to stop.
async fn elsewhere(shared: &Shared, inbox: &mut mpsc::Receiver<Message>) -> Option<u64> {
    loop {
        match inbox.recv().await? {
            Message::Stop => return None,
            Message::TakeUp(told) => {
                let acquired = shared.store.acquire(OWNER).await;
                if acquired.is_ok() {
                    shared.once.come(OWNER);
                }
                let epoch = acquired.as_ref().ok().copied();
                // The asker may have gone.
                let _ = told.send(acquired.map(drop));
                if epoch.is_some() {
                    return epoch;
                }
            }
            Message::GiveUp(told) => {
                // As above; they are not here.
                let _ = told.send(());
            }
            other => refuse(other),
        }
    }
}

/// Answers what has come for whoever has them next. Who wants them taken or given up meanwhile is not answered, and asks again.
pub(super) fn refuse(message: Message) {
    if let Message::Call(_, _, reply, _) = message {
        // The caller may have gone.
        let _ = reply.send(Err(Refusal::Elsewhere { shard: OWNER }));
    }
}
