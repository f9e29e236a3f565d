//! The feed of notices: one for each change of a run that lists show (docs/alerts.md).
//!
//! | a notice | |
//! |---|---|
//! | gets its number | when its batch is closed, before the commit is sent |
//! | is written | in the commit of the change that it tells of, one row for all notices of the batch |
//! | is shown | when its commit and those of all lower numbers are decided: who reads up to a number has read all up to it |
//! | goes | when so many newer ones are there ([`crate::Settings::notices_kept`]), and alerts have seen it |
//!
//! A failed commit's numbers are a gap. Where its fate is unknown, its shard begins a new epoch first: then the rows say. A gap at
//! the end is not shown: no row keeps it, and the next process gives its numbers again. A gap before the first row is one like any
//! other: what was taken away is written down.

pub(crate) mod keeper;
pub(crate) mod read;
pub(crate) mod rows;
mod waiters;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sempre_core::NamespaceId;
use sempre_store::{Store, StoreError, Table};
use tokio::sync::{Notify, watch};

use self::waiters::{Waiter, Waiters};

/// A batch of notices on its way to the disk.
struct OnTheWay {
    shard: u32,
    first: u64,
    /// Whose its notices are.
    of: BTreeSet<NamespaceId>,
}

#[derive(Default)]
struct Inner {
    /// The greatest number given.
    last: u64,
    /// The greatest number that is in a row on disk.
    durable: u64,
    /// By the last number of each.
    on_the_way: BTreeMap<u64, OnTheWay>,
    /// By the last number of each batch that is decided and not shown yet: whose its notices are.
    to_tell: BTreeMap<u64, BTreeSet<NamespaceId>>,
}

impl Inner {
    fn shown(&self) -> u64 {
        self.on_the_way.values().map(|batch| batch.first - 1).min().map_or(self.durable, |before| before.min(self.durable))
    }
}

/// See the module.
pub(crate) struct Notices {
    kept: u64,
    inner: Mutex<Inner>,
    /// Up to here everything is decided.
    shown: watch::Sender<u64>,
    /// Woken while `inner` is locked, once the notices are shown.
    waiters: Waiters,
    /// Numbers up to this are gone, or about to go.
    gone: AtomicU64,
    /// Numbers above this are still needed by alerts; all may go by their age: `u64::MAX`.
    seen: AtomicU64,
    /// Once numbers up to this may go, the keeper is to be woken.
    trim_at: AtomicU64,
    /// Wakes the keeper.
    pub(crate) trim: Notify,
    /// One rewrites or deletes rows at a time.
    writer: tokio::sync::Mutex<keeper::Writer>,
}

