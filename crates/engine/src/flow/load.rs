//! Makes the lines out of table Flow: after the start for all slots, after a failed commit, and when it is taken up, for those of
//! one shard. Nobody goes meanwhile, so that no limit is passed for what is not read yet.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use prost::Message as _;
use sempre_core::{
    Span,
    flow::FlowRecord,
    keys,
    planted::{self, Bug},
};
use sempre_store::{StoreError, Table};

use crate::{
    shards::Lives,
    shared::{Shared, give_way},
};

/// Rows read at once.
const ROWS: usize = 500;
const RETRY: Span = Span::seconds(1);
/// Tries before the engine gives up: without its lines, starts would wait in silence.
const TRIES_MAX: usize = 30;

/// Reads ranges of slots (from, to), then lets the lines go on.
pub(crate) async fn read(shared: Arc<Shared>, slots: Vec<(u16, u16)>) {
    let then = shared.shards.here.lives();
    if AssertUnwindSafe(read_on(&shared, &then, &slots)).catch_unwind().await.is_err() {
        shared.fail("the read of flow rules' runs has stopped by a panic".into());
    }
}

async fn read_on(shared: &Shared, then: &Lives, slots: &[(u16, u16)]) {
    for tries in 1.. {
        match read_all(shared, then, slots).await {
            Ok(()) => break,
            Err(StoreError::Closed) => return,
            Err(error) if tries >= TRIES_MAX => return shared.fail(format!("what flow rules know of runs could not be read: {error}")),
            Err(error) => {
                tracing::warn!(%error, tries, "what flow rules know of runs could not be read");
                shared.clock.sleep_until(shared.now() + RETRY).await;
            }
        }
    }
    shared.flow.lines().finish_loading();
    shared.flow.wake();
}

async fn read_all(shared: &Shared, then: &Lives, slots: &[(u16, u16)]) -> Result<(), StoreError> {
    if planted::is(Bug::FlowNotRecovered) {
        return Ok(());
    }
    for (from, to) in slots {
        let (mut from, to) = (keys::slot(*from), keys::slot(*to));
        loop {
            let rows = shared.store.scan(Table::Flow, &from, &to, ROWS).await?;
            let more = rows.len() == ROWS;
            if let Some((last, _)) = rows.last() {
                from = last.to_vec();
                from.push(0);
            }
            for (key, value) in rows {
                let record = FlowRecord::decode(value).ok();
                match keys::parse_run(&key).and_then(|run| record?.parts(run)) {
                    Some((run, progress)) => {
                        // Looked at while nobody else has the lines: what is forgotten of a shard that goes is not brought back.
                        let mut lines = shared.flow.lines();
                        if shared.shards.here.goes_on(then, run.workflow.slot()) {
                            lines.load(run, &progress);
                        }
                    }
                    None => tracing::error!(key = ?key, "a row of a flow rule's run is damaged"),
                }
            }
            if !more {
                break;
            }
            give_way().await;
        }
    }
    Ok(())
}
