//! The rows of what the index of runs has not taken, of all nodes, for lists at one of them.
//!
//! One read at a time, however many ask: it answers all who asked before it began. Who asks while one is under way may know of something
//! that it does not see, and waits for the next, with all others who come meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sempre_core::{NamespaceId, ids::SLOT_COUNT, keys, visibility::Row};
use sempre_store::{Store, StoreError};

use crate::{
    Lease,
    shard::listing,
    visibility::{IndexError, OfAll, Update},
};

/// Bytes that one read takes into memory. There are more only if the index takes nothing for long, at several nodes.
const BYTES_MAX: usize = 128 << 20;

/// Rows, each with its namespace, as they are stored.
type Rows = Vec<(NamespaceId, Bytes, Bytes)>;

/// What lists of a node ask, whose answers are the newest there is as long as its lease lasts.
pub(crate) fn of_all(store: Arc<dyn Store>, lease: Arc<dyn Lease>) -> OfAll {
    let reads = Together::new(move || read(store.clone(), lease.clone(), BYTES_MAX).boxed());
    Box::new(move |namespace| {
        let read = reads.ask();
        let of_namespace = async move {
            let rows = read.await?;
            let of_it = rows.iter().filter(|(of, ..)| *of == namespace);
            Ok(of_it.filter_map(|(_, key, value)| listing::parse(key, value.clone())).map(|(_, update)| update).collect::<Vec<Update>>())
        };
        of_namespace.boxed()
    })
}

async fn read(store: Arc<dyn Store>, lease: Arc<dyn Lease>, bytes_max: usize) -> Result<Arc<Rows>, IndexError> {
    let failed = |reason| IndexError::Failed { action: "tell what waits at other nodes", reason };
    let (mut from, to, mut all, mut bytes) = (keys::slot(0), keys::slot(SLOT_COUNT), Rows::new(), 0);
    loop {
        let page = listing::rows(&*store, &mut from, &to).await.map_err(|error: StoreError| failed(error.to_string()))?;
        let Some(page) = page else { break };
        for (key, value) in page {
            bytes += key.len() + value.len();
            match Row::namespace(value.clone()) {
                Some(namespace) => all.push((namespace, key, value)),
                None => tracing::error!(key = ?key, "a row of what lists show is damaged"),
            }
        }
        if bytes > bytes_max {
            return Err(failed(format!("more than {} MiB wait for the index", bytes_max >> 20)));
        }
    }
    // What waits at the node itself was taken before: it was the newest there is.
    if lease.is_current() { Ok(Arc::new(all)) } else { Err(failed("others may have what this node had".into())) }
}

/// A read that is under way, or waits for its turn, and all who wait for it.
type Flight<T> = Shared<BoxFuture<'static, T>>;

/// See the module.
struct Together<T: Clone> {
    read: Arc<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>,
    /// Who reads has it.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// That which has not begun.
    next: Arc<Mutex<Option<Flight<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Together<T> {
    fn new(read: impl Fn() -> BoxFuture<'static, T> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), turn: Arc::default(), next: Arc::default() }
    }

    /// What a read gives that begins after this call.
    fn ask(&self) -> Flight<T> {
        let begin = || {
            // What waits must not keep itself.
            let (read, turn, next) = (self.read.clone(), self.turn.clone(), Arc::downgrade(&self.next));
            let flight = async move {
                let _turn = turn.lock().await;
                if let Some(next) = next.upgrade() {
                    next.lock().unwrap_or_else(PoisonError::into_inner).take();
                }
                read().await
            };
            flight.boxed().shared()
        };
        self.next.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(begin).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures::poll;
    use sempre_core::{RunId, RunKey, WorkflowKey, ids::Uuid};
    use sempre_store::{CommitBatch, Fence, Table, memory::MemoryStore};
    use tokio::sync::Semaphore;

    use super::*;

    /// Reads that need a permit to end, and give their number.
    fn reads() -> (Together<usize>, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (begun, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counts, waits) = (begun.clone(), permits.clone());
        let read = move || {
            let (number, waits) = (counts.fetch_add(1, SeqCst) + 1, waits.clone());
            async move {
                waits.acquire().await.expect("never closed").forget();
                number
            }
            .boxed()
        };
        (Together::new(read), begun, permits)
    }

    #[tokio::test]
    async fn a_read_answers_all_who_asked_before_it_began_and_nobody_else() {
        let (together, begun, permits) = reads();
        let (mut first, mut with_it) = (together.ask(), together.ask());
        assert!(poll!(&mut first).is_pending() && poll!(&mut with_it).is_pending());
        let (mut second, mut third) = (together.ask(), together.ask());
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        assert_eq!(begun.load(SeqCst), 1, "one at a time");
        permits.add_permits(1);
        assert_eq!((first.await, with_it.await), (1, 1));
        assert!(poll!(&mut second).is_pending());
        let fourth = together.ask();
        permits.add_permits(2);
        assert_eq!((second.await, third.await, fourth.await), (2, 2, 3));
        assert_eq!(begun.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn a_read_goes_on_for_those_who_stay_and_ends_with_the_last() {
        let (together, begun, permits) = reads();
        let (mut first, mut stays) = (together.ask(), together.ask());
        assert!(poll!(&mut first).is_pending() && poll!(&mut stays).is_pending());
        drop(first);
        permits.add_permits(1);
        assert_eq!(stays.await, 1);
        let mut alone = together.ask();
        assert!(poll!(&mut alone).is_pending());
        drop(alone);
        permits.add_permits(1);
        assert_eq!((together.ask().await, begun.load(SeqCst)), (3, 3), "its turn is free again");
    }

    /// Whether the lease lasts.
    struct Lasts(bool);

    impl Lease for Lasts {
        fn is_current(&self) -> bool {
            self.0
        }
    }

    #[tokio::test]
    async fn rows_of_a_namespace_are_given_unless_the_lease_has_run_out_or_they_are_too_many() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch: store.acquire(0).await.unwrap() });
        let key = |n: u8| {
            let workflow = WorkflowKey { namespace: NamespaceId(Uuid([n % 2; 16])), workflow_id: format!("w{n}") };
            RunKey { workflow, run: RunId(Uuid([n; 16])) }
        };
        for n in 0..5 {
            let RunKey { workflow, run } = key(n);
            batch.put(Table::Visibility, &keys::run(workflow.slot(), run), &prost::Message::encode_to_vec(&Row::deleted(&workflow)));
        }
        store.commit(batch).await.unwrap();
        let lists = of_all(store.clone(), Arc::new(Lasts(true)));
        let mut found: Vec<RunKey> = lists(NamespaceId(Uuid([1; 16]))).await.unwrap().into_iter().map(|update| update.key).collect();
        found.sort_by_key(|key| key.run);
        assert_eq!(found, [key(1), key(3)]);
        let refused = of_all(store.clone(), Arc::new(Lasts(false)))(NamespaceId(Uuid([1; 16]))).await.unwrap_err();
        assert!(refused.to_string().contains("others may have"), "{refused}");
        let refused = read(store, Arc::new(Lasts(true)), 20).await.unwrap_err();
        assert!(refused.to_string().contains("wait for the index"), "{refused}");
    }
}
