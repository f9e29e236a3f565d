//! Who in this process waits for the answer of a worker: a table by the number that the worker's task has.
//!
//! Nothing of it is stored. Numbers are drawn by chance: what one worker is given says nothing about what others are given.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sempre_core::NamespaceId;
use tokio::sync::oneshot;

use crate::ids::SeededIds;

/// Who waits, and in which namespace the task is.
#[derive(Debug)]
struct Listener<T> {
    namespace: NamespaceId,
    sender: oneshot::Sender<T>,
}

type Table<T> = Arc<Mutex<HashMap<u64, Listener<T>>>>;

fn lock<T>(table: &Table<T>) -> MutexGuard<'_, HashMap<u64, Listener<T>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that wait for one kind of news.
#[derive(Debug)]
pub(crate) struct Listeners<T> {
    table: Table<T>,
    ids: Mutex<SeededIds>,
    /// Changed under the table's lock only.
    closed: AtomicBool,
}

impl<T> Listeners<T> {
    pub(crate) fn new(ids: SeededIds) -> Self {
        Self { table: Table::default(), ids: Mutex::new(ids), closed: AtomicBool::new(false) }
    }

    /// There will be no more news: not for those that wait, nor for those that come.
    pub(crate) fn close(&self) {
        let mut table = lock(&self.table);
        self.closed.store(true, Ordering::Release);
        table.clear();
    }

    /// Somebody new who waits; forgotten when the guard is dropped.
    pub(crate) fn listen(&self, namespace: NamespaceId) -> Listening<T> {
        let (sender, receiver) = oneshot::channel();
        let mut table = lock(&self.table);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let id = loop {
            let id = ids.next_u64();
            if !table.contains_key(&id) {
                break id;
            }
        };
        if !self.closed.load(Ordering::Acquire) {
            table.insert(id, Listener { namespace, sender });
        }
        Listening { receiver, namespace, wanted: Wanted { id, table: self.table.clone() } }
    }

    /// News from within the server. False when nobody waits any more.
    pub(crate) fn tell(&self, id: u64, news: T) -> bool {
        let listener = lock(&self.table).remove(&id);
        listener.is_some_and(|listener| listener.sender.send(news).is_ok())
    }

    /// News from a worker of a namespace. False when nobody in that namespace waits for it.
    pub(crate) fn answer(&self, id: u64, namespace: NamespaceId, news: T) -> bool {
        let listener = match lock(&self.table).entry(id) {
            Entry::Occupied(listener) if listener.get().namespace == namespace => listener.remove(),
            _ => return false,
        };
        listener.sender.send(news).is_ok()
    }
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Listening<T> {
    receiver: oneshot::Receiver<T>,
    namespace: NamespaceId,
    wanted: Wanted<T>,
}

impl<T> Listening<T> {
    /// The number of the task.
    pub(crate) fn id(&self) -> u64 {
        self.wanted.id
    }

    /// The news; `None`: there will be none. After news it must [listen again](Self::listen_again) before it can be asked again.
    pub(crate) async fn news(&mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }

    /// Waits anew under the same number, after news that were not the last.
    pub(crate) fn listen_again(&mut self) {
        let (sender, receiver) = oneshot::channel();
        lock(&self.wanted.table).insert(self.wanted.id, Listener { namespace: self.namespace, sender });
        self.receiver = receiver;
    }

    /// For the task that goes to a worker.
    pub(crate) fn wanted(&self) -> Wanted<T> {
        self.wanted.clone()
    }
}

impl<T> Drop for Listening<T> {
    fn drop(&mut self) {
        lock(&self.wanted.table).remove(&self.wanted.id);
    }
}

/// Knows the number of a task, and whether somebody still waits for its answer.
#[derive(Debug)]
pub(crate) struct Wanted<T> {
    pub(crate) id: u64,
    table: Table<T>,
}

impl<T> Wanted<T> {
    pub(crate) fn is_wanted(&self) -> bool {
        lock(&self.table).get(&self.id).is_some_and(|listener| !listener.sender.is_closed())
    }
}

// Not derived: that would ask it of the news.
impl<T> Clone for Wanted<T> {
    fn clone(&self) -> Self {
        Self { id: self.id, table: self.table.clone() }
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::ids::Uuid;

    use super::*;

    #[test]
    fn only_the_namespace_of_the_task_can_answer_and_only_once() {
        let listeners = Listeners::new(SeededIds::new(1, 1));
        let (own, other) = (NamespaceId(Uuid([1; 16])), NamespaceId(Uuid([2; 16])));
        let (one, next) = (listeners.listen(own), listeners.listen(own));
        assert!(one.id().abs_diff(next.id()) > 1);
        assert!(!listeners.answer(one.id(), other, ()));
        assert!(one.wanted().is_wanted());
        assert!(listeners.answer(one.id(), own, ()));
        assert!(!one.wanted().is_wanted());
        assert!(!listeners.answer(one.id(), own, ()), "once");
        let (id, wanted) = (next.id(), next.wanted());
        drop(next);
        assert!(!wanted.is_wanted() && !listeners.answer(id, own, ()) && !listeners.tell(id, ()));
    }

    #[test]
    fn nobody_waits_for_news_that_cannot_come() {
        let listeners = Listeners::<()>::new(SeededIds::new(1, 1));
        let mut early = listeners.listen(NamespaceId(Uuid([1; 16])));
        listeners.close();
        let mut late = listeners.listen(NamespaceId(Uuid([1; 16])));
        for one in [&mut early, &mut late] {
            assert_eq!(futures::executor::block_on(one.news()), None);
            assert!(!one.wanted().is_wanted());
        }
    }

    #[test]
    fn who_listens_again_hears_again() {
        let listeners = Listeners::new(SeededIds::new(1, 1));
        let mut one = listeners.listen(NamespaceId(Uuid([1; 16])));
        for news in 1..3 {
            assert!(listeners.tell(one.id(), news));
            assert_eq!(futures::executor::block_on(one.news()), Some(news));
            one.listen_again();
        }
        assert!(one.wanted().is_wanted());
    }
}
