//! Reads from the store what is owed: offers to task queues, messages between runs.
//!
//! Runs beside serving: after the start for all slots, after a failed commit, and when it is taken up, for those of one shard. Of a
//! shard that is given up meanwhile, or begins again, the rest is not read: whoever has it then reads it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use prost::Message as _;
use sempre_core::{
    RunKey, SlotId, Span,
    keys::{self, OutboxRecord},
    planted::{self, Bug},
    transition::OutboxEntry,
};
use sempre_store::{StoreError, Table};

use crate::{shard::message::Message, shards::Lives, shared::Shared};

/// Rows read at once.
const ROWS: usize = 500;
const RETRY: Span = Span::seconds(1);
/// Tries before the engine gives up: without its offers, work would stand still in silence.
const TRIES_MAX: usize = 30;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    All,
    Messages,
    Offers,
}

/// Reads what is owed of ranges of slots (from, to).
pub(crate) async fn read(shared: Arc<Shared>, slots: Vec<(u16, u16)>, owed: Owed) {
    let then = shared.shards.here.lives();
    if AssertUnwindSafe(read_on(shared.clone(), then, slots, owed)).catch_unwind().await.is_err() {
        shared.fail("the read of what is owed has stopped by a panic".into());
    }
}

async fn read_on(shared: Arc<Shared>, then: Lives, slots: Vec<(u16, u16)>, owed: Owed) {
    for tries in 1.. {
        match read_all(&shared, &then, &slots, owed).await {
            Ok(()) => break,
            Err(StoreError::Closed) => return,
            Err(error) if tries >= TRIES_MAX => return shared.fail(format!("what is owed could not be read: {error}")),
            Err(error) => {
                tracing::warn!(%error, tries, "what is owed could not be read");
                shared.clock.sleep_until(shared.now() + RETRY).await;
            }
        }
    }
    if owed != Owed::Messages {
        shared.matching.finish_loading();
    }
}

async fn read_all(shared: &Arc<Shared>, then: &Lives, slots: &[(u16, u16)], owed: Owed) -> Result<(), StoreError> {
    if owed != Owed::Messages {
        for range in slots {
            if !planted::is(Bug::OffersNotRecovered) {
                shared.matching.load(&*shared.store, *range).await?;
            }
        }
        shared.matching.finish_loading();
    }
    for range in slots {
        if owed != Owed::Offers && !planted::is(Bug::MessagesNotRecovered) {
            messages(shared, then, *range).await?;
        }
    }
    Ok(())
}

async fn messages(shared: &Shared, then: &Lives, (from, to): (u16, u16)) -> Result<(), StoreError> {
    let mut from = keys::slot(from);
    let to = keys::slot(to);
    loop {
        let rows = shared.store.scan(Table::Outbox, &from, &to, ROWS).await?;
        let more = rows.len() == ROWS;
        if let Some((last, _)) = rows.last() {
            from = last.to_vec();
            from.push(0);
        }
        for (key, value) in rows {
            let Some((slot, sender, entry)) = message_of(&key, value) else {
                tracing::error!(key = ?key, "an outbox row is damaged");
                continue;
            };
            if !shared.shards.here.goes_on(then, slot) {
                continue;
            }
            if shared.shards.inbox_of(slot).send(Message::Redeliver(sender, entry)).await.is_err() {
                return Err(StoreError::Closed);
            }
        }
        if !more {
            return Ok(());
        }
    }
}

fn message_of(key: &[u8], value: bytes::Bytes) -> Option<(SlotId, RunKey, OutboxEntry)> {
    let (run, id) = keys::parse_outbox(key)?;
    let record = OutboxRecord::decode(value).ok()?;
    let workflow = record.sender.as_ref()?.workflow()?;
    let slot = workflow.slot();
    Some((slot, RunKey { workflow, run }, OutboxEntry { id, message: record.message()? }))
}
