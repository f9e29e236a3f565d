//! A job at work: page after page of targets, several calls at once, not more in a second than it may.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use sempre_api::v1::enums::BatchOperationState;
use sempre_core::{Refusal, Span, Timestamp};

use super::{
    JobRecord, Live, OrderRecord, Place,
    act::{Acted, Caller, act},
    check::Target,
    parse_key,
};
use crate::{engine::WeakEngine, records::BATCH_JOBS, shared::Shared};

/// Targets between two notes of how far the job came.
const PAGE: usize = 100;
/// Calls of one job under way at once.
const AT_ONCE: usize = 8;
/// Tries for a target that cannot be reached: two minutes, as a database may be away.
const TARGET_TRIES_MAX: usize = 30;
/// Tries for a page of targets that takes too long to read.
const PAGE_TRIES_MAX: usize = 8;
const RETRY_FIRST: Span = Span::millis(100);
const RETRY_MAX: Span = Span::seconds(5);
const SECOND: f64 = 1e9;

/// What became of one target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    /// The job has dealt with it before, and counted it then.
    Again,
    /// The engine or the job stops: nobody knows.
    Unknown,
}

/// Some targets, and where the next ones begin.
struct Page {
    targets: Vec<Target>,
    /// `None`: there are no more.
    next: Option<Place>,
}

/// Works on a job until it has ended, or the engine stops, or another node works on it.
pub(crate) async fn run(engine: WeakEngine, key: Vec<u8>) {
    let shared = engine.shared.clone();
    let goes_on = || shared.once.has(BATCH_JOBS.owner) && !shared.stopping.load(Ordering::Acquire);
    loop {
        let Some(job) = shared.batches.records.get(&key) else { return };
        let Some(live) = shared.batches.begin(&key, &job) else { return };
        turn(&engine, &key, &job, &live).await;
        shared.batches.end(&key);
        // Jobs may have left and come back before this one has ended.
        if !goes_on() || !shared.batches.records.get(&key).is_some_and(|job| job.is_running()) {
            return;
        }
    }
}

async fn turn(engine: &WeakEngine, key: &[u8], job: &JobRecord, live: &Arc<Live>) {
    let shared = engine.shared.clone();
    if !shared.batches.records.get(key).is_some_and(|job| job.is_running()) {
        // It was stopped before it began.
        return;
    }
    let worked = AssertUnwindSafe(work(engine, key, job, live)).catch_unwind().await;
    let end = match worked {
        Ok(Ok(())) => None,
        Ok(Err(Ended::Stopping)) => {
            if !shared.stopping.load(Ordering::Acquire)
                && shared.once.has(BATCH_JOBS.owner)
                && let Err(refusal) = shared.batches.recount(key, job, live).await
            {
                tracing::warn!(?refusal, "the last counts of a stopped batch job could not be written");
            }
            return;
        }
        Ok(Err(Ended::Failed(why))) => Some(why),
        Err(_) => Some("a panic".to_owned()),
    };
    if let Some(why) = &end {
        tracing::warn!(why, job = %String::from_utf8_lossy(&key[16.min(key.len())..]), "a batch job has failed");
    }
    let state = if end.is_none() { BatchOperationState::Completed } else { BatchOperationState::Failed };
    let now = shared.now();
    let noted = note(&shared, key, live, move |job| {
        job.state = state as i32;
        job.close_time = now.0;
        job.end = end.clone().unwrap_or_default();
    });
    noted.await;
}

/// Why a job does not go on.
enum Ended {
    /// The engine stops, or somebody has stopped the job and said so.
    Stopping,
    Failed(String),
}

