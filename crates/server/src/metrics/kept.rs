//! A value that takes long to read and may be a little old.
#![expect(clippy::disallowed_methods, reason = "what is kept grows old by the wall clock")]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

/// So long it is not read again.
const FRESH: Duration = Duration::from_secs(5);
/// What is older is not told any more.
const OLD: Duration = Duration::from_secs(60);
/// So long the one who has it read waits for it; others do not.
const WAIT: Duration = Duration::from_secs(1);

/// The value. One at a time reads it, beside those who ask.
pub(super) struct Kept<T> {
    read: Box<dyn Fn() -> BoxFuture<'static, Option<T>> + Send + Sync>,
    state: Arc<Mutex<State<T>>>,
    fresh: Duration,
    old: Duration,
    wait: Duration,
}

struct State<T> {
    kept: Option<(Instant, T)>,
    reader: Option<JoinHandle<()>>,
}

impl<T> Drop for State<T> {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone + Send + 'static> Kept<T> {
    /// `read` reads the value; `None`: nobody knows it now.
    pub(super) fn new(read: impl Fn() -> BoxFuture<'static, Option<T>> + Send + Sync + 'static) -> Self {
        let state = Arc::new(Mutex::new(State { kept: None, reader: None }));
        Self { read: Box::new(read), state, fresh: FRESH, old: OLD, wait: WAIT }
    }

    /// The value as it was read last, within a second. `None`: not read yet, or too long ago.
    pub(super) async fn get(&self) -> Option<T> {
        let (told, waited) = tokio::sync::oneshot::channel();
        let is_due = {
            let mut state = lock(&self.state);
            let fresh = state.kept.as_ref().is_some_and(|(at, _)| at.elapsed() < self.fresh);
            let is_due = !fresh && state.reader.as_ref().is_none_or(JoinHandle::is_finished);
            if is_due {
                let (read, kept) = ((self.read)(), Arc::downgrade(&self.state));
                let reader = tokio::spawn(async move {
                    let value = read.await;
                    if let (Some(value), Some(state)) = (value, kept.upgrade()) {
                        lock(&state).kept = Some((Instant::now(), value));
                    }
                    // Whoever asked may have gone.
                    let _ = told.send(());
                });
                state.reader = Some(reader);
            }
            is_due
        };
        if is_due {
            // In time or not, what is kept is told.
            let _ = timeout(self.wait, waited).await;
        }
        lock(&self.state).kept.as_ref().filter(|(at, _)| at.elapsed() < self.old).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use tokio::{sync::Semaphore, time::sleep};

    use super::*;

    #[tokio::test]
    async fn one_reads_and_nobody_waits_long() {
        let (begun, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(1)));
        let mut kept = {
            let (begun, gate) = (begun.clone(), gate.clone());
            Kept::new(move || {
                let number = begun.fetch_add(1, SeqCst) + 1;
                let gate = gate.clone();
                Box::pin(async move {
                    gate.acquire().await.ok()?.forget();
                    Some(number)
                })
            })
        };
        (kept.fresh, kept.old, kept.wait) = (Duration::from_secs(3600), Duration::from_secs(3600), Duration::from_secs(60));
        assert_eq!(kept.get().await, Some(1));
        assert_eq!((kept.get().await, begun.load(SeqCst)), (Some(1), 1), "it is fresh");
        (kept.fresh, kept.wait) = (Duration::ZERO, Duration::from_millis(20));
        assert_eq!((kept.get().await, begun.load(SeqCst)), (Some(1), 2), "the old one, while another is read");
        kept.wait = Duration::from_secs(3600);
        assert_eq!((kept.get().await, begun.load(SeqCst)), (Some(1), 2), "one reads; another does not even wait");
        kept.wait = Duration::ZERO;
        gate.add_permits(1);
        while kept.get().await != Some(2) {
            sleep(Duration::from_millis(10)).await;
        }
        kept.old = Duration::ZERO;
        assert_eq!(kept.get().await, None, "too old");
    }
}
