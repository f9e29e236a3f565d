//! Carries out what the lines say: lets starts go whose turn has come, ends those whose place a newer one has taken.
//!
//! Nothing is remembered but in the lines: after a crash they say the same again. An order is tried until the run has heard
//! of it, or the lines do not want it any more.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sempre_core::{Refusal, Span, flow::Order, input::TerminateRequest};

use crate::{
    shard::message::Ask,
    shared::Shared,
    virtual_time::{Part, VirtualTime},
};

/// Orders under way at once: few enough that shards serve others beside.
const ACTIVE_MAX: usize = 64;
const BACKOFF_FIRST: Span = Span::millis(50);
const BACKOFF_MAX: Span = Span::seconds(10);
/// Who ends runs whose place a newer one has taken.
const IDENTITY: &str = "flow-rule";

/// Works until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    if AssertUnwindSafe(work(&shared)).catch_unwind().await.is_err() {
        shared.fail("flow rules have stopped by a panic".into());
    }
}

async fn work(shared: &Arc<Shared>) {
    let mut part = shared.virtual_time.as_ref().map(VirtualTime::part);
    let mut active: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    while !shared.stopping.load(Ordering::Acquire) {
        shared.flow.inner().hold = None;
        let room = ACTIVE_MAX.saturating_sub(active.len());
        let orders = shared.flow.pump(shared.now(), room);
        for order in orders {
            active.push(carry_out(shared.clone(), order).boxed());
        }
        let next = shared.flow.lines().next_time();
        let has_room = active.len() < ACTIVE_MAX;
        let works = has_room && shared.flow.lines().has_work();
        if let Some(part) = part.as_mut().filter(|_| !works && active.is_empty()) {
            part.rest(next);
        }
        let timer = async {
            match next.filter(|_| has_room) {
                Some(at) => shared.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(()) = active.next(), if !active.is_empty() => {}
            () = shared.flow.changed.notified() => {}
            () = std::future::ready(()), if works => {}
            () = timer => {}
        }
        part.iter_mut().for_each(Part::work);
    }
}

async fn carry_out(shared: Arc<Shared>, order: Order) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let run = order.run();
        if !shared.flow.permits(run.run, order.permit()) {
            return;
        }
        let ask = match &order {
            Order::Release { permit, .. } => Ask::Release(*permit),
            Order::Replace { permit, by, rule, .. } => {
                let request = TerminateRequest {
                    reason: format!("replaced by a newer start: workflow {}, run {} (flow rule {rule:?})", by.workflow.workflow_id, by.run),
                    identity: IDENTITY.into(),
                    ..TerminateRequest::default()
                };
                Ask::Replace(*permit, Box::new(request))
            }
        };
        match shared.ask(run.workflow.clone(), Some(run.run), ask).await {
            Ok(_) => return,
            // It has closed, or was deleted, in the meantime.
            Err(Refusal::NotFound(_)) => return shared.flow.gone(run.run),
            Err(refusal) => {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                tracing::debug!(?refusal, run = %run.run, "a start that waits could not be told yet");
            }
        }
        shared.clock.sleep_until(shared.now() + backoff).await;
        backoff = Span((backoff.0 * 2).min(BACKOFF_MAX.0));
    }
}