/// Notes until it is noted. False: the job is not running any more.
async fn note(shared: &Shared, key: &[u8], live: &Live, change: impl Fn(&mut JobRecord) + Send + Sync) -> bool {
    let mut pause = RETRY_FIRST;
    loop {
        let noted = shared.batches.note(key, |job| {
            job.complete = live.complete.load(Ordering::Relaxed);
            job.failed = live.failed.load(Ordering::Relaxed);
            change(job);
        });
        match noted.await {
            Ok(running) => return running,
            // The node that has jobs by now goes on from what was noted.
            Err(Refusal::Elsewhere { .. }) => return false,
            Err(_) if shared.stopping.load(Ordering::Acquire) => return false,
            Err(refusal) => {
                tracing::warn!(?refusal, "a batch job could not be written");
                shared.clock.sleep_until(shared.now() + pause).await;
                pause = Span((pause.0 * 2).min(RETRY_MAX.0));
            }
        }
    }
}

/// What the job was asked for.
async fn order(shared: &Shared, key: &[u8]) -> Result<OrderRecord, Ended> {
    let mut pause = RETRY_FIRST;
    loop {
        match shared.batches.order(key).await {
            Ok(order) => return Ok(order),
            Err(_) if shared.stopping.load(Ordering::Acquire) => return Err(Ended::Stopping),
            Err(Refusal::Unavailable(_)) => {
                shared.clock.sleep_until(shared.now() + pause).await;
                pause = Span((pause.0 * 2).min(RETRY_MAX.0));
            }
            Err(refusal) => return Err(Ended::Failed(format!("{refusal:?}"))),
        }
    }
}

async fn work(engine: &WeakEngine, key: &[u8], job: &JobRecord, live: &Arc<Live>) -> Result<(), Ended> {
    let shared = &engine.shared;
    let order = Arc::new(order(shared, key).await?);
    let (namespace, _) = parse_key(key).ok_or_else(|| Ended::Failed("a damaged key".into()))?;
    let listed = order.targets();
    let mut place = job.place.unwrap_or_default();
    let mut pace = Pace { next: shared.now(), gap: gap(order.rate(), shared.settings.batch_rate_max) };
    loop {
        let found = shared.namespaces.by_id(namespace).filter(|_| !shared.namespaces.is_gone(namespace));
        let name = found.ok_or_else(|| Ended::Failed("the namespace was deleted".into()))?.view.name.clone();
        let caller = Arc::new(Caller { namespace: name, token: job.token.clone(), reason: job.reason.clone() });
        let page = page(engine, &caller, &order, &listed, place, live).await?;
        targets(engine, &caller, &order, page.targets, live, &mut pace).await?;
        let Some(next) = page.next else { return Ok(()) };
        place = next;
        if !note(shared, key, live, move |job| job.place = Some(next)).await {
            return Err(Ended::Stopping);
        }
    }
}

/// At most so many calls a second.
struct Pace {
    next: Timestamp,
    gap: Span,
}

/// Time between two calls of a job.
fn gap(asked: f32, rate_max: f64) -> Span {
    let asked = f64::from(asked);
    let rate = if asked > 0.0 && asked < rate_max { asked } else { rate_max };
    Span((SECOND / rate.max(1e-3)) as i64)
}

impl Pace {
    /// A turn was taken.
    fn took(&mut self, now: Timestamp) {
        self.next = self.next.max(now) + self.gap;
    }
}

/// Acts on all targets of a page.
async fn targets(
    engine: &WeakEngine,
    caller: &Arc<Caller>,
    order: &Arc<OrderRecord>,
    targets: Vec<Target>,
    live: &Live,
    pace: &mut Pace,
) -> Result<(), Ended> {
    let shared = &engine.shared;
    let mut active = FuturesUnordered::new();
    let mut unknown = false;
    let mut count = |outcome: Outcome| match outcome {
        Outcome::Done => drop(live.complete.fetch_add(1, Ordering::Relaxed)),
        Outcome::Failed => drop(live.failed.fetch_add(1, Ordering::Relaxed)),
        Outcome::Again => {}
        Outcome::Unknown => unknown = true,
    };
    let stops = || live.stops(shared);
    let mut targets = targets.into_iter().peekable();
    loop {
        let more = targets.peek().is_some() && !stops();
        if !more && active.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            Some(outcome) = active.next(), if !active.is_empty() => count(outcome),
            () = live.sleep_until(shared, pace.next), if more && active.len() < AT_ONCE => {
                if let Some(target) = targets.next_if(|_| !stops()) {
                    pace.took(shared.now());
                    active.push(one(engine, caller, order, live, target));
                }
            }
        }
    }
    let left = targets.peek().is_some();
    if unknown || left || stops() { Err(Ended::Stopping) } else { Ok(()) }
}

