//! Takes away the data of deleted namespaces, in the background and without a pause in service.
//!
//! The namespace's record says all: it is in the state "deleted" until nothing is left. A pass over the store
//! deletes what it finds; after a restart the passes begin anew.
//!
//! | step | until | written |
//! |---|---|---|
//! | passes over runs: the current ones, those with a deadline (every closed run has one) | a pass that began [`SETTLED_AFTER`] after the deletion finds none, and none of their messages is on its way | the shards delete run by run |
//! | what is beside the runs | each of [`BESIDE_RUNS`] | by its owner |
//! | the delay that the deletion asked for | it is over, counted from here | the record: when the data was gone |
//! | one more pass | it finds nothing | the record goes |
//!
//! Open runs are terminated first, so that other namespaces hear of it.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use prost::Message as _;
use sempre_core::{
    NamespaceId, Refusal, RunId, RunKey, Span, Timestamp, WorkflowKey,
    ids::SLOT_COUNT,
    keys::{self, OutboxRecord, RunRecord},
    transition::CurrentRecord,
};
use sempre_store::{StoreError, Table};

use crate::{
    alerts,
    calls::schedules::remove_schedules,
    deployments, flow,
    namespaces::{self, Namespace},
    notices,
    peers::record::{Letterhead, Request},
    shard::{load::prefix_end, message::Ask},
    shared::{Shared, give_way},
};

/// Rows read at once.
const ROWS: usize = 200;
/// Runs deleted at once.
const AT_ONCE: usize = 16;
/// Runs deleted in one second: serving goes on beside.
const RUNS_A_SECOND: i64 = 1000;
/// Calls that were admitted before the deletion have ended by then.
const SETTLED_AFTER: Span = Span::seconds(10);
/// First and longest pause when something could not be deleted yet.
const RETRY_FIRST: Span = Span::seconds(1);
const RETRY_MAX: Span = Span::seconds(60);

type Cleanup = for<'a> fn(&'a Shared, NamespaceId) -> BoxFuture<'a, Result<(), Refusal>>;

/// What a namespace has beside its runs, and how it goes. Who adds rows that belong to a namespace adds a line here; a
/// cleanup is repeated after a failure and after a crash, so it must not mind that there is nothing.
const BESIDE_RUNS: &[(&str, Cleanup)] = &[
    ("settings of task queues", |shared, id| queue_settings(shared, id).boxed()),
    ("what lists show of its runs", |shared, id| listed_runs(shared, id).boxed()),
    ("schedules", |shared, id| remove_schedules(shared, id).boxed()),
    ("worker deployments", |shared, id| deployments::forget(&shared.deployments, id).boxed()),
    ("flow rules", |shared, id| flow::forget(&shared.flow_rules, id).boxed()),
    ("alert rules", |shared, id| alerts::forget(&shared.alerts, id).boxed()),
    ("notices", |shared, id| notices::keeper::forget(shared, id).boxed()),
    ("batch jobs", |shared, id| shared.batches.forget(id).boxed()),
];

async fn listed_runs(shared: &Shared, id: NamespaceId) -> Result<(), Refusal> {
    let purged = shared.listing.forget(shared, id).await;
    purged.map_err(|error| Refusal::Unavailable(error.to_string()))
}

async fn queue_settings(shared: &Shared, id: NamespaceId) -> Result<(), Refusal> {
    loop {
        let removed = shared.meta.remove_configs(id).await?;
        if removed.is_empty() {
            return Ok(());
        }
        for queue in removed {
            shared.matching.set_up(&queue, Default::default());
        }
    }
}

/// Why a pass could not be ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what}: {refusal:?}")]
    Refused { what: &'static str, refusal: Refusal },
    #[error("the engine stops")]
    Stopping,
    #[error("namespaces are another node's by now")]
    Elsewhere,
}

/// Whether it goes on: asked all the time, as each pass is long.
fn goes_on(shared: &Shared) -> Result<(), Trouble> {
    if shared.stopping.load(Ordering::Acquire) {
        return Err(Trouble::Stopping);
    }
    // Of several nodes the one that changes namespaces removes them.
    if shared.once.has(namespaces::OWNER) { Ok(()) } else { Err(Trouble::Elsewhere) }
}

