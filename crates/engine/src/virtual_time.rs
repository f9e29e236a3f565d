//! Virtual time: a clock that jumps to the next deadline while nothing is in hand (spec 08 §6.1).
//!
//! | locks | in hand | what time does |
//! |---|---|---|
//! | 1 and more | anything | passes as fast as the clock behind it |
//! | 0 and less | a call, a workflow task that a worker has, a query, a message between runs | the same |
//! | 0 and less | only activities and workflow tasks that no worker has, no more of them than locks are below 0 | jumps |
//! | 0 and less | nothing | jumps |
//!
//! It jumps to the earliest deadline, or end of a sleep, that lies ahead, and not before the last one it jumped to has
//! been dealt with; where none lies ahead it passes as fast as the clock behind it. It never goes back.
//!
//! Locks are below zero when an activity sleeps in virtual time while a client waits for its result (what it has
//! unlocked is its own being in hand), or a test that waits for a result sleeps while no worker is there. Everything
//! else that a worker or the engine has in hand still holds time.
//!
//! Waits of callers (polls, answers) go by the clock behind it: a jump must not end them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::{Busy, Span, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::Clock;

/// Between two looks whether what is due has been dealt with.
const SETTLE: Span = Span(200_000);

/// There is nothing left to unlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unbalanced lock and unlock calls")]
pub struct Unbalanced;

struct Sleeper {
    /// Locks once more when its time has come.
    relocks: bool,
    wake: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    locks: i64,
    /// What is in hand, but for the next.
    tasks: i64,
    /// Activities, and workflow tasks that no worker has.
    others: i64,
    /// The next deadline of each part of the engine.
    alarms: BTreeMap<u64, Timestamp>,
    sleepers: BTreeMap<(Timestamp, u64), Sleeper>,
    next_id: u64,
    jumps: u64,
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn unlock(&mut self) -> Result<(), Unbalanced> {
        if self.locks + self.tasks + self.others <= 0 {
            return Err(Unbalanced);
        }
        self.locks -= 1;
        Ok(())
    }

    fn put_to_sleep(&mut self, at: Timestamp, relocks: bool) -> (u64, oneshot::Receiver<()>) {
        let ((wake, woken), id) = (oneshot::channel(), self.next_id());
        self.sleepers.insert((at, id), Sleeper { relocks, wake });
        (id, woken)
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        self.tasks == 0 && self.others == 0 && self.next().is_none_or(|at| at > now)
    }

    fn may_jump(&self) -> bool {
        self.locks <= 0 && self.tasks == 0 && self.others <= -self.locks
    }

    /// The earliest time that somebody waits for.
    fn next(&self) -> Option<Timestamp> {
        let alarm = self.alarms.values().copied().min();
        let sleeper = self.sleepers.first_key_value().map(|((at, _), _)| *at);
        alarm.into_iter().chain(sleeper).min()
    }
}

struct Inner {
    /// The clock behind.
    wall: Arc<dyn Clock>,
    /// How far it is ahead of that one, ns. Changed under the lock of `state`.
    skipped: AtomicI64,
    state: Mutex<State>,
    /// Tells of jumps.
    jumped: watch::Sender<()>,
    /// Tells that nothing is in hand any more.
    at_rest: watch::Sender<()>,
}

/// See the module. Clones are the same clock.
#[derive(Clone)]
pub struct VirtualTime {
    inner: Arc<Inner>,
}

impl VirtualTime {
    /// Time that begins with that of `wall`, locked once.
    pub fn locked(wall: Arc<dyn Clock>) -> Self {
        Self::new(wall, 1)
    }

    /// Time that begins with that of `wall` and jumps from the beginning.
    pub fn unlocked(wall: Arc<dyn Clock>) -> Self {
        Self::new(wall, 0)
    }