/// Acts on one target, with tries.
async fn one(engine: &WeakEngine, caller: &Caller, order: &OrderRecord, live: &Live, target: Target) -> Outcome {
    let shared = &engine.shared;
    let (mut pause, mut tries_left) = (RETRY_FIRST, TARGET_TRIES_MAX);
    loop {
        let Some(strong) = engine.get() else { return Outcome::Unknown };
        let result = act(&strong, caller, order, &target).await;
        drop(strong);
        tries_left -= 1;
        match result {
            Ok(Acted::Before) => return Outcome::Again,
            // Gone, or closed already.
            Ok(Acted::Now) | Err(Refusal::NotFound(_)) => return Outcome::Done,
            // It may have been done.
            Err(_) if shared.stopping.load(Ordering::Acquire) => return Outcome::Unknown,
            Err(refusal) if refusal.may_pass() && tries_left > 0 => {
                tracing::debug!(?refusal, workflow = target.workflow_id, "a target of a batch job is tried again");
                live.sleep_until(shared, shared.now() + pause).await;
                if live.stops(shared) {
                    return Outcome::Unknown;
                }
                pause = Span((pause.0 * 2).min(RETRY_MAX.0));
            }
            Err(refusal) => {
                tracing::info!(?refusal, workflow = target.workflow_id, "a target refused a batch operation");
                return Outcome::Failed;
            }
        }
    }
}

/// The targets from a place on.
async fn page(
    engine: &WeakEngine,
    caller: &Caller,
    order: &OrderRecord,
    listed: &[Target],
    place: Place,
    live: &Live,
) -> Result<Page, Ended> {
    let shared = &engine.shared;
    let query = order.selection();
    if query.is_empty() {
        let from = usize::try_from(place.index).unwrap_or(usize::MAX).min(listed.len());
        let to = (from + PAGE).min(listed.len());
        let next = (to < listed.len()).then_some(Place { index: to as u64, ..Place::default() });
        return Ok(Page { targets: listed[from..to].to_vec(), next });
    }
    let after = (place != Place::default()).then_some(place);
    let (mut pause, mut too_long) = (RETRY_FIRST, 0);
    loop {
        if live.stops(shared) {
            return Err(Ended::Stopping);
        }
        let Some(strong) = engine.get() else { return Err(Ended::Stopping) };
        let selected = strong.select_page(&caller.namespace, order.acts(), &query, after, PAGE).await;
        drop(strong);
        let refusal = match selected {
            Ok((targets, next)) => return Ok(Page { targets, next }),
            Err(_) if shared.stopping.load(Ordering::Acquire) => return Err(Ended::Stopping),
            Err(refusal) => refusal,
        };
        let again = match &refusal {
            // The machine may have been busy; but there are queries that no index answers in time.
            Refusal::DeadlineExceeded(_) => {
                too_long += 1;
                too_long < PAGE_TRIES_MAX
            }
            refusal => refusal.may_pass(),
        };
        if !again {
            return Err(Ended::Failed(format!("{refusal:?}")));
        }
        tracing::warn!(?refusal, "the targets of a batch job could not be read");
        live.sleep_until(shared, shared.now() + pause).await;
        pause = Span((pause.0 * 2).min(RETRY_MAX.0));
    }
}
