//! Indexes in SQL databases as the contract has them: what is to be written is ordered from the one writer, what is read is read on the
//! threads for reads.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt, channel::oneshot};
use sempre_core::{
    NamespaceId, RunId,
    visibility::{Field, Filter, Record},
};
use sempre_store::Pending;

use super::{
    super::index::{Change, Groups, Index, IndexError, IndexStats, Position},
    reads::{Reads, Source},
};

/// Orders that wait for the writer.
pub(in crate::visibility) const ORDERS_MAX: usize = 64;

/// Where the writer's answer goes. A caller that has gone away is none of its business.
pub(in crate::visibility) type Reply<T> = oneshot::Sender<Result<T, IndexError>>;

/// What a writer is told.
pub(in crate::visibility) enum Order {
    Apply(Vec<Change>, Reply<()>),
    Purge(NamespaceId, Reply<bool>),
    Begin(Reply<()>),
    Finish(Reply<()>),
    Close(Reply<()>),
}

/// An index with a writer that takes one order after the other.
pub(in crate::visibility) trait Ordered: Send + Sync + 'static {
    /// Where reads find their pictures.
    type Source: Source;

    /// How it is read.
    fn reads(&self) -> &Reads<Self::Source>;

    /// Gives the writer an order; else [`IndexError::Busy`], or [`IndexError::Closed`].
    fn give(&self, order: Order) -> Result<(), IndexError>;

    /// See [`Index::until_needs_rebuild`].
    fn until_needs_rebuild(&self) -> Pending<()> {
        Box::pin(std::future::pending())
    }

    /// See [`Index::close`].
    fn close(&self) -> Pending<()>;
}

/// Gives an order, and waits for its answer.
pub(in crate::visibility) fn order<T: Send + 'static>(
    index: &impl Ordered,
    make: impl FnOnce(Reply<T>) -> Order,
) -> Pending<Result<T, IndexError>> {
    let (reply, answer) = oneshot::channel();
    match index.give(make(reply)) {
        Ok(()) => async move { answer.await.unwrap_or(Err(IndexError::Closed)) }.boxed(),
        Err(error) => futures::future::ready(Err(error)).boxed(),
    }
}

impl<I: Ordered> Index for I {
    fn apply(&self, changes: Vec<Change>) -> Pending<Result<(), IndexError>> {
        order(self, |reply| Order::Apply(changes, reply))
    }

    fn purge(&self, namespace: NamespaceId) -> Pending<Result<bool, IndexError>> {
        order(self, |reply| Order::Purge(namespace, reply))
    }

    fn list(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Vec<Arc<Record>>, IndexError>> {
        self.reads().list(namespace, filter, after, limit, hidden)
    }

    fn count(&self, namespace: NamespaceId, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Pending<Result<u64, IndexError>> {
        self.reads().count(namespace, filter, hidden)
    }

    fn count_by(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        field: &Field,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Groups, IndexError>> {
        self.reads().count_by(namespace, filter, field, hidden)
    }

    fn get(&self, namespace: NamespaceId, run: RunId) -> Pending<Result<Option<Arc<Record>>, IndexError>> {
        self.reads().get(namespace, run)
    }

    fn needs_rebuild(&self) -> Option<String> {
        self.reads().source.needs_rebuild()
    }

    fn until_needs_rebuild(&self) -> Pending<()> {
        Ordered::until_needs_rebuild(self)
    }

    fn begin_rebuild(&self) -> Pending<Result<(), IndexError>> {
        order(self, Order::Begin)
    }

    fn finish_rebuild(&self) -> Pending<Result<(), IndexError>> {
        order(self, Order::Finish)
    }

    fn stats(&self) -> Pending<Result<IndexStats, IndexError>> {
        self.reads().stats()
    }

    fn close(&self) -> Pending<()> {
        Ordered::close(self)
    }
}
