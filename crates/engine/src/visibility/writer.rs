//! The task that brings what waits to the index.
//!
//! It sleeps while nothing waits. Then a batch leaves when it is full, when its oldest record is [`BATCH_AGE`] old, or
//! when somebody waits for the end. A batch that fails is repeated after a pause that grows.

use std::sync::Arc;

use sempre_core::{Span, Timestamp};

use super::{
    Inner, OnTaken,
    index::IndexError,
    pending::{Taken, Update, changes},
};

/// How long a record waits for others: most short runs close in this time and are written once.
const BATCH_AGE: Span = Span::millis(250);
/// The pause after the first failure; it doubles.
const PAUSE_FIRST: Span = Span::millis(250);
/// The longest pause between attempts.
const PAUSE_MAX: Span = Span::seconds(30);

/// Runs until told to stop; then a last time through what waits, once.
pub(super) async fn run(inner: Arc<Inner>, on_taken: OnTaken) {
    let mut pause = PAUSE_FIRST;
    loop {
        let stopping = inner.state.borrow().stopping;
        match next(&inner, stopping) {
            Next::Stop => break,
            Next::Sleep => inner.changed.notified().await,
            Next::At(at) => {
                tokio::select! {
                    biased;
                    () = inner.clock.sleep_until(at) => {}
                    () = inner.changed.notified() => {}
                }
            }
            Next::Batch(batch) => match inner.index.apply(changes(&batch)).await {
                Ok(()) => {
                    pause = PAUSE_FIRST;
                    inner.tried(Ok(()));
                    let mut pending = inner.pending();
                    pending.done(&batch);
                    inner.look(&pending);
                    drop(pending);
                    on_taken(batch.into_iter().map(|Update { key, version, .. }| Taken { key, version }).collect());
                }
                Err(error) => {
                    inner.pending().failed(&batch, inner.clock.now());
                    inner.tried(Err(&error));
                    if stopping || error == IndexError::Closed {
                        tracing::warn!(%error, records = batch.len(), "records were not brought to the visibility index");
                        break;
                    }
                    tracing::error!(%error, records = batch.len(), pause_ms = pause.0 / 1_000_000, "the visibility index took no records");
                    wait(&inner, inner.clock.now() + pause).await;
                    pause = Span(pause.0 * 2).min(PAUSE_MAX);
                }
            },
        }
    }
    inner.state.send_modify(|state| state.ended = true);
}

enum Next {
    Batch(Vec<Update>),
    At(Timestamp),
    Sleep,
    Stop,
}

fn next(inner: &Inner, stopping: bool) -> Next {
    let hurry = stopping || inner.state.borrow().flushing > 0;
    let mut pending = inner.pending();
    let Some(oldest) = pending.oldest() else {
        return if stopping { Next::Stop } else { Next::Sleep };
    };
    let due = oldest + BATCH_AGE;
    if hurry || pending.has_batch() || due <= inner.clock.now() {
        return Next::Batch(pending.take());
    }
    Next::At(due)
}

/// Waits for a point in time, or to be told to stop.
async fn wait(inner: &Inner, at: Timestamp) {
    let mut state = inner.state.subscribe();
    tokio::select! {
        biased;
        () = inner.clock.sleep_until(at) => {}
        _ = state.wait_for(|state| state.stopping) => {}
    }
}