    fn new(wall: Arc<dyn Clock>, locks: i64) -> Self {
        let state = Mutex::new(State { locks, ..State::default() });
        Self {
            inner: Arc::new(Inner {
                wall,
                skipped: AtomicI64::new(0),
                state,
                jumped: watch::Sender::new(()),
                at_rest: watch::Sender::new(()),
            }),
        }
    }

    /// The clock behind it.
    pub fn wall(&self) -> Arc<dyn Clock> {
        self.inner.wall.clone()
    }

    /// Holds time once more.
    pub fn lock(&self) {
        self.inner.change(|state| state.locks += 1);
    }

    /// Takes a lock away.
    pub fn unlock(&self) -> Result<(), Unbalanced> {
        self.inner.change(State::unlock)
    }

    /// Resolves when time has come to `at`; it is a time to jump to.
    pub async fn sleep_to(&self, at: Timestamp) {
        let (id, woken) = self.inner.change(|state| state.put_to_sleep(at, false));
        // Nobody jumps to where a caller that has gone wanted to be.
        let _leave = Leave { inner: &self.inner, sleeper: (at, id) };
        self.inner.wait(at, woken).await;
    }

    /// Resolves when `span` has passed; the end is a time to jump to.
    pub async fn sleep(&self, span: Span) {
        self.sleep_to(self.now() + span).await;
    }

    /// Takes a lock away until `span` has passed: at the end of it time stands still again, before anything else is due.
    /// The lock comes back even if the caller does not wait for it.
    pub async fn unlock_for(&self, span: Span) -> Result<(), Unbalanced> {
        let (at, woken) = self.inner.change(|state| {
            let at = self.now() + span;
            state.unlock()?;
            Ok((at, state.put_to_sleep(at, true).1))
        })?;
        self.inner.wait(at, woken).await;
        Ok(())
    }

    /// Moves time by `span` at once, whatever is in hand.
    pub fn advance(&self, span: Span) {
        self.inner.change(|state| {
            self.inner.skipped.fetch_add(span.0.max(0), Ordering::AcqRel);
            state.jumps += 1;
        });
        // Whatever follows from it, the clock's sleepers hear of this too.
        self.inner.jumped.send_replace(());
    }

    /// Moves time to the next deadline, or end of a sleep, whatever is in hand, and resolves when what is due then has been dealt
    /// with. Says whether there was one.
    pub async fn advance_to_next(&self) -> bool {
        let moved = self.inner.change(|state| {
            let now = self.now();
            let Some(next) = state.next().filter(|next| *next > now) else { return false };
            self.inner.skipped.fetch_add(next.since(now).0, Ordering::AcqRel);
            state.jumps += 1;
            true
        });
        // Those who change the state in the same step tell of their own jumps only.
        self.inner.jumped.send_replace(());
        while moved && self.inner.state().next().is_some_and(|next| next <= self.now()) {
            self.inner.wall.sleep_until(self.inner.wall.now() + SETTLE).await;
        }
        moved
    }

    /// What is in hand: of workers and the engine, but for the second; activities, and workflow tasks that no worker has.
    pub fn in_hand(&self) -> (i64, i64) {
        let state = self.inner.state();
        (state.tasks, state.others)
    }

    /// Resolves when nothing is in hand and all that was due has been dealt with.
    pub async fn idle(&self) {
        let mut at_rest = self.inner.at_rest.subscribe();
        loop {
            at_rest.borrow_and_update();
            let idle = self.inner.state().is_idle(self.now());
            if idle {
                return;
            }
            // The sender is in `self`.
            let _ = at_rest.changed().await;
        }
    }

    /// How often time has jumped.
    pub fn jumps(&self) -> u64 {
        self.inner.state().jumps
    }

    /// Something is in hand until the guard is dropped.
    pub(crate) fn hold(&self) -> Hold {
        self.inner.state().tasks += 1;
        Hold { inner: self.inner.clone() }
    }

