//! Reads on the threads for reads: from the call to the answer, within the limits.

use std::{collections::BTreeSet, sync::Arc};

use futures::{FutureExt, channel::oneshot};
use sempre_core::{
    NamespaceId, RunId,
    visibility::{Field, Filter, Record},
};
use sempre_store::Pending;

use super::{
    super::index::{Groups, IndexError, IndexStats, Position},
    Database, NoCondition, Tuning,
    limits::{self, Limits, Stopped, Wanted},
    read::Snapshot,
    readers::{Job, Outcome, Readers, Work},
};

/// Where consistent pictures come from.
pub(in crate::visibility) trait Source: Send + Sync + 'static {
    /// A picture.
    type Database<'a>: Database;

    /// Why nothing can be read.
    fn needs_rebuild(&self) -> Option<String>;

    /// Reads from one picture, as far as the limits allow.
    fn with<T>(
        &self,
        action: &'static str,
        limits: &Arc<Limits>,
        tuning: Tuning,
        read: impl for<'a> FnOnce(&Self::Database<'a>) -> Result<T, NoCondition>,
    ) -> Result<T, IndexError>;
}

/// See the module.
pub(in crate::visibility) struct Reads<S> {
    pub(in crate::visibility) source: Arc<S>,
    pub(in crate::visibility) readers: Arc<Readers>,
    pub(in crate::visibility) tuning: Tuning,
}

impl<S: Source> Reads<S> {
    /// Reads on one of the threads.
    fn read<T: Send + 'static>(
        &self,
        namespace: NamespaceId,
        action: &'static str,
        read: impl for<'a, 'b> FnMut(&Snapshot<'a, S::Database<'b>>) -> Result<T, NoCondition> + Send + 'static,
    ) -> Pending<Result<T, IndexError>> {
        let (reply, answer) = oneshot::channel();
        // Goes with the future: then nobody wants the answer.
        let wants = Arc::new(());
        let wanted = Wanted(Arc::downgrade(&wants));
        let (source, tuning) = (self.source.clone(), self.tuning);
        let work = OneRead { source, namespace, action, tuning, read, reply: Some(reply) };
        self.readers.read(Job { work: Box::new(work), ends: limits::end_of(tuning.read_time_max), wanted });
        async move {
            let _wants = wants;
            answer.await.unwrap_or(Err(IndexError::Closed))
        }
        .boxed()
    }

    pub(in crate::visibility) fn list(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Vec<Arc<Record>>, IndexError>> {
        let (filter, after, hidden) = (filter.cloned(), after.copied(), hidden.clone());
        self.read(namespace, "list runs", move |snapshot| snapshot.list(filter.as_ref(), after.as_ref(), limit, &hidden))
    }

    pub(in crate::visibility) fn count(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<u64, IndexError>> {
        let (filter, hidden) = (filter.cloned(), hidden.clone());
        self.read(namespace, "count runs", move |snapshot| snapshot.count(filter.as_ref(), &hidden))
    }

    pub(in crate::visibility) fn count_by(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        field: &Field,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Groups, IndexError>> {
        let (filter, field, hidden) = (filter.cloned(), field.clone(), hidden.clone());
        self.read(namespace, "count runs by a field", move |snapshot| snapshot.count_by(filter.as_ref(), &field, &hidden))
    }

    pub(in crate::visibility) fn get(&self, namespace: NamespaceId, run: RunId) -> Pending<Result<Option<Arc<Record>>, IndexError>> {
        self.read(namespace, "look up a run", move |snapshot| snapshot.get(run))
    }

    pub(in crate::visibility) fn stats(&self) -> Pending<Result<IndexStats, IndexError>> {
        self.read(NamespaceId::default(), "read its size", move |snapshot| snapshot.database.stats())
    }
}

/// A read under way.
struct OneRead<S, F, T> {
    source: Arc<S>,
    namespace: NamespaceId,
    action: &'static str,
    tuning: Tuning,
    read: F,
    /// `None` when it is answered.
    reply: Option<oneshot::Sender<Result<T, IndexError>>>,
}

impl<S, F, T> Work for OneRead<S, F, T>
where
    S: Source,
    F: for<'a, 'b> FnMut(&Snapshot<'a, S::Database<'b>>) -> Result<T, NoCondition> + Send,
    T: Send,
{
    fn run(&mut self, limits: &Arc<Limits>) -> Outcome {
        let Self { source, namespace, action, tuning, read, reply } = self;
        let mut result = match source.needs_rebuild() {
            Some(reason) => Err(IndexError::NeedsRebuild { reason }),
            None if limits.look(0) => Err(IndexError::Closed),
            None => {
                let (namespace, tuning) = (*namespace, *tuning);
                source.with(action, limits, tuning, |database| read(&Snapshot { database, namespace, tuning }))
            }
        };
        if result.is_err() {
            match limits.stopped() {
                Some(Stopped::Turn) => return Outcome::IsSlow,
                Some(Stopped::Time) => result = Err(IndexError::TooLong { seconds: tuning.read_time_max.as_secs() }),
                Some(Stopped::Unwanted) => result = Err(IndexError::Closed),
                Some(Stopped::Steps) | None => {}
            }
        }
        if let Some(reply) = reply.take() {
            let _ = reply.send(result);
        }
        Outcome::Answered
    }

    fn refuse(&mut self, error: IndexError) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }
}