/// What a pass has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Runs that were deleted.
    deleted: usize,
    /// What could not be deleted, or goes by itself.
    left: usize,
    /// Rows that cannot be read: nobody knows whose they are.
    unreadable: usize,
}

/// Works until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    if AssertUnwindSafe(work(&shared)).catch_unwind().await.is_err() {
        shared.fail("the removal of namespaces has stopped by a panic".into());
    }
}

async fn work(shared: &Shared) {
    let mut pause = RETRY_FIRST;
    loop {
        let mut again: Option<Timestamp> = None;
        let mut trouble = false;
        for namespace in shared.namespaces.deleted() {
            match remove(shared, &namespace).await {
                Ok(Then::Gone) => {}
                Ok(Then::At(at)) => again = again.into_iter().chain([at]).min(),
                Ok(Then::Later(left)) => {
                    if pause >= RETRY_MAX {
                        tracing::warn!(left, namespace = namespace.view.name, "what is left of a deleted namespace does not go");
                    }
                    trouble = true;
                }
                Err(Trouble::Stopping) => return,
                // Whoever has them goes on. When they come back, it is told.
                Err(Trouble::Elsewhere) => break,
                Err(error) => {
                    tracing::warn!(%error, namespace = namespace.view.name, "a deleted namespace cannot be removed yet");
                    trouble = true;
                }
            }
        }
        if trouble {
            again = again.into_iter().chain([shared.now() + pause]).min();
        }
        pause = if trouble { Span((pause.0 * 2).min(RETRY_MAX.0)) } else { RETRY_FIRST };
        let wait = async {
            match again {
                Some(at) => shared.clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.removal.notified() => {}
            () = wait => {}
        }
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
    }
}

/// How it goes on with a namespace.
enum Then {
    Gone,
    At(Timestamp),
    /// So much is left that could not be deleted now, or goes by itself: each look reads the whole store, so the pauses grow.
    Later(usize),
}

/// As far as it goes now.
async fn remove(shared: &Shared, namespace: &Namespace) -> Result<Then, Trouble> {
    let id = namespace.id();
    let mut unreadable;
    loop {
        let begun = shared.now();
        let found = pass(shared, id).await?;
        unreadable = found.unreadable;
        if found.deleted > 0 {
            continue;
        }
        if found.left > 0 {
            return Ok(Then::Later(found.left));
        }
        let settled = Timestamp(namespace.record.deleted_at) + SETTLED_AFTER;
        if begun < settled {
            return Ok(Then::At(settled));
        }
        break;
    }
    for (what, cleanup) in BESIDE_RUNS {
        goes_on(shared)?;
        cleanup(shared, id).await.map_err(|refusal| Trouble::Refused { what, refusal })?;
    }
    let refused = |refusal| Trouble::Refused { what: "the record", refusal };
    let mut emptied = Timestamp(namespace.record.emptied_at);
    let delay = Span(namespace.record.delete_delay);
    if namespace.record.emptied_at == 0 && delay > Span::ZERO {
        emptied = shared.now();
        let change = |record: &mut crate::namespaces::NamespaceRecord| {
            record.emptied_at = emptied.0;
            Ok(())
        };
        shared.namespaces.update(id, change).await.map_err(refused)?;
    }
    if delay > Span::ZERO && shared.now() < emptied + delay {
        return Ok(Then::At(emptied + delay));
    }
    shared.namespaces.remove(id).await.map_err(refused)?;
    if unreadable > 0 {
        let namespace = &namespace.view.name;
        tracing::warn!(
            namespace,
            rows = unreadable,
            "a deleted namespace is gone with all of its data that can be read; rows that cannot may have been its"
        );
    } else {
        tracing::info!(namespace = namespace.view.name, "a deleted namespace is gone with all its data");
    }
    Ok(Then::Gone)
}

/// Deletes the runs that it finds, slot by slot.
async fn pass(shared: &Shared, id: NamespaceId) -> Result<Found, Trouble> {
    let mut found = Found::default();
    for slot in 0..SLOT_COUNT {
        let mut current = keys::slot(slot);
        current.extend_from_slice(&id.0.0);
        let of_current = |key: &Bytes, value: Bytes| {
            let workflow_id = key.get(18..).and_then(|id| String::from_utf8(id.to_vec()).ok());
            let (Some(workflow_id), Ok(record)) = (workflow_id, CurrentRecord::decode(value)) else { return Some(Row::Unreadable) };
            Some(Row::Run(WorkflowKey { namespace: id, workflow_id }, record.run()))
        };
        rows(shared, Table::Current, current.clone(), &prefix_end(&current), &of_current, &mut found).await?;

        let (from, to) = (keys::slot(slot), keys::slot(slot + 1));
        let of_deadline = |key: &Bytes, value: Bytes| {
            let (Some((_, run)), Ok(record)) = (keys::parse_deadline(key), RunRecord::decode(value)) else { return Some(Row::Unreadable) };
            let workflow = record.workflow().filter(|workflow| workflow.namespace == id)?;
            Some(if record.staged { Row::Passing } else { Row::Run(workflow, run) })
        };
        rows(shared, Table::Deadline, from.clone(), &to, &of_deadline, &mut found).await?;

        let of_outbox = |_: &Bytes, value: Bytes| {
            let Ok(record) = OutboxRecord::decode(value) else { return Some(Row::Unreadable) };
            let sender = record.sender?.workflow()?;
            (sender.namespace == id).then_some(Row::Passing)
        };
        rows(shared, Table::Outbox, from, &to, &of_outbox, &mut found).await?;
    }
    Ok(found)
}

/// What a row says.
enum Row {
    /// There is this run.
    Run(WorkflowKey, RunId),
    /// Something that goes by itself.
    Passing,
    /// It is damaged.
    Unreadable,
}

/// Reads a range of rows and deletes the runs they name.
async fn rows(
    shared: &Shared,
    table: Table,
    mut from: Vec<u8>,
    to: &[u8],
    parse: &(dyn Fn(&Bytes, Bytes) -> Option<Row> + Sync),
    found: &mut Found,
) -> Result<(), Trouble> {
    loop {
        goes_on(shared)?;
        let begun = shared.now();
        let page = shared.store.scan(table, &from, to, ROWS).await?;
        let more = page.len() == ROWS;
        if let Some((last, _)) = page.last() {
            from = last.to_vec();
            from.push(0);
        }
        let mut runs = Vec::new();
        for (key, value) in page {
            match parse(&key, value) {
                Some(Row::Run(workflow, run)) => runs.push((workflow, run)),
                Some(Row::Passing) => found.left += 1,
                Some(Row::Unreadable) => found.unreadable += 1,
                None => {}
            }
        }
        give_way().await;
        let count = runs.len();
        let results = stream::iter(runs.into_iter().map(|(workflow, run)| delete(shared, workflow, run))).buffer_unordered(AT_ONCE);
        let deleted = results.filter(|deleted| std::future::ready(*deleted)).count().await;
        found.deleted += deleted;
        found.left += count - deleted;
        shared.stats.runs_removed.add(deleted as u64);
        if count > 0 {
            shared.clock.sleep_until(begun + Span(count as i64 * 1_000_000_000 / RUNS_A_SECOND)).await;
        }
        if !more {
            return Ok(());
        }
    }
}

/// True when the run is gone.
async fn delete(shared: &Shared, workflow: WorkflowKey, run: RunId) -> bool {
    let deleted = match shared.away(&workflow) {
        None => delete_here(shared, workflow, run).await,
        Some(away) => away.ask(Request::Delete(Letterhead::new(&RunKey { workflow, run }))).await.map(drop),
    };
    match deleted {
        Ok(()) => true,
        Err(refusal) => {
            tracing::debug!(?refusal, %run, "a run of a deleted namespace could not be deleted");
            false
        }
    }
}

/// Deletes a run whose shard is here.
pub(crate) async fn delete_here(shared: &Shared, workflow: WorkflowKey, run: RunId) -> Result<(), Refusal> {
    shared.ask(workflow, Some(run), Ask::Delete).await.map(drop)
}