    /// What a run has in hand has changed.
    pub(crate) fn change(&self, old: Busy, new: Busy) {
        if old != new {
            self.inner.change(|state| {
                state.tasks += i64::from(new.task) - i64::from(old.task);
                state.others += i64::from(new.others) - i64::from(old.others);
            });
        }
    }

    /// A part of the engine that acts by itself; busy until it rests.
    pub(crate) fn part(&self) -> Part {
        let mut state = self.inner.state();
        state.tasks += 1;
        let id = state.next_id();
        drop(state);
        Part { inner: self.inner.clone(), id, busy: true }
    }
}

impl Clock for VirtualTime {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let inner = self.inner.clone();
        let mut jumped = inner.jumped.subscribe();
        async move {
            loop {
                jumped.borrow_and_update();
                if inner.now() >= at {
                    return;
                }
                tokio::select! {
                    () = inner.wall.sleep_until(inner.on_the_wall(at)) => {}
                    // The sender is in `inner`.
                    _ = jumped.changed() => {}
                }
            }
        }
        .boxed()
    }

    fn virtual_time(&self) -> Option<VirtualTime> {
        Some(self.clone())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.wall.now() + Span(self.skipped.load(Ordering::Acquire))
    }

    /// When the clock behind would get there without a jump.
    fn on_the_wall(&self, at: Timestamp) -> Timestamp {
        at - Span(self.skipped.load(Ordering::Acquire))
    }

    /// Changes the state, then does what follows from it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        self.go_on(&mut state);
        changed
    }

    /// Wakes sleepers whose time has come, and jumps as long as it may.
    fn go_on(&self, state: &mut State) {
        let before = state.jumps;
        let now = loop {
            let now = self.now();
            while let Some(first) = state.sleepers.first_entry().filter(|first| first.key().0 <= now) {
                let sleeper = first.remove();
                state.locks += i64::from(sleeper.relocks);
                // It may have gone.
                let _ = sleeper.wake.send(());
            }
            let Some(next) = state.next().filter(|next| state.may_jump() && *next > now) else { break now };
            self.skipped.fetch_add(next.since(now).0, Ordering::AcqRel);
            state.jumps += 1;
        };
        if state.jumps != before {
            self.jumped.send_replace(());
        }
        if state.is_idle(now) {
            self.at_rest.send_replace(());
        }
    }

    /// Waits for a sleeper, whose time may come without a jump.
    async fn wait(&self, at: Timestamp, mut woken: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                // A dropped sender cannot be: the sleeper goes by waking it, or with the caller.
                _ = &mut woken => return,
                () = self.wall.sleep_until(self.on_the_wall(at)) => self.change(|_| ()),
            }
        }
    }
}

/// Takes a sleeper away that nobody waits for any more.
struct Leave<'a> {
    inner: &'a Inner,
    sleeper: (Timestamp, u64),
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.inner.state().sleepers.remove(&self.sleeper);
    }
}

/// See [`VirtualTime::hold`].
pub(crate) struct Hold {
    inner: Arc<Inner>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inner.change(|state| state.tasks -= 1);
    }
}

/// See [`VirtualTime::part`].
pub(crate) struct Part {
    inner: Arc<Inner>,
    id: u64,
    busy: bool,
}

impl Part {
    /// It does something from now on.
    pub(crate) fn work(&mut self) {
        if !self.busy {
            self.busy = true;
            self.inner.state().tasks += 1;
        }
    }

    /// It does nothing until it is asked, or until its deadline. Until it works again, a deadline that has passed holds
    /// time.
    pub(crate) fn rest(&mut self, deadline: Option<Timestamp>) {
        let busy = std::mem::take(&mut self.busy);
        self.inner.change(|state| {
            state.tasks -= i64::from(busy);
            match deadline {
                Some(at) => state.alarms.insert(self.id, at),
                None => state.alarms.remove(&self.id),
            }
        });
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.rest(None);
    }
}

#[cfg(test)]
mod tests;