impl Notices {
    /// Finds where the last process stopped. Keeps about so many notices; 0: writes none.
    pub(crate) async fn open(store: &dyn Store, kept: u64) -> Result<Self, StoreError> {
        let last = last_row(store).await?;
        let written = rows::gone(store).await?;
        let gone = match written {
            Some(gone) => gone,
            // Of an older version: the first row's numbers are there; whether those before it ever were nobody knows. One that
            // is damaged has none.
            None => {
                let first = store.scan(Table::Notice, &rows::key(0), &rows::end(), 1).await?.into_iter().next();
                first.map_or(last, |(key, value)| rows::parse(&key, value).map_or(last, |row| row.first - 1))
            }
        };
        let inner = Inner { last, durable: last, ..Inner::default() };
        let mut writer = keeper::Writer::open(store).await?;
        if written.is_none() && kept > 0 {
            writer.keep_gone(store, gone).await?;
        }
        Ok(Self {
            kept,
            inner: Mutex::new(inner),
            shown: watch::Sender::new(last),
            waiters: Waiters::default(),
            gone: AtomicU64::new(gone),
            // Until they have said how far they are, nothing goes.
            seen: AtomicU64::new(0),
            // Until it has said how far it is, it is not asleep.
            trim_at: AtomicU64::new(u64::MAX),
            trim: Notify::new(),
            writer: tokio::sync::Mutex::new(writer),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notices are written.
    pub(crate) fn are_on(&self) -> bool {
        self.kept > 0
    }

    /// Gives the next numbers to a batch of so many notices of these namespaces, which is about to be sent; tells the last of them.
    pub(crate) fn begin(&self, shard: u32, notices: u64, of: BTreeSet<NamespaceId>) -> u64 {
        let mut inner = self.inner();
        let first = inner.last + 1;
        inner.last += notices;
        let last = inner.last;
        inner.on_the_way.insert(last, OnTheWay { shard, first, of });
        last
    }

    /// A batch is durable.
    pub(crate) fn written(&self, last: u64) {
        let mut inner = self.inner();
        if let Some(batch) = inner.on_the_way.remove(&last) {
            inner.to_tell.insert(last, batch.of);
        }
        inner.durable = inner.durable.max(last);
        self.tell(&mut inner);
    }

    /// What a shard had on the way is decided, since it owns its slots under a new epoch: looks which of it is there.
    pub(crate) async fn decided(&self, store: &dyn Store, shard: u32) -> Result<(), StoreError> {
        let of_shard: Vec<u64> = self.inner().on_the_way.iter().filter(|(_, batch)| batch.shard == shard).map(|(last, _)| *last).collect();
        let mut there = 0;
        for last in of_shard {
            if !store.scan(Table::Notice, &rows::key(last), &rows::key(last + 1), 1).await?.is_empty() {
                there = last;
            }
        }
        let mut inner = self.inner();
        let (of_shard, others): (BTreeMap<u64, OnTheWay>, _) =
            std::mem::take(&mut inner.on_the_way).into_iter().partition(|(_, batch)| batch.shard == shard);
        inner.on_the_way = others;
        // Some of them may not be there: whoever is woken looks.
        inner.to_tell.extend(of_shard.into_iter().map(|(last, batch)| (last, batch.of)));
        inner.durable = inner.durable.max(there);
        self.tell(&mut inner);
        Ok(())
    }

    fn tell(&self, inner: &mut Inner) {
        let (before, new) = (self.shown(), inner.shown());
        self.shown.send_if_modified(|shown| std::mem::replace(shown, new) != new);
        let later = inner.to_tell.split_off(&(new + 1));
        let told = std::mem::replace(&mut inner.to_tell, later);
        self.waiters.wake(told.values().flatten(), before);
        self.wake_keeper(new);
    }

    /// Numbers up to this may go, when notices up to `shown` are shown.
    pub(crate) fn old(&self, shown: u64) -> u64 {
        shown.saturating_sub(self.kept).min(self.seen.load(Ordering::Acquire))
    }

    /// Wakes the keeper if there is enough for it; not by every commit.
    fn wake_keeper(&self, shown: u64) {
        if self.old(shown) >= self.trim_at.load(Ordering::Acquire) {
            self.trim.notify_one();
        }
    }

    /// The keeper sleeps until numbers up to this may go.
    pub(crate) fn trim_at(&self, number: u64) {
        self.trim_at.store(number, Ordering::Release);
    }

    /// Wakes those who watch, so that they see that the engine stops.
    pub(crate) fn wake(&self) {
        self.shown.send_modify(|_| {});
        self.waiters.wake_all();
        self.trim.notify_one();
    }

    /// Somebody who waits for notices of a namespace.
    pub(crate) fn waiter(&self, namespace: NamespaceId) -> Arc<Waiter> {
        self.waiters.of(namespace)
    }

    /// Up to here there is nothing of the namespace behind what was read since the waiter was marked. `None`: there may be.
    pub(crate) fn nothing_up_to(&self, waiter: &Waiter) -> Option<u64> {
        // Who is shown a notice is woken before the lock is free again.
        let _inner = self.inner();
        (!waiter.is_woken()).then(|| self.shown())
    }

    /// Up to here everything is decided.
    pub(crate) fn shown(&self) -> u64 {
        *self.shown.borrow()
    }

    /// Tells changes of [`Notices::shown`].
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.shown.subscribe()
    }

    /// Numbers up to this are gone.
    pub(crate) fn gone(&self) -> u64 {
        self.gone.load(Ordering::Acquire)
    }

    /// Alerts have seen all up to this; `u64::MAX`: there are none that look.
    pub(crate) fn set_seen(&self, seen: u64) {
        if self.seen.swap(seen, Ordering::AcqRel) != seen {
            self.wake_keeper(self.shown());
        }
    }
}

/// The greatest number that there is a row of; rows at the end are never deleted.
async fn last_row(store: &dyn Store) -> Result<u64, StoreError> {
    let exists = async |from: u64| -> Result<bool, StoreError> {
        Ok(!store.scan(Table::Notice, &rows::key(from), &rows::end(), 1).await?.is_empty())
    };
    // None is found at or above `no`; there is one at or above `yes`, unless that is 0.
    let (mut yes, mut no) = (0, 1);
    while exists(no).await? {
        if no > rows::NUMBER_MAX {
            return Err(rows::damaged());
        }
        yes = no;
        no = no.saturating_mul(2);
    }
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if exists(middle).await? { yes = middle } else { no = middle }
    }
    Ok(yes)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use sempre_store::{CommitBatch, Fence, memory::MemoryStore};

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("the memory store never waits")
    }

    #[test]
    fn a_row_whose_number_cannot_be_is_told_and_no_search_without_end() {
        let store = MemoryStore::new();
        let fence = Fence { shard: 1, epoch: now(store.acquire(1)).unwrap() };
        let mut batch = CommitBatch::new(fence);
        batch.put(Table::Notice, &rows::key(u64::MAX), &[]);
        now(store.commit(batch)).unwrap();
        let opened = now(Notices::open(&store, 10)).err().map(|error| error.to_string());
        assert!(opened.as_ref().is_some_and(|text| text.contains("a row of notices is damaged")), "{opened:?}");
    }

