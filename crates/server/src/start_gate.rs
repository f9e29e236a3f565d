//! Starts come in as fast as the server can take them beside everything else, and no faster.
//!
//! A start stands before the gate when nothing of it but its headers has been read. Inside are [`TURNS_MAX`] at once while the
//! server has time for all: those that are let in ask how long a task has to wait for its turn on the runtime, and
//! when that is longer than [`LATE`], fewer are let in, down to [`TURNS_MIN`]. So completions and polls find the server with time for them,
//! however many starts are sent. A start that has stood there for [`WAIT_MAX`] is refused; how many may stand there is a matter
//! of memory ([`super::room`]). Who is inside and has to be waited for, for the rest of the body or for whoever knows the caller's key, gives the
//! turn back and waits for another then ([`super::room::Held::give_turn_back`]): otherwise whoever sends half a start would keep all others out. The wait is not only for a turn: whoever sends the next start as soon as one is refused would
//! otherwise have the server do nothing but refuse.
#![expect(clippy::disallowed_methods, reason = "how long callers wait is counted by the wall clock")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Starts inside while there is time for all.
const TURNS_MAX: usize = 256;
/// Starts inside whatever else there is to do.
const TURNS_MIN: usize = 2;
/// How long a task may wait for its turn.
const LATE: Duration = Duration::from_millis(2);
/// Between two changes of how many may be inside.
const PACE: Duration = Duration::from_millis(10);
/// While all may come in, one of so many asks.
const ASKED: u64 = 8;
/// How long a start stands before the gate.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(crate) struct StartGate {
    turns: Arc<Semaphore>,
    /// Turns there are, taken or not.
    total: AtomicUsize,
    /// Turns there are to be: more go as they come back.
    wanted: AtomicUsize,
    waiting: AtomicUsize,
    refused: AtomicU64,
    /// Starts let in so far.
    entered: AtomicU64,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    since: Instant,
    /// The longest wait since then.
    longest: Duration,
}

/// A start that is inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    gate: Arc<StartGate>,
}

impl Turn {
    /// Whose it is.
    pub(crate) fn gate(&self) -> Arc<StartGate> {
        self.gate.clone()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let wanted = self.gate.wanted.load(Ordering::Relaxed);
        let fewer = |total: usize| (total > wanted).then(|| total - 1);
        if self.gate.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok() {
            self.permit.take().into_iter().for_each(OwnedSemaphorePermit::forget);
        }
    }
}

/// A start before the gate, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StartGate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(TURNS_MAX)),
            total: AtomicUsize::new(TURNS_MAX),
            wanted: AtomicUsize::new(TURNS_MAX),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            pace: Mutex::new(Pace { since: Instant::now(), longest: Duration::ZERO }),
        })
    }

    /// Starts that were refused here.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Starts that wait to be let in.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many starts may be inside now.
    pub(crate) fn turns(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Waits to be let in, no longer than the caller does. `None`: refused.
    pub(crate) async fn enter(self: &Arc<Self>, patience: Option<Duration>) -> Option<Turn> {
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => self.wait(patience.map_or(WAIT_MAX, |patience| patience.min(WAIT_MAX))).await,
        };
        let Some(permit) = turn else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let turn = Turn { permit: Some(permit), gate: self.clone() };
        // While all may come in, few are asked: it costs them time.
        let entered = self.entered.fetch_add(1, Ordering::Relaxed);
        if self.turns() < TURNS_MAX || entered.is_multiple_of(ASKED) {
            let begun = Instant::now();
            tokio::task::yield_now().await;
            self.waited(begun, Instant::now());
        }
        Some(turn)
    }

    async fn wait(&self, longest: Duration) -> Option<OwnedSemaphorePermit> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        tokio::time::timeout(longest, self.turns.clone().acquire_owned()).await.ok()?.ok()
    }

    /// A task had to wait from then till now.
    fn waited(&self, begun: Instant, now: Instant) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.longest = pace.longest.max(now - begun);
        if now.saturating_duration_since(pace.since) < PACE {
            return;
        }
        let late = pace.longest > LATE;
        *pace = Pace { since: now, longest: Duration::ZERO };
        let wanted = self.wanted.load(Ordering::Relaxed);
        let next = if late { (wanted - wanted.div_ceil(4)).max(TURNS_MIN) } else { (wanted + wanted.div_ceil(8)).min(TURNS_MAX) };
        self.wanted.store(next, Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        if next > total {
            self.total.fetch_add(next - total, Ordering::Relaxed);
            self.turns.add_permits(next - total);
        } else {
            let gone = self.turns.forget_permits(total - next);
            self.total.fetch_sub(gone, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
impl StartGate {
    /// Turns that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.turns.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Time goes by, with tasks that wait so long.
    fn go_by(gate: &StartGate, rounds: usize, wait: Duration) {
        for _ in 0..rounds {
            let now = gate.pace.lock().unwrap().since + PACE;
            gate.waited(now - wait, now);
        }
    }

    #[tokio::test]
    async fn starts_are_let_in_one_for_another_and_refused_after_a_while() {
        let gate = StartGate::new();
        let mut inside = Vec::new();
        for _ in 0..TURNS_MAX {
            inside.push(gate.enter(None).await.unwrap());
        }
        let mut waits = Box::pin(gate.enter(None));
        let mut late = Box::pin(gate.enter(None));
        assert!(waits.as_mut().now_or_never().is_none() && late.as_mut().now_or_never().is_none());
        inside.pop();
        inside.push(waits.await.unwrap());
        let begun = Instant::now();
        assert!(late.await.is_none());
        assert!(begun.elapsed() >= WAIT_MAX, "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert!(gate.enter(Some(Duration::from_millis(5))).await.is_none());
        assert!(begun.elapsed() < WAIT_MAX, "nobody is let in who does not wait any more");
        // Who leaves is not counted any more.
        let mut leaves = Box::pin(gate.enter(None));
        assert!(leaves.as_mut().now_or_never().is_none());
        assert_eq!(gate.waiting(), 1);
        drop(leaves);
        assert_eq!((gate.waiting(), gate.refused()), (0, 2));
        drop(inside);
        assert_eq!(gate.free(), TURNS_MAX);
    }

    #[tokio::test]
    async fn fewer_are_let_in_while_tasks_wait_and_all_again_when_they_do_not() {
        let gate = StartGate::new();
        let mut inside = Vec::new();
        for _ in 0..200 {
            inside.push(gate.enter(None).await.unwrap());
        }
        go_by(&gate, 50, LATE * 2);
        // Those that are inside stay, and none takes their place.
        assert_eq!(gate.free(), 0);
        drop(inside);
        assert_eq!(gate.free(), TURNS_MIN);
        go_by(&gate, 1, LATE);
        assert_eq!(gate.free(), TURNS_MIN + 1);
        go_by(&gate, 100, Duration::ZERO);
        assert_eq!((gate.free(), gate.total.load(Ordering::Relaxed)), (TURNS_MAX, TURNS_MAX));
    }
}
