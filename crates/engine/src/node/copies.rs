//! The task that keeps a node's copies of what there is once: reads anew what another node has committed to.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use sempre_core::Span;
use sempre_store::postgres::member::Membership;
use tokio::sync::watch;

use crate::{engine::WeakEngine, once};

/// After a read that failed.
const RETRY: Span = Span::millis(500);

/// Works until the node is dropped, or its engine stops. What was committed up to `known`, by single shard, was read.
pub(super) async fn follow(engine: WeakEngine, membership: Membership, mut known: BTreeMap<u32, i64>, mut dropped: watch::Receiver<()>) {
    let shared = engine.shared;
    let (mut written, mut fatal) = (membership.watch_singles(), shared.fatal.subscribe());
    loop {
        let now = written.borrow_and_update().clone();
        let mut has_failed = false;
        for (single, number) in now {
            if known.get(&single) == Some(&number) {
                continue;
            }
            if shared.stopping.load(Ordering::Acquire) {
                return;
            }
            match once::reread(&shared, single).await {
                Ok(()) => drop(known.insert(single, number)),
                Err(error) => {
                    tracing::warn!(shard = single, %error, "what another node has changed cannot be read yet");
                    has_failed = true;
                }
            }
        }
        let retry = async {
            match has_failed {
                true => shared.wall.sleep_until(shared.wall_now() + RETRY).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = fatal.wait_for(Option::is_some) => return,
            _ = dropped.changed() => return,
            changed = written.changed() => if changed.is_err() { return },
            () = retry => {}
        }
    }
}