    #[test]
    fn nothing_is_shown_before_all_lower_numbers_are_decided() {
        let store = MemoryStore::new();
        let notices = now(Notices::open(&store, 10)).unwrap();
        let (a, b, c) = (notices.begin(0, 2, BTreeSet::new()), notices.begin(1, 3, BTreeSet::new()), notices.begin(0, 1, BTreeSet::new()));
        assert_eq!((a, b, c), (2, 5, 6));
        notices.written(c);
        notices.written(b);
        assert_eq!(notices.shown(), 0, "the first batch is still on its way");
        notices.written(a);
        assert_eq!(notices.shown(), 6);
        let (d, e) = (notices.begin(0, 1, BTreeSet::new()), notices.begin(1, 1, BTreeSet::new()));
        notices.written(e);
        assert_eq!(notices.shown(), 6);
        now(notices.decided(&store, 1)).unwrap();
        assert_eq!(notices.shown(), 6, "that of another shard is not decided by it");
        now(notices.decided(&store, 0)).unwrap();
        assert_eq!((notices.shown(), d), (8, 7));
    }

    #[test]
    fn who_waits_is_woken_by_what_is_shown_of_his_namespace_only() {
        let store = MemoryStore::new();
        let notices = now(Notices::open(&store, 10)).unwrap();
        let [a, b] = [1, 2].map(|id| NamespaceId(sempre_core::ids::Uuid([id; 16])));
        let (of_a, of_b) = (notices.waiter(a), notices.waiter(b));
        let (first, second) = (notices.begin(0, 1, [b].into()), notices.begin(1, 1, [a].into()));
        notices.written(second);
        assert!(!of_a.is_woken() && notices.nothing_up_to(&of_a) == Some(0), "what is before it is not decided");
        notices.written(first);
        assert!(of_a.is_woken() && of_b.is_woken() && notices.nothing_up_to(&of_a).is_none());
        of_a.mark();
        let third = notices.begin(0, 5, [b].into());
        notices.written(third);
        assert!(!of_a.is_woken());
        assert_eq!(notices.nothing_up_to(&of_a), Some(7), "it need not be read to be passed over");
        // In doubt: whoever may be meant looks.
        notices.begin(0, 1, [a].into());
        now(notices.decided(&store, 0)).unwrap();
        let fifth = notices.begin(1, 1, [b].into());
        notices.written(fifth);
        assert_eq!(of_a.woken().now_or_never(), Some(7), "behind what others were told");
        of_a.mark();
        notices.wake();
        assert!(of_a.is_woken(), "it is to see that the engine stops");
    }

    #[test]
    fn a_gap_at_the_end_is_not_shown_and_what_was_written_in_doubt_is() {
        let store = MemoryStore::new();
        let notices = now(Notices::open(&store, 10)).unwrap();
        let a = notices.begin(0, 1, BTreeSet::new());
        notices.written(a);
        let b = notices.begin(0, 2, BTreeSet::new());
        now(notices.decided(&store, 0)).unwrap();
        assert_eq!((notices.shown(), b), (1, 3), "numbers 2 and 3 are in no row");
        let (c, d) = (notices.begin(0, 1, BTreeSet::new()), notices.begin(0, 1, BTreeSet::new()));
        let epoch = now(store.acquire(0)).unwrap();
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
        batch.put(Table::Notice, &rows::key(c), &[]);
        now(store.commit(batch)).unwrap();
        now(notices.decided(&store, 0)).unwrap();
        assert_eq!((notices.shown(), c, d), (4, 4, 5));
    }

    /// A row with one notice.
    fn write(store: &MemoryStore, last: u64) {
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch: now(store.acquire(0)).unwrap() });
        let row = rows::NoticeRow { notices: vec![rows::NoticeRecord::default()] };
        batch.put(Table::Notice, &rows::key(last), &prost::Message::encode_to_vec(&row));
        now(store.commit(batch)).unwrap();
    }

    #[test]
    fn a_gap_before_the_first_notice_is_not_taken_for_some_that_are_gone() {
        let store = MemoryStore::new();
        assert_eq!(now(Notices::open(&store, 10)).unwrap().gone(), 0);
        // The batches of 1 and 2 were refused.
        write(&store, 3);
        let notices = now(Notices::open(&store, 10)).unwrap();
        assert_eq!((notices.gone(), notices.shown()), (0, 3));
    }

    #[test]
    fn of_data_that_does_not_say_what_is_gone_all_before_the_first_notice_is_and_stays_so() {
        let store = MemoryStore::new();
        write(&store, 3);
        assert_eq!(now(Notices::open(&store, 10)).unwrap().gone(), 2);
        assert_eq!(now(rows::gone(&store)).unwrap(), Some(2));
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch: now(store.acquire(0)).unwrap() });
        batch.put(Table::Notice, rows::GONE, b"?");
        now(store.commit(batch)).unwrap();
        assert!(now(Notices::open(&store, 10)).is_err(), "a damaged row is told");
    }

    #[test]
    fn numbers_go_on_where_the_rows_end() {
        let store = MemoryStore::new();
        for last in [0_u64, 1, 2, 3, 64, 1000, 1001, u64::MAX / 2] {
            if last > 0 {
                let epoch = now(store.acquire(0)).unwrap();
                let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
                batch.put(Table::Notice, &rows::key(last), &[]);
                now(store.commit(batch)).unwrap();
            }
            assert_eq!(now(last_row(&store)).unwrap(), last);
        }
    }
}
